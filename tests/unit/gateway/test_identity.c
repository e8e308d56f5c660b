/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What members remember of each other: keys that change, and starts without a rendezvous. Whole nodes,
 * no kernel; a rendezvous that lies is one whose rows were changed.
 */
#include "trust_world.h"

#include <string.h>

#define SEC NSEC_PER_SEC

static struct world *remembering(struct host **a, struct host **b)
{
	struct world *w = world_new();
	w->remembers = true;
	*a = world_node(w, 0, "a", 1, NULL);
	*b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 5 * SEC);
	assert_true((*a)->up && (*b)->up);
	assert_true(world_talk(w, *a, *b));
	return w;
}

/* --- keys that change --- */

static void test_middle_is_noticed(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	(void)state;
	world_lies(w, "b", 3);
	world_node(w, 2, "b", 3, NULL);
	world_run(w, 40 * SEC);
	assert_true(world_has_key(a, "b", 3)); /* a rendezvous is believed, but not in silence */
	assert_int_equal(a->keys_twice, 1);
	assert_int_equal(a->keys_refused, 0);
	/* and the one of before is not kept for ever */
	world_run(w, 20 * SEC);
	uint8_t old[32];
	world_key(2, old);
	assert_null(node_peer_find(a->node, old));
	world_free(w);
}

/* A container that lost its key: nobody answers with the one of before, so there is nothing to say. */
static void test_new_start_is_ordinary(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	(void)state;
	world_stop(b);
	memory_free(&w->memory[1]);
	world_run(w, SEC);
	b = world_node(w, 1, "b", 3, NULL);
	world_run(w, 40 * SEC);
	assert_true(b->up && world_has_key(a, "b", 3) && world_talk(w, a, b));
	assert_int_equal(a->keys_twice + a->keys_refused, 0);
	world_free(w);
}

/* The change is noticed as well when this node was off meanwhile. */
static void test_memory_outlives_a_start(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	(void)state;
	world_stop(a);
	world_lies(w, "b", 3);
	world_node(w, 2, "b", 3, NULL);
	world_run(w, 5 * SEC);
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 10 * SEC);
	assert_true(a->up && world_has_key(a, "b", 3));
	assert_int_equal(a->keys_twice, 1);
	world_free(w);
}

/* Also an address that goes to another id, with its key still in use, is a change. */
static void test_address_of_another(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	member_number number = node_lease(b->node)->lease.number;
	(void)state;
	world_key(3, w->rows[number].key);
	snprintf(w->rows[number].id, sizeof(w->rows[number].id), "x");
	world_rendezvous(w);
	world_node(w, 2, "x", 3, NULL);
	world_run(w, 60 * SEC);
	assert_true(world_has_key(a, "x", 3));
	assert_int_equal(a->keys_twice, 1);
	world_free(w);
}

/* --- a holder that the rendezvous does not hear --- */

static bool without_b(struct world *w, struct datagram *d)
{
	const struct endpoint *b = &w->hosts[1].at;
	return !(endpoint_eq(&d->from, b) && endpoint_eq(&d->to, &w->rdv_at)) &&
	       !(endpoint_eq(&d->to, b) && endpoint_eq(&d->from, &w->rdv_at));
}

static void test_others_vouch(void **state)
{
	struct host *a, *b, *c;
	struct world *w = remembering(&a, &b);
	(void)state;
	w->tap = without_b;
	c = world_node(w, 2, "b", 3, NULL);
	world_run(w, 10 * SEC);
	assert_true(c->fatal && !c->up && strstr(c->text, "which member a reaches"));
	assert_true(world_has_key(a, "b", 2) && world_talk(w, a, b));
	/* nobody hears it any more: its place is free, and its address with it */
	struct addr ip = world_ip(b), now;
	b->unplugged = true;
	c = world_node(w, 2, "b", 3, NULL);
	world_run(w, 9 * SEC);
	assert_true(c->up);
	now = world_ip(c);
	assert_true(addr_eq(&ip, &now));
	world_free(w);
}

/* --- no rendezvous --- */

static void test_restart_without_rendezvous(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	struct addr ip = world_ip(a), again;
	(void)state;
	world_rendezvous_dies(w);
	world_run(w, 5 * SEC);
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 4 * SEC);
	assert_false(a->up); /* a rendezvous has its time to answer */
	world_run(w, 3 * SEC);
	assert_true(a->up);
	again = world_ip(a);
	assert_true(addr_eq(&ip, &again));
	assert_true(world_talk(w, a, b) && world_talk(w, b, a));
	/* minutes later still */
	world_run(w, 300 * SEC);
	assert_true(world_talk(w, a, b) && world_talk(w, b, a));
	/* and it is a member as any other when the rendezvous is back */
	world_rendezvous(w);
	world_run(w, 40 * SEC);
	assert_false(a->refused || a->replaced || a->lease_changed);
	struct enrol_info e;
	node_enrol_info(a->node, 0, &e);
	assert_true(e.registered && world_talk(w, a, b));
	world_free(w);
}

/* All of them at once, as after a power cut. */
static void test_all_restart_without_rendezvous(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	(void)state;
	world_rendezvous_dies(w);
	world_stop(b);
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 3 * SEC);
	b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 10 * SEC);
	assert_true(a->up && b->up && world_talk(w, a, b));
	world_free(w);
}

static void test_alone_without_rendezvous(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	(void)state;
	world_rendezvous_dies(w);
	world_stop(b);
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 15 * SEC);
	assert_false(a->up);
	world_run(w, 7 * SEC);
	assert_true(a->up);
	b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 10 * SEC);
	assert_true(b->up);
	/* a tries b's last endpoint with growing pauses */
	world_run(w, 60 * SEC);
	assert_true(world_talk(w, a, b));
	world_free(w);
}

/* What the file has at this moment is what the next start finds: power may be cut at any time. */
static void power_cut(struct world *w, unsigned i, const uint8_t *file, size_t len)
{
	memory_free(&w->memory[i]);
	assert_int_equal(memory_decode(&w->memory[i], file, len), 0);
}

/* Is what the node remembers on the disk within seconds, as new keys are? Then the file is as it is now. */
static bool written_soon(struct memory *m, uint8_t *file, size_t room, size_t *len)
{
	if (!m->changed || !m->keys_changed)
		return false;
	m->changed = m->keys_changed = false;
	*len = memory_encode(m, file, room);
	return *len > 0;
}

static void test_removal_outlives_a_power_cut(void **state)
{
	static uint8_t file[16384];
	size_t len = 0;
	(void)state;
	for (int gone_before = 0; gone_before < 2; gone_before++) {
		struct host *a, *b;
		struct world *w = remembering(&a, &b);
		assert_true(written_soon(&w->memory[0], file, sizeof(file), &len));
		if (gone_before) { /* which is no hurry */
			node_release(b->node, w->now);
			world_run(w, 3 * SEC);
			assert_true(w->memory[0].changed && !w->memory[0].keys_changed);
		}
		world_remove(w, "b");
		world_run(w, 3 * SEC);
		written_soon(&w->memory[0], file, sizeof(file), &len);
		world_rendezvous_dies(w);
		world_stop(a);
		power_cut(w, 0, file, len);
		a = world_node(w, 0, "a", 1, NULL);
		world_run(w, 30 * SEC);
		assert_true(a->up);
		assert_null(world_peer(a, "b"));
		world_free(w);
	}
}

/* Lease and PSKs of another key, of another id, of another network are of no use. */
static void test_memory_of_another(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	(void)state;
	world_rendezvous_dies(w);
	a = world_node(w, 0, "a", 9, NULL);
	world_run(w, 30 * SEC);
	assert_false(a->up);
	a = world_node(w, 0, "other", 1, NULL);
	world_run(w, 30 * SEC);
	assert_false(a->up);
	w->token.key[0] ^= 1;
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 30 * SEC);
	assert_false(a->up);
	w->token.key[0] ^= 1;
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 30 * SEC);
	assert_true(a->up);
	world_free(w);
}

/* Its place was taken while no rendezvous was there: it learns that from the first that is. */
static void test_taken_meanwhile(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	(void)state;
	world_rendezvous_dies(w);
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 10 * SEC);
	assert_true(a->up);
	world_lies(w, "a", 5);
	world_node(w, 3, "a", 5, NULL);
	world_run(w, 40 * SEC);
	assert_true(a->fatal || a->replaced);
	world_free(w);
}

/* Its command, or who started it, waits for this: what was refused or replaced leaves at once. */
static void test_end_of_the_refused(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL), *thief;
	(void)state;
	world_run(w, 5 * SEC);
	thief = world_node(w, 1, "a", 2, NULL);
	world_run(w, 10 * SEC);
	assert_true(thief->fatal && !thief->released);
	node_release(thief->node, w->now);
	world_run(w, 100 * NSEC_PER_MSEC);
	assert_true(thief->released);
	world_lies(w, "a", 2);
	world_node(w, 1, "a", 2, NULL);
	world_run(w, 40 * SEC);
	assert_true(a->replaced && !a->released);
	node_release(a->node, w->now);
	world_run(w, 100 * NSEC_PER_MSEC);
	assert_true(a->released);
	world_free(w);
}

/* A state directory that was copied, as with a virtual machine: one of the two goes on. */
static void test_copied_state(void **state)
{
	struct world *w = world_new();
	struct host *b = world_node(w, 1, "b", 2, NULL);
	struct host *before = world_node(w, 0, "a", 1, NULL), *copy;
	(void)state;
	world_run(w, 10 * SEC);
	copy = world_node(w, 2, "a", 1, NULL);
	world_run(w, 60 * SEC);
	assert_true(before->replaced && copy->up && b->up);
	assert_false(copy->replaced || copy->refused || copy->lease_changed);
	assert_non_null(strstr(before->text, "copied"));
	world_stop(before);
	world_run(w, 30 * SEC);
	assert_true(world_talk(w, copy, b) && world_talk(w, b, copy));
	world_free(w);
}

/* Its prefix is a mistake of its operator's: what works goes on, and is renewed when that is put right. */
static void test_rendezvous_with_another_prefix(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	const struct prefix right = w->token.prefixes[0];
	struct enrol_info e;
	(void)state;
	assert_true(prefix_parse("10.78.0.0/16", &w->token.prefixes[0]));
	world_rendezvous(w);
	world_run(w, 120 * SEC);
	assert_true(a->refused && b->refused && strstr(a->text, "10.78.0.1"));
	assert_false(a->fatal || b->fatal || a->lease_changed || b->lease_changed);
	assert_true(world_talk(w, a, b) && world_talk(w, b, a));
	w->token.prefixes[0] = right;
	world_rendezvous(w);
	world_run(w, 60 * SEC);
	node_enrol_info(a->node, 0, &e);
	assert_true(e.registered && w->now - e.last_answer <= 21 * SEC);
	assert_true(world_talk(w, a, b) && !a->fatal && !b->fatal);
	world_free(w);
}

static void token_for(struct world *w, const char *id)
{
	snprintf(w->token.only_for, sizeof(w->token.only_for), "%s", id);
	admission_token(w->secret, &w->admission, &w->token);
}

/*
 * With a token for its id a start takes it from whoever has it. What is up is no start: not with the
 * saved roster, nor where another process of the same node was up before.
 */
static void test_token_for_one_id_is_no_way_back(void **state)
{
	(void)state;
	for (int restarted = 0; restarted < 2; restarted++) {
		struct world *w = world_new();
		w->remembers = true;
		token_for(w, "a");
		struct host *a = world_node(w, 0, "a", 1, NULL);
		world_run(w, 5 * SEC);
		assert_true(a->up);
		a->unplugged = true;
		world_run(w, SEC);
		if (restarted)
			world_stop(a);
		else
			a = world_node(w, 0, "a", 1, NULL);
		a->unplugged = true;
		world_run(w, 30 * SEC);
		struct host *b = world_node(w, 1, "a", 2, NULL);
		world_run(w, 5 * SEC);
		assert_true(b->up);
		w->holds = restarted;
		if (restarted)
			a = world_node(w, 0, "a", 1, NULL);
		else
			assert_true(a->up);
		a->unplugged = false;
		world_run(w, 60 * SEC);
		assert_true(a->replaced && !b->replaced && !b->fatal);
		world_free(w);
	}
}

/* A rendezvous that lost its leases and not its secret gives the address back to who shows the lease. */
static void test_lease_is_shown_after_a_start(void **state)
{
	struct host *a, *b;
	struct world *w = remembering(&a, &b);
	struct addr ip = world_ip(b), again;
	(void)state;
	world_stop(a);
	world_stop(b);
	memset(w->rows, 0, sizeof(w->rows));
	world_rendezvous(w);
	b = world_node(w, 1, "b", 2, NULL); /* the smallest free number would be a's */
	world_run(w, 5 * SEC);
	assert_true(b->up);
	again = world_ip(b);
	assert_true(addr_eq(&ip, &again));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_middle_is_noticed),
		cmocka_unit_test(test_new_start_is_ordinary),
		cmocka_unit_test(test_memory_outlives_a_start),
		cmocka_unit_test(test_address_of_another),
		cmocka_unit_test(test_others_vouch),
		cmocka_unit_test(test_restart_without_rendezvous),
		cmocka_unit_test(test_all_restart_without_rendezvous),
		cmocka_unit_test(test_alone_without_rendezvous),
		cmocka_unit_test(test_removal_outlives_a_power_cut),
		cmocka_unit_test(test_memory_of_another),
		cmocka_unit_test(test_taken_meanwhile),
		cmocka_unit_test(test_end_of_the_refused),
		cmocka_unit_test(test_copied_state),
		cmocka_unit_test(test_rendezvous_with_another_prefix),
		cmocka_unit_test(test_token_for_one_id_is_no_way_back),
		cmocka_unit_test(test_lease_is_shown_after_a_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
