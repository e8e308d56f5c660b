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

/* A peer whose endpoint is a name. */
struct gw_name {
	struct timer due; /* when it is asked for next; not armed: known by now */
	const struct wgconf_peer *peer;
	nsec gap;
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

static bool is_own(const struct gw *g, const struct wgconf_peer *wp)
{
	return memcmp(wp->key, wg_public_key(node_wg(g->node)), 32) == 0;
}

static bool is_named(const struct wgconf_peer *wp)
{
	struct addr literal;
	return wp->host[0] && !addr_parse(wp->host, &literal);
}

/* By their keys; those of one key as in the file. */
static int compare(const void *a, const void *b)
{
	const struct gw_name *x = a, *y = b;
	int order = memcmp(x->peer->key, y->peer->key, 32);
	return order ? order : (x->peer > y->peer) - (x->peer < y->peer);
}

static int compare_key(const void *key, const void *name)
{
	return memcmp(key, ((const struct gw_name *)name)->peer->key, 32);
}

/* A file may have thousands: they are sorted, so that one is found at once. Of each key the last one counts. */
static void collect_names(struct gw *g)
{
	const struct wgconf *c = g->cfg->static_conf;
	size_t all = 0, n = 0;

	for (size_t i = 0; i < c->npeers; i++)
		if (is_named(&c->peers[i]) && !is_own(g, &c->peers[i]))
			g->names[all++].peer = &c->peers[i];
	qsort(g->names, all, sizeof(*g->names), compare);
	for (size_t i = 0; i < all; i++)
		if (i + 1 == all || compare_key(g->names[i].peer->key, &g->names[i + 1]) != 0)
			g->names[n++] = g->names[i];
	g->nnames = n;
	for (size_t i = 0; i < n; i++)
		heap_set(&g->names_due, &g->names[i].due, 0);
}

bool gw_static_named(const struct gw *g, const struct peer *p)
{
	const struct gw_name *n =
		g->nnames ? bsearch(peer_key(p), g->names, g->nnames, sizeof(*n), compare_key)
			  : NULL;
	return n && timer_armed(&n->due);
}

static void ask(struct gw *g, struct gw_name *n)
{
	struct resolve_question q = { .id = NAME_ID | (uint32_t)(n - g->names),
				      .port = n->peer->port };

	static_assert(sizeof(q.host) >= sizeof(n->peer->host), "a name fits its question");
	memcpy(q.host, n->peer->host, sizeof(n->peer->host));
	bool sent = send(g->helper_fd, &q, sizeof(q), MSG_NOSIGNAL) >= 0;
	heap_set(&g->names_due, &n->due, g->loop.now + (sent ? ANSWER_TIME : NSEC_PER_SEC));
}

void gw_static_turn(struct gw *g, nsec now)
{
	struct timer *t;
	while (g->helper_fd >= 0 && (t = heap_due(&g->names_due, now)))
		ask(g, container_of(t, struct gw_name, due));
}

nsec gw_static_deadline(const struct gw *g)
{
	return g->helper_fd >= 0 ? heap_deadline(&g->names_due) : NSEC_NEVER;
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
	heap_cancel(&g->names_due, &n->due);
}

bool gw_static_answer(struct gw *g, const struct resolve_answer *a)
{
	size_t i = a->id & ~NAME_ID;

	if (!(a->id & NAME_ID))
		return false;
	if (i >= g->nnames || !timer_armed(&g->names[i].due) || a->count > RESOLVE_MAX)
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
	heap_set(&g->names_due, &n->due, g->loop.now + n->gap);
	return true;
}

/* One that has just begun was asked nothing yet. */
void gw_static_helper(struct gw *g)
{
	for (size_t i = 0; i < g->nnames; i++)
		if (timer_armed(&g->names[i].due))
			heap_set(&g->names_due, &g->names[i].due, 0);
}

static void tell_of_wait(const struct gw *g, const struct wgconf_peer *wp)
{
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

	if (is_own(g, wp)) {
		log_warn("a [Peer] has our own key: left out");
		return 0;
	}
	p = p ? again(g, p, wp, literal ? &at : NULL)
	      : node_static_add(g->node, g->loop.now, wp->key, wp->has_psk ? wp->psk : NULL,
				literal ? &at : NULL, wp->keepalive);
	if (!p)
		return errno == ENOSPC ? -ENOSPC : -ENOMEM;
	if (literal)
		gw_net_path(g, p);
	else if (wp->host[0])
		tell_of_wait(g, wp);
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
	collect_names(g);
	for (size_t i = 0; i < c->npeers; i++) {
		int err = add_peer(g, &c->peers[i]);
		if (err < 0) {
			log_error("no %s for peer %zu of %zu", err == -ENOSPC ? "room" : "memory",
				  i + 1, c->npeers);
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
