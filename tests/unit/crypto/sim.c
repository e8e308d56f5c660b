/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#define FAIL(s, ...)                                                                               \
	do {                                                                                       \
		print_error("seed %u at %.3f s: ", (s)->seed, (double)(s)->now / 1e9);             \
		fail_msg(__VA_ARGS__);                                                             \
	} while (0)

static void make_end(struct sim *s, int i)
{
	struct wg_config cfg = { .max_peers = 2, .aead = test_aead() };
	uint8_t pub[WG_KEY_LEN];
	s->end[i].wg = wg_new(&cfg);
	assert_non_null(s->end[i].wg);
	wg_set_private_key(s->end[i].wg, s->end[i].priv);
	wg_set_wall_offset(s->end[i].wg, 1700000000 * SEC);
	wg_key_public(s->end[1 - i].priv, pub);
	s->end[i].peer = wg_peer_add(s->end[i].wg, pub, NULL);
	assert_non_null(s->end[i].peer);
}

void sim_init(struct sim *s, unsigned seed)
{
	uint8_t pub[2][WG_KEY_LEN];
	memset(s, 0, sizeof(*s));
	seed_all(seed);
	s->seed = seed;
	s->now = SEC;
	s->delay[0] = s->delay[1] = 20 * MSEC;
	for (int i = 0; i < 2; i++) {
		wg_key_generate(s->end[i].priv);
		wg_key_public(s->end[i].priv, pub[i]);
	}
	if (memcmp(pub[0], pub[1], WG_KEY_LEN) > 0) {
		uint8_t t[WG_KEY_LEN];
		memcpy(t, s->end[0].priv, WG_KEY_LEN);
		memcpy(s->end[0].priv, s->end[1].priv, WG_KEY_LEN);
		memcpy(s->end[1].priv, t, WG_KEY_LEN);
	}
	make_end(s, 0);
	make_end(s, 1);
}

void sim_free(struct sim *s)
{
	wg_free(s->end[0].wg);
	wg_free(s->end[1].wg);
}

static void put(struct sim *s, int from, const struct datagram *m)
{
	nsec at = s->now + s->delay[from] +
		  (s->jitter ? (nsec)rnd_below((uint32_t)(s->jitter / 1000)) * 1000 : 0);
	if (s->in_order)
		at = nsec_max(at, s->last_arrival[from]);
	s->last_arrival[from] = at;
	assert_true(s->n_flight < SIM_FLIGHT);
	s->flight[s->n_flight++] = (struct sim_flight){ at, s->order++, 1 - from, *m };
}

static void transmit(struct sim *s, int from, const void *bytes, size_t len)
{
	struct datagram m = { .len = len };
	memcpy(m.b, bytes, len);
	s->n_sent++;
	if ((int)s->n_sent == s->drop_nth || rnd_below(1000) < s->loss)
		return;
	put(s, from, &m);
	if (rnd_below(1000) < s->duplication)
		put(s, from, &m);
}

/* Seals packet `id` of `from`. False when there is no session. */
static bool seal(struct sim *s, int from, unsigned id)
{
	struct sim_end *e = &s->end[from];
	uint8_t b[WG_DATA_HEADER_LEN + 16 + AEAD_TAG_LEN] = { 0 };
	struct wg_packet k = { .data = b, .len = 8, .padded = 16 };
	store_le32(b + 16, 0x45454545);
	store_le32(b + 20, id);
	if (!wg_can_send(e->peer, s->now)) {
		assert_int_equal(wg_seal(e->wg, e->peer, s->now, &k, 1), DROP_WG_EXPIRED);
		return false;
	}
	assert_int_equal(wg_seal(e->wg, e->peer, s->now, &k, 1), DROP_NONE);
	transmit(s, from, b, k.len);
	return true;
}

static void flush(struct sim *s, int from)
{
	struct sim_end *e = &s->end[from];
	while (e->staged_from < e->next_id && seal(s, from, e->staged_from))
		e->staged_from++;
}

void sim_send(struct sim *s, int from)
{
	struct sim_end *e = &s->end[from];
	assert_true(e->next_id < SIM_PACKETS);
	e->sent_at[e->next_id++] = s->now;
	flush(s, from);
	if (e->staged_from < e->next_id)
		wg_peer_initiate(e->wg, e->peer, s->now, 0);
}

void sim_initiate(struct sim *s, int from, nsec delay)
{
	wg_peer_initiate(s->end[from].wg, s->end[from].peer, s->now, delay);
}

void sim_restart(struct sim *s, int which)
{
	wg_free(s->end[which].wg);
	make_end(s, which);
}

static void take_plaintext(struct sim *s, int at, const uint8_t *p, uint32_t len)
{
	if (!len) {
		s->end[at].keepalives++;
		return;
	}
	uint32_t id = load_le32(p + 4);
	assert_int_equal(load_le32(p), 0x45454545);
	assert_true(id < s->end[1 - at].next_id);
	s->end[at].got[id]++;
	s->end[at].got_at[id] = s->now;
}

static void deliver_data(struct sim *s, int at, struct datagram *m)
{
	struct sim_end *e = &s->end[at];
	struct wg_packet k = { .data = m->b, .len = (uint32_t)m->len };
	wg_open(e->wg, s->now, &k, 1);
	if (k.drop == DROP_NONE) {
		assert_ptr_equal(k.peer, e->peer);
		take_plaintext(s, at, m->b + WG_DATA_HEADER_LEN, k.len);
	}
	if (k.confirmed)
		flush(s, at);
}

static void deliver_handshake(struct sim *s, int at, const struct datagram *m)
{
	struct sim_end *e = &s->end[at];
	static const uint8_t src[18] = { 1 };
	struct wg_reply r;
	enum drop why = wg_handshake_input(e->wg, s->now, m->b, m->len, src, sizeof(src), &r);
	if (e->stock && why == DROP_NONE && m->b[0] == WG_INITIATION) {
		initiation_forget(e->peer);
		if (e->peer->sessions.next)
			e->peer->sessions.next->crossed = 0;
	}
	if (r.len) {
		e->responses++;
		transmit(s, at, r.bytes, r.len);
	}
	if (r.session_up)
		flush(s, at);
}

static void poll_end(struct sim *s, int i)
{
	struct wg_output o;
	struct sim_end *e = &s->end[i];
	while (wg_poll(e->wg, s->now, &o)) {
		if (o.event == WG_EVENT_GAVE_UP) {
			e->gave_up++;
			for (; e->staged_from < e->next_id; e->staged_from++)
				e->given_up[e->staged_from] = true;
			continue;
		}
		e->initiations += o.handshake;
		transmit(s, i, o.bytes, o.len);
	}
	if (wg_deadline(e->wg) <= s->now)
		FAIL(s, "end %d has a deadline in the past", i);
}

static struct sim_flight *earliest(struct sim *s)
{
	struct sim_flight *f = NULL;
	for (unsigned i = 0; i < s->n_flight; i++) {
		struct sim_flight *g = &s->flight[i];
		if (!f || g->at < f->at || (g->at == f->at && g->order < f->order))
			f = g;
	}
	return f;
}

static void deliver_due(struct sim *s)
{
	struct sim_flight *f;
	while ((f = earliest(s)) && f->at <= s->now) {
		struct sim_flight one = *f;
		*f = s->flight[--s->n_flight];
		if (one.m.b[0] == WG_DATA)
			deliver_data(s, one.to, &one.m);
		else
			deliver_handshake(s, one.to, &one.m);
	}
}

static void send_due(struct sim *s, int i)
{
	struct sim_end *e = &s->end[i];
	if (!e->interval)
		return;
	if (e->next_send <= s->now && e->next_id < SIM_PACKETS) {
		sim_send(s, i);
		e->next_send = s->now + 1 + (nsec)rnd_below((uint32_t)(e->interval / 500)) * 1000;
	}
}

void sim_run(struct sim *s, nsec until)
{
	for (;;) {
		deliver_due(s);
		for (int i = 0; i < 2; i++) {
			send_due(s, i);
			poll_end(s, i);
		}
		struct sim_flight *f = earliest(s);
		nsec next = f ? f->at : NSEC_NEVER;
		for (int i = 0; i < 2; i++) {
			next = nsec_min(next, wg_deadline(s->end[i].wg));
			if (s->end[i].interval && s->end[i].next_id < SIM_PACKETS)
				next = nsec_min(next, s->end[i].next_send);
		}
		if (next > until)
			break;
		s->now = nsec_max(next, s->now + 1);
	}
	s->now = until;
}

void sim_all_arrived(const struct sim *s, int from, unsigned first_id)
{
	for (unsigned id = first_id; id < s->end[from].next_id; id++)
		if (!s->end[1 - from].got[id])
			FAIL(s, "packet %u of end %d, sent at %.3f s, was lost", id, from,
			     (double)s->end[from].sent_at[id] / 1e9);
}

void sim_nothing_twice(const struct sim *s)
{
	for (int i = 0; i < 2; i++)
		for (unsigned id = 0; id < SIM_PACKETS; id++)
			if (s->end[i].got[id] > 1)
				FAIL(s, "packet %u came twice to end %d", id, i);
}

void sim_agreed(const struct sim *s, int initiator)
{
	const struct session *a = s->end[0].peer->sessions.current;
	const struct session *b = s->end[1].peer->sessions.current;
	if (!a || !b)
		FAIL(s, "an end has no session");
	if (a->in.index != b->remote || b->in.index != a->remote)
		FAIL(s, "the ends send under different sessions");
	if (initiator >= 0 && s->end[initiator].peer->sessions.current->initiator == 0)
		FAIL(s, "the session is not that of end %d", initiator);
}

nsec sim_slowest(const struct sim *s, int from, unsigned first_id)
{
	nsec worst = 0;
	for (unsigned id = first_id; id < s->end[from].next_id; id++)
		worst = nsec_max(worst, s->end[1 - from].got_at[id] - s->end[from].sent_at[id]);
	return worst;
}
