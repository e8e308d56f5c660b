/* SPDX-License-Identifier: Apache-2.0 */
/* The path MTU searches of a link: when they begin and end, and what they say. */
#include "link_ways.h"

#include <sodium.h>

/* --- begin and end --- */

static void test_nothing_before_the_session(void **state)
{
	(void)state;
	set_relay();
	path_at(A);
	run_on(10 * SEC);
	assert_int_equal(way(A)->probes + relay()->probes, 0);
	assert_int_equal(link_message_max(t.l), 576 - 28);
	assert_null(link_pmtu(t.l));
	nsec up = t.now;
	link_session_up(t.l, t.now);
	assert_int_equal(links_deadline(t.ls), 0);
	run_on(5 * SEC);
	/* the path in use, and the one that is fallen back to */
	assert_int_equal(way(A)->first, up);
	assert_int_equal(relay()->first, up);
	assert_int_equal(link_message_max(t.l), 1500 - 28);
	assert_int_equal(search_of(A)->state, PMTU_SEARCH_COMPLETE);
	assert_int_equal(search_of("203.0.113.1:7777")->size, 1500);
	assert_int_equal(w.news, 2);
}

static void test_session_before_the_path(void **state)
{
	(void)state;
	link_session_up(t.l, t.now);
	run_on(SEC);
	assert_int_equal(link_message_max(t.l), 0);
	set_relay();
	run_on(2 * SEC);
	assert_true(relay()->probes > 0);
	assert_int_equal(link_message_max(t.l), 1500 - 56);
	struct endpoint e = ep(A);
	link_introduce(t.l, t.now, &e, 1);
	run_on(2 * SEC);
	assert_true(way(A)->probes > 0);
	assert_int_equal(link_message_max(t.l), 1500 - 28);
}

static void test_alternative_on_its_second_answer(void **state)
{
	struct endpoint a = ep("10.0.0.7:1000"), b = ep(B);
	(void)state;
	link_session_up(t.l, t.now);
	link_introduce(t.l, t.now, &a, 1);
	run_on(3 * SEC);
	uint32_t probes = way_of(&a)->probes;
	assert_true(probes > 0);
	way(B)->dead = true;
	link_introduce(t.l, t.now, &b, 1);
	turn();
	way(B)->dead = false;
	run_on(60 * MS); /* the first answer */
	struct link_path_info info[4];
	assert_int_equal(link_paths(t.l, info, 4), 2);
	assert_true(info[1].proven && !info[1].in_use);
	assert_int_equal(way(B)->probes, 0);
	run_on(30 * SEC); /* its next heartbeat */
	assert_true(way(B)->probes > 0);
	assert_int_equal(search_of(B)->size, 1500);
	assert_true(w.mtu.mtu.news && !w.mtu.mtu.in_use);
	assert_int_equal(way_of(&a)->probes, probes);
}

/* Many that answer, each more than once before it is known which are kept: three are searched. */
static void test_only_what_is_kept(void **state)
{
	static const char *const at[] = { "198.51.100.1:9", "198.51.100.2:9", "198.51.100.3:9",
					  "198.51.100.4:9", "198.51.100.5:9", "198.51.100.6:9" };
	unsigned searched = 0;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(at); i++)
		introduce(at[i], NULL);
	run_for(120 * MS); /* the harness answers nothing */
	for (unsigned i = 0, n = t.nsent; i < n; i++)
		if (t.sent[i].m.type == OUTER_TYPE_PING)
			assert_int_equal(answer(&t.sent[i]), DROP_NONE);
	link_session_up(t.l, t.now);
	run_on(SEC);
	for (size_t i = 0; i < ARRAY_SIZE(at); i++)
		searched += search_of(at[i]) != NULL;
	assert_int_equal(searched, 3);
}

static void test_ends_with_the_path(void **state)
{
	(void)state;
	set_relay();
	path_at(A);
	link_session_up(t.l, t.now);
	relay()->takes = 1300;
	run_on(5 * SEC);
	assert_int_equal(link_message_max(t.l), 1500 - 28);
	way(A)->dead = true;
	for (unsigned i = 0; i < 100 && uses(A); i++) {
		link_active(t.l, t.now);
		run_on(100 * MS);
	}
	assert_true(uses_relay());
	assert_int_equal(link_message_max(t.l), 1300 - 56);
	assert_int_equal(search_of(A)->state, PMTU_DISABLED);
	uint32_t probes = way(A)->probes;
	run_on(100 * SEC);
	assert_int_equal(way(A)->probes, probes);
	/* back again: from the smallest size, under another name */
	uint32_t name = way(A)->name;
	way(A)->dead = false;
	run_on(100 * SEC);
	assert_true(uses(A));
	assert_int_not_equal(way(A)->name, name);
	assert_int_equal(link_message_max(t.l), 1500 - 28);
}

/* One of 24 places for candidates is taken by another: its search was not theirs. */
static void test_place_taken_again(void **state)
{
	(void)state;
	path_at(A);
	link_session_up(t.l, t.now);
	run_on(5 * SEC);
	way(A)->dead = true;
	run_on(60 * SEC);
	assert_null(link_path(t.l));
	assert_non_null(search_of(A));
	for (uint8_t i = 0; i < 24; i++) {
		struct addr a = { .b = { 0x20, 1, 0xd, 0xb8, [15] = i } };
		struct endpoint e = { .addr = a, .port = 7 };
		way_of(&e)->dead = i < 23;
		way_of(&e)->takes = 1300;
		link_introduce(t.l, t.now, &e, 1);
	}
	assert_null(search_of(A));
	unsigned mtus = w.mtus;
	run_on(20 * SEC);
	assert_true(uses("[2001:db8::17]:7"));
	assert_int_equal(link_message_max(t.l), 1300 - 48);
	assert_true(w.mtus > mtus);
	assert_int_equal(w.mtu.mtu.size, 1300);
	assert_int_equal(w.mtu.mtu.was, 0); /* nothing was said of it before */
}

/* --- what is said --- */

static void test_news(void **state)
{
	static const struct {
		enum pmtu_state state;
		uint32_t size;
		bool change, news;
		uint32_t was;
	} steps[] = {
		{ PMTU_STATE_BASE, 576, true, false, 0 },
		{ PMTU_STATE_BASE, 576, false, false, 0 },
		{ PMTU_SEARCHING, 1280, true, false, 0 },
		{ PMTU_SEARCHING, 1400, true, false, 0 },
		{ PMTU_SEARCHING, 1290, true, false, 0 }, /* than what no line said */
		{ PMTU_SEARCHING, 1400, true, false, 0 },
		{ PMTU_SEARCH_COMPLETE, 1400, true, true, 0 },
		{ PMTU_SEARCH_COMPLETE, 1400, false, false, 0 },
		{ PMTU_STATE_BASE, 1280, true, true, 1400 }, /* smaller: at once */
		{ PMTU_SEARCHING, 1300, true, false, 1280 },
		{ PMTU_SEARCHING, 1290, true, true, 1280 },
		{ PMTU_SEARCH_COMPLETE, 1290, true, false, 1290 },
		{ PMTU_SEARCHING, 1400, true, false, 1290 },
		{ PMTU_SEARCH_COMPLETE, 1400, true, true, 1290 },
		{ PMTU_STATE_BASE, 1400, true, false, 1400 },
		{ PMTU_SEARCH_COMPLETE, 1400, true, false, 1400 }, /* as it was */
		{ PMTU_DISABLED, 576, true, false, 1400 },	   /* the path went, not its size */
		{ PMTU_SEARCHING, 1280, true, false, 1400 },
		{ PMTU_SEARCH_COMPLETE, 1400, true, false, 1400 },
		{ PMTU_ERROR, 600, true, true, 1400 },
	};
	struct mtu_told told = { 0 };
	struct link_mtu out;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct pmtu m = { .state = steps[i].state, .size = steps[i].size };
		bool change = mtu_changed(&m, &told, &out);
		assert_int_equal(change, steps[i].change);
		if (!change)
			continue;
		assert_int_equal(out.news, steps[i].news);
		assert_int_equal(out.was, steps[i].was);
		assert_int_equal(out.size, steps[i].size);
	}
}

/* What is gained bit by bit after the search: no line for each bit, and one when it is all. */
static void test_few_lines(void **state)
{
	(void)state;
	w.local = 9000;
	way(A)->takes = 7000;
	path_at(A);
	link_session_up(t.l, t.now);
	run_on(5 * SEC);
	uint32_t first = w.mtu.mtu.size;
	assert_int_equal(w.news, 1);
	assert_true(first < 7000 && first > 6500);
	run_on(4000 * SEC);
	assert_int_equal(link_message_max(t.l), 7000 - 28);
	assert_int_equal(w.news, 2);
	assert_int_equal(w.last_news.size, 7000);
	assert_int_equal(w.last_news.was, first);
}

/* --- data, and hints --- */

static void test_data_wakes(void **state)
{
	(void)state;
	path_at(A);
	link_session_up(t.l, t.now);
	run_on(20 * SEC);
	uint32_t probes = way(A)->probes;
	nsec idle = links_deadline(t.ls);
	assert_true(idle > t.now + 500 * MS);
	link_sent(t.l, t.now, 1472, 3);
	assert_int_equal(links_deadline(t.ls), 0);
	turn();
	/* the first query tells the peer what to count, at once */
	assert_int_equal(way(A)->probes, probes + 1);
	run_on(400 * MS);
	link_sent(t.l, t.now, 1472, 3);
	turn();
	assert_true(links_deadline(t.ls) <= t.now + 250 * MS);
	/* none of them was counted: the size is doubted, probed, and holds */
	run_on(2 * SEC);
	assert_true(way(A)->probes > probes + 2);
	assert_int_equal(link_message_max(t.l), 1472);
}

static void test_too_big(void **state)
{
	(void)state;
	set_relay();
	path_at(A);
	link_session_up(t.l, t.now);
	run_on(40 * SEC);
	uint32_t direct = way(A)->probes, relayed = relay()->probes;
	struct endpoint a = ep(A), c = ep(C), r = relay_at();
	link_too_big(t.l, t.now, &c, false, 1300);
	link_too_big(t.l, t.now, &r, false, 1300); /* not a path that is direct */
	run_on(SEC);
	assert_int_equal(way(A)->probes + relay()->probes, direct + relayed);
	link_too_big(t.l, t.now, &a, false, 1300);
	run_on(SEC);
	assert_true(way(A)->probes > direct);
	assert_int_equal(relay()->probes, relayed);
	assert_int_equal(link_message_max(t.l), 1472);
	relay()->takes = 1300;
	link_too_big(t.l, t.now, &r, true, 1300);
	run_on(3 * SEC);
	assert_int_equal(search_of("203.0.113.1:7777")->size, 1300);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, ways_begin, done)
	const struct CMUnitTest tests[] = {
		T(test_nothing_before_the_session),
		T(test_session_before_the_path),
		T(test_alternative_on_its_second_answer),
		T(test_only_what_is_kept),
		T(test_ends_with_the_path),
		T(test_place_taken_again),
		T(test_news),
		T(test_few_lines),
		T(test_data_wakes),
		T(test_too_big),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
