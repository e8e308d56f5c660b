/* SPDX-License-Identifier: Apache-2.0 */
/* Readers and writers, with their bytes flush against a page that must not be touched. */
#include "base/bytes.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

static uint8_t *page; /* readable; the next one is not */
static size_t page_size;

static int setup(void **ignored)
{
	(void)ignored;
	page_size = (size_t)sysconf(_SC_PAGESIZE);
	page = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	if (page == MAP_FAILED)
		return -1;
	return mprotect(page + page_size, page_size, PROT_NONE);
}

static int teardown(void **ignored)
{
	(void)ignored;
	return munmap(page, 2 * page_size);
}

/* `n` bytes that end where the page does. */
static uint8_t *flush_end(size_t n)
{
	return page + page_size - n;
}

static uint8_t *put(const void *p, size_t n)
{
	return n ? memcpy(flush_end(n), p, n) : flush_end(0);
}

static void loads_and_stores(void **ignored)
{
	uint8_t b[8];
	(void)ignored;
	static const uint8_t seq[8] = { 0x81, 2, 3, 4, 5, 6, 7, 0xf8 };
	assert_true(load_be16(seq) == 0x8102);
	assert_true(load_be32(seq) == 0x81020304);
	assert_true(load_be64(seq) == 0x81020304050607f8);
	assert_true(load_le32(seq) == 0x04030281);
	assert_true(load_le64(seq) == 0xf807060504030281);
	store_be16(b, 0x8102);
	assert_memory_equal(b, seq, 2);
	store_be32(b, 0x81020304);
	assert_memory_equal(b, seq, 4);
	store_be64(b, 0x81020304050607f8);
	assert_memory_equal(b, seq, 8);
	store_le32(b, 0x04030281);
	assert_memory_equal(b, seq, 4);
	store_le64(b, 0xf807060504030281);
	assert_memory_equal(b, seq, 8);
}

static void reads_in_order(void **ignored)
{
	static const uint8_t in[18] = { 1,  2,	3,  4,	5,  6,	7,  8,	9,
					10, 11, 12, 13, 14, 15, 16, 17, 18 };
	uint8_t got[3];
	(void)ignored;
	struct rd r = rd_of(put(in, sizeof(in)), sizeof(in));
	assert_int_equal(rd_u8(&r), 1);
	assert_int_equal(rd_be16(&r), 0x0203);
	assert_int_equal(rd_be32(&r), 0x04050607);
	assert_true(rd_be64(&r) == 0x08090a0b0c0d0e0f);
	assert_false(rd_done(&r));
	rd_bytes(&r, got, 3);
	assert_memory_equal(got, "\x10\x11\x12", 3);
	assert_true(rd_ok(&r));
	assert_true(rd_done(&r));
}

/* Each read of `width` with fewer bytes left gives zero, and everything after it too. */
static void reads_past_the_end(void **ignored)
{
	static const uint8_t ones[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	(void)ignored;
	for (size_t len = 0; len < 8; len++) {
		for (unsigned kind = 0; kind < 5; kind++) {
			static const size_t width[] = { 1, 2, 4, 8, 6 };
			uint8_t six[6] = { 1, 1, 1, 1, 1, 1 };
			uint64_t v = 0;
			struct rd r = rd_of(put(ones, len), len);
			switch (kind) {
			case 0:
				v = rd_u8(&r);
				break;
			case 1:
				v = rd_be16(&r);
				break;
			case 2:
				v = rd_be32(&r);
				break;
			case 3:
				v = rd_be64(&r);
				break;
			default:
				rd_bytes(&r, six, 6);
				v = load_be32(six) | six[4] | six[5];
			}
			assert_int_equal(rd_ok(&r), width[kind] <= len);
			if (rd_ok(&r)) {
				assert_true(v != 0);
				continue;
			}
			assert_true(v == 0);
			assert_int_equal(rd_u8(&r), 0); /* though there may be a byte left */
			assert_null(rd_take(&r, 0));
			assert_false(rd_done(&r));
		}
	}
}

static void sizes_that_wrap(void **ignored)
{
	(void)ignored;
	struct rd r = rd_of(flush_end(4), 4);
	assert_null(rd_take(&r, SIZE_MAX));
	assert_false(rd_ok(&r));
	r = rd_of(flush_end(4), 4);
	struct rd sub = rd_sub(&r, SIZE_MAX - 1);
	assert_false(rd_ok(&sub));
	assert_false(rd_ok(&r));
	struct wr w = wr_of(flush_end(4), 4);
	wr_u8(&w, 1);
	wr_zeros(&w, SIZE_MAX);
	assert_false(wr_ok(&w));
	assert_int_equal(w.len, 1);
}

static void sub_readers(void **ignored)
{
	static const uint8_t in[4] = { 1, 2, 3, 4 };
	(void)ignored;
	struct rd r = rd_of(put(in, 4), 4);
	struct rd sub = rd_sub(&r, 2);
	assert_int_equal(rd_be16(&sub), 0x0102);
	assert_true(rd_done(&sub));
	assert_int_equal(rd_u8(&sub), 0); /* its end is not the outer's */
	assert_false(rd_ok(&sub));
	assert_int_equal(rd_be16(&r), 0x0304);
	assert_true(rd_done(&r));
	struct rd empty = rd_sub(&r, 0);
	assert_true(rd_done(&empty));
	rd_fail(&r);
	assert_false(rd_ok(&r));
	empty = rd_of(NULL, 0);
	assert_true(rd_done(&empty));
}

static void writes(void **ignored)
{
	static const uint8_t want[17] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0 };
	(void)ignored;
	struct wr w = wr_of(flush_end(sizeof(want)), sizeof(want));
	memset(w.base, 0xff, sizeof(want));
	wr_u8(&w, 1);
	wr_be16(&w, 0x0203);
	wr_be32(&w, 0x04050607);
	wr_be64(&w, 0x08090a0b0c0d0e0f);
	wr_zeros(&w, 2);
	wr_bytes(&w, NULL, 0);
	assert_true(wr_ok(&w));
	assert_int_equal(w.len, sizeof(want));
	assert_memory_equal(w.base, want, sizeof(want));
	wr_u8(&w, 1); /* one too many */
	assert_false(wr_ok(&w));
	assert_int_equal(w.len, sizeof(want));
}

/* What does not fit is not written in part, and nothing after it is written at all. */
static void writes_that_do_not_fit(void **ignored)
{
	(void)ignored;
	for (size_t cap = 0; cap < 8; cap++) {
		struct wr w = wr_of(flush_end(cap), cap);
		memset(flush_end(cap), 0xaa, cap);
		wr_be64(&w, 0x0102030405060708);
		wr_be32(&w, 1);
		wr_be16(&w, 1);
		wr_u8(&w, 1);
		assert_false(wr_ok(&w));
		assert_int_equal(w.len, 0);
		for (size_t i = 0; i < cap; i++)
			assert_int_equal(flush_end(cap)[i], 0xaa);
	}
}

static void tlvs_both_ways(void **ignored)
{
	uint8_t buf[64];
	struct tlv t;
	(void)ignored;
	struct wr w = wr_of(buf, sizeof(buf));
	wr_tlv(&w, 7, "abc", 3);
	size_t outer = wr_tlv_begin(&w, 8 | TLV_CRITICAL);
	wr_tlv(&w, 9, NULL, 0);
	wr_be16(&w, 0x1234);
	wr_tlv_end(&w, outer);
	assert_true(wr_ok(&w));
	assert_int_equal(w.len, 7 + 4 + 4 + 2);

	struct rd r = rd_of(put(buf, w.len), w.len);
	assert_true(rd_tlv(&r, &t));
	assert_int_equal(t.type, 7);
	assert_false(t.critical);
	assert_int_equal(t.value.left, 3);
	assert_memory_equal(rd_take(&t.value, 3), "abc", 3);
	assert_true(rd_tlv(&r, &t));
	assert_int_equal(t.type, 8);
	assert_true(t.critical);
	struct rd inner = t.value;
	assert_true(rd_tlv(&inner, &t));
	assert_int_equal(t.type, 9);
	assert_true(rd_done(&t.value));
	assert_int_equal(rd_be16(&inner), 0x1234);
	assert_true(rd_done(&inner));
	assert_false(rd_tlv(&r, &t));
	assert_true(rd_done(&r)); /* the end, not a failure */
}

static void tlvs_cut_short(void **ignored)
{
	static const uint8_t whole[] = { 0x80, 1, 0, 3, 'a', 'b', 'c' };
	(void)ignored;
	for (size_t len = 1; len < sizeof(whole); len++) {
		struct tlv t;
		struct rd r = rd_of(put(whole, len), len);
		assert_false(rd_tlv(&r, &t));
		assert_false(rd_ok(&r));
		assert_false(rd_ok(&t.value));
	}
}

static void a_tlv_too_long(void **ignored)
{
	static uint8_t buf[70000];
	(void)ignored;
	struct wr w = wr_of(buf, sizeof(buf));
	size_t mark = wr_tlv_begin(&w, 1);
	wr_zeros(&w, UINT16_MAX);
	wr_tlv_end(&w, mark);
	assert_true(wr_ok(&w));
	w = wr_of(buf, sizeof(buf));
	mark = wr_tlv_begin(&w, 1);
	wr_zeros(&w, UINT16_MAX + 1);
	wr_tlv_end(&w, mark);
	assert_false(wr_ok(&w));
	w = wr_of(buf, 3); /* not even its head fits */
	wr_tlv(&w, 1, "x", 1);
	assert_false(wr_ok(&w));
}

/* Any bytes, cut anywhere: a walk over TLVs ends, inside its bytes. */
static void random_tlvs(void **ignored)
{
	uint64_t state = 20260101;
	(void)ignored;
	for (unsigned round = 0; round < 20000; round++) {
		uint8_t in[48];
		size_t len = round % sizeof(in), seen = 0;
		for (size_t i = 0; i < len; i++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			in[i] = (uint8_t)((state >> 40) & ((state >> 60) < 12 ? 0x07 : 0xff));
		}
		struct rd r = rd_of(put(in, len), len);
		for (struct tlv t; rd_tlv(&r, &t); seen += 4) {
			while (t.value.left) {
				(void)rd_u8(&t.value);
				seen++;
			}
			if (!rd_done(&t.value))
				fail_msg("seed 20260101, round %u", round);
		}
		if (seen > len || (rd_ok(&r) && seen != len))
			fail_msg("seed 20260101, round %u: %zu of %zu", round, seen, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads_and_stores),
		cmocka_unit_test(reads_in_order),
		cmocka_unit_test(reads_past_the_end),
		cmocka_unit_test(sizes_that_wrap),
		cmocka_unit_test(sub_readers),
		cmocka_unit_test(writes),
		cmocka_unit_test(writes_that_do_not_fit),
		cmocka_unit_test(tlvs_both_ways),
		cmocka_unit_test(tlvs_cut_short),
		cmocka_unit_test(a_tlv_too_long),
		cmocka_unit_test(random_tlvs),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
