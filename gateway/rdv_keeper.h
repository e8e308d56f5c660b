/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rendezvous' keeper (keeper.h), as its own process sees it: it writes the state's `identity`, while the rendezvous,
 * which relays, waits for no disk. Of one that died the starter starts another (rdv_starter.h).
 */
#ifndef WARREN_RDV_KEEPER_H
#define WARREN_RDV_KEEPER_H

#include "base/syscalls.h"

#include <ev.h>

struct rdv_keeper_config {
	struct ev_loop *ev;
	void *ctx;
	/* What was handed over is written; or -errno. -EPIPE: that keeper is gone, and the next one is to write it. */
	void (*kept)(void *ctx, int err);
};

struct rdv_keeper {
	struct rdv_keeper_config cfg;
	int fd;	   /* -1 where there is none */
	bool busy; /* has not answered yet */
	ev_io io;
};

void rdv_keeper_init(struct rdv_keeper *k, const struct rdv_keeper_config *cfg);
/* There is a keeper (again), over this channel, which is owned from now on. */
void rdv_keeper_connect(struct rdv_keeper *k, int fd);
/* Where there is one and it is not busy. 0: `kept` will be called; or -errno. */
int rdv_keeper_save(struct rdv_keeper *k, const uint8_t *bytes, size_t len);
/* Until it is not busy: who writes beside it may find the older one in place of his. */
void rdv_keeper_await(struct rdv_keeper *k);
void rdv_keeper_close(struct rdv_keeper *k);

extern const struct syscall_rule rdv_keeper_syscalls[];

#endif
