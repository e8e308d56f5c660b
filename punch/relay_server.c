/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relay: takes a datagram of one member and hands it to another, with the header made anew for
 * the next hop. It reads nothing of the datagram but whether it is itself a relay message (refused:
 * no loops). It answers nobody, so it amplifies nothing.
 *
 * An old message of a member, recorded before a restart of the relay, passes once afterwards, until
 * the member's next one: it may point the relay at a wrong address for that time. What it carries is
 * a replay for its receiver.
 */
#include "base/arena.h"
#include "base/replay.h"
#include "punch/bucket.h"
#include "punch/link.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

enum { REPLAY_WORDS = 32768 / 64 };

#define DEFAULT_RATE ((uint64_t)64 << 20)
#define DEFAULT_BURST ((uint64_t)16 << 20)
#define MAX_RATE ((uint64_t)1 << 40)

struct relay_member {
	struct relay_member *next; /* in its bucket of the table */
	uint32_t number;
	bool has_address;
	uint8_t *key; /* RELAY_KEY_LEN, in the arena */
	struct endpoint at;
	uint64_t tx; /* counter of the next message to it */
	struct bucket bucket;
	struct relay_counts sent;
	struct replay window;
	uint64_t ring[REPLAY_WORDS];
};

struct relay_server {
	struct arena *keys;
	uint32_t max, count, mask;
	uint32_t found;
	uint64_t floor; /* no counter towards anybody was ever this great: where new ones begin */
	uint64_t rate, burst;
	struct relay_counts total;
	struct relay_member *table[]; /* mask + 1 of them */
};

struct relay_server *relay_server_new(uint32_t max_members, uint64_t boot)
{
	uint32_t size = 16;
	while (size < max_members && size < (uint32_t)1 << 20)
		size *= 2;
	struct relay_server *s = calloc(1, sizeof(*s) + size * sizeof(s->table[0]));
	if (!s)
		return NULL;
	s->keys = arena_new(RELAY_KEY_LEN, size_max(max_members, 1));
	if (!s->keys) {
		free(s);
		return NULL;
	}
	s->max = max_members;
	s->mask = size - 1;
	s->floor = boot;
	relay_server_limit(s, DEFAULT_RATE, DEFAULT_BURST);
	return s;
}

static void member_free(struct relay_server *s, struct relay_member *m)
{
	arena_put(s->keys, m->key);
	free(m);
}

void relay_server_free(struct relay_server *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i <= s->mask; i++) {
		for (struct relay_member *m = s->table[i], *next; m; m = next) {
			next = m->next;
			member_free(s, m);
		}
	}
	arena_free(s->keys);
	free(s);
}

/* Where the pointer to member `number` is, or would be. Numbers are dealt in sequence: no hash. */
static struct relay_member **slot_of(struct relay_server *s, uint32_t number)
{
	struct relay_member **at = &s->table[number & s->mask];
	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

static const struct relay_member *find(const struct relay_server *s, uint32_t number)
{
	const struct relay_member *m = s->table[number & s->mask];
	while (m && m->number != number)
		m = m->next;
	return m;
}

static void set_key(struct relay_member *m, const uint8_t key[static RELAY_KEY_LEN])
{
	/* The same key again keeps the window: else a caller's refresh would let replays in. */
	if (sodium_memcmp(m->key, key, RELAY_KEY_LEN) == 0)
		return;
	memcpy(m->key, key, RELAY_KEY_LEN);
	memset(m->ring, 0, sizeof(m->ring));
	m->window.greatest = 0;
}

int relay_server_set(struct relay_server *s, uint32_t number,
		     const uint8_t key[static RELAY_KEY_LEN])
{
	struct relay_member **at = slot_of(s, number), *m = *at;
	if (m) {
		set_key(m, key);
		return 0;
	}
	if (s->count == s->max)
		return -ENOSPC;
	m = calloc(1, sizeof(*m));
	if (!m || !(m->key = arena_get(s->keys))) {
		free(m);
		return -ENOMEM;
	}
	m->number = number;
	memcpy(m->key, key, RELAY_KEY_LEN);
	m->tx = s->floor;
	m->window = (struct replay){ .words = REPLAY_WORDS, .ring = m->ring };
	*at = m;
	s->count++;
	return 0;
}

bool relay_server_address(struct relay_server *s, uint32_t number, const struct endpoint *at)
{
	struct relay_member *m = *slot_of(s, number);
	if (!m)
		return false;
	m->at = *at;
	m->has_address = true;
	return true;
}

void relay_server_remove(struct relay_server *s, uint32_t number)
{
	struct relay_member **at = slot_of(s, number), *m = *at;
	if (!m)
		return;
	/* It may come back with the same key: its counter goes on from where it was. */
	if (m->tx > s->floor)
		s->floor = m->tx;
	*at = m->next;
	s->count--;
	member_free(s, m);
}

void relay_server_limit(struct relay_server *s, uint64_t bytes_per_second, uint64_t burst)
{
	s->rate = bytes_per_second == 0 ? 1 : bytes_per_second;
	if (s->rate > MAX_RATE)
		s->rate = MAX_RATE;
	s->burst = burst > MAX_RATE ? MAX_RATE : burst;
}

/* Nanoseconds that `bytes` take at the sender's rate, without overflow (both are ≤ 2^40). */
static nsec cost_of(const struct relay_server *s, uint64_t bytes)
{
	uint64_t whole = bytes / s->rate, rest = bytes % s->rate;
	if (whole > (uint64_t)1 << 32)
		whole = (uint64_t)1 << 32; /* 136 years will do */
	return (nsec)whole * NSEC_PER_SEC + (nsec)((double)rest * 1e9 / (double)s->rate);
}

/* The message is its sender's own and new: learns where that is now. */
static enum drop accept_sender(struct relay_server *s, struct relay_member *m,
			       const struct endpoint *from, const uint8_t *p, size_t len,
			       const struct relay_msg *msg)
{
	uint64_t before = m->window.greatest;
	if (!relay_mac_ok(p, len, m->key))
		return DROP_RELAY_BAD_MAC;
	if (!replay_accept(&m->window, msg->counter))
		return DROP_RELAY_REPLAY;
	/* A late one, still within the window, may come from where the member no longer is. */
	if (m->window.greatest != before) {
		if (!m->has_address)
			s->found = m->number;
		m->at = *from;
		m->has_address = true;
	}
	return DROP_NONE;
}

enum drop relay_server_forward(struct relay_server *s, nsec now, const struct endpoint *from,
			       uint8_t *p, size_t len, struct endpoint *to)
{
	struct relay_msg msg;
	enum drop why = relay_peek(p, len, &msg);
	if (why)
		return why;
	struct relay_member *src = *slot_of(s, msg.source);
	if (!src)
		return DROP_RELAY_UNKNOWN_MEMBER;
	why = accept_sender(s, src, from, p, len, &msg);
	if (why)
		return why;
	if (msg.destination == msg.source || p[RELAY_HEADER_LEN] == OUTER_TYPE_RELAY)
		return DROP_RELAY_REFUSED;
	struct relay_member *dst = *slot_of(s, msg.destination);
	if (!dst)
		return DROP_RELAY_UNKNOWN_MEMBER;
	if (!dst->has_address)
		return DROP_RELAY_NO_ADDRESS;
	if (!bucket_take(&src->bucket, now, cost_of(s, len), cost_of(s, s->burst)))
		return DROP_RELAY_RATE;

	size_t inner = len - RELAY_HEADER_LEN;
	struct relay_msg onward = { .destination = msg.destination,
				    .source = msg.source,
				    .counter = dst->tx++ };
	relay_write(p, inner, &onward, dst->key);
	*to = dst->at;
	src->sent.packets++;
	src->sent.bytes += inner;
	s->total.packets++;
	s->total.bytes += inner;
	return DROP_NONE;
}

uint32_t relay_server_found(struct relay_server *s)
{
	uint32_t number = s->found;
	s->found = 0;
	return number;
}

struct relay_counts relay_server_total(const struct relay_server *s)
{
	return s->total;
}

struct relay_counts relay_server_sender(const struct relay_server *s, uint32_t number)
{
	const struct relay_member *m = find(s, number);
	return m ? m->sent : (struct relay_counts){ 0 };
}
