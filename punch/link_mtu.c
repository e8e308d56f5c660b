/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The path MTU search of each path of a link. It begins when there is a session and the path is
 * proven: at once for the path in use and for the relay, which a link may fall back to at any time; for
 * another one when it has answered a second time, that is when it is kept as an alternative.
 */
#include "punch/link_core.h"

#include <sodium.h>
#include <stdlib.h>

enum { UNKNOWN_LOCAL_MTU = 1500, V4_HEADER = 20, V6_HEADER = 40, V6_MORE = V6_HEADER - V4_HEADER };

/*
 * All links together search with 1 MB/s, 256 KB at once: a thousand of them that begin at the same
 * moment take their turns.
 */
#define SEARCH_COST(bytes) ((nsec)(bytes)*1000)
#define SEARCH_DEPTH SEARCH_COST(256000)
#define SEARCH_WAIT (10 * NSEC_PER_MSEC)
#define LOOK_EVERY NSEC_PER_SEC

uint32_t path_around(const struct path *p)
{
	return (addr_is_v4(&p->remote.addr) ? V4_HEADER : V6_HEADER) + 8u +
	       (p->relay ? RELAY_HEADER_LEN : 0);
}

uint32_t path_floor(const struct path *p)
{
	bool v4 = addr_is_v4(&p->remote.addr);
	uint32_t leg = v4 ? PMTU_MIN_V4 : PMTU_MIN_V6;
	/* the same message over IPv4, where its headers are the smaller ones as well */
	uint32_t other = PMTU_MIN_V4 + (v4 ? 0 : V6_MORE);
	return p->relay && other < leg ? other : leg;
}

void slot_set(struct slot *s, const struct slot *value)
{
	struct pmtu *m = s->mtu;
	*s = *value;
	s->mtu = m;
	if (m)
		pmtu_init(m, path_floor(&s->path), path_around(&s->path));
}

void slot_end_search(struct slot *s)
{
	if (s->mtu)
		pmtu_stop(s->mtu);
}

static bool searching(const struct slot *s)
{
	return s->mtu && s->mtu->state != PMTU_DISABLED;
}

struct local_way local_way_of(local_way_fn *ask, void *ctx, const struct addr *remote)
{
	struct local_way way = { 0 };
	if (ask)
		way = ask(ctx, remote);
	if (!way.mtu)
		way.mtu = UNKNOWN_LOCAL_MTU;
	return way;
}

static struct local_way ask_way(const struct links *ls, const struct addr *remote)
{
	return local_way_of(ls->cfg.local_way, ls->cfg.ctx, remote);
}

/* The kernel is asked once for a relay, which all links have, however many search it now. */
static struct local_way local_way(struct links *ls, nsec now, const struct slot *s)
{
	struct relay_hop *r = s->path.relay ? links_relay_at(ls, &s->path.remote) : NULL;
	if (!r)
		return ask_way(ls, &s->path.remote.addr);
	if (r->way_asked != now || !r->way.mtu) {
		r->way = ask_way(ls, &r->at.addr);
		r->way_asked = now;
	}
	return r->way;
}

bool link_leads_nowhere(struct link *l, nsec now, const struct slot *s)
{
	return local_way(l->all, now, s).none;
}

/* A new name each time: an answer to what another search asked is not one to this. */
static void begin(struct link *l, nsec now, struct slot *s)
{
	if (!s->mtu) {
		s->mtu = malloc(sizeof(*s->mtu));
		if (!s->mtu)
			return; /* the smallest size goes on */
		pmtu_init(s->mtu, path_floor(&s->path), path_around(&s->path));
	}
	s->way = local_way(l->all, now, s);
	pmtu_start(s->mtu, now, randombytes_uniform(UINT32_MAX - 1) + 1, s->way.mtu);
	link_ready(l);
}

void link_search(struct link *l, nsec now, struct slot *s)
{
	int32_t i = slot_index(l, s);
	bool kept = s->answered > 1 && link_worth_keeping(l, s);
	bool wanted = i == l->chosen || i == SLOT_RELAY || kept;
	if (l->session && s->used && s->proven && wanted && !searching(s))
		begin(l, now, s);
}

/* A container that starts on this host says nothing of the paths to others. */
static void look(struct link *l, nsec now)
{
	l->look_at = NSEC_NEVER;
	l->looked_at = now;
	for (int i = 0; i < SLOTS; i++) {
		struct slot *s = &l->slots[i];
		if (!s->used || !searching(s))
			continue;
		struct local_way way = local_way(l->all, now, s);
		if (way.mtu == s->way.mtu && way.tag == s->way.tag)
			continue;
		s->mtu->batching = (struct batching){ 0 }; /* through another driver, maybe */
		begin(l, now, s);
	}
}

void link_look(struct link *l, nsec now)
{
	l->look_at = l->looked_at ? nsec_max(now, l->looked_at + LOOK_EVERY) : now;
	if (l->look_at <= now)
		look(l, now);
}

void link_session_up(struct link *l, nsec now)
{
	l->session = true;
	for (int i = 0; i < SLOTS; i++)
		link_search(l, now, &l->slots[i]);
}

const struct pmtu *link_pmtu(const struct link *l)
{
	return l->chosen == NO_SLOT ? NULL : l->slots[l->chosen].mtu;
}

uint32_t link_message_max(const struct link *l)
{
	const struct pmtu *m = link_pmtu(l);
	if (l->chosen == NO_SLOT)
		return 0;
	return (m ? m->size : path_floor(&l->current)) - path_around(&l->current);
}

/* The search may have something to do sooner than the link's timer says. */
static void wake(struct link *l, const struct pmtu *m)
{
	if (!timer_armed(&l->timer) || pmtu_deadline(m) < l->timer.at)
		link_ready(l);
}

void link_sent(struct link *l, nsec now, uint32_t len, uint32_t count)
{
	struct pmtu *m = l->chosen == NO_SLOT ? NULL : l->slots[l->chosen].mtu;
	if (!m)
		return;
	pmtu_sent(m, now, len + path_around(&l->current), count);
	wake(l, m);
}

void link_probe_ack(struct link *l, nsec now, const struct frame_ack *ack)
{
	for (int i = 0; i < SLOTS; i++)
		if (l->slots[i].mtu)
			pmtu_acked(l->slots[i].mtu, now, ack);
	link_ready(l);
}

void link_too_big(struct link *l, nsec now, const struct endpoint *to, bool relayed, uint32_t mtu)
{
	struct slot *s = relayed ? &l->slots[SLOT_RELAY] : link_slot_at(l, to);
	if (!s || !searching(s) || !endpoint_eq(&s->path.remote, to))
		return;
	pmtu_too_big(s->mtu, now, mtu);
	link_ready(l);
}

void links_local_mtu(struct links *ls, nsec now, const struct addr *to, uint32_t mtu)
{
	uint32_t known = ask_way(ls, to).mtu;
	if (mtu > known)
		mtu = known;
	for (uint32_t i = 0; i <= ls->mask; i++) {
		for (struct link *l = ls->table[i]; l; l = l->hash_next) {
			for (int k = 0; k < SLOTS; k++) {
				struct slot *s = &l->slots[k];
				if (!searching(s) || !addr_eq(&s->path.remote.addr, to))
					continue;
				s->way.mtu = mtu;
				pmtu_set_max(s->mtu, now, mtu);
				link_ready(l);
			}
		}
	}
}

struct link *links_quoted(struct links *ls, const struct endpoint *relay, const uint8_t *quote,
			  size_t len)
{
	/* so many relay messages may have left since: more than a second's worth */
	enum { OF_LATE = 1 << 20 };
	struct relay_msg m;

	if (!links_relay_at(ls, relay) || len < RELAY_HEADER_LEN ||
	    relay_peek(quote, len, &m) != DROP_NONE)
		return NULL;
	bool ours = m.source == ls->cfg.self && m.counter < ls->relay_tx &&
		    ls->relay_tx - m.counter <= OF_LATE;
	return ours ? link_find(ls, m.destination) : NULL;
}

/* What is gained bit by bit after a search is told when it is a sixteenth, and at its end. */
enum { WORTH_A_LINE = 16 };

bool mtu_changed(const struct pmtu *m, struct mtu_told *told, struct link_mtu *out)
{
	bool settled = m->state == PMTU_SEARCH_COMPLETE && pmtu_settled(m);
	bool more = m->size > told->logged && m->size - told->logged >= told->logged / WORTH_A_LINE;
	bool done =
		m->state == PMTU_SEARCH_COMPLETE && m->size != told->logged && (settled || more);
	bool smaller = m->size < told->size && m->state != PMTU_DISABLED;

	bool singles = m->batching.state == BATCHING_SINGLES;

	if (m->size == told->size && m->state == told->state && settled == told->settled &&
	    singles == told->singles)
		return false;
	*out = (struct link_mtu){ .size = m->size,
				  .was = told->logged,
				  .reason = m->reason,
				  .news = done || (smaller && told->logged),
				  .singles = singles,
				  .singles_news = singles != told->singles };
	told->singles = singles;
	told->size = m->size;
	told->settled = settled;
	told->state = m->state;
	if (out->news)
		told->logged = m->size;
	return true;
}

static bool tell(struct link *l, struct slot *s, struct link_output *out)
{
	if (!mtu_changed(s->mtu, &s->told, &out->mtu))
		return false;
	out->event = LINK_MTU;
	out->link = l;
	out->path = s->path;
	out->mtu.in_use = slot_index(l, s) == l->chosen;
	return true;
}

/* The bucket is looked at before, so that a search of its own pace waits rather than loses probes. */
static bool probe(struct link *l, nsec now, struct slot *s, struct link_output *out)
{
	struct links *ls = l->all;
	struct pmtu_probe p;
	if (pmtu_deadline(s->mtu) > now || ls->search.busy - now > SEARCH_DEPTH ||
	    !pmtu_poll(s->mtu, now, s->rtt, &p))
		return false;
	ls->search.busy = nsec_max(ls->search.busy, now) + SEARCH_COST(p.size);
	out->event = LINK_PROBE;
	out->link = l;
	out->path = s->path;
	out->probe = p.frame;
	out->message = p.size - path_around(&s->path);
	return true;
}

bool link_poll_mtu(struct link *l, nsec now, struct link_output *out)
{
	if (now >= l->look_at)
		look(l, now);
	for (int i = 0; i < SLOTS; i++) {
		struct slot *s = &l->slots[i];
		if (s->mtu && (tell(l, s, out) || probe(l, now, s, out) || tell(l, s, out)))
			return true;
	}
	return false;
}

nsec link_mtu_deadline(const struct link *l)
{
	nsec at = NSEC_NEVER;
	for (int i = 0; i < SLOTS; i++)
		if (l->slots[i].mtu)
			at = nsec_min(at, pmtu_deadline(l->slots[i].mtu));
	/* while the bucket is empty there is no use in coming back sooner */
	nsec earliest = l->all->search.busy - SEARCH_DEPTH + SEARCH_WAIT;
	if (at != NSEC_NEVER)
		at = nsec_max(at, earliest);
	return nsec_min(at, l->look_at);
}
