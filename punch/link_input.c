/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arrives: pings, pongs, relay messages. Each is checked in the order known member, MAC, then
 * boot and counter; only what passed all changes anything.
 *
 * A recorded ping of a peer that is older than our own start passes once (we have forgotten its
 * counters): it earns one pong and one check of the address that it came from, no more. Nothing
 * recorded can prove a path, for that takes a transaction id that we made.
 */
#include "punch/link_core.h"

#define PONG_COST (NSEC_PER_SEC / 100) /* 100 a second for each peer, */
#define PONG_DEPTH NSEC_PER_SEC	       /* as many at once */
#define PING_VALID (5 * NSEC_PER_SEC)  /* a later answer says nothing of the path as it is now */
#define TRIGGER_GAP (50 * NSEC_PER_MSEC)
#define REPORT_COST (NSEC_PER_SEC / 2)
#define REPORT_DEPTH (8 * REPORT_COST)
#define REPORT_AGAIN (60 * NSEC_PER_SEC)

struct arrival {
	const struct endpoint *from;
	const struct addr *local;
	uint32_t ifindex;
	bool relayed;
};

/* A process that restarted has forgotten its NAT's bindings, its port, and what it proved. */
static void peer_restarted(struct link *l, nsec now)
{
	for (int i = SLOT_RELAY + 1; i < SLOTS; i++)
		if (l->slots[i].proven)
			link_unprove(l, now, &l->slots[i]);
	link_probe_all(l, now);
}

static enum drop check_fresh(struct link *l, nsec now, const struct outer_msg *m)
{
	if (m->boot < l->peer_boot)
		return DROP_OUTER_REPLAY;
	if (m->boot > l->peer_boot) {
		bool restarted = l->peer_boot != 0;
		l->peer_boot = m->boot;
		memset(l->ring, 0, sizeof(l->ring));
		l->window.greatest = 0;
		if (restarted)
			peer_restarted(l, now);
	}
	return replay_accept(&l->window, m->counter) ? DROP_NONE : DROP_OUTER_REPLAY;
}

/* An authenticated ping from an address that is not proven: worth a check at once. */
static void triggered_check(struct link *l, nsec now, const struct arrival *a)
{
	struct slot *s = link_slot_at(l, a->from);
	if (!s)
		s = link_add_candidate(l, now, a->from);
	if (!s || s->proven)
		return;
	bool probing = s->next != NSEC_NEVER;
	if (probing && now - s->last_sent < TRIGGER_GAP && s->sent)
		return;
	if (!probing)
		link_probe(s, now);
	s->next = now;
	/* It got here by this address and interface: so should our answer and our question. */
	s->path.local = *a->local;
	s->path.ifindex = a->ifindex;
	link_ready(l);
}

static enum drop on_ping(struct link *l, nsec now, const struct arrival *a,
			 const struct outer_msg *m)
{
	struct links *ls = l->all;
	if (ls->pong_count == PONG_QUEUE || !bucket_take(&l->pongs, now, PONG_COST, PONG_DEPTH))
		return DROP_OUTER_RATE;
	struct pong *p = &ls->pongs[(ls->pong_first + ls->pong_count++) % PONG_QUEUE];
	*p = (struct pong){ .link = l,
			    .path = { .relay = a->relayed,
				      .remote = *a->from,
				      .local = *a->local,
				      .ifindex = a->ifindex },
			    .tlv_len = m->tlv_len };
	memcpy(p->txid, m->txid, TXID_LEN);
	if (a->relayed)
		return DROP_NONE;
	p->observed = *a->from;
	triggered_check(l, now, a);
	return DROP_NONE;
}

static struct pending_ping *find_pending(struct link *l, const uint8_t txid[static TXID_LEN])
{
	for (unsigned i = 0; i < PENDING_PINGS; i++) {
		struct pending_ping *p = &l->pending[i];
		if (p->slot != NO_SLOT && memcmp(p->txid, txid, TXID_LEN) == 0)
			return p;
	}
	return NULL;
}

/* True where this observation of us was made of late by whichever peer; else it is noted. */
static bool already_observed(struct links *ls, nsec now, const struct endpoint *at)
{
	for (unsigned i = 0; i < RECENTLY_OBSERVED; i++) {
		const struct observation *o = &ls->observations[i];
		if (o->when && endpoint_eq(&o->at, at) && now - o->when < REPORT_AGAIN)
			return true;
	}
	if (!bucket_take(&ls->reports, now, REPORT_COST, REPORT_DEPTH))
		return true;
	ls->observations[ls->next_observation++ % RECENTLY_OBSERVED] =
		(struct observation){ .at = *at, .when = now };
	return false;
}

static void observed(struct link *l, nsec now, const struct endpoint *at)
{
	if (!endpoint_probeable(at) || already_observed(l->all, now, at))
		return;
	l->observed = *at;
	l->has_observed = true;
	link_ready(l);
}

static enum drop on_pong(struct link *l, nsec now, const struct arrival *a,
			 const struct outer_msg *m)
{
	struct pending_ping *p = find_pending(l, m->txid);
	if (!p || now - p->sent > PING_VALID)
		return DROP_OUTER_UNEXPECTED;
	struct slot *s = &l->slots[p->slot];
	if (s->path.relay != a->relayed || (!a->relayed && !endpoint_eq(&s->path.remote, a->from)))
		return DROP_OUTER_UNEXPECTED;
	struct pending_ping ping = *p;
	p->slot = NO_SLOT;
	/* It came back to where the ping left from: that is the path, and data keeps to it. */
	if (!a->relayed) {
		s->path.local = *a->local;
		s->path.ifindex = a->ifindex;
		observed(l, now, &m->observed);
	}
	link_answered(l, now, s, &ping);
	return DROP_NONE;
}

enum drop links_input(struct links *ls, nsec now, const struct endpoint *from,
		      const struct addr *local, uint32_t ifindex, bool relayed, const uint8_t *p,
		      size_t len)
{
	struct arrival a = { from, local, ifindex, relayed };
	struct outer_msg m;
	uint32_t sender, receiver;
	enum drop why = outer_peek(p, len, &sender, &receiver);
	ls->latest = now;
	if (why)
		return why;
	struct link *l = receiver == ls->cfg.self ? link_find(ls, sender) : NULL;
	if (!l)
		return DROP_OUTER_UNKNOWN_MEMBER;
	why = outer_parse(p, len, l->key, &m);
	if (!why)
		why = check_fresh(l, now, &m);
	if (why)
		return why;
	return m.type == OUTER_TYPE_PING ? on_ping(l, now, &a, &m) : on_pong(l, now, &a, &m);
}
