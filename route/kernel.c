/* SPDX-License-Identifier: Apache-2.0 */
#include "route/rtnl.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/socket.h>

int kernel_routes_new(struct kernel_routes **out, unsigned ifindex)
{
	struct kernel_routes *k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->ifindex = ifindex;
	k->table = RT_TABLE_MAIN;
	k->addresses = route_table_new();
	k->routes = route_table_new();
	k->unreachables = route_table_new();
	int err = -ENOMEM;
	if (k->addresses && k->routes && k->unreachables)
		err = rtnl_open(k);
	if (err < 0) {
		kernel_routes_free(k);
		return err;
	}
	*out = k;
	return 0;
}

/* The link. */

static int link_change(struct kernel_routes *k, unsigned flags, int attr, uint32_t value)
{
	if (!k->ifindex)
		return -ENODEV;
	struct ifinfomsg h = { .ifi_index = (int)k->ifindex,
			       .ifi_flags = flags,
			       .ifi_change = flags };
	struct nl_msg *m = rtnl_request(RTM_NEWLINK, 0, &h, sizeof(h));
	if (m && nla_put_u32(m, attr, value) < 0) {
		nlmsg_free(m);
		m = NULL;
	}
	return rtnl_talk(k, m, NULL, NULL);
}

/* A tunnel has no link-local address: the kernel would send router solicitations into it. */
static void link_no_auto_address(struct kernel_routes *k)
{
	struct ifinfomsg h = { .ifi_family = AF_UNSPEC, .ifi_index = (int)k->ifindex };
	struct nl_msg *m = rtnl_request(RTM_NEWLINK, 0, &h, sizeof(h));
	struct nlattr *spec = m ? nla_nest_start(m, IFLA_AF_SPEC) : NULL;
	struct nlattr *inet6 = spec ? nla_nest_start(m, AF_INET6) : NULL;

	if (!inet6 || nla_put_u8(m, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE) < 0) {
		nlmsg_free(m);
		return;
	}
	nla_nest_end(m, inet6);
	nla_nest_end(m, spec);
	rtnl_talk(k, m, NULL, NULL); /* without IPv6 it is refused, and needless */
}

int kernel_link_up(struct kernel_routes *k, uint32_t mtu)
{
	link_no_auto_address(k);
	return link_change(k, IFF_UP, IFLA_MTU, mtu);
}

int kernel_link_mtu(struct kernel_routes *k, uint32_t mtu)
{
	return link_change(k, 0, IFLA_MTU, mtu);
}

int kernel_link_segments(struct kernel_routes *k, uint16_t most)
{
	return link_change(k, 0, IFLA_GSO_MAX_SEGS, most);
}

/* Addresses. */

static int address_send(struct kernel_routes *k, int type, int flags, const struct prefix *p,
			uint8_t bits)
{
	uint32_t alone = bits == p->bits ? IFA_F_NOPREFIXROUTE : 0;
	struct ifaddrmsg h = { .ifa_family = rtnl_family(p),
			       .ifa_prefixlen = bits,
			       .ifa_index = k->ifindex };
	struct nl_msg *m = rtnl_request(type, flags, &h, sizeof(h));
	if (m && (rtnl_put_addr(m, IFA_LOCAL, &p->addr) < 0 ||
		  rtnl_put_addr(m, IFA_ADDRESS, &p->addr) < 0 ||
		  (!addr_is_v4(&p->addr) && nla_put_u32(m, IFA_RT_PRIORITY, IPV6_METRIC) < 0) ||
		  nla_put_u32(m, IFA_FLAGS, IFA_F_NODAD | alone) < 0)) {
		nlmsg_free(m);
		m = NULL;
	}
	return rtnl_no_ipv6(p, rtnl_talk(k, m, NULL, NULL));
}

/* What the table holds of an address: its bits, which the kernel asks for at its removal. */
static uint8_t *owner_of(uint8_t bits)
{
	static uint8_t all[129];
	return &all[bits];
}

static uint8_t bits_of(const void *owner)
{
	return (uint8_t)((const uint8_t *)owner - owner_of(0));
}

struct connected {
	const struct prefix *to;
	struct addr by; /* an address of ours */
	bool yes;
};

static void see_connected(void *ctx, const struct prefix *p, void *owner)
{
	struct connected *c = ctx;
	uint8_t bits = bits_of(owner);
	if (bits == p->bits || bits != c->to->bits || !prefix_contains(c->to, &p->addr))
		return;
	c->by = p->addr;
	c->yes = true;
}

bool route_is_connected(const struct kernel_routes *k, const struct prefix *p, struct addr *by)
{
	struct connected c = { .to = p };
	route_table_each(k->addresses, NULL, see_connected, &c);
	*by = c.by;
	return c.yes;
}

int kernel_address_network(struct kernel_routes *k, const struct prefix *p, uint8_t bits)
{
	if (!prefix_is_host(p) || bits > p->bits)
		return -EINVAL;
	if (!k->ifindex)
		return -ENODEV;
	void *held = route_table_exact(k->addresses, p);
	int err = route_table_set(k->addresses, p, owner_of(bits));
	if (err < 0)
		return err;
	err = address_send(k, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, p, bits);
	if (err < 0 && !held)
		route_table_remove(k->addresses, p, owner_of(bits));
	return err;
}

int kernel_address_add(struct kernel_routes *k, const struct prefix *p)
{
	return kernel_address_network(k, p, p->bits);
}

bool kernel_address_held(const struct kernel_routes *k, const struct prefix *p)
{
	return route_table_exact(k->addresses, p);
}

int kernel_address_remove(struct kernel_routes *k, const struct prefix *p)
{
	void *owner = route_table_exact(k->addresses, p);
	if (!owner)
		return 0;
	int err = rtnl_gone_is_fine(address_send(k, RTM_DELADDR, 0, p, bits_of(owner)));
	if (err == 0)
		route_table_remove(k->addresses, p, owner);
	return err;
}

static void remove_route(void *ctx, const struct prefix *p, void *owner)
{
	struct route_spec s = route_through_tun(ctx, p);
	(void)owner;
	(void)route_send(ctx, RTM_DELROUTE, 0, &s);
}

static void remove_address(void *ctx, const struct prefix *p, void *owner)
{
	(void)address_send(ctx, RTM_DELADDR, 0, p, bits_of(owner));
}

struct again {
	struct kernel_routes *k;
	bool all; /* so far */
};

static void address_again(void *ctx, const struct prefix *p, void *owner)
{
	struct again *a = ctx;
	int err = address_send(a->k, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, p, bits_of(owner));
	a->all &= err == 0;
}

static void unreachable_again(void *ctx, const struct prefix *p, void *owner)
{
	struct route_spec s = route_unreachable(p);
	struct again *a = ctx;
	(void)owner;
	int err = route_send(a->k, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &s);
	a->all &= err == 0 || err == -EEXIST;
}

bool kernel_restore(struct kernel_routes *k)
{
	struct again a = { .k = k, .all = true };
	route_table_each(k->unreachables, NULL, unreachable_again, &a);
	route_table_each(k->addresses, NULL, address_again, &a);
	return a.all;
}

static bool stays(const struct kernel_routes *k, const void *owner)
{
	return k->stay_all || (k->stay_adopted && owner == &k->stay_adopted);
}

struct staying {
	const struct kernel_routes *k;
	bool any;
};

static void count_staying(void *ctx, const struct prefix *p, void *owner)
{
	struct staying *s = ctx;
	(void)p;
	s->any |= stays(s->k, owner);
}

bool kernel_stay_closed(struct kernel_routes *k, bool all)
{
	struct staying s = { .k = k };
	k->stay_adopted = true;
	k->stay_all = all;
	route_table_each(k->unreachables, NULL, count_staying, &s);
	return s.any;
}

static void remove_unreachable(void *ctx, const struct prefix *p, void *owner)
{
	struct kernel_routes *k = ctx;
	struct route_spec s = route_unreachable(p);
	if (!stays(k, owner))
		(void)route_send(k, RTM_DELROUTE, 0, &s);
}

void kernel_routes_free(struct kernel_routes *k)
{
	if (!k)
		return;
	/* the unreachable routes last: nothing may slip out by the default route meanwhile */
	if (k->routes && k->sk)
		route_table_each(k->routes, NULL, remove_route, k);
	for (int v4 = 0; v4 < 2 && k->sk; v4++)
		kernel_full_tunnel_end(k, v4);
	if (k->addresses && k->sk)
		route_table_each(k->addresses, NULL, remove_address, k);
	if (k->unreachables && k->sk)
		route_table_each(k->unreachables, NULL, remove_unreachable, k);
	route_table_free(k->routes);
	route_table_free(k->addresses);
	route_table_free(k->unreachables);
	free(k->host);
	rtnl_close(k);
	free(k);
}
