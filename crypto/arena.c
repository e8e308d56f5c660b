/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/arena.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOT_ALIGN = 64 };

/* The bookkeeping stands outside the mapping, so that the mapping holds keys and nothing else. */
struct arena {
	uint8_t *map; /* a guard page, the slots, a guard page */
	size_t map_len;
	uint8_t *slots;
	size_t size, count;
	uint32_t *unused; /* a stack of slot numbers */
	size_t n_unused;
	bool locked;
	bool ready; /* the slots may be touched */
};

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

/* Maps the slots between two pages that nobody may touch. */
static int map_slots(struct arena *a)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), body = round_up(a->size * a->count, page);
	a->map_len = body + 2 * page;
	void *map = mmap(NULL, a->map_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	a->map = map;
	a->slots = a->map + page;
	if (mprotect(a->slots, body, PROT_READ | PROT_WRITE) < 0)
		return -errno;
	a->ready = true;
	/* sodium_mlock() also keeps the pages out of core files; where it is refused, we still do. */
	a->locked = sodium_mlock(a->slots, body) == 0;
	if (!a->locked)
		madvise(a->slots, body, MADV_DONTDUMP);
	return 0;
}

struct arena *arena_new(size_t size, size_t slots)
{
	if (!size || !slots || slots > UINT32_MAX || size > SIZE_MAX / 2 / slots - SLOT_ALIGN) {
		errno = EINVAL;
		return NULL;
	}
	struct arena *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->size = round_up(size, SLOT_ALIGN);
	a->count = slots;
	a->unused = calloc(slots, sizeof(*a->unused));
	int err = a->unused ? map_slots(a) : -ENOMEM;
	if (err) {
		arena_free(a);
		errno = -err;
		return NULL;
	}
	/* Slot 0 on top of the stack, so that a small network touches few pages. */
	for (size_t i = 0; i < slots; i++)
		a->unused[i] = (uint32_t)(slots - 1 - i);
	a->n_unused = slots;
	return a;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	if (a->ready)
		sodium_memzero(a->slots, a->size * a->count);
	if (a->map)
		munmap(a->map, a->map_len); /* and with it the lock */
	free(a->unused);
	free(a);
}

void *arena_get(struct arena *a)
{
	if (!a->n_unused)
		return NULL;
	return a->slots + a->unused[--a->n_unused] * a->size;
}

void arena_put(struct arena *a, void *slot)
{
	if (!slot)
		return;
	size_t at = (size_t)((uint8_t *)slot - a->slots);
	assert(at < a->size * a->count && at % a->size == 0 && a->n_unused < a->count);
	sodium_memzero(slot, a->size);
	a->unused[a->n_unused++] = (uint32_t)(at / a->size);
}

bool arena_locked(const struct arena *a)
{
	return a->locked;
}
