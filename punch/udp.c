/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/udp_impl.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <unistd.h>

/* since Linux 5.0; the headers we build with may be older */
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	SOCKET_BUFFER = 7 << 20,
	RX_BATCH = 8,
	RX_TRIES = 4, /* each but the last may meet an ICMP error */
	PATIENCE = 8, /* calls for which an error may wait for udp_errors() */
};

const struct syscall_rule udp_syscalls[] = {
	CALL(sendmmsg),
	CALL(recvmmsg),
	CALL(recvmsg), /* the queue of errors */
	CALL_SOCKET(AF_INET, SOCK_DGRAM),
	CALL_SOCKET(AF_INET6, SOCK_DGRAM),
	CALL(bind),
	CALL(getsockname),
	CALL_OPTION(IPPROTO_IP, IP_MTU_DISCOVER), /* from batch to batch */
	CALL_OPTION(IPPROTO_IPV6, IPV6_MTU_DISCOVER),
	CALL_OPTION(IPPROTO_UDP, UDP_SEGMENT),
	CALL_OPTION(IPPROTO_UDP, UDP_GRO),
	CALL_OPTION(SOL_SOCKET, SO_MARK),
	CALL_OPTION(SOL_SOCKET, SO_SNDBUF),
	CALL_OPTION(SOL_SOCKET, SO_RCVBUF),
	CALL_OPTION(SOL_SOCKET, SO_SNDBUFFORCE),
	CALL_OPTION(SOL_SOCKET, SO_RCVBUFFORCE),
	CALL_OPTION(IPPROTO_IP, IP_PKTINFO),
	CALL_OPTION(IPPROTO_IP, IP_RECVERR),
	CALL_OPTION(IPPROTO_IP, IP_RECVTOS),
	CALL_OPTION(IPPROTO_IPV6, IPV6_V6ONLY),
	CALL_OPTION(IPPROTO_IPV6, IPV6_RECVPKTINFO),
	CALL_OPTION(IPPROTO_IPV6, IPV6_RECVERR),
	CALL_OPTION(IPPROTO_IPV6, IPV6_RECVTCLASS),
	CALLS_END,
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

/*
 * Without DF it is the routers that cut, where they must: the kernel's cached path MTU, which a forged message
 * can lower, is not asked either (IP_PMTUDISC_OMIT). In IPv6 only the sender cuts, and so it has to be.
 */
static int set_df(const struct udp_socket *s, bool v4, bool clear)
{
	if (v4)
		return set_int(s->fd, IPPROTO_IP, IP_MTU_DISCOVER,
			       clear ? IP_PMTUDISC_OMIT : IP_PMTUDISC_PROBE);
	return set_int(s->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER,
		       clear ? IPV6_PMTUDISC_DONT : IPV6_PMTUDISC_PROBE);
}

void udp_set_df(struct udp_socket *s, bool v4, bool clear)
{
	if (s->df_clear[v4] != clear && set_df(s, v4, clear) == 0)
		s->df_clear[v4] = clear;
}

/* A dual-stack socket keeps the settings of the two families apart. */
static int start_df(const struct udp_socket *s)
{
	int err = set_df(s, true, false);
	return err == 0 && s->v6 ? set_df(s, false, false) : err;
}

/* Where the kernel refuses, black holes are noticed without ICMP, only later. */
static void want_errors(const struct udp_socket *s)
{
	set_int(s->fd, IPPROTO_IP, IP_RECVERR, 1);
	if (s->v6)
		set_int(s->fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
}

/* Where the kernel refuses, marks of congestion are lost. */
static void want_marks(const struct udp_socket *s)
{
	set_int(s->fd, IPPROTO_IP, IP_RECVTOS, 1);
	if (s->v6)
		set_int(s->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
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
	s->gso_wanted = gso;
	/* size 0 changes nothing; a kernel without it refuses */
	s->gso = gso && set_int(s->fd, IPPROTO_UDP, UDP_SEGMENT, 0) == 0;
	s->gro = set_int(s->fd, IPPROTO_UDP, UDP_GRO, gro) == 0 && gro;
}

void udp_gso_turn(struct udp_socket *s, nsec now)
{
	if (s->gso_wanted && !s->gso) {
		if (now < s->gso_again)
			return;
		udp_set_offload(s, true, s->gro);
	}
	s->gso_again = now + UDP_GSO_AGAIN;
}

int udp_set_mark(struct udp_socket *s, uint32_t mark)
{
	return set_int(s->fd, SOL_SOCKET, SO_MARK, (int)mark);
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
		err = start_df(s);
	if (err == 0)
		err = bind_to(s, bind_addr, port);
	if (err < 0) {
		udp_close(s);
		return err;
	}
	want_errors(s);
	want_marks(s);
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

/* A byte in IPv4, an int in IPv6. */
static uint8_t read_tos(const struct cmsghdr *c)
{
	int tos = *CMSG_DATA(c);
	if (c->cmsg_level == IPPROTO_IPV6)
		memcpy(&tos, CMSG_DATA(c), sizeof(tos));
	return (uint8_t)tos;
}

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
		} else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) ||
			   (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)) {
			rx->tos = read_tos(c);
		}
	}
}

static void read_message(struct udp_socket *s, struct mmsghdr *m, struct udp_rx *rx)
{
	struct msghdr *msg = &m->msg_hdr;
	rx->len = rx->seg = m->msg_len;
	rx->local = addr_any;
	rx->ifindex = 0;
	rx->tos = 0;
	rx->truncated = msg->msg_flags & MSG_TRUNC;
	if (!endpoint_from_sockaddr(msg->msg_name, &rx->from))
		rx->from = (struct endpoint){ 0 };
	read_control(msg, rx);
	if (rx->seg > rx->len)
		rx->seg = rx->len;
	s->rx_datagrams += rx->seg ? (rx->len + rx->seg - 1) / rx->seg : 1;
}

/* An ICMP error is reported once, before what is there to receive. */
static int receive(struct udp_socket *s, struct mmsghdr *msgs, unsigned n)
{
	int got = -1;
	for (unsigned i = 0; i < RX_TRIES; i++) {
		got = recvmmsg(s->fd, msgs, n, MSG_DONTWAIT, NULL);
		s->rx_calls++;
		if (got >= 0 || (errno != EINTR && !udp_error_of_another(errno)))
			break;
		s->errors = true;
	}
	return got;
}

int udp_recv(struct udp_socket *s, struct udp_rx *rx, unsigned n)
{
	struct mmsghdr msgs[RX_BATCH];
	struct iovec iov[RX_BATCH];
	struct sockaddr_storage names[RX_BATCH];
	union udp_control control[RX_BATCH];

	if (s->errors && ++s->unheard > PATIENCE)
		udp_errors_discard(s);
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
	int got = receive(s, msgs, n);
	if (got <= 0) /* what woke the caller then? */
		s->errors = true;
	if (got < 0 && errno == EAGAIN) {
		s->rx_empty++;
		return 0;
	}
	if (got < 0)
		return -errno;
	for (int i = 0; i < got; i++)
		read_message(s, &msgs[i], &rx[i]);
	return got;
}
