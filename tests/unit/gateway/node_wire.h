/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends and the wire of the node's tests: datagrams go over at once, or when the test says so; time
 * is the test's.
 */
#ifndef WARREN_TEST_NODE_WIRE_H
#define WARREN_TEST_NODE_WIRE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/node_internal.h"

enum { ENDS = 3, WIRE = 4096, INNER = 512 };

struct sent {
	unsigned from;
	struct udp_tx tx;
	uint8_t *bytes;
};

struct end {
	struct node *node;
	uint8_t priv[32], pub[32];
	struct endpoint at;
	bool deaf; /* nothing reaches it */
	/* what came out of its TUN, as far as it was not merged */
	unsigned came;
	uint8_t last[INNER];
	uint32_t order[1024];
};

extern struct end ends[ENDS];
extern nsec now;
extern struct sent wire[WIRE];
extern unsigned nwire, wire_done;
extern unsigned datagrams, last_len; /* of all ends */
extern uint32_t path_mtu;	     /* what each host says of its ways */

int setup(void **state);
void wire_clear(void);
int teardown(void **state);
void deliver(const struct sent *s);
void settle(void);
void pass(nsec time);
struct peer *add(unsigned i, unsigned to, bool knows_where, unsigned keepalive,
		 const char *allowed);
void send_inner(unsigned i, const char *src, const char *dst, uint16_t sport, uint32_t payload);
uint64_t drops(unsigned i, enum drop why);
struct peer *pair(void);
/* The two of pair() have a session, and are stock peers to each other. */
struct peer *stock_pair(void);

#endif
