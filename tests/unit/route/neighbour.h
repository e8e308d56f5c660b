/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host with a TUN, and a neighbour on its LAN in a namespace of its own that routes the virtual
 * addresses by way of it. The test is on the host; what it does as the neighbour it does in passing.
 *
 *	neighbour  far0 192.168.1.20, fd01::20 --- eth0 192.168.1.10, fd01::10  host  warren0
 *
 * UDP, one way: what a listener gets says who is let in, and needs no answer to come back.
 */
#ifndef WARREN_TEST_ROUTE_NEIGHBOUR_H
#define WARREN_TEST_ROUTE_NEIGHBOUR_H

#include "lab.h"

#define LAN4 "192.168.1.10"
#define LAN6 "fd01::10"
#define VIRTUAL4 "10.77.0.2"
#define VIRTUAL6 "fd77::2"
#define MEMBER4 "10.77.0.3" /* beyond the TUN */
#define MEMBER6 "fd77::3"
#define FAR4 "192.168.1.20" /* the neighbour's own */
#define FAR6 "fd01::20"
#define STRAY4                                                                                     \
	"10.77.9.9" /* the network's too, and beyond the neighbour: this host has a route there */
#define STRAY6 "fd77::9:9"
#define FORGED6 "fd05::5" /* an address of the host that the neighbour has too */

/* Enters fresh namespaces and waits until each reaches the other; false: the machine allows none. */
bool neighbour_setup(void);
void neighbour_teardown(void);

/* Does a datagram get to `dst` on the host? From the neighbour with its own source, or `src`. */
bool neighbour_reaches(const char *dst, const char *src);
/* From the host itself. */
bool host_reaches(const char *dst, const char *src);
/* Does what the host sends to `dst`, an address of the neighbour's, get there? */
bool neighbour_hears(const char *dst);
/* From a member, by the TUN. */
bool member_reaches(const char *dst, const char *src);

/* Does what the host sends to a member come out of the TUN? */
bool tun_carries(const char *dst);

/* nf_tables' own word on "inet NAME": is there such a table, and its flags (may be NULL). */
bool table_there(const char *name, uint32_t *flags);
/* How many rules there are in it. */
unsigned table_rules(const char *name);
/* Has this kernel any? False with a reason on stderr. */
bool nf_tables_here(void);

#endif
