/* SPDX-License-Identifier: Apache-2.0 */
#include "link_harness.h"
#include "sim_random.h"

const uint8_t outer_key[OUTER_KEY_LEN] = { 7, 7 }, relay_key[RELAY_KEY_LEN] = { 9, 9 },
	      second_relay_key[RELAY_KEY_LEN] = { 8 };

struct world t;

struct endpoint ep(const char *s)
{
	struct endpoint e;
	assert_true(endpoint_parse(s, &e));
	return e;
}

struct endpoint relay_at(void)
{
	return ep("203.0.113.1:7777");
}

struct addr local(void)
{
	return ep("10.0.0.5:1").addr;
}

static void record_send(const struct link_output *out)
{
	size_t skip = out->path.relay ? RELAY_HEADER_LEN : 0;
	struct sent *s = &t.sent[t.nsent++];
	assert_true(t.nsent < SENT_MAX);
	if (skip) {
		struct relay_msg r;
		assert_int_equal(relay_peek(out->bytes, out->len, &r), DROP_NONE);
		assert_true(relay_mac_ok(out->bytes, out->len, relay_key) ||
			    relay_mac_ok(out->bytes, out->len, second_relay_key));
		assert_true(r.source == SELF && r.destination == PEER);
	}
	s->at = t.now;
	s->path = out->path;
	assert_int_equal(outer_parse(out->bytes + skip, out->len - skip, outer_key, &s->m),
			 DROP_NONE);
	assert_true(s->m.sender == SELF && s->m.receiver == PEER && s->m.boot == BOOT);
}

/* Everything that is due now. */
void drain(void)
{
	struct link_output out;
	while (links_poll(t.ls, t.now, &out)) {
		if (out.event == LINK_SEND) {
			record_send(&out);
		} else if (out.event == LINK_WANT_INTRODUCTION) {
			if (t.wants < ARRAY_SIZE(t.want_at))
				t.want_at[t.wants] = t.now;
			t.wants++;
		} else if (out.event == LINK_PATH_CHANGED) {
			t.changes++;
			t.path = out.path;
		} else {
			t.observations++;
			t.observed = out.observed;
		}
	}
	assert_true(links_deadline(t.ls) > t.now);
}

void forget(void)
{
	t.nsent = t.wants = t.changes = t.observations = 0;
}

void run_until(nsec end)
{
	for (;;) {
		drain();
		nsec next = links_deadline(t.ls);
		if (next > end)
			break;
		t.now = next;
	}
	t.now = end;
	drain();
}

void run_for(nsec d)
{
	run_until(t.now + d);
}

void set_relay(void)
{
	struct endpoint r = relay_at();
	links_set_relay(t.ls, t.now, RELAY, &r, relay_key);
}

int fresh(void **state)
{
	(void)state;
	struct links_config cfg = { .self = SELF, .boot = BOOT, .max_links = 1000 };
	memset(&t, 0, sizeof(t));
	sim_random_seed(1);
	t.ls = links_new(&cfg);
	t.now = T0;
	t.peer_boot = BOOT + 77;
	t.l = link_add(t.ls, t.now, PEER, outer_key, &t);
	assert_non_null(t.l);
	return 0;
}

int done(void **state)
{
	(void)state;
	links_free(t.ls);
	return 0;
}

/* --- the peer --- */

struct outer_msg peer_msg(uint8_t type)
{
	return (struct outer_msg){ .type = type,
				   .sender = PEER,
				   .receiver = SELF,
				   .boot = t.peer_boot,
				   .counter = t.peer_counter++ };
}

enum drop input(const struct outer_msg *m, struct endpoint from, bool relayed)
{
	uint8_t p[OUTER_MAX];
	struct addr at = local();
	size_t n = outer_write(m, outer_key, p, sizeof(p));
	assert_true(n > 0);
	return links_input(t.ls, t.now, &from, &at, 3, relayed, p, n);
}

struct outer_msg pong_for(const struct sent *s)
{
	struct outer_msg m = peer_msg(OUTER_TYPE_PONG);
	memcpy(m.txid, s->m.txid, TXID_LEN);
	return m;
}

enum drop answer(const struct sent *s)
{
	struct outer_msg m = pong_for(s);
	return input(&m, s->path.remote, s->path.relay);
}

enum drop ping_from(const char *from, uint16_t tlv_len)
{
	struct outer_msg m = peer_msg(OUTER_TYPE_PING);
	randombytes_buf(m.txid, TXID_LEN);
	m.tlv_len = tlv_len;
	return input(&m, ep(from), false);
}

void introduce(const char *a, const char *b)
{
	struct endpoint c[2];
	c[0] = ep(a);
	if (b)
		c[1] = ep(b);
	link_introduce(t.l, t.now, c, b ? 2 : 1);
}

unsigned pings_to(const char *where)
{
	struct endpoint e = ep(where);
	unsigned n = 0;
	for (unsigned i = 0; i < t.nsent; i++)
		n += t.sent[i].m.type == OUTER_TYPE_PING && endpoint_eq(&t.sent[i].path.remote, &e);
	return n;
}

const struct sent *last_ping_to(const char *where)
{
	struct endpoint e = ep(where);
	for (unsigned i = t.nsent; i-- > 0;)
		if (t.sent[i].m.type == OUTER_TYPE_PING && endpoint_eq(&t.sent[i].path.remote, &e))
			return &t.sent[i];
	fail_msg("no ping to %s", where);
	return NULL;
}

bool uses(const char *where)
{
	const struct path *p = link_path(t.l);
	struct endpoint e = ep(where);
	return p && !p->relay && endpoint_eq(&p->remote, &e);
}

bool uses_relay(void)
{
	const struct path *p = link_path(t.l);
	struct endpoint e = relay_at();
	return p && p->relay && endpoint_eq(&p->remote, &e);
}

/* Proves a path with a round trip of `rtt`. */
void prove(const char *where, nsec rtt)
{
	introduce(where, NULL);
	drain();
	t.now += rtt;
	assert_int_equal(answer(last_ping_to(where)), DROP_NONE);
	drain();
}

/* Answers each ping at once for a while, but those to `dead`. */
void live_for(nsec d, const char *dead)
{
	nsec end = t.now + d;
	struct endpoint e = dead ? ep(dead) : (struct endpoint){ 0 };
	for (;;) {
		unsigned before = t.nsent;
		drain();
		for (unsigned i = before; i < t.nsent; i++)
			if (t.sent[i].m.type == OUTER_TYPE_PING &&
			    !endpoint_eq(&t.sent[i].path.remote, &e))
				answer(&t.sent[i]);
		drain();
		if (links_deadline(t.ls) > end)
			break;
		t.now = links_deadline(t.ls);
	}
	t.now = end;
}
