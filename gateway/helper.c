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
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LATER_MAX = 16 };

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

/* How many there are; -1: no name server has answered, or none could. */
static int look_up(const char *host, uint16_t port, struct endpoint out[static RESOLVE_MAX])
{
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM }, *list;
	struct addr literal;
	int n = 0;

	if (addr_parse(host, &literal)) {
		out[0] = (struct endpoint){ .addr = literal, .port = port };
		return 1;
	}
	int err = getaddrinfo(host, NULL, &hints, &list);
	if (err != 0)
		return err == EAI_AGAIN ? -1 : 0;
	for (struct addrinfo *a = list; a && n < RESOLVE_MAX; a = a->ai_next) {
		struct sockaddr_storage ss = { 0 };
		memcpy(&ss, a->ai_addr, size_min(sizeof(ss), a->ai_addrlen));
		if (endpoint_from_sockaddr(&ss, &out[n]))
			out[n++].port = port;
	}
	freeaddrinfo(list);
	return n;
}

uint32_t resolve(const char *host, uint16_t port, struct endpoint out[static RESOLVE_MAX])
{
	int n = look_up(host, port, out);
	return n < 0 ? 0 : (uint32_t)n;
}

/*
 * Names whose servers were silent for a second, which are asked for again when no other name waits. With the C
 * library's own patience of ten and more seconds the first one would keep the others waiting.
 */
struct helper {
	struct resolve_question later[LATER_MAX];
	unsigned n;
};

/* As resolv.conf has it now, or one question to each name server, a second each. */
static void set_patience(bool quick)
{
	_res.retrans = _res.retry = 0; /* else they stay as they are */
	res_init();
	if (quick)
		_res.retrans = _res.retry = 1;
}

/* False when the gateway is gone. */
static bool look_up_for(int fd, struct helper *h, const struct resolve_question *q, bool quick)
{
	struct resolve_answer a = { .id = q->id };
	struct pollfd room = { .fd = fd, .events = POLLOUT };

	set_patience(quick);
	int n = look_up(q->host, q->port, a.at);
	if (n < 0 && quick) {
		h->later[h->n++] = *q;
		return true;
	}
	a.count = n < 0 ? 0 : (uint32_t)n;
	/* a gateway that is too busy to read: it does not ask twice */
	while (send(fd, &a, sizeof(a), MSG_NOSIGNAL) != sizeof(a))
		if (errno != EAGAIN || poll(&room, 1, -1) < 0)
			return false;
	return true;
}

static struct resolve_question take_later(struct helper *h)
{
	struct resolve_question q = h->later[0];
	memmove(&h->later[0], &h->later[1], --h->n * sizeof(h->later[0]));
	return q;
}

/* All questions of the gateway; false when it is gone. */
static bool answer(void *ctx, int fd)
{
	struct helper h = { .n = 0 };
	bool there = true;
	(void)ctx;

	while (there) {
		struct resolve_question q;
		ssize_t n = recv(fd, &q, sizeof(q), 0);
		bool waits = n < 0 && (errno == EAGAIN || errno == EINTR);

		if (n <= 0 && !waits)
			return false;
		if (waits && h.n == 0)
			break;
		if (waits)
			q = take_later(&h);
		else if (n != sizeof(q))
			continue;
		q.host[sizeof(q.host) - 1] = 0;
		there = look_up_for(fd, &h, &q, !waits && h.n < LATER_MAX);
	}
	return there;
}

void helper_serve(int chan)
{
	chan_serve(chan, answer, NULL);
}

_Noreturn void helper_main(int chan)
{
	if (proc_become_nobody() < 0 || sandbox_enter(SANDBOX_HELPER, NULL) < 0)
		_exit(EXIT_CANNOT);
	helper_serve(chan);
	_exit(0);
}
