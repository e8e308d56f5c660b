/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks of congestion go through the tunnel (RFC 6040, as the kernel's WireGuard does): a datagram says
 * what its inner packet says of ECN, and what a router has marked on the way is marked inside.
 */
#ifndef WARREN_ECN_H
#define WARREN_ECN_H

#include "base/base.h"

enum { ECN_NONE = 0, ECN_ECT1 = 1, ECN_ECT0 = 2, ECN_CE = 3, ECN_MASK = 3 };

/* Both: of an IP packet whose fixed header is there. */

/* What its datagram says. Of one that is marked already: that its flow knows marks. */
uint8_t ecn_outside(const uint8_t *ip);
/* It met congestion. Where its flow knows no marks none is made; false, as where one was made before. */
bool ecn_congested(uint8_t *ip);

#endif
