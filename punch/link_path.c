/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Candidates, and the choice among those that are proven.
 *
 * A path is proven by the answer to a transaction id that was sent over it, and by nothing else. The
 * cheapest proven direct path carries the data. Cost is the smoothed round trip, with a bonus for
 * private addresses (a LAN path beside a hairpin through the NAT) and for IPv6 (no NAT to forget
 * us), and a malus for loss. The path in use stays until another is cheaper by a tenth and by a
 * millisecond, and by more than its own round trips differ: a machine without time for us makes those
 * longer that it measures most often, which are those of the path in use.
 *
 * When the path in use dies, data goes to another direct path only if that answered a moment ago, or
 * if the relay is dead too: an alternative that was last heard 20 s ago probably shares the fate of
 * the first, while the relay loses nothing, and the alternative is taken one round trip later if it
 * answers.
 */
#include "punch/link_core.h"

#define FRESH (5 * NSEC_PER_SEC) /* so recent an answer moves data without another */
#define STALE (3 * NSEC_PER_SEC) /* older: asked before it carries fresh data */
#define PACE_ACTIVE (2 * NSEC_PER_SEC)
#define PACE_RELAY_ACTIVE (5 * NSEC_PER_SEC)
#define PACE_IDLE (20 * NSEC_PER_SEC) /* NATs keep a binding for 30 s or more */
#define WANT_AGAIN (5 * NSEC_PER_SEC)
#define REFRESH (60 * NSEC_PER_SEC)
#define HYSTERESIS NSEC_PER_MSEC
#define PRIVATE_BONUS (2 * NSEC_PER_MSEC)
#define LOSS_COST (NSEC_PER_MSEC / 10) /* for each 1/256, */
enum { LOSS_NOTICED = 26 };	       /* from a tenth on: one lost ping proves nothing */

/* RFC 1918, RFC 4193, link-local: addresses that only the same site reaches. */
static bool addr_is_private(const struct addr *a)
{
	if (addr_is_link_local(a))
		return true;
	if (!addr_is_v4(a))
		return (a->b[0] & 0xfe) == 0xfc;
	uint32_t v4 = addr_to_v4(a);
	return v4 >> 24 == 10 || v4 >> 20 == 0xac1 || v4 >> 16 == 0xc0a8;
}

bool endpoint_probeable(const struct endpoint *e)
{
	const struct addr *a = &e->addr;
	if (e->port == 0 || addr_is_any(a) || addr_is_multicast(a) || addr_is_loopback(a))
		return false;
	if (addr_is_v4(a)) /* 0/8 is "this network", 240/4 and up reserved and broadcast */
		return a->b[12] != 0 && a->b[12] < 240 && !addr_is_link_local(a);
	/* Without its interface a link-local address says nothing. */
	return !addr_is_link_local(a) || e->scope != 0;
}

struct slot *link_slot_at(struct link *l, const struct endpoint *remote)
{
	for (int i = SLOT_RELAY + 1; i < SLOTS; i++)
		if (l->slots[i].used && endpoint_eq(&l->slots[i].path.remote, remote))
			return &l->slots[i];
	return NULL;
}

void link_forget_pending(struct link *l, const struct slot *s)
{
	for (unsigned i = 0; i < PENDING_PINGS; i++)
		if (l->pending[i].slot == slot_index(l, s))
			l->pending[i].slot = NO_SLOT;
}

/* A free slot, or else the oldest of those that never answered or do not any more. */
static struct slot *slot_to_fill(struct link *l)
{
	struct slot *oldest = NULL;
	for (int i = SLOT_RELAY + 1; i < SLOTS; i++) {
		struct slot *s = &l->slots[i];
		if (!s->used)
			return s;
		if (!s->proven && (!oldest || s->added < oldest->added))
			oldest = s;
	}
	return oldest;
}

struct slot *link_add_candidate(struct link *l, nsec now, const struct endpoint *remote)
{
	if (!endpoint_probeable(remote) || links_relay_at(l->all, remote))
		return NULL;
	struct slot *s = slot_to_fill(l);
	if (!s)
		return NULL;
	link_forget_pending(l, s);
	slot_set(s, &(struct slot){ .path.remote = *remote,
				    .used = true,
				    .round = UINT8_MAX,
				    .next = NSEC_NEVER,
				    .added = now });
	return s;
}

void link_probe(struct slot *s, nsec now)
{
	if (s->proven) {
		if (s->tries == 0)
			s->next = now;
		return;
	}
	/* The kernel chooses the source anew: the one that it had may be why nobody answered. */
	s->path.local = addr_any;
	s->path.ifindex = 0;
	s->round = 0;
	s->next = now;
}

void link_probe_all(struct link *l, nsec now)
{
	for (int i = SLOT_RELAY + 1; i < SLOTS; i++)
		if (l->slots[i].used)
			link_probe(&l->slots[i], now);
	link_ready(l);
}

static nsec cost(const struct slot *s)
{
	nsec c = s->rtt_low;
	if (!addr_is_v4(&s->path.remote.addr))
		c -= c / 10;
	if (addr_is_private(&s->path.remote.addr))
		c -= PRIVATE_BONUS;
	if (s->loss >= LOSS_NOTICED)
		c += s->loss * LOSS_COST;
	return c;
}

static bool clearly_cheaper(const struct slot *a, const struct slot *than)
{
	nsec old = cost(than);
	return cost(a) < old - nsec_max(nsec_max(old / 10, HYSTERESIS), 3 * than->rtt_spread);
}

static struct slot *cheapest(struct link *l)
{
	struct slot *best = NULL;
	for (int i = SLOT_RELAY + 1; i < SLOTS; i++) {
		struct slot *s = &l->slots[i];
		if (s->used && s->proven && (!best || cost(s) < cost(best)))
			best = s;
	}
	return best;
}

bool link_worth_keeping(const struct link *l, const struct slot *s)
{
	unsigned better = 0;
	for (int i = SLOT_RELAY + 1; i < SLOTS; i++) {
		const struct slot *o = &l->slots[i];
		if (o == s || !o->used || !o->proven || i == l->chosen)
			continue;
		better += cost(o) < cost(s) || (cost(o) == cost(s) && o < s);
	}
	return better < KEPT_ALTERNATIVES;
}

nsec link_pace(const struct link *l, const struct slot *s, nsec now)
{
	int32_t i = slot_index(l, s);
	if (i != l->chosen || !link_is_active(l, now))
		return PACE_IDLE;
	return i == SLOT_RELAY ? PACE_RELAY_ACTIVE : PACE_ACTIVE;
}

/* What link_choose() decides, without consequences. */
static int32_t best_slot(struct link *l, nsec now)
{
	const struct slot *relay = &l->slots[SLOT_RELAY], *best = cheapest(l);
	bool relay_lives = relay->used && !relay->dead;
	if (!best)
		return relay->used ? SLOT_RELAY : NO_SLOT;
	if (link_is_direct(l) && l->slots[l->chosen].proven) {
		const struct slot *cur = &l->slots[l->chosen];
		return clearly_cheaper(best, cur) ? slot_index(l, best) : l->chosen;
	}
	/* Of several that are proven the cheapest may be a stale one: any fresh one will do now. */
	if (now - best->last_answer <= FRESH || !relay_lives)
		return slot_index(l, best);
	for (int i = SLOT_RELAY + 1; i < SLOTS; i++) {
		const struct slot *s = &l->slots[i];
		if (s->used && s->proven && now - s->last_answer <= FRESH)
			return i;
	}
	return SLOT_RELAY;
}

static bool path_eq(const struct path *a, const struct path *b)
{
	return a->relay == b->relay && endpoint_eq(&a->remote, &b->remote) &&
	       addr_eq(&a->local, &b->local) && a->ifindex == b->ifindex;
}

/* A direct path was found, or the last one was lost. */
static void directness_changed(struct link *l, nsec now)
{
	if (link_is_direct(l)) {
		l->want_at = NSEC_NEVER;
		l->backoff = 0;
		l->refresh_at = now + links_jitter(REFRESH);
		return;
	}
	l->refresh_at = NSEC_NEVER;
	/* A path that comes and goes must not make a flood of introductions. */
	if (l->want_at == NSEC_NEVER)
		l->want_at = l->last_want ? nsec_max(now, l->last_want + WANT_AGAIN) : now;
}

void link_choose(struct link *l, nsec now)
{
	bool was_direct = link_is_direct(l);
	int32_t before = l->chosen;
	struct path none = { 0 };

	l->chosen = best_slot(l, now);
	l->current = l->chosen == NO_SLOT ? none : l->slots[l->chosen].path;
	l->changed =
		!path_eq(&l->current, &l->announced) || l->has_announced != (l->chosen != NO_SLOT);
	if (was_direct != link_is_direct(l))
		directness_changed(l, now);
	if (l->chosen != before && l->chosen != NO_SLOT) {
		struct slot *s = &l->slots[l->chosen];
		bool stale = now - s->last_answer > STALE && link_is_active(l, now);
		if (s->tries == 0)
			s->next = nsec_min(s->next, stale ? now : now + link_pace(l, s, now));
		link_search(l, now, s);
	}
	link_ready(l);
}

static void take_sample(struct slot *s, nsec sample)
{
	if (!s->rtt) {
		s->rtt = s->rtt_low = sample;
		return;
	}
	nsec off = sample > s->rtt ? sample - s->rtt : s->rtt - sample;
	s->rtt_spread += (off - s->rtt_spread) / 8;
	s->rtt += (sample - s->rtt) / 8;
	s->rtt_low = nsec_min(sample, s->rtt_low + (sample - s->rtt_low) / 8);
}

void link_answered(struct link *l, nsec now, struct slot *s, const struct pending_ping *ping)
{
	bool first = !s->proven;
	take_sample(s, nsec_max(now - ping->sent, 1));
	s->loss = (uint8_t)(s->loss - (s->loss + 15) / 16);
	s->answered++;
	s->last_answer = now;
	if (s->path.relay)
		link_relay_answered(l);
	s->proven = true;
	s->dead = false;
	s->tries = 0;
	s->round = UINT8_MAX;
	s->next =
		NSEC_NEVER; /* so that the choice, when it falls on this slot, sets its own pace */
	link_choose(l, now);
	link_search(l, now, s);
	nsec pace = link_pace(l, s, now);
	s->next = nsec_min(s->next, now + (first ? links_spread(pace) : links_jitter(pace)));
}

void link_unprove(struct link *l, nsec now, struct slot *s)
{
	bool carried = l->chosen == slot_index(l, s);
	s->proven = false;
	s->tries = 0;
	s->round = UINT8_MAX;
	s->next = NSEC_NEVER;
	slot_end_search(s);
	link_choose(l, now);
	if (carried)
		link_probe_all(l, now);
}
