/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_cases.h"

#include <stdlib.h>

/* Three unanswered heartbeats of an active path (2 s apart), and a round trip. */
#define DEATH_NOTICED (6 * SEC)

void cast(struct sim *s, unsigned n)
{
	unsigned site = 0;
	for (unsigned i = 0; i < n; i++) {
		if (i == 0 || net_pick(&s->net, 5))
			site = net_add_site(&s->net, (enum nat_kind)net_pick(&s->net, NAT_KINDS));
		sim_add(s, site, net_pick(&s->net, 4) == 0);
	}
	for (unsigned i = 0; i < n; i++)
		sim_log(s, "%s is at site %d (%s)%s", s->hosts[i].id, s->net.hosts[i].site,
			nat_names[s->net.sites[s->net.hosts[i].site].kind],
			s->net.hosts[i].inside6.port ? " with IPv6" : "");
}

void start_all(struct sim *s)
{
	unsigned rdv_after = net_pick(&s->net, s->nhosts + 1);
	for (unsigned i = 0; i <= s->nhosts; i++) {
		if (i == rdv_after)
			sim_rdv_start(s);
		if (i < s->nhosts)
			sim_start(&s->hosts[i], START_SAME);
		sim_run(s, net_pick(&s->net, 2000 / s->nhosts) * MSEC);
	}
}

void live(struct sim *s, nsec duration)
{
	nsec until = s->now + duration;
	while (sim_ok(s) && s->now < until) {
		traffic_some(s);
		sim_run(s, (nsec)(1 + net_pick(&s->net, 100)) * MSEC);
	}
}

static bool can_be_direct(struct sim *s, const struct sim_host *a, const struct sim_host *b)
{
	const struct port_of_host *pa = &s->net.hosts[a->index], *pb = &s->net.hosts[b->index];
	return pa->site == pb->site || (pa->inside6.port && pb->inside6.port) ||
	       nats_can_meet(s->net.sites[pa->site].kind, s->net.sites[pb->site].kind);
}

void expect_direct(struct sim *s)
{
	for (unsigned i = 0; i < s->nhosts; i++)
		for (unsigned k = 0; k < s->nhosts; k++) {
			struct sim_host *a = &s->hosts[i], *b = &s->hosts[k];
			if (i == k || !a->node || !b->node)
				continue;
			if (sim_is_direct(a, b) != can_be_direct(s, a, b))
				sim_fail(s, "%s to %s is %sdirect", a->id, b->id,
					 sim_is_direct(a, b) ? "" : "not ");
		}
}

void grown_up(struct sim *s, unsigned n)
{
	cast(s, n);
	start_all(s);
	traffic_settle(s, SETTLE);
	live(s, 3 * SEC);
	expect_direct(s);
}

void case_storm(struct sim *s)
{
	cast(s, 2 + net_pick(&s->net, MAX_HOSTS - 1));
	start_all(s);
	live(s, 2 * SEC);
	traffic_settle(s, SETTLE);
	live(s, 8 * SEC);
	expect_direct(s);
	sim_run(s, (nsec)net_pick(&s->net, 60) * SEC);
	traffic_settle(s, SEC);
	live(s, SEC);
	sim_run(s, 2 * SEC);
}

void weather(struct sim *s)
{
	s->net.loss = net_chance(&s->net) * 0.3;
	s->net.duplicate = net_chance(&s->net) * 0.2;
	s->net.corrupt = net_chance(&s->net) * 0.05;
	s->net.reorder = net_chance(&s->net) * 0.5;
}

void clear_sky(struct sim *s)
{
	s->net.loss = s->net.duplicate = s->net.corrupt = s->net.reorder = 0;
}

void case_weather(struct sim *s)
{
	cast(s, 2 + net_pick(&s->net, 5));
	traffic_storm(s, 0);
	weather(s);
	start_all(s);
	live(s, 20 * SEC);
	weather(s);
	live(s, 20 * SEC);
	clear_sky(s);
	traffic_settle(s, SETTLE);
	sim_run(s, 5 * SEC);
	/* a late handshake of the bad time may still replace a session: both sides keep the old one */
	traffic_calm(s, 0);
	live(s, 20 * SEC);
	sim_run(s, 2 * SEC);
}

void case_node_restarts(struct sim *s)
{
	grown_up(s, 2 + net_pick(&s->net, 4));
	for (unsigned i = 1 + net_pick(&s->net, 3); i; i--) {
		struct sim_host *h = &s->hosts[net_pick(&s->net, s->nhosts)];
		enum restart how = (enum restart)net_pick(&s->net, START_KINDS);
		nsec off = (nsec)net_pick(&s->net, 4000) * MSEC;
		traffic_storm(s, SEC);
		sim_stop(h);
		live(s, off);
		sim_start(h, how);
		/* another key waits until the holder was silent for 5 s */
		traffic_settle(s, how == START_NEW_KEY ? SETTLE + 10 * SEC : SETTLE);
		traffic_calm(s, 0);
		live(s, 5 * SEC);
	}
	live(s, 60 * SEC);
	sim_run(s, 2 * SEC);
}

void case_rdv_restarts(struct sim *s)
{
	grown_up(s, 2 + net_pick(&s->net, 4));
	for (unsigned i = 1 + net_pick(&s->net, 3); i; i--) {
		sim_log(s, "the rendezvous stops");
		traffic_storm(s, SEC); /* what it relays is lost */
		sim_rdv_stop(s);
		live(s, (nsec)net_pick(&s->net, 90) * SEC);
		sim_rdv_start(s);
		traffic_settle(s, SETTLE);
		/* until all have found out, the relay may not know where a member is */
		live(s, SETTLE);
		traffic_calm(s, 0);
		live(s, (nsec)net_pick(&s->net, 40) * SEC);
	}
	/* a rendezvous that knows nobody yet, and a node that knows nobody */
	struct sim_host *h = &s->hosts[net_pick(&s->net, s->nhosts)];
	traffic_storm(s, SEC);
	if (net_pick(&s->net, 2))
		sim_rdv_start(s);
	sim_start(h, START_SAME);
	traffic_settle(s, SETTLE);
	traffic_calm(s, 0);
	live(s, 5 * SEC);
	sim_run(s, 2 * SEC);
}

/* Three rekeys and more, under load and at rest. */
void case_rekeys(struct sim *s)
{
	grown_up(s, 2 + net_pick(&s->net, 2));
	live(s, 130 * SEC);
	sim_run(s, (nsec)net_pick(&s->net, 300) * SEC);
	traffic_settle(s, SEC);
	live(s, 260 * SEC);
	expect_direct(s);
	sim_run(s, 2 * SEC);
}

static void block(struct sim *s, bool blocked)
{
	for (unsigned i = 0; i < MAX_SITES; i++)
		for (unsigned k = 0; k < MAX_SITES; k++)
			s->net.blocked[i][k] = blocked;
}

/* The internet between the sites dies, but not the way to the relay; and comes back. */
void case_path_dies(struct sim *s)
{
	grown_up(s, 2 + net_pick(&s->net, 3));
	for (unsigned i = 0; i < 2; i++) {
		sim_log(s, "the direct paths die");
		traffic_storm(s, SEC);
		block(s, true);
		live(s, DEATH_NOTICED);
		traffic_calm(s, 0);
		live(s, (nsec)(5 + net_pick(&s->net, 60)) * SEC);
		sim_log(s, "they come back");
		block(s, false);
		live(s, 80 * SEC);
		expect_direct(s);
	}
	sim_run(s, 2 * SEC);
}

/* No NAT traversal helps: all goes by the relay, much of it. */
void case_symmetric(struct sim *s)
{
	for (unsigned i = 0; i < 2; i++)
		sim_add(s, net_add_site(&s->net, i ? NAT_SYMMETRIC : NAT_PORT_RESTRICTED), false);
	start_all(s);
	traffic_settle(s, SETTLE);
	for (unsigned i = 0; i < 60; i++) {
		traffic_tcp(&s->hosts[i % 2], &s->hosts[1 - i % 2], i % 4 == 3, 60000, 1320);
		node_flush(s->hosts[i % 2].node, s->now);
		sim_run(s, 50 * MSEC);
	}
	live(s, 140 * SEC);
	expect_direct(s);
	const struct peer *p = sim_peer(&s->hosts[0], &s->hosts[1]);
	if (peer_stats_of(p)->tx_relay < 1800000 || peer_stats_of(p)->rx_direct)
		sim_fail(s, "the relay was not used, or counted for");
	sim_run(s, 2 * SEC);
}

/*
 * A node that went over to the rendezvous' IPv6 address while it was cut off stays there. Nobody sees
 * its new IPv4 mapping then, so who has no IPv6 may have to use the relay.
 */
static bool seen_in_ipv4(struct sim *s)
{
	bool all = true;
	for (unsigned i = 0; i < s->nhosts; i++)
		all &= addr_is_v4(&node_rendezvous(s->hosts[i].node, 0)->addr);
	return all;
}

/* NATs forget, ports change, cables are pulled. */
void case_rebinding(struct sim *s)
{
	grown_up(s, 2 + net_pick(&s->net, 4));
	for (unsigned i = 0; i < 3; i++) {
		struct sim_host *h = &s->hosts[net_pick(&s->net, s->nhosts)];
		struct port_of_host *at = &s->net.hosts[h->index];
		traffic_storm(s, SEC);
		if (net_pick(&s->net, 2)) {
			sim_log(s, "the NAT of %s forgets", h->id);
			net_rebind(&s->net, (unsigned)at->site);
		} else {
			sim_log(s, "%s is cut off for a while", h->id);
			at->cut = true;
			live(s, (nsec)net_pick(&s->net, 40) * SEC);
			at->cut = false;
			if (net_pick(&s->net, 2) && h->node)
				node_network_changed(h->node, s->now);
		}
		live(s, DEATH_NOTICED);
		traffic_settle(s, SETTLE);
		traffic_calm(s, 0);
		live(s, 10 * SEC);
	}
	live(s, 80 * SEC);
	if (sim_ok(s) && seen_in_ipv4(s))
		expect_direct(s);
	sim_run(s, 2 * SEC);
}

/* Every path, each direction by itself, and the relay's two legs. */
static void narrow(struct sim *s)
{
	s->net.narrow = true;
	for (unsigned i = 0; i <= MAX_SITES; i++)
		for (unsigned k = 0; k <= MAX_SITES; k++)
			s->net.mtu[i][k] = (uint16_t)(576 + net_pick(&s->net, OUTER_MTU - 575));
}

/* Super-packets between all: they are cut to just what a path takes, as bulk TCP is. */
static void large_ones(struct sim *s, nsec duration)
{
	for (nsec until = s->now + duration; sim_ok(s) && s->now < until;) {
		for (unsigned i = 0; i < s->nhosts; i++) {
			for (unsigned k = 0; k < s->nhosts; k++)
				if (i != k)
					traffic_tcp(&s->hosts[i], &s->hosts[k], false, 4000, 1440);
			if (s->hosts[i].node)
				node_flush(s->hosts[i].node, s->now);
		}
		sim_run(s, 50 * MSEC);
	}
}

/* The paths' MTUs change without a word, to any size, again and again: lost is what was sent in 3 s. */
void case_narrow(struct sim *s)
{
	if (net_pick(&s->net, 2))
		narrow(s); /* joining is no different */
	grown_up(s, 2 + net_pick(&s->net, 3));
	for (unsigned i = 0; sim_ok(s) && i < 4; i++) {
		sim_log(s, "the paths' MTUs change");
		traffic_storm(s, SEC);
		narrow(s);
		large_ones(s, 3 * SEC);
		traffic_calm(s, 0);
		live(s, 10 * SEC);
		large_ones(s, SEC);
	}
	sim_run(s, 2 * SEC);
}
