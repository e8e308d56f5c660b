/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages 1 to 3 (paper 5.4.2 to 5.4.4, 5.4.7). Everything is computed on locals; the peer is touched
 * last, and only by a message that was right in every way.
 */
#include "crypto/core.h"

#include <sodium.h>

static const char prologue[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
#define PROLOGUE_LEN (sizeof(prologue) - 1)

static_assert(crypto_scalarmult_SCALARBYTES == WG_KEY_LEN, "X25519");

/* What came in, with what is known of it so far. */
struct input {
	struct wg *wg;
	nsec now;
	const uint8_t *msg;
	size_t len;
	struct source src;
	enum cookie_state macs;
	struct wg_reply *reply;
};

static void make_ephemeral(uint8_t priv[static WG_KEY_LEN], uint8_t pub[static WG_KEY_LEN])
{
	wg_key_generate(priv);
	wg_key_public(priv, pub);
}

/* The first time from `ns` on whose nanoseconds end in the mark. */
static int64_t with_mark(int64_t ns, uint16_t mark)
{
	int64_t second = ns - ns % NSEC_PER_SEC;
	int64_t nanos = (ns % NSEC_PER_SEC & ~(int64_t)UINT16_MAX) | mark;

	if (second + nanos < ns)
		nanos += 1 << 16;
	return nanos < NSEC_PER_SEC ? second + nanos : second + NSEC_PER_SEC + mark;
}

/*
 * TAI64N (paper 5.1): greater than any that we may have sent, so that a clock that steps back locks
 * nobody out.
 */
static void next_timestamp(struct wg *wg, nsec now, uint16_t mark,
			   uint8_t out[static TIMESTAMP_LEN])
{
	int64_t ns = now + wg->wall_offset;
	if (ns <= wg->last_timestamp)
		ns = wg->last_timestamp + 1;
	if (mark)
		ns = with_mark(ns, mark);
	wg->last_timestamp = ns;
	store_be64(out, ((uint64_t)1 << 62) + 10 + (uint64_t)(ns / NSEC_PER_SEC));
	store_be32(out + 8, (uint32_t)(ns % NSEC_PER_SEC));
}

/* Adds the macs and keeps a copy, since a cookie reply is bound to it. */
static void seal_macs(struct wg_peer *p, nsec now, struct sent_message *sent, uint8_t *msg,
		      size_t len, uint32_t index)
{
	cookie_add_macs(&p->jar, now, msg, len);
	memcpy(sent->bytes, msg, len);
	sent->len = len;
	sent->index = index;
	sent->resent = sent->resend = false;
}

static void emit(struct wg_peer *p, nsec now, const struct sent_message *sent,
		 struct wg_output *out)
{
	*out = (struct wg_output){
		.event = WG_EVENT_SEND, .peer = p, .len = sent->len, .handshake = true
	};
	memcpy(out->bytes, sent->bytes, sent->len);
	p->tx_bytes += sent->len;
	timers_any_sent(p, now);
}

void initiation_forget(struct wg_peer *p)
{
	index_remove(&p->wg->indices, &p->initiation.in);
	sodium_memzero(p->keys->ephemeral, sizeof(p->keys->ephemeral));
	sodium_memzero(p->keys->ck, sizeof(p->keys->ck));
	sodium_memzero(p->initiation.hash, sizeof(p->initiation.hash));
	p->initiation.moot = false;
	p->sent_initiation.len = 0;
}

/* The cryptography of message 1, into `m` and *n. */
static bool write_initiation(struct wg_peer *p, nsec now, const uint8_t *ephemeral, struct noise *n,
			     struct msg_initiation *m)
{
	struct wg *wg = p->wg;
	uint8_t timestamp[TIMESTAMP_LEN];

	wg_key_public(ephemeral, m->ephemeral);
	next_timestamp(wg, now, p->mark ? p->mark : wg->mark, timestamp);
	noise_begin(n, prologue, PROLOGUE_LEN, p->pub);
	return noise_write_1(n, (struct noise_pair){ ephemeral, m->ephemeral },
			     (struct noise_pair){ wg->keys->priv, wg->keys->pub }, p->pub,
			     p->keys->static_static,
			     (struct bytes_view){ timestamp, sizeof(timestamp) }, m->static_key,
			     m->timestamp);
}

bool initiation_make(struct wg_peer *p, nsec now, struct wg_output *out)
{
	uint8_t ephemeral[WG_KEY_LEN];
	struct msg_initiation m = { 0 };
	struct noise n;
	bool ok = false;

	if (!peer_secret(p))
		return false;
	wg_key_generate(ephemeral);
	if (!write_initiation(p, now, ephemeral, &n, &m))
		goto out;

	initiation_forget(p);
	index_add(&p->wg->indices, &p->initiation.in);
	memcpy(p->keys->ephemeral, ephemeral, WG_KEY_LEN);
	memcpy(p->keys->ck, n.ck, BLAKE2S_LEN);
	memcpy(p->initiation.hash, n.hash, BLAKE2S_LEN);
	p->initiation.attempts++;
	store_le32(m.type.b, WG_INITIATION);
	store_le32(m.sender.b, p->initiation.in.index);
	seal_macs(p, now, &p->sent_initiation, (uint8_t *)&m, sizeof(m), p->initiation.in.index);
	emit(p, now, &p->sent_initiation, out);
	timers_initiation_sent(p, now);
	ok = true;
out:
	sodium_memzero(ephemeral, sizeof(ephemeral));
	sodium_memzero(&n, sizeof(n));
	return ok;
}

/* --- the responder --- */

/* The peer whose key is in message 1, made by the owner where it was unknown; NULL and why. */
static struct wg_peer *initiator_of(const struct input *in, const struct msg_initiation *m,
				    struct noise *n, uint8_t timestamp[static TIMESTAMP_LEN],
				    enum drop *why)
{
	struct wg *wg = in->wg;
	struct bytes_view sealed = { m->timestamp, sizeof(m->timestamp) };
	uint8_t pub[WG_KEY_LEN], ss[WG_KEY_LEN];
	struct wg_peer *p = NULL;

	*why = DROP_WG_BAD_HANDSHAKE;
	noise_begin(n, prologue, PROLOGUE_LEN, wg->keys->pub);
	if (!noise_read_1_static(n, (struct noise_pair){ wg->keys->priv, wg->keys->pub },
				 m->ephemeral, m->static_key, pub))
		return NULL;
	p = wg_peer_find(wg, pub);
	if (p && peer_secret(p)) {
		bool ok = noise_read_1_payload(n, p->keys->static_static, sealed, timestamp);
		return ok ? p : NULL;
	}

	/* A stranger first shows that its address is real, then that the key is its own. */
	*why = DROP_WG_UNKNOWN_KEY;
	if (p || !wg->cfg.adopt)
		return NULL;
	if (in->macs != MAC_COOKIE) {
		*why = DROP_WG_COOKIE_SENT;
		return NULL;
	}
	if (!noise_dh(ss, wg->keys->priv, pub) || !noise_read_1_payload(n, ss, sealed, timestamp))
		*why = DROP_WG_BAD_HANDSHAKE;
	else
		p = wg->cfg.adopt(wg->cfg.user, pub);
	sodium_memzero(ss, sizeof(ss));
	return p;
}

/* Message 2, and the session that comes of it. */
static bool write_response(struct wg_peer *p, const struct msg_initiation *m, struct noise *n,
			   struct session *s, struct msg_response *out)
{
	uint8_t ephemeral[WG_KEY_LEN];
	struct noise_response r = { .initiator_ephemeral = m->ephemeral,
				    .initiator_static = p->pub,
				    .psk = p->keys->psk };

	make_ephemeral(ephemeral, out->ephemeral);
	bool ok = noise_write_2(n, (struct noise_pair){ ephemeral, out->ephemeral }, &r,
				(struct bytes_view){ "", 0 }, out->empty);
	if (ok)
		noise_split(n, s->keys->receive, s->keys->send);
	sodium_memzero(ephemeral, sizeof(ephemeral));
	return ok;
}

static enum drop answer(const struct input *in, struct wg_peer *p, const struct msg_initiation *m,
			struct noise *n)
{
	struct msg_response r = { 0 };
	struct session *s = session_new(p, false, in->now);

	if (!s)
		return DROP_WG_HANDSHAKE_RATE;
	if (!write_response(p, m, n, s, &r)) {
		session_free(p, s);
		return DROP_WG_BAD_HANDSHAKE;
	}
	s->remote = load_le32(m->sender.b);
	index_add(&p->wg->indices, &s->in);
	store_le32(r.type.b, WG_RESPONSE);
	store_le32(r.sender.b, s->in.index);
	store_le32(r.receiver.b, s->remote);
	seal_macs(p, in->now, &p->sent_response, (uint8_t *)&r, sizeof(r), s->in.index);
	memcpy(in->reply->bytes, p->sent_response.bytes, sizeof(r));
	in->reply->len = sizeof(r);
	session_made_as_responder(p, s, in->now);
	return DROP_NONE;
}

static enum drop check_freshness(const struct wg_peer *p, nsec now, const uint8_t *timestamp)
{
	/* Public by now to whoever holds the peer's key: no need for constant time. */
	if (memcmp(timestamp, p->greatest_timestamp, TIMESTAMP_LEN) <= 0)
		return DROP_WG_STALE_TIMESTAMP;
	if (p->initiated && now - p->last_initiation < INITIATION_INTERVAL)
		return DROP_WG_HANDSHAKE_RATE;
	return DROP_NONE;
}

static enum drop take_initiation(const struct input *in, const struct msg_initiation *m,
				 struct noise *n)
{
	uint8_t timestamp[TIMESTAMP_LEN];
	enum drop why;
	struct wg_peer *p = initiator_of(in, m, n, timestamp, &why);
	uint16_t mark;

	if (!p)
		return why;
	why = check_freshness(p, in->now, timestamp);
	if (why != DROP_NONE)
		return why;
	mark = load_be16(timestamp + TIMESTAMP_LEN - 2);
	if (in->wg->cfg.before_response)
		in->wg->cfg.before_response(in->wg->cfg.user, p, mark);
	why = answer(in, p, m, n);
	if (why != DROP_NONE)
		return why;

	memcpy(p->greatest_timestamp, timestamp, TIMESTAMP_LEN);
	p->last_initiation = p->last_received = in->now;
	p->initiated = true;
	p->rx_bytes += in->len;
	p->tx_bytes += in->reply->len;
	timers_any_received(p, in->now);
	timers_any_sent(p, in->now);
	in->reply->peer = p;
	in->reply->mark = mark;
	return DROP_NONE;
}

static enum drop consume_initiation(const struct input *in)
{
	struct msg_initiation m;
	struct noise n;

	memcpy(&m, in->msg, sizeof(m));
	enum drop why = take_initiation(in, &m, &n);
	sodium_memzero(&n, sizeof(n));
	return why;
}

/* --- the initiator --- */

static bool read_response(struct wg_peer *p, const struct msg_response *m, struct session *s)
{
	struct noise n;
	uint8_t nothing[1];

	memcpy(n.ck, p->keys->ck, BLAKE2S_LEN);
	memcpy(n.hash, p->initiation.hash, BLAKE2S_LEN);
	bool ok =
		noise_read_2(&n, p->keys->ephemeral, p->wg->keys->priv, m->ephemeral, p->keys->psk,
			     (struct bytes_view){ m->empty, sizeof(m->empty) }, nothing);
	if (ok)
		noise_split(&n, s->keys->send, s->keys->receive);
	sodium_memzero(&n, sizeof(n));
	return ok;
}

static enum drop consume_response(const struct input *in, struct wg_peer *p)
{
	struct msg_response m;
	struct session *s = session_new(p, true, in->now);

	if (!s)
		return DROP_WG_HANDSHAKE_RATE;
	memcpy(&m, in->msg, sizeof(m));
	if (!read_response(p, &m, s)) {
		session_free(p, s);
		in->reply->mismatch = p;
		return DROP_WG_BAD_HANDSHAKE;
	}
	s->remote = load_le32(m.sender.b);
	index_hand_over(&p->wg->indices, &p->initiation.in, &s->in);
	initiation_forget(p);
	p->last_received = in->now;
	p->rx_bytes += in->len;
	timers_any_received(p, in->now);
	session_made_as_initiator(p, s, in->now);
	in->reply->peer = p;
	in->reply->session_up = true;
	return DROP_NONE;
}

/* --- cookies --- */

bool resend_take(struct wg_peer *p, nsec now, struct wg_output *out)
{
	struct sent_message *both[] = { &p->sent_initiation, &p->sent_response };
	for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
		struct sent_message *m = both[i];
		if (!m->len || !m->resend)
			continue;
		m->resend = false;
		m->resent = true;
		cookie_add_macs(&p->jar, now, m->bytes, m->len);
		emit(p, now, m, out);
		if (both[1]->resend)
			timers_cookie_received(p, now);
		return true;
	}
	return false;
}

static enum drop consume_cookie(const struct input *in)
{
	struct msg_cookie m;
	memcpy(&m, in->msg, sizeof(m));
	uint32_t index = load_le32(m.receiver.b);
	struct indexed *i = index_find(&in->wg->indices, index);
	if (!i)
		return DROP_WG_UNKNOWN_INDEX;

	struct wg_peer *p = i->peer;
	struct sent_message *sent = i->is_session ? &p->sent_response : &p->sent_initiation;
	if (!sent->len || sent->index != index)
		return DROP_WG_BAD_COOKIE;
	const uint8_t *macs = sent->bytes + sent->len - sizeof(struct msg_macs);
	if (!cookie_consume(&p->jar, in->now, &m, (const struct msg_macs *)(const void *)macs))
		return DROP_WG_BAD_COOKIE;
	p->rx_bytes += in->len;
	/* Who sees our messages can make cookie replies: each message is sent again once at most. */
	if (!sent->resent) {
		sent->resend = true;
		timers_cookie_received(p, in->now);
	}
	in->reply->peer = p;
	return DROP_NONE;
}

/* --- the gate --- */

/* The type of a message of this exact length; 0 where there is none such. */
static uint32_t classify(const uint8_t *msg, size_t len)
{
	static const size_t lengths[] = { [WG_INITIATION] = WG_INITIATION_LEN,
					  [WG_RESPONSE] = WG_RESPONSE_LEN,
					  [WG_COOKIE] = WG_COOKIE_LEN };
	uint32_t type = len >= 4 ? load_le32(msg) : 0;
	return type < ARRAY_SIZE(lengths) && lengths[type] == len ? type : 0;
}

static enum drop demand_cookie(const struct input *in)
{
	uint32_t sender = load_le32(in->msg + offsetof(struct msg_initiation, sender));
	cookie_reply(&in->wg->checker, in->now, in->msg, in->len, sender, in->src,
		     in->reply->bytes);
	in->reply->len = WG_COOKIE_LEN;
	return DROP_WG_COOKIE_SENT;
}

/* Under load, only moderate senders with real addresses cost us more than a hash. */
static enum drop check_load(const struct input *in)
{
	bool loaded = cookie_under_load(&in->wg->checker, in->now);
	if (loaded && in->macs != MAC_COOKIE)
		return demand_cookie(in);
	if (loaded && !cookie_source_allowed(&in->wg->checker, in->now, in->src))
		return DROP_WG_HANDSHAKE_RATE;
	if (in->wg->cfg.before_handshake)
		in->wg->cfg.before_handshake(in->wg->cfg.user, in->now);
	return DROP_NONE;
}

/* The peer whose initiation a response answers. */
static struct wg_peer *answered(const struct input *in)
{
	uint32_t index = load_le32(in->msg + offsetof(struct msg_response, receiver));
	struct indexed *i = index_find(&in->wg->indices, index);
	return i && !i->is_session ? i->peer : NULL;
}

static enum drop handle_initiation(const struct input *in)
{
	enum drop why = check_load(in);
	if (why == DROP_NONE)
		why = consume_initiation(in);
	if (why == DROP_WG_COOKIE_SENT && !in->reply->len)
		demand_cookie(in);
	return why;
}

static enum drop handle_response(const struct input *in)
{
	if (!answered(in)) /* costs nothing, so it is no load */
		return DROP_WG_UNKNOWN_INDEX;
	enum drop why = check_load(in);
	if (why != DROP_NONE)
		return why;
	struct wg_peer *p = answered(in); /* the owner may have removed it just now */
	return p ? consume_response(in, p) : DROP_WG_UNKNOWN_INDEX;
}

enum drop wg_handshake_input(struct wg *wg, nsec now, const uint8_t *msg, size_t len,
			     const uint8_t *src, size_t srclen, struct wg_reply *reply)
{
	struct input in = {
		.wg = wg, .now = now, .msg = msg, .len = len, .src = { src, srclen }, .reply = reply
	};

	reply->len = 0;
	reply->peer = reply->mismatch = NULL;
	reply->session_up = false;
	uint32_t type = classify(msg, len);
	if (!type)
		return DROP_OUTER_BAD_LENGTH;
	if (!wg->has_key)
		return type == WG_COOKIE ? DROP_WG_UNKNOWN_INDEX : DROP_WG_BAD_MAC1;
	if (type == WG_COOKIE)
		return consume_cookie(&in);
	in.macs = cookie_check(&wg->checker, now, msg, len, in.src);
	if (in.macs == MAC_INVALID)
		return DROP_WG_BAD_MAC1;
	return type == WG_INITIATION ? handle_initiation(&in) : handle_response(&in);
}
