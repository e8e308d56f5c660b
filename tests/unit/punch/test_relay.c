/* SPDX-License-Identifier: Apache-2.0 */
/* The relay's side: what it forwards, to where, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <errno.h>
#include <cmocka.h>

#include "punch/link.h"

#define BOOT ((uint64_t)1800000000 * 1000000000)
enum { A = 5, B = 6, C = 70000, LEN = 96 };

static const uint8_t key_a[RELAY_KEY_LEN] = { 1 }, key_b[RELAY_KEY_LEN] = { 2 },
		     key_c[RELAY_KEY_LEN] = { 3 };
static struct endpoint at_a, at_b, at_elsewhere;

static struct relay_server *server(void)
{
	struct relay_server *s = relay_server_new(100, BOOT);
	assert_non_null(s);
	assert_true(endpoint_parse("198.51.100.1:1111", &at_a));
	assert_true(endpoint_parse("[2001:db8::2]:2222", &at_b));
	assert_true(endpoint_parse("203.0.113.9:999", &at_elsewhere));
	assert_int_equal(relay_server_set(s, A, key_a), 0);
	assert_int_equal(relay_server_set(s, B, key_b), 0);
	relay_server_address(s, B, &at_b);
	return s;
}

/* A message of `len` bytes with the datagram; the datagram's first byte is a WireGuard one. */
static void message(uint8_t *p, uint32_t src, uint32_t dst, uint64_t counter, const uint8_t *key)
{
	struct relay_msg m = { .destination = dst, .source = src, .counter = counter };
	for (unsigned i = 0; i < LEN - RELAY_HEADER_LEN; i++)
		p[RELAY_HEADER_LEN + i] = (uint8_t)(4 + i);
	relay_write(p, LEN - RELAY_HEADER_LEN, &m, key);
}

static enum drop send_at(struct relay_server *s, nsec now, uint64_t counter,
			 const struct endpoint *from)
{
	uint8_t p[LEN];
	struct endpoint to;
	message(p, A, B, counter, key_a);
	return relay_server_forward(s, now, from, p, LEN, &to);
}

static enum drop send(struct relay_server *s, uint64_t counter, const struct endpoint *from)
{
	return send_at(s, 0, counter, from);
}

/* Where the relay believes A to be. */
static struct endpoint where_is_a(struct relay_server *s, uint64_t counter_b)
{
	uint8_t p[LEN];
	struct endpoint to = { 0 };
	message(p, B, A, counter_b, key_b);
	assert_int_equal(relay_server_forward(s, 0, &at_b, p, LEN, &to), DROP_NONE);
	return to;
}

static void test_forwards(void **state)
{
	(void)state;
	struct relay_server *s = server();
	for (uint64_t i = 0; i < 3; i++) {
		uint8_t p[LEN], sent[LEN];
		struct endpoint to;
		struct relay_msg m;
		message(p, A, B, 100 + i, key_a);
		memcpy(sent, p, LEN);
		assert_int_equal(relay_server_forward(s, 0, &at_a, p, LEN, &to), DROP_NONE);
		assert_true(endpoint_eq(&to, &at_b));
		assert_int_equal(relay_peek(p, LEN, &m), DROP_NONE);
		assert_true(m.source == A && m.destination == B && m.counter == BOOT + i);
		assert_true(relay_mac_ok(p, LEN, key_b));
		assert_false(relay_mac_ok(p, LEN, key_a));
		assert_memory_equal(p + RELAY_HEADER_LEN, sent + RELAY_HEADER_LEN,
				    LEN - RELAY_HEADER_LEN);
	}
	assert_int_equal(relay_server_total(s).packets, 3);
	assert_int_equal(relay_server_total(s).bytes, 3 * (LEN - RELAY_HEADER_LEN));
	assert_int_equal(relay_server_sender(s, A).packets, 3);
	assert_int_equal(relay_server_sender(s, B).packets, 0);
	assert_int_equal(relay_server_sender(s, 12345).packets, 0);
	relay_server_free(s);
}

static void test_each_bit_counts(void **state)
{
	(void)state;
	struct relay_server *s = server();
	for (size_t bit = 0; bit < (RELAY_HEADER_LEN + RELAY_INNER_MIN) * 8; bit++) {
		uint8_t p[LEN], before[LEN];
		struct endpoint to;
		message(p, A, B, 1, key_a);
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		memcpy(before, p, LEN);
		assert_int_not_equal(relay_server_forward(s, 0, &at_elsewhere, p, LEN, &to),
				     DROP_NONE);
		assert_memory_equal(p, before, LEN); /* nothing was rewritten */
	}
	assert_int_equal(relay_server_total(s).packets, 0);
	assert_int_equal(send(s, 1, &at_a), DROP_NONE); /* nor was the counter used up */
	relay_server_free(s);
}

static void test_replays_and_addresses(void **state)
{
	(void)state;
	struct relay_server *s = server();
	assert_int_equal(send(s, 10, &at_a), DROP_NONE);
	struct endpoint a = where_is_a(s, 1);
	assert_true(endpoint_eq(&a, &at_a));
	/* the same again, from elsewhere: refused, nothing learnt */
	assert_int_equal(send(s, 10, &at_elsewhere), DROP_RELAY_REPLAY);
	/* a late one is forwarded, and moves nothing */
	assert_int_equal(send(s, 9, &at_elsewhere), DROP_NONE);
	a = where_is_a(s, 2);
	assert_true(endpoint_eq(&a, &at_a));
	/* a newer one moves */
	assert_int_equal(send(s, 11, &at_elsewhere), DROP_NONE);
	a = where_is_a(s, 3);
	assert_true(endpoint_eq(&a, &at_elsewhere));
	/* older than the window */
	assert_int_equal(send(s, 100000, &at_a), DROP_NONE);
	assert_int_equal(send(s, 12, &at_a), DROP_RELAY_REPLAY);
	/* setting the same key keeps the window; another key starts a new one */
	assert_int_equal(relay_server_set(s, A, key_a), 0);
	assert_int_equal(send(s, 100000, &at_a), DROP_RELAY_REPLAY);
	assert_int_equal(relay_server_set(s, A, key_c), 0);
	assert_int_equal(send(s, 100001, &at_a), DROP_RELAY_BAD_MAC);
	uint8_t p[LEN];
	struct endpoint to;
	message(p, A, B, 1, key_c);
	assert_int_equal(relay_server_forward(s, 0, &at_a, p, LEN, &to), DROP_NONE);
	relay_server_free(s);
}

static enum drop forward(struct relay_server *s, uint8_t *p, size_t len)
{
	struct endpoint to;
	return relay_server_forward(s, 0, &at_a, p, len, &to);
}

static void test_refusals(void **state)
{
	(void)state;
	struct relay_server *s = server();
	struct relay_msg m = { .destination = B, .source = A, .counter = 50 };
	uint8_t p[LEN];
	message(p, 77, B, 1, key_a);
	assert_int_equal(forward(s, p, LEN), DROP_RELAY_UNKNOWN_MEMBER);
	message(p, A, 77, 1, key_a);
	assert_int_equal(forward(s, p, LEN), DROP_RELAY_UNKNOWN_MEMBER);
	message(p, A, A, 2, key_a);
	assert_int_equal(forward(s, p, LEN), DROP_RELAY_REFUSED);
	message(p, A, B, 3, key_b); /* B's key does not speak for A */
	assert_int_equal(forward(s, p, LEN), DROP_RELAY_BAD_MAC);
	assert_int_equal(relay_server_set(s, C, key_c), 0);
	message(p, A, C, 4, key_a);
	assert_int_equal(forward(s, p, LEN), DROP_RELAY_NO_ADDRESS);
	message(p, A, B, 5, key_a); /* a relay message in a relay message: a loop */
	p[RELAY_HEADER_LEN] = OUTER_TYPE_RELAY;
	relay_write(p, LEN - RELAY_HEADER_LEN, &m, key_a);
	assert_int_equal(forward(s, p, LEN), DROP_RELAY_REFUSED);
	for (size_t len = 0; len < RELAY_HEADER_LEN + RELAY_INNER_MIN; len++)
		assert_int_equal(forward(s, p, len), DROP_OUTER_BAD_LENGTH);
	p[1] = 9;
	assert_int_equal(forward(s, p, LEN), DROP_OUTER_VERSION);
	relay_server_remove(s, A);
	message(p, A, B, 60, key_a);
	assert_int_equal(forward(s, p, LEN), DROP_RELAY_UNKNOWN_MEMBER);
	relay_server_free(s);
}

static void test_rate(void **state)
{
	(void)state;
	struct relay_server *s = server();
	uint64_t counter = 0;
	relay_server_limit(s, 100 * LEN, 10 * LEN);
	for (nsec now = 0; now <= 2 * NSEC_PER_SEC; now += NSEC_PER_MSEC) {
		for (int i = 0; i < 5; i++) {
			uint8_t p[LEN];
			struct endpoint to;
			message(p, A, B, counter++, key_a);
			enum drop why = relay_server_forward(s, now, &at_a, p, LEN, &to);
			assert_true(why == DROP_NONE || why == DROP_RELAY_RATE);
		}
	}
	uint64_t n = relay_server_total(s).packets;
	assert_true(n >= 208 && n <= 211); /* the burst, and 2 s at 100 a second */
	/* the other sender is not touched by it */
	struct endpoint a = where_is_a(s, 1);
	assert_true(endpoint_eq(&a, &at_a));
	/* extremes neither overflow nor divide by zero */
	relay_server_limit(s, 0, 0);
	assert_int_equal(send_at(s, 9 * NSEC_PER_SEC, counter++, &at_a), DROP_RELAY_RATE);
	relay_server_limit(s, UINT64_MAX, UINT64_MAX);
	assert_int_equal(send_at(s, 9 * NSEC_PER_SEC, counter++, &at_a), DROP_NONE);
	relay_server_free(s);
}

/* What B's receive window sees never goes back: not by leaving and returning, not by a restart. */
static void test_counters_go_on(void **state)
{
	(void)state;
	struct relay_server *s = server();
	uint64_t last = 0, counter = 0;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 10; i++) {
			uint8_t p[LEN];
			struct endpoint to;
			struct relay_msg m;
			message(p, A, B, counter++, key_a);
			assert_int_equal(relay_server_forward(s, 0, &at_a, p, LEN, &to), DROP_NONE);
			assert_int_equal(relay_peek(p, LEN, &m), DROP_NONE);
			assert_true(m.counter > last);
			last = m.counter;
		}
		relay_server_remove(s, B);
		assert_int_equal(relay_server_set(s, B, key_b), 0);
		relay_server_address(s, B, &at_b);
	}
	relay_server_free(s);
}

static void test_full(void **state)
{
	(void)state;
	struct relay_server *s = relay_server_new(3, BOOT);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(relay_server_set(s, i * 16, key_a),
				 0); /* one chain of the table */
	assert_int_equal(relay_server_set(s, 99, key_a), -ENOSPC);
	assert_int_equal(relay_server_set(s, 16, key_b), 0);
	relay_server_remove(s, 16);
	relay_server_remove(s, 16);
	relay_server_address(s, 16, &at_a);
	assert_int_equal(relay_server_set(s, 99, key_a), 0);
	relay_server_free(s);
	relay_server_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forwards),
		cmocka_unit_test(test_each_bit_counts),
		cmocka_unit_test(test_replays_and_addresses),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_counters_go_on),
		cmocka_unit_test(test_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
