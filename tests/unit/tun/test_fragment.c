/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting and reading: each length through usual and unusual rooms and back, each bad frame, and the
 * fixtures, which another implementation wrote and which must be read for ever.
 */
#include "oracle.h"
#include "packets.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

enum { FRAME_MAX = FRAGMENT_HEADER_LEN + FRAGMENT_PACKET_MAX };

static uint8_t packet[FRAGMENT_PACKET_MAX], frame[FRAME_MAX];

static int setup(void **state)
{
	struct rng r = { 7 };
	(void)state;
	for (size_t i = 0; i < sizeof(packet); i++)
		packet[i] = (uint8_t)rng_next(&r);
	return 0;
}

/* How many parts of at most `full` bytes, by counting them; their refusal too. */
static uint32_t naive_count(uint32_t len, uint32_t full)
{
	uint32_t count = 0;
	for (uint32_t left = len; left > 0 && count <= FRAGMENT_PARTS_MAX; count++)
		left -= left < full ? left : full;
	return count <= FRAGMENT_PARTS_MAX ? count : 0;
}

/* Writes all frames, the last first, and puts them together. */
static void back_again(struct reassembly *store, const struct fragment_plan *plan)
{
	struct iovec whole = { 0 };
	uint32_t sum = 0;
	for (uint32_t i = plan->count; i-- > 0;) {
		uint32_t n = fragment_write(plan, i, plan->total, packet, frame);
		assert_true(n > FRAGMENT_HEADER_LEN && n <= FRAGMENT_HEADER_LEN + plan->part);
		sum += n - FRAGMENT_HEADER_LEN;
		if (plan->total < FRAGMENT_PACKET_MIN)
			continue;
		assert_int_equal(reassembly_input(store, 0, frame, frame, n, &whole), DROP_NONE);
		assert_int_equal(whole.iov_base != NULL, i == 0);
	}
	assert_int_equal(sum, plan->total);
	if (plan->total < FRAGMENT_PACKET_MIN)
		return;
	assert_int_equal(whole.iov_len, plan->total);
	assert_memory_equal(whole.iov_base, packet, plan->total);
	reassembly_recycle(store);
}

static void each_length(struct reassembly *store, uint32_t room)
{
	for (uint32_t len = 1; len <= FRAGMENT_PACKET_MAX; len++) {
		struct fragment_plan plan;
		uint32_t full = room - FRAGMENT_HEADER_LEN, count = naive_count(len, full);
		enum drop want = count ? DROP_NONE : DROP_TOO_BIG;
		assert_int_equal(fragment_plan(len, room, &plan), want);
		if (!count)
			continue;
		assert_int_equal(plan.total, len);
		assert_int_equal(plan.count, count);
		assert_true(plan.part <= full);
		/* as equal as can be: one byte less each would not do */
		assert_true(plan.count * plan.part >= len && plan.count * (plan.part - 1) < len);
		back_again(store, &plan);
	}
}

static void test_all_lengths(void **state)
{
	static const uint32_t rooms[] = { 13,	14,   68,   100,  293,	294,	   516,
					  1220, 1232, 1372, 1440, 9012, UINT32_MAX };
	struct drops drops = { 0 };
	struct reassembly *store = reassembly_new(&drops);
	(void)state;
	assert_non_null(store);
	for (size_t i = 0; i < ARRAY_SIZE(rooms); i++)
		each_length(store, rooms[i]);
	reassembly_free(store);
}

static void test_plan_refusals(void **state)
{
	static const struct {
		size_t len;
		uint32_t room;
		enum drop want;
	} t[] = {
		{ 0, 1440, DROP_INNER_MALFORMED },
		{ 9001, 1440, DROP_TOO_BIG },
		{ 65535, 65535, DROP_TOO_BIG },
		{ SIZE_MAX, 1440, DROP_TOO_BIG },
		{ 100, 0, DROP_TOO_BIG },
		{ 100, 12, DROP_TOO_BIG },
		{ 32, 13, DROP_NONE },
		{ 33, 13, DROP_TOO_BIG },
		{ 9000, 294, DROP_NONE },
		{ 9000, 293, DROP_TOO_BIG },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct fragment_plan plan;
		if (fragment_plan(t[i].len, t[i].room, &plan) != t[i].want)
			fail_msg("row %zu", i);
	}
}

/* A right frame of 50 of 100 bytes at 30, and what one field of it says instead. */
static void test_read_refusals(void **state)
{
	static const struct {
		size_t at;
		uint16_t value;
		enum drop want;
	} t[] = {
		{ 0, 0x8401, DROP_NONE },
		{ 0, 0x8301, DROP_FRAME_MALFORMED },
		{ 0, 0x8400, DROP_FRAME_VERSION },
		{ 0, 0x8402, DROP_FRAME_VERSION },
		{ 2, 0, DROP_FRAME_MALFORMED },
		{ 2, 79, DROP_FRAME_MALFORMED },
		{ 2, 80, DROP_NONE },
		{ 2, 9000, DROP_NONE },
		{ 2, 9001, DROP_FRAME_MALFORMED },
		{ 2, 65535, DROP_FRAME_MALFORMED },
		{ 4, 65535, DROP_NONE },
		{ 8, 0, DROP_NONE },
		{ 8, 50, DROP_NONE },
		{ 8, 51, DROP_FRAME_MALFORMED },
		{ 8, 65535, DROP_FRAME_MALFORMED }, /* 65535 + 50 is 49 in 16 bits */
		{ 10, 0, DROP_FRAME_MALFORMED },
		{ 10, 1, DROP_NONE }, /* the other 49 are padding */
		{ 10, 51, DROP_FRAME_MALFORMED },
		{ 10, 65535, DROP_FRAME_MALFORMED },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct fragment f;
		size_t n = part_write(frame, 100, 1, 30, 50, packet);
		store_be16(frame + t[i].at, t[i].value);
		if (fragment_read(frame, n, &f) != t[i].want)
			fail_msg("row %zu", i);
	}
}

static void test_smallest(void **state)
{
	struct fragment f;
	(void)state;
	assert_int_equal(fragment_read(frame, part_write(frame, 20, 1, 0, 20, packet), &f),
			 DROP_FRAME_MALFORMED);
	assert_int_equal(fragment_read(frame, part_write(frame, 21, 1, 0, 21, packet), &f),
			 DROP_NONE);
}

/* Each shorter length of a right frame, its end against a page that must not be read. */
static void test_truncated(void **state)
{
	uint8_t *pages =
		mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	(void)state;
	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(mprotect(pages + 4096, 4096, PROT_NONE), 0);
	size_t full = part_write(frame, 100, 1, 30, 50, packet);
	for (size_t n = 0; n <= full; n++) {
		struct fragment f;
		uint8_t *at = pages + 4096 - n;
		memcpy(at, frame, n);
		assert_int_equal(fragment_read(at, n, &f),
				 n == full ? DROP_NONE : DROP_FRAME_MALFORMED);
	}
	munmap(pages, 8192);
}

static size_t fixture(const char *name, uint8_t *out, size_t cap)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s.bin", FIXTURES, name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(out, 1, cap, f);
	fclose(f);
	return n;
}

/* 1501 bytes in two parts; the second has a byte of padding, which makes both frames one size. */
static void test_fixtures(void **state)
{
	static const char *const names[] = { "fragment-first", "fragment-last-padded" };
	uint8_t want[1501], bytes[1024];
	struct fragment_plan plan;
	struct drops drops = { 0 };
	struct reassembly *store = reassembly_new(&drops);
	struct iovec whole = { 0 };
	(void)state;
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)(i * 7 + i / 256 * 13 + 5);
	assert_int_equal(fragment_plan(sizeof(want), 1372, &plan), DROP_NONE);
	for (uint32_t i = 0; i < 2; i++) {
		size_t n = fixture(names[i], bytes, sizeof(bytes));
		assert_int_equal(n, FRAGMENT_HEADER_LEN + plan.part);
		memset(frame, 0, n);
		uint32_t wrote = fragment_write(&plan, i, 0x01020304, want, frame);
		assert_int_equal(wrote, n - i);
		assert_memory_equal(frame, bytes, n);
		assert_int_equal(reassembly_input(store, 0, names, bytes, n, &whole), DROP_NONE);
	}
	assert_int_equal(whole.iov_len, sizeof(want));
	assert_memory_equal(whole.iov_base, want, sizeof(want));
	reassembly_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_lengths),   cmocka_unit_test(test_plan_refusals),
		cmocka_unit_test(test_read_refusals), cmocka_unit_test(test_smallest),
		cmocka_unit_test(test_truncated),     cmocka_unit_test(test_fixtures),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
