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

	batching_asked(&b);
	batching_report(&b, now, &(struct batching_count){ sent, arrived, EVERY });
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

/* More may arrive than was sent in an interval, by packets that were under way. */
static void test_more_than_was_sent(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++, now += EVERY)
		report(10, 1000);
	report(0, 0);
	assert_int_equal(changes, 0);
}

/* What a path carries and no more: fewer single datagrams, without losses, are not better. */
static void test_overload(void **state)
{
	(void)state;
	for (nsec until = now + HOUR; now < until; now += EVERY)
		report(batching_allowed(&b) ? 1000 : 400, batching_allowed(&b) ? 500 : 400);
	assert_true(changes >= 2 * 7 && changes <= 2 * 10);
	assert_true(batching_allowed(&b));
}

/* The verdict holds for the next datagram, and so does its end, of a trial or of the ten minutes. */
static void test_at_once(void **state)
{
	static const struct line all = { 100, 0 }, bad = { 100, 100 };
	(void)state;
	while (b.state != BATCHING_SINGLES)
		run(&all, EVERY, 100);
	assert_false(batching_allowed(&b));
	while (b.state == BATCHING_SINGLES)
		run(&all, EVERY, 100);
	assert_true(batching_allowed(&b));
	while (b.state != BATCHING_TRIAL)
		run(&bad, EVERY, 100);
	while (b.state == BATCHING_TRIAL)
		run(&bad, EVERY, 100);
	assert_true(batching_allowed(&b));
}

/* The answer comes when nothing has been sent for long: it is about what was sent in the turn all the same. */
static void test_late_answer(void **state)
{
	static const struct batching_count all = { 100, 0, EVERY }, well = { 100, 100, EVERY };
	(void)state;
	run(&(struct line){ 100, 0 }, EVERY, 100);
	assert_int_equal(b.state, BATCHING_TRIAL);
	for (unsigned turn = 0; b.state == BATCHING_TRIAL; turn++) {
		assert_true(turn < 8);
		batching_asked(&b);
		batching_asked(&b);
		const struct batching_count *c = batching_allowed(&b) ? &all : &well;
		batching_rest(&b);
		assert_true(batching_allowed(&b));
		batching_report(&b, now += EVERY, c);
	}
	assert_int_equal(b.state, BATCHING_SINGLES);
	batching_rest(&b);
	assert_false(batching_allowed(&b));
}

/* The first turns of batches are lost, as the load has it; a later one is not. */
static void test_load_goes(void **state)
{
	static const struct line all = { 100, 0 }, well = { 0, 0 };
	(void)state;
	for (unsigned turns = 0; turns < 4; turns++) {
		setup(NULL);
		run(&all, SEC, 100);
		while (b.state == BATCHING_TRIAL && b.turn < turns)
			run(&all, EVERY, 100);
		assert_int_equal(b.state, BATCHING_TRIAL);
		run(&well, HOUR, 100);
		assert_int_equal(changes, 2);
		assert_true(batching_allowed(&b));
	}
}

/* One batch of those that are sent now and then arrives by chance: no verdict yet. */
static void test_lucky_batch(void **state)
{
	static const struct line all = { 100, 0 }, well = { 0, 0 };
	(void)state;
	run(&all, SEC, 44);
	while (!batching_allowed(&b))
		run(&all, EVERY, 44);
	run(&well, EVERY, 44);
	run(&all, 10 * SEC, 44);
	assert_int_equal(b.state, BATCHING_SINGLES);
}

/* A page now and then: the trial goes on with the next. */
static void test_pages(void **state)
{
	static const struct line all = { 100, 0 };
	(void)state;
	for (unsigned page = 0; page < 8; page++, now += 90 * SEC)
		run(&all, SEC, 60);
	assert_int_equal(b.state, BATCHING_SINGLES);
	assert_int_equal(changes, 2);
}

/* Long after trials that blamed nobody the next ones come soon again. */
static void test_long_ago(void **state)
{
	static const struct line storm = { 40, 40 }, well = { 0, 0 };
	(void)state;
	run(&storm, HOUR, 100);
	run(&well, HOUR, 100);
	changes = 0;
	run(&storm, 70 * SEC, 100);
	assert_int_equal(changes, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_batches_are_lost, setup),
		cmocka_unit_test_setup(test_few_packets, setup),
		cmocka_unit_test_setup(test_all_is_well, setup),
		cmocka_unit_test_setup(test_path_is_lossy, setup),
		cmocka_unit_test_setup(test_better_is_not_enough, setup),
		cmocka_unit_test_setup(test_more_than_was_sent, setup),
		cmocka_unit_test_setup(test_overload, setup),
		cmocka_unit_test_setup(test_at_once, setup),
		cmocka_unit_test_setup(test_late_answer, setup),
		cmocka_unit_test_setup(test_load_goes, setup),
		cmocka_unit_test_setup(test_lucky_batch, setup),
		cmocka_unit_test_setup(test_pages, setup),
		cmocka_unit_test_setup(test_long_ago, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
