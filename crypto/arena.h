/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key arena: one guarded, locked, non-dumpable, wiped mapping that holds every private, shared
 * and session key. Fixed slots, of which the lowest is taken first; a page costs memory once a slot of it is in use, so
 * that a table for many peers costs a small network nothing (a page-guarded allocation per key would cost 24 MB
 * for 3,000 keys). Where locking is refused, for all of it or from some size on, it is still kept out of
 * core files; arena_locked() tells.
 */
#ifndef WARREN_ARENA_H
#define WARREN_ARENA_H

#include "base/base.h"

struct arena;

/* `slots` pieces of `size` bytes each. NULL with errno. */
struct arena *arena_new(size_t size, size_t slots);
void arena_free(struct arena *a);	     /* wipes all */
void *arena_get(struct arena *a);	     /* zeroed; NULL when full */
void arena_put(struct arena *a, void *slot); /* wipes; NULL is fine */
bool arena_locked(const struct arena *a);    /* all that was ever in use is */

#endif
