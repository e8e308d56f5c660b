/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --pin-members: what a node remembers of the others stands against the rendezvous' word, until it is told to
 * accept another. Whole nodes, no kernel.
 */
#include "trust_world.h"

#include <errno.h>
#include <string.h>

#define SEC NSEC_PER_SEC

static void test_pinned_key_stays(void **state)
{
	struct host *a, *b, *evil;
	struct world *w;
	(void)state;
	w = world_new();
	w->remembers = w->pins = true;
	a = world_node(w, 0, "a", 1, NULL);
	b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 5 * SEC);
	world_lies(w, "b", 3);
	evil = world_node(w, 2, "b", 3, NULL);
	world_run(w, 60 * SEC);
	assert_true(evil->up && world_has_key(a, "b", 2));
	assert_true(world_drops(a, DROP_MEMBER_KEY) >= 1);
	assert_int_equal(a->keys_refused, 1); /* in words once, however often it is told */
	assert_int_equal(a->keys_twice, 0);
	/* the old link lives on, and the other's packets are nobody's */
	assert_true(world_talk(w, a, b));
	assert_false(world_talk(w, evil, a));
	/* after a start as well: nobody at all then, for its own key the rendezvous does not introduce */
	w->memory[0].v[0].refused[0] ^= 1; /* which the file does not hold */
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 10 * SEC);
	assert_true(a->up);
	assert_null(world_peer(a, "b"));
	assert_int_equal(a->keys_refused, 1);
	/* on purpose */
	uint8_t key[32], other[32];
	world_key(3, key);
	world_key(4, other);
	assert_int_equal(node_accept_key(a->node, w->now, "c", key), -ENOENT);
	assert_int_equal(node_accept_key(a->node, w->now, "b", other), -ESTALE);
	assert_int_equal(node_accept_key(a->node, w->now, "b", key), 0);
	assert_int_equal(node_accept_key(a->node, w->now, "b", key), -EALREADY);
	world_run(w, 3 * SEC);
	assert_true(world_has_key(a, "b", 3));
	world_free(w);
}

static void route_behind(struct world *w, const char *id, const char *prefix)
{
	struct member_route *r = &w->routes[w->nroutes++];
	snprintf(r->id, sizeof(r->id), "%s", id);
	assert_true(prefix_parse(prefix, &r->prefix));
	world_rendezvous(w);
}

/* What `a` sends to this address does reach `to`. */
static bool leads_to(struct world *w, struct host *a, struct addr ip, struct host *to)
{
	unsigned before = to->packets;
	world_send(a, world_ip(a), ip);
	world_run(w, 3 * SEC);
	return to->packets > before;
}

/* A rendezvous that removes a member and routes its address to another would have all that it is sent. */
static void test_pinned_address_is_no_route(void **state)
{
	struct world *w = world_new();
	uint8_t key[32];
	(void)state;
	w->remembers = w->pins = true;
	struct host *a = world_node(w, 0, "a", 1, NULL), *b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 5 * SEC);
	struct addr ip = world_ip(b);
	assert_true(world_talk(w, a, b));
	world_remove(w, "b");
	world_run(w, SEC);
	route_behind(w, "x", "10.77.0.2/32");
	assert_true(addr_eq(&ip, &w->routes[0].prefix.addr));
	struct host *x = world_node(w, 2, "x", 3, NULL);
	world_run(w, 30 * SEC);
	assert_true(world_has_key(a, "x", 3) && world_talk(w, a, x));
	assert_null(world_peer(a, "b"));
	assert_false(leads_to(w, a, ip, x));
	assert_true(world_drops(a, DROP_MEMBER_KEY) >= 1);
	world_run(w, 60 * SEC);
	assert_int_equal(a->routes_refused, 1); /* in words once */
	assert_int_equal(a->keys_refused, 0);
	/* nor from what was remembered */
	world_rendezvous_dies(w);
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 20 * SEC);
	assert_true(a->up && world_talk(w, a, x));
	assert_false(leads_to(w, a, ip, x));
	/* on purpose */
	world_rendezvous(w);
	world_run(w, 60 * SEC);
	world_key(3, key);
	assert_int_equal(node_accept_key(a->node, w->now, "x", key), 0);
	assert_true(leads_to(w, a, ip, x));
	assert_int_equal(node_accept_key(a->node, w->now, "x", key), -EALREADY);
	world_free(w);
}

/* The route was there before the member, which is there as long as it is listed. */
static void test_pinned_address_ends_a_route(void **state)
{
	struct world *w = world_new();
	struct addr next;
	uint8_t key[32];
	(void)state;
	w->remembers = w->pins = true;
	/* an honest one gives no number that a route holds */
	w->rows[3] = (struct lease_record){ .number = 3, .id = "b", .granted = 1 };
	world_key(2, w->rows[3].key);
	route_behind(w, "x", "10.77.0.3/32");
	struct host *a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 5 * SEC);
	struct host *x = world_node(w, 2, "x", 3, NULL);
	world_run(w, 5 * SEC);
	assert_true(addr_parse("10.77.0.3", &next) && leads_to(w, a, next, x));
	struct host *b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 5 * SEC);
	struct addr ip = world_ip(b);
	assert_true(addr_eq(&ip, &next) && world_talk(w, a, b));
	assert_int_equal(a->routes_refused, 1);
	world_key(3, key);
	assert_int_equal(node_accept_key(a->node, w->now, "x", key), -EADDRINUSE);
	world_remove(w, "b");
	world_run(w, 5 * SEC);
	assert_null(world_peer(a, "b"));
	assert_false(leads_to(w, a, next, x));
	assert_true(world_talk(w, a, x));
	assert_int_equal(node_accept_key(a->node, w->now, "x", key), 0);
	assert_true(leads_to(w, a, next, x));
	world_free(w);
}

/* A key that cannot be remembered cannot be held on to: it is refused, in words. */
static void test_pinned_and_no_room(void **state)
{
	struct world *w = world_new();
	struct roster_entry e = { .number = 1000 };
	(void)state;
	w->remembers = w->pins = true;
	for (unsigned i = 0; i < MEMORY_MAX; i++, e.number++) {
		snprintf(e.id, sizeof(e.id), "x%u", i);
		assert_non_null(memory_put(&w->memory[0], &e, true));
	}
	struct host *a = world_node(w, 0, "a", 1, NULL), *b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 5 * SEC);
	assert_true(a->up && b->up);
	assert_null(world_peer(a, "b"));
	assert_true(a->keys_unkept >= 1 && world_drops(a, DROP_MEMBER_KEY) >= 1);
	assert_int_equal(a->keys_refused, 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pinned_key_stays),
		cmocka_unit_test(test_pinned_address_is_no_route),
		cmocka_unit_test(test_pinned_address_ends_a_route),
		cmocka_unit_test(test_pinned_and_no_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
