/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All prefixes stand in one trie, for the look-up. What each owner holds stands in another of its own, found by
 * a hash of owners, so that to list or to remove it costs what the owner holds and not what the table does.
 */
#include "route/table.h"
#include "route/trie.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_BUCKETS = 16 };

struct holder {
	struct holder *next; /* in its bucket */
	const void *owner;
	struct trie held; /* never empty */
};

struct route_table {
	struct trie all;
	size_t count, nholders;
	struct holder **bucket;
	size_t buckets; /* a power of two */
};

/* --- the hash of owners --- */

static struct holder **bucket_of(const struct route_table *t, const void *owner)
{
	uint64_t h = (uint64_t)(uintptr_t)owner * 0x9e3779b97f4a7c15u; /* Fibonacci hashing */
	return &t->bucket[(h >> 32) & (t->buckets - 1)];
}

/* Where its holder is, or would be. */
static struct holder **place(const struct route_table *t, const void *owner)
{
	struct holder **at = bucket_of(t, owner);
	while (*at && (*at)->owner != owner)
		at = &(*at)->next;
	return at;
}

/* Doubles the buckets when they are full; without memory the old ones do, only slower. */
static void grow(struct route_table *t)
{
	struct holder **old = t->bucket, *next;
	size_t n_old = t->buckets;
	if (t->nholders < t->buckets)
		return;
	struct holder **fresh = calloc(t->buckets * 2, sizeof(struct holder *));
	if (!fresh)
		return;
	t->bucket = fresh;
	t->buckets *= 2;
	for (size_t i = 0; i < n_old; i++) {
		for (struct holder *h = old[i]; h; h = next) {
			struct holder **at = bucket_of(t, h->owner);
			next = h->next;
			h->next = *at;
			*at = h;
		}
	}
	free(old);
}

static struct holder *holder_of(struct route_table *t, const void *owner)
{
	struct holder **at = place(t, owner), *h = *at;
	if (h)
		return h;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->owner = owner;
	*at = h;
	t->nholders++;
	grow(t);
	return h;
}

/* Its owner does not hold the prefix any more, or never did. */
static void let_go(struct route_table *t, const void *owner, const struct prefix *p)
{
	struct holder **at = place(t, owner), *h = *at;
	trie_remove(&h->held, p);
	if (!trie_is_empty(&h->held))
		return;
	*at = h->next;
	t->nholders--;
	free(h);
}

/* --- the table --- */

struct route_table *route_table_new(void)
{
	struct route_table *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->buckets = FIRST_BUCKETS;
	t->bucket = calloc(t->buckets, sizeof(struct holder *));
	if (!t->bucket) {
		free(t);
		return NULL;
	}
	return t;
}

void route_table_free(struct route_table *t)
{
	struct holder *next;
	if (!t)
		return;
	trie_clear(&t->all);
	for (size_t i = 0; i < t->buckets; i++) {
		for (struct holder *h = t->bucket[i]; h; h = next) {
			next = h->next;
			trie_clear(&h->held);
			free(h);
		}
	}
	free(t->bucket);
	free(t);
}

int route_table_set(struct route_table *t, const struct prefix *p, void *owner)
{
	void *old = trie_exact(&t->all, p), *none;
	if (old == owner)
		return 0;
	struct holder *h = holder_of(t, owner);
	if (!h)
		return -ENOMEM;
	int err = trie_set(&h->held, p, owner, &none);
	if (err == 0)
		err = trie_set(&t->all, p, owner, &old);
	if (err < 0) {
		let_go(t, owner, p);
		return err;
	}
	if (old)
		let_go(t, old, p);
	else
		t->count++;
	return 0;
}

void route_table_remove(struct route_table *t, const struct prefix *p, const void *owner)
{
	if (trie_exact(&t->all, p) != owner)
		return;
	trie_remove(&t->all, p);
	t->count--;
	let_go(t, owner, p);
}

void *route_table_find(const struct route_table *t, const struct addr *a)
{
	return trie_find(&t->all, a);
}

void *route_table_exact(const struct route_table *t, const struct prefix *p)
{
	return trie_exact(&t->all, p);
}

/* --- walks --- */

static const struct trie *held_by(const struct route_table *t, const void *owner)
{
	static const struct trie nothing;
	const struct holder *h = owner ? *place(t, owner) : NULL;
	if (!owner)
		return &t->all;
	return h ? &h->held : &nothing;
}

void route_table_each(const struct route_table *t, const void *owner,
		      void (*each)(void *ctx, const struct prefix *p, void *owner), void *ctx)
{
	struct trie_walk w = trie_walk(held_by(t, owner), NULL);
	struct trie_entry e;
	while (trie_walk_next(&w, &e))
		each(ctx, &e.prefix, e.owner);
}

size_t route_table_list(const struct route_table *t, const void *owner, const struct prefix *after,
			struct prefix *out, size_t room)
{
	struct trie_walk w = trie_walk(held_by(t, owner), after);
	struct trie_entry e;
	size_t n = 0;
	while (n < room && trie_walk_next(&w, &e))
		out[n++] = e.prefix;
	return n;
}

size_t route_table_count(const struct route_table *t)
{
	return t->count;
}
