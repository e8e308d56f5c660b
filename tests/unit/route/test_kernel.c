/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, links and routes in a network namespace of their own, one namespace a test. */
#include "lab.h"
#include "route/kernel.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

struct bench {
	int tun_fd;
	unsigned tun, eth;
	struct kernel_routes *k;
};

static struct bench b;

static struct prefix pfx(const char *s)
{
	struct prefix p;
	if (!prefix_parse(s, &p))
		fail_msg("bad prefix in the test: %s", s);
	return p;
}

static struct addr adr(const char *s)
{
	struct addr a;
	if (!addr_parse(s, &a))
		fail_msg("bad address in the test: %s", s);
	return a;
}

static int setup(void **ignored)
{
	(void)ignored;
	if (!lab_enter())
		return -1;
	b.tun = lab_tun("warren0", &b.tun_fd);
	b.eth = lab_veth("eth0", "far0");
	return kernel_routes_new(&b.k, b.tun);
}

static int teardown(void **ignored)
{
	(void)ignored;
	kernel_routes_free(b.k);
	close(b.tun_fd);
	return 0;
}

static int set(const char *dst, uint32_t mtu, uint32_t advmss)
{
	struct prefix p = pfx(dst);
	return kernel_route_set(b.k, &p, NULL, mtu, advmss);
}

static int unset(const char *dst)
{
	struct prefix p = pfx(dst);
	return kernel_route_remove(b.k, &p);
}

static int add_address(const char *addr)
{
	struct prefix p = pfx(addr);
	return kernel_address_add(b.k, &p);
}

static int close_off(const char *dst)
{
	struct prefix p = pfx(dst);
	return kernel_unreachable_set(b.k, &p);
}

/* Addresses and the link. */

static void address_v4(void **ignored)
{
	unsigned bits, flags;
	(void)ignored;
	struct prefix p = pfx("10.77.0.2");
	assert_int_equal(kernel_address_add(b.k, &p), 0);
	assert_true(lab_has_address(b.tun, "10.77.0.2", &bits, &flags));
	assert_int_equal(bits, 32);
	assert_int_equal(lab_routes("10.77.0.2/32", NULL), 0);
	assert_int_equal(kernel_address_add(b.k, &p), 0); /* once more is no error */
	assert_int_equal(kernel_address_remove(b.k, &p), 0);
	assert_false(lab_has_address(b.tun, "10.77.0.2", NULL, NULL));
	assert_int_equal(kernel_address_remove(b.k, &p), 0);
}

static void address_v6(void **ignored)
{
	unsigned bits, flags;
	(void)ignored;
	struct prefix p = pfx("fd77::2");
	assert_int_equal(kernel_address_add(b.k, &p), 0);
	assert_true(lab_has_address(b.tun, "fd77::2", &bits, &flags));
	assert_int_equal(bits, 128);
	assert_false(flags & IFA_F_TENTATIVE);
	assert_int_equal(lab_routes("fd77::2/128", NULL), 0);
	assert_int_equal(kernel_address_remove(b.k, &p), 0);
	assert_false(lab_has_address(b.tun, "fd77::2", NULL, NULL));
}

static void only_single_addresses(void **ignored)
{
	(void)ignored;
	assert_int_equal(add_address("10.77.0.0/24"), -EINVAL);
	assert_int_equal(add_address("fd77::/64"), -EINVAL);
}

/* An address that others put on our device is not ours to take away. */
static void address_of_others_stays(void **ignored)
{
	(void)ignored;
	struct prefix p = pfx("192.0.2.1");
	lab_address(b.tun, "192.0.2.1/32");
	assert_int_equal(kernel_address_remove(b.k, &p), 0);
	assert_true(lab_has_address(b.tun, "192.0.2.1", NULL, NULL));
}

static void link_up_and_mtu(void **ignored)
{
	bool up;
	(void)ignored;
	lab_link_set("warren0", false, 0);
	assert_int_equal(kernel_link_up(b.k, 1420), 0);
	assert_int_equal(lab_link_mtu(b.tun, &up), 1420);
	assert_true(up);
	assert_int_equal(kernel_link_mtu(b.k, 8920), 0);
	assert_int_equal(lab_link_mtu(b.tun, &up), 8920);
	assert_true(up);
	assert_int_equal(kernel_link_mtu(b.k, 1000000), -EINVAL);
}

static void nothing_without_a_device(void **ignored)
{
	struct kernel_routes *k;
	struct prefix p = pfx("10.77.0.2");
	(void)ignored;
	assert_int_equal(kernel_routes_new(&k, 0), 0);
	assert_int_equal(kernel_link_up(k, 1420), -ENODEV);
	assert_int_equal(kernel_link_mtu(k, 1420), -ENODEV);
	assert_int_equal(kernel_address_add(k, &p), -ENODEV);
	assert_int_equal(kernel_route_set(k, &p, NULL, 0, 0), -ENODEV);
	assert_int_equal(kernel_unreachable_set(k, &p), 0); /* needs none */
	kernel_routes_free(k);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
	kernel_routes_free(NULL);
}

static void device_that_went(void **ignored)
{
	(void)ignored;
	assert_int_equal(set("10.77.0.3", 1400, 0), 0);
	close(b.tun_fd);
	b.tun_fd = -1;
	assert_int_equal(set("10.77.0.4", 1400, 0), -ENODEV);
	assert_int_equal(add_address("10.77.0.2"), -ENODEV);
	assert_int_equal(kernel_link_mtu(b.k, 1400), -ENODEV);
	assert_int_equal(unset("10.77.0.3"), 0); /* it went along */
}

/* Routes. */

static void route_v4(void **ignored)
{
	struct lab_seen s;
	struct prefix p = pfx("10.77.0.3");
	struct addr src = adr("10.77.0.2");
	(void)ignored;
	assert_int_equal(add_address("10.77.0.2"), 0);
	assert_int_equal(kernel_route_set(b.k, &p, &src, 1392, 8848), 0);
	assert_int_equal(lab_routes("10.77.0.3/32", &s), 1);
	assert_int_equal(s.protocol, ROUTE_PROTOCOL);
	assert_int_equal(s.type, RTN_UNICAST);
	assert_int_equal(s.scope, RT_SCOPE_LINK);
	assert_int_equal(s.table, RT_TABLE_MAIN);
	assert_int_equal(s.oif, b.tun);
	assert_int_equal(s.mtu, 1392);
	assert_int_equal(s.advmss, 8848);
	assert_string_equal(s.src, "10.77.0.2");
	assert_int_equal(unset("10.77.0.3"), 0);
	assert_int_equal(lab_routes("10.77.0.3/32", NULL), 0);
	assert_int_equal(unset("10.77.0.3"), 0);
}

static void route_v6(void **ignored)
{
	struct lab_seen s;
	struct prefix p = pfx("fd77::3");
	struct addr src = adr("fd77::2");
	(void)ignored;
	assert_int_equal(add_address("fd77::2"), 0);
	assert_int_equal(kernel_route_set(b.k, &p, &src, 1372, 8828), 0);
	assert_int_equal(lab_routes("fd77::3/128", &s), 1);
	assert_int_equal(s.protocol, ROUTE_PROTOCOL);
	assert_int_equal(s.oif, b.tun);
	assert_int_equal(s.mtu, 1372);
	assert_int_equal(s.advmss, 8828);
	assert_string_equal(s.src, "fd77::2");
	assert_int_equal(unset("fd77::3"), 0);
	assert_int_equal(lab_routes("fd77::3/128", NULL), 0);
}

static void route_without_metrics(void **ignored)
{
	struct lab_seen s;
	(void)ignored;
	assert_int_equal(set("10.77.4.0/24", 0, 0), 0);
	assert_int_equal(lab_routes("10.77.4.0/24", &s), 1);
	assert_int_equal(s.mtu, 0);
	assert_int_equal(s.advmss, 0);
	assert_string_equal(s.src, "");
}

static void bad_source(void **ignored)
{
	struct prefix p = pfx("10.77.0.3");
	struct addr src = adr("10.77.0.99"); /* not an address of this host */
	(void)ignored;
	assert_int_equal(kernel_route_set(b.k, &p, &src, 0, 0), -EINVAL);
	assert_int_equal(lab_routes("10.77.0.3/32", NULL), 0);
}

/* One route before and after, with the new values, and no moment without it. */
static void replace_keeps_the_route(const char *dst)
{
	struct lab_seen s;
	int fd = kernel_monitor_open(0);
	char msg[8192];
	assert_true(fd >= 0);
	assert_int_equal(set(dst, 1392, 8848), 0);
	assert_int_equal(set(dst, 1280, 0), 0);
	assert_int_equal(set(dst, 1280, 0), 0);
	assert_int_equal(lab_routes(dst, &s), 1);
	assert_int_equal(s.mtu, 1280);
	assert_int_equal(s.advmss, 0);
	for (ssize_t n; (n = recv(fd, msg, sizeof(msg), MSG_DONTWAIT)) > 0;) {
		struct nlmsghdr h;
		memcpy(&h, msg, sizeof(h));
		assert_int_not_equal(h.nlmsg_type, RTM_DELROUTE);
	}
	close(fd);
	assert_int_equal(unset(dst), 0);
	assert_int_equal(lab_routes(dst, NULL), 0);
}

static void replace(void **ignored)
{
	(void)ignored;
	replace_keeps_the_route("10.77.0.3/32");
	replace_keeps_the_route("10.77.4.0/24");
	replace_keeps_the_route("fd77::3/128");
	replace_keeps_the_route("fd77:4::/64");
}

/* What is set again after the kernel dropped it (a link that went down takes its routes along). */
static void route_comes_back(void **ignored)
{
	(void)ignored;
	assert_int_equal(set("10.77.0.3", 1392, 0), 0);
	assert_int_equal(set("fd77::3", 1392, 0), 0);
	lab_link_set("warren0", false, 0);
	assert_int_equal(lab_routes("10.77.0.3/32", NULL), 0);
	assert_int_equal(set("10.77.0.3", 1392, 0), -ENETDOWN);
	lab_link_set("warren0", true, 0);
	assert_int_equal(set("10.77.0.3", 1392, 0), 0);
	assert_int_equal(set("fd77::3", 1392, 0), 0);
	assert_int_equal(lab_routes("10.77.0.3/32", NULL), 1);
	assert_int_equal(lab_routes("fd77::3/128", NULL), 1);
}

/* Our route of a struct that was dropped without a word is still ours. */
static void own_route_of_before(void **ignored)
{
	struct kernel_routes *again;
	struct prefix p4 = pfx("10.77.0.3"), p6 = pfx("fd77::3"), w = pfx("10.77.4.0/24");
	struct lab_seen s;
	(void)ignored;
	assert_int_equal(set("10.77.0.3", 1392, 0), 0);
	assert_int_equal(set("fd77::3", 1392, 0), 0);
	assert_int_equal(set("10.77.4.0/24", 1392, 0), 0);
	assert_int_equal(kernel_routes_new(&again, b.tun), 0);
	assert_int_equal(kernel_route_set(again, &p4, NULL, 1300, 0), 0);
	assert_int_equal(kernel_route_set(again, &p6, NULL, 1300, 0), 0);
	assert_int_equal(kernel_route_set(again, &w, NULL, 1300, 0), 0);
	assert_int_equal(lab_routes("10.77.0.3/32", &s), 1);
	assert_int_equal(s.mtu, 1300);
	assert_int_equal(lab_routes("fd77::3/128", &s), 1);
	assert_int_equal(s.mtu, 1300);
	kernel_routes_free(again);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
}

/* Somebody else's route, of any kind, for exactly this prefix: hands off, and it stays as it was. */
static void foreign_routes(void **ignored)
{
	const struct lab_route cases[] = {
		/* 1 */ { .dst = "10.77.0.3/32", .oif = b.eth },
		/* 2 */ { .dst = "10.77.0.4/32", .oif = b.eth, .metric = 100 },
		/* 3 */ { .dst = "10.77.4.0/24", .oif = b.eth },
		/* 4 */ { .dst = "10.77.5.0/24", .oif = b.eth, .metric = 100 },
		/* 5 */ { .dst = "10.77.0.5/32", .oif = b.eth, .protocol = ROUTE_PROTOCOL },
		/* 6 */ { .dst = "10.77.0.6/32", .oif = b.tun },
		/* 7 */ { .dst = "10.77.0.7/32", .type = RTN_BLACKHOLE },
		/* 8 */ { .dst = "10.77.6.0/24", .type = RTN_UNREACHABLE, .metric = 7 },
		/* 9 */ { .dst = "fd77::3/128", .oif = b.eth },
		/* 10 */ { .dst = "fd77::4/128", .oif = b.eth, .metric = 100 },
		/* 11 */ { .dst = "fd77:5::/64", .oif = b.eth, .metric = 2000 },
		/* 12 */ { .dst = "fd77:6::/64", .type = RTN_BLACKHOLE },
		/* 13 */ { .dst = "fd77::5/128", .oif = b.eth, .protocol = ROUTE_PROTOCOL },
		/* 14 */ { .dst = "fd77::6/128", .oif = b.tun, .metric = 5 },
	};
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct lab_seen before, after;
		lab_route(&cases[i]);
		assert_int_equal(lab_routes(cases[i].dst, &before), 1);
		int err = set(cases[i].dst, 1400, 0);
		if (err != -EEXIST)
			fail_msg("case %zu: %s: %d", i + 1, cases[i].dst, err);
		assert_int_equal(unset(cases[i].dst), 0);
		assert_int_equal(lab_routes(cases[i].dst, &after), 1);
		assert_int_equal(after.protocol, before.protocol);
		assert_int_equal(after.oif, before.oif);
		assert_int_equal(after.metric, before.metric);
	}
}

/* Other tables, and routes that are wider or narrower, are no reason to refuse. */
static void routes_beside_ours(void **ignored)
{
	const struct lab_route beside[] = {
		{ .dst = "10.77.0.3/32", .oif = b.eth, .table = 100 },
		{ .dst = "10.77.0.0/16", .oif = b.eth },
		{ .dst = "10.77.4.0/32", .oif = b.eth },
		{ .dst = "fd77::3/128", .oif = b.eth, .table = 100 },
		{ .dst = "fd77::/32", .oif = b.eth },
		{ .dst = "fd77:4::/128", .oif = b.eth },
	};
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(beside); i++)
		lab_route(&beside[i]);
	assert_int_equal(set("10.77.0.3", 1400, 0), 0);
	assert_int_equal(set("10.77.4.0/24", 1400, 0), 0);
	assert_int_equal(set("fd77::3", 1400, 0), 0);
	assert_int_equal(set("fd77:4::/64", 1400, 0), 0);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
	assert_int_equal(lab_routes_of(RTPROT_STATIC), ARRAY_SIZE(beside));
}

/* Somebody takes our prefix over while we run: neither setting nor removing takes it back. */
static void taken_over(void **ignored)
{
	const struct lab_route theirs[] = {
		{ .dst = "10.77.0.3/32", .oif = b.eth, .replace = true },
		{ .dst = "fd77::3/128", .oif = b.eth, .replace = true, .metric = 1024 },
	};
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(theirs); i++) {
		struct lab_seen s;
		assert_int_equal(set(theirs[i].dst, 1400, 0), 0);
		lab_route(&theirs[i]);
		assert_int_equal(lab_routes(theirs[i].dst, &s), 1);
		assert_int_equal(s.oif, b.eth);
		assert_int_equal(set(theirs[i].dst, 1300, 0), -EEXIST);
		assert_int_equal(unset(theirs[i].dst), 0);
		assert_int_equal(lab_routes(theirs[i].dst, &s), 1);
		assert_int_equal(s.oif, b.eth);
	}
}

static void many_routes(void **ignored)
{
	enum { N = 3000 };
	(void)ignored;
	assert_int_equal(close_off("10.77.0.0/16"), 0);
	for (uint32_t i = 0; i < N; i++) {
		struct addr a = addr_v4_u32(0x0a4d0100u + i);
		struct prefix p = prefix_host(&a);
		assert_int_equal(kernel_route_set(b.k, &p, NULL, 1400, 0), 0);
	}
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), N + 1);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
}

/* Unreachable prefixes. */

static int try_to_reach(const char *addr)
{
	struct sockaddr_storage ss;
	struct endpoint e = { .addr = adr(addr), .port = 9 };
	bool v6 = !addr_is_v4(&e.addr);
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = (socklen_t)endpoint_to_sockaddr(&e, v6, &ss);
	int err = connect(fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static void unreachable(void **ignored)
{
	struct lab_seen s;
	(void)ignored;
	lab_address(b.eth, "192.0.2.2/24");
	lab_address(b.eth, "2001:db8::2/64");
	lab_route(&(struct lab_route){ .dst = "default", .via = "192.0.2.1" });
	lab_route(&(struct lab_route){ .dst = "default", .via = "2001:db8::1" });
	assert_int_equal(try_to_reach("10.77.0.3"), 0); /* in clear, to whoever answers there */
	assert_int_equal(close_off("10.77.0.0/16"), 0);
	assert_int_equal(close_off("fd77::/48"), 0);
	assert_int_equal(close_off("10.77.0.0/16"), 0);
	assert_int_equal(lab_routes("10.77.0.0/16", &s), 1);
	assert_int_equal(s.type, RTN_UNREACHABLE);
	assert_int_equal(s.protocol, ROUTE_PROTOCOL);
	assert_int_equal(s.metric, ROUTE_UNREACHABLE_METRIC);
	assert_int_equal(lab_routes("fd77::/48", &s), 1);
	assert_int_equal(s.type, RTN_UNREACHABLE);
	assert_int_equal(s.protocol, ROUTE_PROTOCOL);
	assert_int_equal(s.metric, ROUTE_UNREACHABLE_METRIC);
	assert_int_equal(try_to_reach("10.77.0.3"), -EHOSTUNREACH);
	assert_int_equal(try_to_reach("fd77::3"), -EHOSTUNREACH);
	assert_int_equal(add_address("10.77.0.2"), 0);
	assert_int_equal(add_address("fd77::2"), 0);
	assert_int_equal(set("10.77.0.3", 1400, 0), 0);
	assert_int_equal(set("fd77::3", 1400, 0), 0);
	assert_int_equal(try_to_reach("10.77.0.3"), 0);
	assert_int_equal(try_to_reach("fd77::3"), 0);
	assert_int_equal(try_to_reach("10.77.0.4"), -EHOSTUNREACH);
}

/* A prefix that is one address: its route and its unreachable route are two things of ours. */
static void unreachable_and_route_of_one_address(void **ignored)
{
	static const char *const both[] = { "10.77.0.3/32", "10.77.8.0/24", "fd77::3/128", "fd77:8::/64" };
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
		struct lab_seen s;
		assert_int_equal(close_off(both[i]), 0);
		assert_int_equal(set(both[i], 1400, 0), 0);
		assert_int_equal(set(both[i], 1300, 0), 0);
		assert_int_equal(lab_routes(both[i], NULL), 2);
		assert_int_equal(unset(both[i]), 0);
		assert_int_equal(lab_routes(both[i], &s), 1);
		assert_int_equal(s.type, RTN_UNREACHABLE);
		assert_int_equal(set(both[i], 1300, 0), 0);
	}
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
}

static void unreachable_of_others(void **ignored)
{
	struct lab_seen s;
	struct lab_route theirs = { .dst = "10.77.0.0/16", .type = RTN_UNREACHABLE,
				    .metric = ROUTE_UNREACHABLE_METRIC };
	(void)ignored;
	lab_route(&theirs);
	assert_int_equal(close_off("10.77.0.0/16"), -EEXIST);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes("10.77.0.0/16", &s), 1);
	assert_int_equal(s.protocol, RTPROT_STATIC);
}

/* Whole lives. */

static void set_everything(struct kernel_routes *k)
{
	static const char *const addresses[] = { "10.77.0.2", "fd77::2" };
	static const char *const routes[] = { "10.77.0.3", "10.77.4.0/24", "fd77::3", "fd77:4::/64" };
	static const char *const closed[] = { "10.77.0.0/16", "fd77::/16" };
	for (size_t i = 0; i < ARRAY_SIZE(closed); i++) {
		struct prefix p = pfx(closed[i]);
		assert_int_equal(kernel_unreachable_set(k, &p), 0);
	}
	assert_int_equal(kernel_link_up(k, 1420), 0);
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		struct prefix p = pfx(addresses[i]);
		assert_int_equal(kernel_address_add(k, &p), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		struct prefix p = pfx(routes[i]);
		assert_int_equal(kernel_route_set(k, &p, NULL, 1400, 0), 0);
	}
}

static void free_cleans_up(void **ignored)
{
	(void)ignored;
	lab_route(&(struct lab_route){ .dst = "198.51.100.0/24", .oif = b.eth });
	lab_route(&(struct lab_route){ .dst = "fd99::/64", .oif = b.tun });
	set_everything(b.k);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 6);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
	assert_false(lab_has_address(b.tun, "10.77.0.2", NULL, NULL));
	assert_false(lab_has_address(b.tun, "fd77::2", NULL, NULL));
	assert_int_equal(lab_routes("198.51.100.0/24", NULL), 1);
	assert_int_equal(lab_routes("fd99::/64", NULL), 1);
}

/* A process that sets everything up and is killed. */
static void live_and_be_killed(void)
{
	int status, fd;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct kernel_routes *k;
		unsigned tun = lab_tun("warren1", &fd);
		if (kernel_routes_new(&k, tun) < 0)
			_exit(1);
		set_everything(k);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void leftovers_of_a_killed_one(void **ignored)
{
	const struct prefix keep[] = { pfx("10.77.0.0/16"), pfx("192.0.2.0/24") };
	(void)ignored;
	lab_route(&(struct lab_route){ .dst = "10.99.0.0/16", .type = RTN_UNREACHABLE,
				       .metric = ROUTE_UNREACHABLE_METRIC });
	live_and_be_killed();
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 2); /* the closed ones, nothing else */
	/* the next start needs one of them still: it stays throughout */
	assert_int_equal(kernel_clean_leftovers(b.k, keep, 2), 0);
	assert_int_equal(lab_routes("10.77.0.0/16", NULL), 1);
	assert_int_equal(lab_routes("fd77::/16", NULL), 0);
	assert_int_equal(close_off("10.77.0.0/16"), 0); /* adopted */
	assert_int_equal(kernel_clean_leftovers(b.k, NULL, 0), 0);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
	assert_int_equal(lab_routes("10.99.0.0/16", NULL), 1);
}

static void adopted_leftovers_go_with_us(void **ignored)
{
	(void)ignored;
	live_and_be_killed();
	assert_int_equal(close_off("10.77.0.0/16"), 0);
	assert_int_equal(close_off("fd77::/16"), 0);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 2);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
}

/* Another gateway of another network, alive in the same namespace. */
static void leftovers_of_a_living_one(void **ignored)
{
	struct kernel_routes *other;
	int fd;
	(void)ignored;
	unsigned tun = lab_tun("warren2", &fd);
	assert_int_equal(kernel_routes_new(&other, tun), 0);
	set_everything(other);
	assert_int_equal(kernel_clean_leftovers(b.k, NULL, 0), 0);
	assert_int_equal(lab_routes("10.77.0.0/16", NULL), 1);
	assert_int_equal(lab_routes("fd77::/16", NULL), 1);
	close(fd); /* as if killed */
	assert_int_equal(kernel_clean_leftovers(b.k, NULL, 0), 0);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
	kernel_routes_free(other);
}

/* Hosts that do not let us. */

static void write_sysctl(const char *path, const char *value)
{
	FILE *f = fopen(path, "we");
	if (!f || fputs(value, f) < 0 || fclose(f) != 0)
		fail_msg("cannot write %s", path);
}

static void without_ipv6(void **ignored)
{
	struct addr six = adr("fd77::3");
	(void)ignored;
	write_sysctl("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	assert_int_equal(add_address("fd77::2"), -EAFNOSUPPORT);
	assert_int_equal(set("fd77::3", 1400, 0), -EAFNOSUPPORT);
	int err = close_off("fd77::/48");
	assert_true(err == 0 || err == -EAFNOSUPPORT);
	assert_int_equal(kernel_path_mtu(b.k, &six), 0);
	/* and IPv4 goes on */
	assert_int_equal(add_address("10.77.0.2"), 0);
	assert_int_equal(set("10.77.0.3", 1400, 0), 0);
	assert_int_equal(close_off("10.77.0.0/16"), 0);
	assert_int_equal(kernel_clean_leftovers(b.k, NULL, 0), 0);
}

/* IPv6 that is switched off under us took what we made along: removing it is no error. */
static void ipv6_switched_off(void **ignored)
{
	struct prefix a = pfx("fd77::2"), r = pfx("fd77::3");
	(void)ignored;
	assert_int_equal(add_address("fd77::2"), 0);
	assert_int_equal(set("fd77::3", 1400, 0), 0);
	assert_int_equal(close_off("fd77::/48"), 0);
	write_sysctl("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	assert_int_equal(kernel_address_remove(b.k, &a), 0);
	assert_int_equal(kernel_route_remove(b.k, &r), 0);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
}

/* The kernel's own refusal comes through: in a process without rights, EPERM and nothing else. */
static void without_rights(void **ignored)
{
	int status;
	(void)ignored;
	if (getuid() != 0 || access("/proc/self/setgroups", F_OK) != 0)
		skip();
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct kernel_routes *k;
		struct prefix p = pfx("10.77.0.3");
		if (setresuid(65534, 65534, 65534) < 0)
			_exit(77);
		if (kernel_routes_new(&k, b.tun) < 0)
			_exit(1);
		if (kernel_link_mtu(k, 1300) != -EPERM || kernel_address_add(k, &p) != -EPERM)
			_exit(2);
		if (kernel_route_set(k, &p, NULL, 0, 0) != -EPERM ||
		    kernel_unreachable_set(k, &p) != -EPERM)
			_exit(3);
		kernel_routes_free(k);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) != 77) /* a user namespace has no second user to become */
		assert_int_equal(WEXITSTATUS(status), 0);
}

#define IN_LAB(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_LAB(address_v4),
		IN_LAB(address_v6),
		IN_LAB(only_single_addresses),
		IN_LAB(address_of_others_stays),
		IN_LAB(link_up_and_mtu),
		IN_LAB(nothing_without_a_device),
		IN_LAB(device_that_went),
		IN_LAB(route_v4),
		IN_LAB(route_v6),
		IN_LAB(route_without_metrics),
		IN_LAB(bad_source),
		IN_LAB(replace),
		IN_LAB(route_comes_back),
		IN_LAB(own_route_of_before),
		IN_LAB(foreign_routes),
		IN_LAB(routes_beside_ours),
		IN_LAB(taken_over),
		IN_LAB(many_routes),
		IN_LAB(unreachable),
		IN_LAB(unreachable_and_route_of_one_address),
		IN_LAB(unreachable_of_others),
		IN_LAB(free_cleans_up),
		IN_LAB(leftovers_of_a_killed_one),
		IN_LAB(adopted_leftovers_go_with_us),
		IN_LAB(leftovers_of_a_living_one),
		IN_LAB(without_ipv6),
		IN_LAB(ipv6_switched_off),
		IN_LAB(without_rights),
	};
	if (!lab_enter())
		return getenv("CI") ? 1 : 77; /* 77: meson counts it as skipped */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
