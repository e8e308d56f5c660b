/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two devices, a network between them, and virtual time. Each end behaves as the gateway does: it
 * seals what it can, stages the rest and asks for a handshake, and sends what is staged when a session
 * comes up. Packets carry numbers, so that a world knows what got lost and what came twice.
 */
#ifndef WARREN_CRYPTO_SIM_H
#define WARREN_CRYPTO_SIM_H

#include "helper.h"

enum { SIM_PACKETS = 8192, SIM_FLIGHT = 512 };

struct sim_flight {
	nsec at;
	uint64_t order; /* of sending, for those that arrive at the same time */
	int to;
	struct datagram m;
};

struct sim_end {
	struct wg *wg;
	struct wg_peer *peer;
	uint8_t priv[WG_KEY_LEN];
	bool stock;    /* forgets its own initiation when it takes one, as stock peers do */
	nsec interval; /* mean time between packets of its own; 0: silent */
	nsec next_send;
	unsigned next_id, staged_from; /* ids from staged_from on wait for a session */
	uint8_t got[SIM_PACKETS];      /* how often the other end's packet came here */
	nsec sent_at[SIM_PACKETS], got_at[SIM_PACKETS];
	bool given_up[SIM_PACKETS];
	unsigned gave_up, initiations, responses, keepalives;
};

struct sim {
	struct sim_end end[2]; /* end 0 has the smaller key */
	nsec now;
	nsec delay[2], jitter; /* delay[i]: from end i */
	bool in_order;	       /* the jitter does not reorder */
	nsec last_arrival[2];
	unsigned loss, duplication; /* in 1000 */
	int drop_nth;		    /* loses the nth datagram, counted from 1; 0: none */
	unsigned n_sent;
	struct sim_flight flight[SIM_FLIGHT];
	unsigned n_flight;
	uint64_t order;
	unsigned seed;
};

void sim_init(struct sim *s, unsigned seed);
void sim_free(struct sim *s);
void sim_run(struct sim *s, nsec until);
void sim_send(struct sim *s, int from); /* one packet, now */
void sim_initiate(struct sim *s, int from, nsec delay);
void sim_restart(struct sim *s, int which); /* loses everything but its key */

/* Each of these fails the test, with the seed in its text. */
void sim_all_arrived(const struct sim *s, int from, unsigned first_id);
void sim_nothing_twice(const struct sim *s);
/* Both send under one session; `initiator`: made by that end, -1 for either. */
void sim_agreed(const struct sim *s, int initiator);
/* The longest that a packet took, of those from the end from an id on. */
nsec sim_slowest(const struct sim *s, int from, unsigned first_id);

#endif
