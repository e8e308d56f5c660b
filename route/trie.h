/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefixes with an owner each: two path-compressed binary tries, one per family, as ::/0 must not hold an IPv4
 * address, though a v4-mapped address lies inside it bit by bit. A node either carries an owner or has two
 * children, so n prefixes need at most 2n - 1 nodes, and the bits of the nodes on a way down only grow: no way is
 * longer than 128.
 */
#ifndef WARREN_ROUTE_TRIE_H
#define WARREN_ROUTE_TRIE_H

#include "base/addr.h"

struct trie_node;

/* All zero: empty. The owners are the caller's. */
struct trie {
	struct trie_node *root[2]; /* [addr_is_v4()] */
};

/* What a node carries. */
struct trie_entry {
	struct prefix prefix;
	void *owner;
};

void trie_clear(struct trie *t);
bool trie_is_empty(const struct trie *t);
/* *old: whose it was, or NULL. 0, -ENOMEM, or -EINVAL for a prefix that is longer than its family. */
int trie_set(struct trie *t, const struct prefix *p, void *owner, void **old);
/* Whose it was; NULL where it is not there. */
void *trie_remove(struct trie *t, const struct prefix *p);
/* The owner of the longest prefix that holds `a`, or NULL. */
void *trie_find(const struct trie *t, const struct addr *a);
/* The owner of exactly this prefix, or NULL. */
void *trie_exact(const struct trie *t, const struct prefix *p);

/* A walk in address order, shorter prefixes first; the trie must not change meanwhile. */
struct trie_walk {
	const struct trie_node *next[2];
};

/* `after`: begins behind this prefix, which need not be there; NULL: with the first. */
struct trie_walk trie_walk(const struct trie *t, const struct prefix *after);
bool trie_walk_next(struct trie_walk *w, struct trie_entry *out);

#endif
