/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do batches arrive as single datagrams do? Some kernels and drivers mangle what is offloaded to them,
 * and nobody says so; but a peer that counts what arrived (pmtu.h, `watch`) shows it. Sans-IO, one for
 * each path and direction.
 *
 *   BATCHES  while an eighth or more of what is sent so is lost, at most so often: a
 *   TRIAL    of eight turns, of single datagrams or batches; three where it is clear. Where batches are lost
 *            in each of theirs, single ones less than a quarter as often, and more of these arrive in the
 *            same time than in the best turn of batches, batches are to blame:
 *   SINGLES  for ten minutes, then batches are tried again.
 *
 * Any turn that says otherwise ends the trial; the next one comes after one, two, four … ten minutes. A path
 * that is overloaded loses less of single datagrams, too, where this host sends fewer of them in the same
 * time: so more of them must arrive. And load comes and goes: so there are turns, in the order of Thue and
 * Morse, which no steady rise, fall or beat of the load resembles.
 */
#ifndef WARREN_BATCHING_H
#define WARREN_BATCHING_H

#include "base/base.h"

enum batching_state { BATCHING_BATCHES, BATCHING_TRIAL, BATCHING_SINGLES };

struct batching {
	enum batching_state state;
	unsigned turn; /* of the trial */
	struct batching_count {
		uint32_t sent, arrived; /* datagrams */
		nsec time;		/* in which they were sent */
	} now, batches, singles;	/* this window or turn; the trial's turns before it */
	uint64_t best;			/* that arrived in a second in one turn of batches */
	uint32_t lost_of_1000;		/* of batches, in the window that led to the trial */
	bool mixed;			/* the next report is about both kinds */
	nsec since, until, pause; /* of the window; of the state, or of the pause between trials */
};

/* Of `sent` large datagrams, sent in `time`, `arrived` did. */
void batching_report(struct batching *b, nsec now, uint32_t sent, uint32_t arrived, nsec time);

/* May the next datagrams leave as a batch? */
bool batching_allowed(const struct batching *b);

#endif
