/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few words that every room uses: time, sizes, attributes.
 *
 * Time is `nsec`, nanoseconds of CLOCK_BOOTTIME. Protocol code never reads a clock: the loop reads
 * it once per turn (gateway/loop.c) and passes it down.
 */
#ifndef WARREN_BASE_H
#define WARREN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <assert.h>

typedef int64_t nsec;

#define NSEC_PER_SEC ((nsec)1000000000)
#define NSEC_PER_MSEC ((nsec)1000000)
#define NSEC_NEVER INT64_MAX /* a deadline that does not come */

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline nsec nsec_min(nsec a, nsec b)
{
	return a < b ? a : b;
}

static inline nsec nsec_max(nsec a, nsec b)
{
	return a > b ? a : b;
}

static inline size_t size_min(size_t a, size_t b)
{
	return a < b ? a : b;
}

static inline size_t size_max(size_t a, size_t b)
{
	return a > b ? a : b;
}

#endif
