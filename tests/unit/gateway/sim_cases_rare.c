/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_cases.h"
#include "gateway/node_internal.h"

#include <stdio.h>

#include "punch/outer.h"
#include "tests/unit/tun/packets.h"

#define GONE_AFTER (60 * SEC)

void case_leaves(struct sim *s)
{
	grown_up(s, 3 + net_pick(&s->net, 3));
	struct sim_host *h = &s->hosts[net_pick(&s->net, s->nhosts)];
	traffic_storm(s, SEC);
	node_release(h->node, s->now);
	sim_run(s, 3 * SEC);
	if (h->node)
		sim_fail(s, "%s was not released within 3 s", h->id);
	traffic_calm(s, 0);
	nsec until = s->now + GONE_AFTER;
	while (sim_ok(s) && s->now < until)
		sim_run(s, SEC);
	for (unsigned i = 0; i < s->nhosts; i++)
		if (s->hosts[i].node && sim_peer(&s->hosts[i], h))
			sim_fail(s, "%s still knows %s, which left a minute ago", s->hosts[i].id,
				 h->id);
	traffic_settle(s, SEC);
	sim_start(h, (enum restart)net_pick(&s->net, START_KINDS));
	traffic_settle(s, SETTLE);
	live(s, 5 * SEC);
	expect_direct(s);
	sim_run(s, 2 * SEC);
}

/* Both sides start a handshake at the same time, again and again, while packets flow. */
void case_crossing(struct sim *s)
{
	grown_up(s, 2);
	for (unsigned round = 0; round < 12; round++) {
		live(s, (nsec)(6 + net_pick(&s->net, 3)) * SEC);
		for (unsigned i = 0; i < 2; i++) {
			struct sim_host *h = &s->hosts[i];
			struct peer *p = sim_peer(h, &s->hosts[1 - i]);
			wg_peer_initiate(node_wg(h->node),
					 wg_peer_find(node_wg(h->node), peer_key(p)), s->now,
					 (nsec)net_pick(&s->net, 100) * MSEC);
			sim_tick_host(h);
		}
	}
	live(s, 20 * SEC);
	sim_run(s, 2 * SEC);
}

/* --- enemies --- */

static void random_bytes(struct net *n, uint8_t *p, uint32_t len)
{
	static const uint8_t first[] = { 1, 2, 3, 4, 0x80, 0x81, 0x90, 0xa0 };
	for (uint32_t i = 0; i < len; i++)
		p[i] = (uint8_t)net_random(n);
	if (len > 8 && net_pick(n, 4)) {
		p[0] = first[net_pick(n, sizeof(first))];
		p[1] = p[0] < 0x80 ? 0 : 1;
		p[2] = p[3] = 0;
	}
}

static uint32_t length_for(struct net *n)
{
	static const uint32_t lengths[] = { 148, 92, 64, 32, 76, 28 + 148, 28 + 32, 1, 3 };
	return net_pick(n, 2) ? lengths[net_pick(n, ARRAY_SIZE(lengths))] : 1 + net_pick(n, 1472);
}

/* Noise, or something that was seen on the wire: as it was, changed, cut, or from somewhere else. */
static void attack(struct sim *s)
{
	struct net *n = &s->net;
	const struct datagram *d = n->captured[net_pick(n, CAPTURED)];
	const struct datagram *other = n->captured[net_pick(n, CAPTURED)];
	struct endpoint evil = { .addr = addr_v4_u32(0xc0000242), .port = 666 };
	uint8_t bytes[2048];

	if (!d || !other || d->len > sizeof(bytes))
		return;
	uint32_t len = d->len, what = net_pick(n, 6);
	memcpy(bytes, d->bytes, len);
	if (what == 0) {
		len = length_for(n);
		random_bytes(n, bytes, len);
	} else if (what == 1) {
		bytes[net_pick(n, len)] ^= (uint8_t)(1u << net_pick(n, 8));
	} else if (what == 2) {
		len = 1 + net_pick(n, len);
	}
	net_inject(n, s->now, net_pick(n, 2) ? &d->from : &evil,
		   net_pick(n, 3) ? &d->to : &other->to, bytes, len);
}

void case_hostile(struct sim *s)
{
	cast(s, 2 + net_pick(&s->net, 3));
	start_all(s);
	bool early = net_pick(&s->net, 2);
	if (!early)
		traffic_settle(s, SETTLE);
	for (unsigned i = 0; sim_ok(s) && i < 400; i++) {
		for (unsigned k = net_pick(&s->net, 10); k; k--)
			attack(s);
		traffic_some(s);
		sim_run(s, (nsec)net_pick(&s->net, 100) * MSEC);
	}
	traffic_settle(s, SETTLE);
	expect_direct(s);
	/* a quiet net, and only the enemy sends */
	sim_run(s, 5 * SEC);
	s->silent_tun = true;
	for (unsigned i = 0; sim_ok(s) && i < 200; i++) {
		attack(s);
		sim_run(s, 10 * MSEC);
	}
	s->silent_tun = false;
}

static struct addr inner(const struct sim_host *h, bool v6)
{
	return member_addr(&h->sim->token.prefixes[v6], h->owns);
}

static void forged(struct sim_host *from, const struct addr *src, const struct addr *dst)
{
	static const struct vnet_hdr plain;
	static uint8_t ip[PACKET_MAX];
	uint32_t len = traffic_forge(src, dst, ip);
	node_tun(from->node, from->sim->now, &plain, ip, len);
	node_flush(from->node, from->sim->now);
	sim_run(from->sim, SEC);
}

/* A member that lies: about who it is, and about where things go. */
void case_spoofed(struct sim *s)
{
	grown_up(s, 3);
	struct sim_host *a = &s->hosts[0], *b = &s->hosts[1], *c = &s->hosts[2];
	bool v6 = net_pick(&s->net, 2);
	struct addr ia = inner(a, v6), ib = inner(b, v6), ic = inner(c, v6), wild;
	struct prefix theirs = { 0 };

	sim_run(s, 2 * SEC);
	s->silent_tun = true;
	forged(a, &ic, &ib);
	if (sim_drops(b, DROP_INNER_SPOOFED) != 1)
		sim_fail(s, "the source of another member was not noticed");
	forged(a, &ib, &ib);
	if (sim_drops(b, DROP_INNER_SPOOFED) != 2)
		sim_fail(s, "our own address as source was not noticed");
	wild = addr_v4_u32(net_pick(&s->net, 0xe0000000));
	if (!v6)
		forged(a, &wild, &ib);
	if (sim_drops(b, DROP_INNER_SPOOFED) != (v6 ? 2 : 3))
		sim_fail(s, "a source of nobody was not noticed");
	/* a says that the host behind this prefix is b: b neither takes it nor passes it on */
	if (!prefix_parse(v6 ? "fd99::/64" : "192.168.77.0/24", &theirs) ||
	    peer_route(sim_peer(a, b), &theirs) < 0)
		sim_fail(s, "no route to lie with");
	forged(a, &ia, &theirs.addr);
	if (sim_drops(b, DROP_NOT_FOR_ME) != 1)
		sim_fail(s, "a packet that is not for it was not noticed");
	theirs = prefix_host(&ic);
	if (peer_route(sim_peer(a, b), &theirs) < 0)
		sim_fail(s, "no route to lie with");
	forged(a, &ia, &ic); /* c's, sent to b: b is no router */
	if (sim_drops(b, DROP_NOT_FOR_ME) != 2)
		sim_fail(s, "a packet for another member was not noticed");
	s->silent_tun = false;
}

/* --- mistakes --- */

/* The operator gives a node another WORKER_ID and keeps its state directory. */
void case_another_id(struct sim *s)
{
	grown_up(s, 2 + net_pick(&s->net, 3));
	struct sim_host *h = &s->hosts[net_pick(&s->net, s->nhosts)];
	traffic_storm(s, SEC);
	sim_stop(h);
	sim_run(s, (nsec)net_pick(&s->net, 100) * SEC);
	snprintf(h->id, sizeof(h->id), "other%u", h->index);
	h->owns = 0;
	h->number = net_pick(&s->net, 2) ? h->number : 0;
	sim_start(h, START_SAME);
	traffic_settle(s, SETTLE);
	traffic_calm(s, 0);
	live(s, 5 * SEC);
	sim_run(s, 2 * SEC);
}

void case_full_disk(struct sim *s)
{
	cast(s, 3);
	s->store_fails = true;
	start_all(s);
	sim_run(s, 10 * SEC);
	for (unsigned i = 0; i < s->nhosts; i++)
		if (s->hosts[i].up)
			sim_fail(s, "%s has a lease that is not on the disk", s->hosts[i].id);
	s->store_fails = false;
	traffic_settle(s, SETTLE + 10 * SEC);
	s->store_fails = true;
	live(s, 5 * SEC);
	traffic_storm(s, SEC);
	sim_rdv_start(s);
	traffic_settle(s, SETTLE);
	traffic_calm(s, 0);
	live(s, 5 * SEC);
	sim_run(s, 2 * SEC);
}

/*
 * A process gets no time for a while, and finds all that came meanwhile at once. Nodes come and go while it is
 * the rendezvous'.
 */
void case_frozen(struct sim *s)
{
	bool early = net_pick(&s->net, 2);
	if (early) {
		cast(s, 2 + net_pick(&s->net, 5));
		start_all(s);
	} else {
		grown_up(s, 2 + net_pick(&s->net, 5));
	}
	for (unsigned i = 1 + net_pick(&s->net, 3); sim_ok(s) && i; i--) {
		nsec until = s->now + (nsec)net_pick(&s->net, 15000) * MSEC;
		traffic_storm(s, SEC);
		sim_log(s, "the rendezvous is frozen");
		s->rdv_frozen = until;
		for (unsigned k = net_pick(&s->net, 5); sim_ok(s) && k; k--) {
			struct sim_host *h = &s->hosts[net_pick(&s->net, s->nhosts)];
			if (net_pick(&s->net, 3) == 0)
				h->frozen = s->now + (nsec)net_pick(&s->net, 4000) * MSEC;
			else
				sim_start(h, START_SAME);
			live(s, (nsec)net_pick(&s->net, 3000) * MSEC);
		}
		live(s, nsec_max(until - s->now, 0) + 4 * SEC);
		traffic_settle(s, SETTLE);
		traffic_calm(s, 0);
		live(s, 5 * SEC);
	}
	sim_run(s, 2 * SEC);
}

/* Its clock is set, at any time, to any. */
static void step_clock(struct sim_host *h)
{
	h->wall += ((nsec)net_pick(&h->sim->net, 7200) - 3600) * SEC;
	sim_log(h->sim, "the clock of %s is set", h->id);
	if (h->node)
		node_set_wall(h->node, h->wall);
}

static void accident(struct sim *s)
{
	struct sim_host *h = &s->hosts[net_pick(&s->net, s->nhosts)];
	switch (net_pick(&s->net, 10)) {
	case 0:
		weather(s);
		break;
	case 1:
		clear_sky(s);
		break;
	case 2:
		sim_start(h, net_pick(&s->net, 2) ? START_SAME : START_SAME_KEY);
		break;
	case 3:
		sim_rdv_stop(s);
		break;
	case 4:
		if (!s->rdv)
			sim_rdv_start(s);
		break;
	case 5:
		s->net.hosts[h->index].cut ^= true;
		sim_log(s, "%s is %s", h->id, s->net.hosts[h->index].cut ? "cut off" : "back");
		break;
	case 6:
		net_rebind(&s->net, (unsigned)s->net.hosts[h->index].site);
		break;
	case 7:
		h->frozen = s->now + (nsec)net_pick(&s->net, 4000) * MSEC;
		break;
	case 8:
		s->rdv_frozen = s->now + (nsec)net_pick(&s->net, 10000) * MSEC;
		break;
	case 9:
		step_clock(h);
		break;
	}
}

void case_everything(struct sim *s)
{
	cast(s, 2 + net_pick(&s->net, 6));
	traffic_storm(s, 0);
	start_all(s);
	for (unsigned i = 0; sim_ok(s) && i < 40; i++) {
		accident(s);
		for (unsigned k = net_pick(&s->net, 3); k; k--)
			attack(s);
		live(s, (nsec)net_pick(&s->net, 3000) * MSEC);
	}
	clear_sky(s);
	sim_run(s, nsec_max(s->rdv_frozen - s->now, 0));
	for (unsigned i = 0; i < s->nhosts; i++) {
		s->net.hosts[i].cut = false;
		sim_run(s, nsec_max(s->hosts[i].frozen - s->now, 0));
	}
	if (!s->rdv)
		sim_rdv_start(s);
	traffic_settle(s, SETTLE_RENDEZVOUS);
	sim_run(s, 5 * SEC);
	traffic_calm(s, 0);
	live(s, 10 * SEC);
	sim_run(s, 2 * SEC);
}
