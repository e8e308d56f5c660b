/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLAKE2s by RFC 7693's own vector (appendix B), and the derivations by figures that Python's
 * hashlib and hmac gave for the same inputs.
 */
#include "base/blake2s.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint8_t count[64]; /* 0, 1, 2, … */

static int setup(void **ignored)
{
	(void)ignored;
	for (size_t i = 0; i < sizeof(count); i++)
		count[i] = (uint8_t)i;
	return 0;
}

static void is_hex(const uint8_t *p, size_t len, const char *want)
{
	char hex[2 * 64 + 1];
	assert_true(len <= 64);
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", p[i]);
	assert_string_equal(hex, want);
}

static void hash(void **ignored)
{
	uint8_t out[BLAKE2S_LEN];
	static const char abc[] =
		"508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982";
	(void)ignored;
	blake2s_hash("abc", 3, NULL, 0, out);
	is_hex(out, sizeof(out), abc);
	blake2s_hash("a", 1, "bc", 2, out);
	is_hex(out, sizeof(out), abc);
	blake2s_hash("", 0, "abc", 3, out);
	is_hex(out, sizeof(out), abc);
	blake2s_hash("", 0, NULL, 0, out);
	is_hex(out, sizeof(out),
	       "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9");
}

static void keyed(void **ignored)
{
	uint8_t out[BLAKE2S_LEN];
	(void)ignored;
	blake2s_mac(count, 32, "abc", 3, out);
	is_hex(out, MAC_LEN, "61ba5f165c194692e09d12520cc4c74a");
	blake2s_mac(count, 16, "", 0, out);
	is_hex(out, MAC_LEN, "af4e5d3bb230e9ff9096ca6f7c501f76");
	blake2s_hmac(count, 32, "abc", 3, out);
	is_hex(out, sizeof(out),
	       "82623be5bc0a391b24dce53e67d028eff92d586de0485ac37822e597d049c74f");
	blake2s_hmac(count, 32, "", 0, out);
	is_hex(out, sizeof(out),
	       "e2641d24dfa8dd89e8cb77f1cdc77d8c006e5bebdfc4d6a3a3a6f8d5b7586fb0");
	blake2s_hmac(count, 64, "abc", 3, out); /* a whole block of key */
	is_hex(out, sizeof(out),
	       "3a0ef09eac123871fb79852ec512086d013abff437bd68ca03630932bd6ba81f");
}

static void kdf(void **ignored)
{
	uint8_t t[4][BLAKE2S_LEN];
	(void)ignored;
	memset(t, 0xee, sizeof(t));
	blake2s_kdf(count, "input", 5, t[0], t[1], t[2]);
	is_hex(t[0], 32, "87b7f70b24183c6db5dc4f6d9f4c47cdb203321aa2a0bef714896adb3107a040");
	is_hex(t[1], 32, "538a02e1eb2e31b7e4d4b82476d1fe2acf50085d3fb584537279195f5d1f5824");
	is_hex(t[2], 32, "9ad858025593be88de0f9442a589cfe84a88dc19e4753d93684d1c5efc4837f9");
	uint8_t one[32], two[2][32];
	blake2s_kdf(count, "input", 5, one, NULL, NULL);
	assert_memory_equal(one, t[0], 32);
	blake2s_kdf(count, "input", 5, two[0], two[1], NULL);
	assert_memory_equal(two[1], t[1], 32);
	/* the chaining key may be its own successor */
	uint8_t ck[32];
	memcpy(ck, count, 32);
	blake2s_kdf(ck, "input", 5, ck, two[1], NULL);
	assert_memory_equal(ck, t[0], 32);
	assert_memory_equal(two[1], t[1], 32);
}

static void derive(void **ignored)
{
	uint8_t out[32], other[32];
	(void)ignored;
	derive_key(count, "pair", (struct bytes_view){ "aa", 2 }, (struct bytes_view){ "b", 1 },
		   out);
	is_hex(out, 32, "b6e0c4842b3d36f2e41f1620ad18893462ed79fa44c47c7be52e592b369583fc");
	derive_key(count, "pair", (struct bytes_view){ NULL, 0 }, (struct bytes_view){ NULL, 0 },
		   out);
	is_hex(out, 32, "a40b7534d82174939521f28bfde354af11f45fbb934eac4c1bf3f34014610a8f");
	/* where a label ends is part of the input: "pair" with 'x' is not "pairx" */
	derive_key(count, "pair", (struct bytes_view){ "x", 1 }, (struct bytes_view){ NULL, 0 },
		   out);
	derive_key(count, "pairx", (struct bytes_view){ NULL, 0 }, (struct bytes_view){ NULL, 0 },
		   other);
	assert_memory_not_equal(out, other, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hash),
		cmocka_unit_test(keyed),
		cmocka_unit_test(kdf),
		cmocka_unit_test(derive),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
