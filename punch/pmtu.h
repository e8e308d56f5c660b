/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Path MTU search of one path in one direction: RFC 8899 (DPLPMTUD), its states and names, with
 * timers for a network that people wait for. Sans-IO. docs/mtu.md tells it to people.
 *
 * Sizes here are bytes of the whole outer IP packet, as people say MTU; on the wire (frame.h) they are
 * bytes of the WireGuard message, `around` less. PLPMTU is `size`: the largest packet that may be sent now.
 *
 * The search goes in rounds. A round sends probes of several sizes at once, half a PROBE_TIMER later a
 * small query, and is over when an answer tells which of them arrived: the answer to the query is the
 * witness that the path lives, so that loss is not taken for a small MTU. Sizes that did not arrive
 * narrow the search only for the time being; the one size just above the result is what is sent
 * MAX_PROBES times (more where loss was seen) before the search is complete. An ack of any size is
 * believed at once. Where loss was seen, the size that the search stopped at goes again in each round.
 *
 *   DISABLED         no session, or the path is not proven: size is MIN
 *   BASE             the first round is out: size is MIN, or what was believed before
 *   SEARCHING        at least one size was acknowledged since; size grows with each
 *   SEARCH_COMPLETE  size is the result; looked at again after PMTU_RAISE_TIMER. To the byte, or
 *                    (not pmtu_settled()) as near as its bytes allowed: then each raise halves the rest
 *   ERROR            not even BASE_PLPMTU passes: searching between MIN and that
 *
 * Black holes (RFC 8899 4.3): while large packets are sent, the peer is asked how many of them arrived
 * (`watch`): each second, and when they pause, while all arrives; every 250 ms where some are missing, and
 * while batches are on trial. When small queries pass and none of the large ones does, the largest size sent
 * is probed: once if few were lost, then MAX_PROBES times (more where loss was seen); if none passes, size
 * falls to BASE at once and a search begins. Doubts that prove wrong make the next one wait for more: up to
 * 2 s without any.
 * An ICMP "too big" that fits a packet in flight does the same as such a suspicion: it never lowers
 * anything by itself, and its MTU is only the next size to try.
 *
 * Cost: an account of PMTU_SEARCH_BYTES, full at a new search (a new path, another own MTU, a black hole);
 * PMTU_IDLE_BYTES a minute are paid off. What a round sends is charged; a search ends where there is no
 * more, and one that goes up because the path grew has what is there. A raise waits until its probe is paid
 * for, so that each minute costs no more than 2 KiB where sizes are below 1900, and all of them together
 * where they are jumbo: 9000 bytes each five minutes. Not in it: while large data flows, the watch, a query
 * of some 100 bytes each second (5.5 KB a minute), up to four in one where packets get lost (22 KB), and
 * what a doubt verifies, a probe or more (0.7 KB a minute at 5 % loss, 4 KB at 20 %).
 */
#ifndef WARREN_PMTU_H
#define WARREN_PMTU_H

#include "punch/batching.h"
#include "punch/frame.h"

enum {
	PMTU_MIN_V4 = 576,  /* what each IPv4 host must take; smaller paths are not supported */
	PMTU_MIN_V6 = 1280, /* the same of IPv6 (RFC 8200 5), inside the tunnel as well */
	PMTU_BASE = 1280,   /* BASE_PLPMTU: the fall-back that nearly every path takes */
	PMTU_MAX = 9000,    /* MAX_PLPMTU */
	PMTU_MAX_PROBES = 3,
	/*
	 * Of IP packets, queries included; acks of the peer not. One KiB below the 64 that a search may
	 * cost, for the queries that are repeated and those of the watch.
	 */
	PMTU_SEARCH_BYTES = 63 << 10,
	PMTU_IDLE_BYTES = 2048, /* a minute, between searches */
	PMTU_ROUND = 12,	/* probes in one round, copies included */
	PMTU_WINDOW = 64,	/* numbers that an answer speaks of */
	PMTU_WATCH_TRIES = 4,	/* queries without an answer */
};

enum pmtu_state {
	PMTU_DISABLED,
	PMTU_STATE_BASE,
	PMTU_SEARCHING,
	PMTU_SEARCH_COMPLETE,
	PMTU_ERROR,
};

/* Why size changed, for the log line. */
enum pmtu_reason {
	PMTU_FOUND, /* a probe of that size was acknowledged, or nothing larger than the smallest */
	PMTU_BLACK_HOLE, /* large packets stopped arriving */
	PMTU_TOO_BIG,	 /* the same, noticed by an ICMP message */
	PMTU_LOCAL,	 /* this host's own MTU towards the path changed */
	PMTU_SMALLER, /* looked at again after a change of the network, and not as large any more */
	PMTU_ENDED,   /* no session or no path any more */
};

struct pmtu {
	/* public to read */
	enum pmtu_state state;
	uint32_t size;		 /* PLPMTU: never send more */
	enum pmtu_reason reason; /* of the last change of size */
	uint32_t probes, lost;	 /* sent; not seen by the peer (queries included), for the status */
	uint64_t bytes;		 /* of all probes and queries ever sent */
	struct batching batching; /* whether batches arrive as single datagrams do */
	/* the rest is pmtu*.c's */
	uint32_t path, around, min, max;
	/* The account: bytes of rounds sent, PMTU_IDLE_BYTES a minute less. A search ends where it is full. */
	uint32_t spent;
	nsec spent_at;
	uint32_t number; /* of the newest probe */
	nsec rtt, due;	 /* of the round */
	struct pmtu_sent {
		uint32_t number;
		uint16_t size;
		uint8_t fate;
	} sent[PMTU_WINDOW]; /* [number % PMTU_WINDOW]: what the answers speak of */
	struct pmtu_search {
		uint32_t low, high;   /* passes; believed not to pass (max + 1: nothing is) */
		uint32_t floor;	      /* older numbers than this prove nothing any more */
		enum pmtu_reason why; /* it began: told if size turns out to be too much */
		bool lossy, again;    /* nothing of the first round arrived: sent again */
		uint32_t first;	      /* low after the first round */
		uint8_t hinted;	      /* rounds that followed a hint */
		uint8_t raises;	      /* probes of low + 1 after it, in vain */
		uint8_t rises;	      /* low rose with each of so many single probes */
	} search;
	struct pmtu_round {
		uint8_t kind, phase, len, next, queries;
		uint32_t plan[PMTU_ROUND], numbers[PMTU_ROUND]; /* sizes, rising */
		uint32_t first, best;	    /* number; the largest size acknowledged in the round */
		uint32_t query, query_last; /* numbers of its queries; 0: none yet */
		nsec backoff;
	} round;
	struct pmtu_watch {
		uint32_t size, lesser; /* watched; the largest below it since `last` */
		uint32_t sent, base;   /* packets: all; at the query that was answered last */
		uint32_t base_count;   /* the peer's, in that answer */
		uint32_t evidence;     /* packets: nothing has arrived since `missing_since` */
		nsec last, due, rest, fall;
		nsec begun, sent_at;	   /* the first and the last packet since it was asked */
		nsec since, missing_since; /* of what the query asks for; of the evidence */
		nsec asked_at;
		struct pmtu_query {
			uint32_t number, sent; /* the probe's; packets before it */
			nsec at;
		} queries[PMTU_WATCH_TRIES]; /* the open query and its repetitions */
		uint8_t tries;		     /* of them; 0: none is open */
		bool based, traffic, fine;   /* fine: nearly all of the last ones arrived */
	} watch;
	uint32_t hint;		 /* what an ICMP message said last; 0: nothing */
	uint32_t suspect, tries; /* VERIFY: the size that may have become too much; probes left */
	enum pmtu_reason suspect_why;
	uint32_t doubted;		    /* bytes of this verification */
	uint8_t refuted;		    /* doubts of late that came to nothing */
	bool shrunk;			    /* since the last search was complete */
	nsec raise_at, hint_at, refuted_at; /* hint_at: the next one is looked at */
};

/* To be sent now over the path: pmtu_poll(). */
struct pmtu_probe {
	uint32_t size; /* bytes of the IP packet; a query has the fewest, around + PROBE_LEN + 32 */
	struct frame_probe frame; /* ready to be written; frame.size included */
};

/*
 * `min`: MIN, what every path of this kind takes. `around`: bytes of a packet around the WireGuard
 * message (IP and UDP headers, relay header). DISABLED, size = MIN.
 */
void pmtu_init(struct pmtu *m, uint32_t min, uint32_t around);
/*
 * The path is proven and there is a session: search from MIN. `path`: the name for the frames, random,
 * not 0. `max`: this host's own MTU towards it (clamped to [MIN, PMTU_MAX]).
 * Where it runs already: search again now, from the present size (a path change); that size stays
 * until the first round has said whether it still passes.
 */
void pmtu_start(struct pmtu *m, nsec now, uint32_t path, uint32_t max);
void pmtu_stop(struct pmtu *m);
/* Our own MTU changed. Smaller than size: at once; larger: search on. */
void pmtu_set_max(struct pmtu *m, nsec now, uint32_t max);

/*
 * The next probe to send now; false: nothing more before pmtu_deadline(). `rtt`: the path's, 0 unknown.
 * PROBE_TIMER is max(200 ms, 4 rtt). What cannot be sent is simply lost.
 */
bool pmtu_poll(struct pmtu *m, nsec now, nsec rtt, struct pmtu_probe *out);
nsec pmtu_deadline(const struct pmtu *m); /* NSEC_NEVER where there is nothing to wait for */

/* An answer of the peer, whichever way it came. Others' path names are ignored. */
void pmtu_acked(struct pmtu *m, nsec now, const struct frame_ack *ack);
/* `count` data packets of `size` (IP packet bytes) were sent over the path. Once per batch; cheap. */
void pmtu_sent(struct pmtu *m, nsec now, uint32_t size, uint32_t count);
/* An ICMP message that quotes a packet of ours says that no more than `mtu` passes (RFC 8899 4.6.1). */
void pmtu_too_big(struct pmtu *m, nsec now, uint32_t mtu);

/* It is known to the byte what passes. Not where a search had no bytes left: then raises go on with it. */
static inline bool pmtu_settled(const struct pmtu *m)
{
	return m->search.low + 1 >= m->search.high || m->search.low >= m->max;
}

const char *pmtu_state_name(enum pmtu_state s);	  /* "searching", for the status */
const char *pmtu_reason_text(enum pmtu_reason r); /* in words, for the log */

/* --- the other end: who is probed --- */

/*
 * What a peer has been probing us with, and how much of its large data arrived. One for each peer;
 * bounded, whatever the peer sends: the path name unused for longest makes room.
 */
enum { PMTU_SEEN_PATHS = 8 };

struct pmtu_seen {
	struct {
		uint32_t path, newest;
		uint64_t seen;
		nsec last;
	} paths[PMTU_SEEN_PATHS];
	struct {
		uint32_t size, count; /* message bytes; size 0: nothing is counted */
	} watch[2];		      /* [came by the relay] */
};

/* A probe arrived: fills in the answer to send. */
void pmtu_seen_probe(struct pmtu_seen *s, nsec now, bool relayed, const struct frame_probe *probe,
		     struct frame_ack *answer);

/* A data message (one that is no probe and no ack) of `size` bytes arrived. */
static inline void pmtu_seen_data(struct pmtu_seen *s, bool relayed, uint32_t size)
{
	s->watch[relayed].count += s->watch[relayed].size && size >= s->watch[relayed].size;
}

#endif
