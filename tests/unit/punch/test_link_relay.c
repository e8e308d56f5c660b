/* SPDX-License-Identifier: Apache-2.0 */
/* Several relays: which one a link uses, and when it takes another. */
#include "link_harness.h"

#define FIRST "203.0.113.1:7777"
#define SECOND "203.0.113.2:7777"
#define THIRD "203.0.113.3:7777"

static void set(unsigned i, const char *at, const uint8_t key[static RELAY_KEY_LEN])
{
	struct endpoint e = ep(at);
	links_set_relay(t.ls, t.now, i, &e, key);
}

static void set_both(void)
{
	set(0, FIRST, relay_key);
	set(1, SECOND, second_relay_key);
}

static bool relays_over(const char *at)
{
	const struct path *p = link_path(t.l);
	struct endpoint e = ep(at);
	return p && p->relay && endpoint_eq(&p->remote, &e);
}

/* As live_for(), with data all the time. */
static void busy_for(nsec d, const char *dead)
{
	for (nsec end = t.now + d; t.now < end;) {
		link_active(t.l, t.now);
		live_for(100 * MS, dead);
	}
}

static void test_dead_relay(void **state)
{
	(void)state;
	set_both();
	busy_for(20 * SEC, NULL);
	assert_true(relays_over(FIRST));
	forget();
	nsec since = t.now;
	while (relays_over(FIRST) && t.now - since < 60 * SEC)
		busy_for(100 * MS, FIRST);
	/* a heartbeat of 5.5 s at most, and 1.25 s without an answer */
	assert_in_range(t.now - since, 1 * SEC, 7 * SEC);
	assert_true(relays_over(SECOND));
	assert_int_equal(t.changes, 1);
	/* it answers: data stays there, and the other is not asked any more, dead or not */
	forget();
	busy_for(120 * SEC, FIRST);
	busy_for(120 * SEC, NULL);
	assert_true(relays_over(SECOND));
	assert_int_equal(t.changes, 0);
	assert_int_equal(pings_to(FIRST), 0);
}

/* The peer is not known to the first relay, or that is dead from the start. */
static void test_first_never_answers(void **state)
{
	(void)state;
	set_both();
	busy_for(1300 * MS, FIRST);
	assert_true(relays_over(SECOND));
	/* a new link begins with what works */
	struct link *other = link_add(t.ls, t.now, 3, outer_key, NULL);
	struct endpoint e = ep(SECOND);
	assert_true(endpoint_eq(&link_path(other)->remote, &e));
}

/* Nobody answers: each has its turn, at the pace of heartbeats. */
static void test_all_dead(void **state)
{
	(void)state;
	set_both();
	run_for(10 * SEC);
	forget();
	run_for(200 * SEC);
	assert_in_range(pings_to(FIRST) + pings_to(SECOND), 3 * 8, 3 * 40);
	assert_true(pings_to(FIRST) > 9 && pings_to(SECOND) > 9);
	assert_non_null(link_path(t.l)); /* it carries data all the same */
	/* and when one is back it is found within a heartbeat of each */
	live_for(45 * SEC, FIRST);
	assert_true(relays_over(SECOND));
}

static enum drop unwrap(const char *from, const uint8_t *key, uint64_t counter)
{
	uint8_t p[RELAY_HEADER_LEN + 40] = { [RELAY_HEADER_LEN] = 4 }, *inner;
	struct relay_msg m = { .destination = SELF, .source = PEER, .counter = counter };
	struct endpoint e = ep(from);
	struct link *l;
	size_t n;
	relay_write(p, 40, &m, key);
	return links_unwrap(t.ls, t.now, &e, p, sizeof(p), &l, &inner, &n);
}

/* From each of them, with a key and a window of its own, whichever is used. */
static void test_all_are_heard(void **state)
{
	(void)state;
	set_both();
	assert_int_equal(unwrap(FIRST, relay_key, 100), DROP_NONE);
	assert_int_equal(unwrap(SECOND, second_relay_key, 100), DROP_NONE);
	assert_int_equal(unwrap(SECOND, second_relay_key, 100), DROP_RELAY_REPLAY);
	assert_int_equal(unwrap(SECOND, relay_key, 101), DROP_RELAY_BAD_MAC);
	assert_int_equal(unwrap(FIRST, second_relay_key, 101), DROP_RELAY_BAD_MAC);
	assert_int_equal(unwrap(THIRD, relay_key, 101), DROP_RELAY_REFUSED);
	struct endpoint e = ep(SECOND);
	links_set_relay(t.ls, t.now, 1, NULL, second_relay_key);
	assert_int_equal(unwrap(SECOND, second_relay_key, 102), DROP_RELAY_REFUSED);
	links_set_relay(t.ls, t.now, 1, &e, second_relay_key);
	assert_int_equal(unwrap(SECOND, second_relay_key, 100), DROP_RELAY_REPLAY);
	/* and a question that came over one is answered over that one */
	forget();
	struct outer_msg m = peer_msg(OUTER_TYPE_PING);
	assert_true(relays_over(FIRST));
	assert_int_equal(input(&m, e, true), DROP_NONE);
	drain();
	bool found = false;
	for (unsigned i = 0; i < t.nsent; i++)
		found |= t.sent[i].m.type == OUTER_TYPE_PONG &&
			 endpoint_eq(&t.sent[i].path.remote, &e) && t.sent[i].path.relay;
	assert_true(found);
}

/* It moves under the same name: the link goes along at once; a header is made for where it goes to. */
static void test_moves(void **state)
{
	(void)state;
	uint8_t p[RELAY_HEADER_LEN + 40] = { 0 };
	struct endpoint e = ep(SECOND);
	set_both();
	live_for(SEC, NULL);
	set(0, THIRD, relay_key);
	assert_true(relays_over(THIRD));
	link_relay_header(t.l, &e, p, 40);
	assert_true(relay_mac_ok(p, sizeof(p), second_relay_key));
	links_set_relay(t.ls, t.now, 0, NULL, relay_key);
	assert_true(relays_over(SECOND));
	links_set_relay(t.ls, t.now, 1, NULL, second_relay_key);
	assert_null(link_path(t.l));
	set(3, FIRST, relay_key);
	assert_true(relays_over(FIRST));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fresh, done)
	const struct CMUnitTest tests[] = {
		T(test_dead_relay), T(test_first_never_answers),
		T(test_all_dead),   T(test_all_are_heard),
		T(test_moves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
