/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While the queue holds something the descriptor polls as EPOLLERR, which no read ends, and what it
 * holds is taken from the receive buffer's room: it has to be emptied.
 */
#include "punch/udp_impl.h"
#include <errno.h>
#include <linux/errqueue.h>
#include <linux/icmpv6.h>
#include <netinet/ip_icmp.h>

enum { AT_ONCE = 64, MTU_MOST = 65535 };

/* icmp_err_convert[] and icmpv6_err_convert() of the kernel. */
bool udp_error_of_another(int err)
{
	switch (err) {
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETUNREACH:
	case ENONET:
	case EMSGSIZE:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case EACCES:
	case EPROTO:
		return true;
	default:
		return false;
	}
}

static bool says_too_big(const struct sock_extended_err *ee)
{
	if (ee->ee_errno != EMSGSIZE || ee->ee_info == 0 || ee->ee_info > MTU_MOST)
		return false;
	switch (ee->ee_origin) {
	case SO_EE_ORIGIN_LOCAL:
		return true;
	case SO_EE_ORIGIN_ICMP:
		return ee->ee_type == ICMP_DEST_UNREACH && ee->ee_code == ICMP_FRAG_NEEDED;
	case SO_EE_ORIGIN_ICMP6:
		return ee->ee_type == ICMPV6_PKT_TOOBIG;
	default:
		return false;
	}
}

static bool find_error(struct msghdr *msg, struct sock_extended_err *ee)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		bool ours = (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR) ||
			    (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR);
		if (!ours || c->cmsg_len < CMSG_LEN(sizeof(*ee)))
			continue;
		memcpy(ee, CMSG_DATA(c), sizeof(*ee));
		return true;
	}
	return false;
}

enum taken { TAKEN_NOTHING, TAKEN_OTHER, TAKEN_TOO_BIG };

static enum taken take(struct udp_socket *s, struct udp_too_big *out)
{
	union {
		struct cmsghdr align;
		char b[256]; /* the error, who sent it, and packet info of both families */
	} control;
	struct sockaddr_storage to = { 0 };
	struct iovec iov = { .iov_base = out->quote, .iov_len = sizeof(out->quote) };
	struct msghdr msg = { .msg_name = &to,
			      .msg_namelen = sizeof(to),
			      .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct sock_extended_err ee;

	ssize_t n = recvmsg(s->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT);
	if (n < 0)
		return TAKEN_NOTHING;
	if (!find_error(&msg, &ee) || !says_too_big(&ee) || !endpoint_from_sockaddr(&to, &out->to))
		return TAKEN_OTHER;
	out->mtu = ee.ee_info;
	out->local = ee.ee_origin == SO_EE_ORIGIN_LOCAL;
	out->quoted = out->local ? 0 : (uint32_t)n;
	return TAKEN_TOO_BIG;
}

unsigned udp_errors(struct udp_socket *s, struct udp_too_big *out, unsigned n)
{
	unsigned got = 0;
	s->unheard = 0;
	for (unsigned i = 0; i < AT_ONCE && got < n; i++) {
		enum taken t = take(s, &out[got]);
		got += t == TAKEN_TOO_BIG;
		if (t == TAKEN_NOTHING) {
			s->errors = false;
			break;
		}
	}
	return got;
}

void udp_errors_discard(struct udp_socket *s)
{
	struct udp_too_big unheard;
	for (unsigned i = 0; i < AT_ONCE && s->errors; i++)
		s->errors = take(s, &unheard) != TAKEN_NOTHING;
	if (!s->errors)
		s->unheard = 0;
}
