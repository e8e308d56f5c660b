/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arenas: guarded, locked, non-dumpable, wiped mappings, in which every secret stands that a process keeps.
 * Fixed slots, of which the lowest is taken first; a page costs memory once a slot of it is in use, so
 * that a table for many peers costs a small network nothing (a page-guarded allocation per key would cost 24 MB
 * for 3,000 keys). Where locking is refused, for all of it or from some size on, it is still kept out of
 * core files; arenas_locked() tells.
 */
#ifndef WARREN_ARENA_H
#define WARREN_ARENA_H

#include "base/base.h"
#include "base/syscalls.h"

struct arena;

/* `slots` pieces of `size` bytes each. NULL with errno. */
struct arena *arena_new(size_t size, size_t slots);
void arena_free(struct arena *a);	     /* wipes all */
void *arena_get(struct arena *a);	     /* zeroed; NULL when full */
void arena_put(struct arena *a, void *slot); /* wipes; NULL is fine */
bool arena_locked(const struct arena *a);    /* all that was ever in use is */
bool arenas_locked(void);		     /* and in all arenas of this process */
/* After a fork the mapping is there, and its lock is not. NULL is fine. */
void arena_relock(struct arena *a);

/* One piece, in an arena of its own, which is put in *a. NULL with errno, and then *a is NULL. */
void *arena_alone(struct arena **a, size_t size);
/*
 * A larger piece in the place of the one in *a, which must stand alone, with its first `used` bytes; where *a is
 * NULL, the first. NULL with errno: all is as before.
 */
void *arena_grow(struct arena **a, size_t used, size_t size);

/* For processes that make arenas while they run. */
extern const struct syscall_rule arena_syscalls[];

#endif
