/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rdv.h"
#include "gateway/rdv_client.h"
#include "punch/control.h"

#include <sodium.h>
#include <stdlib.h>

enum { OPEN_BATCH = 256 };

struct rdv {
	struct rdv_io io;
	struct wg *wg;
	struct registrar *registrar;
	struct relay_server *relay;
	struct clients clients;
	nsec now; /* of this call, for the callbacks out of wg */
	struct drops drops;
	struct wg_packet open[OPEN_BATCH];
	struct path from[OPEN_BATCH];
	size_t nopen;
	struct udp_tx relay_tx; /* a run of relayed datagrams for one member; len 0: none */
};

static struct wg_peer *adopt(void *user, const uint8_t pub[static WG_KEY_LEN])
{
	struct rdv *r = user;
	struct client *c = client_new(&r->clients, r->now, pub);
	return c ? c->wg : NULL;
}

/*
 * Which PSK answers this initiation? A member's own, or the admission secret of one of several tokens:
 * message 1 gives a hint. That of an earlier release gives none; then those that it may be take turns,
 * while no session is confirmed.
 */
static void before_response(void *user, struct wg_peer *peer, uint16_t hint)
{
	struct rdv *r = user;
	struct client *c = wg_peer_user(peer);
	struct psk_choices psk;

	registrar_psks(r->registrar, r->now, wg_peer_public(peer), hint, &psk);
	unsigned i = c->turn++ % psk.n;
	wg_peer_set_psk(peer, psk.psk[i]);
	c->offered_plain = psk.plain[i];
	sodium_memzero(&psk, sizeof(psk));
}

struct rdv *rdv_new(const struct rdv_config *cfg, nsec now)
{
	struct rdv *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	struct wg_config wc = { .max_peers = cfg->registrar.max_members + CLIENT_STRANGERS,
				.aead = cfg->aead,
				.user = r,
				.adopt = adopt,
				.before_response = before_response };
	r->io = cfg->io;
	r->now = now;
	r->clients.wg = r->wg = wg_new(&wc);
	r->registrar = registrar_new(&cfg->registrar, now);
	r->relay = relay_server_new(cfg->registrar.max_members, cfg->boot);
	if (!r->wg || !r->registrar || !r->relay) {
		rdv_free(r);
		return NULL;
	}
	wg_set_private_key(r->wg, cfg->private_key);
	wg_set_timestamp_floor(r->wg, (int64_t)cfg->boot);
	return r;
}

void rdv_free(struct rdv *r)
{
	if (!r)
		return;
	while (r->clients.first)
		client_free(r->clients.first);
	relay_server_free(r->relay);
	registrar_free(r->registrar);
	wg_free(r->wg);
	free(r);
}

static void set_relay_member(struct rdv *r, const uint8_t key[static 32], member_number number)
{
	struct wg_peer *wg = wg_peer_find(r->wg, key);
	uint8_t psk[32], relay_key[32];

	if (!wg || !registrar_psk(r->registrar, key, psk))
		return;
	struct client *c = wg_peer_user(wg);
	wg_peer_set_psk(wg, psk);
	c->turn = 0;
	client_set_member(c, r->now);
	wg_peer_derive(wg, "warren relay", relay_key);
	if (relay_server_set(r->relay, number, relay_key) == 0 && c->at.remote.port)
		relay_server_address(r->relay, number, &c->at.remote);
	sodium_memzero(psk, sizeof(psk));
	sodium_memzero(relay_key, sizeof(relay_key));
}

/*
 * A member of before this start may relay at once: its first relayed datagram tells where it is. Its
 * session it makes again when it notices, and as a key that is known it needs no cookie for that.
 */
int rdv_load(struct rdv *r, const struct lease_record *rec)
{
	int err = registrar_load(r->registrar, rec);
	if (err == 0 && (wg_peer_find(r->wg, rec->key) || adopt(r, rec->key)))
		set_relay_member(r, rec->key, rec->number);
	return err;
}

void rdv_incomplete(struct rdv *r, nsec now)
{
	registrar_incomplete(r->registrar, now);
}

void rdv_rewrite(struct rdv *r, nsec now)
{
	registrar_rewrite(r->registrar, now);
}

void rdv_stored(struct rdv *r, nsec now, uint64_t seq, bool failed)
{
	registrar_stored(r->registrar, now, seq, failed);
}

void rdv_set_wall(struct rdv *r, nsec offset)
{
	wg_set_wall_offset(r->wg, offset);
	registrar_set_wall(r->registrar, offset);
}

/* --- out --- */

static void send_to(struct rdv *r, const struct path *at, const uint8_t *p, size_t len, uint8_t tos)
{
	struct udp_tx tx = { .buf = p,
			     .len = (uint32_t)len,
			     .seg = (uint32_t)len,
			     .to = at->remote,
			     .local = at->local,
			     .ifindex = at->ifindex,
			     .tos = tos };
	if (at->remote.port)
		r->io.udp(r->io.ctx, &tx, 1);
}

static void send_control(struct rdv *r, const struct registrar_output *out)
{
	struct wg_peer *wg = wg_peer_find(r->wg, out->key);
	uint8_t buf[CONTROL_SEND_MAX + WG_OVERHEAD + WG_PADDING];
	struct wg_packet pkt = { .data = buf };
	if (!wg)
		return; /* its session is gone: the member asks again over the next one */
	memcpy(buf + WG_DATA_HEADER_LEN, out->bytes, out->len);
	pkt.len = pkt.padded =
		(uint32_t)ctl_pad(buf + WG_DATA_HEADER_LEN, out->len, CONTROL_SEND_MAX);
	enum drop why = wg_seal(r->wg, wg, r->now, &pkt, 1);
	if (why == DROP_NONE) {
		send_to(r, &((struct client *)wg_peer_user(wg))->at, buf, pkt.len, 0);
		return;
	}
	if (why != DROP_WG_EXPIRED)
		drop_count(&r->drops, why);
	sodium_memzero(buf, sizeof(buf));
}

static void gone(struct rdv *r, const uint8_t key[static 32], member_number number)
{
	struct wg_peer *wg = wg_peer_find(r->wg, key);
	/* the number may be another key's already: a replaced holder must not cut off the new one */
	if (registrar_number(r->registrar, key) == 0 && wg)
		client_end_member(wg_peer_user(wg), r->now);
	if (number)
		relay_server_remove(r->relay, number);
}

void rdv_remove(struct rdv *r, nsec now, const uint8_t key[static 32])
{
	struct wg_peer *wg = wg_peer_find(r->wg, key);
	member_number number = registrar_number(r->registrar, key);

	r->now = now;
	if (number)
		relay_server_remove(r->relay, number);
	registrar_remove(r->registrar, now, key);
	if (wg)
		client_end_member(wg_peer_user(wg), r->now);
}

int rdv_forget(struct rdv *r, nsec now, const char *id)
{
	return registrar_forget(r->registrar, now, id);
}

static void poll_registrar(struct rdv *r)
{
	struct registrar_output out;
	while (registrar_poll(r->registrar, r->now, &out)) {
		struct store_request req = { .seq = out.seq, .record = out.record };
		if (r->io.tell && (out.event == REGISTRAR_MEMBER || out.event == REGISTRAR_KEPT))
			r->io.tell(r->io.ctx, &out);
		switch (out.event) {
		case REGISTRAR_SEND:
			send_control(r, &out);
			break;
		case REGISTRAR_STORE:
		case REGISTRAR_FORGET:
			req.kind = out.event == REGISTRAR_STORE ? STORE_PUT : STORE_DELETE;
			r->io.store(r->io.ctx, &req);
			break;
		case REGISTRAR_MEMBER:
			set_relay_member(r, out.key, out.record.number);
			break;
		case REGISTRAR_GONE:
			gone(r, out.key, out.record.number);
			break;
		case REGISTRAR_KEPT:
			break;
		}
	}
	sodium_memzero(&out, sizeof(out)); /* grants and pages tell of PSKs */
}

static void flush_relay(struct rdv *r)
{
	if (r->relay_tx.len)
		r->io.udp(r->io.ctx, &r->relay_tx, 1);
	r->relay_tx.len = 0;
}

/* Relayed datagrams that stand back to back, of one size and for one member, leave as one batch. */
static void relay_out(struct rdv *r, const struct endpoint *to, const uint8_t *p, uint32_t len)
{
	struct udp_tx *tx = &r->relay_tx;
	if (tx->len && tx->buf + tx->len == p && len <= tx->seg && tx->len % tx->seg == 0 &&
	    tx->len + len <= UDP_GSO_MAX_BYTES && tx->len / tx->seg < UDP_GSO_MAX_SEGMENTS &&
	    endpoint_eq(&tx->to, to)) {
		tx->len += len;
		return;
	}
	flush_relay(r);
	*tx = (struct udp_tx){ .buf = p, .len = len, .seg = len, .to = *to };
}

/* --- in --- */

static void opened(struct rdv *r, const struct wg_packet *pkt, const struct path *from)
{
	struct client *c = pkt->peer ? wg_peer_user(pkt->peer) : NULL;
	const uint8_t *text = pkt->data + WG_DATA_HEADER_LEN;
	enum drop why = pkt->drop;

	if (why == DROP_NONE && c) {
		const uint8_t *key = wg_peer_public(c->wg);
		member_number number = registrar_number(r->registrar, key);
		c->at = *from;
		c->turn = 0;
		c->plain |= pkt->confirmed && c->next_plain;
		client_heard(c, r->now);
		/* there was no memory for it when it was granted */
		if (number && !relay_server_address(r->relay, number, &from->remote))
			set_relay_member(r, key, number);
		if (pkt->len && text[0] == CTL_FIRST_BYTE)
			why = registrar_input(r->registrar, r->now, key, &from->remote, c->plain,
					      text, pkt->len);
		else if (pkt->len)
			why = text[0] < 0x80 ? DROP_NOT_FOR_ME : DROP_FRAME_UNKNOWN;
		else
			registrar_alive(r->registrar, r->now, key);
	}
	if (why != DROP_NONE)
		drop_count(&r->drops, why);
}

static void flush_open(struct rdv *r)
{
	size_t count = r->nopen;
	r->nopen = 0;
	if (!count)
		return;
	wg_open(r->wg, r->now, r->open, count);
	for (size_t i = 0; i < count; i++)
		opened(r, &r->open[i], &r->from[i]);
}

static void handshake(struct rdv *r, const struct path *from, const uint8_t *msg, size_t len)
{
	struct wg_reply reply;
	uint8_t src[18];
	struct wr w = wr_of(src, sizeof(src));

	wr_endpoint(&w, &from->remote);
	enum drop why = wg_handshake_input(r->wg, r->now, msg, len, src, w.len, &reply);
	if (why != DROP_NONE) {
		drop_count(&r->drops, why);
	} else if (reply.session_up) {
		/*
		 * Message 2 answers one of ours, so it is new. Message 1 may be a recorded one, which
		 * passes once after our restart: it says neither that its sender lives nor where.
		 */
		struct client *c = wg_peer_user(reply.peer);
		c->at = *from;
		registrar_alive(r->registrar, r->now, wg_peer_public(reply.peer));
	} else if (reply.len) {
		/* there is one session that waits for its first packet: that of the last message 1 */
		struct client *c = wg_peer_user(reply.peer);
		c->next_plain = c->offered_plain;
	}
	if (reply.len)
		send_to(r, from, reply.bytes, reply.len, WG_HANDSHAKE_TOS);
}

/*
 * A member of before our start relays as if nothing had been, and would notice at its next renewal, 20 s later.
 * Until then nobody who joins hears of it: so it is told by a handshake.
 */
static void tell_of_start(struct rdv *r, member_number number, const struct path *from)
{
	for (struct client *c = r->clients.first; number && c; c = c->next) {
		if (registrar_number(r->registrar, wg_peer_public(c->wg)) != number ||
		    wg_can_send(c->wg, r->now))
			continue;
		c->at = *from;
		wg_peer_initiate(r->wg, c->wg, r->now, 0);
	}
}

static void datagram(struct rdv *r, const struct path *from, uint8_t *p, size_t len)
{
	enum drop why = DROP_NONE;
	struct endpoint to;

	switch (outer_classify(p, len, &why)) {
	case OUTER_WG_DATA:
		if (r->nopen == OPEN_BATCH)
			flush_open(r);
		r->open[r->nopen] = (struct wg_packet){ .data = p, .len = (uint32_t)len };
		r->from[r->nopen++] = *from;
		break;
	case OUTER_WG_HANDSHAKE:
		flush_open(r);
		handshake(r, from, p, len);
		break;
	case OUTER_RELAY:
		why = relay_server_forward(r->relay, r->now, &from->remote, p, len, &to);
		if (why == DROP_NONE)
			relay_out(r, &to, p, (uint32_t)len);
		tell_of_start(r, relay_server_found(r->relay), from);
		break;
	case OUTER_NONE:
		break;
	default: /* pings end at members; STUN is not served */
		why = DROP_OUTER_UNEXPECTED;
	}
	if (why != DROP_NONE)
		drop_count(&r->drops, why);
}

void rdv_udp(struct rdv *r, nsec now, const struct udp_rx *rx, unsigned count)
{
	r->now = now;
	for (unsigned i = 0; i < count; i++) {
		struct path from = { .remote = rx[i].from,
				     .local = rx[i].local,
				     .ifindex = rx[i].ifindex };
		if (rx[i].truncated) {
			drop_count(&r->drops, DROP_UDP_TRUNCATED);
			continue;
		}
		uint32_t seg = rx[i].seg ? rx[i].seg : rx[i].len;
		for (uint32_t at = 0; at < rx[i].len; at += seg)
			datagram(r, &from, rx[i].buf + at, size_min(seg, rx[i].len - at));
		flush_relay(r);
	}
	flush_open(r);
}

void rdv_tick(struct rdv *r, nsec now)
{
	struct wg_output out;

	r->now = now;
	poll_registrar(r);
	while (wg_poll(r->wg, now, &out))
		if (out.event == WG_EVENT_SEND)
			send_to(r, &((struct client *)wg_peer_user(out.peer))->at, out.bytes,
				out.len, out.handshake ? WG_HANDSHAKE_TOS : 0);
	clients_sweep(&r->clients, now);
}

nsec rdv_deadline(const struct rdv *r)
{
	nsec at = nsec_min(wg_deadline(r->wg), registrar_deadline(r->registrar));
	return r->clients.first ? nsec_min(at, r->clients.next_sweep) : at;
}

struct drops *rdv_drops(struct rdv *r)
{
	return &r->drops;
}

const struct registrar *rdv_registrar(const struct rdv *r)
{
	return r->registrar;
}

const struct relay_server *rdv_relay(const struct rdv *r)
{
	return r->relay;
}

int64_t rdv_timestamp_last(const struct rdv *r)
{
	return wg_timestamp_last(r->wg);
}

const uint8_t *rdv_public_key(const struct rdv *r)
{
	return wg_public_key(r->wg);
}
