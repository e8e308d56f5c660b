/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/proc.h"
#include "base/arena.h"
#include "base/log.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOBODY = 65534 };

const struct syscall_rule chan_syscalls[] = {
	CALL(sendmsg),
	CALL(recvmsg),
	CALLS_END,
};

int chan_pair(int fds[static 2])
{
	int type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
	return socketpair(AF_UNIX, type, 0, fds) < 0 ? -errno : 0;
}

int chan_send(int chan, const struct chan_msg *m, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		h.msg_control = control;
		h.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	return sendmsg(chan, &h, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int memory_file(const uint8_t *bytes, size_t len)
{
	int fd = memfd_create("keep", MFD_CLOEXEC);
	for (size_t at = 0; fd >= 0 && at < len;) {
		ssize_t n = write(fd, bytes + at, len - at);
		if (n <= 0) {
			close(fd);
			return -1;
		}
		at += (size_t)n;
	}
	return fd;
}

int chan_send_bytes(int chan, const struct chan_msg *m, const uint8_t *bytes, size_t len)
{
	int fd = memory_file(bytes, len);
	if (fd < 0)
		return -errno;
	int err = chan_send(chan, m, fd);
	close(fd);
	return err;
}

static int fd_of(struct msghdr *h)
{
	int fd = -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

int chan_recv(int chan, struct chan_msg *m, int *fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(chan, &h, MSG_CMSG_CLOEXEC);

	*fd = -1;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	*fd = fd_of(&h);
	if (n != sizeof(*m)) {
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
		return -1;
	}
	m->ip[sizeof(m->ip) - 1] = m->ip6[sizeof(m->ip6) - 1] = 0;
	return 1;
}

void chan_alive(int chan)
{
	struct chan_msg m = { .kind = CHAN_ALIVE };
	chan_send(chan, &m, -1);
}

bool chan_kept(int chan, int *err)
{
	struct chan_msg m;
	int fd, got = chan_recv(chan, &m, &fd);

	if (got > 0 && fd >= 0)
		close(fd);
	*err = got > 0 ? m.code : -EPIPE;
	return got < 0 || (got > 0 && m.kind == CHAN_KEPT);
}

void chan_serve(int chan, bool (*answer)(void *ctx, int fd), void *ctx)
{
	struct pollfd p[2] = { { .fd = chan, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	struct chan_msg m;
	int fd;

	while (poll(p, 2, -1) >= 0 || errno == EINTR) {
		if (p[0].revents) {
			int got = chan_recv(chan, &m, &fd);
			if (got < 0)
				break;
			if (got > 0 && fd >= 0) {
				if (p[1].fd >= 0)
					close(p[1].fd);
				p[1].fd = fd;
				continue;
			}
		}
		if (p[1].fd >= 0 && p[1].revents && !answer(ctx, p[1].fd)) {
			close(p[1].fd);
			p[1].fd = -1;
		}
	}
}

void proc_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	signal(SIGCHLD, SIG_DFL);
	/* a limit of the size of files makes a write fail, and ends nobody */
	signal(SIGXFSZ, SIG_IGN);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

bool proc_heeds(int signum)
{
	struct sigaction sa;
	return signum != SIGHUP || sigaction(signum, NULL, &sa) < 0 || sa.sa_handler != SIG_IGN;
}

pid_t proc_fork(void)
{
	sigset_t all, before;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t pid = fork();
	int err = errno;
	if (pid != 0)
		sigprocmask(SIG_SETMASK, &before, NULL);
	errno = err;
	return pid;
}

static void close_between(int above, int below)
{
	if (above + 1 < below)
		syscall(SYS_close_range, (unsigned)above + 1, (unsigned)below - 1, 0u);
}

void proc_child(int chan, int lock)
{
	int low = chan < lock ? chan : lock, high = chan < lock ? lock : chan;
	sigset_t none;
	sigemptyset(&none);
	for (int s = 1; s < NSIG; s++)
		if (proc_heeds(s))
			signal(s, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigprocmask(SIG_SETMASK, &none, NULL);
	low = low < STDERR_FILENO ? STDERR_FILENO : low;
	high = high < STDERR_FILENO ? STDERR_FILENO : high;
	close_between(STDERR_FILENO, low);
	close_between(low, high);
	syscall(SYS_close_range, (unsigned)high + 1, ~0u, 0u);
}

void proc_heed_channel_alone(void)
{
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
}

int proc_drop_capabilities(int cap, int if_held)
{
	bool held = if_held >= 0 && capng_get_caps_process() == 0 &&
		    capng_have_capability(CAPNG_PERMITTED, (unsigned)if_held);
	capng_clear(CAPNG_SELECT_BOTH);
	if (cap >= 0)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, (unsigned)cap);
	if (held)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, (unsigned)if_held);
	/* the bounding set needs CAP_SETPCAP, which an unprivileged rendezvous has not */
	int err = capng_apply(geteuid() == 0 ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS);
	if (err < 0 && geteuid() == 0)
		err = capng_apply(CAPNG_SELECT_CAPS);
	if (err < 0)
		return -EPERM;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

void proc_keep_private(void)
{
#ifndef WARREN_SANITIZED /* the sanitizer's leak check is a debugger */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

void proc_may_lock(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY }, r;
	if (setrlimit(RLIMIT_MEMLOCK, &all) == 0 || getrlimit(RLIMIT_MEMLOCK, &r) < 0)
		return;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_MEMLOCK, &r);
}

void proc_tell_unlocked(bool *told)
{
	if (*told || arenas_locked())
		return;
	*told = true;
	log_warn("keys cannot be locked in memory, and may get into the swap: " PROC_ALLOW_LOCK);
}

int proc_become_nobody(void)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return -errno;
	return 0;
}
