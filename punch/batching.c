/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/batching.h"

#define SINGLES_FOR (600 * NSEC_PER_SEC)
#define PAUSE_FIRST (60 * NSEC_PER_SEC)
#define PAUSE_MOST (600 * NSEC_PER_SEC)
#define WINDOW (2 * NSEC_PER_SEC)      /* an older one says nothing of now */
#define TRIAL_MOST (60 * NSEC_PER_SEC) /* nor does an older trial */

enum {
	ENOUGH = 24,	   /* datagrams for a window or a turn */
	BAD_OF_1000 = 125, /* lost: worth a trial */
	MUCH_BETTER = 4,   /* times fewer are lost singly */
	MORE_BY = 8,	   /* an eighth more arrive singly: the batches are to blame */
	TURNS = 8,
	TURNS_CLEAR = 3, /* enough where MUCH_BETTER times as many arrive singly */
};

static const bool turn_of_batches[TURNS] = { false, true, true, false, true, false, false, true };

bool batching_allowed(const struct batching *b)
{
	if (b->state == BATCHING_TRIAL)
		return turn_of_batches[b->turn];
	return b->state == BATCHING_BATCHES;
}

static void window_new(struct batching *b, nsec now)
{
	b->now = (struct batching_count){ 0 };
	b->since = now;
}

static void enter(struct batching *b, nsec now, enum batching_state state, nsec lasts)
{
	bool allowed = batching_allowed(b);

	b->state = state;
	b->turn = 0;
	b->until = now + lasts;
	b->mixed = allowed != batching_allowed(b);
	b->batches = b->singles = (struct batching_count){ 0 };
	b->best = 0;
	window_new(b, now);
}

static void trial_over(struct batching *b, nsec now)
{
	b->pause = b->pause ? nsec_min(2 * b->pause, PAUSE_MOST) : PAUSE_FIRST;
	enter(b, now, BATCHING_BATCHES, b->pause);
}

static void add(struct batching_count *sum, const struct batching_count *c)
{
	sum->sent += c->sent;
	sum->arrived += c->arrived;
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
	const struct batching_count *t = &b->batches;
	uint32_t lost = t->sent ? lost_of_1000(t) : b->lost_of_1000;

	return lost_of_1000(&b->singles) * MUCH_BETTER < lost &&
	       (!t->sent || rate(&b->singles) > b->best + b->best / MORE_BY);
}

/* Half of what is bad: by chance a turn loses less than another. */
static bool turn_is_well(const struct batching *b)
{
	return batching_allowed(b) && lost_of_1000(&b->now) < BAD_OF_1000 / 2;
}

static void count_turn(struct batching *b)
{
	if (!batching_allowed(b)) {
		add(&b->singles, &b->now);
		return;
	}
	add(&b->batches, &b->now);
	if (rate(&b->now) > b->best)
		b->best = rate(&b->now);
}

static void next_turn(struct batching *b, nsec now)
{
	bool batches = batching_allowed(b);

	b->turn++;
	b->mixed = batching_allowed(b) != batches;
	window_new(b, now);
}

static bool trial_is_clear(const struct batching *b)
{
	unsigned turns = b->turn + 1;

	return turns == TURNS ||
	       (turns >= TURNS_CLEAR && rate(&b->singles) > b->best * MUCH_BETTER);
}

static void end_of_turn(struct batching *b, nsec now)
{
	count_turn(b);
	if (turn_is_well(b) || !batches_are_to_blame(b)) {
		trial_over(b, now);
	} else if (trial_is_clear(b)) {
		b->pause = 0;
		enter(b, now, BATCHING_SINGLES, SINGLES_FOR);
	} else {
		next_turn(b, now);
	}
}

static void end_of_window(struct batching *b, nsec now)
{
	uint32_t lost = lost_of_1000(&b->now);

	if (b->state == BATCHING_TRIAL) {
		end_of_turn(b, now);
	} else if (lost >= BAD_OF_1000 && now >= b->until) {
		enter(b, now, BATCHING_TRIAL, TRIAL_MOST);
		b->lost_of_1000 = lost;
	} else {
		window_new(b, now);
	}
}

void batching_report(struct batching *b, nsec now, uint32_t sent, uint32_t arrived, nsec time)
{
	if (b->state == BATCHING_SINGLES) {
		if (now >= b->until)
			enter(b, now, BATCHING_BATCHES, 0);
		return;
	}
	if (b->state == BATCHING_TRIAL && now >= b->until) {
		trial_over(b, now);
		return;
	}
	if (b->mixed) { /* on its way when the kind changed */
		b->mixed = false;
		return;
	}
	if (now - b->since > WINDOW && b->state == BATCHING_BATCHES)
		window_new(b, now);
	add(&b->now, &(struct batching_count){ sent, arrived < sent ? arrived : sent, time });
	if (b->now.sent >= ENOUGH)
		end_of_window(b, now);
}
