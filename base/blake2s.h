/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLAKE2s (RFC 7693) and the key derivation that WireGuard's paper builds on it (section 5.4:
 * Hash, Mac, Hmac, Kdf1..3), over libcrypto. No call can fail but for lack of memory, which aborts.
 */
#ifndef WARREN_BLAKE2S_H
#define WARREN_BLAKE2S_H

#include "base/base.h"

enum { BLAKE2S_LEN = 32, MAC_LEN = 16 };

struct bytes_view {
	const void *p;
	size_t len;
};

/* Hash(a ‖ b): `b` may be empty. */
void blake2s_hash(const void *a, size_t alen, const void *b, size_t blen,
		  uint8_t out[static BLAKE2S_LEN]);
/* Keyed BLAKE2s with 16 bytes of output (the paper's Mac; RFC 7693 2.9). `keylen` ≤ 32. */
void blake2s_mac(const uint8_t *key, size_t keylen, const void *p, size_t len,
		 uint8_t out[static MAC_LEN]);
/* HMAC-BLAKE2s. */
void blake2s_hmac(const uint8_t *key, size_t keylen, const void *p, size_t len,
		  uint8_t out[static BLAKE2S_LEN]);
/* Kdf1, Kdf2, Kdf3 of the paper: HKDF with `ck` as salt. NULL outputs end the list. */
void blake2s_kdf(const uint8_t ck[static BLAKE2S_LEN], const void *input, size_t len, uint8_t *t1,
		 uint8_t *t2, uint8_t *t3);
/*
 * A key from a secret for one use: HMAC(secret, label ‖ 0 ‖ a ‖ b). The label keeps uses apart.
 */
void derive_key(const uint8_t secret[static 32], const char *label, struct bytes_view a,
		struct bytes_view b, uint8_t out[static 32]);

#endif
