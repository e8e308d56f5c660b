/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOT_ALIGN = 64, LOCK_PAGES = 4 };

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
	bool refused;  /* no more of them */
	bool ready;    /* the slots may be touched */
	bool in_part;  /* and one in use is not locked */
};

const struct syscall_rule arena_syscalls[] = {
	CALL_IF(mlock2, ARG_IS(2, MLOCK_ONFAULT)),
	CALLS_END,
};

/* Those that are in_part: what may be locked is a matter of the whole process. */
static size_t parts;

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t body_of(const struct arena *a)
{
	return a->map_len - 2 * page_size();
}

/*
 * As much as is in use, and little more: what may be locked is little where the right to lock is missing,
 * and all arenas of a process share it. Each page counts, and takes memory once it is touched.
 */
static void lock_used(struct arena *a)
{
	size_t page = page_size(), used = round_up(a->size * a->fresh, page);
	while (a->locked < used && !a->refused) {
		size_t want = size_max(used - a->locked, LOCK_PAGES * page);
		want = size_min(want, body_of(a) - a->locked);
		if (mlock2(a->slots + a->locked, want, MLOCK_ONFAULT) == 0)
			a->locked += want;
		else if (mlock2(a->slots + a->locked, page, MLOCK_ONFAULT) == 0)
			a->locked += page;
		else
			a->refused = true;
	}
	bool in_part = !arena_locked(a);
	parts = parts + in_part - a->in_part;
	a->in_part = in_part;
}

/* Maps the slots between two pages that nobody may touch. */
static int map_slots(struct arena *a)
{
	size_t page = page_size(), body = round_up(a->size * a->count, page);
	a->map_len = body + 2 * page;
	void *map = mmap(NULL, a->map_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	a->map = map;
	a->slots = a->map + page;
	if (mprotect(a->slots, body, PROT_READ | PROT_WRITE) < 0)
		return -errno;
	a->ready = true;
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
	parts -= a->in_part;
	free(a->unused);
	free(a);
}

void *arena_get(struct arena *a)
{
	if (!a->n_unused && a->fresh == a->count)
		return NULL;
	size_t at = a->n_unused ? a->unused[--a->n_unused] : a->fresh++;
	lock_used(a);
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

void *arena_alone(struct arena **a, size_t size)
{
	*a = arena_new(size, 1);
	return *a ? arena_get(*a) : NULL;
}

void *arena_grow(struct arena **a, size_t used, size_t size)
{
	struct arena *more;
	void *p = arena_alone(&more, size);
	if (p && *a) {
		memcpy(p, (*a)->slots, used);
		arena_free(*a);
		more->refused = false; /* what that one had locked is free */
		lock_used(more);
	}
	if (p)
		*a = more;
	return p;
}

void arena_relock(struct arena *a)
{
	if (!a)
		return;
	a->locked = 0;
	a->refused = false;
	lock_used(a);
}

bool arena_locked(const struct arena *a)
{
	return a->size * a->fresh <= a->locked;
}

bool arenas_locked(void)
{
	return !parts;
}
