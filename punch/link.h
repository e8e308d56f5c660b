/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links to other members: candidates, path probes, the choice of path (design: "Paths"). Sans-IO.
 *
 * A path is (local address, interface, remote endpoint), or a relay. It carries data only after an
 * answer to a fresh transaction id over that very path; the relay carries it from the first packet.
 * Both sides probe every candidate at once when they are introduced; an authenticated ping from
 * somewhere new makes a candidate (peer-reflexive) that is probed at once. Trust in a direct path
 * decays in seconds: when pings go unanswered, data goes back to the relay.
 *
 * Timings (field: Tailscale, ICE, NetBird; see link.c for each reason): probes of a new candidate
 * set at 0, 50, 100, 200, 400, 800, 1600 ms; heartbeat 2 s while data flows, 20 s when idle (keeps
 * the NAT's binding); a heartbeat unanswered for max(500 ms, 3 RTT) is repeated every 250 ms, and after
 * three unanswered the path is not used; failed sets are tried anew (with a new introduction) after 5, 10, 20, 40, 60, 60 … s
 * and at once after a network change.
 *
 * Each proven path, and the relay's, searches its own MTU (pmtu.h) from the first session on.
 */
#ifndef WARREN_LINK_H
#define WARREN_LINK_H

#include "base/heap.h"
#include "punch/outer.h"
#include "punch/pmtu.h"

enum { MAX_RELAYS = 4 };

struct links; /* all links of one node; owns them */
struct link;

struct path {
	bool relay;
	struct endpoint remote; /* where datagrams go: the peer's endpoint, or the relay's */
	struct addr local;	/* :: : the kernel's choice */
	uint32_t ifindex;
};

/* What this host says of its way to an address. */
struct local_way {
	uint32_t mtu; /* bytes of IP packet; 0 unknown */
	uint64_t tag; /* another number, another way: interface, gateway, own addresses there */
	bool none;    /* there is no way, as to IPv6 from a host without */
};
typedef struct local_way local_way_fn(void *ctx, const struct addr *remote);

/* The same with an Ethernet's MTU where none is known. `ask` may be NULL. */
struct local_way local_way_of(local_way_fn *ask, void *ctx, const struct addr *remote);

struct links_config {
	uint32_t self; /* our member number */
	/*
	 * Nanoseconds since 1970 at this start, kept greater than at any start before: peers'
	 * replay windows restart on it, and the counter of our relay messages begins there. A node
	 * sends fewer than one packet a nanosecond, so the counter of the next start is beyond all.
	 * One set of links for each boot id: a second one would begin at the same counters.
	 */
	uint64_t boot;
	uint32_t max_links;
	/* This host's own way to `remote`. NULL: nothing is known of any. */
	local_way_fn *local_way;
	void *ctx;
};

struct links *links_new(const struct links_config *cfg);
void links_free(struct links *ls);

/*
 * Relay number `i` of MAX_RELAYS, or none there (endpoint NULL). Its key is made from the session keys
 * of sender and relay (wg_peer_derive(…, "warren relay")), first 16 bytes. Setting the same again is
 * cheap; the counters go on. A link uses one of them at a time, and the next one when that does not
 * answer; it takes messages from all of them.
 */
void links_set_relay(struct links *ls, nsec now, unsigned i, const struct endpoint *relay,
		     const uint8_t key[static RELAY_KEY_LEN]);

/* NULL when full. `key`: wg_peer_derive(…, "warren outer"). `user` comes back in events. */
struct link *link_add(struct links *ls, nsec now, uint32_t number,
		      const uint8_t key[static OUTER_KEY_LEN], void *user);
void link_set_key(struct link *l, const uint8_t key[static OUTER_KEY_LEN]);
void link_remove(struct link *l);
struct link *link_find(struct links *ls, uint32_t number);
void *link_user(const struct link *l);

/* The other side's candidates, from an introduction: probe all at once (also those known). */
void link_introduce(struct link *l, nsec now, const struct endpoint *c, size_t n);
/*
 * Our addresses or routes changed, or others' did: check all paths now, ask for new introductions. The
 * MTUs of those are searched again to which our own way is another than before, once a second at most.
 */
void links_network_changed(struct links *ls, nsec now);
/* Data was sent or received on the link: heartbeats go faster. Cheap; call once per batch. */
void link_active(struct link *l, nsec now);

/*
 * Where data goes now: a proven direct path, else the relay, else NULL. Valid until the next call
 * that takes `now`.
 */
const struct path *link_path(const struct link *l);

/* There is a session with the peer: from now on frames can be sent, and the paths' MTUs are searched. */
void link_session_up(struct link *l, nsec now);
/* The largest WireGuard message that may go over link_path(), bytes; 0 without a path. */
uint32_t link_message_max(const struct link *l);
/* Its path MTU search; NULL without a path, or where none has begun. For looking at. */
const struct pmtu *link_pmtu(const struct link *l);
/* `count` data messages of `len` bytes each went over link_path(). Cheap; once per batch. */
void link_sent(struct link *l, nsec now, uint32_t len, uint32_t count);
/* The peer's answer to a probe (LINK_PROBE). */
void link_probe_ack(struct link *l, nsec now, const struct frame_ack *ack);
/*
 * An ICMP message says of a datagram to `to` that no more than `mtu` passes, and the caller has found
 * what it quotes to be ours: the path there looks at it (pmtu_too_big()).
 */
void link_too_big(struct link *l, nsec now, const struct endpoint *to, bool relayed, uint32_t mtu);
/* This host says of itself that no more than `mtu` leaves towards that address. */
void links_local_mtu(struct links *ls, nsec now, const struct addr *to, uint32_t mtu);
/* The link to which the relay message that begins with these bytes was sent of late by that relay; else NULL. */
struct link *links_quoted(struct links *ls, const struct endpoint *relay, const uint8_t *quote,
			  size_t len);

/* Bytes of an IP packet around the WireGuard message on this path: IP, UDP and relay header. */
uint32_t path_around(const struct path *p);
/*
 * The IP packet that any path of this kind takes. Over a relay the message goes on by the peer's own
 * family, which nobody tells us: what holds there has to fit as well.
 */
uint32_t path_floor(const struct path *p);

/* Writes a header for the relay at `relay`, for `len` bytes of datagram that stand at p + RELAY_HEADER_LEN. */
void link_relay_header(struct link *l, const struct endpoint *relay, uint8_t *p, size_t len);

/*
 * A ping or a pong, from `from` to our address `local` on `ifindex`; `relayed`: it came inside a
 * relay message (then the answer goes back that way).
 */
enum drop links_input(struct links *ls, nsec now, const struct endpoint *from,
		      const struct addr *local, uint32_t ifindex, bool relayed, const uint8_t *p,
		      size_t len);
/*
 * A relay message from `from`: checks it (only from a relay of ours, MAC, counter, known source)
 * and gives the datagram in it; its source link in *l.
 */
enum drop links_unwrap(struct links *ls, nsec now, const struct endpoint *from, uint8_t *p,
		       size_t len, struct link **l, uint8_t **inner, size_t *innerlen);

enum link_event {
	LINK_SEND,	   /* `bytes` of `len` to `path.remote` (relay header already in front) */
	LINK_PATH_CHANGED, /* link_path() is another one now; `path` */
	LINK_PROBE, /* `probe`, as a message of `message` bytes in the session, over `path` */
	LINK_MTU,   /* the MTU of `path` is another, or its search came to an end: `mtu` */
	LINK_WANT_INTRODUCTION, /* ask the rendezvous to introduce us to this link again */
	LINK_OBSERVED, /* a peer saw our datagrams come from `observed` (a candidate of ours) */
};

struct link_mtu {
	uint32_t size, was; /* bytes of IP packet; `was`: as the last line said */
	enum pmtu_reason reason;
	bool in_use; /* it is link_path() */
	bool news;   /* worth a line: it is smaller, or a search ended with another result */
	bool singles,
		singles_news; /* batches are lost here: datagrams go one by one; that is new */
};

/* What of a search has been told; and what is new since. False: nothing. */
struct mtu_told {
	uint32_t size, logged;
	enum pmtu_state state;
	bool settled, singles;
};
bool mtu_changed(const struct pmtu *m, struct mtu_told *told, struct link_mtu *out);

struct link_output {
	enum link_event event;
	struct link *link;
	struct path path;
	struct endpoint observed;
	struct frame_probe probe;
	uint32_t message;
	struct link_mtu mtu;
	size_t len;
	uint8_t bytes[RELAY_HEADER_LEN + OUTER_MAX];
};

bool links_poll(struct links *ls, nsec now, struct link_output *out);
nsec links_deadline(const struct links *ls);

/* For `warren status`: everything that is known of a link's paths. */
struct link_path_info {
	struct path path;
	bool proven, in_use;
	nsec rtt;	  /* smoothed; 0 unknown */
	nsec last_answer; /* 0 never */
	uint32_t sent, lost;
	const struct pmtu
		*mtu; /* valid until the next call that takes `now`; NULL: no search yet */
};

size_t link_paths(const struct link *l, struct link_path_info *out, size_t cap);

/* The round trip of the path in use, smoothed, but a lower one counts at once; 0 unknown. */
nsec link_rtt(const struct link *l);

/* --- the relay's side (run by the rendezvous) --- */

struct relay_server;

/*
 * `boot`: nanoseconds since 1970 at this start, kept greater than before (as in links_config): the
 * counters towards the members begin there, so that a restarted relay is not taken for a replay.
 */
struct relay_server *relay_server_new(uint32_t max_members, uint64_t boot);
void relay_server_free(struct relay_server *s);
/* A member and its relay key. Again: changes the key. 0, -ENOMEM, or -ENOSPC (max_members). */
int relay_server_set(struct relay_server *s, uint32_t number,
		     const uint8_t key[static RELAY_KEY_LEN]);
/*
 * An address proven otherwise (by the member's WireGuard session). False where the member is not set: there
 * was no memory for it.
 */
bool relay_server_address(struct relay_server *s, uint32_t number, const struct endpoint *at);
void relay_server_remove(struct relay_server *s, uint32_t number);
/* What one sender may use: bytes per second (1 … 2^40) and burst. Default 64 MiB/s, 16 MiB. */
void relay_server_limit(struct relay_server *s, uint64_t bytes_per_second, uint64_t burst);
/*
 * A relay message: checks MAC and counter under the source's key, learns its address, and rewrites
 * the header in place for the destination, whose address is given. Per-sender token bucket
 * (bytes per second, with a burst; RELAY_RATE when empty).
 */
enum drop relay_server_forward(struct relay_server *s, nsec now, const struct endpoint *from,
			       uint8_t *p, size_t len, struct endpoint *to);
/* Of a member whose address the last message was the first to tell: its number; else 0. Once. */
uint32_t relay_server_found(struct relay_server *s);
struct relay_counts {
	uint64_t packets, bytes; /* datagrams forwarded, without relay headers */
};
/* All that was forwarded, or what one member sent. */
struct relay_counts relay_server_total(const struct relay_server *s);
struct relay_counts relay_server_sender(const struct relay_server *s, uint32_t number);

#endif
