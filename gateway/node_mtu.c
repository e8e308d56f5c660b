/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer's inner MTU: what its paths' searches found, and what the kernel's routes are told of it.
 *
 * Two numbers. `room` is what fits one datagram of the path in use, and follows the search at once;
 * what is larger is cut (node_out.c). `mtu` is the routes': lowered as soon as the search says so,
 * raised at most once a second, left alone while a search has no result yet, for every change makes
 * the kernel's TCP think again. A stock peer has no search: its MTU is what this host knows of the way.
 */
#include "gateway/node_internal.h"

#include <sodium.h>

#define RAISE_EVERY NSEC_PER_SEC
#define LOOK_EVERY NSEC_PER_SEC
#define STOCK_HINT_TIME (600 * NSEC_PER_SEC)
/* After the session: who counts its first packets, as WireGuard's own tests do, finds those alone. */
#define HELLO_AFTER (750 * NSEC_PER_MSEC)
#define ASK_EVERY NSEC_PER_SEC /* but at once where it sends frames */
/* An ICMP message costs a look at all peers: fifty a second, a flood gets no more. */
#define TOO_BIG_COST (NSEC_PER_SEC / 50)

enum { HELLOS = 5 };

static const nsec hello_gap[HELLOS] = {
	250 * NSEC_PER_MSEC, 500 * NSEC_PER_MSEC, NSEC_PER_SEC, 2 * NSEC_PER_SEC, 4 * NSEC_PER_SEC,
};

bool peer_is_warren(const struct peer *p)
{
	return p->warren;
}

const struct pmtu *peer_static_pmtu(const struct peer *p)
{
	return p->warren && !p->link ? &p->pmtu : NULL;
}

static const struct pmtu *search_in_use(const struct peer *p)
{
	return p->link ? link_pmtu(p->link) : peer_static_pmtu(p);
}

uint32_t peer_room(const struct peer *p)
{
	uint32_t message = 0;
	if (!p->warren) /* as WireGuard does it: what is larger than the path is cut outside */
		return p->node->pinned_mtu ? p->node->pinned_mtu : p->stock_mtu;
	if (p->link)
		message = link_message_max(p->link);
	else
		message = p->pmtu.size - path_around(&p->path);
	return message > WG_OVERHEAD ? message - WG_OVERHEAD : 0;
}

uint32_t peer_mtu(const struct peer *p)
{
	return p->mtu;
}

bool mtu_batches(const struct peer *p)
{
	const struct pmtu *m = search_in_use(p);
	return !m || batching_allowed(&m->batching);
}

/* Before any search has said something: what nearly every path takes, over the relay too. */
static uint32_t mtu_at_first(void)
{
	return PMTU_BASE - 20 - 8 - RELAY_HEADER_LEN - WG_OVERHEAD;
}

static uint32_t target(const struct peer *p)
{
	const struct pmtu *m = search_in_use(p);
	if (p->node->pinned_mtu)
		return p->node->pinned_mtu;
	if (!p->warren)
		return p->stock_mtu;
	if (!m || m->state == PMTU_DISABLED || m->state == PMTU_STATE_BASE)
		return p->mtu;
	return peer_room(p);
}

static void tell_path_mtu(struct peer *p, const struct path *path, const struct link_mtu *mtu)
{
	if (mtu->news || mtu->singles_news)
		node_tell(p->node,
			  &(struct node_note){
				  .event = NODE_PATH_MTU, .peer = p, .path = *path, .mtu = *mtu });
}

void mtu_review(struct peer *p, nsec now)
{
	struct link_mtu change;
	uint32_t mtu = target(p);

	if (peer_static_pmtu(p) && mtu_changed(&p->pmtu, &p->told_mtu, &change))
		tell_path_mtu(p, &p->path, &change);
	/* what its routes offer has changed with what it takes, also where their MTU stays */
	bool again = p->tell_again && !(p->warren && p->pmtu.state != PMTU_SEARCH_COMPLETE);
	p->raise_waits = mtu > p->mtu && now < p->next_raise;
	if ((mtu != p->mtu && !p->raise_waits) || again) {
		if (!p->raise_waits)
			p->mtu = mtu;
		p->tell_again = false;
		p->next_raise = now + RAISE_EVERY;
		node_tell(p->node, &(struct node_note){ .event = NODE_MTU, .peer = p });
	}
	peer_schedule(p);
}

static struct local_way local_way(const struct peer *p)
{
	const struct node_io *io = &p->node->io;
	return local_way_of(io->local_way, io->ctx, &p->path.remote.addr);
}

/* Design: min(1420, MTU of the route to the endpoint - 60 or 80). */
static uint32_t stock_fits(const struct peer *p, uint32_t path_mtu)
{
	uint32_t around = path_around(&p->path) + WG_OVERHEAD;
	uint32_t least = addr_is_v4(&p->path.remote.addr) ? PMTU_MIN_V4 : PMTU_MIN_V6;
	uint32_t mtu = (path_mtu > least ? path_mtu : least) - around;
	return mtu < STOCK_MTU ? mtu : STOCK_MTU;
}

void mtu_init(struct peer *p)
{
	p->warren = p->partial = p->kind == PEER_MEMBER;
	p->stock_mtu = STOCK_MTU;
	p->stock_until = p->next_hello = p->next_look = NSEC_NEVER;
	p->mtu = p->warren ? mtu_at_first() : p->stock_mtu;
	if (p->node->pinned_mtu)
		p->mtu = p->node->pinned_mtu;
	pmtu_init(&p->pmtu, path_floor(&p->path), path_around(&p->path));
}

/* The source of what we send to a static peer is what it addressed, until the way there is another. */
static void forget_source(struct peer *p)
{
	const struct node_io *io = &p->node->io;
	if (p->kind != PEER_STATIC || addr_is_any(&p->path.local) || !io->leads ||
	    io->leads(io->ctx, &p->path))
		return;
	p->path.local = addr_any;
	p->path.ifindex = 0;
}

/*
 * What was found, and what ICMP said of a path, holds where the way there is the same. The name is a new
 * one each time: an answer to what another search asked is not one to this.
 */
static void look_again(struct peer *p, nsec now)
{
	struct local_way way = local_way(p);
	bool other = p->look_moved || way.mtu != p->local_way.mtu || way.tag != p->local_way.tag;

	p->next_look = NSEC_NEVER;
	p->last_look = now;
	if (p->look_source)
		forget_source(p);
	p->look_source = p->look_moved = false;
	p->local_way = way;
	if (other)
		p->pmtu.batching = (struct batching){ 0 }; /* through another driver, maybe */
	if (other || p->stock_until == NSEC_NEVER) {
		p->stock_mtu = stock_fits(p, way.mtu);
		p->stock_until = NSEC_NEVER;
	}
	if (!p->warren || (!other && p->pmtu.state != PMTU_DISABLED))
		return;
	p->last_search = now;
	pmtu_start(&p->pmtu, now, randombytes_uniform(UINT32_MAX - 1) + 1, way.mtu);
}

/* At `at`, but a second after `last`; or when it is to be looked at in any case. */
static void look_after(struct peer *p, nsec now, nsec at, nsec last)
{
	if (last)
		at = nsec_max(at, last + LOOK_EVERY);
	p->next_look = nsec_min(p->next_look, at);
	if (p->next_look <= now)
		look_again(p, now);
	mtu_review(p, now);
}

/*
 * At most once a second: a peer that is heard from two addresses in turn must not make a stream of
 * searches towards whoever has them.
 */
static void look(struct peer *p, nsec now, nsec at)
{
	if (!p->link && p->path.remote.port)
		look_after(p, now, at, p->last_look);
}

void mtu_path_changed(struct peer *p, nsec now)
{
	look(p, now, now);
}

void mtu_network_changed(struct peer *p, nsec now, nsec later)
{
	if (later == 0)
		forget_source(p);
	p->look_source = later != 0;
	look(p, now, now + later);
}

/* Another port of the same address is most likely the same path behind a NAT that forgot: it is believed. */
void peer_set_path(struct peer *p, nsec now, const struct path *path)
{
	bool elsewhere = !addr_eq(&p->path.remote.addr, &path->remote.addr);
	bool moved = elsewhere || !endpoint_eq(&p->path.remote, &path->remote);
	struct node_note note = { .event = NODE_ENDPOINT, .peer = p, .path = p->path };

	p->path = *path;
	if (moved)
		p->stock_until = NSEC_NEVER;
	p->look_moved |= moved;
	if (elsewhere)
		pmtu_init(&p->pmtu, path_floor(path), path_around(path));
	if (moved)
		mtu_path_changed(p, now);
	if (p->kind == PEER_STATIC && (elsewhere || !note.path.remote.port))
		node_tell(p->node, &note);
}

void mtu_sent(struct peer *p, nsec now, const struct path *path, uint32_t len, uint32_t count)
{
	const struct path *in_use = p->link ? link_path(p->link) : &p->path;
	if (!p->warren || !in_use || !same_path(in_use, path))
		return;
	if (p->link) {
		link_sent(p->link, now, len, count);
		return;
	}
	pmtu_sent(&p->pmtu, now, len + path_around(path), count);
	if (pmtu_deadline(&p->pmtu) < p->timer.at || !timer_armed(&p->timer))
		peer_schedule(p);
}

void mtu_link_event(nsec now, const struct link_output *out)
{
	struct peer *p = link_user(out->link);
	uint8_t frame[PROBE_LEN];

	if (out->event == LINK_PROBE) {
		frame_probe_write(&out->probe, frame);
		out_frame(p, now, &out->path, frame, sizeof(frame), out->message - WG_OVERHEAD);
		return;
	}
	if (out->mtu.in_use)
		mtu_review(p, now);
	tell_path_mtu(p, &out->path, &out->mtu);
}

/* --- static peers: are they warrens? --- */

/* The mark is the initiator's alone; it hears our hello, and then knows us, too. */
void mtu_session_new(struct peer *p, nsec now)
{
	if (p->link)
		link_session_up(p->link, now);
	if (p->kind != PEER_STATIC || !(p->warren || p->marked))
		return;
	p->hellos = 0;
	p->next_hello = now + HELLO_AFTER;
	peer_schedule(p);
}

void mtu_initiated(struct peer *p, nsec now, bool marked)
{
	p->marked = marked;
	if (marked)
		return;
	p->next_hello = NSEC_NEVER;
	mtu_become(p, now, false);
}

void mtu_ask(struct peer *p, nsec now)
{
	bool asked = p->next_hello != NSEC_NEVER && p->hellos;
	if (p->kind != PEER_STATIC || asked || (p->last_hello && now - p->last_hello < ASK_EVERY))
		return;
	p->hellos = 0;
	p->next_hello = now;
	peer_schedule(p);
}

void mtu_become(struct peer *p, nsec now, bool warren)
{
	if (p->kind != PEER_STATIC || p->warren == warren)
		return;
	p->warren = warren;
	p->partial &= warren;
	if (!warren)
		pmtu_stop(&p->pmtu);
	else if (p->path.remote.port)
		look_after(p, now, now, p->last_search);
	p->tell_again = true;
	mtu_review(p, now);
}

static void hello_tick(struct peer *p, nsec now)
{
	struct frame_hello h = { .capabilities =
					 HELLO_PATH_MTU | HELLO_FRAGMENTS | HELLO_PARTIAL_SUMS,
				 .largest = FRAGMENT_PACKET_MAX };
	uint8_t frame[HELLO_LEN];

	if (p->hellos == HELLOS) { /* what it said before, it does not say any more */
		p->next_hello = NSEC_NEVER;
		p->marked = false; /* until it says so again: it asks, too, where we begin */
		mtu_become(p, now, false);
		return;
	}
	p->last_hello = now;
	p->next_hello = now + hello_gap[p->hellos++];
	frame_hello_write(&h, frame);
	out_frame(p, now, &p->path, frame, sizeof(frame), sizeof(frame));
}

static void search_tick(struct peer *p, nsec now)
{
	struct pmtu_probe probe;
	uint8_t frame[PROBE_LEN];

	while (pmtu_poll(&p->pmtu, now, p->rtt, &probe)) {
		frame_probe_write(&probe.frame, frame);
		out_frame(p, now, &p->path, frame, sizeof(frame), probe.frame.size - WG_OVERHEAD);
	}
}

void mtu_tick(struct peer *p, nsec now)
{
	if (now >= p->next_hello)
		hello_tick(p, now);
	if (peer_static_pmtu(p) && pmtu_deadline(&p->pmtu) <= now)
		search_tick(p, now);
	if (now >= p->stock_until) {
		p->stock_until = NSEC_NEVER;
		mtu_path_changed(p, now);
	}
	if (now >= p->next_look)
		look_again(p, now);
	mtu_review(p, now);
}

nsec mtu_deadline(const struct peer *p)
{
	nsec at = nsec_min(nsec_min(p->next_hello, p->stock_until), p->next_look);
	if (p->raise_waits)
		at = nsec_min(at, p->next_raise);
	return peer_static_pmtu(p) ? nsec_min(at, pmtu_deadline(&p->pmtu)) : at;
}

void node_pin_mtu(struct node *n, nsec now, uint32_t mtu)
{
	if (n->pinned_mtu == mtu)
		return;
	n->pinned_mtu = mtu;
	for (struct peer *p = n->peers; p; p = p->next)
		mtu_review(p, now);
}

/* --- ICMP --- */

static void lower_stock(struct peer *p, nsec now, uint32_t fits)
{
	if (fits >= p->stock_mtu)
		return;
	p->stock_mtu = fits;
	p->stock_until = now + STOCK_HINT_TIME;
}

static void too_big_static(struct peer *p, nsec now, const struct udp_too_big *e)
{
	if (p->kind != PEER_STATIC || !endpoint_eq(&p->path.remote, &e->to))
		return;
	if (p->warren)
		pmtu_too_big(&p->pmtu, now, e->mtu);
	else
		lower_stock(p, now, stock_fits(p, e->mtu));
	mtu_review(p, now);
}

/* This host's word needs no quote; it has no port either (udp_errors()). */
static void too_big_local(struct node *n, nsec now, const struct udp_too_big *e)
{
	if (n->links)
		links_local_mtu(n->links, now, &e->to.addr, e->mtu);
	for (struct peer *p = n->peers; p; p = p->next) {
		if (p->kind != PEER_STATIC || !addr_eq(&p->path.remote.addr, &e->to.addr))
			continue;
		uint32_t local = local_way(p).mtu, mtu = e->mtu < local ? e->mtu : local;
		lower_stock(p, now, stock_fits(p, mtu));
		if (p->warren) /* when it says more again, that is news */
			p->local_way.mtu = mtu;
		pmtu_set_max(&p->pmtu, now, mtu);
		mtu_review(p, now);
	}
}

/* The quote must be the beginning of a message that we sent of late, to where it says. */
static void too_big_quoted(struct node *n, nsec now, const struct udp_too_big *e)
{
	struct link *l = n->links ? links_quoted(n->links, &e->to, e->quote, e->quoted) : NULL;
	if (l)
		link_too_big(l, now, &e->to, true, e->mtu);
	if (l || e->quoted < WG_DATA_HEADER_LEN)
		return;
	for (struct peer *p = n->peers; p; p = p->next) {
		if (!wg_sent_of_late(p->wg, e->quote))
			continue;
		if (p->link)
			link_too_big(p->link, now, &e->to, false, e->mtu);
		else
			too_big_static(p, now, e);
		return;
	}
}

void node_too_big(struct node *n, nsec now, const struct udp_too_big *e)
{
	/* no link takes less of IPv6: such a message is to be ignored (RFC 8201 4) */
	if (!addr_is_v4(&e->to.addr) && e->mtu < PMTU_MIN_V6)
		return;
	if (!bucket_take(&n->too_bigs[e->local], now, TOO_BIG_COST, NSEC_PER_SEC))
		return;
	if (e->local)
		too_big_local(n, now, e);
	else
		too_big_quoted(n, now, e);
}
