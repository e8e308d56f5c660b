/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel that refuses. The linker puts __wrap_* before sendmmsg(), setsockopt() and socket();
 * what is not refused goes to the real one.
 */
#ifndef WARREN_TEST_UDP_KERNEL_H
#define WARREN_TEST_UDP_KERNEL_H

#include "base/base.h"
#include <sys/socket.h>

struct udp_kernel {
	bool no_v6, no_segment, no_gro, no_recverr;
	int batch_error;	/* what a message with UDP_SEGMENT gets */
	size_t largest;		/* what is larger gets EMSGSIZE; 0: nothing */
	int source_error;	/* what a message with packet info gets */
	int pending;		/* what each message gets first, as an ICMP error would be got, */
	unsigned pending_times; /* so often */
	unsigned pended;	/* of the present message */
	unsigned at_most;	/* messages taken by one call; 0: any */
	unsigned fail_after;	/* EAGAIN after that many messages; 0: never */
	unsigned calls, messages, refused;
	uint32_t largest_batch; /* segments in one message */
};
extern struct udp_kernel kernel;

int __real_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);

#endif
