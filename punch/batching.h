/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do batches arrive as single datagrams do? Some kernels and drivers mangle what is offloaded to them,
 * and nobody says so; but a peer that counts what arrived (pmtu.h, `watch`) shows it. Sans-IO, one for
 * each path and direction.
 *
 *   BATCHES  while an eighth or more of what is sent so is lost, at most so often: a
 *   TRIAL    of single datagrams. Those lose less than a quarter of that share: the batches are to blame:
 *   SINGLES  for ten minutes, then batches are tried again.
 *
 * Where a trial shows that single datagrams are lost as well, it is the path: back to batches, and the
 * next trial comes after one, two, four … ten minutes.
 */
#ifndef WARREN_BATCHING_H
#define WARREN_BATCHING_H

#include "base/base.h"

enum batching_state { BATCHING_BATCHES, BATCHING_TRIAL, BATCHING_SINGLES };

struct batching {
	enum batching_state state;
	uint32_t sent, arrived;	  /* datagrams, in this window */
	uint32_t lost_of_1000;	  /* of batches, in the window that led to the trial */
	bool mixed;		  /* the next report is about both kinds */
	nsec since, until, pause; /* of the window; of the state, or of the pause between trials */
};

/* Of `sent` large datagrams `arrived` did. True when the state is another one now. */
bool batching_report(struct batching *b, nsec now, uint32_t sent, uint32_t arrived);

static inline bool batching_allowed(const struct batching *b)
{
	return b->state == BATCHING_BATCHES;
}

#endif
