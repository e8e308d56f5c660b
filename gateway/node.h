/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One gateway's core: WireGuard sessions, links, enrolment and cryptokey routing tied together.
 * Sans-IO: what comes from the TUN and the socket goes in with `now`, what leaves goes out through
 * struct node_io, at once or at node_flush(). So a whole gateway runs in a simulated network.
 *
 *   out: node_tun() → split → route → [stage] → [fragment] → seal → run of one peer, path, size → io.udp
 *   in:  node_udp() → classify → [unwrap] → open → [reassemble] → source and destination check → merge → io.tun
 *
 * The node owns its peers and everything below them. Nothing here blocks or reads a clock.
 */
#ifndef WARREN_NODE_H
#define WARREN_NODE_H

#include "crypto/wg.h"
#include "gateway/memory.h"
#include "punch/enrol.h"
#include "punch/link.h"
#include "punch/token.h"
#include "punch/udp.h"
#include "route/table.h"
#include "tun/offload.h"

struct node;
struct peer;

enum peer_kind {
	PEER_RENDEZVOUS, /* one of the token; no inner address */
	PEER_MEMBER,	 /* introduced by the rendezvous */
	PEER_STATIC,	 /* from a WireGuard configuration */
	PEER_FORMER, /* a member's key before it changed: asked for a while whether it still answers */
};

enum node_event {
	NODE_UP, /* the lease is granted: node_lease(); or with `text` it is the remembered one */
	NODE_LEASE_CHANGED, /* another address than before: the command must not go on with it */
	NODE_REFUSED,	    /* `text`; `fatal` */
	NODE_REPLACED,	    /* `text`: another key holds our id */
	NODE_RELEASED,
	NODE_ROUTE_ADD, /* `prefix` is `peer`'s: tell the kernel, with the peer's MTU */
	NODE_ROUTE_REMOVE,
	NODE_MTU,	   /* peer_mtu() is another: tell the kernel's routes of `peer` */
	NODE_PATH_MTU,	   /* worth a line: `mtu` of `path` to `peer` */
	NODE_PATH_CHANGED, /* `peer` has another path (peer_path()), or none */
	NODE_ENDPOINT,	   /* a static peer has another outer address; `path` is the old one */
	NODE_RESOLVE,	   /* the rendezvous' names should be looked up again (node_resolved()) */
	NODE_SAVE,	   /* node_psk() or node_lease() changed: write the state */
	NODE_ROSTER,	   /* members changed, or node_told(): tell the shim */
	NODE_SESSION,	   /* first session with `peer` */
	NODE_KEY_TWICE, /* the member `entry` of the roster has another key than `was`, which still answers at `path` */
	NODE_KEY_REFUSED,   /* the same, and it is refused (pin_members): node_accept_key() */
	NODE_ROUTE_REFUSED, /* the route `prefix` to the member `entry` holds the address of `was`, of another key (pin_members) */
	NODE_KEY_UNKEPT, /* the member `entry` is refused (pin_members): there is no room to remember its key */
};

struct node_note {
	enum node_event event;
	struct peer *peer;
	struct prefix prefix;
	struct path path;
	struct link_mtu mtu;
	const char *text;
	const char *from; /* NODE_REFUSED: the rendezvous, as the token names it */
	bool fatal;
	const struct roster_entry *entry, *was;
};

/* Where things go. All are called from within node_*() calls; none may call back into the node. */
struct node_io {
	void *ctx;
	void (*udp)(void *ctx, const struct udp_tx *tx, unsigned n);
	void (*tun)(void *ctx, const struct gro_write *w);
	void (*note)(void *ctx, const struct node_note *note);
	/* This host's own way to an outer address. May be NULL. */
	local_way_fn *local_way;
	/*
	 * Do our datagrams to path->remote still leave by path->ifindex with path->local as their
	 * source, which a peer's last packet was addressed to? May be NULL: always.
	 */
	bool (*leads)(void *ctx, const struct path *path);
};

struct node_config {
	struct node_io io;
	const struct aead *aead;
	const char *worker_id, *release;
	uint8_t private_key[32];
	uint32_t max_peers;
	uint64_t boot;	      /* greater at each start, and than any TAI64N sent (ns since 1970) */
	bool udp_gso;	      /* the TUN takes UDP super-packets */
	uint32_t tun_ifindex; /* 0: unknown */
	uint32_t
		pinned_mtu; /* of each peer's inner side, whatever the path; 0: what fits the path */
	/* joining: the token, or NULL for a purely static node */
	const struct token *token;
	const uint8_t *psk;    /* the member PSK kept in the state, or NULL */
	member_number number;  /* the lease kept in the state, or 0 */
	bool holds;	       /* that lease is in use: a process before this one was up with it */
	struct memory *memory; /* of earlier starts, and for later ones; the caller's. NULL: none */
	bool pin_members;      /* a member's key that is another than in the memory is refused */
};

struct node *node_new(const struct node_config *cfg, nsec now);
void node_free(struct node *n);

/* --- what comes in --- */

/* A packet or super-packet from the TUN; it is worked on in place. */
void node_tun(struct node *n, nsec now, const struct vnet_hdr *h, uint8_t *ip, size_t len);
/* A receive batch from the socket; its buffers are worked on in place. */
void node_udp(struct node *n, nsec now, const struct udp_rx *rx, unsigned count);
/*
 * How long the queue has stood (backlog.h) that what comes by this edge is from. Packets that have waited there
 * for longer than they should are marked, where their flows know marks (peer_congested()).
 */
enum node_edge { NODE_TUN, NODE_UDP, NODE_EDGES };
void node_backlog(struct node *n, enum node_edge edge, nsec stood);
/* Packets, merged ones as one, that were marked for that. */
uint64_t node_marked(const struct node *n, enum node_edge edge);
/* The end of a turn: what is held for batching goes out. */
void node_flush(struct node *n, nsec now);
/* Timers and everything that waits to be sent. Call after each turn's input. */
void node_tick(struct node *n, nsec now);
nsec node_deadline(const struct node *n);

void node_set_wall(struct node *n, nsec offset);
/* The addresses of the token's host number `host`. */
void node_resolved(struct node *n, nsec now, unsigned host, const struct endpoint *e, size_t count);
void node_set_candidates(struct node *n, nsec now, const struct endpoint *c, size_t count);
void node_set_trino(struct node *n, nsec now, const struct trino_facts *f);
void node_network_changed(struct node *n, nsec now);
/* As node_config.pinned_mtu, at any time. */
void node_pin_mtu(struct node *n, nsec now, uint32_t mtu);
/* The interface is down: static peers' sessions end, and nothing is sent, answered or taken until it is up. */
void node_set_down(struct node *n, nsec now, bool down);
/* An entry of the socket's error queue; anybody may have made it. */
void node_too_big(struct node *n, nsec now, const struct udp_too_big *e);
/*
 * The key that pin_members refused for the member of this id is taken, or the route to it. 0; -ENOENT; -ESTALE:
 * that key is not listed for it, or no more; -EALREADY: nothing was refused; -EADDRINUSE: a route of it holds the
 * address of a member that is listed.
 */
int node_accept_key(struct node *n, nsec now, const char *id, const uint8_t key[static 32]);
void node_release(struct node *n, nsec now); /* NODE_RELEASED follows within 2 s */

/* --- static peers --- */

/*
 * NULL with errno: ENOSPC when the table is full, EEXIST when the key is there already or our own, ENOMEM.
 * `psk` may be NULL; `at` too. All of these are for PEER_STATIC alone, at any time but from within a node_io call.
 */
struct peer *node_static_add(struct node *n, nsec now, const uint8_t key[static 32],
			     const uint8_t *psk, const struct endpoint *at, unsigned keepalive);
void node_static_remove(struct peer *p);
void node_static_psk(struct peer *p, const uint8_t psk[static 32]);
void node_static_endpoint(struct peer *p, nsec now, const struct endpoint *at);
void node_static_keepalive(struct peer *p, nsec now, unsigned seconds); /* 0: off */
/*
 * Gives the prefix to the peer; another static peer loses it. NODE_ROUTE_ADD follows in each case: who says it
 * again wants the kernel's route to be tried again. 0, -ENOMEM, or -EPERM: a member's.
 */
int node_static_route(struct node *n, struct peer *p, const struct prefix *prefix);
void node_static_unroute(struct peer *p, const struct prefix *prefix); /* if it is the peer's */
/* PEER_UNROUTE of them at most, as each may cost a call of the kernel. How many; if fewer, it has no more. */
enum { PEER_UNROUTE = 16 };
size_t node_static_unroute_some(struct peer *p);
void node_static_unroute_all(struct peer *p);
bool node_is_joined(const struct node *n); /* by a token, whether or not it is up */
/*
 * Our own key: all sessions end, and a peer of that key goes. The same again changes nothing. 0, or
 * -EPERM: a joined node is known by its key. All zeros: none, nothing is sent or answered.
 */
int node_set_private_key(struct node *n, const uint8_t key[static 32]);

/* --- to look at --- */

struct node_lease_info {
	bool up;
	struct lease lease;
	const uint8_t *psk; /* 32 bytes; NULL: never joined */
};
const struct node_lease_info *node_lease(const struct node *n);
struct wg *node_wg(struct node *n);
struct links *node_links(struct node *n);
const struct drops *node_drops(const struct node *n);
struct drops *node_drops_edit(struct node *n); /* the edges count theirs here too */
unsigned node_rendezvous_count(
	const struct node *n); /* of the token; each has a number from 0 on */
void node_enrol_info(const struct node *n, unsigned i, struct enrol_info *out);
const struct endpoint *node_rendezvous(const struct node *n,
				       unsigned i); /* where it is now; NULL */
/* A rendezvous answers: what was said last of who is online is so. Else it may be long past. */
bool node_told(const struct node *n);

struct peer_stats {
	uint64_t tx_bytes, rx_bytes; /* of datagrams of inner data */
	uint64_t tx_direct, tx_relay, rx_direct, rx_relay;
	/* inner packets that were cut, and into how many; put together, and of how many */
	uint64_t tx_cut, tx_fragments, rx_whole, rx_fragments;
};

/* In the order in which they came. NULL: the first. */
struct peer *node_peer_next(const struct node *n, const struct peer *after);
/* The same at another time, when the one before may be gone: after that key and serial; 0: the first. */
struct peer *node_peer_after(const struct node *n, const uint8_t key[static 32], uint64_t serial);
uint64_t peer_serial(const struct peer *p);
uint64_t node_newest(const struct node *n); /* the serial of the peer that came last */
struct peer *node_peer_find(const struct node *n, const uint8_t key[static 32]); /* or NULL */
enum peer_kind peer_kind(const struct peer *p);
bool peer_is_shown(const struct peer *p);		     /* a member or a static one */
const struct roster_entry *peer_entry(const struct peer *p); /* members alone */
struct addr peer_ip(const struct peer *p);		     /* members: their address */
/* Is that one of a member's own addresses, and not one of what is behind it? */
bool peer_is_at(const struct peer *p, const struct addr *a);
const uint8_t *peer_key(const struct peer *p);
const struct wg_peer *peer_wg(const struct peer *p);
const struct link *peer_link(const struct peer *p); /* members alone */
/* Where its data goes now: false when nowhere. */
bool peer_path(const struct peer *p, struct path *out);
/* What was said or heard of it, for people: where its port is 0 nothing is sent there. False: nothing. */
bool peer_endpoint(const struct peer *p, struct endpoint *out);
const struct peer_stats *peer_stats_of(const struct peer *p);
const struct drops *peer_drops(const struct peer *p);
/* The inner MTU, as the kernel's routes to the peer should have it (IPv6: at least 1280). */
uint32_t peer_mtu(const struct peer *p);
/* What fits one datagram of the path in use; larger packets are cut, where the peer is a warren. */
uint32_t peer_room(const struct peer *p);
/* It takes in-tunnel frames: a member, or a static peer that said so. */
bool peer_is_warren(const struct peer *p);
/* A static warren's search; NULL for all others (members: link_paths()). */
const struct pmtu *peer_static_pmtu(const struct peer *p);
/* Each prefix that is routed to the peer. */
void peer_each_route(const struct peer *p, void (*each)(void *ctx, const struct prefix *prefix),
		     void *ctx);
/* The next `room` of them after `after` (NULL: the first), in address order; how many there are. */
size_t peer_routes(const struct peer *p, const struct prefix *after, struct prefix *out,
		   size_t room);

#endif
