/* SPDX-License-Identifier: Apache-2.0 */
/* Cookies: strangers, load, floods from one address, and what a cookie is bound to. */
#include "helper.h"

static struct pair d;
static unsigned adopted;
static bool adopt_refuses;

struct from {
	uint8_t b[18]; /* an address of 16 bytes and a port */
};

static struct from address(uint32_t host, uint16_t port)
{
	struct from f = { { [10] = 0xff, [11] = 0xff } };
	store_be32(f.b + 12, host);
	store_be16(f.b + 16, port);
	return f;
}

static struct wg_peer *adopt(void *user, const uint8_t pub[static WG_KEY_LEN])
{
	(void)user;
	adopted++;
	return adopt_refuses ? NULL : wg_peer_add(d.wg[1], pub, NULL);
}

static int setup(void **unused)
{
	(void)unused;
	seed_all(41);
	pair_init(&d);
	adopted = 0;
	adopt_refuses = false;
	return 0;
}

/* End 1 does not know end 0, but may. */
static int setup_strangers(void **unused)
{
	setup(unused);
	wg_peer_remove(d.wg[1], d.peer[1]);
	d.wg[1]->cfg.adopt = adopt;
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	pair_free(&d);
	return 0;
}

static enum drop give(int to, nsec now, const struct datagram *m, struct from f,
		      struct datagram *answer)
{
	struct wg_reply r;
	enum drop why = wg_handshake_input(d.wg[to], now, m->b, m->len, f.b, sizeof(f.b), &r);
	assert_true(why != DROP_WG_COOKIE_SENT || (r.len == WG_COOKIE_LEN && !r.peer));
	if (answer) {
		answer->len = r.len;
		memcpy(answer->b, r.bytes, r.len);
	}
	return why;
}

static struct datagram initiation(nsec now)
{
	wg_peer_initiate(d.wg[0], d.peer[0], now, 0);
	return must_poll(d.wg[0], now);
}

static void a_stranger_is_asked_for_a_cookie(void **unused)
{
	struct from f = address(1, 1);
	struct datagram init = initiation(SEC), cookie, again, response;
	struct wg_output o;
	(void)unused;
	assert_int_equal(give(1, SEC, &init, f, &cookie), DROP_WG_COOKIE_SENT);
	assert_int_equal(adopted, 0);
	assert_int_equal(give(0, SEC, &cookie, f, NULL), DROP_NONE);
	again = must_poll(d.wg[0], SEC); /* at once, not 5 s later */
	assert_int_equal(again.len, WG_INITIATION_LEN);
	assert_memory_equal(again.b, init.b, WG_INITIATION_LEN - MAC_LEN);
	assert_int_equal(give(1, SEC, &again, f, &response), DROP_NONE);
	assert_int_equal(adopted, 1);
	assert_int_equal(give(0, SEC, &response, f, NULL), DROP_NONE);
	assert_true(wg_can_send(d.peer[0], SEC));
	assert_false(wg_poll(d.wg[1], SEC, &o));
}

static void a_stranger_may_be_refused(void **unused)
{
	struct from f = address(1, 1);
	struct datagram init = initiation(SEC), cookie, again;
	(void)unused;
	adopt_refuses = true;
	give(1, SEC, &init, f, &cookie);
	assert_int_equal(give(0, SEC, &cookie, f, NULL), DROP_NONE);
	again = must_poll(d.wg[0], SEC);
	assert_int_equal(give(1, SEC, &again, f, NULL), DROP_WG_UNKNOWN_KEY);
	assert_int_equal(adopted, 1);
	d.wg[1]->cfg.adopt = NULL; /* nobody is taken in: no cookie either */
	assert_int_equal(give(1, SEC, &init, f, NULL), DROP_WG_UNKNOWN_KEY);
}

/* The key of another in message 1 is not enough: what proves it comes behind it. */
static void a_borrowed_key_is_not_adopted(void **unused)
{
	struct from f = address(1, 1);
	struct datagram init = initiation(SEC), cookie, again;
	struct cookie_jar jar;
	(void)unused;
	give(1, SEC, &init, f, &cookie);
	assert_int_equal(give(0, SEC, &cookie, f, NULL), DROP_NONE);
	again = must_poll(d.wg[0], SEC);
	again.b[offsetof(struct msg_initiation, timestamp)] ^= 1;
	jar = d.peer[0]->jar;
	cookie_add_macs(&jar, SEC, again.b, again.len);
	assert_int_equal(give(1, SEC, &again, f, NULL), DROP_WG_BAD_HANDSHAKE);
	assert_int_equal(adopted, 0);
}

static void a_cookie_is_bound_to_the_address(void **unused)
{
	struct datagram init = initiation(SEC), cookie, again;
	(void)unused;
	give(1, SEC, &init, address(1, 1), &cookie);
	give(0, SEC, &cookie, address(1, 1), NULL);
	again = must_poll(d.wg[0], SEC);
	assert_int_equal(give(1, SEC, &again, address(1, 2), NULL), DROP_WG_COOKIE_SENT);
	assert_int_equal(give(1, SEC, &again, address(2, 1), NULL), DROP_WG_COOKIE_SENT);
	assert_int_equal(give(1, SEC, &again, address(1, 1), NULL), DROP_NONE);
}

static void cookies_grow_old(void **unused)
{
	static const struct {
		nsec after;
		enum drop want;
	} rows[] = { { 7, DROP_NONE }, { 119, DROP_NONE }, { 400, DROP_WG_COOKIE_SENT } };
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		setup_strangers(unused);
		struct datagram init = initiation(SEC), cookie, again;
		give(1, SEC, &init, address(1, 1), &cookie);
		give(0, SEC, &cookie, address(1, 1), NULL);
		again = must_poll(d.wg[0], SEC);
		nsec now = SEC + rows[i].after * SEC;
		assert_int_equal(give(1, now, &again, address(1, 1), NULL), rows[i].want);
		/* Ours uses a cookie for less than two minutes. */
		struct datagram later = initiation(now);
		bool used = !sodium_is_zero(later.b + WG_INITIATION_LEN - MAC_LEN, MAC_LEN);
		assert_int_equal(used, rows[i].after < 115);
		teardown(unused);
	}
	setup_strangers(unused);
}

static void one_resend_for_each_initiation(void **unused)
{
	struct from f = address(1, 1);
	struct datagram init = initiation(SEC), cookie;
	struct wg_output o;
	(void)unused;
	for (int i = 0; i < 5; i++) {
		give(1, SEC, &init, f, &cookie);
		assert_int_equal(give(0, SEC, &cookie, f, NULL), DROP_NONE);
		assert_int_equal(wg_poll(d.wg[0], SEC, &o), i == 0);
	}
	/* The next attempt has its own; and carries the cookie already. */
	struct datagram next = must_poll(d.wg[0], 7 * SEC);
	assert_false(sodium_is_zero(next.b + WG_INITIATION_LEN - MAC_LEN, MAC_LEN));
	assert_int_equal(give(1, 7 * SEC, &next, f, NULL), DROP_NONE);
}

static void forged_cookie_replies(void **unused)
{
	struct from f = address(1, 1);
	struct datagram init = initiation(SEC), cookie;
	struct wg_output o;
	(void)unused;
	give(1, SEC, &init, f, &cookie);
	for (size_t i = 4; i < WG_COOKIE_LEN; i++) {
		struct datagram k = cookie;
		k.b[i] ^= 1;
		assert_int_equal(give(0, SEC, &k, f, NULL),
				 i < 8 ? DROP_WG_UNKNOWN_INDEX : DROP_WG_BAD_COOKIE);
	}
	assert_false(wg_poll(d.wg[0], SEC, &o));
	/* A reply to an older message of ours. */
	struct datagram newer = must_poll(d.wg[0], 7 * SEC);
	(void)newer;
	assert_int_equal(give(0, 7 * SEC, &cookie, f, NULL), DROP_WG_UNKNOWN_INDEX);
}

/* --- load --- */

/* Initiations that cost end `to` a handshake each: well formed, of a key that nobody knows. */
static void flood(int to, nsec now, unsigned n)
{
	struct msg_initiation m = { .type = { { WG_INITIATION } } };
	struct cookie_jar jar;
	cookie_jar_init(&jar, wg_public_key(d.wg[to]));
	for (unsigned i = 0; i < n; i++) {
		struct datagram k = { .len = sizeof(m) };
		randombytes_buf(m.ephemeral, sizeof(m.ephemeral));
		memcpy(k.b, &m, sizeof(m));
		cookie_add_macs(&jar, now, k.b, k.len);
		give(to, now, &k, address(666, 666), NULL);
	}
}

static void under_load_friends_need_cookies_too(void **unused)
{
	struct from f = address(1, 1);
	struct datagram init = initiation(SEC), cookie, again, response;
	(void)unused;
	flood(1, SEC, 300);
	assert_int_equal(give(1, SEC, &init, f, &cookie), DROP_WG_COOKIE_SENT);
	assert_int_equal(give(0, SEC, &cookie, f, NULL), DROP_NONE);
	again = must_poll(d.wg[0], SEC);
	assert_int_equal(give(1, SEC, &again, f, &response), DROP_NONE);
	assert_int_equal(give(0, SEC, &response, f, NULL), DROP_NONE);
}

static void load_passes(void **unused)
{
	struct datagram init = initiation(SEC);
	(void)unused;
	flood(1, SEC, 200);
	assert_int_equal(give(1, SEC, &init, address(1, 1), NULL), DROP_NONE);
	flood(1, SEC, 200);
	init = must_poll(d.wg[0], 7 * SEC);
	assert_int_equal(give(1, SEC + 900 * MSEC, &init, address(1, 1), NULL),
			 DROP_WG_COOKIE_SENT);
	assert_int_equal(give(1, 3 * SEC, &init, address(1, 1), NULL), DROP_NONE);
}

/* Bad mac1 costs us a hash, unknown indices less: neither makes load. */
static void cheap_messages_are_no_load(void **unused)
{
	struct datagram init = initiation(SEC), junk = init;
	struct datagram response = { .len = WG_RESPONSE_LEN, .b = { WG_RESPONSE } };
	struct cookie_jar jar;
	(void)unused;
	junk.b[20] ^= 1;
	cookie_jar_init(&jar, wg_public_key(d.wg[1]));
	cookie_add_macs(&jar, SEC, response.b, response.len);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(give(1, SEC, &junk, address(666, 666), NULL), DROP_WG_BAD_MAC1);
		assert_int_equal(give(1, SEC, &response, address(666, 666), NULL),
				 DROP_WG_UNKNOWN_INDEX);
	}
	assert_int_equal(give(1, SEC, &init, address(1, 1), NULL), DROP_NONE);
}

/* Message 2 under load: a cookie is demanded, and the answer comes again at once. */
static void responses_need_cookies_under_load(void **unused)
{
	struct from f = address(1, 1);
	struct datagram init = initiation(SEC), response, cookie, again;
	(void)unused;
	assert_int_equal(give(1, SEC, &init, f, &response), DROP_NONE);
	flood(0, SEC, 300);
	assert_int_equal(give(0, SEC, &response, f, &cookie), DROP_WG_COOKIE_SENT);
	assert_int_equal(give(1, SEC, &cookie, f, NULL), DROP_NONE);
	again = must_poll(d.wg[1], SEC);
	assert_int_equal(again.len, WG_RESPONSE_LEN);
	assert_int_equal(give(0, SEC, &again, f, NULL), DROP_NONE);
	assert_true(wg_can_send(d.peer[0], SEC));
}

static struct cookie_checker checker;

static bool allowed(nsec now, struct from f)
{
	return cookie_source_allowed(&checker, now, (struct source){ f.b, sizeof(f.b) });
}

static void one_address_has_its_share(void **unused)
{
	static uint8_t secrets[2][BLAKE2S_LEN];
	struct from v6 = { { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } }, neighbour = v6, other = v6;
	(void)unused;
	seed_all(42);
	cookie_init(&checker, secrets);
	for (int i = 0; i < 5; i++)
		assert_true(allowed(SEC, address(1, (uint16_t)i)));
	assert_false(allowed(SEC, address(1, 77))); /* ports are cheap */
	assert_true(allowed(SEC, address(2, 1)));
	assert_false(allowed(SEC + 49 * MSEC, address(1, 1)));
	assert_true(allowed(SEC + 50 * MSEC, address(1, 1)));
	assert_false(allowed(SEC + 51 * MSEC, address(1, 1)));
	neighbour.b[15] = 2; /* within the /64 */
	other.b[7] = 1;
	for (int i = 0; i < 5; i++)
		assert_true(allowed(SEC, i % 2 ? v6 : neighbour));
	assert_false(allowed(SEC, v6));
	assert_true(allowed(SEC, other));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define STRANGERS(f) cmocka_unit_test_setup_teardown(f, setup_strangers, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STRANGERS(a_stranger_is_asked_for_a_cookie),
		STRANGERS(a_stranger_may_be_refused),
		STRANGERS(a_borrowed_key_is_not_adopted),
		STRANGERS(a_cookie_is_bound_to_the_address),
		STRANGERS(one_resend_for_each_initiation),
		STRANGERS(forged_cookie_replies),
		cmocka_unit_test_teardown(cookies_grow_old, teardown),
		TEST(under_load_friends_need_cookies_too),
		TEST(load_passes),
		TEST(cheap_messages_are_no_load),
		TEST(responses_need_cookies_under_load),
		cmocka_unit_test(one_address_has_its_share),
	};
	return cmocka_run_group_tests_name("cookies", tests, NULL, NULL);
}
