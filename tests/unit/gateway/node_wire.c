/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/tun/packets.h"

#include <sodium.h>
#include <stdlib.h>

struct end ends[ENDS];
nsec now;
struct sent wire[WIRE];
unsigned nwire, wire_done;
unsigned datagrams, last_len;
uint32_t path_mtu;

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
		datagrams += (tx[i].len + tx[i].seg - 1) / tx[i].seg;
		last_len = tx[i].len;
	}
}

static void on_tun(void *ctx, const struct gro_write *w)
{
	struct end *e = ctx;
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

static uint32_t local_mtu(void *ctx, const struct addr *remote)
{
	(void)ctx;
	(void)remote;
	return path_mtu;
}

int setup(void **state)
{
	(void)state;
	path_mtu = 1500;
	now = 1000 * NSEC_PER_SEC;
	datagrams = 0;
	for (unsigned i = 0; i < ENDS; i++) {
		struct end *e = &ends[i];
		memset(e, 0, sizeof(*e));
		memset(e->priv, (int)i + 1, 32);
		wg_key_public(e->priv, e->pub);
		e->at = (struct endpoint){ .addr = addr_v4_u32(0xcb007100 + i), .port = 51820 };
		struct node_config cfg = {
			.io = { .ctx = e, .udp = on_udp, .tun = on_tun, .local_mtu = local_mtu },
			.aead = aead_choose("libcrypto"),
			.max_peers = 8
		};
		memcpy(cfg.private_key, e->priv, 32);
		e->node = node_new(&cfg, now);
		if (!e->node)
			return -1;
		node_set_wall(e->node, (nsec)1760000000 * NSEC_PER_SEC);
	}
	return 0;
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

void deliver(const struct sent *s)
{
	for (unsigned i = 0; i < ENDS; i++) {
		if (ends[i].deaf || !endpoint_eq(&ends[i].at, &s->tx.to))
			continue;
		struct udp_rx rx = { .buf = s->bytes,
				     .len = s->tx.len,
				     .seg = s->tx.seg,
				     .from = ends[s->from].at,
				     .local = ends[i].at.addr };
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
		p->warren = false;
		p->next_hello = NSEC_NEVER;
		mtu_path_changed(p, now);
	}
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
