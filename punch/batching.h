/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do batches arrive as single datagrams do? Some kernels and drivers mangle what is offloaded to them,
 * and nobody says so; but a peer that counts what arrived (pmtu.h, `watch`) shows it. Sans-IO, one for
 * each path and direction.
 *
 *   BATCHES  while an eighth or more of what is sent so is lost: a
 *   TRIAL    of eight turns, of single datagrams or batches; five where it is clear. Where batches are lost
 *            in each of theirs, single ones less than a quarter as often, and an eighth more of these arrive
 *            in the same time than in the best turn of batches, batches are to blame:
 *   SINGLES  for ten minutes, then batches are tried again.
 *
 * A turn that says otherwise ends the trial; the next one may come after one, two, four … ten minutes, and
 * ten minutes later after one again. A path that is overloaded loses less of single datagrams, too, where
 * this host sends fewer of them in the same time: so more of them must arrive. And load comes and goes: so
 * there are turns, in the order of Thue and Morse, which load or radio hardly keeps time with. A driver that
 * loses less than half of the batches is found out under a steady load, if at all.
 */
#ifndef WARREN_BATCHING_H
#define WARREN_BATCHING_H

#include "base/base.h"

enum batching_state { BATCHING_BATCHES, BATCHING_TRIAL, BATCHING_SINGLES };

struct batching_count {
	uint32_t sent, arrived; /* datagrams; more may arrive, which were under way */
	nsec time;		/* from the first of them to the query behind the last */
};

struct batching {
	enum batching_state state;
	bool singly, singly_before; /* what is sent now; before the last query */
	unsigned turn;		    /* of the trial */
	struct batching_count window, batches, singles; /* this one or turn; the turns before it */
	uint64_t best;		  /* that arrived in a second in one turn of batches */
	uint32_t lost_of_1000;	  /* of batches, in the window that led to the trial */
	nsec since, until, pause; /* of the window; of the state, or of the pause between trials */
};

/* A query leaves, and is no repetition: what is sent from now on is of the turn's kind. */
void batching_asked(struct batching *b);
/* The answer to it. */
void batching_report(struct batching *b, nsec now, const struct batching_count *c);

/* Nothing that counts is sent: the rest goes in batches; a trial goes on with the next query. */
void batching_rest(struct batching *b);

/* May the next datagrams leave as a batch? */
static inline bool batching_allowed(const struct batching *b)
{
	return !b->singly;
}

#endif
