/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys that a rendezvous has a session with, or is about to. A member's lease lives in the
 * registrar, longer than this; the others are strangers, of whom there are CLIENT_STRANGERS at most.
 */
#ifndef WARREN_RDV_CLIENT_H
#define WARREN_RDV_CLIENT_H

#include "crypto/wg.h"
#include "punch/link.h"

enum { CLIENT_STRANGERS = 256 };

struct client {
	struct clients *all;
	struct client *next, **link_in;
	struct wg_peer *wg;
	struct path at; /* where its last authenticated packet came from */
	bool member;
	bool proven; /* a packet came over a session, so it knows a secret of ours */
	bool plain; /* it knows the secret of tokens without a ticket: a session under it was confirmed */
	bool offered_plain, next_plain; /* message 2 of this call is under it; the last one was */
	unsigned turn;
	nsec expires;
};

struct clients {
	struct wg *wg;
	struct client *first;
	uint32_t strangers;
	nsec next_sweep;
};

/* A stranger, for which one that was there before may go; NULL without memory. */
struct client *client_new(struct clients *cs, nsec now, const uint8_t pub[static WG_KEY_LEN]);
void client_free(struct client *c);
/* A packet of it was authenticated. */
void client_heard(struct client *c, nsec now);
void client_set_member(struct client *c, nsec now);
void client_end_member(struct client *c, nsec now);
/* Ends those that were silent for long, once a second. */
void clients_sweep(struct clients *cs, nsec now);

#endif
