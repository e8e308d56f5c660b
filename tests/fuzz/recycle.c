/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings of the key arena (base/arena.h) that stay from one input to the next: to make one takes five
 * system calls, more time than most inputs (the linker puts these before the kernel's). What is given back must be
 * zeros: no key outlives its owner.
 */
#include "wrap_map.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 8, PAGE = 4096 };

static struct kept {
	uint8_t *at;
	size_t len;
	bool used, ready;
} kept[KEPT];

static struct kept *of(const void *p)
{
	const uint8_t *at = p;
	for (int i = 0; i < KEPT; i++)
		if (kept[i].at && at >= kept[i].at && at < kept[i].at + kept[i].len)
			return &kept[i];
	return NULL;
}

/* Arenas alone map what nobody may touch yet. */
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct kept *fresh = NULL;
	for (int i = 0; i < KEPT && prot == PROT_NONE; i++) {
		struct kept *k = &kept[i];
		if (k->at && !k->used && k->len == len) {
			k->used = true;
			return k->at;
		}
		if (!k->at && !fresh)
			fresh = k;
	}
	void *map = __real_mmap(at, len, prot, flags, fd, offset);
	if (fresh && map != MAP_FAILED)
		*fresh = (struct kept){ .at = map, .len = len, .used = true };
	return map;
}

void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return __wrap_mmap(at, len, prot, flags, fd, offset);
}

int __wrap_munmap(void *at, size_t len)
{
	struct kept *k = of(at);
	if (!k)
		return __real_munmap(at, len);
	const uint8_t *slots = k->at + PAGE;
	if (k->ready && (slots[0] || memcmp(slots, slots + 1, k->len - 2 * PAGE - 1) != 0))
		abort();
	k->used = false;
	return 0;
}

int __wrap_mprotect(void *at, size_t len, int prot)
{
	struct kept *k = of(at);
	if (k && k->ready)
		return 0;
	int err = __real_mprotect(at, len, prot);
	if (k && err == 0)
		k->ready = true;
	return err;
}

int __wrap_madvise(void *at, size_t len, int advice)
{
	return of(at) ? 0 : __real_madvise(at, len, advice);
}

int __wrap_mlock2(const void *at, size_t len, unsigned flags)
{
	return of(at) ? 0 : __real_mlock2(at, len, flags);
}
