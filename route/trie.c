/* SPDX-License-Identifier: Apache-2.0 */
#include "route/trie.h"

#include <errno.h>
#include <stdlib.h>

struct key {
	uint64_t hi, lo;
};

struct trie_node {
	struct trie_node *child[2], *parent;
	struct key key;
	uint8_t bits; /* within 128 */
	void *owner;
};

static struct key key_of(const struct addr *a)
{
	return (struct key){ load_be64(a->b), load_be64(a->b + 8) };
}

/* How many leading bits the two share. */
static unsigned common_bits(const struct key *a, const struct key *b)
{
	if (a->hi != b->hi)
		return (unsigned)__builtin_clzll(a->hi ^ b->hi);
	if (a->lo != b->lo)
		return 64 + (unsigned)__builtin_clzll(a->lo ^ b->lo);
	return 128;
}

/* Bit `i` from the top, i < 128: which child to take below a node of `i` bits. */
static unsigned bit_at(const struct key *k, unsigned i)
{
	return (unsigned)((i < 64 ? k->hi >> (63 - i) : k->lo >> (127 - i)) & 1);
}

static bool holds(const struct trie_node *n, const struct key *k)
{
	return common_bits(&n->key, k) >= n->bits;
}

static struct prefix prefix_at(const struct trie_node *n)
{
	struct prefix p;
	store_be64(p.addr.b, n->key.hi);
	store_be64(p.addr.b + 8, n->key.lo);
	p.bits = (uint8_t)(addr_is_v4(&p.addr) && n->bits >= 96 ? n->bits - 96 : n->bits);
	return p;
}

/* False for a prefix that no parser makes: longer than its family. */
static bool sane(const struct prefix *p)
{
	return p->bits <= (addr_is_v4(&p->addr) ? 32 : 128);
}

static void free_nodes(struct trie_node *n)
{
	while (n) {
		if (n->child[0] || n->child[1]) {
			n = n->child[n->child[0] ? 0 : 1];
			continue;
		}
		struct trie_node *up = n->parent;
		if (up)
			up->child[up->child[1] == n] = NULL;
		free(n);
		n = up;
	}
}

void trie_clear(struct trie *t)
{
	free_nodes(t->root[0]);
	free_nodes(t->root[1]);
	*t = (struct trie){ 0 };
}

bool trie_is_empty(const struct trie *t)
{
	return !t->root[0] && !t->root[1];
}

static struct trie_node *node_new(const struct key *k, unsigned bits, void *owner)
{
	struct trie_node *n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->key = *k;
	n->bits = (uint8_t)bits;
	n->owner = owner;
	return n;
}

static void adopt(struct trie_node *parent, struct trie_node *child)
{
	parent->child[bit_at(&child->key, parent->bits)] = child;
	child->parent = parent;
}

/* The place of `k` in the trie: where its node is, or would be put; *parent is the node above. */
static struct trie_node **place(struct trie_node **at, const struct key *k, unsigned bits,
				struct trie_node **parent)
{
	*parent = NULL;
	for (struct trie_node *n; (n = *at) && n->bits < bits && holds(n, k);) {
		*parent = n;
		at = &n->child[bit_at(k, n->bits)];
	}
	return at;
}

static bool is_exact(const struct trie_node *n, const struct key *k, unsigned bits)
{
	return n && n->bits == bits && holds(n, k);
}

/* A branch above `below` and `leaf`, which part at bit `bits`. */
static struct trie_node *branch_new(struct trie_node *below, struct trie_node *leaf, unsigned bits)
{
	struct prefix p = prefix_at(leaf);
	uint8_t in_family = (uint8_t)(addr_is_v4(&p.addr) ? bits - 96 : bits);
	struct key k;
	p = prefix_of(&p.addr, in_family);
	k = key_of(&p.addr);
	struct trie_node *b = node_new(&k, bits, NULL);
	if (!b)
		return NULL;
	adopt(b, below);
	adopt(b, leaf);
	return b;
}

/* Puts `leaf` where `*at` is: alone, above what is there, or beside it under a new branch. */
static bool insert(struct trie_node **at, struct trie_node *parent, struct trie_node *leaf)
{
	struct trie_node *there = *at, *top = leaf;
	if (there) {
		unsigned shared = common_bits(&there->key, &leaf->key);
		if (shared >= leaf->bits) {
			adopt(leaf, there);
		} else {
			top = branch_new(there, leaf, shared);
			if (!top)
				return false;
		}
	}
	top->parent = parent;
	*at = top;
	return true;
}

int trie_set(struct trie *t, const struct prefix *p, void *owner, void **old)
{
	assert(owner);
	if (!sane(p))
		return -EINVAL;
	struct prefix clean = prefix_of(&p->addr, p->bits);
	struct key k = key_of(&clean.addr);
	unsigned bits = prefix_bits128(&clean);
	struct trie_node *parent, **at = place(&t->root[addr_is_v4(&p->addr)], &k, bits, &parent);
	struct trie_node *n = *at;
	if (!is_exact(n, &k, bits)) {
		n = node_new(&k, bits, NULL);
		if (!n || !insert(at, parent, n)) {
			free(n);
			return -ENOMEM;
		}
	}
	*old = n->owner;
	n->owner = owner;
	return 0;
}

/* Takes a node without an owner out of the trie, unless two children need it. */
static void prune(struct trie *t, struct trie_node *n)
{
	while (n && !n->owner && !(n->child[0] && n->child[1])) {
		struct trie_node *only = n->child[n->child[0] ? 0 : 1], *up = n->parent;
		struct prefix p = prefix_at(n);
		if (up)
			up->child[up->child[1] == n] = only;
		else
			t->root[addr_is_v4(&p.addr)] = only;
		if (only)
			only->parent = up;
		free(n);
		n = up;
	}
}

static struct trie_node *exact(const struct trie *t, const struct prefix *p)
{
	if (!sane(p))
		return NULL;
	struct prefix clean = prefix_of(&p->addr, p->bits);
	struct key k = key_of(&clean.addr);
	unsigned bits = prefix_bits128(&clean);
	struct trie_node *parent, *root = t->root[addr_is_v4(&p->addr)];
	struct trie_node *n = *place(&root, &k, bits, &parent);
	return is_exact(n, &k, bits) && n->owner ? n : NULL;
}

void *trie_remove(struct trie *t, const struct prefix *p)
{
	struct trie_node *n = exact(t, p);
	void *owner = n ? n->owner : NULL;
	if (!n)
		return NULL;
	n->owner = NULL;
	prune(t, n);
	return owner;
}

void *trie_find(const struct trie *t, const struct addr *a)
{
	struct key k = key_of(a);
	void *best = NULL;
	const struct trie_node *n = t->root[addr_is_v4(a)];
	while (n && holds(n, &k)) {
		if (n->owner)
			best = n->owner;
		n = n->bits < 128 ? n->child[bit_at(&k, n->bits)] : NULL;
	}
	return best;
}

void *trie_exact(const struct trie *t, const struct prefix *p)
{
	struct trie_node *n = exact(t, p);
	return n ? n->owner : NULL;
}

/* --- in order --- */

/* The next node that is not below `n`. */
static const struct trie_node *past(const struct trie_node *n)
{
	for (const struct trie_node *up; (up = n->parent); n = up)
		if (up->child[0] == n && up->child[1])
			return up->child[1];
	return NULL;
}

static const struct trie_node *step(const struct trie_node *n)
{
	if (n->child[0] || n->child[1])
		return n->child[n->child[0] ? 0 : 1];
	return past(n);
}

static const struct trie_node *owned(const struct trie_node *n)
{
	while (n && !n->owner)
		n = step(n);
	return n;
}

static int order(const struct key *a, unsigned a_bits, const struct key *b, unsigned b_bits)
{
	if (a->hi != b->hi)
		return a->hi < b->hi ? -1 : 1;
	if (a->lo != b->lo)
		return a->lo < b->lo ? -1 : 1;
	return a_bits < b_bits ? -1 : a_bits > b_bits;
}

/* The first node behind `k`: whole subtrees before it are passed over. */
static const struct trie_node *behind(const struct trie_node *n, const struct key *k, unsigned bits)
{
	while (n && order(&n->key, n->bits, k, bits) <= 0) {
		bool above = n->bits < bits && holds(n, k);
		n = above || is_exact(n, k, bits) ? step(n) : past(n);
	}
	return n;
}

struct trie_walk trie_walk(const struct trie *t, const struct prefix *after)
{
	struct trie_walk w = { { t->root[0], t->root[1] } };
	for (unsigned i = 0; i < 2; i++) {
		if (after) {
			struct key k = key_of(&after->addr);
			w.next[i] = behind(w.next[i], &k, prefix_bits128(after));
		}
		w.next[i] = owned(w.next[i]);
	}
	return w;
}

bool trie_walk_next(struct trie_walk *w, struct trie_entry *out)
{
	const struct trie_node *a = w->next[0], *b = w->next[1];
	bool v4 = !a || (b && order(&b->key, b->bits, &a->key, a->bits) < 0);
	const struct trie_node *n = v4 ? b : a;
	if (!n)
		return false;
	*out = (struct trie_entry){ prefix_at(n), n->owner };
	w->next[v4] = owned(step(n));
	return true;
}
