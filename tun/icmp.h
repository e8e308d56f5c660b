/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP and ICMPv6 in inner packets, behind whatever extension headers: which of them are errors, and
 * which packet an error is about. Pure functions.
 */
#ifndef WARREN_ICMP_H
#define WARREN_ICMP_H

#include "base/addr.h"
#include "tun/inet.h"

enum { PROTO_ICMP = 1, PROTO_ICMP6 = 58, ICMP_UNREACHABLE = 3 };

/* What follows the IP header and its extensions. */
struct inet_upper {
	struct rd r; /* at its first byte; failed where the headers before it end too early */
	uint8_t proto;
	bool fragment, later; /* a fragment; not the first one, so `r` and `proto` say nothing */
};

/* Of a packet for which inet_l3_len() is not 0. */
struct inet_upper inet_upper(const uint8_t *ip, size_t len);

/* Redirects too: RFC 1122 3.2.2 and RFC 4443 2.4 (e) have one rule for both. */
bool icmp_is_error(bool v6, uint8_t type);

enum icmp_quote {
	ICMP_NO_ERROR,
	ICMP_QUOTES, /* *dst: where the packet went that the error is about */
	/* Without a whole IP header of such a packet, or in fragments: no error that a host sends is like that. */
	ICMP_QUOTES_NOTHING,
};
enum icmp_quote icmp_quote(const uint8_t *ip, size_t len, struct addr *dst);

#endif
