/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/memory.h"
#include "base/arena.h"
#include "base/summed.h"
#include "punch/control.h"

#include <errno.h>
#include <sodium.h>

enum {
	/* TLV types */
	MEMORY_OWNER = 1,
	MEMORY_LEASE = 2,
	MEMORY_START = 3,
	MEMORY_MEMBER = 4,
	/* of a member */
	FLAG_LISTED = 1,
	ENDPOINT_LEN = 18,
};

static const struct summed file = { { 'w', 'a', 'r', 'r', 'e', 'n', ' ', 'm' }, 1 };

void memory_free(struct memory *m)
{
	arena_free(m->arena);
	memset(m, 0, sizeof(*m));
}

/* --- records --- */

static int order(const struct remembered *r, member_number number, const char *id)
{
	if (r->e.number != number)
		return r->e.number < number ? -1 : 1;
	return strcmp(r->e.id, id);
}

/* Where the record of this number and id stands or would stand. */
static size_t place(const struct memory *m, member_number number, const char *id)
{
	size_t lo = 0, hi = m->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (order(&m->v[mid], number, id) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void forget(struct memory *m, size_t i)
{
	memmove(&m->v[i], &m->v[i + 1], (m->n - i - 1) * sizeof(*m->v));
	sodium_memzero(&m->v[--m->n], sizeof(*m->v));
	m->changed = m->keys_changed = true;
}

/* The one that was listed longest ago, and is not now. */
static bool make_room(struct memory *m)
{
	size_t oldest = m->n;
	for (size_t i = 0; i < m->n; i++)
		if (!m->v[i].listed && (oldest == m->n || m->v[i].start < m->v[oldest].start))
			oldest = i;
	if (oldest == m->n)
		return false;
	forget(m, oldest);
	return true;
}

static bool grow(struct memory *m)
{
	size_t cap = m->cap ? m->cap * 2 : 16;
	struct remembered *v = arena_grow(&m->arena, m->n * sizeof(*v), cap * sizeof(*v));
	if (!v)
		return false;
	m->v = v;
	m->cap = cap;
	return true;
}

static struct remembered *insert(struct memory *m, const struct roster_entry *e)
{
	if (m->n == m->cap && !grow(m))
		return NULL;
	size_t i = place(m, e->number, e->id);
	memmove(&m->v[i + 1], &m->v[i], (m->n - i) * sizeof(*m->v));
	memset(&m->v[i], 0, sizeof(*m->v));
	m->n++;
	m->keys_changed = true;
	return &m->v[i];
}

struct remembered *memory_conflict(const struct memory *m, const struct roster_entry *e, size_t *i)
{
	for (; *i < m->n; ++*i) {
		struct remembered *r = &m->v[*i];
		if ((r->e.number == e->number || strcmp(r->e.id, e->id) == 0) &&
		    memcmp(r->e.key, e->key, 32) != 0)
			return r;
	}
	return NULL;
}

bool memory_accept(struct memory *m, const struct roster_entry *e)
{
	size_t before = m->n;
	for (size_t i = 0; memory_conflict(m, e, &i);)
		forget(m, i);
	return m->n < before;
}

struct remembered *memory_put(struct memory *m, const struct roster_entry *e, bool pinned)
{
	memory_accept(m, e);
	size_t i = place(m, e->number, e->id);
	struct remembered *r = i < m->n && order(&m->v[i], e->number, e->id) == 0 ? &m->v[i] : NULL;
	if (!r && m->n >= MEMORY_MAX && (pinned || !make_room(m)))
		return NULL;
	if (!r)
		r = insert(m, e);
	if (!r)
		return NULL;
	struct roster_entry was = r->e;
	memcpy(&r->e, e, sizeof(*e)); /* with its padding: it is compared */
	r->e.online = was.online = false;
	m->changed |= memcmp(&was, &r->e, sizeof(was)) != 0 || !r->listed || r->start != m->start;
	r->listed = true;
	r->start = m->start;
	sodium_memzero(&was, sizeof(was));
	return r;
}

void memory_forget(struct memory *m, const struct remembered *r)
{
	forget(m, (size_t)(r - m->v));
}

struct remembered *memory_find(const struct memory *m, member_number number,
			       const uint8_t key[static 32])
{
	for (size_t i = place(m, number, ""); i < m->n && m->v[i].e.number == number; i++)
		if (memcmp(m->v[i].e.key, key, 32) == 0)
			return &m->v[i];
	return NULL;
}

void memory_gone(struct memory *m, member_number number)
{
	for (size_t i = place(m, number, ""); i < m->n && m->v[i].e.number == number; i++) {
		m->changed |= m->v[i].listed;
		m->v[i].listed = false;
	}
}

void memory_removed(struct memory *m, member_number number)
{
	memory_gone(m, number);
	m->keys_changed |= m->changed; /* that it was gone may wait to be written yet */
}

void memory_reached(struct memory *m, struct remembered *r, const struct endpoint *at)
{
	size_t i = 0;
	while (i < r->nat && !endpoint_eq(&r->at[i], at))
		i++;
	m->changed |= i == r->nat; /* another order of the same is not worth a write */
	if (i == r->nat && r->nat < MEMORY_ENDPOINTS)
		r->nat++;
	i = size_min(i, r->nat - 1);
	memmove(&r->at[1], &r->at[0], i * sizeof(r->at[0]));
	r->at[0] = *at;
}

bool memory_fits(const struct memory *m, const struct memory_owner *owner)
{
	return m->lease.number && memcmp(m->owner.rendezvous, owner->rendezvous, 32) == 0 &&
	       memcmp(m->owner.key, owner->key, 32) == 0 && strcmp(m->owner.id, owner->id) == 0;
}

static bool same_lease(const struct lease *a, const struct lease *b)
{
	return a->number == b->number && a->granted == b->granted &&
	       memcmp(a->mac, b->mac, sizeof(a->mac)) == 0 && a->nroutes == b->nroutes &&
	       memcmp(a->routes, b->routes, sizeof(a->routes)) == 0;
}

void memory_lease(struct memory *m, const struct memory_owner *owner, const struct lease *l)
{
	if (memory_fits(m, owner) && same_lease(&m->lease, l))
		return;
	m->owner = *owner;
	m->lease = *l;
	m->changed = m->keys_changed = true;
}

/* --- bytes --- */

static_assert(MEMORY_FIXED >= SUMMED_FRAME + 4 * CTL_TLV_LEN + 64 + WORKER_ID_LEN + 28 +
				      17 * MAX_MEMBER_ROUTES + 4,
	      "the file's fixed part");
static_assert(MEMORY_RECORD >= 4 + 6 + ENDPOINT_LEN * MEMORY_ENDPOINTS + 4 + 32 + 32 +
				       7 * CTL_TLV_LEN + WORKER_ID_LEN + RELEASE_LEN +
				       2 * TRINO_TEXT_LEN + 5 + 17 * MAX_MEMBER_ROUTES,
	      "a record at its longest");
static_assert((size_t)MEMORY_FILE_MAX >= MEMORY_FIXED + (size_t)MEMORY_RECORD * MEMORY_MAX,
	      "what is written can be read");

size_t memory_room(const struct memory *m)
{
	return MEMORY_FIXED + m->n * MEMORY_RECORD;
}

static void write_owner(struct wr *w, const struct memory_owner *o)
{
	size_t mark = wr_tlv_begin(w, MEMORY_OWNER);
	wr_bytes(w, o->rendezvous, 32);
	wr_bytes(w, o->key, 32);
	wr_bytes(w, o->id, strlen(o->id));
	wr_tlv_end(w, mark);
}

static void write_lease(struct wr *w, const struct lease *l)
{
	size_t mark = wr_tlv_begin(w, MEMORY_LEASE);
	wr_be32(w, l->number);
	wr_be64(w, (uint64_t)l->granted);
	wr_bytes(w, l->mac, sizeof(l->mac));
	for (size_t i = 0; i < l->nroutes; i++) {
		wr_u8(w, l->routes[i].bits);
		wr_bytes(w, l->routes[i].addr.b, 16);
	}
	wr_tlv_end(w, mark);
}

static void write_member(struct wr *w, const struct remembered *r)
{
	size_t mark = wr_tlv_begin(w, MEMORY_MEMBER);
	wr_be32(w, r->start);
	wr_u8(w, r->listed ? FLAG_LISTED : 0);
	wr_u8(w, (uint8_t)r->nat);
	for (size_t i = 0; i < r->nat; i++)
		wr_endpoint(w, &r->at[i]);
	ctl_entry_write(w, &r->e);
	wr_tlv_end(w, mark);
}

size_t memory_encode(const struct memory *m, uint8_t *out, size_t cap)
{
	struct wr w = summed_begin(&file, out, cap);

	if (m->lease.number) {
		write_owner(&w, &m->owner);
		write_lease(&w, &m->lease);
	}
	size_t mark = wr_tlv_begin(&w, MEMORY_START);
	wr_be32(&w, m->start);
	wr_tlv_end(&w, mark);
	for (size_t i = 0; i < m->n; i++)
		write_member(&w, &m->v[i]);
	return summed_end(&w);
}

static void read_owner(struct rd *r, struct memory_owner *o)
{
	rd_bytes(r, o->rendezvous, 32);
	rd_bytes(r, o->key, 32);
	size_t n = size_min(r->left, sizeof(o->id) - 1);
	memset(o->id, 0, sizeof(o->id));
	rd_bytes(r, o->id, n);
	if (r->left || strlen(o->id) != n || !worker_id_valid(o->id))
		rd_fail(r);
}

static void read_lease(struct rd *r, struct lease *l)
{
	l->number = rd_be32(r);
	l->granted = (int64_t)(rd_be64(r) & INT64_MAX);
	rd_bytes(r, l->mac, sizeof(l->mac));
	while (r->left && rd_ok(r)) {
		struct prefix p = { .bits = rd_u8(r) };
		rd_bytes(r, p.addr.b, 16);
		if (l->nroutes == MAX_MEMBER_ROUTES || p.bits > (addr_is_v4(&p.addr) ? 32 : 128))
			rd_fail(r);
		else
			l->routes[l->nroutes++] = p;
	}
}

/* In the order of the file, so that no two are of one number and id. */
static void read_member(struct memory *m, struct rd *r)
{
	struct remembered x = { .start = rd_be32(r) };
	x.listed = rd_u8(r) & FLAG_LISTED;
	x.nat = rd_u8(r);
	for (size_t i = 0; i < x.nat && i < MEMORY_ENDPOINTS; i++)
		x.at[i] = rd_endpoint(r);
	bool ok = x.nat <= MEMORY_ENDPOINTS && ctl_entry_read(r, &x.e) &&
		  (m->n == 0 || order(&m->v[m->n - 1], x.e.number, x.e.id) < 0) &&
		  m->n < MEMORY_MAX && (m->n < m->cap || grow(m));
	x.e.online = false;
	if (ok)
		m->v[m->n++] = x;
	else
		rd_fail(r);
	sodium_memzero(&x, sizeof(x));
}

static void read_field(struct memory *m, struct tlv *t)
{
	switch (t->type) {
	case MEMORY_OWNER:
		read_owner(&t->value, &m->owner);
		break;
	case MEMORY_LEASE:
		memset(&m->lease, 0, sizeof(m->lease));
		read_lease(&t->value, &m->lease);
		break;
	case MEMORY_START:
		m->start = rd_be32(&t->value);
		break;
	case MEMORY_MEMBER:
		read_member(m, &t->value);
		break;
	default:
		if (t->critical)
			rd_fail(&t->value);
	}
}

static bool read_fields(struct memory *m, struct rd r)
{
	struct tlv t;
	while (rd_tlv(&r, &t)) {
		read_field(m, &t);
		if (!rd_ok(&t.value))
			return false;
	}
	/* a lease of nobody could not be written again */
	return rd_ok(&r) && (!m->lease.number || m->owner.id[0]);
}

int memory_decode(struct memory *m, const uint8_t *p, size_t len)
{
	struct rd fields;

	if (!summed_open(&file, p, len, &fields))
		return -EBADMSG;
	if (read_fields(m, fields))
		return 0;
	memory_free(m);
	return -EBADMSG;
}
