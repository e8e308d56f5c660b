/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to inner packets that cannot be sent, to be written to the TUN: ICMP "Fragmentation Needed"
 * (RFC 792, RFC 1191) or ICMPv6 "Packet Too Big" (RFC 4443 3.2) where one is too large for its peer and
 * may not be cut; "Host Unreachable" or "Address Unreachable" where it is nobody's. Pure functions.
 */
#ifndef WARREN_TOO_BIG_H
#define WARREN_TOO_BIG_H

#include "base/base.h"

enum { TOO_BIG_MAX = 1280 }; /* bytes of an answer: RFC 4443 2.4 (c); IPv4 uses 576 of them */

/*
 * The answer about the packet of `len` bytes at `ip`, which says that `mtu` bytes would pass; its
 * length, or 0 where none may be sent: IPv4 without DF, anything but the first fragment, an ICMP error,
 * multicast, broadcast, unspecified or loopback addresses (RFC 1122 3.2.2, RFC 4443 2.4 (e)), or
 * headers that do not agree with `len`. It comes from the packet's destination: the only address that
 * is routed to us for certain, so that a strict reverse-path filter takes it.
 */
size_t too_big_answer(const uint8_t *ip, size_t len, uint32_t mtu, uint8_t out[static TOO_BIG_MAX]);
/* The same about one that has nowhere to go, with or without DF. */
size_t unreachable_answer(const uint8_t *ip, size_t len, uint8_t out[static TOO_BIG_MAX]);

#endif
