/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscalls: socket, setsockopt, bind, getsockname, sendmmsg, recvmmsg, close
 *
 * Sending walks a cursor over the caller's entries. Each sendmmsg takes the next messages from the
 * cursor; what the kernel refuses is always the first unsent message, so a refusal changes how the
 * cursor's entry goes out (singly, or without a source address) and never touches what went before.
 */
#include "punch/udp.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

/* since Linux 4.18 and 5.0; the headers we build with may be older */
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	SOCKET_BUFFER = 7 << 20,
	BATCH = 64, /* messages in one sendmmsg */
	RX_BATCH = 8,
	/*
	 * A segment that fits any link that IPv6 may use (RFC 8200 5) with IPv6 and UDP headers
	 * before it: a batch of such was hardly refused for its size.
	 */
	SURE_SEGMENT = 1280 - 48,
};

/* --- opening --- */

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int open_family(struct udp_socket *s, bool v6)
{
	s->v6 = v6;
	s->fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return -errno;
	int err = v6 ? set_int(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, 0) : 0;
	if (err < 0)
		udp_close(s);
	return err;
}

/* Where it came to. The v6 option covers v4-mapped packets too, as ::ffff:a.b.c.d. */
static int want_pktinfo(const struct udp_socket *s)
{
	return s->v6 ? set_int(s->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
		     : set_int(s->fd, IPPROTO_IP, IP_PKTINFO, 1);
}

/* Outer DF clear, for both families: a dual-stack socket keeps the two settings apart. */
static int clear_df(const struct udp_socket *s)
{
	int err = set_int(s->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	if (err == 0 && s->v6)
		err = set_int(s->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
	return err;
}

/*
 * FORCE needs CAP_NET_ADMIN; without it the kernel cuts the wish at its limit, which will have to
 * do.
 */
static void widen_buffers(const struct udp_socket *s)
{
	if (set_int(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER) < 0)
		set_int(s->fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER);
	if (set_int(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER) < 0)
		set_int(s->fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER);
}

void udp_set_offload(struct udp_socket *s, bool gso, bool gro)
{
	/* size 0 changes nothing; a kernel without it refuses */
	s->gso = gso && set_int(s->fd, IPPROTO_UDP, UDP_SEGMENT, 0) == 0;
	s->gro = set_int(s->fd, IPPROTO_UDP, UDP_GRO, gro) == 0 && gro;
}

static int bind_to(struct udp_socket *s, const struct addr *bind_addr, uint16_t port)
{
	struct endpoint at = { .addr = bind_addr ? *bind_addr : addr_any, .port = port };
	struct sockaddr_storage ss;

	if (!s->v6 && !addr_is_any(&at.addr) && !addr_is_v4(&at.addr))
		return -EAFNOSUPPORT;
	if (addr_is_any(&at.addr)) /* 0.0.0.0 means both families too */
		at.addr = addr_any;
	socklen_t len = (socklen_t)endpoint_to_sockaddr(&at, s->v6, &ss);
	if (bind(s->fd, (struct sockaddr *)&ss, len) < 0)
		return -errno;
	len = sizeof(ss);
	if (getsockname(s->fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	if (!endpoint_from_sockaddr(&ss, &at))
		return -EAFNOSUPPORT;
	s->port = at.port;
	return 0;
}

int udp_open(struct udp_socket *s, const struct addr *bind_addr, uint16_t port)
{
	*s = (struct udp_socket){ .fd = -1 };
	int err = open_family(s, true);
	if (err == -EAFNOSUPPORT || err == -ENOPROTOOPT || err == -EPERM)
		err = open_family(s, false);
	if (err < 0)
		return err;
	err = want_pktinfo(s);
	if (err == 0)
		err = clear_df(s);
	if (err == 0)
		err = bind_to(s, bind_addr, port);
	if (err < 0) {
		udp_close(s);
		return err;
	}
	widen_buffers(s);
	udp_set_offload(s, true, true);
	return 0;
}

void udp_close(struct udp_socket *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* --- receiving --- */

/* Room for the three that we ask for or add: packet info, segment size, DS field. */
union control {
	struct cmsghdr align;
	char b[CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
};

static void read_control(struct msghdr *msg, struct udp_rx *rx)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
			int seg;
			memcpy(&seg, CMSG_DATA(c), sizeof(seg));
			if (seg > 0)
				rx->seg = (uint32_t)seg;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(rx->local.b, &info.ipi6_addr, 16);
			rx->ifindex = info.ipi6_ifindex;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			rx->local = addr_v4((const uint8_t *)&info.ipi_addr);
			rx->ifindex = (uint32_t)info.ipi_ifindex;
		}
	}
}

static void read_message(struct udp_socket *s, struct mmsghdr *m, struct udp_rx *rx)
{
	struct msghdr *msg = &m->msg_hdr;
	rx->len = rx->seg = m->msg_len;
	rx->local = addr_any;
	rx->ifindex = 0;
	rx->truncated = msg->msg_flags & MSG_TRUNC;
	if (!endpoint_from_sockaddr(msg->msg_name, &rx->from))
		rx->from = (struct endpoint){ 0 };
	read_control(msg, rx);
	if (rx->seg > rx->len)
		rx->seg = rx->len;
	s->rx_datagrams += rx->seg ? (rx->len + rx->seg - 1) / rx->seg : 1;
}

int udp_recv(struct udp_socket *s, struct udp_rx *rx, unsigned n)
{
	struct mmsghdr msgs[RX_BATCH];
	struct iovec iov[RX_BATCH];
	struct sockaddr_storage names[RX_BATCH];
	union control control[RX_BATCH];

	if (n > RX_BATCH)
		n = RX_BATCH;
	for (unsigned i = 0; i < n; i++) {
		iov[i] = (struct iovec){ .iov_base = rx[i].buf, .iov_len = UDP_RX_MAX };
		msgs[i].msg_hdr = (struct msghdr){ .msg_name = &names[i],
						   .msg_namelen = sizeof(names[i]),
						   .msg_iov = &iov[i],
						   .msg_iovlen = 1,
						   .msg_control = &control[i],
						   .msg_controllen = sizeof(control[i]) };
		msgs[i].msg_len = 0;
	}
	int got;
	do {
		got = recvmmsg(s->fd, msgs, n, MSG_DONTWAIT, NULL);
		s->rx_calls++;
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? 0 : -errno;
	for (int i = 0; i < got; i++)
		read_message(s, &msgs[i], &rx[i]);
	return got;
}

/* --- sending --- */

/* What is not sent yet, and how the entry at `at` goes out. */
struct cursor {
	const struct udp_tx *tx;
	unsigned n, at;
	uint32_t off;
	bool single, no_source;
	bool blame_gso; /* a batch was refused that was not too large: the singles will tell */
};

struct batch {
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_storage names[BATCH];
	union control control[BATCH];
	uint32_t datagrams[BATCH];
	unsigned n;
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
	c->single = c->no_source = c->blame_gso = false;
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
	*msg = (struct msghdr){ .msg_name = &b->names[i],
				.msg_iov = &b->iov[i],
				.msg_iovlen = 1,
				.msg_control = &b->control[i] };
	/* an IPv4 socket cannot name an IPv6 peer: without a name the kernel refuses the message */
	if (s->v6 || addr_is_v4(&t->to.addr))
		msg->msg_namelen = (socklen_t)endpoint_to_sockaddr(&t->to, s->v6, &b->names[i]);
	add_options(msg, t, c->no_source, len > seg_of(t));
}

/* Takes the next messages from the cursor, which stays where it is. */
static void batch_fill(struct batch *b, const struct udp_socket *s, struct cursor c)
{
	b->n = 0;
	while (c.at < c.n && b->n < BATCH) {
		const struct udp_tx *t = &c.tx[c.at];
		if (c.off < t->len) {
			uint32_t len = message_len(t, c.off, s->gso && !c.single);
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
			return lost;
		int sent = sendmmsg(s->fd, b.msgs, b.n, 0);
		s->tx_calls++;
		if (sent > 0) {
			advance(s, &c, &b, (unsigned)sent);
		} else {
			int err = sent < 0 ? errno : EIO;
			bool segmented = b.datagrams[0] > 1;
			if (err != EINTR && !other_way(s, &c, &tx[c.at], err, segmented))
				lost += give_up(&c, &b, err);
		}
	}
}
