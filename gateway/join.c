/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joining: the lease, and what each rendezvous of the token says of the others (contact.c).
 *
 * A node is registered with all of them at the same time. The lease comes from one: whoever has a
 * session first is asked, the others only when it does not grant it. From then on each is shown it,
 * under its MAC, so that each lists this node, introduces it and relays for it. So every rendezvous
 * knows everybody who can reach it, and they need not know of each other.
 */
#include "gateway/node_internal.h"
#include "punch/control.h"

#include <errno.h>
#include <sodium.h>

#define RESOLVE_EVERY (300 * NSEC_PER_SEC)
#define RESOLVE_AGAIN (5 * NSEC_PER_SEC)
#define RESOLVE_FIRST_RETRY (2 * NSEC_PER_SEC)
#define SWEEP_EVERY (3 * NSEC_PER_SEC)
/* For so long the one that was asked for a lease is waited for alone. */
#define CLAIM_ALONE NSEC_PER_SEC
/* What a rendezvous listed holds no longer when it was silent for so long, and another was not. */
#define LISTED_FOR (60 * NSEC_PER_SEC)
#define ANSWERS (25 * NSEC_PER_SEC)

const struct prefix *join_prefix(const struct token *t, bool v4)
{
	static const struct prefix none;
	for (size_t i = 0; i < t->nprefixes; i++)
		if (addr_is_v4(&t->prefixes[i].addr) == v4)
			return &t->prefixes[i];
	return &none;
}

static int contact_start(struct node *n, nsec now, struct contact *c, const struct enrol_config *ec,
			 const uint8_t key[static 32])
{
	c->enrol = enrol_new(ec);
	c->peer = peer_new(n, PEER_RENDEZVOUS, key);
	if (!c->enrol || !c->peer)
		return -ENOMEM;
	contact_init(c, now);
	return 0;
}

int join_start(struct node *n, nsec now, const struct node_config *cfg)
{
	struct join *j = &n->join;
	struct enrol_config ec = { .worker_id = cfg->worker_id,
				   .release = cfg->release,
				   .ticket = cfg->token->ticket };
	int err = 0;

	j->keys = arena_alone(&j->arena, sizeof(*j->keys));
	if (!j->keys)
		return -ENOMEM;
	j->token = *cfg->token;
	memcpy(j->keys->admission, j->token.admission, sizeof(j->keys->admission));
	sodium_memzero(j->token.admission, sizeof(j->token.admission));
	j->lease.psk = j->keys->psk;
	ec.prefix4 = *join_prefix(&j->token, true);
	ec.prefix6 = *join_prefix(&j->token, false);
	memcpy(ec.key, wg_public_key(n->wg), 32);
	ec.boot = n->boot;
	saved_init(n, now, cfg);
	ec.saved = n->saved.usable ? &n->saved.lease : NULL;
	j->lease.lease.number = cfg->number;
	if (cfg->psk) {
		memcpy(j->keys->psk, cfg->psk, 32);
		j->own_psk = true;
	}
	j->n = token_count(&j->token);
	ec.several = j->n > 1;
	for (unsigned i = 0; err == 0 && i < j->n; i++)
		err = contact_start(n, now, &j->c[i], &ec, token_key(&j->token, i));
	if (err < 0)
		return err;
	j->on = true;
	j->next_resolve = j->next_sweep = now;
	j->next_claim = NSEC_NEVER;
	if (cfg->holds && n->saved.usable && n->saved.lease.number == cfg->number)
		join_show(n, now, &n->saved.lease);
	return 0;
}

void join_stop(struct node *n)
{
	for (unsigned i = 0; i < TOKEN_MAX_RENDEZVOUS; i++)
		enrol_free(n->join.c[i].enrol);
	arena_free(n->join.arena);
	n->join.on = false;
}

struct contact *join_contact(const struct peer *p)
{
	struct join *j = &p->node->join;
	for (unsigned i = 0; i < j->n; i++)
		if (j->c[i].peer == p)
			return &j->c[i];
	return NULL;
}

void join_resolve(struct node *n, nsec now)
{
	struct join *j = &n->join;
	j->next_resolve = nsec_min(j->next_resolve, nsec_max(now, j->resolved + RESOLVE_AGAIN));
}

enum drop join_control(const struct peer *p, nsec now, const uint8_t *f, size_t len)
{
	return enrol_input(join_contact(p)->enrol, now, f, len);
}

/* --- the lease --- */

/* The next one that is asked for a lease. */
static void claim_next(struct join *j, nsec now)
{
	for (unsigned i = 0; i < j->n; i++) {
		struct contact *c = &j->c[i];
		if (!c->session || c->claiming)
			continue;
		c->claiming = true;
		enrol_claim(c->enrol, now);
		j->next_claim = now + CLAIM_ALONE;
		return;
	}
	j->next_claim = NSEC_NEVER; /* all that are there were asked; join_session_up() goes on */
}

void join_session_up(struct peer *p, nsec now, const struct endpoint *from)
{
	struct join *j = &p->node->join;

	contact_session_up(join_contact(p), now, from);
	if (!j->granted && j->next_claim == NSEC_NEVER)
		claim_next(j, now);
}

/* What members may send to us: our addresses, and what the operator put behind us. */
static void set_own(struct node *n, const struct lease *l)
{
	n->own[0] = prefix_host(&l->ip);
	n->own[1] = prefix_host(&l->ip6);
	memcpy(&n->own[2], l->routes, l->nroutes * sizeof(l->routes[0]));
	n->nown = 2 + l->nroutes;
}

int join_links(struct node *n, const struct lease *l)
{
	struct links_config lc = { .self = l->number,
				   .boot = n->boot,
				   .max_links = n->max_peers,
				   .local_way = n->io.local_way,
				   .ctx = n->io.ctx };
	set_own(n, l);
	if (!n->links)
		n->links = links_new(&lc);
	return n->links ? 0 : -ENOMEM;
}

/* Nobody has used the number that we came back with: what was made for it ends, under a boot id of its own. */
static void other_number(struct node *n)
{
	members_clear(n);
	links_free(n->links);
	n->links = NULL;
	n->boot++;
}

static void remember_lease(struct node *n, const struct lease *l)
{
	if (n->memory)
		memory_lease(n->memory, &n->saved.owner, l);
}

void join_show(struct node *n, nsec now, const struct lease *l)
{
	for (unsigned i = 0; i < n->join.n; i++)
		enrol_show(n->join.c[i].enrol, now, l);
}

static void granted(struct contact *c, nsec now, const struct enrol_output *out)
{
	struct node *n = c->peer->node;
	struct join *j = &n->join;
	bool psk_new = !j->own_psk || sodium_memcmp(j->keys->psk, out->psk, 32) != 0;
	bool first = !j->lease.up, moved = j->lease.lease.number != out->lease.number;

	if (moved && !first) {
		node_tell(n, &(struct node_note){ .event = NODE_LEASE_CHANGED });
		return;
	}
	if (moved && n->links)
		other_number(n);
	memcpy(j->keys->psk, out->psk, 32);
	j->lease.lease = out->lease;
	j->own_psk = true;
	if (join_links(n, &out->lease) < 0) {
		node_tell(n, &(struct node_note){ .event = NODE_REFUSED,
						  .fatal = true,
						  .from = contact_host(c),
						  .text = "out of memory" });
		return;
	}
	if (psk_new || !c->granted) {
		c->granted = c->own_first = true;
		contact_use_relay(c, now);
	}
	j->lease.up = true;
	j->granted = true;
	j->next_claim = NSEC_NEVER;
	remember_lease(n, &out->lease);
	join_show(n, now, &out->lease);
	if (psk_new || moved)
		node_tell(n, &(struct node_note){ .event = NODE_SAVE });
	if (first)
		node_tell(n, &(struct node_note){ .event = NODE_UP });
}

static void introduced(struct node *n, nsec now, const struct enrol_output *out)
{
	struct peer *p = members_find(n, out->number);
	if (p)
		link_introduce(p->link, now, out->candidates, out->ncandidates);
}

/* Somebody holds our id: one who has started already was replaced. Else another may have a lease for us. */
static void refused(const struct contact *c, nsec now, const struct enrol_output *out)
{
	struct node *n = c->peer->node;
	struct join *j = &n->join;
	bool replaced = out->event == ENROL_REPLACED || (out->taken && out->fatal && j->lease.up);

	node_tell(n, &(struct node_note){ .event = replaced ? NODE_REPLACED : NODE_REFUSED,
					  .text = out->text,
					  .from = contact_host(c),
					  .fatal = out->fatal });
	if (!j->granted && j->next_claim != NSEC_NEVER)
		j->next_claim = now;
}

static void released(struct node *n, struct contact *c)
{
	bool all = true;

	c->released = true;
	for (unsigned i = 0; i < n->join.n; i++)
		all &= n->join.c[i].released;
	if (all)
		node_tell(n, &(struct node_note){ .event = NODE_RELEASED });
}

/* One lists it no more; another may. */
static void unlisted(struct node *n, nsec now, member_number number)
{
	for (unsigned i = 0; i < n->join.n; i++) {
		const struct roster_entry *e = enrol_member(n->join.c[i].enrol, number);
		if (e) {
			members_set(n, now, e);
			return;
		}
	}
	members_gone(n, number);
}

void join_connect(struct node *n, nsec now, member_number number)
{
	for (unsigned i = 0; i < n->join.n; i++)
		if (enrol_member(n->join.c[i].enrol, number))
			enrol_connect(n->join.c[i].enrol, now, number);
}

static bool send_control(struct peer *r, nsec now, uint8_t *payload, size_t len)
{
	len = ctl_pad(payload, len, CONTROL_SEND_MAX);
	return out_frame(r, now, &r->path, payload, len, len);
}

static void handle(struct contact *c, nsec now, struct enrol_output *out)
{
	struct node *n = c->peer->node;

	switch (out->event) {
	case ENROL_SEND:
		if (!send_control(c->peer, now, out->bytes, out->len))
			wg_peer_initiate(n->wg, c->peer->wg, now, 0);
		break;
	case ENROL_GRANTED:
		granted(c, now, out);
		break;
	case ENROL_REFUSED:
	case ENROL_REPLACED:
		refused(c, now, out);
		break;
	case ENROL_MEMBER:
		members_set(n, now, &out->entry);
		break;
	case ENROL_MEMBER_GONE:
		if (out->removed)
			members_removed(n, out->number);
		else
			unlisted(n, now, out->number);
		break;
	case ENROL_INTRODUCED:
		introduced(n, now, out);
		break;
	case ENROL_ASKED:
		members_asked(n, now, out->number, (unsigned)(c - n->join.c));
		break;
	case ENROL_OBSERVED:
		c->observed = out->observed;
		break;
	case ENROL_SILENT:
		contact_silent(c, now);
		break;
	case ENROL_RELEASED:
		released(n, c);
		break;
	}
	sodium_memzero(out->psk, sizeof(out->psk));
	sodium_memzero(out->entry.pair_psk, sizeof(out->entry.pair_psk));
}

const struct roster_entry *join_find(const struct node *n, const char *id)
{
	const struct roster_entry *e = NULL;
	for (unsigned i = 0; !e && i < n->join.n; i++)
		e = enrol_find(n->join.c[i].enrol, id);
	return e;
}

const struct roster_entry *join_find_key(const struct node *n, const char *id,
					 const uint8_t key[static 32])
{
	for (unsigned i = 0; i < n->join.n; i++) {
		const struct roster_entry *e = enrol_find(n->join.c[i].enrol, id);
		if (e && memcmp(e->key, key, 32) == 0)
			return e;
	}
	return NULL;
}

struct enrol_info join_info(const struct node *n)
{
	struct enrol_info all = { 0 }, one;
	for (unsigned i = 0; i < n->join.n; i++) {
		enrol_info(n->join.c[i].enrol, &one);
		all.registered |= one.registered;
		all.listed |= one.listed;
		all.last_answer = nsec_max(all.last_answer, one.last_answer);
	}
	return all;
}

static nsec unheard_for(const struct contact *c, nsec now)
{
	struct enrol_info info;
	enrol_info(c->enrol, &info);
	return info.last_answer ? now - info.last_answer : NSEC_NEVER;
}

/* A rendezvous that died does not say who has gone since. While all are silent, nobody is gone. */
static void forget_silent(struct join *j, nsec now)
{
	bool any = false;
	for (unsigned i = 0; i < j->n; i++)
		any |= unheard_for(&j->c[i], now) <= ANSWERS;
	for (unsigned i = 0; any && i < j->n; i++)
		if (unheard_for(&j->c[i], now) > LISTED_FOR)
			enrol_forget_roster(j->c[i].enrol);
}

static void look_who_answers(struct node *n)
{
	bool told = join_info(n).registered;
	if (told == n->join.told)
		return;
	n->join.told = told;
	node_tell(n, &(struct node_note){ .event = NODE_ROSTER });
}

void join_tick(struct node *n, nsec now)
{
	struct join *j = &n->join;
	struct enrol_output out;

	if (!j->on)
		return;
	if (now >= j->next_resolve) {
		bool known = true;
		for (size_t i = 0; i < j->token.nrendezvous; i++)
			known &= j->host[i].n > 0;
		j->resolved = now;
		j->next_resolve = now + (known ? RESOLVE_EVERY : RESOLVE_FIRST_RETRY);
		node_tell(n, &(struct node_note){ .event = NODE_RESOLVE });
	}
	if (now >= j->next_claim)
		claim_next(j, now);
	if (now >= j->next_sweep) {
		j->next_sweep = now + SWEEP_EVERY;
		forget_silent(j, now);
		members_sweep(n, now);
	}
	members_vouch(n, now);
	for (unsigned i = 0; i < j->n; i++) {
		contact_tick(&j->c[i], now);
		while (enrol_poll(j->c[i].enrol, now, &out))
			handle(&j->c[i], now, &out);
	}
	look_who_answers(n);
	saved_tick(n, now);
}

nsec join_deadline(const struct node *n)
{
	const struct join *j = &n->join;
	if (!j->on)
		return NSEC_NEVER;
	nsec at = nsec_min(nsec_min(j->next_resolve, j->next_sweep), j->next_claim);
	for (unsigned i = 0; i < j->n; i++)
		at = nsec_min(at, contact_deadline(&j->c[i]));
	return nsec_min(at, n->saved.at);
}

void node_set_candidates(struct node *n, nsec now, const struct endpoint *c, size_t count)
{
	for (unsigned i = 0; i < n->join.n; i++)
		enrol_set_candidates(n->join.c[i].enrol, now, c, count);
}

void node_set_trino(struct node *n, nsec now, const struct trino_facts *f)
{
	for (unsigned i = 0; i < n->join.n; i++)
		enrol_set_trino(n->join.c[i].enrol, now, f);
}

void node_release(struct node *n, nsec now)
{
	for (unsigned i = 0; i < n->join.n; i++)
		enrol_release(n->join.c[i].enrol, now);
	if (!n->join.on)
		node_tell(n, &(struct node_note){ .event = NODE_RELEASED });
}

unsigned node_rendezvous_count(const struct node *n)
{
	return n->join.on ? n->join.n : 0;
}

const struct endpoint *node_rendezvous(const struct node *n, unsigned i)
{
	const struct contact *c = &n->join.c[i];
	return n->join.on && i < n->join.n && c->peer->path.remote.port ? &c->peer->path.remote
									: NULL;
}

bool node_told(const struct node *n)
{
	return n->join.told;
}

void node_enrol_info(const struct node *n, unsigned i, struct enrol_info *out)
{
	*out = (struct enrol_info){ 0 };
	if (n->join.on && i < n->join.n)
		enrol_info(n->join.c[i].enrol, out);
}
