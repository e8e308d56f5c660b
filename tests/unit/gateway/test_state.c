/* SPDX-License-Identifier: Apache-2.0 */
/* What outlives a start: the bytes of the state file, and the reserve that no start may use twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/state.h"

#define WALL ((int64_t)1800000000 * NSEC_PER_SEC)

/* A start that sends `n` timestamps and is killed; what it began with is returned. */
static uint64_t life(struct state *s, int64_t wall, int64_t n)
{
	uint64_t boot = state_boot(s, wall);
	int64_t last = s->timestamp;
	(void)!state_reserve(s, last > wall ? last : wall);
	/* as wg_set_timestamp_floor() and the handshakes have it */
	last = (last > wall ? last : wall) + n;
	assert_true(last <= s->timestamp);
	return boot;
}

static void test_boot_is_new_at_each_start(void **state)
{
	/* a crash loop, a clock that steps back by an hour, one that has lost its battery */
	static const int64_t clock[] = { 0, 1, 5, 20, 21, 50, -3600, -3599, -1700000000, 100 };
	struct state s = { 0 };
	uint64_t before = 0;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(clock); i++) {
		uint64_t boot = life(&s, WALL + clock[i] * NSEC_PER_SEC, 1000);
		assert_true(boot > before + 1000);
		before = boot;
	}
}

static void test_reserve_is_saved_in_time(void **state)
{
	struct state s = { 0 };
	unsigned saves = 0;
	(void)state;
	for (int64_t t = 0; t < 6000; t += 10) {
		saves += state_reserve(&s, WALL + t * NSEC_PER_SEC);
		/* until the next look there is enough */
		assert_true(s.timestamp - (WALL + t * NSEC_PER_SEC) > 20 * NSEC_PER_SEC);
	}
	assert_in_range(saves, 10, 20);
}

static void test_file_comes_back(void **state)
{
	struct state s = { .port = 40000, .timestamp = WALL, .number = 77, .has_psk = true }, t;
	uint8_t bytes[512];
	(void)state;
	memset(s.private_key, 1, 32);
	memset(s.psk, 2, 32);
	size_t len = state_encode(&s, bytes, sizeof(bytes));
	assert_true(len > 0);
	memset(&t, 0, sizeof(t));
	assert_int_equal(state_decode(&t, bytes, len), 0);
	assert_memory_equal(&s, &t, sizeof(s));
	/* cut anywhere, or with any bit changed, it is not taken */
	for (size_t i = 0; i < len; i++) {
		memset(&t, 0, sizeof(t));
		assert_int_not_equal(state_decode(&t, bytes, i), 0);
		bytes[i] ^= 1;
		assert_int_not_equal(state_decode(&t, bytes, len), 0);
		bytes[i] ^= 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boot_is_new_at_each_start),
		cmocka_unit_test(test_reserve_is_saved_in_time),
		cmocka_unit_test(test_file_comes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
