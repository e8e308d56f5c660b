/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the TUN to the socket. Packets are split straight into the datagrams that will carry them: a
 * run holds datagrams of one peer, one path and one size back to back, with room for the headers,
 * padding and tag around each inner packet. It is sealed in place and leaves by one GSO send when it is
 * full, when something of another shape comes for the peer, or at the end of the turn.
 */
#include "gateway/node_internal.h"
#include "punch/control.h"

static bool inner_destination(const uint8_t *ip, size_t len, struct addr *dst)
{
	if (len >= 20 && ip[0] >> 4 == 4) {
		*dst = addr_v4(ip + 16);
		return true;
	}
	if (len >= 40 && ip[0] >> 4 == 6) {
		memcpy(dst->b, ip + 24, 16);
		return true;
	}
	return false;
}

static bool same_path(const struct path *a, const struct path *b)
{
	return a->relay == b->relay && a->ifindex == b->ifindex &&
	       endpoint_eq(&a->remote, &b->remote) && addr_eq(&a->local, &b->local);
}

static struct udp_tx tx_of(const struct path *path, const uint8_t *buf, uint32_t len, uint32_t seg)
{
	return (struct udp_tx){ .buf = buf,
				.len = len,
				.seg = seg,
				.to = path->remote,
				.local = path->local,
				.ifindex = path->ifindex };
}

/* The session went between staging and sealing (rejected by age): the packets wait for the next. */
static void stage_run(struct run *r, nsec now)
{
	static const struct vnet_hdr plain;
	for (uint32_t i = 0; i < r->count; i++)
		peer_stage(r->peer, &plain, r->buf + i * r->stride + r->head, r->len[i]);
	wg_peer_initiate(r->peer->node->wg, r->peer->wg, now, 0);
}

/* Seals what the run holds; true with *tx when there is something to send. The run is free then. */
static bool seal_run(struct run *r, nsec now, struct udp_tx *tx)
{
	struct wg_packet pkts[RUN_SEGMENTS];
	struct peer *p = r->peer;
	bool ok = false;

	for (uint32_t i = 0; i < r->count; i++)
		pkts[i] = (struct wg_packet){ .data = r->buf + i * r->stride + r->head -
						      WG_DATA_HEADER_LEN,
					      .len = r->len[i],
					      .padded = r->padded[i] };
	if (wg_seal(p->node->wg, p->wg, now, pkts, r->count) == DROP_NONE) {
		for (uint32_t i = 0; r->path.relay && i < r->count; i++)
			link_relay_header(p->link, r->buf + i * r->stride, pkts[i].len);
		*tx = tx_of(&r->path, r->buf, r->used, r->stride);
		p->stats.tx_bytes += r->used;
		*(r->path.relay ? &p->stats.tx_relay : &p->stats.tx_direct) += r->used;
		if (p->link)
			link_active(p->link, now);
		ok = true;
	} else {
		stage_run(r, now);
	}
	r->peer = NULL;
	return ok;
}

static void flush_run(struct node *n, struct run *r, nsec now)
{
	struct udp_tx tx;
	if (seal_run(r, now, &tx))
		n->io.udp(n->io.ctx, &tx, 1);
}

void out_flush_runs(struct node *n, nsec now)
{
	struct udp_tx tx[MAX_RUNS];
	unsigned count = 0;
	for (unsigned i = 0; i < MAX_RUNS; i++)
		if (n->runs[i].peer && seal_run(&n->runs[i], now, &tx[count]))
			count++;
	if (count)
		n->io.udp(n->io.ctx, tx, count);
}

/* Fits the run one more datagram of `size` bytes? A shorter one does, as the last. */
static bool run_takes(const struct run *r, const struct path *path, uint32_t size)
{
	return !r->closed && r->count < RUN_SEGMENTS && size <= r->stride &&
	       r->used + size <= RUN_BYTES && same_path(&r->path, path);
}

/* The peer's open run if it takes the size, else a fresh one of that stride. */
static struct run *run_for(struct node *n, struct peer *p, nsec now, const struct path *path,
			   uint32_t size)
{
	struct run *r = NULL;
	for (unsigned i = 0; i < MAX_RUNS; i++) {
		if (n->runs[i].peer == p) {
			if (run_takes(&n->runs[i], path, size))
				return &n->runs[i];
			flush_run(n, &n->runs[i], now);
		}
		if (!n->runs[i].peer && !r)
			r = &n->runs[i];
	}
	if (!r) {
		out_flush_runs(n, now);
		r = &n->runs[0];
	}
	r->peer = p;
	r->path = *path;
	r->head = (path->relay ? RELAY_HEADER_LEN : 0) + WG_DATA_HEADER_LEN;
	r->stride = size;
	r->used = r->count = 0;
	r->closed = false;
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

static void out_packet(struct node *n, struct peer *p, nsec now, const struct path *path,
		       const struct vnet_hdr *h, const uint8_t *ip, size_t len)
{
	struct gso_plan plan;
	enum drop why = gso_plan(h, ip, len, p->mtu, &plan);
	uint32_t around = (path->relay ? RELAY_HEADER_LEN : 0) + WG_OVERHEAD;

	if (why == DROP_NONE && around + wg_padded(plan.seg_len, p->mtu) > RUN_BYTES)
		why = DROP_TOO_BIG;
	if (why != DROP_NONE) {
		node_drop(n, p, why);
		return;
	}
	for (uint32_t at = 0; at < plan.segments;) {
		bool last = at + 1 == plan.segments;
		uint32_t seg = last ? plan.last_len : plan.seg_len;
		uint32_t size = around + wg_padded(seg, p->mtu);
		struct run *r = run_for(n, p, now, path, size);
		/* as many equal ones as the run holds; the last of the plan comes by itself */
		uint32_t room = (RUN_BYTES - r->used) / size, left = plan.segments - 1 - at;
		uint32_t count = RUN_SEGMENTS - r->count < room ? RUN_SEGMENTS - r->count : room;
		count = last || size < r->stride ? 1 : (left < count ? left : count);
		gso_split(h, ip, &plan, at, count, r->buf + r->used + r->head, size);
		for (uint32_t i = 0; i < count; i++)
			run_add(r, seg, size - around, size);
		at += count;
	}
}

void node_tun(struct node *n, nsec now, const struct vnet_hdr *h, const uint8_t *ip, size_t len)
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
		node_drop(n, NULL, DROP_NO_ROUTE);
		return;
	}
	if (!wg_can_send(p->wg, now) || !peer_path(p, &path)) {
		peer_stage(p, h, ip, len);
		wg_peer_initiate(n->wg, p->wg, now, 0);
		return;
	}
	out_packet(n, p, now, &path, h, ip, len);
}

/* A message of ours as one datagram, behind a relay header where the path is one. */
static void send_wrapped(struct node *n, struct link *l, const struct path *path, uint8_t tos,
			 const uint8_t *msg, size_t len)
{
	uint8_t buf[RELAY_HEADER_LEN + CONTROL_MAX + WG_OVERHEAD + WG_PADDING];
	size_t head = path->relay ? RELAY_HEADER_LEN : 0;

	assert(len <= sizeof(buf) - RELAY_HEADER_LEN);
	memcpy(buf + head, msg, len);
	if (path->relay)
		link_relay_header(l, buf, len);
	struct udp_tx tx = tx_of(path, buf, (uint32_t)(head + len), (uint32_t)(head + len));
	tx.tos = tos;
	n->io.udp(n->io.ctx, &tx, 1);
}

void out_message(struct peer *p, const uint8_t *msg, size_t len, bool handshake)
{
	struct path path;
	if (!peer_path(p, &path)) {
		node_drop(p->node, p, DROP_NO_PATH);
		return;
	}
	send_wrapped(p->node, p->link, &path, handshake ? WG_HANDSHAKE_TOS : 0, msg, len);
}

void out_reply(struct node *n, struct link *via, const struct arrival *a, const uint8_t *msg,
	       size_t len)
{
	struct path path = {
		.relay = a->relayed, .remote = a->from, .local = a->local, .ifindex = a->ifindex
	};
	send_wrapped(n, via, &path, WG_HANDSHAKE_TOS, msg, len);
}

bool out_control(struct peer *p, nsec now, const uint8_t *payload, size_t len)
{
	uint8_t buf[CONTROL_MAX + WG_OVERHEAD + WG_PADDING];
	struct wg_packet pkt = { .data = buf };

	assert(len <= CONTROL_MAX);
	memcpy(buf + WG_DATA_HEADER_LEN, payload, len);
	pkt.len = pkt.padded = (uint32_t)ctl_pad(buf + WG_DATA_HEADER_LEN, len, CONTROL_MAX);
	if (wg_seal(p->node->wg, p->wg, now, &pkt, 1) != DROP_NONE)
		return false;
	out_message(p, buf, pkt.len, false);
	return true;
}
