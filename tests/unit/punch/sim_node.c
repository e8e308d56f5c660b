/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulated nodes and their rendezvous, and what must hold for each single packet: check_ping(),
 * check_data(). What the test believes of paths it learns by looking at the wire, not from the links.
 */
#include "sim_node.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct sim sim;

void fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "seed %llu, %.3f s: ", (unsigned long long)sim.seed,
		(double)(sim.now - START) / 1e9);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

void note(const char *fmt, ...)
{
	va_list ap;
	if (!sim.verbose)
		return;
	va_start(ap, fmt);
	printf("%9.3f ", (double)(sim.now - START) / 1e9);
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

const char *text(const struct endpoint *e)
{
	static char out[4][ENDPOINT_STRLEN];
	static unsigned i;
	return endpoint_str(e, out[i++ % 4]);
}

static uint32_t number_of(unsigned host)
{
	return host + 1;
}

static void pair_key(unsigned a, unsigned b, uint8_t key[static OUTER_KEY_LEN])
{
	memset(key, 0x55, OUTER_KEY_LEN);
	key[0] = (uint8_t)(a < b ? a : b);
	key[1] = (uint8_t)(a < b ? b : a);
}

static void hop_key(unsigned a, uint8_t key[static RELAY_KEY_LEN])
{
	memset(key, 0x77, RELAY_KEY_LEN);
	key[0] = (uint8_t)a;
}

static uint64_t boot_now(void)
{
	return EPOCH + (uint64_t)sim.now;
}

/* --- what must always hold --- */

static void check_ping(unsigned i, unsigned j, const struct link_output *out)
{
	struct peer *p = &sim.nodes[i].peers[j];
	uint8_t key[OUTER_KEY_LEN];
	struct outer_msg m;
	size_t skip = out->path.relay ? RELAY_HEADER_LEN : 0;
	pair_key(i, j, key);
	if (outer_parse(out->bytes + skip, out->len - skip, key, &m))
		fail("node %u sent a message that nobody can read", i);
	if (out->len != OUTER_PING_LEN + skip)
		fail("node %u sent %zu bytes", i, out->len);
	if (m.type == OUTER_TYPE_PONG)
		return;
	if (sim.now / SEC != p->second) {
		p->second = sim.now / SEC;
		p->pings_in_second = 0;
	}
	p->pings++;
	if (++p->pings_in_second > 88)
		fail("node %u floods node %u", i, j);
	if (out->path.relay)
		return;
	struct known_ping *k = &p->known[p->next_ping++ % PINGS_KNOWN];
	memcpy(k->txid, m.txid, TXID_LEN);
	k->to = out->path.remote;
	k->sent = sim.now;
}

/* The test's own judgement of which endpoints answered. */
static void learn_proof(unsigned i, unsigned j, const struct packet *pkt)
{
	struct peer *p = &sim.nodes[i].peers[j];
	uint8_t key[OUTER_KEY_LEN];
	struct outer_msg m;
	pair_key(i, j, key);
	if (outer_parse(pkt->bytes, pkt->len, key, &m) || m.type != OUTER_TYPE_PONG)
		return;
	for (unsigned k = 0; k < PINGS_KNOWN; k++) {
		const struct known_ping *kp = &p->known[k];
		if (kp->sent && sim.now - kp->sent <= 5 * SEC && endpoint_eq(&kp->to, &pkt->from) &&
		    memcmp(kp->txid, m.txid, TXID_LEN) == 0)
			p->proven[p->next_proof++ % PROVEN_KNOWN] =
				(struct known_proof){ pkt->from, sim.now };
	}
}

/* Data goes only to an endpoint that answered a fresh transaction id within the trust's time. */
static void check_data(unsigned i, unsigned j, const struct path *path)
{
	const struct peer *p = &sim.nodes[i].peers[j];
	if (path->relay) {
		if (!endpoint_eq(&path->remote, &sim.net.rendezvous))
			fail("node %u takes %s for the relay", i, text(&path->remote));
		return;
	}
	for (unsigned k = 0; k < PROVEN_KNOWN; k++) {
		const struct known_proof *pr = &p->proven[k];
		if (pr->when && sim.now - pr->when < 27 * SEC &&
		    endpoint_eq(&pr->at, &path->remote))
			return;
	}
	fail("node %u sends data for %u to %s, which proved nothing", i, j, text(&path->remote));
}

bool can_be_direct(unsigned i, unsigned j)
{
	const struct host *a = &sim.net.hosts[i], *b = &sim.net.hosts[j];
	return a->site == b->site ||
	       nats_can_meet(sim.net.sites[a->site].kind, sim.net.sites[b->site].kind);
}

/* --- nodes --- */

static void node_send(unsigned i, const struct endpoint *to, const uint8_t *p, size_t len)
{
	if (p[0] == OUTER_TYPE_PING || p[0] == OUTER_TYPE_PONG || p[0] == OUTER_TYPE_RELAY) {
		struct packet *c = &sim.captured[sim.ncaptured++ % CAPTURED];
		c->len = len;
		c->from = sim.net.hosts[i].inside;
		c->to = *to;
		memcpy(c->bytes, p, len);
	}
	net_send(&sim.net, sim.now, i, to, p, len);
}

void node_start(unsigned i)
{
	struct node *n = &sim.nodes[i];
	struct links_config cfg = { .self = number_of(i), .boot = boot_now(), .max_links = 16 };
	uint8_t key[OUTER_KEY_LEN], hop[RELAY_KEY_LEN];
	links_free(n->ls);
	memset(n, 0, sizeof(*n));
	n->ls = links_new(&cfg);
	n->started = n->next_register = n->next_data = sim.now;
	hop_key(i, hop);
	for (unsigned j = 0; j < sim.net.nhosts; j++) {
		n->peers[j].connect_at = NSEC_NEVER;
		n->peers[j].last_rx = sim.now;
		if (j == i)
			continue;
		pair_key(i, j, key);
		n->peers[j].l = link_add(n->ls, sim.now, number_of(j), key, (void *)(uintptr_t)j);
	}
	links_set_relay(n->ls, sim.now, 0, &sim.net.rendezvous, hop);
}

void node_register(unsigned i)
{
	struct node *n = &sim.nodes[i];
	uint8_t p[CONTROL_LEN_MAX];
	struct wr w = wr_of(p, sizeof(p));
	wr_u8(&w, REGISTER);
	wr_u8(&w, (uint8_t)i);
	wr_u8(&w, (uint8_t)(1 + n->nseen));
	wr_endpoint(&w, &sim.net.hosts[i].inside);
	for (unsigned k = 0; k < n->nseen; k++)
		wr_endpoint(&w, &n->seen[k]);
	node_send(i, &sim.net.rendezvous, p, w.len);
	/* real ones repeat it until it is answered */
	n->next_register = sim.now + (sim.now < n->started + 3 * SEC ? SEC / 2 : 5 * SEC);
}

void node_data(unsigned i)
{
	struct node *n = &sim.nodes[i];
	for (unsigned j = 0; j < sim.net.nhosts; j++) {
		uint8_t p[RELAY_HEADER_LEN + DATA_LEN] = { [RELAY_HEADER_LEN] = 4 };
		if (j == i)
			continue;
		struct link *l = n->peers[j].l;
		link_active(l, sim.now);
		const struct path *path = link_path(l);
		if (!path)
			fail("node %u has no path to %u", i, j);
		check_data(i, j, path);
		if (!path->relay)
			n->peers[j].last_direct = sim.now;
		p[RELAY_HEADER_LEN + 4] = (uint8_t)i;
		if (path->relay)
			link_relay_header(l, &path->remote, p, DATA_LEN);
		size_t skip = path->relay ? 0 : RELAY_HEADER_LEN;
		node_send(i, &path->remote, p + skip, sizeof(p) - skip);
	}
	n->next_data = sim.now + sim.data_every;
}

static void node_observed(unsigned i, const struct endpoint *e)
{
	struct node *n = &sim.nodes[i];
	for (unsigned k = 0; k < n->nseen; k++)
		if (endpoint_eq(&n->seen[k], e))
			return;
	if (n->nseen < SEEN)
		n->seen[n->nseen++] = *e;
}

static void node_wants(unsigned i, unsigned j)
{
	struct peer *p = &sim.nodes[i].peers[j];
	bool excused = !p->last_want || p->last_want <= sim.nodes[i].changed_at;
	if (!excused && sim.now - p->last_want < 44 * SEC / 10)
		fail("node %u asks for introductions too often", i);
	p->last_want = sim.now;
	p->connect_at = sim.now;
}

void node_poll(unsigned i)
{
	struct node *n = &sim.nodes[i];
	struct link_output out;
	unsigned events = 0;
	while (links_poll(n->ls, sim.now, &out)) {
		unsigned j = (unsigned)(uintptr_t)link_user(out.link);
		if (++events > 1000)
			fail("node %u never stops", i);
		if (out.event == LINK_SEND) {
			check_ping(i, j, &out);
			node_send(i, &out.path.remote, out.bytes, out.len);
		} else if (out.event == LINK_WANT_INTRODUCTION) {
			node_wants(i, j);
		} else if (out.event == LINK_OBSERVED) {
			node_observed(i, &out.observed);
		} else {
			note("node %u → %u: %s %s", i, j, out.path.relay ? "relay" : "direct",
			     text(&out.path.remote));
		}
	}
	if (links_deadline(n->ls) <= sim.now)
		fail("node %u is due and says nothing", i);
	for (unsigned j = 0; j < sim.net.nhosts; j++) {
		uint8_t p[3] = { CONNECT, (uint8_t)i, (uint8_t)j };
		if (n->peers[j].connect_at > sim.now)
			continue;
		node_send(i, &sim.net.rendezvous, p, sizeof(p));
		n->peers[j].connect_at = sim.now + SEC / 2;
	}
}

static void node_introduced(unsigned i, const struct packet *pkt)
{
	struct rd r = rd_of(pkt->bytes + 1, pkt->len - 1);
	unsigned j = rd_u8(&r), n = rd_u8(&r);
	struct endpoint c[8];
	for (unsigned k = 0; k < n; k++)
		c[k] = rd_endpoint(&r);
	if (!rd_done(&r))
		fail("bad introduction");
	sim.nodes[i].peers[j].connect_at = NSEC_NEVER;
	link_introduce(sim.nodes[i].peers[j].l, sim.now, c, n);
}

static void node_datagram(unsigned i, struct packet *pkt, uint8_t *p, size_t len, bool relayed)
{
	struct node *n = &sim.nodes[i];
	enum drop why;
	enum outer_kind kind = outer_classify(p, len, &why);
	if (kind == OUTER_WG_DATA) {
		n->peers[p[4]].last_rx = sim.now;
	} else if (kind == OUTER_PING || kind == OUTER_PONG) {
		uint32_t sender, receiver;
		if (!relayed && !outer_peek(p, len, &sender, &receiver) && sender >= 1 &&
		    sender <= sim.net.nhosts && sender != number_of(i))
			learn_proof(i, sender - 1, pkt);
		links_input(n->ls, sim.now, &pkt->from, &sim.net.hosts[i].inside.addr, 2, relayed,
			    p, len);
	} else if (kind == OUTER_RELAY && !relayed) {
		struct link *l;
		uint8_t *inner;
		size_t innerlen;
		if (!links_unwrap(n->ls, sim.now, &pkt->from, p, len, &l, &inner, &innerlen))
			node_datagram(i, pkt, inner, innerlen, true);
	}
}

/* --- the rendezvous --- */

void rendezvous_start(void)
{
	relay_server_free(sim.relay);
	sim.relay = relay_server_new(MAX_HOSTS, boot_now());
	memset(sim.observed, 0, sizeof(sim.observed));
	for (unsigned i = 0; i < sim.net.nhosts; i++) {
		uint8_t key[RELAY_KEY_LEN];
		hop_key(i, key);
		relay_server_set(sim.relay, number_of(i), key);
	}
}

static void introduce(unsigned to, unsigned whom)
{
	uint8_t p[CONTROL_LEN_MAX];
	struct wr w = wr_of(p, sizeof(p));
	const uint8_t *reg = sim.registered[whom];
	if (!sim.observed[to].port || !sim.observed[whom].port)
		return;
	wr_u8(&w, INTRODUCTION);
	wr_u8(&w, (uint8_t)whom);
	wr_u8(&w, (uint8_t)(reg[2] + 1));
	wr_endpoint(&w, &sim.observed[whom]);
	wr_bytes(&w, reg + 3, reg[2] * (size_t)18);
	net_send(&sim.net, sim.now, RENDEZVOUS, &sim.observed[to], p, w.len);
}

static void rendezvous_input(struct packet *pkt)
{
	uint8_t *p = pkt->bytes;
	struct endpoint to;
	if (p[0] == REGISTER) {
		sim.observed[p[1]] = pkt->from;
		memcpy(sim.registered[p[1]], p, pkt->len);
		relay_server_address(sim.relay, number_of(p[1]), &pkt->from);
	} else if (p[0] == CONNECT) {
		introduce(p[1], p[2]);
		introduce(p[2], p[1]);
	} else if (!relay_server_forward(sim.relay, sim.now, &pkt->from, p, pkt->len, &to)) {
		net_send(&sim.net, sim.now, RENDEZVOUS, &to, p, pkt->len);
	}
}

void world_input(int h, struct packet *pkt)
{
	if (h == RENDEZVOUS) {
		rendezvous_input(pkt);
		return;
	}
	if (pkt->bytes[0] == INTRODUCTION)
		node_introduced((unsigned)h, pkt);
	else
		node_datagram((unsigned)h, pkt, pkt->bytes, pkt->len, false);
	node_poll((unsigned)h);
}
