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
	uint32_t datagrams;
	uint8_t *bytes;
};

struct end {
	struct node *node;
	uint8_t priv[32], pub[32];
	struct endpoint at;
	bool deaf;  /* nothing reaches it */
	bool stock; /* hellos reach neither it nor anybody from it */
	/* takes what comes out of its TUN; NULL: the last one is kept below */
	void (*tun)(struct end *e, const uint8_t *ip, uint32_t len);
	/* hellos that it sent; what NODE_MTU said; lines of NODE_PATH_MTU */
	unsigned hellos, told, path_mtu_lines;
	unsigned routes; /* NODE_ROUTE_ADD */
	nsec hello_at[64], told_at[256];
	uint32_t told_mtu[256];
	/* what came out of its TUN, as far as it was not merged */
	unsigned came, partial; /* with a sum that is only begun */
	uint8_t last[INNER];
	uint32_t order[1024];
};

extern struct end ends[ENDS];
extern nsec now;
extern uint32_t node_peers;	     /* that the ends of the next setup() have room for */
extern const struct aead *node_aead; /* of the ends of the next setup(); NULL: libcrypto */
extern struct sent wire[WIRE];
extern unsigned nwire, wire_done;
extern unsigned datagrams, last_len; /* of all ends */
extern uint32_t path_mtu, path_tag;  /* what each host says of its ways */
/* Larger IP packets than this are lost, where they may not be cut; 0: none. */
extern uint32_t wire_mtu;
extern uint32_t pinned_mtu; /* of the ends of the next setup() */
extern bool (*wire_loses)(const struct sent *s,
			  uint32_t len); /* each datagram is asked for; NULL */

int setup(void **state);
void wire_clear(void);
void restart(unsigned i); /* it has no peers afterwards, and knows nothing of before */
int teardown(void **state);
void deliver(const struct sent *s);
void settle(void);
void pass(nsec time);
/* From deadline to deadline, as the event loop does. */
void run_until(nsec end);
void run_for(nsec time);
struct peer *add(unsigned i, unsigned to, bool knows_where, unsigned keepalive,
		 const char *allowed);
void send_inner(unsigned i, const char *src, const char *dst, uint16_t sport, uint32_t payload);
/* An inner packet of `len` bytes between the two of pair(), of a flow of its own; and one each `gap`. */
void wire_data(unsigned from, uint32_t len);
void wire_flow(nsec time, nsec gap, uint32_t len);
uint64_t drops(unsigned i, enum drop why);
struct peer *pair(void);
/* The two of pair() have a session, and are stock peers to each other. */
struct peer *stock_pair(void);

/* The two of pair() have found out that they are warrens, and what passes between them. */
struct peer *warren_pair(void);
struct peer *peer_of(unsigned i); /* the last one that was added */
/* Any plaintext from `i` to its peer, under their session. */
void say(unsigned i, const uint8_t *frame, size_t len);

#endif
