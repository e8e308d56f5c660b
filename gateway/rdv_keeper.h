/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rendezvous' keeper (keeper.h): it writes the state's `identity`, while the rendezvous' own process, which relays,
 * waits for no disk. The parent is the one before, and it ends with it. One that dies is not started again, for
 * the rendezvous is confined and may not fork: then it writes the file itself.
 */
#ifndef WARREN_RDV_KEEPER_H
#define WARREN_RDV_KEEPER_H

#include "base/syscalls.h"

#include <ev.h>
#include <sys/types.h>

struct rdv_keeper_config {
	const char *dir; /* of the state */
	struct ev_loop *ev;
	void *ctx;
	void (*forked)(void *ctx); /* in the keeper, first of all: its copies of keys go */
	void (*kept)(
		void *ctx,
		int err); /* what was handed over is written; or -errno. -EPIPE: there is no keeper any more */
};

struct rdv_keeper {
	struct rdv_keeper_config cfg;
	pid_t pid;
	int chan, fd; /* fd: -1 where there is none */
	bool busy;    /* has not answered yet */
	ev_io io;
};

/* Before the caller is confined. 0 or -errno. */
int rdv_keeper_open(struct rdv_keeper *k, const struct rdv_keeper_config *cfg);
/* Where it is not busy. 0: `kept` will be called; or -errno. */
int rdv_keeper_save(struct rdv_keeper *k, const uint8_t *bytes, size_t len);
/* Waits for what was handed over. */
void rdv_keeper_close(struct rdv_keeper *k);

extern const struct syscall_rule rdv_keeper_syscalls[]; /* after rdv_keeper_open() */

#endif
