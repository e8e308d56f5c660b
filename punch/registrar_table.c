/* SPDX-License-Identifier: Apache-2.0 */
/* The registrar's table: slots by number, and found by id and by key. */
#include <sodium.h>
#include <stdlib.h>

#include "punch/registrar_impl.h"

/* Members choose ids and keys: the hash is keyed, so that nobody can choose long chains. */
static size_t bucket(const struct registrar *r, const void *p, size_t len)
{
	uint8_t h[crypto_shorthash_BYTES];
	crypto_shorthash(h, p, len, r->keys->hash);
	return (size_t)load_be64(h) & (r->buckets - 1);
}

struct slot *registrar_slot_find_id(const struct registrar *r, const char *id)
{
	struct slot *s = r->by_id[bucket(r, id, strlen(id))];
	while (s && strcmp(s->rec.id, id) != 0)
		s = s->next_id;
	return s;
}

struct slot *registrar_slot_first_of_key(const struct registrar *r, const uint8_t key[static 32])
{
	struct slot *s = r->by_key[bucket(r, key, 32)];
	return s && memcmp(s->rec.key, key, 32) != 0 ? registrar_slot_next_of_key(s, key) : s;
}

struct slot *registrar_slot_next_of_key(const struct slot *s, const uint8_t key[static 32])
{
	struct slot *n = s->next_key;
	while (n && memcmp(n->rec.key, key, 32) != 0)
		n = n->next_key;
	return n;
}

/*
 * A key that took another id keeps its former lease in the table (the id's address stays): the one
 * in use is the one that was not released, else the newest.
 */
struct slot *registrar_slot_find_key(const struct registrar *r, const uint8_t key[static 32])
{
	struct slot *best = NULL, *s = registrar_slot_first_of_key(r, key);
	for (; s; s = registrar_slot_next_of_key(s, key)) {
		if (s->state != LEASE_HELD)
			continue;
		if (!best || (best->released && !s->released) ||
		    (best->released == s->released && s->rec.granted > best->rec.granted))
			best = s;
	}
	return best;
}

struct slot *registrar_slot_at(const struct registrar *r, member_number number)
{
	return number && number <= r->limit ? r->slots[number] : NULL;
}

static void slot_reset(struct slot *s, member_number number)
{
	uint64_t changed = s->changed;
	memset(s, 0, sizeof(*s));
	s->rec.number = number;
	s->changed = changed; /* the tombstone of whoever had it */
	node_init(&s->ready);
	node_init(&s->inflight);
	s->offline.kind = TIMER_OFFLINE;
	s->tell.kind = TIMER_CHANGED;
}

struct slot *registrar_slot_make(struct registrar *r, member_number number)
{
	struct slot *s = r->slots[number];
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return NULL;
		r->slots[number] = s;
	} else {
		node_remove(&s->ready);
		node_remove(&s->inflight);
		heap_cancel(&r->heap, &s->offline.t);
		heap_cancel(&r->heap, &s->tell.t);
	}
	slot_reset(s, number);
	if (number > r->top)
		r->top = number;
	return s;
}

/* A number whose address lies in a prefix behind some member would be reached there, not here. */
static bool behind_member(const struct registrar *r, member_number n)
{
	struct addr a = member_addr(&r->cfg.prefix4, n);
	for (size_t i = 0; i < r->cfg.nroutes; i++)
		if (prefix_contains(&r->routes[i].prefix, &a))
			return true;
	return false;
}

static bool number_free(const struct registrar *r, member_number n)
{
	return registrar_owns(r, n) && (!r->slots[n] || r->slots[n]->state == LEASE_FREE) &&
	       !behind_member(r, n);
}

member_number registrar_slot_free_number(struct registrar *r)
{
	for (member_number n = r->first_free; n <= r->limit; n++) {
		if (number_free(r, n) && !(r->slots[n] && r->slots[n]->removed)) {
			r->first_free = n;
			return n;
		}
	}
	r->first_free = r->limit + 1;
	/* Those of removed keys come last: the longer they are nobody's, the more have heard it. */
	for (member_number n = 1; n <= r->limit; n++)
		if (number_free(r, n))
			return n;
	return 0;
}

void registrar_slot_index(struct registrar *r, struct slot *s)
{
	struct slot **id = &r->by_id[bucket(r, s->rec.id, strlen(s->rec.id))];
	struct slot **key = &r->by_key[bucket(r, s->rec.key, 32)];
	s->next_id = *id;
	*id = s;
	s->next_key = *key;
	*key = s;
	r->leases++;
}

void registrar_slot_unindex(struct registrar *r, struct slot *s)
{
	struct slot **id = &r->by_id[bucket(r, s->rec.id, strlen(s->rec.id))];
	struct slot **key = &r->by_key[bucket(r, s->rec.key, 32)];
	while (*id != s)
		id = &(*id)->next_id;
	*id = s->next_id;
	while (*key != s)
		key = &(*key)->next_key;
	*key = s->next_key;
	r->leases--;
	if (s->rec.number < r->first_free)
		r->first_free = s->rec.number;
}

bool registrar_table_init(struct registrar *r)
{
	member_number hosts = member_number_max(&r->cfg.prefix4, &r->cfg.prefix6);
	/* Numbers stay small; a lease from when more members were allowed keeps its number. */
	member_number most = r->cfg.max_members > UINT16_MAX ? r->cfg.max_members : UINT16_MAX;
	r->limit = hosts < most ? hosts : most;
	if (!r->limit || !r->cfg.max_members)
		return false;
	r->first_free = 1;
	r->buckets = 64;
	while (r->buckets < r->limit)
		r->buckets *= 2;
	r->slots = calloc((size_t)r->limit + 1, sizeof(*r->slots));
	r->by_id = calloc(r->buckets, sizeof(*r->by_id));
	r->by_key = calloc(r->buckets, sizeof(*r->by_key));
	return r->slots && r->by_id && r->by_key;
}

void registrar_table_free(struct registrar *r)
{
	for (member_number n = 0; r->slots && n <= r->top; n++)
		free(r->slots[n]);
	free(r->slots);
	free(r->by_id);
	free(r->by_key);
}
