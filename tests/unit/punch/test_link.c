/* SPDX-License-Identifier: Apache-2.0 */
/* What proves a path, who is answered, and what is refused. */
#include "link_harness.h"

#include <sodium.h>

static void test_pong_moves_data(void **state)
{
	(void)state;
	set_relay();
	introduce("198.51.100.7:1000", NULL);
	drain();
	assert_true(uses_relay());
	t.now += 30 * MS;
	assert_int_equal(answer(last_ping_to("198.51.100.7:1000")), DROP_NONE);
	assert_true(uses("198.51.100.7:1000")); /* at once, before any poll */
	struct addr at = local();
	assert_true(addr_eq(&link_path(t.l)->local, &at) && link_path(t.l)->ifindex == 3);
	forget();
	drain();
	assert_int_equal(t.changes, 1);
	assert_int_equal(t.wants, 0);
	struct link_path_info info[4];
	assert_int_equal(link_paths(t.l, info, 4), 2);
	assert_true(info[0].path.relay && !info[0].in_use && !info[0].proven);
	assert_true(info[1].in_use && info[1].proven && info[1].rtt == 30 * MS);
	assert_true(info[1].last_answer == t.now && info[1].sent == 1 && info[1].lost == 0);
}

static void check_nothing_moved(enum drop got, enum drop want)
{
	assert_int_equal(got, want);
	assert_true(uses_relay());
}

static void test_only_the_right_pong_counts(void **state)
{
	(void)state;
	set_relay();
	introduce("198.51.100.7:1000", "198.51.100.8:1000");
	drain();
	const struct sent *s = last_ping_to("198.51.100.7:1000");
	struct outer_msg m = pong_for(s);
	/* from another address, even one that is pinged too; or over the relay */
	check_nothing_moved(input(&m, ep("198.51.100.7:1001"), false), DROP_OUTER_UNEXPECTED);
	m = pong_for(s);
	check_nothing_moved(input(&m, ep("198.51.100.8:1000"), false), DROP_OUTER_UNEXPECTED);
	m = pong_for(s);
	check_nothing_moved(input(&m, relay_at(), true), DROP_OUTER_UNEXPECTED);
	/* an id that we never made */
	m = pong_for(s);
	m.txid[11] ^= 1;
	check_nothing_moved(input(&m, s->path.remote, false), DROP_OUTER_UNEXPECTED);
	/* the answer to the ping over the relay, arriving directly */
	m = pong_for(last_ping_to("203.0.113.1:7777"));
	check_nothing_moved(input(&m, relay_at(), false), DROP_OUTER_UNEXPECTED);
	/* another member, another receiver */
	m = pong_for(s);
	m.sender = 3;
	check_nothing_moved(input(&m, s->path.remote, false), DROP_OUTER_UNKNOWN_MEMBER);
	m = pong_for(s);
	m.receiver = 9;
	check_nothing_moved(input(&m, s->path.remote, false), DROP_OUTER_UNKNOWN_MEMBER);
	/* an id counts once */
	assert_int_equal(answer(last_ping_to("203.0.113.1:7777")), DROP_NONE);
	check_nothing_moved(answer(last_ping_to("203.0.113.1:7777")), DROP_OUTER_UNEXPECTED);
	/* too late */
	struct sent old = *s;
	t.now += 6 * SEC;
	check_nothing_moved(answer(&old), DROP_OUTER_UNEXPECTED);
}

static void test_flipped_bits_change_nothing(void **state)
{
	(void)state;
	uint8_t p[OUTER_MAX];
	struct addr at = local();
	set_relay();
	introduce("198.51.100.7:1000", NULL);
	drain();
	struct outer_msg m = pong_for(last_ping_to("198.51.100.7:1000"));
	struct endpoint from = ep("198.51.100.7:1000");
	size_t n = outer_write(&m, outer_key, p, sizeof(p));
	for (size_t bit = 0; bit < n * 8; bit++) {
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(links_input(t.ls, t.now, &from, &at, 3, false, p, n),
				     DROP_NONE);
		assert_true(uses_relay());
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(links_input(t.ls, t.now, &from, &at, 3, false, p, n), DROP_NONE);
	assert_true(uses("198.51.100.7:1000"));
}

static void test_ping_is_answered_once(void **state)
{
	(void)state;
	run_for(SEC);
	forget();
	struct outer_msg m = peer_msg(OUTER_TYPE_PING);
	m.tlv_len = 40;
	memset(m.txid, 0x5a, TXID_LEN);
	assert_int_equal(input(&m, ep("198.51.100.7:1000"), false), DROP_NONE);
	assert_int_equal(input(&m, ep("198.51.100.7:1000"), false), DROP_OUTER_REPLAY);
	assert_int_equal(input(&m, ep("192.0.2.1:1"), false), DROP_OUTER_REPLAY);
	drain();
	const struct sent *pong = &t.sent[0];
	assert_int_equal(pong->m.type, OUTER_TYPE_PONG);
	assert_memory_equal(pong->m.txid, m.txid, TXID_LEN);
	assert_int_equal(pong->m.tlv_len, 40); /* exactly as long */
	struct endpoint from = ep("198.51.100.7:1000");
	assert_true(endpoint_eq(&pong->m.observed, &from));
	assert_true(endpoint_eq(&pong->path.remote, &from) && pong->path.ifindex == 3);
	for (unsigned i = 1; i < t.nsent; i++)
		assert_int_equal(t.sent[i].m.type, OUTER_TYPE_PING);
	assert_int_equal(pings_to("192.0.2.1:1"), 0);

	/* relayed: answered the same way, and no word of addresses */
	forget();
	m = peer_msg(OUTER_TYPE_PING);
	set_relay();
	drain();
	forget();
	assert_int_equal(input(&m, relay_at(), true), DROP_NONE);
	drain();
	assert_true(t.sent[0].m.type == OUTER_TYPE_PONG && t.sent[0].path.relay);
	assert_int_equal(t.sent[0].m.observed.port, 0);
}

static void test_pongs_are_bounded(void **state)
{
	(void)state;
	unsigned answered = 0, refused = 0;
	for (int i = 0; i < 300; i++) {
		enum drop why = ping_from("198.51.100.7:1000", 0);
		answered += why == DROP_NONE;
		refused += why == DROP_OUTER_RATE;
	}
	assert_int_equal(answered + refused, 300);
	assert_true(answered <= 100);
	drain();
	t.now += 10 * MS;
	assert_int_equal(ping_from("198.51.100.7:1000", 0), DROP_NONE);
}

static void test_boots_and_windows(void **state)
{
	(void)state;
	uint64_t boot = t.peer_boot;
	assert_int_equal(ping_from("198.51.100.7:1000", 0), DROP_NONE);
	t.peer_counter = 1000;
	assert_int_equal(ping_from("198.51.100.7:1000", 0), DROP_NONE);
	t.peer_counter = 600; /* late, within the window of 448 */
	assert_int_equal(ping_from("198.51.100.7:1000", 0), DROP_NONE);
	t.peer_counter = 500; /* older */
	assert_int_equal(ping_from("198.51.100.7:1000", 0), DROP_OUTER_REPLAY);
	t.peer_boot = boot + 1; /* restarted: counters begin anew */
	t.peer_counter = 0;
	assert_int_equal(ping_from("198.51.100.7:1000", 0), DROP_NONE);
	t.peer_boot = boot; /* what it said before is over */
	t.peer_counter = 5000;
	assert_int_equal(ping_from("198.51.100.7:1000", 0), DROP_OUTER_REPLAY);
}

static void test_peer_reflexive(void **state)
{
	(void)state;
	set_relay();
	run_for(SEC);
	forget();
	assert_int_equal(ping_from("198.51.100.9:4242", 0), DROP_NONE);
	drain();
	assert_true(uses_relay()); /* no ping ever moves data */
	assert_int_equal(pings_to("198.51.100.9:4242"), 1);
	assert_int_equal(last_ping_to("198.51.100.9:4242")->path.ifindex, 3);
	assert_int_equal(answer(last_ping_to("198.51.100.9:4242")), DROP_NONE);
	assert_true(uses("198.51.100.9:4242"));
	/* a proven one is not asked again for each ping */
	forget();
	assert_int_equal(ping_from("198.51.100.9:4242", 0), DROP_NONE);
	drain();
	assert_int_equal(pings_to("198.51.100.9:4242"), 0);
}

static void test_never_probed(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"0.0.0.0:5",	    "127.0.0.1:5",   "224.0.0.1:5",    "255.255.255.255:5",
		"240.1.2.3:5",	    "169.254.1.1:5", "198.51.100.7:0", "[::]:5",
		"[::1]:5",	    "[ff02::1]:5",   "[fe80::1]:5",    "0.1.2.3:5",
		"203.0.113.1:7777",
	};
	set_relay();
	run_for(SEC);
	forget();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		introduce(bad[i], NULL);
		ping_from(bad[i], 0);
	}
	run_for(3 * SEC);
	for (unsigned i = 0; i < t.nsent; i++)
		assert_true(t.sent[i].m.type == OUTER_TYPE_PONG || t.sent[i].path.relay);
}

static void test_slots_are_replaced_oldest_first(void **state)
{
	(void)state;
	struct link_path_info info[32];
	prove("198.51.100.7:1000", 5 * MS);
	for (uint32_t i = 0; i < 60; i++) {
		struct endpoint c = { .addr = addr_v4_u32(0xc0000201 + i), .port = 9 };
		link_introduce(t.l, t.now, &c, 1);
		live_for(SEC / 10, NULL);
		assert_true(uses("198.51.100.7:1000") || link_path(t.l));
		forget();
		t.now += SEC;
	}
	size_t n = link_paths(t.l, info, ARRAY_SIZE(info));
	assert_int_equal(n, 24);
	assert_int_equal(link_paths(t.l, info, 3), 3);
}

static void test_observed(void **state)
{
	(void)state;
	introduce("198.51.100.7:1000", NULL);
	drain();
	struct outer_msg m = pong_for(last_ping_to("198.51.100.7:1000"));
	m.observed = ep("198.51.100.1:4711");
	assert_int_equal(input(&m, ep("198.51.100.7:1000"), false), DROP_NONE);
	drain();
	assert_int_equal(t.observations, 1);
	assert_true(endpoint_eq(&t.observed, &m.observed));
	/* once; and never nonsense; and boundedly often */
	for (unsigned i = 0; i < 200; i++) {
		introduce("198.51.100.7:1000", NULL);
		t.now += 30 * MS;
		drain();
		struct outer_msg again = pong_for(last_ping_to("198.51.100.7:1000"));
		again.observed =
			i < 50	  ? ep("198.51.100.1:4711")
			: i < 100 ? ep("127.0.0.1:9")
				  : (struct endpoint){ .addr = local(), .port = (uint16_t)(i + 1) };
		input(&again, ep("198.51.100.7:1000"), false);
		drain();
		if (i == 99)
			assert_int_equal(t.observations, 1);
		t.nsent = 0;
	}
	assert_in_range(t.observations, 8, 1 + 8 + 7);
}

static void test_new_key(void **state)
{
	(void)state;
	static const uint8_t other[OUTER_KEY_LEN] = { 8 };
	set_relay();
	prove("198.51.100.7:1000", 5 * MS);
	link_set_key(t.l, outer_key);
	assert_true(uses("198.51.100.7:1000")); /* the same key is no news */
	link_set_key(t.l, other);
	assert_int_equal(ping_from("198.51.100.7:1000", 0), DROP_OUTER_BAD_MAC);
	assert_true(uses_relay());
}

static enum drop unwrap(uint32_t src, uint32_t dst, uint64_t counter, const char *from,
			uint8_t first)
{
	uint8_t p[RELAY_HEADER_LEN + 40] = { [RELAY_HEADER_LEN] = first }, *inner;
	struct relay_msg m = { .source = src, .destination = dst, .counter = counter };
	struct endpoint e = ep(from);
	struct link *l;
	size_t n;
	relay_write(p, 40, &m, relay_key);
	enum drop why = links_unwrap(t.ls, t.now, &e, p, sizeof(p), &l, &inner, &n);
	if (!why)
		assert_true(l == t.l && inner == p + RELAY_HEADER_LEN && n == 40);
	return why;
}

static void test_unwrap(void **state)
{
	(void)state;
	static const uint8_t other[RELAY_KEY_LEN] = { 1 };
	const char *r = "203.0.113.1:7777";
	assert_int_equal(unwrap(PEER, SELF, 100, r, 4), DROP_RELAY_REFUSED); /* we use none */
	set_relay();
	assert_int_equal(unwrap(PEER, SELF, 100, r, 4), DROP_NONE);
	assert_int_equal(unwrap(PEER, SELF, 100, r, 4), DROP_RELAY_REPLAY);
	assert_int_equal(unwrap(PEER, SELF, 99, r, 4), DROP_NONE);
	assert_int_equal(unwrap(PEER, SELF, 101, "203.0.113.1:7778", 4), DROP_RELAY_REFUSED);
	assert_int_equal(unwrap(SELF, PEER, 101, r, 4),
			 DROP_RELAY_REFUSED); /* our own, sent back */
	assert_int_equal(unwrap(PEER, SELF, 101, r, OUTER_TYPE_RELAY), DROP_RELAY_REFUSED);
	assert_int_equal(unwrap(77, SELF, 102, r, 4), DROP_RELAY_UNKNOWN_MEMBER);
	assert_int_equal(unwrap(PEER, SELF, 103, r, 4), DROP_NONE); /* none of it used up 103 */
	assert_int_equal(unwrap(PEER, SELF, 103 + 40000, r, 4), DROP_NONE);
	assert_int_equal(unwrap(PEER, SELF, 104, r, 4), DROP_RELAY_REPLAY);
	/* another address of the same relay goes on with the window; another key does not */
	struct endpoint e = ep("203.0.113.2:7777");
	links_set_relay(t.ls, t.now, RELAY, &e, relay_key);
	assert_int_equal(unwrap(PEER, SELF, 104, "203.0.113.2:7777", 4), DROP_RELAY_REPLAY);
	links_set_relay(t.ls, t.now, RELAY, &e, other);
	assert_int_equal(unwrap(PEER, SELF, 105, "203.0.113.2:7777", 4), DROP_RELAY_BAD_MAC);
	links_set_relay(t.ls, t.now, RELAY, &e, relay_key);
	assert_int_equal(unwrap(PEER, SELF, 104, "203.0.113.2:7777", 4), DROP_NONE);
}

static void test_relay_counter(void **state)
{
	(void)state;
	uint8_t p[RELAY_HEADER_LEN + 20] = { 0 };
	struct endpoint e = ep("203.0.113.1:7777");
	struct relay_msg a, b;
	struct link *other = link_add(t.ls, t.now, 3, outer_key, NULL);
	set_relay();
	link_relay_header(t.l, &e, p, 20);
	assert_int_equal(relay_peek(p, sizeof(p), &a), DROP_NONE);
	link_relay_header(other, &e, p, 20);
	assert_int_equal(relay_peek(p, sizeof(p), &b), DROP_NONE);
	assert_true(a.counter >= BOOT && b.counter == a.counter + 1 && b.destination == 3);
}

static void test_add_find_remove(void **state)
{
	(void)state;
	assert_ptr_equal(link_find(t.ls, PEER), t.l);
	assert_ptr_equal(link_user(t.l), &t);
	assert_null(link_add(t.ls, t.now, PEER, outer_key, NULL)); /* once only */
	for (uint32_t i = 10; i < 1009; i++)
		assert_non_null(link_add(t.ls, t.now, i, outer_key, NULL));
	assert_null(link_add(t.ls, t.now, 5000, outer_key, NULL)); /* full */
	link_remove(link_find(t.ls, 10));
	assert_null(link_find(t.ls, 10));
	assert_non_null(link_add(t.ls, t.now, 5000, outer_key, NULL));
	/* with a pong waiting, and something to say: removing it leaves nothing behind */
	assert_int_equal(ping_from("198.51.100.7:1000", 0), DROP_NONE);
	uint64_t used = 0;
	link_remove(t.l);
	for (uint32_t i = 11; i < 1009; i++)
		link_remove(link_find(t.ls, i));
	link_remove(link_find(t.ls, 5000));
	drain();
	assert_int_equal(t.nsent, 0);
	assert_true(links_deadline(t.ls) == NSEC_NEVER);
	/* back again, its counter is beyond all that the peer has seen */
	for (int round = 0; round < 3; round++) {
		t.l = link_add(t.ls, t.now, PEER, outer_key, &t);
		introduce("198.51.100.7:1000", NULL);
		run_for(3 * SEC);
		for (unsigned i = 0; i < t.nsent; i++) {
			assert_true(t.sent[i].m.counter >= used);
			used = t.sent[i].m.counter + 1;
		}
		forget();
		link_remove(t.l);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fresh, done)
	const struct CMUnitTest tests[] = {
		T(test_pong_moves_data),
		T(test_only_the_right_pong_counts),
		T(test_flipped_bits_change_nothing),
		T(test_ping_is_answered_once),
		T(test_pongs_are_bounded),
		T(test_boots_and_windows),
		T(test_peer_reflexive),
		T(test_never_probed),
		T(test_slots_are_replaced_oldest_first),
		T(test_observed),
		T(test_new_key),
		T(test_unwrap),
		T(test_relay_counter),
		T(test_add_find_remove),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
