/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission: under which PSK a key may come, and what it must show to be given a lease. Who holds a
 * lease needs no token any more: it comes under its own PSK, until its key is removed.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "punch/registrar_impl.h"

/* --- PSKs --- */

static void psk_add(struct psk_choices *c, const uint8_t psk[static 32], bool plain)
{
	memcpy(c->psk[c->n], psk, 32);
	c->plain[c->n++] = plain;
}

static void psk_epoch(const struct registrar *r, struct psk_choices *c, uint32_t epoch)
{
	uint8_t psk[32];
	admission_psk(r->keys->secret, epoch, psk);
	psk_add(c, psk, false);
	sodium_memzero(psk, sizeof(psk));
}

/* Tokens without a ticket are of epoch 0. */
static bool plain_good(const struct registrar *r, nsec now)
{
	return !sodium_is_zero(r->keys->plain, 32) &&
	       admission_epoch_good(r->admission, 0, registrar_wall(r, now));
}

/* Of all that there are the one that is meant; false: none of ours. */
static bool psk_hinted(struct psk_choices *c, uint16_t hint)
{
	unsigned n = 0;
	for (unsigned i = 0; i < c->n; i++) {
		if (admission_hint(c->psk[i]) != hint)
			continue;
		memmove(c->psk[n], c->psk[i], 32);
		c->plain[n++] = c->plain[i];
	}
	if (n)
		c->n = n;
	return n;
}

void registrar_psks(const struct registrar *r, nsec now, const uint8_t key[static 32],
		    uint16_t hint, struct psk_choices *c)
{
	const struct admission *a = r->admission;
	uint8_t own[32];
	registrar_member_psk(r, key, own);
	c->n = 0;
	psk_add(c, own, false);
	psk_epoch(r, c, a->epoch);
	if (a->epoch && admission_epoch_good(a, a->epoch - 1, registrar_wall(r, now)))
		psk_epoch(r, c, a->epoch - 1);
	if (plain_good(r, now))
		psk_add(c, r->keys->plain, true);
	if (!psk_hinted(c, hint)) {
		/* a release that gives no hint: it has the one or the other of these */
		bool member = registrar_psk(r, key, own);
		c->n = 0;
		if (member)
			psk_add(c, own, false);
		if (plain_good(r, now))
			psk_add(c, r->keys->plain, true);
		if (!c->n)
			psk_epoch(r, c, a->epoch);
	}
	sodium_memzero(own, sizeof(own));
}

/* --- tickets --- */

static bool refuse_token(struct registrar *r, const uint8_t key[static 32], const struct ctl_msg *m,
			 const char *why)
{
	registrar_refuse(r, key, m->request, CTL_REFUSED_TOKEN,
			 "%s: get the one that `warren token` prints on the rendezvous", why);
	return false;
}

static bool refuse_expired(struct registrar *r, const uint8_t key[static 32],
			   const struct ctl_msg *m, int64_t expires)
{
	char date[ADMISSION_DATE_LEN], why[80];
	admission_date(expires, date);
	snprintf(why, sizeof(why), "the join token has expired (%s)", date);
	return refuse_token(r, key, m, why);
}

static bool refuse_reserved(struct registrar *r, const uint8_t key[static 32],
			    const struct ctl_msg *m)
{
	registrar_refuse(r, key, m->request, CTL_REFUSED_TOKEN,
			 "worker id %s is kept for a token of its own: get the one that "
			 "`warren token --for %s` prints on the rendezvous",
			 m->id, m->id);
	return false;
}

bool registrar_lease_shown(const struct registrar *r, const uint8_t key[static 32],
			   const struct ctl_msg *m)
{
	struct lease_record rec = { .number = m->lease.number, .granted = m->lease.granted };
	uint8_t mac[16];
	if (!(m->has & CTL_BIT(CTL_LEASE)) || rec.number > r->limit)
		return false;
	memcpy(rec.id, m->id, sizeof(rec.id));
	memcpy(rec.key, key, 32);
	registrar_lease_mac(r, &rec, mac);
	return sodium_memcmp(mac, m->lease.mac, 16) == 0;
}

/* Of two that had a number one after the other, the later one has it. */
static bool number_given_on(const struct registrar *r, const uint8_t key[static 32],
			    const struct lease *l)
{
	const struct slot *t = registrar_slot_at(r, l->number);
	return t && t->state != LEASE_FREE && memcmp(t->rec.key, key, 32) != 0 &&
	       t->rec.granted >= l->granted;
}

bool registrar_returns(const struct registrar *r, const struct slot *s,
		       const uint8_t key[static 32], const struct ctl_msg *m)
{
	if (!registrar_lease_shown(r, key, m))
		return false;
	if (!s)
		return true;
	if (number_given_on(r, key, &m->lease))
		return false;
	if (s->rec.number == m->lease.number)
		return true;
	/* one rendezvous gives an id another number only after the one before was freed */
	if (r->cfg.of < 2)
		return s->rec.granted < m->lease.granted;
	/* two of them may: which one holds, is not for its age to say where a token is asked for */
	return !admission_reserved(r->admission, m->id);
}

bool registrar_lost(const struct registrar *r, const struct slot *s, const uint8_t key[static 32],
		    const struct ctl_msg *m)
{
	return s && s->state == LEASE_HELD && memcmp(s->rec.key, key, 32) != 0 &&
	       s->rec.number == m->lease.number && s->rec.granted >= m->lease.granted &&
	       registrar_holds(m) && registrar_lease_shown(r, key, m);
}

enum fault { TICKET_GOOD, TICKET_NOT_OURS, TICKET_REPLACED, TICKET_EXPIRED };

static enum fault ticket_fault(const struct registrar *r, nsec now, const struct ctl_msg *m)
{
	int64_t wall = registrar_wall(r, now);
	if (!admission_ticket_ours(r->keys->secret, &m->ticket, m->id))
		return TICKET_NOT_OURS;
	if (!admission_epoch_good(r->admission, m->ticket.epoch, wall))
		return TICKET_REPLACED;
	return m->ticket.expires && m->ticket.expires <= wall ? TICKET_EXPIRED : TICKET_GOOD;
}

bool registrar_at_once(const struct registrar *r, nsec now, const struct slot *s,
		       const uint8_t key[static 32], const struct ctl_msg *m)
{
	if (!registrar_holds(m) && m->has & CTL_BIT(CTL_TICKET) && m->ticket.only &&
	    ticket_fault(r, now, m) == TICKET_GOOD)
		return true;
	return m->lease.number == s->rec.number && m->lease.granted > s->rec.granted &&
	       registrar_lease_shown(r, key, m);
}

bool registrar_admit(struct registrar *r, nsec now, const uint8_t key[static 32],
		     const struct ctl_msg *m, bool plain)
{
	const struct ticket *t = &m->ticket;
	bool has = m->has & CTL_BIT(CTL_TICKET);
	enum fault fault = has ? ticket_fault(r, now, m) : TICKET_GOOD;
	if (fault == TICKET_NOT_OURS)
		return refuse_token(r, key, m,
				    t->only ? "the join token is for another worker id alone"
					    : "this join token is not of this rendezvous");
	if (!(has && t->only) && admission_reserved(r->admission, m->id))
		return refuse_reserved(r, key, m);
	if (!has && !plain)
		return refuse_token(r, key, m, "this node shows no token that admits it");
	if (fault == TICKET_REPLACED ||
	    (!has && !admission_epoch_good(r->admission, 0, registrar_wall(r, now))))
		return refuse_token(r, key, m, "the join token was replaced by a newer one");
	if (fault == TICKET_EXPIRED)
		return refuse_expired(r, key, m, t->expires);
	return true;
}

/*
 * The rendezvous do not talk to each other, and the one that made the token is the only one to know that its id
 * is kept. The ticket tells: from its first use on the id is kept here too.
 */
void registrar_keep(struct registrar *r, nsec now, const uint8_t key[static 32],
		    const struct ctl_msg *m)
{
	if (!(m->has & CTL_BIT(CTL_TICKET)) || !m->ticket.only ||
	    admission_reserved(r->admission, m->id) || ticket_fault(r, now, m) != TICKET_GOOD)
		return;
	int err = admission_reserve(r->admission, m->id);
	struct notice *n = registrar_notice(r, key, REGISTRAR_KEPT);
	if (!n)
		return; /* it is kept with the next change of it */
	n->fatal = err < 0;
	memcpy(n->text, m->id, sizeof(m->id));
}

/* --- removed keys --- */

static const char removed_text[] =
	"the operator removed this node's key from the network for good: a new key needs a new "
	"state directory, and a good token";

bool registrar_removed_input(struct registrar *r, nsec now, const uint8_t key[static 32],
			     const struct ctl_msg *m)
{
	if (!admission_removed(r->admission, key))
		return false;
	/* one that holds a lease runs a command, which is to be stopped */
	if (m->type == CTL_REGISTER && !registrar_holds(m))
		registrar_refuse(r, key, m->request, CTL_REFUSED_REMOVED, "%s", removed_text);
	else
		registrar_tell_removed(r, now, key);
	return true;
}

bool registrar_told(struct registrar *r, nsec now, const uint8_t key[static 32])
{
	struct told *t = NULL;
	for (size_t i = 0; i < MAX_TOLD && !t; i++)
		if (r->told[i].used && memcmp(r->told[i].key, key, 32) == 0)
			t = &r->told[i];
	if (t && now - t->at < TELL_OUT_EVERY)
		return true;
	if (!t)
		t = &r->told[r->next_told++ % MAX_TOLD];
	*t = (struct told){ .used = true, .at = now };
	memcpy(t->key, key, 32);
	return false;
}

void registrar_tell_removed(struct registrar *r, nsec now, const uint8_t key[static 32])
{
	if (!registrar_told(r, now, key))
		registrar_replace(r, key, 0, CTL_REFUSED_REMOVED, "%s", removed_text);
}

static void end_claims(struct registrar *r, const uint8_t key[static 32])
{
	for (size_t i = 0; i < MAX_CLAIMS; i++) {
		struct claim *c = &r->claims[i];
		/* one that is being written ends with it */
		if (c->slot && c->slot->op != OP_PUT_CLAIM && memcmp(c->key, key, 32) == 0)
			registrar_claim_end(r, c);
	}
}

/* Its number stays nobody's, so that whoever missed the news hears it whenever it asks. */
void registrar_mark_removed(struct registrar *r, nsec now, struct slot *s)
{
	s->removed = true;
	s->online = s->registered = s->announced = false;
	s->todo &= TODO_STORE;
	heap_cancel(&r->heap, &s->offline.t);
	heap_cancel(&r->heap, &s->tell.t);
	registrar_roster_changed(r, now, s);
}

/* The number that was freed of this key's lease, and that nobody has had since. */
static struct slot *freed_of(const struct registrar *r, const uint8_t key[static 32])
{
	for (member_number n = 1; n <= r->top; n++) {
		struct slot *s = r->slots[n];
		if (s && s->state == LEASE_FREE && memcmp(s->rec.key, key, 32) == 0)
			return s;
	}
	return NULL;
}

void registrar_remove(struct registrar *r, nsec now, const uint8_t key[static 32])
{
	struct slot *next, *s = registrar_slot_first_of_key(r, key), *freed = freed_of(r, key);
	registrar_tell_removed(r, now, key);
	end_claims(r, key);
	if (freed) /* others may talk to it all the same */
		registrar_mark_removed(r, now, freed);
	for (; s; s = next) {
		next = registrar_slot_next_of_key(s, key);
		registrar_mark_removed(r, now, s);
		registrar_lease_free_removed(r, now, s);
	}
}

void registrar_load_removed(struct registrar *r)
{
	for (size_t i = 0; i < r->admission->nremoved; i++) {
		const struct removed_key *k = &r->admission->removed[i];
		struct slot *s = NULL;
		if (k->number && k->number <= r->limit && !r->slots[k->number])
			s = registrar_slot_make(r, k->number);
		if (!s)
			continue;
		s->removed = true;
		s->changed = r->roster.version;
	}
}

/* --- leases that the operator frees --- */

const struct lease_record *registrar_lease_of(const struct registrar *r, const char *id)
{
	const struct slot *s = registrar_slot_find_id(r, id);
	return s && s->state != LEASE_NEW ? &s->rec : NULL;
}

const struct lease_record *registrar_lease_of_key(const struct registrar *r,
						  const uint8_t key[static 32])
{
	const struct slot *s = registrar_slot_find_key(r, key);
	if (!s)
		s = freed_of(r, key);
	return s ? &s->rec : NULL;
}

int registrar_forget(struct registrar *r, nsec now, const char *id)
{
	struct slot *s = registrar_slot_find_id(r, id);
	if (!s)
		return -ENOENT;
	if (s->state == LEASE_FREEING)
		return 0;
	if (s->online)
		return -EBUSY;
	if (s->state != LEASE_HELD || s->op != OP_NONE || s->claim || (s->loaded && !r->settled))
		return -EAGAIN;
	registrar_lease_free(r, now, s);
	return 0;
}
