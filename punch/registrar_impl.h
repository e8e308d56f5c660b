/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registrar's insides, shared by registrar*.c alone.
 *
 * A lease is a slot that its number points at, for ever: a freed slot stays as the roster's tombstone
 * until its number is granted again. What is to be said or written about a slot is a bit in `todo`
 * and a place in the ready list, encoded when it is polled: asking twice costs nothing, no queue can
 * overflow, and the answer always holds the newest state.
 *
 * One store operation per slot is in flight at most; what it waits for is decided by `op` in
 * registrar_lease.c when registrar_stored() reports. A slot goes
 *
 *   FREE → NEW (written, known to nobody) → HELD → FREEING (being deleted) → FREE
 *
 * and a NEW that cannot be written falls back to FREE, a FREEING that cannot be deleted to HELD.
 */
#ifndef WARREN_REGISTRAR_IMPL_H
#define WARREN_REGISTRAR_IMPL_H

#include "base/arena.h"
#include "base/blake2s.h"
#include "base/heap.h"
#include "punch/bucket.h"
#include "punch/control.h"
#include "punch/registrar.h"

enum {
	MAX_CLAIMS = 64,   /* challenges and take-overs at a time; more are told to wait */
	MAX_INTROS = 4096, /* pairs being introduced */
	INTRO_BUCKETS = 1024,
	MAX_NOTICES = 128,
	MAX_TOLD = 64,	      /* keys that are out, and were told so last */
	MAX_FORMER = 256,     /* replaced keys that are remembered, to be told */
	PAGES_A_REQUEST = 24, /* a burst of 14 KB; a thousand members in 14 of them */
	SEEN_EVERY = 3600,    /* seconds: `seen` is written no more often */
};

/* How often a key that is out hears why. */
#define TELL_OUT_EVERY NSEC_PER_SEC

/* A doubly linked ring; a node that points at itself is in no list. */
struct node {
	struct node *prev, *next;
};

static inline void node_init(struct node *n)
{
	n->prev = n->next = n;
}

static inline bool node_alone(const struct node *n)
{
	return n->next == n;
}

static inline void node_remove(struct node *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	node_init(n);
}

static inline void node_append(struct node *list, struct node *n)
{
	n->prev = list->prev;
	n->next = list;
	list->prev->next = n;
	list->prev = n;
}

enum timer_kind {
	TIMER_OFFLINE, /* of a slot: a minute without a sign of life */
	TIMER_CHANGED, /* of a slot: tell it again that the roster changed */
	TIMER_CLAIM,   /* of a claim: challenge again, or its time is over */
	TIMER_INTRO,   /* of an introduction: the next repetition */
	TIMER_PUSH,    /* changes were coalesced for long enough */
	TIMER_SETTLE,  /* a minute after the start: who is alive has registered */
	TIMER_SWEEP,   /* look for leases past their time */
};

struct kind_timer {
	struct timer t;
	enum timer_kind kind;
};

enum lease_state { LEASE_FREE, LEASE_NEW, LEASE_HELD, LEASE_FREEING };
enum store_op { OP_NONE, OP_PUT_NEW, OP_PUT_CLAIM, OP_PUT_SEEN, OP_DELETE };

/* Bits of `todo`, in the order in which they are done. */
enum {
	TODO_STORE = 1,
	TODO_MEMBER = 2,
	TODO_GRANT = 4,
	TODO_RELEASED = 8,
	TODO_CHALLENGE = 16,
	TODO_CHANGED = 32,
	TODO_ASK = 64,
	TODO_PAGE = 128,
};

struct facts {
	uint64_t boot; /* the process that said it; 0: of a release that does not say */
	struct endpoint from;
	struct endpoint candidates[MAX_CANDIDATES];
	size_t ncandidates;
	struct trino_facts trino;
	char release[RELEASE_LEN];
};

/* Somebody with another key wants this id. */
struct claim {
	struct slot *slot; /* NULL: unused */
	member_number number;
	unsigned challenges;
	uint8_t key[32];
	uint32_t request;
	struct facts facts;
	nsec until;
	bool at_once;		    /* whether the holder lives or not */
	member_number shown;	    /* number of the lease that it shows; 0: it has none */
	int64_t granted;	    /* and since when */
	struct lease_record record; /* as it will be */
	struct kind_timer timer;
};

/* A sweep over the roster that this member asked for. */
struct page_cursor {
	uint32_t request, after;
	uint64_t since;
	bool full;
	unsigned left;
};

struct slot {
	struct lease_record rec;
	enum lease_state state;
	bool loaded;	 /* from the store, and its key was not heard since */
	bool registered; /* said REGISTER since the start, and no RELEASE after it */
	bool released;	 /* said RELEASE, or took another id */
	bool online;
	bool removed;	/* its key was: the number is nobody's, and the others are told so */
	bool announced; /* REGISTRAR_MEMBER was given for this key */
	bool taken;	/* from another key, and that was not said yet */
	nsec taken_at;	/* the last time that it was; 0: not since the start */
	nsec heard;
	int64_t age;	  /* of a row: seconds unseen when it was loaded */
	uint32_t request; /* of the last REGISTER or RELEASE */
	struct facts facts;
	uint64_t changed;	/* roster version of its last change; 0: none since the start */
	uint64_t asked;		/* roster version when it last began to ask for the roster, */
	uint32_t asked_request; /* with this */
	nsec changed_wait;
	struct page_cursor page;
	struct bucket questions; /* for the roster */
	unsigned intros;	 /* that it asked for and that are under way */
	unsigned todo;
	enum store_op op;
	uint64_t seq; /* 0: not given out yet */
	nsec op_since;
	int64_t seen_next; /* being written */
	struct claim *claim;
	uint64_t ask;	      /* which claims' holders it is to be asked about */
	uint64_t boot_before; /* of the process that registered before that of `facts`; 0: none */
	struct slot *next_id, *next_key;
	struct node ready, inflight;
	struct kind_timer offline, tell;
};

struct intro {
	struct intro *next;	/* in its bucket, or of the free list */
	member_number a, b, by; /* by: who asked */
	uint32_t id;
	unsigned step; /* even: to a, odd: to b */
	nsec start;
	struct kind_timer timer;
};

/* A message to a key that holds no lease; or REGISTRAR_GONE, or REGISTRAR_KEPT with the id as text. */
struct notice {
	enum registrar_event event;
	uint8_t key[32];
	uint8_t type;
	uint32_t request;
	member_number number;
	enum ctl_refusal code;
	bool fatal;
	uint64_t boot; /* for this process alone; 0: for whoever has the key */
	char text[CTL_TEXT_LEN];
};

struct former {
	uint8_t key[32];
	char id[WORKER_ID_LEN];
	nsec told;
	bool used;
};

struct told {
	uint8_t key[32];
	nsec at;
	bool used;
};

struct registrar_keys {
	uint8_t secret[32], plain[32], lease[32], hash[16];
};

struct registrar {
	struct registrar_config cfg; /* without its two secrets */
	struct arena *arena;
	struct registrar_keys *keys;	   /* in it */
	struct admission *admission, none; /* none: where there is none to read */
	struct member_route *routes;
	char release[RELEASE_LEN];
	nsec start;
	nsec wall; /* nanoseconds since 1970 = now + this */
	bool used; /* something was said: the roster's instance stands */
	bool settled;
	nsec incomplete_until; /* leases are missing */

	struct slot **slots; /* by number, 1..limit */
	member_number limit, top, first_free;
	size_t leases;
	struct slot **by_id, **by_key;
	size_t buckets; /* a power of two */

	struct ctl_roster roster;
	uint64_t floor; /* who knows less gets everything */

	struct heap heap;
	struct kind_timer push, settle, sweep;
	struct node ready, inflight;
	uint64_t next_seq;

	struct claim claims[MAX_CLAIMS];
	struct former former[MAX_FORMER];
	size_t next_former;
	struct told told[MAX_TOLD];
	size_t next_told;
	uint64_t refused[CTL_REFUSAL_END];
	struct notice notices[MAX_NOTICES];
	size_t first_notice, nnotices;
	struct intro *intros, *free_intros;
	size_t nintros;	       /* that were ever in use */
	unsigned intros_alive; /* that are */
	struct intro *intro_buckets[INTRO_BUCKETS];
	uint32_t next_intro;
};

/* registrar_table.c: slots, hashes, numbers */
struct slot *registrar_slot_find_id(const struct registrar *r, const char *id);
struct slot *registrar_slot_find_key(const struct registrar *r, const uint8_t key[static 32]);
/* All leases of one key, whatever their state. */
struct slot *registrar_slot_first_of_key(const struct registrar *r, const uint8_t key[static 32]);
struct slot *registrar_slot_next_of_key(const struct slot *s, const uint8_t key[static 32]);
struct slot *registrar_slot_at(const struct registrar *r, member_number number);
/* A free slot of this number, made where there is none yet; NULL without memory. */
struct slot *registrar_slot_make(struct registrar *r, member_number number);
member_number registrar_slot_free_number(struct registrar *r);
/* The further prefixes that the operator gave to a worker id. */
size_t registrar_member_routes(const struct registrar *r, const char *id,
			       struct prefix out[static MAX_MEMBER_ROUTES]);
void registrar_slot_index(struct registrar *r, struct slot *s);
void registrar_slot_unindex(struct registrar *r, struct slot *s);
bool registrar_table_init(struct registrar *r);
void registrar_table_free(struct registrar *r);

/* registrar_claim.c: identity, the store's answers */
void registrar_claim_init(struct registrar *r);
void registrar_claim_register(struct registrar *r, nsec now, const uint8_t key[static 32],
			      const struct endpoint *from, const struct ctl_msg *m, bool plain);
/* A REGISTER of a process that has a lease already, and not only from a start before. */
bool registrar_holds(const struct ctl_msg *m);
void registrar_claim_release(struct registrar *r, nsec now, struct slot *s,
			     const struct ctl_msg *m);
/* A sign of life of the slot's key. */
void registrar_claim_heard(struct registrar *r, nsec now, struct slot *s);
void registrar_claim_timer(struct registrar *r, nsec now, struct claim *c);
/* A sign of life of the holder ends it. */
bool registrar_claim_open(const struct claim *c);
void registrar_claim_end(struct registrar *r, struct claim *c);
/* The slot's key holds the lease and is here: show it to the others, answer. */
void registrar_claim_activate(struct registrar *r, nsec now, struct slot *s, bool changed);

/* registrar_former.c */
struct former *registrar_former_find(struct registrar *r, const uint8_t key[static 32]);
void registrar_former_tell(struct registrar *r, nsec now, struct former *f);
void registrar_former_add(struct registrar *r, nsec now, const struct slot *s);

/* registrar_admit.c: who gets in */
/* Does it show our MAC over a lease of its own? */
bool registrar_lease_shown(const struct registrar *r, const uint8_t key[static 32],
			   const struct ctl_msg *m);
/*
 * `s`, here and below: who has the id that it asks for, or NULL. Does it show a lease for which no token
 * is needed? It was a member, and nobody got what it had later: so a lost database locks nobody out, and
 * who was replaced needs a token as anybody.
 */
bool registrar_returns(const struct registrar *r, const struct slot *s,
		       const uint8_t key[static 32], const struct ctl_msg *m);
/* A process runs with a lease whose number went to the present holder. */
bool registrar_lost(const struct registrar *r, const struct slot *s, const uint8_t key[static 32],
		    const struct ctl_msg *m);
/*
 * Replaces the holder without a question: a node that starts with a good token for this id alone, and
 * one that got this very address after the holder did (which a lost database does not know).
 */
bool registrar_at_once(const struct registrar *r, nsec now, const struct slot *s,
		       const uint8_t key[static 32], const struct ctl_msg *m);
/* May it ask for this id? Else it was refused in words. */
bool registrar_admit(struct registrar *r, nsec now, const uint8_t key[static 32],
		     const struct ctl_msg *m, bool plain);
/* Reserves the id where it shows a good ticket for it alone. */
void registrar_keep(struct registrar *r, nsec now, const uint8_t key[static 32],
		    const struct ctl_msg *m);
/* True where the key was removed: it is told so. */
bool registrar_removed_input(struct registrar *r, nsec now, const uint8_t key[static 32],
			     const struct ctl_msg *m);
void registrar_tell_removed(struct registrar *r, nsec now, const uint8_t key[static 32]);
/* Who is out and talks on is told so once a second: was it told of late? Else it is told now. */
bool registrar_told(struct registrar *r, nsec now, const uint8_t key[static 32]);
/* Of a slot whose key was: the number is nobody's, and the others hear it. */
void registrar_mark_removed(struct registrar *r, nsec now, struct slot *s);
/* Before leases are loaded: the numbers that were those of removed keys. */
void registrar_load_removed(struct registrar *r);

/* registrar_ask.c: others are asked whether they hear a holder */
void registrar_ask_all(struct registrar *r, const struct claim *c);
void registrar_ask_emit(struct registrar *r, struct slot *s, struct registrar_output *out);
void registrar_ask_vouched(struct registrar *r, const struct slot *by, member_number number);

/* registrar_shown.c: leases that another rendezvous granted */
enum shown {
	SHOWN_NOTHING, /* no lease that decides anything here */
	SHOWN_WAIT,    /* something of it is being written */
	SHOWN_HOLDS,   /* it holds: whoever was in its way is out, and it can be written */
	SHOWN_YOUNGER, /* it holds if the present holder of the id is silent */
};
enum shown registrar_shown(struct registrar *r, nsec now, const uint8_t key[static 32],
			   const struct ctl_msg *m);
/* Once; where it is lost, the key's next REGISTER is answered by the same rules. */
void registrar_tell_lost(struct registrar *r, nsec now, const uint8_t key[static 32],
			 const char *id);
/* Is this number ours to give? */
bool registrar_owns(const struct registrar *r, member_number n);
/* Ends a lease whose row the next one to be written takes the place of. `tell`: its key is told. */
void registrar_evict(struct registrar *r, nsec now, struct slot *s, bool tell);

/* registrar_lease.c: the store's answers, leases that are missing, leases that nobody uses */
/* Might a number that is free here be that of a member which has not come back yet? */
bool registrar_number_unsure(const struct registrar *r, nsec now);
void registrar_lease_stored(struct registrar *r, nsec now, struct slot *s, bool failed);
void registrar_slot_free(struct registrar *r, struct slot *s);
/* Frees the lease unseen for longest; false where all were seen within the last hour. */
bool registrar_lease_free_unseen(struct registrar *r, nsec now);
void registrar_lease_sweep(struct registrar *r, nsec now);
void registrar_lease_free(struct registrar *r, nsec now, struct slot *s);
/* A removed key's row is deleted, unless something is being written of it; then when that is done. */
void registrar_lease_free_removed(struct registrar *r, nsec now, struct slot *s);

/* registrar_roster.c */
void registrar_roster_init(struct registrar *r, nsec now);
void registrar_roster_changed(struct registrar *r, nsec now, struct slot *s);
enum drop registrar_roster_ask(struct registrar *r, nsec now, struct slot *s,
			       const struct ctl_msg *m);
/* Encodes the next page; clears TODO_PAGE after the last. */
void registrar_roster_page(struct registrar *r, struct slot *s, struct registrar_output *out);
void registrar_roster_push(struct registrar *r, nsec now);
void registrar_roster_tell(struct registrar *r, nsec now, struct slot *s);
void registrar_roster_settle(struct registrar *r, nsec now);
void registrar_roster_offline(struct registrar *r, nsec now, struct slot *s);

/* registrar_intro.c */
bool registrar_intro_init(struct registrar *r);
void registrar_intro_connect(struct registrar *r, nsec now, struct slot *s,
			     const struct ctl_msg *m);
/* One message of a due introduction. */
bool registrar_intro_step(struct registrar *r, nsec now, struct intro *i,
			  struct registrar_output *out);

/* registrar.c */
void registrar_lease_mac(const struct registrar *r, const struct lease_record *rec,
			 uint8_t mac[static 16]);
void registrar_member_psk(const struct registrar *r, const uint8_t key[static 32],
			  uint8_t psk[static 32]);
void registrar_todo(struct registrar *r, struct slot *s, unsigned bits);
void registrar_store(struct registrar *r, nsec now, struct slot *s, enum store_op op);
int64_t registrar_wall(const struct registrar *r, nsec now);
void registrar_timer(struct registrar *r, struct kind_timer *t, nsec at);
/* registrar_twin.c: REGISTER of a process whose key a later one uses; it is told, and has no effect */
bool registrar_twin(struct registrar *r, nsec now, struct slot *s, const struct ctl_msg *m);
/* RELEASE of a process that is not the one that holds the lease; it is answered, and has no effect */
bool registrar_twin_leaves(struct registrar *r, const struct slot *s, const struct ctl_msg *m);

struct notice *registrar_notice(struct registrar *r, const uint8_t key[static 32],
				enum registrar_event event);
/* REPLACED, to this process of the key alone or (0) to whoever has it. */
void registrar_replace(struct registrar *r, const uint8_t key[static 32], uint64_t boot,
		       enum ctl_refusal code, const char *fmt, ...) PRINTF_LIKE(5, 6);
void registrar_refuse(struct registrar *r, const uint8_t key[static 32], uint32_t request,
		      enum ctl_refusal code, const char *fmt, ...) PRINTF_LIKE(5, 6);
void registrar_send(struct registrar_output *out, const uint8_t key[static 32],
		    const struct ctl_msg *m);

#endif
