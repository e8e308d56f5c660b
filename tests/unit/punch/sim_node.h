/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated nodes and rendezvous (sim_node.c) as the scenario (sim_link.c) sees them. */
#ifndef WARREN_SIM_NODE_H
#define WARREN_SIM_NODE_H

#include "punch/link.h"
#include "sim_net.h"

#define SEC NSEC_PER_SEC
#define START (1000 * SEC)
#define EPOCH ((uint64_t)1800000000 * 1000000000) /* the wall clock at time 0 */

/* first bytes that no single altered bit makes of a message of ours */
enum {
	REGISTER = 0x6b,
	INTRODUCTION = 0x6d,
	CONNECT = 0x6e,
	CONTROL_LEN_MAX = 3 + 8 * 18,
	DATA_LEN = 48,
	PINGS_KNOWN = 256,
	PROVEN_KNOWN = 64,
	CAPTURED = 32,
	SEEN = 3
};

struct known_ping {
	uint8_t txid[TXID_LEN];
	struct endpoint to;
	nsec sent;
};

struct known_proof {
	struct endpoint at;
	nsec when;
};

/* What the test itself knows of a node's link, by looking at the wire. */
struct peer {
	struct link *l;
	nsec connect_at; /* NSEC_NEVER, or when the introduction is asked for again */
	nsec last_want, last_rx, last_direct;
	nsec second;
	unsigned pings_in_second, pings;
	unsigned next_ping, next_proof;
	struct known_ping known[PINGS_KNOWN];
	struct known_proof proven[PROVEN_KNOWN];
};

struct node {
	struct links *ls;
	nsec started, next_register, next_data, changed_at;
	struct endpoint seen[SEEN];
	unsigned nseen;
	struct peer peers[MAX_HOSTS];
};

enum fault_kind {
	RESTART_NODE,
	RESTART_RENDEZVOUS,
	REBIND,
	BLOCK,
	SILENCE,
	NETWORK_CHANGE,
	FAULT_KINDS
};

struct fault {
	enum fault_kind kind;
	nsec at, until;
	unsigned a, b;
	bool begun, ended;
};

extern struct sim {
	uint64_t seed;
	bool verbose, attacked;
	nsec now, data_every, window;
	struct net net;
	struct node nodes[MAX_HOSTS];
	struct relay_server *relay;
	struct endpoint observed[MAX_HOSTS];
	uint8_t registered[MAX_HOSTS][CONTROL_LEN_MAX];
	struct fault faults[4];
	unsigned nfaults;
	nsec last_fault, next_attack, next_check;
	struct packet captured[CAPTURED];
	unsigned ncaptured;
} sim;

void fail(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((noreturn));
void note(const char *fmt, ...) PRINTF_LIKE(1, 2);
const char *text(const struct endpoint *e);

void node_start(unsigned i);
void node_register(unsigned i);
void node_data(unsigned i);
void node_poll(unsigned i);
/* A packet that arrived at host `h`, the rendezvous included. */
void world_input(int h, struct packet *pkt);
void rendezvous_start(void);
bool can_be_direct(unsigned i, unsigned j);

#endif
