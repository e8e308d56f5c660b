/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/noise.h"

#include <sodium.h>
#include <string.h>

static_assert(crypto_scalarmult_BYTES == NOISE_KEY_LEN, "X25519");
static_assert(crypto_aead_chacha20poly1305_ietf_ABYTES == NOISE_TAG_LEN, "ChaCha20-Poly1305");

/* Each handshake key seals one thing. */
static const uint8_t nonce_zero[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

bool noise_dh(uint8_t out[static NOISE_KEY_LEN], const uint8_t priv[static NOISE_KEY_LEN],
	      const uint8_t pub[static NOISE_KEY_LEN])
{
	return crypto_scalarmult(out, priv, pub) == 0 && !sodium_is_zero(out, NOISE_KEY_LEN);
}

static void mix_hash(struct noise *n, const void *p, size_t len)
{
	blake2s_hash(n->hash, BLAKE2S_LEN, p, len, n->hash);
}

static void mix_key(struct noise *n, const uint8_t *secret, uint8_t *key)
{
	uint8_t ck[BLAKE2S_LEN];
	blake2s_kdf(n->ck, secret, NOISE_KEY_LEN, ck, key, NULL);
	memcpy(n->ck, ck, BLAKE2S_LEN);
	sodium_memzero(ck, sizeof(ck));
}

static bool mix_dh(struct noise *n, const uint8_t *priv, const uint8_t *pub, uint8_t *key)
{
	uint8_t secret[NOISE_KEY_LEN];
	bool ok = noise_dh(secret, priv, pub);
	if (ok)
		mix_key(n, secret, key);
	sodium_memzero(secret, sizeof(secret));
	return ok;
}

/* An ephemeral key goes into both hash and key, since the pattern has a PSK (Noise 9.2). */
static void mix_ephemeral(struct noise *n, const uint8_t *pub)
{
	mix_hash(n, pub, NOISE_KEY_LEN);
	mix_key(n, pub, NULL);
}

static void mix_psk(struct noise *n, const uint8_t *psk, uint8_t *key)
{
	uint8_t ck[BLAKE2S_LEN], tau[BLAKE2S_LEN];
	blake2s_kdf(n->ck, psk, NOISE_KEY_LEN, ck, tau, key);
	memcpy(n->ck, ck, BLAKE2S_LEN);
	mix_hash(n, tau, BLAKE2S_LEN);
	sodium_memzero(ck, sizeof(ck));
	sodium_memzero(tau, sizeof(tau));
}

static void encrypt_and_hash(struct noise *n, const uint8_t *key, struct bytes_view in,
			     uint8_t *out)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in.p, in.len, n->hash, BLAKE2S_LEN,
						  NULL, nonce_zero, key);
	mix_hash(n, out, in.len + NOISE_TAG_LEN);
}

static bool decrypt_and_hash(struct noise *n, const uint8_t *key, struct bytes_view in,
			     uint8_t *out)
{
	if (in.len < NOISE_TAG_LEN ||
	    crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in.p, in.len, n->hash,
						      BLAKE2S_LEN, nonce_zero, key) < 0)
		return false;
	mix_hash(n, in.p, in.len);
	return true;
}

void noise_begin(struct noise *n, const void *prologue, size_t len,
		 const uint8_t responder[static NOISE_KEY_LEN])
{
	static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
	blake2s_hash(construction, sizeof(construction) - 1, NULL, 0, n->ck);
	memcpy(n->hash, n->ck, BLAKE2S_LEN);
	mix_hash(n, prologue, len);
	/* <- s */
	mix_hash(n, responder, NOISE_KEY_LEN);
}

bool noise_write_1(struct noise *n, struct noise_pair e, struct noise_pair s,
		   const uint8_t responder[static NOISE_KEY_LEN],
		   const uint8_t ss[static NOISE_KEY_LEN], struct bytes_view payload,
		   uint8_t static_out[static NOISE_STATIC_LEN], uint8_t *out)
{
	uint8_t key[NOISE_KEY_LEN];
	bool ok = false;

	/* e */
	mix_ephemeral(n, e.pub);
	/* es */
	if (!mix_dh(n, e.priv, responder, key))
		goto out;
	/* s */
	encrypt_and_hash(n, key, (struct bytes_view){ s.pub, NOISE_KEY_LEN }, static_out);
	/* ss */
	mix_key(n, ss, key);
	/* payload */
	encrypt_and_hash(n, key, payload, out);
	ok = true;
out:
	sodium_memzero(key, sizeof(key));
	return ok;
}

bool noise_read_1_static(struct noise *n, struct noise_pair s,
			 const uint8_t ephemeral[static NOISE_KEY_LEN],
			 const uint8_t sealed[static NOISE_STATIC_LEN],
			 uint8_t initiator[static NOISE_KEY_LEN])
{
	uint8_t key[NOISE_KEY_LEN];
	bool ok = false;

	/* e */
	mix_ephemeral(n, ephemeral);
	/* es */
	if (!mix_dh(n, s.priv, ephemeral, key))
		goto out;
	/* s */
	ok = decrypt_and_hash(n, key, (struct bytes_view){ sealed, NOISE_STATIC_LEN }, initiator);
out:
	sodium_memzero(key, sizeof(key));
	return ok;
}

bool noise_read_1_payload(struct noise *n, const uint8_t ss[static NOISE_KEY_LEN],
			  struct bytes_view sealed, uint8_t *out)
{
	uint8_t key[NOISE_KEY_LEN];

	/* ss */
	mix_key(n, ss, key);
	/* payload */
	bool ok = decrypt_and_hash(n, key, sealed, out);
	sodium_memzero(key, sizeof(key));
	return ok;
}

bool noise_write_2(struct noise *n, struct noise_pair e, const struct noise_response *r,
		   struct bytes_view payload, uint8_t *out)
{
	uint8_t key[NOISE_KEY_LEN];
	bool ok = false;

	/* e */
	mix_ephemeral(n, e.pub);
	/* ee */
	if (!mix_dh(n, e.priv, r->initiator_ephemeral, NULL))
		goto out;
	/* se */
	if (!mix_dh(n, e.priv, r->initiator_static, NULL))
		goto out;
	/* psk */
	mix_psk(n, r->psk, key);
	/* payload */
	encrypt_and_hash(n, key, payload, out);
	ok = true;
out:
	sodium_memzero(key, sizeof(key));
	return ok;
}

bool noise_read_2(struct noise *n, const uint8_t e_priv[static NOISE_KEY_LEN],
		  const uint8_t s_priv[static NOISE_KEY_LEN],
		  const uint8_t ephemeral[static NOISE_KEY_LEN],
		  const uint8_t psk[static NOISE_KEY_LEN], struct bytes_view sealed, uint8_t *out)
{
	uint8_t key[NOISE_KEY_LEN];
	bool ok = false;

	/* e */
	mix_ephemeral(n, ephemeral);
	/* ee */
	if (!mix_dh(n, e_priv, ephemeral, NULL))
		goto out;
	/* se */
	if (!mix_dh(n, s_priv, ephemeral, NULL))
		goto out;
	/* psk */
	mix_psk(n, psk, key);
	/* payload */
	ok = decrypt_and_hash(n, key, sealed, out);
out:
	sodium_memzero(key, sizeof(key));
	return ok;
}

void noise_split(struct noise *n, uint8_t initiator_sends[static NOISE_KEY_LEN],
		 uint8_t responder_sends[static NOISE_KEY_LEN])
{
	blake2s_kdf(n->ck, NULL, 0, initiator_sends, responder_sends, NULL);
	sodium_memzero(n, sizeof(*n));
}
