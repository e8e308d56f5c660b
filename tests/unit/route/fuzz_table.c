/* SPDX-License-Identifier: Apache-2.0 */
/* A script of sets, removals and look-ups; a list says what each must give. */
#include "route/table.h"
#include "tests/unit/route/remove_owner.h"

#include <stdlib.h>

enum { STEPS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct model {
	struct prefix p[STEPS];
	const void *owner[STEPS];
	size_t n;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static size_t model_index(const struct model *m, const struct prefix *p)
{
	size_t i = 0;
	while (i < m->n && (m->p[i].bits != p->bits || !addr_eq(&m->p[i].addr, &p->addr)))
		i++;
	return i;
}

static void model_drop(struct model *m, size_t i)
{
	m->n--;
	m->p[i] = m->p[m->n];
	m->owner[i] = m->owner[m->n];
}

static const void *model_find(const struct model *m, const struct addr *a)
{
	size_t best = m->n;
	for (size_t i = 0; i < m->n; i++)
		if (prefix_contains(&m->p[i], a) &&
		    (best == m->n || m->p[i].bits > m->p[best].bits))
			best = i;
	return best < m->n ? m->owner[best] : NULL;
}

static char owners[4];

static void step(struct route_table *t, struct model *m, struct rd *r)
{
	uint8_t op = rd_u8(r), bits = rd_u8(r);
	char *owner = &owners[op >> 6];
	struct prefix p = { .bits = bits };
	rd_bytes(r, p.addr.b, 16);
	if (op & 32) /* the other family, with the same low bits */
		p.addr = addr_v4(p.addr.b);
	must(route_table_find(t, &p.addr) == model_find(m, &p.addr));
	if (bits > (addr_is_v4(&p.addr) ? 32 : 128)) {
		must(route_table_set(t, &p, owner) < 0);
		return;
	}
	p = prefix_of(&p.addr, bits);
	size_t i = model_index(m, &p);
	if ((op & 3) < 2) {
		must(route_table_set(t, &p, owner) == 0);
		m->p[i] = p;
		m->owner[i] = owner;
		m->n += i == m->n;
	} else if ((op & 3) == 2) {
		route_table_remove(t, &p, owner);
		if (i < m->n && m->owner[i] == owner)
			model_drop(m, i);
	} else {
		remove_owner(t, owner);
		for (i = 0; i < m->n;)
			if (m->owner[i] == owner)
				model_drop(m, i);
			else
				i++;
	}
	must(route_table_count(t) == m->n);
}

struct walk {
	const struct model *m;
	const void *of; /* NULL: everybody */
	const struct route_table *t;
	struct prefix last;
	size_t n;
};

/* The addresses as the table orders them, IPv4 within ::ffff:0:0/96. */
static bool is_after(const struct prefix *a, const struct prefix *b)
{
	int order = memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));
	return order > 0 || (order == 0 && prefix_bits128(a) > prefix_bits128(b));
}

static void see(void *ctx, const struct prefix *p, void *owner)
{
	struct walk *w = ctx;
	size_t i = model_index(w->m, p);
	must(i < w->m->n && w->m->owner[i] == owner && (!w->of || w->of == owner));
	must(route_table_exact(w->t, p) == owner);
	must(w->n == 0 || is_after(p, &w->last));
	w->last = *p;
	w->n++;
}

static void walk(const struct route_table *t, const struct model *m, const void *owner)
{
	struct walk w = { .m = m, .of = owner, .t = t };
	struct prefix three[3], *after = NULL;
	size_t want = 0, listed = 0, n;
	for (size_t i = 0; i < m->n; i++)
		want += !owner || m->owner[i] == owner;
	route_table_each(t, owner, see, &w);
	must(w.n == want);
	for (; owner && (n = route_table_list(t, owner, after, three, ARRAY_SIZE(three)));
	     listed += n)
		after = &three[n - 1];
	must(!owner || listed == want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r = rd_of(data, size);
	struct model m = { .n = 0 };
	struct route_table *t = route_table_new();
	must(t);
	for (size_t i = 0; i < STEPS && r.left >= 18; i++)
		step(t, &m, &r);
	walk(t, &m, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(owners); i++)
		walk(t, &m, &owners[i]);
	route_table_free(t);
	return 0;
}
