/* SPDX-License-Identifier: Apache-2.0 */
#include "base/blake2s.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_LEN = 64 };

/* libcrypto's own objects, fetched once per process: a fetch costs more than the hash. */
static EVP_MD_CTX *md_ctx;
static EVP_MD *md;
static EVP_MAC_CTX *mac_ctx;

/*
 * libcrypto takes memory for each hash and gives it back. Where the process can have none, a few spare
 * blocks serve it: a handshake then fails where its owner needs memory, and not the process here.
 */
enum { SPARES = 4, SPARE_SIZE = 1024 };

static _Alignas(16) uint8_t spare[SPARES][SPARE_SIZE];
static bool lent[SPARES];

static bool is_spare(const void *p)
{
	const uint8_t *at = p, *first = (const uint8_t *)spare;
	return at >= first && at < first + sizeof(spare);
}

static void *take(size_t n, const char *file, int line)
{
	void *p = malloc(n);
	(void)file;
	(void)line;
	for (size_t i = 0; !p && n <= SPARE_SIZE && i < SPARES; i++)
		if (!lent[i]) {
			lent[i] = true;
			p = spare[i];
		}
	return p;
}

static void give(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (is_spare(p))
		lent[((uint8_t *)p - spare[0]) / SPARE_SIZE] = false;
	else
		free(p);
}

static void *resize(void *p, size_t n, const char *file, int line)
{
	if (!is_spare(p))
		return realloc(p, n);
	void *fresh = take(n, file, line);
	if (fresh) {
		memcpy(fresh, p, n < SPARE_SIZE ? n : SPARE_SIZE);
		give(p, file, line);
	}
	return fresh;
}

/* Before libcrypto's first allocation; later it would refuse. */
static void __attribute__((constructor)) keep_spares(void)
{
	CRYPTO_set_mem_functions(take, resize, give);
}

/*
 * The only ways to fail are no memory at the first hash and a libcrypto without BLAKE2s: neither can be gone
 * on from.
 */
static void must(int ok)
{
	if (ok <= 0)
		abort();
}

static void setup(void)
{
	if (md_ctx)
		return;
	md = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL);
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
	must(md && mac);
	mac_ctx = EVP_MAC_CTX_new(mac);
	EVP_MAC_free(mac);
	md_ctx = EVP_MD_CTX_new();
	must(md_ctx && mac_ctx);
}

void blake2s_hash(const void *a, size_t alen, const void *b, size_t blen,
		  uint8_t out[static BLAKE2S_LEN])
{
	setup();
	must(EVP_DigestInit_ex2(md_ctx, md, NULL));
	must(EVP_DigestUpdate(md_ctx, a, alen));
	if (blen)
		must(EVP_DigestUpdate(md_ctx, b, blen));
	must(EVP_DigestFinal_ex(md_ctx, out, NULL));
}

void blake2s_mac(const uint8_t *key, size_t keylen, const void *p, size_t len,
		 uint8_t out[static MAC_LEN])
{
	static const uint8_t nobodys[BLAKE2S_LEN];
	size_t size = MAC_LEN, n;
	setup();
	OSSL_PARAM params[] = { OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
				OSSL_PARAM_construct_end() };
	must(EVP_MAC_init(mac_ctx, key, keylen, params));
	must(EVP_MAC_update(mac_ctx, p, len));
	must(EVP_MAC_final(mac_ctx, out, &n, MAC_LEN));
	must(EVP_MAC_init(mac_ctx, nobodys, sizeof(nobodys), params)); /* it would keep the key */
}

void blake2s_hmac(const uint8_t *key, size_t keylen, const void *p, size_t len,
		  uint8_t out[static BLAKE2S_LEN])
{
	uint8_t ipad[BLOCK_LEN], opad[BLOCK_LEN], inner[BLAKE2S_LEN];
	memset(ipad, 0x36, BLOCK_LEN);
	memset(opad, 0x5c, BLOCK_LEN);
	assert(keylen <= BLOCK_LEN);
	for (size_t i = 0; i < keylen; i++) {
		ipad[i] ^= key[i];
		opad[i] ^= key[i];
	}
	blake2s_hash(ipad, BLOCK_LEN, p, len, inner);
	blake2s_hash(opad, BLOCK_LEN, inner, BLAKE2S_LEN, out);
	sodium_memzero(ipad, sizeof(ipad));
	sodium_memzero(opad, sizeof(opad));
	sodium_memzero(inner, sizeof(inner));
}

void blake2s_kdf(const uint8_t ck[static BLAKE2S_LEN], const void *input, size_t len, uint8_t *t1,
		 uint8_t *t2, uint8_t *t3)
{
	uint8_t t0[BLAKE2S_LEN], block[BLAKE2S_LEN + 1];
	uint8_t *outs[3] = { t1, t2, t3 };

	blake2s_hmac(ck, BLAKE2S_LEN, input, len, t0);
	for (uint8_t i = 0; i < 3 && outs[i]; i++) {
		block[i ? BLAKE2S_LEN : 0] = (uint8_t)(i + 1);
		blake2s_hmac(t0, BLAKE2S_LEN, block, i ? BLAKE2S_LEN + 1 : 1, outs[i]);
		memcpy(block, outs[i], BLAKE2S_LEN);
	}
	sodium_memzero(t0, sizeof(t0));
	sodium_memzero(block, sizeof(block));
}

void derive_key(const uint8_t secret[static 32], const char *label, struct bytes_view a,
		struct bytes_view b, uint8_t out[static 32])
{
	uint8_t in[256];
	size_t n = strlen(label) + 1;
	assert(n + a.len + b.len <= sizeof(in));
	memcpy(in, label, n);
	if (a.len)
		memcpy(in + n, a.p, a.len);
	if (b.len)
		memcpy(in + n + a.len, b.p, b.len);
	blake2s_hmac(secret, 32, in, n + a.len + b.len, out);
	sodium_memzero(in, sizeof(in));
}
