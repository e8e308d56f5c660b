/* SPDX-License-Identifier: Apache-2.0 */
/* What the search of a path finds for 64 KiB, what it costs afterwards, and what loss does to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pmtu_path.h"

enum { SEARCH_MOST = 64 << 10, MINUTE_MOST = 2 << 10 };

static struct pmtu_path p;

/* 64 KiB for a search, and 2 KiB for each minute since: at any moment. */
static void check_account(nsec begin)
{
	uint64_t idle = (uint64_t)((p.now - begin) * MINUTE_MOST / (60 * SEC));
	if (p.m.bytes > SEARCH_MOST + idle)
		fail_msg("MTU %u, after %.0f s: %llu bytes", p.mtu, (double)(p.now - begin) / 1e9,
			 (unsigned long long)p.m.bytes);
}

/* --- what is found --- */

/* How far from the true MTU the first result may be: what 64 KiB do not reach is the larger sizes. */
static uint32_t first_error(uint32_t mtu)
{
	static const struct {
		uint32_t below, of_1000;
	} rows[] = {
		{ 1501, 0 }, { 2050, 0 }, { 4097, 6 }, { 5500, 15 }, { 7000, 30 }, { 9001, 51 }
	};
	unsigned i = 0;
	while (mtu >= rows[i].below)
		i++;
	return mtu * rows[i].of_1000 / 1000;
}

/* Each MTU that there is. What is not exact at first is so after a good hour, with no other search. */
static void check_each(uint32_t max, nsec limit)
{
	nsec longest = 0;
	unsigned inexact = 0;
	for (uint32_t mtu = PMTU_MIN_V4; mtu <= max; mtu++) {
		path_init(&p, mtu, max, mtu, 20 * MSEC);
		nsec begin = p.now;
		assert_true(path_search(&p, 2 * SEC));
		check_account(begin);
		assert_true(p.m.size <= mtu);
		if (p.m.size + first_error(mtu) < mtu)
			fail_msg("MTU %u: first result %u", mtu, p.m.size);
		inexact += p.m.size != mtu;
		while (p.m.size != mtu && p.now - begin < limit) {
			path_run(&p, p.now + 20 * SEC);
			check_account(begin);
			assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
		}
		assert_int_equal(p.m.size, mtu);
		longest = nsec_max(longest, p.now - begin);
	}
	printf("own MTU %u: %u of them not exact at once, after %.0f s all\n", max, inexact,
	       (double)longest / 1e9);
}

static void test_each_mtu(void **state)
{
	(void)state;
	check_each(1500, SEC);
	check_each(8999, 4000 * SEC);
	check_each(9000, 4000 * SEC);
}

/* Those that people set: at once, and the wire that most have costs little where one's own is jumbo. */
static void test_usual(void **state)
{
	(void)state;
	static const struct {
		uint32_t mtu, error, bytes;
	} rows[] = {
		{ 1500, 0, 20000 },	   { 1600, 0, SEARCH_MOST }, { 2000, 0, SEARCH_MOST },
		{ 4000, 4, SEARCH_MOST },  { 4096, 0, SEARCH_MOST }, { 8896, 0, SEARCH_MOST },
		{ 8900, 0, SEARCH_MOST },  { 8950, 0, SEARCH_MOST }, { 8974, 12, SEARCH_MOST },
		{ 8999, 14, SEARCH_MOST }, { 9000, 0, 12000 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		path_init(&p, 1, 9000, rows[i].mtu, 20 * MSEC);
		assert_true(path_search(&p, 2 * SEC));
		if (p.m.size > rows[i].mtu || p.m.size + rows[i].error < rows[i].mtu)
			fail_msg("MTU %u: %u", rows[i].mtu, p.m.size);
		assert_true(p.m.bytes <= rows[i].bytes);
	}
}

/* --- afterwards --- */

/* Between searches: below 2 KiB a minute, also in the time after a black hole, when most is sent. */
static void test_idle(void **state)
{
	(void)state;
	static const uint32_t mtus[] = { 576,  1000, 1280, 1437, 1499, 1500,
					 1501, 2000, 4000, 8500, 8896 };
	for (unsigned i = 0; i < ARRAY_SIZE(mtus); i++) {
		path_init(&p, 1, 9000, 9000, 20 * MSEC);
		path_stream(&p, 0, 100 * MSEC, 0, 1);
		path_run(&p, p.now + 3 * SEC);
		p.mtu = mtus[i];
		path_run(&p, p.now + 3 * SEC);
		path_stream(&p, 0, 0, 0, 0);
		path_run(&p, p.now + SEC);
		bool exact = pmtu_settled(&p.m);
		assert_true(p.m.size == mtus[i] || mtus[i] > 1500);
		uint64_t begin = p.m.bytes, minute = begin;
		for (unsigned n = 1; n <= 120; n++) {
			path_run(&p, p.now + 60 * SEC);
			assert_true(p.m.bytes - minute <= MINUTE_MOST || mtus[i] > 1900);
			assert_true(p.m.bytes - begin <= n * MINUTE_MOST);
			minute = p.m.bytes;
		}
		/* at 1, 3, 7, 15 minutes and then each ten */
		assert_true(p.m.bytes - begin >= 14 * mtus[i] || mtus[i] > 2000);
		assert_true(p.m.bytes - begin <= 16 * (mtus[i] + 100) || !exact);
		assert_int_equal(p.m.size, mtus[i]);
		assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
	}
}

/* A path that grows again and again gets no search of 64 KiB each time. */
static void test_grows(void **state)
{
	(void)state;
	static const uint32_t steps[] = { 1, 7, 100, 700 };
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		path_init(&p, 1, 9000, 1200, 20 * MSEC);
		nsec begin = p.now;
		assert_true(path_search(&p, 2 * SEC));
		for (unsigned n = 0; n < 1000; n++) {
			path_run(&p, p.now + 61 * SEC);
			check_account(begin);
			if (n % 10 == 0 && p.mtu + steps[i] <= 9000)
				p.mtu += steps[i];
		}
		path_run(&p, p.now + 7200 * SEC);
		check_account(begin);
		assert_int_equal(p.m.size, p.mtu);
	}
}

/* When low + 1 passes on a path that grew, that is one result, and not one for each byte. */
static void test_lifted(void **state)
{
	(void)state;
	for (uint32_t mtu = 1281; mtu <= 1500; mtu++) {
		path_init(&p, mtu, 1500, 1280, 20 * MSEC);
		assert_true(path_search(&p, SEC));
		p.mtu = mtu;
		while (p.m.size == 1280)
			path_run(&p, p.now + SEC);
		path_run(&p, p.now + 2 * SEC);
		assert_int_equal(p.m.size, mtu);
		assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
	}
}

/* A silent path that lives again is asked for what it took, and searched only where that is gone. */
static void test_revived(void **state)
{
	(void)state;
	for (uint32_t after = 1300; after <= 1437; after += 137) {
		path_init(&p, 1, 1500, 1437, 20 * MSEC);
		assert_true(path_search(&p, SEC));
		path_run(&p, p.now + 590 * SEC);
		p.dead = true;
		path_run(&p, p.now + 60 * SEC); /* the raise timer's round meets it */
		uint64_t bytes = p.m.bytes;
		p.mtu = after;
		p.dead = false;
		path_run(&p, p.now + 40 * SEC);
		assert_int_equal(p.m.size, after);
		assert_true(p.m.bytes - bytes < 3000 || after != 1437);
	}
}

/* --- loss is not a small MTU --- */

struct tally {
	unsigned n, first, minutes, hour;
	uint32_t farthest; /* the first result from the true MTU */
	uint64_t most;
};

static void search_lossy(struct tally *t, uint64_t seed, uint32_t max, double loss)
{
	path_init(&p, seed, max, 1500, 20 * MSEC);
	uint32_t mtu = PMTU_MIN_V4 + path_pick(&p, 1501 - PMTU_MIN_V4);
	path_init(&p, seed, max, mtu, 20 * MSEC);
	p.loss = loss;
	nsec begin = p.now;
	assert_true(path_search(&p, 60 * SEC));
	t->n++;
	t->first += p.m.size == mtu;
	t->farthest = mtu - p.m.size > t->farthest ? mtu - p.m.size : t->farthest;
	t->most = p.m.bytes > t->most ? p.m.bytes : t->most;
	path_run(&p, begin + 300 * SEC);
	t->minutes += p.m.size == mtu;
	path_run(&p, begin + 3600 * SEC);
	t->hour += p.m.size == mtu;
}

static void test_loss(void **state)
{
	(void)state;
	static const struct {
		uint32_t max;
		double loss, first, minutes, hour; /* shares that are exact */
		uint32_t farthest;
	} rows[] = {
		{ 1500, 0.05, 0.999, 1, 1, 4 },
		{ 9000, 0.05, 0.999, 1, 1, 30 },
		{ 1500, 0.2, 0.99, 0.99, 1, 60 },
		{ 9000, 0.2, 0.98, 0.99, 1, 120 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tally t = { 0 };
		for (uint64_t seed = 1; seed <= 1000; seed++)
			search_lossy(&t, seed * 7919, rows[i].max, rows[i].loss);
		printf("own MTU %u, loss %.2f: exact %u of %u, after 5 min %u, 1 h %u; %u bytes "
		       "off, "
		       "%llu bytes sent at most\n",
		       rows[i].max, rows[i].loss, t.first, t.n, t.minutes, t.hour, t.farthest,
		       (unsigned long long)t.most);
		assert_true(t.first >= rows[i].first * t.n);
		assert_true(t.minutes >= rows[i].minutes * t.n);
		assert_true(t.hour >= rows[i].hour * t.n);
		assert_true(t.farthest <= rows[i].farthest);
	}
}

/* What was spent is paid off, however long ago that was. */
static void test_months_later(void **state)
{
	static const nsec days[] = { 1, 1, 51, 53, 60, 110, 4000 };
	(void)state;
	uint32_t afterwards = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(days); i++) {
		path_init(&p, 1, 1500, 1500, 20 * MSEC);
		assert_true(path_search(&p, 2 * SEC));
		p.m.spent = i ? PMTU_SEARCH_BYTES : 0;
		p.m.spent_at = p.now;
		p.now += days[i] * 24 * 3600 * SEC;
		pmtu_too_big(&p.m, p.now, 1400);
		path_run(&p, p.now + SEC);
		if (i)
			assert_int_equal(p.m.spent, afterwards);
		afterwards = p.m.spent;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_mtu), cmocka_unit_test(test_usual),
		cmocka_unit_test(test_idle),	 cmocka_unit_test(test_grows),
		cmocka_unit_test(test_lifted),	 cmocka_unit_test(test_revived),
		cmocka_unit_test(test_loss),	 cmocka_unit_test(test_months_later),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
