/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending walks a cursor over the caller's entries. Each sendmmsg takes the next messages from the
 * cursor; what the kernel refuses is always the first unsent message, so a refusal changes how the
 * cursor's entry goes out (singly, or without a source address) and never touches what went before.
 *
 * With IP_RECVERR any ICMP message about an earlier datagram fails the next send, whoever that is
 * for, before anything of it is sent. Being reported clears it, so such an error is not believed
 * before it has come RETRIES more times for the same message: one ICMP message more may arrive
 * between two calls, but hardly each time.
 */
#include "punch/udp_impl.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>

/* since Linux 4.18; the headers we build with may be older */
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum {
	BATCH = 64, /* messages in one sendmmsg */
	RETRIES = 2,
	/*
	 * A segment that fits any link that IPv6 may use (RFC 8200 5) with IPv6 and UDP headers
	 * before it: a batch of such was hardly refused for its size.
	 */
	SURE_SEGMENT = 1280 - 48,
};

/* What is not sent yet, and how the entry at `at` goes out. */
struct cursor {
	const struct udp_tx *tx;
	unsigned n, at;
	uint32_t off;
	bool single, no_source;
	bool blame_gso; /* a batch was refused that was not too large: the singles will tell */
	bool too_long;	/* for our own device: the entry's other datagrams need no proof of it */
	unsigned tries; /* refusals of the first unsent message that were not believed */
};

struct batch {
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_storage names[BATCH];
	union udp_control control[BATCH];
	uint32_t datagrams[BATCH];
	unsigned n;
	bool may_fragment;  /* all of them, or none */
	bool has_family[2]; /* [IPv4] */
};

static uint32_t seg_of(const struct udp_tx *t)
{
	return t->seg && t->seg < t->len ? t->seg : t->len;
}

static uint32_t datagrams_in(const struct udp_tx *t, uint32_t bytes)
{
	uint32_t seg = seg_of(t);
	return seg ? (bytes + seg - 1) / seg : 0;
}

static void cursor_skip_entry(struct cursor *c)
{
	c->at++;
	c->off = 0;
	c->single = c->no_source = c->blame_gso = c->too_long = false;
	c->tries = 0;
}

/* Bytes of the next message of entry `t` from `off` on. */
static uint32_t message_len(const struct udp_tx *t, uint32_t off, bool batched)
{
	uint32_t seg = seg_of(t), most = 1, left = t->len - off;
	if (batched && seg) {
		most = UDP_GSO_MAX_BYTES / seg;
		if (most > UDP_GSO_MAX_SEGMENTS)
			most = UDP_GSO_MAX_SEGMENTS;
		if (most == 0)
			most = 1;
	}
	return left / seg < most ? left : seg * most;
}

static void add_control(struct msghdr *msg, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c =
		(struct cmsghdr *)(void *)((char *)msg->msg_control + msg->msg_controllen);
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	msg->msg_controllen += CMSG_SPACE(len);
}

/*
 * IPv4 has its own packet info, on a dual-stack socket as well. An address of the wrong family is
 * none.
 */
static void add_source(struct msghdr *msg, const struct udp_tx *t)
{
	bool any = addr_is_any(&t->local);
	if (addr_is_v4(&t->to.addr)) {
		struct in_pktinfo info = { .ipi_ifindex = (int)t->ifindex };
		if (!any && addr_is_v4(&t->local))
			memcpy(&info.ipi_spec_dst, t->local.b + 12, 4);
		if (info.ipi_ifindex || info.ipi_spec_dst.s_addr)
			add_control(msg, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
		return;
	}
	struct in6_pktinfo info = { .ipi6_ifindex = t->ifindex };
	if (!any && !addr_is_v4(&t->local))
		memcpy(&info.ipi6_addr, t->local.b, 16);
	else
		any = true;
	if (info.ipi6_ifindex || !any)
		add_control(msg, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
}

static void add_options(struct msghdr *msg, const struct udp_tx *t, bool no_source, bool segmented)
{
	if (!no_source)
		add_source(msg, t);
	if (segmented) {
		uint16_t seg = (uint16_t)seg_of(t);
		add_control(msg, IPPROTO_UDP, UDP_SEGMENT, &seg, sizeof(seg));
	}
	if (t->tos) {
		int tos = t->tos;
		if (addr_is_v4(&t->to.addr))
			add_control(msg, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
		else
			add_control(msg, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
	}
	if (msg->msg_controllen == 0)
		msg->msg_control = NULL;
}

static void add_message(struct batch *b, const struct udp_socket *s, const struct udp_tx *t,
			const struct cursor *c, uint32_t len)
{
	unsigned i = b->n++;
	struct msghdr *msg = &b->msgs[i].msg_hdr;
	/* the kernel only reads it; struct iovec has no const */
	b->iov[i] =
		(struct iovec){ .iov_base = (void *)(uintptr_t)(t->buf + c->off), .iov_len = len };
	b->datagrams[i] = datagrams_in(t, len);
	b->has_family[addr_is_v4(&t->to.addr)] = true;
	*msg = (struct msghdr){ .msg_name = &b->names[i],
				.msg_iov = &b->iov[i],
				.msg_iovlen = 1,
				.msg_control = &b->control[i] };
	/* an IPv4 socket cannot name an IPv6 peer: without a name the kernel refuses the message */
	if (s->v6 || addr_is_v4(&t->to.addr))
		msg->msg_namelen = (socklen_t)endpoint_to_sockaddr(&t->to, s->v6, &b->names[i]);
	add_options(msg, t, c->no_source, len > seg_of(t));
}

/*
 * Takes the next messages from the cursor, which stays where it is. DF is the socket's and not a
 * message's (Linux knows no such control message for IPv4), so a batch ends where it changes.
 */
static void batch_fill(struct batch *b, const struct udp_socket *s, struct cursor c)
{
	b->n = 0;
	b->has_family[0] = b->has_family[1] = false;
	while (c.at < c.n && b->n < BATCH) {
		const struct udp_tx *t = &c.tx[c.at];
		if (c.off < t->len) {
			if (b->n && t->may_fragment != b->may_fragment)
				return;
			b->may_fragment = t->may_fragment;
			uint32_t len = message_len(t, c.off, s->gso && !c.single && !t->single);
			add_message(b, s, t, &c, len);
			c.off += len;
		}
		if (c.off >= t->len)
			cursor_skip_entry(&c);
	}
}

static void advance(struct udp_socket *s, struct cursor *c, const struct batch *b, unsigned sent)
{
	for (unsigned i = 0; i < sent; i++) {
		while (c->off >= c->tx[c->at].len)
			cursor_skip_entry(c);
		if (c->blame_gso)
			s->gso = false; /* refused together, taken singly */
		c->blame_gso = false;
		c->tries = 0;
		c->off += (uint32_t)b->iov[i].iov_len;
		s->tx_datagrams += b->datagrams[i];
		if (c->off >= c->tx[c->at].len)
			cursor_skip_entry(c);
	}
}

static bool batch_refused(int err)
{
	return err == EINVAL || err == EMSGSIZE || err == EIO;
}

static bool source_refused(int err)
{
	return err == EINVAL || err == EADDRNOTAVAIL || err == ENETUNREACH || err == ENODEV;
}

/*
 * The first message of the batch was refused: true when there is another way to send it. EIO says
 * that the device cannot checksum a batch, and no later batch will fare better.
 */
static bool other_way(struct udp_socket *s, struct cursor *c, const struct udp_tx *t, int err,
		      bool segmented)
{
	if (segmented && batch_refused(err)) {
		s->gso_fallbacks++;
		c->single = true;
		c->blame_gso = err == EINVAL && seg_of(t) <= SURE_SEGMENT;
		if (err == EIO)
			s->gso = false;
		return true;
	}
	if (!c->no_source && source_refused(err) && (t->ifindex || !addr_is_any(&t->local))) {
		/* it may have been the address that refused the batch, too */
		c->no_source = true;
		c->single = c->blame_gso = false;
		return true;
	}
	return false;
}

/* Gives up the first message of the batch, or all that is left when the socket is full. */
static unsigned give_up(struct cursor *c, const struct batch *b, int err)
{
	unsigned lost = b->datagrams[0];
	if (err != EAGAIN) {
		c->too_long = err == EMSGSIZE;
		c->blame_gso = false; /* refused singly, too: it was not the batching */
		c->tries = 0;
		c->off += (uint32_t)b->iov[0].iov_len;
		if (c->off >= c->tx[c->at].len)
			cursor_skip_entry(c);
		return lost;
	}
	lost = 0;
	for (; c->at < c->n; cursor_skip_entry(c))
		lost += datagrams_in(&c->tx[c->at], c->tx[c->at].len - c->off);
	return lost;
}

/* It may be an ICMP error about another datagram: try the same again. */
static bool not_believed(struct udp_socket *s, struct cursor *c, int err)
{
	if (!udp_error_of_another(err))
		return false;
	s->errors = true;
	return !(c->too_long && err == EMSGSIZE) && c->tries++ < RETRIES;
}

static int send_batch(struct udp_socket *s, struct batch *b)
{
	for (unsigned v4 = 0; v4 < 2; v4++)
		if (b->has_family[v4])
			udp_set_df(s, v4, b->may_fragment);
	int sent = sendmmsg(s->fd, b->msgs, b->n, 0);
	s->tx_calls++;
	if (sent > 0 && (unsigned)sent < b->n)
		s->errors = true; /* the kernel keeps to itself what stopped it */
	return sent;
}

unsigned udp_send(struct udp_socket *s, const struct udp_tx *tx, unsigned n)
{
	struct cursor c = { .tx = tx, .n = n };
	unsigned lost = 0;

	for (;;) {
		struct batch b;
		while (c.at < c.n && c.off >= tx[c.at].len)
			cursor_skip_entry(&c);
		batch_fill(&b, s, c);
		if (!b.n)
			break;
		int sent = send_batch(s, &b);
		if (sent > 0) {
			advance(s, &c, &b, (unsigned)sent);
		} else {
			int err = sent < 0 ? errno : EIO;
			bool segmented = b.datagrams[0] > 1;
			if (err != EINTR && !not_believed(s, &c, err) &&
			    !other_way(s, &c, &tx[c.at], err, segmented))
				lost += give_up(&c, &b, err);
		}
	}
	/* while it is clear, no ICMP error about those with DF is reported; IPv6 has no such rule */
	udp_set_df(s, true, false);
	return lost;
}
