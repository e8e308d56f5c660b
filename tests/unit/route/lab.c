/* SPDX-License-Identifier: Apache-2.0 */
#include "lab.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The laboratory itself must not fail: a test would blame the code. */
static void must(int err, const char *what)
{
	if (err < 0) {
		fprintf(stderr, "lab: %s: %s\n", what, nl_geterror(err));
		abort();
	}
}

static struct nl_sock *open_socket(void)
{
	struct nl_sock *sk = nl_socket_alloc();
	if (!sk)
		abort();
	must(nl_connect(sk, NETLINK_ROUTE), "netlink socket");
	return sk;
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool enter_as_user(void)
{
	char uid[64], gid[64];
	snprintf(uid, sizeof(uid), "0 %u 1", getuid());
	snprintf(gid, sizeof(gid), "0 %u 1", getgid());
	return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 &&
	       write_file("/proc/self/setgroups", "deny") &&
	       write_file("/proc/self/uid_map", uid) && write_file("/proc/self/gid_map", gid);
}

bool lab_enter(void)
{
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		fprintf(stderr, "no /dev/net/tun to open: %s\n", strerror(errno));
		return false;
	}
	if (unshare(CLONE_NEWNET) < 0 && !enter_as_user()) {
		fprintf(stderr, "no network namespace, neither as root nor as a user: %s\n",
			strerror(errno));
		return false;
	}
	lab_link_set("lo", true, 0);
	return true;
}

void lab_link_set(const char *name, bool up, unsigned mtu)
{
	struct nl_sock *sk = open_socket();
	struct rtnl_link *old, *change = rtnl_link_alloc();
	must(rtnl_link_get_kernel(sk, 0, name, &old), name);
	if (up)
		rtnl_link_set_flags(change, IFF_UP);
	else
		rtnl_link_unset_flags(change, IFF_UP);
	if (mtu)
		rtnl_link_set_mtu(change, mtu);
	must(rtnl_link_change(sk, old, change, 0), "link change");
	rtnl_link_put(old);
	rtnl_link_put(change);
	nl_socket_free(sk);
}

void lab_link_rename(const char *name, const char *to)
{
	struct nl_sock *sk = open_socket();
	struct rtnl_link *old, *change = rtnl_link_alloc();
	must(rtnl_link_get_kernel(sk, 0, name, &old), name);
	rtnl_link_set_name(change, to);
	must(rtnl_link_change(sk, old, change, 0), "rename");
	rtnl_link_put(old);
	rtnl_link_put(change);
	nl_socket_free(sk);
}

unsigned lab_tun(const char *name, int *fd)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	*fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (*fd < 0 || ioctl(*fd, TUNSETIFF, &ifr) < 0) {
		perror("lab: tun");
		abort();
	}
	lab_link_set(name, true, 0);
	return if_nametoindex(name);
}

unsigned lab_veth(const char *name, const char *peer)
{
	struct nl_sock *sk = open_socket();
	must(rtnl_link_veth_add(sk, name, peer, getpid()), "veth pair");
	nl_socket_free(sk);
	lab_link_set(name, true, 0);
	lab_link_set(peer, true, 0);
	return if_nametoindex(name);
}

static struct nl_addr *parse(const char *text, int family)
{
	struct nl_addr *a;
	must(nl_addr_parse(text, family, &a), text);
	return a;
}

static struct rtnl_addr *address_object(unsigned ifindex, const char *cidr)
{
	struct rtnl_addr *a = rtnl_addr_alloc();
	struct nl_addr *local = parse(cidr, AF_UNSPEC);
	rtnl_addr_set_ifindex(a, (int)ifindex);
	must(rtnl_addr_set_local(a, local), "local address");
	if (nl_addr_get_family(local) == AF_INET6) /* no second of trying the address */
		rtnl_addr_set_flags(a, 0x02 /* IFA_F_NODAD */);
	nl_addr_put(local);
	return a;
}

void lab_address(unsigned ifindex, const char *cidr)
{
	struct nl_sock *sk = open_socket();
	struct rtnl_addr *a = address_object(ifindex, cidr);
	must(rtnl_addr_add(sk, a, 0), cidr);
	rtnl_addr_put(a);
	nl_socket_free(sk);
}

void lab_address_gone(unsigned ifindex, const char *cidr)
{
	struct nl_sock *sk = open_socket();
	struct rtnl_addr *a = address_object(ifindex, cidr);
	must(rtnl_addr_delete(sk, a, 0), cidr);
	rtnl_addr_put(a);
	nl_socket_free(sk);
}

static void add_nexthop(struct rtnl_route *route, const struct lab_route *r, unsigned oif)
{
	struct rtnl_nexthop *nh = rtnl_route_nh_alloc();
	if (oif)
		rtnl_route_nh_set_ifindex(nh, (int)oif);
	if (r->via) {
		struct nl_addr *via = parse(r->via, AF_UNSPEC);
		rtnl_route_nh_set_gateway(nh, via);
		nl_addr_put(via);
	}
	if (r->onlink)
		rtnl_route_nh_set_flags(nh, RTNH_F_ONLINK);
	rtnl_route_add_nexthop(route, nh);
}

static struct rtnl_route *route_object(const struct lab_route *r)
{
	struct rtnl_route *route = rtnl_route_alloc();
	bool v6 = strchr(r->dst, ':') || (r->via && strchr(r->via, ':'));
	struct nl_addr *dst = parse(r->dst, v6 ? AF_INET6 : AF_INET);
	must(rtnl_route_set_dst(route, dst), r->dst);
	must(rtnl_route_set_type(route, r->type ? r->type : RTN_UNICAST), "type");
	rtnl_route_set_protocol(route, r->protocol ? r->protocol : RTPROT_STATIC);
	rtnl_route_set_table(route, r->table ? r->table : RT_TABLE_MAIN);
	rtnl_route_set_scope(route, r->oif && !r->via ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE);
	if (r->metric)
		rtnl_route_set_priority(route, r->metric);
	if (r->oif || r->via)
		add_nexthop(route, r, r->oif);
	if (r->oif2)
		add_nexthop(route, r, r->oif2);
	if (r->mtu)
		rtnl_route_set_metric(route, RTAX_MTU, r->mtu);
	nl_addr_put(dst);
	return route;
}

void lab_route(const struct lab_route *r)
{
	struct nl_sock *sk = open_socket();
	struct rtnl_route *route = route_object(r);
	must(rtnl_route_add(sk, route, r->replace ? NLM_F_REPLACE : NLM_F_EXCL), r->dst);
	rtnl_route_put(route);
	nl_socket_free(sk);
}

void lab_route_gone(const struct lab_route *r)
{
	struct nl_sock *sk = open_socket();
	struct rtnl_route *route = route_object(r);
	must(rtnl_route_delete(sk, route, 0), r->dst);
	rtnl_route_put(route);
	nl_socket_free(sk);
}

static struct lab_seen seen_of(struct rtnl_route *r)
{
	struct lab_seen s = {
		.protocol = rtnl_route_get_protocol(r),
		.type = rtnl_route_get_type(r),
		.scope = rtnl_route_get_scope(r),
		.table = rtnl_route_get_table(r),
		.metric = rtnl_route_get_priority(r),
	};
	struct nl_addr *src = rtnl_route_get_pref_src(r);
	rtnl_route_get_metric(r, RTAX_MTU, &s.mtu);
	rtnl_route_get_metric(r, RTAX_ADVMSS, &s.advmss);
	rtnl_route_get_metric(r, RTAX_FEATURES, &s.features);
	if (rtnl_route_get_nnexthops(r) > 0)
		s.oif = (unsigned)rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(r, 0));
	if (src) {
		struct addr a = addr_any;
		if (nl_addr_get_family(src) == AF_INET)
			a = addr_v4(nl_addr_get_binary_addr(src));
		else
			memcpy(a.b, nl_addr_get_binary_addr(src), 16);
		addr_str(&a, s.src);
	}
	return s;
}

static size_t count_routes(struct nl_addr *dst, int protocol, struct lab_seen *last)
{
	struct nl_sock *sk = open_socket();
	struct nl_cache *cache;
	size_t n = 0;
	must(rtnl_route_alloc_cache(sk, AF_UNSPEC, 0, &cache), "route cache");
	for (struct nl_object *o = nl_cache_get_first(cache); o; o = nl_cache_get_next(o)) {
		struct rtnl_route *r = (struct rtnl_route *)o;
		struct nl_addr *to = rtnl_route_get_dst(r);
		if (rtnl_route_get_table(r) == RT_TABLE_LOCAL ||
		    (dst && (!to || nl_addr_cmp(to, dst) != 0)) ||
		    (protocol >= 0 && rtnl_route_get_protocol(r) != protocol))
			continue;
		n++;
		if (last)
			*last = seen_of(r);
	}
	nl_cache_free(cache);
	nl_socket_free(sk);
	return n;
}

size_t lab_routes(const char *dst, struct lab_seen *last)
{
	struct nl_addr *a = parse(dst, AF_UNSPEC);
	size_t n = count_routes(a, -1, last);
	nl_addr_put(a);
	return n;
}

size_t lab_routes_of(uint8_t protocol)
{
	return count_routes(NULL, protocol, NULL);
}

bool lab_has_address(unsigned ifindex, const char *addr, unsigned *bits, unsigned *flags)
{
	struct nl_sock *sk = open_socket();
	struct nl_cache *cache;
	struct nl_addr *wanted = parse(addr, AF_UNSPEC);
	bool found = false;
	must(rtnl_addr_alloc_cache(sk, &cache), "address cache");
	for (struct nl_object *o = nl_cache_get_first(cache); o; o = nl_cache_get_next(o)) {
		struct rtnl_addr *a = (struct rtnl_addr *)o;
		struct nl_addr *local = rtnl_addr_get_local(a);
		if (rtnl_addr_get_ifindex(a) != (int)ifindex || !local ||
		    nl_addr_get_family(local) != nl_addr_get_family(wanted) ||
		    memcmp(nl_addr_get_binary_addr(local), nl_addr_get_binary_addr(wanted),
			   nl_addr_get_len(wanted)) != 0)
			continue;
		found = true;
		if (bits)
			*bits = (unsigned)rtnl_addr_get_prefixlen(a);
		if (flags)
			*flags = rtnl_addr_get_flags(a);
	}
	nl_addr_put(wanted);
	nl_cache_free(cache);
	nl_socket_free(sk);
	return found;
}

unsigned lab_link_segments(unsigned ifindex)
{
	struct nl_sock *sk = open_socket();
	struct rtnl_link *l;
	uint32_t most = 0;
	must(rtnl_link_get_kernel(sk, (int)ifindex, NULL, &l), "link");
	must(rtnl_link_get_gso_max_segs(l, &most), "gso_max_segs");
	rtnl_link_put(l);
	nl_socket_free(sk);
	return most;
}

unsigned lab_link_mtu(unsigned ifindex, bool *up)
{
	struct nl_sock *sk = open_socket();
	struct rtnl_link *l;
	must(rtnl_link_get_kernel(sk, (int)ifindex, NULL, &l), "link");
	unsigned mtu = rtnl_link_get_mtu(l);
	if (up)
		*up = rtnl_link_get_flags(l) & IFF_UP;
	rtnl_link_put(l);
	nl_socket_free(sk);
	return mtu;
}
