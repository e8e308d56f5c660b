/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WireGuard's protocol core (Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", NDSS
 * 2017; section numbers below are the paper's): Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, messages 1 to
 * 4, cookies, timers, rekeying, replay windows. Sans-IO: bytes and `now` in, bytes and a deadline
 * out; it knows no socket, no address but as opaque bytes, no clock.
 *
 * A `struct wg` owns its peers, their sessions and keys (in the key arena, base/arena.h). A peer
 * pointer is valid until wg_peer_remove() or wg_free().
 *
 * Beyond the paper, and invisible to a stock peer: initiator and responder handshakes of a peer have
 * separate slots, so that crossing initiations cannot kill each other; if both complete, both sides
 * send under the session whose initiator has the smaller public key. The replay window is 32768.
 */
#ifndef WARREN_WG_H
#define WARREN_WG_H

#include "base/drop.h"
#include "crypto/aead.h"

enum {
	WG_KEY_LEN = 32,
	WG_INITIATION_LEN = 148,
	WG_RESPONSE_LEN = 92,
	WG_COOKIE_LEN = 64,
	WG_DATA_HEADER_LEN = 16,
	WG_OVERHEAD = 32,     /* of a data message over its plaintext */
	WG_MESSAGE_MAX = 148, /* of what wg_poll() and a reply hold */
	WG_PADDING = 16,
	WG_MARK_MAX = 999999999 & 0xffff,
	WG_HANDSHAKE_TOS = 0x88, /* AF41, as stock peers mark handshakes */
};

/* First four bytes, little endian. */
enum wg_type { WG_INITIATION = 1, WG_RESPONSE = 2, WG_COOKIE = 3, WG_DATA = 4 };

struct wg;
struct wg_peer;

struct wg_config {
	uint32_t max_peers;
	const struct aead *aead;
	void *user;
	/*
	 * A well-formed initiation of a key that is not a peer, already under a valid mac2 (so its
	 * source address is real). The callee may wg_peer_add() it (and set its PSK) and return it,
	 * or return NULL. May be NULL: unknown keys are dropped.
	 */
	struct wg_peer *(*adopt)(void *user, const uint8_t pub[static WG_KEY_LEN]);
	/*
	 * Called before message 2 is made for a known peer, so that the owner may set another PSK
	 * (known before psk2). `mark` is the end of message 1's timestamp. May be NULL.
	 */
	void (*before_response)(void *user, struct wg_peer *peer, uint16_t mark);
	/*
	 * Called for an initiation or response that is worth more than a hash, before anything is
	 * looked up: the owner may first work off what came before it (wg_open()). May be NULL.
	 */
	void (*before_handshake)(void *user, nsec now);
};

/* Needs sodium_init() done. NULL with errno where memory is refused. */
struct wg *wg_new(const struct wg_config *cfg);
void wg_free(struct wg *wg); /* wipes every key */
/* All keys so far are locked in memory; else they may be written to the swap. */
bool wg_keys_locked(const struct wg *wg);

/*
 * Sets our key, clamped; all sessions and handshakes end. The same key again changes nothing. An
 * all-zero key: we initiate and answer nothing.
 */
void wg_set_private_key(struct wg *wg, const uint8_t priv[static WG_KEY_LEN]);
const uint8_t *wg_public_key(const struct wg *wg);
const uint8_t *wg_private_key(const struct wg *wg); /* in the arena; for the configuration socket */

/* Wall clock = now + offset (nanoseconds since 1970); for TAI64N alone. Set once a turn. */
void wg_set_wall_offset(struct wg *wg, nsec offset);
/*
 * TAI64N as a count of nanoseconds since 1970. The floor is what may already have been sent (kept in
 * the state directory); timestamps sent are max(wall clock, last sent + 1).
 */
void wg_set_timestamp_floor(struct wg *wg, int64_t ns);
int64_t wg_timestamp_last(const struct wg *wg);
/*
 * The last 16 bits of each timestamp that we send; 0: the clock's. Stock peers compare timestamps and
 * look at nothing in them, so it says who we are to those who know it, in no byte more. At most
 * WG_MARK_MAX: the nanoseconds stay below a second.
 */
void wg_set_mark(struct wg *wg, uint16_t mark);

/* X25519 helpers for genkey and pubkey. */
void wg_key_clamp(uint8_t priv[static WG_KEY_LEN]);
void wg_key_generate(uint8_t priv[static WG_KEY_LEN]);
void wg_key_public(const uint8_t priv[static WG_KEY_LEN], uint8_t pub[static WG_KEY_LEN]);

/* --- peers --- */

/*
 * NULL with errno: ENOSPC when the table is full, EEXIST when the key is our own or already there, ENOMEM.
 * A key of low order, with which nobody has a secret, makes a peer as any other; there is never a handshake
 * with it.
 */
struct wg_peer *wg_peer_add(struct wg *wg, const uint8_t pub[static WG_KEY_LEN], void *user);
void wg_peer_remove(struct wg *wg, struct wg_peer *p);
struct wg_peer *wg_peer_find(const struct wg *wg, const uint8_t pub[static WG_KEY_LEN]);
void wg_peer_set_psk(struct wg_peer *p, const uint8_t psk[static WG_KEY_LEN]);
/* Of the timestamps to this peer, in place of wg_set_mark()'s; 0: that one. At most WG_MARK_MAX. */
void wg_peer_set_mark(struct wg_peer *p, uint16_t mark);
void wg_peer_set_keepalive(struct wg *wg, struct wg_peer *p, nsec now,
			   unsigned seconds);	     /* 0: off */
const uint8_t *wg_peer_psk(const struct wg_peer *p); /* zeros: none. In the arena */
unsigned wg_peer_keepalive(const struct wg_peer *p); /* seconds; 0: off */
void *wg_peer_user(const struct wg_peer *p);
const uint8_t *wg_peer_public(const struct wg_peer *p);
/* All sessions, handshakes and timers end; keepalives go on with wg_peer_start(). */
void wg_peer_stop(struct wg_peer *p);
void wg_peer_start(struct wg_peer *p, nsec now);
/*
 * HMAC(X25519(static, static) mixed with the peer's PSK, label): a key for one use besides WireGuard.
 * Random where there is no secret with that key.
 */
void wg_peer_derive(struct wg_peer *p, const char *label, uint8_t out[static 32]);

struct wg_peer_stats {
	nsec last_handshake;	     /* when the newest session was confirmed; 0 never */
	nsec last_received;	     /* last authenticated packet; 0 never */
	uint64_t tx_bytes, rx_bytes; /* of datagrams, as `wg show` counts */
	uint64_t handshakes;
	bool can_send; /* there is a session that may still send */
};

void wg_peer_stats(const struct wg_peer *p, nsec now, struct wg_peer_stats *out);

/* --- handshakes --- */

/*
 * Starts a handshake now, or `delay` later, unless one is in flight or a session is younger than
 * REKEY_TIMEOUT; resets the count of attempts. The message comes out of wg_poll().
 */
void wg_peer_initiate(struct wg *wg, struct wg_peer *p, nsec now, nsec delay);

/*
 * Starts a handshake at once in place of one that is in flight: its answer was not for the PSK that
 * we tried, which only the owner can know.
 */
void wg_peer_restart(struct wg *wg, struct wg_peer *p, nsec now);

struct wg_reply {
	uint8_t bytes[WG_MESSAGE_MAX];
	size_t len;	      /* 0: nothing to send. Else it goes where the message came from */
	struct wg_peer *peer; /* whom an accepted message is from; NULL for a cookie reply sent */
	bool session_up;      /* a session that may send came to be: staged packets can go */
	uint16_t mark;	      /* of an accepted message 1: the end of its timestamp */
	struct wg_peer *mismatch; /* DROP_WG_BAD_HANDSHAKE of message 2: whose answer did not fit */
};

/*
 * A message of type 1, 2 or 3, whole. `src` is the sender's address as opaque bytes (≤ 32), for
 * cookies, and rate limits (by the first 16 bytes, where struct addr should be; IPv6 by its /64). Whatever is wrong with it has a drop reason and changes nothing.
 * DROP_WG_COOKIE_SENT comes with a reply.
 */
enum drop wg_handshake_input(struct wg *wg, nsec now, const uint8_t *msg, size_t len,
			     const uint8_t *src, size_t srclen, struct wg_reply *reply);

/* --- data --- */

struct wg_packet {
	uint8_t *data; /* the datagram: 16 bytes of header, then the inner packet */
	/*
	 * Seal, in: bytes of the inner packet; there must be room behind for padding and 16 more.
	 * Open, in: bytes of the datagram.
	 * Seal, out: bytes of the datagram. Open, out: bytes of plaintext, padding included, 0 for a
	 * keepalive; the plaintext is at data + 16.
	 */
	uint32_t len;
	uint32_t padded;      /* seal, in: plaintext length after padding; ≥ len (wg_padded()) */
	struct wg_peer *peer; /* open, out */
	bool confirmed;	      /* open, out: the first packet of a responder's session */
	enum drop drop;	      /* out */
};

/*
 * Length after padding: a multiple of 16 (paper 5.4.6); none where that is beyond the inner MTU, of which
 * a route, which only the kernel knows, may leave less.
 */
static inline uint32_t wg_padded(uint32_t len, uint32_t mtu)
{
	uint32_t padded = (len + WG_PADDING - 1) & ~(uint32_t)(WG_PADDING - 1);
	return padded <= mtu ? padded : len;
}

/* True when wg_seal() would work now. Otherwise stage the packet and call wg_peer_initiate(). */
bool wg_can_send(const struct wg_peer *p, nsec now);
/*
 * Seals up to n packets of one peer in order, all or none: DROP_NONE, or DROP_WG_EXPIRED where there
 * is no session (nothing is changed), or DROP_WG_NOT_SEALED where the library failed: none of them may
 * be sent, and their text is of no more use. Rekeys are started as a side effect (out of wg_poll()).
 */
enum drop wg_seal(struct wg *wg, struct wg_peer *p, nsec now, struct wg_packet *pkts, size_t n);
/*
 * Does a data message that begins with these WG_DATA_HEADER_LEN bytes look like one that we sent to
 * the peer of late (the latest million)? For what is quoted in an ICMP message: it takes the receiver's index and a counter in use.
 */
bool wg_sent_of_late(const struct wg_peer *p, const uint8_t header[static WG_DATA_HEADER_LEN]);
/*
 * Opens n data messages of any peers; each gets its peer and its drop reason. Counters are checked
 * after authentication. Where one has confirmed its peer's responder session (staged packets can go),
 * it says so. Call with packets of one receive batch.
 */
void wg_open(struct wg *wg, nsec now, struct wg_packet *pkts, size_t n);

/* --- timers --- */

enum wg_event {
	WG_EVENT_SEND,	  /* `bytes` of `len` go to the peer (initiation, keepalive) */
	WG_EVENT_GAVE_UP, /* no answer for REKEY_ATTEMPT_TIME: drop what is staged */
};

struct wg_output {
	enum wg_event event;
	struct wg_peer *peer;
	size_t len;
	bool handshake; /* to be sent with DSCP AF41, as stock peers do */
	uint8_t bytes[WG_MESSAGE_MAX];
};

/* The next thing to do; false when there is nothing more at `now`. */
bool wg_poll(struct wg *wg, nsec now, struct wg_output *out);
/* A message of it had nowhere to go: its bytes do not count. */
void wg_peer_unsent(struct wg_peer *p, size_t len);
nsec wg_deadline(const struct wg *wg);

#endif
