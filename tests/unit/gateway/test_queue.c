/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a standing queue in front of a gateway is told to, and when. */
#include "tests/unit/gateway/trust_world.h"
#include "tun/ecn.h"

#define STANDS_LEAST (5 * NSEC_PER_MSEC)
#define STANDS_FAR (100 * NSEC_PER_MSEC)

static struct world *w;
static struct host *a, *b;

/* --- a and b may be one step of the world apart */

static unsigned due; /* the first of what passes set out a step ago */

static bool takes_a_step(struct world *all, struct datagram *d)
{
	if (endpoint_eq(&d->from, &all->rdv_at) || endpoint_eq(&d->to, &all->rdv_at))
		return true;
	if (due) {
		due--;
		return true;
	}
	assert_true(all->nsaved < WORLD_SAVED);
	world_save(all, d);
	return false;
}

static void run(nsec time)
{
	for (; time > 0; time -= 10 * NSEC_PER_MSEC) {
		due = w->nsaved;
		w->nsaved = 0;
		for (unsigned i = 0; i < due; i++) {
			const struct datagram *d = &w->saved[i];
			world_inject(w, &d->from, &d->to, d->bytes, d->len);
		}
		world_run(w, 10 * NSEC_PER_MSEC);
	}
}

static int setup(void **state)
{
	(void)state;
	w = world_new();
	w->nroutes = 1;
	snprintf(w->routes[0].id, sizeof(w->routes[0].id), "b");
	assert_true(prefix_parse("10.77.0.128/25", &w->routes[0].prefix));
	world_rendezvous(w);
	a = world_node(w, 0, "a", 1, NULL);
	b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 2 * NSEC_PER_SEC);
	assert_true(a->up && b->up);
	assert_true(world_talk(w, a, b));
	world_run(w, 5 * NSEC_PER_SEC); /* round trips are measured */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(w);
	return 0;
}

/* The TOS with which a packet arrives at b, of one that a's TUN gave with `tos`. */
static uint8_t carried_to(struct addr dst, uint8_t tos)
{
	static const struct vnet_hdr plain;
	uint8_t ip[28] = { 0x45, tos, 0, 28, 0, 0, 0, 0, 64, 17 };
	struct addr src = world_ip(a);
	memcpy(ip + 12, src.b + 12, 4);
	memcpy(ip + 16, dst.b + 12, 4);
	unsigned before = b->packets;
	node_tun(a->node, w->now, &plain, ip, sizeof(ip));
	run(50 * NSEC_PER_MSEC);
	assert_int_equal(b->packets, before + 1);
	return b->last[1];
}

static uint8_t carried(uint8_t tos)
{
	return carried_to(world_ip(b), tos);
}

static nsec round_trip(const struct host *h, const char *to)
{
	nsec rtt = link_rtt(peer_link(world_peer(h, to)));
	assert_true(rtt > 0);
	return rtt;
}

/* `spread`: what a round trip may change by meanwhile */
static void at_edge(struct host *h, enum node_edge edge, const char *other, nsec spread)
{
	nsec limit = nsec_max(2 * round_trip(h, other), STANDS_LEAST);
	uint64_t marked = node_marked(h->node, edge);
	node_backlog(h->node, edge, limit - 1 - spread);
	assert_int_equal(carried(ECN_ECT0), ECN_ECT0);
	assert_int_equal(node_marked(h->node, edge), marked);
	node_backlog(h->node, edge, limit + spread);
	assert_int_equal(carried(0xb8 | ECN_ECT0), 0xb8 | ECN_CE);
	assert_int_equal(carried(ECN_ECT1), ECN_CE);
	assert_int_equal(node_marked(h->node, edge), marked + 2);
	/* nobody would understand it; it was made before */
	assert_int_equal(carried(0xb8), 0xb8);
	assert_int_equal(carried(ECN_CE), ECN_CE);
	assert_int_equal(node_marked(h->node, edge), marked + 2);
	node_backlog(h->node, edge, 0);
	assert_int_equal(carried(ECN_ECT0), ECN_ECT0);
}

static void test_tun(void **state)
{
	(void)state;
	at_edge(a, NODE_TUN, "b", 0);
	assert_int_equal(node_marked(b->node, NODE_UDP), 0);
}

static void test_socket(void **state)
{
	(void)state;
	at_edge(b, NODE_UDP, "a", 0);
	assert_int_equal(node_marked(a->node, NODE_TUN), 0);
}

static void test_far_apart(void **state)
{
	(void)state;
	w->tap = takes_a_step;
	run(900 * NSEC_PER_SEC); /* what is measured of it goes up slowly */
	assert_in_range(round_trip(a, "b"), 5 * NSEC_PER_MSEC, 40 * NSEC_PER_MSEC);
	at_edge(a, NODE_TUN, "b", NSEC_PER_MSEC);
	at_edge(b, NODE_UDP, "a", NSEC_PER_MSEC);
}

/* The way goes on behind the member, nobody knows how far: CoDel's interval. */
static void test_behind(void **state)
{
	(void)state;
	struct addr far;
	assert_true(addr_parse("10.77.0.130", &far));
	struct peer *p = world_peer(a, "b");
	struct addr own = world_ip(b);
	assert_true(peer_is_at(p, &own));
	assert_false(peer_is_at(p, &far));
	node_backlog(a->node, NODE_TUN, STANDS_FAR - 1);
	assert_int_equal(carried_to(far, ECN_ECT0), ECN_ECT0);
	node_backlog(a->node, NODE_TUN, STANDS_FAR);
	assert_int_equal(carried_to(far, ECN_ECT0), ECN_CE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tun, setup, teardown),
		cmocka_unit_test_setup_teardown(test_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_far_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_behind, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
