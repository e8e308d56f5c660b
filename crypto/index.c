/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/core.h"

#include <sodium.h>
#include <stdlib.h>

bool index_init(struct index_table *t, uint32_t expected)
{
	uint32_t n = 16;
	while (n < expected && n < 1u << 24)
		n *= 2;
	t->buckets = calloc(n, sizeof(struct indexed *));
	t->mask = n - 1;
	return t->buckets;
}

void index_free(struct index_table *t)
{
	free(t->buckets);
	t->buckets = NULL;
}

/* The numbers are random, and ours: they are their own hash. */
static struct indexed **bucket(const struct index_table *t, uint32_t index)
{
	return &t->buckets[index & t->mask];
}

struct indexed *index_find(const struct index_table *t, uint32_t index)
{
	struct indexed *i = *bucket(t, index);
	while (i && i->index != index)
		i = i->next;
	return i;
}

static void link_in(struct index_table *t, struct indexed *i, uint32_t index)
{
	i->index = index;
	i->next = *bucket(t, index);
	*bucket(t, index) = i;
}

void index_add(struct index_table *t, struct indexed *i)
{
	uint32_t index;
	do
		randombytes_buf(&index, sizeof(index));
	while (!index || index_find(t, index));
	link_in(t, i, index);
}

void index_remove(struct index_table *t, struct indexed *i)
{
	if (!i->index)
		return;
	struct indexed **at = bucket(t, i->index);
	while (*at != i)
		at = &(*at)->next;
	*at = i->next;
	i->next = NULL;
	i->index = 0;
}

void index_hand_over(struct index_table *t, struct indexed *from, struct indexed *to)
{
	uint32_t index = from->index;
	index_remove(t, from);
	link_in(t, to, index);
}
