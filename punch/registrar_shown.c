/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases that a key shows: another rendezvous of this network granted them, or this one did before it
 * lost its database. Our MAC over number, id, key and time proves it. The rendezvous never talk to each
 * other; what they must agree on each of them decides alone, by rules that give the same answer
 * everywhere:
 *
 *  one number   a number is given, and given on, by one rendezvous alone (registrar_owns()). So of two
 *               leases of it the later one holds.
 *  one id       two numbers of one id were granted by two that did not know of each other. The older
 *               one holds as long as its key gives a sign of life; a take-over keeps the id's age.
 *  one key      uses what it shows; what else was granted to it here it never heard of.
 *
 * Who loses is told so, and stops.
 */
#include "punch/registrar_impl.h"

bool registrar_owns(const struct registrar *r, member_number n)
{
	return r->cfg.of < 2 || n % r->cfg.of == r->cfg.number % r->cfg.of;
}

/* Of two numbers of one id: is the one shown the one that holds? */
static bool is_older(const struct lease *shown, const struct lease_record *ours)
{
	if (shown->granted != ours->granted)
		return shown->granted < ours->granted;
	return shown->number < ours->number;
}

void registrar_evict(struct registrar *r, nsec now, struct slot *s, bool tell)
{
	struct notice *n = registrar_notice(r, s->rec.key, REGISTRAR_GONE);
	if (n)
		n->number = s->rec.number;
	if (s->claim) /* it asks again */
		registrar_claim_end(r, s->claim);
	if (tell)
		registrar_tell_lost(r, now, s->rec.key, s->rec.id);
	if (s->online) {
		s->online = false;
		registrar_roster_changed(r, now, s);
	}
	registrar_slot_free(r, s);
}

static bool at_rest(const struct slot *s)
{
	return s->state == LEASE_HELD && s->op == OP_NONE;
}

/* Same key, same number, but given again since: the later time is the one that the MAC is over. */
static void note_later(struct registrar *r, nsec now, struct slot *s, const struct lease *shown)
{
	if (shown->granted <= s->rec.granted || !at_rest(s))
		return;
	s->rec.granted = shown->granted;
	s->seen_next = registrar_wall(r, now);
	registrar_store(r, now, s, OP_PUT_SEEN);
}

enum shown registrar_shown(struct registrar *r, nsec now, const uint8_t key[static 32],
			   const struct ctl_msg *m)
{
	const struct lease *shown = &m->lease;
	struct slot *s = registrar_slot_find_id(r, m->id), *t = registrar_slot_at(r, shown->number);
	bool own = s && memcmp(s->rec.key, key, 32) == 0;
	bool same = s && s->rec.number == shown->number;

	/* of a start before: it holds where nobody contests it, as it always did */
	if (!registrar_holds(m) || !registrar_lease_shown(r, key, m))
		return SHOWN_NOTHING;
	if (own && same) {
		note_later(r, now, s, shown);
		return SHOWN_NOTHING; /* a renewal as any other */
	}
	if (t && (t->state == LEASE_FREE || t == s))
		t = NULL;
	if ((s && !at_rest(s)) || (t && !at_rest(t)))
		return SHOWN_WAIT;
	if (t && t->rec.granted >= shown->granted)
		return SHOWN_NOTHING; /* somebody new, who gets another number */
	if (s && !own && !same && !is_older(shown, &s->rec))
		return SHOWN_YOUNGER;
	if (s)
		registrar_evict(r, now, s, !own);
	if (t)
		registrar_evict(r, now, t, true);
	return SHOWN_HOLDS;
}
