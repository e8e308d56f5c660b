/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/punch/sim_random.h"

enum { RX_SLOTS = 8, SPINS_MAX = 5000 };

#define RESOLVE_TIME (20 * MSEC)
#define RESTART_TIME (1 * SEC) /* of the supervisor */
#define TIMESTAMP_RESERVE (60 * SEC)

/* What was dropped since the last time. */
static void log_drops(struct sim *s, const char *who, const struct drops *d, struct drops *before)
{
	for (enum drop i = 0; s->verbose && i < DROP_COUNT; i++)
		if (d->n[i] > before->n[i])
			sim_log(s, "%s drops: %s", who, drop_name(i));
	*before = *d;
}

static void log_all_drops(struct sim *s)
{
	for (unsigned i = 0; i < s->nhosts; i++)
		if (s->hosts[i].node)
			log_drops(s, s->hosts[i].id, node_drops(s->hosts[i].node),
				  &s->hosts[i].drops_told);
	if (s->rdv)
		log_drops(s, "the rendezvous", rdv_drops(s->rdv), &s->rdv_drops_told);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;
	if (s->failure[0])
		return;
	va_start(ap, fmt);
	vsnprintf(s->failure, sizeof(s->failure), fmt, ap);
	va_end(ap);
	sim_log(s, "failed");
}

bool sim_ok(const struct sim *s)
{
	return !s->failure[0];
}

void sim_log(struct sim *s, const char *fmt, ...)
{
	va_list ap;
	if (!s->verbose)
		return;
	printf("%9.3f  ", (double)(s->now - 1000 * SEC) / 1e9);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void sim_init(struct sim *s, uint64_t seed)
{
	sim_random_seed(seed);
	memset(s, 0, sizeof(*s));
	s->seed = seed;
	s->now = 1000 * SEC;
	net_init(&s->net, seed);
	s->net.delay = (1 + net_pick(&s->net, 60)) * MSEC;
	s->store_delay = net_pick(&s->net, 20) * MSEC;
	s->rdv_wall = (nsec)1760000000 * SEC;
	wg_key_generate(s->rdv_key);
	wg_key_public(s->rdv_key, s->token.key);
	memset(s->rdv_secret, 0x5e, sizeof(s->rdv_secret));
	admission_token(s->rdv_secret, &s->admission, &s->token);
	s->token.nprefixes = 2;
	if (!prefix_parse("10.77.0.0/16", &s->token.prefixes[0]) ||
	    !prefix_parse("fd12:3456:789a::/64", &s->token.prefixes[1]))
		abort();
}

void sim_free(struct sim *s)
{
	for (unsigned i = 0; i < s->nhosts; i++) {
		node_free(s->hosts[i].node);
		memory_free(&s->hosts[i].memory);
	}
	rdv_free(s->rdv);
	traffic_free(s);
	net_free(&s->net);
}

struct sim_host *sim_add(struct sim *s, unsigned site, bool v6)
{
	struct sim_host *h = &s->hosts[s->nhosts];
	h->sim = s;
	h->index = net_add_host(&s->net, site, v6);
	s->nhosts++;
	snprintf(h->id, sizeof(h->id), "w%u", h->index);
	wg_key_generate(h->private_key);
	h->wall = (nsec)1760000000 * SEC + ((nsec)net_pick(&s->net, 7200) - 3600) * SEC;
	h->resolve_at = h->restart_at = NSEC_NEVER;
	return h;
}

struct sim_host *sim_by_number(struct sim *s, member_number number)
{
	for (unsigned i = 0; number && i < s->nhosts; i++)
		if (s->hosts[i].owns == number)
			return &s->hosts[i];
	return NULL;
}

struct peer *sim_peer(struct sim_host *h, const struct sim_host *to)
{
	struct peer *p = NULL;
	while (h->node && (p = node_peer_next(h->node, p)))
		if (peer_kind(p) == PEER_MEMBER && peer_entry(p)->number == to->owns)
			return p;
	return NULL;
}

bool sim_is_direct(struct sim_host *h, const struct sim_host *to)
{
	struct path path;
	struct peer *p = sim_peer(h, to);
	return p && peer_path(p, &path) && !path.relay;
}

uint64_t sim_drops(const struct sim_host *h, enum drop why)
{
	return node_drops(h->node)->n[why];
}

/* --- a node's surroundings --- */

static void on_udp(void *ctx, const struct udp_tx *tx, unsigned n)
{
	struct sim_host *h = ctx;
	for (unsigned i = 0; i < n; i++)
		net_send(&h->sim->net, h->sim->now, h->index, &tx[i]);
}

static void on_tun(void *ctx, const struct gro_write *w)
{
	traffic_came(ctx, w);
}

static void got_address(struct sim_host *h)
{
	const struct lease *l = &node_lease(h->node)->lease;
	struct sim_host *other = sim_by_number(h->sim, l->number);

	sim_log(h->sim, "%s is up as number %u", h->id, l->number);
	h->up = true;
	if (other && other != h)
		sim_fail(h->sim, "%s was given the address of %s", h->id, other->id);
	if (h->owns && h->owns != l->number)
		sim_fail(h->sim, "%s was number %u and is %u now", h->id, h->owns, l->number);
	h->owns = l->number;
	struct addr ip = member_addr(&h->sim->token.prefixes[0], l->number);
	struct addr ip6 = member_addr(&h->sim->token.prefixes[1], l->number);
	if (!addr_eq(&ip, &l->ip) || !addr_eq(&ip6, &l->ip6))
		sim_fail(h->sim, "%s: address and number do not agree", h->id);
}

static void on_end(struct sim_host *h, const struct node_note *n)
{
	snprintf(h->text, sizeof(h->text), "%s", n->text);
	sim_log(h->sim, "%s: %s%s", h->id, n->fatal ? "fatal: " : "", n->text);
	if (n->event == NODE_REPLACED || n->fatal)
		h->wants_stop = true;
}

static void on_path(struct sim_host *h, struct peer *p)
{
	char text[ENDPOINT_STRLEN];
	struct path path;
	bool has = peer_path(p, &path);
	sim_log(h->sim, "%s → %s: %s %s", h->id, peer_entry(p)->id,
		!has	     ? "no path"
		: path.relay ? "relay"
			     : "direct",
		has ? endpoint_str(&path.remote, text) : "");
}

static void on_note(void *ctx, const struct node_note *n)
{
	struct sim_host *h = ctx;
	const struct node_lease_info *l = node_lease(h->node);

	switch (n->event) {
	case NODE_UP:
		got_address(h);
		break;
	case NODE_LEASE_CHANGED:
		sim_fail(h->sim, "%s was to change its address while it ran", h->id);
		break;
	case NODE_REFUSED:
	case NODE_REPLACED:
		on_end(h, n);
		break;
	case NODE_RELEASED:
		h->released = h->wants_stop = true;
		break;
	case NODE_RESOLVE:
		h->resolve_at = nsec_min(h->resolve_at, h->sim->now + RESOLVE_TIME);
		break;
	case NODE_SAVE:
		h->has_psk = true;
		memcpy(h->psk, l->psk, 32);
		h->number = l->lease.number;
		break;
	case NODE_SESSION:
		sim_log(h->sim, "%s has its first session with %s", h->id,
			peer_kind(n->peer) == PEER_MEMBER ? peer_entry(n->peer)->id
							  : "the rendezvous");
		h->sessions++;
		break;
	case NODE_PATH_CHANGED:
		on_path(h, n->peer);
		break;
	case NODE_KEY_TWICE:
		sim_fail(h->sim, "%s finds the old key of %s alive", h->id, n->was->id);
		break;
	case NODE_KEY_REFUSED:
	case NODE_ROUTE_REFUSED:
	case NODE_KEY_UNKEPT:
		sim_fail(h->sim, "%s refuses a key unasked", h->id);
		break;
	case NODE_ROUTE_ADD:
	case NODE_ROUTE_REMOVE:
	case NODE_ROSTER:
	case NODE_ENDPOINT:
	case NODE_MTU:
		break;
	case NODE_PATH_MTU:
		sim_log(h->sim, "%s: path MTU %u to %s", h->id, n->mtu.size,
			peer_entry(n->peer)->id);
		break;
	}
}

void sim_stop(struct sim_host *h)
{
	if (h->node)
		h->last_sent = wg_timestamp_last(node_wg(h->node));
	node_free(h->node);
	h->node = NULL;
	h->up = h->released = h->wants_stop = false;
	h->frozen = 0;
	h->resolve_at = h->restart_at = NSEC_NEVER;
	h->sessions = 0;
	memset(&h->drops_told, 0, sizeof(h->drops_told));
}

/* The state reserves timestamps ahead; who loses it while it keeps its key cannot be heard so soon. */
static bool heard_again(const struct sim_host *h)
{
	return h->sim->now + h->wall > h->last_sent;
}

static void forget_state(struct sim_host *h)
{
	h->has_psk = false;
	h->number = 0;
	h->floor = 0;
	memory_free(&h->memory);
}

void sim_start(struct sim_host *h, enum restart how)
{
	struct sim *s = h->sim;
	struct node_config cfg = {
		.io = { .ctx = h, .udp = on_udp, .tun = on_tun, .note = on_note },
		.aead = aead_choose("libcrypto"),
		.worker_id = h->id,
		.release = "sim",
		.max_peers = SIM_MEMBERS,
		.udp_gso = h->index % 2,
		.token = &s->token,
	};
	static const char *const how_text[] = { "same state", "same key", "new key" };
	sim_stop(h);
	if (how == START_SAME_KEY && !heard_again(h))
		how = START_SAME;
	sim_log(s, "%s starts (%s)", h->id, how_text[how]);
	if (how != START_SAME) {
		forget_state(h);
		net_new_port(&s->net, h->index);
	}
	if (how == START_NEW_KEY)
		wg_key_generate(h->private_key);
	memcpy(cfg.private_key, h->private_key, 32);
	int64_t wall = s->now + h->wall;
	cfg.boot = (uint64_t)(wall > h->floor ? wall : h->floor + 1);
	h->floor = (int64_t)cfg.boot + TIMESTAMP_RESERVE;
	cfg.psk = h->has_psk ? h->psk : NULL;
	cfg.number = h->number;
	cfg.memory = &h->memory;
	h->node = node_new(&cfg, s->now);
	assert(h->node);
	node_set_wall(h->node, h->wall);
	const struct port_of_host *at = &s->net.hosts[h->index];
	struct endpoint c[2] = { at->inside, at->inside6 };
	node_set_candidates(h->node, s->now, c, at->inside6.port ? 2 : 1);
}

/* --- the crank --- */

struct batch {
	unsigned who, count;
	struct udp_rx rx[RX_SLOTS];
};

static uint8_t rx_bytes[RX_SLOTS][UDP_RX_MAX];

static void batch_flush(struct sim *s, struct batch *b, bool *heard)
{
	if (b->count == 0)
		return;
	heard[b->who] = true;
	if (b->who == AT_RENDEZVOUS && s->rdv)
		rdv_udp(s->rdv, s->now, b->rx, b->count);
	else if (b->who < MAX_HOSTS && s->hosts[b->who].node)
		node_udp(s->hosts[b->who].node, s->now, b->rx, b->count);
	b->count = 0;
}

/* As GRO does: equal ones of one sender grow together, a shorter one is the last. */
static bool batch_grow(struct udp_rx *rx, const struct datagram *p)
{
	if (rx->len % rx->seg || p->len > rx->seg || rx->len + p->len > UDP_RX_MAX ||
	    !endpoint_eq(&rx->from, &p->from))
		return false;
	memcpy(rx->buf + rx->len, p->bytes, p->len);
	rx->len += p->len;
	return true;
}

static void batch_add(struct sim *s, struct batch *b, unsigned who, const struct datagram *p,
		      bool *heard)
{
	if (b->count && (b->who != who || b->count == RX_SLOTS))
		batch_flush(s, b, heard);
	b->who = who;
	if (p->len == 0 || (b->count && batch_grow(&b->rx[b->count - 1], p)))
		return;
	if (b->count == RX_SLOTS)
		batch_flush(s, b, heard);
	struct udp_rx *rx = &b->rx[b->count];
	*rx = (struct udp_rx){ .buf = rx_bytes[b->count],
			       .len = p->len,
			       .seg = p->len,
			       .from = p->from,
			       .local = who == AT_RENDEZVOUS ? s->net.rendezvous.addr
							     : s->net.hosts[who].inside.addr,
			       .ifindex = 2 };
	if (!addr_is_v4(&p->to.addr))
		rx->local = p->to.addr;
	memcpy(rx->buf, p->bytes, p->len);
	b->count++;
}

static nsec frozen_until(const struct sim *s, unsigned who)
{
	return who == AT_RENDEZVOUS ? s->rdv_frozen : s->hosts[who].frozen;
}

static void receive(struct sim *s, bool *heard)
{
	struct batch b = { 0 };
	struct datagram *p;
	int who;
	while ((who = net_arrived(&s->net, s->now, &p)) >= 0) {
		nsec until = frozen_until(s, (unsigned)who);
		if (until > s->now) {
			net_hold(&s->net, p, who, until);
			continue;
		}
		batch_add(s, &b, (unsigned)who, p, heard);
		free(p);
	}
	batch_flush(s, &b, heard);
}

static void resolve(struct sim_host *h)
{
	struct endpoint e[2] = { h->sim->net.rendezvous, h->sim->net.rendezvous6 };
	bool v6 = h->sim->net.hosts[h->index].inside6.port;
	h->resolve_at = NSEC_NEVER;
	node_resolved(h->node, h->sim->now, 0, e, v6 ? 2 : 1);
}

void sim_tick_host(struct sim_host *h)
{
	struct sim *s = h->sim;
	if (!h->node || h->frozen > s->now)
		return;
	if (h->resolve_at <= s->now)
		resolve(h);
	node_tick(h->node, s->now);
	if (!h->wants_stop)
		return;
	bool again = !h->released;
	sim_stop(h);
	h->restart_at = again ? s->now + RESTART_TIME : NSEC_NEVER;
}

static nsec host_deadline(const struct sim_host *h)
{
	nsec at = h->node ? nsec_min(h->resolve_at, node_deadline(h->node)) : h->restart_at;
	return nsec_max(at, h->frozen);
}

static nsec next_event(const struct sim *s)
{
	nsec at = s->rdv ? nsec_max(rdv_deadline(s->rdv), s->rdv_frozen) : NSEC_NEVER;
	at = nsec_min(at, net_deadline(&s->net));
	if (s->npending)
		at = nsec_min(at, nsec_max(s->pending[0].at, s->rdv_frozen));
	for (unsigned i = 0; i < s->nhosts; i++)
		at = nsec_min(at, host_deadline(&s->hosts[i]));
	return at;
}

static void turn(struct sim *s)
{
	bool heard[MAX_HOSTS + 1] = { false };

	receive(s, heard);
	sim_store_turn(s);
	for (unsigned i = 0; i < s->nhosts; i++) {
		struct sim_host *h = &s->hosts[i];
		if (!h->node && h->restart_at <= s->now)
			sim_start(h, START_SAME);
		if (h->node && (heard[i] || host_deadline(h) <= s->now))
			sim_tick_host(h);
	}
	if (s->rdv && s->rdv_frozen <= s->now)
		rdv_tick(s->rdv, s->now);
	if (s->verbose)
		log_all_drops(s);
}

void sim_run(struct sim *s, nsec duration)
{
	nsec until = s->now + duration;
	unsigned spins = 0;
	while (sim_ok(s)) {
		nsec at = next_event(s);
		if (at > until)
			break;
		spins = at > s->now ? 0 : spins + 1;
		if (spins > SPINS_MAX) {
			sim_fail(s, "somebody wants to be called again at once, for ever");
			return;
		}
		s->now = nsec_max(s->now, at);
		turn(s);
	}
	/* probes of the relay's path may be, where its two legs are of different families; no more */
	if (!s->net.narrow && s->net.oversized > s->net.sent / 10 + 100)
		sim_fail(s, "%llu of %llu datagrams were longer than %d bytes",
			 (unsigned long long)s->net.oversized, (unsigned long long)s->net.sent,
			 OUTER_MTU);
	s->now = nsec_max(s->now, until);
}
