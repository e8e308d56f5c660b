/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket of a real process, which cannot make another: removed, it is there again, and served. */
#include "gateway/children.h"
#include "gateway/unix_socket.h"
#include "base/log.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define WITHIN (5 * NSEC_PER_SEC)

static char dir[64], run[80], control[96];
static struct loop loop;
static struct child child;
static struct children cs;
static bool (*done)(void);
static nsec until;
static bool serves; /* and says so */

/* Closes what comes to its socket, or to the one that it gets in its place. */
static void body(void *ctx, struct child *c, int chan)
{
	struct pollfd p[2] = { { .fd = chan, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	struct chan_msg m;
	int fd, got = 0;

	(void)ctx;
	(void)c;
	if (serves) {
		p[1].fd = unix_listen(control, 1);
		chan_send(chan, &(struct chan_msg){ .kind = CHAN_CONTROL }, -1);
	}
	while (got >= 0) {
		poll(p, 2, -1);
		if (p[1].revents)
			close(accept(p[1].fd, NULL, NULL));
		while ((got = chan_recv(chan, &m, &fd)) > 0)
			if (m.kind == CHAN_CONTROL && fd >= 0)
				p[1].fd = fd;
	}
	_exit(0);
}

static void on_started(void *ctx, struct child *c)
{
	(void)ctx;
	(void)c;
}

static void on_message(void *ctx, struct child *c, const struct chan_msg *m)
{
	(void)ctx;
	(void)c;
	(void)m;
}

static void turn(void *ctx, nsec now)
{
	pid_t pid;
	(void)ctx;
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		children_reaped(&cs, pid);
	cs.next_ask = now; /* looked at in each turn */
	children_turn(&cs, now);
	if (done() || now > until)
		loop_stop(&loop);
}

static nsec deadline(void *ctx)
{
	(void)ctx;
	return loop.now + 5 * NSEC_PER_MSEC;
}

static bool within(nsec time, bool (*what)(void))
{
	done = what;
	until = loop_clock() + time;
	loop_run(&loop);
	return what();
}

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/warren-control-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(run, sizeof(run), "%s/run", dir);
	snprintf(control, sizeof(control), "%s/c.sock", run);
	child = (struct child){ .name = "gateway", .wanted = true, .control = control };
	cs = (struct children){ .loop = &loop,
				.v = &child,
				.n = 1,
				.lock = -1,
				.body = body,
				.started = on_started,
				.message = on_message };
	return mkdir(run, 0700) < 0 ? -1 : loop_init(&loop, NULL, turn, deadline);
}

static int tear_down(void **state)
{
	(void)state;
	if (child.pid) {
		kill(child.pid, SIGKILL);
		waitpid(child.pid, NULL, 0);
		ev_io_stop(loop.ev, &child.io);
		close(child.chan);
	}
	ev_loop_destroy(loop.ev);
	close(loop.timer_fd);
	unlink(control);
	rmdir(run);
	return rmdir(dir);
}

static bool is_served(void)
{
	struct sockaddr_un at;
	char byte;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes = unix_address(control, &at) == 0 &&
		   connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && read(fd, &byte, 1) == 0;
	close(fd);
	return yes;
}

static bool has_ended(void)
{
	return !child.pid;
}

static bool never(void)
{
	return false;
}

static void end_child(void)
{
	child.wanted = false;
	kill(child.pid, SIGKILL);
	assert_true(within(WITHIN, has_ended));
}

static void removed(void **state)
{
	struct stat st;
	(void)state;
	serves = true;
	assert_true(within(WITHIN, is_served));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(unlink(control), 0);
		if (i == 1) /* with its directory */
			assert_int_equal(rmdir(run), 0);
		assert_true(within(WITHIN, is_served));
		assert_true(stat(control, &st) == 0 && (st.st_mode & 0777) == 0600);
	}
	assert_int_equal(child.restarts, 0);
	end_child(); /* what was made for it goes with it */
	assert_int_equal(access(control, F_OK), -1);
}

/* What another has put in its place stays. */
static void not_ours(void **state)
{
	(void)state;
	serves = true;
	assert_true(within(WITHIN, is_served));
	assert_int_equal(unlink(control), 0);
	assert_int_equal(symlink("/nowhere", control), 0);
	assert_false(within(50 * NSEC_PER_MSEC, is_served));
	end_child();
	assert_int_equal(unlink(control), 0);
}

/* Before it says that it serves one, none is made: it would find its place taken. */
static void not_yet(void **state)
{
	(void)state;
	serves = false;
	within(50 * NSEC_PER_MSEC, never);
	assert_true(child.pid > 0);
	assert_int_equal(access(control, F_OK), -1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = { T(removed), T(not_ours), T(not_yet) };
	log_init("test", NULL, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
