/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of ours, of others and of both, in a network namespace a test. */
#include "bench.h"
#include "route/rtnl.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static void route_v4(void **ignored)
{
	struct lab_seen s;
	struct prefix p = pfx("10.77.0.3");
	struct addr src = adr("10.77.0.2");
	(void)ignored;
	assert_int_equal(add_address("10.77.0.2"), 0);
	assert_int_equal(kernel_route_set(b.k, &p, &src,
					  &(struct route_metrics){
						  .mtu = 1392, .advmss = 8848, .ecn = true }),
			 0);
	assert_int_equal(lab_routes("10.77.0.3/32", &s), 1);
	assert_int_equal(s.protocol, ROUTE_PROTOCOL);
	assert_int_equal(s.type, RTN_UNICAST);
	assert_int_equal(s.scope, RT_SCOPE_LINK);
	assert_int_equal(s.table, RT_TABLE_MAIN);
	assert_int_equal(s.oif, b.tun);
	assert_int_equal(s.mtu, 1392);
	assert_int_equal(s.advmss, 8848);
	assert_int_equal(s.features, RTAX_FEATURE_ECN);
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
	assert_int_equal(kernel_route_set(b.k, &p, &src,
					  &(struct route_metrics){ .mtu = 1372, .advmss = 8828 }),
			 0);
	assert_int_equal(lab_routes("fd77::3/128", &s), 1);
	assert_int_equal(s.protocol, ROUTE_PROTOCOL);
	assert_int_equal(s.oif, b.tun);
	assert_int_equal(s.mtu, 1372);
	assert_int_equal(s.advmss, 8828);
	assert_int_equal(s.features, 0);
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
	assert_int_equal(kernel_route_set(b.k, &p, &src, MTU(0)), -EINVAL);
	assert_int_equal(lab_routes("10.77.0.3/32", NULL), 0);
}

/* One route before and after, with the new values, and no moment without it. */
static void replace_keeps_the_route(const char *dst)
{
	struct lab_seen s;
	int fd = kernel_monitor_open(NULL);
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
	assert_int_equal(kernel_route_set(again, &p4, NULL, MTU(1300)), 0);
	assert_int_equal(kernel_route_set(again, &p6, NULL, MTU(1300)), 0);
	assert_int_equal(kernel_route_set(again, &w, NULL, MTU(1300)), 0);
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
		{ .dst = "10.77.4.0/24", .oif = b.eth, .table = 100 },
		{ .dst = "fd77::3/128", .oif = b.eth, .table = 100 },
		{ .dst = "fd77::/32", .oif = b.eth },
		{ .dst = "fd77:4::/128", .oif = b.eth },
		{ .dst = "fd77:4::/64", .oif = b.eth, .table = 100 },
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

/* What the kernel made for an address of ours is there again when ours, in its place, goes. */
static void connected_route_stays(void **ignored)
{
	const struct prefix a4 = pfx("10.9.0.1"), a6 = pfx("fd09::1");
	struct lab_seen s;
	(void)ignored;
	assert_int_equal(kernel_link_up(b.k, 1400), 0);
	assert_int_equal(kernel_address_network(b.k, &a4, 24), 0);
	assert_int_equal(kernel_address_network(b.k, &a6, 64), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(set("10.9.0.0/24", 1400, 0), 0);
		assert_int_equal(set("fd09::/64", 1400, 0), 0);
		assert_int_equal(unset("10.9.0.0/24"), 0);
		assert_int_equal(unset("fd09::/64"), 0);
		assert_int_equal(lab_routes("fd09::/64", &s), 1);
		assert_true(s.oif == b.tun && s.mtu == 0);
		assert_int_equal(lab_routes("10.9.0.0/24", &s), 1);
		assert_true(s.oif == b.tun && s.mtu == 0);
		assert_string_equal(s.src, "10.9.0.1");
	}
	assert_int_equal(set("10.9.0.0/25", 1400, 0), 0);
	assert_int_equal(unset("10.9.0.0/25"), 0);
	assert_int_equal(lab_routes("10.9.0.0/25", NULL), 0);
}

static void many_routes(void **ignored)
{
	enum { N = 3000 };
	(void)ignored;
	assert_int_equal(close_off("10.77.0.0/16"), 0);
	for (uint32_t i = 0; i < N; i++) {
		struct addr a = addr_v4_u32(0x0a4d0100u + i);
		struct prefix p = prefix_host(&a);
		assert_int_equal(kernel_route_set(b.k, &p, NULL, MTU(1400)), 0);
	}
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), N + 1);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
}

/* --wrap: how often the whole table was read */
static unsigned dumps;

int __wrap_rtnl_dump(struct kernel_routes *k, int type, void (*each)(void *ctx, struct nlmsghdr *h),
		     void *ctx);
int __real_rtnl_dump(struct kernel_routes *k, int type, void (*each)(void *ctx, struct nlmsghdr *h),
		     void *ctx);

int __wrap_rtnl_dump(struct kernel_routes *k, int type, void (*each)(void *ctx, struct nlmsghdr *h),
		     void *ctx)
{
	dumps++;
	return __real_rtnl_dump(k, type, each, ctx);
}

/* A list of prefixes costs what it is long, and not its square: set, set again, and without a default route too. */
static void many_wide_routes(const char *other)
{
	enum { N = 1000 };
	if (other)
		lab_route(&(struct lab_route){ .dst = other, .oif = b.eth });
	dumps = 0;
	for (uint32_t i = 0; i < 2 * N; i++) {
		char text[PREFIX_STRLEN];
		snprintf(text, sizeof(text), i & 1 ? "11.%u.%u.0/24" : "fd11:%x:%x::/64",
			 i / 2 / 256, i / 2 % 256);
		assert_int_equal(set(text, 1400, 0), 0);
		assert_int_equal(set(text, 1300, 0), 0);
	}
	assert_int_equal(dumps, 0);
	assert_true(lab_routes_of(ROUTE_PROTOCOL) >= 2 * N);
}

static void many_wide_routes_alone(void **ignored)
{
	(void)ignored;
	many_wide_routes(NULL);
}

static void many_wide_routes_in_full_tunnels(void **ignored)
{
	(void)ignored;
	assert_int_equal(kernel_full_tunnel(b.k, true, 51820), 0);
	assert_int_equal(kernel_full_tunnel(b.k, false, 51820), 0);
	assert_int_equal(set("0.0.0.0/0", 1400, 0), 0);
	assert_int_equal(set("::/0", 1400, 0), 0);
	many_wide_routes(NULL);
}

static void many_wide_routes_in_one(void **ignored)
{
	(void)ignored;
	lab_route(&(struct lab_route){ .dst = "fd00::/8", .oif = b.eth });
	many_wide_routes("0.0.0.0/0");
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
	static const char *const both[] = { "10.77.0.3/32", "10.77.8.0/24", "fd77::3/128",
					    "fd77:8::/64" };
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
	struct lab_route theirs = { .dst = "10.77.0.0/16",
				    .type = RTN_UNREACHABLE,
				    .metric = ROUTE_UNREACHABLE_METRIC };
	(void)ignored;
	lab_route(&theirs);
	assert_int_equal(close_off("10.77.0.0/16"), -EEXIST);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes("10.77.0.0/16", &s), 1);
	assert_int_equal(s.protocol, RTPROT_STATIC);
}

static void end(bool clean, bool all)
{
	bool stays = !clean && kernel_stay_closed(b.k, all);
	kernel_routes_free(b.k);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL) > 0, stays);
	assert_int_equal(kernel_routes_new(&b.k, b.tun), 0);
}

/* An end that is not a clean one leaves closed what an earlier start had closed, or everything. */
static void stay_closed(void **ignored)
{
	(void)ignored;
	for (int all = 0; all < 2; all++) {
		assert_int_equal(close_off("10.77.0.0/16"), 0);
		end(false, false);
		assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
		assert_int_equal(close_off("10.77.0.0/16"), 0);
		end(false, true);
		assert_int_equal(lab_routes("10.77.0.0/16", NULL), 1);

		for (int twice = 0; twice < 2; twice++) {
			assert_int_equal(close_off("10.77.0.0/16"), 0);
			assert_int_equal(close_off("fd77::/48"), 0);
		}
		end(false, all);
		assert_int_equal(lab_routes("10.77.0.0/16", NULL), 1);
		assert_int_equal(lab_routes("fd77::/48", NULL), all);

		assert_int_equal(close_off("10.77.0.0/16"), 0);
		assert_int_equal(close_off("fd77::/48"), 0);
		end(true, false);
		assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
	}
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
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
		IN_LAB(connected_route_stays),
		IN_LAB(many_routes),
		IN_LAB(many_wide_routes_alone),
		IN_LAB(many_wide_routes_in_one),
		IN_LAB(many_wide_routes_in_full_tunnels),
		IN_LAB(unreachable),
		IN_LAB(unreachable_and_route_of_one_address),
		IN_LAB(unreachable_of_others),
		IN_LAB(stay_closed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return bench_main(run);
}
