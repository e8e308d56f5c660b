/* SPDX-License-Identifier: Apache-2.0 */
/* Static peers: who is a warren, who is asked whether it is one, and when. */
#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/tun/packets.h"

#include <sodium.h>

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

static void count_tun(struct end *e, const uint8_t *ip, uint32_t len)
{
	(void)e;
	assert_int_equal(load_be16(ip + 2), len);
}

static void test_warrens_know_each_other(void **state)
{
	(void)state;
	struct peer *p = warren_pair(), *q = peer_of(1);
	assert_int_equal(peer_static_pmtu(peer_of(0))->size, 1500);
	assert_int_equal(peer_room(p), 1440);
	assert_int_equal(peer_mtu(p), 1440);
	assert_int_equal(peer_mtu(q), 1440);
	/* each asked once, and each was answered */
	assert_int_equal(ends[0].hellos, 2);
	assert_int_equal(ends[1].hellos, 2);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(drops(i, DROP_FRAME_UNEXPECTED), 0);
}

static void expect_hellos(unsigned first, nsec from)
{
	static const nsec at[] = { 750 * MS, 1000 * MS, 1500 * MS, 2500 * MS, 4500 * MS };
	assert_int_equal(ends[0].hellos, first + ARRAY_SIZE(at));
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++)
		assert_int_equal(ends[0].hello_at[first + i] - from, at[i]);
}

/* Nothing comes in the first moments of a session: who counts its first packets finds those alone. */
static void test_hello_waits(void **state)
{
	(void)state;
	pair();
	wire_data(0, 100);
	settle();
	unsigned handshake_and_data = datagrams;
	run_for(749 * MS);
	assert_int_equal(datagrams, handshake_and_data);
	run_for(MS);
	assert_true(peer_is_warren(peer_of(0)) && peer_is_warren(peer_of(1)));
}

/* One whose initiations have no mark is never asked, through all its rekeys, whoever begins. */
static void test_stock_is_not_asked(void **state)
{
	struct wg_peer_stats s;
	(void)state;
	struct peer *p = pair();
	wg_set_mark(ends[1].node->wg, 0);
	ends[0].tun = ends[1].tun = count_tun;
	ends[1].stock = true; /* ours has a mark, which it would believe */
	wire_data(0, 100);
	for (unsigned i = 0; i < 200; i++) {
		wire_data(i & 1, 100);
		run_for(5 * SEC);
	}
	wg_peer_stats(p->wg, now, &s);
	assert_true(s.handshakes >= 7);
	assert_int_equal(ends[0].hellos, 0);
	assert_false(peer_is_warren(p));
	assert_null(peer_static_pmtu(p));
}

/* Another program with the key of one that was a warren: its initiation says so. */
static void test_stock_from_now_on(void **state)
{
	(void)state;
	struct peer *p = warren_pair();
	wg_set_mark(ends[1].node->wg, 0);
	ends[1].stock = true;
	run_for(200 * SEC);
	unsigned hellos = ends[0].hellos;
	wire_data(1, 100);
	settle();
	assert_false(peer_is_warren(p));
	run_for(20 * SEC);
	assert_int_equal(ends[0].hellos, hellos);
}

/* One that has the mark and answers nothing is asked five times a session. */
static void test_silence_is_asked_five_times(void **state)
{
	struct wg_peer_stats s;
	(void)state;
	struct peer *p = pair();
	node_static_endpoint(peer_of(1), now, &ends[0].at);
	ends[1].stock = true;
	ends[0].tun = ends[1].tun = count_tun;
	wire_data(1, 100);
	settle();
	nsec began = now;
	for (unsigned i = 0; i < 120; i++) {
		wire_data(1, 100);
		/* Not 5 s: the keepalive for it, after 10 s more, would meet the sender's patience,
		 * which is 15 s and a jitter that may be none. */
		run_for(4900 * MS);
		if (i == 20)
			expect_hellos(0, began);
	}
	wg_peer_stats(p->wg, now, &s);
	assert_true(s.handshakes >= 4);
	assert_int_equal(ends[0].hellos, 5 * s.handshakes);
	for (unsigned i = 5; i < ends[0].hellos; i += 5)
		assert_true(ends[0].hello_at[i] - ends[0].hello_at[i - 5] >= 120 * SEC);
	assert_false(peer_is_warren(p));
}

/*
 * Once in 65,536 times the clock's own nanoseconds end like the mark. Who meant nothing by it, and drops our
 * hellos without a word, is asked in that session alone: a hello without an answer asks for a handshake, so
 * that on an idle link each session would bring about the next.
 */
static void test_mark_by_chance(void **state)
{
	struct wg_peer_stats s;
	(void)state;
	struct peer *p = pair();
	node_static_endpoint(peer_of(1), now, &ends[0].at);
	wg_set_mark(ends[0].node->wg, 0); /* which the other one would believe */
	ends[1].stock = true;
	ends[0].tun = count_tun;
	wire_data(1, 100);
	settle();
	wg_set_mark(ends[1].node->wg, 0);
	node_static_keepalive(p, now, 5); /* our hellos are lost here, and would tell it as much */
	run_for(100 * SEC);
	wg_peer_stats(p->wg, now, &s);
	assert_int_equal(ends[0].hellos, 5);
	assert_in_range(s.handshakes, 1, 2);
}

/* An outage that takes all of a session's hellos costs no more than that session. */
static void test_all_hellos_lost(void **state)
{
	(void)state;
	struct peer *p = pair();
	ends[1].stock = true;
	wire_flow(9 * SEC, SEC, 100);
	assert_int_equal(ends[1].hellos, 5);
	ends[1].stock = false;
	wire_flow(121 * SEC, SEC, 100);
	run_for(SEC);
	assert_true(peer_is_warren(p) && peer_is_warren(peer_of(1)));
}

/* What was answered once holds through rekeys, until five hellos of one session go unanswered. */
static void test_warren_no_more(void **state)
{
	(void)state;
	struct peer *p = warren_pair();
	ends[1].tun = count_tun;
	wire_flow(300 * SEC, 5 * SEC, 100);
	assert_true(peer_is_warren(p));
	unsigned before = ends[0].hellos;
	assert_true(before >= 4); /* two rekeys */
	ends[1].stock = true;
	for (unsigned i = 0; i < 60 && ends[0].hellos == before; i++)
		wire_flow(5 * SEC, 5 * SEC, 100);
	run_until(ends[0].hello_at[before] + 7749 * MS);
	assert_true(peer_is_warren(p));
	run_for(2 * MS);
	assert_false(peer_is_warren(p));
	assert_int_equal(peer_room(p), 1420);
	assert_int_equal(peer_mtu(p), 1420);
	wire_data(0, 100);
	assert_true(wire[nwire - 1].tx.may_fragment);
}

/* Whoever has not said hello has no frames to send but those that are data, and is asked. */
static void test_no_frames_before_hello(void **state)
{
	uint8_t probe[PROBE_LEN], ack[PROBE_ACK_LEN], part[FRAGMENT_HEADER_LEN + 30] = { 0 };
	uint8_t unknown[] = { 0x83, 1 }, control[] = { 0xa0, 1, 1, 0, 0, 0, 0, 0 };
	struct fragment_plan plan = { .total = 30, .count = 1, .part = 30 };
	(void)state;
	pair();
	ends[1].stock = true;
	wire_data(0, 100);
	run_for(SEC);
	frame_probe_write(&(struct frame_probe){ .size = 64, .path = 7, .number = 1 }, probe);
	frame_ack_write(&(struct frame_ack){ .path = 7, .newest = 1, .seen = 1 }, ack);
	fragment_write(&plan, 0, 1, (const uint8_t[30]){ 0x45 }, part);
	datagrams = 0;
	say(1, probe, sizeof(probe));
	say(1, ack, sizeof(ack));
	say(1, part, sizeof(part));
	say(1, control, sizeof(control));
	unsigned sent = datagrams;
	settle();
	assert_int_equal(drops(0, DROP_FRAME_UNEXPECTED), 3);
	assert_int_equal(drops(0, DROP_INNER_MALFORMED), 1); /* the packet of one fragment */
	assert_int_equal(ends[0].hellos, 1); /* whoever sends frames is asked who it is */
	assert_int_equal(datagrams, sent + 1);
	say(1, unknown, sizeof(unknown));
	settle();
	assert_int_equal(drops(0, DROP_FRAME_UNKNOWN), 1);
	assert_int_equal(ends[0].came, 0);
	assert_false(peer_is_warren(peer_of(0)));
}

static void test_hellos_that_make_no_warren(void **state)
{
	static const struct {
		uint32_t capabilities;
		uint16_t largest;
	} lacking[] = { { 0, 9000 }, { 1, 9000 }, { 2, 9000 }, { 3, 8999 }, { 0xfffffffc, 9000 } };
	uint8_t f[HELLO_LEN];
	(void)state;
	struct peer *p = pair();
	ends[1].stock = true;
	wire_data(0, 100);
	run_for(SEC);
	ends[1].stock = false;
	for (size_t i = 0; i < ARRAY_SIZE(lacking); i++) {
		frame_hello_write(&(struct frame_hello){ .flags = HELLO_ANSWER,
							 .capabilities = lacking[i].capabilities,
							 .largest = lacking[i].largest },
				  f);
		say(1, f, sizeof(f));
		settle();
		assert_false(peer_is_warren(p));
	}
	frame_hello_write(&(struct frame_hello){ .capabilities = 3, .largest = 9000 }, f);
	f[1] = 2;
	say(1, f, sizeof(f));
	settle();
	assert_int_equal(drops(0, DROP_FRAME_VERSION), 1);
	f[1] = 1;
	say(1, f, 9);
	settle();
	assert_int_equal(drops(0, DROP_FRAME_MALFORMED), 1);
	assert_false(peer_is_warren(p));
	/* one that can more than we know is one, too */
	frame_hello_write(&(struct frame_hello){ .capabilities = 0xff, .largest = 65535 }, f);
	say(1, f, sizeof(f));
	settle();
	assert_true(peer_is_warren(p));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_warrens_know_each_other),
		T(test_hello_waits),
		T(test_stock_is_not_asked),
		T(test_stock_from_now_on),
		T(test_silence_is_asked_five_times),
		T(test_mark_by_chance),
		T(test_all_hellos_lost),
		T(test_warren_no_more),
		T(test_no_frames_before_hello),
		T(test_hellos_that_make_no_warren),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
