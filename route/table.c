/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two path-compressed binary tries, one per family: ::/0 must not own an IPv4 address, though a
 * v4-mapped address lies inside it bit by bit. A node either carries an owner or has two children,
 * so n prefixes need at most 2n - 1 nodes, and the bits of the nodes on a way down only grow.
 *
 * Nodes with an owner also stand in a hash of owners, so that removing a peer costs what the peer
 * holds and not what the table holds.
 */
#include "route/table.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_BUCKETS = 16 };

struct key {
	uint64_t hi, lo;
};

struct node {
	struct node *child[2], *parent;
	struct node *next, **link; /* the bucket of its owner; NULL link: no owner */
	struct key key;
	uint8_t bits; /* within 128 */
	void *owner;
};

struct route_table {
	struct node *root[2]; /* [addr_is_v4()] */
	size_t count;
	struct node **bucket;
	size_t buckets; /* a power of two */
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

static bool holds(const struct node *n, const struct key *k)
{
	return common_bits(&n->key, k) >= n->bits;
}

static struct prefix prefix_at(const struct node *n)
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

/* The hash of owners. */

static struct node **bucket_of(const struct route_table *t, const void *owner)
{
	uint64_t h = (uint64_t)(uintptr_t)owner * 0x9e3779b97f4a7c15u; /* Fibonacci hashing */
	return &t->bucket[(h >> 32) & (t->buckets - 1)];
}

static void enlist(struct route_table *t, struct node *n)
{
	struct node **head = bucket_of(t, n->owner);
	n->next = *head;
	if (n->next)
		n->next->link = &n->next;
	n->link = head;
	*head = n;
}

static void delist(struct node *n)
{
	if (!n->link)
		return;
	*n->link = n->next;
	if (n->next)
		n->next->link = n->link;
	n->next = NULL;
	n->link = NULL;
}

/* Doubles the buckets when they are full; without memory the old ones do, only slower. */
static void grow(struct route_table *t)
{
	if (t->count < t->buckets)
		return;
	struct node **old = t->bucket, **fresh = calloc(t->buckets * 2, sizeof(struct node *));
	size_t n_old = t->buckets;
	if (!fresh)
		return;
	t->bucket = fresh;
	t->buckets *= 2;
	for (size_t i = 0; i < n_old; i++) {
		while (old[i]) {
			struct node *n = old[i];
			delist(n);
			enlist(t, n);
		}
	}
	free(old);
}

/* The tries. */

struct route_table *route_table_new(void)
{
	struct route_table *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->buckets = FIRST_BUCKETS;
	t->bucket = calloc(t->buckets, sizeof(struct node *));
	if (!t->bucket) {
		free(t);
		return NULL;
	}
	return t;
}

static void free_trie(struct node *n)
{
	while (n) {
		if (n->child[0] || n->child[1]) {
			n = n->child[n->child[0] ? 0 : 1];
			continue;
		}
		struct node *up = n->parent;
		if (up)
			up->child[up->child[1] == n] = NULL;
		free(n);
		n = up;
	}
}

void route_table_free(struct route_table *t)
{
	if (!t)
		return;
	free_trie(t->root[0]);
	free_trie(t->root[1]);
	free(t->bucket);
	free(t);
}

static struct node *node_new(const struct key *k, unsigned bits, void *owner)
{
	struct node *n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->key = *k;
	n->bits = (uint8_t)bits;
	n->owner = owner;
	return n;
}

static void adopt(struct node *parent, struct node *child)
{
	parent->child[bit_at(&child->key, parent->bits)] = child;
	child->parent = parent;
}

/* The place of `k` in the trie: where its node is, or would be put; *parent is the node above. */
static struct node **place(struct node **at, const struct key *k, unsigned bits,
			   struct node **parent)
{
	*parent = NULL;
	for (struct node *n; (n = *at) && n->bits < bits && holds(n, k);) {
		*parent = n;
		at = &n->child[bit_at(k, n->bits)];
	}
	return at;
}

static bool is_exact(const struct node *n, const struct key *k, unsigned bits)
{
	return n && n->bits == bits && holds(n, k);
}

/* A branch above `below` and `leaf`, which part at bit `bits`. */
static struct node *branch_new(struct node *below, struct node *leaf, unsigned bits)
{
	struct prefix p = prefix_at(leaf);
	uint8_t in_family = (uint8_t)(addr_is_v4(&p.addr) ? bits - 96 : bits);
	struct key k;
	p = prefix_of(&p.addr, in_family);
	k = key_of(&p.addr);
	struct node *b = node_new(&k, bits, NULL);
	if (!b)
		return NULL;
	adopt(b, below);
	adopt(b, leaf);
	return b;
}

/* Puts `leaf` where `*at` is: alone, above what is there, or beside it under a new branch. */
static bool insert(struct node **at, struct node *parent, struct node *leaf)
{
	struct node *there = *at, *top = leaf;
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

int route_table_set(struct route_table *t, const struct prefix *p, void *owner)
{
	assert(owner);
	if (!sane(p))
		return -EINVAL;
	struct prefix clean = prefix_of(&p->addr, p->bits);
	struct key k = key_of(&clean.addr);
	unsigned bits = prefix_bits128(&clean);
	struct node *parent, **at = place(&t->root[addr_is_v4(&p->addr)], &k, bits, &parent);
	struct node *n = *at;
	if (!is_exact(n, &k, bits)) {
		n = node_new(&k, bits, owner);
		if (!n || !insert(at, parent, n)) {
			free(n);
			return -ENOMEM;
		}
	}
	t->count += !n->link;
	delist(n);
	n->owner = owner;
	enlist(t, n);
	grow(t);
	return 0;
}

/* Takes a node without an owner out of the trie, unless two children need it. */
static void prune(struct route_table *t, struct node *n)
{
	while (n && !n->owner && !(n->child[0] && n->child[1])) {
		struct node *only = n->child[n->child[0] ? 0 : 1], *up = n->parent;
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

static void drop(struct route_table *t, struct node *n)
{
	delist(n);
	n->owner = NULL;
	t->count--;
	prune(t, n);
}

static struct node *exact(const struct route_table *t, const struct prefix *p)
{
	if (!sane(p))
		return NULL;
	struct prefix clean = prefix_of(&p->addr, p->bits);
	struct key k = key_of(&clean.addr);
	unsigned bits = prefix_bits128(&clean);
	struct node *parent, *root = t->root[addr_is_v4(&p->addr)];
	struct node *n = *place(&root, &k, bits, &parent);
	return is_exact(n, &k, bits) && n->owner ? n : NULL;
}

void route_table_remove(struct route_table *t, const struct prefix *p, const void *owner)
{
	struct node *n = exact(t, p);
	if (n && n->owner == owner)
		drop(t, n);
}

void route_table_remove_owner(struct route_table *t, const void *owner)
{
	struct node *next;
	for (struct node *n = *bucket_of(t, owner); n; n = next) {
		next = n->next;
		if (n->owner == owner)
			drop(t, n);
	}
}

void *route_table_find(const struct route_table *t, const struct addr *a)
{
	struct key k = key_of(a);
	void *best = NULL;
	const struct node *n = t->root[addr_is_v4(a)];
	while (n && holds(n, &k)) {
		if (n->owner)
			best = n->owner;
		n = n->bits < 128 ? n->child[bit_at(&k, n->bits)] : NULL;
	}
	return best;
}

void *route_table_exact(const struct route_table *t, const struct prefix *p)
{
	struct node *n = exact(t, p);
	return n ? n->owner : NULL;
}

/* The next node in address order, shorter prefixes first. */
static const struct node *step(const struct node *n)
{
	if (n->child[0] || n->child[1])
		return n->child[n->child[0] ? 0 : 1];
	for (const struct node *up; (up = n->parent); n = up)
		if (up->child[0] == n && up->child[1])
			return up->child[1];
	return NULL;
}

static const struct node *wanted(const struct node *n, const void *owner)
{
	while (n && (!n->owner || (owner && n->owner != owner)))
		n = step(n);
	return n;
}

static bool before(const struct node *a, const struct node *b)
{
	if (!a || !b)
		return a;
	return a->key.hi != b->key.hi ? a->key.hi < b->key.hi : a->key.lo < b->key.lo;
}

static int order(const struct key *a, unsigned a_bits, const struct key *b, unsigned b_bits)
{
	if (a->hi != b->hi)
		return a->hi < b->hi ? -1 : 1;
	if (a->lo != b->lo)
		return a->lo < b->lo ? -1 : 1;
	return a_bits < b_bits ? -1 : a_bits > b_bits;
}

static int by_place(const void *a, const void *b)
{
	const struct node *x = *(const struct node *const *)a, *y = *(const struct node *const *)b;
	return order(&x->key, x->bits, &y->key, y->bits);
}

static size_t held_by(const struct route_table *t, const void *owner, const struct node **out)
{
	size_t count = 0;
	for (const struct node *n = *bucket_of(t, owner); n; n = n->next)
		if (n->owner == owner) {
			if (out)
				out[count] = n;
			count++;
		}
	return count;
}

/* What one owner holds costs what it holds, not what the table does. False where there is no memory. */
static bool each_of_owner(const struct route_table *t, const void *owner,
			  void (*each)(void *ctx, const struct prefix *p, void *owner), void *ctx)
{
	size_t count = held_by(t, owner, NULL);
	const struct node **list = calloc(count + 1, sizeof(const struct node *));
	if (!list)
		return false;
	held_by(t, owner, list);
	qsort(list, count, sizeof(const struct node *), by_place);
	for (size_t i = 0; i < count; i++) {
		struct prefix p = prefix_at(list[i]);
		each(ctx, &p, list[i]->owner);
	}
	free(list);
	return true;
}

void route_table_each(const struct route_table *t, const void *owner,
		      void (*each)(void *ctx, const struct prefix *p, void *owner), void *ctx)
{
	if (owner && each_of_owner(t, owner, each, ctx))
		return;
	const struct node *v6 = wanted(t->root[0], owner), *v4 = wanted(t->root[1], owner);
	while (v6 || v4) {
		const struct node **least = before(v4, v6) ? &v4 : &v6;
		struct prefix p = prefix_at(*least);
		each(ctx, &p, (*least)->owner);
		*least = wanted(step(*least), owner);
	}
}

/* Puts `p` where it belongs among the least that were seen; the greatest makes room for it. */
static size_t list_one(struct prefix *out, size_t count, size_t room, const struct node *n)
{
	size_t at = count;
	for (; at > 0; at--) {
		struct key k = key_of(&out[at - 1].addr);
		if (order(&k, prefix_bits128(&out[at - 1]), &n->key, n->bits) < 0)
			break;
	}
	if (at == room)
		return count;
	count = size_min(count + 1, room);
	memmove(&out[at + 1], &out[at], (count - at - 1) * sizeof(*out));
	out[at] = prefix_at(n);
	return count;
}

size_t route_table_list(const struct route_table *t, const void *owner, const struct prefix *after,
			struct prefix *out, size_t room)
{
	struct key from = { 0 };
	unsigned bits = after ? prefix_bits128(after) : 0;
	size_t count = 0;

	if (after)
		from = key_of(&after->addr);
	for (const struct node *n = *bucket_of(t, owner); n; n = n->next)
		if (n->owner == owner && (!after || order(&n->key, n->bits, &from, bits) > 0))
			count = list_one(out, count, room, n);
	return count;
}

size_t route_table_count(const struct route_table *t)
{
	return t->count;
}
