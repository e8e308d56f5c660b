/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The naive store that reassembly.c is compared with: an array by age, a map of the bytes that are
 * there, and each rule in its plainest form. Nothing here uses the code under test. A pair is both
 * of them, fed alike; what they do differently aborts.
 */
#ifndef WARREN_TEST_ORACLE_H
#define WARREN_TEST_ORACLE_H

#include "tun/fragment.h"

enum { ORACLE_PLACES = REASSEMBLY_PACKETS + 1, ORACLE_OUT = REASSEMBLY_PACKETS / 2 };

struct oracle_packet {
	const void *sender;
	uint32_t id, total, parts;
	nsec since;
	bool dead;
	uint8_t *have, *bytes;
};

struct oracle {
	struct oracle_packet *at[ORACLE_PLACES]; /* n held, the oldest first, then the spare ones */
	size_t n, out, most;			 /* most: the most that ever were held */
	uint64_t timeouts, evicted, wholes;
	struct oracle_packet places[ORACLE_PLACES];
	uint8_t have[ORACLE_PLACES][FRAGMENT_PACKET_MAX];
	uint8_t bytes[ORACLE_PLACES][FRAGMENT_PACKET_MAX];
};

struct pair {
	struct reassembly *store;
	struct drops drops;
	struct oracle oracle;
	/* what is out, as it was handed out and as it must stay */
	struct iovec out[ORACLE_OUT];
	uint8_t kept[ORACLE_OUT][FRAGMENT_PACKET_MAX];
};

/* What the message of a difference names, where the operations came of one. */
extern unsigned long long oracle_seed;

/* All zeros before the first begin; the store is made once, so that leftovers would show. */
void pair_begin(struct pair *p);
/* Ends what is held and out and checks that both are empty. */
void pair_end(struct pair *p, nsec now);
/* What both said of the frame. */
enum drop pair_input(struct pair *p, nsec now, const void *sender, const uint8_t *frame, size_t len,
		     struct iovec *whole);
void pair_recycle(struct pair *p);
void pair_forget(struct pair *p, const void *sender);
void pair_expire(struct pair *p, nsec now);

/* A frame with these fields and bytes of `at`; its length. For parts that no plan would make. */
size_t part_write(uint8_t *frame, uint32_t total, uint32_t id, uint32_t offset, uint32_t length,
		  const uint8_t *bytes);

#endif
