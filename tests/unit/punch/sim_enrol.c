/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hundreds of seeded lives of a network: faults of every kind for two minutes, then calm. What must
 * hold at every moment stands in sim_enrol_world.c; here, what must hold in the end.
 *
 *     sim_enrol [FIRST-SEED [COUNT]]
 */
#include "sim_enrol.h"

#include <stdio.h>
#include <stdlib.h>

#define SEC NSEC_PER_SEC

/* Two nodes that both believe in one id: until the older one's next renewal, and its repetitions. */
#define BOTH_BOUND (60 * SEC)

static struct node *any(struct sim *s)
{
	return &s->nodes[sim_random(s, s->nnodes)];
}

/* Another living node of the same id. */
static struct node *twin(struct sim *s, const struct node *n)
{
	for (size_t i = 0; i < s->nnodes; i++)
		if (&s->nodes[i] != n && strcmp(s->nodes[i].id, n->id) == 0)
			return &s->nodes[i];
	return NULL;
}

static void weather(struct sim *s)
{
	s->calm_since = NSEC_NEVER;
	s->loss = (unsigned)sim_random(s, 300);
	s->twice = (unsigned)sim_random(s, 200);
	s->delay_least = 1 + (unsigned)sim_random(s, 50);
	s->delay_most = s->delay_least + (unsigned)sim_random(s, 300);
}

static void connect_somebody(struct sim *s, struct node *n)
{
	struct node *other = any(s);
	if (n->state == NODE_RUNNING && other->number && other != n)
		enrol_connect(n->e, s->now, other->number);
}

static void roam(struct sim *s, struct node *n)
{
	struct endpoint c = { .addr = addr_v4_u32(0x0a000001u + (uint32_t)sim_random(s, 1000)),
			      .port = 5000 };
	if (n->state == NODE_RUNNING)
		enrol_set_candidates(n->e, s->now, &c, 1);
}

/*
 * A node that is cut off while somebody takes its id: it must learn that when it is back. Or from the
 * rendezvous alone: then others hear it, and it keeps the id.
 */
static void usurp(struct sim *s)
{
	if (sim_random(s, 2)) {
		sim_clean(s);
		sim_run(s, s->now + 6 * SEC);
	}
	for (size_t i = 0; i < s->nnodes; i++) {
		struct node *n = &s->nodes[i], *t = twin(s, n);
		if (n->state != NODE_RUNNING || !t || t->state != NODE_OFF)
			continue;
		sim_cut(s, n, true);
		bool alone = sim_random(s, 4);
		for (size_t k = 0; k < s->nnodes; k++)
			sim_set_apart(s, n, &s->nodes[k], alone || sim_random(s, 2));
		sim_cut(s, t, false);
		sim_start(s, t);
		return;
	}
}

static void fault(struct sim *s)
{
	struct node *n = any(s);
	switch (sim_random(s, 19)) {
	case 0:
		weather(s);
		break;
	case 1:
		sim_kill(s, n);
		break;
	case 2: /* the same machine, started again */
		if (twin(s, n) == NULL || twin(s, n)->state == NODE_OFF)
			sim_start(s, n);
		break;
	case 3: /* a new container without its volume */
		if (twin(s, n) == NULL || twin(s, n)->state == NODE_OFF) {
			sim_kill(s, n);
			sim_new_key(s, n);
			sim_start(s, n);
		}
		break;
	case 4: /* an operator's mistake: one id twice */
		sim_start(s, n);
		break;
	case 5:
		if (n->state == NODE_RUNNING)
			enrol_release(n->e, s->now);
		break;
	case 6:
		if (s->r)
			sim_registrar_kill(s);
		else
			sim_registrar_start(s);
		break;
	case 7:
		if (!s->r)
			sim_registrar_start(s);
		break;
	case 8:
		sim_cut(s, n, true);
		break;
	case 9:
	case 10:
		for (size_t i = 0; i < s->nnodes; i++)
			sim_cut(s, &s->nodes[i], false);
		break;
	case 11:
		s->calm_since = NSEC_NEVER;
		s->store_fails = sim_random(s, 2);
		s->store_delay = NSEC_PER_MSEC * (nsec)sim_random(s, 3000);
		break;
	case 12:
		usurp(s);
		break;
	case 13:
		roam(s, n);
		break;
	case 14:
		sim_clean(s);
		break;
	case 15: /* one from all others, from some, from one */
	case 16:
		for (size_t i = 0; i < s->nnodes; i++)
			if (sim_random(s, 3))
				sim_set_apart(s, n, &s->nodes[i], true);
		break;
	case 17:
		for (size_t i = 0; i < s->nnodes; i++)
			sim_set_apart(s, n, &s->nodes[i], false);
		break;
	default:
		connect_somebody(s, n);
	}
}

/* Calm weather, everything repaired; the older of two twins stays off, so that all can be members. */
static void repair(struct sim *s)
{
	sim_clean(s);
	if (!s->r)
		sim_registrar_start(s);
	for (size_t i = 0; i < s->nnodes; i++) {
		struct node *n = &s->nodes[i], *t = twin(s, n);
		sim_cut(s, n, false);
		if (n->state == NODE_RUNNING)
			continue;
		sim_kill(s, n);
		if (!t || t->state != NODE_RUNNING)
			sim_start(s, n);
	}
}

/* One of two living twins is refused or replaced; the loser may be restarted by repair() too late. */
static void settle_twins(struct sim *s)
{
	for (size_t i = 0; i < s->nnodes; i++)
		if (s->nodes[i].state != NODE_RUNNING)
			sim_kill(s, &s->nodes[i]);
}

static void check_quiet(struct sim *s)
{
	unsigned before[SIM_NODES];
	uint64_t from = s->from_registrar;
	for (size_t i = 0; i < s->nnodes; i++)
		before[i] = s->nodes[i].sent;
	sim_run(s, s->now + 60 * SEC);
	/* a renewal each 20 s and its answer, and nothing else */
	for (size_t i = 0; i < s->nnodes; i++)
		SIM_CHECK(s, s->nodes[i].sent - before[i] <= 4);
	SIM_CHECK(s, s->from_registrar - from <= 4 * s->nnodes);
}

static struct node *anyone_running(struct sim *s)
{
	struct node *n;
	do
		n = any(s);
	while (n->state != NODE_RUNNING);
	return n;
}

/* Somebody comes, somebody goes: everybody knows within `within` of the newcomer's handshake. */
static void check_spread(struct sim *s, const char *newcomer, nsec within)
{
	struct node *gone = anyone_running(s), *fresh = sim_add(s, newcomer);
	sim_start(s, fresh);
	enrol_release(gone->e, s->now);
	/* a lost handshake is not this protocol's to repair */
	while (!fresh->session)
		sim_run(s, s->now + SEC);
	sim_run(s, s->now + within);
	SIM_CHECK(s, sim_converged(s, true));
}

static unsigned grants, refusals, replacements, introductions, vouched;
static nsec both_most;

static void count(const struct sim *s)
{
	grants += s->grants;
	refusals += s->refusals;
	replacements += s->replacements;
	introductions += s->introductions;
	vouched += s->vouched;
	both_most = nsec_max(both_most, s->both_most);
}

static void life(uint64_t seed)
{
	static struct sim s;
	char id[WORKER_ID_LEN];
	sim_init(&s, seed, "10.77.0.0/16", 400);
	sim_registrar_start(&s);
	size_t n = 2 + sim_random(&s, 39);
	for (size_t i = 0; i < n; i++) {
		/* every eighth id is claimed by two nodes */
		snprintf(id, sizeof(id), "w%zu", i % 8 == 7 ? i - 1 : i);
		struct node *node = sim_add(&s, id);
		if (i % 8 != 7)
			sim_start(&s, node);
	}
	nsec end = s.now + 120 * SEC;
	while (s.now < end) {
		sim_run(&s, s.now + NSEC_PER_MSEC * (nsec)sim_random(&s, 4000));
		fault(&s);
	}
	/* good weather, and the partitions stay */
	sim_clean(&s);
	if (!s.r)
		sim_registrar_start(&s);
	sim_run(&s, s.now + 100 * SEC);
	sim_check_addresses(&s);
	repair(&s);
	sim_run(&s, s.now + 100 * SEC);
	settle_twins(&s);
	sim_run(&s, s.now + 65 * SEC);
	SIM_CHECK(&s, sim_converged(&s, true));
	SIM_CHECK(&s, s.both_most <= BOTH_BOUND);
	check_quiet(&s);
	s.delay_most = 400;
	s.twice = 100;
	check_spread(&s, "late1", 10 * SEC);
	s.loss = 100;
	check_spread(&s, "late2", 40 * SEC);
	count(&s);
	sim_end(&s);
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	uint64_t lives = argc > 2 ? strtoull(argv[2], NULL, 10) : 300;
	for (uint64_t seed = first; seed < first + lives; seed++)
		life(seed);
	printf("%llu lives from seed %llu on: %u grants, %u refusals, %u replacements, %u "
	       "introductions, %u times vouched for; two holders of an id for %.1f s at most\n",
	       (unsigned long long)lives, (unsigned long long)first, grants, refusals, replacements,
	       introductions, vouched, (double)both_most / 1e9);
	/* a simulation in which nothing happens proves nothing */
	return lives >= 100 && !(grants && refusals && replacements && introductions && vouched);
}
