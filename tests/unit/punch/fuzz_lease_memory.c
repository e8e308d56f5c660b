/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_lease_memory.h"
#include "base/bytes.h"
#include "tests/fuzz/poison.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ROOM = 256 << 20, ALIGN = 16 };

static uint8_t *base;
static size_t used, kept, live; /* bytes; those of SQLite's own start; blocks since */

static size_t rounded(size_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* It stands in front of each block, and is poisoned as all that is no block's. */
UNCHECKED static int *length_of(void *p)
{
	return (int *)p - ALIGN / sizeof(int);
}

UNCHECKED static int length(void *p)
{
	return *length_of(p);
}

UNCHECKED static void *take(int n)
{
	uint8_t *p = base + used + ALIGN;
	if (n < 0 || used + 2 * ALIGN + rounded((size_t)n) > ROOM)
		return NULL;
	*length_of(p) = n;
	ASAN_UNPOISON_MEMORY_REGION(p, (size_t)n);
	used += ALIGN + rounded((size_t)n);
	live++;
	return p;
}

static void give_back(void *p)
{
	if (!p)
		return;
	ASAN_POISON_MEMORY_REGION(p, (size_t)length(p));
	live--;
}

static void *resize(void *p, int n)
{
	void *more = take(n);
	if (!more)
		return NULL;
	int len = length(p);
	memcpy(more, p, (size_t)(len < n ? len : n));
	give_back(p);
	return more;
}

static int round_up(int n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static int ready(void *ctx)
{
	(void)ctx;
	return SQLITE_OK;
}

static void end(void *ctx)
{
	(void)ctx;
}

void lease_memory_once(void)
{
	static const sqlite3_mem_methods methods = { .xMalloc = take,
						     .xFree = give_back,
						     .xRealloc = resize,
						     .xSize = length,
						     .xRoundup = round_up,
						     .xInit = ready,
						     .xShutdown = end };
	base = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (base == MAP_FAILED || sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK ||
	    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK ||
	    sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) != SQLITE_OK)
		abort();
	ASAN_POISON_MEMORY_REGION(base, ROOM);
	if (sqlite3_initialize() != SQLITE_OK)
		abort();
	kept = used;
	live = 0;
}

void lease_memory_end(void)
{
	if (live)
		abort();
	used = kept;
}
