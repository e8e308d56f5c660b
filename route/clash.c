/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does the host use anything of a prefix already? Taking it then would cut the host off, from its
 * name server or its cluster as easily as from a neighbour. What is most telling is looked for
 * first: an address or a gateway inside the prefix says more than the route that leads there.
 */
#include "route/rtnl.h"
#include "route/resolv.h"
#include "base/log.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

struct clash {
	const struct prefix *p;
	unsigned ignore_ifindex;
	char *what;
	size_t cap;
	bool found;
};

/* " dev eth0", or nothing. */
static const char *dev_words(unsigned ifindex, char out[static IF_NAMESIZE + 8])
{
	char name[IF_NAMESIZE];
	out[0] = 0;
	if (ifindex && if_indextoname(ifindex, name))
		snprintf(out, IF_NAMESIZE + 8, " dev %s", name);
	return out;
}

static void say(struct clash *c, const char *kind, const char *which, unsigned ifindex)
{
	char dev[IF_NAMESIZE + 8];
	c->found = true;
	if (c->cap)
		snprintf(c->what, c->cap, "%s %s%s", kind, which, dev_words(ifindex, dev));
}

static void say_addr(struct clash *c, const char *kind, const struct addr *a, unsigned ifindex)
{
	char text[ADDR_STRLEN];
	say(c, kind, addr_str(a, text), ifindex);
}

static void see_address(void *ctx, struct nlmsghdr *h)
{
	struct clash *c = ctx;
	struct rtnl_address a;
	if (!c->found && rtnl_address_of(h, &a) && a.ifindex != c->ignore_ifindex &&
	    !addr_is_loopback(&a.addr) && prefix_contains(c->p, &a.addr))
		say_addr(c, "address", &a.addr, a.ifindex);
}

/*
 * A default route says nothing about the prefix, nor does one of the halves that a VPN client puts
 * in its place. The local table repeats the addresses.
 */
static bool is_default(const struct rtnl_route *r)
{
	return r->dst.bits <= 1;
}

static bool is_others(const struct clash *c, const struct rtnl_route *r)
{
	return r->protocol != ROUTE_PROTOCOL && r->table != RT_TABLE_LOCAL && !r->cloned &&
	       (!r->oif || r->oif != c->ignore_ifindex);
}

static void see_gateway(void *ctx, struct nlmsghdr *h)
{
	struct clash *c = ctx;
	struct rtnl_route r;
	if (c->found || !rtnl_route_of(h, &r) || !is_others(c, &r) || !is_default(&r))
		return;
	for (size_t i = 0; i < r.gateways && !c->found; i++)
		if (prefix_contains(c->p, &r.gateway[i]))
			say_addr(c, "default gateway", &r.gateway[i], r.oif);
}

static void see_route(void *ctx, struct nlmsghdr *h)
{
	struct clash *c = ctx;
	struct rtnl_route r;
	char text[PREFIX_STRLEN];
	if (c->found || !rtnl_route_of(h, &r) || !is_others(c, &r) || is_default(&r) ||
	    addr_is_loopback(&r.dst.addr) || !prefix_overlaps(c->p, &r.dst))
		return;
	say(c, "route", prefix_str(&r.dst, text), r.oif);
}

static void look(struct kernel_routes *k, int type, void (*each)(void *ctx, struct nlmsghdr *h),
		 struct clash *c)
{
	if (c->found)
		return;
	int err = rtnl_dump(k, type, each, c);
	if (err < 0)
		log_warn("cannot list the host's addresses or routes: %s", strerror(-err));
}

static void look_in_resolv(const char *path, struct clash *c)
{
	FILE *f = !c->found && path ? fopen(path, "re") : NULL;
	char line[512];
	struct addr a;
	if (!f)
		return;
	while (!c->found && fgets(line, sizeof(line), f))
		if (resolv_line(line, &a) && prefix_contains(c->p, &a))
			say_addr(c, "name server", &a, 0);
	fclose(f);
}

static void look_in_environment(struct clash *c)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	struct addr a;
	if (!c->found && host && addr_parse(host, &a) && prefix_contains(c->p, &a))
		say_addr(c, "KUBERNETES_SERVICE_HOST", &a, 0);
}

bool kernel_prefix_clash(struct kernel_routes *k, const struct prefix *p, const char *resolv,
			 unsigned ignore_ifindex, char *what, size_t cap)
{
	struct clash c = { .p = p, .ignore_ifindex = ignore_ifindex, .what = what, .cap = cap };
	look(k, RTM_GETADDR, see_address, &c);
	look_in_resolv(resolv, &c);
	look_in_environment(&c);
	look(k, RTM_GETROUTE, see_gateway, &c);
	look(k, RTM_GETROUTE, see_route, &c);
	return c.found;
}
