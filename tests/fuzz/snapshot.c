/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"
#include "image.h"
#include "poison.h"
#include "wrap_map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, RED = 16, PAGE = 4096, SHADOWED = 8 * PAGE, STATICS = 4, LOOK_AT = 16 };
#define ROOM ((size_t)512 << 20)

/* In front of each block; poisoned with the bytes around it. */
struct block {
	size_t len; /* 0: given back */
};

static uint8_t *base;
static size_t used, kept; /* bytes; those of the snapshot */
static bool on, taken;
static size_t inputs = SIZE_MAX; /* the first is number 0 */
static size_t live, kept_live;	 /* blocks and mappings */

static struct {
	void *p;
	size_t len;
} statics[STATICS];
static size_t n_statics;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t each);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static bool is_ours(const void *p)
{
	return base && (const uint8_t *)p >= base && (const uint8_t *)p < base + ROOM;
}

static struct block *block_of(void *p)
{
	return (struct block *)(void *)((uint8_t *)p - RED);
}

/* `n` bytes from `align`, all zeros: nothing was there before in this input. */
static void *take(size_t n, size_t align)
{
	size_t at = (used + RED + align - 1) / align * align, len = (n + ALIGN - 1) / ALIGN * ALIGN;
	if (at + len + RED > ROOM)
		abort();
	uint8_t *p = base + at;
	ASAN_UNPOISON_MEMORY_REGION(p - RED, RED);
	block_of(p)->len = n ? n : 1;
	ASAN_POISON_MEMORY_REGION(p - RED, RED);
	ASAN_UNPOISON_MEMORY_REGION(p, n);
	used = at + len;
	live++;
	return p;
}

static size_t length(void *p)
{
	ASAN_UNPOISON_MEMORY_REGION((uint8_t *)p - RED, RED);
	size_t len = block_of(p)->len;
	ASAN_POISON_MEMORY_REGION((uint8_t *)p - RED, RED);
	if (!len)
		abort(); /* given back twice, or used afterwards */
	return len;
}

void *__wrap_malloc(size_t n)
{
	void *p = on ? take(n, ALIGN) : __real_malloc(n);
	if (!on)
		return p;
	return memset(p, 0xa5, n); /* as it might be */
}

void *__wrap_calloc(size_t n, size_t each)
{
	return on ? take(n * each, ALIGN) : __real_calloc(n, each);
}

void __wrap_free(void *p)
{
	if (!is_ours(p)) {
		if (p)
			__real_free(p);
		return;
	}
	size_t len = length(p);
	live--;
	ASAN_UNPOISON_MEMORY_REGION((uint8_t *)p - RED, RED);
	block_of(p)->len = 0;
	ASAN_POISON_MEMORY_REGION((uint8_t *)p - RED, RED + len);
}

void *__wrap_realloc(void *p, size_t n)
{
	if (!on && !is_ours(p))
		return __real_realloc(p, n);
	void *more = __wrap_malloc(n);
	if (p) {
		size_t len = length(p);
		memcpy(more, p, len < n ? len : n);
		__wrap_free(p);
	}
	return more;
}

/* --- mappings of key arenas: whole pages, with one that nobody may touch on either side --- */

void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (!on)
		return __real_mmap(at, len, prot, flags, fd, offset);
	uint8_t *p = take(len, PAGE);
	ASAN_POISON_MEMORY_REGION(p, PAGE);
	ASAN_POISON_MEMORY_REGION(p + len - PAGE, PAGE);
	return p;
}

void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return __wrap_mmap(at, len, prot, flags, fd, offset);
}

int __wrap_munmap(void *at, size_t len)
{
	if (!is_ours(at))
		return __real_munmap(at, len);
	live--;
	ASAN_POISON_MEMORY_REGION(at, len);
	return 0;
}

int __wrap_mprotect(void *at, size_t len, int prot)
{
	return is_ours(at) ? 0 : __real_mprotect(at, len, prot);
}

int __wrap_madvise(void *at, size_t len, int advice)
{
	return is_ours(at) ? 0 : __real_madvise(at, len, advice);
}

int __wrap_mlock2(const void *at, size_t len, unsigned flags)
{
	return is_ours(at) ? 0 : __real_mlock2(at, len, flags);
}

/* --- the snapshot --- */

void snapshot_begin(void)
{
	base = __real_mmap(NULL, ROOM + SHADOWED, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		abort();
	base += (SHADOWED - (uintptr_t)base % SHADOWED) % SHADOWED; /* its shadow begins a page */
	ASAN_POISON_MEMORY_REGION(base, ROOM);
	on = true;
}

void snapshot_static(void *p, size_t len)
{
	if (n_statics == STATICS)
		abort();
	statics[n_statics].p = p;
	statics[n_statics++].len = len;
}

/* What ASan knows of eight bytes of memory stands in one: it is kept as well. */
static void take_shadow(void)
{
#ifdef SANITIZED
	size_t scale, offset;
	__asan_get_shadow_mapping(&scale, &offset);
	image_take((uint8_t *)(((uintptr_t)base >> scale) + offset), kept >> scale);
#endif
}

void snapshot_take(void)
{
	kept = (used + RED + SHADOWED - 1) / SHADOWED * SHADOWED;
	image_take(base, kept);
	take_shadow();
	for (size_t i = 0; i < n_statics; i++)
		image_take(statics[i].p, statics[i].len);
	used = kept;
	kept_live = live;
	taken = true;
}

bool snapshot_taken(void)
{
	return taken;
}

void snapshot_restore(void)
{
	if (used > kept) { /* what came since is zeros again */
		ASAN_UNPOISON_MEMORY_REGION(base + kept, used - kept);
		memset(base + kept, 0, used - kept);
		ASAN_POISON_MEMORY_REGION(base + kept, used - kept);
	}
	image_restore();
	inputs++;
	used = kept;
	live = kept_live;
	on = true;
}

bool snapshot_ends(void)
{
	return inputs % LOOK_AT == 0;
}

void snapshot_end(void)
{
	if (snapshot_ends() && live)
		abort(); /* somebody keeps what nobody knows of */
	on = false;
}
