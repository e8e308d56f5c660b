/* SPDX-License-Identifier: Apache-2.0 */
/* A link where this host's own ways change: the path MTU searches, also over a relay, and who is asked. */
#include "link_ways.h"

#include <sodium.h>

static void test_network_change(void **state)
{
	(void)state;
	set_relay();
	path_at(A);
	link_session_up(t.l, t.now);
	run_on(5 * SEC);
	uint32_t name = way(A)->name, relay_name = relay()->name, probes = way(A)->probes;
	unsigned news = w.news;
	w.tag++;
	links_network_changed(t.ls, t.now);
	assert_int_equal(link_message_max(t.l), 1500 - 28); /* believed until shown otherwise */
	run_on(5 * SEC);
	assert_true(way(A)->probes > probes);
	assert_int_not_equal(way(A)->name, name);
	assert_int_not_equal(relay()->name, relay_name);
	assert_int_equal(link_message_max(t.l), 1500 - 28);
	assert_int_equal(w.news, news); /* the same as before is no news */
	way(A)->takes = 1400;
	w.tag++;
	links_network_changed(t.ls, t.now);
	run_on(5 * SEC);
	assert_int_equal(link_message_max(t.l), 1400 - 28);
	assert_true(w.news > news && w.mtu.mtu.was);
}

/* Container hosts see interfaces come and go: that is no reason to search any path again. */
static void test_change_elsewhere(void **state)
{
	(void)state;
	set_relay();
	path_at(A);
	link_session_up(t.l, t.now);
	run_on(5 * SEC);
	uint32_t probes = way(A)->probes + relay()->probes;
	for (unsigned i = 0; i < 100; i++) {
		links_network_changed(t.ls, t.now);
		run_on(100 * MS);
	}
	assert_int_equal(way(A)->probes + relay()->probes, probes);
	/* the way to the peer is another, and that to the relay is not */
	uint32_t relayed = relay()->probes;
	w.moved = way(A)->at.addr;
	links_network_changed(t.ls, t.now);
	run_on(5 * SEC);
	assert_true(way(A)->probes > probes - relayed);
	assert_int_equal(relay()->probes, relayed);
}

/* A way that flaps: a search a second, the last of them of what it is in the end. */
static void test_changes_in_a_row(void **state)
{
	(void)state;
	path_at(A);
	link_session_up(t.l, t.now);
	run_on(5 * SEC);
	unsigned searches = 0;
	uint32_t name = way(A)->name;
	for (unsigned i = 0; i < 300; i++) {
		w.tag++;
		w.local = i < 299 ? 1500 - i % 7 : 1400;
		links_network_changed(t.ls, t.now);
		run_on(10 * MS);
		searches += way(A)->name != name;
		name = way(A)->name;
	}
	assert_true(searches >= 3 && searches <= 4);
	run_on(2 * SEC);
	assert_int_equal(link_message_max(t.l), 1400 - 28);
}

/* A relay hears us over IPv6, and the peer over IPv4: the smallest size holds on both ways. */
static void test_relay_of_two_families(void **state)
{
	(void)state;
	struct path v4 = { .remote = ep("198.51.100.1:1") },
		    v6 = { .remote = ep("[2001:db8::1]:1") };
	assert_int_equal(path_floor(&v4), PMTU_MIN_V4);
	assert_int_equal(path_floor(&v6), PMTU_MIN_V6);
	v4.relay = v6.relay = true;
	assert_int_equal(path_floor(&v6) - path_around(&v6), path_floor(&v4) - path_around(&v4));
	assert_int_equal(path_floor(&v4), PMTU_MIN_V4);
	struct endpoint at = ep("[2001:db8::77]:7777");
	static const uint8_t key[RELAY_KEY_LEN] = { 1 };
	links_set_relay(t.ls, t.now, 1, &at, key);
	assert_int_equal(link_message_max(t.l), PMTU_MIN_V4 - 56);
	for (uint32_t leg2 = 576; leg2 <= 1300; leg2 += 71) {
		way_of(&at)->takes =
			leg2 + 20; /* of the second leg's packets, in the first one's bytes */
		w.tag++;
		link_session_up(t.l, t.now);
		links_network_changed(t.ls, t.now);
		run_on(5 * SEC);
		assert_int_equal(link_message_max(t.l), leg2 - 56);
	}
}

static void test_local_mtu(void **state)
{
	(void)state;
	set_relay();
	path_at(A);
	link_session_up(t.l, t.now);
	run_on(5 * SEC);
	struct endpoint a = ep(A), c = ep(C);
	w.local = 1300;
	links_local_mtu(t.ls, t.now, &c.addr, 1300);
	turn();
	assert_int_equal(link_message_max(t.l), 1472);
	links_local_mtu(t.ls, t.now, &a.addr, 1300);
	assert_int_equal(link_message_max(t.l), 1300 - 28);
	turn();
	assert_int_equal(w.mtu.mtu.reason, PMTU_LOCAL);
	assert_true(w.mtu.mtu.news && w.mtu.mtu.in_use && w.mtu.mtu.was == 1500);
	assert_int_equal(search_of("203.0.113.1:7777")->size, 1500);
	/* what was said then does not hold any more */
	w.local = 1500;
	links_network_changed(t.ls, t.now);
	run_on(5 * SEC);
	assert_int_equal(link_message_max(t.l), 1472);
}

/* A host without IPv6, or without a route there, is introduced to candidates that it cannot send to. */
static void test_no_way(void **state)
{
	(void)state;
	w.nowhere = way(B)->at.addr;
	path_at(A);
	introduce(A, B);
	run_on(5 * SEC);
	assert_true(way(A)->pings && uses(A));
	assert_int_equal(way(B)->pings, 0);
	/* nor of those that are asked now and then while data flows */
	for (unsigned i = 0; i < 130; i++) {
		link_active(t.l, t.now);
		run_on(SEC);
	}
	assert_int_equal(way(B)->pings, 0);
	/* a ping that comes from there has shown that there is one, whatever the table says */
	assert_int_equal(ping_from(B, 0), DROP_NONE);
	run_on(SEC);
	assert_true(way(B)->pings);
}

static void test_way_appears(void **state)
{
	(void)state;
	w.nowhere = way(A)->at.addr;
	introduce(A, NULL);
	run_on(5 * SEC);
	assert_int_equal(way(A)->pings, 0);
	w.nowhere = addr_any;
	links_network_changed(t.ls, t.now);
	run_on(100 * MS);
	assert_true(uses(A));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, ways_begin, done)
	const struct CMUnitTest tests[] = {
		T(test_network_change), T(test_change_elsewhere),      T(test_changes_in_a_row),
		T(test_local_mtu),	T(test_relay_of_two_families), T(test_no_way),
		T(test_way_appears),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
