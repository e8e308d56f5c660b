/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/children.h"
#include "gateway/ctl.h"
#include "gateway/state.h"
#include "gateway/unix_socket.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* However often one has died: another is there within a second. */
#define RESTART_MAX (500 * NSEC_PER_MSEC)
#define RESTART_FIRST (100 * NSEC_PER_MSEC)
/* Who ends by itself as soon as it began has said what it wants of somebody, and says it again each time. */
#define REFUSED_MAX (10 * NSEC_PER_SEC)
#define REFUSES_WITHIN (500 * NSEC_PER_MSEC)
#define SETTLED (30 * NSEC_PER_SEC) /* ran so long: the next restart is quick again */
#define ASK_EVERY (5 * NSEC_PER_SEC)
enum { UNANSWERED_MOST = 6 };

/* --- start --- */

static void on_channel(struct ev_loop *ev, ev_io *w, int revents);

static _Noreturn void child_body(struct child *c, pid_t parent, int chan)
{
	struct children *cs = c->of;
	char title[16]; /* as much as the kernel takes */

	proc_child(chan, cs->lock);
	setpgid(0, 0);			  /* ^C is for the parent: it knows the order of an end */
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives the parent */
	if (getppid() != parent)
		_exit(EXIT_CANNOT); /* it was quicker */
	snprintf(title, sizeof(title), "warren-%s", c->name);
	prctl(PR_SET_NAME, title);
	log_process(c->name);
	cs->body(cs->ctx, c, chan);
	_exit(0);
}

/* Before the parent is confined, which may see nothing of /proc then: what is open stays readable. */
static int open_status(pid_t pid)
{
	char path[40];
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void start(struct child *c)
{
	pid_t self = getpid();
	int fds[2];

	c->restart_at = NSEC_NEVER;
	int err = chan_pair(fds);
	if (err == 0) {
		c->pid = proc_fork();
		if (c->pid == 0)
			child_body(c, self, fds[1]);
		err = c->pid < 0 ? -errno : 0;
		close(fds[1]);
		if (err)
			close(fds[0]);
	}
	if (err) {
		log_error("cannot start the %s: %s", c->name, strerror(-err));
		c->pid = 0;
		c->restart_at = c->of->loop->now + NSEC_PER_SEC;
		return;
	}
	c->chan = fds[0];
	c->status_fd = c->asked ? open_status(c->pid) : -1;
	c->unanswered = 0;
	c->excused = c->serves = c->remade = false;
	c->started = c->of->loop->now;
	ev_io_init(&c->io, on_channel, c->chan, EV_READ);
	c->io.data = c;
	ev_io_start(c->of->loop->ev, &c->io);
	c->of->started(c->of->ctx, c);
}

static int join(struct child *a, enum chan_kind to_a, struct child *b, enum chan_kind to_b,
		int (*pair)(int fds[static 2]))
{
	const struct chan_msg for_a = { .kind = to_a }, for_b = { .kind = to_b };
	int fds[2], err = pair(fds);

	if (err < 0)
		return err;
	err = chan_send(a->chan, &for_a, fds[0]);
	if (err == 0)
		err = chan_send(b->chan, &for_b, fds[1]);
	close(fds[0]);
	close(fds[1]);
	return err;
}

void children_join(struct child *a, enum chan_kind to_a, struct child *b, enum chan_kind to_b,
		   int (*pair)(int fds[static 2]))
{
	int err = a->pid && b->pid ? join(a, to_a, b, to_b, pair) : 0;

	/* who has died, and is not reaped yet, is joined when it is there again */
	if (err == 0 || err == -EPIPE || err == -ECONNRESET)
		return;
	/* one that hangs takes few messages; each start tries it anew */
	log_error("cannot join %s and %s: %s", a->name, b->name, strerror(-err));
	kill((a->started > b->started ? a : b)->pid, SIGKILL);
}

/* --- messages --- */

static void on_channel(struct ev_loop *ev, ev_io *w, int revents)
{
	struct child *c = w->data;
	struct chan_msg m;
	int fd, got;

	(void)revents;
	while ((got = chan_recv(w->fd, &m, &fd)) > 0) {
		c->unanswered = 0;
		if (fd >= 0)
			close(fd); /* nobody sends us one */
		if (m.kind == CHAN_CONTROL)
			c->serves = c->control != NULL;
		else
			c->of->message(c->of->ctx, c, &m);
	}
	if (got < 0)
		ev_io_stop(ev, w); /* the end of the process is told by SIGCHLD */
}

/* It is held by a debugger, or the kernel lets it wait for a disk. */
static bool excused(const struct child *c)
{
	char text[1024] = "";
	ssize_t n = c->status_fd < 0 ? -1 : pread(c->status_fd, text, sizeof(text) - 1, 0);
	const char *tracer = n > 0 ? strstr(text, "\nTracerPid:\t") : NULL;

	return n > 0 && (strstr(text, "\nState:\tD") || (tracer && tracer[12] != '0'));
}

static void ask(struct child *c)
{
	if (!c->asked || !c->pid || c->unanswered > UNANSWERED_MOST)
		return;
	if (c->unanswered < UNANSWERED_MOST) {
		c->unanswered++;
		chan_alive(c->chan);
		return;
	}
	/* who was held until now has as long as it takes to answer */
	bool before = c->excused;
	c->excused = excused(c);
	if (c->excused || before)
		return;
	c->unanswered++;
	log_error("the %s hangs: no answer from it for %lld s; killing it", c->name,
		  (long long)(UNANSWERED_MOST * ASK_EVERY / NSEC_PER_SEC));
	kill(c->pid, SIGKILL);
}

void children_ask(struct children *cs)
{
	for (size_t i = 0; i < cs->n; i++)
		ask(&cs->v[i]);
}

/* --- control sockets --- */

/* Its directory may be gone as well. */
static int listen_again(const char *path)
{
	char dir[300];
	const char *slash = strrchr(path, '/');
	int err = 0;

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path);
	if (*dir)
		err = make_dir(dir, 0755);
	return err < 0 ? err : unix_listen(path, CTL_CLIENTS);
}

static int hand_over(struct child *c)
{
	const struct chan_msg m = { .kind = CHAN_CONTROL };
	int fd = listen_again(c->control);
	if (fd < 0)
		return fd;
	int err = chan_send(c->chan, &m, fd);
	close(fd);
	if (err < 0)
		unlink(c->control); /* nobody serves it */
	return err;
}

static void look_at_control(struct child *c)
{
	struct stat st;

	if (!c->pid || !c->serves || lstat(c->control, &st) == 0 || errno != ENOENT)
		return;
	int err = hand_over(c);
	c->remade |= err == 0;
	if (err == 0)
		log_warn("the control socket %s was removed: it is there again", c->control);
	else
		log_seldom(LOG_LEVEL_WARN, 60 * NSEC_PER_SEC,
			   "the control socket %s was removed, and cannot be made again: %s",
			   c->control, strerror(-err));
}

/* --- the loop --- */

void children_turn(struct children *cs, nsec now)
{
	if (now >= cs->next_ask) {
		cs->next_ask = now + ASK_EVERY;
		children_ask(cs);
		for (size_t i = 0; i < cs->n; i++)
			look_at_control(&cs->v[i]);
	}
	for (size_t i = 0; i < cs->n; i++) {
		struct child *c = &cs->v[i];
		c->of = cs;
		if (c->wanted && !c->pid && now >= c->restart_at)
			start(c);
	}
}

nsec children_deadline(const struct children *cs)
{
	nsec at = cs->next_ask;
	for (size_t i = 0; i < cs->n; i++)
		if (cs->v[i].wanted && !cs->v[i].pid)
			at = nsec_min(at, cs->v[i].restart_at);
	return at;
}

/* --- end --- */

struct child *children_reaped(struct children *cs, pid_t pid)
{
	struct child *c = NULL;

	for (size_t i = 0; i < cs->n && !c; i++)
		if (cs->v[i].pid == pid)
			c = &cs->v[i];
	if (!c)
		return NULL;
	/* its last words first; nobody may signal a process that is reaped */
	c->pid = 0;
	on_channel(cs->loop->ev, &c->io, EV_READ);
	ev_io_stop(cs->loop->ev, &c->io);
	close(c->chan);
	if (c->status_fd >= 0)
		close(c->status_fd);
	if (c->remade) /* it may not have been let into the directory */
		unlink(c->control);
	return c;
}

static nsec back_off(const struct child *c, nsec now, bool killed)
{
	nsec lived = now - c->started, next = lived > SETTLED ? 0 : c->back_off * 2;
	nsec most = killed || lived > REFUSES_WITHIN ? RESTART_MAX : REFUSED_MAX;

	return nsec_min(nsec_max(next, RESTART_FIRST), most);
}

void child_again(struct child *c, int wstatus)
{
	nsec now = c->of->loop->now;

	c->back_off = back_off(c, now, WIFSIGNALED(wstatus));
	c->restart_at = now + c->back_off;
	c->restarts++;
	log_warn("the %s ended (%s %d%s%s): start number %u in %lld ms", c->name,
		 WIFSIGNALED(wstatus) ? "signal" : "status",
		 WIFSIGNALED(wstatus) ? WTERMSIG(wstatus) : WEXITSTATUS(wstatus),
		 WIFSIGNALED(wstatus) ? ", " : "",
		 WIFSIGNALED(wstatus) ? strsignal(WTERMSIG(wstatus)) : "", c->restarts + 1,
		 (long long)(c->back_off / NSEC_PER_MSEC));
}

void children_end(struct children *cs)
{
	for (size_t i = 0; i < cs->n; i++) {
		if (!cs->v[i].pid)
			continue;
		shutdown(cs->v[i].chan, SHUT_WR);
		kill(cs->v[i].pid, SIGTERM);
	}
}

bool children_ended(const struct children *cs)
{
	for (size_t i = 0; i < cs->n; i++)
		if (cs->v[i].pid)
			return false;
	return true;
}

void child_end_late(struct child *c)
{
	if (!c->pid)
		return;
	log_warn("the %s did not end in time: killing it", c->name);
	kill(c->pid, SIGKILL);
}

void children_end_late(struct children *cs)
{
	for (size_t i = 0; i < cs->n; i++)
		child_end_late(&cs->v[i]);
}
