/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may be admitted to a network (docs/protocol.md, "Admission"). A token holds two secrets: the
 * admission secret of its epoch, which is the PSK of the first handshake, and a ticket, which a key
 * shows when it asks for a lease. The ticket says until when it is good and, where it is good for one
 * worker id alone, that it is; the rendezvous' MAC over both is in it, so that nothing has to be
 * remembered of a token that was given away. A rotation begins a new epoch.
 *
 * What has to be remembered is `struct admission`, in the file `admission` beside the identity: the
 * epoch, the ids that only a token made for them may claim, and the keys that were removed.
 */
#ifndef WARREN_ADMISSION_H
#define WARREN_ADMISSION_H

#include "punch/token.h"

enum { ADMISSION_MAX_RESERVED = 1024, ADMISSION_MAX_REMOVED = 4096 };

/* A key that is not a member any more and never again will be. */
struct removed_key {
	uint8_t key[32];
	char id[WORKER_ID_LEN]; /* that it had; "": none */
	member_number number;	/* it is nobody's now; 0: it had none */
	int64_t since;		/* seconds since 1970 */
};

/* All zeros is a network whose token was never rotated. Seconds are of the wall clock, since 1970. */
struct admission {
	uint32_t epoch;
	int64_t previous_until; /* tokens of epoch - 1 are good until then; 0: they are not */
	char (*reserved)[WORKER_ID_LEN];
	size_t nreserved;
	struct removed_key *removed;
	size_t nremoved;
};

void admission_free(struct admission *a);

bool admission_epoch_good(const struct admission *a, uint32_t epoch, int64_t wall);
/* A new epoch; tokens of the one before are good for `overlap` seconds more. */
void admission_rotate(struct admission *a, int64_t wall, int64_t overlap);

bool admission_reserved(const struct admission *a, const char *id);
/* -ENOSPC: there are too many. */
int admission_reserve(struct admission *a, const char *id);
/* False where it was not. */
bool admission_unreserve(struct admission *a, const char *id);

const struct removed_key *admission_removed(const struct admission *a,
					    const uint8_t key[static 32]);
int admission_remove(struct admission *a, const struct removed_key *k);

/* --- secrets: all follow from the rendezvous' own --- */

/* The PSK of a first handshake with a token of this epoch. */
void admission_psk(const uint8_t secret[static 32], uint32_t epoch, uint8_t psk[static 32]);
/* Is this a ticket of ours, and for this worker id where it is for one alone? */
bool admission_ticket_ours(const uint8_t secret[static 32], const struct ticket *t, const char *id);
/* Fills in what admits: from the token's `expires` and `only_for`, for the present epoch. */
void admission_token(const uint8_t secret[static 32], const struct admission *a, struct token *t);

/*
 * At the end of message 1's timestamp: which of its PSKs a key means, in 16 bits that say no more of
 * it. The rendezvous knows several that it might be. Never 0; fits wg_peer_set_mark().
 */
uint16_t admission_hint(const uint8_t psk[static 32]);

/* "2027-01-15 08:00:00 UTC" of seconds since 1970. Asks for no file, which a confined process may not. */
enum { ADMISSION_DATE_LEN = 24 };
void admission_date(int64_t seconds, char out[static ADMISSION_DATE_LEN]);

/* --- the file --- */

/* The bytes (malloc); NULL without memory. */
uint8_t *admission_encode(const struct admission *a, size_t *len);
/* 0, or -EBADMSG: damaged, or of a newer version; -ENOMEM. */
MUST_CHECK int admission_decode(struct admission *a, const uint8_t *p, size_t len);

#endif
