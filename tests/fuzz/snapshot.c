/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"
#include "wrap_map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#endif
#ifdef SANITIZED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 16, RED = 16, PAGE = 4096, STATICS = 4, BLOCKS = 1 << 18, BUFFER = 1 << 15 };
#define ROOM ((size_t)512 << 20)

/* In front of each block; poisoned with the bytes around it. */
struct block {
	size_t len; /* 0: given back */
};

static uint8_t *base, *copy;
static size_t used, kept; /* bytes; those of the snapshot */
static bool on, taken;
static size_t live, kept_live; /* blocks and mappings */

/* What there is to put back: blocks that were in use, each with the bytes in front of it. */
static struct piece {
	uint8_t *at;
	size_t len;
	bool mapping, buffer;
} pieces[BLOCKS];
static size_t n_pieces;
static struct {
	void *p, *copy;
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
	if (!taken && n_pieces == BLOCKS)
		abort();
	if (!taken)
		pieces[n_pieces++] = (struct piece){ .at = p - RED, .len = RED + len };
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
	memset(p, 0xa5, n); /* as it might be */
	/* so large, and not of zeros, is what holds packets for a turn: what is in there is over */
	if (!taken)
		pieces[n_pieces - 1].buffer = n >= BUFFER;
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
	if (!taken)
		pieces[n_pieces - 1].mapping = true;
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
	base = __real_mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		abort();
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

/* Of poisoned memory, too, and of ASan's own. */
#ifdef SANITIZED
__attribute__((no_sanitize("address")))
#endif
static void
move(void *to, const void *from, size_t n)
{
#ifdef __x86_64__
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
#else
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
#endif
}

/* What ASan knows of eight bytes of memory stands in one: it is kept as well. */
#ifdef SANITIZED
static uint8_t *shadow_of(const uint8_t *p)
{
	size_t scale, offset;
	__asan_get_shadow_mapping(&scale, &offset);
	return (uint8_t *)(((uintptr_t)p >> scale) + offset);
}

static void move_shadow(uint8_t *copy_at, const struct piece *p, bool back)
{
	uint8_t *shadow = shadow_of(p->at);
	move(back ? shadow : copy_at, back ? copy_at : shadow, p->len / 8);
}
#else
static void move_shadow(uint8_t *copy_at, const struct piece *p, bool back)
{
	(void)copy_at;
	(void)p;
	(void)back;
}
#endif

static bool in_use(const struct piece *p)
{
	size_t len;
	move(&len, p->at, sizeof(len)); /* struct block */
	return p->mapping || len;
}

/* All pieces, one after the other, each with its shadow: into the copy, or back. */
static void move_all(bool back)
{
	uint8_t *c = copy;
	for (size_t i = 0; i < n_pieces; i++) {
		const struct piece *p = &pieces[i];
		size_t len = p->buffer ? RED : p->len;
		move(back ? p->at : c, back ? c : p->at, len);
		c += len;
		move_shadow(c, p, back);
		c += p->len / 8;
	}
}

void snapshot_take(void)
{
	size_t n = 0, size = 0;
	for (size_t i = 0; i < n_pieces; i++)
		if (in_use(&pieces[i]))
			pieces[n++] = pieces[i];
	n_pieces = n;
	for (size_t i = 0; i < n; i++)
		size += pieces[i].len + pieces[i].len / 8;
	copy = __real_malloc(size);
	if (!copy)
		abort();
	kept = (used + RED + PAGE - 1) / PAGE * PAGE;
	move_all(false);
	for (size_t i = 0; i < n_statics; i++) {
		statics[i].copy = __real_malloc(statics[i].len);
		if (!statics[i].copy)
			abort();
		memcpy(statics[i].copy, statics[i].p, statics[i].len);
	}
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
	move_all(true);
	for (size_t i = 0; i < n_statics; i++)
		memcpy(statics[i].p, statics[i].copy, statics[i].len);
	used = kept;
	live = kept_live;
	on = true;
}

void snapshot_end(void)
{
	if (live)
		abort(); /* somebody keeps what nobody knows of */
	on = false;
}
