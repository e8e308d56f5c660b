/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the socket to the TUN. Data messages of a receive batch are collected and opened together;
 * everything else is handled as it comes. Nothing is looked at before outer_classify() let it in,
 * nothing of an inner packet before it was authenticated.
 */
#include "gateway/node_internal.h"
#include "tun/icmp.h"

#include <sodium.h>

/* Source and destination of the inner packet, and its own length without padding. */
struct inner {
	struct addr src, dst;
	size_t len;
};

static bool inner_parse(const uint8_t *ip, size_t len, struct inner *out)
{
	if (len >= 20 && ip[0] >> 4 == 4) {
		out->len = load_be16(ip + 2);
		out->src = addr_v4(ip + 12);
		out->dst = addr_v4(ip + 16);
		return out->len >= 20 && out->len <= len;
	}
	if (len >= 40 && ip[0] >> 4 == 6) {
		out->len = 40u + load_be16(ip + 4);
		memcpy(out->src.b, ip + 8, 16);
		memcpy(out->dst.b, ip + 24, 16);
		/* a mapped one stands for an IPv4 address in a program, and in no packet */
		return out->len <= len && !addr_is_v4(&out->src) && !addr_is_v4(&out->dst);
	}
	return false;
}

/* From members only what is for us; static peers keep WireGuard's rules. */
static bool is_for_me(const struct node *n, const struct peer *p, const struct addr *dst)
{
	if (p->kind == PEER_STATIC)
		return true;
	for (size_t i = 0; i < n->nown; i++)
		if (prefix_contains(&n->own[i], dst))
			return true;
	return false;
}

/*
 * Between members there is no router, so an ICMP error of one is about what was sent to this one. Of another it would
 * be believed all the same: a kernel takes the path MTU of an error that quotes an echo reply without any proof.
 */
static bool is_false_error(const struct node *n, const struct peer *p, const uint8_t *ip,
			   size_t len)
{
	struct addr to;
	if (p->kind == PEER_STATIC)
		return false;
	enum icmp_quote quote = icmp_quote(ip, len, &to);
	return quote == ICMP_QUOTES_NOTHING ||
	       (quote == ICMP_QUOTES && route_table_find(n->routes, &to) != p);
}

/* Cryptokey routing of what came in; DROP_NONE with *out when it may go to the TUN. */
static enum drop inner_admit(struct node *n, struct peer *p, const struct arrival *a, uint8_t *ip,
			     size_t len, bool partial, struct gro_packet *out)
{
	struct vnet_hdr ignored;
	struct inner in;
	if (!inner_parse(ip, len, &in))
		return DROP_INNER_MALFORMED;
	if (route_table_find(n->routes, &in.src) != p)
		return DROP_INNER_SPOOFED;
	if (!is_for_me(n, p, &in.dst))
		return DROP_NOT_FOR_ME;
	if (is_false_error(n, p, ip, in.len))
		return DROP_INNER_FALSE_ERROR;
	if (partial && !partial_vnet(ip, in.len, &ignored))
		return DROP_INNER_MALFORMED;
	if (a->congested)
		ecn_congested(ip);
	peer_congested(p, NODE_UDP, &in.src, ip);
	*out = (struct gro_packet){ .ip = ip, .len = (uint32_t)in.len, .partial = partial };
	return DROP_NONE;
}

static void first_session(struct node *n, nsec now, struct peer *p)
{
	if (p->kind == PEER_FORMER) {
		node_tell(n, &(struct node_note){ .event = NODE_KEY_TWICE,
						  .path = p->path,
						  .entry = members_instead(n, &p->entry),
						  .was = &p->entry });
		return;
	}
	node_tell(n, &(struct node_note){ .event = NODE_SESSION, .peer = p });
	saved_session(n, now, p);
}

static void session_seen(struct node *n, struct peer *p, nsec now)
{
	if (!p->had_session && wg_can_send(p->wg, now)) {
		p->had_session = true;
		first_session(n, now, p);
	}
	if (p->staged && wg_can_send(p->wg, now))
		peer_unstage(p, now);
}

/* Whoever began it: the rendezvous does where it waits for an answer of a process before this one. */
static void session_new(struct peer *p, nsec now, const struct arrival *a)
{
	mtu_session_new(p, now);
	if (p->kind == PEER_RENDEZVOUS)
		join_session_up(p, now, &a->from);
}

/*
 * Out of the tunnel come the datagrams of a static peer that another one carries. One that is carried by
 * itself would make its inner address its outer one; of members nothing comes that way.
 */
static bool carries_itself(const struct peer *p, const struct arrival *a)
{
	if (!a->inside)
		return false;
	if (p->kind != PEER_STATIC)
		return true;
	const struct peer *q = route_table_find(p->node->routes, &a->from.addr);
	for (unsigned i = 0; q && q != p && i < ONION_LAYERS; i++)
		q = q->path.ifindex == p->node->tun_ifindex ? out_carrier(q) : NULL;
	return q;
}

/* An authenticated packet of a static peer says where it is now (the paper's 2.1, roaming). */
static void roam(struct peer *p, nsec now, const struct arrival *a)
{
	/* nobody can be answered at port 0, and for us it says that there is no endpoint */
	if (p->kind == PEER_STATIC && !a->relayed && a->from.port)
		peer_set_path(p, now,
			      &(struct path){ .remote = a->from,
					      .local = a->local,
					      .ifindex = a->ifindex });
}

/* An inner packet of `len` bytes, padding included, to the list of those that go to the TUN. */
static enum drop inner(struct node *n, struct peer *p, const struct arrival *a, uint8_t *ip,
		       size_t len, bool partial, size_t *ninner)
{
	enum drop why = inner_admit(n, p, a, ip, len, partial, &n->inner[*ninner]);
	*ninner += why == DROP_NONE;
	return why;
}

/*
 * The bit that says so is no part of the packet. Whoever has the session may say hello at any time, so
 * a static peer that has not said it gains nothing: it knows us from before our restart.
 */
static enum drop inner_partial(struct node *n, struct peer *p, nsec now, const struct arrival *a,
			       uint8_t *ip, size_t len, size_t *ninner)
{
	if (p->kind == PEER_RENDEZVOUS)
		return DROP_FRAME_UNEXPECTED;
	if (!p->warren)
		mtu_ask(p, now);
	ip[0] &= (uint8_t)~FRAME_PARTIAL_BIT;
	return inner(n, p, a, ip, len, true, ninner);
}

/* What is the peer's data: an inner packet, or a fragment of one. */
static void count_data(struct peer *p, nsec now, const struct arrival *a, uint32_t len)
{
	pmtu_seen_data(&p->seen, a->relayed, len + WG_OVERHEAD);
	p->stats.rx_bytes += len;
	*(a->relayed ? &p->stats.rx_relay : &p->stats.rx_direct) += len;
	if (p->link)
		link_active(p->link, now);
}

static void opened(struct node *n, nsec now, const struct wg_packet *pkt, const struct arrival *a,
		   size_t *ninner)
{
	struct peer *p = pkt->peer ? wg_peer_user(pkt->peer) : NULL;
	enum drop why = pkt->drop;
	uint8_t *text = pkt->data + WG_DATA_HEADER_LEN;
	struct iovec whole = { 0 };

	if (p && pkt->confirmed)
		session_new(p, now, a);
	if (why == DROP_NONE && p && carries_itself(p, a))
		why = DROP_OUTER_INSIDE;
	if (why != DROP_NONE || !p) {
		node_drop(n, p, why);
		return;
	}
	roam(p, now, a);
	session_seen(n, p, now);
	if (pkt->len == 0 || p->kind == PEER_FORMER)
		return;
	if (frame_is_data(text[0]))
		count_data(p, now, a, pkt->len);
	if (text[0] < FRAME_FIRST)
		why = inner(n, p, a, text, pkt->len, false, ninner);
	else if (frame_is_partial(text[0]))
		why = inner_partial(n, p, now, a, text, pkt->len, ninner);
	else
		why = frame_input(n, p, now, a->relayed, text, pkt->len, &whole);
	if (p->kind == PEER_RENDEZVOUS)
		sodium_memzero(text, pkt->len); /* PSKs came with it */
	if (whole.iov_base)
		why = inner(n, p, a, whole.iov_base, whole.iov_len, false, ninner);
	if (why != DROP_NONE)
		node_drop(n, p, why);
}

static void write_inner(struct node *n, size_t *ninner)
{
	for (size_t at = 0; at < *ninner;) {
		struct gro_write w;
		at += gro_merge(n->inner, at, *ninner, n->udp_gso, &w);
		n->io.tun(n->io.ctx, &w);
	}
	*ninner = 0;
	reassembly_recycle(n->reassembly);
}

/*
 * No peer goes here, and no link: what the rendezvous says is worked off in join_tick(). So a handshake that
 * works off what came before it may hold on to its link.
 */
void in_flush(struct node *n, nsec now)
{
	size_t ninner = 0;

	if (n->nopen == 0)
		return;
	wg_open(n->wg, now, n->open, n->nopen);
	size_t count = n->nopen;
	n->nopen = 0;
	for (size_t i = 0; i < count; i++) {
		opened(n, now, &n->open[i], &n->arrivals[i], &ninner);
		if (reassembly_out(n->reassembly) >= REASSEMBLY_PACKETS / 2)
			write_inner(n, &ninner);
	}
	write_inner(n, &ninner);
}

static void handshake(struct node *n, nsec now, struct link *via, const struct arrival *a,
		      const uint8_t *msg, size_t len)
{
	struct wg_reply reply;
	uint8_t src[18];
	struct wr w = wr_of(src, sizeof(src));

	/* behind the relay all have one address: there the member's number stands for the sender */
	if (via) {
		wr_zeros(&w, 12);
		wr_be32(&w, ((const struct peer *)link_user(via))->entry.number);
	} else {
		wr_endpoint(&w, &a->from);
	}
	enum drop why = wg_handshake_input(n->wg, now, msg, len, src, w.len, &reply);
	struct peer *p = reply.peer ? wg_peer_user(reply.peer) : NULL;
	if (why == DROP_NONE && p && carries_itself(p, a)) {
		node_drop(n, p, DROP_OUTER_INSIDE);
		wg_peer_unsent(p->wg, reply.len);
		return;
	}
	/* a member's wrong answer must not disturb what we have with the rendezvous */
	struct peer *mismatch = reply.mismatch ? wg_peer_user(reply.mismatch) : NULL;
	if (mismatch && mismatch->kind == PEER_RENDEZVOUS)
		contact_mismatch(join_contact(mismatch), now);
	if (why != DROP_NONE) {
		node_drop(n, p, why);
		n->bad_handshakes++;
	} else if (p && msg[0] != WG_COOKIE) {
		roam(p, now, a);
	}
	if (reply.len)
		out_reply(n, p, via, a, reply.bytes, reply.len);
	if (why != DROP_NONE || !p)
		return;
	if (msg[0] == WG_INITIATION)
		mtu_initiated(p, now, reply.mark == WARREN_MARK);
	if (reply.session_up)
		session_new(p, now, a);
	session_seen(n, p, now);
}

static void datagram(struct node *n, nsec now, struct link *via, const struct arrival *a,
		     uint8_t *p, size_t len);

static enum drop relayed(struct node *n, nsec now, const struct arrival *a, uint8_t *p, size_t len)
{
	struct link *l;
	uint8_t *inner;
	size_t innerlen;

	enum drop why =
		n->links ? links_unwrap(n->links, now, &a->from, p, len, &l, &inner, &innerlen)
			 : DROP_RELAY_UNKNOWN_MEMBER;
	if (why != DROP_NONE)
		return why;
	struct arrival in = *a;
	in.relayed = true;
	datagram(n, now, l, &in, inner, innerlen);
	return DROP_NONE;
}

static void datagram(struct node *n, nsec now, struct link *via, const struct arrival *a,
		     uint8_t *p, size_t len)
{
	enum drop why = DROP_NONE;

	switch (outer_classify(p, len, &why)) {
	case OUTER_NONE:
		break;
	case OUTER_STUN:
		why = DROP_OUTER_UNEXPECTED;
		break;
	case OUTER_WG_DATA:
		if (n->nopen == OPEN_BATCH)
			in_flush(n, now);
		n->open[n->nopen] = (struct wg_packet){ .data = p, .len = (uint32_t)len };
		n->arrivals[n->nopen++] = *a;
		break;
	case OUTER_WG_HANDSHAKE:
		if (n->bad_handshakes < BAD_HANDSHAKES)
			handshake(n, now, via, a, p, len);
		else
			why = DROP_WG_HANDSHAKE_FLOOD;
		break;
	case OUTER_PING:
	case OUTER_PONG:
		why = a->inside	 ? DROP_OUTER_INSIDE
		      : n->links ? links_input(n->links, now, &a->from, &a->local, a->ifindex,
					       a->relayed, p, len)
				 : DROP_OUTER_UNKNOWN_MEMBER;
		break;
	case OUTER_RELAY:
		why = a->inside	   ? DROP_OUTER_INSIDE
		      : a->relayed ? DROP_OUTER_UNEXPECTED
				   : relayed(n, now, a, p, len);
		break;
	}
	if (why != DROP_NONE)
		node_drop(n, NULL, why);
}

/*
 * From a virtual address: it has come through the tunnel itself, from a host that has no other address
 * of that family. A path there would carry itself.
 */
static bool from_inside(const struct node *n, const struct addr *from)
{
	const struct token *t = &n->join.token;
	for (size_t i = 0; n->join.on && i < t->nprefixes; i++)
		if (prefix_contains(&t->prefixes[i], from))
			return true;
	return false;
}

void node_udp(struct node *n, nsec now, const struct udp_rx *rx, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct arrival a = { .from = rx[i].from,
				     .local = rx[i].local,
				     .ifindex = rx[i].ifindex,
				     .congested = (rx[i].tos & ECN_MASK) == ECN_CE,
				     .inside = n->tun_ifindex && rx[i].ifindex == n->tun_ifindex };
		if (n->down) {
			node_drop(n, NULL, DROP_LINK_DOWN);
			continue;
		}
		if (rx[i].truncated) {
			node_drop(n, NULL, DROP_UDP_TRUNCATED);
			continue;
		}
		if (from_inside(n, &rx[i].from.addr)) {
			node_drop(n, NULL, DROP_OUTER_INSIDE);
			continue;
		}
		uint32_t seg = rx[i].seg ? rx[i].seg : rx[i].len;
		for (uint32_t at = 0; at < rx[i].len; at += seg)
			datagram(n, now, NULL, &a, rx[i].buf + at, size_min(seg, rx[i].len - at));
	}
	in_flush(n, now);
	out_flush_replies(n);
	/* who is back is pinged by all at once: more than wait together are answered in a turn */
	if (n->links && links_deadline(n->links) == 0)
		out_links(n, now);
}
