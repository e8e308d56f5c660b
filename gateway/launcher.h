/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher: forks gateway, shim, helper and keeper, starts the command when the virtual IP is there,
 * passes signals on, reaps (also as PID 1), and starts again what died. It holds no key and reads no
 * byte from the network.
 *
 * Order of an end: the command first; then the gateway releases the lease and removes what it made;
 * then the others. The status is the command's, or 128 + the signal that ended it.
 */
#ifndef WARREN_LAUNCHER_H
#define WARREN_LAUNCHER_H

#include "base/base.h"
#include "gateway/loop.h"

struct launcher_config {
	char *const *command; /* NULL: none, run until a signal */
	const char *user;     /* --user, or NULL */
	const char *worker_id;
	const char *control; /* path of the gateway's control socket */
	bool trino;
	void *ctx;
	/*
	 * The children's bodies; `chan` leads to the launcher. They do not return. shim may be NULL.
	 * `again`: a gateway before this one was up, so this node's lease is in use.
	 */
	void (*gateway)(void *ctx, int chan, bool again);
	void (*shim)(void *ctx, int chan);
	void (*helper)(void *ctx, int chan);
	void (*keeper)(void *ctx, int chan); /* may be NULL */
};

/* Runs until the end; returns the exit status. */
int launcher_run(const struct launcher_config *cfg);

#endif
