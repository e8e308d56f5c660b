/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Relays. Each rendezvous that a node is registered with is one; a link sends over one of them, and
 * takes messages from all, for the other side may use another. Which one works is asked end to end, by
 * the heartbeat of the relay's slot: when that fails, be it that the relay is dead or that the other
 * side is not known there, the link goes to the next one at once; once each of them has failed, at the
 * pace of heartbeats. It stays with the one that answers.
 */
#include "punch/link_core.h"

#include <sodium.h>

struct relay_hop *links_relay_at(struct links *ls, const struct endpoint *at)
{
	for (unsigned i = 0; i < MAX_RELAYS; i++)
		if (ls->relays[i].used && endpoint_eq(&ls->relays[i].at, at))
			return &ls->relays[i];
	return NULL;
}

static unsigned count_relays(const struct links *ls)
{
	unsigned n = 0;
	for (unsigned i = 0; i < MAX_RELAYS; i++)
		n += ls->relays[i].used;
	return n;
}

/* The first of those in use from number `i` on, all round; `i` where there is none. */
static unsigned next_used(const struct links *ls, unsigned i)
{
	for (unsigned k = 0; k < MAX_RELAYS; k++)
		if (ls->relays[(i + k) % MAX_RELAYS].used)
			return (i + k) % MAX_RELAYS;
	return i % MAX_RELAYS;
}

void link_point_at_relay(struct link *l, nsec now)
{
	const struct links *ls = l->all;
	struct slot *s = &l->slots[SLOT_RELAY];
	l->relay = next_used(ls, l->relay);
	const struct relay_hop *r = &ls->relays[l->relay];
	link_forget_pending(l, s);
	slot_set(s, &(struct slot){ .path = { .relay = true, .remote = r->at },
				    .used = r->used,
				    .round = UINT8_MAX,
				    .next = r->used ? now : NSEC_NEVER,
				    .added = now });
	link_choose(l, now);
}

void link_relay_failed(struct link *l, nsec now)
{
	struct slot *s = &l->slots[SLOT_RELAY];
	unsigned relays = count_relays(l->all);

	l->relays_failed++;
	if (relays > 1) {
		l->relay++;
		link_point_at_relay(l, now);
	}
	s->proven = false;
	s->dead = l->relays_failed >= relays;
	s->tries = 0;
	if (s->dead)
		s->next = now + links_spread(link_pace(l, s, now));
	link_choose(l, now);
}

void link_relay_answered(struct link *l)
{
	l->relays_failed = 0;
	l->all->good_relay = l->relay;
}

const struct relay_hop *link_relay_for(const struct link *l, struct path *path)
{
	const struct relay_hop *r = links_relay_at(l->all, &path->remote);
	if (!r)
		r = &l->all->relays[l->relay];
	path->remote = r->at;
	return r->used ? r : NULL;
}

/* Those that use this one, or have none yet. */
static void relay_changed(struct links *ls, nsec now, unsigned i)
{
	for (uint32_t k = 0; k <= ls->mask; k++)
		for (struct link *l = ls->table[k]; l; l = l->hash_next)
			if (l->relay == i || !l->slots[SLOT_RELAY].used)
				link_point_at_relay(l, now);
}

void links_set_relay(struct links *ls, nsec now, unsigned i, const struct endpoint *relay,
		     const uint8_t key[static RELAY_KEY_LEN])
{
	struct relay_hop *r = &ls->relays[i % MAX_RELAYS];
	bool same = sodium_memcmp(key, r->key, RELAY_KEY_LEN) == 0;

	if (relay ? r->used && same && endpoint_eq(relay, &r->at) : !r->used)
		return;
	r->used = relay != NULL;
	if (relay) {
		r->at = *relay;
		r->way.mtu = 0;
	}
	if (relay && !same) {
		memset(r->ring, 0, sizeof(r->ring));
		r->window.greatest = 0;
		memcpy(r->key, key, RELAY_KEY_LEN);
	}
	relay_changed(ls, now, i % MAX_RELAYS);
}

void link_relay_header(struct link *l, const struct endpoint *relay, uint8_t *p, size_t len)
{
	struct links *ls = l->all;
	const struct relay_hop *r = links_relay_at(ls, relay);
	struct relay_msg m = { .destination = l->number,
			       .source = ls->cfg.self,
			       .counter = ls->relay_tx++ };
	/* one that is gone since the path was chosen: it is lost, as the path is */
	relay_write(p, len, &m, r ? r->key : ls->relays[l->relay].key);
}

enum drop links_unwrap(struct links *ls, nsec now, const struct endpoint *from, uint8_t *p,
		       size_t len, struct link **l, uint8_t **inner, size_t *innerlen)
{
	struct relay_hop *r = links_relay_at(ls, from);
	struct relay_msg m;
	enum drop why = relay_peek(p, len, &m);
	(void)now;
	if (why)
		return why;
	if (!r)
		return DROP_RELAY_REFUSED;
	if (!relay_mac_ok(p, len, r->key))
		return DROP_RELAY_BAD_MAC;
	/* Also our own message, sent back to us: its destination is another. */
	if (m.destination != ls->cfg.self || p[RELAY_HEADER_LEN] == OUTER_TYPE_RELAY)
		return DROP_RELAY_REFUSED;
	if (!replay_accept(&r->window, m.counter))
		return DROP_RELAY_REPLAY;
	*l = link_find(ls, m.source);
	if (!*l)
		return DROP_RELAY_UNKNOWN_MEMBER;
	*inner = p + RELAY_HEADER_LEN;
	*innerlen = len - RELAY_HEADER_LEN;
	return DROP_NONE;
}
