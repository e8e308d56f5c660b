/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways between members, which are not those to the rendezvous: who can answer whom, and so who may be
 * taken for dead.
 */
#include "sim_enrol.h"

/* A question, its answer, and the word of it to the rendezvous, each slower than the other. */
#define ANSWER_TIME (100 * NSEC_PER_MSEC)
/* A challenge takes 5 s, and others are asked when its first second is over. */
#define LONG_ENOUGH (4500 * NSEC_PER_MSEC)
/* Whoever has a way has renewed by then, and is known to be online. */
#define LONG_ONLINE (30 * NSEC_PER_SEC)
/* Nothing of it, nor a write before it, was in bad weather. */
#define LONG_CALM (10 * NSEC_PER_SEC)

void sim_cut(struct sim *s, struct node *n, bool cut)
{
	if (n->cut != cut)
		n->way_since = s->now;
	n->cut = cut;
}

static bool *apart(struct sim *s, const struct node *a, const struct node *b)
{
	return &s->apart[a - s->nodes][b - s->nodes];
}

void sim_set_apart(struct sim *s, const struct node *a, const struct node *b, bool is)
{
	if (a == b || *apart(s, a, b) == is)
		return;
	*apart(s, a, b) = *apart(s, b, a) = is;
	s->apart_since[a - s->nodes][b - s->nodes] = s->apart_since[b - s->nodes][a - s->nodes] =
		s->now;
}

void sim_asked(struct sim *s, struct node *n, member_number number)
{
	SIM_CHECK(s, s->nasks < SIM_ASKS);
	s->asks[s->nasks++] = (struct sim_ask){ .at = s->now + ANSWER_TIME,
						.node = (unsigned)(n - s->nodes),
						.boot = n->boot,
						.number = number };
}

nsec sim_next_ask(const struct sim *s)
{
	return s->nasks ? s->asks[0].at : NSEC_NEVER;
}

/* Who holds that number under the key that `n` knows for it, and runs. */
static struct node *whom(struct sim *s, const struct node *n, member_number number)
{
	const struct peer_view *v = &n->peers[number];
	for (size_t i = 0; i < s->nnodes; i++) {
		struct node *o = &s->nodes[i];
		if (v->live && o->state == NODE_RUNNING && o->granted &&
		    memcmp(o->key, v->key, 32) == 0)
			return o;
	}
	return NULL;
}

void sim_answer_asks(struct sim *s)
{
	while (s->nasks && s->asks[0].at <= s->now) {
		struct sim_ask a = s->asks[0];
		struct node *n = &s->nodes[a.node];
		memmove(s->asks, s->asks + 1, --s->nasks * sizeof(a));
		struct node *o = n->boot == a.boot && n->e ? whom(s, n, a.number) : NULL;
		if (!o || *apart(s, n, o) || sim_random(s, 1000) < s->loss)
			continue;
		s->vouched++;
		enrol_vouch(n->e, a.number);
	}
}

static bool for_long(const struct sim *s, nsec since)
{
	return s->now - since > LONG_ENOUGH;
}

static bool calm(const struct sim *s)
{
	return s->calm_since != NSEC_NEVER && s->now - s->calm_since > LONG_CALM;
}

/* `by` could tell the rendezvous of `holder` all the while. */
static bool could_vouch(struct sim *s, const struct node *by, const struct node *holder)
{
	return by->state == NODE_RUNNING && by->granted && for_long(s, by->granted_since) &&
	       !by->cut && s->now - by->way_since > LONG_ONLINE && by->session == s->life &&
	       s->now - s->life_since > LONG_ONLINE && whom(s, by, holder->number) == holder &&
	       !*apart(s, by, holder) &&
	       for_long(s, s->apart_since[by - s->nodes][holder - s->nodes]);
}

void sim_check_takeover(struct sim *s, const struct lease_record *rec)
{
	const struct lease_record *row = &s->rows[rec->number];
	for (size_t i = 0; calm(s) && row->number && i < s->nnodes; i++) {
		struct node *old = &s->nodes[i];
		if (!old->granted || old->state != NODE_RUNNING ||
		    memcmp(old->key, row->key, 32) != 0 || memcmp(old->key, rec->key, 32) == 0 ||
		    !for_long(s, old->granted_since))
			continue;
		/* it lives; so nobody who hears it could say so */
		SIM_CHECK(s, old->cut || !for_long(s, old->way_since) || old->session != s->life);
		for (size_t k = 0; k < s->nnodes; k++)
			SIM_CHECK(s, &s->nodes[k] == old || !could_vouch(s, &s->nodes[k], old));
	}
}

void sim_check_addresses(struct sim *s)
{
	for (size_t i = 0; i < s->nnodes; i++)
		SIM_CHECK(s, s->nodes[i].state != NODE_RUNNING || s->nodes[i].cut ||
				     s->nodes[i].granted);
}
