/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a killed process left: its unreachable routes. Several gateways may live in one network
 * namespace, also for one prefix, and a living one's must stay. A gateway that lives has an address of its
 * own, or routes through its device, inside the prefix; a killed one has neither, for both went with its TUN.
 */
#include "route/rtnl.h"

#include <errno.h>
#include <stdlib.h>

struct left {
	struct route_spec spec;
	bool stays;
};

struct sweep {
	const struct prefix *of;
	size_t n_of;
	unsigned ifindex;
	struct left *left;
	size_t n, cap;
	bool no_memory;
};

static void see_unreachable(void *ctx, struct nlmsghdr *h)
{
	struct sweep *s = ctx;
	struct rtnl_route r;
	if (!rtnl_route_of(h, &r) || r.protocol != ROUTE_PROTOCOL || r.type != RTN_UNREACHABLE ||
	    r.table != RT_TABLE_MAIN)
		return;
	bool asked = false;
	for (size_t i = 0; i < s->n_of && !asked; i++)
		asked = prefix_eq(&s->of[i], &r.dst);
	if (!asked)
		return;
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 16;
		struct left *more = realloc(s->left, cap * sizeof(*more));
		if (!more) {
			s->no_memory = true;
			return;
		}
		s->left = more;
		s->cap = cap;
	}
	struct route_spec spec = route_unreachable(&r.dst);
	spec.metric = r.metric;
	spec.oif = r.oif; /* IPv6: the loopback device, which the kernel put there */
	s->left[s->n++] = (struct left){ .spec = spec };
}

static void somebody_lives(struct sweep *s, const struct prefix *p)
{
	for (size_t i = 0; i < s->n; i++)
		if (prefix_overlaps(&s->left[i].spec.dst, p))
			s->left[i].stays = true;
}

static void see_living_route(void *ctx, struct nlmsghdr *h)
{
	struct sweep *s = ctx;
	struct rtnl_route r;
	if (rtnl_route_of(h, &r) && r.protocol == ROUTE_PROTOCOL && r.type == RTN_UNICAST &&
	    r.oif != s->ifindex)
		somebody_lives(s, &r.dst);
}

static void see_living_address(void *ctx, struct nlmsghdr *h)
{
	struct sweep *s = ctx;
	struct rtnl_address a;
	if (!rtnl_address_of(h, &a) || a.ifindex == s->ifindex)
		return;
	struct prefix p = prefix_host(&a.addr);
	if (a.bits == p.bits)
		somebody_lives(s, &p);
}

int kernel_clean_leftovers(struct kernel_routes *k, const struct prefix *left, size_t n)
{
	struct sweep s = { .of = left, .n_of = n, .ifindex = k->ifindex };
	int err = rtnl_dump(k, RTM_GETROUTE, see_unreachable, &s);
	if (err == 0 && s.no_memory)
		err = -ENOMEM;
	if (err == 0 && s.n)
		err = rtnl_dump(k, RTM_GETROUTE, see_living_route, &s);
	if (err == 0 && s.n)
		err = rtnl_dump(k, RTM_GETADDR, see_living_address, &s);
	for (size_t i = 0; i < s.n && err == 0; i++)
		if (!s.left[i].stays)
			err = rtnl_gone_is_fine(route_send(k, RTM_DELROUTE, 0, &s.left[i].spec));
	free(s.left);
	return err;
}
