/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One node's links against a peer whose every datagram the test writes itself. Time is a number, and
 * every datagram that the node sends is checked and recorded.
 */
#ifndef WARREN_LINK_HARNESS_H
#define WARREN_LINK_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "punch/link.h"

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC
#define T0 (1000 * SEC)
#define BOOT ((uint64_t)1800000000 * 1000000000)

enum { SELF = 1, PEER = 2, RELAY = 0, SENT_MAX = 512 };

extern const uint8_t outer_key[OUTER_KEY_LEN], relay_key[RELAY_KEY_LEN],
	second_relay_key[RELAY_KEY_LEN];

struct sent {
	nsec at;
	struct path path;
	struct outer_msg m;
};

/* The node under test, the peer's counters, and what came out. */
extern struct world {
	struct links *ls;
	struct link *l;
	nsec now;
	uint64_t peer_boot, peer_counter, relay_counter;
	struct sent sent[SENT_MAX];
	unsigned nsent, wants, changes, observations;
	nsec want_at[64];
	struct path path;
	struct endpoint observed;
} t;

struct endpoint ep(const char *s);
struct endpoint relay_at(void);
struct addr local(void);
void drain(void);
void forget(void);
void run_until(nsec end);
void run_for(nsec d);
void set_relay(void);
int fresh(void **state);
int done(void **state);
struct outer_msg peer_msg(uint8_t type);
enum drop input(const struct outer_msg *m, struct endpoint from, bool relayed);
struct outer_msg pong_for(const struct sent *s);
enum drop answer(const struct sent *s);
enum drop ping_from(const char *from, uint16_t tlv_len);
void introduce(const char *a, const char *b);
unsigned pings_to(const char *where);
const struct sent *last_ping_to(const char *where);
bool uses(const char *where);
bool uses_relay(void);
void prove(const char *where, nsec rtt);
void live_for(nsec d, const char *dead);

#endif
