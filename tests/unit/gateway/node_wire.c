/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/tun/packets.h"

#include <sodium.h>
#include <stdlib.h>

struct end ends[ENDS];
const struct aead *node_aead;
uint32_t node_peers = 8;
nsec now;
struct sent wire[WIRE];
unsigned nwire, wire_done;
unsigned datagrams, last_len;
uint32_t path_mtu, path_tag, wire_mtu, pinned_mtu;
bool (*wire_loses)(const struct sent *s, uint32_t len);

enum { HELLO_SIZE = WG_OVERHEAD + HELLO_LEN }; /* no inner packet is sealed to so few bytes */

static void on_udp(void *ctx, const struct udp_tx *tx, unsigned n)
{
	const struct end *e = ctx;
	for (unsigned i = 0; i < n; i++) {
		assert_true(nwire < WIRE);
		struct sent *s = &wire[nwire++];
		*s = (struct sent){ .from = (unsigned)(e - ends), .tx = tx[i] };
		s->bytes = malloc(tx[i].len);
		assert_non_null(s->bytes);
		memcpy(s->bytes, tx[i].buf, tx[i].len);
		s->datagrams = (tx[i].len + tx[i].seg - 1) / tx[i].seg;
		datagrams += s->datagrams;
		last_len = tx[i].len;
		if (last_len == HELLO_SIZE && e->hellos < ARRAY_SIZE(e->hello_at))
			ends[s->from].hello_at[ends[s->from].hellos++] = now;
	}
}

static void on_note(void *ctx, const struct node_note *note)
{
	struct end *e = ctx;
	if (note->event == NODE_PATH_MTU)
		e->path_mtu_lines++;
	e->routes += note->event == NODE_ROUTE_ADD;
	if (note->event != NODE_MTU)
		return;
	if (e->told < ARRAY_SIZE(e->told_mtu)) {
		e->told_mtu[e->told] = peer_mtu(note->peer);
		e->told_at[e->told] = now;
	}
	e->told++;
}

/* The whole of it, which may be several packets merged. */
static void to_test(struct end *e, const struct gro_write *w)
{
	static uint8_t ip[PACKET_MAX + 1];
	uint32_t len = 0;
	for (int i = 1; i < w->iovcnt; i++) {
		assert_true(len + w->iov[i].iov_len <= sizeof(ip));
		memcpy(ip + len, w->iov[i].iov_base, w->iov[i].iov_len);
		len += (uint32_t)w->iov[i].iov_len;
	}
	assert_int_equal(len, w->bytes);
	if (w->vnet.flags & VNET_NEEDS_CSUM && w->vnet.gso_type == VNET_GSO_NONE)
		packet_complete(&w->vnet, ip, len);
	e->partial += w->vnet.flags & VNET_NEEDS_CSUM;
	e->came++;
	e->tun(e, ip, len);
}

static void on_tun(void *ctx, const struct gro_write *w)
{
	struct end *e = ctx;
	if (e->tun) {
		to_test(e, w);
		return;
	}
	assert_int_equal(w->packets, 1); /* these packets are of different flows */
	uint32_t len = 0;
	for (int i = 1; i < w->iovcnt; i++) {
		size_t n = size_min(w->iov[i].iov_len, INNER - size_min(len, INNER));
		memcpy(e->last + size_min(len, INNER), w->iov[i].iov_base, n);
		len += (uint32_t)w->iov[i].iov_len;
	}
	uint32_t l4 = packet_l4(e->last);
	if (e->came < ARRAY_SIZE(e->order))
		e->order[e->came] = load_be16(e->last + l4);
	e->came++;
}

static struct local_way local_way(void *ctx, const struct addr *remote)
{
	(void)ctx;
	(void)remote;
	return (struct local_way){ .mtu = path_mtu, .tag = path_tag };
}

static bool start(struct end *e)
{
	struct node_config cfg = { .io = { .ctx = e,
					   .udp = on_udp,
					   .tun = on_tun,
					   .note = on_note,
					   .local_way = local_way },
				   .pinned_mtu = pinned_mtu,
				   .aead = node_aead ? node_aead : aead_choose("libcrypto"),
				   .max_peers = node_peers };
	memcpy(cfg.private_key, e->priv, 32);
	e->node = node_new(&cfg, now);
	if (e->node)
		node_set_wall(e->node, (nsec)1760000000 * NSEC_PER_SEC);
	return e->node;
}

int setup(void **state)
{
	(void)state;
	path_mtu = 1500;
	path_tag = 0;
	wire_mtu = 0;
	wire_loses = NULL;
	now = 1000 * NSEC_PER_SEC;
	datagrams = 0;
	for (unsigned i = 0; i < ENDS; i++) {
		struct end *e = &ends[i];
		memset(e, 0, sizeof(*e));
		memset(e->priv, (int)i + 1, 32);
		wg_key_public(e->priv, e->pub);
		e->at = (struct endpoint){ .addr = addr_v4_u32(0xcb007100 + i), .port = 51820 };
		if (!start(e))
			return -1;
	}
	return 0;
}

void restart(unsigned i)
{
	node_free(ends[i].node);
	assert_true(start(&ends[i]));
}

void wire_clear(void)
{
	for (unsigned i = 0; i < nwire; i++)
		free(wire[i].bytes);
	nwire = wire_done = 0;
}

int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ENDS; i++)
		node_free(ends[i].node);
	wire_clear();
	return 0;
}

static bool arrives(const struct sent *s, const struct end *to, uint32_t len)
{
	uint32_t packet = len + (addr_is_v4(&s->tx.to.addr) ? 28 : 48);
	if (wire_mtu && packet > wire_mtu && !s->tx.may_fragment)
		return false;
	if (len == HELLO_SIZE && (to->stock || ends[s->from].stock))
		return false;
	return !wire_loses || !wire_loses(s, len);
}

/* Moves what of its datagrams arrives to the front; how many bytes that is. */
static uint32_t sift(const struct sent *s, const struct end *to)
{
	uint32_t kept = 0;
	for (uint32_t at = 0; at < s->tx.len; at += s->tx.seg) {
		uint32_t len = (uint32_t)size_min(s->tx.seg, s->tx.len - at);
		if (!arrives(s, to, len))
			continue;
		memmove(s->bytes + kept, s->bytes + at, len);
		kept += len;
	}
	return kept;
}

void deliver(const struct sent *s)
{
	for (unsigned i = 0; i < ENDS; i++) {
		if (ends[i].deaf || !endpoint_eq(&ends[i].at, &s->tx.to))
			continue;
		struct udp_rx rx = { .buf = s->bytes,
				     .len = sift(s, &ends[i]),
				     .seg = s->tx.seg,
				     .from = ends[s->from].at,
				     .local = ends[i].at.addr };
		if (rx.len)
			node_udp(ends[i].node, now, &rx, 1);
	}
}

/* All that is on its way arrives, and what that causes. */
void settle(void)
{
	for (unsigned quiet = 0; quiet < 2; quiet++) {
		for (unsigned i = 0; i < ENDS; i++)
			node_tick(ends[i].node, now);
		while (wire_done < nwire) {
			deliver(&wire[wire_done++]);
			quiet = 0;
		}
	}
	wire_clear();
}

void pass(nsec time)
{
	for (nsec until = now + time; now < until; now += NSEC_PER_SEC / 10)
		settle();
}

void run_until(nsec end)
{
	for (;;) {
		nsec at = NSEC_NEVER;
		settle();
		for (unsigned i = 0; i < ENDS; i++)
			at = nsec_min(at, node_deadline(ends[i].node));
		if (at > end)
			break;
		assert_true(at > now); /* who has nothing to do must not be woken */
		now = at;
	}
	now = end;
}

void run_for(nsec time)
{
	run_until(now + time);
}

struct peer *add(unsigned i, unsigned to, bool knows_where, unsigned keepalive, const char *allowed)
{
	struct prefix p;
	struct peer *peer = node_static_add(ends[i].node, now, ends[to].pub, NULL,
					    knows_where ? &ends[to].at : NULL, keepalive);
	assert_non_null(peer);
	assert_true(prefix_parse(allowed, &p));
	assert_int_equal(node_static_route(ends[i].node, peer, &p), 0);
	return peer;
}

/* A UDP packet into the TUN of `i`; each of another flow. */
void send_inner(unsigned i, const char *src, const char *dst, uint16_t sport, uint32_t payload)
{
	static const struct vnet_hdr plain;
	static uint8_t ip[PACKET_MAX];
	struct spec sp = { .udp = true, .payload = payload, .sport = sport };
	struct addr s, d;
	assert_true(addr_parse(src, &s) && addr_parse(dst, &d));
	uint32_t len = packet_build(&sp, ip);
	memcpy(ip + 12, s.b + 12, 4);
	memcpy(ip + 16, d.b + 12, 4);
	packet_fix_sums(ip, len);
	node_tun(ends[i].node, now, &plain, ip, len);
	node_flush(ends[i].node, now);
}

void wire_data(unsigned from, uint32_t len)
{
	static const char *const ip[] = { "10.0.0.1", "10.0.0.2" };
	static uint16_t port;
	send_inner(from, ip[from], ip[!from], ++port, len - 28);
}

void wire_flow(nsec time, nsec gap, uint32_t len)
{
	for (nsec end = now + time; now < end;) {
		wire_data(0, len);
		run_for(gap);
	}
}

uint64_t drops(unsigned i, enum drop why)
{
	return node_drops(ends[i].node)->n[why];
}

/* 0 (10.0.0.1) and 1 (10.0.0.2) know each other; 0 knows where 1 is. */
struct peer *pair(void)
{
	struct peer *p = add(0, 1, true, 0, "10.0.0.2/32");
	add(1, 0, false, 0, "10.0.0.1/32");
	return p;
}

/* What a stock peer does with a hello: nothing. */
static void be_stock(unsigned i)
{
	for (struct peer *p = ends[i].node->peers; p; p = p->next) {
		p->warren = p->partial = false;
		p->next_hello = NSEC_NEVER;
		mtu_path_changed(p, now);
	}
}

struct peer *peer_of(unsigned i)
{
	struct peer *last = NULL;
	for (struct peer *p = NULL; (p = node_peer_next(ends[i].node, p));)
		last = p;
	return last;
}

struct peer *warren_pair(void)
{
	struct peer *p = pair();
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 10);
	run_for(10 * NSEC_PER_SEC);
	assert_true(peer_is_warren(p) && peer_is_warren(peer_of(1)));
	assert_int_equal(peer_static_pmtu(p)->state, PMTU_SEARCH_COMPLETE);
	return p;
}

void say(unsigned i, const uint8_t *frame, size_t len)
{
	struct path path;
	assert_true(peer_path(peer_of(i), &path));
	assert_true(out_frame(peer_of(i), now, &path, frame, len, len));
}

struct peer *stock_pair(void)
{
	struct peer *p = pair();
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 10);
	settle();
	be_stock(0);
	be_stock(1);
	return p;
}
