/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In place of the curve and of BLAKE2s, which would take nearly all of a fuzzer's time (a program's own
 * functions stand before a library's). What two keys have in common is the same from both sides, and
 * equal sums come of equal bytes alone, as far as these tests meet them. Neither is any good for else.
 */
#include "base/blake2s.h"

#include <sodium.h>
#include <string.h>

/* --- X25519 --- */

enum { KEY_LEN = 32 };

static void exclusive_or(uint8_t *out, const uint8_t *priv, const uint8_t *other)
{
	for (unsigned i = 0; i < KEY_LEN; i++)
		out[i] = priv[i] ^ other[i];
	out[0] = (uint8_t)((priv[0] & 248) ^ other[0]); /* clamped, as the curve does */
	out[31] = (uint8_t)(((priv[31] & 127) | 64) ^ other[31]);
}

int crypto_scalarmult(unsigned char *q, const unsigned char *k, const unsigned char *p)
{
	if (sodium_is_zero(p, KEY_LEN))
		return -1;
	exclusive_or(q, k, p);
	return 0;
}

int crypto_scalarmult_base(unsigned char *q, const unsigned char *k)
{
	static const uint8_t base[KEY_LEN] = { 9 };
	exclusive_or(q, k, base);
	return 0;
}

/* --- BLAKE2s and what is made of it --- */

struct sum {
	uint64_t v[4];
};

static uint64_t mix(uint64_t a, uint64_t b)
{
	a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
	return a ^ a >> 29;
}

static void absorb(struct sum *s, const void *p, size_t len)
{
	const uint8_t *at = p;
	uint64_t word;
	s->v[1] = mix(s->v[1], len);
	for (; len >= sizeof(word); at += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		s->v[0] = mix(s->v[0], word);
	}
	word = 0;
	if (len)
		memcpy(&word, at, len);
	s->v[0] = mix(s->v[0], word);
}

static void finish(struct sum *s, uint8_t *out, size_t len)
{
	for (unsigned i = 0; i < 8; i++)
		s->v[i % 4] = mix(s->v[i % 4], s->v[(i + 1) % 4] + i);
	memcpy(out, s->v, len);
}

void blake2s_hash(const void *a, size_t alen, const void *b, size_t blen,
		  uint8_t out[static BLAKE2S_LEN])
{
	struct sum s = { { 1, 2, 3, 4 } };
	absorb(&s, a, alen);
	absorb(&s, b, blen);
	finish(&s, out, BLAKE2S_LEN);
}

void blake2s_mac(const uint8_t *key, size_t keylen, const void *p, size_t len,
		 uint8_t out[static MAC_LEN])
{
	struct sum s = { { 5, 6, 7, 8 } };
	absorb(&s, key, keylen);
	absorb(&s, p, len);
	finish(&s, out, MAC_LEN);
}

void blake2s_hmac(const uint8_t *key, size_t keylen, const void *p, size_t len,
		  uint8_t out[static BLAKE2S_LEN])
{
	struct sum s = { { 9, 10, 11, 12 } };
	absorb(&s, key, keylen);
	absorb(&s, p, len);
	finish(&s, out, BLAKE2S_LEN);
}

void blake2s_kdf(const uint8_t ck[static BLAKE2S_LEN], const void *input, size_t len, uint8_t *t1,
		 uint8_t *t2, uint8_t *t3)
{
	uint8_t *outs[3] = { t1, t2, t3 }, t0[BLAKE2S_LEN];
	blake2s_hmac(ck, BLAKE2S_LEN, input, len, t0);
	for (uint8_t i = 0; i < 3 && outs[i]; i++)
		blake2s_hmac(t0, BLAKE2S_LEN, &i, 1, outs[i]);
}

void derive_key(const uint8_t secret[static 32], const char *label, struct bytes_view a,
		struct bytes_view b, uint8_t out[static 32])
{
	struct sum s = { { 13, 14, 15, 16 } };
	absorb(&s, secret, 32);
	absorb(&s, label, strlen(label));
	absorb(&s, a.p, a.len);
	absorb(&s, b.p, b.len);
	finish(&s, out, 32);
}
