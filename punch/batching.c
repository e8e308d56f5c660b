/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/batching.h"

#define SINGLES_FOR (600 * NSEC_PER_SEC)
#define PAUSE_FIRST (60 * NSEC_PER_SEC)
#define PAUSE_MOST (600 * NSEC_PER_SEC)
#define WINDOW (2 * NSEC_PER_SEC) /* an older one says nothing of now */

enum {
	ENOUGH = 24,  /* datagrams for a window */
	FEW = 12,     /* for a turn: TCP that stalls sends hardly more */
	PLENTY = 200, /* for a turn of batches of which hardly any is lost: that may be chance */
	BAD_OF_1000 = 125, /* lost: worth a trial */
	MUCH_BETTER = 4,   /* times fewer are lost singly */
	MORE_BY = 8,	   /* an eighth more arrive singly: the batches are to blame */
	TURNS = 8,
	TURNS_CLEAR = 5, /* enough where MUCH_BETTER times as many arrive singly */
};

static const bool turn_is_singly[TURNS] = { true, false, false, true, false, true, true, false };

static bool wants_singly(const struct batching *b)
{
	if (b->state == BATCHING_TRIAL)
		return turn_is_singly[b->turn];
	return b->state == BATCHING_SINGLES;
}

void batching_asked(struct batching *b)
{
	b->singly_before = b->singly;
	b->singly = wants_singly(b);
}

void batching_rest(struct batching *b)
{
	if (b->state == BATCHING_TRIAL)
		b->singly = false;
}

static void window_new(struct batching *b, nsec now)
{
	b->window = (struct batching_count){ 0 };
	b->since = now;
}

static void enter(struct batching *b, nsec now, enum batching_state state, nsec lasts)
{
	b->state = state;
	if (state != BATCHING_TRIAL) /* where nothing is compared, at once */
		b->singly = wants_singly(b);
	b->until = now + lasts;
	b->turn = 0;
	b->batches = b->singles = (struct batching_count){ 0 };
	b->best = 0;
	window_new(b, now);
}

static void count_add(struct batching_count *sum, const struct batching_count *c)
{
	sum->sent += c->sent;
	sum->arrived += c->arrived < c->sent ? c->arrived : c->sent;
	sum->time += c->time;
}

static uint32_t lost_of_1000(const struct batching_count *c)
{
	return (uint32_t)((uint64_t)(c->sent - c->arrived) * 1000 / c->sent);
}

/* Arrived, in a second. */
static uint64_t rate(const struct batching_count *c)
{
	return (uint64_t)c->arrived * NSEC_PER_SEC / (uint64_t)nsec_max(c->time, 1);
}

/* What the turns up to now say; there was one of single datagrams. */
static bool batches_are_to_blame(const struct batching *b)
{
	bool both = b->batches.sent;
	uint32_t lost = both ? lost_of_1000(&b->batches) : b->lost_of_1000;

	return lost_of_1000(&b->singles) * MUCH_BETTER < lost &&
	       (!both || rate(&b->singles) > b->best + b->best / MORE_BY);
}

static bool trial_is_clear(const struct batching *b)
{
	unsigned turns = b->turn + 1;

	return turns == TURNS ||
	       (turns >= TURNS_CLEAR && rate(&b->singles) > b->best * MUCH_BETTER);
}

static void trial_over(struct batching *b, nsec now)
{
	b->pause = b->pause ? nsec_min(2 * b->pause, PAUSE_MOST) : PAUSE_FIRST;
	enter(b, now, BATCHING_BATCHES, b->pause);
}

static void next_turn(struct batching *b, nsec now)
{
	if (!batches_are_to_blame(b)) {
		trial_over(b, now);
	} else if (trial_is_clear(b)) {
		b->pause = 0;
		enter(b, now, BATCHING_SINGLES, SINGLES_FOR);
	} else {
		b->turn++;
		window_new(b, now);
	}
}

static void turn(struct batching *b, nsec now)
{
	const struct batching_count *w = &b->window;
	bool hardly_lost = lost_of_1000(w) < BAD_OF_1000 / 2;

	if (wants_singly(b)) { /* `singly` may be at rest */
		count_add(&b->singles, w);
		next_turn(b, now);
	} else if (!hardly_lost) {
		count_add(&b->batches, w);
		b->best = rate(w) > b->best ? rate(w) : b->best;
		next_turn(b, now);
	} else if (w->sent >= PLENTY) {
		trial_over(b, now);
	}
}

static void window(struct batching *b, nsec now)
{
	uint32_t lost = lost_of_1000(&b->window);

	if (lost < BAD_OF_1000 || now < b->until) {
		window_new(b, now);
		return;
	}
	if (now - b->until > PAUSE_MOST) /* the last one is long ago */
		b->pause = 0;
	enter(b, now, BATCHING_TRIAL, 0);
	b->lost_of_1000 = lost;
}

void batching_report(struct batching *b, nsec now, const struct batching_count *c)
{
	if (b->state == BATCHING_SINGLES) {
		if (now >= b->until)
			enter(b, now, BATCHING_BATCHES, 0);
		return;
	}
	if (b->singly_before != wants_singly(b)) /* sent in the turn before, or in part */
		return;
	if (now - b->since > WINDOW && b->state == BATCHING_BATCHES)
		window_new(b, now);
	count_add(&b->window, c);
	if (b->state == BATCHING_TRIAL && b->window.sent >= FEW)
		turn(b, now);
	else if (b->state == BATCHING_BATCHES && b->window.sent >= ENOUGH)
		window(b, now);
}
