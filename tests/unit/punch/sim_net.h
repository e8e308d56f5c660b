/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small internet in virtual time: sites behind NATs of several kinds, a public rendezvous, loss,
 * delay, reordering, duplicates. All of it follows from one seed.
 *
 *   site 0: NAT 198.51.100.1 ── 10.0.0.2, 10.0.0.3      rendezvous 203.0.113.1:7777
 *   site 1: NAT 198.51.100.2 ── 10.1.0.2                attacker   192.0.2.66
 */
#ifndef WARREN_SIM_NET_H
#define WARREN_SIM_NET_H

#include "base/addr.h"

enum nat_kind {
	NAT_NONE,
	NAT_FULL_CONE,
	NAT_ADDRESS_RESTRICTED,
	NAT_PORT_RESTRICTED,
	NAT_SYMMETRIC,
	NAT_KINDS
};
extern const char *const nat_names[NAT_KINDS];

enum {
	MAX_SITES = 6,
	MAX_HOSTS = 6,
	RENDEZVOUS = MAX_HOSTS, /* its index as a host */
	PACKET_MAX = 320,
	MAX_MAPPINGS = 64,
	MAX_FILTERS = 64,
};

#define NAT_TIMEOUT (30 * NSEC_PER_SEC)

struct filter {
	struct endpoint remote;
	nsec last;
};

struct mapping {
	struct endpoint inside, to; /* to: of a symmetric NAT */
	uint16_t port;
	nsec last;
	struct filter filters[MAX_FILTERS];
};

struct site {
	enum nat_kind kind;
	struct addr outside;
	struct mapping mappings[MAX_MAPPINGS];
};

struct host {
	int site;
	struct endpoint inside;
};

struct packet {
	nsec at;
	uint64_t order;
	struct endpoint from, to;
	int from_site;
	size_t len;
	uint8_t bytes[PACKET_MAX];
};

struct net {
	uint64_t rng;
	double loss, duplicate;
	nsec delay, jitter;
	unsigned nsites, nhosts;
	struct site sites[MAX_SITES];
	struct host hosts[MAX_HOSTS];
	struct endpoint rendezvous;
	bool blocked[MAX_SITES][MAX_SITES];
	bool rendezvous_silent;
	uint64_t order;
	struct packet **queue; /* a binary heap by (at, order) */
	size_t queued, cap;
};

void net_init(struct net *n, uint64_t seed);
void net_free(struct net *n);
uint64_t net_random(struct net *n);
/* 0 … below − 1 */
uint32_t net_pick(struct net *n, uint32_t below);
double net_chance(struct net *n);

unsigned net_add_site(struct net *n, enum nat_kind kind);
unsigned net_add_host(struct net *n, unsigned site);
/* A host starts anew: with another port. */
void net_new_port(struct net *n, unsigned host);
/* The NAT forgets everything. */
void net_rebind(struct net *n, unsigned site);

void net_send(struct net *n, nsec now, unsigned host, const struct endpoint *to, const uint8_t *p,
	      size_t len);
/* Puts a packet on the wire with any source: the attacker's hand. */
void net_inject(struct net *n, nsec now, const struct endpoint *from, const struct endpoint *to,
		const uint8_t *p, size_t len);
nsec net_deadline(const struct net *n);
/* The next packet that arrives somewhere: which host, or −1 when none is due. The caller frees it. */
int net_arrived(struct net *n, nsec now, struct packet **out);

bool nats_can_meet(enum nat_kind a, enum nat_kind b);

#endif
