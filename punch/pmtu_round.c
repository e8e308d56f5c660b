/* SPDX-License-Identifier: Apache-2.0 */
/* The search: when a round is over, and what follows from it. */
#include "punch/pmtu_core.h"

#define PROBE_TIMER (200 * NSEC_PER_MSEC)
/* RFC 8899 5.1.1: PMTU_RAISE_TIMER, 600 s; after bad news, or where the result is not certain, sooner. */
#define RAISE_TIMER (600 * NSEC_PER_SEC)
#define RAISE_SOON (60 * NSEC_PER_SEC)
#define DEAD_FIRST NSEC_PER_SEC
#define DEAD_MOST (30 * NSEC_PER_SEC)

enum {
	QUERIES = 5,	   /* unanswered: the path does not live */
	LOSSY_PROBES = 6,  /* in place of MAX_PROBES */
	IDLE_BYTES = 2048, /* a minute, between searches */
};

static nsec probe_timer(const struct pmtu *m)
{
	return nsec_max(PROBE_TIMER, 4 * m->rtt);
}

/*
 * From the probes to the query that asks for them: what overtook them on the way would count as lost.
 * A black hole waits for the verdict, and a wrong one costs no more than a search.
 */
static nsec settle_time(const struct pmtu *m)
{
	if (m->round.kind == ROUND_VERIFY)
		return nsec_max(PROBE_TIMER / 4, m->rtt / 4);
	return probe_timer(m) / 2;
}

static bool complete(const struct pmtu *m)
{
	return m->state == PMTU_SEARCH_COMPLETE;
}

/* --- between rounds --- */

static uint32_t raise_copies(const struct pmtu *m)
{
	return m->search.lossy && m->search.low < PMTU_JUMBO ? 2 : 1;
}

/* Probes and a query now and then: with all that may be asked again, below IDLE_BYTES a minute. */
static void raise_arm(struct pmtu *m, nsec now)
{
	nsec bytes = raise_copies(m) * (m->search.low + 1) + QUERIES * query_size(m);
	nsec wait = nsec_max(m->raise_delay, bytes * 60 * NSEC_PER_SEC / IDLE_BYTES);
	m->raise_at = m->search.low < m->max ? now + wait : NSEC_NEVER;
	m->due = m->raise_at;
}

static void search_complete(struct pmtu *m, nsec now, bool exact)
{
	m->state = PMTU_SEARCH_COMPLETE;
	if (m->reason == PMTU_ENDED) /* nothing larger than what it began with */
		m->reason = PMTU_FOUND;
	m->round.phase = PHASE_IDLE;
	m->raise_delay = m->shrunk || m->search.lossy || !exact ? RAISE_SOON : RAISE_TIMER;
	m->shrunk = false;
	raise_arm(m, now);
}

/* The plan goes out, where the search may still cost that much; else it ends with what there is. */
static void round_start(struct pmtu *m, nsec now)
{
	struct pmtu_round *r = &m->round;
	uint32_t cost = QUERIES * query_size(m);
	for (unsigned i = 0; i < r->len; i++)
		cost += r->plan[i];
	if (!complete(m) && r->kind != ROUND_VERIFY && m->search.spent + cost > PMTU_SEARCH_BYTES) {
		search_complete(m, now, false);
		return;
	}
	r->phase = PHASE_SENDING;
	r->first = m->number + 1;
	m->due = now;
}

/*
 * RFC 8899's MAX_PROBES; where single losses are known to happen it is not enough. A dear size has
 * failed once already, which counts.
 */
static unsigned confirmations(const struct pmtu *m)
{
	if (m->search.high > PMTU_JUMBO)
		return PMTU_MAX_PROBES - 1;
	return m->search.lossy ? LOSSY_PROBES : PMTU_MAX_PROBES;
}

void pmtu_search_on(struct pmtu *m, nsec now)
{
	const struct pmtu_search *s = &m->search;
	if (s->low >= m->max) {
		search_complete(m, now, true);
		return;
	}
	if (s->low + 1 < s->high)
		pmtu_plan_spread(m);
	else
		pmtu_plan(m, ROUND_CONFIRM, s->high, confirmations(m));
	round_start(m, now);
}

static void end_of_first(struct pmtu *m, nsec now);

static void first_round(struct pmtu *m, nsec now)
{
	pmtu_plan_first(m);
	if (m->round.len)
		round_start(m, now);
	else
		end_of_first(m, now);
}

void pmtu_search(struct pmtu *m, nsec now, uint32_t low, uint32_t high, enum pmtu_reason why)
{
	/* From a size that has just passed: what was sent before is as good as what is sent now. */
	uint32_t floor = low > m->min ? m->search.floor : m->number;
	m->search = (struct pmtu_search){ .low = low, .high = high, .floor = floor, .why = why };
	m->state = low > m->min ? PMTU_SEARCHING : PMTU_STATE_BASE;
	first_round(m, now);
}

/* --- the end of a round --- */

/* What of the plan is above low did not arrive. */
static void narrow(struct pmtu *m)
{
	const struct pmtu_round *r = &m->round;
	struct pmtu_search *s = &m->search;
	for (unsigned i = 0; i < r->len; i++)
		if (r->plan[i] > s->low && r->plan[i] < s->high)
			s->high = r->plan[i];
}

static bool seen(const struct pmtu *m, uint32_t number)
{
	const struct pmtu_sent *s = &m->sent[number % PMTU_WINDOW];
	return s->number == number && s->fate == FATE_SEEN;
}

/* Smaller than what passed, and lost all the same. */
static void notice_loss(struct pmtu *m)
{
	const struct pmtu_round *r = &m->round;
	for (unsigned i = 0; i < r->next; i++)
		if (r->plan[i] <= r->best && !seen(m, r->numbers[i]))
			m->search.lossy = true;
}

/*
 * Nothing at all arrived: a path below BASE_PLPMTU, which is rare, or a burst lost in a short outage,
 * which a change of the network often brings. A second time, with fewer sizes, it is believed; and
 * at once in a black hole, where people wait.
 */
static bool first_again(struct pmtu *m, nsec now)
{
	bool again = m->search.again || m->shrunk || m->search.low > m->min;
	if (again || m->round.best || !m->round.len)
		return false;
	m->search.again = true;
	first_round(m, now);
	return true;
}

static void end_of_first(struct pmtu *m, nsec now)
{
	uint32_t low = m->search.low, base = pmtu_base(m);
	if (first_again(m, now))
		return;
	if (low < m->size) {
		m->size = low;
		m->reason = m->search.why;
		pmtu_watch_reset(m);
	}
	m->search.first = low;
	m->state = low < base ? PMTU_ERROR : PMTU_SEARCHING;
	narrow(m);
	pmtu_search_on(m, now);
}

/* RFC 8899 4.3: back to BASE_PLPMTU, or below it, and search again, below what failed. */
static void black_hole(struct pmtu *m, nsec now)
{
	uint32_t base = pmtu_base(m), fall = m->suspect > base ? base : m->min;
	if (fall < m->size) {
		m->size = fall;
		m->reason = m->suspect_why;
	}
	m->shrunk = true;
	pmtu_watch_reset(m);
	pmtu_search(m, now, m->min, m->suspect, m->suspect_why);
}

void pmtu_resume(struct pmtu *m, nsec now)
{
	if (complete(m) && m->search.low < m->max) {
		m->round.phase = PHASE_IDLE;
		m->due = m->raise_at;
	} else {
		pmtu_search_on(m, now);
	}
}

static void verify(struct pmtu *m, nsec now, uint32_t most)
{
	uint32_t copies = m->tries < most ? m->tries : most;
	m->tries -= copies;
	pmtu_plan(m, ROUND_VERIFY, m->suspect, copies);
	round_start(m, now);
}

static void end_of_verify(struct pmtu *m, nsec now)
{
	if (m->round.best >= m->suspect) {
		m->search.lossy |= m->suspect_why == PMTU_BLACK_HOLE;
		pmtu_resume(m, now);
	} else if (m->tries) {
		verify(m, now, m->suspect > PMTU_JUMBO ? PMTU_MAX_PROBES : LOSSY_PROBES);
	} else {
		black_hole(m, now);
	}
}

/* One probe for a first doubt: a single packet lost now and then is no reason for many. */
void pmtu_suspect(struct pmtu *m, nsec now, uint32_t size, uint32_t evidence, enum pmtu_reason why)
{
	const struct pmtu_round *r = &m->round;
	bool proves_it = r->kind == ROUND_FIRST || r->kind == ROUND_VERIFY;
	if (size > m->size || r->phase == PHASE_DEAD || (r->phase != PHASE_IDLE && proves_it))
		return;
	bool doubt = evidence < PMTU_MAX_PROBES;
	m->suspect = size;
	m->suspect_why = why;
	m->tries = (m->search.lossy ? LOSSY_PROBES : PMTU_MAX_PROBES) + (uint32_t)doubt;
	verify(m, now, doubt ? 1 : PMTU_MAX_PROBES);
}

static void end_of_raise(struct pmtu *m, nsec now)
{
	m->round.phase = PHASE_IDLE;
	m->raise_delay = nsec_min(2 * m->raise_delay, RAISE_TIMER);
	raise_arm(m, now);
}

static void round_end(struct pmtu *m, nsec now)
{
	notice_loss(m);
	switch ((enum round_kind)m->round.kind) {
	case ROUND_FIRST:
		end_of_first(m, now);
		break;
	case ROUND_SPREAD:
		narrow(m);
		pmtu_search_on(m, now);
		break;
	case ROUND_CONFIRM:
		if (m->round.best)
			pmtu_search_on(m, now);
		else
			search_complete(m, now, true);
		break;
	case ROUND_VERIFY:
		end_of_verify(m, now);
		break;
	case ROUND_RAISE:
		end_of_raise(m, now);
	}
}

void pmtu_round_answered(struct pmtu *m, nsec now, uint32_t newest)
{
	const struct pmtu_round *r = &m->round;
	if (r->phase == PHASE_IDLE)
		return;
	if (r->best && r->best >= r->plan[r->len - 1])
		round_end(m, now);
	else if (r->phase == PHASE_DEAD && newest > r->query_last)
		/* It lives again, and nothing is known of what it takes now. */
		pmtu_search(m, now, m->min, m->max + 1, m->search.why);
	else if (r->query && newest >= r->query)
		round_end(m, now);
}

uint32_t pmtu_round_open(const struct pmtu *m)
{
	const struct pmtu_round *r = &m->round;
	for (unsigned i = r->phase == PHASE_IDLE ? 0 : r->next; i--;)
		if (!seen(m, r->numbers[i]))
			return r->plan[i];
	return 0;
}

/* --- sending --- */

static bool send_planned(struct pmtu *m, nsec now, struct pmtu_probe *out)
{
	struct pmtu_round *r = &m->round;
	bool any = r->next < r->len;
	if (any) {
		pmtu_send(m, r->plan[r->next], 0, out);
		r->numbers[r->next++] = out->frame.number;
		m->search.spent += complete(m) || r->kind == ROUND_VERIFY ? 0 : out->size;
	}
	if (r->next == r->len) {
		r->phase = PHASE_SETTLING;
		m->due = now + settle_time(m);
	}
	return any;
}

/* The first of the round, or once more where it was not answered. */
static void send_query(struct pmtu *m, nsec now, struct pmtu_probe *out)
{
	struct pmtu_round *r = &m->round;
	m->search.lossy |= r->phase == PHASE_ASKED;
	pmtu_send(m, query_size(m), 0, out);
	m->search.spent += complete(m) || r->kind == ROUND_VERIFY ? 0 : out->size;
	if (!r->query)
		r->query = out->frame.number;
	r->query_last = out->frame.number;
	r->phase = PHASE_ASKED;
	r->queries++;
	m->due = now + probe_timer(m);
}

static void lose_open(struct pmtu *m)
{
	for (unsigned i = 0; i < PMTU_WINDOW; i++) {
		if (m->sent[i].number && m->sent[i].fate == FATE_OPEN) {
			m->sent[i].fate = FATE_LOST;
			m->lost++;
		}
	}
}

/* Nothing is concluded from silence. The search that met it is over; one begins when it ends. */
static void sleep_on(struct pmtu *m, nsec now)
{
	struct pmtu_round *r = &m->round;
	if (r->phase != PHASE_DEAD)
		lose_open(m);
	r->phase = PHASE_DEAD;
	r->backoff = r->backoff ? nsec_min(2 * r->backoff, DEAD_MOST) : DEAD_FIRST;
	m->due = now + r->backoff;
}

static void raise_begin(struct pmtu *m, nsec now)
{
	pmtu_plan(m, ROUND_RAISE, m->search.low + 1, raise_copies(m));
	round_start(m, now);
}

bool pmtu_round_poll(struct pmtu *m, nsec now, struct pmtu_probe *out)
{
	struct pmtu_round *r = &m->round;
	if (now < m->due)
		return false;
	if (r->phase == PHASE_IDLE)
		raise_begin(m, now);
	if (r->phase == PHASE_SENDING)
		return send_planned(m, now, out);
	if (r->phase == PHASE_SETTLING || (r->phase == PHASE_ASKED && r->queries < QUERIES)) {
		send_query(m, now, out);
		return true;
	}
	bool asks = r->phase == PHASE_DEAD;
	if (asks)
		pmtu_send(m, query_size(m), 0, out);
	sleep_on(m, now);
	return asks;
}
