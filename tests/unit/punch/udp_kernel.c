/* SPDX-License-Identifier: Apache-2.0 */
#include "udp_kernel.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

struct udp_kernel kernel;

static int refusal(struct msghdr *m)
{
	if (kernel.pending && kernel.pended < kernel.pending_times) {
		kernel.pended++;
		return kernel.pending;
	}
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (kernel.batch_error && c->cmsg_level == IPPROTO_UDP &&
		    c->cmsg_type == UDP_SEGMENT)
			return kernel.batch_error;
		if (kernel.source_error && c->cmsg_type == IPV6_PKTINFO &&
		    c->cmsg_level == IPPROTO_IPV6)
			return kernel.source_error;
		if (kernel.source_error && c->cmsg_type == IP_PKTINFO &&
		    c->cmsg_level == IPPROTO_IP)
			return kernel.source_error;
	}
	if (kernel.largest && m->msg_iov->iov_len > kernel.largest)
		return EMSGSIZE;
	return kernel.fail_after && kernel.messages >= kernel.fail_after ? EAGAIN : 0;
}

static void note_batch(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_SEGMENT)
			continue;
		uint16_t seg;
		memcpy(&seg, CMSG_DATA(c), sizeof(seg));
		uint32_t n = ((uint32_t)m->msg_iov->iov_len + seg - 1) / seg;
		if (n > kernel.largest_batch)
			kernel.largest_batch = n;
	}
}

int __wrap_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	kernel.calls++;
	if (kernel.at_most && n > kernel.at_most)
		n = kernel.at_most;
	for (unsigned i = 0; i < n; i++) {
		int err = refusal(&msgs[i].msg_hdr);
		if (!err && __real_sendmmsg(fd, &msgs[i], 1, flags) != 1)
			err = errno;
		if (err) {
			kernel.refused++;
			errno = err;
			return i ? (int)i : -1;
		}
		note_batch(&msgs[i].msg_hdr);
		kernel.messages++;
		kernel.pended = 0;
	}
	return (int)n;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	bool recverr = (level == IPPROTO_IP && name == IP_RECVERR) ||
		       (level == IPPROTO_IPV6 && name == IPV6_RECVERR);
	if ((kernel.no_recverr && recverr) ||
	    (kernel.no_segment && level == IPPROTO_UDP && name == UDP_SEGMENT) ||
	    (kernel.no_gro && level == IPPROTO_UDP && name == UDP_GRO)) {
		errno = ENOPROTOOPT;
		return -1;
	}
	return __real_setsockopt(fd, level, name, value, len);
}

int __wrap_socket(int family, int type, int protocol)
{
	if (kernel.no_v6 && family == AF_INET6) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	return __real_socket(family, type, protocol);
}
