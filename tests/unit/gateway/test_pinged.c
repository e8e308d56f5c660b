/* SPDX-License-Identifier: Apache-2.0 */
/* A member that was away, and that all others ping at once, in one turn of its loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sodium.h>

#include "gateway/node_internal.h"
#include "punch/outer.h"
#include "sim.h"

enum { PINGED, OTHER, HOSTS, BATCH = 8, BATCHES = 12 };

static struct sim s;

static int setup(void **state)
{
	(void)state;
	sim_init(&s, 7);
	for (unsigned i = 0; i < HOSTS; i++)
		sim_add(&s, net_add_site(&s.net, NAT_NONE), false);
	traffic_join(&s);
	assert_true(sim_ok(&s));
	sim_run(&s, 2 * SEC);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sim_free(&s);
	return 0;
}

static size_t ping(uint64_t counter, uint8_t *out)
{
	const struct peer *p = sim_peer(&s.hosts[OTHER], &s.hosts[PINGED]);
	uint8_t key[OUTER_KEY_LEN];
	struct outer_msg m = { .type = OUTER_TYPE_PING,
			       .sender = s.hosts[OTHER].owns,
			       .receiver = s.hosts[PINGED].owns,
			       .boot = UINT64_MAX,
			       .counter = counter };
	wg_peer_derive(p->wg, "warren outer", key);
	randombytes_buf(m.txid, sizeof(m.txid));
	return outer_write(&m, key, out, OUTER_MAX);
}

static void test_all_are_answered(void **state)
{
	uint8_t bytes[BATCH][OUTER_MAX];
	struct udp_rx rx[BATCH];
	struct sim_host *h = &s.hosts[PINGED];
	uint64_t refused = sim_drops(h, DROP_OUTER_RATE), counter = 0;

	(void)state;
	for (unsigned i = 0; i < BATCHES; i++) {
		for (unsigned k = 0; k < BATCH; k++)
			rx[k] = (struct udp_rx){ .buf = bytes[k],
						 .len = (uint32_t)ping(counter++, bytes[k]),
						 .from = s.net.hosts[OTHER].inside,
						 .local = s.net.hosts[PINGED].inside.addr,
						 .ifindex = 2 };
		node_udp(h->node, s.now, rx, BATCH);
	}
	assert_int_equal(sim_drops(h, DROP_OUTER_REPLAY), 0);
	assert_int_equal(sim_drops(h, DROP_OUTER_BAD_MAC), 0);
	assert_int_equal(sim_drops(h, DROP_OUTER_RATE), refused);
	/* and no more of one peer than a hundred */
	for (unsigned k = 0; k < BATCH; k++)
		rx[k].len = (uint32_t)ping(counter++, bytes[k]);
	node_udp(h->node, s.now, rx, BATCH);
	assert_true(sim_drops(h, DROP_OUTER_RATE) > refused);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_are_answered, setup, teardown),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
