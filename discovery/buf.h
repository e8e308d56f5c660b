/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte queue between two descriptors. One direction of a connection owns one; what it may hold is
 * said at each fill, so that a slow reader stops the fast writer and nothing grows. An empty queue
 * holds no memory after buf_release(): an idle connection costs its struct alone.
 */
#ifndef WARREN_BUF_H
#define WARREN_BUF_H

#include "base/base.h"

#include <sys/types.h>

enum { BUF_STREAM = 64 * 1024 }; /* what one direction of a stream holds at most */

struct buf {
	uint8_t *p;
	size_t cap, at, len; /* the bytes are p[at .. at + len) */
};

static inline const uint8_t *buf_bytes(const struct buf *b)
{
	return b->p ? b->p + b->at : NULL;
}

/* Appends; false where there is no memory. */
MUST_CHECK bool buf_put(struct buf *b, const void *p, size_t n);
/* Drops the first `n` ≤ len bytes. */
void buf_consume(struct buf *b, size_t n);
/* Gives memory back where nothing is queued. */
void buf_release(struct buf *b);
void buf_free(struct buf *b);
/* One read of at most BUF_STREAM bytes, up to `limit` in all. Bytes read, 0 at the end, -errno. */
ssize_t buf_fill(struct buf *b, int fd, size_t limit);
/* One send of at most `max` bytes, which leave the queue. Bytes sent or -errno. */
ssize_t buf_drain(struct buf *b, int fd, size_t max);

#endif
