/* SPDX-License-Identifier: Apache-2.0 */
/* Leases and the store: what its answers mean, what it lost, and which leases are given up. */
#include "punch/registrar_impl.h"

#define SWEEP_EVERY (600 * NSEC_PER_SEC)

enum { UNSEEN_LEAST = 3600, SWEEP_BATCH = 16 };

/* --- the store's answers --- */

static void commit_claim(struct registrar *r, nsec now, struct slot *s)
{
	struct claim *c = s->claim;
	registrar_former_add(r, now, s);
	registrar_slot_unindex(r, s);
	s->rec = c->record;
	registrar_slot_index(r, s);
	s->request = c->request;
	s->facts = c->facts;
	s->announced = false;
	s->taken = true;
	s->taken_at = now;
	s->asked = 0;
	s->todo &=
		~(unsigned)(TODO_GRANT | TODO_CHANGED | TODO_PAGE | TODO_CHALLENGE | TODO_RELEASED);
	registrar_claim_end(r, c);
	/* either key may have been removed meanwhile */
	s->removed = admission_removed(r->admission, s->rec.key);
	if (s->removed)
		registrar_mark_removed(r, now, s);
	else
		registrar_claim_activate(r, now, s, true);
}

void registrar_slot_free(struct registrar *r, struct slot *s)
{
	registrar_slot_unindex(r, s);
	s->state = LEASE_FREE;
	s->online = s->registered = false;
	s->todo = 0;
	heap_cancel(&r->heap, &s->offline.t);
	heap_cancel(&r->heap, &s->tell.t);
}

static void commit_delete(struct registrar *r, struct slot *s)
{
	struct notice *n = registrar_notice(r, s->rec.key, REGISTRAR_GONE);
	if (n)
		n->number = s->rec.number;
	registrar_slot_free(r, s);
}

static void committed(struct registrar *r, nsec now, struct slot *s, enum store_op op)
{
	switch (op) {
	case OP_PUT_NEW:
		s->state = LEASE_HELD;
		if (!s->removed)
			registrar_claim_activate(r, now, s, true);
		break;
	case OP_PUT_CLAIM:
		commit_claim(r, now, s);
		break;
	case OP_PUT_SEEN:
		s->rec.seen = s->seen_next;
		break;
	case OP_DELETE:
		commit_delete(r, s);
		break;
	case OP_NONE:
		break;
	}
}

static void refuse_store(struct registrar *r, const uint8_t key[static 32], uint32_t request)
{
	registrar_refuse(
		r, key, request, CTL_REFUSED_STORE,
		"the rendezvous cannot keep the lease (its disk is full or failing; its log "
		"says which); asking again");
}

static void not_committed(struct registrar *r, struct slot *s, enum store_op op)
{
	switch (op) {
	case OP_PUT_NEW:
		refuse_store(r, s->rec.key, s->request);
		registrar_slot_free(r, s);
		break;
	case OP_PUT_CLAIM:
		refuse_store(r, s->claim->key, s->claim->request);
		registrar_claim_end(r, s->claim);
		break;
	case OP_DELETE:
		s->state = LEASE_HELD;
		break;
	case OP_PUT_SEEN: /* the next renewal tries again */
	case OP_NONE:
		break;
	}
}

void registrar_lease_stored(struct registrar *r, nsec now, struct slot *s, bool failed)
{
	enum store_op op = s->op;
	s->op = OP_NONE;
	s->seq = 0;
	node_remove(&s->inflight);
	if (failed)
		not_committed(r, s, op);
	else
		committed(r, now, s, op);
	if (!failed)
		registrar_lease_free_removed(r, now, s);
}

void registrar_rewrite(struct registrar *r, nsec now)
{
	for (member_number n = 1; n <= r->top; n++) {
		struct slot *s = r->slots[n];
		if (!s || s->state != LEASE_HELD || s->op != OP_NONE)
			continue; /* none, or on its way to the store */
		s->seen_next = s->rec.seen;
		registrar_store(r, now, s, OP_PUT_SEEN);
	}
}

/* --- leases that are missing --- */

/*
 * A member that runs hears of our start when its renewal is not answered: 20 s at most, 3 s more until it makes
 * another session, and some for that under a crowd. Then it shows its lease, and has its number again.
 */
void registrar_incomplete(struct registrar *r, nsec now)
{
	r->incomplete_until = now + REGISTRAR_RETURN_FOR;
}

bool registrar_number_unsure(const struct registrar *r, nsec now)
{
	return now < r->incomplete_until;
}

/* --- leases that nobody uses --- */

/* Seconds since its holder was last seen; 0 while that is now or cannot be told yet. */
static int64_t unseen(const struct registrar *r, nsec now, const struct slot *s)
{
	int64_t by_clock, by_uptime;
	if (s->state != LEASE_HELD || s->online || s->op != OP_NONE || s->claim || !r->settled)
		return 0;
	if (s->heard)
		return (now - s->heard) / NSEC_PER_SEC;
	/* the row may be SEEN_EVERY behind; and a clock that jumps ahead makes nobody older */
	by_clock = registrar_wall(r, now) - s->rec.seen - SEEN_EVERY;
	by_uptime = s->age + (now - r->start) / NSEC_PER_SEC - SEEN_EVERY;
	return nsec_max(nsec_min(by_clock, by_uptime), 0);
}

void registrar_lease_free(struct registrar *r, nsec now, struct slot *s)
{
	s->state = LEASE_FREEING;
	registrar_store(r, now, s, OP_DELETE);
}

void registrar_lease_free_removed(struct registrar *r, nsec now, struct slot *s)
{
	if (!s->removed || s->state != LEASE_HELD || s->op != OP_NONE)
		return;
	if (s->claim) /* who claims it asks again, and finds the id free */
		registrar_claim_end(r, s->claim);
	registrar_lease_free(r, now, s);
}

/* Frees the lease unseen for longest; false where all were seen within the last hour. */
bool registrar_lease_free_unseen(struct registrar *r, nsec now)
{
	struct slot *best = NULL;
	int64_t most = UNSEEN_LEAST;
	for (member_number n = 1; n <= r->top; n++) {
		struct slot *s = r->slots[n];
		if (s && s->state == LEASE_FREEING)
			return true; /* one is on its way already */
		if (s && unseen(r, now, s) > most) {
			most = unseen(r, now, s);
			best = s;
		}
	}
	if (best)
		registrar_lease_free(r, now, best);
	return best;
}

/* A few at a time, so that a burst of expiries does not drown the store. */
void registrar_lease_sweep(struct registrar *r, nsec now)
{
	unsigned freed = 0;
	for (member_number n = 1; n <= r->top && freed < SWEEP_BATCH; n++) {
		struct slot *s = r->slots[n];
		if (s)
			registrar_lease_free_removed(r, now, s); /* a full disk kept it */
		if (!s || unseen(r, now, s) <= r->cfg.lease_ttl / NSEC_PER_SEC)
			continue;
		registrar_lease_free(r, now, s);
		freed++;
	}
	registrar_timer(r, &r->sweep, now + (freed == SWEEP_BATCH ? NSEC_PER_SEC : SWEEP_EVERY));
}
