/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole gateways and a rendezvous in one process: the cores of gateway/ over sim_internet.h, with
 * virtual time and without a kernel. sim_world.c and sim_rdv.c turn the crank, sim_traffic.c is what Trino would
 * be: it sends inner packets into the TUNs and checks each byte that comes out.
 *
 * What must hold at every moment is checked here and ends a case at once (sim_fail()):
 *  - out of a TUN comes what a peer's TUN was given, byte for byte, at most once, at the right node
 *  - an id has one address for ever, and no address two ids
 *  - no core asks to be called again at once for ever, none sends what does not fit 1500 bytes
 */
#ifndef WARREN_SIM_H
#define WARREN_SIM_H

#include "gateway/node.h"
#include "gateway/rdv.h"
#include "sim_internet.h"

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

enum { STORE_PENDING = 256, STORE_ROWS = 64, SIM_MEMBERS = 32 };

struct sim;

struct udp_sent {
	nsec at;
	bool came;
};

struct tcp_chunk {
	nsec at;
	uint64_t start;
	uint32_t len;
};

/* All that one node has sent to another. */
struct flow {
	struct udp_sent *udp;
	uint32_t nudp, capudp;
	struct tcp_stream {
		struct tcp_chunk *chunks;
		uint32_t nchunks, capchunks;
		uint64_t next;
		uint8_t *came; /* a bit for each byte */
		size_t cap;
	} tcp[2];   /* IPv4, IPv6 */
	nsec heard; /* when the newest packet that came was sent */
};

enum restart {
	START_SAME,	/* state directory kept */
	START_SAME_KEY, /* --key @FILE without a state directory */
	START_NEW_KEY,	/* a container without either */
	START_KINDS
};

struct sim_host {
	struct sim *sim;
	unsigned index;
	char id[WORKER_ID_LEN];
	struct node *node; /* NULL: off */
	uint8_t private_key[32];
	nsec wall; /* its clock, by which it is wrong too */
	/* its state directory */
	bool has_psk;
	uint8_t psk[32];
	member_number number;
	int64_t floor, last_sent;
	struct memory memory;
	/* of this life */
	bool up, released, wants_stop;
	nsec resolve_at, restart_at;
	nsec frozen; /* until when its process has no time; long past: it runs */
	unsigned sessions;
	char text[200];
	member_number owns; /* the id's number, for ever; 0: not known yet */
	uint64_t tun_writes, tun_merged;
	struct drops drops_told;
};

struct sim {
	uint64_t seed;
	bool verbose;
	nsec now;
	char failure[400];
	struct net net;
	unsigned nhosts;
	struct sim_host hosts[MAX_HOSTS];
	struct rdv *rdv;
	uint8_t rdv_key[32], rdv_secret[32];
	struct admission admission;
	struct token token;
	nsec rdv_wall, rdv_frozen;
	struct drops rdv_drops_told;
	void (*rdv_tap)(const struct udp_tx *tx); /* sees what the rendezvous sends; may be NULL */
	/* the store's process */
	struct store_pending {
		nsec at;
		struct store_request req;
	} pending[STORE_PENDING];
	unsigned npending;
	struct lease_record rows[STORE_ROWS];
	nsec store_delay;
	bool store_fails;
	struct flow flows[MAX_HOSTS][MAX_HOSTS];
	/* packets sent in these times may be lost */
	struct excuse {
		nsec from, until;
	} excuses[128];
	unsigned nexcuses;
	uint64_t udp_came, tcp_came, direct_came;
	bool silent_tun;   /* a packet out of a TUN is a failure now */
	unsigned deaf_tun; /* the host of this index + 1 takes anything; 0: none */
	/* a made-up packet that a TUN gives just now: an ICMP error about it may come out; NULL: none */
	const uint8_t *made_up;
};

/* --- sim_world.c --- */

void sim_init(struct sim *s, uint64_t seed);
void sim_free(struct sim *s);
void sim_fail(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool sim_ok(const struct sim *s);
void sim_log(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

struct sim_host *sim_add(struct sim *s, unsigned site, bool v6);
void sim_start(struct sim_host *h, enum restart how); /* a running one is killed */
void sim_stop(struct sim_host *h);
void sim_rdv_start(struct sim *s);
void sim_rdv_stop(struct sim *s);
void sim_store_turn(struct sim *s);
void sim_run(struct sim *s, nsec duration);
void sim_tick_host(struct sim_host *h);
struct sim_host *sim_by_number(struct sim *s, member_number number);
struct peer *sim_peer(struct sim_host *h, const struct sim_host *to); /* NULL: not known */
bool sim_is_direct(struct sim_host *h, const struct sim_host *to);
uint64_t sim_drops(const struct sim_host *h, enum drop why);

/* --- sim_traffic.c --- */

/* False where the sender has no route to it. */
bool traffic_udp(struct sim_host *from, struct sim_host *to);
bool traffic_tcp(struct sim_host *from, struct sim_host *to, bool v6, uint32_t len,
		 uint16_t gso_size);
/* Any of the two, of a random size. */
void traffic_some(struct sim *s);
/* A packet out of a TUN. */
void traffic_came(struct sim_host *h, const struct gro_write *w);
/* Packets sent from now on, and up to `back` ago, may be lost, until traffic_calm(). */
void traffic_storm(struct sim *s, nsec back);
void traffic_calm(struct sim *s, nsec later);
/* Fails where a packet is missing that nothing excuses. */
void traffic_account(struct sim *s);
/* Every pair of running nodes talks within `bound` from now on. */
void traffic_settle(struct sim *s, nsec bound);
/* The rendezvous and all hosts start, and within 10 s every pair talks. */
void traffic_join(struct sim *s);
void traffic_free(struct sim *s);
/* An ordinary UDP packet between any two addresses; its length. */
uint32_t traffic_forge(const struct addr *src, const struct addr *dst, uint8_t *out);

#endif
