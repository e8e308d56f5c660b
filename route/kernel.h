/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel is told: addresses, link, routes, by libnl. Touches the kernel.
 *
 * Everything made carries our own route protocol number, so that a later start finds and cleans its
 * own leftovers and nobody else's. Only routes that we made are ever changed or removed.
 *
 * Errors are the kernel's own, as -errno. Without IPv6 (no such module, disable_ipv6 set) what
 * concerns IPv6 returns -EAFNOSUPPORT and callers can go on with IPv4; a device whose MTU falls below
 * 1280 loses its IPv6 (then EINVAL or ENODEV). Removing what is gone already is no error.
 */
#ifndef WARREN_ROUTE_KERNEL_H
#define WARREN_ROUTE_KERNEL_H

#include "base/addr.h"
#include "base/syscalls.h"

/* rtm_protocol of our routes: free in iproute2's rt_protos, below the daemons' registered ones. */
enum { ROUTE_PROTOCOL = 119, ROUTE_UNREACHABLE_METRIC = 0x7fffffff };

struct kernel_routes; /* one netlink socket, and the list of what we made */

/* 0 or -errno. `ifindex` of our TUN; 0 where there is none yet (only the checks below work then). */
int kernel_routes_new(struct kernel_routes **out, unsigned ifindex);
/* Removes all that was made through it (unreachable routes too, but see below) and frees it. */
void kernel_routes_free(struct kernel_routes *k);

/*
 * Link up, its MTU, an address (/32 or /128; nodad for IPv6), alone or with the route to a network of
 * `bits` in the main table, which kernel_route_set() may replace. 0 or -errno. With a device's last IPv4
 * address the kernel removes its IPv4 routes: add the new one before.
 */
int kernel_link_up(struct kernel_routes *k, uint32_t mtu);
int kernel_link_mtu(struct kernel_routes *k, uint32_t mtu);
/*
 * The most segments in a super-packet (IFLA_GSO_MAX_SEGS) that the kernel hands to the device; UINT16_MAX: any. Its
 * own TCP makes none with more, from the next connection on; one that it forwards is cut into single packets. 0 or -errno.
 */
int kernel_link_segments(struct kernel_routes *k, uint16_t most);
int kernel_address_add(struct kernel_routes *k, const struct prefix *p);
int kernel_address_network(struct kernel_routes *k, const struct prefix *p, uint8_t bits);
int kernel_address_remove(struct kernel_routes *k, const struct prefix *p);
/* Set and not removed. */
bool kernel_address_held(const struct kernel_routes *k, const struct prefix *p);

/* The table of the routes that are set from now on; at first the main one. */
void kernel_routes_table(struct kernel_routes *k, uint32_t table);

/* What a route says to TCP. */
struct route_metrics {
	uint32_t mtu, advmss; /* 0: none said */
	bool ecn;	      /* its connections ask for marks of congestion (RFC 3168) */
};

/*
 * A route to `p` through our TUN, with the source `src` where that is not NULL. Replaces our own route of
 * the same prefix; -EEXIST where somebody else has one (in the main table; another one is the operator's to
 * arrange, and there it replaces).
 */
int kernel_route_set(struct kernel_routes *k, const struct prefix *p, const struct addr *src,
		     const struct route_metrics *metrics);
int kernel_route_remove(struct kernel_routes *k, const struct prefix *p);
/* Set and not removed. */
bool kernel_route_held(const struct kernel_routes *k, const struct prefix *p);

/*
 * A full tunnel of one family: from now on default routes through our TUN go to `table`, which rules
 * lead all packets to that have not `table` as their mark and no route but the default in the main
 * table. kernel_routes_free() removes the rules, too. 0 or -errno.
 */
int kernel_full_tunnel(struct kernel_routes *k, bool v4, uint32_t table);
void kernel_full_tunnel_end(struct kernel_routes *k, bool v4);
/* The first table from `from` on without a route; 0 where there is none near. */
uint32_t kernel_free_table(struct kernel_routes *k, uint32_t from);
/* Removes rules of ours whose gateway was killed. */
void kernel_clean_rules(struct kernel_routes *k);

/*
 * Fail closed: an unreachable route of lowest priority for a whole prefix, no device. It outlives a
 * SIGKILL; the next start adopts it, kernel_routes_free() removes it.
 */
int kernel_unreachable_set(struct kernel_routes *k, const struct prefix *p);
/*
 * This end is not a clean one, and another start may follow it: kernel_routes_free() leaves the unreachable
 * routes that were adopted, or all of them. Are there any?
 */
bool kernel_stay_closed(struct kernel_routes *k, bool all);

/*
 * Leftovers of a process that was killed: the unreachable routes of ROUTE_PROTOCOL for the `n` prefixes `left`. (A
 * killed gateway's TUN, and the routes through it, went with its descriptor.) One inside which another
 * gateway lives, with an address or a route of its own, stays.
 */
int kernel_clean_leftovers(struct kernel_routes *k, const struct prefix *left, size_t n);

/*
 * A host route, address, name server (resolv.conf at `resolv`), default gateway or
 * KUBERNETES_SERVICE_HOST inside `p`, ignoring interface `ignore_ifindex` and ROUTE_PROTOCOL routes. True when there is one;
 * `what` then says it in words ("route 10.77.0.0/24 dev eth0", "name server 10.77.0.10").
 */
bool kernel_prefix_clash(struct kernel_routes *k, const struct prefix *p, const char *resolv,
			 unsigned ignore_ifindex, char *what, size_t cap);

/*
 * Our own addresses a peer may reach us at: every global or private unicast address of an interface
 * that is up, without loopback, link-local IPv4, and `skip_ifindex`, nor anything inside `skip[n]`.
 * Returns how many (≤ cap).
 */
size_t kernel_host_addresses(struct kernel_routes *k, unsigned skip_ifindex,
			     const struct prefix *skip, size_t n, struct addr *out, size_t cap);

/*
 * The way that datagrams to `a` with `mark` take. MTU: the route's own, where one is set, and never above
 * the device's; 0 when there is no route. What ICMP messages said of the path is left out. `tag` is another
 * number where the way is another: its interface, that one's own addresses, a gateway. `none`: the kernel
 * says that nothing can be sent there; it does not where it could not be asked.
 */
struct kernel_way {
	uint32_t mtu;
	uint64_t tag;
	bool none;
};
struct kernel_way kernel_way(struct kernel_routes *k, const struct addr *a, uint32_t mark);
/* The addresses are read once; this makes the next kernel_way() read them again. */
void kernel_addresses_changed(struct kernel_routes *k);
/* Do marked datagrams from `local`, an address of ours, leave for `a` by that interface? */
bool kernel_path_leads(struct kernel_routes *k, const struct addr *a, const struct addr *local,
		       uint32_t mark, unsigned ifindex);
/* Our TUN as it is now. */
struct kernel_link {
	uint32_t mtu;
	bool up;
};

/* False where it is not in this network namespace, or cannot be asked for. */
bool kernel_link_now(struct kernel_routes *k, struct kernel_link *out);
/* The same of a device in the namespace that `netns` is a descriptor of. */
bool kernel_link_elsewhere(struct kernel_routes *k, int netns, const char *name,
			   struct kernel_link *out);

/*
 * A second netlink socket that becomes readable when addresses, links or routes change;
 * kernel_monitor_drain() empties it: true when something changed on this host that is not our own doing.
 * With `k` (or NULL) it also says what else may have been done to what is ours.
 */
struct kernel_undone {
	bool lost; /* an address or a route that was set and not removed: it may be another's now */
	bool missed; /* there was more to tell than there was room for: it may have been that */
	bool link;   /* the interface: it may be down, or up again */
	bool stray; /* another's new route inside a prefix of kernel_unreachable_set(), where none of ours is; to what */
	struct prefix stray_to;
};
int kernel_monitor_open(
	const struct kernel_routes *own); /* what this one does is not told; or NULL */
bool kernel_monitor_drain(int fd, unsigned skip_ifindex, const struct kernel_routes *k,
			  struct kernel_undone *u);
/*
 * The unreachable routes and the addresses that were set are set again, where somebody else removed them. Routes
 * are to be set again by whoever knows their MTU. False where the kernel does not take all of it now: an
 * interface that is down, IPv6 that is switched off.
 */
bool kernel_restore(struct kernel_routes *k);

/* Of what is open: no socket is made later. guard.h is of this room, too. */
extern const struct syscall_rule route_syscalls[];

#endif
