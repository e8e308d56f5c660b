/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

/* Makes the later of two roots the first child of the earlier. */
static struct timer *meld(struct timer *a, struct timer *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (b->at < a->at) {
		struct timer *t = a;
		a = b;
		b = t;
	}
	b->next = a->child;
	if (b->next)
		b->next->link = &b->next;
	b->link = &a->child;
	a->child = b;
	a->next = NULL;
	return a;
}

/* Pairs the siblings from left to right, then melds the pairs from right to left. */
static struct timer *merge_children(struct timer *t)
{
	struct timer *pairs = NULL, *root = NULL;
	while (t) {
		struct timer *a = t, *b = t->next;
		t = b ? b->next : NULL;
		a->next = NULL;
		if (b)
			b->next = NULL;
		a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct timer *rest = pairs->next;
		pairs->next = NULL;
		root = meld(root, pairs);
		pairs = rest;
	}
	return root;
}

static void set_root(struct heap *h, struct timer *t)
{
	h->root = t;
	if (t) {
		t->next = NULL;
		t->link = &h->root;
	}
}

void heap_cancel(struct heap *h, struct timer *t)
{
	if (!t->link)
		return;
	*t->link = t->next;
	if (t->next)
		t->next->link = t->link;
	struct timer *children = merge_children(t->child);
	t->child = t->next = NULL;
	t->link = NULL;
	set_root(h, meld(h->root, children));
}

void heap_set(struct heap *h, struct timer *t, nsec at)
{
	if (t->link && t->at == at)
		return;
	heap_cancel(h, t);
	if (at == NSEC_NEVER)
		return;
	t->at = at;
	t->child = t->next = NULL;
	set_root(h, meld(h->root, t));
}

struct timer *heap_due(struct heap *h, nsec now)
{
	struct timer *t = h->root;
	if (!t || t->at > now)
		return NULL;
	heap_cancel(h, t);
	return t;
}
