/* SPDX-License-Identifier: Apache-2.0 */
/* The members that the rendezvous tells of, as peers of this node. */
#include "gateway/node_internal.h"

#include <errno.h>
#include <sodium.h>

#define SECOND_INITIATOR_WAIT (500 * NSEC_PER_MSEC)
#define GONE_SILENCE (45 * NSEC_PER_SEC)
/* How long a key that was replaced is asked whether it still answers: four tries of a handshake. */
#define FORMER_FOR (17 * NSEC_PER_SEC)
/* As long as the rendezvous waits for it. */
#define ASKED_FOR (4 * NSEC_PER_SEC)

enum { MAX_FORMER = 64, MAX_CONFLICTS = 4, PATHS = 32 };

struct peer *members_find(struct node *n, member_number number)
{
	struct link *l = n->links ? link_find(n->links, number) : NULL;
	return l ? link_user(l) : NULL;
}

/* A member's own address is its alone; but what a configuration file says stands. */
static int member_route(struct node *n, struct peer *p, const struct prefix *host)
{
	const struct peer *owner = route_table_exact(n->routes, host);
	return owner && owner->kind == PEER_STATIC ? 0 : peer_route(p, host);
}

/* --- routes --- */

/*
 * The first record under another key than this, from `*i` on, whose address one of the routes holds; NULL.
 * Such a route is as good as the address itself once its member is not there.
 */
static struct remembered *held_address(const struct node *n, const uint8_t key[static 32],
				       const struct prefix *routes, size_t nroutes, size_t *i)
{
	const struct prefix *p4 = join_prefix(&n->join.token, true),
			    *p6 = join_prefix(&n->join.token, false);
	bool inside = false;

	for (size_t k = 0; k < nroutes; k++)
		inside |= prefix_overlaps(&routes[k], p4) || prefix_overlaps(&routes[k], p6);
	for (; inside && *i < n->memory->n; ++*i) {
		struct remembered *r = &n->memory->v[*i];
		const struct addr ip = member_addr(p4, r->e.number),
				  ip6 = member_addr(p6, r->e.number);
		for (size_t k = 0; k < nroutes && memcmp(r->e.key, key, 32) != 0; k++)
			if (prefix_contains(&routes[k], &ip) || prefix_contains(&routes[k], &ip6))
				return r;
	}
	return NULL;
}

/* Counted each time, told of once for each key. */
static bool route_refused(struct node *n, const struct peer *p, const struct prefix *route)
{
	size_t i = 0;
	struct remembered *r =
		n->pin_members && n->memory ? held_address(n, p->entry.key, route, 1, &i) : NULL;
	if (!r)
		return false;
	node_drop(n, NULL, DROP_MEMBER_KEY);
	if (memcmp(r->refused, p->entry.key, 32) == 0)
		return true;
	memcpy(r->refused, p->entry.key, 32);
	node_tell(n, &(struct node_note){ .event = NODE_ROUTE_REFUSED,
					  .prefix = *route,
					  .entry = &p->entry,
					  .was = &r->e });
	return true;
}

/* What the operator put behind it. */
static int further_routes(struct node *n, struct peer *p)
{
	int err = 0;
	for (size_t i = 0; err == 0 && i < p->entry.nroutes; i++)
		if (!route_table_exact(n->routes, &p->entry.routes[i]) &&
		    !route_refused(n, p, &p->entry.routes[i]))
			err = peer_route(p, &p->entry.routes[i]);
	return err;
}

/* Who is new may have an address that a route holds which was taken before. */
static void review_routes(struct node *n)
{
	for (struct peer *p = n->peers; p; p = p->next)
		for (size_t i = 0; p->kind == PEER_MEMBER && i < p->entry.nroutes; i++)
			if (route_table_exact(n->routes, &p->entry.routes[i]) == p &&
			    route_refused(n, p, &p->entry.routes[i]))
				peer_unroute(p, &p->entry.routes[i]);
}

static int member_routes(struct node *n, struct peer *p)
{
	const struct token *t = &n->join.token;
	p->ip = member_addr(join_prefix(t, true), p->entry.number);
	p->ip6 = member_addr(join_prefix(t, false), p->entry.number);
	const struct prefix host = prefix_host(&p->ip), host6 = prefix_host(&p->ip6);
	int err = member_route(n, p, &host);
	if (err == 0)
		err = member_route(n, p, &host6);
	return err ? err : further_routes(n, p);
}

/* A key holds one number at a time: where it has a new one, the old one is over at once. */
static void drop_former(struct node *n, const uint8_t key[static 32])
{
	struct wg_peer *wg = wg_peer_find(n->wg, key);
	struct peer *p = wg ? wg_peer_user(wg) : NULL;
	if (p && (p->kind == PEER_MEMBER || p->kind == PEER_FORMER))
		peer_free(p);
}

/* But for the PSK, which is with the keys of its sessions. */
static void take_entry(struct peer *p, const struct roster_entry *e)
{
	p->entry = *e;
	sodium_memzero(p->entry.pair_psk, sizeof(p->entry.pair_psk));
}

static struct peer *member_add(struct node *n, nsec now, const struct roster_entry *e)
{
	uint8_t key[32];
	drop_former(n, e->key);
	struct peer *p = peer_new(n, PEER_MEMBER, e->key);
	if (!p) {
		node_drop(n, NULL, DROP_QUEUE_FULL);
		return NULL;
	}
	take_entry(p, e);
	p->next_warm = now + WARM_EVERY;
	peer_schedule(p);
	wg_peer_set_psk(p->wg, e->pair_psk);
	wg_peer_derive(p->wg, "warren outer", key);
	p->link = link_add(n->links, now, e->number, key, p);
	sodium_memzero(key, sizeof(key));
	if (!p->link || member_routes(n, p) < 0) {
		node_drop(n, NULL, DROP_QUEUE_FULL);
		peer_free(p);
		return NULL;
	}
	return p;
}

void members_restore(struct node *n, nsec now, const struct roster_entry *e,
		     const struct endpoint *at, size_t count)
{
	struct peer *p = member_add(n, now, e);
	if (!p)
		return;
	p->restored = true;
	/* a path comes first: path_changed() goes on from there */
	link_introduce(p->link, now, at, count);
}

/* The pair has another PSK: the outer messages' key follows from it. */
static void member_keys(struct peer *p, const struct roster_entry *e)
{
	uint8_t key[32];
	wg_peer_set_psk(p->wg, e->pair_psk);
	wg_peer_derive(p->wg, "warren outer", key);
	link_set_key(p->link, key);
	sodium_memzero(key, sizeof(key));
}

/* --- another key for an id, or for an address --- */

/*
 * Where the old key was reached last, directly, it is asked whether it is still there: by a handshake, to
 * which nothing that was recorded is an answer. A node that was started anew under another key has left
 * nobody there; an answer means two nodes of one id, or somebody in the middle.
 */
static void ask_former(struct node *n, nsec now, const struct remembered *was)
{
	struct wg_peer *wg = wg_peer_find(n->wg, was->e.key);
	struct peer *p = wg ? wg_peer_user(wg) : NULL;

	if (p && (p->kind != PEER_MEMBER || strcmp(p->entry.id, was->e.id) != 0))
		return; /* it has another id now, and is listed with it */
	if (p)
		peer_free(p);
	if (was->nat == 0 || n->nformer == MAX_FORMER ||
	    !(p = peer_new(n, PEER_FORMER, was->e.key)))
		return;
	n->nformer++;
	take_entry(p, &was->e);
	p->path = (struct path){ .remote = was->at[0] };
	p->former_until = now + FORMER_FOR;
	wg_peer_set_psk(p->wg, was->e.pair_psk);
	wg_peer_initiate(n->wg, p->wg, now, 0);
}

/* Counted each time, told of once for each key. What is known of the old one stands. */
static void refuse_key(struct node *n, struct remembered *was, const struct roster_entry *e)
{
	struct peer *p = members_find(n, was->e.number);
	node_drop(n, NULL, DROP_MEMBER_KEY);
	if (p && memcmp(p->entry.key, was->e.key, 32) == 0)
		p->entry.online =
			false; /* the rendezvous lists another: it stays while it is heard */
	if (memcmp(was->refused, e->key, 32) == 0)
		return;
	memcpy(was->refused, e->key, 32);
	node_tell(n, &(struct node_note){ .event = NODE_KEY_REFUSED, .entry = e, .was = &was->e });
}

/* Remembers the entry; false where it is refused. *was: whose key was another, *count of them. */
static bool remember(struct node *n, const struct roster_entry *e,
		     struct remembered was[static MAX_CONFLICTS], size_t *count)
{
	struct remembered *r;
	*count = 0;
	if (!n->memory)
		return true;
	for (size_t i = 0; (r = memory_conflict(n->memory, e, &i)) && *count < MAX_CONFLICTS; i++) {
		if (n->pin_members) {
			refuse_key(n, r, e);
			return false;
		}
		was[(*count)++] = *r;
	}
	size_t before = n->memory->n;
	bool kept = memory_put(n->memory, e, n->pin_members);
	if (n->pin_members && n->memory->n != before)
		review_routes(n);
	if (kept || !n->pin_members)
		return true;
	node_drop(n, NULL, DROP_MEMBER_KEY);
	node_tell(n, &(struct node_note){ .event = NODE_KEY_UNKEPT, .entry = e });
	return false;
}

static void member_new(struct node *n, nsec now, const struct roster_entry *e)
{
	struct peer *p = member_add(n, now, e);
	if (!p)
		return;
	/* both are told of each other at once: one starts, the other only if nothing comes */
	bool first = memcmp(wg_public_key(n->wg), e->key, 32) < 0;
	wg_peer_initiate(n->wg, p->wg, now, first ? 0 : SECOND_INITIATOR_WAIT);
}

static void member_take(struct node *n, nsec now, const struct roster_entry *e)
{
	struct peer *p = members_find(n, e->number);

	if (p && (sodium_memcmp(p->entry.key, e->key, 32) != 0 || p->entry.nroutes != e->nroutes ||
		  memcmp(p->entry.routes, e->routes, sizeof(e->routes)) != 0)) {
		peer_free(p);
		p = NULL;
	}
	if (p) {
		if (sodium_memcmp(wg_peer_psk(p->wg), e->pair_psk, 32) != 0)
			member_keys(p, e);
		take_entry(p, e);
		p->restored = false;
	} else {
		member_new(n, now, e);
	}
	node_tell(n, &(struct node_note){ .event = NODE_ROSTER });
}

void members_set(struct node *n, nsec now, const struct roster_entry *e)
{
	struct remembered was[MAX_CONFLICTS];
	size_t count;

	if (!n->links || !remember(n, e, was, &count))
		return;
	member_take(n, now, e);
	for (size_t i = 0; i < count; i++)
		ask_former(n, now, &was[i]);
	sodium_memzero(was, sizeof(was));
}

const struct roster_entry *members_instead(struct node *n, const struct roster_entry *was)
{
	const struct peer *p = members_find(n, was->number);
	const struct roster_entry *e = join_find(n, was->id);
	return e || !p ? e : &p->entry;
}

/* Who had the addresses that its routes hold is forgotten. How many, or -EADDRINUSE: one of them is listed. */
static int accept_routes(struct node *n, const struct roster_entry *e)
{
	struct remembered *r;
	int forgotten = 0;

	for (size_t i = 0; (r = held_address(n, e->key, e->routes, e->nroutes, &i)); i++)
		if (r->listed)
			return -EADDRINUSE;
	for (size_t i = 0; (r = held_address(n, e->key, e->routes, e->nroutes, &i)); forgotten++)
		memory_forget(n->memory, r);
	return forgotten;
}

int node_accept_key(struct node *n, nsec now, const char *id, const uint8_t key[static 32])
{
	if (!n->join.on || !join_find(n, id))
		return -ENOENT;
	const struct roster_entry *e = join_find_key(n, id, key);
	if (!e)
		return -ESTALE;
	int routes = n->memory ? accept_routes(n, e) : 0;
	if (routes < 0)
		return routes;
	if (!n->memory || (!memory_accept(n->memory, e) && !routes))
		return -EALREADY;
	members_set(n, now, e);
	struct peer *p = members_find(n, e->number);
	return p ? further_routes(n, p) : 0;
}

/* It was reached there directly: worth remembering. */
void members_reached(struct node *n, const struct peer *p, const struct path *path)
{
	struct remembered *r;
	if (!n->memory || p->kind != PEER_MEMBER || path->relay || !path->remote.port ||
	    path->remote.scope)
		return;
	r = memory_find(n->memory, p->entry.number, p->entry.key);
	if (r)
		memory_reached(n->memory, r, &path->remote);
}

/* --- does it live? --- */

/* A ping by each way there is; nothing that came before counts, nor what is still on its way. */
void members_asked(struct node *n, nsec now, member_number number, unsigned by)
{
	struct peer *p = members_find(n, number);
	if (p)
		p->asked_by |= 1u << by;
	if (!p || p->asked)
		return;
	p->asked = now;
	n->nasked++;
	link_introduce(p->link, now, NULL, 0);
}

static nsec last_answer(const struct peer *p)
{
	struct link_path_info paths[PATHS];
	nsec last = 0;
	size_t count = link_paths(p->link, paths, ARRAY_SIZE(paths));
	for (size_t i = 0; i < count; i++)
		last = nsec_max(last, paths[i].last_answer);
	return last;
}

void members_vouch(struct node *n, nsec now)
{
	for (struct peer *p = n->peers; n->nasked && p; p = p->next) {
		if (!p->asked)
			continue;
		bool answered = last_answer(p) >= p->asked;
		for (unsigned i = 0; answered && i < n->join.n; i++)
			if (p->asked_by >> i & 1)
				enrol_vouch(n->join.c[i].enrol, p->entry.number);
		if (!answered && now - p->asked < ASKED_FOR)
			continue;
		p->asked = 0;
		p->asked_by = 0;
		n->nasked--;
	}
}

/* --- members that go --- */

/*
 * The rendezvous does not list it any more. That alone cuts no living link: a rendezvous that was
 * restarted does not know yet who is there. It goes when it has been silent as well.
 */
void members_gone(struct node *n, member_number number)
{
	struct peer *p = members_find(n, number);
	if (n->memory)
		memory_gone(n->memory, number);
	if (!p)
		return;
	p->entry.online = false;
	node_tell(n, &(struct node_note){ .event = NODE_ROSTER });
}

void members_removed(struct node *n, member_number number)
{
	struct peer *p = members_find(n, number);
	if (n->memory)
		memory_removed(n->memory, number);
	if (!p)
		return;
	peer_free(p);
	node_tell(n, &(struct node_note){ .event = NODE_ROSTER });
}

static nsec last_heard(const struct peer *p, nsec now)
{
	struct wg_peer_stats s;
	wg_peer_stats(p->wg, now, &s);
	return nsec_max(s.last_received, last_answer(p));
}

static bool is_over(const struct peer *p, nsec now)
{
	if (p->kind == PEER_FORMER)
		return now >= p->former_until;
	return p->kind == PEER_MEMBER && !p->entry.online &&
	       now - last_heard(p, now) > GONE_SILENCE;
}

void members_sweep(struct node *n, nsec now)
{
	const struct enrol_info e = join_info(n);
	for (struct peer *p = n->peers, *next; p; p = next) {
		next = p->next;
		/* one of before this start that the whole roster did not show */
		if (p->restored && e.listed) {
			p->restored = false;
			p->entry.online = false;
		}
		if (!is_over(p, now))
			continue;
		bool member = p->kind == PEER_MEMBER;
		peer_free(p);
		if (member)
			node_tell(n, &(struct node_note){ .event = NODE_ROSTER });
	}
}

void members_clear(struct node *n)
{
	for (struct peer *p = n->peers, *next; p; p = next) {
		next = p->next;
		if (p->kind == PEER_MEMBER)
			peer_free(p);
	}
}
