/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One path in virtual time, the search at its one end and who answers at the other: delay, jitter, loss,
 * duplicates, an MTU that may change, ICMP messages true or forged, and streams of data.
 */
#ifndef WARREN_PMTU_PATH_H
#define WARREN_PMTU_PATH_H

#include "punch/pmtu.h"

#define MSEC NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

enum { PATH_STREAMS = 2, PATH_EVENTS = 1024, PATH_START = 1000 };

struct pmtu_path {
	/* to be set as a test likes */
	struct pmtu m;
	uint32_t mtu, around;
	nsec delay, jitter; /* one way */
	double loss, duplicate;
	double deaf; /* share of the watch's queries and of answers that is lost besides */
	bool relayed, dead, verbose;
	bool icmp;	   /* routers say what they drop */
	nsec forged_every; /* ICMP messages of any MTU, 0: none */
	struct path_stream {
		nsec every, next;
		uint32_t size, count; /* size 0: as large as may be sent */
	} streams[PATH_STREAMS];

	/* the rest is looked at alone */
	nsec now;
	struct pmtu_seen peer;
	uint64_t random;
	nsec forged_next;
	nsec over_since, over_longest;	/* data was sent that is larger than the path takes */
	uint32_t first_sizes[64], sent; /* of the first probes */
	uint32_t largest;		/* probe; may be set to 0 */
	uint32_t spent_most;
	unsigned nevents;
	struct path_event {
		nsec at;
		enum { AT_PEER, DATA_AT_PEER, AT_US, ICMP_AT_US } kind;
		struct frame_probe probe;
		struct frame_ack ack;
		uint32_t size;
	} events[PATH_EVENTS]; /* the next one last */
};

/* A path that is proven, and its search begun: IPv4, direct, no loss, no data. */
void path_init(struct pmtu_path *p, uint64_t seed, uint32_t max, uint32_t mtu, nsec rtt);
void path_begin(struct pmtu_path *p, bool v6, uint32_t max);
void path_stream(struct pmtu_path *p, unsigned i, nsec every, uint32_t size, uint32_t count);
void path_run(struct pmtu_path *p, nsec until);
/* Runs until the search is complete; false if that takes longer than `limit`. */
bool path_search(struct pmtu_path *p, nsec limit);

uint32_t path_pick(struct pmtu_path *p, uint32_t below);
double path_chance(struct pmtu_path *p);

#endif
