/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member's ICMP errors: about what was sent to it they arrive, about the traffic of others they do
 * not, however they come. A kernel believes such an error of anybody.
 */
#include "trust_world.h"

static struct world *w;
static struct host *a, *b, *c;

static int setup(void **state)
{
	(void)state;
	w = world_new();
	a = world_node(w, 0, "a", 1, NULL);
	b = world_node(w, 1, "b", 2, NULL);
	c = world_node(w, 2, "c", 3, NULL);
	world_run(w, 3 * NSEC_PER_SEC);
	assert_true(a->up && b->up && c->up);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(w);
	return 0;
}

static struct addr ip_of(const struct host *h, bool v6)
{
	const struct lease *l = &node_lease(h->node)->lease;
	return v6 ? l->ip6 : l->ip;
}

static void put(uint8_t *at, const struct addr *x, bool v6)
{
	memcpy(at, x->b + (v6 ? 0 : 12), v6 ? 16 : 4);
}

/* "Too big" from c to a, about an echo reply of a to `about`. IPv4: with these fragment bits. */
static void too_big(bool v6, uint16_t frag, struct addr about)
{
	static const struct vnet_hdr plain;
	uint8_t ip[128] = { 0 };
	size_t hdr = v6 ? 40 : 20, len = 2 * hdr + 16;
	uint8_t *icmp = ip + hdr, *quote = icmp + 8;
	struct addr from = ip_of(c, v6), to = ip_of(a, v6);

	ip[0] = quote[0] = v6 ? 0x60 : 0x45;
	store_be16(ip + (v6 ? 4 : 2), (uint16_t)(v6 ? len - hdr : len));
	ip[v6 ? 6 : 9] = quote[v6 ? 6 : 9] = v6 ? 58 : 1;
	ip[v6 ? 7 : 8] = 64;
	if (!v6)
		store_be16(ip + 6, frag);
	put(ip + (v6 ? 8 : 12), &from, v6);
	put(ip + (v6 ? 24 : 16), &to, v6);
	put(quote + (v6 ? 8 : 12), &to, v6);
	put(quote + (v6 ? 24 : 16), &about, v6);
	memcpy(icmp, v6 ? (const uint8_t[]){ 2, 0 } : (const uint8_t[]){ 3, 4 }, 2);
	store_be16(icmp + 6, v6 ? 1280 : 552);
	node_tun(c->node, w->now, &plain, ip, (uint32_t)len);
	world_run(w, NSEC_PER_SEC);
}

static void test_about_others(void **state)
{
	struct addr host;
	uint64_t n = 0;
	(void)state;
	assert_true(addr_parse("203.0.113.99", &host));
	for (int v6 = 0; v6 < 2; v6++) {
		too_big(v6, 0, ip_of(b, v6));
		assert_int_equal(world_drops(a, DROP_INNER_FALSE_ERROR), ++n);
		too_big(v6, 0, ip_of(a, v6));
		assert_int_equal(world_drops(a, DROP_INNER_FALSE_ERROR), ++n);
	}
	too_big(false, 0, host);
	assert_int_equal(world_drops(a, DROP_INNER_FALSE_ERROR), ++n);
	too_big(false, 0x2000, ip_of(c, false));
	assert_int_equal(world_drops(a, DROP_INNER_FALSE_ERROR), ++n);
	assert_int_equal(a->packets, 0);
}

static void test_about_its_own(void **state)
{
	(void)state;
	too_big(false, 0, ip_of(c, false));
	assert_int_equal(a->packets, 1);
	too_big(true, 0, ip_of(c, true));
	assert_int_equal(a->packets, 2);
	assert_int_equal(world_drops(a, DROP_INNER_FALSE_ERROR), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_about_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_about_its_own, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
