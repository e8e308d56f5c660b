/* SPDX-License-Identifier: Apache-2.0 */
/* What a gateway says of itself: who is online is what a rendezvous says now, and nothing where none does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/gw.h"
#include "trust_world.h"

#define SEC NSEC_PER_SEC

static struct gw g;
static struct gw_config cfg;

/* --- the rest of the gateway, as status.c sees it --- */

const char *gw_net_ip6(const struct gw *gw, char out[static ADDR_STRLEN])
{
	return addr_str(&node_lease(gw->node)->lease.ip6, out);
}

nsec loop_cpu_used(void)
{
	return SEC;
}

/* --- a network of a, b and c, as a sees it --- */

static int setup(void **state)
{
	static const char *const ids[] = { "a", "b", "c" };
	struct world *w = world_new();

	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
		world_node(w, i, ids[i], (uint8_t)(i + 1), NULL);
	world_run(w, 5 * SEC);
	cfg = (struct gw_config){ .worker_id = "a", .joining = true, .aead = aead_choose(NULL) };
	g = (struct gw){ .cfg = &cfg, .node = w->hosts[0].node, .up = true };
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	world_free(*state);
	return 0;
}

/* 't', 'f', or '-' where it is null. */
static char online(struct world *w, const char *list, const char *id)
{
	json_t *all, *m, *v;
	char said = 0;
	size_t i;

	g.loop.now = w->now;
	all = strcmp(list, "peers") == 0 ? gw_status(&g) : gw_roster(&g);
	assert_non_null(all);
	json_array_foreach(json_object_get(all, list), i, m)
	{
		v = json_object_get(m, "online");
		if (strcmp(json_string_value(json_object_get(m, "id")), id) == 0)
			said = json_is_true(v) ? 't' : json_is_false(v) ? 'f' : '-';
		if (said && !v)
			said = 0;
	}
	json_decref(all);
	return said;
}

static bool said(struct world *w, const char *id, char want)
{
	return online(w, "peers", id) == want && online(w, "members", id) == want;
}

static void a_dead_rendezvous_says_nothing(void **state)
{
	struct world *w = *state;
	struct host *a = &w->hosts[0];

	world_stop(&w->hosts[2]);
	world_run(w, 90 * SEC);
	assert_true(said(w, "b", 't'));
	assert_int_not_equal(online(w, "peers", "c"), 't');
	unsigned rosters = a->rosters;
	world_rendezvous_dies(w);
	world_run(w, 25 * SEC);
	assert_true(said(w, "b", '-'));
	assert_true(online(w, "members", "a") == 't');
	assert_true(a->rosters > rosters); /* the shim hears of it */
	assert_true(world_talk(w, a, &w->hosts[1]));
	/* and not its last word when the member has gone */
	world_stop(&w->hosts[1]);
	world_run(w, 600 * SEC);
	assert_true(said(w, "b", '-'));
	rosters = a->rosters;
	world_node(w, 1, "b", 2, w->psk[1]);
	world_rendezvous(w);
	world_run(w, 30 * SEC);
	assert_true(said(w, "b", 't'));
	assert_true(a->rosters > rosters);
}

/* The shim has it in words, for whoever asks after this node's health. */
static void an_interface_that_is_down(void **state)
{
	json_t *roster;
	(void)state;

	snprintf(g.tun.name, sizeof(g.tun.name), "warren0");
	roster = gw_roster(&g);
	assert_true(json_is_null(json_object_get(roster, "down")));
	json_decref(roster);
	g.set_down = true;
	roster = gw_roster(&g);
	assert_string_equal(json_string_value(json_object_get(roster, "down")),
			    "interface warren0 was set down: nothing is carried until it is up "
			    "again (ip link set warren0 up)");
	json_decref(roster);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_dead_rendezvous_says_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(an_interface_that_is_down, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
