/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers of a configuration: made, changed and removed while traffic runs. What members are is the
 * rendezvous' to say, so none of this touches them.
 */
#include "gateway/node_internal.h"

#include <errno.h>
#include <sodium.h>

struct peer *node_static_add(struct node *n, nsec now, const uint8_t key[static 32],
			     const uint8_t *psk, const struct endpoint *at, unsigned keepalive)
{
	struct peer *p = peer_new(n, PEER_STATIC, key);
	if (!p)
		return NULL;
	if (psk)
		wg_peer_set_psk(p->wg, psk);
	if (at)
		node_static_endpoint(p, now, at);
	node_static_keepalive(p, now, keepalive);
	return p;
}

void node_static_remove(struct peer *p)
{
	assert(p->kind == PEER_STATIC);
	peer_free(p);
}

/* With the next handshake; the session in use goes on. */
void node_static_psk(struct peer *p, const uint8_t psk[static 32])
{
	assert(p->kind == PEER_STATIC);
	wg_peer_set_psk(p->wg, psk);
}

void node_static_endpoint(struct peer *p, nsec now, const struct endpoint *at)
{
	bool first = p->path.remote.port == 0 && at->port;
	assert(p->kind == PEER_STATIC);
	peer_set_path(p, now, &(struct path){ .remote = *at });
	/* what was begun before went nowhere */
	if (first && (p->staged || wg_peer_keepalive(p->wg)))
		wg_peer_restart(p->node->wg, p->wg, now);
}

void node_static_keepalive(struct peer *p, nsec now, unsigned seconds)
{
	assert(p->kind == PEER_STATIC);
	wg_peer_set_keepalive(p->node->wg, p->wg, now, seconds);
	if (seconds && p->path.remote.port)
		wg_peer_initiate(p->node->wg, p->wg, now, 0);
}

int node_static_route(struct node *n, struct peer *p, const struct prefix *prefix)
{
	const struct peer *owner = route_table_exact(n->routes, prefix);

	if (owner && owner->kind == PEER_MEMBER)
		return -EPERM;
	return peer_route(p, prefix);
}

void node_static_unroute(struct peer *p, const struct prefix *prefix)
{
	assert(p->kind == PEER_STATIC);
	peer_unroute(p, prefix);
}

size_t node_static_unroute_some(struct peer *p)
{
	assert(p->kind == PEER_STATIC);
	return peer_unroute_some(p);
}

void node_static_unroute_all(struct peer *p)
{
	assert(p->kind == PEER_STATIC);
	peer_unroute_all(p);
}

void node_set_down(struct node *n, nsec now, bool down)
{
	if (n->down == down)
		return;
	n->down = down;
	for (struct peer *p = n->peers; p; p = p->next) {
		if (p->kind != PEER_STATIC)
			continue;
		if (down) {
			peer_drop_staged(p, DROP_LINK_DOWN);
			p->had_session = false;
			wg_peer_stop(p->wg);
		} else {
			wg_peer_start(p->wg, now);
		}
	}
}

struct peer *node_peer_find(const struct node *n, const uint8_t key[static 32])
{
	struct wg_peer *wg = wg_peer_find(n->wg, key);
	return wg ? wg_peer_user(wg) : NULL;
}

bool node_is_joined(const struct node *n)
{
	return n->join.on;
}

int node_set_private_key(struct node *n, const uint8_t key[static 32])
{
	uint8_t pub[32] = { 0 };
	bool none = sodium_is_zero(key, 32);

	if (!none)
		wg_key_public(key, pub); /* of each key that is the same once clamped */
	if (memcmp(wg_public_key(n->wg), pub, 32) == 0)
		return 0;
	if (n->join.on)
		return -EPERM;
	struct peer *self = none ? NULL : node_peer_find(n, pub);
	if (self)
		peer_free(self);
	wg_set_private_key(n->wg, key);
	for (struct peer *p = n->peers; p; p = p->next)
		p->had_session = false;
	return 0;
}
