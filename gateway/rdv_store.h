/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease store's process, which has the database open and waits for the disk; and what the rendezvous' own process
 * sees of it: a queue of what is not committed. A store that died has another after it, which gets what the one before
 * left. Of both the parent is the starter (rdv_starter.h).
 */
#ifndef WARREN_RDV_STORE_H
#define WARREN_RDV_STORE_H

#include "punch/lease_store.h"

#include <ev.h>

struct rdv_store;

struct rdv_store_config {
	struct ev_loop *ev;
	void *ctx;
	/* Of the first load each row and READY; and what is done or has failed. */
	void (*reply)(void *ctx, const struct store_reply *r);
};

/* NULL: there is no memory. */
struct rdv_store *rdv_store_open(const struct rdv_store_config *cfg);
/* There is a store (again), over this channel, which is owned from now on. */
void rdv_store_connect(struct rdv_store *s, int fd);
/* Committed in the order in which they come; false where there is no memory. */
MUST_CHECK bool rdv_store_put(struct rdv_store *s, const struct store_request *req);
/* Tries to send what could not be sent. */
void rdv_store_turn(struct rdv_store *s, nsec now);
bool rdv_store_loaded(const struct rdv_store *s);
/* For how long nothing was committed though something waits. */
nsec rdv_store_waits(const struct rdv_store *s, nsec now);
/* What was sent is committed all the same. NULL is fine. */
void rdv_store_close(struct rdv_store *s);

/* The store's process; `chan`: to the starter. It ends after the last commit. */
_Noreturn void rdv_store_main(const char *dir, int chan);

extern const struct syscall_rule rdv_store_syscalls[]; /* of the rendezvous */

#endif
