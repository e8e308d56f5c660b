/* SPDX-License-Identifier: Apache-2.0 */
/* What the registrar says and writes, encoded one at a time; and its timers. */
#include <sodium.h>

#include "punch/registrar_impl.h"

void registrar_send(struct registrar_output *out, const uint8_t key[static 32],
		    const struct ctl_msg *m)
{
	out->event = REGISTRAR_SEND;
	memcpy(out->key, key, 32);
	out->len = ctl_write(m, out->bytes, sizeof(out->bytes));
}

static void emit_store(struct registrar *r, struct slot *s, struct registrar_output *out)
{
	out->event = s->op == OP_DELETE ? REGISTRAR_FORGET : REGISTRAR_STORE;
	out->record = s->op == OP_PUT_CLAIM ? s->claim->record : s->rec;
	if (s->op == OP_PUT_SEEN)
		out->record.seen = s->seen_next;
	out->seq = s->seq = r->next_seq++;
	node_append(&r->inflight, &s->inflight);
}

static void emit_grant(struct registrar *r, struct slot *s, struct registrar_output *out)
{
	struct ctl_msg m = {
		.type = CTL_GRANT,
		.request = s->request,
		.has = CTL_BIT(CTL_RELEASE_NAME) | CTL_BIT(CTL_LEASE) | CTL_BIT(CTL_PSK) |
		       CTL_BIT(CTL_ADDRESSES) | CTL_BIT(CTL_OBSERVED) | CTL_BIT(CTL_ROSTER),
		.lease = { .number = s->rec.number, .granted = s->rec.granted },
		.observed = s->facts.from,
		.roster = r->roster,
	};
	memcpy(m.release, r->release, sizeof(m.release));
	m.lease.nroutes = registrar_member_routes(r, s->rec.id, m.lease.routes);
	if (m.lease.nroutes)
		m.has |= CTL_BIT(CTL_ROUTES);
	m.lease.ip = member_addr(&r->cfg.prefix4, s->rec.number);
	m.lease.ip6 = member_addr(&r->cfg.prefix6, s->rec.number);
	registrar_lease_mac(r, &s->rec, m.lease.mac);
	registrar_member_psk(r, s->rec.key, m.psk);
	registrar_send(out, s->rec.key, &m);
	sodium_memzero(m.psk, sizeof(m.psk));
}

static void emit_plain(struct registrar *r, struct slot *s, uint8_t type, uint32_t request,
		       struct registrar_output *out)
{
	struct ctl_msg m = {
		.type = type,
		.request = request,
		.has = type == CTL_ROSTER_CHANGED ? CTL_BIT(CTL_ROSTER) : 0,
		.roster = r->roster,
	};
	registrar_send(out, s->rec.key, &m);
}

/* The lowest bit is done first; registrar_roster_page() clears its own. */
static void emit_todo(struct registrar *r, struct slot *s, struct registrar_output *out)
{
	unsigned bit = s->todo & -s->todo;
	if (bit != TODO_PAGE)
		s->todo &= ~bit;
	switch (bit) {
	case TODO_STORE:
		emit_store(r, s, out);
		break;
	case TODO_MEMBER:
		out->event = REGISTRAR_MEMBER;
		memcpy(out->key, s->rec.key, 32);
		out->record = s->rec;
		out->from = s->facts.from;
		out->taken = s->taken;
		s->taken = false;
		break;
	case TODO_GRANT:
		emit_grant(r, s, out);
		break;
	case TODO_RELEASED:
		emit_plain(r, s, CTL_RELEASED, s->request, out);
		break;
	case TODO_CHALLENGE:
		emit_plain(r, s, CTL_CHALLENGE, 0, out);
		break;
	case TODO_CHANGED:
		emit_plain(r, s, CTL_ROSTER_CHANGED, 0, out);
		break;
	case TODO_ASK:
		registrar_ask_emit(r, s, out);
		break;
	case TODO_PAGE:
		registrar_roster_page(r, s, out);
		break;
	}
}

static bool emit_ready(struct registrar *r, struct registrar_output *out)
{
	while (!node_alone(&r->ready)) {
		struct slot *s = container_of(r->ready.next, struct slot, ready);
		bool any = s->todo;
		if (any)
			emit_todo(r, s, out);
		if (!s->todo)
			node_remove(&s->ready);
		if (any)
			return true;
	}
	return false;
}

static bool emit_notice(struct registrar *r, struct registrar_output *out)
{
	if (!r->nnotices)
		return false;
	struct notice *n = &r->notices[r->first_notice];
	r->first_notice = (r->first_notice + 1) % MAX_NOTICES;
	r->nnotices--;
	if (n->event == REGISTRAR_GONE) {
		out->event = REGISTRAR_GONE;
		memcpy(out->key, n->key, 32);
		/* by now it may be another's */
		struct slot *s = registrar_slot_at(r, n->number);
		bool taken = s && s->state == LEASE_HELD && memcmp(s->rec.key, n->key, 32) != 0;
		out->record.number = taken ? 0 : n->number;
		return true;
	}
	if (n->event == REGISTRAR_KEPT) {
		out->event = REGISTRAR_KEPT;
		memcpy(out->key, n->key, 32);
		memcpy(out->record.id, n->text, sizeof(out->record.id));
		out->full = n->fatal;
		return true;
	}
	struct ctl_msg m = {
		.type = n->type,
		.request = n->request,
		.code = (uint16_t)n->code,
		.fatal = n->fatal,
	};
	if (n->type != CTL_RELEASED)
		m.has = CTL_BIT(CTL_RELEASE_NAME) | CTL_BIT(CTL_REFUSAL);
	memcpy(m.release, r->release, sizeof(m.release));
	memcpy(m.text, n->text, sizeof(m.text));
	if (n->boot) {
		m.has |= CTL_BIT(CTL_BOOT);
		m.boot = n->boot;
	}
	registrar_send(out, n->key, &m);
	return true;
}

/* True when the timer itself has put something into `out`. */
static bool fire(struct registrar *r, nsec now, struct kind_timer *t, struct registrar_output *out)
{
	switch (t->kind) {
	case TIMER_OFFLINE:
		registrar_roster_offline(r, now, container_of(t, struct slot, offline));
		break;
	case TIMER_CHANGED:
		registrar_roster_tell(r, now, container_of(t, struct slot, tell));
		break;
	case TIMER_CLAIM:
		registrar_claim_timer(r, now, container_of(t, struct claim, timer));
		break;
	case TIMER_INTRO:
		return registrar_intro_step(r, now, container_of(t, struct intro, timer), out);
	case TIMER_PUSH:
		registrar_roster_push(r, now);
		break;
	case TIMER_SETTLE:
		registrar_roster_settle(r, now);
		break;
	case TIMER_SWEEP:
		registrar_lease_sweep(r, now);
		break;
	}
	return false;
}

bool registrar_poll(struct registrar *r, nsec now, struct registrar_output *out)
{
	out->len = 0;
	out->seq = 0;
	memset(&out->record, 0, sizeof(out->record));
	for (;;) {
		if (emit_ready(r, out) || emit_notice(r, out))
			return true;
		struct timer *t = heap_due(&r->heap, now);
		if (!t)
			return false;
		if (fire(r, now, container_of(t, struct kind_timer, t), out))
			return true;
	}
}

nsec registrar_deadline(const struct registrar *r)
{
	if (!node_alone(&r->ready) || r->nnotices)
		return 0; /* long past: poll now */
	return heap_deadline(&r->heap);
}
