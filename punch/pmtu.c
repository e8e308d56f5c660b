/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Path MTU search: begin and end, what the answers prove, what others say. The rounds are in
 * pmtu_round.c, what they try in pmtu_plan.c, what they may cost in pmtu_account.c, black holes in
 * pmtu_watch.c.
 */
#include "punch/pmtu_core.h"

static uint32_t clamp_max(const struct pmtu *m, uint32_t max)
{
	uint32_t most = max < PMTU_MAX ? max : PMTU_MAX;
	return most > m->min ? most : m->min;
}

static void resize(struct pmtu *m, uint32_t size, enum pmtu_reason why)
{
	if (size == m->size)
		return;
	m->size = size;
	m->reason = why;
}

void pmtu_init(struct pmtu *m, uint32_t min, uint32_t around)
{
	*m = (struct pmtu){ .around = around, .min = min, .max = min, .size = min };
	m->reason = PMTU_ENDED;
	m->due = NSEC_NEVER;
	m->watch.asked_at = -NSEC_PER_SEC;
	pmtu_watch_reset(m);
}

void pmtu_start(struct pmtu *m, nsec now, uint32_t path, uint32_t max)
{
	if (path != m->path) {
		m->path = path;
		m->number = 0;
		memset(m->sent, 0, sizeof(m->sent));
	}
	m->max = clamp_max(m, max);
	if (m->size > m->max)
		resize(m, m->max, PMTU_LOCAL);
	m->hint = 0;
	m->shrunk = false;
	pmtu_watch_reset(m);
	pmtu_search_anew(m, now, m->max + 1, PMTU_SMALLER, 0);
}

void pmtu_stop(struct pmtu *m)
{
	m->state = PMTU_DISABLED;
	m->due = NSEC_NEVER;
	resize(m, m->min, PMTU_ENDED);
	pmtu_watch_reset(m);
}

static void shrink_max(struct pmtu *m, nsec now)
{
	struct pmtu_search *s = &m->search;
	const struct pmtu_round *r = &m->round;
	if (m->size > m->max) {
		resize(m, m->max, PMTU_LOCAL);
		pmtu_watch_reset(m);
	}
	s->low = s->low < m->max ? s->low : m->max;
	s->high = s->high < m->max + 1 ? s->high : m->max + 1;
	/* What is in flight may be of no use now. But the first round says more than what is above it. */
	if (r->phase != PHASE_DEAD && (r->phase == PHASE_IDLE || r->kind != ROUND_FIRST))
		pmtu_resume(m, now);
}

static void grow_max(struct pmtu *m, nsec now, uint32_t before)
{
	if (m->search.high > before)
		m->search.high = m->max + 1;
	if (m->state == PMTU_SEARCH_COMPLETE && m->size == before)
		pmtu_search_anew(m, now, m->max + 1, PMTU_LOCAL, 0);
}

void pmtu_set_max(struct pmtu *m, nsec now, uint32_t max)
{
	uint32_t before = m->max;
	m->max = clamp_max(m, max);
	if (m->state == PMTU_DISABLED || m->max == before)
		return;
	if (m->max < before)
		shrink_max(m, now);
	else
		grow_max(m, now, before);
}

/* --- what goes out --- */

void pmtu_send(struct pmtu *m, uint32_t size, uint32_t watch, struct pmtu_probe *out)
{
	uint32_t number = ++m->number;
	struct pmtu_sent *s = &m->sent[number % PMTU_WINDOW];
	m->lost += s->number && s->fate == FATE_OPEN;
	*s = (struct pmtu_sent){ .number = number, .size = (uint16_t)size };
	m->probes++;
	m->bytes += size;
	*out = (struct pmtu_probe){
		.size = size,
		.frame = { .size = (uint16_t)(size - m->around), .path = m->path, .number = number }
	};
	if (watch)
		out->frame.watch = (uint16_t)(watch - m->around);
}

bool pmtu_poll(struct pmtu *m, nsec now, nsec rtt, struct pmtu_probe *out)
{
	if (m->state == PMTU_DISABLED)
		return false;
	m->rtt = rtt;
	return pmtu_round_poll(m, now, out) || pmtu_watch_poll(m, now, out);
}

nsec pmtu_deadline(const struct pmtu *m)
{
	return m->state == PMTU_DISABLED ? NSEC_NEVER
					 : nsec_min(m->due, nsec_min(m->watch.due, m->watch.fall));
}

/* --- what comes back --- */

/* The least of what is larger than low and did not arrive in this search; max + 1 where all did. */
static uint32_t least_lost(const struct pmtu *m)
{
	uint32_t least = m->max + 1;
	for (unsigned i = 0; i < PMTU_WINDOW; i++) {
		const struct pmtu_sent *s = &m->sent[i];
		if (s->fate == FATE_LOST && s->number > m->search.floor &&
		    s->size > m->search.low && s->size < least)
			least = s->size;
	}
	return least;
}

/* An acknowledged size is believed at once, whatever was thought of it. */
static void believe(struct pmtu *m, uint32_t number, uint32_t sent)
{
	struct pmtu_search *s = &m->search;
	uint32_t size = sent < m->max ? sent : m->max;
	if (number <= s->floor)
		return;
	if (number >= m->round.first && sent > m->round.best && sent > query_size(m))
		m->round.best = sent;
	if (size > s->low)
		s->low = size;
	if (s->low >= s->high) {
		s->high = least_lost(m);
		s->lossy |= m->state != PMTU_SEARCH_COMPLETE; /* else the path may have grown */
	}
	if (size > m->size)
		resize(m, size, PMTU_FOUND);
	/* The first round has a result when it is over: its sizes come one by one. */
	if (s->low >= pmtu_base(m) && m->state == PMTU_ERROR)
		m->state = PMTU_SEARCHING;
}

static void note_fate(struct pmtu *m, uint32_t number, bool seen)
{
	struct pmtu_sent *s = &m->sent[number % PMTU_WINDOW];
	if (s->number != number || s->fate == FATE_SEEN)
		return;
	if (seen) {
		m->lost -= s->fate == FATE_LOST;
		s->fate = FATE_SEEN;
		believe(m, number, s->size);
	} else if (s->fate == FATE_OPEN) {
		m->lost++;
		s->fate = FATE_LOST;
	}
}

void pmtu_acked(struct pmtu *m, nsec now, const struct frame_ack *ack)
{
	uint32_t high = m->search.high, newest = ack->newest;
	if (m->state == PMTU_DISABLED || ack->path != m->path || newest > m->number)
		return;
	for (uint32_t i = 0; i < PMTU_WINDOW && i < newest; i++)
		note_fate(m, newest - i, ack->seen >> i & 1);
	/* What was known not to pass does: nothing is known of what is above it. */
	if (m->state == PMTU_SEARCH_COMPLETE && m->search.low >= high)
		pmtu_search_up(m, now);
	else
		pmtu_round_answered(m, now, newest);
	pmtu_watch_acked(m, now, ack);
}

void pmtu_too_big(struct pmtu *m, nsec now, uint32_t mtu)
{
	uint32_t open = pmtu_round_open(m);
	if (m->state == PMTU_DISABLED || mtu < m->min || mtu >= (open > m->size ? open : m->size))
		return;
	m->hint = mtu;
	if (mtu >= m->size || now < m->hint_at)
		return;
	m->hint_at = now + pmtu_worth(PMTU_HINT_SHARE * m->size);
	pmtu_suspect(m, now, m->size, 1, PMTU_TOO_BIG);
}

/* --- names --- */

const char *pmtu_state_name(enum pmtu_state s)
{
	static const char *const names[] = {
		[PMTU_DISABLED] = "disabled",	[PMTU_STATE_BASE] = "base",
		[PMTU_SEARCHING] = "searching", [PMTU_SEARCH_COMPLETE] = "complete",
		[PMTU_ERROR] = "error",
	};
	static_assert(ARRAY_SIZE(names) == PMTU_ERROR + 1, "a name for each");
	return names[s];
}

const char *pmtu_reason_text(enum pmtu_reason r)
{
	static const char *const texts[] = {
		[PMTU_FOUND] = "found by the search",
		[PMTU_BLACK_HOLE] = "large packets stopped arriving",
		[PMTU_TOO_BIG] = "a router said that packets are too big, and they do not arrive",
		[PMTU_LOCAL] = "this host's own MTU changed",
		[PMTU_SMALLER] = "not as large any more",
		[PMTU_ENDED] = "no session or no path",
	};
	static_assert(ARRAY_SIZE(texts) == PMTU_ENDED + 1, "a text for each");
	return texts[r];
}
