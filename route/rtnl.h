/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rtnetlink for this room alone: one request and its answers at a time, and the three kinds of
 * object that are read. libnl moves and parses the messages; the kernel's own errno is kept, which
 * libnl would fold into fewer codes of its own.
 */
#ifndef WARREN_ROUTE_RTNL_H
#define WARREN_ROUTE_RTNL_H

#include "route/kernel.h"
#include "route/table.h"

#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <linux/rtnetlink.h>

/* What the kernel takes where no metric is said; said, so that EXCL compares what we mean. */
enum { IPV6_METRIC = 1024 };

struct kernel_routes {
	struct nl_sock *sk;
	struct nl_cb *cb;
	unsigned ifindex;
	uint32_t table; /* of the routes through the TUN */
	/* policy.c, [IPv4]: the table of default routes, 0 none; where the kernel has put our rules */
	struct full_tunnel {
		uint32_t table, marked_at, main_at;
	} full[2];
	/* what we made and did not remove: prefix → this struct, or for what was adopted → stay_adopted */
	struct route_table *addresses, *routes, *unreachables;
	bool stay_adopted, stay_all; /* kernel_stay_closed() */
	/* what the host has, for kernel_way() */
	struct host_address {
		unsigned ifindex;
		struct addr addr;
	} * host;
	size_t n_host, cap_host;
	bool host_known;
	/* the request under way */
	uint32_t seq;
	bool done;
	int err;
	void (*each)(void *ctx, struct nlmsghdr *h);
	void *ctx;
};

int rtnl_open(struct kernel_routes *k);
void rtnl_close(struct kernel_routes *k);

/* -errno for libnl's own code (positive or negative); 0 for 0. */
int rtnl_errno(int nle);

/*
 * A host or an interface without IPv6 says so in several ways (EACCES where disable_ipv6 is set,
 * EOPNOTSUPP where the kernel has none); callers need one: -EAFNOSUPPORT.
 */
int rtnl_no_ipv6(const struct prefix *p, int err);
/* 0 for the errors that say that what is to be removed is gone already. */
int rtnl_gone_is_fine(int err);

uint8_t rtnl_family(const struct prefix *p);

/* A request with a fixed header, or NULL without memory. */
struct nl_msg *rtnl_request(int type, int flags, const void *header, size_t len);
/* An attribute with the bytes of `a`: 4 or 16. */
int rtnl_put_addr(struct nl_msg *m, int attr, const struct addr *a);
/*
 * Sends `m`, frees it, and hands each answer to `each` (may be NULL). 0 or -errno. `m` may be NULL
 * (no memory), so that callers have one error path.
 */
int rtnl_talk(struct kernel_routes *k, struct nl_msg *m,
	      void (*each)(void *ctx, struct nlmsghdr *h), void *ctx);
/*
 * Everything that the kernel has of this kind (RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETRULE). A table that
 * changes meanwhile is asked for again, so `each` must bear to see an object twice.
 */
int rtnl_dump(struct kernel_routes *k, int type, void (*each)(void *ctx, struct nlmsghdr *h),
	      void *ctx);

enum { RTNL_GATEWAYS = 8 };

struct rtnl_route {
	uint8_t type, protocol;
	bool cloned; /* a cache entry, or an answer that names no table entry */
	uint32_t table, metric, mtu, advmss;
	struct prefix dst;
	unsigned oif; /* of the first next hop, where there are several; 0: none */
	size_t gateways;
	struct addr gateway[RTNL_GATEWAYS];
};

struct rtnl_address {
	unsigned ifindex;
	uint8_t scope, bits;
	uint32_t flags; /* IFA_F_* */
	struct addr addr;
};

struct rtnl_link {
	unsigned ifindex, flags; /* IFF_* */
	uint32_t mtu;
	bool wireless_event; /* what a scan sends; nothing about the link changed */
};

/* False where the message is of another kind or family, or does not parse. */
MUST_CHECK bool rtnl_route_of(struct nlmsghdr *h, struct rtnl_route *out);
MUST_CHECK bool rtnl_address_of(struct nlmsghdr *h, struct rtnl_address *out);
MUST_CHECK bool rtnl_link_of(struct nlmsghdr *h, struct rtnl_link *out);

/* A number's attribute, or where there is none another. */
uint32_t rtnl_u32(struct nlattr *a, uint32_t otherwise);

/* A route as we make them. */
struct route_spec {
	struct prefix dst;
	uint8_t type, scope;
	unsigned oif;
	uint32_t table, metric;
	struct route_metrics metrics;
	const struct addr *src;
};

/* Whether an address of ours has exactly that network, so that the kernel routes to it; which. */
bool route_is_connected(const struct kernel_routes *k, const struct prefix *p, struct addr *by);
struct route_spec route_through_tun(const struct kernel_routes *k, const struct prefix *p);
struct route_spec route_unreachable(const struct prefix *p);
/* RTM_NEWROUTE or RTM_DELROUTE, with our protocol number. 0 or -errno. */
int route_send(struct kernel_routes *k, int type, int flags, const struct route_spec *s);

#endif
