/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, routes and MTUs of the gateway, and the candidates that it learns from the kernel. */
#include "gateway/gw.h"
#include "base/log.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <unistd.h>

/*
 * The device takes the largest packet that any peer may get; what a peer really gets is its routes'
 * MTU. Below 1280 the kernel would take IPv6 from it.
 */
enum { TUN_MTU = FRAGMENT_PACKET_MAX, TCP4_HEADERS = 40, TCP6_HEADERS = 60 };

static uint32_t tun_mtu(const struct gw *g)
{
	uint32_t pinned = g->cfg->mtu;
	if (g->cfg->bare)
		return GW_BARE_MTU; /* and then what its owner says */
	return !pinned ? TUN_MTU : pinned < PMTU_MIN_V6 ? PMTU_MIN_V6 : pinned;
}

struct local_way gw_net_local_way(void *ctx, const struct addr *remote)
{
	struct gw *g = ctx;
	struct kernel_way w = { .none = !g->udp.v6 && !addr_is_v4(remote) };
	if (g->kernel && !w.none)
		w = kernel_way(g->kernel, remote, g->fwmark);
	return (struct local_way){ .mtu = w.mtu, .tag = w.tag, .none = w.none };
}

bool gw_net_leads(void *ctx, const struct path *path)
{
	struct gw *g = ctx;
	return g->kernel && kernel_path_leads(g->kernel, &path->remote.addr, &path->local,
					      g->fwmark, path->ifindex);
}

bool gw_net_link(struct gw *g, struct kernel_link *link)
{
	char name[IFNAMSIZ];
	g->moved = !kernel_link_now(g->kernel, link);
	if (!g->moved)
		return true;
	int netns = tun_netns(&g->tun, name);
	bool found = netns >= 0 && kernel_link_elsewhere(g->kernel, netns, name, link);
	if (netns >= 0)
		close(netns);
	return found;
}

/* A bare interface's MTU is its owner's, and the inner one of all its peers; so is whether it is up. */
void gw_net_follow(struct gw *g)
{
	struct kernel_link link;
	if (!g->cfg->bare || !gw_net_link(g, &link))
		return;
	g->own_mtu = link.mtu;
	node_pin_mtu(g->node, g->loop.now, link.mtu);
	node_set_down(g->node, g->loop.now, !link.up);
}

static void on_monitor(struct ev_loop *ev, ev_io *w, int revents)
{
	struct gw *g = w->data;
	struct kernel_undone undone = { 0 };
	(void)ev;
	(void)revents;
	gw_net_follow(g);
	bool host = kernel_monitor_drain(g->monitor_fd, g->tun.ifindex, g->kernel, &undone);
	gw_restore_see(g, &undone);
	if (!host)
		return;
	log_info("this host's addresses or routes changed: looking at all paths");
	kernel_addresses_changed(g->kernel);
	gw_net_candidates(g);
	node_network_changed(g->node, g->loop.now);
}

/* A bare interface is brought up by its owner. */
static int bring_up(struct gw *g)
{
	return g->cfg->bare ? kernel_link_mtu(g->kernel, tun_mtu(g))
			    : kernel_link_up(g->kernel, tun_mtu(g));
}

/*
 * A super-packet that fits one run leaves as one message and arrives as one; two segments more would be a
 * second message, a second write at the other end and an acknowledgement of their own. Those of forwarded
 * connections are as large as the network card makes them, and must not be cut for that.
 */
static void fit_runs(struct gw *g)
{
	int err = kernel_link_segments(g->kernel, g->forwards ? UINT16_MAX : GW_RUN_PACKETS);
	if (err < 0)
		log_debug("the kernel's super-packets stay as they are: %s", strerror(-err));
}

void gw_net_forwards(struct gw *g)
{
	log_debug("this host forwards TCP into %s", g->tun.name);
	g->forwards = true;
	fit_runs(g);
}

int gw_net_open(struct gw *g)
{
	int err = kernel_routes_new(&g->kernel, g->tun.ifindex);
	if (err < 0) {
		log_error("cannot talk to the kernel's routing: %s", strerror(-err));
		return err;
	}
	if (!g->cfg->bare && (err = guard_open(&g->guard, g->tun.name, g->tun.ifindex)) < 0)
		gw_net_no_guard(err);
	err = 0;
	if (g->cfg->joining)
		err = gw_net_close_prefixes(g);
	if (err == 0 && (err = bring_up(g)) < 0)
		log_error("cannot bring interface %s up: %s", g->tun.name, strerror(-err));
	fit_runs(g);
	g->monitor_fd = kernel_monitor_open(g->kernel);
	if (g->monitor_fd >= 0) {
		ev_io_init(&g->monitor_io, on_monitor, g->monitor_fd, EV_READ);
		g->monitor_io.data = g;
		ev_io_start(g->loop.ev, &g->monitor_io);
	}
	return err;
}

void gw_net_close(struct gw *g)
{
	/* the command goes on while a gateway that lost its interface, or cannot start, is started anew */
	if (g->kernel) {
		g->left_closed = !g->releasing && kernel_stay_closed(g->kernel, g->up);
		kernel_routes_free(g->kernel);
	}
	g->kernel = NULL;
	guard_close(g->guard); /* after the addresses */
	g->guard = NULL;
}

int gw_net_address(struct gw *g, const struct prefix *p, uint8_t bits)
{
	char text[PREFIX_STRLEN];
	int err = g->guard ? guard_address(g->guard, p) : 0;
	if (err < 0)
		gw_net_no_guard(err);
	err = kernel_address_network(g->kernel, p, bits);
	if (err < 0 && !addr_is_v4(&p->addr)) {
		log_info("no IPv6 address on %s (%s)", g->tun.name, strerror(-err));
		return 0;
	}
	if (err < 0)
		log_error("cannot give %s to interface %s: %s", prefix_str(p, text), g->tun.name,
			  strerror(-err));
	return err;
}

int gw_net_up(struct gw *g)
{
	const struct lease *l = &node_lease(g->node)->lease;
	struct prefix p4 = prefix_host(&l->ip), p6 = prefix_host(&l->ip6);
	int err = gw_net_address(g, &p4, p4.bits);
	return err ? err : gw_net_address(g, &p6, p6.bits);
}

const char *gw_net_ip6(const struct gw *g, char out[static ADDR_STRLEN])
{
	struct prefix p = prefix_host(&node_lease(g->node)->lease.ip6);
	out[0] = 0;
	return kernel_address_held(g->kernel, &p) ? addr_str(&p.addr, out) : out;
}

/*
 * A route that holds the peer's own endpoint would lead the tunnel's datagrams into the tunnel. Default
 * routes are a full tunnel's; other tables are the operator's to ask.
 */
static bool swallows_endpoint(const struct gw *g, const struct peer *p, const struct prefix *prefix)
{
	const struct wgconf *c = g->cfg->static_conf;
	bool elsewhere = c && c->table && c->table != RT_TABLE_MAIN;
	struct path path;
	return prefix->bits && !elsewhere && peer_kind(p) == PEER_STATIC && peer_path(p, &path) &&
	       prefix_contains(prefix, &path.remote.addr);
}

/* It fills packets up to a multiple of 16, as long as that fits its own 1420, which may be too much here. */
static uint32_t what_stock_may_send(const struct peer *p)
{
	uint32_t mtu = peer_mtu(p);
	return mtu < GW_BARE_MTU ? mtu & ~(uint32_t)(WG_PADDING - 1) : mtu;
}

/*
 * A stock peer itself keeps to the MTU of its own interface, whatever it is offered, and may turn out to
 * be a warren. A host behind it does not know that MTU.
 */
static bool sender_knows_better(const struct peer *p, const struct prefix *prefix)
{
	return peer_is_warren(p) || (prefix_is_host(prefix) && peer_mtu(p) >= GW_BARE_MTU);
}

/*
 * The MSS that a SYN offers caps the connection for life, so it says what the largest path would take
 * where the sender keeps to the MTU of its route anyway. A stock peer over a small path does not know
 * that it is one.
 */
static uint32_t mss_to_offer(const struct gw *g, const struct peer *p, const struct prefix *prefix)
{
	bool v4 = addr_is_v4(&prefix->addr);
	uint32_t mtu = sender_knows_better(p, prefix) ? tun_mtu(g) : what_stock_may_send(p);
	if (!v4 && mtu < PMTU_MIN_V6)
		mtu = PMTU_MIN_V6;
	return mtu - (v4 ? TCP4_HEADERS : TCP6_HEADERS);
}

/* A bare interface's owner does that, and so does who says `Table = off`. */
static bool sets_routes(const struct gw *g)
{
	const struct wgconf *c = g->cfg->static_conf;
	return g->kernel && !g->cfg->bare && !(c && c->table == WGCONF_NO_ROUTES);
}

static void take_back(struct gw *g, const struct prefix *prefix)
{
	kernel_route_remove(g->kernel, prefix);
	if (prefix->bits == 0)
		gw_static_full_tunnel_end(g, addr_is_v4(&prefix->addr));
}

/* A name is looked up outside, and who knows where the name server is. */
static bool waits_for_name(const struct gw *g, const struct peer *p)
{
	struct path path;
	return !peer_path(p, &path) && gw_static_named(g, p);
}

#define SWALLOWS                                                                                   \
	"no route to %s: the peer's own endpoint is inside; route to it by hand, or narrow "       \
	"AllowedIPs"

/* A peer that moves in and out of its own prefixes is no reason to write without end. */
static void warn_swallows(struct gw *g, const struct prefix *prefix, bool again)
{
	char text[PREFIX_STRLEN];

	if (!again)
		log_warn(SWALLOWS, prefix_str(prefix, text));
	else if (kernel_route_held(g->kernel, prefix))
		log_seldom(LOG_LEVEL_WARN, LOG_EVERY, SWALLOWS, prefix_str(prefix, text));
}

/* `again`: looked at before; what was warned of then is not warned of anew. */
static void set_route(struct gw *g, struct peer *p, const struct prefix *prefix, bool again)
{
	const struct lease *l = &node_lease(g->node)->lease;
	bool v4 = addr_is_v4(&prefix->addr), member = peer_kind(p) == PEER_MEMBER;
	uint32_t mtu = peer_mtu(p);
	char text[PREFIX_STRLEN];

	if (member && !g->up)
		return; /* it names our own address, which is not there yet: gw_net_members() */
	if (waits_for_name(g, p)) {
		take_back(g, prefix); /* it may have been another's */
		return;
	}
	if (swallows_endpoint(g, p, prefix)) {
		warn_swallows(g, prefix, again);
		take_back(g, prefix);
		return;
	}
	if (prefix->bits == 0 && !member && !gw_static_full_tunnel(g, v4, again))
		return;
	if (!v4 && mtu < PMTU_MIN_V6)
		mtu = PMTU_MIN_V6;
	struct route_metrics metrics = { .mtu = mtu,
					 .advmss = mss_to_offer(g, p, prefix),
					 .ecn = prefix_is_host(prefix) &&
						peer_is_at(p, &prefix->addr) };
	int err = kernel_route_set(g->kernel, prefix, member ? (v4 ? &l->ip : &l->ip6) : NULL,
				   &metrics);
	if (err == -EEXIST)
		log_seldom(LOG_LEVEL_WARN, LOG_EVERY,
			   "no route to %s: this host has one of its own, outside of the tunnel: "
			   "remove it",
			   prefix_str(prefix, text));
	else if (err < 0 && v4 && !again)
		log_warn("no route to %s: %s", prefix_str(prefix, text), strerror(-err));
}

void gw_net_route(struct gw *g, struct peer *p, const struct prefix *prefix, bool add)
{
	if (!sets_routes(g))
		return;
	if (add)
		set_route(g, p, prefix, false);
	else
		take_back(g, prefix);
}

struct route_visit {
	struct gw *g;
	struct peer *p;
	bool again;
};

static void set_it(void *ctx, const struct prefix *prefix)
{
	struct route_visit *v = ctx;
	set_route(v->g, v->p, prefix, v->again);
}

void gw_net_mtu(struct gw *g, struct peer *p)
{
	struct route_visit v = { .g = g, .p = p, .again = true };
	if (sets_routes(g))
		peer_each_route(p, set_it, &v);
}

void gw_net_members(struct gw *g)
{
	for (struct peer *p = NULL; (p = node_peer_next(g->node, p));) {
		struct route_visit v = { .g = g, .p = p };
		if (peer_kind(p) == PEER_MEMBER && sets_routes(g))
			peer_each_route(p, set_it, &v);
	}
}

/* The kernel is told of what changes alone: a peer may move with each packet. */
static void look_again(void *ctx, const struct prefix *prefix)
{
	struct route_visit *v = ctx;
	if (!v->again ||
	    swallows_endpoint(v->g, v->p, prefix) == kernel_route_held(v->g->kernel, prefix))
		set_route(v->g, v->p, prefix, v->again);
}

void gw_net_endpoint(struct gw *g, struct peer *p, bool first)
{
	/* what has waited for a name is looked at for the first time */
	struct route_visit v = { .g = g, .p = p, .again = !first || !gw_static_named(g, p) };
	if (sets_routes(g))
		peer_each_route(p, look_again, &v);
}

/* What people call the peer. */
static const char *name_of(const struct peer *p)
{
	return peer_kind(p) == PEER_MEMBER ? peer_entry(p)->id : "peer";
}

static const char *way(const struct path *path)
{
	return path->relay ? "over the relay" : "direct to";
}

void gw_net_path(struct gw *g, struct peer *p)
{
	struct path path;
	char text[ENDPOINT_STRLEN];

	(void)g;
	if (!peer_path(p, &path))
		log_info("%s: no path", name_of(p));
	else
		log_info("%s: %s %s", name_of(p), way(&path), endpoint_str(&path.remote, text));
}

static void tell_batching(const struct peer *p, const char *where, bool singles)
{
	if (singles)
		log_warn("%s: batches of datagrams are lost %s, single ones are not: segmentation "
			 "offload is off there for ten minutes (a bug of this host's kernel or "
			 "driver, or of the other's)",
			 name_of(p), where);
	else
		log_info("%s: trying batches of datagrams again %s", name_of(p), where);
}

void gw_net_path_mtu(const struct peer *p, const struct path *path, const struct link_mtu *m)
{
	char text[ENDPOINT_STRLEN], where[ENDPOINT_STRLEN + 24], was[24] = "";

	snprintf(where, sizeof(where), "%s %s", way(path), endpoint_str(&path->remote, text));
	if (m->was)
		snprintf(was, sizeof(was), " (was %u)", m->was);
	if (m->news)
		log_info("%s: path MTU %u%s %s: %s", name_of(p), m->size, was, where,
			 pmtu_reason_text(m->reason));
	if (m->singles_news)
		tell_batching(p, where, m->singles);
}

void gw_net_candidates(struct gw *g)
{
	struct endpoint c[MAX_CANDIDATES];
	struct addr host[MAX_CANDIDATES];
	size_t n = 0, count;

	for (size_t i = 0; i < g->cfg->nstated && n < MAX_CANDIDATES; i++)
		c[n++] = g->cfg->stated[i];
	count = kernel_host_addresses(g->kernel, g->tun.ifindex, g->cfg->token.prefixes,
				      g->cfg->token.nprefixes, host, MAX_CANDIDATES - n);
	for (size_t i = 0; i < count; i++)
		if (g->udp.v6 || addr_is_v4(&host[i]))
			c[n++] = (struct endpoint){ .addr = host[i], .port = g->udp.port };
	node_set_candidates(g->node, g->loop.now, c, n);
}
