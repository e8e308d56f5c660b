/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration protocol against a node of static peers: what get=1 says, each key of set=1, and
 * whole sections. Members are test_uapi_members.c's.
 */
#include "tests/unit/gateway/uapi_wire.h"

#include <errno.h>

#define KEY_A "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
#define KEY_B "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
#define KEY_0 "0000000000000000000000000000000000000000000000000000000000000000"
#define PRIV "3839393939393939393939393939393939393939393939393939393939393979"
#define PRIV_ANY                                                                                   \
	"3939393939393939393939393939393939393939393939393939393939393939" /* not clamped */
#define PSK "7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c"

static int begin(void **state)
{
	int err = talk_begin(state);
	if (!err)
		t->offset = 1760000000 * NSEC_PER_SEC;
	return err;
}

static const struct dump_peer *get_peer(const char *key)
{
	return dump_find(talk_get(t, now), key);
}

static unsigned peers(void)
{
	return talk_get(t, now)->npeers;
}

/* --- get --- */

static void test_get_nothing(void **state)
{
	(void)state;
	assert_int_equal(talk_set(t, now, "private_key=" KEY_0 "\n"), 0);
	assert_true(talk_say(t, now, "get=1\n\n"));
	assert_string_equal(t->answer, "listen_port=51820\nerrno=0\n\n");
}

/* To the letter, as other implementations write it. */
static void test_get_all(void **state)
{
	(void)state;
	assert_int_equal(
		talk_set(t, now,
			 "private_key=" PRIV "\nlisten_port=12345\nfwmark=0xca6c\n"
			 "public_key=" KEY_A "\npreshared_key=" PSK "\n"
			 "endpoint=192.0.2.7:9\npersistent_keepalive_interval=25\n"
			 "allowed_ip=10.0.0.1/32\nallowed_ip=10.1.2.3/16\nallowed_ip=::/0\n"
			 "public_key=" KEY_B "\nendpoint=[2001:DB8::7]:65535\n"),
		0);
	assert_true(talk_say(t, now, "get=1\n\n"));
	assert_string_equal(t->answer, "private_key=" PRIV "\n"
				       "listen_port=12345\n"
				       "fwmark=51820\n"
				       "public_key=" KEY_A "\n"
				       "preshared_key=" PSK "\n"
				       "protocol_version=1\n"
				       "endpoint=192.0.2.7:9\n"
				       "last_handshake_time_sec=0\n"
				       "last_handshake_time_nsec=0\n"
				       "tx_bytes=0\n"
				       "rx_bytes=0\n"
				       "persistent_keepalive_interval=25\n"
				       "allowed_ip=::/0\n"
				       "allowed_ip=10.0.0.1/32\n"
				       "allowed_ip=10.1.0.0/16\n"
				       "public_key=" KEY_B "\n"
				       "preshared_key=" KEY_0 "\n"
				       "protocol_version=1\n"
				       "endpoint=[2001:db8::7]:65535\n"
				       "last_handshake_time_sec=0\n"
				       "last_handshake_time_nsec=0\n"
				       "tx_bytes=0\n"
				       "rx_bytes=0\n"
				       "persistent_keepalive_interval=0\n"
				       "errno=0\n\n");
}

/* The clock on the wall, not since the start; and bytes as they are counted. */
static void test_get_of_a_session(void **state)
{
	struct peer *p = pair();
	struct wg_peer_stats s;
	(void)state;
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 100);
	settle();
	nsec at = now + t->offset;
	now += 90 * NSEC_PER_SEC + 5;
	wg_peer_stats(peer_wg(p), now, &s);
	const struct dump_peer *d = get_peer(hex(ends[1].pub));
	assert_non_null(d);
	assert_int_equal(d->sec, at / NSEC_PER_SEC);
	assert_int_equal(d->nanos, at % NSEC_PER_SEC);
	assert_true(s.tx_bytes > 100 && s.rx_bytes > 0);
	assert_int_equal(d->tx, s.tx_bytes);
	assert_int_equal(d->rx, s.rx_bytes);
	/* before the clock is set there is no such time; digits alone are understood */
	t->offset = -at;
	assert_int_equal(get_peer(hex(ends[1].pub))->sec, 0);
}

static void test_get_takes_no_lines(void **state)
{
	(void)state;
	assert_true(talk_say(t, now, "get=1\nlisten_port=5\npublic_key=" KEY_A "\n\n"));
	assert_string_equal(t->answer, "errno=-22\n\n");
	assert_int_equal(t->port, 51820);
	assert_int_equal(peers(), 0);
}

/* --- set --- */

static void test_set_device(void **state)
{
	(void)state;
	assert_int_equal(talk_set(t, now, "listen_port=0\n"), 0);
	assert_int_equal(t->port, 0);
	assert_int_equal(talk_set(t, now, "listen_port=65535\nfwmark=4294967295\n"), 0);
	assert_int_equal(t->port, 65535);
	assert_int_equal(t->mark, UINT32_MAX);
	assert_int_equal(talk_set(t, now, "fwmark=0xFFfffffe\n"), 0);
	assert_int_equal(t->mark, UINT32_MAX - 1);
	assert_int_equal(talk_set(t, now, "fwmark=0\n"), 0);
	assert_int_equal(t->mark, 0);
	assert_int_equal(talk_set(t, now, "private_key=" PRIV "\n"), 0);
	assert_string_equal(hex(wg_private_key(ends[0].node->wg)), PRIV);
	/* clamped, as every implementation keeps it: the same key, which ends nothing */
	assert_int_equal(talk_set(t, now, "private_key=" PRIV_ANY "\n"), 0);
	assert_string_equal(talk_get(t, now)->private_key, PRIV);
	assert_int_equal(talk_set(t, now, "private_key=%.32s%.32s\n",
				  "ABCDEFABCDEFABCDEFABCDEFABCDEFAB", KEY_A),
			 0);
	assert_int_equal(wg_private_key(ends[0].node->wg)[0], 0xa8);
	assert_int_equal(talk_set(t, now, "private_key=" KEY_0 "\n"), 0);
	assert_string_equal(talk_get(t, now)->private_key, "");
	assert_int_equal(talk_set(t, now, "%s", ""), 0);
}

static void test_set_says_what_the_device_says(void **state)
{
	(void)state;
	t->port_error = -EADDRINUSE;
	assert_int_equal(talk_set(t, now, "listen_port=1\nfwmark=5\n"), -EADDRINUSE);
	assert_int_equal(t->mark, 0);
	t->mark_error = -EPERM;
	assert_int_equal(talk_set(t, now, "fwmark=5\n"), -EPERM);
}

static void test_set_peer(void **state)
{
	(void)state;
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\n"), 0);
	const struct dump_peer *p = get_peer(KEY_A);
	assert_non_null(p);
	assert_string_equal(p->endpoint, "");
	assert_string_equal(p->psk, KEY_0);
	assert_int_equal(talk_set(t, now,
				  "public_key=" KEY_A "\nprotocol_version=1\npreshared_key=" PSK
				  "\nendpoint=[::1]:1\nallowed_ip=+10.0.0.0/8\n"
				  "persistent_keepalive_interval=65535\n"),
			 0);
	p = get_peer(KEY_A);
	assert_string_equal(p->psk, PSK);
	assert_string_equal(p->endpoint, "[::1]:1");
	assert_int_equal(p->keepalive, 65535);
	assert_true(p->nallowed == 1 && dump_allows(p, "10.0.0.0/8"));
	/* a line changes what it names, and nothing else */
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nallowed_ip=fd00::/8\n"), 0);
	p = get_peer(KEY_A);
	assert_true(p->nallowed == 2 && p->keepalive == 65535);
	assert_int_equal(talk_set(t, now,
				  "public_key=" KEY_A "\nreplace_allowed_ips=true\n"
				  "allowed_ip=0.0.0.0/0\npreshared_key=" KEY_0
				  "\npersistent_keepalive_interval=0\n"),
			 0);
	p = get_peer(KEY_A);
	assert_true(p->nallowed == 1 && dump_allows(p, "0.0.0.0/0") && p->keepalive == 0);
	assert_string_equal(p->psk, KEY_0);
	assert_int_equal(peers(), 1);
}

static void test_allowed_ip_moves_and_goes(void **state)
{
	(void)state;
	assert_int_equal(talk_set(t, now,
				  "public_key=" KEY_A "\nallowed_ip=10.0.0.0/8\n"
				  "allowed_ip=10.0.0.1/32\npublic_key=" KEY_B
				  "\nallowed_ip=10.0.0.0/8\nallowed_ip=-10.0.0.1/32\n"
				  "allowed_ip=-192.168.0.0/16\n"),
			 0);
	assert_true(dump_allows(get_peer(KEY_B), "10.0.0.0/8"));
	assert_int_equal(get_peer(KEY_B)->nallowed, 1);
	assert_int_equal(get_peer(KEY_A)->nallowed, 1); /* what was A's stays A's */
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nallowed_ip=-10.0.0.1/32\n"), 0);
	assert_int_equal(get_peer(KEY_A)->nallowed, 0);
}

/* Said and shown as wireguard-go does, and sent nothing. */
static void test_port_0(void **state)
{
	struct peer *p;
	struct path path;

	(void)state;
	assert_int_equal(talk_set(t, now,
				  "public_key=" KEY_A "\nendpoint=192.0.2.1:0\n"
				  "persistent_keepalive_interval=5\n"),
			 0);
	assert_string_equal(get_peer(KEY_A)->endpoint, "192.0.2.1:0");
	p = node_peer_next(t->u->dev.node, NULL);
	assert_false(peer_path(p, &path));
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nendpoint=[fe80::1%%7]:0\n"), 0);
	assert_string_equal(get_peer(KEY_A)->endpoint, "[fe80::1%7]:0");
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nendpoint=192.0.2.1:9\n"), 0);
	assert_true(peer_path(p, &path) && path.remote.port == 9);
}

static void test_link_local_endpoints(void **state)
{
	(void)state;
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nendpoint=[fe80::1%%7]:9\n"), 0);
	assert_string_equal(get_peer(KEY_A)->endpoint, "[fe80::1%7]:9");
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nendpoint=[fe80::1%%eth0]:9\n"), 0);
	assert_string_equal(get_peer(KEY_A)->endpoint, "[fe80::1%2]:9");
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nendpoint=[fe80::1]:9\n"), 0);
	assert_string_equal(get_peer(KEY_A)->endpoint, "[fe80::1]:9");
	t->u->dev.ifindex = NULL;
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nendpoint=[fe80::1%%eth0]:9\n"),
			 -EINVAL);
}

/* A scope says nothing about an address that is not link-local, and is not kept: `scope` is 0 there. */
static void test_scope_of_a_global_endpoint(void **state)
{
	static const char *const scopes[] = { "eth0", "eth9", "7", "0" };
	struct path path;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(scopes); i++) {
		assert_int_equal(talk_set(t, now,
					  "replace_peers=true\npublic_key=" KEY_A
					  "\nendpoint=[2001:db8::1%%%s]:9\n",
					  scopes[i]),
				 0);
		assert_string_equal(get_peer(KEY_A)->endpoint, "[2001:db8::1]:9");
		assert_true(peer_path(node_peer_next(t->u->dev.node, NULL), &path));
		assert_int_equal(path.remote.scope, 0);
	}
}

/* --- whole sections --- */

static void test_replace_peers(void **state)
{
	(void)state;
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\npublic_key=" KEY_B "\n"), 0);
	assert_int_equal(talk_set(t, now, "replace_peers=true\npublic_key=" KEY_B "\n"), 0);
	assert_int_equal(peers(), 1);
	assert_non_null(get_peer(KEY_B));
}

static void test_remove(void **state)
{
	(void)state;
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\npublic_key=" KEY_B "\n"), 0);
	/* what follows a removal changes nobody, and must make sense all the same */
	assert_int_equal(talk_set(t, now,
				  "public_key=" KEY_A "\nremove=true\nallowed_ip=10.0.0.0/8\n"
				  "persistent_keepalive_interval=5\n"),
			 0);
	assert_int_equal(peers(), 1);
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nremove=true\n"), 0);
	assert_int_equal(peers(), 1);
	assert_int_equal(talk_set(t, now, "public_key=" KEY_B "\nremove=true\nendpoint=x\n"),
			 -EINVAL);
	assert_int_equal(peers(), 0);
	/* the next section of the same key makes the peer again */
	assert_int_equal(talk_set(t, now,
				  "public_key=" KEY_B "\nremove=true\npublic_key=" KEY_B
				  "\nallowed_ip=10.0.0.0/8\n"),
			 0);
	assert_int_equal(get_peer(KEY_B)->nallowed, 1);
}

static void test_update_only(void **state)
{
	(void)state;
	assert_int_equal(talk_set(t, now,
				  "public_key=" KEY_A "\nupdate_only=true\nallowed_ip=10.0.0.0/8\n"
				  "remove=true\n"),
			 0);
	assert_int_equal(peers(), 0);
	assert_int_equal(
		talk_set(t, now, "public_key=" KEY_A "\nallowed_ip=10.0.0.0/8\nupdate_only=true\n"),
		0);
	assert_int_equal(peers(), 0);
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\n"), 0);
	assert_int_equal(talk_set(t, now,
				  "public_key=" KEY_A "\nupdate_only=true\n"
				  "allowed_ip=10.0.0.0/8\n"),
			 0);
	assert_int_equal(get_peer(KEY_A)->nallowed, 1);
}

static void test_own_key_is_passed_over(void **state)
{
	(void)state;
	assert_int_equal(talk_set(t, now,
				  "public_key=%s\npreshared_key=" PSK "\nendpoint=192.0.2.1:9\n"
				  "allowed_ip=10.0.0.0/8\nreplace_allowed_ips=true\nremove=true\n"
				  "public_key=" KEY_A "\nallowed_ip=10.1.0.0/16\n",
				  hex(ends[0].pub)),
			 0);
	assert_int_equal(peers(), 1);
	assert_int_equal(get_peer(KEY_A)->nallowed, 1);
	/* without a key nobody is us, not even nobody */
	assert_int_equal(talk_set(t, now, "private_key=" KEY_0 "\npublic_key=" KEY_0 "\n"), 0);
	assert_int_equal(talk_set(t, now, "private_key=" KEY_0 "\n"), 0);
	assert_int_equal(peers(), 2);
	/* a peer whose key becomes our own goes */
	assert_int_equal(talk_set(t, now, "public_key=%s\n", hex(ends[1].pub)), 0);
	assert_int_equal(talk_set(t, now, "private_key=%s\n", hex(ends[1].priv)), 0);
	assert_int_equal(peers(), 2);
	assert_null(get_peer(hex(ends[1].pub)));
}

static void test_full_table(void **state)
{
	unsigned room = ends[0].node->max_peers;
	(void)state;
	for (unsigned i = 0; i < room; i++)
		assert_int_equal(talk_set(t, now, "public_key=%062x%02x\n", 0, 0x20 + i), 0);
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\n"), -ENOSPC);
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nprotocol_version=1\n"), -ENOSPC);
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nendpoint=192.0.2.1:1\n"), -ENOSPC);
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\npublic_key=" KEY_B "\n"), -ENOSPC);
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\npublic_key=%062x20\n", 0),
			 -ENOSPC);
	/* none of these needs room */
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\nremove=true\n"), 0);
	assert_int_equal(
		talk_set(t, now, "public_key=" KEY_A "\nupdate_only=true\nendpoint=192.0.2.1:1\n"),
		0);
	assert_int_equal(talk_set(t, now, "public_key=%062x20\nallowed_ip=10.0.0.0/8\n", 0), 0);
	assert_int_equal(peers(), room);
	assert_int_equal(
		talk_set(t, now, "public_key=%062x20\nremove=true\npublic_key=" KEY_A "\n", 0), 0);
	assert_non_null(get_peer(KEY_A));
}

/* Accepted and shown, as everywhere; there is never a handshake, and the rest goes on. */
static void test_keys_of_low_order(void **state)
{
	static const char *const points[] = {
		KEY_0,
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		assert_int_equal(
			talk_set(t, now,
				 "replace_peers=true\npublic_key=%s\nendpoint=192.0.2.7:9\n"
				 "persistent_keepalive_interval=1\nallowed_ip=10.0.0.0/8\n"
				 "public_key=" KEY_B "\nallowed_ip=192.168.0.0/16\n",
				 points[i]),
			0);
		const struct dump_peer *p = get_peer(points[i]);
		assert_true(p && p->nallowed == 1 && dump_allows(p, "10.0.0.0/8"));
		assert_true(get_peer(KEY_B)->nallowed == 1);
		wire_clear();
		for (unsigned k = 0; k < 200; k++)
			send_inner(0, "10.0.0.1", "10.0.0.2", 1, 100);
		run_for(30 * NSEC_PER_SEC);
		assert_int_equal(nwire, 0);
		/* another key of ours makes no difference, nor does none */
		assert_int_equal(talk_set(t, now, "private_key=%s\n", i % 2 ? PRIV : KEY_0), 0);
		run_for(30 * NSEC_PER_SEC);
		assert_int_equal(nwire, 0);
		assert_non_null(get_peer(points[i]));
	}
	assert_true(drops(0, DROP_QUEUE_FULL) > 0);
}

static void test_sections_of_one_request(void **state)
{
	(void)state;
	assert_true(talk_say(t, now, "set=1\n"));
	for (unsigned i = 0; i < UAPI_PEERS_MAX; i++)
		assert_true(talk_say(t, now, "public_key=" KEY_A "\n"));
	assert_true(talk_say(t, now, "public_key=" KEY_B "\n\n"));
	assert_string_equal(t->answer, "errno=-28\n\n");
	assert_int_equal(peers(), 1);
	assert_int_equal(talk_set(t, now, "public_key=" KEY_B "\n"), 0);
}

/* Between two lines anything may have happened to the peer. */
static void test_removed_meanwhile(void **state)
{
	(void)state;
	assert_true(talk_say(t, now, "set=1\npublic_key=" KEY_A "\n"));
	node_static_remove(node_peer_next(ends[0].node, NULL));
	assert_true(talk_say(t, now, "endpoint=192.0.2.1:1\nupdate_only=true\nremove=true\n\n"));
	assert_string_equal(t->answer, "errno=0\n\n");
	assert_int_equal(peers(), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(test_get_nothing, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_get_all, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_get_of_a_session, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_get_takes_no_lines, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_set_device, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_set_says_what_the_device_says, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_set_peer, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_allowed_ip_moves_and_goes, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_port_0, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_link_local_endpoints, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_scope_of_a_global_endpoint, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_replace_peers, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_remove, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_update_only, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_own_key_is_passed_over, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_full_table, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_keys_of_low_order, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_sections_of_one_request, begin, talk_end),
	cmocka_unit_test_setup_teardown(test_removed_meanwhile, begin, talk_end),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
