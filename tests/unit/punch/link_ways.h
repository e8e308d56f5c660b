/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link whose path MTUs are searched, and the ways to its peer, which answers each ping and each probe
 * that the way takes, at once.
 */
#ifndef WARREN_LINK_WAYS_H
#define WARREN_LINK_WAYS_H

#include "link_harness.h"

enum { WAYS = 64 };

#define A "198.51.100.7:1000"
#define B "198.51.100.8:1000"
#define C "198.51.100.9:1000"

/* What each way took, and what was seen on it. */
struct way {
	struct endpoint at;
	uint32_t takes;
	bool dead; /* pings are not answered, and no probe is */
	uint32_t pings, probes, name;
	uint64_t bytes;
	nsec first, last;
};

struct ways {
	struct way ways[WAYS];
	unsigned nways, asked; /* asked: calls of local_way() */
	struct pmtu_seen seen;
	struct link_output mtu; /* the last LINK_MTU */
	unsigned mtus, news;
	struct link_mtu last_news;
	uint32_t local, tag;
	struct addr moved;   /* to this one our way is another, */
	struct addr nowhere; /* and to this one there is none */
};

extern struct ways w;

int ways_begin(void **state); /* a set-up; done() of the harness is its end */
struct way *way_of(const struct endpoint *e);
struct way *way(const char *s);
struct way *relay(void);
/* Everything that is due now, and what it causes. */
void turn(void);
void run_on(nsec d);
/* A path that answers, slower than those before it. */
void path_at(const char *where);
const struct pmtu *search_of(const char *where);

#endif
