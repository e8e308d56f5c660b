/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rendezvous process: the core (rdv.h) on a real socket, with the lease store in a child of its
 * own, because SQLite waits for the disk. A store that dies is started again and gets what it had not
 * committed once more.
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
/* Runs until SIGTERM or SIGINT; the exit status. */
int rdvproc_run(struct rdvproc_config *cfg);

#endif
