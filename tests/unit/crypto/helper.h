/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this room share: seeded randomness, hex, and devices that know each other. */
#ifndef WARREN_CRYPTO_TEST_HELPER_H
#define WARREN_CRYPTO_TEST_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>

#include "crypto/core.h"

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

/* From here libsodium's randomness is a function of the seed, and so is rnd(). */
void seed_all(uint64_t seed);
uint64_t rnd(void);
uint32_t rnd_below(uint32_t n);

size_t unhex(const char *hex, uint8_t *out, size_t cap);
void assert_hex(const uint8_t *got, const char *hex);

/* The AEAD of the tests that are not about AEADs: whichever is the best here. */
const struct aead *test_aead(void);

/* Two devices that are each other's peer; end 0 has the smaller public key. */
struct pair {
	struct wg *wg[2];
	struct wg_peer *peer[2]; /* peer[i] is how wg[i] sees the other */
};

void pair_init(struct pair *d);
void pair_free(struct pair *d);

struct datagram {
	uint8_t b[2048];
	size_t len;
};

/* The next message of one end, which must be there and go to the peer. */
struct datagram must_poll(struct wg *wg, nsec now);
/* Hands a handshake message over; the reply goes to *answer where it is not NULL. */
enum drop hand_over(struct wg *wg, nsec now, const struct datagram *m, struct datagram *answer);
/* Seals `text`, or opens and tells the drop reason (the plaintext stands at b + 16). */
struct datagram must_seal(struct pair *d, int from, nsec now, const char *text);
enum drop open_one(struct wg *wg, nsec now, const struct datagram *m, struct datagram *plain);
/* A whole handshake begun by `from`, confirmed by a packet; both ends can send after it. */
void pair_connect(struct pair *d, int from, nsec now);

#endif
