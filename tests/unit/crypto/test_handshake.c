/* SPDX-License-Identifier: Apache-2.0 */
/* Messages 1 and 2: what is taken, what is refused, and that what is refused changes nothing. */
#include "helper.h"

#include <errno.h>

static struct pair d;

static int setup(void **unused)
{
	(void)unused;
	seed_all(11);
	pair_init(&d);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	pair_free(&d);
	return 0;
}

static struct datagram initiation(int from, nsec now)
{
	wg_peer_initiate(d.wg[from], d.peer[from], now, 0);
	struct datagram m = must_poll(d.wg[from], now);
	assert_int_equal(m.len, WG_INITIATION_LEN);
	return m;
}

static void both_ways(void **unused)
{
	struct datagram m, plain;
	(void)unused;
	pair_connect(&d, 0, SEC);
	m = must_seal(&d, 0, 2 * SEC, "hello");
	assert_int_equal(m.len, 16 + 16 + 16);
	assert_int_equal(open_one(d.wg[1], 2 * SEC, &m, &plain), DROP_NONE);
	assert_int_equal(plain.len, 16);
	assert_memory_equal(plain.b + 16, "hello\0\0\0\0\0\0\0\0\0\0", 16);
	m = must_seal(&d, 1, 2 * SEC, "hello yourself, over there");
	assert_int_equal(open_one(d.wg[0], 2 * SEC, &m, &plain), DROP_NONE);
	assert_int_equal(plain.len, 32);
	assert_memory_equal(plain.b + 16, "hello yourself, over there", 26);
}

static void lengths_and_types(void **unused)
{
	struct datagram m = initiation(0, SEC);
	(void)unused;
	for (size_t len = 0; len < 300; len++) {
		struct datagram k = m;
		k.len = len;
		if (len != WG_INITIATION_LEN)
			assert_int_equal(hand_over(d.wg[1], SEC, &k, NULL), DROP_OUTER_BAD_LENGTH);
	}
	for (int byte = 0; byte < 4; byte++) {
		struct datagram k = m;
		k.b[byte] ^= 0x40;
		assert_int_equal(hand_over(d.wg[1], SEC, &k, NULL), DROP_OUTER_BAD_LENGTH);
	}
	assert_int_equal(hand_over(d.wg[1], SEC, &m, NULL), DROP_NONE);
}

/* Makes mac1 right again, as an attacker can who knows the receiver's public key. */
static void forge_mac1(struct datagram *m, int to)
{
	struct cookie_jar jar;
	cookie_jar_init(&jar, wg_public_key(d.wg[to]));
	cookie_add_macs(&jar, 0, m->b, m->len);
}

/* The sender's index is covered by mac1 alone (paper 5.4.2), so it is left out here. */
static void no_byte_of_message_1_may_change(void **unused)
{
	struct datagram init = initiation(0, SEC);
	(void)unused;
	for (size_t i = 4; i < WG_INITIATION_LEN - MAC_LEN; i++) {
		struct datagram k = init;
		k.b[i] ^= 1;
		assert_int_equal(hand_over(d.wg[1], SEC, &k, NULL), DROP_WG_BAD_MAC1);
		if (i < 8 || i >= WG_INITIATION_LEN - 2 * MAC_LEN)
			continue;
		forge_mac1(&k, 1);
		assert_int_equal(hand_over(d.wg[1], SEC, &k, NULL), DROP_WG_BAD_HANDSHAKE);
	}
	/* None of it has left a trace. */
	assert_null(d.peer[1]->sessions.next);
	assert_true(wg_deadline(d.wg[1]) == NSEC_NEVER);
	assert_int_equal(hand_over(d.wg[1], SEC, &init, NULL), DROP_NONE);
}

static void no_byte_of_message_2_may_change(void **unused)
{
	struct datagram init = initiation(0, SEC), response;
	(void)unused;
	assert_int_equal(hand_over(d.wg[1], SEC, &init, &response), DROP_NONE);
	for (size_t i = 4; i < WG_RESPONSE_LEN - MAC_LEN; i++) {
		struct datagram k = response;
		k.b[i] ^= 1;
		assert_int_equal(hand_over(d.wg[0], SEC, &k, NULL), DROP_WG_BAD_MAC1);
		if (i < 8 || i >= WG_RESPONSE_LEN - 2 * MAC_LEN)
			continue;
		forge_mac1(&k, 0);
		assert_int_equal(hand_over(d.wg[0], SEC, &k, NULL),
				 i < 12 ? DROP_WG_UNKNOWN_INDEX : DROP_WG_BAD_HANDSHAKE);
	}
	assert_null(d.peer[0]->sessions.current);
	assert_int_equal(hand_over(d.wg[0], SEC, &response, NULL), DROP_NONE);
}

static void replays(void **unused)
{
	struct datagram init = initiation(0, SEC), response;
	(void)unused;
	assert_int_equal(hand_over(d.wg[1], SEC, &init, &response), DROP_NONE);
	assert_int_equal(hand_over(d.wg[1], 10 * SEC, &init, NULL), DROP_WG_STALE_TIMESTAMP);
	assert_int_equal(hand_over(d.wg[0], SEC, &response, NULL), DROP_NONE);
	assert_int_equal(hand_over(d.wg[0], SEC, &response, NULL), DROP_WG_UNKNOWN_INDEX);
	assert_int_equal(hand_over(d.wg[1], SEC, &response, NULL), DROP_WG_BAD_MAC1);
}

/* The older of two initiations, delayed, is no better than a replay. */
static void an_older_initiation(void **unused)
{
	struct datagram older = initiation(0, SEC), newer = must_poll(d.wg[0], 7 * SEC);
	(void)unused;
	assert_int_equal(hand_over(d.wg[1], 8 * SEC, &newer, NULL), DROP_NONE);
	assert_int_equal(hand_over(d.wg[1], 9 * SEC, &older, NULL), DROP_WG_STALE_TIMESTAMP);
}

static void fifty_a_second(void **unused)
{
	(void)unused;
	struct datagram a = initiation(0, SEC), b = must_poll(d.wg[0], 7 * SEC), c;
	assert_int_equal(hand_over(d.wg[1], 10 * SEC, &a, NULL), DROP_NONE);
	assert_int_equal(hand_over(d.wg[1], 10 * SEC + 19 * MSEC, &b, NULL),
			 DROP_WG_HANDSHAKE_RATE);
	c = must_poll(d.wg[0], 13 * SEC);
	assert_int_equal(hand_over(d.wg[1], 10 * SEC + 20 * MSEC, &c, NULL), DROP_NONE);
}

static void clocks_that_step_back(void **unused)
{
	(void)unused;
	struct datagram a = initiation(0, SEC), b;
	int64_t first = wg_timestamp_last(d.wg[0]);
	assert_true(first == 1700000001 * SEC);
	assert_int_equal(hand_over(d.wg[1], SEC, &a, NULL), DROP_NONE);
	wg_set_wall_offset(d.wg[0], 1600000000 * SEC);
	b = must_poll(d.wg[0], 7 * SEC);
	assert_true(wg_timestamp_last(d.wg[0]) == first + 1);
	assert_int_equal(hand_over(d.wg[1], 7 * SEC, &b, NULL), DROP_NONE);
	wg_set_timestamp_floor(d.wg[0], first + 60 * SEC);
	wg_set_timestamp_floor(d.wg[0], first); /* it never sinks */
	must_poll(d.wg[0], 13 * SEC);
	assert_true(wg_timestamp_last(d.wg[0]) == first + 60 * SEC + 1);
}

/* A mark at the end of the nanoseconds: greater each time, never a second full of them, and shown to the other. */
static void marked_timestamps(void **unused)
{
	static const int64_t at[] = { 0, 1, 0x7760, 0x7761, 0x7762, 999999998, 999999999 };
	struct wg_reply r;
	(void)unused;
	wg_set_mark(d.wg[0], 0x7761);
	int64_t before = 0;
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		nsec now = (nsec)(10 * (i + 1)) * SEC + at[i];
		struct datagram m = initiation(0, now);
		int64_t sent = wg_timestamp_last(d.wg[0]);
		assert_true(sent > before && sent >= 1700000000 * SEC + now);
		assert_true(sent - (1700000000 * SEC + now) <= 0x10000 + 100000);
		assert_int_equal(sent % SEC & 0xffff, 0x7761);
		before = sent;
		assert_int_equal(
			wg_handshake_input(d.wg[1], now, m.b, m.len, (const uint8_t *)"a", 1, &r),
			DROP_NONE);
		assert_int_equal(r.mark, 0x7761);
	}
	wg_set_wall_offset(d.wg[0], 1600000000 * SEC); /* a clock that steps back */
	initiation(0, 100 * SEC);
	assert_true(wg_timestamp_last(d.wg[0]) == before + 0x10000);
}

/* The bytes of TAI64N: 2^62 + 10 s + seconds since 1970, big endian, then nanoseconds. */
static void timestamp_bytes(void **unused)
{
	struct msg_initiation m;
	struct noise n;
	uint8_t pub[32], t[TIMESTAMP_LEN];
	(void)unused;
	struct datagram init = initiation(0, SEC + 5);
	memcpy(&m, init.b, sizeof(m));
	noise_begin(&n, "WireGuard v1 zx2c4 Jason@zx2c4.com", 34, wg_public_key(d.wg[1]));
	assert_true(noise_read_1_static(
		&n, (struct noise_pair){ wg_private_key(d.wg[1]), wg_public_key(d.wg[1]) },
		m.ephemeral, m.static_key, pub));
	assert_memory_equal(pub, wg_public_key(d.wg[0]), 32);
	assert_true(peer_secret(d.peer[1]));
	assert_true(noise_read_1_payload(&n, d.peer[1]->keys->static_static,
					 (struct bytes_view){ m.timestamp, sizeof(m.timestamp) },
					 t));
	assert_true(load_be64(t) == 0x4000000000000000u + 10 + 1700000001);
	assert_int_equal(load_be32(t + 8), 5);
}

/* --- pre-shared keys --- */

static void preshared_keys(void **unused)
{
	static const uint8_t one[32] = { 1 }, two[32] = { 2 };
	struct datagram init, response;
	(void)unused;
	wg_peer_set_psk(d.peer[0], one);
	wg_peer_set_psk(d.peer[1], two);
	init = initiation(0, SEC);
	assert_int_equal(hand_over(d.wg[1], SEC, &init, &response), DROP_NONE);
	assert_int_equal(hand_over(d.wg[0], SEC, &response, NULL), DROP_WG_BAD_HANDSHAKE);
	/* The wrong answer has left the initiation in flight. */
	wg_peer_set_psk(d.peer[0], two);
	assert_int_equal(hand_over(d.wg[0], SEC, &response, NULL), DROP_NONE);
}

static void choose_psk(void *user, struct wg_peer *p, uint16_t mark)
{
	assert_int_equal(mark, 0x1234);
	wg_peer_set_psk(p, user);
}

/* By what message 1 says of itself: the mark of this peer alone, whatever the device's is. */
static void psk_chosen_by_the_owner(void **unused)
{
	static uint8_t psk[32] = { 9 };
	(void)unused;
	d.wg[1]->cfg.before_response = choose_psk;
	d.wg[1]->cfg.user = psk;
	wg_peer_set_psk(d.peer[0], psk);
	wg_set_mark(d.wg[0], 0x7761);
	wg_peer_set_mark(d.peer[0], 0x1234);
	pair_connect(&d, 0, SEC);
}

static void derived_keys(void **unused)
{
	static const uint8_t psk[32] = { 3 };
	uint8_t a[32], b[32], c[32];
	(void)unused;
	wg_peer_derive(d.peer[0], "outer", a);
	wg_peer_derive(d.peer[1], "outer", b);
	assert_memory_equal(a, b, 32);
	wg_peer_derive(d.peer[1], "other", c);
	assert_memory_not_equal(a, c, 32);
	wg_peer_set_psk(d.peer[1], psk);
	wg_peer_derive(d.peer[1], "outer", c);
	assert_memory_not_equal(a, c, 32);
	wg_peer_set_psk(d.peer[0], psk);
	wg_peer_derive(d.peer[0], "outer", a);
	assert_memory_equal(a, c, 32);
}

/* --- keys and peers --- */

static void the_table_of_peers(void **unused)
{
	uint8_t priv[32], pub[6][32];
	struct wg_peer *p[6];
	(void)unused;
	assert_null(wg_peer_add(d.wg[0], wg_public_key(d.wg[0]), NULL)); /* ourselves */
	assert_int_equal(errno, EEXIST);
	assert_null(wg_peer_add(d.wg[0], wg_public_key(d.wg[1]), NULL)); /* already there */
	assert_int_equal(errno, EEXIST);
	for (int i = 0; i < 6; i++) {
		wg_key_generate(priv);
		wg_key_public(priv, pub[i]);
		p[i] = wg_peer_add(d.wg[0], pub[i], &pub[i]);
		assert_int_equal(p[i] != NULL, i < 3); /* four in all */
	}
	assert_int_equal(errno, ENOSPC);
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(wg_peer_find(d.wg[0], pub[i]), p[i]);
		assert_ptr_equal(wg_peer_user(p[i]), &pub[i]);
		assert_memory_equal(wg_peer_public(p[i]), pub[i], 32);
	}
	wg_peer_remove(d.wg[0], p[1]);
	assert_null(wg_peer_find(d.wg[0], pub[1]));
	assert_ptr_equal(wg_peer_find(d.wg[0], pub[2]), p[2]);
	assert_non_null(wg_peer_add(d.wg[0], pub[4], NULL));
}

static void a_removed_peer(void **unused)
{
	struct datagram m;
	(void)unused;
	pair_connect(&d, 0, SEC);
	m = must_seal(&d, 0, SEC, "late");
	wg_peer_remove(d.wg[1], d.peer[1]);
	assert_int_equal(open_one(d.wg[1], SEC, &m, NULL), DROP_WG_UNKNOWN_INDEX);
	wg_peer_initiate(d.wg[0], d.peer[0], 10 * SEC, 0);
	m = must_poll(d.wg[0], 10 * SEC);
	assert_int_equal(hand_over(d.wg[1], 10 * SEC, &m, NULL), DROP_WG_UNKNOWN_KEY);
	assert_true(wg_deadline(d.wg[1]) == NSEC_NEVER);
}

static void another_private_key(void **unused)
{
	uint8_t priv[32], zero[32] = { 0 };
	struct wg_output o;
	(void)unused;
	pair_connect(&d, 0, SEC);
	memcpy(priv, wg_private_key(d.wg[0]), 32);
	wg_set_private_key(d.wg[0], priv); /* the same: nothing happens */
	assert_true(wg_can_send(d.peer[0], SEC));
	wg_set_private_key(d.wg[0], zero);
	assert_false(wg_can_send(d.peer[0], SEC));
	assert_true(sodium_is_zero(wg_public_key(d.wg[0]), 32));
	wg_peer_initiate(d.wg[0], d.peer[0], 10 * SEC, 0);
	assert_false(wg_poll(d.wg[0], 10 * SEC, &o));
	struct datagram init = initiation(1, 10 * SEC);
	assert_int_equal(hand_over(d.wg[0], 10 * SEC, &init, NULL), DROP_WG_BAD_MAC1);
	wg_set_private_key(d.wg[0], priv); /* the old one again, and all is well */
	pair_connect(&d, 0, 300 * SEC);
	/* A key that the peer happens to have: nobody to talk to. */
	wg_set_private_key(d.wg[0], wg_private_key(d.wg[1]));
	wg_peer_initiate(d.wg[0], d.peer[0], 320 * SEC, 0);
	assert_false(wg_poll(d.wg[0], 320 * SEC, &o));
}

static void a_thousand_peers_in_30_mb(void **unused)
{
	size_t each = sizeof(struct wg_peer) + SESSIONS_MAX * sizeof(struct session) +
		      (1 + SESSIONS_MAX) * sizeof(union arena_slot) + 256;
	(void)unused;
	assert_true(1000 * each < 30 << 20);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_ways),
		TEST(lengths_and_types),
		TEST(no_byte_of_message_1_may_change),
		TEST(no_byte_of_message_2_may_change),
		TEST(replays),
		TEST(an_older_initiation),
		TEST(fifty_a_second),
		TEST(clocks_that_step_back),
		TEST(marked_timestamps),
		TEST(timestamp_bytes),
		TEST(preshared_keys),
		TEST(psk_chosen_by_the_owner),
		TEST(derived_keys),
		TEST(the_table_of_peers),
		TEST(a_removed_peer),
		TEST(another_private_key),
		TEST(a_thousand_peers_in_30_mb),
	};
	return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}
