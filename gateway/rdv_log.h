/* SPDX-License-Identifier: Apache-2.0 */
/* What the log of a rendezvous says of its members: who is new here, and how many were refused. */
#ifndef WARREN_RDV_LOG_H
#define WARREN_RDV_LOG_H

#include "punch/control.h"
#include "punch/registrar.h"

struct rdv_log {
	nsec next; /* not before */
	uint64_t told[CTL_REFUSAL_END];
};

/* REGISTRAR_MEMBER: one with this key is heard for the first time since the start, or has its lease since now. */
void rdv_log_member(const struct prefix *range, int64_t wall, const struct registrar_output *m);
/* Now and then. */
void rdv_log_refused(struct rdv_log *l, const struct registrar *r, nsec now);

#endif
