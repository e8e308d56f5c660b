/* SPDX-License-Identifier: Apache-2.0 */
/* The set of links: made, found, told of introductions and changes of the network. */
#include "punch/link_core.h"

#include <sodium.h>
#include <stdlib.h>

/* Longer than five heartbeats: the pause between two queries must not count as silence. */
#define ACTIVE_FOR (10 * NSEC_PER_SEC)
#define STALE (3 * NSEC_PER_SEC)

struct links *links_new(const struct links_config *cfg)
{
	uint32_t size = 16;
	while (size < cfg->max_links && size < (uint32_t)1 << 20)
		size *= 2;
	struct links *ls = calloc(1, sizeof(*ls) + size * sizeof(ls->table[0]));
	if (!ls)
		return NULL;
	ls->cfg = *cfg;
	ls->mask = size - 1;
	ls->relay_tx = cfg->boot;
	ls->ready_last = &ls->ready_first;
	ls->arena = arena_new(OUTER_KEY_LEN, (size_t)cfg->max_links + MAX_RELAYS);
	if (!ls->arena) {
		free(ls);
		return NULL;
	}
	for (unsigned i = 0; i < MAX_RELAYS; i++) {
		ls->relays[i].key = arena_get(ls->arena);
		ls->relays[i].window =
			(struct replay){ .words = RELAY_REPLAY_WORDS, .ring = ls->relays[i].ring };
	}
	return ls;
}

static void link_free(struct link *l)
{
	for (int i = 0; i < SLOTS; i++)
		free(l->slots[i].mtu);
	arena_put(l->all->arena, l->key);
	free(l);
}

void links_free(struct links *ls)
{
	if (!ls)
		return;
	for (uint32_t i = 0; i <= ls->mask; i++) {
		for (struct link *l = ls->table[i], *next; l; l = next) {
			next = l->hash_next;
			link_free(l);
		}
	}
	arena_free(ls->arena);
	free(ls);
}

/* Where the pointer to link `number` is, or would be. Numbers are dealt in sequence: no hash. */
static struct link **place_of(struct links *ls, uint32_t number)
{
	struct link **at = &ls->table[number & ls->mask];
	while (*at && (*at)->number != number)
		at = &(*at)->hash_next;
	return at;
}

struct link *link_find(struct links *ls, uint32_t number)
{
	return *place_of(ls, number);
}

void *link_user(const struct link *l)
{
	return l->user;
}

const struct path *link_path(const struct link *l)
{
	return l->chosen == NO_SLOT ? NULL : &l->current;
}

struct link *link_add(struct links *ls, nsec now, uint32_t number,
		      const uint8_t key[static OUTER_KEY_LEN], void *user)
{
	struct link **at = place_of(ls, number);
	if (*at || ls->count >= ls->cfg.max_links)
		return NULL;
	struct link *l = calloc(1, sizeof(*l));
	if (!l || !(l->key = arena_get(ls->arena))) {
		free(l);
		return NULL;
	}
	l->all = ls;
	l->number = number;
	l->user = user;
	memcpy(l->key, key, OUTER_KEY_LEN);
	l->tx_counter = ls->counter_floor;
	l->window = (struct replay){ .words = OUTER_REPLAY_WORDS, .ring = l->ring };
	l->chosen = NO_SLOT;
	l->relay = ls->good_relay;
	l->want_at = now;
	l->refresh_at = NSEC_NEVER;
	l->look_at = NSEC_NEVER;
	for (unsigned i = 0; i < PENDING_PINGS; i++)
		l->pending[i].slot = NO_SLOT;
	for (int i = 0; i < SLOTS; i++)
		l->slots[i].next = NSEC_NEVER;
	*at = l;
	ls->count++;
	link_point_at_relay(l, now);
	return l;
}

/* Another key may be another node under the same number: nothing of before holds. */
void link_set_key(struct link *l, const uint8_t key[static OUTER_KEY_LEN])
{
	if (sodium_memcmp(l->key, key, OUTER_KEY_LEN) == 0)
		return;
	memcpy(l->key, key, OUTER_KEY_LEN);
	memset(l->ring, 0, sizeof(l->ring));
	l->window.greatest = 0;
	l->peer_boot = 0;
	for (unsigned i = 0; i < PENDING_PINGS; i++)
		l->pending[i].slot = NO_SLOT;
	for (int i = SLOT_RELAY + 1; i < SLOTS; i++)
		if (l->slots[i].proven)
			link_unprove(l, l->all->latest, &l->slots[i]);
	link_probe_all(l, l->all->latest);
}

static void for_each(struct links *ls, nsec now, void (*fn)(struct link *l, nsec now))
{
	for (uint32_t i = 0; i <= ls->mask; i++)
		for (struct link *l = ls->table[i]; l; l = l->hash_next)
			fn(l, now);
}

static void leave_ready_list(struct links *ls, struct link *l)
{
	struct link **at = &ls->ready_first;
	while (*at && *at != l)
		at = &(*at)->ready_next;
	if (!*at)
		return;
	*at = l->ready_next;
	if (!*at)
		ls->ready_last = at;
}

static void drop_pongs(struct links *ls, const struct link *l)
{
	for (unsigned i = 0; i < ls->pong_count; i++) {
		struct pong *p = &ls->pongs[(ls->pong_first + i) % PONG_QUEUE];
		if (p->link == l)
			p->link = NULL;
	}
}

void link_remove(struct link *l)
{
	struct links *ls = l->all;
	heap_cancel(&ls->heap, &l->timer);
	if (l->ready)
		leave_ready_list(ls, l);
	drop_pongs(ls, l);
	*place_of(ls, l->number) = l->hash_next;
	ls->count--;
	/* Added again in this run, its counter goes on: the peer's window still knows the old ones. */
	if (l->tx_counter > ls->counter_floor)
		ls->counter_floor = l->tx_counter;
	link_free(l);
}

void link_introduce(struct link *l, nsec now, const struct endpoint *c, size_t n)
{
	bool news = false;
	for (size_t i = 0; i < n; i++)
		if (!link_slot_at(l, &c[i]))
			news |= link_add_candidate(l, now, &c[i]) != NULL;
	/* New hope: if it fails, the next introduction is asked for soon. One that is due stays. */
	if (news && !link_is_direct(l) && l->want_at > now) {
		l->want_at = now + link_backoff(0);
		l->backoff = 1;
	}
	if (l->slots[SLOT_RELAY].used && l->slots[SLOT_RELAY].tries == 0)
		l->slots[SLOT_RELAY].next = now;
	link_probe_all(l, now);
}

static void network_changed(struct link *l, nsec now)
{
	for (int i = 0; i < SLOTS; i++) {
		struct slot *s = &l->slots[i];
		if (!s->used)
			continue;
		/* The address or interface that it was bound to may be gone. */
		s->path.local = addr_any;
		s->path.ifindex = 0;
		if (i == SLOT_RELAY)
			s->next = s->tries ? s->next : now;
		else
			link_probe(s, now);
	}
	link_look(l, now);
	l->backoff = 0;
	/* Not all at the same instant: one millisecond for each, two seconds at most. */
	uint32_t spread = l->all->count < 2000 ? l->all->count : 2000;
	l->want_at = now + (nsec)randombytes_uniform(spread * 1000) * 1000;
	link_choose(l, now);
}

void links_network_changed(struct links *ls, nsec now)
{
	memset(ls->observations, 0, sizeof(ls->observations));
	for_each(ls, now, network_changed);
}

void link_active(struct link *l, nsec now)
{
	bool was_idle = !link_is_active(l, now);
	l->active_until = now + ACTIVE_FOR;
	if (!was_idle || l->chosen == NO_SLOT)
		return;
	struct slot *s = &l->slots[l->chosen];
	if (s->tries)
		return;
	/* After a rest the path is asked whether it still is there, before much is sent over it. */
	nsec due = now - s->last_answer > STALE ? now : s->last_answer + link_pace(l, s, now);
	if (due < s->next) {
		s->next = due;
		link_ready(l);
	}
}

/* Those that were sent and are neither answered nor on their way any more. */
static uint32_t count_lost(const struct link *l, const struct slot *s)
{
	uint32_t waiting = 0;
	for (unsigned i = 0; i < PENDING_PINGS; i++)
		waiting += l->pending[i].slot == slot_index(l, s);
	uint32_t missing = s->sent - s->answered;
	return missing > waiting ? missing - waiting : 0;
}

nsec link_rtt(const struct link *l)
{
	return l->chosen == NO_SLOT ? 0 : l->slots[l->chosen].rtt_low;
}

size_t link_paths(const struct link *l, struct link_path_info *out, size_t cap)
{
	size_t n = 0;
	for (int i = 0; i < SLOTS && n < cap; i++) {
		const struct slot *s = &l->slots[i];
		if (!s->used)
			continue;
		out[n++] = (struct link_path_info){ .path = s->path,
						    .proven = s->proven,
						    .in_use = i == l->chosen,
						    .rtt = s->rtt,
						    .last_answer = s->last_answer,
						    .sent = s->sent,
						    .lost = count_lost(l, s),
						    .mtu = s->mtu };
	}
	return n;
}
