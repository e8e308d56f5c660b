/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/core.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

/* Our numbers for a peer's sessions and its initiation, of which few are in use at a time. */
enum { INDICES_PER_PEER = 4 };

static_assert(crypto_shorthash_KEYBYTES == sizeof(((struct wg *)0)->bucket_seed), "SipHash");

static bool table_init(struct wg *wg)
{
	uint32_t n = 16;
	while (n < wg->cfg.max_peers && n < 1u << 24)
		n *= 2;
	wg->buckets = calloc(n, sizeof(struct wg_peer *));
	wg->bucket_mask = n - 1;
	randombytes_buf(wg->bucket_seed, sizeof(wg->bucket_seed));
	return wg->buckets;
}

static struct wg_peer **bucket(const struct wg *wg, const uint8_t *pub)
{
	uint8_t hash[crypto_shorthash_BYTES];
	crypto_shorthash(hash, pub, WG_KEY_LEN, wg->bucket_seed);
	return &wg->buckets[load_le32(hash) & wg->bucket_mask];
}

struct wg *wg_new(const struct wg_config *cfg)
{
	/* Ours, and each peer's with its sessions; one more for a session that replaces another. */
	size_t slots = 1 + (size_t)cfg->max_peers * (1 + SESSIONS_MAX) + 1;
	struct wg *wg = calloc(1, sizeof(*wg));
	if (!wg)
		return NULL;
	wg->cfg = *cfg;
	wg->arena = arena_new(sizeof(union arena_slot), slots);
	if (!wg->arena || !table_init(wg) ||
	    !index_init(&wg->indices, cfg->max_peers * INDICES_PER_PEER)) {
		int err = errno;
		wg_free(wg);
		errno = err;
		return NULL;
	}
	wg->keys = arena_get(wg->arena);
	cookie_init(&wg->checker, wg->keys->cookie_secrets);
	return wg;
}

void wg_free(struct wg *wg)
{
	if (!wg)
		return;
	for (uint32_t i = 0; wg->buckets && i <= wg->bucket_mask; i++)
		while (wg->buckets[i])
			wg_peer_remove(wg, wg->buckets[i]);
	arena_free(wg->arena);
	index_free(&wg->indices);
	free(wg->buckets);
	free(wg);
}

bool wg_keys_locked(const struct wg *wg)
{
	return arena_locked(wg->arena);
}

/* --- keys --- */

void wg_key_clamp(uint8_t priv[static WG_KEY_LEN])
{
	priv[0] &= 248;
	priv[31] = (uint8_t)((priv[31] & 127) | 64);
}

void wg_key_generate(uint8_t priv[static WG_KEY_LEN])
{
	randombytes_buf(priv, WG_KEY_LEN);
	wg_key_clamp(priv);
}

void wg_key_public(const uint8_t priv[static WG_KEY_LEN], uint8_t pub[static WG_KEY_LEN])
{
	crypto_scalarmult_base(pub, priv);
}

/* Everything that came of our key or of the peer's state ends. */
static void peer_reset(struct wg_peer *p)
{
	initiation_forget(p);
	p->initiation.attempts = 0;
	p->sent_response.len = 0;
	sessions_drop(p);
	timers_stop(p);
}

/* What follows from our key and the peer's. */
static void peer_rekey(struct wg_peer *p)
{
	p->secret = SECRET_NOT_TRIED;
	sodium_memzero(p->keys->static_static, WG_KEY_LEN);
	p->we_follow = memcmp(p->wg->keys->pub, p->pub, WG_KEY_LEN) > 0;
}

bool peer_secret(struct wg_peer *p)
{
	const struct wg *wg = p->wg;

	if (p->secret == SECRET_NOT_TRIED) {
		bool ok = wg->has_key && memcmp(p->pub, wg->keys->pub, WG_KEY_LEN) &&
			  noise_dh(p->keys->static_static, wg->keys->priv, p->pub);
		if (!ok)
			sodium_memzero(p->keys->static_static, WG_KEY_LEN);
		p->secret = ok ? SECRET_THERE : SECRET_NONE;
	}
	return p->secret == SECRET_THERE;
}

void wg_set_private_key(struct wg *wg, const uint8_t priv[static WG_KEY_LEN])
{
	uint8_t key[WG_KEY_LEN];
	bool has_key = !sodium_is_zero(priv, WG_KEY_LEN);

	memcpy(key, priv, WG_KEY_LEN);
	if (has_key)
		wg_key_clamp(key);
	bool same = !sodium_memcmp(wg->keys->priv, key, WG_KEY_LEN);
	memcpy(wg->keys->priv, key, WG_KEY_LEN);
	sodium_memzero(key, WG_KEY_LEN);
	if (same)
		return;
	wg->has_key = has_key;
	if (has_key)
		wg_key_public(wg->keys->priv, wg->keys->pub);
	else
		sodium_memzero(wg->keys->pub, WG_KEY_LEN);
	cookie_set_key(&wg->checker, wg->keys->pub);
	for (uint32_t i = 0; i <= wg->bucket_mask; i++) {
		for (struct wg_peer *p = wg->buckets[i]; p; p = p->next_in_bucket) {
			peer_reset(p);
			peer_rekey(p);
			timers_persistent_changed(p, 0, 0); /* at the next wg_poll() */
		}
	}
}

const uint8_t *wg_public_key(const struct wg *wg)
{
	return wg->keys->pub;
}

const uint8_t *wg_private_key(const struct wg *wg)
{
	return wg->keys->priv;
}

void wg_set_wall_offset(struct wg *wg, nsec offset)
{
	wg->wall_offset = offset;
}

void wg_set_timestamp_floor(struct wg *wg, int64_t ns)
{
	if (ns > wg->last_timestamp)
		wg->last_timestamp = ns;
}

int64_t wg_timestamp_last(const struct wg *wg)
{
	return wg->last_timestamp;
}

void wg_set_mark(struct wg *wg, uint16_t mark)
{
	assert(mark <= WG_MARK_MAX);
	wg->mark = mark;
}

/* --- peers --- */

void wg_peer_set_mark(struct wg_peer *p, uint16_t mark)
{
	assert(mark <= WG_MARK_MAX);
	p->mark = mark;
}

static struct wg_peer *peer_new(struct wg *wg, const uint8_t *pub, void *user)
{
	struct wg_peer *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->keys = arena_get(wg->arena);
	if (!p->keys) {
		free(p);
		errno = ENOMEM;
		return NULL;
	}
	p->wg = wg;
	p->user = user;
	p->initiation.in.peer = p;
	memcpy(p->pub, pub, WG_KEY_LEN);
	cookie_jar_init(&p->jar, pub);
	timers_init(p);
	peer_rekey(p);
	return p;
}

struct wg_peer *wg_peer_add(struct wg *wg, const uint8_t pub[static WG_KEY_LEN], void *user)
{
	bool own = wg->has_key && !memcmp(pub, wg->keys->pub, WG_KEY_LEN);
	bool known = own || wg_peer_find(wg, pub);
	if (known || wg->n_peers >= wg->cfg.max_peers) {
		errno = known ? EEXIST : ENOSPC;
		return NULL;
	}
	struct wg_peer *p = peer_new(wg, pub, user);
	if (!p)
		return NULL;
	struct wg_peer **at = bucket(wg, pub);
	p->next_in_bucket = *at;
	*at = p;
	wg->n_peers++;
	return p;
}

void wg_peer_remove(struct wg *wg, struct wg_peer *p)
{
	struct wg_peer **at = bucket(wg, p->pub);
	while (*at != p)
		at = &(*at)->next_in_bucket;
	*at = p->next_in_bucket;
	wg->n_peers--;
	peer_reset(p);
	arena_put(wg->arena, p->keys);
	sodium_memzero(p, sizeof(*p));
	free(p);
}

struct wg_peer *wg_peer_find(const struct wg *wg, const uint8_t pub[static WG_KEY_LEN])
{
	struct wg_peer *p = *bucket(wg, pub);
	while (p && memcmp(p->pub, pub, WG_KEY_LEN))
		p = p->next_in_bucket;
	return p;
}

void wg_peer_set_psk(struct wg_peer *p, const uint8_t psk[static WG_KEY_LEN])
{
	memcpy(p->keys->psk, psk, WG_KEY_LEN);
}

void wg_peer_set_keepalive(struct wg *wg, struct wg_peer *p, nsec now, unsigned seconds)
{
	nsec before = p->persistent;
	(void)wg;
	p->persistent = (nsec)seconds * NSEC_PER_SEC;
	if (p->persistent != before)
		timers_persistent_changed(p, now, before);
}

const uint8_t *wg_peer_psk(const struct wg_peer *p)
{
	return p->keys->psk;
}

unsigned wg_peer_keepalive(const struct wg_peer *p)
{
	return (unsigned)(p->persistent / NSEC_PER_SEC);
}

void wg_peer_stop(struct wg_peer *p)
{
	peer_reset(p);
}

void wg_peer_start(struct wg_peer *p, nsec now)
{
	timers_persistent_changed(p, now, 0);
}

void wg_peer_unsent(struct wg_peer *p, size_t len)
{
	p->tx_bytes -= len;
}

void *wg_peer_user(const struct wg_peer *p)
{
	return p->user;
}

const uint8_t *wg_peer_public(const struct wg_peer *p)
{
	return p->pub;
}

void wg_peer_derive(struct wg_peer *p, const char *label, uint8_t out[static 32])
{
	uint8_t secret[BLAKE2S_LEN];
	struct bytes_view none = { NULL, 0 };
	if (!peer_secret(p)) {
		randombytes_buf(out, 32); /* what anybody could make is no key */
		return;
	}
	blake2s_kdf(p->keys->static_static, p->keys->psk, WG_KEY_LEN, secret, NULL, NULL);
	derive_key(secret, label, none, none, out);
	sodium_memzero(secret, sizeof(secret));
}

void wg_peer_initiate(struct wg *wg, struct wg_peer *p, nsec now, nsec delay)
{
	(void)wg;
	p->initiation.attempts = 0;
	timers_handshake_wanted(p, now, delay);
}

void wg_peer_restart(struct wg *wg, struct wg_peer *p, nsec now)
{
	p->initiation.moot = true; /* a late answer is still welcome */
	wg_peer_initiate(wg, p, now, 0);
}

void wg_peer_stats(const struct wg_peer *p, nsec now, struct wg_peer_stats *out)
{
	*out = (struct wg_peer_stats){ .last_handshake = p->last_handshake,
				       .last_received = p->last_received,
				       .tx_bytes = p->tx_bytes,
				       .rx_bytes = p->rx_bytes,
				       .handshakes = p->handshakes,
				       .can_send = wg_can_send(p, now) };
}
