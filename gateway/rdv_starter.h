/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of `warren rendezvous`: it starts the rendezvous' own process, which may fork nothing, and store and
 * keeper beside it, these two again when they die. It holds no key and reads no byte from the network. The rendezvous
 * is asked whether it lives, and killed where it hangs (children.h). With it all ends, so that whoever started the
 * command starts it again.
 *
 * Order of an end: the rendezvous; then store and keeper, which do what they were told before that.
 */
#ifndef WARREN_RDV_STARTER_H
#define WARREN_RDV_STARTER_H

#include "base/base.h"

struct rdv_starter_config {
	const char *dir;     /* of the state */
	const char *control; /* path of the rendezvous' control socket, there */
	int lock;	     /* of that, which is held until the last of the processes has ended */
	void *ctx;
	/* The rendezvous' process; its exit status. */
	int (*rendezvous)(void *ctx, int chan);
};

/* Runs until SIGTERM, SIGINT or SIGHUP, or the end of the rendezvous; the exit status is its, or 128 + its signal. */
int rdv_starter_run(const struct rdv_starter_config *cfg);

#endif
