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
	QUERIES = 8,	  /* unanswered: the path does not live */
	LOSSY_PROBES = 6, /* in place of MAX_PROBES */
	LOSSY_RAISES = 2, /* so many at the first pace: one may have been lost */
};
/* Nothing of what is watched arrives for so long, after 1, 2, 3 doubts that were wrong; and for how long. */
#define PATIENCE (NSEC_PER_SEC / 2)
enum { MOST_REFUTED = 3 };
#define REFUTED_FOR (300 * NSEC_PER_SEC)

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

/*
 * One probe and a query now and then: paid for before it is sent, with all that may be asked again. Soon
 * while something is to be gained: the search had not the bytes to end, or it may have been wrong.
 */
static void raise_arm(struct pmtu *m, nsec now)
{
	const struct pmtu_search *s = &m->search;
	unsigned soon = s->lossy ? LOSSY_RAISES : 0;
	unsigned late = s->raises > soon ? s->raises - soon : 0;
	nsec delay = late < 4 ? RAISE_SOON << late : RAISE_TIMER;
	uint32_t cost = pmtu_next_size(m) + QUERIES * query_size(m);
	delay = nsec_max(nsec_min(delay, RAISE_TIMER), pmtu_worth(cost));
	m->raise_at = s->low < m->max ? now + delay : NSEC_NEVER;
	m->due = m->raise_at;
}

static void search_complete(struct pmtu *m, nsec now, bool exact)
{
	m->state = PMTU_SEARCH_COMPLETE;
	if (m->reason == PMTU_ENDED) /* nothing larger than what it began with */
		m->reason = PMTU_FOUND;
	m->round.phase = PHASE_IDLE;
	m->search.raises = m->shrunk || m->search.lossy || !exact ? 0 : UINT8_MAX;
	m->shrunk = false;
	raise_arm(m, now);
}

/* The plan goes out, where the search may still cost that much; else it ends with what there is. */
static void round_start(struct pmtu *m, nsec now)
{
	struct pmtu_round *r = &m->round;
	if (!complete(m) && r->kind != ROUND_VERIFY && !pmtu_affordable(m, now)) {
		search_complete(m, now, false);
		return;
	}
	r->phase = PHASE_SENDING;
	r->first = m->number + 1;
	m->due = now;
}

static unsigned times_lost(const struct pmtu *m, uint32_t size)
{
	unsigned n = 0;
	for (unsigned i = 0; i < PMTU_WINDOW; i++)
		n += m->sent[i].size == size && m->sent[i].fate == FATE_LOST;
	return n;
}

/*
 * How often high goes once more: RFC 8899's MAX_PROBES after it has failed the first time. Where single
 * losses are known to happen that is not enough; of a dear size all that failed counts.
 */
static unsigned confirmations(const struct pmtu *m)
{
	unsigned enough = 1 + (m->search.lossy ? LOSSY_PROBES : PMTU_MAX_PROBES);
	unsigned lost = times_lost(m, m->search.high);
	if (m->search.high > PMTU_JUMBO)
		enough = PMTU_MAX_PROBES;
	unsigned left = lost < enough ? enough - lost : 0;
	return left < PMTU_MAX_PROBES ? left : PMTU_MAX_PROBES;
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
	if (m->round.len)
		round_start(m, now);
	else
		search_complete(m, now, true);
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

void pmtu_search_anew(struct pmtu *m, nsec now, uint32_t high, enum pmtu_reason why, uint32_t spent)
{
	m->search =
		(struct pmtu_search){ .low = m->min, .high = high, .floor = m->number, .why = why };
	m->state = PMTU_STATE_BASE;
	pmtu_account_anew(m, now, spent);
	first_round(m, now);
}

/*
 * What was sent before is as good as what is sent now: low has just passed. The path has grown; or, where
 * packets get lost, that one had been: what else failed still says something.
 */
void pmtu_search_up(struct pmtu *m, nsec now)
{
	const struct pmtu_search s = m->search;
	m->search = (struct pmtu_search){ .low = s.low,
					  .high = s.lossy ? s.high : m->max + 1,
					  .floor = s.floor,
					  .why = PMTU_SMALLER,
					  .lossy = s.lossy };
	m->state = PMTU_SEARCHING;
	first_round(m, now);
}

/* --- the end of a round --- */

/*
 * What of the plan is above low did not arrive. Where packets get lost, one that goes by itself goes
 * again: all that is below it would be in vain.
 */
static void narrow(struct pmtu *m)
{
	const struct pmtu_round *r = &m->round;
	struct pmtu_search *s = &m->search;
	if (s->lossy && r->len == 1 && times_lost(m, r->plan[0]) < 2)
		return;
	for (unsigned i = 0; i < r->len; i++)
		if (r->plan[i] > s->low && r->plan[i] < s->high)
			s->high = r->plan[i];
}

static bool seen(const struct pmtu *m, uint32_t number)
{
	const struct pmtu_sent *s = &m->sent[number % PMTU_WINDOW];
	return s->number == number && s->fate == FATE_SEEN;
}

static bool lost(const struct pmtu *m, uint32_t number)
{
	const struct pmtu_sent *s = &m->sent[number % PMTU_WINDOW];
	return s->number == number && s->fate == FATE_LOST;
}

/* Smaller than what passed, and lost all the same: not one that is still under way behind that. */
static void notice_loss(struct pmtu *m)
{
	const struct pmtu_round *r = &m->round;
	for (unsigned i = 0; i < r->next; i++)
		if (r->plan[i] <= r->best && lost(m, r->numbers[i]))
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
	/* what was lost, was lost for its size: that says nothing against batches */
	if (m->batching.state != BATCHING_SINGLES)
		m->batching = (struct batching){ 0 };
	pmtu_watch_reset(m);
	pmtu_search_anew(m, now, m->suspect, m->suspect_why, m->doubted);
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

static void refute(struct pmtu *m, nsec now)
{
	m->search.lossy = true;
	m->refuted = (uint8_t)(m->refuted < MOST_REFUTED ? m->refuted + 1 : MOST_REFUTED);
	m->refuted_at = now;
}

nsec pmtu_patience(const struct pmtu *m, nsec now)
{
	if (!m->refuted || now - m->refuted_at > REFUTED_FOR)
		return 0;
	return PATIENCE << (m->refuted - 1);
}

static void end_of_verify(struct pmtu *m, nsec now)
{
	if (m->round.best >= m->suspect) {
		if (m->suspect_why == PMTU_BLACK_HOLE)
			refute(m, now);
		nsec paid = now + pmtu_worth(PMTU_HINT_SHARE * m->doubted);
		m->hint_at = nsec_max(m->hint_at, paid);
		pmtu_resume(m, now);
	} else if (m->tries) {
		verify(m, now, PMTU_MAX_PROBES);
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
	uint32_t tries = m->search.lossy ? LOSSY_PROBES : PMTU_MAX_PROBES;
	m->doubted = 0;
	m->suspect = size;
	m->suspect_why = why;
	/* dear, and there is evidence besides, or else it is about what an ICMP message said */
	if (size > PMTU_JUMBO && why == PMTU_BLACK_HOLE)
		tries = PMTU_MAX_PROBES - 1;
	m->tries = tries + (uint32_t)doubt;
	verify(m, now, doubt ? 1 : PMTU_MAX_PROBES);
}

/* It was one of low + 1, or it has brought low and high nearer. */
static void end_of_raise(struct pmtu *m, nsec now)
{
	struct pmtu_search *s = &m->search;
	if (pmtu_settled(m) && s->raises < UINT8_MAX)
		s->raises++;
	narrow(m);
	if (m->round.best)
		s->rises++;
	else if (s->high <= m->round.plan[0])
		s->rises = 0;
	m->round.phase = PHASE_IDLE;
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
	case ROUND_CONFIRM:
		narrow(m);
		pmtu_search_on(m, now);
		break;
	case ROUND_VERIFY:
		end_of_verify(m, now);
		break;
	case ROUND_RAISE:
		end_of_raise(m, now);
	}
}

/* It lives again. What was found may not hold any more, and of what was not, nothing is known. */
static void revive(struct pmtu *m, nsec now)
{
	m->round.phase = PHASE_IDLE;
	raise_arm(m, now);
	if (!complete(m))
		pmtu_search_anew(m, now, m->max + 1, m->search.why, 0);
	else if (m->size > m->min)
		pmtu_suspect(m, now, m->size, 1, PMTU_SMALLER);
	else
		pmtu_resume(m, now);
}

void pmtu_round_answered(struct pmtu *m, nsec now, uint32_t newest)
{
	const struct pmtu_round *r = &m->round;
	if (r->phase == PHASE_IDLE)
		return;
	if (r->best && r->best >= r->plan[r->len - 1])
		round_end(m, now);
	else if (r->phase == PHASE_DEAD && newest > r->query_last)
		revive(m, now);
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
		pmtu_spend(m, now, out->size);
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
	pmtu_spend(m, now, out->size);
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
	pmtu_plan(m, ROUND_RAISE, pmtu_next_size(m), 1);
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
