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
	struct link_path_info info[2];
	do {
		live_for(SEC, NULL);
		assert_int_equal(link_paths(t.l, info, 2), 2);
	} while (t.now - info[1].last_answer <= 3 * SEC);
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
		{ 20 * MS, 10 * MS, true },    { 20 * MS, 19 * MS, false },
		{ 2 * MS, 3 * MS / 2, false }, { 2 * MS, MS / 2, true },
		{ 100 * MS, 91 * MS, false },  { 100 * MS, 89 * MS, true },
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

static uint32_t dice;

static nsec up_to(nsec most)
{
	dice = dice * 1664525 + 1013904223;
	return most ? (nsec)(dice >> 8) % most : 0;
}

/* An active link whose pings are answered after 2 ms, or `first` where they are the first path's, and noise. */
static void answered_late(nsec duration, nsec first, nsec noise)
{
	const struct endpoint slow = ep("198.51.100.7:1000");
	nsec until = t.now + duration, due[SENT_MAX] = { 0 };
	unsigned seen = 0;
	forget();
	while (t.now < until) {
		run_for(5 * MS);
		link_active(t.l, t.now);
		for (; seen < t.nsent; seen++)
			if (t.sent[seen].m.type == OUTER_TYPE_PING)
				due[seen] =
					t.sent[seen].at + up_to(noise) +
					(endpoint_eq(&t.sent[seen].path.remote, &slow) ? first
										       : 2 * MS);
		for (unsigned i = 0; i < seen; i++) {
			if (!due[i] || due[i] > t.now)
				continue;
			due[i] = 0;
			assert_int_equal(answer(&t.sent[i]), DROP_NONE);
		}
	}
}

/* A machine without time: no path moves for that. A path that has become longer is left. */
static void test_starved(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 100; seed++) {
		dice = seed;
		links_free(t.ls);
		fresh(NULL);
		prove("198.51.100.7:1000", 2 * MS);
		prove("198.51.100.8:1000", 2 * MS);
		answered_late(30 * SEC, 2 * MS, 0);
		assert_true(uses("198.51.100.7:1000"));
		unsigned changes = t.changes;
		answered_late(60 * SEC, 2 * MS, (nsec)(20 + seed * 4) * MS);
		if (t.changes != changes)
			fail_msg("seed %u: a path moved", seed);
		answered_late(30 * SEC, 2 * MS, 0);
		answered_late(40 * SEC, 52 * MS, 0);
		assert_true(uses("198.51.100.8:1000"));
	}
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

/* Two alternatives are kept warm; what is beyond them rests. */
static void test_alternatives(void **state)
{
	(void)state;
	static const char *const at[] = { "198.51.100.1:1", "198.51.100.2:1", "198.51.100.3:1",
					  "198.51.100.4:1", "198.51.100.5:1" };
	struct link_path_info info[8];
	unsigned proven = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++)
		prove(at[i], 10 * MS);
	live_for(60 * SEC, NULL);
	size_t n = link_paths(t.l, info, ARRAY_SIZE(info));
	assert_int_equal(n, ARRAY_SIZE(at));
	for (size_t i = 0; i < n; i++)
		proven += info[i].proven;
	assert_int_equal(proven, 3);
}

/* While data flows each resting candidate is asked once a minute; it may be the better path again. */
static void test_resting_candidates_are_asked(void **state)
{
	(void)state;
	introduce("198.51.100.8:1000", NULL);
	prove("198.51.100.7:1000", 50 * MS);
	live_for(3 * SEC, "198.51.100.8:1000");
	forget();
	for (int i = 0; i < 66; i++) {
		link_active(t.l, t.now);
		live_for(SEC, "198.51.100.8:1000");
	}
	assert_int_equal(pings_to("198.51.100.8:1000"), 1);
	forget();
	live_for(20 * SEC, "198.51.100.8:1000");
	live_for(200 * SEC, "198.51.100.8:1000"); /* idle: not worth it */
	assert_true(pings_to("198.51.100.8:1000") <= 1);
	struct link_path_info info[2];
	assert_int_equal(link_paths(t.l, info, 2), 2);
	assert_int_equal(info[0].proven + info[1].proven, 1);
	for (int i = 0; i < 66; i++) {
		link_active(t.l, t.now);
		live_for(SEC, NULL);
	}
	assert_int_equal(link_paths(t.l, info, 2), 2);
	assert_int_equal(info[0].proven + info[1].proven, 2);
}

static void test_awake_after_rest(void **state)
{
	(void)state;
	set_relay();
	live_for(SEC, NULL);
	for (int i = 0; i < 2; i++) { /* until an answer is exactly 4 s old */
		run_until(links_deadline(t.ls));
		answer(last_ping_to("203.0.113.1:7777"));
	}
	run_for(4 * SEC);
	forget();
	link_active(t.l, t.now);
	drain();
	assert_int_equal(pings_to("203.0.113.1:7777"), 1);
}

/* Lost again soon after the last call for an introduction: no new one yet, but all are probed. */
static void test_probes_at_once_without_introduction(void **state)
{
	(void)state;
	set_relay();
	drain();
	prove("198.51.100.7:1000", 5 * MS);
	introduce("198.51.100.8:1000", NULL);
	link_active(t.l, t.now);
	while (!uses_relay()) {
		forget();
		run_for(10 * MS);
	}
	assert_int_equal(t.wants, 0);
	assert_int_equal(pings_to("198.51.100.8:1000"), 1);
	assert_int_equal(pings_to("198.51.100.7:1000"), 1);
	/* and with each further introduction that is asked for, answered or not */
	run_for(3 * SEC);
	for (int i = 0; i < 3; i++) {
		do {
			forget();
			run_for(10 * MS);
		} while (!t.wants);
		assert_int_equal(pings_to("198.51.100.8:1000"), 1);
		run_for(3 * SEC);
	}
}

/* A peer that answers over the relay. */
static void answer_relayed(const struct link_output *out, uint64_t counter)
{
	struct endpoint from = relay_at();
	struct addr at = local();
	struct outer_msg m;
	uint8_t p[OUTER_MAX];
	assert_int_equal(outer_parse(out->bytes + RELAY_HEADER_LEN, out->len - RELAY_HEADER_LEN,
				     outer_key, &m),
			 DROP_NONE);
	m.type = OUTER_TYPE_PONG;
	m.sender = m.receiver;
	m.receiver = SELF;
	m.counter = counter;
	size_t n = outer_write(&m, outer_key, p, sizeof(p));
	assert_int_equal(links_input(t.ls, t.now, &from, &at, 3, true, p, n), DROP_NONE);
}

/* A thousand idle links that began together: their heartbeats spread out over the 20 s. */
static void check_spread(bool answered, unsigned most)
{
	static unsigned in_slot[120];
	struct link_output out;
	uint64_t counter = 0;
	memset(in_slot, 0, sizeof(in_slot));
	for (uint32_t i = 10; i < 1009; i++)
		assert_non_null(link_add(t.ls, t.now, i, outer_key, NULL));
	set_relay();
	for (; t.now < T0 + 120 * SEC; t.now = links_deadline(t.ls)) {
		while (links_poll(t.ls, t.now, &out)) {
			if (out.event != LINK_SEND)
				continue;
			in_slot[(t.now - T0) / SEC]++;
			if (answered)
				answer_relayed(&out, counter++);
		}
	}
	for (unsigned i = 21; i < ARRAY_SIZE(in_slot); i++)
		assert_in_range(in_slot[i], 10, most);
}

static void test_heartbeats_are_spread(void **state)
{
	(void)state;
	check_spread(true, 100); /* 50 a second */
}

static void test_unanswered_heartbeats_are_spread(void **state)
{
	(void)state;
	check_spread(false, 450); /* three pings each 12 s, for nobody answers: 220 a second */
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
		T(test_starved),
		T(test_hostile_introductions),
		T(test_want_back_off),
		T(test_network_change_checks_all),
		T(test_restarted_peer),
		T(test_heartbeats_are_spread),
		T(test_unanswered_heartbeats_are_spread),
		T(test_alternatives),
		T(test_resting_candidates_are_asked),
		T(test_awake_after_rest),
		T(test_probes_at_once_without_introduction),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
