/* SPDX-License-Identifier: Apache-2.0 */
/* What the host has: addresses that a peer may reach us at, and the MTU of a way out. */
#include "route/rtnl.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/socket.h>

struct addresses {
	unsigned *up; /* indices of the interfaces that are up and no loopback */
	size_t n_up, cap_up;
	unsigned skip_ifindex;
	const struct prefix *skip;
	size_t n_skip;
	struct addr *out;
	size_t n, cap;
};

/*
 * Up as the administrator set it, carrier or not: Linux answers for an address of one interface on
 * every other, so an idle bridge's address may well be reached.
 */
static void see_link(void *ctx, struct nlmsghdr *h)
{
	struct addresses *s = ctx;
	struct rtnl_link l;
	if (!rtnl_link_of(h, &l) || !(l.flags & IFF_UP) || (l.flags & IFF_LOOPBACK))
		return;
	if (s->n_up == s->cap_up) {
		size_t cap = s->cap_up ? s->cap_up * 2 : 16;
		unsigned *more = realloc(s->up, cap * sizeof(*more));
		if (!more)
			return; /* one interface less to be reached at */
		s->up = more;
		s->cap_up = cap;
	}
	s->up[s->n_up++] = l.ifindex;
}

static bool is_up(const struct addresses *s, unsigned ifindex)
{
	for (size_t i = 0; i < s->n_up; i++)
		if (s->up[i] == ifindex)
			return true;
	return false;
}

/* Neither being tried, nor found taken, nor on its way out. */
static bool is_usable(const struct rtnl_address *a)
{
	const uint32_t bad = IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED;
	return a->scope < RT_SCOPE_LINK && (!(a->flags & bad) || (a->flags & IFA_F_OPTIMISTIC)) &&
	       !addr_is_loopback(&a->addr) && !addr_is_link_local(&a->addr) &&
	       !addr_is_multicast(&a->addr) && !addr_is_any(&a->addr);
}

static bool is_skipped(const struct addresses *s, const struct addr *a)
{
	for (size_t i = 0; i < s->n_skip; i++)
		if (prefix_contains(&s->skip[i], a))
			return true;
	return false;
}

static bool is_known(const struct addresses *s, const struct addr *a)
{
	for (size_t i = 0; i < s->n; i++)
		if (addr_eq(&s->out[i], a))
			return true;
	return false;
}

static void see_address(void *ctx, struct nlmsghdr *h)
{
	struct addresses *s = ctx;
	struct rtnl_address a;
	if (s->n < s->cap && rtnl_address_of(h, &a) && a.ifindex != s->skip_ifindex &&
	    is_usable(&a) && is_up(s, a.ifindex) && !is_skipped(s, &a.addr) &&
	    !is_known(s, &a.addr))
		s->out[s->n++] = a.addr;
}

size_t kernel_host_addresses(struct kernel_routes *k, unsigned skip_ifindex,
			     const struct prefix *skip, size_t n, struct addr *out, size_t cap)
{
	struct addresses s = {
		.skip_ifindex = skip_ifindex, .skip = skip, .n_skip = n, .out = out, .cap = cap
	};
	if (rtnl_dump(k, RTM_GETLINK, see_link, &s) == 0)
		(void)rtnl_dump(k, RTM_GETADDR, see_address, &s);
	free(s.up);
	return s.n;
}

/* The way out. */

struct way {
	unsigned oif;
	uint32_t mtu; /* the route's own; 0: none said */
	uint64_t tag; /* of the gateways */
};

/* FNV-1a: nobody gains by two ways that look alike. */
static uint64_t mix(uint64_t tag, const void *p, size_t len)
{
	const uint8_t *b = p;
	while (len--)
		tag = (tag ^ *b++) * 0x100000001b3u;
	return tag;
}

static uint64_t tag_of(const void *p, size_t len)
{
	return mix(0xcbf29ce484222325u, p, len);
}

static void see_way(void *ctx, struct nlmsghdr *h)
{
	struct way *w = ctx;
	struct rtnl_route r;
	if (!rtnl_route_of(h, &r) || r.type != RTN_UNICAST)
		return;
	w->mtu = r.mtu;
	w->tag = tag_of(r.gateway, r.gateways * sizeof(r.gateway[0]));
	/* of several next hops the first need not be the one taken */
	if (nlmsg_find_attr(h, sizeof(struct rtmsg), RTA_OIF))
		w->oif = r.oif;
}

static void see_device_taken(void *ctx, struct nlmsghdr *h)
{
	struct way *w = ctx;
	struct rtnl_route r;
	if (rtnl_route_of(h, &r) && (r.type == RTN_UNICAST || r.type == RTN_LOCAL))
		w->oif = r.oif;
}

struct device {
	unsigned ifindex;
	uint32_t mtu;
};

static void see_device_mtu(void *ctx, struct nlmsghdr *h)
{
	struct device *d = ctx;
	struct rtnl_link l;
	if (rtnl_link_of(h, &l) && l.ifindex == d->ifindex)
		d->mtu = l.mtu;
}

/* How packets are to leave: to `to`, and where not NULL or 0 from `from`, with `mark`. */
struct question {
	const struct addr *to, *from;
	uint32_t mark;
	unsigned flags;
};

static int ask_route(struct kernel_routes *k, const struct question *ask,
		     void (*each)(void *ctx, struct nlmsghdr *h), void *ctx)
{
	struct prefix p = prefix_host(ask->to);
	struct rtmsg q = { .rtm_family = rtnl_family(&p),
			   .rtm_dst_len = p.bits,
			   .rtm_src_len = ask->from ? p.bits : 0,
			   .rtm_flags = ask->flags };
	struct nl_msg *m = rtnl_request(RTM_GETROUTE, 0, &q, sizeof(q));
	if (m && (rtnl_put_addr(m, RTA_DST, ask->to) < 0 ||
		  (ask->from && rtnl_put_addr(m, RTA_SRC, ask->from) < 0) ||
		  (ask->mark && nla_put_u32(m, RTA_MARK, ask->mark) < 0))) {
		nlmsg_free(m);
		m = NULL;
	}
	return rtnl_talk(k, m, each, ctx);
}

static uint32_t device_mtu(struct kernel_routes *k, unsigned ifindex)
{
	struct device d = { .ifindex = ifindex };
	struct ifinfomsg q = { .ifi_index = (int)ifindex };
	int err = rtnl_talk(k, rtnl_request(RTM_GETLINK, 0, &q, sizeof(q)), see_device_mtu, &d);
	return err < 0 ? 0 : d.mtu;
}

static bool host_has(const struct kernel_routes *k, const struct rtnl_address *a)
{
	for (size_t i = 0; i < k->n_host; i++)
		if (k->host[i].ifindex == a->ifindex && addr_eq(&k->host[i].addr, &a->addr))
			return true;
	return false;
}

static void see_host_address(void *ctx, struct nlmsghdr *h)
{
	struct kernel_routes *k = ctx;
	struct rtnl_address a;
	if (!rtnl_address_of(h, &a) || !is_usable(&a) || host_has(k, &a))
		return;
	if (k->n_host == k->cap_host) {
		size_t cap = k->cap_host ? k->cap_host * 2 : 16;
		struct host_address *more = realloc(k->host, cap * sizeof(*more));
		if (!more)
			return; /* its coming and going is not noticed */
		k->host = more;
		k->cap_host = cap;
	}
	k->host[k->n_host++] = (struct host_address){ .ifindex = a.ifindex, .addr = a.addr };
}

/* A sum, for the kernel tells them in no order that is promised. */
static uint64_t addresses_tag(struct kernel_routes *k, unsigned ifindex)
{
	uint64_t tag = 0;
	if (!k->host_known) {
		k->n_host = 0;
		k->host_known = rtnl_dump(k, RTM_GETADDR, see_host_address, k) == 0;
	}
	for (size_t i = 0; i < k->n_host; i++)
		if (k->host[i].ifindex == ifindex)
			tag += tag_of(&k->host[i].addr, sizeof(k->host[i].addr));
	return tag;
}

/*
 * An ICMP message, which anybody may have sent, puts a smaller MTU into the kernel's cache, and a
 * plain look-up shows that one. So the table's own entry is asked for first; only what it does not
 * name, a single device, is taken from the plain answer.
 */
struct kernel_way kernel_way(struct kernel_routes *k, const struct addr *a, uint32_t mark)
{
	struct question q = { .to = a, .mark = mark, .flags = RTM_F_FIB_MATCH };
	struct way w = { 0 };
	(void)ask_route(k, &q, see_way, &w);
	q.flags = 0;
	int err = w.oif ? 0 : ask_route(k, &q, see_device_taken, &w);
	if (err < 0)
		return (struct kernel_way){ .none = err == -ENETUNREACH || err == -EHOSTUNREACH };
	uint32_t device = w.oif ? device_mtu(k, w.oif) : 0;
	return (struct kernel_way){
		.mtu = w.mtu && w.mtu < device ? w.mtu : device,
		.tag = mix(w.tag, &w.oif, sizeof(w.oif)) + addresses_tag(k, w.oif),
	};
}

void kernel_addresses_changed(struct kernel_routes *k)
{
	k->host_known = false;
}

static void see_local(void *ctx, struct nlmsghdr *h)
{
	bool *local = ctx;
	struct rtnl_route r;
	*local |= rtnl_route_of(h, &r) && r.type == RTN_LOCAL;
}

/* Where `a` itself is an address of this host, it leaves by no device but the loopback's. */
bool kernel_path_leads(struct kernel_routes *k, const struct addr *a, const struct addr *local,
		       uint32_t mark, unsigned ifindex)
{
	struct question there = { .to = a, .from = local, .mark = mark };
	struct way w = { 0 };
	bool ours = false;
	if (addr_is_v4(a) != addr_is_v4(local))
		return false;
	return ask_route(k, &(struct question){ .to = local }, see_local, &ours) == 0 && ours &&
	       ask_route(k, &there, see_device_taken, &w) == 0 && w.oif == ifindex;
}
