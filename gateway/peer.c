/* SPDX-License-Identifier: Apache-2.0 */
/* Peers of a node: their life, their inner addresses, and the packets that wait for a session. */
#include "gateway/node_internal.h"

#include <errno.h>
#include <stdlib.h>

struct peer *peer_new(struct node *n, enum peer_kind kind, const uint8_t key[static 32])
{
	struct peer *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->node = n;
	p->kind = kind;
	p->staged_end = &p->staged;
	p->wg = wg_peer_add(n->wg, key, p);
	if (!p->wg) {
		free(p);
		return NULL;
	}
	mtu_init(p);
	p->serial = ++n->serial;
	p->link_in = n->peers_end;
	*p->link_in = p;
	n->peers_end = &p->next;
	return p;
}

/* No run may point at the peer any more. Received packets do so only within in_flush(), where none goes. */
static void forget_runs(struct peer *p)
{
	for (unsigned i = 0; i < MAX_RUNS; i++)
		if (p->node->runs[i].peer == p)
			p->node->runs[i].peer = NULL;
}

void peer_free(struct peer *p)
{
	forget_runs(p);
	reassembly_forget(p->node->reassembly, p);
	heap_cancel(&p->node->timers, &p->timer);
	peer_unroute_all(p);
	peer_drop_staged(p, DROP_NO_PATH);
	if (p->link)
		link_remove(p->link);
	p->node->nformer -= p->kind == PEER_FORMER;
	p->node->nasked -= p->asked != 0;
	wg_peer_remove(p->node->wg, p->wg);
	*p->link_in = p->next;
	*(p->next ? &p->next->link_in : &p->node->peers_end) = p->link_in;
	free(p);
}

int peer_route(struct peer *p, const struct prefix *prefix)
{
	int err = route_table_set(p->node->routes, prefix, p);
	if (err == 0)
		node_tell(p->node, &(struct node_note){
					   .event = NODE_ROUTE_ADD, .peer = p, .prefix = *prefix });
	return err;
}

struct route_visit {
	void (*each)(void *ctx, const struct prefix *prefix);
	void *ctx;
};

static void visit_route(void *ctx, const struct prefix *prefix, void *owner)
{
	struct route_visit *v = ctx;
	(void)owner;
	v->each(v->ctx, prefix);
}

void peer_each_route(const struct peer *p, void (*each)(void *ctx, const struct prefix *prefix),
		     void *ctx)
{
	struct route_visit v = { each, ctx };
	route_table_each(p->node->routes, p, visit_route, &v);
}

size_t peer_routes(const struct peer *p, const struct prefix *after, struct prefix *out,
		   size_t room)
{
	return route_table_list(p->node->routes, p, after, out, room);
}

void peer_unroute(struct peer *p, const struct prefix *prefix)
{
	if (route_table_exact(p->node->routes, prefix) != p)
		return;
	route_table_remove(p->node->routes, prefix, p);
	node_tell(p->node,
		  &(struct node_note){ .event = NODE_ROUTE_REMOVE, .peer = p, .prefix = *prefix });
}

size_t peer_unroute_some(struct peer *p)
{
	struct prefix some[PEER_UNROUTE];
	size_t n = peer_routes(p, NULL, some, PEER_UNROUTE);
	for (size_t i = 0; i < n; i++)
		peer_unroute(p, &some[i]);
	return n;
}

void peer_unroute_all(struct peer *p)
{
	while (peer_unroute_some(p) == PEER_UNROUTE)
		;
}

/*
 * A peer's own limit, and less where many peers wait: each may hold a sixteenth of what is free, so that a
 * thousand that are unreachable leave room for the first packets of the next.
 */
static bool may_stage(const struct peer *p, size_t len)
{
	size_t share = (STAGE_TOTAL - p->node->staged_bytes) / STAGE_SHARE;
	return p->staged_packets < STAGE_PACKETS &&
	       p->staged_bytes + len <= size_min(STAGE_BYTES, share);
}

void peer_stage(struct peer *p, const struct vnet_hdr *h, const uint8_t *ip, size_t len)
{
	struct staged *s;
	if (!may_stage(p, len) || !(s = malloc(sizeof(*s) + len))) {
		node_drop(p->node, p, DROP_QUEUE_FULL);
		return;
	}
	s->next = NULL;
	s->vnet = *h;
	s->len = (uint32_t)len;
	memcpy(s->bytes, ip, len);
	*p->staged_end = s;
	p->staged_end = &s->next;
	p->staged_packets++;
	p->staged_bytes += s->len;
	p->node->staged_bytes += (uint32_t)(sizeof(*s) + len);
}

/* The whole queue, which is empty afterwards. */
static struct staged *take_staged(struct peer *p)
{
	struct staged *s = p->staged;
	p->staged = NULL;
	p->staged_end = &p->staged;
	p->node->staged_bytes -=
		p->staged_bytes + p->staged_packets * (uint32_t)sizeof(struct staged);
	p->staged_packets = p->staged_bytes = 0;
	return s;
}

void peer_unstage(struct peer *p, nsec now)
{
	struct staged *s = take_staged(p);
	while (s) {
		struct staged *next = s->next;
		node_tun(p->node, now, &s->vnet, s->bytes, s->len);
		free(s);
		s = next;
	}
}

void peer_drop_staged(struct peer *p, enum drop why)
{
	struct staged *s = take_staged(p);
	while (s) {
		struct staged *next = s->next;
		node_drop(p->node, p, why);
		free(s);
		s = next;
	}
}

static const struct path *path_of(const struct peer *p)
{
	return p->kind != PEER_MEMBER ? &p->path : p->link ? link_path(p->link) : NULL;
}

bool peer_path(const struct peer *p, struct path *out)
{
	const struct path *path = path_of(p);
	if (!path || path->remote.port == 0)
		return false;
	*out = *path;
	return true;
}

bool peer_endpoint(const struct peer *p, struct endpoint *out)
{
	static const struct endpoint none;
	const struct path *path = path_of(p);
	if (!path || endpoint_eq(&path->remote, &none))
		return false;
	*out = path->remote;
	return true;
}

void peer_schedule(struct peer *p)
{
	nsec at = nsec_min(mtu_deadline(p), p->kind == PEER_MEMBER ? p->next_warm : NSEC_NEVER);
	heap_set(&p->node->timers, &p->timer, at);
}

uint64_t peer_serial(const struct peer *p)
{
	return p->serial;
}

enum peer_kind peer_kind(const struct peer *p)
{
	return p->kind;
}

bool peer_is_shown(const struct peer *p)
{
	return p->kind == PEER_MEMBER || p->kind == PEER_STATIC;
}

const struct roster_entry *peer_entry(const struct peer *p)
{
	return &p->entry;
}

bool peer_is_at(const struct peer *p, const struct addr *a)
{
	return p->kind == PEER_MEMBER && (addr_eq(a, &p->ip) || addr_eq(a, &p->ip6));
}

struct addr peer_ip(const struct peer *p)
{
	return p->ip;
}

const uint8_t *peer_key(const struct peer *p)
{
	return wg_peer_public(p->wg);
}

const struct wg_peer *peer_wg(const struct peer *p)
{
	return p->wg;
}

const struct link *peer_link(const struct peer *p)
{
	return p->link;
}

const struct peer_stats *peer_stats_of(const struct peer *p)
{
	return &p->stats;
}

const struct drops *peer_drops(const struct peer *p)
{
	return &p->drops;
}
