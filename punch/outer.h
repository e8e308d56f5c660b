/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages on the shared port that are not WireGuard's: path probes and relayed datagrams
 * (docs/protocol.md, "Outer messages" and "Relay messages"). Codecs and the first gate; pure functions.
 *
 * First byte: WireGuard is 1..4 followed by three zeros, STUN has its magic cookie at offset 4, ours
 * are 0x80 and above.
 */
#ifndef WARREN_OUTER_H
#define WARREN_OUTER_H

#include "base/addr.h"
#include "base/blake2s.h"
#include "base/drop.h"

enum outer_kind {
	OUTER_NONE, /* unknown: dropped unanswered */
	OUTER_WG_HANDSHAKE,
	OUTER_WG_DATA,
	OUTER_STUN,
	OUTER_PING,
	OUTER_PONG,
	OUTER_RELAY,
};

/* The gate: nothing is parsed before it. `why` for OUTER_NONE. Exact lengths are checked here. */
enum outer_kind outer_classify(const uint8_t *p, size_t len, enum drop *why);

enum {
	OUTER_TYPE_PING = 0x80,
	OUTER_TYPE_PONG = 0x81,
	OUTER_TYPE_RELAY = 0x90,
	OUTER_VERSION = 1,
	TXID_LEN = 12,
	OUTER_KEY_LEN = 32,
};

/*
 * Ping and pong have one layout, so that an answer is never longer than the request:
 *
 *  0 type  1 version  2 flags  3 zero | 4 sender be32 | 8 receiver be32 | 12 boot be64 | 20 counter be64
 *  28 txid[12] | 40 observed address[16] | 56 observed port be16 | 58 be16 length of TLVs | TLVs | MAC[16]
 */
enum { OUTER_FIXED = 60, OUTER_MAX = 256, OUTER_PING_LEN = OUTER_FIXED + MAC_LEN };

struct outer_msg {
	uint8_t type;
	uint32_t sender, receiver; /* member numbers; they select the key */
	uint64_t boot, counter;
	uint8_t txid[TXID_LEN];
	struct endpoint observed; /* pong: where the ping came from, as its receiver saw it */
	uint16_t tlv_len; /* of the TLVs, 0 or ≥ 4; written as padding: a pong takes its ping's */
};

/* Member numbers without checking the MAC, to find the key; DROP_NONE or why not (version too). */
enum drop outer_peek(const uint8_t *p, size_t len, uint32_t *sender, uint32_t *receiver);
enum drop outer_parse(const uint8_t *p, size_t len, const uint8_t key[static OUTER_KEY_LEN],
		      struct outer_msg *out);
size_t outer_write(const struct outer_msg *m, const uint8_t key[static OUTER_KEY_LEN], uint8_t *out,
		   size_t cap);

/*
 * Relay header, in front of the untouched datagram:
 *  0 type  1 version  2 flags be16 | 4 destination be32 | 8 source be32 | 12 counter be64 | 20 MAC[8]
 * MAC: SipHash-2-4 (64 bits) over bytes 0..19, the datagram's length as be32 and its first 16 bytes,
 * under the hop's key. The datagram protects the rest of itself.
 */
enum {
	RELAY_HEADER_LEN = 28,
	RELAY_KEY_LEN = 16,
	RELAY_INNER_MIN = 16 /* no datagram is shorter */
};

struct relay_msg {
	uint32_t destination, source;
	uint64_t counter;
};

enum drop relay_peek(const uint8_t *p, size_t len, struct relay_msg *out);
bool relay_mac_ok(const uint8_t *p, size_t len, const uint8_t key[static RELAY_KEY_LEN]);
/* Writes the header in front of `len` bytes of datagram at p + RELAY_HEADER_LEN. */
void relay_write(uint8_t *p, size_t len, const struct relay_msg *m,
		 const uint8_t key[static RELAY_KEY_LEN]);

#endif
