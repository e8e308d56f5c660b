/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated network of members and one rendezvous, in virtual time: every datagram may be lost,
 * doubled or overtaken, either side may die and start anew, the store may be slow or fail.
 * A seed decides everything, so that a failure can be run again.
 */
#ifndef WARREN_SIM_ENROL_H
#define WARREN_SIM_ENROL_H

#include "punch/enrol.h"
#include "punch/registrar.h"

enum { SIM_NODES = 48, SIM_NUMBERS = 512, SIM_STORE_QUEUE = 4096, SIM_ASKS = 4096 };

enum node_state { NODE_OFF, NODE_RUNNING, NODE_REFUSED, NODE_REPLACED, NODE_RELEASED };

struct peer_view {
	bool live;
	uint8_t key[32], psk[32];
	char id[WORKER_ID_LEN];
	uint16_t http_port;
};

struct node {
	struct enrol *e;
	enum node_state state;
	char id[WORKER_ID_LEN];
	uint8_t key[32];
	struct endpoint at;
	unsigned boot;	   /* counts processes: an old one's messages reach nobody */
	unsigned session;  /* the rendezvous' life that it has a session with; 0 none */
	nsec handshake_at; /* NSEC_NEVER: none under way */
	bool cut;	   /* no way to the rendezvous */
	nsec way_since;	   /* when `cut` changed last */
	bool granted;
	nsec granted_since;
	nsec both_since; /* since when another living node of our id is granted too */
	member_number number;
	uint8_t psk[32];
	struct peer_view peers[SIM_NUMBERS];
	unsigned silent, sent;
	char text[200];
};

/* A member's question whether another lives, on its way there and back. */
struct sim_ask {
	nsec at;
	unsigned node, boot;
	member_number number;
};

struct flight { /* a message on its way */
	nsec at;
	uint64_t order;
	bool to_registrar;
	unsigned node, boot, life;
	size_t len;
	uint8_t bytes[CONTROL_MAX];
};

struct write {
	nsec at;
	uint64_t seq;
	bool del, failed;
	struct lease_record rec;
};

struct sim {
	uint64_t seed, rng;
	nsec now;
	struct registrar_config cfg;
	struct registrar *r; /* NULL: down */
	unsigned life;
	nsec life_since;
	int64_t wall;
	struct node nodes[SIM_NODES];
	size_t nnodes;
	struct flight *flights; /* a binary heap by (at, order) */
	size_t nflights, cap;
	uint64_t order;
	struct write writes[SIM_STORE_QUEUE];
	size_t nwrites;
	struct lease_record rows[SIM_NUMBERS];	/* the disk, by number */
	char owner[SIM_NUMBERS][WORKER_ID_LEN]; /* who ever was granted it */
	bool may_reuse; /* leases are freed in this run: numbers may change hands */
	/* the weather: per mille, and milliseconds */
	unsigned loss, twice, delay_least, delay_most;
	nsec store_delay;
	bool store_fails;
	nsec calm_since; /* since when every message arrives and the store writes */
	/* no way between two nodes, and since when that is so, or not so */
	bool apart[SIM_NODES][SIM_NODES];
	nsec apart_since[SIM_NODES][SIM_NODES];
	struct sim_ask asks[SIM_ASKS];
	size_t nasks;
	unsigned vouched;
	uint64_t from_registrar;
	unsigned grants, refusals, replacements, introductions; /* that it was worth the run */
	nsec both_most; /* the longest that two living nodes were granted one id */
};

/* 0..n-1 */
uint64_t sim_random(struct sim *s, uint64_t n);
void sim_init(struct sim *s, uint64_t seed, const char *prefix4, uint32_t max_members);
void sim_end(struct sim *s);
struct node *sim_add(struct sim *s, const char *id);
void sim_start(struct sim *s, struct node *n);
void sim_kill(struct sim *s, struct node *n);
void sim_new_key(struct sim *s, struct node *n);
void sim_registrar_start(struct sim *s);
void sim_registrar_kill(struct sim *s);
/* Runs until this time, checking what must hold at every moment. */
void sim_run(struct sim *s, nsec until);
void sim_clean(struct sim *s);
/* sim_enrol_ways.c: ways to the rendezvous and between members, and what follows from them */
void sim_cut(struct sim *s, struct node *n, bool cut);
void sim_set_apart(struct sim *s, const struct node *a, const struct node *b, bool apart);
void sim_asked(struct sim *s, struct node *n, member_number number);
void sim_answer_asks(struct sim *s);
nsec sim_next_ask(const struct sim *s);
/* A lease is to be written: nobody is passed over who could be heard. */
void sim_check_takeover(struct sim *s, const struct lease_record *rec);
/* Who can reach the rendezvous has an address, or was told why not. */
void sim_check_addresses(struct sim *s);
/* Everybody who runs knows everybody else who runs, rightly, and nobody more. */
bool sim_converged(struct sim *s, bool print);

#define SIM_CHECK(s, cond)                                                                         \
	do {                                                                                       \
		if (!(cond))                                                                       \
			sim_fail(s, #cond, __FILE__, __LINE__);                                    \
	} while (0)
_Noreturn void sim_fail(const struct sim *s, const char *what, const char *file, int line);

#endif
