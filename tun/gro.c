/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The merge. A packet joins the run before it only where the kernel, cutting the merged packet
 * again, would give back the same packets; whatever is unusual goes alone and untouched. Sums are
 * verified before a packet is merged, since the merged one carries a sum that the kernel
 * believes.
 */
#include "tun/offload.h"
#include "tun/inet.h"

enum { GRO_BYTES_MAX = 65535 };

/* One packet that may be merged: an all-ordinary TCP or UDP packet with payload. */
struct item {
	uint8_t *ip;
	uint32_t len, l4, hdr, payload;
	uint8_t proto;
	bool v6, psh, partial;
};

/* What is merged so far. */
struct run {
	struct item first;
	uint32_t len; /* of the merged packet */
	uint32_t packets;
	uint16_t last_id, id_step; /* IPv4 */
	bool psh, full;		   /* full: a short segment or PSH ended it */
};

static bool tcp_ordinary(struct item *it)
{
	const uint8_t *tcp = it->ip + it->l4;
	if (it->len < it->l4 + TCP_HDR || tcp[TCP_DOFF] & 0x0f ||
	    (tcp[TCP_FLAGS] & ~TCP_PSH) != TCP_ACK)
		return false;
	uint32_t doff = (uint32_t)(tcp[TCP_DOFF] >> 4) * 4;
	it->hdr = it->l4 + doff;
	it->psh = tcp[TCP_FLAGS] & TCP_PSH;
	return doff >= TCP_HDR;
}

static bool udp_ordinary(struct item *it)
{
	const uint8_t *udp = it->ip + it->l4;
	if (it->len < it->l4 + UDP_HDR || load_be16(udp + UDP_LEN) != it->len - it->l4)
		return false;
	it->hdr = it->l4 + UDP_HDR;
	/* no checksum is legal over IPv4 alone (RFC 768, RFC 8200 8.1) */
	return !it->v6 || inet_word(udp + UDP_SUM) != 0;
}

static bool ordinary(const struct gro_packet *pkt, bool udp, struct item *it)
{
	if (pkt->len > GRO_BYTES_MAX)
		return false;
	*it = (struct item){ .ip = pkt->ip, .len = pkt->len, .partial = pkt->partial };
	it->l4 = inet_l3_len(it->ip, it->len);
	if (!it->l4)
		return false;
	it->v6 = inet_is_v6(it->ip);
	if (!it->v6 && (it->l4 != IP4_HDR || load_be16(it->ip + IP4_FRAG) & ~IP4_DF))
		return false;
	it->proto = it->ip[it->v6 ? IP6_NEXT : IP4_PROTO];
	if (it->proto == PROTO_TCP ? !tcp_ordinary(it)
				   : it->proto != PROTO_UDP || !udp || !udp_ordinary(it))
		return false;
	if (it->hdr >= it->len)
		return false;
	it->payload = it->len - it->hdr;
	return true;
}

static bool sums_ok(const struct item *it)
{
	if (it->partial)
		return true; /* both are of the kernel that sent it, and proven since */
	if (!it->v6 && csum_fold(csum_add(0, it->ip, IP4_HDR)) != 0xffff)
		return false;
	if (it->proto == PROTO_UDP && inet_word(it->ip + it->l4 + UDP_SUM) == 0)
		return true;
	uint32_t n = it->len - it->l4;
	return csum_fold(csum_add(inet_pseudo(it->ip, it->proto, n), it->ip + it->l4, n)) == 0xffff;
}

/* Same addresses, protocol, TTL, ToS and DF. IPv6: flow label too. Lengths, ids and sums aside. */
static bool same_ip(const struct item *a, const struct item *b)
{
	if (a->v6 != b->v6)
		return false;
	if (a->v6)
		return !memcmp(a->ip, b->ip, IP6_LEN) &&
		       !memcmp(a->ip + IP6_NEXT, b->ip + IP6_NEXT, IP6_HDR - IP6_NEXT);
	return !memcmp(a->ip, b->ip, IP4_LEN) &&
	       !memcmp(a->ip + IP4_FRAG, b->ip + IP4_FRAG, IP4_SUM - IP4_FRAG) &&
	       !memcmp(a->ip + IP4_SRC, b->ip + IP4_SRC, IP4_HDR - IP4_SRC);
}

/*
 * Same ports, acknowledgement, data offset, window and options, in that order: options are compared
 * where both headers are that long. Flags are ACK alone in both.
 */
static bool same_tcp(const uint8_t *a, const uint8_t *b, uint32_t hdr)
{
	return !memcmp(a, b, TCP_SEQ) &&
	       !memcmp(a + TCP_ACKNO, b + TCP_ACKNO, TCP_FLAGS - TCP_ACKNO) &&
	       !memcmp(a + TCP_WINDOW, b + TCP_WINDOW, TCP_SUM - TCP_WINDOW) &&
	       !memcmp(a + TCP_URGENT, b + TCP_URGENT, hdr - TCP_URGENT);
}

static bool same_l4(const struct item *a, const struct item *b)
{
	const uint8_t *p = a->ip + a->l4, *q = b->ip + b->l4;
	if (a->proto == PROTO_TCP)
		return same_tcp(p, q, a->hdr - a->l4);
	return !memcmp(p, q, UDP_LEN) && !inet_word(p + UDP_SUM) == !inet_word(q + UDP_SUM);
}

/*
 * IPv4 ids count up by one. They may also stay the same where DF makes them meaningless (RFC 6864),
 * then for the whole run: the kernel's own merge has the same rule.
 */
static bool id_follows(const struct run *r, const struct item *it, uint16_t *step)
{
	if (it->v6)
		return true;
	*step = (uint16_t)(load_be16(it->ip + IP4_ID) - r->last_id);
	if (r->packets > 1)
		return *step == r->id_step;
	return *step == 1 || (*step == 0 && load_be16(it->ip + IP4_FRAG) & IP4_DF);
}

static bool seq_follows(const struct run *r, const struct item *it)
{
	if (it->proto != PROTO_TCP)
		return true;
	uint32_t first = load_be32(r->first.ip + r->first.l4 + TCP_SEQ);
	return load_be32(it->ip + it->l4 + TCP_SEQ) == first + (r->len - r->first.hdr);
}

static bool fits(const struct run *r, const struct item *it)
{
	return !r->full && r->packets < GRO_MAX_PACKETS && it->payload <= r->first.payload &&
	       r->len + it->payload <= GRO_BYTES_MAX;
}

static bool joins(const struct run *r, const struct item *it, uint16_t *id_step)
{
	return fits(r, it) && same_ip(&r->first, it) && same_l4(&r->first, it) &&
	       seq_follows(r, it) && id_follows(r, it, id_step) &&
	       (r->packets > 1 || sums_ok(&r->first)) && sums_ok(it);
}

static void run_begin(struct run *r, const struct item *first)
{
	*r = (struct run){ .first = *first, .len = first->len, .packets = 1, .full = first->psh };
	if (!first->v6)
		r->last_id = load_be16(first->ip + IP4_ID);
}

static void run_add(struct run *r, const struct item *it, uint16_t id_step, struct gro_write *w)
{
	w->iov[w->iovcnt++] =
		(struct iovec){ .iov_base = it->ip + it->hdr, .iov_len = it->payload };
	r->len += it->payload;
	r->packets++;
	r->id_step = id_step;
	r->last_id = (uint16_t)(r->last_id + id_step);
	r->psh = it->psh;
	r->full = it->psh || it->payload < r->first.payload;
}

static void fix_ip(const struct run *r)
{
	uint8_t *ip = r->first.ip;
	if (r->first.v6) {
		store_be16(ip + IP6_LEN, (uint16_t)(r->len - IP6_HDR));
		return;
	}
	store_be16(ip + IP4_LEN, (uint16_t)r->len);
	store_be16(ip + IP4_SUM, 0);
	inet_store_sum(ip + IP4_SUM, csum_add(0, ip, IP4_HDR));
}

/* The merged packet's headers: the kernel completes the sum that we begin. */
static void run_finish(const struct run *r, struct gro_write *w)
{
	const struct item *f = &r->first;
	bool tcp = f->proto == PROTO_TCP;
	uint8_t *l4 = f->ip + f->l4;
	uint32_t l4len = r->len - f->l4;

	fix_ip(r);
	if (!tcp)
		store_be16(l4 + UDP_LEN, (uint16_t)l4len);
	else if (r->psh)
		l4[TCP_FLAGS] |= TCP_PSH;
	inet_store_begun(l4 + (tcp ? TCP_SUM : UDP_SUM), inet_pseudo(f->ip, f->proto, l4len));
	w->vnet.flags = VNET_NEEDS_CSUM;
	w->vnet.gso_type = !tcp ? VNET_GSO_UDP_L4 : f->v6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4;
	w->vnet.hdr_len = (uint16_t)f->hdr;
	w->vnet.gso_size = (uint16_t)f->payload;
	w->vnet.csum_start = (uint16_t)f->l4;
	w->vnet.csum_offset = tcp ? TCP_SUM : UDP_SUM;
}

/* Begins a write with the first packet alone, as it came. */
static void write_begin(struct gro_write *w, const struct gro_packet *first)
{
	if (!first->partial || !partial_vnet(first->ip, first->len, &w->vnet))
		w->vnet = (struct vnet_hdr){ 0 };
	w->iov[0] = (struct iovec){ .iov_base = &w->vnet, .iov_len = VNET_HDR_LEN };
	w->iov[1] = (struct iovec){ .iov_base = first->ip, .iov_len = first->len };
	w->iovcnt = 2;
	w->packets = 1;
	w->bytes = first->len;
}

size_t gro_merge(const struct gro_packet *pkts, size_t from, size_t n, bool udp,
		 struct gro_write *w)
{
	if (from >= n)
		return 0;
	write_begin(w, &pkts[from]);

	struct item it;
	if (!ordinary(&pkts[from], udp, &it))
		return 1;
	struct run r;
	run_begin(&r, &it);
	for (size_t i = from + 1; i < n; i++) {
		uint16_t id_step = 0;
		if (!ordinary(&pkts[i], udp, &it) || !joins(&r, &it, &id_step))
			break;
		run_add(&r, &it, id_step, w);
	}
	if (r.packets > 1) {
		run_finish(&r, w);
		w->packets = r.packets;
		w->bytes = r.len;
	}
	return r.packets;
}
