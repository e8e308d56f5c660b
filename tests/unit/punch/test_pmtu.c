/* SPDX-License-Identifier: Apache-2.0 */
/* The path MTU search on quiet paths: what it finds, when, and what that costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pmtu_path.h"

static struct pmtu_path p;

static void test_disabled(void **state)
{
	(void)state;
	struct pmtu m;
	struct pmtu_probe probe;
	pmtu_init(&m, PMTU_MIN_V4, 28);
	assert_int_equal(m.state, PMTU_DISABLED);
	assert_int_equal(m.size, PMTU_MIN_V4);
	assert_false(pmtu_poll(&m, SEC, 0, &probe));
	assert_true(pmtu_deadline(&m) == NSEC_NEVER);
	pmtu_acked(&m, SEC, &(struct frame_ack){ .newest = 1, .seen = 1 });
	pmtu_sent(&m, SEC, 1500, 1);
	pmtu_too_big(&m, SEC, 1400);
	pmtu_set_max(&m, SEC, 1500);
	assert_int_equal(m.size, PMTU_MIN_V4);
	assert_true(pmtu_deadline(&m) == NSEC_NEVER);
}

/* What goes out in the first instant. */
static void test_first_round(void **state)
{
	(void)state;
	static const struct {
		bool v6;
		uint32_t max;
		uint32_t sizes[PMTU_ROUND];
	} rows[] = {
		{ false, 1500, { 1280, 1400, 1420, 1452, 1492, 1500 } },
		{ false, 1460, { 1280, 1400, 1420, 1452, 1460 } },
		{ false, 9000, { 1280, 1500, 9000 } }, /* the others when 1500 does not pass */
		{ false, 1000, { 1000 } },
		{ true, 1500, { 1400, 1420, 1452, 1492, 1500 } },
		{ true, 1281, { 1281 } },
		{ false, 70000, { 1280, 1500, 9000 } },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		path_init(&p, 1, 1500, 1500, 0);
		path_begin(&p, rows[i].v6, rows[i].max);
		path_run(&p, p.now);
		unsigned n = 0;
		for (; n < PMTU_ROUND && rows[i].sizes[n]; n++)
			assert_int_equal(p.first_sizes[n], rows[i].sizes[n]);
		/* the largest is answered in no time, and that is all */
		assert_int_equal(p.sent, n);
	}
}

static void test_nothing_to_search(void **state)
{
	(void)state;
	path_init(&p, 1, 1500, 1500, 20 * MSEC);
	path_begin(&p, true, 1280);
	path_run(&p, p.now + SEC);
	assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
	assert_int_equal(p.m.size, 1280);
	assert_int_equal(p.sent, 0);
}

/* Each true MTU: found exactly, in time, in bytes. */
static void check_exact(bool v6, uint32_t around, uint32_t max, nsec rtt, nsec limit)
{
	uint64_t bytes = 0;
	nsec longest = 0;
	for (uint32_t mtu = v6 ? PMTU_MIN_V6 : PMTU_MIN_V4; mtu <= 1500; mtu++) {
		path_init(&p, mtu, max, mtu, rtt);
		p.around = around;
		path_begin(&p, v6, max);
		nsec begin = p.now;
		assert_true(path_search(&p, 60 * SEC));
		assert_int_equal(p.m.size, mtu < max ? mtu : max);
		assert_int_equal(p.m.reason, PMTU_FOUND);
		bytes = p.m.bytes > bytes ? p.m.bytes : bytes;
		longest = nsec_max(p.now - begin, longest);
	}
	printf("v%d, max %u, rtt %.1f ms: at most %u bytes, %.2f s\n", v6 ? 6 : 4, max,
	       (double)rtt / 1e6, (unsigned)bytes, (double)longest / 1e9);
	assert_true(bytes <= PMTU_SEARCH_BYTES);
	assert_true(longest <= limit);
}

static void test_exact(void **state)
{
	(void)state;
	check_exact(false, 28, 1500, 200000, SEC);
	check_exact(false, 28, 1500, 20 * MSEC, SEC);
	check_exact(false, 56, 1460, 20 * MSEC, SEC);
	check_exact(false, 28, 9000, 20 * MSEC, SEC);
	check_exact(false, 28, 1500, 400 * MSEC, 10 * SEC);
	check_exact(true, 76, 1500, 20 * MSEC, SEC);
}

/* What does not pass has failed four times, the last three of them by itself, when that is said. */
static void test_confirmed(void **state)
{
	(void)state;
	path_init(&p, 1, 1500, 1437, 20 * MSEC);
	assert_true(path_search(&p, SEC));
	unsigned tries = 0;
	for (unsigned i = 0; i < p.sent; i++)
		tries += p.first_sizes[i] == 1438;
	assert_int_equal(tries, 1 + PMTU_MAX_PROBES);
	for (unsigned i = 2; i <= 4; i++) /* the last is the query */
		assert_int_equal(p.first_sizes[p.sent - i], 1438);
}

static void test_small_path(void **state)
{
	(void)state;
	path_init(&p, 1, 1500, 1000, 20 * MSEC);
	path_run(&p, p.now + 50 * MSEC);
	assert_int_equal(p.m.state, PMTU_STATE_BASE);
	path_run(&p, p.now + 200 * MSEC);
	assert_int_equal(p.m.state, PMTU_ERROR);
	path_run(&p, p.now + 2 * SEC);
	assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
	assert_int_equal(p.m.size, 1000);
}

/* Routers that tell the truth make it shorter and cheaper. */
static void test_hint(void **state)
{
	(void)state;
	uint64_t bytes = 0;
	nsec longest = 0;
	for (uint32_t mtu = 576; mtu <= 1500; mtu++) {
		path_init(&p, mtu, 1500, mtu, 20 * MSEC);
		p.icmp = true;
		nsec begin = p.now;
		assert_true(path_search(&p, 60 * SEC));
		assert_int_equal(p.m.size, mtu);
		bytes = p.m.bytes > bytes ? p.m.bytes : bytes;
		longest = nsec_max(p.now - begin, longest);
	}
	printf("with ICMP: at most %u bytes, %.2f s\n", (unsigned)bytes, (double)longest / 1e9);
	assert_true(bytes <= 24000 && longest <= 500 * MSEC);
}

/* Whatever forged messages say, and however many. */
static void test_forged(void **state)
{
	(void)state;
	path_init(&p, 1, 1500, 1473, 20 * MSEC);
	p.forged_every = 3 * MSEC;
	assert_true(path_search(&p, 2 * SEC));
	assert_int_equal(p.m.size, 1473);
	uint64_t bytes = p.m.bytes;
	for (unsigned i = 0; i < 600; i++) {
		path_run(&p, p.now + SEC / 2);
		pmtu_too_big(&p.m, p.now, 600);
		assert_int_equal(p.m.size, 1473);
		assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
	}
	/* 300 s: one probe in 88 s, and the raise timer's */
	printf("300 s of forged ICMP cost %u bytes\n", (unsigned)(p.m.bytes - bytes));
	assert_true(p.m.bytes - bytes < 4 * 1600 + 6 * 1600);
	/* one who sees what is probed, and wants a round for each two bytes */
	path_init(&p, 1, 1500, 700, 20 * MSEC);
	for (unsigned i = 0; i < 2000; i++) {
		if (p.m.round.len)
			pmtu_too_big(&p.m, p.now, p.m.round.plan[0] - 2);
		path_run(&p, p.now + MSEC);
	}
	assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
	assert_int_equal(p.m.size, 700);
}

static void test_own_mtu(void **state)
{
	(void)state;
	path_init(&p, 1, 1500, 9000, 20 * MSEC);
	assert_true(path_search(&p, SEC));
	pmtu_set_max(&p.m, p.now, 1400); /* smaller: at once */
	assert_int_equal(p.m.size, 1400);
	assert_int_equal(p.m.reason, PMTU_LOCAL);
	assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
	assert_true(pmtu_deadline(&p.m) == NSEC_NEVER);
	pmtu_set_max(&p.m, p.now, 1480); /* larger: searched, from what is believed */
	assert_int_equal(p.m.size, 1400);
	assert_int_equal(p.m.state, PMTU_STATE_BASE);
	path_run(&p, p.now + SEC);
	assert_int_equal(p.m.size, 1480);
	assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
	p.mtu = 1600; /* larger than the path, nobody can tell */
	pmtu_set_max(&p.m, p.now, 1700);
	path_run(&p, p.now + 2 * SEC);
	assert_int_equal(p.m.size, 1600);
	pmtu_set_max(&p.m, p.now, 1650); /* not what limits: nothing happens */
	assert_int_equal(p.m.size, 1600);
	assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
}

/* At any moment of a search, the host's own MTU may change. */
static void test_own_mtu_meanwhile(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		path_init(&p, i, 1500, 1300 + i % 300, 20 * MSEC);
		path_run(&p, p.now + (nsec)path_pick(&p, 800) * MSEC);
		uint32_t max = 1000 + path_pick(&p, 8000);
		pmtu_set_max(&p.m, p.now, max);
		assert_true(p.m.size <= max);
		path_run(&p, p.now + 3 * SEC);
		pmtu_set_max(&p.m, p.now, 1450);
		path_run(&p, p.now + 3 * SEC);
		assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
		uint32_t best = 1300 + i % 300 < 1450 ? 1300 + i % 300 : 1450;
		assert_true(p.m.size == best || p.m.size == max);
	}
}

/* A path change: the size holds until the first round has said whether it passes. */
static void test_again(void **state)
{
	(void)state;
	static const struct {
		uint32_t before, after;
		enum pmtu_reason reason;
	} rows[] = {
		{ 1500, 1500, PMTU_FOUND },   { 1500, 1400, PMTU_SMALLER },
		{ 1400, 1500, PMTU_FOUND },   { 1500, 1000, PMTU_FOUND },
		{ 1433, 1311, PMTU_FOUND },   { 9000, 1500, PMTU_SMALLER },
		{ 1500, 9000, PMTU_FOUND },   { 9000, 8896, PMTU_FOUND },
		{ 8896, 1280, PMTU_SMALLER }, { 8896, 9000, PMTU_FOUND },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		path_init(&p, 1, 9000, rows[i].before, 20 * MSEC);
		assert_true(path_search(&p, 2 * SEC));
		assert_int_equal(p.m.size, rows[i].before);
		p.mtu = rows[i].after;
		pmtu_start(&p.m, p.now, 77 + i, 9000);
		assert_int_equal(p.m.state, PMTU_STATE_BASE);
		p.sent = 0;
		path_run(&p, p.now + 10 * MSEC);
		assert_int_equal(p.m.size, rows[i].before);
		unsigned tries = 0;
		for (unsigned n = 0; n < p.sent; n++)
			tries += p.first_sizes[n] == rows[i].before;
		assert_int_equal(tries, PMTU_MAX_PROBES - (rows[i].before > 2000));
		path_run(&p, p.now + 2 * SEC);
		assert_int_equal(p.m.size, rows[i].after);
		assert_int_equal(p.m.reason, rows[i].reason);
		assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
	}
	pmtu_stop(&p.m);
	assert_int_equal(p.m.state, PMTU_DISABLED);
	assert_int_equal(p.m.size, PMTU_MIN_V4);
	assert_int_equal(p.m.reason, PMTU_ENDED);
	assert_true(pmtu_deadline(&p.m) == NSEC_NEVER);
}

static bool searched_anew(void)
{
	for (unsigned i = 0; i < p.sent && i < ARRAY_SIZE(p.first_sizes); i++)
		if (p.first_sizes[i] == 1280)
			return true;
	return false;
}

/* Silence proves nothing; when it ends, the search begins again. */
static void test_dead(void **state)
{
	(void)state;
	for (nsec dies = 0; dies < 1000 * MSEC; dies += 10 * MSEC) {
		path_init(&p, 1, 1500, 1437, 20 * MSEC);
		path_run(&p, p.now + dies);
		uint32_t size = p.m.size, probes = p.m.probes;
		p.dead = true;
		path_run(&p, p.now + 11 * MSEC); /* what is in flight */
		size = p.m.size;
		bool complete = p.m.state == PMTU_SEARCH_COMPLETE;
		path_run(&p, p.now + 300 * SEC);
		assert_int_equal(p.m.size, size);
		assert_true(p.m.probes - probes < 12 + 5 + 5 + 300 / 30 + 1);
		assert_true(complete || p.m.lost > 3);
		p.dead = false;
		p.sent = 0;
		path_run(&p, p.now + 32 * SEC);
		assert_true(complete || searched_anew());
		assert_int_equal(p.m.size, 1437);
		assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
	}
}

/* Also what is believed is not given up for silence, whenever that ends. */
static void test_dead_again(void **state)
{
	(void)state;
	for (nsec lasts = 100 * MSEC; lasts < 100 * SEC; lasts = lasts * 3 / 2) {
		path_init(&p, 1, 1500, 1437, 20 * MSEC);
		assert_true(path_search(&p, SEC));
		p.dead = true;
		pmtu_start(&p.m, p.now, 77, 1500);
		for (nsec end = p.now + lasts; p.now < end;) {
			path_run(&p, p.now + 10 * MSEC);
			assert_int_equal(p.m.size, 1437);
		}
		p.dead = false;
		while (p.m.state != PMTU_SEARCH_COMPLETE) {
			path_run(&p, p.now + 10 * MSEC);
			assert_int_equal(p.m.size, 1437);
		}
	}
}

/* An outage that takes the whole first round, or any other, and not the query behind it. */
static void test_short_outage(void **state)
{
	(void)state;
	for (nsec lasts = MSEC; lasts < 700 * MSEC; lasts += 7 * MSEC) {
		for (nsec at = 0; at < 700 * MSEC; at += 70 * MSEC) {
			path_init(&p, 1, 1500, 1437, 20 * MSEC);
			path_run(&p, p.now + at - 1);
			p.dead = true;
			path_run(&p, p.now + lasts);
			p.dead = false;
			path_run(&p, p.now + 3 * SEC);
			assert_int_equal(p.m.size, 1437);
			assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
		}
	}
}

/* One who knows nothing of earlier probes. */
static void test_peer_restarts(void **state)
{
	(void)state;
	for (nsec at = 0; at < 1000 * MSEC; at += 10 * MSEC) {
		path_init(&p, 1, 1500, 1437, 20 * MSEC);
		path_run(&p, p.now + at);
		memset(&p.peer, 0, sizeof(p.peer));
		path_run(&p, p.now + 2 * SEC);
		assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
		assert_int_equal(p.m.size, 1437);
	}
}

/* Answers that are no answers: another path's, of numbers never sent, none at all. */
static void test_strange_answers(void **state)
{
	(void)state;
	path_init(&p, 1, 1500, 1500, 20 * MSEC);
	path_run(&p, p.now);
	struct frame_ack a = { .path = p.m.path + 1, .newest = 6, .seen = 63 };
	pmtu_acked(&p.m, p.now, &a);
	a.path = p.m.path;
	a.newest = 7;
	pmtu_acked(&p.m, p.now, &a);
	a.newest = UINT32_MAX;
	a.seen = UINT64_MAX;
	pmtu_acked(&p.m, p.now, &a);
	a.newest = 0;
	pmtu_acked(&p.m, p.now, &a);
	assert_int_equal(p.m.size, 576);
	assert_int_equal(p.m.lost, 0);
	a.newest = 6;
	a.seen = 1 << 4; /* 1400 alone */
	pmtu_acked(&p.m, p.now, &a);
	assert_int_equal(p.m.size, 1400);
	assert_int_equal(p.m.lost, 5);
	a.seen = 1 << 4 | 1; /* out of order: it was late */
	pmtu_acked(&p.m, p.now, &a);
	assert_int_equal(p.m.size, 1500);
	assert_int_equal(p.m.lost, 4);
	assert_int_equal(p.m.state, PMTU_SEARCH_COMPLETE);
}

/* What was believed to fail arrives late: that it was wrong says nothing of what else failed. */
static void test_refuted(void **state)
{
	(void)state;
	path_init(&p, 1, 1500, 1280, 20 * MSEC);
	path_run(&p, p.now + 200 * MSEC);
	assert_int_equal(p.m.search.low, 1280);
	assert_true(p.m.search.high <= 1400);
	struct frame_ack a = { .path = p.m.path, .newest = 6, .seen = 1 << 4 | 1 << 5 };
	pmtu_acked(&p.m, p.now, &a); /* 1280 and 1400 */
	assert_int_equal(p.m.size, 1400);
	assert_int_equal(p.m.search.high, 1420);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(pmtu_state_name(PMTU_SEARCHING), "searching");
	assert_string_equal(pmtu_state_name(PMTU_SEARCH_COMPLETE), "complete");
	for (int r = 0; r <= PMTU_ENDED; r++)
		assert_non_null(pmtu_reason_text((enum pmtu_reason)r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_disabled),
		cmocka_unit_test(test_first_round),
		cmocka_unit_test(test_nothing_to_search),
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_confirmed),
		cmocka_unit_test(test_small_path),
		cmocka_unit_test(test_hint),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_own_mtu),
		cmocka_unit_test(test_own_mtu_meanwhile),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_dead),
		cmocka_unit_test(test_dead_again),
		cmocka_unit_test(test_short_outage),
		cmocka_unit_test(test_peer_restarts),
		cmocka_unit_test(test_strange_answers),
		cmocka_unit_test(test_refuted),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
