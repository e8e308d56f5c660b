/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that are started again: real ones, which answer, die, hang, refuse, or are held by a debugger and by the
 * kernel. Questions are asked here as fast as the test likes, for they are what is counted.
 */
#include "gateway/children.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define MSEC NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

enum { FIRST, SECOND, CHILDREN };
enum role { ROLE_ANSWERS, ROLE_REFUSES, ROLE_IN_KERNEL };

static struct loop loop;
static struct child v[CHILDREN];
static struct children cs;
static enum role roles[CHILDREN];
static bool joins; /* the second with the first */
static unsigned messages[CHILDREN];
static bool (*done)(void);
static nsec until;
static int last_status;

/* Answers each question; and greets whom it is joined with, and says so. */
static _Noreturn void answers(int chan)
{
	struct pollfd p = { .fd = chan, .events = POLLIN };
	struct chan_msg m;
	int fd, got = 0;

	while (got >= 0) {
		poll(&p, 1, -1);
		while ((got = chan_recv(chan, &m, &fd)) > 0) {
			if (m.kind == CHAN_ALIVE)
				chan_alive(chan);
			if (fd >= 0)
				chan_send(chan, &(struct chan_msg){ .kind = CHAN_UP }, -1);
		}
	}
	_exit(0);
}

/* As one that waits for a disk: the parent of vfork() does until its child ends, here with the pipe's other end. */
static void in_kernel(void)
{
	volatile int pipe_end = cs.lock;
	pid_t pid = vfork();
	if (pid == 0) {
		char byte;
		_exit(read(pipe_end, &byte, 1) == 0 ? 0 : 1);
	}
	waitpid(pid, NULL, 0);
}

static void body(void *ctx, struct child *c, int chan)
{
	enum role role = roles[c - v];
	(void)ctx;
	if (role == ROLE_REFUSES)
		_exit(3);
	if (role == ROLE_IN_KERNEL)
		in_kernel();
	answers(chan);
}

static void on_started(void *ctx, struct child *c)
{
	(void)ctx;
	(void)c;
	if (joins)
		children_join(&v[FIRST], CHAN_STORE, &v[SECOND], CHAN_GATEWAY, chan_pair);
}

static void on_message(void *ctx, struct child *c, const struct chan_msg *m)
{
	(void)ctx;
	messages[c - v] += m->kind == CHAN_UP;
}

static void reap(void)
{
	struct child *c;
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if ((c = children_reaped(&cs, pid)) != NULL) {
			last_status = status;
			child_again(c, status);
		}
}

static void turn(void *ctx, nsec now)
{
	(void)ctx;
	reap();
	if (cs.n)
		children_turn(&cs, now);
	if (done() || now > until)
		loop_stop(&loop);
}

static nsec deadline(void *ctx)
{
	(void)ctx;
	return loop.now + 5 * MSEC;
}

static bool within(nsec time, bool (*what)(void))
{
	done = what;
	until = loop_clock() + time;
	loop_run(&loop);
	return what();
}

static bool first_runs(void)
{
	return v[FIRST].pid;
}

static bool first_ended(void)
{
	return !v[FIRST].pid;
}

static bool first_answers(void)
{
	return v[FIRST].pid && v[FIRST].unanswered == 0;
}

static int set_up(void **state)
{
	(void)state;
	memset(v, 0, sizeof(v));
	memset(roles, 0, sizeof(roles));
	memset(messages, 0, sizeof(messages));
	joins = false;
	v[FIRST].name = "first";
	v[SECOND].name = "second";
	v[FIRST].wanted = v[FIRST].asked = true;
	cs = (struct children){ .loop = &loop,
				.v = v,
				.n = CHILDREN,
				.lock = -1,
				.body = body,
				.started = on_started,
				.message = on_message,
				.next_ask = NSEC_NEVER };
	return loop_init(&loop, NULL, turn, deadline);
}

static int tear_down(void **state)
{
	(void)state;
	children_end_late(&cs);
	for (size_t i = 0; i < CHILDREN; i++)
		if (v[i].pid) {
			waitpid(v[i].pid, NULL, 0);
			ev_io_stop(loop.ev, &v[i].io);
			close(v[i].chan);
		}
	ev_loop_destroy(loop.ev);
	close(loop.timer_fd);
	return 0;
}

/* --- */

static pid_t killed;

static bool another(void)
{
	return v[FIRST].pid && v[FIRST].pid != killed;
}

static void killed_is_back(void **state)
{
	(void)state;
	assert_true(within(5 * SEC, first_runs));
	for (unsigned i = 0; i < 6; i++) {
		killed = v[FIRST].pid;
		kill(killed, SIGKILL);
		assert_true(within(5 * SEC, another));
		assert_true(v[FIRST].back_off <=
			    500 * MSEC); /* and so it is there within a second */
	}
	assert_int_equal(v[FIRST].restarts, 6);
}

static unsigned joins_wanted;

static bool both_joined(void)
{
	return messages[FIRST] >= joins_wanted && messages[SECOND] >= joins_wanted;
}

/* Whichever of the two dies, both are joined again. */
static void joined_again(void **state)
{
	(void)state;
	joins = v[SECOND].wanted = true;
	joins_wanted = 1;
	assert_true(within(5 * SEC, both_joined));
	for (unsigned i = 0; i < 4; i++) {
		messages[FIRST] = messages[SECOND] = 0;
		kill(v[i % 2 ? FIRST : SECOND].pid, SIGKILL);
		assert_true(within(5 * SEC, both_joined));
	}
}

/* One has died, and nobody has looked: that is no fault of the other, which stays. */
static void joined_with_a_dead_one(void **state)
{
	siginfo_t info;
	(void)state;
	assert_true(within(5 * SEC, first_runs));
	kill(v[FIRST].pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)v[FIRST].pid, &info, WEXITED | WNOWAIT), 0);
	joins = v[SECOND].wanted = true;
	children_turn(&cs, loop.now);
	killed = v[SECOND].pid;
	assert_true(killed > 0);
	joins_wanted = 1;
	assert_true(within(5 * SEC, both_joined));
	assert_int_equal(v[SECOND].pid, killed);
}

static void who_answers_lives(void **state)
{
	(void)state;
	assert_true(within(5 * SEC, first_runs));
	killed = v[FIRST].pid;
	for (unsigned i = 0; i < 50; i++) {
		children_ask(&cs);
		assert_true(within(5 * SEC, first_answers));
	}
	assert_true(v[FIRST].pid == killed);
}

static bool first_died(void)
{
	return v[FIRST].pid != killed;
}

static void ask(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		children_ask(&cs);
}

static void who_hangs_is_killed(void **state)
{
	(void)state;
	assert_true(within(5 * SEC, first_runs));
	killed = v[FIRST].pid;
	kill(killed, SIGSTOP);
	ask(6);
	assert_false(within(50 * MSEC, first_died));
	ask(1);
	assert_true(within(5 * SEC, first_died));
	assert_true(WIFSIGNALED(last_status) && WTERMSIG(last_status) == SIGKILL);
	assert_true(within(5 * SEC, another));
}

/* It was stopped, and goes on: no question of before counts. */
static void who_goes_on_lives(void **state)
{
	(void)state;
	assert_true(within(5 * SEC, first_runs));
	killed = v[FIRST].pid;
	for (unsigned i = 0; i < 3; i++) {
		kill(killed, SIGSTOP);
		ask(6);
		kill(killed, SIGCONT);
		assert_true(within(5 * SEC, first_answers));
	}
	assert_true(v[FIRST].pid == killed);
}

static void who_is_traced_lives(void **state)
{
	int status;
	(void)state;
	assert_true(within(5 * SEC, first_runs));
	killed = v[FIRST].pid;
	if (ptrace(PTRACE_ATTACH, killed, NULL, NULL) < 0)
		skip();
	waitpid(killed, &status, WUNTRACED);
	ask(30);
	assert_false(within(50 * MSEC, first_died));
	assert_int_equal(ptrace(PTRACE_DETACH, killed, NULL, NULL), 0);
	ask(1); /* before it had the time to answer */
	assert_true(within(5 * SEC, first_answers));
	assert_true(v[FIRST].pid == killed);
	kill(killed, SIGSTOP);
	ask(7);
	assert_true(within(5 * SEC, first_died));
}

static bool in_uninterruptible(void)
{
	char text[512] = "";
	ssize_t n = v[FIRST].pid ? pread(v[FIRST].status_fd, text, sizeof(text) - 1, 0) : 0;
	return n > 0 && strstr(text, "\nState:\tD");
}

static void who_waits_in_the_kernel_lives(void **state)
{
	int fds[2];
	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	cs.lock = fds[0];
	roles[FIRST] = ROLE_IN_KERNEL;
	assert_true(within(5 * SEC, first_runs));
	killed = v[FIRST].pid;
	if (!within(2 * SEC, in_uninterruptible)) {
		print_message("this kernel does not say so of the parent of vfork()\n");
		close(fds[1]);
		close(fds[0]);
		skip();
	}
	ask(30);
	assert_false(within(50 * MSEC, first_died));
	close(fds[1]);
	assert_true(within(5 * SEC, first_answers));
	assert_true(v[FIRST].pid == killed);
	close(fds[0]);
}

static bool second_died_twice(void)
{
	return v[SECOND].restarts >= 2;
}

/* It is stopped while others come and go, and there is no more room for word of them: the last one gets through. */
static void who_could_not_be_joined_is_started_again(void **state)
{
	(void)state;
	joins = v[SECOND].wanted = true;
	assert_true(within(5 * SEC, first_runs));
	killed = v[FIRST].pid;
	kill(killed, SIGSTOP);
	struct chan_msg m = { .kind = CHAN_UP };
	while (chan_send(v[FIRST].chan, &m, -1) == 0)
		;
	kill(v[SECOND].pid, SIGKILL);
	assert_true(within(5 * SEC, second_died_twice));
	kill(killed, SIGCONT);
	messages[FIRST] = messages[SECOND] = 0;
	joins_wanted = 1;
	assert_true(within(5 * SEC, both_joined));
	assert_true(v[FIRST].pid == killed);
}

static bool first_died_often(void)
{
	return v[FIRST].restarts >= 4;
}

static void who_refuses_waits_longer(void **state)
{
	(void)state;
	roles[FIRST] = ROLE_REFUSES;
	assert_true(within(10 * SEC, first_died_often));
	assert_true(v[FIRST].back_off > 500 * MSEC && v[FIRST].back_off <= 10 * SEC);
}

static bool is_locked(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) < 0;
}

/* The lock is held until the last of all has ended. */
static void lock_is_theirs(void **state)
{
	char path[] = "/tmp/warren-children-XXXXXX";
	(void)state;
	cs.lock = mkostemp(path, O_CLOEXEC);
	int other = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	assert_int_equal(flock(cs.lock, LOCK_EX | LOCK_NB), 0);
	v[SECOND].wanted = true;
	assert_true(within(5 * SEC, first_runs));
	close(cs.lock);
	cs.lock = -1;
	v[FIRST].wanted = v[SECOND].wanted = false;
	assert_true(is_locked(other));
	kill(v[FIRST].pid, SIGKILL);
	assert_true(within(5 * SEC, first_ended));
	assert_true(is_locked(other));
	kill(v[SECOND].pid, SIGKILL);
	waitpid(v[SECOND].pid, NULL, 0);
	v[SECOND].pid = 0;
	ev_io_stop(loop.ev, &v[SECOND].io);
	assert_false(is_locked(other));
	close(other);
}

/* What this process is to them ends: so do they. */
static void they_end_with_us(void **state)
{
	pid_t pids[2];
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t parent = fork();
	if (parent == 0) {
		v[SECOND].wanted = joins = true;
		joins_wanted = 1;
		within(5 * SEC, both_joined);
		pid_t mine[2] = { v[FIRST].pid, v[SECOND].pid };
		kill(v[SECOND].pid, SIGSTOP); /* it would hear of nothing */
		_exit(write(fds[1], mine, sizeof(mine)) == sizeof(mine) ? (pause(), 0) : 1);
	}
	assert_int_equal(read(fds[0], pids, sizeof(pids)), sizeof(pids));
	kill(parent, SIGKILL);
	waitpid(parent, NULL, 0);
	for (unsigned i = 0; i < 2; i++) {
		unsigned waited = 0;
		while (kill(pids[i], 0) == 0 && waited++ < 500)
			usleep(10000);
		assert_true(waited < 500);
	}
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(killed_is_back),
		T(joined_again),
		T(joined_with_a_dead_one),
		T(who_answers_lives),
		T(who_hangs_is_killed),
		T(who_goes_on_lives),
		T(who_is_traced_lives),
		T(who_waits_in_the_kernel_lives),
		T(who_could_not_be_joined_is_started_again),
		T(who_refuses_waits_longer),
		T(lock_is_theirs),
		T(they_end_with_us),
	};
	log_init("test", NULL, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
