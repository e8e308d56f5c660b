/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identity: who may hold which id.
 *
 *  same id, same key       renewed at once
 *  a free id               the smallest free number, or the one that it shows our MAC for; granted
 *                          when the store has it
 *  same id, another key    right after a restart: wait for the recorded key. A holder that released:
 *                          replaced. Else the holder is challenged: any sign of life within 5 s, or
 *                          another member that hears it, and the newcomer is refused; silence, and
 *                          the lease moves to the new key, number and address with it
 *  a key with another id   takes the new one; the former is released
 *  a lease of another      rendezvous: registrar_shown.c
 */
#include <sodium.h>
#include <stdio.h>

#include "punch/registrar_impl.h"

#define CHALLENGE_EVERY (500 * NSEC_PER_MSEC)
#define CHALLENGE_FOR (5 * NSEC_PER_SEC)
/* So many challenges without an answer, a second and two and a half, and the other members are asked. */
enum { ASK_FIRST = 3, ASK_AGAIN = 6 };
#define OWNER_FIRST (5 * NSEC_PER_SEC)
#define STORE_SLOW (2 * NSEC_PER_SEC)
#define ONLINE_FOR (60 * NSEC_PER_SEC)

void registrar_claim_init(struct registrar *r)
{
	for (size_t i = 0; i < MAX_CLAIMS; i++)
		r->claims[i].timer.kind = TIMER_CLAIM;
}

/* --- claims --- */

void registrar_claim_end(struct registrar *r, struct claim *c)
{
	heap_cancel(&r->heap, &c->timer.t);
	c->slot->claim = NULL;
	c->slot = NULL;
}

/*
 * A free place, or that of another claim of this key, which has one id: the one that it asked for last. Where there is
 * none, what does not wait for an answer has that of one which does, and asks again.
 */
static struct claim *claim_room(struct registrar *r, const uint8_t key[static 32], bool at_once)
{
	struct claim *room = NULL, *waits = NULL;
	for (size_t i = 0; i < MAX_CLAIMS; i++) {
		struct claim *c = &r->claims[i];
		if (c->slot && registrar_claim_open(c) && memcmp(c->key, key, 32) == 0)
			registrar_claim_end(r, c);
		if (!c->slot)
			room = c;
		else if (at_once && registrar_claim_open(c))
			waits = c;
	}
	if (room || !waits)
		return room;
	registrar_claim_end(r, waits);
	return waits;
}

static struct claim *claim_new(struct registrar *r, struct slot *s, const uint8_t key[static 32],
			       bool at_once)
{
	struct claim *c = claim_room(r, key, at_once);
	if (!c)
		return NULL;
	heap_cancel(&r->heap, &c->timer.t);
	*c = (struct claim){ .slot = s, .number = s->rec.number, .timer.kind = TIMER_CLAIM };
	s->claim = c;
	return c;
}

static void refuse_taken(struct registrar *r, const struct slot *s, const struct claim *c)
{
	char hex[9];
	sodium_bin2hex(hex, sizeof(hex), s->rec.key, 4);
	registrar_refuse(
		r, c->key, c->request, CTL_REFUSED_TAKEN,
		"worker id %s is taken by a living node (key %s...): give this node another "
		"WORKER_ID, or stop the other one",
		s->rec.id, hex);
}

static void put_new(struct registrar *r, nsec now, const struct lease_record *rec, uint32_t request,
		    const struct facts *facts);

/* Not the number that the id has here: the one that it shows, or another of ours. */
static void claim_move(struct registrar *r, nsec now, const struct claim *c)
{
	struct claim it = *c;
	struct slot *s = c->slot;
	member_number n = it.shown ? it.shown : registrar_slot_free_number(r);
	struct slot *other = registrar_slot_at(r, n);
	struct lease_record rec = { .number = n, .granted = it.shown ? it.granted : 0 };

	memcpy(rec.id, s->rec.id, sizeof(rec.id));
	memcpy(rec.key, it.key, 32);
	registrar_claim_end(r, s->claim);
	if (!n || (other && other->state != LEASE_FREE))
		return; /* full, or taken meanwhile: it asks again, and is told */
	registrar_evict(r, now, s, false); /* should it live after all, it is the older one */
	put_new(r, now, &rec, it.request, &it.facts);
}

/*
 * Each take-over counts `granted` one second on. More often than once a second they would carry it ahead of the clock,
 * and beyond the lease of whoever has the number after them.
 */
static bool taken_just_now(const struct slot *s, nsec now)
{
	return s->taken_at && now - s->taken_at < NSEC_PER_SEC;
}

/* The lease moves to the claimant, as soon as the store has it. */
static void claim_take_over(struct registrar *r, nsec now, struct claim *c)
{
	struct slot *s = c->slot;
	c->until = now;
	bool moves = c->shown || !registrar_owns(r, s->rec.number);
	if (s->op != OP_NONE || taken_just_now(s, now) ||
	    (moves && !c->shown && registrar_number_unsure(r, now))) {
		registrar_timer(r, &c->timer, now + CHALLENGE_EVERY);
		return;
	}
	if (moves) {
		claim_move(r, now, c);
		return;
	}
	heap_cancel(&r->heap, &c->timer.t);
	c->record = s->rec;
	memcpy(c->record.key, c->key, 32);
	/* the id keeps its age, and the later lease of the number is the one that holds */
	c->record.granted++;
	c->record.seen = registrar_wall(r, now);
	registrar_store(r, now, s, OP_PUT_CLAIM);
}

void registrar_claim_timer(struct registrar *r, nsec now, struct claim *c)
{
	if (now >= c->until) {
		claim_take_over(r, now, c);
		return;
	}
	registrar_todo(r, c->slot, TODO_CHALLENGE);
	c->challenges++;
	if (c->challenges == ASK_FIRST || c->challenges == ASK_AGAIN)
		registrar_ask_all(r, c);
	registrar_timer(r, &c->timer, nsec_min(now + CHALLENGE_EVERY, c->until));
}

/* Does it matter whether the holder lives? Not once it is written: the store may have it already. */
bool registrar_claim_open(const struct claim *c)
{
	return !c->at_once && c->slot->op != OP_PUT_CLAIM;
}

void registrar_claim_heard(struct registrar *r, nsec now, struct slot *s)
{
	s->heard = now;
	s->loaded = false;
	if (s->registered && !s->online) {
		s->online = true;
		registrar_timer(r, &s->offline, now + ONLINE_FOR);
		registrar_roster_changed(r, now, s);
	}
	if (s->claim && registrar_claim_open(s->claim)) {
		refuse_taken(r, s, s->claim);
		registrar_claim_end(r, s->claim);
	}
}

/* --- what a REGISTER says of its sender --- */

/* True when something that the roster shows has changed. */
static bool facts_take(struct registrar *r, struct facts *f, const struct endpoint *from,
		       const struct ctl_msg *m)
{
	bool changed = memcmp(&f->trino, &m->trino, sizeof(f->trino)) != 0 ||
		       strcmp(f->release, m->release) != 0;
	f->boot = m->boot;
	f->from = *from;
	memcpy(&f->trino, &m->trino, sizeof(f->trino)); /* with its padding: it is compared */
	memcpy(f->release, m->release, sizeof(f->release));
	f->ncandidates = 0;
	for (size_t i = 0; i < m->ncandidates; i++)
		if (candidate_valid(&m->candidates[i], &r->cfg.prefix4, &r->cfg.prefix6))
			f->candidates[f->ncandidates++] = m->candidates[i];
	return changed;
}

static void slot_release(struct registrar *r, nsec now, struct slot *s)
{
	s->released = true;
	s->registered = false;
	s->announced = false;
	if (s->online) {
		s->online = false;
		registrar_roster_changed(r, now, s);
	}
	/* nobody holds on to it: who claims it need not wait longer */
	if (s->claim && s->op != OP_PUT_CLAIM && registrar_owns(r, s->rec.number))
		claim_take_over(r, now, s->claim);
}

/* A key holds one id at a time: the one that it asked for last. */
static void release_others(struct registrar *r, nsec now, struct slot *s)
{
	struct slot *o = registrar_slot_first_of_key(r, s->rec.key);
	for (; o; o = registrar_slot_next_of_key(o, s->rec.key))
		if (o != s && o->state == LEASE_HELD && !o->released)
			slot_release(r, now, o);
}

/* Its key holds the lease and is here: show it to the others, answer. */
void registrar_claim_activate(struct registrar *r, nsec now, struct slot *s, bool changed)
{
	release_others(r, now, s);
	s->released = false;
	s->registered = true;
	s->loaded = false;
	s->heard = now;
	if (!s->online || changed)
		registrar_roster_changed(r, now, s);
	if (!s->online) {
		s->online = true;
		registrar_timer(r, &s->offline, now + ONLINE_FOR);
	}
	if (!s->announced)
		registrar_todo(r, s, TODO_MEMBER);
	s->announced = true;
	registrar_todo(r, s, TODO_GRANT);
}

bool registrar_holds(const struct ctl_msg *m)
{
	return m->has & CTL_BIT(CTL_LEASE) && !(m->flags & CTL_REGISTER_SAVED);
}

/*
 * A REGISTER that a newer one has overtaken on the way must not bring old facts back. Each process numbers its
 * own: after a boot of its host the next one begins lower, and may run with its lease before it reaches us.
 */
static bool overtaken(const struct slot *s, const struct ctl_msg *m)
{
	return (s->registered || s->released) && registrar_holds(m) && m->boot == s->facts.boot &&
	       (int32_t)(m->request - s->request) < 0;
}

static void renew(struct registrar *r, nsec now, struct slot *s, const struct endpoint *from,
		  const struct ctl_msg *m)
{
	if (s->op == OP_PUT_CLAIM || overtaken(s, m))
		return;
	s->request = m->request;
	registrar_claim_activate(r, now, s, facts_take(r, &s->facts, from, m));
	int64_t wall = registrar_wall(r, now);
	if (s->op == OP_NONE && (wall - s->rec.seen >= SEEN_EVERY || wall < s->rec.seen)) {
		s->seen_next = wall;
		registrar_store(r, now, s, OP_PUT_SEEN);
	}
}

/* --- new leases --- */

/* The lease that it shows, where that is as free as it is ours. */
static bool shown_free(const struct registrar *r, const uint8_t key[static 32],
		       const struct ctl_msg *m)
{
	struct slot *s = registrar_slot_at(r, m->lease.number);
	return registrar_lease_shown(r, key, m) && (!s || s->state == LEASE_FREE);
}

static void refuse_full(struct registrar *r, nsec now, const uint8_t key[static 32],
			const struct ctl_msg *m)
{
	char range[PREFIX_STRLEN];
	if (registrar_lease_free_unseen(r, now)) {
		registrar_refuse(r, key, m->request, CTL_REFUSED_WAIT,
				 "the address range is full; the longest unused address is being "
				 "freed, asking again");
		return;
	}
	bool four = addr_is_v4(&r->cfg.prefix4.addr);
	prefix_str(four ? &r->cfg.prefix4 : &r->cfg.prefix6, range);
	if (r->leases >= r->cfg.max_members)
		registrar_refuse(r, key, m->request, CTL_REFUSED_FULL,
				 "the rendezvous takes no more than %u members and has them all",
				 r->cfg.max_members);
	else
		registrar_refuse(r, key, m->request, CTL_REFUSED_FULL,
				 "the address range %s is full: restart the rendezvous with a "
				 "larger --prefix",
				 range);
}

/* `rec` without `seen`; granted 0: now. */
static void put_new(struct registrar *r, nsec now, const struct lease_record *rec, uint32_t request,
		    const struct facts *facts)
{
	struct slot *s = registrar_slot_at(r, rec->number);
	int64_t before = s ? s->rec.granted : 0, wall = registrar_wall(r, now);

	s = registrar_slot_make(r, rec->number);
	if (!s)
		return;
	s->rec = *rec;
	s->rec.seen = wall;
	/* an old time keeps the old MAC true; a new one is later than that of whoever had the number */
	if (!rec->granted)
		s->rec.granted = wall > before ? wall : before + 1;
	s->request = request;
	s->facts = *facts;
	s->state = LEASE_NEW;
	registrar_slot_index(r, s);
	registrar_store(r, now, s, OP_PUT_NEW);
}

static void new_lease(struct registrar *r, nsec now, const uint8_t key[static 32],
		      const struct endpoint *from, const struct ctl_msg *m)
{
	bool shown = shown_free(r, key, m);
	struct lease_record rec = { .number =
					    shown ? m->lease.number : registrar_slot_free_number(r),
				    .granted = shown ? m->lease.granted : 0 };
	struct facts facts = { 0 };

	if (!rec.number || r->leases >= r->cfg.max_members) {
		refuse_full(r, now, key, m);
		return;
	}
	memcpy(rec.id, m->id, sizeof(rec.id));
	memcpy(rec.key, key, 32);
	facts_take(r, &facts, from, m);
	put_new(r, now, &rec, m->request, &facts);
}

/* Same id and key, but the store has not said yes yet: the answer comes when it does. */
static void still_waiting(struct registrar *r, nsec now, struct slot *s,
			  const struct endpoint *from, const struct ctl_msg *m)
{
	s->request = m->request;
	facts_take(r, &s->facts, from, m);
	if (now - s->op_since >= STORE_SLOW)
		registrar_refuse(r, s->rec.key, m->request, CTL_REFUSED_STORE,
				 "the rendezvous waits for its disk to keep the lease");
}

static void refuse_wait(struct registrar *r, const uint8_t key[static 32], const struct ctl_msg *m,
			const char *why)
{
	registrar_refuse(r, key, m->request, CTL_REFUSED_WAIT, "worker id %s: %s; asking again",
			 m->id, why);
}

/* The claim of this key on the slot, a new one or an old one; NULL: it was told to wait. */
static struct claim *claim_of(struct registrar *r, struct slot *s, const uint8_t key[static 32],
			      const struct ctl_msg *m, bool force)
{
	struct claim *c = s->claim;
	if (c && force && memcmp(c->key, key, 32) != 0 && s->op != OP_PUT_CLAIM) {
		registrar_claim_end(r, c);
		c = NULL;
	}
	if (c && memcmp(c->key, key, 32) != 0) {
		refuse_wait(r, key, m, "another node is claiming it at this moment");
		return NULL;
	}
	if (!c)
		c = claim_new(r, s, key, force);
	if (!c)
		refuse_wait(r, key, m, "too many nodes are claiming ids at this moment");
	return c;
}

/* How long a new claim waits. The rendezvous whose number it is comes first: it alone can give it on. */
static nsec claim_wait(const struct registrar *r, const struct slot *s, bool shows, bool at_once)
{
	nsec wait = s->released || at_once ? 0 : CHALLENGE_FOR;
	return wait + (shows || registrar_owns(r, s->rec.number) ? 0 : OWNER_FIRST);
}

/* Another key wants an id that has a lease; with the younger lease that it `shows`, or for its first one. */
static void contend(struct registrar *r, nsec now, struct slot *s, const uint8_t key[static 32],
		    const struct endpoint *from, const struct ctl_msg *m, bool shows)
{
	bool at_once = registrar_at_once(r, now, s, key, m);
	if (s->state != LEASE_HELD) {
		refuse_wait(r, key, m, "its lease is being written");
		return;
	}
	if (s->loaded && now - r->start < REGISTRAR_RETURN_FOR && !at_once) {
		refuse_wait(r, key, m,
			    "the rendezvous has just started and waits for the node that held it");
		return;
	}
	struct claim *c = claim_of(r, s, key, m, at_once);
	if (!c)
		return;
	bool fresh = sodium_is_zero(c->key, 32);
	memcpy(c->key, key, 32);
	c->request = m->request;
	c->shown = shows ? m->lease.number : 0;
	c->granted = shows ? m->lease.granted : 0;
	facts_take(r, &c->facts, from, m);
	nsec wait = claim_wait(r, s, shows, at_once);
	c->at_once |= at_once;
	if (fresh || now + wait < c->until) { /* sooner: it shows a ticket by now */
		c->until = now + wait;
		registrar_claim_timer(r, now, c);
	}
	/* so that it does not take us for dead, and its operator knows what it waits for */
	if (wait && (s->released || at_once))
		refuse_wait(r, key, m, "another rendezvous gave its address, and comes first");
	else if (wait)
		refuse_wait(r, key, m, "another node holds it and is being asked whether it lives");
}

/* It needs no number of us; or runs with one that is another's by now, which it has to hear at once. */
static bool has_number(const struct registrar *r, const uint8_t key[static 32],
		       const struct ctl_msg *m)
{
	return shown_free(r, key, m) || (registrar_holds(m) && registrar_lease_shown(r, key, m));
}

void registrar_tell_lost(struct registrar *r, nsec now, const uint8_t key[static 32],
			 const char *id)
{
	struct former f = { .used = true };
	memcpy(f.key, key, 32);
	snprintf(f.id, sizeof(f.id), "%s", id);
	if (!registrar_told(r, now, key))
		registrar_former_tell(r, now, &f);
}

void registrar_claim_register(struct registrar *r, nsec now, const uint8_t key[static 32],
			      const struct endpoint *from, const struct ctl_msg *m, bool plain)
{
	struct former *f = registrar_former_find(r, key);
	struct slot *s = registrar_slot_find_id(r, m->id);
	bool own = s && memcmp(s->rec.key, key, 32) == 0;
	if (own && registrar_twin(r, now, s, m))
		return;
	if (f && !registrar_holds(m))
		f->used = false; /* a new process, which makes a new claim */
	if (registrar_lost(r, s, key, m)) {
		registrar_tell_lost(r, now, key, m->id);
		return;
	}
	if (!own && !registrar_returns(r, s, key, m) && !registrar_admit(r, now, key, m, plain))
		return;
	registrar_keep(r, now, key, m);
	enum shown shown = registrar_shown(r, now, key, m);
	if (shown == SHOWN_HOLDS)
		s = NULL;
	if (shown == SHOWN_WAIT)
		refuse_wait(r, key, m, "its lease is being written");
	else if (!s && !has_number(r, key, m) && registrar_number_unsure(r, now))
		refuse_wait(r, key, m,
			    "the rendezvous has lost leases; so that no member loses its address, "
			    "new ones are given 30 s after its start");
	else if (!s)
		new_lease(r, now, key, from, m);
	else if (!own)
		contend(r, now, s, key, from, m, shown == SHOWN_YOUNGER);
	else if (s->state == LEASE_NEW)
		still_waiting(r, now, s, from, m);
	else if (s->state == LEASE_FREEING)
		refuse_wait(r, key, m, "its old lease is being deleted");
	else
		renew(r, now, s, from, m);
}

void registrar_claim_release(struct registrar *r, nsec now, struct slot *s, const struct ctl_msg *m)
{
	if (s->op == OP_PUT_CLAIM || registrar_twin_leaves(r, s, m))
		return;
	s->request = m->request;
	slot_release(r, now, s);
	registrar_todo(r, s, TODO_RELEASED);
}
