/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this room share: the device, its peers, their handshakes and sessions.
 *
 *	wg.c         the device and its peers: who exists, and their long-lived keys
 *	handshake.c  messages 1 to 3 against the state of a peer (noise.c, cookie.c do the mathematics)
 *	session.c    which sessions a peer has, and under which one it sends
 *	data.c       messages 4, in batches
 *	timers.c     when something happens by itself
 *	index.c      receiver index → handshake or session
 *
 * Every key is in the arena. Nothing here is part of the room's contract (crypto/wg.h).
 */
#ifndef WARREN_WG_CORE_H
#define WARREN_WG_CORE_H

#include "base/arena.h"
#include "base/heap.h"
#include "base/replay.h"
#include "crypto/cookie.h"
#include "crypto/messages.h"
#include "crypto/noise.h"

/* Something that a peer addresses by a random number of ours. 0: not in the table. */
struct indexed {
	uint32_t index;
	bool is_session;
	struct wg_peer *peer;
	struct indexed *next; /* in its bucket */
};

struct index_table {
	struct indexed **buckets;
	uint32_t mask;
};

/* False where memory is refused. */
MUST_CHECK bool index_init(struct index_table *t, uint32_t expected);
void index_free(struct index_table *t);
void index_add(struct index_table *t, struct indexed *i); /* chooses the number */
void index_remove(struct index_table *t, struct indexed *i);
/* `to` takes the number over. */
void index_hand_over(struct index_table *t, struct indexed *from, struct indexed *to);
struct indexed *index_find(const struct index_table *t, uint32_t index);

/* --- what stands in the slots of the arena --- */

struct device_keys {
	uint8_t priv[WG_KEY_LEN], pub[WG_KEY_LEN];
	uint8_t cookie_secrets[2][BLAKE2S_LEN];
};

struct peer_keys {
	uint8_t static_static[WG_KEY_LEN];
	uint8_t psk[WG_KEY_LEN];
	uint8_t ephemeral[WG_KEY_LEN]; /* of the initiation in flight */
	uint8_t ck[BLAKE2S_LEN];
};

struct session_keys {
	uint8_t send[AEAD_KEY_LEN], receive[AEAD_KEY_LEN];
};

union arena_slot {
	struct device_keys device;
	struct peer_keys peer;
	struct session_keys session;
};

/* --- sessions --- */

enum {
	/* 8192 packets are 90 ms at 1 Gbit/s, and moving between paths may take longer. */
	REPLAY_BITS = 32768,
	REPLAY_WORDS = REPLAY_BITS / 64,
	PREVIOUS = 2, /* of a rekey and a crossing at once, each has packets under way */
	SESSIONS_MAX = PREVIOUS + 2,
};

struct session {
	struct indexed in; /* our receiver index */
	uint32_t remote;   /* theirs */
	uint32_t crossed;  /* responder: index of our own initiation then in flight; 0: none was */
	bool initiator;	   /* we were */
	bool sent;	   /* something was sealed under it */
	nsec born;
	uint64_t counter; /* of the next packet that we seal */
	struct session_keys *keys;
	struct replay replay;
	uint64_t ring[REPLAY_WORDS];
};

/*
 * Which sessions a peer has. All of them receive until they expire:
 *
 * next      we were the responder and nothing has come in under it: we may not send (paper 5.4.5:
 *           message 2 may have been lost). The first packet confirms it.
 * current   the one we send under.
 * previous  receive only.
 *
 * After a crossing both sides have two young sessions, one made by each. Both prefer the one whose
 * initiator has the smaller key, but may not see the same overlap, if messages were reordered; so the
 * side with the larger key follows the other: it sends under that of the two which last brought
 * something. So they always end on the same one, and nothing depends on it: both can receive on both.
 */
struct sessions {
	struct session *current, *next, *previous[PREVIOUS];
};

/* A session not yet in the peer's list; NULL where memory is refused. */
struct session *session_new(struct wg_peer *p, bool initiator, nsec now);
void session_free(struct wg_peer *p, struct session *s); /* wipes; NULL is fine */
void sessions_drop(struct wg_peer *p);			 /* all of them */
/* Frees what is older than REJECT_AFTER_TIME; returns when that is next to be done. */
nsec sessions_expire(struct wg_peer *p, nsec now);
/* The peer's list owns it from here. */
void session_made_as_responder(struct wg_peer *p, struct session *s, nsec now);
void session_made_as_initiator(struct wg_peer *p, struct session *s, nsec now);
/* A packet came in under `s`, authenticated and not seen before. True when that confirmed it. */
bool session_received(struct wg_peer *p, struct session *s, nsec now);

static inline bool session_alive(const struct session *s, nsec now)
{
	return now - s->born < REJECT_AFTER_TIME;
}

static inline bool session_can_send(const struct session *s, nsec now)
{
	return s && now - s->born < REJECT_AFTER_TIME - SEND_MARGIN &&
	       s->counter < REJECT_AFTER_MESSAGES;
}

/* --- peers --- */

/* The timers of the paper's section 6, and what else has to happen at its time. */
enum timer_kind {
	TIMER_START,	  /* a handshake was asked for */
	TIMER_RETRY,	  /* no answer to the initiation */
	TIMER_RESEND,	  /* a cookie came: the same message again, with mac2 */
	TIMER_CONFIRM,	  /* the session that we made is still without a packet of ours */
	TIMER_KEEPALIVE,  /* received data and had nothing to say since */
	TIMER_SILENCE,	  /* sent data and heard nothing since */
	TIMER_PERSISTENT, /* the configured keepalive */
	TIMER_EXPIRE,	  /* a session is over */
	TIMER_KINDS
};

struct peer_timer {
	struct timer t;
	struct wg_peer *peer;
	enum timer_kind kind;
};

/* A handshake message as it was sent last, for the cookie reply that may come. */
struct sent_message {
	uint8_t bytes[WG_MESSAGE_MAX];
	size_t len;	/* 0: none */
	uint32_t index; /* the sender index in it */
	bool resent, resend;
};

/* Our initiation in flight. */
struct initiation {
	struct indexed in; /* in.index 0: none is in flight */
	bool moot; /* a session came up otherwise: a late answer is welcome, a retry needless */
	unsigned attempts;
	uint8_t hash[BLAKE2S_LEN];
};

struct wg_peer {
	struct wg *wg;
	struct wg_peer *next_in_bucket;
	void *user;
	uint8_t pub[WG_KEY_LEN];
	struct peer_keys *keys;
	/* whether keys->static_static is there; peer_secret() */
	enum { SECRET_NOT_TRIED, SECRET_THERE, SECRET_NONE } secret;
	bool we_follow; /* our key is the larger one */

	struct initiation initiation;
	struct sent_message sent_initiation, sent_response;
	struct cookie_jar jar;
	uint8_t greatest_timestamp[TIMESTAMP_LEN];
	nsec last_initiation; /* accepted from the peer */
	bool initiated;	      /* last_initiation counts */
	struct sessions sessions;

	struct peer_timer timers[TIMER_KINDS];
	uint16_t mark;	 /* 0: the device's */
	nsec persistent; /* 0: off */
	bool another_keepalive;
	nsec silence_jitter; /* drawn anew with each session: the silence timer is armed all the time */

	nsec last_handshake, last_received;
	uint64_t tx_bytes, rx_bytes, handshakes;
};

struct wg {
	struct wg_config cfg;
	struct arena *arena;
	struct device_keys *keys;
	bool has_key;
	nsec wall_offset;
	int64_t last_timestamp;
	uint16_t mark;
	struct cookie_checker checker;
	struct index_table indices;
	struct heap heap;
	struct wg_peer **buckets; /* by public key */
	uint32_t bucket_mask, n_peers;
	uint8_t bucket_seed[16];
};

/* --- wg.c --- */

/*
 * The static-static secret, made when it is first needed, so that a thousand peers or another key of
 * ours cost no more than the handshakes that come of them. False: with our present key there is none.
 */
MUST_CHECK bool peer_secret(struct wg_peer *p);

/* --- handshake.c --- */

/* Makes message 1 and puts it in flight. False where it cannot be made. */
MUST_CHECK bool initiation_make(struct wg_peer *p, nsec now, struct wg_output *out);
void initiation_forget(struct wg_peer *p); /* wipes; a late answer finds nothing */
/* A message to send again with the cookie that came; false when there is none (any more). */
MUST_CHECK bool resend_take(struct wg_peer *p, nsec now, struct wg_output *out);

static inline bool initiation_in_flight(const struct wg_peer *p)
{
	return p->initiation.in.index;
}

/* --- data.c --- */

/* An empty packet under the current session. False where it cannot be made. */
MUST_CHECK bool keepalive_make(struct wg_peer *p, nsec now, struct wg_output *out);

/* --- timers.c: each is to be called after what its name says --- */

void timers_init(struct wg_peer *p);
void timers_stop(struct wg_peer *p);
void timers_data_sent(struct wg_peer *p, nsec now);
void timers_data_received(struct wg_peer *p, nsec now);
void timers_any_sent(struct wg_peer *p, nsec now); /* authenticated, of any kind */
void timers_any_received(struct wg_peer *p, nsec now);
void timers_initiation_sent(struct wg_peer *p, nsec now);
void timers_session_made(struct wg_peer *p, nsec now);
void timers_initiator_completed(struct wg_peer *p, nsec now);
void timers_handshake_completed(struct wg_peer *p, nsec now); /* in either role */
void timers_cookie_received(struct wg_peer *p, nsec now);
void timers_persistent_changed(struct wg_peer *p, nsec now, nsec before);
/* Asks for a handshake, unless one is in flight or needless. */
void timers_handshake_wanted(struct wg_peer *p, nsec now, nsec delay);

#endif
