/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_internet.h"
#include "tests/unit/splitmix.h"

#include <stdlib.h>

const char *const nat_names[NAT_KINDS] = { "none", "full cone", "port-restricted", "symmetric" };

enum { ELSEWHERE = -1, UDP4_HEADERS = 28, UDP6_HEADERS = 48 };

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

static struct addr outside6(unsigned host)
{
	return (struct addr){ { 0x20, 0x01, 0x0d, 0xb8, [15] = (uint8_t)host } };
}

void net_init(struct net *n, uint64_t seed)
{
	memset(n, 0, sizeof(*n));
	n->rng = seed;
	n->rendezvous = (struct endpoint){ .addr = addr_v4_u32(0xcb007101), .port = 7777 };
	n->rendezvous6 = (struct endpoint){ .addr = outside6(1), .port = 7777 };
	for (unsigned i = 0; i <= MAX_SITES; i++)
		for (unsigned k = 0; k <= MAX_SITES; k++)
			n->mtu[i][k] = OUTER_MTU;
}

void net_free(struct net *n)
{
	for (size_t i = 0; i < n->queued; i++)
		free(n->queue[i]);
	free(n->queue);
	for (unsigned i = 0; i < CAPTURED; i++)
		free(n->captured[i]);
	memset(n, 0, sizeof(*n));
}

unsigned net_add_site(struct net *n, enum nat_kind kind)
{
	n->sites[n->nsites].kind = kind;
	n->sites[n->nsites].outside = addr_v4_u32(0xc6336401 + n->nsites);
	return n->nsites++;
}

unsigned net_add_host(struct net *n, unsigned site, bool v6)
{
	unsigned h = n->nhosts++;
	bool public = n->sites[site].kind == NAT_NONE;
	n->hosts[h].site = (int)site;
	n->hosts[h].inside.addr =
		addr_v4_u32(public ? 0xc6336500 + h : 0xc0a80002 + (site << 8) + h);
	if (v6)
		n->hosts[h].inside6.addr = outside6(16 + h);
	net_new_port(n, h);
	return h;
}

void net_new_port(struct net *n, unsigned host)
{
	struct port_of_host *h = &n->hosts[host];
	h->inside.port = (uint16_t)(20000 + net_pick(n, 20000));
	if (!addr_is_any(&h->inside6.addr))
		h->inside6.port = h->inside.port;
}

void net_rebind(struct net *n, unsigned site)
{
	memset(n->sites[site].mappings, 0, sizeof(n->sites[site].mappings));
}

/* --- the wire --- */

static bool earlier(const struct datagram *a, const struct datagram *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct net *n, struct datagram *p)
{
	if (n->queued == n->cap) {
		n->cap = n->cap ? n->cap * 2 : 1024;
		n->queue = realloc(n->queue, n->cap * sizeof(struct datagram *));
		assert(n->queue);
	}
	size_t i = n->queued++;
	for (; i && earlier(p, n->queue[(i - 1) / 2]); i = (i - 1) / 2)
		n->queue[i] = n->queue[(i - 1) / 2];
	n->queue[i] = p;
}

static struct datagram *pop(struct net *n)
{
	struct datagram *first = n->queue[0], *last = n->queue[--n->queued];
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

static struct datagram *copy_of(const struct endpoint *from, const struct endpoint *to, int site,
				const uint8_t *bytes, size_t len)
{
	struct datagram *p = malloc(sizeof(*p) + len);
	assert(p);
	*p = (struct datagram){
		.from = *from, .to = *to, .from_site = site, .waits = -1, .len = (uint32_t)len
	};
	memcpy(p->bytes, bytes, len);
	return p;
}

static void enqueue(struct net *n, nsec now, struct datagram *p, bool late)
{
	p->at = now + n->delay + (late ? (nsec)(net_chance(n) * (double)(3 * n->delay)) : 0);
	p->order = n->order++;
	push(n, p);
}

static void capture(struct net *n, const struct datagram *p)
{
	unsigned i = n->ncaptured++ % CAPTURED;
	free(n->captured[i]);
	n->captured[i] = copy_of(&p->from, &p->to, p->from_site, p->bytes, p->len);
}

static void transmit(struct net *n, nsec now, int site, const struct endpoint *from,
		     const struct endpoint *to, const uint8_t *bytes, size_t len)
{
	struct datagram *p = copy_of(from, to, site, bytes, len);

	n->sent++;
	capture(n, p);
	if (net_chance(n) < n->duplicate)
		enqueue(n, now, copy_of(from, to, site, bytes, len), net_chance(n) < 0.5);
	if (net_chance(n) < n->loss) {
		free(p);
		return;
	}
	if (net_chance(n) < n->corrupt)
		p->bytes[net_pick(n, p->len)] ^= (uint8_t)(1u << net_pick(n, 8));
	enqueue(n, now, p, net_chance(n) < n->reorder);
}

/* --- NATs --- */

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

static struct nat_mapping *map_outward(struct net *n, nsec now, struct site *s,
				       const struct endpoint *inside, const struct endpoint *to)
{
	struct nat_mapping *oldest = &s->mappings[0];
	for (unsigned i = 0; i < MAX_MAPPINGS; i++) {
		struct nat_mapping *m = &s->mappings[i];
		bool same = alive(m->last, now) && endpoint_eq(&m->inside, inside) &&
			    (s->kind != NAT_SYMMETRIC || endpoint_eq(&m->to, to));
		if (same)
			return m;
		if (m->last < oldest->last)
			oldest = m;
	}
	*oldest = (struct nat_mapping){ .inside = *inside, .to = *to, .port = free_port(n, s) };
	return oldest;
}

static void open_filter(struct nat_mapping *m, nsec now, const struct endpoint *to)
{
	struct nat_filter *oldest = &m->filters[0];
	for (unsigned i = 0; i < MAX_FILTERS; i++) {
		struct nat_filter *f = &m->filters[i];
		if (f->last && endpoint_eq(&f->remote, to)) {
			f->last = now;
			return;
		}
		if (f->last < oldest->last)
			oldest = f;
	}
	*oldest = (struct nat_filter){ *to, now };
}

static bool lets_in(const struct site *s, const struct nat_mapping *m, nsec now,
		    const struct endpoint *from)
{
	if (s->kind == NAT_FULL_CONE)
		return true;
	for (unsigned i = 0; i < MAX_FILTERS; i++)
		if (alive(m->filters[i].last, now) && endpoint_eq(&m->filters[i].remote, from))
			return true;
	return false;
}

static bool is_lan(const struct addr *a)
{
	return addr_is_v4(a) && addr_to_v4(a) >> 16 == 0xc0a8;
}

/* Where the datagrams of `h` to `to` seem to come from; false where it cannot send there. */
static bool source(struct net *n, nsec now, unsigned host, const struct endpoint *to,
		   struct endpoint *out)
{
	const struct port_of_host *h = &n->hosts[host];
	struct site *s = &n->sites[h->site];

	*out = addr_is_v4(&to->addr) ? h->inside : h->inside6;
	if (!addr_is_v4(&to->addr) || s->kind == NAT_NONE || is_lan(&to->addr))
		return out->port != 0;
	struct nat_mapping *m = map_outward(n, now, s, &h->inside, to);
	m->last = now;
	open_filter(m, now, to);
	*out = (struct endpoint){ .addr = s->outside, .port = m->port };
	return true;
}

void net_send(struct net *n, nsec now, unsigned host, const struct udp_tx *tx)
{
	bool rdv = host == AT_RENDEZVOUS;
	struct endpoint from = addr_is_v4(&tx->to.addr) ? n->rendezvous : n->rendezvous6;
	int site = rdv ? ELSEWHERE : n->hosts[host].site;

	assert(tx->len && tx->seg && tx->to.port && tx->len <= 65507);
	assert((tx->len + tx->seg - 1) / tx->seg <= UDP_GSO_MAX_SEGMENTS + 1);
	if (rdv ? n->rendezvous_cut : n->hosts[host].cut)
		return;
	if (!rdv && !source(n, now, host, &tx->to, &from))
		return;
	for (uint32_t at = 0; at < tx->len; at += tx->seg)
		transmit(n, now, site, &from, &tx->to, tx->buf + at,
			 size_min(tx->seg, tx->len - at));
}

void net_inject(struct net *n, nsec now, const struct endpoint *from, const struct endpoint *to,
		const uint8_t *p, size_t len)
{
	enqueue(n, now, copy_of(from, to, ELSEWHERE, p, len), net_chance(n) < 0.5);
}

nsec net_deadline(const struct net *n)
{
	return n->queued ? n->queue[0]->at : NSEC_NEVER;
}

static int host_at(const struct net *n, const struct endpoint *e)
{
	for (unsigned i = 0; i < n->nhosts; i++)
		if (endpoint_eq(&n->hosts[i].inside, e) ||
		    (n->hosts[i].inside6.port && endpoint_eq(&n->hosts[i].inside6, e)))
			return (int)i;
	return -1;
}

static int behind_nat(const struct net *n, nsec now, const struct datagram *p)
{
	for (unsigned i = 0; i < n->nsites; i++) {
		const struct site *s = &n->sites[i];
		if (s->kind == NAT_NONE || !addr_eq(&s->outside, &p->to.addr))
			continue;
		if (p->from_site == (int)i || (p->from_site >= 0 && n->blocked[p->from_site][i]))
			return -1; /* no NAT here does hairpins */
		for (unsigned k = 0; k < MAX_MAPPINGS; k++) {
			const struct nat_mapping *m = &s->mappings[k];
			if (m->port == p->to.port && alive(m->last, now) &&
			    lets_in(s, m, now, &p->from))
				return host_at(n, &m->inside);
		}
	}
	return -1;
}

/* Who gets it. */
static int destination(const struct net *n, nsec now, const struct datagram *p)
{
	if (endpoint_eq(&p->to, &n->rendezvous) || endpoint_eq(&p->to, &n->rendezvous6))
		return n->rendezvous_cut ? -1 : AT_RENDEZVOUS;
	int h = host_at(n, &p->to);
	if (h < 0) {
		h = behind_nat(n, now, p);
		return h < 0 || n->hosts[h].cut ? -1 : h;
	}
	int site = n->hosts[h].site;
	if (is_lan(&p->to.addr) && p->from_site != site)
		return -1;
	if (n->hosts[h].cut ||
	    (p->from_site >= 0 && n->blocked[p->from_site][site] && p->from_site != site))
		return -1;
	return h;
}

/* DF is set: what some link does not take is lost. */
static bool fits(struct net *n, const struct datagram *p, int to)
{
	bool v4 = addr_is_v4(&p->to.addr);
	unsigned from_site = p->from_site < 0 ? MAX_SITES : (unsigned)p->from_site;
	unsigned to_site = to == AT_RENDEZVOUS ? MAX_SITES : (unsigned)n->hosts[to].site;
	uint32_t mtu = n->mtu[from_site][to_site];
	bool ok = p->len + (v4 ? UDP4_HEADERS : UDP6_HEADERS) <= (v4 || mtu > 1280 ? mtu : 1280);
	n->oversized += !ok;
	return ok;
}

int net_arrived(struct net *n, nsec now, struct datagram **out)
{
	while (net_deadline(n) <= now) {
		struct datagram *p = pop(n);
		int h = p->waits < 0 ? destination(n, now, p) : p->waits;
		if (h >= 0 && (p->waits >= 0 || fits(n, p, h))) {
			*out = p;
			return h;
		}
		free(p);
	}
	return -1;
}

void net_hold(struct net *n, struct datagram *p, int who, nsec until)
{
	p->waits = who;
	p->at = until;
	p->order = n->order++;
	push(n, p);
}

bool nats_can_meet(enum nat_kind a, enum nat_kind b)
{
	if (a > b)
		return nats_can_meet(b, a);
	return b != NAT_SYMMETRIC || a < NAT_PORT_RESTRICTED;
}
