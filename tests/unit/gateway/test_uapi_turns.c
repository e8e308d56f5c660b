/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that take away what thousands of lines have made: by and by, and nothing that stays is missed meanwhile. */
#include "tests/unit/gateway/uapi_wire.h"

#include <errno.h>
#include <sodium.h>

#define KEY_A "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
#define KEY_B "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"

enum { MANY = 20 * PEER_UNROUTE };

static struct peer *peer(const char *key)
{
	uint8_t bin[32];
	assert_int_equal(sodium_hex2bin(bin, 32, key, 64, NULL, NULL, NULL), 0);
	return node_peer_find(ends[0].node, bin);
}

static size_t held(const char *key)
{
	struct prefix all[2 * MANY];
	return peer(key) ? peer_routes(peer(key), NULL, all, ARRAY_SIZE(all)) : 0;
}

/* 10.9.0.0, 10.9.0.1 and so on */
static void with_prefixes(const char *key, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(talk_set(t, now, "public_key=%s\nallowed_ip=10.9.%u.%u/32\n", key,
					  i / 256, i % 256),
				 0);
	assert_int_equal(held(key), n);
}

static void after_no_turn(void)
{
}

/* How many turns `text` takes; `each` looks after each. No answer comes while more than `stay` of KEY_A's are there. */
static unsigned turns_of(const char *text, bool eof, size_t stay, void (*each)(void))
{
	size_t len = strlen(text), at = 0, answer = 0;
	unsigned turns = 0;
	do {
		size_t before = held(KEY_A);
		at += uapi_turn(t->u, now, text + at, len - at);
		if (at == len && eof && !turns)
			uapi_eof(t->u, now);
		assert_true(held(KEY_A) + PEER_UNROUTE >= before);
		each();
		uapi_answer(t->u, &answer);
		assert_false(answer && held(KEY_A) > stay);
		turns++;
	} while (at < len || uapi_works(t->u));
	assert_true(answer > 0);
	uapi_sent(t->u, answer);
	return turns;
}

static void test_peer_goes(void **state)
{
	(void)state;
	with_prefixes(KEY_A, MANY);
	assert_true(turns_of("set=1\npublic_key=" KEY_A "\nremove=true\npublic_key=" KEY_B "\n\n",
			     false, 0, after_no_turn) >= MANY / PEER_UNROUTE);
	assert_null(peer(KEY_A));
	assert_non_null(peer(KEY_B));
}

/* The line is all that there is, and has no end: it is answered when it is done. */
static void test_peer_goes_at_the_end(void **state)
{
	(void)state;
	with_prefixes(KEY_A, MANY);
	assert_true(turns_of("set=1\npublic_key=" KEY_A "\nremove=true", true, 0, after_no_turn) >=
		    MANY / PEER_UNROUTE);
	assert_null(peer(KEY_A));
}

static void test_all_go(void **state)
{
	(void)state;
	with_prefixes(KEY_A, MANY);
	for (unsigned i = 1; i <= 6; i++)
		assert_int_equal(
			talk_set(t, now, "public_key=%064x\nallowed_ip=10.0.%u.0/24\n", i, i), 0);
	assert_true(turns_of("set=1\nreplace_peers=true\npublic_key=" KEY_B "\n\n", false, 0,
			     after_no_turn) >= MANY / PEER_UNROUTE);
	assert_int_equal(talk_get(t, now)->npeers, 1);
	assert_non_null(peer(KEY_B));
}

static void test_all_prefixes_go(void **state)
{
	(void)state;
	with_prefixes(KEY_A, MANY);
	assert_true(turns_of("set=1\npublic_key=" KEY_A "\nreplace_allowed_ips=true\n\n", false, 0,
			     after_no_turn) >= MANY / PEER_UNROUTE);
	assert_int_equal(held(KEY_A), 0);
}

static void stays(const char *text)
{
	struct prefix p;
	assert_true(prefix_parse(text, &p));
	assert_ptr_equal(route_table_exact(ends[0].node->routes, &p), peer(KEY_A));
}

static void three_stay(void)
{
	stays("10.9.0.0/32");
	stays("10.9.0.200/32");
	stays("fd00::/8");
}

/* wg syncconf replaces the prefixes of each peer, mostly by the same: a packet finds them all the time. */
static void test_what_stays_is_not_missed(void **state)
{
	(void)state;
	with_prefixes(KEY_A, MANY);
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nallowed_ip=fd00::/8\n"), 0);
	with_prefixes(KEY_B, 2); /* of A's */
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nallowed_ip=10.9.0.0/32\n"), 0);
	turns_of("set=1\npublic_key=" KEY_A "\nreplace_allowed_ips=true\nallowed_ip=fd00::/8\n"
		 "allowed_ip=10.9.0.0/32\nallowed_ip=192.0.2.0/24\nallowed_ip=-192.0.2.0/24\n"
		 "allowed_ip=10.9.0.200/32\npublic_key=" KEY_B "\n\n",
		 false, 3, three_stay);
	assert_int_equal(held(KEY_A), 3);
	assert_int_equal(held(KEY_B), 1);
}

/* The end of the section does it, whatever comes then: also a line that is wrong, or replace once more. */
static void test_replaced_before_an_error(void **state)
{
	(void)state;
	with_prefixes(KEY_A, 40);
	assert_int_equal(talk_set(t, now,
				  "public_key=" KEY_A "\nreplace_allowed_ips=true\n"
				  "allowed_ip=10.9.0.5/32\nreplace_allowed_ips=true\n"
				  "allowed_ip=10.9.0.7/32\nallowed_ip=10.9.0.6/33\n"
				  "allowed_ip=10.9.0.8/32\n"),
			 -EINVAL);
	assert_int_equal(held(KEY_A), 1);
	stays("10.9.0.7/32");
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nallowed_ip=10.9.0.9/32\n"), 0);
	assert_int_equal(held(KEY_A), 2);
}

/* --- somebody else meanwhile --- */

static void other_removes(void)
{
	if (peer(KEY_A) && held(KEY_A) < MANY - 2 * PEER_UNROUTE)
		node_static_remove(peer(KEY_A));
}

static void other_makes_it_anew(void)
{
	if (!peer(KEY_A) || held(KEY_A) == 1 || held(KEY_A) > MANY - 2 * PEER_UNROUTE)
		return;
	uint8_t key[32];
	struct prefix p;
	memcpy(key, peer_key(peer(KEY_A)), 32);
	node_static_remove(peer(KEY_A));
	assert_true(prefix_parse("192.0.2.1/32", &p));
	assert_int_equal(node_static_route(ends[0].node,
					   node_static_add(ends[0].node, now, key, NULL, NULL, 0),
					   &p),
			 0);
}

/* The rest is done as if it had been so before; a peer that was made meanwhile is another one. */
static void test_somebody_else(void **state)
{
	static const char *const texts[] = {
		"set=1\npublic_key=" KEY_A "\nremove=true\npublic_key=" KEY_B "\n\n",
		"set=1\npublic_key=" KEY_A "\nreplace_allowed_ips=true\npublic_key=" KEY_B "\n\n",
		"set=1\npublic_key=" KEY_A "\nreplace_allowed_ips=true\n\n",
		"set=1\nreplace_peers=true\n\n",
	};
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		with_prefixes(KEY_A, MANY);
		turns_of(texts[i], false, 0, other_removes);
		assert_null(peer(KEY_A));
		with_prefixes(KEY_A, MANY);
		turns_of(texts[i], false, 1, other_makes_it_anew);
		assert_int_equal(held(KEY_A), 1);
		node_static_remove(peer(KEY_A));
	}
}

/* Of a route that the kernel was told of and refused, it is told once more. */
static void test_said_again(void **state)
{
	(void)state;
	with_prefixes(KEY_A, 3);
	unsigned before = ends[0].routes;
	assert_int_equal(talk_set(t, now,
				  "public_key=" KEY_A "\nreplace_allowed_ips=true\n"
				  "allowed_ip=10.9.0.1/32\n"),
			 0);
	assert_int_equal(ends[0].routes, before + 1);
	assert_int_equal(held(KEY_A), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_peer_goes, talk_begin, talk_end),
		cmocka_unit_test_setup_teardown(test_peer_goes_at_the_end, talk_begin, talk_end),
		cmocka_unit_test_setup_teardown(test_all_go, talk_begin, talk_end),
		cmocka_unit_test_setup_teardown(test_all_prefixes_go, talk_begin, talk_end),
		cmocka_unit_test_setup_teardown(test_what_stays_is_not_missed, talk_begin,
						talk_end),
		cmocka_unit_test_setup_teardown(test_replaced_before_an_error, talk_begin,
						talk_end),
		cmocka_unit_test_setup_teardown(test_somebody_else, talk_begin, talk_end),
		cmocka_unit_test_setup_teardown(test_said_again, talk_begin, talk_end),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
