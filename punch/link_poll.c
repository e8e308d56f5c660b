/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What leaves, and when. Pongs first; then each link that is ready or whose timer is due says what
 * it has to say, event by event, until it has nothing more.
 *
 * The times, and why:
 *  - a new set of candidates is probed at 0, 50, 100, 200, 400, 800 and 1600 ms. Both sides do so
 *    when they are introduced; the first pings of one side open its NAT for those of the other, so
 *    the early ones come close together, and the late ones outlast a second of loss.
 *  - the heartbeat of the path in use is 2 s while data flows, so that a dead path is left after
 *    about 3 s, and 20 s otherwise, within the 30 s that careless NATs keep a binding.
 *  - unanswered for max(500 ms, 3 round trips) it is repeated at 250 ms; the third one without an
 *    answer ends the trust in the path.
 *  - while there is no direct path an introduction is asked for after 5, 10, 20, 40, 60, 60 … s, and
 *    all candidates are probed anew each time, with or without the rendezvous.
 *  - while data flows over a direct path the other candidates get one ping each minute: a better
 *    path may have come (back).
 */
#include "punch/link_core.h"

#include <sodium.h>

#define MSEC NSEC_PER_MSEC

enum { PROBE_ROUNDS = 7 };
static const nsec probe_gap[PROBE_ROUNDS] = {
	/* after the n-th ping */
	50 * MSEC, 50 * MSEC, 100 * MSEC, 200 * MSEC, 400 * MSEC, 800 * MSEC, NSEC_NEVER,
};

#define BEAT_WAIT (500 * MSEC)
#define BEAT_WAIT_MAX (3 * NSEC_PER_SEC)
#define BEAT_REPEAT (250 * MSEC)
#define REFRESH (60 * NSEC_PER_SEC)

/*
 * At most 40 pings a second for a link and 48 at once, 4000 a second for all: enough for an honest
 * introduction, useless to one who wants us to flood somebody. The last 8 are kept for heartbeats.
 */
#define PING_COST (NSEC_PER_SEC / 40)
#define PROBE_DEPTH (40 * PING_COST)
#define BEAT_DEPTH (48 * PING_COST)
#define ALL_PROBES_COST (NSEC_PER_SEC / 4000)
#define ALL_PROBES_DEPTH NSEC_PER_SEC
#define NO_TOKEN_WAIT (100 * MSEC)

nsec links_jitter(nsec t)
{
	uint32_t steps = 2001; /* of 0.01 % */
	return t / 10 * 9 + t / 10000 * (nsec)randombytes_uniform(steps);
}

/* For the first of a row of heartbeats: a thousand links that began together drift apart at once. */
nsec links_spread(nsec t)
{
	return t / 10000 * (nsec)randombytes_uniform(10001);
}

nsec link_backoff(unsigned tries)
{
	static const uint8_t seconds[] = { 5, 10, 20, 40, 60 };
	unsigned i = tries < ARRAY_SIZE(seconds) ? tries : (unsigned)ARRAY_SIZE(seconds) - 1;
	return links_jitter(seconds[i] * NSEC_PER_SEC);
}

void link_ready(struct link *l)
{
	struct links *ls = l->all;
	if (l->ready)
		return;
	l->ready = true;
	l->ready_next = NULL;
	*ls->ready_last = l;
	ls->ready_last = &l->ready_next;
}

static void no_longer_ready(struct links *ls, struct link *l)
{
	ls->ready_first = l->ready_next;
	if (!ls->ready_first)
		ls->ready_last = &ls->ready_first;
	l->ready = false;
}

/* Makes the datagram of `m` in `out`, behind a relay header where `path` is the relay's. */
static bool write_datagram(struct link *l, const struct outer_msg *m, const struct path *path,
			   struct link_output *out)
{
	size_t at = path->relay ? RELAY_HEADER_LEN : 0;
	out->path = *path;
	if (path->relay && !link_relay_for(l, &out->path))
		return false;
	size_t n = outer_write(m, l->key, out->bytes + at, OUTER_MAX);
	if (!n)
		return false;
	if (path->relay)
		link_relay_header(l, &out->path.remote, out->bytes, n);
	out->event = LINK_SEND;
	out->link = l;
	out->len = at + n;
	return true;
}

static struct outer_msg message(struct link *l, uint8_t type)
{
	return (struct outer_msg){ .type = type,
				   .sender = l->all->cfg.self,
				   .receiver = l->number,
				   .boot = l->all->cfg.boot,
				   .counter = l->tx_counter++ };
}

static bool poll_pong(struct links *ls, struct link_output *out)
{
	while (ls->pong_count) {
		const struct pong *p = &ls->pongs[ls->pong_first];
		ls->pong_first = (ls->pong_first + 1) % PONG_QUEUE;
		ls->pong_count--;
		if (!p->link) /* removed meanwhile */
			continue;
		struct outer_msg m = message(p->link, OUTER_TYPE_PONG);
		memcpy(m.txid, p->txid, TXID_LEN);
		m.observed = p->observed;
		m.tlv_len = p->tlv_len;
		if (write_datagram(p->link, &m, &p->path, out))
			return true;
	}
	return false;
}

static bool is_beat(const struct link *l, const struct slot *s)
{
	return s->proven || slot_index(l, s) == SLOT_RELAY;
}

/* After the third unanswered ping of a heartbeat. */
static void beat_failed(struct link *l, nsec now, struct slot *s)
{
	if (slot_index(l, s) != SLOT_RELAY) {
		link_unprove(l, now, s);
		return;
	}
	link_relay_failed(l, now);
}

static void schedule_next(struct slot *s, nsec now, bool beat)
{
	if (!beat) {
		nsec gap = probe_gap[s->round++];
		s->next = gap == NSEC_NEVER ? gap : now + gap;
		return;
	}
	nsec wait = BEAT_REPEAT;
	if (s->tries == 0)
		wait = nsec_max(BEAT_WAIT, 3 * s->rtt);
	else if (s->tries == MAX_TRIES - 1) /* the last one gets the time that an answer takes */
		wait = nsec_max(BEAT_REPEAT, 2 * s->rtt);
	if (s->tries) /* the one before was not answered in time */
		s->loss = (uint8_t)(s->loss + (255 - s->loss) / 16);
	s->tries++;
	s->next = now + nsec_min(wait, BEAT_WAIT_MAX);
}

static bool take_token(struct link *l, nsec now, bool beat)
{
	if (beat)
		return bucket_take(&l->pings, now, PING_COST, BEAT_DEPTH);
	return bucket_take(&l->pings, now, PING_COST, PROBE_DEPTH) &&
	       bucket_take(&l->all->probes, now, ALL_PROBES_COST, ALL_PROBES_DEPTH);
}

static bool send_ping(struct link *l, nsec now, struct slot *s, struct link_output *out)
{
	bool beat = is_beat(l, s);
	if (!take_token(l, now, beat)) {
		s->next = now + links_jitter(NO_TOKEN_WAIT);
		return false;
	}
	struct outer_msg m = message(l, OUTER_TYPE_PING);
	randombytes_buf(m.txid, TXID_LEN);
	schedule_next(s, now, beat);
	if (!write_datagram(l, &m, &s->path, out))
		return false;
	struct pending_ping *p = &l->pending[l->next_pending++ % PENDING_PINGS];
	p->slot = slot_index(l, s);
	p->sent = now;
	memcpy(p->txid, m.txid, TXID_LEN);
	s->last_sent = now;
	s->sent++;
	return true;
}

/*
 * No route leads to the candidate: the kernel is asked at the first ping of a row, which may be its last. A
 * change of routes begins a new row. Where a ping of the peer came in by, there is a way.
 */
static bool row_is_vain(struct link *l, nsec now, const struct slot *s)
{
	bool first = s->round == 0 || s->round == PROBE_ROUNDS - 1;
	return first && addr_is_any(&s->path.local) && link_leads_nowhere(l, now, s);
}

/* A slot whose time has come: true when a ping is in `out`. */
static bool slot_due(struct link *l, nsec now, struct slot *s, struct link_output *out)
{
	if (is_beat(l, s) && s->tries == MAX_TRIES) {
		beat_failed(l, now, s);
		return false;
	}
	bool alternative = s->proven && !s->path.relay && slot_index(l, s) != l->chosen;
	if (alternative && s->tries == 0 && !link_worth_keeping(l, s)) {
		/* enough others are kept warm: this one may rest */
		s->proven = false;
		s->next = NSEC_NEVER;
		slot_end_search(s);
		return false;
	}
	if (!is_beat(l, s) && (s->round >= PROBE_ROUNDS || row_is_vain(l, now, s))) {
		s->round = UINT8_MAX;
		s->next = NSEC_NEVER;
		return false;
	}
	return send_ping(l, now, s, out);
}

static bool poll_slots(struct link *l, nsec now, struct link_output *out)
{
	for (int i = 0; i < SLOTS; i++) {
		struct slot *s = &l->slots[i];
		if (s->used && s->next <= now && slot_due(l, now, s, out))
			return true;
	}
	return false;
}

static bool poll_path(struct link *l, struct link_output *out)
{
	if (!l->changed)
		return false;
	l->changed = false;
	l->announced = l->current;
	l->has_announced = l->chosen != NO_SLOT;
	out->event = LINK_PATH_CHANGED;
	out->link = l;
	out->path = l->current;
	return true;
}

static bool poll_observed(struct link *l, struct link_output *out)
{
	if (!l->has_observed)
		return false;
	l->has_observed = false;
	out->event = LINK_OBSERVED;
	out->link = l;
	out->observed = l->observed;
	return true;
}

static bool poll_want(struct link *l, nsec now, struct link_output *out)
{
	if (l->want_at > now)
		return false;
	l->last_want = now;
	l->want_at = NSEC_NEVER;
	if (!link_is_direct(l)) {
		l->want_at = now + link_backoff(l->backoff);
		if (l->backoff < UINT8_MAX)
			l->backoff++;
		link_probe_all(l, now);
	}
	out->event = LINK_WANT_INTRODUCTION;
	out->link = l;
	return true;
}

/* One ping to each candidate that rests, for the sake of a better path. */
static void refresh(struct link *l, nsec now)
{
	if (l->refresh_at > now)
		return;
	l->refresh_at = now + links_jitter(REFRESH);
	if (!link_is_active(l, now))
		return;
	for (int i = SLOT_RELAY + 1; i < SLOTS; i++) {
		struct slot *s = &l->slots[i];
		if (!s->used || s->proven || s->next != NSEC_NEVER)
			continue;
		link_probe(s, now);
		s->round = PROBE_ROUNDS - 1;
	}
}

static bool poll_link(struct link *l, nsec now, struct link_output *out)
{
	refresh(l, now);
	do {
		if (poll_path(l, out) || poll_observed(l, out) || poll_want(l, now, out) ||
		    poll_slots(l, now, out) || link_poll_mtu(l, now, out))
			return true;
		/* A path may have been given up while the slots were gone through. */
	} while (l->changed || l->want_at <= now);
	return false;
}

static nsec next_deadline(const struct link *l)
{
	nsec at = nsec_min(nsec_min(l->want_at, l->refresh_at), link_mtu_deadline(l));
	for (int i = 0; i < SLOTS; i++)
		if (l->slots[i].used)
			at = nsec_min(at, l->slots[i].next);
	return at;
}

bool links_poll(struct links *ls, nsec now, struct link_output *out)
{
	ls->latest = now;
	if (poll_pong(ls, out))
		return true;
	for (;;) {
		struct link *l = ls->ready_first;
		if (!l) {
			struct timer *t = heap_due(&ls->heap, now);
			if (!t)
				return false;
			link_ready(container_of(t, struct link, timer));
			continue;
		}
		if (poll_link(l, now, out))
			return true;
		no_longer_ready(ls, l);
		heap_set(&ls->heap, &l->timer, next_deadline(l));
	}
}

nsec links_deadline(const struct links *ls)
{
	if (ls->pong_count || ls->ready_first)
		return 0; /* there is something to poll now */
	return heap_deadline(&ls->heap);
}
