/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/control.h"

enum {
	ENTRY_FIXED_LEN = 4 + 32 + 32,
};

static_assert((int)CTL_FIELD_END <= 32, "`has` has a bit for each field");

/* --- fields --- */

/*
 * Text from elsewhere ends in logs and terminals: cut to fit, and what is not printable ASCII is
 * shown as such.
 */
static void read_text(struct rd *r, char *out, size_t cap)
{
	size_t n = size_min(r->left, cap - 1);
	rd_bytes(r, out, n);
	out[n] = 0;
	for (size_t i = 0; i < n; i++)
		if (out[i] < 0x20 || out[i] > 0x7e)
			out[i] = '?';
	rd_take(r, r->left);
}

static void read_id(struct rd *r, char out[static WORKER_ID_LEN])
{
	size_t n = r->left;
	if (n >= WORKER_ID_LEN) {
		rd_fail(r);
		return;
	}
	rd_bytes(r, out, n);
	out[n] = 0;
	if (strlen(out) != n || !worker_id_valid(out))
		rd_fail(r);
}

static void read_candidates(struct rd *r, struct ctl_msg *m)
{
	while (r->left && rd_ok(r)) {
		struct endpoint e = rd_endpoint(r);
		/* more than the bound are no error: a later release may send more */
		if (rd_ok(r) && m->ncandidates < MAX_CANDIDATES)
			m->candidates[m->ncandidates++] = e;
	}
}

static void read_trino(struct rd *r, uint16_t field, struct trino_facts *t)
{
	switch (field) {
	case CTL_TRINO_PORTS:
		t->http_port = rd_be16(r);
		t->https_port = rd_be16(r);
		break;
	case CTL_TRINO_ENVIRONMENT:
		read_text(r, t->environment, sizeof(t->environment));
		break;
	case CTL_TRINO_VERSION:
		read_text(r, t->version, sizeof(t->version));
		break;
	default:
		t->coordinator = rd_u8(r) == 1;
	}
}

static void read_refusal(struct rd *r, struct ctl_msg *m)
{
	m->code = rd_be16(r);
	m->fatal = rd_u8(r) & 1;
	read_text(r, m->text, sizeof(m->text));
}

static void read_lease(struct rd *r, struct lease *l)
{
	uint64_t granted;
	l->number = rd_be32(r);
	granted = rd_be64(r);
	l->granted = granted <= INT64_MAX ? (int64_t)granted : 0;
	rd_bytes(r, l->mac, sizeof(l->mac));
	if (l->number == 0 || granted > INT64_MAX)
		rd_fail(r);
}

/* Entries are read here only to know that they are whole: a page is taken as one or not at all. */
static void check_entry(struct rd *r)
{
	struct tlv t;
	rd_take(r, ENTRY_FIXED_LEN);
	while (rd_tlv(r, &t))
		;
}

static void check_gone(struct rd *r)
{
	if (r->left == 0 || r->left % 4)
		rd_fail(r);
	rd_take(r, r->left);
}

/* Prefixes that are none are passed over, and those beyond MAX_MEMBER_ROUTES. */
static void read_routes(struct rd *r, struct prefix routes[static MAX_MEMBER_ROUTES], size_t *n)
{
	while (r->left && rd_ok(r)) {
		struct prefix p = { .bits = rd_u8(r) };
		rd_bytes(r, p.addr.b, 16);
		if (!rd_ok(r) || p.bits > (addr_is_v4(&p.addr) ? 32 : 128))
			continue;
		struct prefix canonical = prefix_of(&p.addr, p.bits);
		if (addr_eq(&canonical.addr, &p.addr) && *n < MAX_MEMBER_ROUTES)
			routes[(*n)++] = p;
	}
}

static void read_field(struct rd *r, uint16_t field, struct ctl_msg *m)
{
	switch ((enum ctl_field)field) {
	case CTL_WORKER_ID:
		read_id(r, m->id);
		break;
	case CTL_RELEASE_NAME:
		read_text(r, m->release, sizeof(m->release));
		break;
	case CTL_CANDIDATES:
		read_candidates(r, m);
		break;
	case CTL_TRINO_PORTS:
	case CTL_TRINO_ENVIRONMENT:
	case CTL_TRINO_VERSION:
	case CTL_TRINO_COORDINATOR:
		read_trino(r, field, &m->trino);
		break;
	case CTL_LEASE:
		read_lease(r, &m->lease);
		break;
	case CTL_PSK:
		rd_bytes(r, m->psk, 32);
		break;
	case CTL_ADDRESSES:
		rd_bytes(r, m->lease.ip.b, 16);
		rd_bytes(r, m->lease.ip6.b, 16);
		break;
	case CTL_OBSERVED:
		m->observed = rd_endpoint(r);
		break;
	case CTL_ROSTER:
		m->roster.instance = rd_be32(r);
		m->roster.version = rd_be64(r);
		break;
	case CTL_NUMBER:
		m->number = rd_be32(r);
		break;
	case CTL_RANGE:
		m->after = rd_be32(r);
		m->upto = rd_be32(r);
		break;
	case CTL_ENTRY:
		check_entry(r);
		break;
	case CTL_GONE:
		check_gone(r);
		break;
	case CTL_REFUSAL:
		read_refusal(r, m);
		break;
	case CTL_ROUTES:
		read_routes(r, m->lease.routes, &m->lease.nroutes);
		break;
	case CTL_FIELD_END:
		break;
	}
}

/* --- messages --- */

/* What a type cannot do without; ~0 for an unknown type. */
static uint32_t required(uint8_t type)
{
	switch ((enum ctl_type)type) {
	case CTL_REGISTER:
		return CTL_BIT(CTL_WORKER_ID);
	case CTL_ROSTER_GET:
		return CTL_BIT(CTL_ROSTER) | CTL_BIT(CTL_RANGE);
	case CTL_CONNECT:
		return CTL_BIT(CTL_NUMBER);
	case CTL_RELEASE:
	case CTL_CHALLENGE_OK:
	case CTL_CHALLENGE:
	case CTL_RELEASED:
		return 0;
	case CTL_GRANT:
		return CTL_BIT(CTL_LEASE) | CTL_BIT(CTL_PSK) | CTL_BIT(CTL_ADDRESSES) |
		       CTL_BIT(CTL_OBSERVED) | CTL_BIT(CTL_ROSTER);
	case CTL_REFUSE:
	case CTL_REPLACED:
		return CTL_BIT(CTL_REFUSAL);
	case CTL_ROSTER_PAGE:
		return CTL_BIT(CTL_ROSTER) | CTL_BIT(CTL_RANGE);
	case CTL_ROSTER_CHANGED:
		return CTL_BIT(CTL_ROSTER);
	case CTL_INTRODUCE:
		return CTL_BIT(CTL_NUMBER) | CTL_BIT(CTL_CANDIDATES);
	}
	return UINT32_MAX;
}

static enum drop read_fields(struct rd *r, struct ctl_msg *m)
{
	const uint32_t repeatable = CTL_BIT(CTL_ENTRY) | CTL_BIT(CTL_GONE);
	struct tlv t;
	while (rd_tlv(r, &t)) {
		if (t.type == 0 || t.type >= CTL_FIELD_END) {
			if (t.critical && !m->unknown_critical)
				m->unknown_critical = t.type ? t.type : TLV_CRITICAL;
			continue;
		}
		if (m->has & CTL_BIT(t.type) & ~repeatable)
			return DROP_CONTROL_MALFORMED;
		read_field(&t.value, t.type, m);
		if (!rd_done(&t.value))
			return DROP_CONTROL_MALFORMED;
		m->has |= CTL_BIT(t.type);
	}
	return rd_ok(r) ? DROP_NONE : DROP_CONTROL_MALFORMED;
}

enum drop ctl_parse(const uint8_t *p, size_t len, struct ctl_msg *m)
{
	struct rd r = rd_of(p, len);
	memset(m, 0, sizeof(*m));
	if (len > CONTROL_MAX || rd_u8(&r) != CTL_FIRST_BYTE)
		return DROP_CONTROL_MALFORMED;
	m->version = rd_u8(&r);
	m->type = rd_u8(&r);
	m->flags = rd_u8(&r);
	m->request = rd_be32(&r);
	if (!rd_ok(&r))
		return DROP_CONTROL_MALFORMED;
	/* a refusal has one layout in every version, so that it can always be read */
	if (m->version != CTL_VERSION && m->type != CTL_REFUSE)
		return DROP_CONTROL_VERSION;
	m->body = r;
	enum drop d = read_fields(&r, m);
	if (d != DROP_NONE)
		return d;
	if (m->unknown_critical && m->version == CTL_VERSION)
		return DROP_CONTROL_VERSION;
	uint32_t need = required(m->type);
	if (need == UINT32_MAX || (m->has & need) != need)
		return DROP_CONTROL_MALFORMED;
	return DROP_NONE;
}

/* --- writing --- */

static void write_text(struct wr *w, uint16_t field, const char *s)
{
	wr_tlv(w, field, s, strlen(s));
}

static void write_candidates(struct wr *w, const struct ctl_msg *m)
{
	for (size_t i = 0; i < m->ncandidates; i++)
		wr_endpoint(w, &m->candidates[i]);
}

static void write_ports(struct wr *w, const struct trino_facts *t)
{
	wr_be16(w, t->http_port);
	wr_be16(w, t->https_port);
}

static void write_routes(struct wr *w, const struct prefix *routes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		wr_u8(w, routes[i].bits);
		wr_bytes(w, routes[i].addr.b, 16);
	}
}

static void write_value(struct wr *w, const struct ctl_msg *m, enum ctl_field field)
{
	switch (field) {
	case CTL_WORKER_ID:
		wr_bytes(w, m->id, strlen(m->id));
		break;
	case CTL_RELEASE_NAME:
		wr_bytes(w, m->release, strlen(m->release));
		break;
	case CTL_CANDIDATES:
		write_candidates(w, m);
		break;
	case CTL_TRINO_PORTS:
		write_ports(w, &m->trino);
		break;
	case CTL_TRINO_ENVIRONMENT:
		wr_bytes(w, m->trino.environment, strlen(m->trino.environment));
		break;
	case CTL_TRINO_VERSION:
		wr_bytes(w, m->trino.version, strlen(m->trino.version));
		break;
	case CTL_TRINO_COORDINATOR:
		wr_u8(w, m->trino.coordinator);
		break;
	case CTL_LEASE:
		wr_be32(w, m->lease.number);
		wr_be64(w, (uint64_t)m->lease.granted);
		wr_bytes(w, m->lease.mac, sizeof(m->lease.mac));
		break;
	case CTL_PSK:
		wr_bytes(w, m->psk, 32);
		break;
	case CTL_ADDRESSES:
		wr_bytes(w, m->lease.ip.b, 16);
		wr_bytes(w, m->lease.ip6.b, 16);
		break;
	case CTL_OBSERVED:
		wr_endpoint(w, &m->observed);
		break;
	case CTL_ROSTER:
		wr_be32(w, m->roster.instance);
		wr_be64(w, m->roster.version);
		break;
	case CTL_NUMBER:
		wr_be32(w, m->number);
		break;
	case CTL_RANGE:
		wr_be32(w, m->after);
		wr_be32(w, m->upto);
		break;
	case CTL_REFUSAL:
		wr_be16(w, m->code);
		wr_u8(w, m->fatal);
		wr_bytes(w, m->text, strlen(m->text));
		break;
	case CTL_ROUTES:
		write_routes(w, m->lease.routes, m->lease.nroutes);
		break;
	case CTL_ENTRY:
	case CTL_GONE:
	case CTL_FIELD_END:
		break;
	}
}

static void write_header(struct wr *w, uint8_t type, uint8_t flags, uint32_t request)
{
	wr_u8(w, CTL_FIRST_BYTE);
	wr_u8(w, CTL_VERSION);
	wr_u8(w, type);
	wr_u8(w, flags);
	wr_be32(w, request);
}

size_t ctl_write(const struct ctl_msg *m, uint8_t *out, size_t cap)
{
	struct wr w = wr_of(out, size_min(cap, CONTROL_SEND_MAX));
	write_header(&w, m->type, m->flags, m->request);
	for (unsigned f = 1; f < CTL_FIELD_END; f++) {
		if (!(m->has & CTL_BIT(f)))
			continue;
		size_t mark = wr_tlv_begin(&w, (uint16_t)f);
		write_value(&w, m, (enum ctl_field)f);
		wr_tlv_end(&w, mark);
	}
	return wr_ok(&w) ? w.len : 0;
}

/* --- roster pages --- */

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
			read_id(&t.value, e->id);
		else if (t.type == CTL_RELEASE_NAME)
			read_text(&t.value, e->release, sizeof(e->release));
		else if (t.type >= CTL_TRINO_PORTS && t.type <= CTL_TRINO_COORDINATOR)
			read_trino(&t.value, t.type, &e->trino);
		else if (t.type == CTL_ROUTES)
			read_routes(&t.value, e->routes, &e->nroutes);
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
			out->gone = true;
			out->entry.number = rd_be32(&it->gone);
			return true;
		}
		if (!rd_tlv(&it->body, &t))
			return false;
		out->gone = false;
		if (t.type == CTL_GONE)
			it->gone = t.value;
		else if (t.type == CTL_ENTRY && ctl_entry_read(&t.value, &out->entry))
			return true;
	}
}

void ctl_page_begin(struct ctl_page *pg, uint8_t *out, size_t cap, uint32_t request,
		    const struct ctl_roster *at)
{
	pg->w = wr_of(out, size_min(cap, CTL_PAGE_MAX));
	write_header(&pg->w, CTL_ROSTER_PAGE, 0, request);
	size_t mark = wr_tlv_begin(&pg->w, CTL_ROSTER);
	wr_be32(&pg->w, at->instance);
	wr_be64(&pg->w, at->version);
	wr_tlv_end(&pg->w, mark);
	pg->range = wr_tlv_begin(&pg->w, CTL_RANGE);
	wr_zeros(&pg->w, 8);
	wr_tlv_end(&pg->w, pg->range);
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
		write_ports(w, t);
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
		write_routes(w, e->routes, e->nroutes);
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

bool ctl_page_gone(struct ctl_page *pg, uint32_t number)
{
	struct wr before = pg->w;
	size_t mark = wr_tlv_begin(&pg->w, CTL_GONE);
	wr_be32(&pg->w, number);
	wr_tlv_end(&pg->w, mark);
	return page_step(pg, &before);
}

size_t ctl_page_end(struct ctl_page *pg, uint8_t flags, uint32_t after, uint32_t upto)
{
	pg->w.base[3] = flags;
	store_be32(pg->w.base + pg->range, after);
	store_be32(pg->w.base + pg->range + 4, upto);
	return pg->w.len;
}
