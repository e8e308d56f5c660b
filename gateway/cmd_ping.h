/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP echoes (RFC 792, RFC 4443) and what the gateway says of a peer: shared by `warren ping` and its
 * --sweep. One echo is under way at a time.
 */
#ifndef WARREN_CMD_PING_H
#define WARREN_CMD_PING_H

#include "gateway/config.h"

#include <jansson.h>

enum { ECHO_SIZE_MAX = 9000 }; /* bytes of an IP packet */

struct echo {
	int fd;
	struct addr to;
	uint16_t id, seq;
};

/* 0, or -1 after a line. */
int echo_open(struct echo *e, const struct addr *to);
void echo_close(struct echo *e);
/*
 * With DF the kernel refuses what is larger than the route's MTU (echo_once() gives -EMSGSIZE), without
 * it cuts it into fragments. 0 or -errno.
 */
int echo_set_df(struct echo *e, bool df);
/* Bytes of the headers in front of an echo's payload. */
size_t echo_headers(const struct echo *e);
/*
 * An echo of `size` bytes with its IP header, or as many as the headers have: its round trip, the
 * whole payload having come back; or -errno of sending, or -ETIMEDOUT after a second.
 */
nsec echo_once(struct echo *e, size_t size);

/*
 * What the gateway says of itself, NULL after a line; and its peer that is meant by an id or address,
 * NULL where it lists none.
 */
json_t *ping_status(const struct config *c);
const json_t *ping_peer(const json_t *status, const char *who);

/* `warren ping --sweep`: which sizes pass. The exit status. */
int ping_sweep(const struct config *c, const char *who, const struct addr *to);

#endif
