/* SPDX-License-Identifier: Apache-2.0 */
/* The search: which sizes a round tries. */
#include "punch/pmtu_core.h"

enum {
	MOST_HINTED = 3, /* rounds of a search that follow ICMP messages, which anybody can forge */
	MOST_RISES = 2,	 /* then it may be high that is wrong */
};

/* The most telling first: where a round has no room for all, the last ones are left out. */
static const uint16_t usual[] = { 1280, 1500, 1400, 1452, 1492, 1420 };

/*
 * What lines and clouds call jumbo. The first are tried by themselves, the second of them with one byte
 * more: between the two there is little. The others where the middle is near them.
 */
enum { JUMBO_LEAST = 8896, JUMBO_USUAL = 8900 };
static const uint16_t jumbo[] = { 4096, JUMBO_LEAST, JUMBO_USUAL };

static bool among(const uint16_t *sizes, size_t n, uint32_t size)
{
	for (size_t i = 0; i < n; i++)
		if (sizes[i] == size)
			return true;
	return false;
}

/* Where a search often ends: a usual size, or the first that was found. */
static bool stands_out(const struct pmtu *m, uint32_t low)
{
	return among(usual, ARRAY_SIZE(usual), low) || among(jumbo, ARRAY_SIZE(jumbo), low) ||
	       low == m->search.first;
}

static void plan_clear(struct pmtu *m, enum round_kind kind)
{
	m->round = (struct pmtu_round){ .kind = (uint8_t)kind };
}

/* Keeps the sizes rising. What may not be tried, or finds no room, is left out. */
static void plan_add(struct pmtu *m, uint32_t size)
{
	struct pmtu_round *r = &m->round;
	if (size <= m->min || size > m->max || r->len == PMTU_ROUND)
		return;
	unsigned at = r->len++;
	for (; at && r->plan[at - 1] > size; at--)
		r->plan[at] = r->plan[at - 1];
	r->plan[at] = size;
}

static void plan_copies(struct pmtu *m, uint32_t size, unsigned n)
{
	while (n--)
		plan_add(m, size);
}

void pmtu_plan(struct pmtu *m, enum round_kind kind, uint32_t size, unsigned copies)
{
	plan_clear(m, kind);
	plan_copies(m, size, copies);
}

/* A size that says something: between low and high, and not planned yet. */
static bool plan_new(struct pmtu *m, uint32_t size)
{
	if (size <= m->search.low || size >= m->search.high)
		return false;
	for (unsigned i = 0; i < m->round.len; i++)
		if (m->round.plan[i] == size)
			return false;
	plan_add(m, size);
	return true;
}

/* Where a search narrows, an ICMP message may say where to: its MTU passes, one more does not. */
static bool plan_hint(struct pmtu *m)
{
	if (!m->hint)
		return false;
	bool below = plan_new(m, m->hint), above = plan_new(m, m->hint + 1);
	return below || above;
}

/*
 * The size that is believed is to be proven again, so it goes several times; once where it is dear, and all
 * above it is left to later rounds. Where there may be more than the usual, bytes are needed for that:
 * those between 1280 and 1500 can wait a round.
 */
void pmtu_plan_first(struct pmtu *m)
{
	bool believed = m->size > m->search.low && m->size < m->search.high;
	bool dear = believed && m->size > PMTU_JUMBO, again = m->search.again;
	plan_clear(m, ROUND_FIRST);
	if (believed)
		plan_copies(m, m->size, !dear ? PMTU_MAX_PROBES : again ? 1 : PMTU_MAX_PROBES - 1);
	if (!again && !dear)
		plan_new(m, m->max);
	if (!again)
		plan_hint(m);
	bool rich = dear || (!believed && m->search.high > PMTU_JUMBO);
	size_t n = again ? 3 : rich ? 2 : ARRAY_SIZE(usual);
	for (size_t i = 0; i < n; i++)
		plan_new(m, usual[i]);
}

static bool within(const struct pmtu *m, uint32_t size)
{
	return size > m->search.low && size < m->search.high;
}

/*
 * Sizes cost what they are, so the middle is the geometric one: the same share is unknown on both of
 * its sides. A size that is usual is as good, where it leaves a quarter on each.
 */
static uint32_t middle(uint32_t low, uint32_t high)
{
	uint32_t gap = high - low, at = low + gap / 2;
	while (at > low + 1 && at * at > low * high)
		at -= 1 + gap / 64;
	for (unsigned i = 0; i < ARRAY_SIZE(jumbo); i++)
		if (jumbo[i] >= low + gap / 4 && jumbo[i] <= low + gap * 3 / 4 && jumbo[i] > low)
			return jumbo[i];
	return at > low ? at : low + 1;
}

uint32_t pmtu_next_size(const struct pmtu *m)
{
	const struct pmtu_search *s = &m->search;
	bool stands = stands_out(m, s->low);
	if (s->low < JUMBO_LEAST && stands)
		return s->low + 1;
	if (s->high > m->max)
		return m->max;
	if (s->rises >= MOST_RISES && m->state == PMTU_SEARCH_COMPLETE)
		return s->high;
	if (within(m, JUMBO_LEAST))
		return JUMBO_LEAST;
	if (s->low == JUMBO_LEAST && within(m, JUMBO_USUAL + 1))
		return JUMBO_USUAL + 1;
	return stands ? s->low + 1 : middle(s->low, s->high);
}

/*
 * The usual sizes that were not tried, or a step that closes the gap to a quarter; whether low was it
 * already costs one probe more. Where packets get lost, the size that it stopped at goes again: all below
 * it is in vain where it passes.
 */
static void plan_quarters(struct pmtu *m, uint32_t low, uint32_t gap)
{
	bool any = false;
	for (unsigned i = 0; i < ARRAY_SIZE(usual); i++)
		any |= plan_new(m, usual[i]);
	plan_new(m, low + 1);
	for (uint32_t i = 1; i < 4 && !any; i++)
		plan_new(m, low + (gap <= 5 ? i + 1 : i * gap / 4));
	if (m->search.lossy)
		plan_add(m, m->search.high);
}

void pmtu_plan_spread(struct pmtu *m)
{
	uint32_t low = m->search.low, high = m->search.high;
	plan_clear(m, ROUND_SPREAD);
	if (m->search.hinted < MOST_HINTED && plan_hint(m))
		m->search.hinted++;
	else if (low >= PMTU_USUAL || high > PMTU_JUMBO)
		plan_new(m, pmtu_next_size(m));
	else
		plan_quarters(m, low, high - low);
}
