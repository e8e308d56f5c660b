/* SPDX-License-Identifier: Apache-2.0 */
#include "tun/ecn.h"
#include "tun/inet.h"

/* In IPv6 the field begins in the middle of the first byte. */
static uint8_t ecn_of(const uint8_t *ip)
{
	return (uint8_t)(inet_is_v6(ip) ? ip[1] >> 4 : ip[IP4_TOS]) & ECN_MASK;
}

uint8_t ecn_outside(const uint8_t *ip)
{
	uint8_t ecn = ecn_of(ip);
	return ecn == ECN_CE ? ECN_ECT0 : ecn;
}

bool ecn_congested(uint8_t *ip)
{
	uint8_t ecn = ecn_of(ip);
	if (ecn == ECN_NONE || ecn == ECN_CE)
		return false;
	if (inet_is_v6(ip)) {
		ip[1] |= ECN_CE << 4;
		return true;
	}
	/* RFC 1624: what was right or wrong stays so */
	uint64_t sum = (uint64_t)(uint16_t)~inet_word(ip + IP4_SUM) + (uint16_t)~inet_word(ip);
	ip[IP4_TOS] |= ECN_CE;
	inet_store_sum(ip + IP4_SUM, sum + inet_word(ip));
	return true;
}
