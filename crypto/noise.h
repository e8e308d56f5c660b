/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Noise handshake IKpsk2 with X25519, ChaCha20-Poly1305 and BLAKE2s (paper 5.4.2, 5.4.3): pure
 * functions over a symmetric state. Ephemeral keys come in as arguments, payloads have any length, so
 * that published vectors run through the very code that WireGuard's messages run through.
 *
 * A function that returns false leaves its struct noise of no use; the caller works on a copy and
 * wipes it.
 */
#ifndef WARREN_NOISE_H
#define WARREN_NOISE_H

#include "base/blake2s.h"

enum { NOISE_KEY_LEN = 32, NOISE_TAG_LEN = 16, NOISE_STATIC_LEN = NOISE_KEY_LEN + NOISE_TAG_LEN };

struct noise {
	uint8_t ck[BLAKE2S_LEN];
	uint8_t hash[BLAKE2S_LEN];
};

/* A key pair of ours; the private half belongs to the caller. */
struct noise_pair {
	const uint8_t *priv, *pub;
};

/* X25519; false where the shared secret is all zero (a point of low order). */
MUST_CHECK bool noise_dh(uint8_t out[static NOISE_KEY_LEN],
			 const uint8_t priv[static NOISE_KEY_LEN],
			 const uint8_t pub[static NOISE_KEY_LEN]);

void noise_begin(struct noise *n, const void *prologue, size_t len,
		 const uint8_t responder[static NOISE_KEY_LEN]);

/*
 * Message 1. `ss` is the static-static secret, which both sides keep ready. `out` takes the encrypted
 * payload and its tag; the ephemeral public key is e.pub.
 */
MUST_CHECK bool noise_write_1(struct noise *n, struct noise_pair e, struct noise_pair s,
			      const uint8_t responder[static NOISE_KEY_LEN],
			      const uint8_t ss[static NOISE_KEY_LEN], struct bytes_view payload,
			      uint8_t static_out[static NOISE_STATIC_LEN], uint8_t *out);
/* The first half of reading it: who says he is the sender. */
MUST_CHECK bool noise_read_1_static(struct noise *n, struct noise_pair s,
				    const uint8_t ephemeral[static NOISE_KEY_LEN],
				    const uint8_t sealed[static NOISE_STATIC_LEN],
				    uint8_t initiator[static NOISE_KEY_LEN]);
/* The second half proves it. `sealed` with its tag; `out` takes 16 bytes less. */
MUST_CHECK bool noise_read_1_payload(struct noise *n, const uint8_t ss[static NOISE_KEY_LEN],
				     struct bytes_view sealed, uint8_t *out);

struct noise_response {
	const uint8_t *initiator_ephemeral; /* public */
	const uint8_t *initiator_static;    /* public */
	const uint8_t *psk;
};

/* Message 2, written by the responder with ephemeral key e. */
MUST_CHECK bool noise_write_2(struct noise *n, struct noise_pair e, const struct noise_response *r,
			      struct bytes_view payload, uint8_t *out);
/* Read by the initiator, whose ephemeral and static private keys are given. */
MUST_CHECK bool noise_read_2(struct noise *n, const uint8_t e_priv[static NOISE_KEY_LEN],
			     const uint8_t s_priv[static NOISE_KEY_LEN],
			     const uint8_t ephemeral[static NOISE_KEY_LEN],
			     const uint8_t psk[static NOISE_KEY_LEN], struct bytes_view sealed,
			     uint8_t *out);

/* The two transport keys: first the initiator's sending key. Wipes the state. */
void noise_split(struct noise *n, uint8_t initiator_sends[static NOISE_KEY_LEN],
		 uint8_t responder_sends[static NOISE_KEY_LEN]);

#endif
