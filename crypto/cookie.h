/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What protects handshakes from floods (paper 5.3, 5.4.4, 5.4.7): mac1 shows that the sender knows
 * our public key, a cookie that its address is real, a bucket per address that it is moderate.
 *
 * Load is measured by what we are asked to compute, not by a queue: more well-formed handshake
 * messages than LOAD_RATE a second, and for a second after that.
 */
#ifndef WARREN_COOKIE_H
#define WARREN_COOKIE_H

#include "crypto/messages.h"

struct bucket {
	nsec full_at; /* when it will be full again: emptier by one token per step beyond now */
};

struct cookie_checker {
	uint8_t mac1_key[BLAKE2S_LEN], cookie_key[BLAKE2S_LEN];
	uint8_t (*secrets)[BLAKE2S_LEN]; /* two, in the arena: of now, and the one before */
	nsec rotated;			 /* NSEC_NEVER: no secret yet */
	struct bucket load;
	nsec loaded_until;
	uint8_t source_seed[16];
	struct bucket sources[4096]; /* by keyed hash; sources that collide share a bucket */
};

struct source {
	const uint8_t *p;
	size_t len;
};

enum cookie_state { MAC_INVALID, MAC_NO_COOKIE, MAC_COOKIE };

/* `secrets`: two of BLAKE2S_LEN bytes each, which belong to the caller and outlive the checker. */
void cookie_init(struct cookie_checker *c, uint8_t (*secrets)[BLAKE2S_LEN]);
/* Our public key has changed. */
void cookie_set_key(struct cookie_checker *c, const uint8_t pub[static WG_KEY_LEN]);
/* What the macs at the end of `msg` (of `len` bytes) prove. */
enum cookie_state cookie_check(struct cookie_checker *c, nsec now, const uint8_t *msg, size_t len,
			       struct source src);
/* Counts a message that would cost us a handshake; true while there are too many. */
bool cookie_under_load(struct cookie_checker *c, nsec now);
/* False when this source has had its share; asked under load only. */
bool cookie_source_allowed(struct cookie_checker *c, nsec now, struct source src);
/* The cookie reply (message 3) to `msg`, whose sender calls itself `receiver`. */
void cookie_reply(struct cookie_checker *c, nsec now, const uint8_t *msg, size_t len,
		  uint32_t receiver, struct source src, uint8_t out[static WG_COOKIE_LEN]);

/* The other side: what we know of a peer's demands, and a message that we sent it. */
struct cookie_jar {
	uint8_t mac1_key[BLAKE2S_LEN], cookie_key[BLAKE2S_LEN];
	uint8_t cookie[COOKIE_TAU_LEN];
	nsec received;
	bool has;
};

void cookie_jar_init(struct cookie_jar *j, const uint8_t pub[static WG_KEY_LEN]);
/* Fills in both macs of a message of `len` bytes; mac2 is zero where there is no fresh cookie. */
void cookie_add_macs(struct cookie_jar *j, nsec now, uint8_t *msg, size_t len);
/* Opens a cookie reply to a message that ended in these macs. */
MUST_CHECK bool cookie_consume(struct cookie_jar *j, nsec now, const struct msg_cookie *m,
			       const struct msg_macs *sent);

#endif
