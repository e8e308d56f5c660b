/* SPDX-License-Identifier: Apache-2.0 */
/* A script of sets, removals and look-ups; a list says what each must give. */
#include "route/table.h"

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

static void step(struct route_table *t, struct model *m, struct rd *r)
{
	static char owners[4];
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
		route_table_remove_owner(t, owner);
		for (i = 0; i < m->n;)
			if (m->owner[i] == owner)
				model_drop(m, i);
			else
				i++;
	}
	must(route_table_count(t) == m->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r = rd_of(data, size);
	struct model m = { .n = 0 };
	struct route_table *t = route_table_new();
	must(t);
	for (size_t i = 0; i < STEPS && r.left >= 18; i++)
		step(t, &m, &r);
	route_table_free(t);
	return 0;
}
