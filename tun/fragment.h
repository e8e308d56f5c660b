/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fragments inside the tunnel: an inner packet that is larger than what fits the path is cut into
 * frames, each of which is sealed by itself, so that a forged or lost one can poison nothing. Between
 * two warrens only. Pure functions, and one bounded store; no clock, no allocation after the start.
 *
 *  0 0x84 | 1 version | 2 total be16 | 4 id be32 | 8 offset be16 | 10 length be16 | 12 bytes, padding
 *
 *  total   bytes of the whole inner packet    offset, length   which of them follow
 *  id      counts the sender's cut packets; the same in all fragments of one
 */
#ifndef WARREN_FRAGMENT_H
#define WARREN_FRAGMENT_H

#include "base/drop.h"
#include <sys/uio.h>

enum {
	FRAGMENT_FIRST_BYTE = 0x84,
	FRAGMENT_VERSION = 1,
	FRAGMENT_HEADER_LEN = 12,
	FRAGMENT_PACKET_MIN = 21,   /* an IPv4 header and a byte: none smaller is put together */
	FRAGMENT_PACKET_MAX = 9000, /* the largest inner packet that is cut or put together */
	FRAGMENT_PARTS_MAX = 32,    /* a packet of more parts is refused */
};

/*
 * How a packet is cut: into `count` parts of `part` bytes, the last may have fewer. The parts are as
 * equal as can be, so that the frames of a row of packets have one size and leave in one batch.
 */
struct fragment_plan {
	uint32_t total, count, part;
};

/*
 * `room`: bytes of plaintext that fit one datagram. DROP_TOO_BIG where `len` is more than
 * FRAGMENT_PACKET_MAX or would need more than FRAGMENT_PARTS_MAX parts; DROP_INNER_MALFORMED where
 * there is nothing to cut.
 */
MUST_CHECK enum drop fragment_plan(size_t len, uint32_t room, struct fragment_plan *plan);
/* Writes frame i at `out` (FRAGMENT_HEADER_LEN + plan->part bytes of room); its length. */
uint32_t fragment_write(const struct fragment_plan *plan, uint32_t i, uint32_t id,
			const uint8_t *packet, uint8_t *out);

/* One frame, read: `bytes` are in the frame. */
struct fragment {
	uint32_t id;
	uint16_t total, offset, length;
	const uint8_t *bytes;
};

/* DROP_FRAME_MALFORMED or DROP_FRAME_VERSION where it is none of ours. */
MUST_CHECK enum drop fragment_read(const uint8_t *frame, size_t len, struct fragment *f);

/*
 * Reassembly. One store for all senders of a node: REASSEMBLY_PACKETS packets at once (their memory is
 * touched only when used), of which one sender may hold REASSEMBLY_PER_SENDER; a new packet of one that
 * has so many takes the place of its own oldest, and where the store is full of the oldest of all. A
 * packet that is not whole after REASSEMBLY_TIMEOUT is given up. Each such loss is counted in `drops`
 * (DROP_FRAGMENT_EVICTED, DROP_FRAGMENT_TIMEOUT), once per packet.
 * An overlap, also an exact repetition, kills the whole packet (as RFC 5722 has it): the sender's
 * counter makes each frame arrive once, so there is no honest one. What comes of it later is
 * refused too, until its time is over.
 */
enum { REASSEMBLY_PACKETS = 256, REASSEMBLY_PER_SENDER = 32 };
#define REASSEMBLY_TIMEOUT NSEC_PER_SEC

struct reassembly;

/* NULL: no memory. `drops` stays the caller's. */
struct reassembly *reassembly_new(struct drops *drops);
void reassembly_free(struct reassembly *r);

/*
 * A frame from `sender` (any pointer but NULL; only compared). DROP_NONE: kept, or, where
 * whole->iov_base is not NULL, the packet's last part. What is handed out stays valid until
 * reassembly_recycle(), which must be called before REASSEMBLY_PACKETS / 2 are out
 * (reassembly_out() counts them). Else DROP_FRAME_MALFORMED (also a packet's part too many),
 * DROP_FRAME_VERSION, DROP_FRAGMENT_OVERLAP (parts that overlap or disagree about the whole), or
 * DROP_QUEUE_FULL, where so many are out. `now` never goes back.
 */
enum drop reassembly_input(struct reassembly *r, nsec now, const void *sender, const uint8_t *frame,
			   size_t len, struct iovec *whole);
uint32_t reassembly_out(const struct reassembly *r);
void reassembly_recycle(struct reassembly *r);
/* The sender is no more: its packets go, uncounted. */
void reassembly_forget(struct reassembly *r, const void *sender);
/* Gives up what is too old. */
void reassembly_expire(struct reassembly *r, nsec now);
nsec reassembly_deadline(const struct reassembly *r);

#endif
