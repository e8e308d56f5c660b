/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk ChaCha20-Poly1305 (RFC 8439) for data messages: many packets under one key at once, in place.
 * WireGuard's form: no additional data, nonce = 4 zero bytes ‖ LE64(counter).
 *
 * Two back ends with one meaning: libipsec-mb (x86-64) and libcrypto (everywhere). The choice is
 * made once at start. libsodium's AEAD is the oracle of both in the tests.
 */
#ifndef WARREN_AEAD_H
#define WARREN_AEAD_H

#include "base/base.h"

enum { AEAD_KEY_LEN = 32, AEAD_TAG_LEN = 16 };

struct aead_job {
	uint8_t *text; /* sealed or opened in place; the 16-byte tag stands right behind it */
	uint32_t len;  /* bytes of text without the tag */
	uint64_t nonce;
	bool ok; /* out: sealed, or opened and the tag right. Where not, the text is not to be used */
};

struct aead {
	const char *name; /* "libipsec-mb (AVX512)", "libcrypto" */
	void (*seal)(const uint8_t key[static AEAD_KEY_LEN], struct aead_job *jobs, size_t n);
	void (*open)(const uint8_t key[static AEAD_KEY_LEN], struct aead_job *jobs, size_t n);
};

/*
 * The back end called `want` ("ipsec-mb", "libcrypto"), or with NULL the fastest there is. NULL if
 * there is no such back end on this machine. Set-up happens here, so call before any sandbox.
 */
const struct aead *aead_choose(const char *want);

#endif
