/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration protocol of a gateway that has joined: what the rendezvous says stays. */
#include "tests/unit/gateway/trust_world.h"
#include "tests/unit/gateway/uapi_talk.h"
#include "base/log.h"

#include <errno.h>
#include <sodium.h>

#define LAPTOP "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
#define PSK "7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c"

static struct world *w;
static struct host *a, *b;
static struct talk *t;
static char b_key[65], rendezvous_key[65];

static int begin(void **state)
{
	(void)state;
	w = world_new();
	a = world_node(w, 0, "a", 1, NULL);
	b = world_node(w, 1, "beta", 2, NULL);
	world_run(w, 3 * NSEC_PER_SEC);
	assert_true(a->up && b->up && world_peer(a, "beta"));
	t = talk_new(a->node);
	t->port = 4000;
	t->offset = WORLD_WALL;
	snprintf(b_key, sizeof(b_key), "%s", hex(peer_key(world_peer(a, "beta"))));
	snprintf(rendezvous_key, sizeof(rendezvous_key), "%s", hex(w->token.key));
	/* the log's limit outlives a test */
	static nsec later;
	world_run(w, later += 20 * NSEC_PER_SEC);
	return 0;
}

static int end(void **state)
{
	(void)state;
	talk_free(t);
	world_free(w);
	return 0;
}

static bool still_talk(void)
{
	unsigned before = b->packets;
	world_send(a, world_ip(a), world_ip(b));
	world_run(w, NSEC_PER_SEC);
	return b->packets == before + 1;
}

static void test_they_are_shown(void **state)
{
	char ip[PREFIX_STRLEN], ip6[PREFIX_STRLEN];
	(void)state;
	assert_true(still_talk());
	const struct dump *d = talk_get(t, w->now);
	assert_int_equal(d->npeers, 2);
	const struct dump_peer *r = dump_find(d, rendezvous_key), *m = dump_find(d, b_key);
	assert_true(r && m);
	assert_string_equal(r->endpoint, "203.0.113.1:7777");
	assert_int_equal(r->nallowed, 0);
	assert_true(r->sec > WORLD_WALL / NSEC_PER_SEC);
	assert_string_equal(m->endpoint, "198.51.100.2:4000");
	struct addr at = world_ip(b);
	struct prefix host = prefix_host(&at);
	prefix_str(&host, ip);
	snprintf(ip6, sizeof(ip6), "fd00:77::%x/128", addr_to_v4(&at) & 0xffff);
	assert_true(m->nallowed == 2 && dump_allows(m, ip) && dump_allows(m, ip6));
	assert_string_equal(m->psk, hex(wg_peer_psk(peer_wg(world_peer(b, "a")))));
	/* which is nowhere else than with the sessions' keys */
	assert_true(sodium_is_zero(peer_entry(world_peer(a, "beta"))->pair_psk, 32));
	assert_true(m->tx > 0);
}

/* What tools do with every interface, without a thought of members. */
static void test_replace_and_remove_pass_over(void **state)
{
	(void)state;
	assert_int_equal(talk_set(t, w->now, "public_key=" LAPTOP "\n"), 0);
	assert_int_equal(talk_get(t, w->now)->npeers, 3);
	assert_int_equal(
		talk_set(t, w->now,
			 "replace_peers=true\npublic_key=%s\nremove=true\nendpoint=1.1.1.1:1\n"
			 "public_key=%s\nremove=true\npublic_key=%s\nupdate_only=true\n",
			 b_key, rendezvous_key, b_key),
		0);
	assert_int_equal(talk_get(t, w->now)->npeers, 2);
	assert_true(still_talk());
}

static void test_they_cannot_be_changed(void **state)
{
	/*
	 * The last two take nothing from the rendezvous, which has no prefix. That nothing was put in
	 * place of what was replaced shows at the end; all others end the request at once.
	 */
	static const char *const lines[] = {
		("preshared_key=" PSK),
		"endpoint=192.0.2.1:1",
		"persistent_keepalive_interval=5",
		"allowed_ip=192.168.0.0/16",
		"replace_allowed_ips=true",
		"allowed_ip=-10.77.0.2/32",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		assert_int_equal(talk_set(t, w->now, "public_key=%s\nupdate_only=true\n%s\n%s",
					  b_key, lines[i], i == 4 ? "" : "fwmark=1\n"),
				 -EPERM);
		assert_int_equal(
			talk_set(t, w->now, "public_key=%s\n%s\n", rendezvous_key, lines[i]),
			i < 4 ? -EPERM : 0);
		assert_int_equal(talk_set(t, w->now, "public_key=%s\n%sx\n", b_key, lines[i]),
				 -EINVAL);
	}
	const struct dump_peer *m = dump_find(talk_get(t, w->now), b_key);
	assert_true(m->nallowed == 2 && m->keepalive == 0);
	assert_string_equal(m->endpoint, "198.51.100.2:4000");
	assert_true(still_talk());
}

/* What `wg showconf` prints of it, as `wg syncconf` and `wg setconf` say it again. */
static int say_again(const struct dump_peer *m, unsigned allowed, const char *more)
{
	char lines[2048];
	int n = snprintf(
		lines, sizeof(lines),
		"public_key=%s\npreshared_key=%s\n%s%s%spersistent_keepalive_interval=%lld\n"
		"replace_allowed_ips=true\n",
		m->key, m->psk, *m->endpoint ? "endpoint=" : "", m->endpoint,
		*m->endpoint ? "\n" : "", m->keepalive);
	for (unsigned i = 0; i < allowed; i++)
		n += snprintf(lines + n, sizeof(lines) - (size_t)n, "allowed_ip=%s\n",
			      m->allowed[i]);
	assert_true((size_t)n < sizeof(lines));
	/* more peers follow, which the end of this section must let through */
	return talk_set(t, w->now, "replace_peers=true\n%s%spublic_key=" LAPTOP "\n", lines, more);
}

static void test_the_same_is_no_change(void **state)
{
	(void)state;
	assert_true(still_talk());
	struct dump_peer m = *dump_find(talk_get(t, w->now), b_key);
	struct dump_peer r = *dump_find(talk_get(t, w->now), rendezvous_key);
	char own[65];
	snprintf(own, sizeof(own), "%s", talk_get(t, w->now)->private_key);
	assert_int_equal(m.nallowed, 2);
	assert_int_equal(say_again(&m, 2, ""), 0);
	assert_int_equal(say_again(&r, 0, ""), 0);
	assert_non_null(dump_find(talk_get(t, w->now), LAPTOP));
	/* once more of one is nothing, one that it has not got to lose neither */
	assert_int_equal(say_again(&m, 2, "allowed_ip=-192.168.7.0/24\n"), 0);
	assert_int_equal(talk_set(t, w->now, "public_key=%s\nallowed_ip=%s\n", b_key, m.allowed[1]),
			 0);
	/* a file without PrivateKey, which setconf makes of it */
	assert_int_equal(talk_set(t, w->now, "private_key=%064d\n", 0), 0);
	assert_string_equal(talk_get(t, w->now)->private_key, own);

	/* less is a change: at the end of the section, and of the request */
	assert_int_equal(say_again(&m, 1, ""), -EPERM);
	assert_null(dump_find(talk_get(t, w->now), LAPTOP));
	assert_int_equal(say_again(&m, 0, ""), -EPERM);
	assert_int_equal(talk_set(t, w->now, "public_key=%s\nreplace_allowed_ips=true\n", b_key),
			 -EPERM);
	assert_int_equal(talk_set(t, w->now,
				  "public_key=%s\nreplace_allowed_ips=true\nremove=true\n", b_key),
			 0);
	/* and so is more, or another value */
	assert_int_equal(say_again(&m, 2, "allowed_ip=192.168.7.0/24\n"), -EPERM);
	assert_int_equal(say_again(&m, 2, "persistent_keepalive_interval=9\n"), -EPERM);
	assert_int_equal(say_again(&m, 2, "endpoint=192.0.2.1:1\n"), -EPERM);
	assert_int_equal(say_again(&m, 2, "preshared_key=" PSK "\n"), -EPERM);
	assert_true(still_talk());
	assert_int_equal(dump_find(talk_get(t, w->now), b_key)->nallowed, 2);
}

static void test_their_addresses_are_theirs(void **state)
{
	struct addr ip = world_ip(b);
	char text[ADDR_STRLEN];
	(void)state;
	addr_str(&ip, text);
	assert_int_equal(talk_set(t, w->now, "public_key=" LAPTOP "\nallowed_ip=%s/32\n", text),
			 -EPERM);
	assert_int_equal(talk_set(t, w->now, "public_key=" LAPTOP "\nallowed_ip=-%s/32\n", text),
			 0);
	/* a wider prefix takes nothing from anybody */
	assert_int_equal(talk_set(t, w->now, "public_key=" LAPTOP "\nallowed_ip=10.77.0.0/16\n"),
			 0);
	assert_int_equal(dump_find(talk_get(t, w->now), LAPTOP)->nallowed, 1);
	assert_true(still_talk());
}

static void test_private_key_stays(void **state)
{
	(void)state;
	char own[65];
	snprintf(own, sizeof(own), "%s", talk_get(t, w->now)->private_key);
	assert_int_equal(talk_set(t, w->now, "private_key=" PSK "\n"), -EPERM);
	assert_int_equal(talk_set(t, w->now, "private_key=%s\n", own), 0);
	assert_string_equal(talk_get(t, w->now)->private_key, own);
	assert_true(still_talk());
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;
	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

/* One line that names the member, however often a tool tries; and no key in any. */
static void test_log(void **state)
{
	(void)state;
	stderr_catch();
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(
			talk_set(t, w->now, "public_key=%s\npreshared_key=" PSK "\n", b_key),
			-EPERM);
	w->now += 20 * NSEC_PER_SEC;
	assert_int_equal(talk_set(t, w->now, "private_key=" PSK "\n"), -EPERM);
	w->now += 20 * NSEC_PER_SEC;
	assert_int_equal(talk_set(t, w->now, "public_key=%s\nendpoint=1.1.1.1:1\n", rendezvous_key),
			 -EPERM);
	w->now += 20 * NSEC_PER_SEC;
	assert_int_equal(talk_set(t, w->now, "public_key=" LAPTOP "\nallowed_ip=10.77.0.2/32\n"),
			 -EPERM);
	const char *log = stderr_caught();
	assert_int_equal(count(log, "\n"), 4);
	assert_int_equal(count(log, "warning"), 4);
	assert_int_equal(count(log, "member beta"), 1);
	assert_int_equal(count(log, "the rendezvous comes from the token"), 1);
	assert_int_equal(count(log, "10.77.0.2/32"), 1);
	assert_int_equal(count(log, "7c7c"), 0);
	assert_int_equal(count(log, b_key), 0);
}

/* What was a static peer becomes a member under the client's hands. */
static void test_section_of_a_peer_that_joins(void **state)
{
	static const uint8_t raw[32] = { 3, [1 ... 30] = 3, [31] = 67 };
	uint8_t priv[32], pub[32];
	(void)state;
	memcpy(priv, raw, 32);
	priv[0] = 0;
	wg_key_public(priv, pub);
	assert_true(talk_say(t, w->now, "set=1\npublic_key="));
	assert_true(talk_say(t, w->now, hex(pub)));
	assert_true(talk_say(t, w->now, "\n"));
	struct peer *p = node_peer_find(a->node, pub);
	assert_true(p && peer_kind(p) == PEER_STATIC);
	node_static_remove(p);
	world_node(w, 2, "c", 3, NULL);
	world_run(w, 3 * NSEC_PER_SEC);
	p = world_peer(a, "c");
	assert_true(p && memcmp(peer_key(p), pub, 32) == 0);
	assert_true(talk_say(t, w->now, "update_only=true\nendpoint=1.1.1.1:1\n\n"));
	assert_non_null(world_peer(a, "c"));
	assert_string_equal(t->answer, "errno=0\n\n");
}

static const struct CMUnitTest tests[] = {
	/* first, because the others are refused the same: the log has said it then */
	cmocka_unit_test_setup_teardown(test_log, begin, end),
	cmocka_unit_test_setup_teardown(test_they_are_shown, begin, end),
	cmocka_unit_test_setup_teardown(test_replace_and_remove_pass_over, begin, end),
	cmocka_unit_test_setup_teardown(test_they_cannot_be_changed, begin, end),
	cmocka_unit_test_setup_teardown(test_the_same_is_no_change, begin, end),
	cmocka_unit_test_setup_teardown(test_their_addresses_are_theirs, begin, end),
	cmocka_unit_test_setup_teardown(test_private_key_stays, begin, end),
	cmocka_unit_test_setup_teardown(test_section_of_a_peer_that_joins, begin, end),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
