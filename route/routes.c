/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes of ours: through the TUN, and unreachable ones. Whatever the kernel would overwrite or
 * delete without asking whose it is, is looked up first.
 */
#include "route/rtnl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

static int put_metrics(struct nl_msg *m, const struct route_metrics *r)
{
	if (!r->mtu && !r->advmss && !r->ecn)
		return 0;
	struct nlattr *nest = nla_nest_start(m, RTA_METRICS);
	if (!nest || (r->mtu && nla_put_u32(m, RTAX_MTU, r->mtu) < 0) ||
	    (r->advmss && nla_put_u32(m, RTAX_ADVMSS, r->advmss) < 0) ||
	    (r->ecn && nla_put_u32(m, RTAX_FEATURES, RTAX_FEATURE_ECN) < 0))
		return -ENOMEM;
	nla_nest_end(m, nest);
	return 0;
}

int route_send(struct kernel_routes *k, int type, int flags, const struct route_spec *s)
{
	struct rtmsg h = { .rtm_family = rtnl_family(&s->dst),
			   .rtm_dst_len = s->dst.bits,
			   .rtm_table = s->table < 256 ? (uint8_t)s->table : RT_TABLE_UNSPEC,
			   .rtm_protocol = ROUTE_PROTOCOL,
			   .rtm_scope = s->scope,
			   .rtm_type = s->type };
	struct nl_msg *m = rtnl_request(type, flags, &h, sizeof(h));
	if (m && (rtnl_put_addr(m, RTA_DST, &s->dst.addr) < 0 ||
		  (s->table >= 256 && nla_put_u32(m, RTA_TABLE, s->table) < 0) ||
		  (s->oif && nla_put_u32(m, RTA_OIF, s->oif) < 0) ||
		  (s->metric && nla_put_u32(m, RTA_PRIORITY, s->metric) < 0) ||
		  (s->src && rtnl_put_addr(m, RTA_PREFSRC, s->src) < 0) ||
		  put_metrics(m, &s->metrics) < 0)) {
		nlmsg_free(m);
		m = NULL;
	}
	return rtnl_no_ipv6(&s->dst, rtnl_talk(k, m, NULL, NULL));
}

struct route_spec route_through_tun(const struct kernel_routes *k, const struct prefix *p)
{
	uint32_t full = p->bits == 0 ? k->full[addr_is_v4(&p->addr)].table : 0;
	return (struct route_spec){
		.dst = *p,
		.table = full ? full : k->table,
		.type = RTN_UNICAST,
		.scope = RT_SCOPE_LINK,
		.oif = k->ifindex,
		.metric = rtnl_family(p) == AF_INET6 ? IPV6_METRIC : 0,
	};
}

struct route_spec route_unreachable(const struct prefix *p)
{
	return (struct route_spec){
		.dst = *p,
		.table = RT_TABLE_MAIN,
		.type = RTN_UNREACHABLE,
		.metric = ROUTE_UNREACHABLE_METRIC,
	};
}

/* What the main table has for exactly one prefix. */
struct holder {
	const struct kernel_routes *k;
	struct prefix dst;
	bool foreign, our_unreachable;
	bool unclear; /* the answer to a look-up was not an entry of the main table, or a narrower one */
};

static void see_holder(void *ctx, struct nlmsghdr *msg)
{
	struct holder *h = ctx;
	struct rtnl_route r;
	if (!rtnl_route_of(msg, &r))
		return;
	if (r.cloned || r.table != RT_TABLE_MAIN || r.dst.bits > h->dst.bits) {
		h->unclear = true;
		return;
	}
	if (!prefix_eq(&r.dst, &h->dst))
		return;
	if (r.protocol == ROUTE_PROTOCOL && r.type == RTN_UNREACHABLE)
		h->our_unreachable = true;
	else if (r.oif != h->k->ifindex ||
		 (r.protocol != ROUTE_PROTOCOL && r.protocol != RTPROT_KERNEL))
		h->foreign = true; /* the kernel's own there came with an address of ours */
}

/*
 * An error says that nothing matches, or only a route that leads nowhere: for a single address both are
 * nobody's that is in use, for a wider prefix it may be a narrower one.
 */
static bool tells(const struct holder *h, int err)
{
	return !h->unclear && (err == 0 || err == -ENETUNREACH || prefix_is_host(&h->dst));
}

/*
 * Whether somebody else has a route for exactly `p`. The longest match of its first address is that
 * route where there is one, and a wider one where not, so one look-up tells: lists of thousands of
 * prefixes are set one by one. Where a narrower one hides it, the whole table does.
 */
static int find_holder(struct kernel_routes *k, const struct prefix *p, struct holder *h)
{
	struct rtmsg q = { .rtm_family = rtnl_family(p),
			   .rtm_dst_len = rtnl_family(p) == AF_INET ? 32 : 128,
			   .rtm_flags = RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH };
	struct nl_msg *m = rtnl_request(RTM_GETROUTE, 0, &q, sizeof(q));

	uint32_t mark =
		k->full[addr_is_v4(&p->addr)].table; /* what is marked goes by the main table */

	*h = (struct holder){ .k = k, .dst = *p };
	if (m && (rtnl_put_addr(m, RTA_DST, &p->addr) < 0 ||
		  (mark && nla_put_u32(m, RTA_MARK, mark) < 0))) {
		nlmsg_free(m);
		m = NULL;
	}
	int err = rtnl_talk(k, m, see_holder, h);
	if (err == -ENOMEM || tells(h, err))
		return err == -ENOMEM ? err : 0;
	*h = (struct holder){ .k = k, .dst = *p };
	return rtnl_dump(k, RTM_GETROUTE, see_holder, h);
}

/* Adds or replaces, where nobody else has the prefix. `held`: it should be there as ours. */
static int route_put(struct kernel_routes *k, const struct route_spec *s, bool held)
{
	struct holder h;
	if (s->table != RT_TABLE_MAIN)
		return route_send(k, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, s);
	int err = find_holder(k, &s->dst, &h);
	if (err < 0)
		return err;
	if (h.foreign)
		return -EEXIST;
	if (!held) {
		err = route_send(k, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, s);
		if (err != -EEXIST)
			return err;
		/* whose? the look-up does not show a route behind another of the same prefix */
		h = (struct holder){ .k = k, .dst = s->dst };
		err = rtnl_dump(k, RTM_GETROUTE, see_holder, &h);
		if (err < 0 || h.foreign)
			return err < 0 ? err : -EEXIST;
	}
	return route_send(k, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, s);
}

void kernel_routes_table(struct kernel_routes *k, uint32_t table)
{
	k->table = table;
}

int kernel_route_set(struct kernel_routes *k, const struct prefix *p, const struct addr *src,
		     const struct route_metrics *metrics)
{
	if (!k->ifindex)
		return -ENODEV;
	bool held = route_table_exact(k->routes, p);
	int err = route_table_set(k->routes, p, k);
	if (err < 0)
		return err;
	struct route_spec s = route_through_tun(k, p);
	s.src = src;
	s.metrics = *metrics;
	err = route_put(k, &s, held);
	if (err < 0 && !held)
		route_table_remove(k->routes, p, k);
	return err;
}

bool kernel_route_held(const struct kernel_routes *k, const struct prefix *p)
{
	return route_table_exact(k->routes, p);
}

/* Ours took the place of the kernel's, without which all of it would leave by other ways. */
static int give_back(struct kernel_routes *k, struct route_spec *s, const struct addr *by)
{
	s->src = addr_is_v4(by) ? by : NULL; /* as the kernel has it */
	int err = route_put(k, s, true);
	/* another's by now; the kernel's when it is up */
	return err == -EEXIST || err == -ENETDOWN ? 0 : err;
}

int kernel_route_remove(struct kernel_routes *k, const struct prefix *p)
{
	if (!route_table_exact(k->routes, p))
		return 0;
	struct route_spec s = route_through_tun(k, p);
	struct addr by;
	bool connected = s.table == RT_TABLE_MAIN && route_is_connected(k, p, &by);
	int err = rtnl_gone_is_fine(connected ? give_back(k, &s, &by)
					      : route_send(k, RTM_DELROUTE, 0, &s));
	if (err == 0)
		route_table_remove(k->routes, p, k);
	return err;
}

int kernel_unreachable_set(struct kernel_routes *k, const struct prefix *p)
{
	struct route_spec s = route_unreachable(p);
	bool held = route_table_exact(k->unreachables, p);
	int err = held ? 0 : route_table_set(k->unreachables, p, k);
	if (err < 0)
		return err;
	err = route_send(k, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &s);
	if (err == -EEXIST) {
		struct holder h = { .k = k, .dst = *p };
		int listed = rtnl_dump(k, RTM_GETROUTE, see_holder, &h);
		if (listed == 0 && h.our_unreachable) /* of an earlier start: ours from now on */
			err = held ? 0 : route_table_set(k->unreachables, p, &k->stay_adopted);
	}
	if (err < 0 && !held)
		route_table_remove(k->unreachables, p, k);
	return err;
}
