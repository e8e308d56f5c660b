/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offsets of the inner headers, for the split and the merge alone. Sizes in bytes, from the
 * header's start.
 */
#ifndef WARREN_TUN_INET_H
#define WARREN_TUN_INET_H

#include "base/bytes.h"
#include "base/checksum.h"

enum { PROTO_TCP = 6, PROTO_UDP = 17 };

enum {
	IP4_TOS = 1,
	IP4_LEN = 2,
	IP4_ID = 4,
	IP4_FRAG = 6,
	IP4_TTL = 8,
	IP4_PROTO = 9,
	IP4_SUM = 10,
	IP4_SRC = 12,
	IP4_DST = 16,
	IP4_HDR = 20,
	IP4_DF = 0x4000,
	IP4_MF = 0x2000,
	IP4_OFFSET = 0x1fff,
};

enum {
	IP6_LEN = 4,
	IP6_NEXT = 6,
	IP6_HOPS = 7,
	IP6_SRC = 8,
	IP6_DST = 24,
	IP6_HDR = 40,
};

enum {
	TCP_SEQ = 4,
	TCP_ACKNO = 8,
	TCP_DOFF = 12,
	TCP_FLAGS = 13,
	TCP_WINDOW = 14,
	TCP_SUM = 16,
	TCP_URGENT = 18,
	TCP_HDR = 20,
	TCP_HDR_MAX = 60,
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_CWR = 0x80,
};

enum { UDP_LEN = 4, UDP_SUM = 6, UDP_HDR = 8 };

static inline bool inet_is_v6(const uint8_t *ip)
{
	return ip[0] >> 4 == 6;
}

/*
 * Length of the IP header (IPv6: the fixed part), where version, header length and total length
 * agree with `len`; else 0.
 */
static inline uint32_t inet_l3_len(const uint8_t *ip, size_t len)
{
	if (len >= IP6_HDR && inet_is_v6(ip))
		return (size_t)load_be16(ip + IP6_LEN) + IP6_HDR == len ? IP6_HDR : 0;
	if (len < IP4_HDR || ip[0] >> 4 != 4)
		return 0;
	uint32_t ihl = (uint32_t)(ip[0] & 15) * 4;
	return ihl >= IP4_HDR && ihl <= len && load_be16(ip + IP4_LEN) == len ? ihl : 0;
}

/* The sum of the pseudo header. */
static inline uint64_t inet_pseudo(const uint8_t *ip, uint8_t proto, uint32_t l4len)
{
	if (inet_is_v6(ip))
		return csum_pseudo(ip + IP6_SRC, ip + IP6_DST, 16, proto, l4len);
	return csum_pseudo(ip + IP4_SRC, ip + IP4_DST, 4, proto, l4len);
}

/* 16 and 32 bits in memory order, as sums want them. */
static inline uint16_t inet_word(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, 2);
	return v;
}

static inline uint32_t inet_dword(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, 4);
	return v;
}

/* Stores the checksum of an unfolded sum that covers everything else. */
static inline void inet_store_sum(uint8_t *at, uint64_t sum)
{
	uint16_t c = (uint16_t)~csum_fold(sum);
	memcpy(at, &c, 2);
}

/* The same where 0 would say "no checksum" (RFC 768); 0xffff is the same number. */
static inline void inet_store_sum_nonzero(uint8_t *at, uint64_t sum)
{
	uint16_t c = (uint16_t)~csum_fold(sum);
	if (!c)
		c = 0xffff;
	memcpy(at, &c, 2);
}

/* A sum that is only begun, for another to go on with: what a partial checksum is. */
static inline void inet_store_begun(uint8_t *at, uint64_t sum)
{
	uint16_t c = csum_fold(sum);
	memcpy(at, &c, 2);
}

#endif
