/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segmentation offloads of the TUN device as pure functions over bytes: no device, no clock, no
 * allocation. The split cuts what the kernel hands over with a vnet header (up to 64 KiB of TCP, or
 * of UDP with USO) into IP packets; the merge puts received packets together again for one write.
 * Rules: Linux tools/testing/selftests/net/gro.c, virtio 1.2 section 5.1.6.
 */
#ifndef WARREN_OFFLOAD_H
#define WARREN_OFFLOAD_H

#include "base/drop.h"
#include <sys/uio.h>

/* struct virtio_net_hdr in host byte order: the first 10 bytes of each TUN read and write. */
struct vnet_hdr {
	uint8_t flags;	  /* VNET_NEEDS_CSUM, VNET_DATA_VALID */
	uint8_t gso_type; /* VNET_GSO_* | VNET_GSO_ECN */
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

enum { VNET_HDR_LEN = 10, VNET_NEEDS_CSUM = 1, VNET_DATA_VALID = 2 };
enum {
	VNET_GSO_NONE = 0,
	VNET_GSO_TCPV4 = 1,
	VNET_GSO_TCPV6 = 4,
	VNET_GSO_UDP_L4 = 5,
	VNET_GSO_ECN = 0x80
};
static_assert(sizeof(struct vnet_hdr) == VNET_HDR_LEN, "vnet header");

/*
 * Where the segments of a split go: segment i at buf + i * stride + head, for at most `max` segments.
 * The caller chooses stride = head + largest segment + tail after gso_plan(); head and tail are its
 * own room (relay and data headers, padding, tag).
 */
struct gso_plan {
	uint32_t segments; /* ≥ 1 */
	uint32_t seg_len;  /* IP packet length of every segment but the last, which is ≤ */
	uint32_t last_len;
	uint32_t hdr_len; /* IP + TCP/UDP headers of each */
	uint32_t payload; /* payload bytes in each but the last */
};

/*
 * What gso_split() would make of the `len` bytes at `ip` (after the vnet header). `max_inner`: a TCP
 * segment is never longer than this IP packet length (so a super-packet is cut at min(gso_size,
 * path)); UDP is always cut at gso_size, a UDP_L4 segment carries its boundary. A packet without GSO
 * is one segment, whatever its length. DROP_TUN_MALFORMED where headers and lengths do not agree.
 */
MUST_CHECK enum drop gso_plan(const struct vnet_hdr *h, const uint8_t *ip, size_t len,
			      uint32_t max_inner, struct gso_plan *plan);

/*
 * Writes segments [first, first + count) of the plan, segment i at out + (i - first) * stride:
 * headers fixed (IPv4 id, length and sum; TCP sequence, FIN and PSH only on the last, CWR only on
 * the first; UDP length), full L4 checksum where NEEDS_CSUM asked for it, else the packet untouched.
 * `partial`: the L4 checksum stays as the kernel gives it, see below; only where gso_partial() allows.
 */
void gso_split(const struct vnet_hdr *h, const uint8_t *ip, const struct gso_plan *plan,
	       uint32_t first, uint32_t count, bool partial, uint8_t *out, size_t stride);

/*
 * --- partial sums ---
 *
 * A packet that the kernel hands out with NEEDS_CSUM has only the sum of its pseudo header in the L4
 * checksum field. Where something else proves the bytes on the way, it can be handed to the other kernel
 * in the same state, and nobody has to sum its payload. That is for exactly those packets: one with a
 * whole checksum keeps it, so that what was wrong before it came here stays visibly wrong.
 */

/* May the packet from the TUN travel so: NEEDS_CSUM, and TCP or UDP right behind the IP header? */
bool gso_partial(const struct vnet_hdr *h, const uint8_t *ip, size_t len);

/*
 * The vnet header with which a packet that came with a partial sum goes to a TUN. False where it cannot
 * have one: no whole TCP or UDP packet, or one that is itself a fragment.
 */
MUST_CHECK bool partial_vnet(const uint8_t *ip, size_t len, struct vnet_hdr *h);

/* --- merge --- */

enum { GRO_MAX_IOV = 128, GRO_MAX_PACKETS = 64 };

/* A whole IP packet, of the IP header's own length. */
struct gro_packet {
	uint8_t *ip;
	uint32_t len;
	bool partial; /* with a partial sum: partial_vnet() has said that it can have one */
};

/* One write to the TUN: the vnet header is iov[0]. It points into the packets it was made from. */
struct gro_write {
	struct vnet_hdr vnet;
	struct iovec iov[2 + GRO_MAX_PACKETS];
	int iovcnt;
	uint32_t packets; /* how many inner packets it holds */
	uint32_t bytes;	  /* without the vnet header */
};

/*
 * Merges the run of packets at pkts[from..n) as far as one write can take them and fills `w`;
 * returns how many packets it used (≥ 1 while from < n). Merged packets are consecutive ones of
 * one flow; nothing is reordered, nothing with a wrong checksum is merged (it is passed on
 * unmerged, unchanged); a partial sum is believed. The first packet's headers are changed in place.
 * `udp`: the device takes UDP_L4 super-packets (USO); else UDP is passed on singly.
 */
size_t gro_merge(const struct gro_packet *pkts, size_t from, size_t n, bool udp,
		 struct gro_write *w);

#endif
