/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The roster: who is online, in versions. Each change of a slot is stamped with a new version, so a
 * member that names the version it knows is sent the slots stamped later, in the order of numbers.
 * Offline slots stamped later are the tombstones. A sweep in pages is not atomic: the member keeps
 * the version of the sweep's first page, so what changed behind the sweep's back is asked for again.
 *
 * For a minute after the start nobody is said to be gone: the members whose leases were loaded are
 * probably alive and on their way back, and their links live on without us.
 */
#include <sodium.h>

#include "punch/registrar_impl.h"

#define COALESCE (250 * NSEC_PER_MSEC)
#define TELL_FIRST (250 * NSEC_PER_MSEC)
#define TELL_MOST NSEC_PER_SEC
#define OFFLINE_AFTER (60 * NSEC_PER_SEC)
#define SETTLE_AFTER (60 * NSEC_PER_SEC)

enum { PAIR_EPOCH = 1 };

/*
 * A question of a hundred bytes brings up to 14 KB, to wherever its sender says that it is: twenty a second of each
 * member, and as many at once as a sweep over the largest roster and its repetitions take.
 */
#define QUESTION_COST (NSEC_PER_SEC / 20)
#define QUESTION_DEPTH (256 * QUESTION_COST)

void registrar_roster_init(struct registrar *r, nsec now)
{
	uint8_t seed[16], h[32];
	int64_t wall = registrar_wall(r, now);
	/* never back, also when the clock's seconds are all that is left of the last run */
	r->roster.version = ((uint64_t)(wall > 0 ? wall : 0) << 16) + 1;
	r->floor = r->roster.version;
	store_be64(seed, (uint64_t)now);
	store_be64(seed + 8, (uint64_t)r->wall);
	derive_key(r->keys->secret, "warren roster instance",
		   (struct bytes_view){ seed, sizeof(seed) }, (struct bytes_view){ "", 0 }, h);
	r->roster.instance = load_be32(h);
	registrar_timer(r, &r->settle, r->start + SETTLE_AFTER);
}

static void next_version(struct registrar *r, nsec now)
{
	int64_t wall = registrar_wall(r, now);
	uint64_t clock = (uint64_t)(wall > 0 ? wall : 0) << 16;
	r->roster.version++;
	if (r->roster.version < clock)
		r->roster.version = clock;
	if (!timer_armed(&r->push.t))
		registrar_timer(r, &r->push, now + COALESCE);
}

void registrar_roster_changed(struct registrar *r, nsec now, struct slot *s)
{
	next_version(r, now);
	s->changed = r->roster.version;
}

void registrar_roster_push(struct registrar *r, nsec now)
{
	for (member_number n = 1; n <= r->top; n++) {
		struct slot *s = r->slots[n];
		if (!s || !s->online || s->asked == r->roster.version)
			continue;
		s->changed_wait = TELL_FIRST;
		registrar_timer(r, &s->tell, now);
	}
}

/* Told until it asks or is offline: at a tenth of the datagrams lost, ten seconds hold ten tries. */
void registrar_roster_tell(struct registrar *r, nsec now, struct slot *s)
{
	if (!s->online || s->asked == r->roster.version)
		return;
	registrar_todo(r, s, TODO_CHANGED);
	registrar_timer(r, &s->tell, now + s->changed_wait);
	s->changed_wait = nsec_min(s->changed_wait * 2, TELL_MOST);
}

void registrar_roster_settle(struct registrar *r, nsec now)
{
	r->settled = true;
	next_version(r, now);
	r->floor = r->roster.version;
}

void registrar_roster_offline(struct registrar *r, nsec now, struct slot *s)
{
	if (!s->online)
		return;
	if (s->heard + OFFLINE_AFTER > now) {
		registrar_timer(r, &s->offline, s->heard + OFFLINE_AFTER);
		return;
	}
	s->online = false;
	registrar_roster_changed(r, now, s);
}

enum drop registrar_roster_ask(struct registrar *r, nsec now, struct slot *s,
			       const struct ctl_msg *m)
{
	if (!bucket_take(&s->questions, now, QUESTION_COST, QUESTION_DEPTH))
		return DROP_FRAME_RATE;
	bool known = m->roster.instance == r->roster.instance && m->roster.version >= r->floor &&
		     m->roster.version <= r->roster.version;
	s->page = (struct page_cursor){
		.request = m->request,
		.after = m->after,
		.since = known ? m->roster.version : 0,
		.full = !known && r->settled,
		.left = PAGES_A_REQUEST,
	};
	registrar_todo(r, s, TODO_PAGE);
	/*
	 * A repeated question may be answered by the older of two answers, and a sweep is remembered
	 * by its first page: only the first time that its first question comes is a promise to know.
	 */
	if (m->after || (s->asked && m->request == s->asked_request))
		return DROP_NONE;
	s->asked = r->roster.version;
	s->asked_request = m->request;
	heap_cancel(&r->heap, &s->tell.t);
	return DROP_NONE;
}

size_t registrar_member_routes(const struct registrar *r, const char *id,
			       struct prefix out[static MAX_MEMBER_ROUTES])
{
	size_t n = 0;
	for (size_t i = 0; i < r->cfg.nroutes && n < MAX_MEMBER_ROUTES; i++)
		if (strcmp(r->routes[i].id, id) == 0)
			out[n++] = r->routes[i].prefix;
	return n;
}

/* The same for both, whoever asks: over both keys, the smaller first. */
static void pair_psk(const struct registrar *r, const uint8_t a[static 32],
		     const uint8_t b[static 32], uint8_t out[static 32])
{
	bool swap = memcmp(a, b, 32) > 0;
	uint8_t first[36];
	store_be32(first, PAIR_EPOCH);
	memcpy(first + 4, swap ? b : a, 32);
	derive_key(r->keys->secret, "warren pair psk", (struct bytes_view){ first, sizeof(first) },
		   (struct bytes_view){ swap ? a : b, 32 }, out);
}

static bool page_slot(struct registrar *r, struct ctl_page *pg, const struct slot *to,
		      const struct slot *s)
{
	struct roster_entry e = { .number = s->rec.number };
	if (s->changed <= to->page.since)
		return true;
	if (s->removed) /* gone as well, for members that do not know more */
		return ctl_page_gone(pg, s->rec.number) && ctl_page_removed(pg, s->rec.number);
	if (!s->online)
		return to->page.full || ctl_page_gone(pg, s->rec.number);
	memcpy(e.key, s->rec.key, 32);
	memcpy(e.id, s->rec.id, sizeof(e.id));
	memcpy(e.release, s->facts.release, sizeof(e.release));
	e.trino = s->facts.trino;
	e.nroutes = registrar_member_routes(r, e.id, e.routes);
	pair_psk(r, to->rec.key, s->rec.key, e.pair_psk);
	bool fits = ctl_page_entry(pg, &e);
	sodium_memzero(e.pair_psk, sizeof(e.pair_psk));
	return fits;
}

void registrar_roster_page(struct registrar *r, struct slot *s, struct registrar_output *out)
{
	struct page_cursor *c = &s->page;
	struct ctl_page pg;
	uint8_t flags = c->full ? CTL_PAGE_FULL : 0;
	member_number n = c->after < r->top ? c->after + 1 : r->top + 1;
	ctl_page_begin(&pg, out->bytes, sizeof(out->bytes), c->request, &r->roster);
	for (; n <= r->top; n++)
		if (r->slots[n] && r->slots[n] != s && !page_slot(r, &pg, s, r->slots[n]))
			break;
	bool more = n <= r->top;
	c->left--;
	if (more)
		flags |= CTL_PAGE_MORE;
	if (!more || !c->left) {
		flags |= CTL_PAGE_PAUSE;
		s->todo &= ~(unsigned)TODO_PAGE;
	}
	uint32_t upto = more ? n - 1 : UINT32_MAX;
	out->event = REGISTRAR_SEND;
	memcpy(out->key, s->rec.key, 32);
	out->len = ctl_page_end(&pg, flags, c->after, upto);
	c->after = upto;
}
