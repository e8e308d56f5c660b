/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rendezvous' core: WireGuard sessions with members, the registrar above them, the relay beside
 * them. Sans-IO, as the node is: datagrams and `now` in, datagrams and store requests out.
 *
 * It has no TUN and no inner address. Any key may start a session if it knows the admission secret
 * (after a cookie round trip: its address is real before any state is made for it); only what the
 * registrar admitted becomes a member, gets a PSK of its own and may use the relay.
 */
#ifndef WARREN_RDV_H
#define WARREN_RDV_H

#include "crypto/wg.h"
#include "punch/lease_store.h"
#include "punch/link.h"
#include "punch/udp.h"

struct rdv;

struct rdv_io {
	void *ctx;
	void (*udp)(void *ctx, const struct udp_tx *tx, unsigned n);
	void (*store)(void *ctx, const struct store_request *req);
	/* REGISTRAR_MEMBER and REGISTRAR_KEPT. NULL: nobody is told, and whoever owns the admission keeps none. */
	void (*tell)(void *ctx, const struct registrar_output *out);
};

struct rdv_config {
	struct rdv_io io;
	const struct aead *aead;
	uint8_t private_key[32];
	uint64_t boot; /* greater at each start, and than any TAI64N sent (ns since 1970) */
	struct registrar_config registrar;
};

struct rdv *rdv_new(const struct rdv_config *cfg, nsec now);
void rdv_free(struct rdv *r);

int rdv_load(struct rdv *r, const struct lease_record *rec); /* before the first rdv_udp() */
void rdv_incomplete(struct rdv *r, nsec now);		     /* registrar_incomplete() */
void rdv_rewrite(struct rdv *r, nsec now);		     /* registrar_rewrite() */
void rdv_stored(struct rdv *r, nsec now, uint64_t seq, bool failed);
void rdv_udp(struct rdv *r, nsec now, const struct udp_rx *rx, unsigned count);
void rdv_tick(struct rdv *r, nsec now);
nsec rdv_deadline(const struct rdv *r);
void rdv_set_wall(struct rdv *r, nsec offset);
/* A key that is in the admission's list of removed ones by now: it is out at once. */
void rdv_remove(struct rdv *r, nsec now, const uint8_t key[static 32]);
int rdv_forget(struct rdv *r, nsec now, const char *id); /* registrar_forget() */

struct drops *rdv_drops(struct rdv *r);
const struct registrar *rdv_registrar(const struct rdv *r);
const struct relay_server *rdv_relay(const struct rdv *r);
int64_t rdv_timestamp_last(const struct rdv *r); /* TAI64N: at least the floor */
const uint8_t *rdv_public_key(const struct rdv *r);

#endif
