/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program of steps against one node's links and a relay: time passes, introductions, pings with
 * good and bad MACs, answers to what was sent, relay messages, links that come and go. The node may
 * never hang, never send more than it should, and never carry data to what did not answer.
 */
#include <stdlib.h>

#include "punch/link.h"
#include "punch/pmtu.h"
#include "sim_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SELF = 1, LAST = 16, MTU_STEPS = 0xc0 };

static const uint8_t relay_key[RELAY_KEY_LEN] = { 5 };

static struct {
	struct links *ls;
	struct relay_server *server;
	nsec now;
	uint64_t boot, counter, relay_counter;
	unsigned nlast;
	struct link_output last[LAST]; /* what was sent of late */
	bool proven[256];	       /* endpoint() of this byte answered at some time */
} f;

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void key_of(uint32_t number, uint8_t key[static OUTER_KEY_LEN])
{
	memset(key, (int)number, OUTER_KEY_LEN);
}

/* One byte says which of 256 endpoints. */
static struct endpoint endpoint(uint8_t b)
{
	return (struct endpoint){ .addr = addr_v4_u32(0xc0000200u + b), .port = 7 };
}

static struct endpoint relay_endpoint(void)
{
	return (struct endpoint){ .addr = addr_v4_u32(0xcb007101u), .port = 7777 };
}

static void check_path(struct link *l)
{
	const struct path *p = link_path(l);
	if (p && !p->relay)
		check(f.proven[p->remote.addr.b[15]]);
}

static void drain(void)
{
	struct link_output out;
	unsigned n = 0;
	while (links_poll(f.ls, f.now, &out)) {
		check(++n < 2000);
		check_path(out.link);
		if (out.event != LINK_SEND)
			continue;
		check(out.len <= sizeof(out.bytes));
		f.last[f.nlast++ % LAST] = out;
	}
	check(links_deadline(f.ls) > f.now);
}

static void input(const struct outer_msg *m, const uint8_t *key, struct endpoint from, bool relayed)
{
	uint8_t p[OUTER_MAX];
	struct addr at = endpoint(9).addr;
	size_t n = outer_write(m, key, p, sizeof(p));
	if (n)
		(void)links_input(f.ls, f.now, &from, &at, 1, relayed, p, n);
}

static void peer_ping(struct rd *r)
{
	uint8_t key[OUTER_KEY_LEN], flags = rd_u8(r);
	uint32_t peer = 2 + (flags & 3);
	struct outer_msg m = { .type = flags & 4 ? OUTER_TYPE_PONG : OUTER_TYPE_PING,
			       .sender = peer,
			       .receiver = SELF,
			       .boot = f.boot,
			       .counter = f.counter++ };
	if (flags & 8)
		m.boot += rd_u8(r);
	if (flags & 16)
		m.counter = rd_be32(r);
	if (flags & 32)
		m.tlv_len = rd_u8(r);
	rd_bytes(r, m.txid, 4);
	key_of(peer + (flags >> 7), key);
	input(&m, key, endpoint(rd_u8(r)), flags & 64);
}

/* The honest answer to something that was sent, or the same from elsewhere. */
static void peer_answers(struct rd *r)
{
	uint8_t key[OUTER_KEY_LEN], which = rd_u8(r), from = rd_u8(r);
	const struct link_output *o = &f.last[which % LAST];
	struct outer_msg m;
	size_t skip = o->path.relay ? RELAY_HEADER_LEN : 0;
	uint32_t self, peer;
	if (o->len <= skip || outer_peek(o->bytes + skip, o->len - skip, &self, &peer))
		return;
	key_of(peer, key);
	if (outer_parse(o->bytes + skip, o->len - skip, key, &m) || m.type != OUTER_TYPE_PING)
		return;
	m.type = OUTER_TYPE_PONG;
	m.sender = peer;
	m.receiver = SELF;
	m.boot = f.boot;
	m.counter = f.counter++;
	m.observed = endpoint(from);
	struct endpoint at = which & 0x80 ? endpoint(from) : o->path.remote;
	if (!o->path.relay && endpoint_eq(&at, &o->path.remote))
		f.proven[at.addr.b[15]] = true;
	input(&m, key, at, o->path.relay);
}

static void relayed(struct rd *r)
{
	uint8_t p[RELAY_HEADER_LEN + 32] = { 0 }, *inner;
	struct endpoint from = relay_endpoint(), to;
	struct link *l;
	size_t n;
	uint8_t flags = rd_u8(r);
	struct relay_msg m = { .destination = flags & 3,
			       .source = (flags >> 2) & 3,
			       .counter = flags & 64 ? rd_be32(r) : f.relay_counter++ };
	p[RELAY_HEADER_LEN] = rd_u8(r);
	relay_write(p, 32, &m, relay_key);
	if (flags & 128)
		p[rd_u8(r) % sizeof(p)] ^= 1;
	if (flags & 32)
		(void)relay_server_forward(f.server, f.now, &from, p, sizeof(p), &to);
	else if (!links_unwrap(f.ls, f.now, &from, p, sizeof(p), &l, &inner, &n))
		check(inner == p + RELAY_HEADER_LEN && n == 32 && l);
}

static void come_and_go(struct rd *r)
{
	uint8_t key[OUTER_KEY_LEN], what = rd_u8(r);
	uint32_t number = 2 + (what & 3);
	struct link *l = link_find(f.ls, number);
	key_of(number, key);
	if (!l) {
		link_add(f.ls, f.now, number, key, NULL);
	} else if (what & 4) {
		key[0] ^= what & 8;
		link_set_key(l, key);
	} else {
		link_remove(l);
	}
	if (what & 16)
		links_network_changed(f.ls, f.now);
}

static void relay_changes(struct rd *r)
{
	struct endpoint e = relay_endpoint();
	uint8_t what = rd_u8(r);
	links_set_relay(f.ls, f.now, what & 1, what & 2 ? NULL : &e, relay_key);
	if (what & 4)
		(void)relay_server_set(f.server, what >> 3, relay_key);
	else
		relay_server_remove(f.server, what >> 3);
	relay_server_address(f.server, what >> 4, &e);
}

static void introduce(struct rd *r)
{
	struct endpoint c[8];
	struct link *l = link_find(f.ls, 2 + (rd_u8(r) & 3));
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
		c[i] = endpoint(rd_u8(r));
	if (l)
		link_introduce(l, f.now, c, ARRAY_SIZE(c));
}

static void time_passes(struct rd *r)
{
	struct link *l = link_find(f.ls, 2);
	uint8_t what = rd_u8(r);
	nsec next = links_deadline(f.ls);
	if (what & 0x80 && next != NSEC_NEVER)
		f.now = nsec_max(f.now, next);
	else
		f.now += (nsec)1 << (what & 0x1f) << 3;
	if (l && what & 0x20)
		link_active(l, f.now);
}

static void raw(struct rd *r)
{
	uint8_t p[OUTER_MAX], *inner;
	struct endpoint from = endpoint(rd_u8(r)), to;
	struct link *l;
	size_t n = rd_u8(r) % (sizeof(p) - 1), innerlen;
	rd_bytes(r, p, n);
	(void)links_input(f.ls, f.now, &from, &from.addr, 1, false, p, n);
	(void)links_unwrap(f.ls, f.now, &from, p, n, &l, &inner, &innerlen);
	(void)relay_server_forward(f.server, f.now, &from, p, n, &to);
}

/* What is known of the paths; and of the relay's senders. */
static void look(struct link *l)
{
	struct link_path_info info[4];
	size_t n = link_paths(l, info, ARRAY_SIZE(info));
	check(n <= ARRAY_SIZE(info) && link_user(l) == NULL);
	for (size_t i = 0; i < n; i++)
		check(info[i].lost <= info[i].sent);
	check(!link_path(l) == !link_message_max(l));
	struct relay_counts all = relay_server_total(f.server),
			    one = relay_server_sender(f.server, 2);
	check(one.packets <= all.packets && one.bytes <= all.bytes);
	(void)relay_server_found(f.server);
}

/* A relay message of ours, and what a router quotes of it. */
static void quoted(struct link *l, struct rd *r)
{
	struct endpoint relay = relay_endpoint();
	uint8_t p[RELAY_HEADER_LEN + 16] = { 0 };
	size_t len = rd_u8(r) % (sizeof(p) + 1);
	uint8_t at = rd_u8(r);
	link_relay_header(l, &relay, p, sizeof(p) - RELAY_HEADER_LEN);
	if (at < sizeof(p))
		p[at] ^= rd_u8(r);
	struct link *of = links_quoted(f.ls, &relay, p, len);
	check(!of || len >= RELAY_HEADER_LEN);
}

/* The search of a path's MTU: what is sent, answered, and said of it by whomever. */
static void mtu(struct rd *r)
{
	uint8_t what = rd_u8(r), count = rd_u8(r);
	uint32_t size = rd_be16(r) % 10000;
	struct link *l = link_find(f.ls, 2 + (what & 3));
	const struct pmtu *m = l ? link_pmtu(l) : NULL;
	struct endpoint to = count & 128 ? relay_endpoint() : endpoint(count);

	if (!l)
		return;
	switch (what >> 2 & 7) {
	case 0:
		link_session_up(l, f.now);
		break;
	case 1:
		link_sent(l, f.now, size, 1 + count);
		break;
	case 2:
		if (m)
			link_probe_ack(l, f.now,
				       &(struct frame_ack){ .path = m->path,
							    .newest = m->number - (what >> 6),
							    .seen = size | 1u,
							    .count = count });
		break;
	case 3:
		link_too_big(l, f.now, &to, what & 32, size);
		break;
	case 4:
		links_local_mtu(f.ls, f.now, &to.addr, size);
		break;
	case 5:
		quoted(l, r);
		break;
	case 6:
		relay_server_limit(f.server, 1 + (uint64_t)size * size * count, 1 + size);
		break;
	default:
		look(l);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(
		struct rd *) = { peer_ping,	peer_answers, relayed,	   come_and_go,
				 relay_changes, introduce,    time_passes, raw };
	struct links_config cfg = { .self = SELF, .boot = 1000, .max_links = 3 };
	struct rd r = rd_of(data, size_min(size, 4096));
	sim_random_seed(7);
	memset(&f, 0, sizeof(f));
	f.now = NSEC_PER_SEC;
	f.boot = 5;
	f.ls = links_new(&cfg);
	f.server = relay_server_new(3, 1000);
	check(f.ls && f.server);
	while (r.left) {
		uint8_t b = rd_u8(&r);
		if (b < MTU_STEPS)
			steps[b % ARRAY_SIZE(steps)](&r);
		else
			mtu(&r);
		drain();
	}
	links_free(f.ls);
	relay_server_free(f.server);
	return 0;
}
