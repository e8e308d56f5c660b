/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member's copy of the roster. It is swept in pages, in the order of numbers; the version kept is
 * that of the sweep's first page, so that whatever changed meanwhile is asked for once more.
 */
#include <sodium.h>

#include "punch/enrol_impl.h"

void enrol_roster_free(struct roster *ro)
{
	arena_free(ro->arena);
	memset(ro, 0, sizeof(*ro));
}

const struct roster_entry *enrol_find(const struct enrol *e, const char *id)
{
	for (size_t i = 0; i < e->roster.n; i++)
		if (e->roster.v[i].live && strcmp(e->roster.v[i].e.id, id) == 0)
			return &e->roster.v[i].e;
	return NULL;
}

/* Where `number` stands or would stand. */
static size_t place(const struct roster *ro, member_number number)
{
	size_t lo = 0, hi = ro->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (ro->v[mid].e.number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct known *enrol_roster_find(const struct enrol *e, member_number number)
{
	const struct roster *ro = &e->roster;
	size_t i = place(ro, number);
	return i < ro->n && ro->v[i].e.number == number && ro->v[i].live ? &ro->v[i] : NULL;
}

/* Live or not from now on, and to be reported as such. */
static void set_live(struct roster *ro, struct known *k, bool live)
{
	size_t i = (size_t)(k - ro->v);
	if (k->dirty)
		ro->dirty[k->live]--;
	if (k->live != live) {
		ro->live = live ? ro->live + 1 : ro->live - 1;
		ro->dead = live ? ro->dead - 1 : ro->dead + 1;
	}
	k->live = live;
	k->dirty = true;
	ro->dirty[live]++;
	ro->scan[live] = size_min(ro->scan[live], i);
}

static void set_gone(struct enrol *e, struct known *k)
{
	if (!k->live)
		return;
	k->introduced = false;
	set_live(&e->roster, k, false);
	enrol_connect_drop(e, k->e.number);
}

void enrol_roster_forget(struct enrol *e, member_number number)
{
	struct known *k = enrol_roster_find(e, number);
	if (k)
		set_gone(e, k);
}

static struct known *insert(struct roster *ro, member_number number)
{
	size_t i = place(ro, number);
	if (i < ro->n && ro->v[i].e.number == number)
		return &ro->v[i];
	if (ro->n == ro->cap) {
		size_t cap = ro->cap ? ro->cap * 2 : 16;
		struct known *v = NULL;
		if (cap <= MAX_ROSTER)
			v = arena_grow(&ro->arena, ro->n * sizeof(*v), cap * sizeof(*v));
		if (!v)
			return NULL;
		ro->v = v;
		ro->cap = cap;
	}
	memmove(&ro->v[i + 1], &ro->v[i], (ro->n - i) * sizeof(*ro->v));
	memset(&ro->v[i], 0, sizeof(ro->v[i]));
	ro->v[i].e.number = number;
	ro->n++;
	ro->dead++; /* a place, until set_live() */
	return &ro->v[i];
}

/* Whoever has this number is to be dropped, whether or not we know of it. */
static void set_removed(struct enrol *e, member_number number)
{
	struct known *k = insert(&e->roster, number);
	if (!k)
		return;
	set_gone(e, k);
	k->removed = true;
	set_live(&e->roster, k, false);
}

/* Private ranges alone: a rendezvous that was taken over must not lead the Internet's to a member. */
static bool route_valid(const struct enrol *e, const struct prefix *p)
{
	const struct prefix *own = addr_is_v4(&p->addr) ? &e->prefix4 : &e->prefix6;
	/* a part of the network's range may lie behind a member, the whole of it may not */
	bool inside = prefix_overlaps(p, own) && p->bits > own->bits;
	return prefix_is_private(p) && (inside || !prefix_overlaps(p, own)) &&
	       !prefix_contains(p, &e->lease.ip) && !prefix_contains(p, &e->lease.ip6);
}

bool enrol_admits(const struct enrol *e, struct roster_entry *r)
{
	size_t n = 0;
	if (r->number > e->max || r->number == e->lease.number || memcmp(r->key, e->key, 32) == 0 ||
	    strcmp(r->id, e->id) == 0)
		return false;
	for (size_t i = 0; i < r->nroutes; i++)
		if (route_valid(e, &r->routes[i]))
			r->routes[n++] = r->routes[i];
	memset(&r->routes[n], 0, (MAX_MEMBER_ROUTES - n) * sizeof(r->routes[0]));
	r->nroutes = n;
	return true;
}

/* A key holds one number at a time: it may appear at its new one before the old one's tombstone. */
static void drop_others_of_key(struct enrol *e, const struct roster_entry *r)
{
	for (size_t i = 0; i < e->roster.n; i++) {
		struct known *k = &e->roster.v[i];
		if (k->live && k->e.number != r->number && memcmp(k->e.key, r->key, 32) == 0)
			set_gone(e, k);
	}
}

static void put(struct enrol *e, struct roster_entry *r)
{
	struct known *k = enrol_admits(e, r) ? insert(&e->roster, r->number) : NULL;
	if (!k)
		return;
	bool same = k->live && memcmp(&k->e, r, sizeof(*r)) == 0;
	k->sweep = e->sweep.number;
	if (same)
		return;
	if (!k->live || memcmp(k->e.key, r->key, 32) != 0)
		drop_others_of_key(e, r);
	memcpy(&k->e, r, sizeof(*r));
	k->removed = false;
	set_live(&e->roster, k, true);
}

static void apply(struct enrol *e, const struct ctl_msg *m)
{
	struct ctl_changes it = { .body = m->body };
	struct ctl_change c;
	while (ctl_next_change(&it, &c)) {
		if (c.gone)
			enrol_roster_forget(e, c.entry.number);
		else if (c.removed)
			set_removed(e, c.entry.number);
		else
			put(e, &c.entry);
	}
	sodium_memzero(&c, sizeof(c));
}

const struct roster_entry *enrol_member(const struct enrol *e, member_number number)
{
	const struct known *k = enrol_roster_find(e, number);
	return k ? &k->e : NULL;
}

void enrol_forget_roster(struct enrol *e)
{
	for (size_t i = 0; i < e->roster.n; i++)
		set_gone(e, &e->roster.v[i]);
	e->have = (struct ctl_roster){ 0 };
	e->get.active = false; /* the next answer begins a whole sweep */
}

/* --- sweeps --- */

static bool roster_eq(const struct ctl_roster *a, const struct ctl_roster *b)
{
	return a->instance == b->instance && a->version == b->version;
}

static void sweep_start(struct enrol *e, nsec now)
{
	e->sweep.first = true;
	e->sweep.after = 0;
	enrol_request_new(e, &e->get, now);
}

void enrol_roster_ask(struct enrol *e, nsec now)
{
	if (!e->get.active)
		sweep_start(e, now);
}

void enrol_roster_note(struct enrol *e, nsec now, const struct ctl_roster *at)
{
	if (at->instance != e->latest.instance || at->version > e->latest.version)
		e->latest = *at;
	if (!roster_eq(&e->latest, &e->have))
		enrol_roster_ask(e, now);
}

void enrol_roster_restart(struct enrol *e, nsec now)
{
	if (e->get.active)
		sweep_start(e, now);
}

static void sweep_end(struct enrol *e, nsec now, const struct ctl_msg *m)
{
	for (size_t i = 0; e->sweep.full && i < e->roster.n; i++)
		if (e->roster.v[i].sweep != e->sweep.number)
			set_gone(e, &e->roster.v[i]);
	e->have = e->sweep.start;
	e->get.active = false;
	/* the page is the last word on which instance is alive */
	if (e->latest.instance != m->roster.instance)
		e->latest = m->roster;
	enrol_roster_note(e, now, &m->roster);
}

/*
 * False where the page is of another history than the sweep, which then starts again, or older than
 * the sweep's first page: the answer to a question that was repeated since. That one might still
 * show who left before the version that the sweep will be remembered by.
 */
static bool sweep_fits(struct enrol *e, nsec now, const struct ctl_msg *m)
{
	bool full = m->flags & CTL_PAGE_FULL;
	if (e->sweep.first) {
		e->sweep.first = false;
		e->sweep.full = full;
		e->sweep.start = m->roster;
		e->sweep.number++;
		return true;
	}
	if (e->sweep.full == full && e->sweep.start.instance == m->roster.instance)
		return m->roster.version >= e->sweep.start.version;
	sweep_start(e, now);
	return false;
}

/*
 * A page before this one was lost. The first that shows it asks, the others of the same answer do
 * not, as each question brings many pages. Where they begin anew it is the next answer, which lacks
 * the page again: to wait for the question's turn would cost seconds on a bad line.
 */
static void sweep_gap(struct enrol *e, nsec now, uint32_t after)
{
	if (!e->sweep.gap || after < e->sweep.beyond)
		e->get.next = now;
	e->sweep.gap = true;
	e->sweep.beyond = after;
}

enum drop enrol_roster_page(struct enrol *e, nsec now, const struct ctl_msg *m)
{
	bool more = m->flags & CTL_PAGE_MORE, pause = m->flags & CTL_PAGE_PAUSE;
	if (!e->registered || !e->get.active || m->request != e->get.id)
		return DROP_FRAME_UNEXPECTED;
	if (more && m->upto <= m->after)
		return DROP_CONTROL_MALFORMED; /* it would never end */
	if (m->roster.instance == e->latest.instance && m->roster.version > e->latest.version)
		e->latest = m->roster;
	if (m->after != e->sweep.after) {
		if (m->after > e->sweep.after)
			sweep_gap(e, now, m->after);
		return DROP_FRAME_UNEXPECTED;
	}
	if (!sweep_fits(e, now, m))
		return DROP_NONE;
	apply(e, m);
	e->sweep.gap = false;
	e->sweep.after = m->upto;
	if (!more)
		sweep_end(e, now, m);
	else if (pause)
		enrol_request_new(e, &e->get, now);
	else
		enrol_request_again(&e->get, now);
	return DROP_NONE;
}

/* --- reports --- */

static bool report(struct roster *ro, bool live, struct enrol_output *out)
{
	while (ro->dirty[live]) {
		struct known *k = &ro->v[ro->scan[live]];
		if (!k->dirty || k->live != live) {
			ro->scan[live]++;
			continue;
		}
		k->dirty = false;
		ro->dirty[live]--;
		if (!live && !k->reported && !k->removed)
			continue; /* came and went unseen */
		k->reported = live;
		out->removed = k->removed;
		k->removed = false;
		out->event = live ? ENROL_MEMBER : ENROL_MEMBER_GONE;
		out->number = k->e.number;
		memcpy(&out->entry, &k->e, sizeof(out->entry));
		return true;
	}
	return false;
}

static void compact(struct roster *ro)
{
	size_t n = 0;
	for (size_t i = 0; i < ro->n; i++) {
		if (!ro->v[i].live)
			continue;
		if (n != i)
			memcpy(&ro->v[n], &ro->v[i], sizeof(ro->v[n]));
		n++;
	}
	ro->n = n;
	ro->dead = ro->scan[0] = ro->scan[1] = 0;
}

bool enrol_roster_poll(struct enrol *e, struct enrol_output *out)
{
	struct roster *ro = &e->roster;
	if (report(ro, false, out) || report(ro, true, out))
		return true;
	if (ro->dead)
		compact(ro);
	return false;
}
