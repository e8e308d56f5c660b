/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An MTU (2 bytes) and a packet that cannot be sent. An answer is a right packet by the naive rules, goes
 * to whom it is about, quotes it from its first byte, is itself never answered, and read as an error about it.
 */
#include "packets.h"
#include "tun/icmp.h"
#include "tun/too_big.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static uint16_t sum(const uint8_t *p, size_t len, uint32_t s)
{
	for (size_t i = 0; i < len; i++)
		s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

/* IPv6's pseudo header: both addresses, the length, the protocol. */
static uint32_t pseudo(const uint8_t *p, size_t len)
{
	return (uint32_t)sum(p + 8, 32, 0) + (uint32_t)(len - 40) + 58;
}

static void check(const uint8_t *out, size_t n, const uint8_t *ip, size_t len)
{
	uint8_t again[TOO_BIG_MAX];
	bool v6 = ip[0] >> 4 == 6;
	size_t header = v6 ? 40 : 20, at = v6 ? 24 : 16, alen = v6 ? 16 : 4, src = v6 ? 8 : 12;

	must(n > header + 8 && n <= (v6 ? 1280u : 576u) && out[0] >> 4 == ip[0] >> 4);
	must(load_be16(out + (v6 ? 4 : 2)) + (v6 ? 40u : 0) == n);
	must(memcmp(out + at, ip + src, alen) == 0 && memcmp(out + src, ip + at, alen) == 0);
	must(n - header - 8 <= len && memcmp(out + header + 8, ip, n - header - 8) == 0);
	must(v6 || sum(out, 20, 0) == 0xffff);
	must(sum(out + header, n - header, v6 ? pseudo(out, n) : 0) == 0xffff);
	struct addr to;
	must(icmp_quote(out, n, &to) == ICMP_QUOTES);
	must(memcmp(to.b + (v6 ? 0 : 12), ip + at, alen) == 0);
	must(!too_big_answer(out, n, 1280, again) && !unreachable_answer(out, n, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t out[TOO_BIG_MAX];
	if (size < 2)
		return 0;
	uint32_t mtu = load_be16(data);
	size_t len = size - 2, n;
	uint8_t *ip = malloc(len ? len : 1);
	must(ip != NULL);
	memcpy(ip, data + 2, len);
	struct addr to;
	(void)icmp_quote(ip, len, &to);
	if ((n = too_big_answer(ip, len, mtu, out)))
		check(out, n, ip, len);
	if ((n = unreachable_answer(ip, len, out)))
		check(out, n, ip, len);
	free(ip);
	return 0;
}
