/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every packet that dies has a reason with a name and a counter. `enum drop` is the return type of
 * everything that may refuse a packet; DROP_NONE means that it lives.
 */
#ifndef WARREN_DROP_H
#define WARREN_DROP_H

#include "base/base.h"

/* clang-format off */
#define DROPS(X) \
	X(NONE, "none") \
	/* outer side: what the socket gave us */ \
	X(OUTER_UNKNOWN_TYPE, "outer_unknown_type") \
	X(OUTER_BAD_LENGTH, "outer_bad_length") \
	X(OUTER_BAD_MAC, "outer_bad_mac") \
	X(OUTER_REPLAY, "outer_replay") \
	X(OUTER_UNKNOWN_MEMBER, "outer_unknown_member") \
	X(OUTER_UNEXPECTED, "outer_unexpected") \
	X(OUTER_VERSION, "outer_version") \
	X(OUTER_RATE, "outer_rate") \
	X(OUTER_INSIDE, "outer_inside") \
	/* relay */ \
	X(RELAY_BAD_MAC, "relay_bad_mac") \
	X(RELAY_REPLAY, "relay_replay") \
	X(RELAY_UNKNOWN_MEMBER, "relay_unknown_member") \
	X(RELAY_NO_ADDRESS, "relay_no_address") \
	X(RELAY_RATE, "relay_rate") \
	X(RELAY_REFUSED, "relay_refused") \
	/* WireGuard handshakes */ \
	X(WG_BAD_MAC1, "wg_bad_mac1") \
	X(WG_COOKIE_SENT, "wg_cookie_sent") \
	X(WG_BAD_HANDSHAKE, "wg_bad_handshake") \
	X(WG_UNKNOWN_KEY, "wg_unknown_key") \
	X(WG_STALE_TIMESTAMP, "wg_stale_timestamp") \
	X(WG_HANDSHAKE_RATE, "wg_handshake_rate") \
	X(WG_HANDSHAKE_FLOOD, "wg_handshake_flood") \
	X(WG_UNKNOWN_INDEX, "wg_unknown_index") \
	X(WG_BAD_COOKIE, "wg_bad_cookie") \
	/* WireGuard data */ \
	X(WG_BAD_TAG, "wg_bad_tag") \
	X(WG_REPLAY, "wg_replay") \
	X(WG_EXPIRED, "wg_expired") \
	X(WG_NOT_SEALED, "wg_not_sealed") \
	/* in-tunnel frames */ \
	X(FRAME_UNKNOWN, "frame_unknown") \
	X(FRAME_UNEXPECTED, "frame_unexpected") \
	X(FRAME_MALFORMED, "frame_malformed") \
	X(FRAME_VERSION, "frame_version") \
	X(FRAME_RATE, "frame_rate") \
	X(FRAGMENT_OVERLAP, "fragment_overlap") \
	X(FRAGMENT_TIMEOUT, "fragment_timeout") \
	X(FRAGMENT_EVICTED, "fragment_evicted") \
	X(CONTROL_MALFORMED, "control_malformed") \
	X(CONTROL_VERSION, "control_version") \
	X(MEMBER_KEY, "member_key_refused") \
	/* inner packets */ \
	X(INNER_MALFORMED, "inner_malformed") \
	X(INNER_SPOOFED, "inner_spoofed_source") \
	X(INNER_FALSE_ERROR, "inner_false_error") \
	X(NOT_FOR_ME, "not_for_me") \
	X(NO_ROUTE, "no_route") \
	X(NO_PATH, "no_path") \
	X(TOO_BIG, "too_big") \
	X(QUEUE_FULL, "queue_full") \
	X(STAGED_EXPIRED, "staged_expired") \
	/* the edges */ \
	X(TUN_MALFORMED, "tun_malformed") \
	X(TUN_WRITE, "tun_write_failed") \
	X(UDP_SEND, "udp_send_failed") \
	X(UDP_TRUNCATED, "udp_truncated") \
	X(LINK_DOWN, "link_down")
/* clang-format on */

enum drop {
#define X(id, name) DROP_##id,
	DROPS(X)
#undef X
		DROP_COUNT
};

const char *drop_name(enum drop d);

/* One set of counters: the gateway owns one for itself, and one per peer. */
struct drops {
	uint64_t n[DROP_COUNT];
};

static inline void drop_count(struct drops *d, enum drop why)
{
	d->n[why]++;
}

#endif
