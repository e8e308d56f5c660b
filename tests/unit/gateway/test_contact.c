/* SPDX-License-Identifier: Apache-2.0 */
/* One rendezvous with several addresses, and one that moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "trust_world.h"

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

static struct endpoint dead, other;

static struct endpoint ep(const char *text)
{
	struct endpoint e;
	assert_true(endpoint_parse(text, &e));
	return e;
}

static int fresh(void **state)
{
	dead = ep("203.0.113.99:7777");
	other = ep("[2001:db8::1]:7777");
	*state = world_new();
	return 0;
}

static int done(void **state)
{
	world_free(*state);
	return 0;
}

static bool registered(const struct host *h)
{
	struct enrol_info e;
	node_enrol_info(h->node, 0, &e);
	return e.registered && h->w->now - e.last_answer < 25 * SEC;
}

/* How long until it is up. */
static nsec time_to_join(struct host *h, nsec most)
{
	nsec start = h->w->now;
	while (!h->up && h->w->now - start < most)
		world_run(h->w, 10 * MSEC);
	assert_true(h->up);
	return h->w->now - start;
}

/* Node `a`, to which the names say so; its first message went to the first of them. */
static struct host *node_with(struct world *w, const struct endpoint *at, size_t n)
{
	struct endpoint real = w->rdv_at;
	w->rdv_at = at[0];
	struct host *a = world_node(w, 0, "a", 1, NULL);
	w->rdv_at = real;
	node_resolved(a->node, w->now, 0, at, n);
	return a;
}

static void test_dead_first(void **state)
{
	struct world *w = *state;
	const struct endpoint at[] = { dead, other, w->rdv_at };
	struct host *a = node_with(w, at, 3);
	assert_in_range(time_to_join(a, 60 * SEC), 1 * SEC, 3 * SEC);
	assert_true(endpoint_eq(node_rendezvous(a->node, 0), &w->rdv_at));
	world_run(w, 120 * SEC);
	assert_true(registered(a));
}

static bool nothing_arrives(struct world *w, struct datagram *d)
{
	(void)w;
	(void)d;
	return false;
}

/* The first answers again: it is gone back to, without a gap. */
static void test_back_to_the_first(void **state)
{
	struct world *w = *state;
	const struct endpoint first = w->rdv_at, at[] = { w->rdv_at, other };
	struct host *a = node_with(w, at, 2);
	/* it is reached by its other address alone: this world knows one at a time */
	w->rdv_at = other;
	time_to_join(a, 10 * SEC);
	assert_true(endpoint_eq(node_rendezvous(a->node, 0), &other));
	world_run(w, 30 * SEC);
	assert_true(registered(a));
	w->rdv_at = first;
	world_run(w, 5 * SEC);
	for (unsigned i = 0; i < 400 && !endpoint_eq(node_rendezvous(a->node, 0), &first); i++)
		world_run(w, SEC);
	assert_true(endpoint_eq(node_rendezvous(a->node, 0), &first));
	world_run(w, 30 * SEC);
	assert_true(registered(a));
}

/* Its name leads elsewhere: members follow within half a minute, and keep what they have. */
static void test_moves(void **state)
{
	struct world *w = *state;
	const struct endpoint new_at = ep("203.0.113.200:7777");
	struct host *a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 5 * SEC);
	assert_true(registered(a));
	w->rdv_at = new_at;
	world_rendezvous(w); /* another process, with the same files */
	nsec moved = w->now;
	while (w->now - moved < 60 * SEC && !endpoint_eq(node_rendezvous(a->node, 0), &new_at)) {
		world_run(w, 100 * MSEC);
		if (a->resolves) {
			a->resolves = 0;
			node_resolved(a->node, w->now, 0, &new_at, 1);
		}
	}
	assert_in_range(w->now - moved, 0, 26 * SEC);
	world_run(w, 2 * SEC);
	struct enrol_info e;
	node_enrol_info(a->node, 0, &e);
	assert_true(e.registered && e.last_answer > moved);
	assert_false(a->refused || a->replaced);
}

/* Nobody answers: the names are looked up again, and the rendezvous is not flooded. */
static void test_nobody_answers(void **state)
{
	struct world *w = *state;
	struct host *a = node_with(w, &dead, 1);
	world_run(w, 10 * SEC);
	a->resolves = 0;
	w->rdv_at = dead; /* so that what is sent there is counted */
	w->tap = nothing_arrives;
	a->to_rendezvous = 0;
	world_run(w, 60 * SEC);
	assert_in_range(a->to_rendezvous, 6, 20);
	assert_in_range(a->resolves, 5, 13);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fresh, done)
	const struct CMUnitTest tests[] = {
		T(test_dead_first),
		T(test_back_to_the_first),
		T(test_moves),
		T(test_nobody_answers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
