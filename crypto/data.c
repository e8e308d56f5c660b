/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages 4 (paper 5.4.6), in batches: packets of one session that follow one another go to the
 * AEAD as one call.
 */
#include "crypto/core.h"

enum { BATCH = 64, HEADER = WG_DATA_HEADER_LEN };

bool wg_can_send(const struct wg_peer *p, nsec now)
{
	return session_can_send(p->sessions.current, now);
}

/* --- sealing --- */

static void write_header(uint8_t *p, const struct session *s, uint64_t counter)
{
	struct msg_data m;
	store_le32(m.type.b, WG_DATA);
	store_le32(m.receiver.b, s->remote);
	store_le64(m.counter.b, counter);
	memcpy(p, &m, sizeof(m));
}

static bool all_sealed(const struct aead_job *jobs, size_t n)
{
	size_t i = 0;
	while (i < n && jobs[i].ok)
		i++;
	return i == n;
}

/* False where the library has failed; the counters are used up all the same, and never come again. */
static bool seal_batch(struct wg_peer *p, struct session *s, struct wg_packet *pkts, size_t n)
{
	struct aead_job jobs[BATCH];
	uint64_t bytes = 0;
	for (size_t i = 0; i < n; i++) {
		struct wg_packet *k = &pkts[i];
		uint8_t *text = k->data + HEADER;
		assert(k->padded >= k->len);
		memset(text + k->len, 0, k->padded - k->len);
		jobs[i] = (struct aead_job){ .text = text, .len = k->padded, .nonce = s->counter };
		write_header(k->data, s, s->counter++);
		k->len = HEADER + k->padded + AEAD_TAG_LEN;
		k->drop = DROP_NONE;
		bytes += k->len;
	}
	p->wg->cfg.aead->seal(s->keys->send, jobs, n);
	if (!all_sealed(jobs, n))
		return false;
	p->tx_bytes += bytes;
	s->sent = true;
	return true;
}

/* As to the session that we send under: those before it may be as old as they like. */
static void rekey_if_due(struct wg_peer *p, nsec now, nsec age)
{
	const struct session *s = p->sessions.current;
	if (s && (s->counter >= REKEY_AFTER_MESSAGES || (s->initiator && now - s->born >= age)))
		timers_handshake_wanted(p, now, 0);
}

enum drop wg_seal(struct wg *wg, struct wg_peer *p, nsec now, struct wg_packet *pkts, size_t n)
{
	struct session *s = p->sessions.current;
	bool data = false;
	(void)wg;

	if (!session_can_send(s, now) || n > REJECT_AFTER_MESSAGES - s->counter)
		return DROP_WG_EXPIRED;
	for (size_t i = 0; i < n; i++)
		data |= pkts[i].padded > 0;
	for (size_t done = 0; done < n; done += BATCH)
		if (!seal_batch(p, s, pkts + done, size_min(BATCH, n - done)))
			return DROP_WG_NOT_SEALED;
	if (n)
		timers_any_sent(p, now);
	if (data)
		timers_data_sent(p, now);
	rekey_if_due(p, now, REKEY_AFTER_TIME);
	return DROP_NONE;
}

static bool sent_under(const struct session *s, uint32_t index, uint64_t counter)
{
	enum { OF_LATE = 1 << 20 };
	return s && s->remote == index && counter < s->counter && s->counter - counter <= OF_LATE;
}

bool wg_sent_of_late(const struct wg_peer *p, const uint8_t header[static WG_DATA_HEADER_LEN])
{
	uint32_t index = msg_data_receiver(header);
	uint64_t counter = msg_data_counter(header);
	if (load_le32(header) != WG_DATA)
		return false;
	bool sent = sent_under(p->sessions.current, index, counter);
	for (int i = 0; i < PREVIOUS; i++)
		sent |= sent_under(p->sessions.previous[i], index, counter);
	return sent;
}

bool keepalive_make(struct wg_peer *p, nsec now, struct wg_output *out)
{
	struct wg_packet k = { .data = out->bytes };
	out->event = WG_EVENT_SEND;
	out->peer = p;
	out->handshake = false;
	if (wg_seal(p->wg, p, now, &k, 1) != DROP_NONE)
		return false;
	out->len = k.len;
	return true;
}

/* --- opening --- */

/*
 * What the paper asks of the initiator on receiving (6.2): to rekey in time that a session does not
 * run out under a peer that only sends. Never before REKEY_AFTER_TIME, where a test has shortened it.
 */
static nsec receive_rekey_age(void)
{
	return nsec_max(REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT, REKEY_AFTER_TIME);
}

/* The session of a data message, or NULL and its drop reason. */
static struct session *session_of(const struct wg *wg, nsec now, struct wg_packet *k)
{
	k->peer = NULL;
	k->confirmed = false;
	k->drop = DROP_OUTER_BAD_LENGTH;
	if (k->len < HEADER + AEAD_TAG_LEN || load_le32(k->data) != WG_DATA)
		return NULL;
	k->drop = DROP_WG_UNKNOWN_INDEX;
	struct indexed *i = index_find(&wg->indices, msg_data_receiver(k->data));
	if (!i || !i->is_session)
		return NULL;
	struct session *s = container_of(i, struct session, in);
	k->drop = DROP_WG_EXPIRED;
	if (!session_alive(s, now) || msg_data_counter(k->data) >= REJECT_AFTER_MESSAGES)
		return NULL;
	return s;
}

/* What a batch of one session brought. */
struct harvest {
	struct wg_packet *first;
	uint64_t bytes;
	bool data;
};

/* The counter is looked at after authentication: before, a forger could move the window. */
static void finish(struct session *s, struct wg_packet *k, const struct aead_job *job,
		   struct harvest *h)
{
	if (!job->ok) {
		k->drop = DROP_WG_BAD_TAG;
	} else if (!replay_accept(&s->replay, job->nonce)) {
		k->drop = DROP_WG_REPLAY;
	} else {
		k->drop = DROP_NONE;
		k->peer = s->in.peer;
		if (!h->first)
			h->first = k;
		h->data |= job->len > 0;
		h->bytes += k->len;
		k->len = job->len;
	}
}

static void note_received(struct session *s, nsec now, const struct harvest *h)
{
	struct wg_peer *p = s->in.peer;
	p->rx_bytes += h->bytes;
	p->last_received = now;
	timers_any_received(p, now);
	if (h->data)
		timers_data_received(p, now);
	h->first->confirmed = session_received(p, s, now);
	rekey_if_due(p, now, receive_rekey_age());
}

/* All of `n` packets are of this session. */
static void open_batch(struct wg *wg, struct session *s, nsec now, struct wg_packet *pkts, size_t n)
{
	struct aead_job jobs[BATCH];
	struct harvest h = { 0 };
	for (size_t i = 0; i < n; i++)
		jobs[i] = (struct aead_job){ .text = pkts[i].data + HEADER,
					     .len = pkts[i].len - HEADER - AEAD_TAG_LEN,
					     .nonce = msg_data_counter(pkts[i].data) };
	wg->cfg.aead->open(s->keys->receive, jobs, n);
	for (size_t i = 0; i < n; i++)
		finish(s, &pkts[i], &jobs[i], &h);
	if (h.first)
		note_received(s, now, &h);
}

void wg_open(struct wg *wg, nsec now, struct wg_packet *pkts, size_t n)
{
	size_t first = 0;
	while (first < n) {
		struct session *s = session_of(wg, now, &pkts[first]);
		size_t end = first + 1;
		if (!s) {
			first = end;
			continue;
		}
		while (end < n && end - first < BATCH && session_of(wg, now, &pkts[end]) == s)
			end++;
		open_batch(wg, s, now, pkts + first, end - first);
		first = end;
	}
}
