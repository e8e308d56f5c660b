/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outer codecs against bytes that another implementation wrote (tests/fixtures/v1, made with
 * Python's BLAKE2s and a SipHash after its paper). These files never change: each later release must
 * still read them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "punch/outer.h"

static uint8_t key[OUTER_KEY_LEN], relay_key[RELAY_KEY_LEN], txid[TXID_LEN];

#define BOOT 0x0123456789abcdefu

static size_t fixture(const char *name, uint8_t *out, size_t cap)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s.bin", FIXTURES, name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(out, 1, cap, f);
	fclose(f);
	return n;
}

static int setup(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	for (unsigned i = 0; i < sizeof(relay_key); i++)
		relay_key[i] = (uint8_t)(0x40 + i);
	for (unsigned i = 0; i < sizeof(txid); i++)
		txid[i] = (uint8_t)(0xa0 + i);
	return 0;
}

static struct outer_msg fixture_ping(uint64_t counter, uint16_t tlv_len)
{
	struct outer_msg m = { .type = OUTER_TYPE_PING,
			       .sender = 7,
			       .receiver = 9,
			       .boot = BOOT,
			       .counter = counter,
			       .tlv_len = tlv_len };
	memcpy(m.txid, txid, TXID_LEN);
	return m;
}

static void check_msg(const struct outer_msg *a, const struct outer_msg *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->sender, b->sender);
	assert_int_equal(a->receiver, b->receiver);
	assert_true(a->boot == b->boot && a->counter == b->counter);
	assert_memory_equal(a->txid, b->txid, TXID_LEN);
	assert_true(endpoint_eq(&a->observed, &b->observed));
	assert_int_equal(a->tlv_len, b->tlv_len);
}

/* Reads the fixture, and, where `writes`, writes the same bytes. */
static void check_fixture(const char *name, const struct outer_msg *want, bool writes)
{
	uint8_t bytes[512], again[OUTER_MAX];
	struct outer_msg got;
	size_t n = fixture(name, bytes, sizeof(bytes));
	assert_int_equal(outer_parse(bytes, n, key, &got), DROP_NONE);
	check_msg(&got, want);
	if (!writes)
		return;
	assert_int_equal(outer_write(want, key, again, sizeof(again)), n);
	assert_memory_equal(again, bytes, n);
}

static void test_fixtures(void **state)
{
	(void)state;
	struct outer_msg m = fixture_ping(1, 0);
	check_fixture("outer-ping", &m, true);
	m = fixture_ping(4, 24);
	check_fixture("outer-ping-padded", &m, true);
	m = fixture_ping(5, 13);
	check_fixture("outer-ping-unknown-tlv", &m, false);

	m = fixture_ping(2, 0);
	m.type = OUTER_TYPE_PONG;
	m.sender = 9;
	m.receiver = 7;
	m.boot = BOOT + 1;
	assert_true(endpoint_parse("198.51.100.7:51820", &m.observed));
	check_fixture("outer-pong-ipv4", &m, true);
	m.counter = 3;
	assert_true(endpoint_parse("[2001:db8::1]:65535", &m.observed));
	check_fixture("outer-pong-ipv6", &m, true);
}

static void test_critical_tlv_is_refused(void **state)
{
	(void)state;
	uint8_t bytes[512];
	struct outer_msg m;
	size_t n = fixture("outer-ping-critical-tlv", bytes, sizeof(bytes));
	assert_int_equal(outer_parse(bytes, n, key, &m), DROP_OUTER_VERSION);
}

static void test_relay_fixtures(void **state)
{
	(void)state;
	static const char *const names[] = { "relay-data", "relay-ping" };
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		uint8_t bytes[512], again[512];
		struct relay_msg m;
		size_t n = fixture(names[i], bytes, sizeof(bytes));
		assert_int_equal(relay_peek(bytes, n, &m), DROP_NONE);
		assert_int_equal(m.destination, 9);
		assert_int_equal(m.source, 7);
		assert_true(m.counter == 0x1122334455667788u + i);
		assert_true(relay_mac_ok(bytes, n, relay_key));
		memcpy(again, bytes, n);
		memset(again, 0xee, RELAY_HEADER_LEN);
		relay_write(again, n - RELAY_HEADER_LEN, &m, relay_key);
		assert_memory_equal(again, bytes, n);
	}
}

/* The last byte of the copy stands before a page that may not be touched. */
static uint8_t *guarded(const uint8_t *p, size_t len)
{
	static uint8_t *pages;
	if (!pages) {
		pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);
		assert_ptr_not_equal(pages, MAP_FAILED);
		assert_int_equal(mprotect(pages + 4096, 4096, PROT_NONE), 0);
	}
	if (len)
		memcpy(pages + 4096 - len, p, len);
	return pages + 4096 - len;
}

static void parse_all(const uint8_t *p, size_t len, bool good)
{
	struct outer_msg m;
	struct relay_msg r;
	enum drop why;
	enum outer_kind kind = outer_classify(p, len, &why);
	assert_int_equal(kind == OUTER_NONE, why != DROP_NONE);
	if (good)
		assert_int_not_equal(kind, OUTER_NONE);
	else if (kind == OUTER_PING || kind == OUTER_PONG)
		assert_int_not_equal(outer_parse(p, len, key, &m), DROP_NONE);
	else if (kind == OUTER_RELAY && relay_peek(p, len, &r) == DROP_NONE)
		assert_false(relay_mac_ok(p, len, relay_key));
}

/* Each length but the right one dies, with the bytes flush against a forbidden page. */
static void test_every_length(void **state)
{
	(void)state;
	static const char *const names[] = { "outer-ping", "outer-pong-ipv4", "outer-ping-padded",
					     "relay-data" };
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		uint8_t bytes[512] = { 0 };
		size_t n = fixture(names[i], bytes, sizeof(bytes));
		for (size_t len = 0; len <= 300; len++)
			parse_all(guarded(bytes, len), len, len == n);
	}
}

/* Each bit is under the MAC, or is the type or version. */
static void test_every_bit(void **state)
{
	(void)state;
	static const char *const names[] = { "outer-ping", "outer-pong-ipv6", "outer-ping-padded" };
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		uint8_t bytes[512];
		size_t n = fixture(names[i], bytes, sizeof(bytes));
		for (size_t bit = 0; bit < n * 8; bit++) {
			struct outer_msg m;
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_not_equal(outer_parse(guarded(bytes, n), n, key, &m), DROP_NONE);
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

/* Of a relay message: the header and the datagram's first 16 bytes. */
static void test_every_relay_bit(void **state)
{
	(void)state;
	uint8_t bytes[512];
	size_t n = fixture("relay-data", bytes, sizeof(bytes));
	for (size_t bit = 0; bit < n * 8; bit++) {
		struct relay_msg m;
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		bool ok =
			relay_peek(bytes, n, &m) == DROP_NONE && relay_mac_ok(bytes, n, relay_key);
		assert_int_equal(ok, bit / 8 >= RELAY_HEADER_LEN + RELAY_INNER_MIN);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void test_classify(void **state)
{
	(void)state;
	static const struct {
		uint8_t head[8];
		size_t len;
		enum outer_kind kind;
		enum drop why;
	} cases[] = {
		{ { 1 }, 148, OUTER_WG_HANDSHAKE, DROP_NONE },
		{ { 1 }, 147, OUTER_NONE, DROP_OUTER_BAD_LENGTH },
		{ { 1 }, 149, OUTER_NONE, DROP_OUTER_BAD_LENGTH },
		{ { 2 }, 92, OUTER_WG_HANDSHAKE, DROP_NONE },
		{ { 3 }, 64, OUTER_WG_HANDSHAKE, DROP_NONE },
		{ { 3 }, 65, OUTER_NONE, DROP_OUTER_BAD_LENGTH },
		{ { 4 }, 32, OUTER_WG_DATA, DROP_NONE },
		{ { 4 }, 31, OUTER_NONE, DROP_OUTER_BAD_LENGTH },
		{ { 4 }, 1999, OUTER_WG_DATA, DROP_NONE },
		{ { 4, 1 }, 1999, OUTER_NONE, DROP_OUTER_UNKNOWN_TYPE },
		{ { 5 }, 148, OUTER_NONE, DROP_OUTER_UNKNOWN_TYPE },
		{ { 0 }, 20, OUTER_NONE, DROP_OUTER_UNKNOWN_TYPE },
		{ { 0 }, 3, OUTER_NONE, DROP_OUTER_BAD_LENGTH },
		{ { 0 }, 0, OUTER_NONE, DROP_OUTER_BAD_LENGTH },
		{ { 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42 }, 20, OUTER_STUN, DROP_NONE },
		{ { 1, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42 }, 28, OUTER_STUN, DROP_NONE },
		{ { 1, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42 }, 27, OUTER_NONE, DROP_OUTER_UNKNOWN_TYPE },
		{ { 1, 1, 0, 8, 0x21, 0x12, 0xa4, 0x43 }, 28, OUTER_NONE, DROP_OUTER_UNKNOWN_TYPE },
		{ { 0x41, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42 },
		  20,
		  OUTER_NONE,
		  DROP_OUTER_UNKNOWN_TYPE },
		{ { 0x80, 1 }, 76, OUTER_PING, DROP_NONE },
		{ { 0x81, 1 }, 76, OUTER_PONG, DROP_NONE },
		{ { 0x80, 1 }, 77, OUTER_NONE, DROP_OUTER_BAD_LENGTH },
		{ { 0x80, 1 }, 75, OUTER_NONE, DROP_OUTER_BAD_LENGTH },
		{ { 0x80, 0 }, 76, OUTER_NONE, DROP_OUTER_VERSION },
		{ { 0x81, 2 }, 4, OUTER_NONE, DROP_OUTER_VERSION },
		{ { 0x82, 1 }, 76, OUTER_NONE, DROP_OUTER_UNKNOWN_TYPE },
		{ { 0x90, 1 }, 28 + 16, OUTER_RELAY, DROP_NONE },
		{ { 0x90, 1 }, 28 + 15, OUTER_NONE, DROP_OUTER_BAD_LENGTH },
		{ { 0x90, 3 }, 28 + 16, OUTER_NONE, DROP_OUTER_VERSION },
		{ { 0xff }, 76, OUTER_NONE, DROP_OUTER_UNKNOWN_TYPE },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[2000] = { 0 };
		enum drop why;
		memcpy(bytes, cases[i].head, 8);
		enum outer_kind kind =
			outer_classify(guarded(bytes, cases[i].len), cases[i].len, &why);
		if (kind != cases[i].kind || why != cases[i].why)
			fail_msg("case %u: kind %d, %s", i, (int)kind, drop_name(why));
	}
}

static void test_longest(void **state)
{
	(void)state;
	uint8_t p[OUTER_MAX + 1] = { OUTER_TYPE_PING, OUTER_VERSION };
	enum drop why;
	store_be16(p + 58, OUTER_MAX - OUTER_PING_LEN);
	assert_int_equal(outer_classify(p, OUTER_MAX, &why), OUTER_PING);
	store_be16(p + 58, OUTER_MAX + 1 - OUTER_PING_LEN);
	assert_int_equal(outer_classify(p, OUTER_MAX + 1, &why), OUTER_NONE);
	assert_int_equal(why, DROP_OUTER_BAD_LENGTH);
}

static void test_write_bounds(void **state)
{
	(void)state;
	uint8_t out[OUTER_MAX + 64];
	struct outer_msg m = fixture_ping(1, 0);
	for (size_t cap = 0; cap < OUTER_PING_LEN; cap++)
		assert_int_equal(outer_write(&m, key, guarded(out, cap), cap), 0);
	assert_int_equal(outer_write(&m, key, out, sizeof(out)), OUTER_PING_LEN);
	m.tlv_len = 3; /* no TLV is so short */
	assert_int_equal(outer_write(&m, key, out, sizeof(out)), 0);
	m.tlv_len = OUTER_MAX - OUTER_PING_LEN;
	assert_int_equal(outer_write(&m, key, out, sizeof(out)), OUTER_MAX);
	m.tlv_len++;
	assert_int_equal(outer_write(&m, key, out, sizeof(out)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixtures),
		cmocka_unit_test(test_critical_tlv_is_refused),
		cmocka_unit_test(test_relay_fixtures),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_every_relay_bit),
		cmocka_unit_test(test_classify),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_write_bounds),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
