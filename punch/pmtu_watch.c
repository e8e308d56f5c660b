/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Black holes: what of the large packets arrives. Queries carry the watched size and the answers the
 * peer's count of it; two answers to two queries bound an interval in which some were sent, and if
 * none of them came, the size is suspected. One query is open at a time.
 */
#include "punch/pmtu_core.h"

#define WATCH_EVERY (250 * NSEC_PER_MSEC)
/* A query is not to overtake the packet that it asks for. */
#define WATCH_BEHIND (100 * NSEC_PER_MSEC)
/*
 * While all arrives: so rarely. But at once where it pauses, as TCP does in a black hole after a round
 * trip: before its first try, 200 ms later.
 */
#define WATCH_STEADY NSEC_PER_SEC
#define WATCH_PAUSE (150 * NSEC_PER_MSEC)
/*
 * So long nothing of the watched size: what is smaller is watched. More than one packet a second; and the
 * first query of the smaller size is out before TCP's fourth try, 1.4 s after what was lost.
 */
#define WATCH_FALL (1200 * NSEC_PER_MSEC)
#define WATCH_REST NSEC_PER_SEC
#define WATCH_QUIET (2 * NSEC_PER_SEC) /* a trial of batches has nothing to count */
enum { FINE_SHARE = 16 };

void pmtu_watch_reset(struct pmtu *m)
{
	m->watch = (struct pmtu_watch){ .due = NSEC_NEVER,
					.fall = NSEC_NEVER,
					.asked_at = m->watch.asked_at };
}

/* When to ask of what was sent since the last query: behind the first of it, or when that is enough. */
static nsec ask_at(const struct pmtu *m)
{
	const struct pmtu_watch *w = &m->watch;
	nsec soonest = nsec_max(w->rest, w->asked_at + WATCH_EVERY);
	nsec wanted = w->begun + WATCH_BEHIND;
	if (w->fine && m->batching.state != BATCHING_TRIAL)
		wanted = nsec_min(w->sent_at + WATCH_PAUSE, w->begun + WATCH_STEADY);
	return nsec_max(soonest, wanted);
}

/* The peer counts anew from the query on that says so: it is the sooner the better. */
static void watch_size(struct pmtu *m, nsec now, uint32_t size)
{
	nsec rest = m->watch.rest;
	pmtu_watch_reset(m);
	m->watch.size = size;
	m->watch.last = now;
	m->watch.rest = rest;
	m->watch.due = nsec_max(nsec_max(now, rest), m->watch.asked_at + WATCH_EVERY);
}

void pmtu_sent(struct pmtu *m, nsec now, uint32_t size, uint32_t count)
{
	struct pmtu_watch *w = &m->watch;
	if (now - w->sent_at > WATCH_QUIET)
		batching_rest(&m->batching);
	/* Larger than size: on its way since before it shrank. */
	if (m->state == PMTU_DISABLED || size <= m->min || size > m->size)
		return;
	if (size < w->size) {
		w->lesser = size > w->lesser ? size : w->lesser;
		w->fall = nsec_max(now, w->last + WATCH_FALL);
		return;
	}
	if (size > w->size)
		watch_size(m, now, size);
	w->last = now;
	w->lesser = 0;
	w->fall = NSEC_NEVER;
	w->sent += count;
	w->sent_at = now;
	if (!w->traffic)
		w->begun = now;
	w->traffic = true;
	if (!w->tries && (w->based || w->due == NSEC_NEVER))
		w->due = ask_at(m);
}

/* Nobody answers: the rounds see whether the path lives, and nothing is to be learnt here. */
static void give_up(struct pmtu_watch *w, nsec now)
{
	w->tries = 0;
	w->based = false;
	w->evidence = 0;
	w->due = NSEC_NEVER;
	w->rest = now + WATCH_REST;
}

bool pmtu_watch_poll(struct pmtu *m, nsec now, struct pmtu_probe *out)
{
	struct pmtu_watch *w = &m->watch;
	if (now >= w->fall)
		watch_size(m, now, w->lesser);
	if (now < w->due)
		return false;
	if (w->tries == PMTU_WATCH_TRIES) {
		give_up(w, now);
		return false;
	}
	pmtu_send(m, query_size(m), w->size, out);
	if (!w->tries) {
		batching_asked(&m->batching);
		w->since = w->begun;
		w->traffic = false;
	}
	w->queries[w->tries++] = (struct pmtu_query){ out->frame.number, w->sent, now };
	w->asked_at = now;
	w->due = now + nsec_max(WATCH_EVERY, 2 * m->rtt);
	return true;
}

/* Nothing at all of some packets: of those before as well, where it was the same with them. */
static void judge(struct pmtu *m, nsec now, uint32_t sent, uint32_t arrived)
{
	struct pmtu_watch *w = &m->watch;
	w->fine = arrived >= sent - sent / FINE_SHARE;
	if (arrived) {
		w->evidence = 0;
		return;
	}
	if (!w->evidence)
		w->missing_since = w->since;
	w->evidence += sent;
	if (now - w->missing_since < pmtu_patience(m, now))
		return;
	uint32_t evidence = w->evidence;
	w->evidence = 0;
	pmtu_suspect(m, now, w->size, evidence, PMTU_BLACK_HOLE);
}

/* The query that the answer is to. One to a later probe of a round counts what was sent in between, too. */
static const struct pmtu_query *query_answered(const struct pmtu_watch *w, uint32_t newest)
{
	for (unsigned i = 0; i < w->tries; i++)
		if (newest == w->queries[i].number)
			return &w->queries[i];
	return NULL;
}

void pmtu_watch_acked(struct pmtu *m, nsec now, const struct frame_ack *ack)
{
	struct pmtu_watch *w = &m->watch;
	const struct pmtu_query *q = query_answered(w, ack->newest);
	if (!q || ack->watch != w->size - m->around)
		return;
	/* A count that went back, because the peer began anew, looks like many: no reason for a doubt. */
	uint32_t sent = q->sent - w->base, arrived = ack->count - w->base_count;
	bool tells = w->based && sent;
	struct batching_count batch = { sent, arrived, q->at - w->since };
	w->base = q->sent;
	w->base_count = ack->count;
	w->based = true;
	w->tries = 0;
	/* what followed the query is the next one's */
	w->traffic = w->sent != q->sent;
	w->begun = nsec_max(w->begun, q->at);
	if (tells) {
		batching_report(&m->batching, now, &batch);
		judge(m, now, sent, arrived);
	}
	w->due = w->traffic ? nsec_max(now, ask_at(m)) : NSEC_NEVER;
}
