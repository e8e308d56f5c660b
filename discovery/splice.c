/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 and TLS pass as bytes, in both directions, with each side's end passed on by itself. What
 * is in them is the two Trinos' own affair; dead peers are found by TCP's keepalive.
 */
#include "discovery/shim_impl.h"

#include <errno.h>
#include <sys/socket.h>

static bool drain(struct buf *b, int fd, uint64_t *count)
{
	ssize_t n = buf_drain(b, fd, b->len);
	if (n > 0)
		*count += (uint64_t)n;
	return n >= 0 || n == -EAGAIN || n == -EINTR;
}

static void pass_end(bool eof, const struct buf *left, int fd, bool *passed)
{
	if (!eof || *passed || left->len > 0)
		return;
	shutdown(fd, SHUT_WR);
	*passed = true;
}

bool splice_step(struct conn *c)
{
	struct upstream *u = &c->up;
	uint64_t sent = 0;
	bool ok = drain(&c->in, u->fd, &c->s->count.bytes_up) && drain(&u->in, c->fd, &sent);
	if (!ok || c->broken || u->broken) {
		conn_reset(c);
		return false;
	}
	pass_end(c->eof, &c->in, u->fd, &c->eof_passed);
	pass_end(u->eof, &u->in, c->fd, &c->up_eof_passed);
	if (c->eof_passed && c->up_eof_passed)
		conn_kill(c);
	return false;
}
