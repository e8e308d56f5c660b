/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease store as the rendezvous' own process sees it: a queue of what is not committed, and two processes.
 * The store has the database open and waits for the disk. The starter started it and starts it again, for
 * the rendezvous is confined and may not fork. Of both the parent is the one before, and they end with it.
 */
#ifndef WARREN_RDV_STORE_H
#define WARREN_RDV_STORE_H

#include "punch/lease_store.h"

#include <ev.h>

struct rdv_store;

struct rdv_store_config {
	const char *dir; /* of leases.db; must live as long as the store */
	struct ev_loop *ev;
	void *ctx;
	/* In the starter, first of all: its copies of keys go, and its loop's signals. */
	void (*forked)(void *ctx);
	/* Of the first load each row and READY; and what is done or has failed. */
	void (*reply)(void *ctx, const struct store_reply *r);
	/* It cannot work at all; the reason is in the log. */
	void (*failed)(void *ctx, int status);
};

/* Forks the starter: before the caller is confined. 0 or -errno. */
int rdv_store_open(struct rdv_store **out, const struct rdv_store_config *cfg);
/* Committed in the order in which they come; false where there is no memory. */
MUST_CHECK bool rdv_store_put(struct rdv_store *s, const struct store_request *req);
/* Tries to send what could not be sent. */
void rdv_store_turn(struct rdv_store *s);
bool rdv_store_loaded(const struct rdv_store *s);
/* Waits until what was sent is committed. NULL is fine. */
void rdv_store_close(struct rdv_store *s);

extern const struct syscall_rule rdv_store_syscalls[]; /* after rdv_store_open() */

#endif
