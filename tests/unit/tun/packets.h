/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inner packets for the tests, built and checked byte by byte: nothing here uses base/checksum or
 * the code under test.
 */
#ifndef WARREN_TEST_PACKETS_H
#define WARREN_TEST_PACKETS_H

#include "base/bytes.h"
#include "tun/offload.h"

enum { PACKET_MAX = 65535 };

/* splitmix64: the seed is printed by the test that fails. */
struct rng {
	uint64_t state;
};
uint64_t rng_next(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n);

/* What to build; zeros give an ordinary IPv4 TCP packet with ACK. */
struct spec {
	bool v6, udp, no_csum;
	uint8_t tos, ttl, flags; /* flags: 0 means ACK */
	uint16_t frag, id, sport;
	uint32_t seq, ack, flow;
	uint16_t window;
	uint8_t ip_options; /* bytes, a multiple of 4 */
	uint8_t ext;	    /* IPv6: bytes of destination options, a multiple of 8 */
	uint8_t options;    /* bytes of TCP options, a multiple of 4 */
	uint32_t payload;
	uint8_t fill; /* first payload byte; the rest counts on with a stride */
};

/* Builds a whole packet with right sums into `out` (PACKET_MAX); its length. */
uint32_t packet_build(const struct spec *s, uint8_t *out);
/* The same as the kernel hands a super-packet over: partial sum, vnet header. */
uint32_t packet_build_super(const struct spec *s, uint16_t gso_size, uint8_t *out,
			    struct vnet_hdr *h);

uint32_t packet_l4(const uint8_t *ip); /* offset of the transport header */
bool packet_is_udp(const uint8_t *ip);
bool packet_sums_ok(const uint8_t *ip, uint32_t len); /* IPv4 header and transport */
void packet_fix_sums(uint8_t *ip, uint32_t len);      /* full sums, in place */
/* What a kernel does with a packet that still needs its checksum; `h` is its vnet header, without GSO. */
void packet_complete(const struct vnet_hdr *h, uint8_t *ip, uint32_t len);
uint16_t naive_sum(uint32_t start, const uint8_t *p, uint32_t n); /* folded, host order */

#endif
