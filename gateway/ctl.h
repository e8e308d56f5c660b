/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status socket: a unix stream socket, 0600, that answers the line "status" with one JSON object
 * and closes. At most CTL_CLIENTS at once; one that is slow to send or to read is cut off and delays
 * nobody.
 */
#ifndef WARREN_CTL_H
#define WARREN_CTL_H

#include "base/base.h"
#include <ev.h>

struct ctl;

/* `status` returns a fresh text (malloc) or NULL. 0 or -errno; -EADDRINUSE: somebody serves there. */
int ctl_open(struct ctl **out, struct ev_loop *ev, const char *path, char *(*status)(void *ctx),
	     void *ctx);
void ctl_close(struct ctl *c); /* removes the socket */

/* The client's side: the whole answer (malloc), or NULL with errno. */
char *ctl_ask(const char *path);

#endif
