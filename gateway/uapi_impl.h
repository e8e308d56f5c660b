/* SPDX-License-Identifier: Apache-2.0 */
/* One conversation's own view of itself, shared by uapi*.c alone. */
#ifndef WARREN_UAPI_IMPL_H
#define WARREN_UAPI_IMPL_H

#include "gateway/uapi.h"
#include "route/trie.h"

struct uapi {
	struct uapi_device dev;
	enum {
		UAPI_IDLE, /* a request must begin */
		UAPI_GET,
		UAPI_ANSWER, /* the get has ended, and its answer is not all there */
		UAPI_SET,
		UAPI_ENDING, /* the set has ended, and is answered when its chore is done */
		UAPI_BROKEN, /* for good */
	} state;
	int err;       /* the first of this request */
	unsigned work; /* done in this turn, in lines of a set or as many bytes of an answer */
	/* How far the answer is: after this peer, or after this prefix of it. A peer may go meanwhile */
	struct {
		enum { ANSWER_DEVICE, ANSWER_PEERS, ANSWER_ROUTES } at;
		uint8_t key[32];
		uint64_t serial;
		bool has_prefix;
		struct prefix prefix;
	} answer;
	/*
	 * The section of the set that we are in. A peer is found by its key for each line: between
	 * two lines another client or the rendezvous may have removed it.
	 */
	enum {
		SECTION_DEVICE,
		SECTION_PEER,
		SECTION_FULL, /* there was no room for it: only what needs none is accepted */
		SECTION_IGNORED,
	} section;
	uint8_t key[32];
	bool made; /* the peer, by this section */
	/*
	 * Its prefixes are to be those that follow, which are noted; what else it has goes when the section ends, so
	 * that no packet misses what stays. Of a member: which of its own did follow, by place
	 */
	bool replacing;
	struct trie named;
	uint64_t listed;
	unsigned sections;
	/*
	 * What takes many turns; no line is taken meanwhile. Of the peer with this key and serial, behind `after`; or
	 * of all up to this serial, as other clients may add some
	 */
	enum {
		CHORE_NONE,
		CHORE_REMOVE,	  /* its prefixes, and then itself */
		CHORE_REMOVE_ALL, /* peers */
		CHORE_PRUNE,	  /* prefixes that were not named */
	} chore;
	uint8_t chore_key[32];
	uint64_t chore_serial;
	bool has_after;
	struct prefix after;
	/* what there is of the current line */
	size_t len;
	bool overlong;
	char line[UAPI_LINE_MAX + 1];
	/* `unsent` bytes at out + sent */
	char *out;
	size_t sent, unsent, cap;
	unsigned put; /* bytes that are not yet counted as work */
	bool no_memory;
};

/* Adds to the answer. Without memory nothing more is added, and the conversation ends. */
void uapi_put(struct uapi *u, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* uapi_get.c: some more of the device; true when all of it is there but errno= */
bool uapi_get(struct uapi *u, nsec now);

/* uapi_value.c */
struct uapi_value {
	uint8_t key[32];
	uint32_t number;
	struct endpoint endpoint;
	struct prefix prefix;
	bool minus;
};

typedef bool uapi_parse(const struct uapi *u, const char *text, struct uapi_value *v);
uapi_parse uapi_parse_true, uapi_parse_one, uapi_parse_key, uapi_parse_u16, uapi_parse_mark;
uapi_parse uapi_parse_endpoint, uapi_parse_prefix;

/* uapi_set.c; each 0 or -errno */
void uapi_set_begin(struct uapi *u);
int uapi_set_line(struct uapi *u, nsec now, const char *key, const char *value);
int uapi_set_end(struct uapi *u);
/* Some more of the chore. */
void uapi_set_goes_on(struct uapi *u);

#endif
