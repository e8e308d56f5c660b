/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rendezvous process: the core (rdv.h) on a real socket. The lease store, because SQLite waits for the disk, and the
 * keeper of its state are processes beside it; rdv_starter.h starts all three.
 */
#ifndef WARREN_RDVPROC_H
#define WARREN_RDVPROC_H

#include "gateway/rdv.h"
#include "gateway/rdv_admin.h"
#include "gateway/state.h"
#include "punch/token.h"

struct rdvproc_config {
	struct state state;
	struct endpoint listen;
	struct rdv_config core; /* io, aead and boot are filled in by rdvproc_run() */
	struct token token;
	struct admission admission; /* core.registrar looks at it */
	const struct aead *aead;
	bool gso;
};

/* JSON (malloc); NULL without memory. docs/status.md */
char *rdv_status(struct rdv *rdv, const struct rdvproc_config *cfg, nsec now);
/* Runs until the starter, to which `chan` leads, says so or is gone; the exit status. */
int rdvproc_run(struct rdvproc_config *cfg, int chan);

#endif
