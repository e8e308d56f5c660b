/* SPDX-License-Identifier: Apache-2.0 */
/* The members that the rendezvous tells of, as peers of this node. */
#include "gateway/node_internal.h"

#include <sodium.h>

#define SECOND_INITIATOR_WAIT (500 * NSEC_PER_MSEC)
#define GONE_SILENCE (45 * NSEC_PER_SEC)

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

static int member_routes(struct node *n, struct peer *p)
{
	const struct token *t = &n->join.token;
	p->ip = member_addr(join_prefix(t, true), p->entry.number);
	p->ip6 = member_addr(join_prefix(t, false), p->entry.number);
	const struct prefix host = prefix_host(&p->ip), host6 = prefix_host(&p->ip6);
	int err = member_route(n, p, &host);
	if (err == 0)
		err = member_route(n, p, &host6);
	for (size_t i = 0; err == 0 && i < p->entry.nroutes; i++)
		if (!route_table_exact(n->routes, &p->entry.routes[i]))
			err = peer_route(p, &p->entry.routes[i]);
	return err;
}

/* A key holds one number at a time: where it has a new one, the old one is over at once. */
static void drop_former(struct node *n, const uint8_t key[static 32])
{
	struct wg_peer *wg = wg_peer_find(n->wg, key);
	struct peer *p = wg ? wg_peer_user(wg) : NULL;
	if (p && p->kind == PEER_MEMBER)
		peer_free(p);
}

static void member_add(struct node *n, nsec now, const struct roster_entry *e)
{
	uint8_t key[32];
	drop_former(n, e->key);
	struct peer *p = peer_new(n, PEER_MEMBER, e->key);
	if (!p) {
		node_drop(n, NULL, DROP_QUEUE_FULL);
		return;
	}
	p->entry = *e;
	p->next_warm = now + WARM_EVERY;
	peer_schedule(p);
	wg_peer_set_psk(p->wg, e->pair_psk);
	wg_peer_derive(p->wg, "warren outer", key);
	p->link = link_add(n->links, now, e->number, key, p);
	sodium_memzero(key, sizeof(key));
	if (!p->link || member_routes(n, p) < 0) {
		node_drop(n, NULL, DROP_QUEUE_FULL);
		peer_free(p);
		return;
	}
	/* both are told of each other at once: one starts, the other only if nothing comes */
	bool first = memcmp(wg_public_key(n->wg), e->key, 32) < 0;
	wg_peer_initiate(n->wg, p->wg, now, first ? 0 : SECOND_INITIATOR_WAIT);
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

void members_set(struct node *n, nsec now, const struct roster_entry *e)
{
	struct peer *p = members_find(n, e->number);

	if (!n->links)
		return;
	if (p && (sodium_memcmp(p->entry.key, e->key, 32) != 0 || p->entry.nroutes != e->nroutes ||
		  memcmp(p->entry.routes, e->routes, sizeof(e->routes)) != 0)) {
		peer_free(p);
		p = NULL;
	}
	if (p) {
		if (sodium_memcmp(p->entry.pair_psk, e->pair_psk, 32) != 0)
			member_keys(p, e);
		p->entry = *e;
	} else {
		member_add(n, now, e);
	}
	node_tell(n, &(struct node_note){ .event = NODE_ROSTER });
}

/*
 * The rendezvous does not list it any more. That alone cuts no living link: a rendezvous that was
 * restarted does not know yet who is there. It goes when it has been silent as well.
 */
void members_gone(struct node *n, member_number number)
{
	struct peer *p = members_find(n, number);
	if (!p)
		return;
	p->entry.online = false;
	node_tell(n, &(struct node_note){ .event = NODE_ROSTER });
}

static nsec last_heard(const struct peer *p, nsec now)
{
	struct link_path_info paths[MAX_CANDIDATES];
	struct wg_peer_stats s;
	wg_peer_stats(p->wg, now, &s);
	nsec last = s.last_received;
	size_t count = link_paths(p->link, paths, ARRAY_SIZE(paths));
	for (size_t i = 0; i < count; i++)
		last = nsec_max(last, paths[i].last_answer);
	return last;
}

void members_sweep(struct node *n, nsec now)
{
	for (struct peer *p = n->peers, *next; p; p = next) {
		next = p->next;
		if (p->kind == PEER_MEMBER && !p->entry.online &&
		    now - last_heard(p, now) > GONE_SILENCE) {
			peer_free(p);
			node_tell(n, &(struct node_note){ .event = NODE_ROSTER });
		}
	}
}
