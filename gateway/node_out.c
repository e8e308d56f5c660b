/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the TUN to the socket. Packets are split straight into the datagrams that will carry them: a
 * run holds datagrams of one peer, one path and one size back to back, with room for the headers,
 * padding and tag around each inner packet. It is full when it holds as many as one GSO send takes, or when
 * something of another shape comes for the peer. Runs are sealed in place and leave together, in the order
 * in which they were begun: when all are taken, or at the end of the turn.
 */
#include "gateway/node_internal.h"
#include "tun/too_big.h"

#include <netinet/in.h>

#define ICMP_COST (NSEC_PER_SEC / 50)

static bool inner_destination(const uint8_t *ip, size_t len, struct addr *dst)
{
	if (len >= 20 && ip[0] >> 4 == 4) {
		*dst = addr_v4(ip + 16);
		return true;
	}
	if (len >= 40 && ip[0] >> 4 == 6) {
		memcpy(dst->b, ip + 24, 16);
		return !addr_is_v4(dst); /* a mapped one would be another family's */
	}
	return false;
}

bool same_path(const struct path *a, const struct path *b)
{
	return a->relay == b->relay && a->ifindex == b->ifindex &&
	       endpoint_eq(&a->remote, &b->remote) && addr_eq(&a->local, &b->local);
}

/*
 * A static peer's datagrams leave as the host's routes say, whatever interface its own came in by. Stock
 * peers answer no probe, so that a smaller path may cut what we send them. `p`: or NULL.
 */
static struct udp_tx tx_of(const struct peer *p, const struct path *path, const uint8_t *buf,
			   uint32_t len, uint32_t seg)
{
	bool is_static = p && p->kind == PEER_STATIC;
	return (struct udp_tx){ .buf = buf,
				.len = len,
				.seg = seg,
				.to = path->remote,
				.local = path->local,
				.ifindex = is_static ? 0 : path->ifindex,
				.may_fragment = is_static && !p->warren };
}

/* What nobody puts together inside the tunnel goes whole, and may be cut outside. */
static bool beyond_fragments(const struct run *r)
{
	return r->stride - r->head - (WG_OVERHEAD - WG_DATA_HEADER_LEN) > FRAGMENT_PACKET_MAX;
}

/*
 * The session went between staging and sealing (rejected by age): the packets wait for the next. A
 * fragment does not: its packet is sent again by who can tell that it was lost.
 */
static void stage_run(struct run *r, nsec now)
{
	for (uint32_t i = 0; i < r->count; i++) {
		uint8_t *text = r->buf + i * r->stride + r->head;
		struct vnet_hdr h = { 0 };
		bool partial = frame_is_partial(text[0]);
		if (partial)
			text[0] &= (uint8_t)~FRAME_PARTIAL_BIT;
		if (partial ? partial_vnet(text, r->len[i], &h) : text[0] < FRAME_FIRST)
			peer_stage(r->peer, &h, text, r->len[i]);
		else
			node_drop(r->peer->node, r->peer, DROP_WG_EXPIRED);
	}
	wg_peer_initiate(r->peer->node->wg, r->peer->wg, now, 0);
}

static void drop_run(const struct run *r, enum drop why)
{
	for (uint32_t i = 0; i < r->count; i++)
		node_drop(r->peer->node, r->peer, why);
}

/* What leaves with a run that is sealed. */
static struct udp_tx run_tx(const struct run *r, nsec now, const struct wg_packet *pkts)
{
	struct peer *p = r->peer;
	struct udp_tx tx = tx_of(p, &r->path, r->buf, r->used, r->stride);

	for (uint32_t i = 0; r->path.relay && i < r->count; i++)
		link_relay_header(p->link, &r->path.remote, r->buf + i * r->stride, pkts[i].len);
	tx.tos = r->ecn;
	tx.single = !mtu_batches(p);
	tx.may_fragment |= beyond_fragments(r);
	p->stats.tx_bytes += r->used;
	*(r->path.relay ? &p->stats.tx_relay : &p->stats.tx_direct) += r->used;
	if (p->link)
		link_active(p->link, now);
	if (!beyond_fragments(r))
		mtu_sent(p, now, &r->path, r->stride - (r->head - WG_DATA_HEADER_LEN),
			 r->count - (r->closed && r->count > 1));
	return tx;
}

/* Seals what the run holds; true with *tx when there is something to send. The run is free then. */
static bool seal_run(struct run *r, nsec now, struct udp_tx *tx)
{
	struct wg_packet pkts[RUN_SEGMENTS];
	struct peer *p = r->peer;

	for (uint32_t i = 0; i < r->count; i++)
		pkts[i] = (struct wg_packet){ .data = r->buf + i * r->stride + r->head -
						      WG_DATA_HEADER_LEN,
					      .len = r->len[i],
					      .padded = r->padded[i] };
	enum drop why = wg_seal(p->node->wg, p->wg, now, pkts, r->count);
	if (why == DROP_NONE)
		*tx = run_tx(r, now, pkts);
	else if (why == DROP_WG_EXPIRED)
		stage_run(r, now);
	else
		drop_run(r, why);
	r->peer = NULL;
	return why == DROP_NONE;
}

void out_flush_runs(struct node *n, nsec now)
{
	struct udp_tx tx[MAX_RUNS];
	unsigned count = 0;
	for (unsigned i = 0; i < n->nruns; i++)
		if (n->runs[i].peer && seal_run(&n->runs[i], now, &tx[count]))
			count++;
	n->nruns = 0;
	if (count)
		n->io.udp(n->io.ctx, tx, count);
}

/*
 * What a datagram with that inner packet says of ECN: nothing where a mark would not get through, as a
 * relay makes a datagram of its own. And nothing to members, whose TCP asks for marks by our own routes:
 * some paths lose datagrams that may be marked (RFC 9000 13.4.2), and no SYN would have found that out.
 */
static uint8_t ecn_by(const struct peer *p, const struct path *path, const uint8_t *ip)
{
	return path->relay || p->kind == PEER_MEMBER ? ECN_NONE : ecn_outside(ip);
}

/* Fits the run one more datagram of `size` bytes? A shorter one does, as the last. */
static bool run_takes(const struct run *r, const struct path *path, uint8_t ecn, uint32_t size)
{
	return !r->closed && r->count < RUN_SEGMENTS && size <= r->stride && r->ecn == ecn &&
	       r->used + size <= RUN_BYTES && same_path(&r->path, path);
}

/* The newest run of the peer: those before it are full, and leave with it. */
static struct run *last_run(struct node *n, const struct peer *p)
{
	for (unsigned i = n->nruns; i--;)
		if (n->runs[i].peer == p)
			return &n->runs[i];
	return NULL;
}

/* The peer's open run if it takes the size, else a fresh one of that stride. */
static struct run *run_for(struct node *n, struct peer *p, nsec now, const struct path *path,
			   uint8_t ecn, uint32_t size)
{
	struct run *r = last_run(n, p);
	if (r && run_takes(r, path, ecn, size))
		return r;
	if (n->nruns == MAX_RUNS)
		out_flush_runs(n, now);
	r = &n->runs[n->nruns++];
	r->peer = p;
	r->path = *path;
	r->head = (path->relay ? RELAY_HEADER_LEN : 0) + WG_DATA_HEADER_LEN;
	r->stride = size;
	r->used = r->count = 0;
	r->closed = false;
	r->ecn = ecn;
	return r;
}

/* Notes one segment of `len` bytes that was written behind the others. */
static void run_add(struct run *r, uint32_t len, uint32_t padded, uint32_t size)
{
	r->len[r->count] = len;
	r->padded[r->count] = padded;
	r->count++;
	r->used += size;
	r->closed = size < r->stride;
}

static uint32_t around_text(const struct path *path)
{
	return (path->relay ? RELAY_HEADER_LEN : 0) + WG_OVERHEAD;
}

/* Segments of a plan that all fit: split straight into runs. */
static void out_segments(struct node *n, struct peer *p, nsec now, const struct path *path,
			 const struct vnet_hdr *h, const uint8_t *ip, size_t len,
			 const struct gso_plan *plan, uint32_t room)
{
	uint32_t around = around_text(path);
	bool partial = p->partial && gso_partial(h, ip, len);

	for (uint32_t at = 0; at < plan->segments;) {
		bool last = at + 1 == plan->segments;
		uint32_t seg = last ? plan->last_len : plan->seg_len;
		uint32_t size = around + wg_padded(seg, room);
		struct run *r = run_for(n, p, now, path, ecn_by(p, path, ip), size);
		/* as many equal ones as the run holds; the last of the plan comes by itself */
		uint32_t fit = (RUN_BYTES - r->used) / size, left = plan->segments - 1 - at;
		uint32_t count = RUN_SEGMENTS - r->count < fit ? RUN_SEGMENTS - r->count : fit;
		count = last || size < r->stride ? 1 : (left < count ? left : count);
		gso_split(h, ip, plan, at, count, partial, r->buf + r->used + r->head, size);
		for (uint32_t i = 0; i < count; i++) {
			if (partial)
				r->buf[r->used + r->head] |= FRAME_PARTIAL_BIT;
			run_add(r, seg, size - around, size);
		}
		at += count;
	}
}

static void out_whole(struct node *n, struct peer *p, nsec now, const struct path *path,
		      const uint8_t *ip, uint32_t len, uint32_t room)
{
	uint32_t padded = wg_padded(len, room), size = around_text(path) + padded;
	struct run *r = run_for(n, p, now, path, ecn_by(p, path, ip), size);
	memcpy(r->buf + r->used + r->head, ip, len);
	run_add(r, len, padded, size);
}

/* One packet that does not fit: cut to frames of one size, so that they leave as a batch. */
static enum drop out_cut(struct node *n, struct peer *p, nsec now, const struct path *path,
			 const uint8_t *ip, uint32_t len, uint32_t room)
{
	struct fragment_plan plan;
	enum drop why = fragment_plan(len, room, &plan);
	if (why != DROP_NONE)
		return why;
	uint32_t padded = wg_padded(FRAGMENT_HEADER_LEN + plan.part, room);
	uint32_t size = around_text(path) + padded, id = p->fragment_id++;
	for (uint32_t i = 0; i < plan.count; i++) {
		/* a mark of one of them would have to last until all are there */
		struct run *r = run_for(n, p, now, path, ECN_NONE, size);
		uint32_t frame = fragment_write(&plan, i, id, ip, r->buf + r->used + r->head);
		run_add(r, frame, padded, size);
	}
	p->stats.tx_cut++;
	p->stats.tx_fragments += plan.count;
	return DROP_NONE;
}

/*
 * TCP is always split to fit; what is left is UDP with boundaries of its own, and single packets. Each
 * stands in the scratch while it is cut: what flushes a run on the way must send no frame of its own.
 */
static enum drop out_too_large(struct node *n, struct peer *p, nsec now, const struct path *path,
			       const struct vnet_hdr *h, const uint8_t *ip,
			       const struct gso_plan *plan, uint32_t room)
{
	enum drop why = DROP_NONE;

	assert(plan->seg_len <= FRAGMENT_PACKET_MAX);
	for (uint32_t i = 0; why == DROP_NONE && i < plan->segments; i++) {
		uint32_t len = i + 1 < plan->segments ? plan->seg_len : plan->last_len;
		gso_split(h, ip, plan, i, 1, false, n->scratch, 0);
		if (len > room)
			why = out_cut(n, p, now, path, n->scratch, len, room);
		else /* the last of several */
			out_whole(n, p, now, path, n->scratch, len, room);
	}
	return why;
}

/* IPv4 without DF. */
static bool inner_may_be_cut(const uint8_t *ip)
{
	return ip[0] >> 4 == 4 && !(ip[6] & 0x40);
}

/* An ICMP message about a packet of this host, or of one behind it; at most fifty a second. */
static void tell_sender(struct node *n, nsec now, uint8_t *icmp, size_t size)
{
	if (size == 0 || !bucket_take(&n->answers, now, ICMP_COST, NSEC_PER_SEC))
		return;
	struct gro_write w = { .iovcnt = 2, .packets = 1, .bytes = (uint32_t)size };
	w.iov[0] = (struct iovec){ .iov_base = &w.vnet, .iov_len = VNET_HDR_LEN };
	w.iov[1] = (struct iovec){ .iov_base = icmp, .iov_len = size };
	n->io.tun(n->io.ctx, &w);
}

/* To a stock peer: the sender is told, where it may be; else it goes, and is cut outside. */
static enum drop stock_too_large(struct node *n, nsec now, const uint8_t *ip, size_t len,
				 uint32_t room)
{
	uint8_t icmp[TOO_BIG_MAX];
	bool v6 = ip[0] >> 4 == 6;

	if (v6 && len <= PMTU_MIN_V6)
		return DROP_NONE; /* IPv6 promises that size (RFC 8200 5), and no sender goes below */
	if (v6 && room < PMTU_MIN_V6)
		room = PMTU_MIN_V6;
	size_t size = too_big_answer(ip, len, room, icmp);

	if (size == 0)
		return inner_may_be_cut(ip) ? DROP_NONE : DROP_TOO_BIG;
	tell_sender(n, now, icmp, size);
	return DROP_TOO_BIG;
}

/* A packet that goes nowhere: its sender need not wait. */
static void unreachable(struct node *n, struct peer *p, nsec now, enum drop why, const uint8_t *ip,
			size_t len)
{
	uint8_t icmp[TOO_BIG_MAX];
	tell_sender(n, now, icmp, unreachable_answer(ip, len, icmp));
	node_drop(n, p, why);
}

static void out_packet(struct node *n, struct peer *p, nsec now, const struct path *path,
		       const struct vnet_hdr *h, const uint8_t *ip, size_t len)
{
	struct gso_plan plan;
	uint32_t room = peer_room(p);
	enum drop why = gso_plan(h, ip, len, room, &plan);

	if (why == DROP_NONE && plan.seg_len > room) {
		if (p->warren && plan.seg_len > FRAGMENT_PACKET_MAX) {
			room = plan.seg_len;
		} else if (p->warren) {
			why = out_too_large(n, p, now, path, h, ip, &plan, room);
			if (why != DROP_NONE)
				node_drop(n, p, why);
			return;
		} else {
			why = stock_too_large(n, now, ip, len, room);
		}
	}
	if (why == DROP_NONE && around_text(path) + wg_padded(plan.seg_len, room) > RUN_BYTES)
		why = DROP_TOO_BIG;
	if (why != DROP_NONE)
		node_drop(n, p, why);
	else
		out_segments(n, p, now, path, h, ip, len, &plan, room);
}

struct peer *out_carrier(const struct peer *p)
{
	struct peer *q = p->kind == PEER_STATIC && p->path.remote.port
				 ? route_table_find(p->node->routes, &p->path.remote.addr)
				 : NULL;
	/* all is inside a full tunnel but its own datagrams */
	return q == p ? NULL : q;
}

/*
 * Our own datagram, which a route has led into the tunnel of the peer that it is for, or of one that is
 * carried by that peer: it would go round for ever. In any other peer's it is one layer of an onion.
 */
static bool goes_round(struct peer *p, const struct addr *dst, const uint8_t *ip, size_t len)
{
	size_t at = ip[0] >> 4 == 4 ? (size_t)(ip[0] & 15) * 4 : 40;
	uint8_t protocol = ip[0] >> 4 == 4 ? ip[9] : ip[6];

	if (protocol != IPPROTO_UDP || len < at + 8 + WG_DATA_HEADER_LEN ||
	    load_le32(ip + at + 8) != WG_DATA)
		return false;
	uint16_t port = load_be16(ip + at + 2);
	for (unsigned i = 0; p && i < ONION_LAYERS; i++, p = out_carrier(p))
		if (addr_eq(dst, &p->path.remote.addr) && port == p->path.remote.port &&
		    wg_sent_of_late(p->wg, ip + at + 8))
			return true;
	return false;
}

void node_tun(struct node *n, nsec now, const struct vnet_hdr *h, uint8_t *ip, size_t len)
{
	struct addr dst;
	struct path path;
	struct peer *p;

	if (!inner_destination(ip, len, &dst)) {
		node_drop(n, NULL, DROP_TUN_MALFORMED);
		return;
	}
	p = route_table_find(n->routes, &dst);
	if (!p) {
		unreachable(n, NULL, now, DROP_NO_ROUTE, ip, len);
		return;
	}
	if (p->kind == PEER_STATIC && p->path.remote.port == 0) {
		unreachable(n, p, now, DROP_NO_PATH, ip, len);
		return;
	}
	if (!wg_can_send(p->wg, now) || !peer_path(p, &path)) {
		peer_stage(p, h, ip, len);
		wg_peer_initiate(n->wg, p->wg, now, 0);
		return;
	}
	if (goes_round(p, &dst, ip, len)) {
		node_drop(n, p, DROP_OUTER_INSIDE);
		return;
	}
	peer_congested(p, NODE_TUN, &dst, ip);
	out_packet(n, p, now, &path, h, ip, len);
}

/*
 * A message of ours as one datagram, behind a relay header where the path is one. It stands in the
 * scratch behind room for that header.
 */
static void send_scratch(struct node *n, const struct peer *p, struct link *l,
			 const struct path *path, uint8_t tos, size_t len)
{
	uint8_t *buf = n->scratch + RELAY_HEADER_LEN;

	if (path->relay) {
		buf -= RELAY_HEADER_LEN;
		link_relay_header(l, &path->remote, buf, len);
		len += RELAY_HEADER_LEN;
	}
	struct udp_tx tx = tx_of(p, path, buf, (uint32_t)len, (uint32_t)len);
	tx.tos = tos;
	n->io.udp(n->io.ctx, &tx, 1);
}

void out_message(struct peer *p, const uint8_t *msg, size_t len, bool handshake)
{
	struct path path;
	if (p->node->down || !peer_path(p, &path)) {
		node_drop(p->node, p, p->node->down ? DROP_LINK_DOWN : DROP_NO_PATH);
		wg_peer_unsent(p->wg, len);
		return;
	}
	memcpy(p->node->scratch + RELAY_HEADER_LEN, msg, len);
	send_scratch(p->node, p, p->link, &path, handshake ? WG_HANDSHAKE_TOS : 0, len);
}

void out_flush_replies(struct node *n)
{
	if (n->nreplies)
		n->io.udp(n->io.ctx, n->reply, n->nreplies);
	n->nreplies = 0;
	n->reply_used = 0;
}

/* One more of the size of those before, to where they go: a flood's answers leave as one batch. */
static bool reply_joins(struct udp_tx *last, const struct udp_tx *tx)
{
	if (last->seg != tx->len || last->buf + last->len != tx->buf || last->tos != tx->tos ||
	    last->len / last->seg == UDP_GSO_MAX_SEGMENTS || last->ifindex != tx->ifindex ||
	    !endpoint_eq(&last->to, &tx->to) || !addr_eq(&last->local, &tx->local))
		return false;
	last->len += tx->len;
	return true;
}

void out_reply(struct node *n, const struct peer *p, struct link *via, const struct arrival *a,
	       const uint8_t *msg, size_t len)
{
	struct path path = {
		.relay = a->relayed, .remote = a->from, .local = a->local, .ifindex = a->ifindex
	};
	uint32_t head = a->relayed ? RELAY_HEADER_LEN : 0, size = head + (uint32_t)len;

	if (n->nreplies == REPLIES || n->reply_used + size > sizeof(n->reply_bytes))
		out_flush_replies(n);
	uint8_t *buf = n->reply_bytes + n->reply_used;
	memcpy(buf + head, msg, len);
	if (a->relayed)
		link_relay_header(via, &path.remote, buf, len);
	n->reply_used += size;
	struct udp_tx tx = tx_of(p, &path, buf, size, size);
	tx.tos = WG_HANDSHAKE_TOS;
	if (!n->nreplies || !reply_joins(&n->reply[n->nreplies - 1], &tx))
		n->reply[n->nreplies++] = tx;
}

bool out_frame(struct peer *p, nsec now, const struct path *path, const uint8_t *frame, size_t len,
	       size_t padded)
{
	struct node *n = p->node;
	struct wg_packet pkt = { .data = n->scratch + RELAY_HEADER_LEN,
				 .len = (uint32_t)len,
				 .padded = (uint32_t)padded };

	assert(len <= padded && padded <= PMTU_MAX);
	memcpy(pkt.data + WG_DATA_HEADER_LEN, frame, len);
	enum drop why = wg_seal(n->wg, p->wg, now, &pkt, 1);
	if (why == DROP_NONE)
		send_scratch(n, p, p->link, path, 0, pkt.len);
	else if (why != DROP_WG_EXPIRED)
		node_drop(n, p, why);
	return why == DROP_NONE;
}
