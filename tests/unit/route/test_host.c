/* SPDX-License-Identifier: Apache-2.0 */
/* What is read of the host: clashes, addresses, changes. One namespace a test. */
#include "bench.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static int tun_fd;
static unsigned tun, eth, eth1;
static struct kernel_routes *k;
static char what[128];
static char resolv[] = "/tmp/warren-test-resolv-XXXXXX";

static int setup(void **ignored)
{
	(void)ignored;
	if (!lab_enter())
		return -1;
	tun = lab_tun("warren0", &tun_fd);
	eth = lab_veth("eth0", "far0");
	eth1 = lab_veth("eth1", "far1");
	unsetenv("KUBERNETES_SERVICE_HOST");
	what[0] = 0;
	return kernel_routes_new(&k, 0);
}

static int teardown(void **ignored)
{
	(void)ignored;
	kernel_routes_free(k);
	close(tun_fd);
	unsetenv("KUBERNETES_SERVICE_HOST");
	return 0;
}

/* Clashes. */

static void resolv_conf(const char *text)
{
	FILE *f = fopen(resolv, "we");
	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		fail_msg("cannot write %s", resolv);
}

static bool clash(const char *prefix)
{
	struct prefix p = pfx(prefix);
	return kernel_prefix_clash(k, &p, resolv, tun, what, sizeof(what));
}

#define CLASHES(prefix, words)                                                                     \
	do {                                                                                       \
		assert_true(clash(prefix));                                                        \
		assert_string_equal(what, words);                                                  \
	} while (0)

static void no_clash(void **ignored)
{
	(void)ignored;
	resolv_conf("nameserver 192.0.2.53\n");
	setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	lab_address(eth, "192.0.2.2/24");
	lab_address(eth, "2001:db8::2/64");
	lab_route(&(struct lab_route){ .dst = "default", .via = "192.0.2.1" });
	lab_route(&(struct lab_route){ .dst = "default", .via = "2001:db8::1" });
	/* a VPN's two halves of a default route */
	lab_route(&(struct lab_route){ .dst = "0.0.0.0/1", .via = "192.0.2.1" });
	lab_route(&(struct lab_route){ .dst = "128.0.0.0/1", .via = "192.0.2.1" });
	assert_false(clash("10.77.0.0/16"));
	assert_false(clash("192.0.3.0/24"));
	assert_false(clash("fd77::/48"));
	assert_false(clash("127.0.0.0/8")); /* the loopback's own is nobody's network */
}

static void clash_of_an_address(void **ignored)
{
	(void)ignored;
	resolv_conf("");
	lab_address(eth, "10.77.0.5/24");
	lab_address(eth1, "fd77::5/64");
	CLASHES("10.77.0.0/16", "address 10.77.0.5 dev eth0");
	CLASHES("10.77.0.5/32", "address 10.77.0.5 dev eth0");
	CLASHES("fd77::/48", "address fd77::5 dev eth1");
	/* not the address itself, but its network */
	CLASHES("10.77.0.128/25", "route 10.77.0.0/24 dev eth0");
	assert_false(clash("10.77.1.0/24"));
}

static void clash_of_a_route(void **ignored)
{
	(void)ignored;
	resolv_conf("");
	lab_route(&(struct lab_route){ .dst = "10.77.9.0/24", .oif = eth });
	lab_route(&(struct lab_route){ .dst = "172.16.0.0/12", .oif = eth1, .table = 52 });
	lab_route(&(struct lab_route){ .dst = "10.88.0.1/32", .type = RTN_BLACKHOLE });
	lab_route(&(struct lab_route){ .dst = "fd77:9::/64", .oif = eth });
	CLASHES("10.77.0.0/16", "route 10.77.9.0/24 dev eth0");
	CLASHES("10.77.9.128/25", "route 10.77.9.0/24 dev eth0"); /* inside theirs */
	CLASHES("172.20.0.0/16", "route 172.16.0.0/12 dev eth1"); /* of another table */
	CLASHES("10.88.0.0/16", "route 10.88.0.1/32");
	CLASHES("fd77::/16", "route fd77:9::/64 dev eth0");
	assert_false(clash("10.78.0.0/16"));
}

static void our_own_is_no_clash(void **ignored)
{
	struct kernel_routes *ours;
	struct prefix p = pfx("10.77.0.0/16"), a = pfx("10.77.0.2"), r = pfx("10.77.0.3");
	(void)ignored;
	resolv_conf("");
	assert_int_equal(kernel_routes_new(&ours, tun), 0);
	assert_int_equal(kernel_unreachable_set(ours, &p), 0);
	assert_int_equal(kernel_address_add(ours, &a), 0);
	assert_int_equal(kernel_route_set(ours, &r, NULL, MTU(0)), 0);
	lab_route(&(struct lab_route){ .dst = "10.77.4.0/24", .oif = tun });
	assert_false(clash("10.77.0.0/16"));
	assert_true(kernel_prefix_clash(k, &p, resolv, 0, what, sizeof(what)));
	assert_string_equal(what, "address 10.77.0.2 dev warren0");
	kernel_routes_free(ours);
}

static void clash_of_a_name_server(void **ignored)
{
	(void)ignored;
	resolv_conf("# nameserver 10.1.0.1\nsearch lan\nnameserver 192.0.2.53\n"
		    "nameserver\t10.77.0.10 # two\nnameserver fd77::53%eth0\noptions ndots:5");
	CLASHES("10.77.0.0/16", "name server 10.77.0.10");
	CLASHES("fd77::/48", "name server fd77::53");
	CLASHES("192.0.2.0/24", "name server 192.0.2.53");
	assert_false(clash("10.1.0.0/16"));
	unlink(resolv); /* a host without the file has no name server to lose */
	assert_false(clash("10.77.0.0/16"));
	struct prefix p = pfx("10.77.0.0/16");
	assert_false(kernel_prefix_clash(k, &p, NULL, 0, what, sizeof(what)));
}

static void clash_of_the_gateway(void **ignored)
{
	(void)ignored;
	resolv_conf("");
	lab_address(eth, "192.0.2.2/32");
	lab_address(eth1, "2001:db8::2/128");
	lab_route(&(struct lab_route){
		.dst = "default", .via = "10.77.0.1", .oif = eth, .onlink = true });
	lab_route(&(struct lab_route){
		.dst = "default", .via = "fd77::1", .oif = eth1, .onlink = true });
	CLASHES("10.77.0.0/16", "default gateway 10.77.0.1 dev eth0");
	CLASHES("fd77::/48", "default gateway fd77::1 dev eth1");
	assert_false(clash("10.78.0.0/16"));
}

static void clash_of_the_cluster(void **ignored)
{
	(void)ignored;
	resolv_conf("");
	setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	CLASHES("10.96.0.0/12", "KUBERNETES_SERVICE_HOST 10.96.0.1");
	assert_false(clash("10.77.0.0/16"));
	setenv("KUBERNETES_SERVICE_HOST", "fd96::1", 1);
	CLASHES("fd96::/16", "KUBERNETES_SERVICE_HOST fd96::1");
	setenv("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc", 1);
	assert_false(clash("10.96.0.0/12"));
}

static void words_that_do_not_fit(void **ignored)
{
	struct prefix p = pfx("10.77.0.0/16");
	char small[8];
	(void)ignored;
	resolv_conf("nameserver 10.77.0.10\n");
	assert_true(kernel_prefix_clash(k, &p, resolv, 0, small, sizeof(small)));
	assert_string_equal(small, "name se");
	assert_true(kernel_prefix_clash(k, &p, resolv, 0, NULL, 0));
}

/* Addresses. */

static bool among(const struct addr *list, size_t n, const char *text)
{
	struct addr a;
	assert_true(addr_parse(text, &a));
	for (size_t i = 0; i < n; i++)
		if (addr_eq(&list[i], &a))
			return true;
	return false;
}

static void host_addresses(void **ignored)
{
	struct addr got[16];
	const struct prefix skip[] = { pfx("10.77.0.0/16"), pfx("fd77::/48") };
	(void)ignored;
	lab_address(eth, "192.168.1.2/24");
	lab_address(eth, "2001:db8::2/64");
	lab_address(eth, "169.254.3.4/16");
	lab_address(eth, "10.77.0.5/24");
	lab_address(eth, "fd77::5/64");
	lab_address(eth1, "192.168.1.2/24"); /* the same address twice */
	lab_address(eth1, "192.168.7.2/24");
	lab_address(eth1, "fd00::2/64");
	lab_address(tun, "198.51.100.1/32");
	lab_address(1, "203.0.113.1/32"); /* the loopback's */
	size_t n = kernel_host_addresses(k, tun, skip, 2, got, ARRAY_SIZE(got));
	assert_int_equal(n, 4);
	assert_true(among(got, n, "192.168.1.2"));
	assert_true(among(got, n, "2001:db8::2"));
	assert_true(among(got, n, "fd00::2"));
	assert_int_equal(kernel_host_addresses(k, tun, skip, 2, got, 2), 2);
	assert_int_equal(kernel_host_addresses(k, tun, skip, 2, got, 0), 0);
	n = kernel_host_addresses(k, 0, NULL, 0, got, ARRAY_SIZE(got));
	assert_int_equal(n, 7);
	assert_true(among(got, n, "198.51.100.1"));
	assert_true(among(got, n, "10.77.0.5"));
	lab_link_set("eth1", false, 0);
	n = kernel_host_addresses(k, tun, skip, 2, got, ARRAY_SIZE(got));
	assert_int_equal(n, 2);
	assert_false(among(got, n, "fd00::2"));
	assert_false(among(got, n, "192.168.7.2"));
}

/*
 * Changes. A pair of interfaces goes on talking for a while after it was made (carrier, link-local
 * addresses), so here is none: somebody else's are the changes of the loopback.
 */

static int quiet_setup(void **ignored)
{
	(void)ignored;
	if (!lab_enter())
		return -1;
	tun = lab_tun("warren0", &tun_fd);
	return kernel_routes_new(&k, tun);
}

static void monitor_sees_others(void **ignored)
{
	(void)ignored;
	int fd = kernel_monitor_open(NULL);
	assert_true(fd >= 0);
	assert_false(kernel_monitor_drain(fd, tun, NULL, NULL));
	lab_address(1, "192.0.2.2/24");
	assert_true(kernel_monitor_drain(fd, tun, NULL, NULL));
	assert_false(kernel_monitor_drain(fd, tun, NULL, NULL)); /* it is empty now */
	lab_address_gone(1, "192.0.2.2/24");
	assert_true(kernel_monitor_drain(fd, tun, NULL, NULL));
	lab_address(1, "2001:db8::2/64");
	assert_true(kernel_monitor_drain(fd, tun, NULL, NULL));
	lab_route(&(struct lab_route){ .dst = "198.51.100.0/24", .oif = 1 });
	assert_true(kernel_monitor_drain(fd, tun, NULL, NULL));
	lab_route(&(struct lab_route){ .dst = "203.0.113.0/24", .type = RTN_BLACKHOLE });
	assert_true(kernel_monitor_drain(fd, tun, NULL, NULL));
	lab_route(&(struct lab_route){ .dst = "2001:db8:1::/64", .type = RTN_BLACKHOLE });
	assert_true(kernel_monitor_drain(fd, tun, NULL, NULL));
	assert_false(kernel_monitor_drain(fd, tun, NULL, NULL));
	lab_link_set("lo", false, 0);
	assert_true(kernel_monitor_drain(fd, tun, NULL, NULL));
	close(fd);
}

static void monitor_leaves_out_our_own(void **ignored)
{
	struct prefix a4 = pfx("10.77.0.2"), a6 = pfx("fd77::2"), p = pfx("10.77.0.0/16");
	struct prefix r4 = pfx("10.77.0.3"), r6 = pfx("fd77::3"), p6 = pfx("fd77::/48");
	(void)ignored;
	int fd = kernel_monitor_open(NULL);
	assert_true(fd >= 0);
	assert_int_equal(kernel_link_up(k, 1400), 0);
	assert_int_equal(kernel_unreachable_set(k, &p), 0);
	assert_int_equal(kernel_unreachable_set(k, &p6), 0);
	assert_int_equal(kernel_address_add(k, &a4), 0);
	assert_int_equal(kernel_address_add(k, &a6), 0);
	assert_int_equal(kernel_route_set(k, &r4, NULL, MTU(1400)), 0);
	assert_int_equal(kernel_route_set(k, &r6, NULL, MTU(1400)), 0);
	assert_int_equal(kernel_route_set(k, &r4, NULL, MTU(1300)), 0);
	assert_int_equal(kernel_link_mtu(k, 1500), 0);
	kernel_routes_free(k);
	k = NULL;
	assert_false(kernel_monitor_drain(fd, tun, NULL, NULL));
	/* but whoever does not name the device hears of it */
	int all = kernel_monitor_open(NULL);
	lab_address(tun, "198.51.100.1/32");
	assert_true(kernel_monitor_drain(all, 0, NULL, NULL));
	assert_false(kernel_monitor_drain(fd, tun, NULL, NULL));
	lab_route(&(struct lab_route){ .dst = "203.0.113.0/24", .type = RTN_BLACKHOLE });
	assert_true(kernel_monitor_drain(all, 0, NULL,
					 NULL)); /* a route without a device is not device 0's */
	close(all);
	close(fd);
}

/* Of what is ours, somebody else's doing alone; and it can be set again. */
static void monitor_sees_what_is_undone(void **ignored)
{
	struct prefix a4 = pfx("10.77.0.2"), p = pfx("10.77.0.0/16"), r4 = pfx("10.77.0.3");
	struct prefix r6 = pfx("fd77::3");
	struct kernel_undone u = { 0 };
	(void)ignored;
	assert_int_equal(kernel_link_up(k, 1400), 0);
	int fd = kernel_monitor_open(k);
	assert_true(fd >= 0);
	assert_int_equal(kernel_unreachable_set(k, &p), 0);
	assert_int_equal(kernel_address_add(k, &a4), 0);
	assert_int_equal(kernel_route_set(k, &r4, NULL, MTU(1400)), 0);
	assert_int_equal(kernel_route_set(k, &r4, NULL, MTU(1300)), 0);
	assert_int_equal(kernel_route_remove(k, &r4), 0);
	assert_false(kernel_monitor_drain(fd, tun, k, &u));
	assert_false(u.lost || u.link);
	/* a member that left and is back, both before the kernel's first word of it is read */
	assert_int_equal(kernel_route_set(k, &r4, NULL, MTU(1400)), 0);
	assert_int_equal(kernel_route_set(k, &r6, NULL, MTU(1400)), 0);
	assert_int_equal(kernel_route_remove(k, &r4), 0);
	assert_int_equal(kernel_route_remove(k, &r6), 0);
	assert_int_equal(kernel_route_set(k, &r4, NULL, MTU(1400)), 0);
	assert_int_equal(kernel_route_set(k, &r6, NULL, MTU(1400)), 0);
	assert_false(kernel_monitor_drain(fd, tun, k, &u));
	assert_false(u.lost || u.link);
	lab_address_gone(tun, "10.77.0.2/32"); /* and the kernel removes the route along */
	assert_false(kernel_monitor_drain(fd, tun, k, &u));
	assert_true(u.lost && !u.link);
	assert_true(kernel_restore(k));
	assert_true(lab_has_address(tun, "10.77.0.2", NULL, NULL));
	assert_int_equal(lab_routes("10.77.0.3/32", NULL), 0);
	assert_int_equal(kernel_route_set(k, &r4, NULL, MTU(1400)), 0);
	assert_int_equal(lab_routes("10.77.0.3/32", NULL), 1);
	u = (struct kernel_undone){ 0 };
	lab_route_gone(&(struct lab_route){ .dst = "10.77.0.0/16",
					    .type = RTN_UNREACHABLE,
					    .metric = ROUTE_UNREACHABLE_METRIC,
					    .protocol = ROUTE_PROTOCOL });
	assert_false(kernel_monitor_drain(fd, tun, k, &u));
	assert_true(u.lost);
	assert_true(kernel_restore(k));
	assert_int_equal(lab_routes("10.77.0.0/16", NULL), 1);
	/* another's in the place of ours, and that one gone */
	struct lab_route other = { .dst = "10.77.0.3/32", .oif = 1, .metric = 7 };
	u = (struct kernel_undone){ 0 };
	lab_route(&other);
	(void)kernel_monitor_drain(fd, tun, k, &u);
	assert_true(u.lost && !u.stray);
	u = (struct kernel_undone){ 0 };
	lab_route_gone(&other);
	(void)kernel_monitor_drain(fd, tun, k, &u);
	assert_true(u.lost);
	u = (struct kernel_undone){ 0 };
	other.dst = "10.77.0.4/32"; /* where there is none of ours */
	lab_route(&other);
	(void)kernel_monitor_drain(fd, tun, k, &u);
	assert_false(u.lost);
	struct prefix stray = pfx("10.77.0.4");
	assert_true(u.stray && prefix_eq(&u.stray_to, &stray));
	u = (struct kernel_undone){ 0 };
	lab_route_gone(&other);
	lab_route(&(struct lab_route){ .dst = "10.76.0.0/15", .oif = 1 }); /* loses against ours */
	lab_route(&(struct lab_route){ .dst = "10.77.0.5/32", .oif = tun });
	(void)kernel_monitor_drain(fd, tun, k, &u);
	assert_false(u.stray);
	u = (struct kernel_undone){ 0 };
	lab_link_set("warren0", false, 0);
	assert_false(kernel_monitor_drain(fd, tun, k, &u));
	assert_true(u.link);
	close(fd);
}

/* Our own routes are more events than its socket holds. */
static int monitor_of_many(const struct kernel_routes *own)
{
	int fd = kernel_monitor_open(own), small = 4096;
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	for (uint32_t i = 0; i < 200; i++) {
		struct addr a = addr_v4_u32(0x0a4d0000u + i);
		struct prefix p = prefix_host(&a);
		assert_int_equal(kernel_route_set(k, &p, NULL, MTU(1400)), 0);
	}
	return fd;
}

/* What was lost may have been the one that matters. */
static void monitor_overrun_is_a_change(void **ignored)
{
	int fd = monitor_of_many(NULL);
	(void)ignored;
	assert_true(kernel_monitor_drain(fd, tun, NULL, NULL));
	assert_false(kernel_monitor_drain(fd, tun, NULL, NULL));
	close(fd);
}

/* What we do ourselves is no news, however much it is. */
static void monitor_has_room_beside_our_own(void **ignored)
{
	int fd = monitor_of_many(k);
	struct kernel_undone u = { 0 };
	(void)ignored;
	lab_route(&(struct lab_route){ .dst = "10.77.0.3/32", .oif = 1, .metric = 7 });
	assert_true(kernel_monitor_drain(fd, tun, k, &u));
	assert_true(u.lost && !u.missed);
	for (uint32_t i = 0; i < 200; i++)
		lab_route(&(struct lab_route){ .dst = "10.78.0.3/32", .oif = 1, .metric = 8 + i });
	u = (struct kernel_undone){ 0 };
	assert_true(kernel_monitor_drain(fd, tun, k, &u));
	assert_true(u.missed && !u.lost);
	close(fd);
}

/* An address brings a route of the kernel's, which ours takes the place of. */
static void monitor_knows_connected_routes(void **ignored)
{
	struct prefix a4 = pfx("10.9.0.1"), a6 = pfx("fd09::1");
	struct prefix n4 = pfx("10.9.0.0/24"), n6 = pfx("fd09::/64");
	struct kernel_undone u = { 0 };
	int fd = kernel_monitor_open(k);
	(void)ignored;
	assert_true(fd >= 0);
	assert_int_equal(kernel_link_up(k, 1400), 0);
	assert_int_equal(kernel_address_network(k, &a4, 24), 0);
	assert_int_equal(kernel_address_network(k, &a6, 64), 0);
	assert_int_equal(kernel_route_set(k, &n4, NULL, MTU(1400)), 0);
	assert_int_equal(kernel_route_set(k, &n6, NULL, MTU(1400)), 0);
	assert_false(kernel_monitor_drain(fd, tun, k, &u));
	assert_false(u.lost || u.missed);
	lab_address_gone(tun, "10.9.0.1/24");
	(void)kernel_monitor_drain(fd, tun, k, &u);
	assert_true(u.lost);
	close(fd);
}

#define IN_HOST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define IN_QUIET(f) cmocka_unit_test_setup_teardown(f, quiet_setup, teardown)

static int run(void)
{
	const struct CMUnitTest tests[] = {
		IN_HOST(no_clash),
		IN_HOST(clash_of_an_address),
		IN_HOST(clash_of_a_route),
		IN_HOST(our_own_is_no_clash),
		IN_HOST(clash_of_a_name_server),
		IN_HOST(clash_of_the_gateway),
		IN_HOST(clash_of_the_cluster),
		IN_HOST(words_that_do_not_fit),
		IN_HOST(host_addresses),
		IN_QUIET(monitor_sees_others),
		IN_QUIET(monitor_leaves_out_our_own),
		IN_QUIET(monitor_sees_what_is_undone),
		IN_QUIET(monitor_has_room_beside_our_own),
		IN_QUIET(monitor_knows_connected_routes),
		IN_QUIET(monitor_overrun_is_a_change),
	};
	int fd = mkstemp(resolv);
	if (fd < 0)
		return 1;
	close(fd);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(resolv);
	return failed;
}

int main(void)
{
	return bench_main(run);
}
