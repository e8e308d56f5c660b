/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node remembers of the others from one start to the next: which key an id and an address had,
 * the last roster with where each member was reached, and the node's own lease. docs/protocol.md,
 * "Members file". Plain data and its bytes; the file is the gateway's (gw_keep.c).
 *
 * A record binds an id, a number and a key. It is never loosened by the rendezvous' word that the key
 * is elsewhere now: only another key for its id or its number ends it, which is what the node warns of or
 * refuses. So an id may have several records, of numbers that it had.
 */
#ifndef WARREN_MEMORY_H
#define WARREN_MEMORY_H

#include "punch/member.h"

enum {
	MEMORY_ENDPOINTS = 4,
	MEMORY_MAX = 16384,	   /* records; the one that was listed longest ago makes room */
	MEMORY_FILE_MAX = 9 << 20, /* bytes that are read */
	MEMORY_FIXED = 320,	   /* of the file, beside the records */
	MEMORY_RECORD = 512,	   /* of a record at most */
};

struct remembered {
	struct roster_entry e;		      /* as it was last told; `online` says nothing */
	struct endpoint at[MEMORY_ENDPOINTS]; /* proven direct, the latest first */
	size_t nat;
	uint32_t start; /* the start of ours in which it was listed last */
	bool listed;	/* in the last roster */
	/* not in the file: the key that took its place in the roster, and was refused and told of */
	uint8_t refused[32];
};

/* Whose the lease is, and the pair PSKs with it: of another key or id both are worth nothing. */
struct memory_owner {
	uint8_t rendezvous[32], key[32];
	char id[WORKER_ID_LEN];
};

struct memory {
	struct memory_owner owner;
	struct lease lease;   /* without its addresses, which follow from the number; 0: none */
	uint32_t start;	      /* counts starts */
	struct arena *arena;  /* of v: the PSKs of our pairs are in it */
	struct remembered *v; /* by number, then by id */
	size_t n, cap;
	/*
	 * What the file should have, and that a key, a removal or the lease is part of it; the owner takes
	 * them back.
	 */
	bool changed, keys_changed;
};

void memory_free(struct memory *m); /* wipes it */

/* The first record that has this id or this number under another key, from `*i` on; NULL. */
struct remembered *memory_conflict(const struct memory *m, const struct roster_entry *e, size_t *i);
/*
 * The member is as the roster says, and what contradicts it is forgotten. NULL where there is no room,
 * or, with `pinned`, where room could only be made by forgetting another.
 */
struct remembered *memory_put(struct memory *m, const struct roster_entry *e, bool pinned);
/* The record of this number and key; NULL. */
struct remembered *memory_find(const struct memory *m, member_number number,
			       const uint8_t key[static 32]);
void memory_forget(struct memory *m, const struct remembered *r);
/* What contradicts the entry is forgotten: its key is accepted. False where nothing did. */
bool memory_accept(struct memory *m, const struct roster_entry *e);
/* The number is not listed any more. */
void memory_gone(struct memory *m, member_number number);
/* Nor is to be again: the next start must not take it for a member, however soon that is. */
void memory_removed(struct memory *m, member_number number);
/* The member was reached there. */
void memory_reached(struct memory *m, struct remembered *r, const struct endpoint *at);
void memory_lease(struct memory *m, const struct memory_owner *owner, const struct lease *l);
/* True when lease and roster can be used by this node. */
bool memory_fits(const struct memory *m, const struct memory_owner *owner);

/* Bytes that memory_encode() needs at most. */
size_t memory_room(const struct memory *m);
size_t memory_encode(const struct memory *m, uint8_t *out, size_t cap); /* 0: did not fit */
/* Into an empty *m. 0, -ENOMEM, or -EBADMSG: not such a file, or one of another version; then *m is empty. */
int memory_decode(struct memory *m, const uint8_t *p, size_t len);

#endif
