/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No descriptor, no memory: a listening socket that cannot be served is left alone for a while, and
 * a loop's own needs are met from its reserve. Each case is a process of its own, for limits do not go up again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/loop.h"
#include "gateway/unix_socket.h"

static char dir[64], path[100];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/warren-starved-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/sock", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

/* 0, or the number of the check that did not hold. */
static int in_a_child(int (*body)(void))
{
	int status;
	pid_t pid = fork();
	if (pid == 0)
		_exit(body());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static unsigned turns, served;
static struct rlimit before;

static void limit_descriptors(rlim_t n)
{
	struct rlimit r;
	getrlimit(RLIMIT_NOFILE, &before);
	r = before;
	r.rlim_cur = n;
	setrlimit(RLIMIT_NOFILE, &r);
}

static void on_turn(struct ev_loop *ev, ev_check *w, int revents)
{
	(void)ev;
	(void)w;
	(void)revents;
	turns++;
}

static void on_client(void *ctx, int fd)
{
	(void)ctx;
	served++;
	close(fd);
}

static void on_time(struct ev_loop *ev, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(ev, EVBREAK_ALL);
}

static int connected(void)
{
	struct sockaddr_un un;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (unix_address(path, &un) < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return -1;
	return fd;
}

static void run_for(struct ev_loop *ev, double seconds)
{
	ev_timer t;
	ev_timer_init(&t, on_time, seconds, 0.);
	ev_now_update(ev);
	ev_timer_start(ev, &t);
	ev_run(ev, 0);
}

static int no_descriptor(void)
{
	struct ev_loop *ev = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
	struct unix_listener l;
	ev_check check;
	if (unix_listener_open(&l, ev, path, 8, on_client, NULL) < 0)
		return 1;
	ev_check_init(&check, on_turn);
	ev_check_start(ev, &check);
	for (unsigned i = 0; i < 4; i++)
		if (connected() < 0)
			return 2;
	limit_descriptors(3);
	run_for(ev, 0.5);
	if (served != 0 || turns > 5)
		return 3; /* it spins */
	setrlimit(RLIMIT_NOFILE, &before);
	run_for(ev, 1.5);
	if (served != 4)
		return 4;
	unix_listener_close(&l);
	return access(path, F_OK) == 0 ? 5 : 0;
}

static void a_listener_without_descriptors(void **state)
{
	(void)state;
	assert_int_equal(in_a_child(no_descriptor), 0);
}

static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
	(void)ev;
	(void)w;
	(void)revents;
}

enum { WATCHERS = 2000 };

/* No page more: what malloc() has left is used up, too. */
static void limit_memory(void)
{
	struct rlimit none = { .rlim_cur = 1 << 20, .rlim_max = 1 << 20 };
	setrlimit(RLIMIT_AS, &none);
	void *volatile kept; /* what nobody looks at, a compiler need not allocate */
	for (size_t size = 1 << 16; size >= 16; size /= 2)
		do
			kept = malloc(size);
		while (kept);
}

static int no_memory(void)
{
	static ev_io io[WATCHERS];
	static ev_timer timer[WATCHERS];
	int fds[WATCHERS];
	limit_descriptors(WATCHERS + 64);
	loop_reserve();
	struct ev_loop *ev = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
	for (unsigned i = 0; i < WATCHERS; i++) {
		fds[i] = i ? dup(fds[0]) : eventfd(1, EFD_CLOEXEC);
		if (fds[i] < 0)
			return 1;
	}
	limit_memory();
	for (unsigned i = 0; i < WATCHERS; i++) {
		ev_io_init(&io[i], on_io, fds[i], EV_READ);
		ev_io_start(ev, &io[i]);
		ev_timer_init(&timer[i], on_time, 3600. + i, 0.);
		ev_timer_start(ev, &timer[i]);
	}
	for (unsigned i = 0; i < 20; i++)
		ev_run(ev, EVRUN_NOWAIT);
	return 0;
}

static void a_loop_without_memory(void **state)
{
	(void)state;
	assert_int_equal(in_a_child(no_memory), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_listener_without_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(a_loop_without_memory, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
