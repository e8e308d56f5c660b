/* SPDX-License-Identifier: Apache-2.0 */
/* Outer packets as a router sees them, and the ICMP messages that it (or anybody) makes of them. */
#ifndef WARREN_TEST_FORGE_H
#define WARREN_TEST_FORGE_H

#include "base/addr.h"

/* UDP, or a fragment of it. */
bool packet_is_udp(const uint8_t *p, size_t len);
bool packet_has_df(const uint8_t *p); /* IPv4 */

/*
 * An ICMP or ICMPv6 message from `from` to who sent `packet`, quoting its first `quoted` bytes.
 * `info` is the second word (MTU, pointer). How many bytes: 48 at most more than the quote.
 */
size_t forge_icmp(uint8_t *out, const struct addr *from, const uint8_t *packet, size_t quoted,
		  uint8_t type, uint8_t code, uint32_t info);

#endif
