/* SPDX-License-Identifier: Apache-2.0 */
/* The roster in pages: what is inside an ENTRY, and pages that are written step by step. */
#include "punch/control_impl.h"

bool ctl_entry_read(struct rd *r, struct roster_entry *e)
{
	struct tlv t;
	memset(e, 0, sizeof(*e));
	e->online = true;
	e->number = rd_be32(r);
	rd_bytes(r, e->key, 32);
	rd_bytes(r, e->pair_psk, 32);
	while (rd_tlv(r, &t)) {
		if (t.type == CTL_WORKER_ID)
			ctl_read_id(&t.value, e->id);
		else if (t.type == CTL_RELEASE_NAME)
			ctl_read_text(&t.value, e->release, sizeof(e->release));
		else if (t.type >= CTL_TRINO_PORTS && t.type <= CTL_TRINO_COORDINATOR)
			ctl_read_trino(&t.value, t.type, &e->trino);
		else if (t.type == CTL_ROUTES)
			ctl_read_routes(&t.value, e->routes, &e->nroutes);
		else if (t.critical)
			return false;
		if (!rd_ok(&t.value))
			return false;
	}
	return rd_ok(r) && e->number && e->id[0];
}

bool ctl_next_change(struct ctl_changes *it, struct ctl_change *out)
{
	struct tlv t;
	for (;;) {
		if (it->gone.left) {
			memset(out, 0, sizeof(*out));
			out->gone = !it->removed;
			out->removed = it->removed;
			out->entry.number = rd_be32(&it->gone);
			return true;
		}
		if (!rd_tlv(&it->body, &t))
			return false;
		out->gone = out->removed = false;
		it->removed = t.type == CTL_REMOVED;
		if (t.type == CTL_GONE || t.type == CTL_REMOVED)
			it->gone = t.value;
		else if (t.type == CTL_ENTRY && ctl_entry_read(&t.value, &out->entry))
			return true;
	}
}

void ctl_page_begin(struct ctl_page *pg, uint8_t *out, size_t cap, uint32_t request,
		    const struct ctl_roster *at)
{
	pg->w = wr_of(out, size_min(cap, CTL_PAGE_MAX));
	ctl_write_header(&pg->w, CTL_ROSTER_PAGE, 0, request);
	size_t mark = wr_tlv_begin(&pg->w, CTL_ROSTER);
	wr_be32(&pg->w, at->instance);
	wr_be64(&pg->w, at->version);
	wr_tlv_end(&pg->w, mark);
	pg->range = wr_tlv_begin(&pg->w, CTL_RANGE);
	wr_zeros(&pg->w, 8);
	wr_tlv_end(&pg->w, pg->range);
}

static void write_text(struct wr *w, uint16_t field, const char *s)
{
	wr_tlv(w, field, s, strlen(s));
}

/* The page as it was, where the last step did not fit. */
static bool page_step(struct ctl_page *pg, const struct wr *before)
{
	bool fits = wr_ok(&pg->w);
	if (!fits)
		pg->w = *before;
	return fits;
}

static void write_trino(struct wr *w, const struct trino_facts *t)
{
	if (t->http_port || t->https_port) {
		size_t mark = wr_tlv_begin(w, CTL_TRINO_PORTS);
		ctl_write_ports(w, t);
		wr_tlv_end(w, mark);
	}
	if (t->environment[0])
		write_text(w, CTL_TRINO_ENVIRONMENT, t->environment);
	if (t->version[0])
		write_text(w, CTL_TRINO_VERSION, t->version);
	if (t->coordinator)
		wr_tlv(w, CTL_TRINO_COORDINATOR, &(uint8_t){ 1 }, 1);
}

void ctl_entry_write(struct wr *w, const struct roster_entry *e)
{
	wr_be32(w, e->number);
	wr_bytes(w, e->key, 32);
	wr_bytes(w, e->pair_psk, 32);
	write_text(w, CTL_WORKER_ID, e->id);
	if (e->release[0])
		write_text(w, CTL_RELEASE_NAME, e->release);
	write_trino(w, &e->trino);
	if (e->nroutes) {
		size_t routes = wr_tlv_begin(w, CTL_ROUTES);
		ctl_write_routes(w, e->routes, e->nroutes);
		wr_tlv_end(w, routes);
	}
}

bool ctl_page_entry(struct ctl_page *pg, const struct roster_entry *e)
{
	struct wr before = pg->w;
	size_t mark = wr_tlv_begin(&pg->w, CTL_ENTRY);
	ctl_entry_write(&pg->w, e);
	wr_tlv_end(&pg->w, mark);
	return page_step(pg, &before);
}

static bool page_number(struct ctl_page *pg, enum ctl_field field, uint32_t number)
{
	struct wr before = pg->w;
	size_t mark = wr_tlv_begin(&pg->w, (uint16_t)field);
	wr_be32(&pg->w, number);
	wr_tlv_end(&pg->w, mark);
	return page_step(pg, &before);
}

bool ctl_page_gone(struct ctl_page *pg, uint32_t number)
{
	return page_number(pg, CTL_GONE, number);
}

bool ctl_page_removed(struct ctl_page *pg, uint32_t number)
{
	return page_number(pg, CTL_REMOVED, number);
}

size_t ctl_page_end(struct ctl_page *pg, uint8_t flags, uint32_t after, uint32_t upto)
{
	pg->w.base[3] = flags;
	store_be32(pg->w.base + pg->range, after);
	store_be32(pg->w.base + pg->range + 4, upto);
	return pg->w.len;
}
