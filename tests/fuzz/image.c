/* SPDX-License-Identifier: Apache-2.0 */
#include "image.h"
#include "poison.h"
#include "wrap_map.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

enum { PAGE = 4096, IMAGES = 8, FOUND = 256 };

/* Of linux/fs.h and linux/userfaultfd.h, which may be older than the kernel. */
enum { WRITTEN = 1 << 1, PROTECT = 1 << 0, CHECK_PROTECTED = 1 << 1 };
#define ASYNC ((1u << 15) | (1u << 13)) /* WP_ASYNC, WP_UNPOPULATED */
struct scan {
	uint64_t size, flags, start, end, walk_end, found, room, max_pages, inverted, all, any,
		returned;
};
struct found {
	uint64_t start, end, categories;
};
#define SCAN _IOWR('f', 16, struct scan)

static struct image {
	uint8_t *at, *copy;
	size_t len;
	size_t from, to; /* whole pages in it that are watched; none: from == to */
} images[IMAGES];
static size_t n_images;
static int uffd = -1, pagemap = -1;

void *__real_malloc(size_t n);

UNCHECKED void image_copy(void *to, const void *from, size_t n)
{
#ifdef __x86_64__
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
#else
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
#endif
}

UNCHECKED void image_clear(void *p, size_t n)
{
#ifdef __x86_64__
	__asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(0) : "memory");
#else
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)p)[i] = 0;
#endif
}

static bool can_watch(void)
{
	static bool asked;
	if (!asked) {
		struct uffdio_api api = { .api = UFFD_API, .features = ASYNC };
		asked = true;
		uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
		pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		if (uffd >= 0 && ioctl(uffd, UFFDIO_API, &api) < 0) {
			close(uffd);
			uffd = -1;
		}
	}
	return uffd >= 0 && pagemap >= 0;
}

/* From now on what is written to is WRITTEN. */
static bool protect(const struct image *i)
{
	struct scan s = { .size = sizeof(s),
			  .flags = PROTECT | CHECK_PROTECTED,
			  .start = (uintptr_t)i->at + i->from,
			  .end = (uintptr_t)i->at + i->to,
			  .all = WRITTEN };
	return ioctl(pagemap, (unsigned long)SCAN, &s) >= 0;
}

static void watch(struct image *i)
{
	size_t head = (PAGE - (uintptr_t)i->at % PAGE) % PAGE;
	if (!can_watch() || i->len < head + PAGE)
		return;
	i->from = head;
	i->to = i->len - (i->len - head) % PAGE;
	struct uffdio_register r = { .range = { (uintptr_t)i->at + i->from, i->to - i->from },
				     .mode = UFFDIO_REGISTER_MODE_WP };
	madvise(i->at + i->from, i->to - i->from, MADV_NOHUGEPAGE);
	if (ioctl(uffd, UFFDIO_REGISTER, &r) < 0 || !protect(i))
		i->from = i->to = 0;
}

void image_take(void *p, size_t len)
{
	struct image *i = &images[n_images++];
	if (n_images > IMAGES)
		abort();
	*i = (struct image){ .at = p, .copy = __real_malloc(len), .len = len };
	if (!i->copy)
		abort();
	image_copy(i->copy, p, len);
	watch(i);
}

static void back(const struct image *i, size_t from, size_t to)
{
	image_copy(i->at + from, i->copy + from, to - from);
}

static void back_written(const struct image *i)
{
	struct found found[FOUND];
	struct scan s = { .size = sizeof(s),
			  .end = (uintptr_t)i->at + i->to,
			  .walk_end = (uintptr_t)i->at + i->from,
			  .found = (uintptr_t)found,
			  .room = FOUND,
			  .all = WRITTEN,
			  .returned = WRITTEN };
	while (s.walk_end < s.end) {
		s.start = s.walk_end;
		int n = ioctl(pagemap, (unsigned long)SCAN, &s);
		if (n < 0)
			abort();
		for (int f = 0; f < n; f++)
			back(i, found[f].start - (uintptr_t)i->at, found[f].end - (uintptr_t)i->at);
	}
	if (!protect(i))
		abort();
}

void image_restore(void)
{
	for (size_t n = 0; n < n_images; n++) {
		const struct image *i = &images[n];
		back(i, 0, i->from);
		if (i->from < i->to)
			back_written(i);
		back(i, i->to, i->len);
	}
}
