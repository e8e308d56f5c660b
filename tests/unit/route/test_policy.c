/* SPDX-License-Identifier: Apache-2.0 */
/* Full tunnels' rules, networks of our own addresses, and the way that a datagram takes. */
#include "bench.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netlink/route/rule.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

struct want {
	int family;
	uint32_t table, mark;
	size_t found;
};

static void see_rule(struct nl_object *o, void *ctx)
{
	struct rtnl_rule *r = (struct rtnl_rule *)o;
	struct want *w = ctx;
	w->found += rtnl_rule_get_family(r) == w->family && rtnl_rule_get_table(r) == w->table &&
		    (w->mark ? rtnl_rule_get_mark(r) == w->mark
			     : rtnl_rule_get_prio(r) < 32766); /* not the kernel's own */
}

static size_t rules(int family, uint32_t table, uint32_t mark)
{
	struct want w = { family, table, mark, 0 };
	struct nl_sock *sk = nl_socket_alloc();
	struct nl_cache *cache;
	assert_int_equal(nl_connect(sk, NETLINK_ROUTE), 0);
	assert_int_equal(rtnl_rule_alloc_cache(sk, family, &cache), 0);
	nl_cache_foreach(cache, see_rule, &w);
	nl_cache_free(cache);
	nl_socket_free(sk);
	return w.found;
}

static void full_tunnel(void **ignored)
{
	struct lab_seen s;
	(void)ignored;
	lab_address(b.eth, "192.0.2.2/24");
	lab_route(&(struct lab_route){ .dst = "default", .via = "192.0.2.1" });
	for (int i = 0; i < 2; i++)
		assert_int_equal(kernel_full_tunnel(b.k, true, 51820), 0);
	assert_int_equal(kernel_full_tunnel(b.k, false, 51820), 0);
	assert_int_equal(set("0.0.0.0/0", 1400, 0), 0);
	assert_int_equal(set("10.1.0.0/16", 1400, 0), 0);
	assert_int_equal(rules(AF_INET, 51820, 51820), 1);
	assert_int_equal(rules(AF_INET6, 51820, 51820), 1);
	assert_int_equal(rules(AF_INET, RT_TABLE_MAIN, 0), 1);
	assert_int_equal(lab_routes("10.1.0.0/16", &s), 1);
	assert_int_equal(s.table, RT_TABLE_MAIN);
	assert_int_equal(lab_routes("default", NULL), 2);
	/* marked datagrams leave outside, all others through the tunnel */
	struct addr far = adr("203.0.113.9"), own = adr("192.0.2.2");
	assert_true(kernel_path_leads(b.k, &far, &own, 51820, b.eth));
	assert_true(kernel_path_leads(b.k, &far, &own, 0, b.tun));
	assert_int_equal(kernel_way(b.k, &far, 51820).mtu, 1500);
	assert_int_equal(kernel_way(b.k, &far, 0).mtu, 1400);
	kernel_full_tunnel_end(b.k, false);
	assert_int_equal(rules(AF_INET6, 51820, 51820), 0);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(rules(AF_INET, 51820, 51820), 0);
	assert_int_equal(rules(AF_INET, RT_TABLE_MAIN, 0), 0);
	assert_int_equal(lab_routes("default", NULL), 1);
}

/* One of two goes; a killed one's are removed where no other lives. */
static void leftovers(void **ignored)
{
	struct kernel_routes *other;
	(void)ignored;
	assert_int_equal(kernel_free_table(b.k, 51820), 51820);
	assert_int_equal(kernel_full_tunnel(b.k, true, 51820), 0);
	assert_int_equal(set("0.0.0.0/0", 0, 0), 0);
	assert_int_equal(kernel_routes_new(&other, b.eth), 0);
	assert_int_equal(kernel_free_table(other, 51820), 51821);
	assert_int_equal(kernel_full_tunnel(other, true, 51821), 0); /* and no route: killed */
	assert_int_equal(rules(AF_INET, RT_TABLE_MAIN, 0), 2);
	kernel_clean_rules(b.k);
	assert_int_equal(rules(AF_INET, 51820, 51820), 1);
	assert_int_equal(rules(AF_INET, 51821, 51821), 0);
	assert_int_equal(rules(AF_INET, RT_TABLE_MAIN, 0), 1);
	assert_int_equal(unset("0.0.0.0/0"), 0);
	kernel_clean_rules(other);
	assert_int_equal(rules(AF_INET, 51820, 51820), 0);
	assert_int_equal(rules(AF_INET, RT_TABLE_MAIN, 0), 0);
	kernel_routes_free(other);
}

/* Each has both rules, in their order: no other's is relied on, and none of its is taken away. */
static void two_at_once(void **ignored)
{
	struct addr lan = adr("10.9.0.9"), far = adr("203.0.113.9"), own = adr("192.0.2.2");
	struct kernel_routes *other;
	(void)ignored;
	lab_address(b.eth, "192.0.2.2/24");
	lab_route(&(struct lab_route){ .dst = "default", .via = "192.0.2.1" });
	lab_route(&(struct lab_route){ .dst = "10.9.0.0/16", .via = "192.0.2.1" });
	assert_int_equal(kernel_routes_new(&other, b.eth), 0);
	assert_int_equal(kernel_full_tunnel(other, true, 51821), 0);
	assert_int_equal(kernel_full_tunnel(b.k, true, 51820), 0);
	assert_int_equal(set("0.0.0.0/0", 1400, 0), 0);
	assert_true(kernel_path_leads(b.k, &far, &own, 0, b.tun));
	assert_true(kernel_path_leads(b.k, &lan, &own, 0, b.eth));
	kernel_full_tunnel_end(other, true);
	assert_int_equal(rules(AF_INET, 51821, 51821), 0);
	assert_true(kernel_path_leads(b.k, &far, &own, 0, b.tun));
	assert_true(kernel_path_leads(b.k, &lan, &own, 0, b.eth));
	/* the younger one's end */
	assert_int_equal(kernel_full_tunnel(other, true, 51821), 0);
	kernel_full_tunnel_end(other, true);
	assert_true(kernel_path_leads(b.k, &far, &own, 0, b.tun));
	assert_true(kernel_path_leads(b.k, &lan, &own, 0, b.eth));
	assert_int_equal(rules(AF_INET, RT_TABLE_MAIN, 0), 1);
	kernel_routes_free(other);
}

/* The end of each family deletes the rules that lead to its own table. */
static void a_table_each(void **ignored)
{
	(void)ignored;
	assert_int_equal(kernel_full_tunnel(b.k, true, 51820), 0);
	assert_int_equal(set("0.0.0.0/0", 0, 0), 0);
	assert_int_equal(kernel_full_tunnel(b.k, false, 51823), 0);
	assert_int_equal(unset("0.0.0.0/0"), 0);
	assert_int_equal(lab_routes("default", NULL), 0);
	kernel_full_tunnel_end(b.k, true);
	assert_int_equal(rules(AF_INET, 51820, 51820), 0);
	assert_int_equal(rules(AF_INET6, 51823, 51823), 1);
	kernel_full_tunnel_end(b.k, false);
	assert_int_equal(rules(AF_INET6, 51823, 51823), 0);
	assert_int_equal(rules(AF_INET6, RT_TABLE_MAIN, 0), 0);
}

static void networks(void **ignored)
{
	struct prefix four = pfx("10.7.0.2"), six = pfx("fd07::2");
	struct lab_seen s;
	unsigned bits, flags;
	(void)ignored;
	assert_int_equal(kernel_address_network(b.k, &four, 33), -EINVAL);
	assert_int_equal(kernel_address_network(b.k, &four, 24), 0);
	assert_int_equal(kernel_address_network(b.k, &six, 64), 0);
	assert_true(lab_has_address(b.tun, "10.7.0.2", &bits, &flags) && bits == 24);
	assert_int_equal(lab_routes("10.7.0.0/24", &s), 1);
	assert_int_equal(s.protocol, RTPROT_KERNEL);
	/* a peer of the whole network: its route takes the place of the kernel's own */
	assert_int_equal(set("10.7.0.0/24", 1400, 8000), 0);
	assert_int_equal(lab_routes("10.7.0.0/24", &s), 1);
	assert_true(s.mtu == 1400 && s.protocol == ROUTE_PROTOCOL);
	assert_int_equal(set("fd07::/64", 1400, 8000), 0);
	assert_int_equal(lab_routes("fd07::/64", &s), 1);
	assert_true(s.mtu == 1400 && s.protocol == ROUTE_PROTOCOL);
	assert_int_equal(kernel_address_remove(b.k, &six), 0);
	assert_false(lab_has_address(b.tun, "fd07::2", &bits, &flags));
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_false(lab_has_address(b.tun, "10.7.0.2", &bits, &flags));
	assert_int_equal(lab_routes("10.7.0.0/24", NULL), 0);
}

static void ways(void **ignored)
{
	struct addr far = adr("203.0.113.9"), own = adr("192.0.2.2"), more = adr("192.0.2.3"),
		    six = adr("2001:db8::2"), far6 = adr("2001:db8::9");
	unsigned other = lab_veth("eth1", "far1");
	(void)ignored;
	lab_address(b.eth, "192.0.2.2/24");
	lab_address(b.eth, "192.0.2.3/32");
	lab_address(b.eth, "2001:db8::2/64");
	lab_route(&(struct lab_route){ .dst = "default", .via = "192.0.2.1", .metric = 9 });
	assert_true(kernel_path_leads(b.k, &far, &own, 0, b.eth));
	assert_true(kernel_path_leads(b.k, &far, &more, 0, b.eth));
	bool leads = false; /* once the kernel has found out that nobody else has the address */
	for (int i = 0; i < 100 && !leads; i++) {
		usleep(50000);
		leads = kernel_path_leads(b.k, &far6, &six, 0, b.eth);
	}
	assert_true(leads);
	assert_false(kernel_path_leads(b.k, &far, &six, 0, b.eth));
	assert_false(kernel_path_leads(b.k, &far, &own, 0, other));
	lab_address(other, "198.51.100.2/24");
	lab_route(&(struct lab_route){ .dst = "default", .via = "198.51.100.1", .metric = 1 });
	assert_false(kernel_path_leads(b.k, &far, &own, 0, b.eth)); /* a better one */
	lab_address_gone(b.eth, "2001:db8::2/64");
	lab_route(&(struct lab_route){ .dst = "2001:db8::/64", .oif = b.eth });
	assert_false(kernel_path_leads(b.k, &far6, &six, 0, b.eth)); /* no address of ours */
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		IN_LAB(full_tunnel),  IN_LAB(leftovers), IN_LAB(two_at_once),
		IN_LAB(a_table_each), IN_LAB(networks),	 IN_LAB(ways),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return bench_main(run);
}
