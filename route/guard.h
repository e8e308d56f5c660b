/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual address is for the tunnel and for this host alone, and the network's prefixes are for
 * the tunnel. Touches the kernel. All of it is an nf_tables table, "inet warren-IFNAME".
 *
 * In: Linux answers for any of its addresses on any interface, so a neighbour on the LAN that routes the
 * virtual address by way of this host would reach what is bound to it, without being a member. The
 * guard drops packets for the addresses named unless they come in by the tunnel or by the loopback,
 * where all comes in that this host sends to itself. It looks before conntrack and before any rewriting
 * of destinations: what the host's administrator forwards to the virtual address on purpose still gets
 * there. A container behind a bridge of this host is a neighbour too.
 *
 * Out: a route that somebody adds later, or a rule with a table of its own, may be better than ours. What
 * is for the prefixes named and leaves by anything but the tunnel or the loopback is dropped, whether it
 * is this host's own (who sends a datagram hears EPERM) or forwarded.
 *
 * The kernel removes the table with our socket, however the process ends, and lets nobody else change
 * it meanwhile, not even `nft flush ruleset` (Linux 5.12, NFT_TABLE_F_OWNER). Older kernels get the
 * same table without an owner: guard_close() deletes it, and what a killed process leaves is replaced
 * by the next start with that interface's name. Until then it drops packets for an address that this
 * host has no more, for the address went with the TUN, and for a network that it is not in: harmless.
 *
 * Errors are the kernel's own, as -errno. -EPROTONOSUPPORT, -EOPNOTSUPP, -EAFNOSUPPORT, -ENOENT: this
 * kernel has no nf_tables, or lacks a part of it. -EPERM: no CAP_NET_ADMIN, or a living process has
 * the table of this name.
 */
#ifndef WARREN_ROUTE_GUARD_H
#define WARREN_ROUTE_GUARD_H

#include "base/addr.h"

enum { GUARD_MAX_ADDRESSES = 16, GUARD_MAX_PREFIXES = 8 };

struct guard; /* one netlink socket, and with it the table */

/* Name and number of our TUN. 0 or -errno, and then *out is NULL. */
int guard_open(struct guard **out, const char *ifname, unsigned ifindex);
/*
 * Guards one address (/32 or /128) more, for good; before the interface has it, so that it is never
 * open. 0 too where it is guarded already; -ENOSPC after GUARD_MAX_ADDRESSES.
 */
int guard_address(struct guard *g, const struct prefix *host);
/* Keeps what is for a prefix inside the tunnel, for good. 0 too where it is kept already; -ENOSPC after GUARD_MAX_PREFIXES. */
int guard_prefix(struct guard *g, const struct prefix *p);
/*
 * Gives what comes to our UDP port the mark of what leaves by it. A strict reverse-path filter that
 * heeds marks (src_valid_mark) then looks for the way back where our datagrams go, and not in the tunnel.
 * Takes the place of what was said before.
 */
int guard_mark(struct guard *g, uint16_t port, uint32_t mark);
/* Takes the table away. Also for NULL. */
void guard_close(struct guard *g);

#endif
