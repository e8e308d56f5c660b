/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split. What the kernel's header claims is checked against the packet once, in gso_plan();
 * the cut itself trusts the plan. The sum over the parts that all segments share is taken once
 * per call, so that a segment costs one copy and one sum of its payload.
 */
#include "tun/offload.h"
#include "tun/inet.h"

static bool wants_csum(const struct vnet_hdr *h)
{
	return h->flags & VNET_NEEDS_CSUM;
}

/* A checksum field at an even distance within [csum_start, len), after the IP header. */
static bool csum_place_ok(const struct vnet_hdr *h, uint32_t l3, size_t len)
{
	return h->csum_start >= l3 && h->csum_offset % 2 == 0 &&
	       (size_t)h->csum_start + h->csum_offset + 2 <= len;
}

static enum drop plan_whole(const struct vnet_hdr *h, uint32_t l3, size_t len,
			    struct gso_plan *plan)
{
	if (wants_csum(h) && !csum_place_ok(h, l3, len))
		return DROP_TUN_MALFORMED;
	*plan = (struct gso_plan){ .segments = 1,
				   .seg_len = (uint32_t)len,
				   .last_len = (uint32_t)len,
				   .hdr_len = l3,
				   .payload = (uint32_t)len - l3 };
	return DROP_NONE;
}

/* Does csum_start point at the transport header that the IP header announces? */
static bool l4_agrees(const uint8_t *ip, uint32_t l3, uint32_t l4, uint8_t proto)
{
	if (!inet_is_v6(ip))
		return l4 == l3 && ip[IP4_PROTO] == proto &&
		       !(load_be16(ip + IP4_FRAG) & (IP4_MF | IP4_OFFSET));
	if (l4 == l3)
		return ip[IP6_NEXT] == proto;
	/*
	 * extension headers come in units of 8 bytes and hide the protocol; the kernel walked
	 * them
	 */
	return l4 > l3 && (l4 - l3) % 8 == 0 && ip[IP6_NEXT] != PROTO_TCP &&
	       ip[IP6_NEXT] != PROTO_UDP;
}

/*
 * Whole header length of a super-packet, 0 where it does not fit. hdr_len of the kernel may be
 * wrong.
 */
static uint32_t headers_len(const struct vnet_hdr *h, const uint8_t *ip, uint32_t l3, size_t len,
			    bool udp)
{
	uint32_t l4 = h->csum_start;
	if (!csum_place_ok(h, l3, len) || h->csum_offset != (udp ? UDP_SUM : TCP_SUM) ||
	    !l4_agrees(ip, l3, l4, udp ? PROTO_UDP : PROTO_TCP))
		return 0;
	uint32_t hdr = l4 + (udp ? UDP_HDR : (uint32_t)(ip[l4 + TCP_DOFF] >> 4) * 4);
	if (!udp && hdr < l4 + TCP_HDR)
		return 0;
	return hdr <= len ? hdr : 0;
}

static bool gso_type_agrees(const struct vnet_hdr *h, const uint8_t *ip)
{
	switch (h->gso_type) {
	case VNET_GSO_TCPV4:
	case VNET_GSO_TCPV4 | VNET_GSO_ECN:
		return !inet_is_v6(ip);
	case VNET_GSO_TCPV6:
	case VNET_GSO_TCPV6 | VNET_GSO_ECN:
		return inet_is_v6(ip);
	case VNET_GSO_UDP_L4:
		return true;
	default:
		return false;
	}
}

static void plan_cut(size_t len, uint32_t hdr, uint32_t payload, struct gso_plan *plan)
{
	uint32_t total = (uint32_t)len - hdr;
	uint32_t n = total ? (total + payload - 1) / payload : 1;
	if (n == 1)
		payload = total;
	*plan = (struct gso_plan){ .segments = n,
				   .seg_len = hdr + payload,
				   .last_len = hdr + total - (n - 1) * payload,
				   .hdr_len = hdr,
				   .payload = payload };
}

enum drop gso_plan(const struct vnet_hdr *h, const uint8_t *ip, size_t len, uint32_t max_inner,
		   struct gso_plan *plan)
{
	uint32_t l3 = inet_l3_len(ip, len);
	if (!l3)
		return DROP_TUN_MALFORMED;
	if (h->gso_type == VNET_GSO_NONE)
		return plan_whole(h, l3, len, plan);

	/* virtio 1.2, 5.1.6.2: a super-packet always asks for its checksum */
	if (!gso_type_agrees(h, ip) || !wants_csum(h) || !h->gso_size)
		return DROP_TUN_MALFORMED;
	bool udp = h->gso_type == VNET_GSO_UDP_L4;
	uint32_t hdr = headers_len(h, ip, l3, len, udp), payload = h->gso_size;
	if (!hdr || (!udp && max_inner <= hdr))
		return DROP_TUN_MALFORMED;
	if (!udp && payload > max_inner - hdr)
		payload = max_inner - hdr;
	plan_cut(len, hdr, payload, plan);
	return DROP_NONE;
}

/* What all segments share: the super-packet, and folded sums of the parts that do not change. */
struct mould {
	const uint8_t *ip;
	const struct gso_plan *plan;
	uint32_t l4;
	bool v6, udp, partial;
	uint16_t id;
	uint32_t seq;
	uint8_t flags;
	uint64_t ip_sum, l4_sum; /* partial: of the pseudo header without its length */
};

static struct mould mould_of(const struct vnet_hdr *h, const uint8_t *ip,
			     const struct gso_plan *plan, bool partial)
{
	struct mould m = { .ip = ip, .plan = plan, .l4 = h->csum_start, .partial = partial };
	const uint8_t *l4 = ip + m.l4;

	m.v6 = inet_is_v6(ip);
	m.udp = h->gso_type == VNET_GSO_UDP_L4;
	if (!m.v6) { /* all but length, id and the sum itself */
		m.id = load_be16(ip + IP4_ID);
		uint64_t sum = (uint64_t)inet_word(ip) + inet_dword(ip + IP4_FRAG);
		m.ip_sum = csum_fold(csum_add(sum, ip + IP4_SRC, m.l4 - IP4_SRC));
	}
	m.l4_sum = csum_fold(inet_pseudo(ip, m.udp ? PROTO_UDP : PROTO_TCP, 0));
	uint64_t sum = m.l4_sum + inet_dword(l4); /* the ports */
	/* TCP: all but sequence, flags and the sum itself */
	if (!m.udp) {
		m.seq = load_be32(l4 + TCP_SEQ);
		m.flags = l4[TCP_FLAGS];
		sum += (uint64_t)inet_dword(l4 + TCP_ACKNO) + inet_word(l4 + TCP_WINDOW);
		sum = csum_add(sum, l4 + TCP_URGENT, plan->hdr_len - m.l4 - TCP_URGENT);
	}
	if (!partial)
		m.l4_sum = csum_fold(sum);
	return m;
}

static void fix_ip(const struct mould *m, uint32_t i, uint32_t len, uint8_t *ip)
{
	if (m->v6) {
		store_be16(ip + IP6_LEN, (uint16_t)(len - IP6_HDR));
		return;
	}
	store_be16(ip + IP4_LEN, (uint16_t)len);
	store_be16(ip + IP4_ID, (uint16_t)(m->id + i));
	inet_store_sum(ip + IP4_SUM, m->ip_sum + inet_dword(ip + IP4_LEN));
}

/* The changed TCP fields, and their sum. */
static uint64_t fix_tcp_fields(const struct mould *m, uint32_t i, uint8_t *tcp)
{
	uint8_t flags = m->flags;
	if (i)
		flags &= (uint8_t)~TCP_CWR;
	if (i + 1 < m->plan->segments)
		flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	tcp[TCP_FLAGS] = flags;
	store_be32(tcp + TCP_SEQ, m->seq + i * m->plan->payload);
	return (uint64_t)inet_dword(tcp + TCP_SEQ) + inet_word(tcp + TCP_DOFF);
}

/* The L4 length twice over, in the header (UDP) and the pseudo header; then the checksum. */
static void fix_udp(const struct mould *m, uint8_t *udp, uint32_t l4len, const uint8_t *payload,
		    uint32_t n)
{
	store_be16(udp + UDP_LEN, (uint16_t)l4len);
	uint64_t sum = m->l4_sum + inet_word(udp + UDP_LEN);
	if (m->partial)
		inet_store_begun(udp + UDP_SUM, sum);
	else
		inet_store_sum_nonzero(udp + UDP_SUM,
				       csum_add(sum + inet_word(udp + UDP_LEN), payload, n));
}

static void fix_tcp(const struct mould *m, uint32_t i, uint8_t *tcp, uint32_t l4len,
		    const uint8_t *payload, uint32_t n)
{
	uint8_t len[2];
	store_be16(len, (uint16_t)l4len);
	uint64_t sum = m->l4_sum + inet_word(len), changed = fix_tcp_fields(m, i, tcp);
	if (m->partial)
		inet_store_begun(tcp + TCP_SUM, sum);
	else
		inet_store_sum(tcp + TCP_SUM, csum_add(sum + changed, payload, n));
}

static void cut(const struct mould *m, uint32_t i, uint8_t *out)
{
	const struct gso_plan *plan = m->plan;
	uint32_t len = i + 1 < plan->segments ? plan->seg_len : plan->last_len;
	uint32_t n = len - plan->hdr_len;
	uint8_t *payload = out + plan->hdr_len;

	memcpy(out, m->ip, plan->hdr_len);
	memcpy(payload, m->ip + plan->hdr_len + (size_t)i * plan->payload, n);
	fix_ip(m, i, len, out);
	if (m->udp)
		fix_udp(m, out + m->l4, len - m->l4, payload, n);
	else
		fix_tcp(m, i, out + m->l4, len - m->l4, payload, n);
}

/* One packet; the field holds the sum of the pseudo header already, as the kernel leaves it. */
static void copy_whole(const struct vnet_hdr *h, const uint8_t *ip, uint32_t len, bool partial,
		       uint8_t *out)
{
	memcpy(out, ip, len);
	if (wants_csum(h) && !partial) {
		uint8_t *l4 = out + h->csum_start;
		inet_store_sum_nonzero(l4 + h->csum_offset, csum_add(0, l4, len - h->csum_start));
	}
}

void gso_split(const struct vnet_hdr *h, const uint8_t *ip, const struct gso_plan *plan,
	       uint32_t first, uint32_t count, bool partial, uint8_t *out, size_t stride)
{
	if (h->gso_type == VNET_GSO_NONE) {
		if (first == 0 && count)
			copy_whole(h, ip, plan->last_len, partial, out);
		return;
	}
	struct mould m = mould_of(h, ip, plan, partial);
	for (uint32_t i = 0; i < count && first + i < plan->segments; i++)
		cut(&m, first + i, out + i * stride);
}

/* --- partial sums --- */

bool partial_vnet(const uint8_t *ip, size_t len, struct vnet_hdr *h)
{
	uint32_t l3 = inet_l3_len(ip, len);
	if (!l3 || (!inet_is_v6(ip) && load_be16(ip + IP4_FRAG) & (IP4_MF | IP4_OFFSET)))
		return false;
	uint8_t proto = ip[inet_is_v6(ip) ? IP6_NEXT : IP4_PROTO];
	if (proto != PROTO_TCP && proto != PROTO_UDP)
		return false;
	*h = (struct vnet_hdr){ .flags = VNET_NEEDS_CSUM,
				.csum_start = (uint16_t)l3,
				.csum_offset = proto == PROTO_TCP ? TCP_SUM : UDP_SUM };
	return len >= l3 + (proto == PROTO_TCP ? TCP_HDR : UDP_HDR);
}

bool gso_partial(const struct vnet_hdr *h, const uint8_t *ip, size_t len)
{
	struct vnet_hdr own;
	return wants_csum(h) && partial_vnet(ip, len, &own) && own.csum_start == h->csum_start &&
	       own.csum_offset == h->csum_offset;
}
