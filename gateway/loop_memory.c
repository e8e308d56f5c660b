/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libev ends the process where memory is refused: it has no way to say that a watcher could not be started.
 * What it needs grows with the descriptors alone, so a reserve serves it then, and whoever wanted the
 * connection is refused where a buffer for it is. The reserve takes no memory until it is touched.
 */
#include "gateway/loop.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum { RESERVE = 512 << 10, HEAD = 16 };

static _Alignas(HEAD) uint8_t reserve[RESERVE];
static size_t reserved;

static bool is_reserved(const void *p)
{
	return (const uint8_t *)p >= reserve && (const uint8_t *)p < reserve + RESERVE;
}

static size_t size_of(void *p)
{
	size_t size;
	if (!is_reserved(p))
		return p ? malloc_usable_size(p) : 0;
	memcpy(&size, (uint8_t *)p - HEAD, sizeof(size));
	return size;
}

/* What is given back is not used again: arrays double, so they are twice their last size at most. */
static void *from_reserve(size_t size)
{
	size_t room = (size + HEAD - 1) / HEAD * HEAD + HEAD;
	if (room > RESERVE - reserved)
		return NULL;
	uint8_t *p = reserve + reserved + HEAD;
	memcpy(p - HEAD, &size, sizeof(size));
	reserved += room;
	return p;
}

static void *allocate(void *p, long want)
{
	size_t size = (size_t)want, had = size_of(p);
	void *fresh;

	if (want <= 0) {
		if (!is_reserved(p))
			free(p);
		return NULL;
	}
	if (!is_reserved(p) && (fresh = realloc(p, size)))
		return fresh;
	if (had >= size)
		return p;
	fresh = from_reserve(size);
	if (!fresh)
		return NULL;
	if (had)
		memcpy(fresh, p, had);
	if (!is_reserved(p))
		free(p);
	return fresh;
}

void loop_reserve(void)
{
	ev_set_allocator(allocate);
}
