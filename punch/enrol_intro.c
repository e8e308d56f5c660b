/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Introductions, asked for and received. Each comes several times under one id; it is passed on
 * once. One about a member that the roster does not know yet waits for the roster.
 */
#include "punch/enrol_impl.h"

/* --- asking --- */

static void connects_deadline(struct enrol *e)
{
	e->connects_next = NSEC_NEVER;
	for (size_t i = 0; i < MAX_CONNECTS; i++)
		if (e->connects[i].rq.active)
			e->connects_next = nsec_min(e->connects_next, e->connects[i].rq.next);
}

void enrol_connect(struct enrol *e, nsec now, member_number number)
{
	struct connect *room = NULL;
	if (e->stopped || e->leaving || !number || number == e->lease.number)
		return;
	for (size_t i = 0; i < MAX_CONNECTS; i++) {
		struct connect *c = &e->connects[i];
		if (c->rq.active && c->number == number)
			return;
		if (!c->rq.active && !room)
			room = c;
	}
	if (!room)
		return; /* the link asks again when it still has no path */
	room->number = number;
	enrol_request_new(e, &room->rq, now);
	connects_deadline(e);
}

void enrol_connect_drop(struct enrol *e, member_number number)
{
	for (size_t i = 0; i < MAX_CONNECTS; i++)
		if (e->connects[i].number == number)
			e->connects[i].rq.active = false;
	connects_deadline(e);
}

bool enrol_connect_refused(struct enrol *e, uint32_t request)
{
	for (size_t i = 0; i < MAX_CONNECTS; i++) {
		struct connect *c = &e->connects[i];
		if (!c->rq.active || c->rq.id != request)
			continue;
		c->rq.active = false;
		connects_deadline(e);
		return true;
	}
	return false;
}

bool enrol_connect_poll(struct enrol *e, nsec now, struct enrol_output *out)
{
	if (e->connects_next > now)
		return false;
	for (size_t i = 0; i < MAX_CONNECTS; i++) {
		struct connect *c = &e->connects[i];
		struct ctl_msg m = { .type = CTL_CONNECT,
				     .has = CTL_BIT(CTL_NUMBER),
				     .number = c->number };
		if (enrol_request_due(e, &c->rq, now, &m, out)) {
			connects_deadline(e);
			return true;
		}
	}
	return false;
}

/* --- being introduced --- */

static struct held *held_room(struct enrol *e, nsec now, const struct ctl_msg *m)
{
	struct held *room = NULL;
	for (size_t i = 0; i < MAX_HELD; i++) {
		struct held *h = &e->held[i];
		if (h->used && h->number == m->number)
			return h; /* the newer one replaces it */
		if (!room && (!h->used || h->until <= now))
			room = h;
	}
	return room;
}

static void hold(struct enrol *e, nsec now, struct held *h, const struct ctl_msg *m)
{
	if (!h->used)
		e->nheld++;
	*h = (struct held){
		.used = true, .number = m->number, .id = m->request, .until = now + HOLD_FOR
	};
	for (size_t i = 0; i < m->ncandidates; i++)
		if (candidate_valid(&m->candidates[i], &e->prefix4, &e->prefix6))
			h->candidates[h->ncandidates++] = m->candidates[i];
}

enum drop enrol_intro_input(struct enrol *e, nsec now, const struct ctl_msg *m)
{
	struct known *k = enrol_roster_find(e, m->number);
	if (!e->registered || !m->number || m->number == e->lease.number || m->number > e->max)
		return DROP_FRAME_UNEXPECTED;
	enrol_connect_drop(e, m->number);
	if (m->has & CTL_BIT(CTL_ROSTER))
		enrol_roster_note(e, now, &m->roster);
	if (k && k->introduced && k->intro == m->request)
		return DROP_NONE; /* a repetition */
	struct held *h = held_room(e, now, m);
	if (h && !(h->used && h->number == m->number && h->id == m->request))
		hold(e, now, h, m);
	return DROP_NONE; /* without room: one of its repetitions finds some */
}

static void held_end(struct enrol *e, struct held *h)
{
	h->used = false;
	e->nheld--;
}

bool enrol_intro_poll(struct enrol *e, nsec now, struct enrol_output *out)
{
	for (size_t i = 0; e->nheld && i < MAX_HELD; i++) {
		struct held *h = &e->held[i];
		struct known *k = h->used ? enrol_roster_find(e, h->number) : NULL;
		if (h->used && !k && h->until <= now)
			held_end(e, h);
		if (!k)
			continue;
		k->introduced = true;
		k->intro = h->id;
		out->event = ENROL_INTRODUCED;
		out->number = h->number;
		out->ncandidates = h->ncandidates;
		memcpy(out->candidates, h->candidates, sizeof(h->candidates));
		held_end(e, h);
		return true;
	}
	return false;
}

nsec enrol_intro_deadline(const struct enrol *e)
{
	nsec at = NSEC_NEVER;
	for (size_t i = 0; e->nheld && i < MAX_HELD; i++) {
		const struct held *h = &e->held[i];
		if (h->used)
			at = nsec_min(at, enrol_roster_find(e, h->number) ? 0 : h->until);
	}
	return at;
}

/* --- whom we hear --- */

static void push_number(member_number *v, size_t *n, member_number number)
{
	for (size_t i = 0; i < *n; i++)
		if (v[i] == number)
			return;
	if (*n == MAX_ASKED)
		memmove(v, v + 1, --*n * sizeof(*v));
	v[(*n)++] = number;
}

void enrol_asked(struct enrol *e, member_number number)
{
	push_number(e->asked, &e->nasked, number);
}

void enrol_vouch(struct enrol *e, member_number number)
{
	if (e->registered && !e->leaving)
		push_number(e->vouch, &e->nvouch, number);
}

bool enrol_ask_poll(struct enrol *e, struct enrol_output *out)
{
	if (e->nasked) {
		out->event = ENROL_ASKED;
		out->number = e->asked[--e->nasked];
		return true;
	}
	if (!e->nvouch)
		return false;
	struct ctl_msg m = { .type = CTL_VOUCH,
			     .has = CTL_BIT(CTL_NUMBER),
			     .number = e->vouch[--e->nvouch] };
	out->event = ENROL_SEND;
	out->len = ctl_write(&m, out->bytes, sizeof(out->bytes));
	return true;
}
