/* SPDX-License-Identifier: Apache-2.0 */
/* Black holes under data, and the end that counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pmtu_path.h"

static struct pmtu_path p;

/* A path of `mtu`, searched, with a stream of data of the largest size. */
static void under_data(uint32_t mtu, nsec rtt, nsec every)
{
	path_init(&p, mtu, 9000, mtu, rtt);
	assert_true(path_search(&p, 20 * SEC));
	assert_int_equal(p.m.size, mtu);
	path_stream(&p, 0, every, 0, 1);
	path_run(&p, p.now + 5 * SEC + every / 3);
	assert_int_equal(p.m.size, mtu);
}

static void test_black_hole(void **state)
{
	(void)state;
	static const uint32_t rows[][2] = { { 1500, 1400 }, { 1500, 1499 }, { 1500, 1280 },
					    { 1500, 1000 }, { 1500, 576 },  { 1400, 1300 },
					    { 1280, 1279 }, { 9000, 1500 }, { 9000, 8896 },
					    { 1000, 700 } };
	static const nsec paces[] = { 10 * MSEC, 100 * MSEC, SEC };
	static const nsec rtts[] = { 200000, 20 * MSEC, 100 * MSEC, 400 * MSEC };
	for (unsigned r = 0; r < ARRAY_SIZE(rtts); r++) {
		nsec longest = 0;
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
			for (unsigned e = 0; e < ARRAY_SIZE(paces); e++) {
				under_data(rows[i][0], rtts[r], paces[e]);
				p.mtu = rows[i][1];
				path_run(&p, p.now + 20 * SEC);
				assert_int_equal(p.m.size, rows[i][1]);
				longest = nsec_max(longest, p.over_longest);
			}
		}
		printf("rtt %.1f ms: a black hole lasted %.2f s at most\n", (double)rtts[r] / 1e6,
		       (double)longest / 1e9);
		assert_true(longest <= nsec_max(2 * SEC, 3 * SEC + 10 * rtts[r]));
	}
}

static void test_reasons(void **state)
{
	(void)state;
	under_data(1500, 20 * MSEC, 50 * MSEC);
	p.mtu = 1300;
	while (p.m.size == 1500)
		path_run(&p, p.now + MSEC);
	assert_int_equal(p.m.size, PMTU_BASE);
	assert_int_equal(p.m.reason, PMTU_BLACK_HOLE);
	/* what failed is not tried again at once, nor proven by what was sent before */
	assert_true(p.m.round.plan[p.m.round.len - 1] < 1500);
	p.largest = 0;
	struct frame_ack late = { .path = p.m.path, .newest = p.m.number - 8, .seen = UINT64_MAX };
	pmtu_acked(&p.m, p.now, &late);
	assert_int_equal(p.m.size, PMTU_BASE);
	path_run(&p, p.now + 2 * SEC);
	assert_true(p.largest < 1500);
	assert_int_equal(p.m.size, 1300);
	under_data(1500, 20 * MSEC, 50 * MSEC);
	p.mtu = 1200;
	p.icmp = true;
	nsec begin = p.now;
	while (p.m.size == 1500)
		path_run(&p, p.now + MSEC);
	assert_int_equal(p.m.size, PMTU_BASE);
	assert_int_equal(p.m.reason, PMTU_TOO_BIG);
	assert_true(p.now - begin < 400 * MSEC);
	while (p.m.size == PMTU_BASE)
		path_run(&p, p.now + MSEC);
	path_run(&p, p.now + SEC);
	assert_int_equal(p.m.size, 1200);
}

/* And when the path is whole again, the raise timer's probe says so. */
static void test_mended(void **state)
{
	(void)state;
	under_data(1500, 20 * MSEC, 50 * MSEC);
	p.mtu = 1400;
	path_run(&p, p.now + 5 * SEC);
	assert_int_equal(p.m.size, 1400);
	p.mtu = 1500;
	path_run(&p, p.now + 62 * SEC);
	assert_int_equal(p.m.size, 1500);
}

/* A little of the large is hidden by much of the small; and the large may end. */
static void test_mixed(void **state)
{
	(void)state;
	under_data(1500, 20 * MSEC, SEC);
	path_stream(&p, 1, 5 * MSEC, 1300, 1);
	path_run(&p, p.now + 10 * SEC);
	p.mtu = 1400; /* the small ones pass */
	path_run(&p, p.now + 5 * SEC);
	assert_int_equal(p.m.size, 1400);
	assert_true(p.over_longest < 3 * SEC);

	under_data(1500, 20 * MSEC, 50 * MSEC);
	path_stream(&p, 0, 0, 0, 0);
	path_stream(&p, 1, 50 * MSEC, 1400, 1);
	p.mtu = 1300;
	nsec begin = p.now;
	while (p.m.size == 1500)
		path_run(&p, p.now + MSEC);
	assert_int_equal(p.m.size, PMTU_BASE);
	assert_true(p.now - begin < 3 * SEC);
}

static void send_one(uint32_t size)
{
	path_stream(&p, 1, 1000 * SEC, size, 1);
	path_run(&p, p.now);
}

/* TCP sends what is lost again after so long, and then not before 6.2 s. */
static const nsec tcp_tries[] = { 200 * MSEC, 600 * MSEC, 1400 * MSEC, 3000 * MSEC };

/* The size has fallen when the try of that number is made; returns how long it took. */
static nsec mended_for_try(uint32_t size, unsigned last)
{
	nsec begin = p.now;
	send_one(size);
	for (unsigned i = 0; i <= last; i++) {
		path_run(&p, begin + tcp_tries[i] - 1);
		if (p.m.size <= p.mtu)
			break;
		send_one(size);
	}
	assert_true(p.m.size <= p.mtu);
	return p.now - begin;
}

/* At whatever moment between two queries it happens: bytes flow again with TCP's third try. */
static void test_tcp(void **state)
{
	(void)state;
	static const nsec rtts[] = { 200000, 20 * MSEC, 100 * MSEC };
	static const nsec paces[] = { 5 * MSEC, 120 * MSEC, 240 * MSEC, 400 * MSEC };
	for (unsigned r = 0; r < ARRAY_SIZE(rtts); r++) {
		for (unsigned e = 0; e < ARRAY_SIZE(paces); e++) {
			for (nsec phase = 0; phase < 2 * SEC; phase += 37 * MSEC) {
				under_data(1500, rtts[r], paces[e]);
				path_run(&p, p.now + phase);
				p.mtu = 1400;
				path_run(&p, p.now + rtts[r]); /* what it may send unanswered */
				path_stream(&p, 0, 0, 0, 0);
				mended_for_try(1500, 2);
				assert_true(p.over_longest < SEC);
			}
		}
	}
}

/* An older connection, with a smaller MSS, beside a full one that has just ended. */
static void test_lesser(void **state)
{
	(void)state;
	static const uint32_t sizes[] = { 1499, 1448, 1410 };
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (nsec ended = 0; ended < 3 * SEC; ended += 90 * MSEC) {
			under_data(1500, 20 * MSEC, 5 * MSEC);
			path_stream(&p, 0, 0, 0, 0);
			path_run(&p, p.now + ended);
			p.mtu = 1405;
			mended_for_try(sizes[i], 3);

			under_data(1500, 20 * MSEC, 5 * MSEC);
			path_stream(&p, 0, 0, 0, 0);
			path_run(&p, p.now + ended);
			p.mtu = 1405;
			path_stream(&p, 1, SEC, sizes[i], 1);
			path_run(&p, p.now + 3 * SEC - 1);
			assert_true(p.m.size <= 1405);
		}
	}
}

/* Of packets that all arrive one query a second, and of none that are too small to be watched. */
static void test_cost(void **state)
{
	(void)state;
	static const struct {
		nsec every;
		unsigned most;
	} rows[] = { { 2 * MSEC, 61 }, { 50 * MSEC, 61 }, { 140 * MSEC, 61 }, { 300 * MSEC, 201 } };
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		under_data(1500, 20 * MSEC, rows[i].every);
		path_stream(&p, 1, 7 * MSEC, 500, 1);
		uint32_t probes = p.m.probes;
		path_run(&p, p.now + 60 * SEC);
		assert_true(p.m.probes - probes <= rows[i].most);
	}
}

/* What is too small to tell of the size is not watched, and silence costs nothing. */
static void test_no_watch(void **state)
{
	(void)state;
	under_data(1500, 20 * MSEC, 50 * MSEC);
	path_stream(&p, 0, 0, 0, 0);
	path_run(&p, p.now + 2 * SEC);
	uint32_t probes = p.m.probes;
	path_run(&p, p.now + 50 * SEC);
	assert_int_equal(p.m.probes, probes);
	path_stream(&p, 0, 10 * MSEC, PMTU_MIN_V4, 1);
	path_run(&p, p.now + 50 * SEC);
	assert_int_equal(p.m.probes, probes);
	/* sent before it shrank */
	pmtu_set_max(&p.m, p.now, 1400);
	pmtu_sent(&p.m, p.now, 1500, 1);
	assert_true(pmtu_deadline(&p.m) == NSEC_NEVER);
}

/* Queries overtake data by some milliseconds; that alone casts no doubt on it. */
static void test_jitter(void **state)
{
	(void)state;
	under_data(1500, 20 * MSEC, SEC);
	p.jitter = 40 * MSEC;
	p.largest = 0;
	path_run(&p, p.now + 200 * SEC);
	assert_true(p.largest < 200);
}

/*
 * Lost packets are no black hole. The first doubts cost a probe each; where they prove wrong, more has to
 * be missing for longer, so that a path that is always lossy costs little.
 */
static void test_loss(void **state)
{
	(void)state;
	static const struct {
		double loss;
		nsec every;
		unsigned
			most; /* bytes a minute: queries, four a second at most, and large probes */
	} rows[] = {
		{ 0.05, 20 * MSEC, 9000 },  { 0.05, SEC, 8000 }, { 0.2, 20 * MSEC, 20000 },
		{ 0.2, 300 * MSEC, 20000 }, { 0.2, SEC, 13000 }, { 0.2, 3 * SEC, 7000 },
		{ 0.5, 300 * MSEC, 22000 }, { 0.5, SEC, 22000 },
	};
	for (unsigned r = 0; r < ARRAY_SIZE(rows); r++) {
		under_data(1500, 20 * MSEC, rows[r].every);
		p.loss = rows[r].loss;
		uint64_t bytes = p.m.bytes;
		for (unsigned i = 0; i < 1000; i++) {
			path_run(&p, p.now + SEC);
			assert_true(p.m.size == 1500 || p.loss > 0.2);
		}
		unsigned minute = (unsigned)(p.m.bytes - bytes) * 60 / 1000;
		printf("loss %.2f, a packet each %.2f s: %u bytes a minute\n", p.loss,
		       (double)rows[r].every / 1e9, minute);
		assert_true(minute < rows[r].most);
	}
}

/* All is lost for a while, the small too: that is no black hole either. */
static void test_outage(void **state)
{
	(void)state;
	for (nsec lasts = 100 * MSEC; lasts < 20 * SEC; lasts = lasts * 3 / 2) {
		under_data(1500, 20 * MSEC, 50 * MSEC);
		p.dead = true;
		path_run(&p, p.now + lasts);
		p.dead = false;
		path_run(&p, p.now + 5 * SEC);
		assert_int_equal(p.m.size, 1500);
	}
	under_data(1500, 20 * MSEC, 50 * MSEC);
	p.dead = true;
	uint32_t probes = p.m.probes;
	path_run(&p, p.now + 100 * SEC);
	assert_true(p.m.probes - probes < 220); /* four queries in two seconds */
}

static struct frame_ack probe_from(struct pmtu_seen *s, nsec now, bool relayed, uint32_t path,
				   uint32_t number, uint16_t watch)
{
	struct frame_ack a;
	struct frame_probe f = { .size = 64, .path = path, .number = number, .watch = watch };
	pmtu_seen_probe(s, now, relayed, &f, &a);
	assert_int_equal(a.path, path);
	return a;
}

static void test_seen(void **state)
{
	(void)state;
	static const struct {
		uint32_t number, newest;
		uint64_t seen;
	} rows[] = {
		{ 1, 1, 1 },
		{ 2, 2, 3 },
		{ 2, 2, 3 },
		{ 5, 5, 0x19 },
		{ 3, 5, 0x1d },
		{ 67, 67, (uint64_t)1 << 62 | 1 },
		{ 4, 67, (uint64_t)3 << 62 | 1 },
		{ 3, 67, (uint64_t)3 << 62 | 1 },
		{ 131, 131, 1 },
		{ 68, 131, (uint64_t)1 << 63 | 1 },
		{ UINT32_MAX, UINT32_MAX, 1 },
	};
	struct pmtu_seen s = { 0 };
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct frame_ack a = probe_from(&s, (nsec)i, false, 9, rows[i].number, 0);
		assert_int_equal(a.newest, rows[i].newest);
		if (a.seen != rows[i].seen)
			fail_msg("row %u: seen %llx", i, (unsigned long long)a.seen);
	}
}

/* Bounded: the path unused for longest makes room. */
static void test_seen_paths(void **state)
{
	(void)state;
	struct pmtu_seen s = { 0 };
	for (uint32_t path = 1; path <= PMTU_SEEN_PATHS; path++)
		probe_from(&s, path, false, path, 10, 0);
	for (uint32_t path = 1; path <= PMTU_SEEN_PATHS; path++)
		assert_int_equal(probe_from(&s, 100 - path, false, path, 9, 0).seen, 3);
	probe_from(&s, 200, false, 1000, 1, 0); /* in place of the last one */
	for (uint32_t path = 1; path < PMTU_SEEN_PATHS; path++)
		assert_int_equal(probe_from(&s, 200, false, path, 8, 0).seen, 7);
	assert_int_equal(probe_from(&s, 201, false, PMTU_SEEN_PATHS, 8, 0).seen, 1);
}

static void test_seen_watch(void **state)
{
	(void)state;
	struct pmtu_seen s = { 0 };
	pmtu_seen_data(&s, false, 9000);
	struct frame_ack a = probe_from(&s, 1, false, 9, 1, 0);
	assert_true(a.watch == 0 && a.count == 0);
	probe_from(&s, 1, false, 9, 2, 1400);
	pmtu_seen_data(&s, false, 1399);
	pmtu_seen_data(&s, false, 1400);
	pmtu_seen_data(&s, false, 1401);
	pmtu_seen_data(&s, true, 1401); /* another way */
	a = probe_from(&s, 1, false, 9, 3, 0);
	assert_true(a.watch == 1400 && a.count == 2);
	a = probe_from(&s, 1, false, 9, 4, 1400); /* the same: goes on */
	assert_true(a.watch == 1400 && a.count == 2);
	a = probe_from(&s, 1, true, 9, 5, 0);
	assert_true(a.watch == 0 && a.count == 0);
	a = probe_from(&s, 1, false, 9, 6, 1399);
	assert_true(a.watch == 1399 && a.count == 0);
}

/* What a black hole loses, it does not lose because it went in batches. */
static void test_hole_is_no_verdict_on_batches(void **state)
{
	(void)state;
	for (unsigned at = 0; at < 40; at++) {
		path_init(&p, at + 1, 1500, 1500, 2 * MSEC);
		assert_true(path_search(&p, 10 * SEC));
		path_stream(&p, 0, 2 * MSEC, 0, 4);
		path_run(&p, p.now + 5 * SEC + at * 50 * MSEC);
		assert_true(batching_allowed(&p.m.batching));
		p.mtu = 1200;
		path_run(&p, p.now + 20 * SEC);
		assert_int_equal(p.m.size, 1200);
		assert_true(batching_allowed(&p.m.batching));
	}
}

/* Queries or answers are lost, and are sent again; data is not. */
static void test_queries_are_lost(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 10; seed++) {
		path_init(&p, seed, 1500, 1500, 2 * MSEC);
		assert_true(path_search(&p, 10 * SEC));
		path_stream(&p, 0, 2 * MSEC, 0, 4);
		p.deaf = 0.3;
		p.mtu = 9000; /* and rounds go on beside */
		pmtu_set_max(&p.m, p.now, 9000);
		for (unsigned i = 0; i < 6000; i++) {
			path_run(&p, p.now + 100 * MSEC);
			assert_int_equal(p.m.batching.state, BATCHING_BATCHES);
		}
		assert_in_range(p.m.size, 1500, 9000);
	}
}

/* The next query begins the turn; there is one each second at least. A turn has more than 8 datagrams. */
static bool turn_begins(void)
{
	for (unsigned i = 0; i < 750 && batching_allowed(&p.m.batching); i++)
		path_run(&p, p.now + 2 * MSEC);
	return !batching_allowed(&p.m.batching);
}

/* In a turn of single datagrams the large ones end: the small ones do not go singly for ever. */
static void test_trial_without_traffic(void **state)
{
	(void)state;
	path_init(&p, 1, 1500, 1500, 2 * MSEC);
	assert_true(path_search(&p, 10 * SEC));
	path_stream(&p, 0, 2 * MSEC, 0, 4);
	path_run(&p, p.now + 5 * SEC);
	p.m.batching.state = BATCHING_TRIAL;
	assert_true(turn_begins());
	path_stream(&p, 0, 2 * MSEC, 200, 4);
	path_run(&p, p.now + SEC);
	assert_false(batching_allowed(&p.m.batching));
	path_run(&p, p.now + 2 * SEC);
	assert_true(batching_allowed(&p.m.batching));
	assert_int_equal(p.m.batching.state, BATCHING_TRIAL);
	path_stream(&p, 0, 2 * MSEC, 0, 4);
	assert_true(turn_begins());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_black_hole),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_mended),
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_lesser),
		cmocka_unit_test(test_cost),
		cmocka_unit_test(test_no_watch),
		cmocka_unit_test(test_jitter),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_outage),
		cmocka_unit_test(test_seen),
		cmocka_unit_test(test_seen_paths),
		cmocka_unit_test(test_seen_watch),
		cmocka_unit_test(test_hole_is_no_verdict_on_batches),
		cmocka_unit_test(test_queries_are_lost),
		cmocka_unit_test(test_trial_without_traffic),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
