/* SPDX-License-Identifier: Apache-2.0 */
/* Which packet an ICMP error is about, and what an error may hide behind. */
#include "packets.h"
#include "tun/icmp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { MF = 0x2000 };

static uint8_t packet[512];

/* IPv4 from 10.0.0.1 to 10.0.0.2; its length. */
static size_t four(uint16_t frag, uint8_t proto, const uint8_t *body, size_t n)
{
	struct wr w = wr_of(packet, sizeof(packet));
	wr_be16(&w, 0x4500);
	wr_be16(&w, (uint16_t)(20 + n));
	wr_be16(&w, 1);
	wr_be16(&w, frag);
	wr_u8(&w, 64);
	wr_u8(&w, proto);
	wr_be16(&w, 0);
	wr_be32(&w, 0x0a000001);
	wr_be32(&w, 0x0a000002);
	wr_bytes(&w, body, n);
	assert_true(wr_ok(&w));
	return w.len;
}

static size_t six(uint8_t next, const uint8_t *body, size_t n)
{
	struct wr w = wr_of(packet, sizeof(packet));
	wr_be32(&w, UINT32_C(6) << 28);
	wr_be16(&w, (uint16_t)n);
	wr_u8(&w, next);
	wr_u8(&w, 64);
	wr_zeros(&w, 32);
	wr_bytes(&w, body, n);
	assert_true(wr_ok(&w));
	return w.len;
}

/* An error of this type about a packet to 10.0.0.9 or fd00::9. */
static size_t error(bool v6, uint8_t type, uint8_t *out)
{
	static const uint8_t to4[4] = { 10, 0, 0, 9 }, to6[16] = { 0xfd, [15] = 9 };
	memset(out, 0, 64);
	out[0] = type;
	out[8] = v6 ? 0x60 : 0x45;
	memcpy(out + 8 + (v6 ? 24 : 16), v6 ? to6 : to4, v6 ? 16 : 4);
	return 8 + (v6 ? 40 : 20);
}

static void says(size_t len, enum icmp_quote want, const char *about)
{
	struct addr to = addr_any, wanted;
	/* flush against its end, so that a sanitizer sees each byte too much */
	uint8_t *ip = malloc(len);
	assert_non_null(ip);
	memcpy(ip, packet, len);
	assert_int_equal(icmp_quote(ip, len, &to), want);
	free(ip);
	if (about)
		assert_true(addr_parse(about, &wanted) && addr_eq(&to, &wanted));
}

static void test_types(void **state)
{
	uint8_t e[64];
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		bool is4 = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
		bool is6 = type < 128 || type == 137;
		size_t n = error(false, (uint8_t)type, e);
		says(four(0, 1, e, n), is4 ? ICMP_QUOTES : ICMP_NO_ERROR, is4 ? "10.0.0.9" : NULL);
		n = error(true, (uint8_t)type, e);
		says(six(58, e, n), is6 ? ICMP_QUOTES : ICMP_NO_ERROR, is6 ? "fd00::9" : NULL);
	}
}

static void test_other_protocols(void **state)
{
	uint8_t e[64];
	(void)state;
	size_t n = error(false, 3, e);
	says(four(0, 17, e, n), ICMP_NO_ERROR, NULL);
	says(four(0, 58, e, n), ICMP_NO_ERROR, NULL);
	n = error(true, 2, e);
	says(six(17, e, n), ICMP_NO_ERROR, NULL);
	says(six(1, e, n), ICMP_NO_ERROR, NULL);
	says(six(59, e, n), ICMP_NO_ERROR, NULL);
}

/* Less than a whole header of the same family is quoted: no host sends that. */
static void test_short_quotes(void **state)
{
	uint8_t e[64];
	(void)state;
	for (size_t n = error(false, 3, e); n-- > 0;)
		says(four(0, 1, e, n), ICMP_QUOTES_NOTHING, NULL);
	for (size_t n = error(true, 2, e); n-- > 0;)
		says(six(58, e, n), ICMP_QUOTES_NOTHING, NULL);
	size_t n = error(false, 3, e);
	e[8] = 0x60;
	says(four(0, 1, e, n), ICMP_QUOTES_NOTHING, NULL);
	e[8] = 0x15;
	says(four(0, 1, e, n), ICMP_QUOTES_NOTHING, NULL);
	n = error(true, 2, e);
	e[8] = 0x45;
	says(six(58, e, n), ICMP_QUOTES_NOTHING, NULL);
}

/* What the quote says could come in the next piece, over or after this one. */
static void test_fragments(void **state)
{
	uint8_t e[64], f[72] = { 58, 0, 0, 1 };
	(void)state;
	size_t n = error(false, 3, e);
	says(four(MF, 1, e, n), ICMP_QUOTES_NOTHING, NULL);
	says(four(MF, 1, e, 8), ICMP_QUOTES_NOTHING, NULL);
	says(four(MF | 1, 1, e, n), ICMP_NO_ERROR, NULL); /* a later one has no header */
	says(four(1, 1, e, n), ICMP_NO_ERROR, NULL);
	e[0] = 8;
	says(four(MF, 1, e, n), ICMP_NO_ERROR, NULL); /* an echo in pieces is honest */
	n = error(true, 2, e);
	memcpy(f + 8, e, n);
	says(six(44, f, 8 + n), ICMP_QUOTES_NOTHING, NULL);
	f[3] = 8; /* offset 8, the last one */
	says(six(44, f, 8 + n), ICMP_NO_ERROR, NULL);
	memcpy(f, (const uint8_t[]){ 60, 0, 0, 1 }, 4);
	says(six(44, f, 8), ICMP_QUOTES_NOTHING, NULL); /* options that the next one brings */
}

static void test_extensions(void **state)
{
	static const uint8_t kinds[] = { 0, 43, 60 };
	uint8_t e[64], x[96] = { 0 };
	size_t n = error(true, 2, e);
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		memset(x, 0, sizeof(x));
		x[0] = 60;
		x[1] = 1; /* 16 bytes */
		x[16] = 58;
		memcpy(x + 24, e, n);
		says(six(kinds[i], x, 24 + n), ICMP_QUOTES, "fd00::9");
		x[1] = 200; /* it is no packet then */
		says(six(kinds[i], x, 24 + n), ICMP_NO_ERROR, NULL);
	}
	memset(x, 0, sizeof(x));
	x[0] = 58;
	x[1] = 2; /* an authentication header of 16 bytes */
	memcpy(x + 16, e, n);
	says(six(51, x, 16 + n), ICMP_QUOTES, "fd00::9");
}

/* Lengths that do not agree: the kernel drops it. */
static void test_no_packet(void **state)
{
	uint8_t e[64];
	(void)state;
	size_t n = four(0, 1, e, error(false, 3, e));
	says(n - 1, ICMP_NO_ERROR, NULL);
	packet[0] = 0x44;
	says(n, ICMP_NO_ERROR, NULL);
	says(0, ICMP_NO_ERROR, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),	     cmocka_unit_test(test_other_protocols),
		cmocka_unit_test(test_short_quotes), cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_extensions),   cmocka_unit_test(test_no_packet),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
