/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/cookie.h"

#include <sodium.h>

/*
 * A handshake costs about 150 µs, so this is where a flood would take an eighth of a core. A
 * thousand members that come back within the same second stay below it, or get cookies, which they
 * answer at once.
 */
enum { LOAD_RATE = 1000, LOAD_BURST = 256, SOURCE_RATE = 20, SOURCE_BURST = 5 };
#define LOAD_LINGERS NSEC_PER_SEC
/* A cookie in our jar is not used in its last seconds: it would expire on the way. */
#define COOKIE_LATENCY (5 * NSEC_PER_SEC)

static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == COOKIE_NONCE_LEN, "XChaCha20");
static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == TAG_LEN, "Poly1305");

/* Takes a token of a bucket that holds `burst` and gains `rate` a second; false where it is empty. */
static bool bucket_take(struct bucket *b, nsec now, unsigned rate, unsigned burst)
{
	nsec step = NSEC_PER_SEC / rate, at = nsec_max(b->full_at, now);
	if (at - now > step * (burst - 1))
		return false;
	b->full_at = at + step;
	return true;
}

static void label_key(const char label[static 8], const uint8_t *pub, uint8_t *out)
{
	blake2s_hash(label, 8, pub, WG_KEY_LEN, out);
}

void cookie_init(struct cookie_checker *c, uint8_t (*secrets)[BLAKE2S_LEN])
{
	memset(c, 0, sizeof(*c));
	c->secrets = secrets;
	c->rotated = NSEC_NEVER;
}

void cookie_set_key(struct cookie_checker *c, const uint8_t pub[static WG_KEY_LEN])
{
	label_key("mac1----", pub, c->mac1_key);
	label_key("cookie--", pub, c->cookie_key);
}

static void new_secret(struct cookie_checker *c, nsec now)
{
	randombytes_buf(c->secrets[0], BLAKE2S_LEN);
	/* Who shared a bucket with an attacker does so no longer. */
	randombytes_buf(c->source_seed, sizeof(c->source_seed));
	c->rotated = now;
}

/*
 * The secret changes every two minutes. The one before is still good for as long, or else every
 * cookie made just before a change would be worthless.
 */
static void rotate(struct cookie_checker *c, nsec now)
{
	if (c->rotated != NSEC_NEVER && now - c->rotated < COOKIE_TIME)
		return;
	bool old_is_recent = c->rotated != NSEC_NEVER && now - c->rotated < 2 * COOKIE_TIME;
	if (old_is_recent)
		memcpy(c->secrets[1], c->secrets[0], BLAKE2S_LEN);
	else
		randombytes_buf(c->secrets[1], BLAKE2S_LEN);
	new_secret(c, now);
}

/* tau: what a cookie holds (paper 5.4.7). */
static void cookie_of(const uint8_t *secret, struct source src, uint8_t out[static COOKIE_TAU_LEN])
{
	blake2s_mac(secret, BLAKE2S_LEN, src.p, src.len, out);
}

static bool mac_matches(const uint8_t *key, size_t keylen, const uint8_t *msg, size_t len,
			const uint8_t *mac)
{
	uint8_t right[MAC_LEN];
	blake2s_mac(key, keylen, msg, len, right);
	return !sodium_memcmp(right, mac, MAC_LEN);
}

enum cookie_state cookie_check(struct cookie_checker *c, nsec now, const uint8_t *msg, size_t len,
			       struct source src)
{
	const uint8_t *macs = msg + len - sizeof(struct msg_macs), *mac2 = macs + MAC_LEN;
	uint8_t tau[COOKIE_TAU_LEN];

	if (!mac_matches(c->mac1_key, BLAKE2S_LEN, msg, len - sizeof(struct msg_macs), macs))
		return MAC_INVALID;
	if (sodium_is_zero(mac2, MAC_LEN)) /* nearly always: a stock peer has no cookie */
		return MAC_NO_COOKIE;
	rotate(c, now);
	for (int i = 0; i < 2; i++) {
		cookie_of(c->secrets[i], src, tau);
		if (mac_matches(tau, COOKIE_TAU_LEN, msg, len - MAC_LEN, mac2))
			return MAC_COOKIE;
	}
	return MAC_NO_COOKIE;
}

bool cookie_under_load(struct cookie_checker *c, nsec now)
{
	if (!bucket_take(&c->load, now, LOAD_RATE, LOAD_BURST))
		c->loaded_until = now + LOAD_LINGERS;
	return now < c->loaded_until;
}

/*
 * Ports are cheap and so are addresses within an IPv6 subnet: an endpoint is counted by its address
 * (the first 16 bytes; IPv4 stands within ::ffff:0:0/96) and IPv6 by its /64.
 */
static size_t source_len(struct source src)
{
	if (src.len < 16)
		return src.len;
	return sodium_is_zero(src.p, 8) ? 16 : 8;
}

bool cookie_source_allowed(struct cookie_checker *c, nsec now, struct source src)
{
	uint8_t hash[crypto_shorthash_BYTES];
	rotate(c, now);
	crypto_shorthash(hash, src.p, source_len(src), c->source_seed);
	struct bucket *b = &c->sources[load_le32(hash) % ARRAY_SIZE(c->sources)];
	return bucket_take(b, now, SOURCE_RATE, SOURCE_BURST);
}

void cookie_reply(struct cookie_checker *c, nsec now, const uint8_t *msg, size_t len,
		  uint32_t receiver, struct source src, uint8_t out[static WG_COOKIE_LEN])
{
	const uint8_t *mac1 = msg + len - sizeof(struct msg_macs);
	uint8_t tau[COOKIE_TAU_LEN];
	struct msg_cookie m = { 0 };

	rotate(c, now);
	store_le32(m.type.b, WG_COOKIE);
	store_le32(m.receiver.b, receiver);
	randombytes_buf(m.nonce, sizeof(m.nonce));
	cookie_of(c->secrets[0], src, tau);
	crypto_aead_xchacha20poly1305_ietf_encrypt(m.cookie, NULL, tau, sizeof(tau), mac1, MAC_LEN,
						   NULL, m.nonce, c->cookie_key);
	memcpy(out, &m, sizeof(m));
}

void cookie_jar_init(struct cookie_jar *j, const uint8_t pub[static WG_KEY_LEN])
{
	memset(j, 0, sizeof(*j));
	label_key("mac1----", pub, j->mac1_key);
	label_key("cookie--", pub, j->cookie_key);
}

void cookie_add_macs(struct cookie_jar *j, nsec now, uint8_t *msg, size_t len)
{
	uint8_t *mac1 = msg + len - sizeof(struct msg_macs), *mac2 = mac1 + MAC_LEN;
	blake2s_mac(j->mac1_key, BLAKE2S_LEN, msg, len - sizeof(struct msg_macs), mac1);
	if (j->has && now - j->received < COOKIE_TIME - COOKIE_LATENCY)
		blake2s_mac(j->cookie, COOKIE_TAU_LEN, msg, len - MAC_LEN, mac2);
	else
		memset(mac2, 0, MAC_LEN);
}

bool cookie_consume(struct cookie_jar *j, nsec now, const struct msg_cookie *m,
		    const struct msg_macs *sent)
{
	uint8_t tau[COOKIE_TAU_LEN];
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(tau, NULL, NULL, m->cookie,
						       sizeof(m->cookie), sent->mac1, MAC_LEN,
						       m->nonce, j->cookie_key) < 0)
		return false;
	memcpy(j->cookie, tau, sizeof(tau));
	j->received = now;
	j->has = true;
	return true;
}
