/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/batching.h"

#define SINGLES_FOR (600 * NSEC_PER_SEC)
#define PAUSE_FIRST (60 * NSEC_PER_SEC)
#define PAUSE_MOST (600 * NSEC_PER_SEC)
#define WINDOW (2 * NSEC_PER_SEC) /* an older one says nothing of now */

enum {
	ENOUGH = 24,	   /* datagrams for a verdict */
	BAD_OF_1000 = 125, /* lost: worth a trial */
	MUCH_BETTER = 4,   /* times fewer are lost singly: the batches are to blame */
};

static void window_new(struct batching *b, nsec now)
{
	b->sent = b->arrived = 0;
	b->since = now;
}

static void enter(struct batching *b, nsec now, enum batching_state state, nsec lasts)
{
	b->state = state;
	b->until = now + lasts;
	b->mixed = true;
	window_new(b, now);
}

static uint32_t lost_of_1000(const struct batching *b)
{
	return (uint32_t)((uint64_t)(b->sent - b->arrived) * 1000 / b->sent);
}

static bool end_of_window(struct batching *b, nsec now)
{
	uint32_t lost = lost_of_1000(b);

	if (b->state == BATCHING_TRIAL && lost * MUCH_BETTER < b->lost_of_1000) {
		b->pause = 0;
		enter(b, now, BATCHING_SINGLES, SINGLES_FOR);
		return true;
	}
	if (b->state == BATCHING_TRIAL) {
		b->pause = b->pause ? nsec_min(2 * b->pause, PAUSE_MOST) : PAUSE_FIRST;
		enter(b, now, BATCHING_BATCHES, b->pause);
		return true;
	}
	if (b->state == BATCHING_BATCHES && lost >= BAD_OF_1000 && now >= b->until) {
		b->lost_of_1000 = lost;
		enter(b, now, BATCHING_TRIAL, 0);
		return true;
	}
	window_new(b, now);
	return false;
}

bool batching_report(struct batching *b, nsec now, uint32_t sent, uint32_t arrived)
{
	if (b->state == BATCHING_SINGLES) {
		if (now >= b->until)
			enter(b, now, BATCHING_BATCHES, 0);
		return b->state == BATCHING_BATCHES;
	}
	if (b->mixed) { /* on its way when the state changed */
		b->mixed = false;
		return false;
	}
	if (now - b->since > WINDOW && b->state == BATCHING_BATCHES)
		window_new(b, now);
	b->sent += sent;
	b->arrived += arrived < sent ? arrived : sent;
	return b->sent >= ENOUGH && end_of_window(b, now);
}
