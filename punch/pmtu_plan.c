/* SPDX-License-Identifier: Apache-2.0 */
/* The search: which sizes a round tries. */
#include "punch/pmtu_core.h"

enum {
	JUMBO_USUAL = 8896, /* what switches and clouds call 9000 */
	MOST_HINTED = 3, /* rounds of a search that follow ICMP messages, which anybody can forge */
};

/* The most telling first: where a round has no room for all, the last ones are left out. */
static const uint16_t usual[] = { 1280, 1500, 1400, 1452, 1492, 1420 };

/* Where a search often ends: a usual size, or the first that was found. */
static bool stands_out(const struct pmtu *m, uint32_t low)
{
	for (unsigned i = 0; i < ARRAY_SIZE(usual); i++)
		if (usual[i] == low)
			return true;
	return low == JUMBO_USUAL || low == m->search.first;
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
 * The size that is believed is to be proven again, so it goes several times. Where it is dear, all
 * above it is left to later rounds, and the last of its tries to the round that goes again.
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
	for (unsigned i = 0; i < (again ? 3 : ARRAY_SIZE(usual)); i++)
		plan_new(m, usual[i]);
}

/* One dear size: first whether low was it already, then what is usual, then the middle. */
static uint32_t jumbo_point(const struct pmtu *m)
{
	const struct pmtu_search *s = &m->search;
	if (stands_out(m, s->low))
		return s->low + 1;
	if (JUMBO_USUAL > s->low && JUMBO_USUAL < s->high)
		return JUMBO_USUAL;
	return s->high > m->max ? m->max : s->low + (s->high - s->low) / 2;
}

/* A step that closes the gap to a quarter; whether low was it already costs one probe more. */
static void plan_quarters(struct pmtu *m, uint32_t low, uint32_t gap)
{
	plan_new(m, low + 1);
	for (uint32_t i = 1; i < 4; i++)
		plan_new(m, low + (gap <= 5 ? i + 1 : i * gap / 4));
}

void pmtu_plan_spread(struct pmtu *m)
{
	uint32_t low = m->search.low, gap = m->search.high - low;
	plan_clear(m, ROUND_SPREAD);
	if (m->search.hinted < MOST_HINTED && plan_hint(m))
		m->search.hinted++;
	else if (m->search.high > PMTU_JUMBO)
		plan_new(m, jumbo_point(m));
	else
		plan_quarters(m, low, gap);
}
