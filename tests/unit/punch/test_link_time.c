/* SPDX-License-Identifier: Apache-2.0 */
/* When what is sent, and when a path is taken and left. */
#include "link_harness.h"

static void test_starts_on_the_relay(void **state)
{
	(void)state;
	assert_null(link_path(t.l));
	drain();
	assert_int_equal(t.wants, 1);
	set_relay();
	assert_true(uses_relay());
	drain();
	assert_int_equal(t.changes, 1);
	assert_true(t.path.relay);
	assert_int_equal(t.nsent, 1); /* asks over it whether it works */
	set_relay();
	drain();
	assert_int_equal(t.changes, 1); /* the same again is nothing */
	links_set_relay(t.ls, t.now, 0, NULL, relay_key);
	assert_null(link_path(t.l));
}

static void test_probe_times(void **state)
{
	(void)state;
	static const nsec at[] = { 0, 50, 100, 200, 400, 800, 1600 };
	run_for(SEC);
	forget();
	nsec start = t.now;
	introduce("198.51.100.7:1000", "[2001:db8::7]:1000");
	run_for(3 * SEC);
	assert_int_equal(t.nsent, 2 * ARRAY_SIZE(at));
	for (unsigned i = 0; i < t.nsent; i++)
		assert_int_equal(t.sent[i].at - start, at[i / 2] * MS);
	assert_int_equal(pings_to("198.51.100.7:1000"), ARRAY_SIZE(at));
	assert_null(link_path(t.l)); /* nobody answered */
}

static void test_heartbeats(void **state)
{
	(void)state;
	set_relay();
	prove("198.51.100.7:1000", 10 * MS);
	forget();
	live_for(100 * SEC, NULL); /* idle: each 20 s */
	assert_in_range(pings_to("198.51.100.7:1000"), 4, 6);
	link_active(t.l, t.now);
	forget();
	drain();
	assert_int_equal(pings_to("198.51.100.7:1000"), 1); /* asked at once after the rest */
	for (int i = 0; i < 20; i++) {
		link_active(t.l, t.now);
		live_for(SEC, NULL);
	}
	assert_in_range(pings_to("198.51.100.7:1000"), 9, 13); /* each 2 s */
	forget();
	live_for(31 * SEC, NULL); /* 10 s active yet, then idle */
	assert_in_range(pings_to("198.51.100.7:1000"), 5, 8);
}

static void test_dead_path(void **state)
{
	(void)state;
	set_relay();
	live_for(SEC, NULL);
	prove("198.51.100.7:1000", 10 * MS);
	link_active(t.l, t.now);
	live_for(5 * SEC, NULL);
	assert_true(uses("198.51.100.7:1000"));
	forget();
	nsec deadline = links_deadline(t.ls);
	t.now = deadline;
	link_active(t.l, t.now);
	run_for(499 * MS);
	assert_int_equal(pings_to("198.51.100.7:1000"), 1);
	run_for(2 * MS);
	assert_int_equal(pings_to("198.51.100.7:1000"), 2);
	run_for(250 * MS);
	assert_int_equal(pings_to("198.51.100.7:1000"), 3);
	assert_true(uses("198.51.100.7:1000"));
	run_for(250 * MS); /* the third unanswered */
	assert_true(uses_relay());
	assert_int_equal(t.changes, 1);
	assert_int_equal(t.wants, 1);
	assert_int_equal(pings_to("198.51.100.7:1000"), 4); /* probed anew at once */
	run_for(60 * MS);
	assert_int_equal(pings_to("198.51.100.7:1000"), 5);
	/* and it heals */
	assert_int_equal(answer(last_ping_to("198.51.100.7:1000")), DROP_NONE);
	assert_true(uses("198.51.100.7:1000"));
}

static void test_patience_with_long_round_trips(void **state)
{
	(void)state;
	set_relay();
	prove("198.51.100.7:1000", 400 * MS);
	link_active(t.l, t.now);
	run_for(2200 * MS);
	assert_int_equal(pings_to("198.51.100.7:1000"), 2); /* the heartbeat, */
	nsec sent = last_ping_to("198.51.100.7:1000")->at;
	run_until(sent + 1199 * MS);
	assert_int_equal(pings_to("198.51.100.7:1000"), 2);
	run_until(sent + 1201 * MS); /* repeated after three round trips */
	assert_int_equal(pings_to("198.51.100.7:1000"), 3);
}

static void test_falls_over_to_a_fresh_alternative(void **state)
{
	(void)state;
	set_relay();
	live_for(SEC, NULL);
	prove("198.51.100.7:1000", 10 * MS);
	prove("198.51.100.8:1000", 12 * MS);
	assert_true(uses("198.51.100.7:1000"));
	link_active(t.l, t.now);
	live_for(3 * SEC, "198.51.100.7:1000");
	assert_true(uses("198.51.100.8:1000"));
	/* One that was heard long ago is asked first; meanwhile the relay carries. */
	live_for(17 * SEC, "198.51.100.7:1000");
	prove("198.51.100.7:1000", 12 * MS);
	live_for(9 * SEC, NULL);
	assert_true(uses("198.51.100.8:1000"));
	link_active(t.l, t.now);
	for (int i = 0; i < 40 && uses("198.51.100.8:1000"); i++)
		run_for(100 * MS);
	assert_true(uses_relay());
	assert_int_equal(answer(last_ping_to("198.51.100.7:1000")), DROP_NONE);
	assert_true(uses("198.51.100.7:1000"));
}

static void test_hysteresis(void **state)
{
	(void)state;
	static const struct {
		nsec first, second;
		bool moves;
	} cases[] = {
		{ 20 * MS, 10 * MS, true },  { 20 * MS, 19 * MS, false },
		{ 2 * MS, 3 * MS / 2, false }, { 2 * MS, MS / 2, true },
		{ 100 * MS, 91 * MS, false }, { 100 * MS, 89 * MS, true },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		links_free(t.ls);
		fresh(NULL);
		prove("198.51.100.7:1000", cases[i].first);
		prove("198.51.100.8:1000", cases[i].second);
		assert_int_equal(uses("198.51.100.8:1000"), cases[i].moves);
	}
	links_free(t.ls);
	fresh(NULL);
	prove("198.51.100.7:1000", 2 * MS);
	prove("192.168.1.9:1000", 2 * MS); /* the same LAN rather than a turn through the NAT */
	assert_true(uses("192.168.1.9:1000"));
}

/* Whoever introduces us, to whatever, as often as he likes: 40 pings a second and a burst. */
static void test_hostile_introductions(void **state)
{
	(void)state;
	nsec start = t.now;
	uint32_t v4 = 0xc0000200;
	unsigned n = 0;
	while (t.now < start + 10 * SEC) {
		struct endpoint c[16];
		for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
			c[i] = (struct endpoint){ .addr = addr_v4_u32(v4++), .port = 53 };
		link_introduce(t.l, t.now, c, ARRAY_SIZE(c));
		run_for(20 * MS);
		n += t.nsent;
		forget();
	}
	assert_in_range(n, 200, 40 * 10 + 48);
	/* a path that is proven then is kept alive in spite of it */
	introduce("198.51.100.7:1000", NULL);
	while (!pings_to("198.51.100.7:1000")) { /* it has to wait for its turn */
		assert_true(t.now < start + 12 * SEC);
		run_for(5 * MS);
	}
	assert_int_equal(answer(last_ping_to("198.51.100.7:1000")), DROP_NONE);
	for (int i = 0; i < 100; i++) {
		introduce("192.0.2.99:1", NULL);
		ping_from("192.0.2.98:1", 0);
		link_active(t.l, t.now);
		forget();
		run_for(100 * MS);
		if (pings_to("198.51.100.7:1000"))
			answer(last_ping_to("198.51.100.7:1000"));
	}
	assert_true(uses("198.51.100.7:1000"));
}

static void test_want_back_off(void **state)
{
	(void)state;
	static const nsec gap[] = { 5, 10, 20, 40, 60, 60, 60 };
	set_relay();
	live_for(300 * SEC, NULL);
	assert_true(t.wants >= ARRAY_SIZE(gap));
	assert_int_equal(t.want_at[0], T0);
	for (unsigned i = 0; i + 1 < t.wants && i < ARRAY_SIZE(gap); i++)
		assert_in_range(t.want_at[i + 1] - t.want_at[i], gap[i] * SEC * 9 / 10,
				gap[i] * SEC * 11 / 10);
	/* new candidates, new hope: soon again, though not at once */
	forget();
	introduce("198.51.100.7:1000", NULL);
	live_for(6 * SEC, "198.51.100.7:1000");
	assert_int_equal(t.wants, 1);
	/* the same again changes nothing */
	forget();
	introduce("198.51.100.7:1000", NULL);
	live_for(6 * SEC, "198.51.100.7:1000");
	assert_int_equal(t.wants, 0);
	/* a change of the network: at once, and soon again */
	links_network_changed(t.ls, t.now);
	live_for(7 * SEC, "198.51.100.7:1000");
	assert_int_equal(t.wants, 2);
}

static void test_network_change_checks_all(void **state)
{
	(void)state;
	set_relay();
	live_for(SEC, NULL);
	prove("198.51.100.7:1000", 5 * MS);
	live_for(SEC, NULL);
	forget();
	links_network_changed(t.ls, t.now);
	assert_true(uses("198.51.100.7:1000"));
	assert_true(addr_is_any(&link_path(t.l)->local) && link_path(t.l)->ifindex == 0);
	run_for(2 * MS);
	assert_int_equal(pings_to("198.51.100.7:1000"), 1);
	assert_int_equal(pings_to("203.0.113.1:7777"), 1);
	assert_int_equal(t.wants, 1);
}

static void test_restarted_peer(void **state)
{
	(void)state;
	set_relay();
	live_for(SEC, NULL);
	prove("198.51.100.7:1000", 5 * MS);
	forget();
	/* Its new process is heard over the relay: what its old port proved is over. */
	t.peer_boot++;
	t.peer_counter = 0;
	struct outer_msg m = peer_msg(OUTER_TYPE_PING);
	assert_int_equal(input(&m, relay_at(), true), DROP_NONE);
	assert_true(uses_relay());
	drain();
	assert_int_equal(pings_to("198.51.100.7:1000"), 1);
}

/* A thousand idle links: their heartbeats spread out over the 20 s. */
static void test_heartbeats_are_spread(void **state)
{
	(void)state;
	static unsigned in_slot[400];
	struct link_output out;
	memset(in_slot, 0, sizeof(in_slot));
	for (uint32_t i = 10; i < 1009; i++)
		assert_non_null(link_add(t.ls, t.now, i, outer_key, NULL));
	set_relay();
	for (nsec end = t.now + 400 * SEC; t.now < end; t.now = links_deadline(t.ls)) {
		while (links_poll(t.ls, t.now, &out))
			if (out.event == LINK_SEND && (t.now - T0) / SEC < 400)
				in_slot[(t.now - T0) / SEC]++;
	}
	for (unsigned i = 200; i < 400; i++) /* three pings each 20 s, for nobody answers: 150 a second */
		assert_in_range(in_slot[i], 30, 450);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fresh, done)
	const struct CMUnitTest tests[] = {
		T(test_starts_on_the_relay),
		T(test_probe_times),
		T(test_heartbeats),
		T(test_dead_path),
		T(test_patience_with_long_round_trips),
		T(test_falls_over_to_a_fresh_alternative),
		T(test_hysteresis),
		T(test_hostile_introductions),
		T(test_want_back_off),
		T(test_network_change_checks_all),
		T(test_restarted_peer),
		T(test_heartbeats_are_spread),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
