/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of links, addresses and routes. A bare socket, since all that its owner keeps is a file
 * descriptor to poll; the messages are parsed as everywhere in this room.
 */
#include "route/rtnl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netlink/socket.h>
#include <stdalign.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

/* The kernel fills a page or two per datagram; so many of them are taken in one go. */
enum { DATAGRAM_MAX = 32768, DRAIN_MAX = 256 };

/*
 * What we asked for ourselves is told with our own socket's number, and the kernel leaves it out: ten thousand
 * routes of ours would fill the socket, and one that was removed may be there again by the time that it is read.
 */
static int leave_out(int fd, const struct kernel_routes *own)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(nl_socket_get_local_port(own->sk)), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog filter = { .len = ARRAY_SIZE(code), .filter = code };
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
}

int kernel_monitor_open(const struct kernel_routes *own)
{
	static const int groups[] = { RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
				      RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE };
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	int err = bind(fd, (struct sockaddr *)&self, sizeof(self));
	if (err == 0 && own)
		err = leave_out(fd, own);
	for (size_t i = 0; err == 0 && i < ARRAY_SIZE(groups); i++)
		err = setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
				 sizeof(groups[i]));
	if (err < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* Does this message tell of something that we did not do ourselves? */
static bool counts(struct nlmsghdr *h, unsigned skip)
{
	struct rtnl_route r;
	struct rtnl_address a;
	struct rtnl_link l;
	if (rtnl_route_of(h, &r))
		return r.protocol != ROUTE_PROTOCOL && !r.cloned && (!r.oif || r.oif != skip);
	if (rtnl_address_of(h, &a))
		return a.ifindex != skip;
	if (rtnl_link_of(h, &l))
		return l.ifindex != skip && !l.wireless_event;
	return false;
}

/*
 * One of ours that is gone, another's in its place, or that one gone as well; the kernel's own, of an
 * address of ours, is neither.
 */
static bool route_is_lost(const struct kernel_routes *k, bool gone, const struct rtnl_route *r)
{
	bool ours = r->protocol == ROUTE_PROTOCOL;
	bool connected = r->protocol == RTPROT_KERNEL && r->oif == k->ifindex;
	if (r->cloned || connected || (ours && !gone))
		return false;
	if (ours && r->type == RTN_UNREACHABLE)
		return route_table_exact(k->unreachables, &r->dst);
	return route_table_exact(k->routes, &r->dst) &&
	       r->table == route_through_tun(k, &r->dst).table;
}

static bool is_lost(struct nlmsghdr *h, const struct kernel_routes *k)
{
	struct rtnl_route r;
	struct rtnl_address a;
	if (rtnl_route_of(h, &r))
		return route_is_lost(k, h->nlmsg_type == RTM_DELROUTE, &r);
	if (h->nlmsg_type != RTM_DELADDR || !rtnl_address_of(h, &a) || a.ifindex != k->ifindex)
		return false;
	struct prefix p = prefix_host(&a.addr);
	return route_table_exact(k->addresses, &p);
}

struct inside {
	const struct prefix *p;
	bool yes;
};

static void see_inside(void *ctx, const struct prefix *outer, void *owner)
{
	struct inside *in = ctx;
	(void)owner;
	in->yes |= outer->bits <= in->p->bits && prefix_contains(outer, &in->p->addr);
}

/* Somebody's new route for what is closed but for the tunnel. A wider one loses against ours; one in a peer's place is_lost(). */
static bool is_stray(struct nlmsghdr *h, const struct kernel_routes *k, struct rtnl_route *r)
{
	if (h->nlmsg_type != RTM_NEWROUTE || !rtnl_route_of(h, r) || r->cloned ||
	    r->protocol == ROUTE_PROTOCOL || r->type != RTN_UNICAST || r->oif == k->ifindex ||
	    route_table_exact(k->routes, &r->dst))
		return false;
	struct inside in = { .p = &r->dst };
	route_table_each(k->unreachables, NULL, see_inside, &in);
	return in.yes;
}

static void look_at_ours(struct nlmsghdr *h, const struct kernel_routes *k, struct kernel_undone *u)
{
	struct rtnl_link l;
	struct rtnl_route r;
	u->lost |= is_lost(h, k);
	if (is_stray(h, k, &r)) {
		u->stray = true;
		u->stray_to = r.dst;
	}
	u->link |= rtnl_link_of(h, &l) && l.ifindex == k->ifindex;
}

static bool any_counts(void *buf, size_t len, unsigned skip, const struct kernel_routes *k,
		       struct kernel_undone *u)
{
	struct nlmsghdr *h = buf;
	int left = (int)len;
	bool changed = false;
	for (; nlmsg_ok(h, left); h = nlmsg_next(h, &left)) {
		changed |= counts(h, skip);
		if (k)
			look_at_ours(h, k, u);
	}
	return changed;
}

bool kernel_monitor_drain(int fd, unsigned skip_ifindex, const struct kernel_routes *k,
			  struct kernel_undone *u)
{
	alignas(struct nlmsghdr) uint8_t buf[DATAGRAM_MAX];
	bool changed = false;
	for (int i = 0; i < DRAIN_MAX; i++) {
		struct sockaddr_nl from = { 0 };
		socklen_t flen = sizeof(from);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC,
				     (struct sockaddr *)&from, &flen);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ENOBUFS)
			break;
		if (n < 0 || (size_t)n > sizeof(buf)) {
			changed = true; /* something was lost, and it may have mattered */
			if (k)
				u->missed = u->link = true;
		} else if (from.nl_pid == 0) { /* the kernel; other processes may send here too */
			changed |= any_counts(buf, (size_t)n, skip_ifindex, k, u);
		}
	}
	return changed;
}
