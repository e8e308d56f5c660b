/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_net.h"
#include "tests/unit/splitmix.h"

#include <stdlib.h>

const char *const nat_names[NAT_KINDS] = { "none", "full cone", "address-restricted",
					   "port-restricted", "symmetric" };

enum { ELSEWHERE = -1 }; /* the site of the rendezvous and the attacker */

uint64_t net_random(struct net *n)
{
	return splitmix64(&n->rng);
}

uint32_t net_pick(struct net *n, uint32_t below)
{
	return (uint32_t)(net_random(n) % below);
}

double net_chance(struct net *n)
{
	return splitmix_share(&n->rng);
}

void net_init(struct net *n, uint64_t seed)
{
	memset(n, 0, sizeof(*n));
	n->rng = seed;
	n->rendezvous = (struct endpoint){ .addr = addr_v4_u32(0xcb007101), .port = 7777 };
}

void net_free(struct net *n)
{
	for (size_t i = 0; i < n->queued; i++)
		free(n->queue[i]);
	free(n->queue);
}

unsigned net_add_site(struct net *n, enum nat_kind kind)
{
	n->sites[n->nsites].kind = kind;
	n->sites[n->nsites].outside = addr_v4_u32(0xc6336401 + n->nsites);
	return n->nsites++;
}

unsigned net_add_host(struct net *n, unsigned site)
{
	unsigned h = n->nhosts++;
	bool public = n->sites[site].kind == NAT_NONE;
	n->hosts[h].site = (int)site;
	n->hosts[h].inside.addr =
		addr_v4_u32(public ? 0xc6336500 + h : 0x0a000002 + (site << 16) + h);
	net_new_port(n, h);
	return h;
}

void net_new_port(struct net *n, unsigned host)
{
	n->hosts[host].inside.port = (uint16_t)(20000 + net_pick(n, 20000));
}

void net_rebind(struct net *n, unsigned site)
{
	memset(n->sites[site].mappings, 0, sizeof(n->sites[site].mappings));
}

static bool earlier(const struct packet *a, const struct packet *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct net *n, struct packet *p)
{
	if (n->queued == n->cap) {
		n->cap = n->cap ? n->cap * 2 : 1024;
		n->queue = realloc(n->queue, n->cap * sizeof(n->queue[0]));
		assert(n->queue);
	}
	size_t i = n->queued++;
	for (; i && earlier(p, n->queue[(i - 1) / 2]); i = (i - 1) / 2)
		n->queue[i] = n->queue[(i - 1) / 2];
	n->queue[i] = p;
}

static struct packet *pop(struct net *n)
{
	struct packet *first = n->queue[0], *last = n->queue[--n->queued];
	size_t i = 0;
	for (size_t c; (c = 2 * i + 1) < n->queued; i = c) {
		if (c + 1 < n->queued && earlier(n->queue[c + 1], n->queue[c]))
			c++;
		if (!earlier(n->queue[c], last))
			break;
		n->queue[i] = n->queue[c];
	}
	n->queue[i] = last;
	return first;
}

static void enqueue(struct net *n, nsec now, int from_site, const struct endpoint *from,
		    const struct endpoint *to, const uint8_t *bytes, size_t len)
{
	struct packet *p = calloc(1, sizeof(*p));
	assert(p && len <= PACKET_MAX);
	p->at = now + n->delay / 2 + (nsec)(net_chance(n) * (double)(n->delay / 2 + n->jitter));
	p->order = n->order++;
	p->from = *from;
	p->to = *to;
	p->from_site = from_site;
	p->len = len;
	memcpy(p->bytes, bytes, len);
	push(n, p);
}

static void transmit(struct net *n, nsec now, int from_site, const struct endpoint *from,
		     const struct endpoint *to, const uint8_t *bytes, size_t len)
{
	if (net_chance(n) < n->loss)
		return;
	enqueue(n, now, from_site, from, to, bytes, len);
	if (net_chance(n) < n->duplicate)
		enqueue(n, now, from_site, from, to, bytes, len);
}

static bool alive(nsec last, nsec now)
{
	return last && now - last < NAT_TIMEOUT;
}

/* One that no other mapping has, dead ones included: late packets still come for them. */
static uint16_t free_port(struct net *n, const struct site *s)
{
	for (;;) {
		uint16_t port = (uint16_t)(1024 + net_pick(n, 60000));
		bool taken = false;
		for (unsigned i = 0; i < MAX_MAPPINGS; i++)
			taken |= s->mappings[i].port == port;
		if (!taken)
			return port;
	}
}

static struct mapping *map_outward(struct net *n, nsec now, struct site *s,
				   const struct endpoint *inside, const struct endpoint *to)
{
	struct mapping *oldest = &s->mappings[0];
	for (unsigned i = 0; i < MAX_MAPPINGS; i++) {
		struct mapping *m = &s->mappings[i];
		bool same = alive(m->last, now) && endpoint_eq(&m->inside, inside) &&
			    (s->kind != NAT_SYMMETRIC || endpoint_eq(&m->to, to));
		if (same)
			return m;
		if (m->last < oldest->last)
			oldest = m;
	}
	*oldest = (struct mapping){ .inside = *inside, .to = *to, .port = free_port(n, s) };
	return oldest;
}

static void open_filter(struct mapping *m, nsec now, const struct endpoint *to)
{
	struct filter *oldest = &m->filters[0];
	for (unsigned i = 0; i < MAX_FILTERS; i++) {
		struct filter *f = &m->filters[i];
		if (f->last && endpoint_eq(&f->remote, to)) {
			f->last = now;
			return;
		}
		if (f->last < oldest->last)
			oldest = f;
	}
	*oldest = (struct filter){ *to, now };
}

static bool lets_in(const struct site *s, const struct mapping *m, nsec now,
		    const struct endpoint *from)
{
	if (s->kind == NAT_FULL_CONE)
		return true;
	for (unsigned i = 0; i < MAX_FILTERS; i++) {
		const struct filter *f = &m->filters[i];
		if (!alive(f->last, now) || !addr_eq(&f->remote.addr, &from->addr))
			continue;
		if (s->kind == NAT_ADDRESS_RESTRICTED || f->remote.port == from->port)
			return true;
	}
	return false;
}

/* 10.N.0.0/16, of which N is the site. */
static bool is_inside(const struct addr *a)
{
	return addr_to_v4(a) >> 24 == 10;
}

void net_send(struct net *n, nsec now, unsigned host, const struct endpoint *to, const uint8_t *p,
	      size_t len)
{
	const struct host *h = &n->hosts[host];
	if (host == RENDEZVOUS) {
		if (!n->rendezvous_silent)
			transmit(n, now, ELSEWHERE, &n->rendezvous, to, p, len);
		return;
	}
	struct site *s = &n->sites[h->site];
	if (s->kind == NAT_NONE || is_inside(&to->addr)) {
		transmit(n, now, h->site, &h->inside, to, p, len);
		return;
	}
	struct mapping *m = map_outward(n, now, s, &h->inside, to);
	m->last = now;
	open_filter(m, now, to);
	struct endpoint from = { .addr = s->outside, .port = m->port };
	transmit(n, now, h->site, &from, to, p, len);
}

void net_inject(struct net *n, nsec now, const struct endpoint *from, const struct endpoint *to,
		const uint8_t *p, size_t len)
{
	enqueue(n, now, ELSEWHERE, from, to, p, len);
}

nsec net_deadline(const struct net *n)
{
	return n->queued ? n->queue[0]->at : NSEC_NEVER;
}

static int host_at(const struct net *n, const struct endpoint *e)
{
	for (unsigned i = 0; i < n->nhosts; i++)
		if (endpoint_eq(&n->hosts[i].inside, e))
			return (int)i;
	return -1;
}

static int behind_nat(const struct net *n, nsec now, const struct packet *p)
{
	for (unsigned i = 0; i < n->nsites; i++) {
		const struct site *s = &n->sites[i];
		if (s->kind == NAT_NONE || !addr_eq(&s->outside, &p->to.addr))
			continue;
		if (p->from_site == (int)i || (p->from_site >= 0 && n->blocked[p->from_site][i]))
			return -1; /* no NAT here does hairpins */
		for (unsigned k = 0; k < MAX_MAPPINGS; k++) {
			const struct mapping *m = &s->mappings[k];
			if (m->port == p->to.port && alive(m->last, now) &&
			    lets_in(s, m, now, &p->from))
				return host_at(n, &m->inside);
		}
	}
	return -1;
}

/* Which host gets it. */
static int destination(const struct net *n, nsec now, const struct packet *p)
{
	if (endpoint_eq(&p->to, &n->rendezvous))
		return n->rendezvous_silent ? -1 : RENDEZVOUS;
	int h = host_at(n, &p->to);
	if (h < 0)
		return behind_nat(n, now, p);
	int site = n->hosts[h].site;
	if (is_inside(&p->to.addr)) /* only from the same LAN */
		return p->from_site == site ? h : -1;
	if (p->from_site >= 0 && n->blocked[p->from_site][site])
		return -1;
	return h;
}

int net_arrived(struct net *n, nsec now, struct packet **out)
{
	while (net_deadline(n) <= now) {
		struct packet *p = pop(n);
		int h = destination(n, now, p);
		if (h >= 0) {
			*out = p;
			return h;
		}
		free(p);
	}
	return -1;
}

bool nats_can_meet(enum nat_kind a, enum nat_kind b)
{
	if (a > b)
		return nats_can_meet(b, a);
	return b != NAT_SYMMETRIC || a < NAT_PORT_RESTRICTED;
}
