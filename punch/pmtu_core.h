/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the path MTU search share: pmtu.c, pmtu_*.c without _seen. pmtu.h tells it all. */
#ifndef WARREN_PMTU_CORE_H
#define WARREN_PMTU_CORE_H

#include "punch/pmtu.h"

enum {
	QUERY_LEN = PROBE_LEN + 32, /* a WireGuard message around the shortest probe */
	PMTU_USUAL = 1500,	    /* what most lines take; above it one size at a time is tried */
	PMTU_JUMBO = 2000,	    /* sizes above it are dear */
	PMTU_HINT_SHARE = 2, /* of what is paid for between searches, for those who forge ICMP */
};

enum fate { FATE_OPEN, FATE_LOST, FATE_SEEN };

enum round_kind {
	ROUND_FIRST,   /* the usual sizes, and the one that is believed */
	ROUND_SPREAD,  /* some between low and high, once each */
	ROUND_CONFIRM, /* low + 1, several times */
	ROUND_VERIFY,  /* the suspected size, several times */
	ROUND_RAISE,   /* after the search: one size between low and high, or low + 1 */
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

/* How long it takes until so many bytes are paid off. */
static inline nsec pmtu_worth(uint32_t bytes)
{
	return (nsec)bytes * 60 * NSEC_PER_SEC / PMTU_IDLE_BYTES;
}

/* Numbers, notes and fills in a probe of `size` bytes; `watch`: IP packet bytes, or 0. */
void pmtu_send(struct pmtu *m, uint32_t size, uint32_t watch, struct pmtu_probe *out);

/* pmtu_plan.c: m->round begins, with a plan and nothing sent */

void pmtu_plan_first(struct pmtu *m);
void pmtu_plan_spread(struct pmtu *m);
void pmtu_plan(struct pmtu *m, enum round_kind kind, uint32_t size, unsigned copies);
/* The one size that tells the most, low + 1 where low and high have met. */
uint32_t pmtu_next_size(const struct pmtu *m);

/* pmtu_round.c */

/* A new search, from MIN: `high` and above are not tried, and so many bytes are spent already. */
void pmtu_search_anew(struct pmtu *m, nsec now, uint32_t high, enum pmtu_reason why,
		      uint32_t spent);
/* On from low, which was believed to be all and was not: for what the account has. */
void pmtu_search_up(struct pmtu *m, nsec now);
/* Whatever low and high ask for next. */
void pmtu_search_on(struct pmtu *m, nsec now);
/* As before a round that was about something else: searching, or complete. */
void pmtu_resume(struct pmtu *m, nsec now);
/* So long nothing of what is watched must have arrived: longer where that proved nothing of late. */
nsec pmtu_patience(const struct pmtu *m, nsec now);
/* `size` may have become too much; `evidence`: packets of it that were lost. */
void pmtu_suspect(struct pmtu *m, nsec now, uint32_t size, uint32_t evidence, enum pmtu_reason why);
bool pmtu_round_poll(struct pmtu *m, nsec now, struct pmtu_probe *out);
/* The acks up to number `newest` have been believed: is the round over? */
void pmtu_round_answered(struct pmtu *m, nsec now, uint32_t newest);
/* The largest size of the round that is sent and not acknowledged, 0 where there is none. */
uint32_t pmtu_round_open(const struct pmtu *m);

/* pmtu_account.c */

/* `spent` already; a verification may have cost more than there is: jumbo probes, queries repeated. */
void pmtu_account_anew(struct pmtu *m, nsec now, uint32_t spent);
/* A verification is not asked whether it may: it is the reason why the account may be overdrawn. */
void pmtu_spend(struct pmtu *m, nsec now, uint32_t bytes);
/* Copies at the end of the plan that are too many are left out. False: not even the first has room. */
bool pmtu_affordable(struct pmtu *m, nsec now);

/* pmtu_watch.c */
void pmtu_watch_reset(struct pmtu *m);
bool pmtu_watch_poll(struct pmtu *m, nsec now, struct pmtu_probe *out);
void pmtu_watch_acked(struct pmtu *m, nsec now, const struct frame_ack *ack);

#endif
