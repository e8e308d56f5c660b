/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole networks of links in virtual time: 2 to 6 nodes behind NATs of all kinds, a rendezvous that
 * introduces and relays, loss, reordering, duplicates, restarts, rebinding NATs, blocked paths, and
 * an attacker who replays and alters what he saw. `sim_link SEED` (or SEED=…) runs one case and says
 * more; SEEDS=N runs the first N.
 */
#include <stdio.h>
#include <stdlib.h>

#include "sim_node.h"
#include "sim_random.h"
#include "sim_seeds.h"

static void check_flow(void)
{
	for (unsigned i = 0; i < sim.net.nhosts; i++) {
		for (unsigned j = 0; j < sim.net.nhosts; j++) {
			const struct peer *p = &sim.nodes[i].peers[j];
			if (i == j)
				continue;
			if (sim.now - p->last_rx > sim.window)
				fail("node %u has heard nothing from %u for %.1f s", i, j,
				     (double)(sim.now - p->last_rx) / 1e9);
			if (!can_be_direct(i, j) && p->last_direct)
				fail("nodes %u and %u talk through NATs that cannot meet", i, j);
			if (can_be_direct(i, j) && sim.now > sim.last_fault + 70 * SEC &&
			    sim.now - p->last_direct > nsec_max(10 * SEC, 2 * sim.data_every))
				fail("node %u (%s) has no direct path to %u (%s)", i,
				     nat_names[sim.net.sites[sim.net.hosts[i].site].kind], j,
				     nat_names[sim.net.sites[sim.net.hosts[j].site].kind]);
		}
	}
}

/* Without loss or faults yet, everybody who can has met a few seconds after the start. */
static void check_early(void)
{
	if (sim.net.loss > 0.01 || sim.data_every > SEC)
		return;
	for (unsigned i = 0; i < sim.net.nhosts; i++)
		for (unsigned j = 0; j < sim.net.nhosts; j++)
			if (i != j && can_be_direct(i, j) && !sim.nodes[i].peers[j].last_direct)
				fail("nodes %u and %u have not met yet", i, j);
}

/* --- faults and the attacker --- */

static void begin_fault(struct fault *f)
{
	static const char *const names[FAULT_KINDS] = {
		"node restarts",       "rendezvous restarts",  "NAT forgets",
		"sites are cut apart", "rendezvous is silent", "network change"
	};
	note("--- %s (%u, %u)", names[f->kind], f->a, f->b);
	unsigned site_a = (unsigned)sim.net.hosts[f->a].site,
		 site_b = (unsigned)sim.net.hosts[f->b].site;
	switch (f->kind) {
	case RESTART_NODE:
		net_new_port(&sim.net, f->a);
		node_start(f->a);
		break;
	case RESTART_RENDEZVOUS:
		rendezvous_start();
		break;
	case REBIND:
		net_rebind(&sim.net, site_a);
		break;
	case BLOCK:
		sim.net.blocked[site_a][site_b] = sim.net.blocked[site_b][site_a] = true;
		break;
	case SILENCE:
		sim.net.rendezvous_silent = true;
		break;
	default:
		links_network_changed(sim.nodes[f->a].ls, sim.now);
		sim.nodes[f->a].changed_at = sim.now;
	}
}

static nsec run_faults(void)
{
	nsec next = NSEC_NEVER;
	for (unsigned i = 0; i < sim.nfaults; i++) {
		struct fault *f = &sim.faults[i];
		if (!f->begun && f->at <= sim.now) {
			f->begun = true;
			begin_fault(f);
		}
		if (!f->ended && f->until <= sim.now) {
			f->ended = true;
			note("--- over");
			memset(sim.net.blocked, 0, sizeof(sim.net.blocked));
			sim.net.rendezvous_silent = false;
		}
		next = nsec_min(next, !f->begun ? f->at : !f->ended ? f->until : NSEC_NEVER);
	}
	return next;
}

/* Sends something that was seen before: as it was, altered, or from another address. */
static void attack(void)
{
	sim.next_attack = sim.now + (nsec)(net_chance(&sim.net) * 0.4e9);
	if (!sim.ncaptured)
		return;
	unsigned have = sim.ncaptured < CAPTURED ? sim.ncaptured : CAPTURED;
	struct packet c = sim.captured[net_pick(&sim.net, have)];
	struct endpoint evil = { .addr = addr_v4_u32(0xc0000242),
				 .port = (uint16_t)(1 + net_pick(&sim.net, 60000)) };
	if (net_pick(&sim.net, 2))
		c.from = evil;
	if (net_pick(&sim.net, 2))
		c.bytes[net_pick(&sim.net, (uint32_t)c.len)] ^=
			(uint8_t)(1 << net_pick(&sim.net, 8));
	net_inject(&sim.net, sim.now, &c.from, &c.to, c.bytes, c.len);
}

static void draw_faults(void)
{
	struct net *n = &sim.net;
	sim.nfaults = net_pick(n, 5);
	sim.last_fault = START + 5 * SEC;
	for (unsigned i = 0; i < sim.nfaults; i++) {
		struct fault *f = &sim.faults[i];
		f->kind = (enum fault_kind)net_pick(n, FAULT_KINDS);
		f->at = START + 5 * SEC + (nsec)(net_chance(n) * 55e9);
		f->until = f->at;
		if (f->kind == BLOCK)
			f->until += (nsec)(net_chance(n) * 30e9);
		if (f->kind == SILENCE)
			f->until += (nsec)(net_chance(n) * 10e9);
		f->a = net_pick(n, n->nhosts);
		f->b = net_pick(n, n->nhosts);
		sim.last_fault = nsec_max(sim.last_fault, f->until);
	}
}

static void draw_network(void)
{
	struct net *n = &sim.net;
	static const double losses[] = { 0, 0, 0.01, 0.05, 0.2 };
	unsigned hosts = 2 + net_pick(n, 5);
	n->loss = losses[net_pick(n, ARRAY_SIZE(losses))];
	n->duplicate = net_pick(n, 2) ? 0.03 : 0;
	n->delay = (nsec)(2e6 + net_chance(n) * 100e6);
	n->jitter = net_pick(n, 2) ? (nsec)(net_chance(n) * 30e6) : 0;
	sim.data_every = SEC / 5;
	sim.window = 5 * SEC;
	sim.attacked = net_pick(n, 2);
	if (n->loss < 0.05 && net_pick(n, 3) == 0) { /* links that mostly rest */
		sim.data_every = 15 * SEC;
		sim.window = 61 * SEC;
	}
	for (unsigned i = 0; i < hosts; i++) {
		bool alone = n->nsites == 0 || net_pick(n, 4);
		unsigned site = alone ? net_add_site(n, (enum nat_kind)net_pick(n, NAT_KINDS))
				      : net_pick(n, n->nsites);
		net_add_host(n, site);
	}
	draw_faults();
}

static nsec step(nsec next_fault)
{
	nsec next = nsec_min(nsec_min(next_fault, net_deadline(&sim.net)), sim.next_check);
	if (sim.attacked)
		next = nsec_min(next, sim.next_attack);
	for (unsigned i = 0; i < sim.net.nhosts; i++) {
		const struct node *n = &sim.nodes[i];
		next = nsec_min(next, nsec_min(n->next_register, n->next_data));
		next = nsec_min(next, links_deadline(n->ls));
		for (unsigned j = 0; j < sim.net.nhosts; j++)
			next = nsec_min(next, n->peers[j].connect_at);
	}
	return nsec_max(next, sim.now);
}

static void deliver(void)
{
	struct packet *pkt;
	for (int h; (h = net_arrived(&sim.net, sim.now, &pkt)) >= 0;) {
		world_input(h, pkt);
		free(pkt);
	}
}

static void run_nodes(void)
{
	for (unsigned i = 0; i < sim.net.nhosts; i++) {
		if (sim.nodes[i].next_register <= sim.now)
			node_register(i);
		if (sim.nodes[i].next_data <= sim.now)
			node_data(i);
		node_poll(i);
	}
}

static unsigned total_pings(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < sim.net.nhosts; i++)
		for (unsigned j = 0; j < sim.net.nhosts; j++)
			n += sim.nodes[i].peers[j].pings;
	return n;
}

static void run_seed(uint64_t seed, bool verbose)
{
	memset(&sim, 0, sizeof(sim));
	sim.seed = seed;
	sim.verbose = verbose;
	sim.now = START;
	net_init(&sim.net, seed);
	sim_random_seed(seed);
	draw_network();
	for (unsigned i = 0; i < sim.net.nhosts; i++)
		note("node %u: site %d, %s, %s", i, sim.net.hosts[i].site,
		     nat_names[sim.net.sites[sim.net.hosts[i].site].kind],
		     text(&sim.net.hosts[i].inside));
	note("loss %.2f, delay %.0f ms, jitter %.0f ms, %u faults", sim.net.loss,
	     (double)sim.net.delay / 1e6, (double)sim.net.jitter / 1e6, sim.nfaults);
	rendezvous_start();
	for (unsigned i = 0; i < sim.net.nhosts; i++)
		node_start(i);
	sim.next_check = sim.last_fault + 10 * SEC;
	bool early = true;
	while (sim.now < sim.last_fault + 85 * SEC) {
		nsec next_fault = run_faults();
		deliver();
		run_nodes();
		if (sim.attacked && sim.next_attack <= sim.now)
			attack();
		if (early && sim.now > START + 4 * SEC) {
			early = false;
			check_early();
		}
		if (sim.next_check <= sim.now) {
			check_flow();
			sim.next_check += SEC;
		}
		sim.now = step(next_fault);
	}
	note("%u pings", total_pings());
	for (unsigned i = 0; i < sim.net.nhosts; i++)
		links_free(sim.nodes[i].ls);
	relay_server_free(sim.relay);
	net_free(&sim.net);
}

int main(int argc, char **argv)
{
	uint64_t n = sim_seeds(argc, argv, 300, run_seed);

	if (n)
		printf("%llu seeds passed\n", (unsigned long long)n);
	return 0;
}
