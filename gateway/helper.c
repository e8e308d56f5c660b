/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/helper.h"
#include "gateway/proc.h"
#include "gateway/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The C library's resolver over UDP and TCP, its question to the kernel which families there are, the
 * daemons that modules ask (nscd, systemd-resolved, sssd), and the loading of such modules: the one process
 * that may map a file as code, for which it can write none.
 */
const struct syscall_rule resolve_syscalls[] = {
	CALL_IF(socket, ARG_IS(0, AF_INET)),
	CALL_IF(socket, ARG_IS(0, AF_INET6)),
	CALL_IF(socket, ARG_IS(0, AF_UNIX)),
	CALL_IF(socket, ARG_IS(0, AF_NETLINK), ARG_IS(2, NETLINK_ROUTE)),
	CALL(bind),
	CALL(connect),
	CALL(getsockname),
	CALL(getpeername),
	CALL(setsockopt),
	CALL(getsockopt),
	CALL(sendto),
	CALL(sendmsg),
	CALL(sendmmsg),
	CALL(recvfrom),
	CALL(recvmsg),
	CALL(readv),
	CALL(writev),
	CALL(shutdown),
	CALL_IF(ioctl, ARG_IS(1, FIONREAD)),
	CALL_IF(ioctl, ARG_IS(1, SIOCGIFINDEX)), /* fe80::1%eth0 */
	CALL_IF(openat, ARG_HAS_NOT(2, O_ACCMODE | O_CREAT | O_TRUNC)),
	CALL(pread64),
	CALL(lseek),
	CALL(_llseek),
	CALL(mmap),
	CALL(mmap2),
	CALL(mprotect),
	CALL(fcntl),
	CALL(fcntl64),
	CALL(stat),
	CALL(lstat),
	CALL(newfstatat),
	CALL(fstatat64),
	CALL(statx),
	CALL(statfs),
	CALL(fstatfs),
	CALL(access),
	CALL(faccessat),
	CALL(faccessat2),
	CALL(readlink),
	CALL(readlinkat),
	CALL(getdents64),
	CALL(getcwd),
	CALL(uname),
	CALL(getuid),
	CALL(geteuid),
	CALL(getgid),
	CALL(getegid),
	CALLS_END,
};

uint32_t resolve(const char *host, uint16_t port, struct endpoint out[static RESOLVE_MAX])
{
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM }, *list;
	struct addr literal;
	uint32_t n = 0;

	if (addr_parse(host, &literal)) {
		out[0] = (struct endpoint){ .addr = literal, .port = port };
		return 1;
	}
	if (getaddrinfo(host, NULL, &hints, &list) != 0)
		return 0;
	for (struct addrinfo *a = list; a && n < RESOLVE_MAX; a = a->ai_next) {
		struct sockaddr_storage ss = { 0 };
		memcpy(&ss, a->ai_addr, size_min(sizeof(ss), a->ai_addrlen));
		if (endpoint_from_sockaddr(&ss, &out[n]))
			out[n++].port = port;
	}
	freeaddrinfo(list);
	return n;
}

/* One question from the gateway; false when the gateway is gone. */
static bool answer(void *ctx, int fd)
{
	struct resolve_question q;
	struct resolve_answer a = { 0 };
	ssize_t n = recv(fd, &q, sizeof(q), 0);
	(void)ctx;

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	if (n != sizeof(q))
		return true;
	q.host[sizeof(q.host) - 1] = 0;
	a.id = q.id;
	a.count = resolve(q.host, q.port, a.at);
	/* a gateway that is too busy to read: it does not ask twice */
	struct pollfd room = { .fd = fd, .events = POLLOUT };
	while (send(fd, &a, sizeof(a), MSG_NOSIGNAL) != sizeof(a))
		if (errno != EAGAIN || poll(&room, 1, -1) < 0)
			return false;
	return true;
}

_Noreturn void helper_main(int chan)
{
	if (proc_become_nobody() < 0 || sandbox_enter(SANDBOX_HELPER, NULL) < 0)
		_exit(EXIT_CANNOT);
	chan_serve(chan, answer, NULL);
	_exit(0);
}
