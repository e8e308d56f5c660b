/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlines: an intrusive pairing heap. A timer is embedded in what it wakes; the heap owns nothing.
 */
#ifndef WARREN_HEAP_H
#define WARREN_HEAP_H

#include "base/base.h"

struct timer {
	nsec at;
	struct timer *child, *next, **link; /* link: who points at us; NULL while not armed */
};

struct heap {
	struct timer *root;
};

/* Arms `t`, or moves it; NSEC_NEVER disarms. */
void heap_set(struct heap *h, struct timer *t, nsec at);
void heap_cancel(struct heap *h, struct timer *t);
/* The earliest timer if it is due at `now`, disarmed; else NULL. */
struct timer *heap_due(struct heap *h, nsec now);

static inline nsec heap_deadline(const struct heap *h)
{
	return h->root ? h->root->at : NSEC_NEVER;
}

static inline bool timer_armed(const struct timer *t)
{
	return t->link;
}

#endif
