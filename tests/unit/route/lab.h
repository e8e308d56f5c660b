/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network namespace for a test to play in, and a second opinion on it: what the tests make and
 * read here goes through libnl-route's own objects and caches, none of the room's messages.
 */
#ifndef WARREN_TEST_ROUTE_LAB_H
#define WARREN_TEST_ROUTE_LAB_H

#include "base/addr.h"

/*
 * Enters a fresh namespace, with the loopback up: as root, or as root of a user namespace. False
 * with a reason on stderr where the machine allows neither.
 */
bool lab_enter(void);

/* A TUN that is up and lives as long as *fd; its index. */
unsigned lab_tun(const char *name, int *fd);
/* A pair of interfaces, both up; the index of the first. */
unsigned lab_veth(const char *name, const char *peer);
void lab_link_set(const char *name, bool up, unsigned mtu);
void lab_link_rename(const char *name, const char *to); /* one that is down */
void lab_address(unsigned ifindex, const char *cidr);
void lab_address_gone(unsigned ifindex, const char *cidr);

/* Somebody else's route. Empty fields are not said. */
struct lab_route {
	const char *dst; /* CIDR; "default" with a gateway's family */
	const char *via;
	unsigned oif, oif2, metric, table, mtu; /* oif2: a second next hop */
	uint8_t protocol, type;			/* 0: static, unicast */
	bool onlink, replace;
};
void lab_route(const struct lab_route *r);
void lab_route_gone(const struct lab_route *r); /* anybody's */

/* Metrics of a route that says no more. */
#define MTU(n) (&(struct route_metrics){ .mtu = (n) })

/* What the kernel has, one entry of `dst` in any table but the local one. */
struct lab_seen {
	uint8_t protocol, type, scope;
	unsigned oif, table, metric, mtu, advmss, features;
	char src[ADDR_STRLEN];
};
/* How many such routes there are; *last is one of them. */
size_t lab_routes(const char *dst, struct lab_seen *last);
size_t lab_routes_of(uint8_t protocol); /* all of a protocol */

/* An address of an interface: its prefix length and flags (IFA_F_*); false: none such. */
bool lab_has_address(unsigned ifindex, const char *addr, unsigned *bits, unsigned *flags);
unsigned lab_link_mtu(unsigned ifindex, bool *up);
unsigned lab_link_segments(unsigned ifindex); /* gso_max_segs */

#endif
