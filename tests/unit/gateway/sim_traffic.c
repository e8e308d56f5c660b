/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each packet follows from who sends it to whom and its number, so that the ledger holds no bytes.
 * What comes out of a TUN may have been merged: it is cut again here, by the rules of virtio, not by
 * the code under test.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/tun/packets.h"

enum {
	SPORT = 1000, /* + sender */
	DPORT = 2000, /* + receiver */
	INNER_MTU = 1392,
	TCP_OPTIONS = 12,
	TCP_FIRST = 0x10000,
	UDP_MARK = 12, /* sequence number and its check */
};

static void *grown(void *p, uint32_t *cap, uint32_t need, size_t each)
{
	if (need <= *cap)
		return p;
	uint32_t more = *cap ? *cap * 2 : 64;
	p = realloc(p, more * each);
	assert(p);
	*cap = more;
	return p;
}

static uint32_t mix(uint32_t a, uint32_t b)
{
	uint32_t z = a * 0x9e3779b1u + b * 0x85ebca77u + 0x165667b1u;
	z = (z ^ z >> 15) * 0x2c1b3c6du;
	z = (z ^ z >> 12) * 0x297a2d39u;
	return z ^ z >> 15;
}

static uint32_t flow_id(const struct sim_host *from, const struct sim_host *to)
{
	return (uint32_t)(from->sim->seed << 8) + from->index * MAX_HOSTS + to->index;
}

static struct flow *flow_of(const struct sim_host *from, const struct sim_host *to)
{
	return &from->sim->flows[from->index][to->index];
}

/* --- building --- */

static void put_addresses(uint8_t *ip, bool v6, const struct addr *src, const struct addr *dst)
{
	memcpy(ip + (v6 ? 8 : 12), v6 ? src->b : src->b + 12, v6 ? 16 : 4);
	memcpy(ip + (v6 ? 24 : 16), v6 ? dst->b : dst->b + 12, v6 ? 16 : 4);
}

static struct addr inner_addr(const struct sim_host *h, bool v6)
{
	return member_addr(&h->sim->token.prefixes[v6], h->owns);
}

static void put_hosts(uint8_t *ip, bool v6, const struct sim_host *from, const struct sim_host *to)
{
	struct addr src = inner_addr(from, v6), dst = inner_addr(to, v6);
	put_addresses(ip, v6, &src, &dst);
	store_be16(ip + packet_l4(ip), (uint16_t)(SPORT + from->index));
	store_be16(ip + packet_l4(ip) + 2, (uint16_t)(DPORT + to->index));
}

/* Runs of 16 have one size and family, so that they can be merged. */
static uint32_t udp_build(const struct sim_host *from, const struct sim_host *to, uint32_t seq,
			  uint8_t *out)
{
	uint32_t id = flow_id(from, to), kind = mix(id, seq / 16);
	struct spec sp = { .udp = true,
			   .v6 = kind & 1,
			   .id = (uint16_t)seq,
			   .ttl = 64,
			   .tos = (uint8_t)(kind >> 8 & 0xfc),
			   .fill = (uint8_t)seq,
			   .payload = UDP_MARK + (kind >> 16) % (INNER_MTU - 48 - UDP_MARK) };
	if (mix(id, seq) % 8 == 0)
		sp.payload = UDP_MARK + sp.payload % 50;
	uint32_t len = packet_build(&sp, out), l4 = packet_l4(out);
	put_hosts(out, sp.v6, from, to);
	store_be32(out + l4 + 8, seq);
	store_be32(out + l4 + 12, mix(id, seq));
	store_be32(out + l4 + 16, mix(seq, id));
	packet_fix_sums(out, len);
	return len;
}

static uint8_t tcp_byte(uint32_t id, uint64_t at)
{
	return (uint8_t)((at * 31) ^ (at >> 8) * 17 ^ (at >> 16) * 7 ^ id);
}

static uint16_t pseudo_sum(const uint8_t *ip, uint32_t l4len)
{
	bool v6 = ip[0] >> 4 == 6;
	uint8_t rest[4] = { 0, v6 ? ip[6] : ip[9], (uint8_t)(l4len >> 8), (uint8_t)l4len };
	return naive_sum(v6 ? naive_sum(0, ip + 8, 32) : naive_sum(0, ip + 12, 8), rest, 4);
}

/* As the kernel hands it over: partial sum and a vnet header. */
static uint32_t tcp_build(const struct sim_host *from, const struct sim_host *to, bool v6,
			  uint64_t start, uint32_t payload, uint16_t gso_size, uint8_t *out,
			  struct vnet_hdr *h)
{
	struct spec sp = { .v6 = v6,
			   .id = (uint16_t)start,
			   .seq = (uint32_t)(TCP_FIRST + start),
			   .ack = 77,
			   .window = 500,
			   .flags = 0x18, /* ACK, PSH */
			   .options = TCP_OPTIONS,
			   .payload = payload };
	uint32_t len = packet_build_super(&sp, payload > gso_size ? gso_size : 0, out, h);
	uint32_t l4 = packet_l4(out), id = flow_id(from, to);
	put_hosts(out, v6, from, to);
	for (uint32_t i = 0; i < payload; i++)
		out[len - payload + i] = tcp_byte(id, start + i);
	if (!v6) {
		store_be16(out + 10, 0);
		store_be16(out + 10, (uint16_t)~naive_sum(0, out, l4));
	}
	store_be16(out + l4 + 16, pseudo_sum(out, len - l4));
	return len;
}

uint32_t traffic_forge(const struct addr *src, const struct addr *dst, uint8_t *out)
{
	struct spec sp = { .udp = true, .v6 = !addr_is_v4(dst), .payload = 40 };
	uint32_t len = packet_build(&sp, out);
	put_addresses(out, sp.v6, src, dst);
	packet_fix_sums(out, len);
	return len;
}

/* --- sending --- */

static bool ready(struct sim_host *from, struct sim_host *to)
{
	return from->up && from->node && from->frozen <= from->sim->now && to->owns &&
	       sim_peer(from, to);
}

bool traffic_udp(struct sim_host *from, struct sim_host *to)
{
	static uint8_t ip[PACKET_MAX];
	static const struct vnet_hdr plain;
	struct flow *f = flow_of(from, to);

	if (!ready(from, to))
		return false;
	uint32_t len = udp_build(from, to, f->nudp, ip);
	f->udp = grown(f->udp, &f->capudp, f->nudp + 1, sizeof(*f->udp));
	f->udp[f->nudp++] = (struct udp_sent){ .at = from->sim->now };
	node_tun(from->node, from->sim->now, &plain, ip, len);
	return true;
}

bool traffic_tcp(struct sim_host *from, struct sim_host *to, bool v6, uint32_t len,
		 uint16_t gso_size)
{
	static uint8_t ip[PACKET_MAX];
	struct tcp_stream *t = &flow_of(from, to)->tcp[v6];
	struct vnet_hdr h;

	if (!ready(from, to))
		return false;
	uint32_t bytes = tcp_build(from, to, v6, t->next, len, gso_size, ip, &h);
	t->chunks = grown(t->chunks, &t->capchunks, t->nchunks + 1, sizeof(*t->chunks));
	t->chunks[t->nchunks++] =
		(struct tcp_chunk){ .at = from->sim->now, .start = t->next, .len = len };
	t->next += len;
	if (t->next > t->cap * 8) {
		size_t cap = (size_t)t->next / 8 * 2 + 8192;
		t->came = realloc(t->came, cap);
		assert(t->came);
		memset(t->came + t->cap, 0, cap - t->cap);
		t->cap = cap;
	}
	node_tun(from->node, from->sim->now, &h, ip, bytes);
	return true;
}

void traffic_some(struct sim *s)
{
	struct net *n = &s->net;
	struct sim_host *from = &s->hosts[net_pick(n, s->nhosts)];
	struct sim_host *to = &s->hosts[net_pick(n, s->nhosts)];
	uint32_t what = net_pick(n, 10);

	if (from == to)
		return;
	if (what == 0) {
		uint16_t gso = (uint16_t)(what % 3 ? 200 + net_pick(n, 1100) : 1320);
		traffic_tcp(from, to, net_pick(n, 2), 1 + net_pick(n, 60000), gso);
	} else if (what < 3) {
		traffic_tcp(from, to, net_pick(n, 2), 1 + net_pick(n, 1300), 1320);
	} else {
		for (uint32_t i = net_pick(n, 12); i; i--)
			traffic_udp(from, to);
	}
	if (from->node)
		node_flush(from->node, s->now);
}

/* --- coming out --- */

/* A datagram's payload; its headers too where `ip` is not NULL: it was not merged. */
static void udp_came(struct sim_host *h, struct sim_host *from, const uint8_t *ip, uint32_t len,
		     const uint8_t *payload, uint32_t n)
{
	static uint8_t want[PACKET_MAX];
	struct flow *f = flow_of(from, h);
	uint32_t seq = n >= UDP_MARK ? load_be32(payload) : UINT32_MAX;

	if (seq >= f->nudp) {
		sim_fail(h->sim, "%s got a datagram that %s never sent", h->id, from->id);
		return;
	}
	uint32_t wantlen = udp_build(from, h, seq, want), l4 = packet_l4(want);
	if (wantlen != l4 + 8 + n || memcmp(want + l4 + 8, payload, n) != 0 ||
	    (ip && (len != wantlen || memcmp(ip, want, len) != 0)))
		sim_fail(h->sim, "%s got datagram %u of %s changed", h->id, seq, from->id);
	if (f->udp[seq].came)
		sim_fail(h->sim, "%s got datagram %u of %s twice", h->id, seq, from->id);
	f->udp[seq].came = true;
	f->heard = nsec_max(f->heard, f->udp[seq].at);
	h->sim->udp_came++;
}

static void tcp_came(struct sim_host *h, struct sim_host *from, const uint8_t *ip, uint32_t len)
{
	uint32_t l4 = packet_l4(ip), hdr = l4 + 20 + TCP_OPTIONS, id = flow_id(from, h);
	struct tcp_stream *t = &flow_of(from, h)->tcp[ip[0] >> 4 == 6];
	uint64_t at = load_be32(ip + l4 + 4) - (uint64_t)TCP_FIRST;

	if (len <= hdr || at + (len - hdr) > t->next || load_be32(ip + l4 + 8) != 77 ||
	    ip[l4 + 12] >> 4 != 8 || !(ip[l4 + 13] & 0x10) || load_be16(ip + l4 + 14) != 500) {
		sim_fail(h->sim, "%s got a segment that %s never sent", h->id, from->id);
		return;
	}
	for (uint32_t i = 0; i < TCP_OPTIONS; i++)
		if (ip[l4 + 20 + i] != i + 1)
			sim_fail(h->sim, "%s got other TCP options of %s", h->id, from->id);
	for (uint32_t i = 0; i < len - hdr; i++, at++) {
		uint8_t bit = (uint8_t)(1u << at % 8);
		if (ip[hdr + i] != tcp_byte(id, at))
			sim_fail(h->sim, "%s got byte %llu of %s changed", h->id,
				 (unsigned long long)at, from->id);
		if (t->came[at / 8] & bit)
			sim_fail(h->sim, "%s got byte %llu of %s twice", h->id,
				 (unsigned long long)at, from->id);
		t->came[at / 8] |= bit;
	}
	h->sim->tcp_came += len - hdr;
}

/* Length fields, IP sum, and the transport's sum, whole or partial as the vnet header says. */
static bool sums_ok(const struct vnet_hdr *v, const uint8_t *ip, uint32_t len)
{
	bool v6 = ip[0] >> 4 == 6;
	uint32_t l4 = packet_l4(ip), total = v6 ? 40u + load_be16(ip + 4) : load_be16(ip + 2);

	if (total != len || len < l4 + 8)
		return false;
	if (!(v->flags & VNET_NEEDS_CSUM))
		return v->gso_type == VNET_GSO_NONE && packet_sums_ok(ip, len);
	uint32_t field = packet_is_udp(ip) ? 6 : 16;
	return v->csum_start == l4 && v->csum_offset == field &&
	       load_be16(ip + l4 + field) == pseudo_sum(ip, len - l4) &&
	       (v6 || naive_sum(0, ip, l4) == 0xffff);
}

static struct sim_host *sender_of(struct sim_host *h, const uint8_t *ip)
{
	bool v6 = ip[0] >> 4 == 6;
	uint32_t l4 = packet_l4(ip), from = (uint32_t)load_be16(ip + l4) - SPORT;
	if (from >= h->sim->nhosts || load_be16(ip + l4 + 2) != DPORT + h->index)
		return NULL;
	struct sim_host *s = &h->sim->hosts[from];
	struct addr src = inner_addr(s, v6), dst = inner_addr(h, v6);
	bool right = memcmp(ip + (v6 ? 8 : 12), v6 ? src.b : src.b + 12, v6 ? 16 : 4) == 0 &&
		     memcmp(ip + (v6 ? 24 : 16), v6 ? dst.b : dst.b + 12, v6 ? 16 : 4) == 0;
	return right ? s : NULL;
}

/* ICMP and ICMPv6 errors (RFC 792, 4443): to whom it says it is from, and with its first bytes. */
static bool about_made_up(const struct sim *s, const uint8_t *ip, uint32_t len)
{
	bool v6 = ip[0] >> 4 == 6;
	uint32_t quoted = v6 ? 48 : 28, dst = v6 ? 24 : 16, src = v6 ? 8 : 12;
	if (!s->made_up || len <= quoted || ip[v6 ? 6 : 9] != (v6 ? 58 : 1))
		return false;
	return memcmp(ip + dst, s->made_up + src, dst - src) == 0 &&
	       memcmp(ip + quoted, s->made_up, len - quoted) == 0;
}

static void packet_came(struct sim_host *h, const struct vnet_hdr *v, const uint8_t *ip,
			uint32_t len)
{
	struct sim_host *from = len >= 28 ? sender_of(h, ip) : NULL;
	if (!from && about_made_up(h->sim, ip, len))
		return;
	if (!from) {
		sim_fail(h->sim, "%s got what is not for it, or of nobody", h->id);
		return;
	}
	if (!sums_ok(v, ip, len)) {
		sim_fail(h->sim, "%s got a packet of %s with wrong sums or lengths", h->id,
			 from->id);
		return;
	}
	if (!packet_is_udp(ip)) {
		tcp_came(h, from, ip, len);
		return;
	}
	uint32_t hdr = packet_l4(ip) + 8, seg = v->gso_type == VNET_GSO_NONE ? len : v->gso_size;
	if (seg == 0)
		sim_fail(h->sim, "%s got a super-packet without a size", h->id);
	bool whole = v->gso_type == VNET_GSO_NONE;
	for (uint32_t at = hdr; seg && at < len; at += seg)
		udp_came(h, from, whole ? ip : NULL, len, ip + at,
			 (uint32_t)size_min(seg, len - at));
}

void traffic_came(struct sim_host *h, const struct gro_write *w)
{
	static uint8_t ip[PACKET_MAX + 1];
	uint32_t len = 0;

	if (h->sim->deaf_tun == h->index + 1)
		return;
	h->tun_writes++;
	h->tun_merged += w->packets > 1;
	if (h->sim->silent_tun)
		sim_fail(h->sim, "%s delivered a packet that nobody sent", h->id);
	for (int i = 1; i < w->iovcnt; i++) {
		assert(len + w->iov[i].iov_len <= PACKET_MAX);
		memcpy(ip + len, w->iov[i].iov_base, w->iov[i].iov_len);
		len += (uint32_t)w->iov[i].iov_len;
	}
	if (len != w->bytes || w->iov[0].iov_len != VNET_HDR_LEN)
		sim_fail(h->sim, "%s: a write that does not add up", h->id);
	struct vnet_hdr v;
	memcpy(&v, w->iov[0].iov_base, sizeof(v));
	packet_came(h, &v, ip, len);
}

/* --- the ledger --- */

void traffic_storm(struct sim *s, nsec back)
{
	if (s->nexcuses && s->excuses[s->nexcuses - 1].until == NSEC_NEVER)
		return;
	assert(s->nexcuses < ARRAY_SIZE(s->excuses));
	s->excuses[s->nexcuses++] = (struct excuse){ .from = s->now - back, .until = NSEC_NEVER };
}

void traffic_calm(struct sim *s, nsec later)
{
	if (s->nexcuses && s->excuses[s->nexcuses - 1].until == NSEC_NEVER)
		s->excuses[s->nexcuses - 1].until = s->now + later;
}

static bool excused(const struct sim *s, nsec at)
{
	for (unsigned i = 0; i < s->nexcuses; i++)
		if (at >= s->excuses[i].from && at <= s->excuses[i].until)
			return true;
	return false;
}

static void account_tcp(struct sim *s, const struct sim_host *from, const struct sim_host *to,
			const struct tcp_stream *t)
{
	for (uint32_t c = 0; c < t->nchunks; c++) {
		uint32_t missing = 0;
		for (uint64_t at = t->chunks[c].start, end = at + t->chunks[c].len; at < end; at++)
			missing += !(t->came[at / 8] >> at % 8 & 1);
		if (missing && !excused(s, t->chunks[c].at))
			sim_fail(s, "%u of %u bytes of %s to %s, sent at %.3f, are lost", missing,
				 t->chunks[c].len, from->id, to->id,
				 (double)(t->chunks[c].at - 1000 * SEC) / 1e9);
	}
}

static void account_flow(struct sim *s, const struct sim_host *from, const struct sim_host *to)
{
	const struct flow *f = flow_of(from, to);
	for (uint32_t i = 0; i < f->nudp; i++)
		if (!f->udp[i].came && !excused(s, f->udp[i].at))
			sim_fail(s, "datagram %u of %s to %s, sent at %.3f, is lost", i, from->id,
				 to->id, (double)(f->udp[i].at - 1000 * SEC) / 1e9);
	account_tcp(s, from, to, &f->tcp[0]);
	account_tcp(s, from, to, &f->tcp[1]);
}

void traffic_account(struct sim *s)
{
	for (unsigned i = 0; i < s->nhosts; i++)
		for (unsigned k = 0; k < s->nhosts; k++)
			account_flow(s, &s->hosts[i], &s->hosts[k]);
}

void traffic_free(struct sim *s)
{
	for (unsigned i = 0; i < MAX_HOSTS * MAX_HOSTS; i++) {
		struct flow *f = &s->flows[i / MAX_HOSTS][i % MAX_HOSTS];
		free(f->udp);
		for (unsigned k = 0; k < 2; k++) {
			free(f->tcp[k].chunks);
			free(f->tcp[k].came);
		}
	}
}

/* The first pair that has not talked since; false where there is none. */
static bool silent_pair(struct sim *s, nsec since, struct sim_host **a, struct sim_host **b)
{
	for (unsigned i = 0; i < s->nhosts; i++)
		for (unsigned k = 0; k < s->nhosts; k++) {
			*a = &s->hosts[i];
			*b = &s->hosts[k];
			bool off = !(*a)->node && (*a)->restart_at == NSEC_NEVER;
			off |= !(*b)->node && (*b)->restart_at == NSEC_NEVER;
			if (i != k && !off && flow_of(*a, *b)->heard < since)
				return true;
		}
	return false;
}

void traffic_settle(struct sim *s, nsec bound)
{
	struct sim_host *a, *b;
	nsec since = s->now;
	sim_log(s, "all are to talk");
	while (sim_ok(s) && silent_pair(s, since, &a, &b)) {
		if (s->now - since > bound) {
			sim_fail(s, "%s%s does not reach %s%s within %.1f s (%s)", a->id,
				 a->up ? "" : " (not up)", b->id, b->up ? "" : " (not up)",
				 (double)bound / 1e9,
				 sim_peer(a, b) ? "it knows it" : "it does not know it");
			return;
		}
		for (unsigned i = 0; i < s->nhosts; i++)
			for (unsigned k = 0; k < s->nhosts; k++)
				if (i != k && flow_of(&s->hosts[i], &s->hosts[k])->heard < since)
					traffic_udp(&s->hosts[i], &s->hosts[k]);
		for (unsigned i = 0; i < s->nhosts; i++)
			sim_tick_host(&s->hosts[i]);
		sim_run(s, 100 * MSEC);
	}
	sim_log(s, "all pairs talk after %.1f s", (double)(s->now - since) / 1e9);
}

void traffic_join(struct sim *s)
{
	sim_rdv_start(s);
	for (unsigned i = 0; i < s->nhosts; i++)
		sim_start(&s->hosts[i], START_SAME);
	traffic_settle(s, 10 * SEC);
}
