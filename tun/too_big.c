/* SPDX-License-Identifier: Apache-2.0 */
/* The ICMP answer to a packet that cannot be sent, and the rules for when there is none. */
#include "tun/too_big.h"
#include "tun/icmp.h"

enum {
	ANSWER4_MAX = 576, /* RFC 1812 4.3.2.3 */
	ANSWER_TOS = 0xc0, /* RFC 1812 4.3.2.5: precedence 6 for what networks tell each other */
	ANSWER_TTL = 64,
};

enum {
	ICMP_HDR = 8,
	ICMP_SUM = 2,
	ICMP_HOST = 1, /* codes */
	ICMP_NEEDS_FRAG = 4,
	ICMP6_UNREACHABLE = 1,
	ICMP6_ADDRESS = 3, /* a code */
	ICMP6_TOO_BIG = 2,
};

/* Addresses that are no single host's. What a directed broadcast is only its own network knows. */
static bool one_host4(const uint8_t *a)
{
	return a[0] != 0 && a[0] != 127 && (a[0] & 0xf0) != 0xe0 && load_be32(a) != UINT32_MAX;
}

static bool one_host6(const uint8_t *a)
{
	static const uint8_t zeros[15];
	return a[0] != 0xff && !(memcmp(a, zeros, sizeof(zeros)) == 0 && a[15] <= 1);
}

static bool may_answer(const uint8_t *ip, size_t len)
{
	bool v6 = inet_is_v6(ip);
	if (v6 ? !one_host6(ip + IP6_SRC) || !one_host6(ip + IP6_DST)
	       : !one_host4(ip + IP4_SRC) || !one_host4(ip + IP4_DST))
		return false;
	struct inet_upper u = inet_upper(ip, len);
	if (!rd_ok(&u.r) || u.later)
		return false;
	if (u.proto != (v6 ? PROTO_ICMP6 : PROTO_ICMP))
		return true;
	uint8_t type = rd_u8(&u.r);
	return rd_ok(&u.r) && !icmp_is_error(v6, type);
}

/* What an answer says. */
struct news {
	uint8_t type, code;
	uint32_t mtu; /* 0: nothing */
};

static size_t answer4(const uint8_t *ip, size_t len, struct news say, uint8_t *out)
{
	size_t quote = size_min(len, ANSWER4_MAX - IP4_HDR - ICMP_HDR);
	struct wr w = wr_of(out, ANSWER4_MAX);
	wr_u8(&w, 4 << 4 | IP4_HDR / 4);
	wr_u8(&w, ANSWER_TOS);
	wr_be16(&w, (uint16_t)(IP4_HDR + ICMP_HDR + quote));
	wr_be16(&w, 0); /* the id of a packet with DF says nothing (RFC 6864) */
	wr_be16(&w, IP4_DF);
	wr_u8(&w, ANSWER_TTL);
	wr_u8(&w, PROTO_ICMP);
	wr_be16(&w, 0);
	wr_bytes(&w, ip + IP4_DST, 4);
	wr_bytes(&w, ip + IP4_SRC, 4);
	wr_u8(&w, say.type);
	wr_u8(&w, say.code);
	wr_be32(&w, 0); /* the sum, and two bytes unused */
	wr_be16(&w, (uint16_t)size_min(say.mtu, UINT16_MAX));
	wr_bytes(&w, ip, quote);
	assert(wr_ok(&w));
	inet_store_sum(out + IP4_SUM, csum_add(0, out, IP4_HDR));
	inet_store_sum(out + IP4_HDR + ICMP_SUM, csum_add(0, out + IP4_HDR, w.len - IP4_HDR));
	return w.len;
}

static size_t answer6(const uint8_t *ip, size_t len, struct news say, uint8_t *out)
{
	size_t quote = size_min(len, TOO_BIG_MAX - IP6_HDR - ICMP_HDR);
	uint32_t icmp = (uint32_t)(ICMP_HDR + quote);
	struct wr w = wr_of(out, TOO_BIG_MAX);
	wr_be32(&w, UINT32_C(6) << 28);
	wr_be16(&w, (uint16_t)icmp);
	wr_u8(&w, PROTO_ICMP6);
	wr_u8(&w, ANSWER_TTL);
	wr_bytes(&w, ip + IP6_DST, 16);
	wr_bytes(&w, ip + IP6_SRC, 16);
	wr_u8(&w, say.type);
	wr_u8(&w, say.code);
	wr_be16(&w, 0);
	wr_be32(&w, say.mtu);
	wr_bytes(&w, ip, quote);
	assert(wr_ok(&w));
	uint64_t pseudo = inet_pseudo(out, PROTO_ICMP6, icmp);
	inet_store_sum(out + IP6_HDR + ICMP_SUM, csum_add(pseudo, out + IP6_HDR, icmp));
	return w.len;
}

static size_t answer(const uint8_t *ip, size_t len, struct news four, struct news six, uint8_t *out)
{
	if (inet_l3_len(ip, len) == 0 || !may_answer(ip, len))
		return 0;
	return inet_is_v6(ip) ? answer6(ip, len, six, out) : answer4(ip, len, four, out);
}

size_t too_big_answer(const uint8_t *ip, size_t len, uint32_t mtu, uint8_t out[static TOO_BIG_MAX])
{
	if (len >= IP4_HDR && !inet_is_v6(ip) && !(load_be16(ip + IP4_FRAG) & IP4_DF))
		return 0;
	return answer(ip, len, (struct news){ ICMP_UNREACHABLE, ICMP_NEEDS_FRAG, mtu },
		      (struct news){ ICMP6_TOO_BIG, 0, mtu }, out);
}

size_t unreachable_answer(const uint8_t *ip, size_t len, uint8_t out[static TOO_BIG_MAX])
{
	return answer(ip, len, (struct news){ ICMP_UNREACHABLE, ICMP_HOST, 0 },
		      (struct news){ ICMP6_UNREACHABLE, ICMP6_ADDRESS, 0 }, out);
}
