/* SPDX-License-Identifier: Apache-2.0 */
/* A member's insides, shared by enrol*.c alone. */
#ifndef WARREN_ENROL_IMPL_H
#define WARREN_ENROL_IMPL_H

#include "base/arena.h"
#include "punch/control.h"
#include "punch/enrol.h"

enum { MAX_CONNECTS = 256, MAX_HELD = 64, MAX_ROSTER = 1 << 16, MAX_ASKED = 8 };

#define RENEW_EVERY (20 * NSEC_PER_SEC)
#define FACTS_EVERY (500 * NSEC_PER_MSEC)
#define SILENT_AFTER (3 * NSEC_PER_SEC)
#define SILENT_AGAIN (5 * NSEC_PER_SEC)
#define RELEASE_FOR (2 * NSEC_PER_SEC)
#define HOLD_FOR (5 * NSEC_PER_SEC)

/* A question that is repeated until it is answered. */
struct request {
	bool active;
	uint32_t id;
	unsigned tries;
	nsec sent; /* the first time */
	nsec next;
};

struct connect {
	struct request rq;
	member_number number;
};

/* An introduction that waits for its turn, or for the roster to know whom it is about. */
struct held {
	bool used;
	member_number number;
	uint32_t id;
	nsec until;
	struct endpoint candidates[MAX_CANDIDATES];
	size_t ncandidates;
};

struct known {
	struct roster_entry e;
	uint32_t sweep; /* the last full sweep that showed it */
	bool live;	/* else it is gone, or only a place */
	bool dirty;	/* the caller has not been told that it is live, or not */
	bool reported;	/* the caller knows it */
	bool removed;	/* gone by the operator's word: reported also where it was not known */
	bool introduced;
	uint32_t intro; /* the last introduction's id */
};

/*
 * Sorted by number; emptied places are swept out when nothing is left to report. `dirty` and `scan`
 * by kind, gone 0 and live 1: how many are to be reported, and from where on.
 */
struct roster {
	struct arena *arena; /* of v: the PSKs of all pairs are in it */
	struct known *v;
	size_t n, cap, live, dead;
	size_t dirty[2], scan[2];
};

struct sweep {
	bool first, full, gap;	 /* gap: a page is missing, and was asked for */
	uint32_t after, number;	 /* number of full sweeps */
	uint32_t beyond;	 /* after which number the last page behind the gap was */
	struct ctl_roster start; /* of its first page */
};

enum {
	EV_GRANTED = 1,
	EV_OBSERVED = 2,
	EV_REFUSED = 4,
	EV_REPLACED = 8,
	EV_RELEASED = 16,
	EV_CHALLENGE_OK = 32,
};

struct enrol {
	struct arena *arena;
	uint8_t *psk; /* 32 bytes, in it */
	struct prefix prefix4, prefix6;
	member_number max;
	uint8_t key[32];
	uint64_t boot;
	char id[WORKER_ID_LEN], release[RELEASE_LEN];

	struct endpoint candidates[MAX_CANDIDATES];
	size_t ncandidates;
	struct trino_facts trino;
	struct ticket ticket;

	bool several, claiming; /* asks for a lease that it does not hold */
	bool holds;		/* `lease` is ours, whoever granted it */
	bool up;		/* there was a session */
	bool registered;
	bool saved; /* `lease` is of an earlier start, as long as none was granted */
	bool leaving;
	bool stopped; /* for good: refused, replaced or released */
	struct lease lease;
	struct endpoint observed;

	uint32_t next_request;
	struct request reg, get, leave;
	struct connect connects[MAX_CONNECTS];
	nsec connects_next; /* the earliest of them */
	nsec renew_at, facts_at, reg_made;
	nsec silent_at, leave_until;
	bool silent;
	nsec last_answer, rtt;

	struct ctl_roster have, latest;
	struct sweep sweep;
	struct roster roster;
	struct held held[MAX_HELD];
	size_t nheld;

	/* whom we are asked about, and for whom we can vouch: the oldest makes room */
	member_number asked[MAX_ASKED], vouch[MAX_ASKED];
	size_t nasked, nvouch;

	unsigned events;
	uint32_t challenge;
	bool fatal;
	uint16_t refused_code;
	nsec refused_at;
	char text[CTL_TEXT_LEN];
};

/* enrol.c */
/* A new question, asked now. */
void enrol_request_new(struct enrol *e, struct request *rq, nsec now);
/* Part of the answer is here: patience for the rest begins anew. */
void enrol_request_again(struct request *rq, nsec now);
void enrol_register(struct enrol *e, nsec now);
void enrol_stop(struct enrol *e, unsigned event);

/* Whom we hear (enrol_intro.c). */
void enrol_asked(struct enrol *e, member_number number);
bool enrol_ask_poll(struct enrol *e, struct enrol_output *out);

/* enrol_roster.c */
void enrol_roster_free(struct roster *ro);
struct known *enrol_roster_find(const struct enrol *e, member_number number);
/* The roster may be newer than ours: asks for what is missing. */
void enrol_roster_note(struct enrol *e, nsec now, const struct ctl_roster *at);
void enrol_roster_ask(struct enrol *e, nsec now);
/* A new session: a question that was under way is asked again. */
void enrol_roster_restart(struct enrol *e, nsec now);
void enrol_roster_forget(struct enrol *e, member_number number);
enum drop enrol_roster_page(struct enrol *e, nsec now, const struct ctl_msg *m);
/* The next change to report; first who is gone, so that a key is never at two numbers. */
bool enrol_roster_poll(struct enrol *e, struct enrol_output *out);

/* enrol_intro.c */
enum drop enrol_intro_input(struct enrol *e, nsec now, const struct ctl_msg *m);
bool enrol_intro_poll(struct enrol *e, nsec now, struct enrol_output *out);
nsec enrol_intro_deadline(const struct enrol *e);
void enrol_connect_drop(struct enrol *e, member_number number);
/* True when the refused request was a CONNECT, which is forgotten. */
bool enrol_connect_refused(struct enrol *e, uint32_t request);
bool enrol_connect_poll(struct enrol *e, nsec now, struct enrol_output *out);

/* Writes a due request into `out`; false where it is not due. */
bool enrol_request_due(struct enrol *e, struct request *rq, nsec now, struct ctl_msg *m,
		       struct enrol_output *out);

#endif
