/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no kernel: lines of resolv.conf, numbers of errors, messages cut short. */
#include "route/resolv.h"
#include "route/rtnl.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <netlink/errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <cmocka.h>

static void resolv_lines(void **ignored)
{
	static const struct {
		const char *line, *addr; /* NULL: none */
	} cases[] = {
		/* 1 */ { "nameserver 192.0.2.1\n", "192.0.2.1" },
		/* 2 */ { "nameserver 192.0.2.1", "192.0.2.1" },
		/* 3 */ { " \tnameserver\t 192.0.2.1 \r\n", "192.0.2.1" },
		/* 4 */ { "nameserver fe80::1%eth0\n", "fe80::1" },
		/* 5 */ { "nameserver 2001:db8::1 # ours", "2001:db8::1" },
		/* 6 */ { "nameserver 192.0.2.1;x", "192.0.2.1" },
		/* 7 */ { "nameserver 192.0.2.1 192.0.2.2", "192.0.2.1" },
		/* 8 */ { "# nameserver 192.0.2.1", NULL },
		/* 9 */ { "nameserver", NULL },
		/* 10 */ { "nameserver ", NULL },
		/* 11 */ { "nameserver192.0.2.1", NULL },
		/* 12 */ { "nameservers 192.0.2.1", NULL },
		/* 13 */ { "nameserver example.net", NULL },
		/* 14 */ { "nameserver 192.0.2.256", NULL },
		/* 15 */ { "search nameserver 192.0.2.1", NULL },
		/* 16 */ { "", NULL },
		/* 17 */
		{ "nameserver 1111111111111111111111111111111111111111111111111111111111"
		  "111111111111111111111111111111",
		  NULL },
	};
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[ADDR_STRLEN];
		struct addr a;
		bool ok = resolv_line(cases[i].line, &a);
		if (ok != (cases[i].addr != NULL) ||
		    (ok && strcmp(addr_str(&a, text), cases[i].addr) != 0))
			fail_msg("case %zu: %s", i + 1, cases[i].line);
	}
}

static void errors_of_libnl(void **ignored)
{
	static const struct {
		int nle, err;
	} cases[] = {
		{ 0, 0 },
		{ -NLE_PERM, -EPERM },
		{ NLE_PERM, -EPERM },
		{ -NLE_EXIST, -EEXIST },
		{ -NLE_NODEV, -ENODEV },
		{ -NLE_BUSY, -EBUSY },
		{ -NLE_NOMEM, -ENOMEM },
		{ -NLE_INVAL, -EINVAL },
		{ -NLE_AF_NOSUPPORT, -EAFNOSUPPORT },
		{ -NLE_OBJ_NOTFOUND, -ENOENT },
		{ -NLE_NOADDR, -EADDRNOTAVAIL },
		{ -NLE_NOACCESS, -EACCES },
		{ -NLE_DUMP_INTR, -EINTR },
		{ -NLE_FAILURE, -EIO },
		{ -9999, -EIO },
	};
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(rtnl_errno(cases[i].nle), cases[i].err);
}

/* A route message with all that is read of one, and two next hops. */
static struct nl_msg *full_route(void)
{
	struct rtmsg h = { .rtm_family = AF_INET,
			   .rtm_dst_len = 24,
			   .rtm_table = RT_TABLE_COMPAT,
			   .rtm_protocol = RTPROT_STATIC,
			   .rtm_type = RTN_UNICAST };
	struct nl_msg *m = rtnl_request(RTM_NEWROUTE, 0, &h, sizeof(h));
	struct addr dst = addr_v4_u32(0x0a4d0900), gw = addr_v4_u32(0xc0000201);
	struct nlattr *nest;
	struct rtnexthop nh;
	assert_non_null(m);
	assert_int_equal(rtnl_put_addr(m, RTA_DST, &dst), 0);
	assert_int_equal(nla_put_u32(m, RTA_TABLE, 1000), 0);
	assert_int_equal(nla_put_u32(m, RTA_PRIORITY, 77), 0);
	nest = nla_nest_start(m, RTA_METRICS);
	assert_int_equal(nla_put_u32(m, RTAX_MTU, 1400), 0);
	assert_int_equal(nla_put_u32(m, RTAX_ADVMSS, 1360), 0);
	nla_nest_end(m, nest);
	nest = nla_nest_start(m, RTA_MULTIPATH);
	for (int i = 0; i < 2; i++) {
		nh = (struct rtnexthop){ .rtnh_len = sizeof(nh) + 8, .rtnh_ifindex = 5 + i };
		assert_int_equal(nlmsg_append(m, &nh, sizeof(nh), 0), 0);
		assert_int_equal(rtnl_put_addr(m, RTA_GATEWAY, &gw), 0);
		gw.b[15]++;
	}
	nla_nest_end(m, nest);
	return m;
}

static void a_full_route(void **ignored)
{
	struct nl_msg *m = full_route();
	struct rtnl_route r;
	char text[PREFIX_STRLEN];
	(void)ignored;
	assert_true(rtnl_route_of(nlmsg_hdr(m), &r));
	assert_string_equal(prefix_str(&r.dst, text), "10.77.9.0/24");
	assert_int_equal(r.table, 1000);
	assert_int_equal(r.metric, 77);
	assert_int_equal(r.mtu, 1400);
	assert_int_equal(r.advmss, 1360);
	assert_int_equal(r.oif, 5);
	assert_int_equal(r.gateways, 2);
	assert_string_equal(addr_str(&r.gateway[0], text), "192.0.2.1");
	assert_string_equal(addr_str(&r.gateway[1], text), "192.0.2.2");
	nlmsg_free(m);
}

/* Cut at each length, flush against the end of an allocation: ASan sees one byte too many. */
static void messages_cut_short(void **ignored)
{
	struct nl_msg *m = full_route();
	const struct nlmsghdr *whole = nlmsg_hdr(m);
	(void)ignored;
	for (uint32_t len = sizeof(*whole); len <= whole->nlmsg_len; len++) {
		struct nlmsghdr *h = malloc(len);
		struct rtnl_route r;
		assert_non_null(h);
		memcpy(h, whole, len);
		h->nlmsg_len = len;
		if (rtnl_route_of(h, &r))
			assert_true(r.gateways <= RTNL_GATEWAYS && r.dst.bits <= 32);
		free(h);
	}
	nlmsg_free(m);
}

static void of_another_kind(void **ignored)
{
	struct rtmsg bridge = { .rtm_family = AF_BRIDGE };
	struct rtmsg wide = { .rtm_family = AF_INET, .rtm_dst_len = 33 };
	struct nl_msg *a = rtnl_request(RTM_NEWROUTE, 0, &bridge, sizeof(bridge));
	struct nl_msg *c = rtnl_request(RTM_NEWROUTE, 0, &wide, sizeof(wide));
	struct rtnl_route r;
	struct rtnl_address address;
	struct rtnl_link l;
	(void)ignored;
	assert_false(rtnl_route_of(nlmsg_hdr(a), &r));
	assert_false(rtnl_route_of(nlmsg_hdr(c), &r));
	assert_false(rtnl_address_of(nlmsg_hdr(a), &address));
	assert_false(rtnl_link_of(nlmsg_hdr(a), &l));
	nlmsg_free(a);
	nlmsg_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resolv_lines),	   cmocka_unit_test(errors_of_libnl),
		cmocka_unit_test(a_full_route),	   cmocka_unit_test(messages_cut_short),
		cmocka_unit_test(of_another_kind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
