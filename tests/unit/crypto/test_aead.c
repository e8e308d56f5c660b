/* SPDX-License-Identifier: Apache-2.0 */
/* Both AEAD back ends against libsodium's, byte for byte. */
#include "helper.h"

enum { MAX = 9100, BATCH = 64 };

static const char *const names[] = { "ipsec-mb", "libcrypto" };

/* What WireGuard's packet has to look like. */
static void oracle_seal(const uint8_t *key, uint64_t nonce, uint8_t *text, size_t len)
{
	uint8_t n[12] = { 0 };
	store_le64(n + 4, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(text, NULL, text, len, NULL, 0, NULL, n, key);
}

/* A buffer that ends with the tag's last byte, so that ASan sees one byte too many. */
static uint8_t *random_text(size_t len)
{
	uint8_t *p = malloc(len + AEAD_TAG_LEN);
	assert_non_null(p);
	randombytes_buf(p, len + AEAD_TAG_LEN);
	return p;
}

static void check_length(const struct aead *a, uint32_t len)
{
	uint8_t key[32], *text = random_text(len), *want = malloc(len + AEAD_TAG_LEN);
	uint8_t *plain = malloc(len + 1);
	uint64_t nonce = rnd();
	struct aead_job job = { .text = text, .len = len, .nonce = nonce };

	assert_non_null(want);
	assert_non_null(plain);
	randombytes_buf(key, sizeof(key));
	memcpy(plain, text, len);
	memcpy(want, text, len);
	oracle_seal(key, nonce, want, len);
	a->seal(key, &job, 1);
	assert_memory_equal(text, want, len + AEAD_TAG_LEN);
	a->open(key, &job, 1);
	assert_true(job.ok);
	assert_memory_equal(text, plain, len);
	free(text);
	free(want);
	free(plain);
}

static void every_length(void **unused)
{
	(void)unused;
	seed_all(1);
	for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
		const struct aead *a = aead_choose(names[k]);
		if (!a)
			continue;
		for (uint32_t len = 0; len <= 2048; len++)
			check_length(a, len);
		for (uint32_t len = 2049; len < MAX; len += 37)
			check_length(a, len);
		check_length(a, MAX);
	}
}

static void check_batch(const struct aead *a)
{
	struct aead_job jobs[BATCH];
	uint8_t key[32], *want[BATCH];
	size_t n = 1 + rnd_below(BATCH);
	randombytes_buf(key, sizeof(key));
	for (size_t i = 0; i < n; i++) {
		uint32_t len = rnd_below(3) ? 1424 : rnd_below(1600);
		jobs[i] = (struct aead_job){ .text = random_text(len), .len = len, .nonce = rnd() };
		want[i] = malloc(len + AEAD_TAG_LEN);
		assert_non_null(want[i]);
		memcpy(want[i], jobs[i].text, len);
		oracle_seal(key, jobs[i].nonce, want[i], len);
	}
	a->seal(key, jobs, n);
	for (size_t i = 0; i < n; i++) {
		assert_memory_equal(jobs[i].text, want[i], jobs[i].len + AEAD_TAG_LEN);
		if (i % 3 == 1) /* a wrong one does not spoil its neighbours */
			jobs[i].text[rnd_below(jobs[i].len + AEAD_TAG_LEN)] ^= 1;
	}
	a->open(key, jobs, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(jobs[i].ok, i % 3 != 1);
		free(jobs[i].text);
		free(want[i]);
	}
}

static void batches(void **unused)
{
	(void)unused;
	seed_all(2);
	for (size_t k = 0; k < ARRAY_SIZE(names); k++)
		for (int round = 0; aead_choose(names[k]) && round < 200; round++)
			check_batch(aead_choose(names[k]));
}

/* One bit anywhere, another key, another nonce: refused. */
static void forgeries(void **unused)
{
	(void)unused;
	seed_all(3);
	for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
		const struct aead *a = aead_choose(names[k]);
		for (uint32_t len = 0; a && len < 200; len++) {
			uint8_t key[32], sealed[200 + AEAD_TAG_LEN] = { 0 }, copy[sizeof(sealed)];
			struct aead_job job = { .text = sealed, .len = len, .nonce = len };
			randombytes_buf(key, sizeof(key));
			a->seal(key, &job, 1);
			job.text = copy;
			for (uint32_t byte = 0; byte < len + AEAD_TAG_LEN; byte++) {
				memcpy(copy, sealed, sizeof(copy));
				copy[byte] ^= (uint8_t)(1u << rnd_below(8));
				a->open(key, &job, 1);
				assert_false(job.ok);
			}
			memcpy(copy, sealed, sizeof(copy));
			job.nonce ^= 1;
			a->open(key, &job, 1);
			assert_false(job.ok);
			memcpy(copy, sealed, sizeof(copy));
			job.nonce ^= 1;
			key[31] ^= 0x80;
			a->open(key, &job, 1);
			assert_false(job.ok);
		}
	}
}

static void choice(void **unused)
{
	(void)unused;
	assert_non_null(aead_choose("libcrypto"));
	assert_string_equal(aead_choose("libcrypto")->name, "libcrypto");
	assert_null(aead_choose("rot13"));
	assert_non_null(aead_choose(NULL));
	print_message("the best here: %s\n", aead_choose(NULL)->name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(choice),
		cmocka_unit_test(every_length),
		cmocka_unit_test(batches),
		cmocka_unit_test(forgeries),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("aead", tests, NULL, NULL);
}
