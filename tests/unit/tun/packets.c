/* SPDX-License-Identifier: Apache-2.0 */
#include "packets.h"

#include "tests/unit/splitmix.h"

uint64_t rng_next(struct rng *r)
{
	return splitmix64(&r->state);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)(rng_next(r) % n);
}

uint16_t naive_sum(uint32_t start, const uint8_t *p, uint32_t n)
{
	uint32_t sum = start;
	for (uint32_t i = 0; i < n; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		if (sum > 0xffff)
			sum = (sum & 0xffff) + 1;
	}
	return (uint16_t)sum;
}

static bool is_v6(const uint8_t *ip)
{
	return ip[0] >> 4 == 6;
}

/* Only extension header 60 (destination options) is known here, since only that is built here. */
static uint8_t protocol(const uint8_t *ip)
{
	if (!is_v6(ip))
		return ip[9];
	return ip[6] == 60 ? ip[40] : ip[6];
}

uint32_t packet_l4(const uint8_t *ip)
{
	if (!is_v6(ip))
		return (uint32_t)(ip[0] & 15) * 4;
	return ip[6] == 60 ? 40 + 8 + (uint32_t)ip[41] * 8 : 40;
}

bool packet_is_udp(const uint8_t *ip)
{
	return protocol(ip) == 17;
}

static uint16_t pseudo(const uint8_t *ip, uint32_t l4len)
{
	uint16_t sum = is_v6(ip) ? naive_sum(0, ip + 8, 32) : naive_sum(0, ip + 12, 8);
	uint8_t rest[4] = { 0, protocol(ip), (uint8_t)(l4len >> 8), (uint8_t)l4len };
	return naive_sum(sum, rest, 4);
}

bool packet_sums_ok(const uint8_t *ip, uint32_t len)
{
	uint32_t l4 = packet_l4(ip);
	if (!is_v6(ip) && naive_sum(0, ip, l4) != 0xffff)
		return false;
	return naive_sum(pseudo(ip, len - l4), ip + l4, len - l4) == 0xffff;
}

static uint32_t sum_at(const uint8_t *ip)
{
	return packet_l4(ip) + (packet_is_udp(ip) ? 6 : 16);
}

static void fix_ip_sum(uint8_t *ip)
{
	if (is_v6(ip))
		return;
	store_be16(ip + 10, 0);
	store_be16(ip + 10, (uint16_t)~naive_sum(0, ip, packet_l4(ip)));
}

void packet_fix_sums(uint8_t *ip, uint32_t len)
{
	uint32_t l4 = packet_l4(ip), at = sum_at(ip);
	fix_ip_sum(ip);
	store_be16(ip + at, 0);
	uint16_t sum = (uint16_t)~naive_sum(pseudo(ip, len - l4), ip + l4, len - l4);
	store_be16(ip + at, packet_is_udp(ip) && !sum ? 0xffff : sum);
}

static uint32_t put_ip4(const struct spec *s, uint8_t *p, uint32_t l4len)
{
	uint32_t ihl = 20u + s->ip_options;
	p[0] = (uint8_t)(0x40 | ihl / 4);
	p[1] = s->tos;
	store_be16(p + 2, (uint16_t)(ihl + l4len));
	store_be16(p + 4, s->id);
	store_be16(p + 6, s->frag);
	p[8] = s->ttl ? s->ttl : 64;
	p[9] = s->udp ? 17 : 6;
	memcpy(p + 12, (const uint8_t[]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
	memset(p + 20, 1, s->ip_options); /* no-operation */
	return ihl;
}

static uint32_t put_ip6(const struct spec *s, uint8_t *p, uint32_t l4len)
{
	store_be32(p, 6u << 28 | (uint32_t)s->tos << 20 | (s->flow & 0xfffff));
	store_be16(p + 4, (uint16_t)(s->ext + l4len));
	uint8_t proto = s->udp ? 17 : 6;
	p[6] = s->ext ? 60 : proto;
	p[7] = s->ttl ? s->ttl : 64;
	p[8] = p[24] = 0xfd;
	p[23] = 1;
	p[39] = 2;
	if (s->ext) {
		p[40] = proto;
		p[41] = (uint8_t)(s->ext / 8 - 1);
		p[42] = 1; /* PadN over the rest */
		p[43] = (uint8_t)(s->ext - 4);
	}
	return 40u + s->ext;
}

static uint32_t put_l4(const struct spec *s, uint8_t *p)
{
	store_be16(p, s->sport ? s->sport : 40000);
	store_be16(p + 2, 8080);
	if (s->udp) {
		store_be16(p + 4, (uint16_t)(8 + s->payload));
		return 8;
	}
	store_be32(p + 4, s->seq);
	store_be32(p + 8, s->ack);
	p[12] = (uint8_t)((20 + s->options) / 4 << 4);
	p[13] = s->flags ? s->flags : 0x10;
	store_be16(p + 14, s->window);
	for (uint32_t i = 0; i < s->options; i++)
		p[20 + i] = (uint8_t)(i + 1);
	return 20u + s->options;
}

uint32_t packet_build(const struct spec *s, uint8_t *out)
{
	uint32_t l4hdr = s->udp ? 8 : 20u + s->options;
	memset(out, 0, 40u + s->ext + s->ip_options + l4hdr);
	uint32_t n =
		s->v6 ? put_ip6(s, out, l4hdr + s->payload) : put_ip4(s, out, l4hdr + s->payload);
	n += put_l4(s, out + n);
	for (uint32_t i = 0; i < s->payload; i++)
		out[n + i] = (uint8_t)(s->fill + i * 7 + (i >> 8));
	packet_fix_sums(out, n + s->payload);
	if (s->no_csum)
		store_be16(out + sum_at(out), 0);
	return n + s->payload;
}

uint32_t packet_build_super(const struct spec *s, uint16_t gso_size, uint8_t *out,
			    struct vnet_hdr *h)
{
	uint32_t len = packet_build(s, out), l4 = packet_l4(out);
	store_be16(out + sum_at(out), pseudo(out, len - l4));
	*h = (struct vnet_hdr){ .flags = VNET_NEEDS_CSUM,
				.gso_type = s->udp  ? VNET_GSO_UDP_L4
					    : s->v6 ? VNET_GSO_TCPV6
						    : VNET_GSO_TCPV4,
				.hdr_len = 7, /* the kernel's may be wrong: nobody may believe it */
				.gso_size = gso_size,
				.csum_start = (uint16_t)l4,
				.csum_offset = s->udp ? 6 : 16 };
	if (!gso_size)
		h->gso_type = VNET_GSO_NONE;
	return len;
}

void packet_complete(const struct vnet_hdr *h, uint8_t *ip, uint32_t len)
{
	uint16_t sum = (uint16_t)~naive_sum(0, ip + h->csum_start, len - h->csum_start);
	store_be16(ip + h->csum_start + h->csum_offset, sum || !packet_is_udp(ip) ? sum : 0xffff);
}
