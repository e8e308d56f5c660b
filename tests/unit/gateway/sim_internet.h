/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small internet in virtual time, for whole gateways: sites behind NATs, loss, delay, reordering,
 * duplicates, flipped bits. All of it follows from one seed. Datagrams of any size; IPv4 behind NATs,
 * IPv6 (where a host has it) without.
 *
 *   site 0: NAT 198.51.100.1 ── 192.168.0.2, 192.168.0.3    rendezvous 203.0.113.1:7777, [2001:db8::1]:7777
 *   site 1: NAT 198.51.100.2 ── 192.168.1.2                 attacker   192.0.2.66
 */
#ifndef WARREN_SIM_INTERNET_H
#define WARREN_SIM_INTERNET_H

#include "base/addr.h"
#include "punch/udp.h"

enum nat_kind { NAT_NONE, NAT_FULL_CONE, NAT_PORT_RESTRICTED, NAT_SYMMETRIC, NAT_KINDS };
extern const char *const nat_names[NAT_KINDS];

enum {
	MAX_SITES = 12,
	MAX_HOSTS = 12,
	AT_RENDEZVOUS = MAX_HOSTS, /* its index as a receiver */
	MAX_MAPPINGS = 64,
	MAX_FILTERS = 64,
	OUTER_MTU = 1500,
	CAPTURED = 64, /* the attacker's memory */
};

#define NAT_TIMEOUT (30 * NSEC_PER_SEC)

struct nat_filter {
	struct endpoint remote;
	nsec last;
};

struct nat_mapping {
	struct endpoint inside, to; /* to: of a symmetric NAT */
	uint16_t port;
	nsec last;
	struct nat_filter filters[MAX_FILTERS];
};

struct site {
	enum nat_kind kind;
	struct addr outside;
	struct nat_mapping mappings[MAX_MAPPINGS];
};

struct port_of_host {
	int site;
	struct endpoint inside, inside6; /* inside6: port 0, the host has no IPv6 */
	bool cut;			 /* its cable is out */
};

struct datagram {
	nsec at;
	uint64_t order;
	struct endpoint from, to;
	int from_site; /* −1: the rendezvous or the attacker */
	int waits;     /* it has arrived: in this one's socket; −1: it is on its way */
	uint32_t len;
	uint8_t bytes[];
};

struct net {
	uint64_t rng;
	/* each for one datagram, 0 … 1 */
	double loss, duplicate, corrupt, reorder;
	nsec delay; /* one way; the same for all, so that nothing overtakes unless `reorder` says so */
	unsigned nsites, nhosts;
	struct site sites[MAX_SITES];
	struct port_of_host hosts[MAX_HOSTS];
	struct endpoint rendezvous, rendezvous6;
	bool blocked[MAX_SITES][MAX_SITES]; /* nothing from one to the other but by the relay */
	bool rendezvous_cut;
	/*
	 * The path MTU from one site to another, or to the rendezvous (MAX_SITES), for IPv4; IPv6 has
	 * 1280 at least. What is larger is lost without a word.
	 */
	uint16_t mtu[MAX_SITES + 1][MAX_SITES + 1];
	bool narrow; /* some of them are not 1500 */
	uint64_t order, sent, oversized;
	struct datagram **queue; /* a binary heap by (at, order) */
	size_t queued, cap;
	struct datagram *captured[CAPTURED];
	unsigned ncaptured;
};

void net_init(struct net *n, uint64_t seed);
void net_free(struct net *n);
uint64_t net_random(struct net *n);
uint32_t net_pick(struct net *n, uint32_t below); /* 0 … below − 1 */
double net_chance(struct net *n);

unsigned net_add_site(struct net *n, enum nat_kind kind);
unsigned net_add_host(struct net *n, unsigned site, bool v6);
void net_new_port(struct net *n, unsigned host);
void net_rebind(struct net *n, unsigned site); /* the NAT forgets everything */

/* A send of `host`: the datagrams of a batch go one by one. */
void net_send(struct net *n, nsec now, unsigned host, const struct udp_tx *tx);
/* Puts a datagram on the wire with any source: the attacker's hand. */
void net_inject(struct net *n, nsec now, const struct endpoint *from, const struct endpoint *to,
		const uint8_t *p, size_t len);
nsec net_deadline(const struct net *n);
/* The next datagram that arrives somewhere: whose it is, or −1 when none is due. The caller frees it. */
int net_arrived(struct net *n, nsec now, struct datagram **out);
/* It waits in the socket of `who`, who does not read until then. */
void net_hold(struct net *n, struct datagram *p, int who, nsec until);

bool nats_can_meet(enum nat_kind a, enum nat_kind b);

#endif
