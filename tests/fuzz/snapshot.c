/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"
#include "image.h"
#include "poison.h"
#include "wrap_map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
	ALIGN = 16,
	RED = 16,
	PAGE = 4096,
	PER_SHADOW = 8,
	SHADOWED = PER_SHADOW * PAGE,
	STATICS = 4,
	LOOK_AT = 64, /* to end a world takes about as long as an input */
	FILLED = 4096,
	LARGE = 256 << 10,
	LARGES = 64,
	GONE = 4096
};
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

/*
 * What ASan knows of eight bytes stands in one, their shadow. The snapshot's changes where a block is given back and
 * nowhere else: so much of it is put back, and the kernel need not watch it.
 */
static struct area {
	uint8_t *p;
	size_t len;
} gone[GONE];
static size_t n_gone;

/* What this input was given of LARGE bytes and more: most of it is never written to, which the kernel knows. */
static struct area larges[LARGES];
static size_t n_larges;

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

UNCHECKED static size_t length_now(void *p)
{
	return block_of(p)->len;
}

UNCHECKED static void set_length(void *p, size_t len)
{
	block_of(p)->len = len;
}

/* `n` bytes from `align`, all zeros: nothing was there before in this input. */
static void *take(size_t n, size_t align)
{
	size_t at = (used + RED + align - 1) / align * align, len = (n + ALIGN - 1) / ALIGN * ALIGN;
	if (at + len + RED > ROOM)
		abort();
	uint8_t *p = base + at;
	set_length(p, n ? n : 1);
	ASAN_UNPOISON_MEMORY_REGION(p, n);
	used = at + len;
	live++;
	if (len >= LARGE && n_larges < LARGES)
		larges[n_larges++] = (struct area){ p, len };
	return p;
}

static void give_back(uint8_t *p, size_t len)
{
	live--;
	ASAN_POISON_MEMORY_REGION(p, len);
	if (!taken || p >= base + kept)
		return;
	if (n_gone == GONE)
		abort();
	gone[n_gone++] = (struct area){ p, len };
}

static size_t length(void *p)
{
	size_t len = length_now(p);
	if (!len)
		abort(); /* given back twice, or used afterwards */
	return len;
}

void *__wrap_malloc(size_t n)
{
	void *p = on ? take(n, ALIGN) : __real_malloc(n);
	if (!on)
		return p;
	memset(p, 0xa5, n < FILLED ? n : FILLED); /* as it might be */
	return p;
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
	set_length(p, 0);
	give_back(p, len);
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
	give_back(at, len);
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

#ifdef SANITIZED
static uint8_t *shadow; /* the copy */

static uint8_t *shadow_of(const uint8_t *p)
{
	size_t scale, offset;
	__asan_get_shadow_mapping(&scale, &offset);
	return (uint8_t *)(((uintptr_t)p >> scale) + offset);
}
#endif

static void take_shadow(void)
{
#ifdef SANITIZED
	shadow = __real_malloc(kept / PER_SHADOW);
	if (!shadow)
		abort();
	image_copy(shadow, shadow_of(base), kept / PER_SHADOW);
#endif
}

static void restore_shadow(void)
{
#ifdef SANITIZED
	for (size_t i = 0; i < n_gone; i++) {
		size_t at = (size_t)(gone[i].p - base) / PER_SHADOW;
		image_copy(shadow_of(gone[i].p), shadow + at,
			   (gone[i].len + PER_SHADOW - 1) / PER_SHADOW);
	}
#endif
	n_gone = 0;
}

void snapshot_take(void)
{
	kept = used ? (used + RED + SHADOWED - 1) / SHADOWED * SHADOWED : 0;
	image_take(base, kept);
	take_shadow();
	for (size_t i = 0; i < n_statics; i++)
		image_take(statics[i].p, statics[i].len);
	used = kept;
	n_larges = 0;
	kept_live = live;
	taken = true;
}

bool snapshot_taken(void)
{
	return taken;
}

/* What came since the snapshot is zeros again. */
static void clear_new(void)
{
	uint8_t *from = base + kept;
	for (size_t i = 0; i < n_larges; i++) {
		size_t head = (PAGE - (uintptr_t)larges[i].p % PAGE) % PAGE;
		uint8_t *pages = larges[i].p + head;
		size_t len = (larges[i].len - head) / PAGE * PAGE;
		image_clear(from, (size_t)(pages - from));
		if (__real_madvise(pages, len, MADV_DONTNEED))
			abort();
		from = pages + len;
	}
	image_clear(from, (size_t)(base + used - from));
	n_larges = 0;
}

void snapshot_restore(void)
{
	clear_new();
	ASAN_POISON_MEMORY_REGION(base + kept, used - kept);
	restore_shadow();
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
