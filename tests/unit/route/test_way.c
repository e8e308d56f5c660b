/* SPDX-License-Identifier: Apache-2.0 */
/* The ways out of a host: their MTUs, and when one is another. One namespace a test. */
#include "bench.h"
#include "../punch/forge.h"

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

static int setup(void **ignored)
{
	(void)ignored;
	if (!lab_enter())
		return -1;
	tun = lab_tun("warren0", &tun_fd);
	eth = lab_veth("eth0", "far0");
	eth1 = lab_veth("eth1", "far1");
	return kernel_routes_new(&k, 0);
}

static int teardown(void **ignored)
{
	(void)ignored;
	kernel_routes_free(k);
	close(tun_fd);
	return 0;
}

static uint32_t path_mtu(const char *text)
{
	struct addr a;
	assert_true(addr_parse(text, &a));
	return kernel_way(k, &a, 0).mtu;
}

static bool leads_nowhere(const char *text)
{
	struct addr a;
	assert_true(addr_parse(text, &a));
	return kernel_way(k, &a, 0).none;
}

static void path_mtus(void **ignored)
{
	struct kernel_routes *ours;
	struct prefix r4 = pfx("10.77.0.3"), r6 = pfx("fd77::3"), closed = pfx("10.77.0.0/16");
	(void)ignored;
	assert_int_equal(path_mtu("192.0.2.9"), 0); /* no route */
	assert_int_equal(path_mtu("2001:db8::9"), 0);
	assert_true(leads_nowhere("192.0.2.9") && leads_nowhere("2001:db8::9"));
	lab_address(eth, "192.0.2.2/24");
	lab_address(eth, "2001:db8::2/64");
	lab_route(&(struct lab_route){ .dst = "default", .via = "192.0.2.1" });
	assert_int_equal(path_mtu("192.0.2.9"), 1500);
	assert_int_equal(path_mtu("203.0.113.1"), 1500);
	assert_int_equal(path_mtu("2001:db8::9"), 1500);
	lab_link_set("eth0", true, 1380);
	assert_int_equal(path_mtu("203.0.113.1"), 1380);
	assert_int_equal(path_mtu("2001:db8::9"), 1380);
	assert_int_equal(path_mtu("127.0.0.1"), 65536);
	/* a route may know better than its device */
	assert_int_equal(kernel_routes_new(&ours, tun), 0);
	assert_int_equal(kernel_unreachable_set(ours, &closed), 0);
	assert_int_equal(kernel_route_set(ours, &r4, NULL, MTU(1333)), 0);
	assert_int_equal(kernel_route_set(ours, &r6, NULL, MTU(1299)), 0);
	assert_int_equal(path_mtu("10.77.0.3"), 1333);
	assert_int_equal(path_mtu("fd77::3"), 1299);
	assert_int_equal(path_mtu("10.77.0.4"), 0); /* unreachable */
	assert_true(leads_nowhere("10.77.0.4") && leads_nowhere("2001:db9::1"));
	assert_false(leads_nowhere("203.0.113.1") || leads_nowhere("2001:db8::9"));
	kernel_routes_free(ours);
}

static uint64_t way_tag(const char *text)
{
	struct addr a;
	assert_true(addr_parse(text, &a));
	kernel_addresses_changed(k);
	return kernel_way(k, &a, 0).tag;
}

/* What a way out depends on makes it another, and what comes and goes beside it does not. */
static void another_way(void **ignored)
{
	static const char *const to[] = { "203.0.113.1", "2001:db8:9::1" };
	static const char *const own[] = { "192.0.2.3/24", "2001:db8::3/64" };
	static const char *const beside[] = { "172.17.0.1/16", "fd17::1/64" };
	(void)ignored;
	lab_address(eth, "192.0.2.2/24");
	lab_address(eth, "2001:db8::2/64");
	lab_route(&(struct lab_route){ .dst = "default", .via = "192.0.2.1" });
	lab_route(&(struct lab_route){ .dst = "::/0", .via = "2001:db8::1" });
	for (unsigned i = 0; i < ARRAY_SIZE(to); i++) {
		uint64_t tag = way_tag(to[i]);
		lab_link_set("eth1", false, 0);
		lab_link_set("eth1", true, 1400);
		lab_address(eth1, beside[i]);
		lab_route(
			&(struct lab_route){ .dst = i ? "fd18::/64" : "10.9.0.0/16", .oif = eth1 });
		lab_address_gone(eth1, beside[i]);
		assert_true(way_tag(to[i]) == tag);
		lab_address(eth, own[i]);
		assert_true(way_tag(to[i]) != tag);
		lab_address_gone(eth, own[i]);
		assert_true(way_tag(to[i]) == tag);
		lab_route(&(struct lab_route){ .dst = i ? "2001:db8:9::/64" : "203.0.113.0/24",
					       .via = i ? "2001:db8::7" : "192.0.2.7" });
		uint64_t by_seven = way_tag(to[i]);
		assert_true(by_seven != tag);
		lab_route(&(struct lab_route){ .dst = i ? "2001:db8:9::1/128" : "203.0.113.1/32",
					       .oif = eth1 });
		assert_true(way_tag(to[i]) != by_seven && way_tag(to[i]) != tag);
	}
}

static void mtu_of_several_next_hops(void **ignored)
{
	(void)ignored;
	lab_link_set("eth0", true, 1380);
	lab_link_set("eth1", true, 1380);
	lab_address(eth, "192.0.2.2/24");
	lab_address(eth1, "198.51.100.2/24");
	lab_address(eth, "2001:db8::2/64");
	lab_route(&(struct lab_route){ .dst = "10.1.0.0/16", .oif = eth, .oif2 = eth1 });
	lab_route(
		&(struct lab_route){ .dst = "10.2.0.0/16", .oif = eth, .oif2 = eth1, .mtu = 1300 });
	lab_route(&(struct lab_route){
		.dst = "fd01::/16", .via = "fe80::1", .oif = eth, .oif2 = eth1 });
	lab_route(&(struct lab_route){
		.dst = "fd02::/16", .via = "fe80::1", .oif = eth, .oif2 = eth1, .mtu = 1300 });
	assert_int_equal(path_mtu("10.1.0.1"), 1380);
	assert_int_equal(path_mtu("fd01::1"), 1380);
	assert_int_equal(path_mtu("10.2.0.1"), 1300);
	assert_int_equal(path_mtu("fd02::1"), 1300);
	assert_int_equal(path_mtu("192.0.2.2"), 65536); /* ourselves, by the loopback */
}

static int connect_to(const char *to)
{
	struct endpoint e = { .addr = adr(to), .port = 9 };
	struct sockaddr_storage ss;
	bool v6 = !addr_is_v4(&e.addr);
	int s = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = (socklen_t)endpoint_to_sockaddr(&e, v6, &ss);
	assert_true(s >= 0);
	assert_int_equal(connect(s, (struct sockaddr *)&ss, len), 0);
	return s;
}

/* What the kernel would have a new socket believe of the path. */
static int believed_mtu(const char *to)
{
	int mtu = 0, s = connect_to(to);
	socklen_t len = sizeof(mtu);
	bool v6 = strchr(to, ':');
	assert_int_equal(
		getsockopt(s, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &len),
		0);
	close(s);
	return mtu;
}

/* A forged ICMP message about the packet that went out. */
static void say_too_big(const char *router, uint32_t mtu)
{
	struct pollfd p = { .fd = tun_fd, .events = POLLIN };
	uint8_t packet[2048], out[2048];
	struct addr from = adr(router);
	bool v4 = addr_is_v4(&from);
	while (poll(&p, 1, 1000) == 1) {
		ssize_t n = read(tun_fd, packet, sizeof(packet));
		assert_true(n > 0);
		if (!packet_is_udp(packet, (size_t)n) || v4 != (packet[0] >> 4 == 4))
			continue;
		size_t len = forge_icmp(out, &from, packet, (size_t)n, v4 ? 3 : 2, v4 ? 4 : 0, mtu);
		assert_int_equal(write(tun_fd, out, len), len);
		return;
	}
	fail_msg("no packet to quote");
}

/* Until the kernel believes it: a new IPv6 address is heard at only some time later. */
static void poison(const char *to, const char *router, int mtu)
{
	for (int i = 0; i < 200 && believed_mtu(to) != mtu; i++) {
		int s = connect_to(to); /* the kernel wants to know whose packet it was */
		assert_int_equal(send(s, "Hello, router", 13, 0), 13);
		say_too_big(router, (uint32_t)mtu);
		close(s);
		usleep((useconds_t)i * 1000);
	}
	assert_int_equal(believed_mtu(to), mtu);
}

static void mtu_of_the_route_not_of_the_cache(void **ignored)
{
	(void)ignored;
	lab_address(tun, "192.0.2.2/24");
	lab_address(tun, "2001:db8::2/64");
	lab_route(&(struct lab_route){ .dst = "10.1.0.0/16", .oif = tun });
	lab_route(&(struct lab_route){ .dst = "10.2.0.0/16", .oif = tun, .mtu = 1400 });
	lab_route(&(struct lab_route){ .dst = "fd01::/16", .oif = tun });
	lab_route(&(struct lab_route){ .dst = "fd02::/16", .oif = tun, .mtu = 1400 });
	static const char *const to[] = { "10.1.0.1", "fd01::1", "10.2.0.1", "fd02::1" };
	for (unsigned i = 0; i < ARRAY_SIZE(to); i++) {
		uint32_t mtu = i < 2 ? 1500 : 1400;
		assert_int_equal(path_mtu(to[i]), mtu);
		poison(to[i], i % 2 ? "2001:db8::1" : "192.0.2.1", 1290);
		assert_int_equal(path_mtu(to[i]), mtu);
	}
	lab_link_set("warren0", true, 1450);
	assert_int_equal(path_mtu("10.1.0.1"), 1450);
	assert_int_equal(path_mtu("fd01::1"), 1450);
	assert_int_equal(path_mtu("10.2.0.1"), 1400);
	lab_link_set("warren0", true, 1390); /* a route cannot know better than that */
	assert_int_equal(path_mtu("10.2.0.1"), 1390);
}

#define IN_HOST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static int run(void)
{
	const struct CMUnitTest tests[] = {
		IN_HOST(path_mtus),
		IN_HOST(another_way),
		IN_HOST(mtu_of_several_next_hops),
		IN_HOST(mtu_of_the_route_not_of_the_cache),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return bench_main(run);
}
