/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the search reaches in time where nobody says anything: dear sizes, of which the bytes of one
 * search may leave the last ones to later looks; and sizes under loss. In virtual time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "pmtu_path.h"

#define HOUR (3600 * SEC)

static struct pmtu_path p;

/* Hours until the path's MTU is found to the byte; more than `most`: it is not. Never above it. */
static double hours_to_exact(uint32_t mtu, double most)
{
	nsec begin = p.now;
	double hours = 0;
	while (p.m.size < mtu && hours <= most) {
		path_run(&p, p.now + 60 * SEC);
		assert_true(p.m.size <= mtu && p.spent_most <= PMTU_SEARCH_BYTES);
		hours = (double)(p.now - begin) / (double)HOUR;
	}
	return hours;
}

/* 93 % at first, all of it within four hours. */
static void test_jumbo_grows(void **state)
{
	(void)state;
	static const uint32_t named[] = { 2000, 4000, 8500, 8895, 8897, 8999 };
	double longest = 0;
	uint32_t of = 0;
	for (uint32_t i = 0; i < 126; i++) {
		uint32_t mtu = i < ARRAY_SIZE(named) ? named[i] : 1501 + 62 * (i - 6);
		path_init(&p, mtu, 9000, mtu, 20 * MSEC);
		assert_true(path_search(&p, 60 * SEC));
		assert_true(p.m.size <= mtu && p.m.size >= mtu * 93 / 100);
		double hours = hours_to_exact(mtu, 24);
		of = hours > longest ? mtu : of;
		longest = hours > longest ? hours : longest;
	}
	printf("above 1500, silent: the longest until it was exact were %.1f h, %u bytes\n",
	       longest, of);
	assert_true(longest <= 4);
}

/* The same where the path was another before, which has to be proven first. */
static void test_jumbo_changes(void **state)
{
	static const uint32_t sizes[] = { 1500, 2000, 4000, 8500, 8999, 9000 };
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(sizes); j++) {
			path_init(&p, 1, 9000, sizes[i], 2 * MSEC);
			assert_true(path_search(&p, 60 * SEC));
			p.mtu = sizes[j];
			pmtu_start(&p.m, p.now, 77, 9000);
			path_run(&p, p.now + 30 * SEC);
			if (p.m.size > sizes[j] || p.m.size < sizes[j] * 93 / 100)
				fail_msg("%u after %u: %u", sizes[j], sizes[i], p.m.size);
		}
	}
}

/* A router says what it takes: exact at once, whatever was believed before. */
static void test_jumbo_told(void **state)
{
	(void)state;
	static const uint32_t sizes[] = { 1280, 1500, 2000, 4000, 8500, 8896, 8999, 9000 };
	unsigned wrong = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(sizes); j++) {
			path_init(&p, 1, 9000, sizes[i], 20 * MSEC);
			p.icmp = true;
			assert_true(path_search(&p, 60 * SEC));
			p.mtu = sizes[j];
			pmtu_start(&p.m, p.now, 77, 9000);
			assert_true(path_search(&p, 60 * SEC));
			if (p.m.size != sizes[j])
				printf("told, before %u: %u of %u\n", sizes[i], p.m.size, sizes[j]);
			wrong += p.m.size != sizes[j];
		}
	}
	assert_int_equal(wrong, 0);
}

/* Of 500 sizes up to 1500, how many are not exact at `until` after the start; the least share of it. */
static unsigned inexact(double loss, nsec until, uint32_t *least)
{
	unsigned wrong = 0;
	*least = 1000;
	for (uint32_t seed = 1; seed <= 500; seed++) {
		uint32_t mtu = 576 + seed * 13 % 925;
		path_init(&p, seed, 1500, mtu, 20 * MSEC);
		p.loss = loss;
		path_run(&p, p.now + until);
		assert_true(p.m.size <= mtu);
		wrong += p.m.size != mtu;
		*least = p.m.size * 1000 / mtu < *least ? p.m.size * 1000 / mtu : *least;
	}
	printf("loss %.2f: %u of 500 are not exact after %u s, the least is %u of 1000\n", loss,
	       wrong, (unsigned)(until / SEC), *least);
	return wrong;
}

/* Loss is not a small MTU: exact within a minute. */
static void test_loss_5(void **state)
{
	uint32_t least;
	(void)state;
	assert_int_equal(inexact(0.05, 60 * SEC, &least), 0);
}

/* Where every third question gets no answer, one search in a hundred ends a little too low, for a while. */
static void test_loss_20(void **state)
{
	uint32_t least;
	(void)state;
	assert_true(inexact(0.20, 60 * SEC, &least) <= 5);
	assert_true(least >= 980);
	assert_int_equal(inexact(0.20, 600 * SEC, &least), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jumbo_grows), cmocka_unit_test(test_jumbo_changes),
		cmocka_unit_test(test_jumbo_told),  cmocka_unit_test(test_loss_5),
		cmocka_unit_test(test_loss_20),
	};
	return cmocka_run_group_tests_name("pmtu grow", tests, NULL, NULL);
}
