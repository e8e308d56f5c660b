/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/control_impl.h"

static_assert((int)CTL_FIELD_END <= 32, "`has` has a bit for each field");

/* --- fields --- */

/*
 * Text from elsewhere ends in logs and terminals: cut to fit, and what is not printable ASCII is
 * shown as such.
 */
void ctl_read_text(struct rd *r, char *out, size_t cap)
{
	size_t n = size_min(r->left, cap - 1);
	rd_bytes(r, out, n);
	out[n] = 0;
	for (size_t i = 0; i < n; i++)
		if (out[i] < 0x20 || out[i] > 0x7e)
			out[i] = '?';
	rd_take(r, r->left);
}

void ctl_read_id(struct rd *r, char out[static WORKER_ID_LEN])
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

void ctl_read_trino(struct rd *r, uint16_t field, struct trino_facts *t)
{
	switch (field) {
	case CTL_TRINO_PORTS:
		t->http_port = rd_be16(r);
		t->https_port = rd_be16(r);
		break;
	case CTL_TRINO_ENVIRONMENT:
		ctl_read_text(r, t->environment, sizeof(t->environment));
		break;
	case CTL_TRINO_VERSION:
		ctl_read_text(r, t->version, sizeof(t->version));
		break;
	default:
		t->coordinator = rd_u8(r) == 1;
	}
}

static void read_refusal(struct rd *r, struct ctl_msg *m)
{
	m->code = rd_be16(r);
	m->fatal = rd_u8(r) & 1;
	ctl_read_text(r, m->text, sizeof(m->text));
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

static void read_ticket(struct rd *r, struct ticket *t)
{
	t->epoch = rd_be32(r);
	t->expires = (int64_t)(rd_be64(r) & INT64_MAX);
	t->only = rd_u8(r) & 1;
	rd_bytes(r, t->mac, sizeof(t->mac));
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
void ctl_read_routes(struct rd *r, struct prefix routes[static MAX_MEMBER_ROUTES], size_t *n)
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
		ctl_read_id(r, m->id);
		break;
	case CTL_RELEASE_NAME:
		ctl_read_text(r, m->release, sizeof(m->release));
		break;
	case CTL_CANDIDATES:
		read_candidates(r, m);
		break;
	case CTL_TRINO_PORTS:
	case CTL_TRINO_ENVIRONMENT:
	case CTL_TRINO_VERSION:
	case CTL_TRINO_COORDINATOR:
		ctl_read_trino(r, field, &m->trino);
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
	case CTL_REMOVED:
		check_gone(r);
		break;
	case CTL_REFUSAL:
		read_refusal(r, m);
		break;
	case CTL_ROUTES:
		ctl_read_routes(r, m->lease.routes, &m->lease.nroutes);
		break;
	case CTL_TICKET:
		read_ticket(r, &m->ticket);
		break;
	case CTL_BOOT:
		m->boot = rd_be64(r);
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
	case CTL_VOUCH:
	case CTL_ASK:
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
	const uint32_t repeatable = CTL_BIT(CTL_ENTRY) | CTL_BIT(CTL_GONE) | CTL_BIT(CTL_REMOVED);
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

static void write_candidates(struct wr *w, const struct ctl_msg *m)
{
	for (size_t i = 0; i < m->ncandidates; i++)
		wr_endpoint(w, &m->candidates[i]);
}

void ctl_write_ports(struct wr *w, const struct trino_facts *t)
{
	wr_be16(w, t->http_port);
	wr_be16(w, t->https_port);
}

void ctl_write_routes(struct wr *w, const struct prefix *routes, size_t n)
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
		ctl_write_ports(w, &m->trino);
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
		ctl_write_routes(w, m->lease.routes, m->lease.nroutes);
		break;
	case CTL_TICKET:
		wr_be32(w, m->ticket.epoch);
		wr_be64(w, (uint64_t)m->ticket.expires);
		wr_u8(w, m->ticket.only);
		wr_bytes(w, m->ticket.mac, sizeof(m->ticket.mac));
		break;
	case CTL_BOOT:
		wr_be64(w, m->boot);
		break;
	case CTL_ENTRY:
	case CTL_GONE:
	case CTL_REMOVED:
	case CTL_FIELD_END:
		break;
	}
}

void ctl_write_header(struct wr *w, uint8_t type, uint8_t flags, uint32_t request)
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
	ctl_write_header(&w, m->type, m->flags, m->request);
	for (unsigned f = 1; f < CTL_FIELD_END; f++) {
		if (!(m->has & CTL_BIT(f)))
			continue;
		size_t mark = wr_tlv_begin(&w, (uint16_t)f);
		write_value(&w, m, (enum ctl_field)f);
		wr_tlv_end(&w, mark);
	}
	return wr_ok(&w) ? w.len : 0;
}
