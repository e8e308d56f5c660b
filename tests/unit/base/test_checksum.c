/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sum against RFC 1071 written down byte by byte, at every length and alignment that matters.
 */
#include "base/checksum.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint8_t bytes[70000];

static uint16_t naive(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

/* Memory order to host order. */
static uint16_t folded(uint64_t sum)
{
	uint16_t v = csum_fold(sum);
	uint8_t b[2];
	memcpy(b, &v, 2);
	return (uint16_t)(b[0] << 8 | b[1]);
}

static void fill(uint64_t seed)
{
	for (size_t i = 0; i < sizeof(bytes); i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (uint8_t)(seed >> 56);
	}
}

/* 0 and 0xffff are one number; the sum of bytes that are not all zero is never 0. */
static void each_length_and_alignment(void **state)
{
	(void)state;
	fill(1);
	for (size_t n = 0; n < 400; n++)
		for (size_t at = 0; at < 33; at++)
			assert_int_equal(folded(csum_add(0, bytes + at, n)),
					 naive(0, bytes + at, n));
	for (size_t n = 65000; n < 65600; n += 7)
		assert_int_equal(folded(csum_add(0, bytes + 1, n)), naive(0, bytes + 1, n));
}

/* All ones is where a lost carry shows. */
static void all_ones(void **state)
{
	(void)state;
	memset(bytes, 0xff, sizeof(bytes));
	for (size_t n = 1; n < 300; n++)
		assert_int_equal(folded(csum_add(UINT64_MAX, bytes, n)), naive(0xffff, bytes, n));
	assert_int_equal(folded(csum_add(UINT64_MAX, bytes, sizeof(bytes))), 0xffff);
	assert_int_equal(csum_fold(UINT64_MAX), 0xffff);
	assert_int_equal(csum_fold(0xffff0000ffff0001u), 1);
	assert_int_equal(csum_fold(0), 0);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(csum_fold(csum_add(0, bytes, sizeof(bytes))), 0);
}

/* Pieces at even offsets add up to the whole. */
static void pieces(void **state)
{
	(void)state;
	fill(2);
	for (size_t n = 2; n < 600; n += 13)
		for (size_t cut = 0; cut <= n; cut += 2)
			assert_int_equal(
				folded(csum_add(csum_add(0, bytes, cut), bytes + cut, n - cut)),
				naive(0, bytes, n));
}

/* The example of RFC 1071, section 3. */
static void rfc_1071(void **state)
{
	(void)state;
	static const uint8_t p[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	assert_int_equal(folded(csum_add(0, p, sizeof(p))), 0xddf2);
}

static void pseudo_headers(void **state)
{
	(void)state;
	uint8_t flat[40] = { 0 };
	fill(3);
	memcpy(flat, bytes, 8);
	memcpy(flat + 8, (const uint8_t[]){ 0, 17, 0x05, 0x78 }, 4);
	assert_int_equal(folded(csum_pseudo(bytes, bytes + 4, 4, 17, 1400)), naive(0, flat, 12));
	memcpy(flat, bytes, 32);
	memcpy(flat + 32, (const uint8_t[]){ 0, 1, 0x11, 0x70, 0, 0, 0, 6 }, 8);
	assert_int_equal(folded(csum_pseudo(bytes, bytes + 16, 16, 6, 70000)), naive(0, flat, 40));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_length_and_alignment),
		cmocka_unit_test(all_ones),
		cmocka_unit_test(pieces),
		cmocka_unit_test(rfc_1071),
		cmocka_unit_test(pseudo_headers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
