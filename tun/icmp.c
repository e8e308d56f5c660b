/* SPDX-License-Identifier: Apache-2.0 */
#include "tun/icmp.h"

enum {
	ICMP_QUENCH = 4,
	ICMP_REDIRECT = 5,
	ICMP_TIME = 11,
	ICMP_PARAMETER = 12,
	ICMP6_INFORMATIONAL = 128, /* RFC 4443 2.1: types below are errors */
	ICMP6_REDIRECT = 137,
	ICMP_REST = 7, /* of an error's header, behind the type */
};

enum {
	EXT_HOP_BY_HOP = 0,
	EXT_ROUTING = 43,
	EXT_FRAGMENT = 44,
	EXT_AUTH = 51,
	EXT_OPTIONS = 60,
	EXT_OFFSET = 0xfff8, /* of a fragment header's last two bytes of four */
};

/*
 * Skips one extension header, `proto` being its kind and then that of what follows. False where it
 * was none (RFC 8200 4.1; ESP hides what follows it).
 */
static bool skip_ext(struct inet_upper *u)
{
	uint8_t kind = u->proto;
	if (kind != EXT_HOP_BY_HOP && kind != EXT_ROUTING && kind != EXT_OPTIONS &&
	    kind != EXT_AUTH && kind != EXT_FRAGMENT)
		return false;
	u->proto = rd_u8(&u->r);
	uint8_t n = rd_u8(&u->r);
	if (kind == EXT_FRAGMENT) {
		u->fragment = true;
		u->later = rd_be16(&u->r) & EXT_OFFSET;
		rd_take(&u->r, 4);
	} else if (kind == EXT_AUTH) {
		rd_take(&u->r, (size_t)n * 4 + 6); /* RFC 4302 2.2: in words, less two */
	} else {
		rd_take(&u->r, (size_t)n * 8 + 6);
	}
	return rd_ok(&u->r);
}

struct inet_upper inet_upper(const uint8_t *ip, size_t len)
{
	uint32_t hdr = inet_l3_len(ip, len);
	struct inet_upper u = { .r = rd_of(ip + hdr, len - hdr) };
	if (!inet_is_v6(ip)) {
		uint16_t frag = load_be16(ip + IP4_FRAG);
		u.proto = ip[IP4_PROTO];
		u.fragment = frag & (IP4_OFFSET | IP4_MF);
		u.later = frag & IP4_OFFSET;
		return u;
	}
	u.proto = ip[IP6_NEXT];
	/* what follows a later fragment's header is not a header */
	while (!u.later && skip_ext(&u))
		;
	return u;
}

bool icmp_is_error(bool v6, uint8_t type)
{
	if (v6)
		return type < ICMP6_INFORMATIONAL || type == ICMP6_REDIRECT;
	return type == ICMP_UNREACHABLE || type == ICMP_QUENCH || type == ICMP_REDIRECT ||
	       type == ICMP_TIME || type == ICMP_PARAMETER;
}

enum icmp_quote icmp_quote(const uint8_t *ip, size_t len, struct addr *dst)
{
	if (inet_l3_len(ip, len) == 0)
		return ICMP_NO_ERROR;
	bool v6 = inet_is_v6(ip);
	struct inet_upper u = inet_upper(ip, len);
	if (u.later)
		return ICMP_NO_ERROR;
	/* the rest of the headers may follow in another fragment, and an error after them */
	if (!rd_ok(&u.r))
		return u.fragment ? ICMP_QUOTES_NOTHING : ICMP_NO_ERROR;
	if (u.proto != (v6 ? PROTO_ICMP6 : PROTO_ICMP))
		return ICMP_NO_ERROR;
	uint8_t type = rd_u8(&u.r);
	if (rd_ok(&u.r) && !icmp_is_error(v6, type))
		return ICMP_NO_ERROR;
	rd_take(&u.r, ICMP_REST);
	const uint8_t *quote = rd_take(&u.r, v6 ? IP6_HDR : IP4_HDR);
	if (!quote || u.fragment || inet_is_v6(quote) != v6 || (!v6 && quote[0] >> 4 != 4))
		return ICMP_QUOTES_NOTHING;
	if (v6)
		memcpy(dst->b, quote + IP6_DST, 16);
	else
		*dst = addr_v4(quote + IP4_DST);
	return ICMP_QUOTES;
}
