/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Makes room for `n` more: by moving what is there to the front, then by growing. */
static bool reserve(struct buf *b, size_t n)
{
	if (b->at > 0 && b->cap - b->at - b->len < n) {
		memmove(b->p, b->p + b->at, b->len);
		b->at = 0;
	}
	if (b->cap - b->at - b->len >= n)
		return true;
	size_t cap = size_max(b->len + n, size_min(2 * b->cap, b->cap + 256 * 1024));
	uint8_t *p = realloc(b->p, cap);
	if (!p)
		return false;
	b->p = p;
	b->cap = cap;
	return true;
}

bool buf_put(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return true;
	if (!reserve(b, n))
		return false;
	memcpy(b->p + b->at + b->len, p, n);
	b->len += n;
	return true;
}

void buf_consume(struct buf *b, size_t n)
{
	b->at += n;
	b->len -= n;
	if (b->len > 0)
		return;
	b->at = 0;
	if (b->cap > BUF_STREAM) /* a large head went by; the body needs no such room */
		buf_free(b);
}

void buf_release(struct buf *b)
{
	if (b->len == 0)
		buf_free(b);
}

void buf_free(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ 0 };
}

ssize_t buf_fill(struct buf *b, int fd, size_t limit)
{
	if (b->len >= limit)
		return -EAGAIN;
	size_t room = size_min(limit - b->len, BUF_STREAM);
	if (!reserve(b, room))
		return -ENOMEM;
	ssize_t n = read(fd, b->p + b->at + b->len, room);
	if (n < 0)
		return -errno;
	b->len += (size_t)n;
	return n;
}

ssize_t buf_drain(struct buf *b, int fd, size_t max)
{
	size_t n = size_min(max, b->len);
	if (n == 0)
		return 0;
	ssize_t sent = send(fd, buf_bytes(b), n, MSG_NOSIGNAL);
	if (sent < 0)
		return -errno;
	buf_consume(b, (size_t)sent);
	return sent;
}
