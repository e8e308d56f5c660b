/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "punch/batching.h"

#define SEC NSEC_PER_SEC
#define EVERY (250 * NSEC_PER_MSEC)
#define HOUR (3600 * SEC)

/* Reports of `each` datagrams for so long, of which batches and single ones lose so many of 100. */
struct line {
	unsigned batches_lose, singles_lose;
};

static struct batching b;
static nsec now;
static unsigned changes;

static int setup(void **state)
{
	(void)state;
	b = (struct batching){ 0 };
	now = 1000 * SEC;
	changes = 0;
	return 0;
}

static void report(uint32_t sent, uint32_t arrived)
{
	enum batching_state was = b.state;

	batching_report(&b, now, sent, arrived, EVERY);
	changes += b.state != was;
}

static void run(const struct line *l, nsec time, uint32_t each)
{
	for (nsec until = now + time; now < until; now += EVERY) {
		unsigned lose = batching_allowed(&b) ? l->batches_lose : l->singles_lose;
		report(each, each - each * lose / 100);
	}
}

static void test_batches_are_lost(void **state)
{
	static const struct line all = { 100, 0 }, half = { 50, 1 }, some = { 15, 3 };
	const struct line *lines[] = { &all, &half, &some };
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		setup(NULL);
		run(lines[i], 5 * SEC, 100);
		assert_int_equal(b.state, BATCHING_SINGLES);
		assert_false(batching_allowed(&b));
		assert_int_equal(changes, 2); /* a trial, and its end */
		nsec since = now;
		while (b.state == BATCHING_SINGLES)
			run(lines[i], EVERY, 100);
		assert_true(now - since > 594 * SEC && now - since < 601 * SEC);
		/* tried again, and lost again */
		run(lines[i], 5 * SEC, 100);
		assert_int_equal(b.state, BATCHING_SINGLES);
	}
}

static void test_few_packets(void **state)
{
	static const struct line all = { 100, 0 };
	(void)state;
	/* a TCP that stalls on lost batches sends hardly more */
	run(&all, 20 * SEC, 4);
	assert_int_equal(b.state, BATCHING_SINGLES);
}

static void test_all_is_well(void **state)
{
	static const struct line well = { 0, 0 }, rain = { 12, 12 };
	(void)state;
	run(&well, HOUR, 1000);
	run(&rain, HOUR, 1000);
	assert_int_equal(changes, 0);
	assert_true(batching_allowed(&b));
}

/* A path that loses everything alike: a trial now and then, ever more rarely. */
static void test_path_is_lossy(void **state)
{
	static const struct line storm = { 40, 40 };
	(void)state;
	run(&storm, 60 * SEC, 100);
	assert_int_equal(changes, 2);
	run(&storm, HOUR, 100);
	/* after 60, 120, 240, 480, 600, 600 … s */
	assert_true(changes >= 2 * 7 && changes <= 2 * 10);
	assert_true(batching_allowed(&b));
}

static void test_better_is_not_enough(void **state)
{
	static const struct line a_bit = { 40, 20 };
	(void)state;
	run(&a_bit, 10 * SEC, 100);
	assert_true(batching_allowed(&b));
}

/* Nothing is sent in the middle of a trial: what was lost before says nothing any more. */
static void test_trial_is_forgotten(void **state)
{
	static const struct line all = { 100, 0 }, well = { 0, 0 };
	(void)state;
	run(&all, SEC, 100);
	assert_int_equal(b.state, BATCHING_TRIAL);
	now += HOUR;
	run(&well, EVERY, 100);
	assert_int_equal(b.state, BATCHING_BATCHES);
	run(&well, HOUR, 100);
	assert_int_equal(changes, 2);
}

/* More may arrive than was sent in an interval, by packets that were under way. */
static void test_more_than_was_sent(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++, now += EVERY)
		report(10, 1000);
	now += EVERY;
	report(0, 0);
	assert_int_equal(changes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_batches_are_lost, setup),
		cmocka_unit_test_setup(test_few_packets, setup),
		cmocka_unit_test_setup(test_all_is_well, setup),
		cmocka_unit_test_setup(test_path_is_lossy, setup),
		cmocka_unit_test_setup(test_better_is_not_enough, setup),
		cmocka_unit_test_setup(test_trial_is_forgotten, setup),
		cmocka_unit_test_setup(test_more_than_was_sent, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
