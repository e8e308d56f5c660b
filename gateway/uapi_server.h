/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration socket, /var/run/wireguard/NAME.sock: a unix stream socket, 0600, on which
 * each client has a conversation (uapi.h). At most UAPI_CLIENTS at once: one that was silent for a second, and
 * does not wait for us, makes room, or the next waits; in each turn of the loop one of them, in turns, is given a
 * bounded piece of work, and one that does not read its answers none, so that no number of clients delays a packet.
 */
#ifndef WARREN_UAPI_SERVER_H
#define WARREN_UAPI_SERVER_H

#include "gateway/uapi.h"
#include "gateway/loop.h"

#define UAPI_DIR "/var/run/wireguard"

enum { UAPI_CLIENTS = 16 };

struct uapi_server;

/*
 * `gone` is called when somebody removed the socket, by which an implementation is told to end; it may
 * close the server. 0 or -errno; -EADDRINUSE: somebody serves there.
 */
int uapi_server_open(struct uapi_server **out, struct loop *loop, const char *interface,
		     const struct uapi_device *dev, void (*gone)(void *ctx));
void uapi_server_close(struct uapi_server *s); /* removes the socket; NULL is fine */

#endif
