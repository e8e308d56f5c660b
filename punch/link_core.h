/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the links: what link.c, link_path.c, link_input.c and link_poll.c share. Nobody else
 * includes it.
 */
#ifndef WARREN_LINK_CORE_H
#define WARREN_LINK_CORE_H

#include "base/arena.h"
#include "base/replay.h"
#include "punch/bucket.h"
#include "punch/link.h"

enum {
	SLOT_RELAY = 0, /* the first slot is the relay's; the others are the peer's candidates */
	SLOTS = 1 + 24,
	NO_SLOT = -1,
	PENDING_PINGS = 64, /* a whole burst of the rate below is remembered, and a second more */
	OUTER_REPLAY_WORDS = 8,
	RELAY_REPLAY_WORDS = 32768 / 64,
	MAX_TRIES = 3, /* a proven path is given up after so many unanswered pings in a row */
	KEPT_ALTERNATIVES = 2,
	PONG_QUEUE = 64,
	RECENTLY_OBSERVED = 16,
};

/*
 * One way to the peer. A slot is in one of four states:
 *  free      `used` false.
 *  waiting   neither proven nor probed; link_probe_all() wakes it.
 *  probing   `round` < PROBE_ROUNDS: pings go out at the times of the schedule, answered or not.
 *  proven    answered a fresh transaction id. `tries` counts pings of the current heartbeat that
 *            are unanswered; at MAX_TRIES it falls back to waiting.
 * The relay's slot is never probing, and carries data in each state; there `dead` says that the last
 * heartbeat over each of the relays failed.
 */
struct slot {
	struct path path;
	bool used, proven, dead;
	uint8_t round, tries;
	uint8_t loss; /* share of pings lost, smoothed, in 1/256 */
	nsec next;    /* its next ping; NSEC_NEVER: none */
	nsec rtt;     /* smoothed; 0 unknown */
	nsec rtt_low; /* the same, but a lower sample counts at once: what the path itself takes */
	nsec rtt_spread;  /* how far samples are from `rtt`, smoothed */
	nsec last_answer; /* 0 never */
	nsec last_sent, added;
	uint32_t sent, answered;
	struct pmtu *mtu;     /* from its first search on, for most slots have none; or NULL */
	struct local_way way; /* when that began */
	struct mtu_told told; /* by LINK_MTU */
};

struct pending_ping {
	uint8_t txid[TXID_LEN];
	int32_t slot; /* NO_SLOT: free */
	nsec sent;
};

struct link {
	struct links *all;
	struct link *hash_next;
	struct link *ready_next; /* on the list of those that have something to say */
	bool ready, changed, has_observed;
	bool session; /* there was one: frames can be sent */
	uint32_t number;
	void *user;
	uint8_t *key;		/* OUTER_KEY_LEN, in the arena */
	unsigned relay;		/* which one its relay's slot is about */
	unsigned relays_failed; /* in a row */

	/* what we send, what we heard */
	uint64_t tx_counter, peer_boot;
	struct replay window;
	uint64_t ring[OUTER_REPLAY_WORDS];
	struct bucket pings, pongs;

	/* the choice */
	int32_t chosen;	       /* a slot or NO_SLOT */
	struct path current;   /* what link_path() shows while chosen != NO_SLOT */
	struct path announced; /* what the last LINK_PATH_CHANGED said */
	bool has_announced;

	/* times */
	struct timer timer;
	nsec active_until;
	nsec want_at; /* the next LINK_WANT_INTRODUCTION */
	nsec last_want;
	uint8_t backoff;
	nsec refresh_at;	 /* while a direct path is used: when the others are tried again */
	nsec look_at, looked_at; /* whether our own ways have changed */

	struct endpoint observed, last_observed;
	nsec observed_at;

	unsigned next_pending;
	struct pending_ping pending[PENDING_PINGS];
	struct slot slots[SLOTS];
};

struct pong {
	struct link *link;
	struct path path;
	struct endpoint observed;
	uint16_t tlv_len;
	uint8_t txid[TXID_LEN];
};

struct observation {
	struct endpoint at;
	nsec when;
};

struct relay_hop {
	bool used;
	struct endpoint at;
	uint8_t *key;	      /* RELAY_KEY_LEN, in the arena */
	struct replay window; /* of what comes from it */
	uint64_t ring[RELAY_REPLAY_WORDS];
	struct local_way way; /* as asked at that time */
	nsec way_asked;
};

struct links {
	struct links_config cfg;
	struct arena *arena; /* the relays' keys first */
	uint32_t count, mask;
	struct heap heap;
	nsec latest; /* the last time that we were told, for link_set_key(), which is told none */
	struct link *ready_first, **ready_last;
	struct bucket probes;	/* of all links together */
	struct bucket search;	/* bytes of path MTU probes, of all links together */
	uint64_t counter_floor; /* no link's counter was ever this great */

	struct relay_hop relays[MAX_RELAYS];
	unsigned good_relay; /* the one that last answered for some link */
	uint64_t relay_tx;   /* one sequence over all of them */

	unsigned pong_first, pong_count;
	struct pong pongs[PONG_QUEUE];
	struct bucket reports;
	unsigned next_observation;
	struct observation observations[RECENTLY_OBSERVED];

	struct link *table[]; /* mask + 1 of them */
};

/* link_relay.c: the relays, and which one a link uses */
struct relay_hop *links_relay_at(struct links *ls, const struct endpoint *at); /* or NULL */
/* (Re)sets the relay's slot to the relay in use, and asks over it whether it works. */
void link_point_at_relay(struct link *l, nsec now);
void link_relay_failed(struct link *l, nsec now); /* the next one's turn */
void link_relay_answered(struct link *l);
/* The relay at `path`, or the one in use where that is gone: `path` says which. NULL: none. */
const struct relay_hop *link_relay_for(const struct link *l, struct path *path);

/* link_path.c: candidates, proof, choice */
bool endpoint_probeable(const struct endpoint *e);
struct slot *link_slot_at(struct link *l, const struct endpoint *remote);
struct slot *link_add_candidate(struct link *l, nsec now, const struct endpoint *remote);
void link_probe(struct slot *s, nsec now);
void link_probe_all(struct link *l, nsec now);
void link_answered(struct link *l, nsec now, struct slot *s, const struct pending_ping *ping);
void link_unprove(struct link *l, nsec now, struct slot *s);
void link_choose(struct link *l, nsec now);
nsec link_pace(const struct link *l, const struct slot *s, nsec now);
bool link_worth_keeping(const struct link *l, const struct slot *s);
void link_forget_pending(struct link *l, const struct slot *s);

/* link_mtu.c: the search of each path */
void slot_set(struct slot *s, const struct slot *value); /* its search has not begun */
void slot_end_search(struct slot *s);
void link_search(struct link *l, nsec now, struct slot *s); /* if it is time */
/* A candidate that nothing can be sent to, as our own routes are. */
bool link_leads_nowhere(struct link *l, nsec now, const struct slot *s);
/* Our own ways may have changed: each search to which it did begins anew, now or a little later. */
void link_look(struct link *l, nsec now);
bool link_poll_mtu(struct link *l, nsec now, struct link_output *out);
nsec link_mtu_deadline(const struct link *l);

/* link_poll.c: timers */
void link_ready(struct link *l);
nsec links_jitter(nsec t);	   /* ± 10 % */
nsec links_spread(nsec t);	   /* none of it to all */
nsec link_backoff(unsigned tries); /* until the next introduction is asked for */

static inline int32_t slot_index(const struct link *l, const struct slot *s)
{
	return (int32_t)(s - l->slots);
}

static inline bool link_is_direct(const struct link *l)
{
	return l->chosen > SLOT_RELAY;
}

static inline bool link_is_active(const struct link *l, nsec now)
{
	return now < l->active_until;
}

#endif
