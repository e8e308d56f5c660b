/* SPDX-License-Identifier: Apache-2.0 */
/* What aead_choose() chooses from. Each sets itself up at its first call; NULL: not on this machine. */
#ifndef WARREN_AEAD_BACKENDS_H
#define WARREN_AEAD_BACKENDS_H

#include "crypto/aead.h"
#include "base/bytes.h"

enum { AEAD_NONCE_LEN = 12 };

/* *fast: it uses AVX2 or better. Below that, libcrypto's own code is as good. */
const struct aead *aead_ipsec_mb(bool *fast);
const struct aead *aead_libcrypto(void);

/* WireGuard's nonce: 4 zero bytes ‖ LE64(counter). */
static inline void aead_nonce(uint8_t out[static AEAD_NONCE_LEN], uint64_t counter)
{
	store_le32(out, 0);
	store_le64(out + 4, counter);
}

#endif
