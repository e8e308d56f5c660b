/* SPDX-License-Identifier: Apache-2.0 */
/* A node's life, and the turn: what the cores below want to send or say. */
#include "gateway/node_internal.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

enum {
	WARM_MEMBERS = 64, /* up to so many members every link is kept warm */
};
#define WARM_AGE (120 * NSEC_PER_SEC)
#define WARM_AGE_SECOND (150 * NSEC_PER_SEC)
#define LOOKS_WITHIN (2 * NSEC_PER_SEC)

enum { LOOKS_AT_ONCE = 8 };

/* What came before it was sealed before it: where a peer is, the last one that came says. */
static void before_handshake(void *user, nsec now)
{
	in_flush(user, now);
}

struct node *node_new(const struct node_config *cfg, nsec now)
{
	struct node *n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	struct wg_config wc = { .max_peers = cfg->max_peers,
				.aead = cfg->aead,
				.user = n,
				.before_handshake = before_handshake };
	n->io = cfg->io;
	n->peers_end = &n->peers;
	n->boot = cfg->boot;
	n->max_peers = cfg->max_peers;
	n->udp_gso = cfg->udp_gso;
	n->tun_ifindex = cfg->tun_ifindex;
	n->pinned_mtu = cfg->pinned_mtu;
	n->reassembly = reassembly_new(&n->drops);
	n->scratch = malloc(SCRATCH);
	n->wg = wg_new(&wc);
	n->routes = route_table_new();
	for (unsigned i = 0; i < MAX_RUNS; i++)
		n->runs[i].buf = malloc(RUN_BYTES);
	for (unsigned i = 0; i < MAX_RUNS; i++)
		if (!n->runs[i].buf)
			goto fail;
	if (!n->wg || !n->routes || !n->reassembly || !n->scratch)
		goto fail;
	wg_set_mark(n->wg, WARREN_MARK);
	wg_set_private_key(n->wg, cfg->private_key);
	wg_set_timestamp_floor(n->wg, (int64_t)cfg->boot);
	if (cfg->token && join_start(n, now, cfg) < 0)
		goto fail;
	return n;
fail:
	node_free(n);
	return NULL;
}

void node_free(struct node *n)
{
	if (!n)
		return;
	n->nopen = 0;
	while (n->peers)
		peer_free(n->peers);
	join_stop(n);
	links_free(n->links);
	route_table_free(n->routes);
	wg_free(n->wg);
	reassembly_free(n->reassembly);
	free(n->scratch);
	for (unsigned i = 0; i < MAX_RUNS; i++)
		free(n->runs[i].buf);
	free(n);
}

static void poll_wg(struct node *n, nsec now)
{
	struct wg_output out;
	while (wg_poll(n->wg, now, &out)) {
		struct peer *p = wg_peer_user(out.peer);
		bool rendezvous = p->kind == PEER_RENDEZVOUS;
		if (out.event != WG_EVENT_SEND) {
			peer_drop_staged(p, DROP_STAGED_EXPIRED);
			if (rendezvous)
				contact_gave_up(join_contact(p), now);
		} else if (rendezvous) {
			contact_message(join_contact(p), now, out.bytes, out.len, out.handshake);
		} else {
			out_message(p, out.bytes, out.len, out.handshake);
		}
	}
}

/* A path to a peer whose packets wait, or whose session is not yet: both sides are there now. */
static void path_changed(struct node *n, struct peer *p, nsec now)
{
	if (!wg_can_send(p->wg, now))
		wg_peer_initiate(n->wg, p->wg, now, 0);
	else if (p->staged)
		peer_unstage(p, now);
	struct path path = { 0 };
	peer_path(p, &path);
	members_reached(n, p, &path);
	mtu_review(p, now);
	if (path.relay == p->told.relay && endpoint_eq(&path.remote, &p->told.remote))
		return; /* only our own end of it is another */
	p->told = path;
	node_tell(n, &(struct node_note){ .event = NODE_PATH_CHANGED, .peer = p });
}

void out_links(struct node *n, nsec now)
{
	struct link_output out;
	while (n->links && links_poll(n->links, now, &out)) {
		struct peer *p = out.link ? link_user(out.link) : NULL;
		switch (out.event) {
		case LINK_SEND: {
			struct udp_tx tx = { .buf = out.bytes,
					     .len = (uint32_t)out.len,
					     .seg = (uint32_t)out.len,
					     .to = out.path.remote,
					     .local = out.path.local,
					     .ifindex = out.path.ifindex };
			n->io.udp(n->io.ctx, &tx, 1);
			break;
		}
		case LINK_PATH_CHANGED:
			path_changed(n, p, now);
			break;
		case LINK_PROBE:
		case LINK_MTU:
			mtu_link_event(now, &out);
			break;
		case LINK_WANT_INTRODUCTION:
			join_connect(n, now, p->entry.number);
			break;
		case LINK_OBSERVED:
			break; /* the rendezvous sees the same mapping; others are of no use to a third */
		}
	}
}

void node_flush(struct node *n, nsec now)
{
	in_flush(n, now);
	out_flush_runs(n, now);
}

/*
 * Sessions with members are renewed while nothing flows, so that the first packet after a long
 * silence costs no handshake. The smaller key does it; the other only where that one does not.
 */
static void keep_warm(struct node *n, struct peer *p, nsec now)
{
	struct wg_peer_stats s;
	struct path path;
	bool first = memcmp(wg_public_key(n->wg), peer_key(p), 32) < 0;

	if (p->kind != PEER_MEMBER || now < p->next_warm)
		return;
	p->next_warm = now + WARM_EVERY; /* mtu_tick() sets the timer */
	if (!peer_path(p, &path) || route_table_count(n->routes) > 2 * WARM_MEMBERS)
		return;
	wg_peer_stats(p->wg, now, &s);
	if (now - s.last_handshake > (first ? WARM_AGE : WARM_AGE_SECOND))
		wg_peer_initiate(n->wg, p->wg, now, 0);
}

void node_tick(struct node *n, nsec now)
{
	struct timer *t;

	n->bad_handshakes = 0;
	join_tick(n, now);
	while ((t = heap_due(&n->timers, now))) {
		struct peer *p = container_of(t, struct peer, timer);
		keep_warm(n, p, now);
		mtu_tick(p, now);
	}
	reassembly_expire(n->reassembly, now);
	out_links(n, now);
	poll_wg(n, now);
	node_flush(n, now);
}

nsec node_deadline(const struct node *n)
{
	nsec at = nsec_min(wg_deadline(n->wg), join_deadline(n));
	at = nsec_min(at, heap_deadline(&n->timers));
	at = nsec_min(at, reassembly_deadline(n->reassembly));
	return n->links ? nsec_min(at, links_deadline(n->links)) : at;
}

void node_set_wall(struct node *n, nsec offset)
{
	wg_set_wall_offset(n->wg, offset);
}

void node_network_changed(struct node *n, nsec now)
{
	unsigned asked = 0;
	if (n->links)
		links_network_changed(n->links, now);
	/* a few at once, for people who wait; not all, for each asks the kernel */
	for (struct peer *p = n->peers; p; p = p->next, asked++)
		mtu_network_changed(
			p, now,
			asked < LOOKS_AT_ONCE ? 0 : 1 + asked * NSEC_PER_MSEC % LOOKS_WITHIN);
}

const struct node_lease_info *node_lease(const struct node *n)
{
	return &n->join.lease;
}

struct wg *node_wg(struct node *n)
{
	return n->wg;
}

struct links *node_links(struct node *n)
{
	return n->links;
}

const struct drops *node_drops(const struct node *n)
{
	return &n->drops;
}

struct drops *node_drops_edit(struct node *n)
{
	return &n->drops;
}

struct peer *node_peer_next(const struct node *n, const struct peer *after)
{
	return after ? after->next : n->peers;
}

uint64_t node_newest(const struct node *n)
{
	return n->serial;
}

struct peer *node_peer_after(const struct node *n, const uint8_t key[static 32], uint64_t serial)
{
	struct peer *p = serial ? node_peer_find(n, key) : NULL;

	if (p && p->serial == serial)
		return p->next;
	for (p = n->peers; p && p->serial <= serial; p = p->next)
		;
	return p;
}
