/* SPDX-License-Identifier: Apache-2.0 */
#include "forge.h"
#include <netinet/in.h>
#include <string.h>

enum { V4_HEADER = 20, V6_HEADER = 40, ICMP_HEADER = 8, NEXT_FRAGMENT = 44 };

bool packet_is_udp(const uint8_t *p, size_t len)
{
	if (len >= V4_HEADER && p[0] >> 4 == 4)
		return p[9] == IPPROTO_UDP;
	return len >= V6_HEADER && p[0] >> 4 == 6 && (p[6] == IPPROTO_UDP || p[6] == NEXT_FRAGMENT);
}

bool packet_has_df(const uint8_t *p)
{
	return p[6] & 0x40;
}

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t sum(const uint8_t *p, size_t len, uint32_t start)
{
	for (size_t i = 0; i < len; i++)
		start += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	return start;
}

static void put_checksum(uint8_t *at, uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	put16(at, ~s & 0xffff);
}

static size_t header(uint8_t *out, const struct addr *from, const uint8_t *packet, size_t payload)
{
	if (packet[0] >> 4 == 4) {
		memset(out, 0, V4_HEADER);
		out[0] = 0x45;
		put16(out + 2, V4_HEADER + payload);
		out[8] = 64;
		out[9] = IPPROTO_ICMP;
		memcpy(out + 12, from->b + 12, 4);
		memcpy(out + 16, packet + 12, 4);
		put_checksum(out + 10, sum(out, V4_HEADER, 0));
		return V4_HEADER;
	}
	memset(out, 0, V6_HEADER);
	out[0] = 0x60;
	put16(out + 4, payload);
	out[6] = IPPROTO_ICMPV6;
	out[7] = 64;
	memcpy(out + 8, from->b, 16);
	memcpy(out + 24, packet + 8, 16);
	return V6_HEADER;
}

size_t forge_icmp(uint8_t *out, const struct addr *from, const uint8_t *packet, size_t quoted,
		  uint8_t type, uint8_t code, uint32_t info)
{
	size_t len = ICMP_HEADER + quoted, head = header(out, from, packet, len);
	uint8_t *icmp = out + head;
	memset(icmp, 0, ICMP_HEADER);
	icmp[0] = type;
	icmp[1] = code;
	put16(icmp + 4, info >> 16);
	put16(icmp + 6, info & 0xffff);
	memcpy(icmp + ICMP_HEADER, packet, quoted);
	uint32_t pseudo = 0; /* ICMPv6 has one: addresses, length, protocol */
	if (head == V6_HEADER)
		pseudo = sum(out + 8, 32, (uint32_t)len + IPPROTO_ICMPV6);
	put_checksum(icmp + 2, sum(icmp, len, pseudo));
	return head + len;
}
