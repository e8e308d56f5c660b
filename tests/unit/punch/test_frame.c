/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In-tunnel frames, against bytes that Python's struct wrote (tests/fixtures/v1). These files never
 * change: each later release must still read them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "punch/frame.h"

static const struct frame_hello hello = { .flags = HELLO_ANSWER,
					  .capabilities = HELLO_PATH_MTU | HELLO_FRAGMENTS,
					  .largest = 9000 };
static const struct frame_probe probe = {
	.size = 1472, .path = 0x01020304, .number = 0x0a0b0c0d, .watch = 1392
};
static const struct frame_ack ack = { .path = 0x01020304,
				      .newest = 0x0a0b0c0d,
				      .seen = 0xf123456789abcdef,
				      .watch = 1392,
				      .count = 0x00010203 };

static size_t fixture(const char *name, uint8_t *out, size_t cap)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/frame-%s.bin", FIXTURES, name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(out, 1, cap, f);
	fclose(f);
	return n;
}

static void check_hello(const struct frame_hello *f)
{
	assert_int_equal(f->flags, hello.flags);
	assert_int_equal(f->capabilities, hello.capabilities);
	assert_int_equal(f->largest, hello.largest);
}

static void check_probe(const struct frame_probe *f)
{
	assert_int_equal(f->size, probe.size);
	assert_int_equal(f->path, probe.path);
	assert_int_equal(f->number, probe.number);
	assert_int_equal(f->watch, probe.watch);
}

static void check_ack(const struct frame_ack *f)
{
	assert_int_equal(f->path, ack.path);
	assert_int_equal(f->newest, ack.newest);
	assert_true(f->seen == ack.seen);
	assert_int_equal(f->watch, ack.watch);
	assert_int_equal(f->count, ack.count);
}

static void test_fixtures(void **state)
{
	(void)state;
	uint8_t in[64], out[PROBE_LEN];
	struct frame_hello h;
	struct frame_probe p;
	struct frame_ack a;
	size_t n = fixture("hello", in, sizeof(in));
	assert_int_equal(n, HELLO_LEN);
	assert_int_equal(frame_hello_parse(in, n, &h), DROP_NONE);
	check_hello(&h);
	frame_hello_write(&hello, out);
	assert_memory_equal(out, in, HELLO_LEN);

	n = fixture("probe", in, sizeof(in));
	assert_int_equal(n, PROBE_LEN);
	assert_int_equal(frame_probe_parse(in, n, &p), DROP_NONE);
	check_probe(&p);
	frame_probe_write(&probe, out);
	assert_memory_equal(out, in, PROBE_LEN);

	n = fixture("probe-ack", in, sizeof(in));
	assert_int_equal(n, PROBE_ACK_LEN);
	assert_int_equal(frame_ack_parse(in, n, &a), DROP_NONE);
	check_ack(&a);
	frame_ack_write(&ack, out);
	assert_memory_equal(out, in, PROBE_ACK_LEN);
}

/* What a later release may say: more fields, which are skipped; another version, which is refused. */
static void test_later(void **state)
{
	(void)state;
	uint8_t in[64];
	struct frame_hello h;
	size_t n = fixture("hello-longer", in, sizeof(in));
	assert_true(n > HELLO_LEN);
	assert_int_equal(frame_hello_parse(in, n, &h), DROP_NONE);
	check_hello(&h);
	n = fixture("hello-version-2", in, sizeof(in));
	assert_int_equal(frame_hello_parse(in, n, &h), DROP_FRAME_VERSION);
	assert_int_equal(frame_hello_parse(in, 2, &h), DROP_FRAME_VERSION);
}

/* Each length below the full one, in memory of just that size, so that ASan sees one byte too many. */
#define CHECK_LENGTHS(kind, full, value)                                                           \
	do {                                                                                       \
		uint8_t whole[full];                                                               \
		struct frame_##kind out;                                                           \
		frame_##kind##_write(&(value), whole);                                             \
		for (size_t len = 0; len <= (full) + 8; len++) {                                   \
			uint8_t *p = calloc(1, len ? len : 1);                                     \
			memcpy(p, whole, size_min(len, full));                                     \
			assert_int_equal(frame_##kind##_parse(p, len, &out),                       \
					 len < (full) ? DROP_FRAME_MALFORMED : DROP_NONE);         \
			free(p);                                                                   \
		}                                                                                  \
		check_##kind(&out);                                                                \
		for (unsigned version = 0; version < 256; version++) {                             \
			whole[1] = (uint8_t)version;                                               \
			assert_int_equal(frame_##kind##_parse(whole, full, &out),                  \
					 version == FRAME_VERSION ? DROP_NONE                      \
								  : DROP_FRAME_VERSION);           \
		}                                                                                  \
		whole[1] = FRAME_VERSION;                                                          \
		for (unsigned type = 0; type < 256; type++) {                                      \
			unsigned own = (value##_type);                                             \
			whole[0] = (uint8_t)type;                                                  \
			assert_int_equal(frame_##kind##_parse(whole, full, &out),                  \
					 type == own ? DROP_NONE : DROP_FRAME_MALFORMED);          \
		}                                                                                  \
	} while (0)

enum { hello_type = FRAME_HELLO, probe_type = FRAME_PROBE, ack_type = FRAME_PROBE_ACK };

static void test_hello_lengths(void **state)
{
	(void)state;
	CHECK_LENGTHS(hello, HELLO_LEN, hello);
}

static void test_probe_lengths(void **state)
{
	(void)state;
	CHECK_LENGTHS(probe, PROBE_LEN, probe);
}

static void test_ack_lengths(void **state)
{
	(void)state;
	CHECK_LENGTHS(ack, PROBE_ACK_LEN, ack);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixtures),      cmocka_unit_test(test_later),
		cmocka_unit_test(test_hello_lengths), cmocka_unit_test(test_probe_lengths),
		cmocka_unit_test(test_ack_lengths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
