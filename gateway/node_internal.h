/* SPDX-License-Identifier: Apache-2.0 */
/* The node's own view of itself, shared by node*.c, peer.c, join.c, contact.c and members.c alone. */
#ifndef WARREN_NODE_INTERNAL_H
#define WARREN_NODE_INTERNAL_H

#include "gateway/node.h"
#include "base/arena.h"
#include "base/heap.h"
#include "punch/bucket.h"
#include "tun/ecn.h"
#include "tun/fragment.h"

enum {
	RUN_SEGMENTS = UDP_GSO_MAX_SEGMENTS,
	RUN_BYTES = UDP_GSO_MAX_BYTES,
	MAX_RUNS = 8,
	STAGE_PACKETS = 128,	 /* per peer, as stock peers do */
	STAGE_BYTES = 256 << 10, /* per peer */
	STAGE_TOTAL = 16 << 20,	 /* of the node */
	STAGE_SHARE = 16,	 /* a peer may hold that part of what is free of it */
	OPEN_BATCH = 256,
	REPLIES = 64,	      /* that leave together */
	BAD_HANDSHAKES = 256, /* of a turn; what follows is not looked at */
	ONION_LAYERS = 8,     /* one static peer carried by another, by another … */
	STOCK_MTU = 1420,     /* what wg-quick gives a stock peer over 1500 bytes */
	SCRATCH = RELAY_HEADER_LEN + WG_OVERHEAD + PMTU_MAX + WG_PADDING,
	WARREN_MARK = 0x7761, /* "wa", at the end of our timestamps: who knows it may say hello */
};

enum { REPLY_MAX = RELAY_HEADER_LEN + WG_MESSAGE_MAX };
static_assert((int)WARREN_MARK <= WG_MARK_MAX, "a mark that fits any second");

/* How often a member's session is looked at while nothing flows (node.c). */
#define WARM_EVERY (10 * NSEC_PER_SEC)

/* An inner packet that waits for a session. */
struct staged {
	struct staged *next;
	struct vnet_hdr vnet;
	uint32_t len;
	uint8_t bytes[];
};

struct peer {
	struct node *node;
	struct peer *next, **link_in; /* in the node's list */
	uint64_t serial;	      /* peers that came later have a greater one */
	enum peer_kind kind;
	struct wg_peer *wg;
	struct link *link;	   /* members */
	struct path path;	   /* rendezvous and static peers: port 0 = nowhere yet */
	struct path told;	   /* the one of the last NODE_PATH_CHANGED */
	struct roster_entry entry; /* members; without the PSK, which is wg's */
	struct addr ip, ip6;	   /* members */
	struct timer timer;	   /* in the node's heap: the soonest of the times below */
	bool had_session;
	bool restored;	   /* members: from the memory, not listed since this start */
	nsec former_until; /* PEER_FORMER */
	nsec asked;	   /* members: when we were asked whether it answers; 0: not */
	unsigned asked_by; /* a bit for each rendezvous */
	nsec next_warm;	   /* members: when to look whether the session is still young */
	/* MTU and frames (node_mtu.c, node_frame.c) */
	bool warren;	 /* takes frames */
	bool partial;	 /* and packets with a partial sum */
	bool marked;	 /* static: its last initiation was a warren's, and it may yet answer */
	uint32_t mtu;	 /* of the kernel's routes */
	nsec next_raise; /* when that may grow again */
	bool tell_again; /* the routes' MTU, although it is the same */
	bool raise_waits;
	uint32_t stock_mtu; /* no warren: what fits, by this host's own MTU or an ICMP message */
	nsec next_look, last_look,
		last_search;	    /* static: at what this host says of the way, and a search */
	struct local_way local_way; /* what it said */
	bool look_moved;	    /* the peer itself is elsewhere */
	bool look_source;	    /* our own end of the path may be another */
	nsec stock_until;	    /* when an ICMP message's word ends; NSEC_NEVER */
	struct pmtu pmtu;	    /* static warrens: of `path` */
	struct mtu_told told_mtu;
	nsec rtt;	/* static warrens: of the last hello */
	uint8_t hellos; /* sent in this session, unanswered */
	nsec next_hello, last_hello;
	struct pmtu_seen seen;
	struct bucket answers;
	uint32_t fragment_id;
	struct staged *staged, **staged_end;
	uint32_t staged_packets, staged_bytes;
	struct peer_stats stats;
	struct drops drops;
};

/* Datagrams of one peer, one path and one size, back to back: one GSO send. */
struct run {
	struct peer *peer; /* NULL: gone meanwhile */
	struct path path;
	uint32_t head;	       /* relay header or none, then the data header */
	uint32_t stride, used; /* bytes of each datagram; bytes in all */
	uint32_t count;
	bool closed; /* a shorter one was added: nothing more fits */
	uint8_t ecn;
	uint32_t len[RUN_SEGMENTS], padded[RUN_SEGMENTS];
	uint8_t *buf; /* RUN_BYTES */
};

/* A received data message on its way through wg_open(). */
struct arrival {
	struct endpoint from;
	struct addr local;
	uint32_t ifindex;
	bool relayed;
	bool inside;	/* it came out of our own tunnel */
	bool congested; /* a router has marked it */
};

/* One rendezvous of the token. */
struct contact {
	struct peer *peer;
	struct enrol *enrol;
	bool own_first; /* our own PSK is tried before the admission secret */
	bool session;	/* there was one */
	bool claiming;	/* was asked for a lease */
	bool granted;	/* has granted ours, so that it relays for us */
	bool released;
	unsigned tries, unanswered; /* handshakes since the last session; since the last answer */
	nsec next_try, next_mismatch, next_unknown, retry_at;
	nsec back_at, back_wait; /* another address than the first is in use: when that is tried */
	bool back;		 /* the next handshake goes there */
	/* the last message of a handshake, until it has gone to the other addresses too */
	uint8_t held[WG_MESSAGE_MAX];
	size_t held_len;
	nsec held_at;
	struct endpoint observed;
};

enum { HOST_ADDRS = 4 };

struct host {
	struct endpoint at[HOST_ADDRS];
	size_t n; /* 0: not looked up yet */
};

struct node_keys {
	uint8_t admission[32], psk[32];
};

struct join {
	bool on;
	struct arena *arena;
	struct node_keys *keys; /* in it */
	struct token token;	/* without its admission secret */
	struct contact c[TOKEN_MAX_RENDEZVOUS];
	unsigned n;
	struct host host[TOKEN_MAX_RENDEZVOUS]; /* by the token's order */
	bool own_psk;				/* we hold a member PSK */
	bool granted;				/* by one of them, since the start */
	bool told;				/* one of them answers */
	struct node_lease_info lease;
	nsec next_resolve, resolved, next_sweep;
	nsec next_claim; /* when another one is asked for a lease too */
};

/* A start without a rendezvous (saved.c). */
struct saved {
	bool usable;
	nsec at; /* when the next step is due; NSEC_NEVER: none */
	struct memory_owner owner;
	struct lease lease;
};

struct node {
	struct node_io io;
	struct wg *wg;
	struct links *links; /* made with the lease: it needs our number */
	struct route_table *routes;
	uint32_t staged_bytes;			  /* of all peers, with what keeping them takes */
	struct peer *peers, **peers_end;	  /* as they came */
	uint64_t serial;			  /* of the last one */
	struct prefix own[2 + MAX_MEMBER_ROUTES]; /* what members may send to us */
	size_t nown;
	uint64_t boot;
	uint32_t max_peers;
	bool udp_gso, down;
	nsec stood[NODE_EDGES];
	uint64_t marked[NODE_EDGES];
	uint32_t tun_ifindex;
	struct join join;
	struct saved saved;
	struct memory *memory; /* or NULL */
	bool pin_members;
	unsigned nformer, nasked; /* peers of that kind; that we were asked about */
	struct drops drops;
	struct heap timers; /* of peers */
	uint32_t pinned_mtu;
	struct bucket too_bigs[2]; /* ICMP messages looked at: of others, of this host */
	struct bucket answers;	   /* ICMP messages sent */
	struct reassembly *reassembly;
	uint8_t *scratch;	   /* SCRATCH bytes: one message, or one inner packet */
	struct run runs[MAX_RUNS]; /* the first `nruns` are in use, oldest first */
	unsigned nruns;
	/* answers to handshakes, which leave together; messages of one size to one place back to back */
	struct udp_tx reply[REPLIES];
	unsigned nreplies;
	uint32_t reply_used;
	uint8_t reply_bytes[REPLIES * REPLY_MAX];
	unsigned bad_handshakes; /* in this turn */
	/* receive batch */
	struct wg_packet open[OPEN_BATCH];
	struct arrival arrivals[OPEN_BATCH];
	size_t nopen;
	struct gro_packet inner[OPEN_BATCH];
};

static inline void node_drop(struct node *n, struct peer *p, enum drop why)
{
	drop_count(&n->drops, why);
	if (p)
		drop_count(&p->drops, why);
}

static inline void node_tell(struct node *n, const struct node_note *note)
{
	if (n->io.note)
		n->io.note(n->io.ctx, note);
}

/* peer.c */
struct peer *peer_new(struct node *n, enum peer_kind kind, const uint8_t key[static 32]);
void peer_free(struct peer *p);
void peer_stage(struct peer *p, const struct vnet_hdr *h, const uint8_t *ip, size_t len);
void peer_unstage(struct peer *p, nsec now); /* a session is up: all goes out */
void peer_drop_staged(struct peer *p, enum drop why);
int peer_route(struct peer *p, const struct prefix *prefix);	/* table and kernel */
void peer_unroute(struct peer *p, const struct prefix *prefix); /* if it is the peer's */
size_t peer_unroute_some(struct peer *p);			/* as node_static_unroute_some() */
void peer_unroute_all(struct peer *p);

/*
 * A packet to or from `far`, behind this peer, has come by a queue that has stood for so long that whoever fills
 * it should hear of it: it is marked for congestion.
 */
void peer_congested(struct peer *p, enum node_edge edge, const struct addr *far, uint8_t *ip);

/* Sets the timer by which node_tick() comes to the peer; after each change of its times. */
void peer_schedule(struct peer *p);
/* The outer endpoint of a static peer, or of the rendezvous. */
void peer_set_path(struct peer *p, nsec now, const struct path *path);

/* node_mtu.c */
void mtu_init(struct peer *p);
/* Path, search or kind of peer are others: is the routes' MTU? */
void mtu_review(struct peer *p, nsec now);
/* What this host says of the way to a static peer, anew. */
void mtu_path_changed(struct peer *p, nsec now);
/* The same, and whether the source of what we send there still leads there; `later`: no sooner, 0: at once. */
void mtu_network_changed(struct peer *p, nsec now, nsec later);
void mtu_tick(struct peer *p, nsec now);
nsec mtu_deadline(const struct peer *p);
bool mtu_batches(const struct peer *p); /* datagrams of it may leave as batches */
/* `count` data messages of `len` bytes left by `path`. */
void mtu_sent(struct peer *p, nsec now, const struct path *path, uint32_t len, uint32_t count);
/* A session is new: a static peer that may be a warren is asked, once its first packets have passed. */
void mtu_session_new(struct peer *p, nsec now);
/* An initiation of it came, with or without a warren's mark. */
void mtu_initiated(struct peer *p, nsec now, bool marked);
/* It sends what a warren does: it is asked at once. */
void mtu_ask(struct peer *p, nsec now);
void mtu_become(struct peer *p, nsec now, bool warren); /* its answer */
void mtu_link_event(nsec now, const struct link_output *out);

/* node_frame.c: a frame that came in; with *whole, an inner packet that it completed */
enum drop frame_input(struct node *n, struct peer *p, nsec now, bool relayed, const uint8_t *f,
		      size_t len, struct iovec *whole);

/* node_out.c */
void out_flush_runs(struct node *n, nsec now);
void out_links(struct node *n, nsec now); /* what the links have to say: node.c */
/*
 * A frame, filled up with zeros to `padded` bytes of plaintext, sealed to the peer now and sent by
 * `path`; false when there is no session, or it could not be sealed.
 */
bool out_frame(struct peer *p, nsec now, const struct path *path, const uint8_t *frame, size_t len,
	       size_t padded);
bool same_path(const struct path *a, const struct path *b);
/* One finished WireGuard message to a peer by its path. */
void out_message(struct peer *p, const uint8_t *msg, size_t len, bool handshake);
void out_flush_replies(struct node *n);
/*
 * The same back the way that `a` came, with the next out_flush_replies(). `p`: the peer, or NULL where it is
 * unknown.
 */
void out_reply(struct node *n, const struct peer *p, struct link *via, const struct arrival *a,
	       const uint8_t *msg, size_t len);
/* Who carries what goes to the peer's endpoint, where that is inside the tunnel of another; or NULL. */
struct peer *out_carrier(const struct peer *p);

/* node_in.c */
void in_flush(struct node *n, nsec now);

/* join.c: the rendezvous' side of the node */
int join_start(struct node *n, nsec now, const struct node_config *cfg);
void join_stop(struct node *n);
void join_tick(struct node *n, nsec now);
nsec join_deadline(const struct node *n);
/* Of a peer that is a rendezvous. */
struct contact *join_contact(const struct peer *p);
void join_session_up(struct peer *p, nsec now, const struct endpoint *from);
enum drop join_control(const struct peer *p, nsec now, const uint8_t *f, size_t len);
/* The names are looked up again, soon. */
void join_resolve(struct node *n, nsec now);
/* Asks whoever lists that member to introduce us to it. */
void join_connect(struct node *n, nsec now, member_number number);
/* The member of this id that one of them lists; NULL. Valid until the next call. */
const struct roster_entry *join_find(const struct node *n, const char *id);
/* Of this key; rendezvous may differ for a while. */
const struct roster_entry *join_find_key(const struct node *n, const char *id,
					 const uint8_t key[static 32]);
/* Of all of them together: `registered` and `listed` with any, the last answer of all. */
struct enrol_info join_info(const struct node *n);
/* The token's first prefix of that family, where leases come from; zeros: none. */
const struct prefix *join_prefix(const struct token *t, bool v4);

/* The lease's number and addresses are ours from now on: links to others can be made. 0 or -ENOMEM. */
int join_links(struct node *n, const struct lease *l);
/* The lease that we hold: each rendezvous that was not told of it by itself is shown it. */
void join_show(struct node *n, nsec now, const struct lease *l);

/* saved.c: a start without a rendezvous */
void saved_init(struct node *n, nsec now, const struct node_config *cfg);
void saved_tick(struct node *n, nsec now);
void saved_session(struct node *n, nsec now, const struct peer *p);

/* contact.c: one rendezvous */
void contact_init(struct contact *c, nsec now);
const char *contact_host(const struct contact *c); /* as the token names it, for people */
void contact_choose_psk(struct contact *c);
void contact_use_relay(struct contact *c, nsec now);
/* A message of the session with it. */
void contact_message(struct contact *c, nsec now, const uint8_t *msg, size_t len, bool handshake);
void contact_session_up(struct contact *c, nsec now, const struct endpoint *from);
void contact_silent(struct contact *c,
		    nsec now); /* it does not answer, though there is a session */
void contact_mismatch(struct contact *c, nsec now); /* its answer was under another PSK */
void contact_gave_up(struct contact *c, nsec now);
void contact_tick(struct contact *c, nsec now);
nsec contact_deadline(const struct contact *c);

/* members.c: the members that the rendezvous tells of */
struct peer *members_find(struct node *n, member_number number);
void members_set(struct node *n, nsec now, const struct roster_entry *e);
void members_gone(struct node *n, member_number number);
/* By the operator's word, which a rendezvous that was restarted knows as well: it ends at once. */
void members_removed(struct node *n, member_number number);
/* One that is remembered from an earlier start, and where it was reached. */
void members_restore(struct node *n, nsec now, const struct roster_entry *e,
		     const struct endpoint *at, size_t count);
void members_reached(struct node *n, const struct peer *p, const struct path *path);
void members_clear(struct node *n); /* all go */
/* The rendezvous asks whether this member answers us; and who has, is vouched for. */
void members_asked(struct node *n, nsec now, member_number number, unsigned by);
void members_vouch(struct node *n, nsec now);
/* Who has the id, or else the number, of this one now; NULL. */
const struct roster_entry *members_instead(struct node *n, const struct roster_entry *was);
/* Who is not listed any more and has been silent goes. */
void members_sweep(struct node *n, nsec now);

#endif
