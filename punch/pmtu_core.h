/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the path MTU search share: pmtu.c, _plan.c, _round.c, _watch.c. pmtu.h tells it all. */
#ifndef WARREN_PMTU_CORE_H
#define WARREN_PMTU_CORE_H

#include "punch/pmtu.h"

enum {
	QUERY_LEN = PROBE_LEN + 32, /* a WireGuard message around the shortest probe */
	PMTU_JUMBO = 2000,	    /* sizes above it are dear: one at a time */
};

enum fate { FATE_OPEN, FATE_LOST, FATE_SEEN };

enum round_kind {
	ROUND_FIRST,   /* the usual sizes, and the one that is believed */
	ROUND_SPREAD,  /* some between low and high, once each */
	ROUND_CONFIRM, /* low + 1, several times */
	ROUND_VERIFY,  /* the suspected size, several times */
	ROUND_RAISE,   /* after the search: low + 1 */
};

enum round_phase {
	PHASE_IDLE,	/* no round: complete. Due: the raise timer */
	PHASE_SENDING,	/* the plan */
	PHASE_SETTLING, /* all sent, the first query not yet */
	PHASE_ASKED,
	PHASE_DEAD, /* no query was answered; single ones from time to time */
};

static inline uint32_t query_size(const struct pmtu *m)
{
	return m->around + QUERY_LEN;
}

/* BASE_PLPMTU, where this host's own MTU is not below it. */
static inline uint32_t pmtu_base(const struct pmtu *m)
{
	return m->max < PMTU_BASE ? m->max : PMTU_BASE;
}

/* Numbers, notes and fills in a probe of `size` bytes; `watch`: IP packet bytes, or 0. */
void pmtu_send(struct pmtu *m, uint32_t size, uint32_t watch, struct pmtu_probe *out);

/* pmtu_plan.c: m->round begins, with a plan and nothing sent */

void pmtu_plan_first(struct pmtu *m);
void pmtu_plan_spread(struct pmtu *m);
void pmtu_plan(struct pmtu *m, enum round_kind kind, uint32_t size, unsigned copies);

/* pmtu_round.c */

/* A new search: `low` passes, `high` and above are not tried. */
void pmtu_search(struct pmtu *m, nsec now, uint32_t low, uint32_t high, enum pmtu_reason why);
/* Whatever low and high ask for next. */
void pmtu_search_on(struct pmtu *m, nsec now);
/* As before a round that was about something else: searching, or complete. */
void pmtu_resume(struct pmtu *m, nsec now);
/* `size` may have become too much; `evidence`: packets of it that were lost. */
void pmtu_suspect(struct pmtu *m, nsec now, uint32_t size, uint32_t evidence, enum pmtu_reason why);
bool pmtu_round_poll(struct pmtu *m, nsec now, struct pmtu_probe *out);
/* The acks up to number `newest` have been believed: is the round over? */
void pmtu_round_answered(struct pmtu *m, nsec now, uint32_t newest);
/* The largest size of the round that is sent and not acknowledged, 0 where there is none. */
uint32_t pmtu_round_open(const struct pmtu *m);

/* pmtu_watch.c */
void pmtu_watch_reset(struct pmtu *m);
bool pmtu_watch_poll(struct pmtu *m, nsec now, struct pmtu_probe *out);
void pmtu_watch_acked(struct pmtu *m, nsec now, const struct frame_ack *ack);

#endif
