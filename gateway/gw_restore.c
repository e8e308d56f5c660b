/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other programs clean up what they did not make: a network manager that starts again removes foreign
 * routes, a script flushes addresses. What is ours on this host is set again as soon as the kernel tells
 * of it. An interface that somebody set down stays down, since that is how people stop one; when it is up
 * again it gets back what the kernel took from it. What the kernel does not take now (IPv6 that somebody
 * switched off) is tried with whatever else changes on this host. One that was moved to another network
 * namespace is no use to this one, and another is made in its place.
 *
 * A bare interface, its addresses and its routes are its owner's.
 */
#include "gateway/gw.h"
#include "base/log.h"

/* Two that undo each other's work do not take all of a core. */
#define RESTORE_GAP (100 * NSEC_PER_MSEC)

/* False: it is down, and nothing can be set. `*again`: it was, and is not any more. */
static bool link_is_up(struct gw *g, bool *again)
{
	struct kernel_link link;
	bool was_down = g->set_down;

	if (!gw_net_link(g, &link))
		return false;
	if (g->moved && g->cfg->joining) {
		gw_interface_gone(g, "it was moved to another network namespace");
		return false;
	}
	g->set_down = !link.up;
	*again = was_down && link.up;
	g->roster_changed |= g->set_down != was_down; /* the shim tells of it, too */
	if (!link.up && !was_down)
		log_warn(GW_SET_DOWN, g->tun.name, g->tun.name);
	if (*again)
		log_info("interface %s is up again", g->tun.name);
	return link.up;
}

/* True: the kernel has taken all of it. */
static bool restore(struct gw *g, bool up)
{
	bool all = kernel_restore(g->kernel);

	if (!all && up && !g->incomplete)
		log_warn("not all addresses of %s can be set now (is IPv6 switched off?): trying "
			 "again when this host's network changes",
			 g->tun.name);
	if (all && g->incomplete)
		log_info("%s has all its addresses again", g->tun.name);
	g->incomplete = !all;
	return all;
}

static void restore_routes(struct gw *g)
{
	for (struct peer *p = NULL; (p = node_peer_next(g->node, p));)
		gw_net_mtu(g, p);
}

/* `told`: the kernel has told of what is lost. */
static void look(struct gw *g, bool lost, bool told)
{
	bool again = false, up = link_is_up(g, &again);

	if (told && up && !again)
		log_seldom(LOG_LEVEL_WARN, LOG_EVERY,
			   "another program removed or replaced addresses or routes of %s: setting "
			   "them again",
			   g->tun.name);
	if (!lost && !again && !g->incomplete)
		return;
	/* while it is down that is the unreachable routes alone */
	if (restore(g, up) || lost || again)
		restore_routes(g);
}

/* What takes it is the guard's to stop, and nobody's without one. The next start refuses a range that this host uses. */
static void tell_stray(const struct gw *g, const struct prefix *to)
{
	char text[PREFIX_STRLEN];
	log_seldom(LOG_LEVEL_WARN, LOG_EVERY,
		   "this host has a route to %s now, inside the network's range: what takes it %s; "
		   "remove it",
		   prefix_str(to, text),
		   g->guard ? "is dropped" : "leaves outside of the tunnel, in clear");
}

void gw_restore_see(struct gw *g, const struct kernel_undone *u)
{
	if (u->stray)
		tell_stray(g, &u->stray_to);
	if (g->cfg->bare || !(u->lost || u->missed || u->link || g->incomplete))
		return;
	g->told |= u->lost;
	g->lost |= u->lost || u->missed;
	g->restore_at = nsec_min(g->restore_at, nsec_max(g->loop.now, g->restored + RESTORE_GAP));
}

void gw_restore_turn(struct gw *g, nsec now)
{
	if (now < g->restore_at)
		return;
	bool lost = g->lost, told = g->told;
	g->lost = g->told = false;
	g->restore_at = NSEC_NEVER;
	g->restored = now;
	look(g, lost, told);
}
