/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our TUN as its owner has it, who may have moved it to another network namespace (WireGuard's "wg0 in a
 * container without any other network"). That one is asked about through its number in ours, which needs
 * no right to enter it.
 */
#include "route/rtnl.h"

#include <linux/net_namespace.h>
#include <net/if.h>

/* since Linux 4.20; 4.15 knows the number by another name */
#ifndef IFLA_TARGET_NETNSID
#define IFLA_TARGET_NETNSID IFLA_IF_NETNSID
#endif

struct seen {
	struct kernel_link link;
	bool found;
};

static void see_link(void *ctx, struct nlmsghdr *h)
{
	struct seen *s = ctx;
	struct rtnl_link l;
	if (h->nlmsg_type != RTM_NEWLINK || !rtnl_link_of(h, &l))
		return;
	s->link = (struct kernel_link){ .mtu = l.mtu, .up = l.flags & IFF_UP };
	s->found = true;
}

static bool ask(struct kernel_routes *k, struct nl_msg *m, struct kernel_link *out)
{
	struct seen s = { 0 };
	if (rtnl_talk(k, m, see_link, &s) < 0 || !s.found)
		return false;
	*out = s.link;
	return true;
}

bool kernel_link_now(struct kernel_routes *k, struct kernel_link *out)
{
	struct ifinfomsg q = { .ifi_index = (int)k->ifindex };
	return ask(k, rtnl_request(RTM_GETLINK, 0, &q, sizeof(q)), out);
}

static void see_number(void *ctx, struct nlmsghdr *h)
{
	int32_t *number = ctx;
	struct nlattr *tb[NETNSA_MAX + 1] = { 0 };
	if (h->nlmsg_type == RTM_NEWNSID &&
	    nlmsg_parse(h, sizeof(struct rtgenmsg), tb, NETNSA_MAX, NULL) == 0)
		*number = (int32_t)rtnl_u32(tb[NETNSA_NSID], (uint32_t)*number);
}

/* The kernel gave it one when the device moved there. */
static int32_t number_of(struct kernel_routes *k, int netns)
{
	struct rtgenmsg q = { .rtgen_family = AF_UNSPEC };
	struct nl_msg *m = rtnl_request(RTM_GETNSID, 0, &q, sizeof(q));
	int32_t number = NETNSA_NSID_NOT_ASSIGNED;
	if (m && nla_put_u32(m, NETNSA_FD, (uint32_t)netns) < 0) {
		nlmsg_free(m);
		m = NULL;
	}
	return rtnl_talk(k, m, see_number, &number) < 0 ? NETNSA_NSID_NOT_ASSIGNED : number;
}

bool kernel_link_elsewhere(struct kernel_routes *k, int netns, const char *name,
			   struct kernel_link *out)
{
	int32_t number = number_of(k, netns);
	struct ifinfomsg q = { 0 };
	struct nl_msg *m = number < 0 ? NULL : rtnl_request(RTM_GETLINK, 0, &q, sizeof(q));
	if (m && (nla_put_s32(m, IFLA_TARGET_NETNSID, number) < 0 ||
		  nla_put_string(m, IFLA_IFNAME, name) < 0)) {
		nlmsg_free(m);
		m = NULL;
	}
	return ask(k, m, out);
}
