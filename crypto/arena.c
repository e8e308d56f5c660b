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
	size_t fresh;	  /* slots from here on were never in use */
	uint32_t *unused; /* a stack of the numbers of those that were, and are not */
	size_t n_unused;
	size_t locked; /* bytes, from the first */
	bool ready;    /* the slots may be touched */
};

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

/*
 * Each page once it is touched. Without the right to lock, a process may lock some memory: what it may
 * serves the first slots, which are those of a small network.
 */
static void lock_slots(struct arena *a, size_t body, size_t page)
{
	madvise(a->slots, body, MADV_DONTDUMP);
	for (size_t len = body; len >= page && !a->locked; len = len / 2 / page * page)
		if (mlock2(a->slots, len, MLOCK_ONFAULT) == 0)
			a->locked = len;
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
	lock_slots(a, body, page);
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
	return a;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	if (a->ready)
		sodium_memzero(a->slots, a->size * a->fresh);
	if (a->map)
		munmap(a->map, a->map_len); /* and with it the lock */
	free(a->unused);
	free(a);
}

void *arena_get(struct arena *a)
{
	if (!a->n_unused && a->fresh == a->count)
		return NULL;
	size_t at = a->n_unused ? a->unused[--a->n_unused] : a->fresh++;
	return a->slots + at * a->size;
}

void arena_put(struct arena *a, void *slot)
{
	if (!slot)
		return;
	size_t at = (size_t)((uint8_t *)slot - a->slots);
	assert(at < a->size * a->count && at % a->size == 0 && a->n_unused < a->fresh);
	sodium_memzero(slot, a->size);
	a->unused[a->n_unused++] = (uint32_t)(at / a->size);
}

bool arena_locked(const struct arena *a)
{
	return a->size * a->fresh <= a->locked;
}
