/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Introductions: both sides of a pair are told each other's candidates at the same time, so that
 * their first probes cross. Nothing acknowledges them; they are repeated instead, and a pair is
 * introduced at most once a second, however often the two ask.
 */
#include <stdlib.h>

#include "punch/registrar_impl.h"

#define INTRO_WINDOW NSEC_PER_SEC

/* When each repetition is sent, after the first. */
static const nsec repeat_at[] = { 0, 250 * NSEC_PER_MSEC, 1000 * NSEC_PER_MSEC };

bool registrar_intro_init(struct registrar *r)
{
	r->intros = calloc(MAX_INTROS, sizeof(*r->intros));
	return r->intros;
}

/* NULL: all are in use. One that never was is not touched before: most networks need few. */
static struct intro *intro_take(struct registrar *r)
{
	struct intro *i = r->free_intros;
	if (i) {
		r->free_intros = i->next;
		return i;
	}
	if (r->nintros == MAX_INTROS)
		return NULL;
	i = &r->intros[r->nintros++];
	i->timer.kind = TIMER_INTRO;
	return i;
}

static struct intro **intro_bucket(struct registrar *r, member_number a, member_number b)
{
	return &r->intro_buckets[(a * 2654435761u ^ b * 40503u) % INTRO_BUCKETS];
}

static void intro_end(struct registrar *r, struct intro *i)
{
	struct intro **at = intro_bucket(r, i->a, i->b);
	while (*at != i)
		at = &(*at)->next;
	*at = i->next;
	i->next = r->free_intros;
	r->free_intros = i;
	r->intros_alive--;
	/* the number may be somebody else's since */
	struct slot *by = registrar_slot_at(r, i->by);
	if (by && by->intros)
		by->intros--;
}

/* Each may have a quarter as many under way as are left for the others, so that nobody's flood takes all. */
static bool has_share(const struct registrar *r, const struct slot *by)
{
	return by->intros < (MAX_INTROS - r->intros_alive) / 4;
}

static void introduce(struct registrar *r, nsec now, struct slot *by, member_number other)
{
	member_number me = by->rec.number, a = me < other ? me : other, b = me < other ? other : me;
	struct intro **head = intro_bucket(r, a, b), *i = *head;
	while (i && (i->a != a || i->b != b))
		i = i->next;
	if (i || !has_share(r, by) || !(i = intro_take(r)))
		return; /* under way, or too many: the member asks again */
	by->intros++;
	r->intros_alive++;
	i->by = me;
	i->next = *head;
	*head = i;
	i->a = a;
	i->b = b;
	i->id = r->next_intro++;
	i->step = 0;
	i->start = now;
	registrar_timer(r, &i->timer, now);
}

void registrar_intro_connect(struct registrar *r, nsec now, struct slot *s, const struct ctl_msg *m)
{
	struct slot *other = registrar_slot_at(r, m->number);
	if (other == s || !other || !other->online) {
		registrar_refuse(r, s->rec.key, m->request, CTL_REFUSED_NO_MEMBER,
				 "member %u is not online", m->number);
		return;
	}
	introduce(r, now, s, m->number);
}

static void add_candidate(struct registrar *r, struct ctl_msg *m, const struct endpoint *e)
{
	if (m->ncandidates == MAX_CANDIDATES ||
	    !candidate_valid(e, &r->cfg.prefix4, &r->cfg.prefix6))
		return;
	for (size_t i = 0; i < m->ncandidates; i++)
		if (m->candidates[i].port == e->port && addr_eq(&m->candidates[i].addr, &e->addr))
			return;
	m->candidates[m->ncandidates++] = *e;
}

static void tell(struct registrar *r, const struct slot *to, const struct slot *of, uint32_t id,
		 struct registrar_output *out)
{
	struct ctl_msg m = {
		.type = CTL_INTRODUCE,
		.request = id,
		.has = CTL_BIT(CTL_NUMBER) | CTL_BIT(CTL_CANDIDATES) | CTL_BIT(CTL_ROSTER),
		.number = of->rec.number,
		.roster = r->roster,
	};
	/* where we see it comes first: the likeliest one behind a NAT */
	add_candidate(r, &m, &of->facts.from);
	for (size_t i = 0; i < of->facts.ncandidates; i++)
		add_candidate(r, &m, &of->facts.candidates[i]);
	registrar_send(out, to->rec.key, &m);
}

bool registrar_intro_step(struct registrar *r, nsec now, struct intro *i,
			  struct registrar_output *out)
{
	struct slot *a = registrar_slot_at(r, i->a), *b = registrar_slot_at(r, i->b);
	unsigned step = i->step++;
	if (step / 2 >= ARRAY_SIZE(repeat_at) || !a || !b || !a->online || !b->online) {
		intro_end(r, i);
		return false;
	}
	if (step % 2 == 0)
		registrar_timer(r, &i->timer, now);
	else if (step / 2 + 1 < ARRAY_SIZE(repeat_at))
		registrar_timer(r, &i->timer, i->start + repeat_at[step / 2 + 1]);
	else
		registrar_timer(r, &i->timer, nsec_max(now, i->start + INTRO_WINDOW) + 1);
	if (step % 2 == 0)
		tell(r, a, b, i->id, out);
	else
		tell(r, b, a, i->id, out);
	return true;
}
