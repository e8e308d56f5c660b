/* SPDX-License-Identifier: Apache-2.0 */
/* Messages 4: batches, forgeries, replays, limits, and what is counted. */
#include "helper.h"

static struct pair d;

static int setup(void **unused)
{
	(void)unused;
	seed_all(21);
	pair_init(&d);
	pair_connect(&d, 0, SEC);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	pair_free(&d);
	return 0;
}

static void padding(void **unused)
{
	static const struct {
		uint32_t len, mtu, want;
	} rows[] = { { 0, 1420, 0 },	   { 1, 1420, 16 },	 { 16, 1420, 16 },
		     { 17, 1420, 32 },	   { 1408, 1420, 1408 }, { 1409, 1420, 1409 },
		     { 1420, 1420, 1420 }, { 1500, 1420, 1500 } };
	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(wg_padded(rows[i].len, rows[i].mtu), rows[i].want);
}

enum { MANY = 300 };

/* More than one chunk of the AEAD, with keepalives, garbage and a replay in between. */
static void a_large_batch(void **unused)
{
	static uint8_t bytes[MANY][256];
	static struct wg_packet k[MANY];
	(void)unused;
	for (unsigned i = 0; i < MANY; i++) {
		uint32_t len = i % 7 ? 4 + i % 100 : 0;
		memset(bytes[i], 0xaa, sizeof(bytes[i])); /* padding has to be cleared */
		if (len)
			store_le32(bytes[i] + 16, i);
		k[i] = (struct wg_packet){ .data = bytes[i],
					   .len = len,
					   .padded = wg_padded(len, 1420) };
	}
	assert_int_equal(wg_seal(d.wg[0], d.peer[0], 2 * SEC, k, MANY), DROP_NONE);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(k[i].len, k[i].padded + WG_OVERHEAD);
		assert_int_equal(msg_data_counter(bytes[i]), i + 1); /* 0 confirmed the session */
	}
	bytes[10][40] ^= 1;
	bytes[20][4] ^= 1;
	bytes[30][0] = 5;
	memcpy(bytes[41], bytes[40], sizeof(bytes[40]));
	k[41].len = k[40].len;
	k[50].len = 31;
	wg_open(d.wg[1], 2 * SEC, k, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		enum drop want = i == 10   ? DROP_WG_BAD_TAG
				 : i == 20 ? DROP_WG_UNKNOWN_INDEX
				 : i == 30 ? DROP_OUTER_BAD_LENGTH
				 : i == 41 ? DROP_WG_REPLAY
				 : i == 50 ? DROP_OUTER_BAD_LENGTH
					   : DROP_NONE;
		assert_int_equal(k[i].drop, want);
		assert_ptr_equal(k[i].peer, want == DROP_NONE ? d.peer[1] : NULL);
		if (want != DROP_NONE)
			continue;
		assert_int_equal(k[i].len, k[i].padded);
		uint32_t len = i % 7 ? 4 + i % 100 : 0;
		if (len) {
			assert_int_equal(load_le32(bytes[i] + 16), i);
			assert_true(sodium_is_zero(bytes[i] + 16 + len, k[i].len - len));
		}
	}
}

static void no_byte_may_change(void **unused)
{
	struct datagram m = must_seal(&d, 0, 2 * SEC, "some text");
	(void)unused;
	for (size_t i = 0; i < m.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			struct datagram k = m;
			k.b[i] ^= (uint8_t)(1 << bit);
			enum drop why = open_one(d.wg[1], 2 * SEC, &k, NULL);
			if (i < 4)
				assert_int_equal(why, DROP_OUTER_BAD_LENGTH);
			else if (i < 8)
				assert_int_equal(why, DROP_WG_UNKNOWN_INDEX);
			else if (i < 15) /* a counter of 2^63 is beyond the last that is allowed */
				assert_int_equal(why, DROP_WG_BAD_TAG);
			else
				assert_int_not_equal(why, DROP_NONE);
		}
	}
	for (size_t len = 0; len < m.len; len++) {
		struct datagram k = m;
		k.len = len;
		assert_int_not_equal(open_one(d.wg[1], 2 * SEC, &k, NULL), DROP_NONE);
	}
	/* None of the forgeries has moved the window or spoilt anything. */
	assert_int_equal(open_one(d.wg[1], 2 * SEC, &m, NULL), DROP_NONE);
	assert_int_equal(open_one(d.wg[1], 2 * SEC, &m, NULL), DROP_WG_REPLAY);
	/* Nor does our own packet come back to us. */
	struct datagram mine = must_seal(&d, 1, 2 * SEC, "x");
	assert_int_equal(open_one(d.wg[1], 2 * SEC, &mine, NULL), DROP_WG_UNKNOWN_INDEX);
}

static void the_window_is_wide(void **unused)
{
	enum { FAR = REPLAY_BITS - 64 };
	struct datagram first = must_seal(&d, 0, 2 * SEC, "first"), second, m;
	(void)unused;
	second = must_seal(&d, 0, 2 * SEC, "second");
	for (int i = 0; i < FAR; i++)
		m = must_seal(&d, 0, 2 * SEC, "");
	assert_int_equal(open_one(d.wg[1], 2 * SEC, &m, NULL), DROP_NONE);
	assert_int_equal(open_one(d.wg[1], 2 * SEC, &first, NULL), DROP_WG_REPLAY);
	assert_int_equal(open_one(d.wg[1], 2 * SEC, &second, NULL), DROP_NONE);
}

static void old_sessions(void **unused)
{
	struct datagram m = must_seal(&d, 0, 170 * SEC, "x");
	(void)unused;
	assert_int_equal(open_one(d.wg[1], SEC + REJECT_AFTER_TIME - 1, &m, NULL), DROP_NONE);
	m = must_seal(&d, 0, 170 * SEC, "y");
	assert_int_equal(open_one(d.wg[1], SEC + REJECT_AFTER_TIME, &m, NULL), DROP_WG_EXPIRED);
	assert_true(wg_can_send(d.peer[0], SEC + REJECT_AFTER_TIME - SEND_MARGIN - 1));
	assert_false(wg_can_send(d.peer[0], SEC + REJECT_AFTER_TIME - SEND_MARGIN));
	uint8_t b[64] = { 0 };
	struct wg_packet k = { .data = b, .len = 5, .padded = 16 };
	assert_int_equal(wg_seal(d.wg[0], d.peer[0], SEC + REJECT_AFTER_TIME, &k, 1),
			 DROP_WG_EXPIRED);
	assert_true(sodium_is_zero(b, sizeof(b)) && k.len == 5); /* nothing is changed */
}

static void keys_are_wiped_when_they_expire(void **unused)
{
	struct wg_output o;
	uint8_t *keys = (uint8_t *)d.peer[0]->sessions.current->keys;
	(void)unused;
	assert_false(sodium_is_zero(keys, sizeof(struct session_keys)));
	while (wg_poll(d.wg[0], SEC + REJECT_AFTER_TIME, &o))
		;
	assert_null(d.peer[0]->sessions.current);
	assert_true(sodium_is_zero(keys, sizeof(struct session_keys)));
	assert_true(wg_deadline(d.wg[0]) == NSEC_NEVER);
}

static void all_or_none_at_the_last_counter(void **unused)
{
	uint8_t b[3][64];
	struct wg_packet k[3];
	(void)unused;
	for (int i = 0; i < 3; i++)
		k[i] = (struct wg_packet){ .data = b[i], .len = 0, .padded = 0 };
	d.peer[0]->sessions.current->counter = REJECT_AFTER_MESSAGES - 2;
	assert_int_equal(wg_seal(d.wg[0], d.peer[0], SEC, k, 3), DROP_WG_EXPIRED);
	assert_int_equal(wg_seal(d.wg[0], d.peer[0], SEC, k, 2), DROP_NONE);
	assert_false(wg_can_send(d.peer[0], SEC));
	wg_open(d.wg[1], SEC, k, 2);
	assert_int_equal(k[0].drop, DROP_NONE);
	assert_int_equal(k[1].drop, DROP_NONE);
	/* A peer that does not keep to the limit. */
	d.peer[0]->sessions.current->counter = REJECT_AFTER_MESSAGES - 1;
	k[0].len = k[0].padded = 0;
	wg_seal(d.wg[0], d.peer[0], SEC, k, 1);
	store_le64(b[0] + 8, REJECT_AFTER_MESSAGES);
	wg_open(d.wg[1], SEC, k, 1);
	assert_int_equal(k[0].drop, DROP_WG_EXPIRED);
}

static void many_messages_call_for_a_rekey(void **unused)
{
	struct wg_output o;
	(void)unused;
	/* The responder too: the limit on messages is everybody's. */
	d.peer[1]->sessions.current->counter = REKEY_AFTER_MESSAGES - 2;
	must_seal(&d, 1, 20 * SEC, "x");
	assert_false(wg_poll(d.wg[1], 20 * SEC, &o));
	must_seal(&d, 1, 20 * SEC, "x");
	assert_int_equal(must_poll(d.wg[1], 20 * SEC).len, WG_INITIATION_LEN);
}

static void what_is_counted(void **unused)
{
	struct wg_peer_stats a, b;
	(void)unused;
	struct datagram m = must_seal(&d, 0, 5 * SEC, "twenty bytes of text");
	assert_int_equal(open_one(d.wg[1], 6 * SEC, &m, NULL), DROP_NONE);
	open_one(d.wg[1], 7 * SEC, &m, NULL); /* a replay counts for nothing */
	wg_peer_stats(d.peer[0], 6 * SEC, &a);
	wg_peer_stats(d.peer[1], 6 * SEC, &b);
	assert_int_equal(a.tx_bytes, WG_INITIATION_LEN + WG_OVERHEAD + 32 + WG_OVERHEAD);
	assert_int_equal(a.rx_bytes, WG_RESPONSE_LEN);
	assert_int_equal(b.tx_bytes, a.rx_bytes);
	assert_int_equal(b.rx_bytes, a.tx_bytes);
	assert_int_equal(a.handshakes, 1);
	assert_int_equal(b.handshakes, 1);
	assert_true(a.last_handshake == SEC);
	assert_true(b.last_handshake == SEC + MSEC);
	assert_true(b.last_received == 6 * SEC);
	assert_true(a.can_send && b.can_send);
}

/* A stranger that end 1 gets to know, and a handshake that nothing has confirmed yet. */
static void unconfirmed(struct pair *e)
{
	struct wg_config cfg = { .max_peers = 4, .aead = test_aead() };
	struct datagram init, response;
	uint8_t priv[32];

	*e = (struct pair){ .wg = { wg_new(&cfg), d.wg[1] } };
	wg_key_generate(priv);
	wg_set_private_key(e->wg[0], priv);
	e->peer[0] = wg_peer_add(e->wg[0], wg_public_key(d.wg[1]), NULL);
	e->peer[1] = wg_peer_add(d.wg[1], wg_public_key(e->wg[0]), NULL);
	wg_peer_initiate(e->wg[0], e->peer[0], SEC, 0);
	init = must_poll(e->wg[0], SEC);
	assert_int_equal(hand_over(d.wg[1], SEC, &init, &response), DROP_NONE);
	assert_int_equal(hand_over(e->wg[0], SEC, &response, NULL), DROP_NONE);
}

/* One batch may bring packets of several peers, and confirm several sessions: by the first of each. */
static void several_peers_in_a_batch(void **unused)
{
	struct pair e[3] = { d };
	struct datagram m[6];
	struct wg_packet k[6];
	(void)unused;
	unconfirmed(&e[1]);
	unconfirmed(&e[2]);
	for (int i = 0; i < 6; i++) {
		m[i] = must_seal(&e[i % 3], 0, SEC, "mixed");
		k[i] = (struct wg_packet){ .data = m[i].b, .len = (uint32_t)m[i].len };
	}
	m[1].b[m[1].len - 1] ^= 1; /* what is forged confirms nothing */
	wg_open(d.wg[1], SEC, k, 6);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(k[i].drop, i == 1 ? DROP_WG_BAD_TAG : DROP_NONE);
		assert_ptr_equal(k[i].peer, i == 1 ? NULL : e[i % 3].peer[1]);
		assert_int_equal(k[i].confirmed, i == 2 || i == 4);
	}
	wg_open(d.wg[1], SEC, k, 6);
	for (int i = 0; i < 6; i++)
		assert_false(k[i].confirmed);
	wg_free(e[1].wg[0]);
	wg_free(e[2].wg[0]);
}

static size_t fails_at; /* the job that is left as it is */

static void seal_but_one(const uint8_t key[static AEAD_KEY_LEN], struct aead_job *jobs, size_t n)
{
	test_aead()->seal(key, jobs, size_min(n, fails_at));
	if (n > fails_at) {
		jobs[fails_at].ok = false;
		test_aead()->seal(key, jobs + fails_at + 1, n - fails_at - 1);
	}
}

/* Where the AEAD does nothing, nothing may be sent, and no counter comes again. */
static void what_is_not_sealed(void **unused)
{
	static const struct aead failing = { .name = "failing", .seal = seal_but_one };
	static uint8_t bytes[3][64];
	struct wg_packet k[3];
	struct wg_peer_stats before, after;
	struct session *s = d.peer[0]->sessions.current;
	uint64_t counter = s->counter;
	(void)unused;
	wg_peer_stats(d.peer[0], 2 * SEC, &before);
	d.wg[0]->cfg.aead = &failing;
	for (fails_at = 0; fails_at < 3; fails_at++) {
		for (int i = 0; i < 3; i++)
			k[i] = (struct wg_packet){ .data = bytes[i], .len = 5, .padded = 16 };
		assert_int_equal(wg_seal(d.wg[0], d.peer[0], 2 * SEC, k, 3), DROP_WG_NOT_SEALED);
	}
	wg_peer_stats(d.peer[0], 2 * SEC, &after);
	assert_int_equal(after.tx_bytes, before.tx_bytes);
	assert_int_equal(s->counter, counter + 9);
	d.wg[0]->cfg.aead = test_aead();
	struct datagram m = must_seal(&d, 0, 2 * SEC, "works again");
	assert_int_equal(msg_data_counter(m.b), counter + 9);
	assert_int_equal(open_one(d.wg[1], 2 * SEC, &m, NULL), DROP_NONE);
}

/* Nor is a keepalive sent, however it was asked for. */
static void no_keepalive_is_not_sealed(void **unused)
{
	static const struct aead failing = { .name = "failing", .seal = seal_but_one };
	struct datagram m = must_seal(&d, 1, 2 * SEC, "x");
	struct wg_output o;
	(void)unused;
	assert_int_equal(open_one(d.wg[0], 2 * SEC, &m, NULL), DROP_NONE);
	d.wg[0]->cfg.aead = &failing;
	fails_at = 0;
	assert_false(wg_poll(d.wg[0], 2 * SEC + KEEPALIVE_TIMEOUT, &o));
	wg_peer_set_keepalive(d.wg[0], d.peer[0], 20 * SEC, 25);
	assert_int_equal(must_poll(d.wg[0], 20 * SEC).len, WG_INITIATION_LEN);
	assert_false(wg_poll(d.wg[0], 20 * SEC, &o));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(padding),
		TEST(a_large_batch),
		TEST(no_byte_may_change),
		TEST(the_window_is_wide),
		TEST(old_sessions),
		TEST(keys_are_wiped_when_they_expire),
		TEST(all_or_none_at_the_last_counter),
		TEST(many_messages_call_for_a_rekey),
		TEST(what_is_counted),
		TEST(several_peers_in_a_batch),
		TEST(what_is_not_sealed),
		TEST(no_keepalive_is_not_sealed),
	};
	return cmocka_run_group_tests_name("data", tests, NULL, NULL);
}
