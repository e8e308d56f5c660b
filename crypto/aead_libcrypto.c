/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcrypto's ChaCha20-Poly1305: one context a direction for ever, the key set once a call and the
 * nonce once a packet, since set-up is 40 % of a packet's cost.
 */
#include "crypto/aead_backends.h"

#include <openssl/evp.h>

static EVP_CIPHER *cipher;
static EVP_CIPHER_CTX *seal_ctx, *open_ctx;

/* The contexts are libcrypto's memory, outside the key arena: no key stays in them. */
static void forget_key(EVP_CIPHER_CTX *ctx)
{
	static const uint8_t zero[AEAD_KEY_LEN];
	EVP_CipherInit_ex2(ctx, NULL, zero, NULL, -1, NULL);
}

static bool seal_one(struct aead_job *j)
{
	uint8_t nonce[AEAD_NONCE_LEN];
	int n;
	aead_nonce(nonce, j->nonce);
	return EVP_EncryptInit_ex2(seal_ctx, NULL, NULL, nonce, NULL) > 0 &&
	       EVP_EncryptUpdate(seal_ctx, j->text, &n, j->text, (int)j->len) > 0 &&
	       EVP_EncryptFinal_ex(seal_ctx, j->text + j->len, &n) > 0 &&
	       EVP_CIPHER_CTX_ctrl(seal_ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN,
				   j->text + j->len) > 0;
}

static bool open_one(struct aead_job *j)
{
	uint8_t nonce[AEAD_NONCE_LEN];
	int n;
	aead_nonce(nonce, j->nonce);
	return EVP_DecryptInit_ex2(open_ctx, NULL, NULL, nonce, NULL) > 0 &&
	       EVP_CIPHER_CTX_ctrl(open_ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN,
				   j->text + j->len) > 0 &&
	       EVP_DecryptUpdate(open_ctx, j->text, &n, j->text, (int)j->len) > 0 &&
	       EVP_DecryptFinal_ex(open_ctx, j->text + j->len, &n) > 0;
}

static void seal(const uint8_t key[static AEAD_KEY_LEN], struct aead_job *jobs, size_t n)
{
	bool keyed = EVP_EncryptInit_ex2(seal_ctx, NULL, key, NULL, NULL) > 0;
	for (size_t i = 0; i < n; i++)
		jobs[i].ok = keyed && seal_one(&jobs[i]);
	forget_key(seal_ctx);
}

static void open(const uint8_t key[static AEAD_KEY_LEN], struct aead_job *jobs, size_t n)
{
	bool keyed = EVP_DecryptInit_ex2(open_ctx, NULL, key, NULL, NULL) > 0;
	for (size_t i = 0; i < n; i++)
		jobs[i].ok = keyed && open_one(&jobs[i]);
	forget_key(open_ctx);
}

static bool setup(void)
{
	cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	seal_ctx = EVP_CIPHER_CTX_new();
	open_ctx = EVP_CIPHER_CTX_new();
	if (cipher && seal_ctx && open_ctx &&
	    EVP_EncryptInit_ex2(seal_ctx, cipher, NULL, NULL, NULL) > 0 &&
	    EVP_DecryptInit_ex2(open_ctx, cipher, NULL, NULL, NULL) > 0)
		return true;
	EVP_CIPHER_CTX_free(seal_ctx);
	EVP_CIPHER_CTX_free(open_ctx);
	EVP_CIPHER_free(cipher);
	seal_ctx = open_ctx = NULL;
	cipher = NULL;
	return false;
}

const struct aead *aead_libcrypto(void)
{
	static const struct aead backend = { .name = "libcrypto", .seal = seal, .open = open };
	return cipher || setup() ? &backend : NULL;
}
