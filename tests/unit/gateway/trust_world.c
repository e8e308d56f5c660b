/* SPDX-License-Identifier: Apache-2.0 */
#include "trust_world.h"

#include <sodium.h>
#include <stdlib.h>

#define STEP (10 * NSEC_PER_MSEC)

/* --- datagrams --- */

static void push(struct world *w, const struct endpoint *from, const struct endpoint *to,
		 const uint8_t *p, size_t len)
{
	struct datagram *d = calloc(1, sizeof(*d));
	assert_non_null(d);
	assert_true(len <= sizeof(d->bytes) && w->count < WORLD_QUEUE);
	d->from = *from;
	d->to = *to;
	d->len = len;
	memcpy(d->bytes, p, len);
	w->queue[(w->first + w->count++) % WORLD_QUEUE] = d;
}

static void push_all(struct world *w, const struct endpoint *from, const struct udp_tx *tx,
		     unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (uint32_t at = 0; at < tx[i].len; at += tx[i].seg)
			push(w, from, &tx[i].to, tx[i].buf + at,
			     size_min(tx[i].seg, tx[i].len - at));
}

static void deliver(struct world *w, struct datagram *d)
{
	struct udp_rx rx = {
		.buf = d->bytes, .len = (uint32_t)d->len, .seg = (uint32_t)d->len, .from = d->from
	};
	if (w->rdv && endpoint_eq(&d->to, &w->rdv_at))
		rdv_udp(w->rdv, w->now, &rx, 1);
	for (unsigned i = 0; i < WORLD_NODES; i++) {
		struct host *h = &w->hosts[i];
		if (h->node && !h->unplugged && endpoint_eq(&d->to, &h->at))
			node_udp(h->node, w->now, &rx, 1);
	}
}

static void tick(struct world *w)
{
	if (w->rdv) {
		if (w->stored && !w->slow_store) {
			rdv_stored(w->rdv, w->now, w->stored, false);
			w->stored = 0;
		}
		rdv_tick(w->rdv, w->now);
	}
	for (unsigned i = 0; i < WORLD_NODES; i++)
		if (w->hosts[i].node)
			node_tick(w->hosts[i].node, w->now);
}

void world_run(struct world *w, nsec time)
{
	for (nsec until = w->now + time; w->now < until; w->now += STEP) {
		tick(w);
		/* as many rounds within a step as a conversation takes: the network has no delay */
		for (unsigned round = 0; round < 8 && w->count; round++) {
			for (unsigned n = w->count; n; n--) {
				struct datagram *d = w->queue[w->first];
				w->first = (w->first + 1) % WORLD_QUEUE;
				w->count--;
				if (!w->tap || w->tap(w, d))
					deliver(w, d);
				free(d);
			}
			tick(w);
		}
	}
}

void world_inject(struct world *w, const struct endpoint *from, const struct endpoint *to,
		  const uint8_t *p, size_t len)
{
	push(w, from, to, p, len);
}

void world_save(struct world *w, const struct datagram *d)
{
	if (w->nsaved < WORLD_SAVED)
		w->saved[w->nsaved++] = *d;
}

/* --- the rendezvous --- */

static void rdv_sends(void *ctx, const struct udp_tx *tx, unsigned n)
{
	struct world *w = ctx;
	push_all(w, &w->rdv_at, tx, n);
}

static void rdv_stores(void *ctx, const struct store_request *req)
{
	struct world *w = ctx;
	assert_true(req->record.number < WORLD_LEASES);
	struct lease_record *row = &w->rows[req->record.number];
	if (req->kind == STORE_PUT)
		*row = req->record;
	else
		memset(row, 0, sizeof(*row));
	w->stored = req->seq;
}

void world_rendezvous(struct world *w)
{
	struct rdv_config cfg = {
		.io = { .ctx = w, .udp = rdv_sends, .store = rdv_stores },
		.aead = aead_choose(NULL),
		.boot = (uint64_t)(WORLD_WALL + w->now),
		.registrar = { .max_members = WORLD_LEASES - 1,
			       .lease_ttl = 86400 * NSEC_PER_SEC,
			       .prefix4 = w->token.prefixes[0],
			       .prefix6 = w->token.prefixes[1],
			       .release = "test",
			       .routes = w->routes,
			       .nroutes = w->nroutes },
	};
	memcpy(cfg.private_key, w->rdv_key, 32);
	memcpy(cfg.registrar.plain, w->plain, 32);
	cfg.registrar.admission = &w->admission;
	memcpy(cfg.registrar.secret, w->secret, 32);
	rdv_free(w->rdv);
	w->rdv = rdv_new(&cfg, w->now);
	assert_non_null(w->rdv);
	rdv_set_wall(w->rdv, WORLD_WALL);
	for (unsigned i = 0; i < WORLD_LEASES; i++)
		if (w->rows[i].number)
			assert_int_equal(rdv_load(w->rdv, &w->rows[i]), 0);
}

void world_remove(struct world *w, const char *id)
{
	const struct lease_record *rec = registrar_lease_of(rdv_registrar(w->rdv), id);
	struct removed_key k = { .number = rec->number };
	memcpy(k.key, rec->key, 32);
	snprintf(k.id, sizeof(k.id), "%s", id);
	assert_int_equal(admission_remove(&w->admission, &k), 0);
	rdv_remove(w->rdv, w->now, k.key);
}

/* --- nodes --- */

static void node_sends(void *ctx, const struct udp_tx *tx, unsigned n)
{
	struct host *h = ctx;
	if (h->unplugged)
		return;
	for (unsigned i = 0; i < n; i++)
		h->to_rendezvous +=
			tx[i].len == WG_INITIATION_LEN && endpoint_eq(&tx[i].to, &h->w->rdv_at);
	push_all(h->w, &h->at, tx, n);
}

static void node_writes(void *ctx, const struct gro_write *w)
{
	struct host *h = ctx;
	size_t n = 0;
	for (int i = 1; i < w->iovcnt; i++) {
		assert_true(n + w->iov[i].iov_len <= sizeof(h->last));
		memcpy(h->last + n, w->iov[i].iov_base, w->iov[i].iov_len);
		n += w->iov[i].iov_len;
	}
	h->packets += w->packets;
}

static void node_says(void *ctx, const struct node_note *note)
{
	struct host *h = ctx;
	if (note->event == NODE_SAVE)
		memcpy(h->w->psk[h - h->w->hosts], node_lease(h->node)->psk, 32);
	h->up |= note->event == NODE_UP;
	h->refused |= note->event == NODE_REFUSED;
	h->fatal |= note->event == NODE_REFUSED && note->fatal;
	h->resolves += note->event == NODE_RESOLVE;
	h->replaced |= note->event == NODE_REPLACED;
	h->lease_changed |= note->event == NODE_LEASE_CHANGED;
	h->released |= note->event == NODE_RELEASED;
	h->keys_twice += note->event == NODE_KEY_TWICE;
	h->keys_refused += note->event == NODE_KEY_REFUSED;
	h->routes_refused += note->event == NODE_ROUTE_REFUSED;
	h->keys_unkept += note->event == NODE_KEY_UNKEPT;
	h->rosters += note->event == NODE_ROSTER;
	if (note->text)
		snprintf(h->text, sizeof(h->text), "%s", note->text);
}

struct host *world_node(struct world *w, unsigned i, const char *id, uint8_t key,
			const uint8_t *psk)
{
	struct host *h = &w->hosts[i];
	char at[64];
	world_stop(h);
	memset(h, 0, sizeof(*h));
	h->w = w;
	snprintf(h->id, sizeof(h->id), "%s", id);
	snprintf(at, sizeof(at), "198.51.100.%u:4000", i + 1);
	assert_true(endpoint_parse(at, &h->at));
	struct node_config cfg = {
		.io = { .ctx = h, .udp = node_sends, .tun = node_writes, .note = node_says },
		.aead = aead_choose(NULL),
		.worker_id = h->id,
		.release = "test",
		.max_peers = 16,
		.boot = (uint64_t)(WORLD_WALL + w->now),
		.token = &w->token,
		.psk = psk || !w->remembers || !w->memory[i].lease.number ? psk : w->psk[i],
		.memory = w->remembers ? &w->memory[i] : NULL,
		.number = w->remembers ? w->memory[i].lease.number : 0,
		.holds = w->holds,
		.pin_members = w->pins
	};
	memset(cfg.private_key, key, 32);
	cfg.private_key[0] &= 248;
	cfg.private_key[31] = (uint8_t)((cfg.private_key[31] & 127) | 64);
	h->node = node_new(&cfg, w->now);
	assert_non_null(h->node);
	node_set_wall(h->node, WORLD_WALL);
	node_set_candidates(h->node, w->now, &h->at, 1);
	node_resolved(h->node, w->now, 0, &w->rdv_at, 1);
	return h;
}

void world_stop(struct host *h)
{
	node_free(h->node);
	h->node = NULL;
}

void world_send(struct host *h, struct addr src, struct addr dst)
{
	static const struct vnet_hdr plain;
	uint8_t ip[28] = { 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17 };
	memcpy(ip + 12, src.b + 12, 4);
	memcpy(ip + 16, dst.b + 12, 4);
	node_tun(h->node, h->w->now, &plain, ip, sizeof(ip));
}

struct addr world_ip(const struct host *h)
{
	return node_lease(h->node)->lease.ip;
}

struct peer *world_peer(const struct host *h, const char *id)
{
	struct peer *p = NULL;
	while ((p = node_peer_next(h->node, p)))
		if (peer_kind(p) == PEER_MEMBER && strcmp(peer_entry(p)->id, id) == 0)
			return p;
	return NULL;
}

uint64_t world_drops(const struct host *h, enum drop why)
{
	return node_drops(h->node)->n[why];
}

/* --- what several tests ask --- */

bool world_talk(struct world *w, struct host *a, struct host *b)
{
	unsigned before = b->packets;
	world_send(a, world_ip(a), world_ip(b));
	world_run(w, 3 * NSEC_PER_SEC);
	return b->packets == before + 1;
}

void world_key(uint8_t first, uint8_t pub[static 32])
{
	uint8_t priv[32];
	memset(priv, first, 32);
	wg_key_clamp(priv);
	wg_key_public(priv, pub);
}

void world_lies(struct world *w, const char *id, uint8_t key)
{
	for (unsigned i = 0; i < WORLD_LEASES; i++)
		if (w->rows[i].number && strcmp(w->rows[i].id, id) == 0)
			world_key(key, w->rows[i].key);
	world_rendezvous(w);
}

bool world_has_key(const struct host *h, const char *id, uint8_t key)
{
	uint8_t pub[32];
	struct peer *p = world_peer(h, id);
	world_key(key, pub);
	return p && memcmp(peer_key(p), pub, 32) == 0;
}

void world_rendezvous_dies(struct world *w)
{
	rdv_free(w->rdv);
	w->rdv = NULL;
}

/* --- all --- */

struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	assert_non_null(w);
	assert_true(sodium_init() >= 0);
	w->now = 1000 * NSEC_PER_SEC;
	memset(w->rdv_key, 0x48, 32);
	memset(w->plain, 0xad, 32);
	memset(w->secret, 0x5e, 32);
	assert_true(endpoint_parse("203.0.113.1:7777", &w->rdv_at));
	snprintf(w->token.network, sizeof(w->token.network), "test");
	assert_true(prefix_parse("10.77.0.0/16", &w->token.prefixes[0]));
	assert_true(prefix_parse("fd00:77::/64", &w->token.prefixes[1]));
	w->token.nprefixes = 2;
	w->token.nrendezvous = 1;
	wg_key_public(w->rdv_key, w->token.key);
	admission_token(w->secret, &w->admission, &w->token);
	world_rendezvous(w);
	return w;
}

void world_free(struct world *w)
{
	for (unsigned i = 0; i < WORLD_NODES; i++)
		world_stop(&w->hosts[i]);
	for (unsigned i = 0; i < WORLD_NODES; i++)
		memory_free(&w->memory[i]);
	rdv_free(w->rdv);
	admission_free(&w->admission);
	for (unsigned i = 0; i < w->count; i++)
		free(w->queue[(w->first + i) % WORLD_QUEUE]);
	free(w);
}
