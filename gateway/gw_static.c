/* SPDX-License-Identifier: Apache-2.0 */
/* What a WireGuard file says: addresses, peers, the names of their endpoints, and full tunnels. */
#include "gateway/gw.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define ANSWER_TIME (60 * NSEC_PER_SEC) /* for the helper's, whose name servers may be silent */
#define RETRY_MOST (30 * NSEC_PER_SEC)

enum {
	FULL_TUNNEL_TABLE = 51820, /* wg-quick's */
	NAME_ID = 1u << 31,	   /* of a question: not the rendezvous'; with the name's place */
};

/* A peer whose endpoint is a name that is not known yet. */
struct gw_name {
	const struct wgconf_peer *peer; /* NULL: known by now */
	nsec next, gap;
};

int gw_static_addresses(struct gw *g)
{
	const struct wgconf *c = g->cfg->static_conf;
	int err = 0;

	kernel_clean_rules(g->kernel);
	g->valid_mark_fd = open("/proc/sys/net/ipv4/conf/all/src_valid_mark", O_WRONLY | O_CLOEXEC);
	if (c->table && c->table != WGCONF_NO_ROUTES)
		kernel_routes_table(g->kernel, c->table);
	for (size_t i = 0; err == 0 && i < c->naddresses; i++) {
		struct prefix host = prefix_host(&c->addresses[i].addr);
		err = gw_net_address(g, &host, c->addresses[i].bits);
	}
	return err;
}

/* --- names --- */

static struct gw_name *waiting(const struct gw *g, const uint8_t *key)
{
	for (size_t i = 0; i < g->nnames; i++)
		if (g->names[i].peer && memcmp(g->names[i].peer->key, key, 32) == 0)
			return &g->names[i];
	return NULL;
}

bool gw_static_named(const struct gw *g, const struct peer *p)
{
	return waiting(g, peer_key(p));
}

static void ask(struct gw *g, struct gw_name *n)
{
	struct resolve_question q = { .id = NAME_ID | (uint32_t)(n - g->names),
				      .port = n->peer->port };

	n->next = g->loop.now + ANSWER_TIME;
	static_assert(sizeof(q.host) >= sizeof(n->peer->host), "a name fits its question");
	memcpy(q.host, n->peer->host, sizeof(n->peer->host));
	if (send(g->helper_fd, &q, sizeof(q), MSG_NOSIGNAL) < 0)
		n->next = g->loop.now + NSEC_PER_SEC;
}

void gw_static_turn(struct gw *g, nsec now)
{
	for (size_t i = 0; i < g->nnames && g->helper_fd >= 0; i++)
		if (g->names[i].peer && now >= g->names[i].next)
			ask(g, &g->names[i]);
}

nsec gw_static_deadline(const struct gw *g)
{
	nsec at = NSEC_NEVER;
	for (size_t i = 0; i < g->nnames && g->helper_fd >= 0; i++)
		if (g->names[i].peer)
			at = nsec_min(at, g->names[i].next);
	return at;
}

static const struct endpoint *usable(const struct gw *g, const struct resolve_answer *a)
{
	for (uint32_t i = 0; i < a->count; i++)
		if (g->udp.v6 || addr_is_v4(&a->at[i].addr))
			return &a->at[i];
	return NULL;
}

static void known(struct gw *g, struct gw_name *n, const struct endpoint *at)
{
	struct peer *p = node_peer_find(g->node, n->peer->key);
	struct path path;

	/* else it was heard of meanwhile, and is where it says */
	if (p && peer_kind(p) == PEER_STATIC && !peer_path(p, &path)) {
		node_static_endpoint(p, g->loop.now, at);
		gw_net_path(g, p);
	}
	n->peer = NULL;
}

bool gw_static_answer(struct gw *g, const struct resolve_answer *a)
{
	size_t i = a->id & ~NAME_ID;

	if (!(a->id & NAME_ID))
		return false;
	if (i >= g->nnames || !g->names[i].peer || a->count > RESOLVE_MAX)
		return true;
	struct gw_name *n = &g->names[i];
	const struct endpoint *at = usable(g, a);
	if (at) {
		known(g, n, at);
		return true;
	}
	if (!n->gap)
		log_warn("no address for the endpoint's name %s: trying again", n->peer->host);
	n->gap = n->gap ? nsec_min(2 * n->gap, RETRY_MOST) : NSEC_PER_SEC;
	n->next = g->loop.now + n->gap;
	return true;
}

/* One that has just begun was asked nothing yet. */
void gw_static_helper(struct gw *g)
{
	for (size_t i = 0; i < g->nnames; i++)
		g->names[i].next = 0;
}

static void look_up(struct gw *g, const struct wgconf_peer *wp)
{
	struct gw_name *n = waiting(g, wp->key);
	if (!n)
		n = &g->names[g->nnames++];
	*n = (struct gw_name){ .peer = wp };
	if (wp->nallowed && g->cfg->static_conf->table != WGCONF_NO_ROUTES)
		log_info("routes to the peer at %s wait for its address: until then its traffic "
			 "leaves by this host's other routes, in clear",
			 wp->host);
}

/* --- peers --- */

/* A key that comes again: what is said anew takes the place of what was said before, as with wg(8). */
static struct peer *again(struct gw *g, struct peer *p, const struct wgconf_peer *wp,
			  const struct endpoint *at)
{
	if (wp->has_psk)
		node_static_psk(p, wp->psk);
	if (at)
		node_static_endpoint(p, g->loop.now, at);
	if (wp->has_keepalive)
		node_static_keepalive(p, g->loop.now, wp->keepalive);
	node_static_unroute_all(p);
	return p;
}

static int add_peer(struct gw *g, const struct wgconf_peer *wp)
{
	struct endpoint at = { .port = wp->port };
	bool literal = wp->host[0] && addr_parse(wp->host, &at.addr);
	struct peer *p = node_peer_find(g->node, wp->key);

	if (memcmp(wp->key, wg_public_key(node_wg(g->node)), 32) == 0) {
		log_warn("a [Peer] has our own key: left out");
		return 0;
	}
	p = p ? again(g, p, wp, literal ? &at : NULL)
	      : node_static_add(g->node, g->loop.now, wp->key, wp->has_psk ? wp->psk : NULL,
				literal ? &at : NULL, wp->keepalive);
	if (!p)
		return -EINVAL;
	if (literal)
		gw_net_path(g, p);
	else if (wp->host[0])
		look_up(g, wp);
	for (size_t i = 0; i < wp->nallowed; i++)
		node_static_route(g->node, p, &wp->allowed[i]);
	return 0;
}

int gw_static_peers(struct gw *g)
{
	const struct wgconf *c = g->cfg->static_conf;

	g->names = calloc(c->npeers + 1, sizeof(*g->names));
	if (!g->names)
		return -ENOMEM;
	for (size_t i = 0; i < c->npeers; i++) {
		int err = add_peer(g, &c->peers[i]);
		if (err < 0) {
			log_error("peer %zu has no peer's key", i + 1);
			return err;
		}
	}
	return 0;
}

/* --- everything through the tunnel --- */

/* Without it a strict reverse-path filter looks for the way back to the peer inside the tunnel. */
static void heed_marks(struct gw *g)
{
	int err = g->guard ? guard_mark(g->guard, g->udp.port, g->fwmark) : -EOPNOTSUPP;

	if (err < 0 || pwrite(g->valid_mark_fd, "1", 1, 0) != 1)
		log_info(
			"a strict reverse-path filter (rp_filter=1) may stop the full tunnel here");
}

static int mark_socket(struct gw *g)
{
	uint32_t table = g->fwmark ? g->fwmark : kernel_free_table(g->kernel, FULL_TUNNEL_TABLE);
	int err = table ? udp_set_mark(&g->udp, table) : -ENOSPC;
	if (err == 0)
		g->fwmark = table;
	return err;
}

bool gw_static_full_tunnel(struct gw *g, bool v4, bool again)
{
	const struct wgconf *c = g->cfg->static_conf;

	if (!c)
		return false;
	if (c->table || g->full[v4])
		return true;
	int err = mark_socket(g);
	if (err == 0)
		err = kernel_full_tunnel(g->kernel, v4, g->fwmark);
	if (err == 0 && v4)
		heed_marks(g);
	g->full[v4] = err == 0;
	if (err < 0 && !again && (v4 || err != -EAFNOSUPPORT))
		log_warn("no full tunnel of IPv%d: %s", v4 ? 4 : 6, strerror(-err));
	return err == 0;
}

void gw_static_full_tunnel_end(struct gw *g, bool v4)
{
	if (g->full[v4])
		kernel_full_tunnel_end(g->kernel, v4);
	g->full[v4] = false;
}
