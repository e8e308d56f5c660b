/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is answered to a packet that is too large, to the byte, and each reason for silence. The exact
 * bytes were made by a script of the RFCs' layouts; sums are checked with the naive one.
 */
#include "packets.h"
#include "tun/too_big.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* clang-format off */
static const uint8_t packet4[] = {
	0x45, 0x00, 0x00, 0x20, 0x47, 0x11, 0x40, 0x00, 0x3f, 0x11, 0xd6, 0xa8,
	0x0a, 0x01, 0x02, 0x03, 0x0a, 0x09, 0x08, 0x07, 0x0f, 0xa0, 0x00, 0x35,
	0x00, 0x0c, 0x12, 0x34, 0x61, 0x62, 0x63, 0x64,
};
/* mtu 1380 */
static const uint8_t answer4[] = {
	0x45, 0xc0, 0x00, 0x3c, 0x00, 0x00, 0x40, 0x00, 0x40, 0x01, 0x1b, 0xee,
	0x0a, 0x09, 0x08, 0x07, 0x0a, 0x01, 0x02, 0x03, 0x03, 0x04, 0x10, 0xbc,
	0x00, 0x00, 0x05, 0x64, 0x45, 0x00, 0x00, 0x20, 0x47, 0x11, 0x40, 0x00,
	0x3f, 0x11, 0xd6, 0xa8, 0x0a, 0x01, 0x02, 0x03, 0x0a, 0x09, 0x08, 0x07,
	0x0f, 0xa0, 0x00, 0x35, 0x00, 0x0c, 0x12, 0x34, 0x61, 0x62, 0x63, 0x64,
};
static const uint8_t packet6[] = {
	0x60, 0x00, 0x00, 0x00, 0x00, 0x0b, 0x11, 0x3f, 0xfd, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
	0xfd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x02, 0x0f, 0xa0, 0x00, 0x35, 0x00, 0x0b, 0x43, 0x21,
	0x78, 0x79, 0x7a,
};
/* mtu 1280 */
static const uint8_t answer6[] = {
	0x60, 0x00, 0x00, 0x00, 0x00, 0x3b, 0x3a, 0x40, 0xfd, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02,
	0xfd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x4d, 0xbb, 0x00, 0x00, 0x05, 0x00,
	0x60, 0x00, 0x00, 0x00, 0x00, 0x0b, 0x11, 0x3f, 0xfd, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
	0xfd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x02, 0x0f, 0xa0, 0x00, 0x35, 0x00, 0x0b, 0x43, 0x21,
	0x78, 0x79, 0x7a,
};
/* clang-format on */

static void test_exact(void **state)
{
	uint8_t out[TOO_BIG_MAX];
	(void)state;
	assert_int_equal(too_big_answer(packet4, sizeof(packet4), 1380, out), sizeof(answer4));
	assert_memory_equal(out, answer4, sizeof(answer4));
	assert_int_equal(too_big_answer(packet6, sizeof(packet6), 1280, out), sizeof(answer6));
	assert_memory_equal(out, answer6, sizeof(answer6));
}

/* Nowhere to go: the same but for type, code and size, and without DF as well. */
static void test_unreachable(void **state)
{
	uint8_t out[TOO_BIG_MAX], want[sizeof(answer6)], packet[sizeof(packet4)];
	(void)state;
	memcpy(packet, packet4, sizeof(packet4));
	packet[6] = 0;
	packet_fix_sums(packet, sizeof(packet));
	assert_int_equal(unreachable_answer(packet, sizeof(packet), out), sizeof(answer4));
	assert_memory_equal(out, answer4, 20);
	assert_memory_equal(out + 20, "\3\1", 2);
	assert_memory_equal(out + 24, "\0\0\0\0", 4);
	assert_memory_equal(out + 28, packet, sizeof(packet));
	assert_int_equal(naive_sum(0, out + 20, sizeof(answer4) - 20), 0xffff);
	assert_int_equal(unreachable_answer(packet6, sizeof(packet6), out), sizeof(answer6));
	memcpy(want, answer6, sizeof(want));
	memcpy(want + 40, "\1\3", 2);
	memcpy(want + 42, out + 42, 2); /* the sum */
	memset(want + 44, 0, 4);
	assert_memory_equal(out, want, sizeof(want));
	assert_int_equal(too_big_answer(packet, sizeof(packet), 1380, out), 0);
}

static void sums_right4(const uint8_t *a, size_t n)
{
	assert_int_equal(naive_sum(0, a, 20), 0xffff);
	assert_int_equal(naive_sum(0, a + 20, (uint32_t)n - 20), 0xffff);
}

static void sums_right6(const uint8_t *a, size_t n)
{
	uint32_t icmp = (uint32_t)n - 40;
	assert_int_equal(naive_sum(naive_sum(icmp + 58, a + 8, 32), a + 40, icmp), 0xffff);
}

/* Each length up to more than is quoted: whole answers within their bounds, and the packet in them. */
static void check_length(bool v6, uint32_t payload)
{
	static uint8_t packet[PACKET_MAX];
	uint8_t out[TOO_BIG_MAX + 1];
	struct spec s = { .v6 = v6, .frag = 0x4000, .payload = payload, .fill = 9 };
	uint32_t len = packet_build(&s, packet), hdr = v6 ? 48 : 28, most = v6 ? 1280 : 576;
	memset(out, 0xee, sizeof(out));
	size_t n = too_big_answer(packet, len, 1300, out);
	assert_int_equal(n, size_min(len + hdr, most));
	assert_memory_equal(out + hdr, packet, n - hdr);
	for (size_t i = n; i < sizeof(out); i++)
		assert_int_equal(out[i], 0xee);
	if (v6)
		sums_right6(out, n);
	else
		sums_right4(out, n);
	assert_int_equal(load_be16(out + (v6 ? 4 : 2)), v6 ? n - 40 : n);
}

static void test_lengths(void **state)
{
	(void)state;
	for (uint32_t payload = 0; payload <= 1400; payload++) {
		check_length(false, payload);
		check_length(true, payload);
	}
	check_length(false, 60000);
	check_length(true, 60000);
}

static void test_mtu(void **state)
{
	uint8_t out[TOO_BIG_MAX];
	(void)state;
	assert_true(too_big_answer(packet4, sizeof(packet4), 0x12345, out) > 0);
	assert_int_equal(load_be16(out + 26), 0xffff); /* more than its field can say */
	assert_int_equal(load_be16(out + 24), 0);
	assert_true(too_big_answer(packet6, sizeof(packet6), 0x12345, out) > 0);
	assert_int_equal(load_be32(out + 44), 0x12345);
	sums_right6(out, sizeof(answer6));
}

/* What `n` bytes at `at` of the packet above say instead; whether it is answered. */
struct row {
	const char *what;
	uint8_t at, n, bytes[16];
	bool answered;
};

static void check_rows(const uint8_t *packet, size_t len, const struct row *t, size_t n)
{
	uint8_t p[128], out[TOO_BIG_MAX];
	for (size_t i = 0; i < n; i++) {
		memcpy(p, packet, len);
		memcpy(p + t[i].at, t[i].bytes, t[i].n);
		if ((too_big_answer(p, len, 1300, out) > 0) != t[i].answered)
			fail_msg("%s", t[i].what);
	}
}

static void test_refusals4(void **state)
{
	static const struct row t[] = {
		{ "as it is", 0, 0, { 0 }, true },
		{ "no DF", 6, 2, { 0 }, false },
		{ "no DF, first fragment", 6, 2, { 0x20 }, false },
		{ "DF, first fragment", 6, 2, { 0x60 }, true },
		{ "DF, a later fragment", 6, 2, { 0x60, 1 }, false },
		{ "DF, the last fragment", 6, 2, { 0x50 }, false },
		{ "version 5", 0, 1, { 0x55 }, false },
		{ "header of 16", 0, 1, { 0x44 }, false },
		{ "header of 24", 0, 1, { 0x46 }, true },
		{ "header of 36", 0, 1, { 0x49 }, false },
		{ "longer than it is", 2, 2, { 0, 33 }, false },
		{ "shorter than it is", 2, 2, { 0, 31 }, false },
		{ "from 0.0.0.0", 12, 4, { 0 }, false },
		{ "from 0.1.2.3", 12, 1, { 0 }, false },
		{ "from loopback", 12, 1, { 127 }, false },
		{ "from multicast", 12, 1, { 224 }, false },
		{ "from the last multicast", 12, 1, { 239 }, false },
		{ "from broadcast", 12, 4, { 255, 255, 255, 255 }, false },
		{ "from below multicast", 12, 1, { 223 }, true },
		{ "from above multicast", 12, 1, { 240 }, true },
		{ "to 0.0.0.0", 16, 4, { 0 }, false },
		{ "to loopback", 16, 1, { 127 }, false },
		{ "to multicast", 16, 1, { 224 }, false },
		{ "to broadcast", 16, 4, { 255, 255, 255, 255 }, false },
		{ "TCP", 9, 1, { 6 }, true },
	};
	(void)state;
	check_rows(packet4, sizeof(packet4), t, ARRAY_SIZE(t));
}

static void test_refusals6(void **state)
{
	static const struct row t[] = {
		{ "as it is", 0, 0, { 0 }, true },
		{ "version 7", 0, 1, { 0x70 }, false },
		{ "longer than it is", 4, 2, { 0, 12 }, false },
		{ "shorter than it is", 4, 2, { 0, 10 }, false },
		{ "from ::", 8, 16, { 0 }, false },
		{ "from ::1", 8, 16, { [15] = 1 }, false },
		{ "from ::2", 8, 16, { [15] = 2 }, true },
		{ "from 1::", 8, 16, { [1] = 1 }, true },
		{ "from multicast", 8, 1, { 0xff }, false },
		{ "from link-local", 8, 2, { 0xfe, 0x80 }, true },
		{ "to ::", 24, 16, { 0 }, false },
		{ "to ::1", 24, 16, { [15] = 1 }, false },
		{ "to multicast", 24, 1, { 0xff }, false },
		{ "nothing follows", 6, 1, { 59 }, true },
		{ "ESP", 6, 1, { 50 }, true },
	};
	(void)state;
	check_rows(packet6, sizeof(packet6), t, ARRAY_SIZE(t));
}

/* Of ICMP, what tells of an error is not answered with one; each type there is. */
static void test_icmp4(void **state)
{
	uint8_t p[sizeof(packet4)], out[TOO_BIG_MAX];
	(void)state;
	memcpy(p, packet4, sizeof(p));
	p[9] = 1;
	for (int type = 0; type < 256; type++) {
		bool error = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
		p[20] = (uint8_t)type;
		assert_int_equal(too_big_answer(p, sizeof(p), 1300, out) == 0, error);
	}
	/* behind options; without even a type */
	p[0] = 0x46;
	p[20] = 3;
	p[24] = 8;
	assert_true(too_big_answer(p, sizeof(p), 1300, out) > 0);
	p[24] = 3;
	assert_int_equal(too_big_answer(p, sizeof(p), 1300, out), 0);
	p[0] = 0x45;
	p[3] = 20;
	assert_int_equal(too_big_answer(p, 20, 1300, out), 0);
}

/* An IPv6 packet of this payload, the first header of which is `next`. */
static size_t payload6(uint8_t *p, uint8_t next, const uint8_t *payload, size_t n)
{
	memcpy(p, packet6, 40);
	p[6] = next;
	store_be16(p + 4, (uint16_t)n);
	memcpy(p + 40, payload, n);
	return 40 + n;
}

static void test_icmp6(void **state)
{
	uint8_t p[128], out[TOO_BIG_MAX], icmp[8] = { 0 };
	(void)state;
	for (int type = 0; type < 256; type++) {
		icmp[0] = (uint8_t)type;
		size_t n = payload6(p, 58, icmp, 8);
		bool error = type < 128 || type == 137;
		assert_int_equal(too_big_answer(p, n, 1300, out) == 0, error);
	}
	assert_int_equal(too_big_answer(p, payload6(p, 58, icmp, 0), 1300, out), 0);
}

/* Headers before the ICMPv6: walked to its type. `n` bytes, whose first is of the kind `first`. */
static void test_extensions(void **state)
{
	static const struct {
		const char *what;
		uint8_t first, n, bytes[48];
		bool answered;
	} t[] = {
		{ "hop by hop, error", 0, 16, { 58, 0, [8] = 2 }, false },
		{ "hop by hop, echo", 0, 16, { 58, 0, [8] = 128 }, true },
		{ "routing of 16, error", 43, 24, { 58, 1, [16] = 1 }, false },
		{ "routing of 16, echo", 43, 24, { 58, 1, [8] = 1, [16] = 129 }, true },
		{ "options, error", 60, 16, { 58, 0, [8] = 3 }, false },
		{ "AH of 12, error", 51, 20, { 58, 1, [12] = 3 }, false },
		{ "AH of 12, echo", 51, 20, { 58, 1, [12] = 128 }, true },
		{ "first fragment, error", 44, 16, { 58, 99, 0, 1, [8] = 4 }, false },
		{ "first fragment, echo", 44, 16, { 58, 99, 0, 1, [8] = 128 }, true },
		{ "atomic fragment, reserved bits", 44, 16, { 58, 0, 0, 6, [8] = 128 }, true },
		{ "a later fragment", 44, 16, { 17, 0, 0, 8, [8] = 128 }, false },
		{ "the last fragment, far", 44, 16, { 58, 0, 0xff, 0xf8, [8] = 128 }, false },
		{ "three, error", 0, 32, { 60, 0, [8] = 43, [16] = 58, [24] = 1 }, false },
		{ "three, UDP", 0, 32, { 60, 0, [8] = 43, [16] = 17, [24] = 1 }, true },
		{ "hop by hop, ESP", 0, 16, { 50, 0, [8] = 1 }, true },
		{ "no bytes of the header", 0, 0, { 0 }, false },
		{ "one byte of it", 0, 1, { 58 }, false },
		{ "seven of its eight", 60, 7, { 58, 0 }, false },
		{ "longer than the packet", 60, 16, { 17, 2 }, false },
		{ "AH longer than the packet", 51, 16, { 17, 3 }, false },
		{ "half a fragment header", 44, 7, { 17, 0, 0, 1 }, false },
		{ "no type behind it", 0, 8, { 58, 0 }, false },
		{ "UDP, nothing of it", 0, 8, { 17, 0 }, true },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		uint8_t p[128], out[TOO_BIG_MAX];
		size_t n = payload6(p, t[i].first, t[i].bytes, t[i].n);
		if ((too_big_answer(p, n, 1300, out) > 0) != t[i].answered)
			fail_msg("%s", t[i].what);
	}
}

/* Less than a header, and random bytes in exactly as many: nothing beyond them is read (ASan). */
static void test_garbage(void **state)
{
	struct rng r = { 5 };
	(void)state;
	for (uint32_t i = 0; i < 200000; i++) {
		uint8_t out[TOO_BIG_MAX];
		uint32_t n = i < 64 ? i : rng_below(&r, 120);
		uint8_t *p = malloc(n ? n : 1);
		assert_non_null(p);
		for (uint32_t k = 0; k < n; k++)
			p[k] = (uint8_t)rng_next(&r);
		bool v6 = rng_below(&r, 2);
		if (n >= 40 && v6) {
			static const uint8_t next[] = { 0, 43, 44, 51, 58, 60, 17 };
			p[0] = 0x60;
			p[6] = next[rng_below(&r, 7)];
			p[40 % n] = next[rng_below(&r, 7)];
			store_be16(p + 4, (uint16_t)(n - 40));
		} else if (n >= 20) {
			p[0] = 0x45;
			p[6] = 0x40;
			p[7] = 0;
			store_be16(p + 2, (uint16_t)n);
		}
		size_t len = too_big_answer(p, n, 1300, out);
		assert_true(len == 0 || len == n + (v6 && n >= 40 ? 48 : 28));
		free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact),	   cmocka_unit_test(test_unreachable),
		cmocka_unit_test(test_lengths),	   cmocka_unit_test(test_mtu),
		cmocka_unit_test(test_refusals4),  cmocka_unit_test(test_refusals6),
		cmocka_unit_test(test_icmp4),	   cmocka_unit_test(test_icmp6),
		cmocka_unit_test(test_extensions), cmocka_unit_test(test_garbage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
