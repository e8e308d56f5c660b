/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rendezvous and some nodes in one process, without a kernel: datagrams wait in a queue and reach
 * whoever has the address that they go to. Time passes only where a test says so.
 */
#ifndef WARREN_TEST_WORLD_H
#define WARREN_TEST_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/node.h"
#include "gateway/rdv.h"

enum { WORLD_NODES = 6, WORLD_QUEUE = 4096, WORLD_LEASES = 16, WORLD_MTU = 1600, WORLD_SAVED = 16 };

/* Wall clock at now = 0. */
#define WORLD_WALL ((nsec)1800000000 * NSEC_PER_SEC)

struct world;

struct datagram {
	struct endpoint from, to;
	uint8_t bytes[WORLD_MTU];
	size_t len;
};

struct host {
	struct world *w;
	struct node *node; /* NULL: it is off */
	struct endpoint at;
	char id[WORKER_ID_LEN];
	bool unplugged; /* nothing gets in or out */
	/* what it said */
	bool up, refused, fatal, replaced, lease_changed, released;
	unsigned keys_twice, keys_refused, routes_refused, keys_unkept, rosters;
	char text[256];
	unsigned packets; /* that its TUN got */
	uint8_t last[WORLD_MTU];
	unsigned to_rendezvous; /* initiations sent there */
	unsigned resolves;	/* times that it asked for addresses */
};

struct world {
	nsec now;
	struct rdv *rdv;
	struct endpoint rdv_at;
	uint8_t rdv_key[32], secret[32];
	uint8_t plain[32]; /* the admission secret of tokens without a ticket */
	struct admission admission;
	struct token token;
	struct host hosts[WORLD_NODES];
	/* the store: rows, and requests that are answered in the next turn */
	struct lease_record rows[WORLD_LEASES];
	uint64_t stored;
	bool slow_store;	       /* nothing is committed for now */
	struct member_route routes[2]; /* what the operator put behind members */
	size_t nroutes;
	/* what nodes remember from one start to the next, where `remembers` */
	bool remembers, pins;
	bool holds; /* nodes that start take the place of a process that was up */
	struct memory memory[WORLD_NODES];
	uint8_t psk[WORLD_NODES][32];
	unsigned first, count;
	struct datagram *queue[WORLD_QUEUE];
	/* sees each datagram on its way; false takes it out */
	bool (*tap)(struct world *w, struct datagram *d);
	struct datagram saved[WORLD_SAVED];
	unsigned nsaved;
};

struct world *world_new(void);
void world_free(struct world *w);
/* The rendezvous starts (again), with what its store holds. */
void world_rendezvous(struct world *w);
/* The operator removes the key that holds this id. */
void world_remove(struct world *w, const char *id);
/* Host `i` (starts again) with this id, the key that `key` stands for, and a PSK it kept or NULL. */
struct host *world_node(struct world *w, unsigned i, const char *id, uint8_t key,
			const uint8_t *psk);
void world_stop(struct host *h);
/* Time passes, in steps of 10 ms. */
void world_run(struct world *w, nsec time);
/* A datagram out of nowhere. */
void world_inject(struct world *w, const struct endpoint *from, const struct endpoint *to,
		  const uint8_t *p, size_t len);
void world_save(struct world *w, const struct datagram *d);

/* An inner packet of 28 bytes from `src` to `dst`, as out of the TUN of `h`. */
void world_send(struct host *h, struct addr src, struct addr dst);
struct addr world_ip(const struct host *h);
/* The peer that host `h` has for the member of this id; NULL. */
struct peer *world_peer(const struct host *h, const char *id);
uint64_t world_drops(const struct host *h, enum drop why);
/* A packet of `a` reaches `b`. */
bool world_talk(struct world *w, struct host *a, struct host *b);
/* The public key that `first` stands for. */
void world_key(uint8_t first, uint8_t pub[static 32]);
/* Whom `h` holds for the member of this id has that key. */
bool world_has_key(const struct host *h, const char *id, uint8_t key);
/* The rendezvous starts anew and holds that this id is another key's. */
void world_lies(struct world *w, const char *id, uint8_t key);
void world_rendezvous_dies(struct world *w);

#endif
