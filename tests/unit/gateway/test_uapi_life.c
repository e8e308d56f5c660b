/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lives of a configuration: random ones against a naive model, a thousand peers that come and go
 * beside a session, and when a handshake starts.
 */
#include "tests/unit/gateway/uapi_wire.h"

#include <stdlib.h>
#include <time.h>

/* --- random lives --- */

enum { LIVES = 300, MODEL_PEERS = 6, MODEL_PREFIXES = 12 };

static const char *const prefixes[MODEL_PREFIXES] = {
	"10.0.0.0/8", "10.0.0.0/16", "10.0.0.1/32", "0.0.0.0/0", "192.168.3.0/24", "10.128.0.0/9",
	"fd00::/8",   "::/0",	     "fd00::1/128", "fd00::/64", "2001:db8::/32",  "fe80::/10",
};

struct model {
	struct {
		bool there;
		unsigned psk, port, keepalive;
		bool has_port;
	} peer[MODEL_PEERS];
	int owner[MODEL_PREFIXES]; /* -1 nobody */
	unsigned mark, port;
};

static uint64_t random_state;

static unsigned rnd(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state >> 33) % n;
}

static void model_remove(struct model *m, unsigned i)
{
	m->peer[i].there = false;
	for (unsigned k = 0; k < MODEL_PREFIXES; k++)
		if (m->owner[k] == (int)i)
			m->owner[k] = -1;
}

static void put(char *out, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void put(char *out, const char *fmt, ...)
{
	va_list ap;
	size_t len = strlen(out);
	va_start(ap, fmt);
	vsnprintf(out + len, 16384 - len, fmt, ap);
	va_end(ap);
}

static void random_peer_line(struct model *m, unsigned i, char *out)
{
	unsigned what = rnd(6), k = rnd(MODEL_PREFIXES), v = rnd(1000);

	switch (what) {
	case 0:
		put(out, "preshared_key=%064x\n", v);
		m->peer[i].psk = v;
		break;
	case 1:
		put(out, "endpoint=192.0.2.%u:%u\n", i, v + 1);
		m->peer[i].port = v + 1;
		m->peer[i].has_port = true;
		break;
	case 2:
		put(out, "persistent_keepalive_interval=%u\n", v);
		m->peer[i].keepalive = v;
		break;
	case 3:
		put(out, "allowed_ip=-%s\n", prefixes[k]);
		if (m->owner[k] == (int)i)
			m->owner[k] = -1;
		break;
	case 4:
		if (rnd(3))
			break;
		put(out, "replace_allowed_ips=true\n");
		for (k = 0; k < MODEL_PREFIXES; k++)
			if (m->owner[k] == (int)i)
				m->owner[k] = -1;
		break;
	default:
		put(out, "allowed_ip=%s\n", prefixes[k]);
		m->owner[k] = (int)i;
	}
}

static void random_section(struct model *m, char *out)
{
	unsigned i = rnd(MODEL_PEERS), what = rnd(10);
	struct model before = *m;

	put(out, "public_key=%062xa%u\n", 0, i);
	if (what == 0) {
		put(out, "remove=true\nendpoint=1.1.1.1:1\n");
		model_remove(m, i);
		return;
	}
	if (what == 1)
		put(out, "update_only=true\n");
	bool ignored = what == 1 && !m->peer[i].there;
	if (!m->peer[i].there)
		memset(&m->peer[i], 0, sizeof(m->peer[i]));
	m->peer[i].there = true;
	for (unsigned n = rnd(6); n; n--)
		random_peer_line(m, i, out);
	if (ignored)
		*m = before;
}

static void random_request(struct model *m, char *out)
{
	if (rnd(4) == 0)
		put(out, "listen_port=%u\n", m->port = rnd(65536));
	if (rnd(4) == 0)
		put(out, "fwmark=%u\n", m->mark = rnd(1000));
	if (rnd(12) == 0) {
		put(out, "replace_peers=true\n");
		for (unsigned i = 0; i < MODEL_PEERS; i++)
			model_remove(m, i);
	}
	for (unsigned n = rnd(5); n; n--)
		random_section(m, out);
}

static void compare_peer(const struct model *m, unsigned i, const struct dump_peer *p)
{
	char text[80] = "";
	unsigned owns = 0;

	snprintf(text, sizeof(text), "%064x", m->peer[i].psk);
	assert_string_equal(p->psk, text);
	text[0] = 0;
	if (m->peer[i].has_port)
		snprintf(text, sizeof(text), "192.0.2.%u:%u", i, m->peer[i].port);
	assert_string_equal(p->endpoint, text);
	assert_int_equal(p->keepalive, m->peer[i].keepalive);
	for (unsigned k = 0; k < MODEL_PREFIXES; k++) {
		owns += m->owner[k] == (int)i;
		assert_int_equal(dump_allows(p, prefixes[k]), m->owner[k] == (int)i);
	}
	assert_int_equal(p->nallowed, owns);
}

static void compare(const struct model *m, const struct dump *d)
{
	unsigned there = 0;

	assert_int_equal(d->port, m->port);
	assert_int_equal(d->mark, m->mark);
	for (unsigned i = 0; i < MODEL_PEERS; i++) {
		char key[80];
		snprintf(key, sizeof(key), "%062xa%u", 0, i);
		const struct dump_peer *p = dump_find(d, key);
		assert_int_equal(p != NULL, m->peer[i].there);
		there += m->peer[i].there;
		if (p)
			compare_peer(m, i, p);
	}
	assert_int_equal(d->npeers, there);
}

static void test_random_lives(void **state)
{
	static char text[16384];
	struct model m = { .port = t->port };
	const char *seed = getenv("SEED");
	(void)state;
	random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	print_message("SEED=%llu\n", (unsigned long long)random_state);
	random_state = (random_state + 1) * 0x9e3779b97f4a7c15u;
	for (unsigned k = 0; k < MODEL_PREFIXES; k++)
		m.owner[k] = -1;
	for (unsigned i = 0; i < LIVES; i++) {
		text[0] = 0;
		random_request(&m, text);
		assert_int_equal(talk_set(t, now, "%s", text), 0);
		compare(&m, talk_get(t, now));
		now += (nsec)rnd(1000) * NSEC_PER_MSEC;
		settle();
	}
}

/* --- beside a session --- */

/* The same end with room for more peers. */
static void make_larger(unsigned i, uint32_t max_peers)
{
	struct node_config cfg = { .io = ends[i].node->io,
				   .aead = aead_choose("libcrypto"),
				   .max_peers = max_peers };
	memcpy(cfg.private_key, ends[i].priv, 32);
	node_free(ends[i].node);
	ends[i].node = node_new(&cfg, now);
	assert_non_null(ends[i].node);
	node_set_wall(ends[i].node, (nsec)1760000000 * NSEC_PER_SEC);
}

enum { MANY = 1000 };

static unsigned sent;

static void one_packet(void)
{
	send_inner(0, "10.0.0.1", "10.0.0.2", (uint16_t)++sent, 10);
	settle();
	assert_int_equal(ends[1].came, sent);
}

/* `lines` for each of the many, with packets of the session in between. */
static void for_many(void (*lines)(char *out, unsigned i))
{
	static char text[16384];
	assert_true(talk_say(t, now, "set=1\n"));
	for (unsigned i = 0; i < MANY; i++) {
		text[0] = 0;
		put(text, "public_key=%060x%04x\n", 0, 0x1000 + i);
		lines(text, i);
		assert_true(talk_say(t, now, text));
		if (i % 50 == 0)
			one_packet();
	}
	assert_true(talk_say(t, now, "\n"));
	assert_string_equal(t->answer, "errno=0\n\n");
	one_packet();
}

static void come(char *out, unsigned i)
{
	for (unsigned k = 0; k < 10; k++)
		put(out, "allowed_ip=10.%u.%u.%u/32\n", 1 + k, i >> 8, i & 0xff);
	put(out, "endpoint=198.51.100.%u:%u\n", i & 0xff, 1000 + i);
}

static void take_the_next_ones(char *out, unsigned i)
{
	unsigned next = (i + 1) % MANY;
	for (unsigned k = 0; k < 5; k++)
		put(out, "allowed_ip=10.%u.%u.%u/32\n", 1 + k, next >> 8, next & 0xff);
}

static void leave(char *out, unsigned i)
{
	if (i % 2)
		put(out, "remove=true\n");
}

static void test_thousand_beside_a_session(void **state)
{
	unsigned allowed = 0;
	(void)state;
	talk_free(t);
	make_larger(0, MANY + 4);
	t = talk_new(ends[0].node);
	pair();
	sent = 0;
	one_packet();
	uint64_t lost = ends[0].node->drops.n[DROP_NO_PATH];
	for_many(come);
	const struct dump *d = talk_get(t, now);
	assert_int_equal(d->npeers, MANY + 1);
	for (unsigned i = 0; i < d->npeers; i++)
		allowed += d->peers[i].nallowed;
	assert_int_equal(allowed, 10 * MANY + 1);
	for_many(take_the_next_ones);
	d = talk_get(t, now);
	char key[80];
	snprintf(key, sizeof(key), "%060x%04x", 0, 0x1000 + 7);
	const struct dump_peer *p = dump_find(d, key);
	assert_int_equal(p->nallowed, 10);
	assert_true(dump_allows(p, "10.1.0.8/32") && dump_allows(p, "10.10.0.7/32"));
	for_many(leave);
	assert_int_equal(talk_get(t, now)->npeers, MANY / 2 + 1);
	one_packet();
	assert_int_equal(ends[0].node->drops.n[DROP_NO_PATH], lost);
	/* and all of them at once, its own peer too */
	assert_int_equal(talk_set(t, now, "replace_peers=true\n"), 0);
	assert_int_equal(talk_get(t, now)->npeers, 0);
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 10);
	settle();
	assert_int_equal(ends[1].came, sent);
}

static uint64_t handshakes_of(struct peer *p)
{
	struct wg_peer_stats s;
	wg_peer_stats(peer_wg(p), now, &s);
	return s.handshakes;
}

/* A keepalive opens the way at once, in either order of the two lines; the same again does not. */
static void test_keepalive_starts(void **state)
{
	(void)state;
	add(1, 0, false, 0, "10.0.0.1/32");
	add(2, 0, false, 0, "10.0.0.1/32");
	assert_int_equal(talk_set(t, now,
				  "public_key=%s\nendpoint=203.0.113.1:51820\n"
				  "persistent_keepalive_interval=25\n"
				  "public_key=%s\npersistent_keepalive_interval=25\n"
				  "endpoint=203.0.113.2:51820\n",
				  hex(ends[1].pub), hex(ends[2].pub)),
			 0);
	settle();
	for (struct peer *p = NULL; (p = node_peer_next(ends[0].node, p));)
		assert_int_equal(handshakes_of(p), 1);
	run_for(20 * NSEC_PER_SEC);
	for (unsigned again = 25; again <= 26; again++) {
		assert_int_equal(talk_set(t, now,
					  "public_key=%s\npersistent_keepalive_interval=%u\n",
					  hex(ends[2].pub), again),
				 0);
		settle();
		assert_int_equal(handshakes_of(peer_of(0)), again == 25 ? 1 : 2);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(test_random_lives, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_thousand_beside_a_session, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_keepalive_starts, talk_begin, talk_end),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
