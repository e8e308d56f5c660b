/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In-tunnel frames of the path MTU search and the hello (docs/protocol.md, "In-tunnel frames"): the
 * plaintext of a WireGuard data message whose first byte is 0x80 or above. Codec alone, pure
 * functions over authenticated, and still untrusted, bytes.
 *
 *  hello  0 0x80 | 1 version | 2 flags | 3 0 | 4 capabilities be32 | 8 largest inner packet be16 | 10 0
 *  probe  0 0x81 | 1 version | 2 size be16 | 4 path be32 | 8 number be32 | 12 watch be16 | 14 0
 *         then zeros up to the size that is tried, 32 bytes at least
 *  ack    0 0x82 | 1 version | 2 watch be16 | 4 path be32 | 8 newest be32 | 12 seen be64
 *         | 20 count be32 | 24 0, 32 bytes
 *
 * Readers take longer frames of the same version: what follows is skipped.
 */
#ifndef WARREN_FRAME_H
#define WARREN_FRAME_H

#include "base/bytes.h"
#include "base/drop.h"

enum {
	FRAME_FIRST = 0x80, /* a plaintext that begins below it is an inner packet */
	FRAME_HELLO = 0x80,
	FRAME_PROBE = 0x81,
	FRAME_PROBE_ACK = 0x82,
	FRAME_FRAGMENT = 0x84, /* tun/fragment.h */
	/*
	 * An IP packet whose L4 checksum is only begun (tun/offload.h, partial sums): itself, with this bit
	 * set in its first byte, so that the mark costs no room. 0xc0 to 0xcf and 0xe0 to 0xef.
	 */
	FRAME_PARTIAL_BIT = 0x80,
	FRAME_VERSION = 1,
	HELLO_LEN = 16,
	PROBE_LEN = 32, /* the shortest probe: as long as its answer, which never is longer */
	PROBE_ACK_LEN = 32,
};

enum {
	HELLO_ANSWER = 1, /* flag: this one answers another and wants none */
};

/* Capabilities. A node that says none of these is treated as a stock peer. */
enum {
	HELLO_PATH_MTU = 1,  /* answers probes */
	HELLO_FRAGMENTS = 2, /* puts fragments together */
	HELLO_PARTIAL_SUMS = 4,
};

static inline bool frame_is_partial(uint8_t first_byte)
{
	uint8_t version = (first_byte ^ FRAME_PARTIAL_BIT) >> 4;
	return version == 4 || version == 6;
}

/* What carries inner packets, and is counted as data: a packet, or a fragment of one. */
static inline bool frame_is_data(uint8_t first_byte)
{
	return first_byte < FRAME_FIRST || first_byte == FRAME_FRAGMENT ||
	       frame_is_partial(first_byte);
}

struct frame_hello {
	uint8_t flags;
	uint32_t capabilities;
	uint16_t largest; /* the largest inner packet that the sender puts together, bytes */
};

/* All sizes on the wire are bytes of the WireGuard message that carries the frame, or the data. */
struct frame_probe {
	uint16_t size;	 /* of this message */
	uint32_t path;	 /* the prober's name for the path that is searched */
	uint32_t number; /* counts from 1 for each path name */
	uint16_t watch;	 /* from now on count data messages of this size and above; 0: no change */
};

struct frame_ack {
	uint32_t path, newest; /* the greatest number seen with this path name */
	uint64_t seen;	       /* bit i: number newest - i was seen too; bit 0 is set */
	uint16_t watch;	       /* what is counted on the way that the newest came; 0: nothing */
	uint32_t count;	       /* data messages of that size and above since that was asked for */
};

/* DROP_NONE, DROP_FRAME_MALFORMED (too short) or DROP_FRAME_VERSION. */
enum drop frame_hello_parse(const uint8_t *p, size_t len, struct frame_hello *out);
enum drop frame_probe_parse(const uint8_t *p, size_t len, struct frame_probe *out);
enum drop frame_ack_parse(const uint8_t *p, size_t len, struct frame_ack *out);
void frame_hello_write(const struct frame_hello *f, uint8_t out[static HELLO_LEN]);
/* The frame's first PROBE_LEN bytes; the rest of a larger probe is zeros of the caller's. */
void frame_probe_write(const struct frame_probe *f, uint8_t out[static PROBE_LEN]);
void frame_ack_write(const struct frame_ack *f, uint8_t out[static PROBE_ACK_LEN]);

#endif
