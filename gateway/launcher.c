/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/launcher.h"
#include "gateway/command.h"
#include "gateway/proc.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum child_kind { CHILD_GATEWAY, CHILD_SHIM, CHILD_HELPER, CHILD_KEEPER, CHILD_COUNT };

static const char *const child_names[] = { "gateway", "shim", "helper", "keeper" };

/* However often one has died: another is there within a second. */
#define RESTART_MAX (500 * NSEC_PER_MSEC)
#define RESTART_FIRST (100 * NSEC_PER_MSEC)
/* Who ends by itself as soon as it began has said what it wants of somebody, and says it again each time. */
#define REFUSED_MAX (10 * NSEC_PER_SEC)
#define REFUSES_WITHIN (500 * NSEC_PER_MSEC)
#define SETTLED (30 * NSEC_PER_SEC) /* ran so long: the next restart is quick again */
#define STOP_TIME (5 * NSEC_PER_SEC)
#define COMMAND_STOP_TIME (30 * NSEC_PER_SEC)
#define AT_ONCE (15 * NSEC_PER_SEC)
/*
 * Gateway and shim have nothing to wait for. One that leaves so many questions in a row without an answer hangs.
 * Questions are counted, and not seconds: after a pause of the whole machine there is one more.
 */
#define ASK_EVERY (5 * NSEC_PER_SEC)
enum { UNANSWERED_MOST = 6 };

struct child {
	pid_t pid; /* 0: not running */
	int chan;
	nsec started, restart_at, back_off;
	unsigned restarts, unanswered;
	ev_io io;
};

enum phase {
	PHASE_RUNNING,
	PHASE_STOPPING_COMMAND, /* the command is told to end; everything else goes on for it */
	PHASE_RELEASING,	/* the gateway gives the lease back */
	PHASE_ENDING,		/* the rest is told to end */
};

struct launcher {
	const struct launcher_config *cfg;
	struct loop loop;
	struct child child[CHILD_COUNT];
	pid_t command;
	bool came_up, command_started;
	nsec command_since;
	char ip[ADDR_STRLEN]; /* that the command was started with */
	enum phase phase;
	nsec phase_until, next_ask;
	int status;
	ev_signal signals[8];
};

static bool wanted(const struct launcher *l, enum child_kind k)
{
	return (k != CHILD_SHIM || l->cfg->shim) && (k != CHILD_KEEPER || l->cfg->keeper);
}

/* Joins gateway and `other` by a new pair, whichever of the two is new. */
static void wire(struct launcher *l, enum child_kind other)
{
	static const enum chan_kind kinds[] = {
		[CHILD_SHIM] = CHAN_SHIM,
		[CHILD_HELPER] = CHAN_HELPER,
		[CHILD_KEEPER] = CHAN_KEEPER,
	};
	struct child *gw = &l->child[CHILD_GATEWAY], *o = &l->child[other];
	struct chan_msg to_gw = { .kind = kinds[other] }, to_other = { .kind = CHAN_GATEWAY };
	int fds[2];

	if (!gw->pid || !o->pid)
		return;
	/* the shim's feed is a stream of lines; the helper's questions are records */
	int err = other == CHILD_SHIM ? command_stream_pair(fds) : chan_pair(fds);
	if (err) {
		log_error("cannot join gateway and %s: %s", child_names[other], strerror(-err));
		return;
	}
	chan_send(gw->chan, &to_gw, fds[0]);
	chan_send(o->chan, &to_other, fds[1]);
	close(fds[0]);
	close(fds[1]);
}

static void on_channel(struct ev_loop *ev, ev_io *w, int revents);

static _Noreturn void child_body(struct launcher *l, enum child_kind k, int chan)
{
	void (*const others[])(void *, int) = { [CHILD_SHIM] = l->cfg->shim,
						[CHILD_HELPER] = l->cfg->helper,
						[CHILD_KEEPER] = l->cfg->keeper };
	char title[16];

	/* libev binds a signal to one loop of a process: the child's own loop must find them free */
	for (size_t i = 0; i < ARRAY_SIZE(l->signals); i++)
		ev_signal_stop(l->loop.ev, &l->signals[i]);
	proc_child(chan);
	setpgid(0, 0);			  /* ^C is for the launcher: it knows the order of an end */
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives the launcher */
	snprintf(title, sizeof(title), "warren-%s", child_names[k]);
	prctl(PR_SET_NAME, title);
	log_process(child_names[k]);
	if (k == CHILD_GATEWAY)
		l->cfg->gateway(l->cfg->ctx, chan, l->came_up);
	else
		others[k](l->cfg->ctx, chan);
	_exit(0);
}

static void start_child(struct launcher *l, enum child_kind k)
{
	struct child *c = &l->child[k];
	int fds[2];

	c->restart_at = NSEC_NEVER;
	int err = chan_pair(fds);
	if (err == 0) {
		c->pid = proc_fork();
		if (c->pid == 0)
			child_body(l, k, fds[1]);
		err = c->pid < 0 ? -errno : 0;
		close(fds[1]);
		if (err)
			close(fds[0]);
	}
	if (err) {
		log_error("cannot start the %s: %s", child_names[k], strerror(-err));
		c->pid = 0;
		c->restart_at = l->loop.now + NSEC_PER_SEC;
		return;
	}
	c->chan = fds[0];
	c->unanswered = 0;
	c->started = l->loop.now;
	ev_io_init(&c->io, on_channel, c->chan, EV_READ);
	c->io.data = l;
	ev_io_start(l->loop.ev, &c->io);
	if (k == CHILD_GATEWAY) {
		wire(l, CHILD_SHIM);
		wire(l, CHILD_HELPER);
		wire(l, CHILD_KEEPER);
	} else {
		wire(l, k);
	}
}

static void enter(struct launcher *l, enum phase phase, nsec at_most)
{
	l->phase = phase;
	l->phase_until = l->loop.now + at_most;
}

static void end_all(struct launcher *l)
{
	enter(l, PHASE_ENDING, STOP_TIME);
	/* those that work end with their channel, and heed no SIGTERM: an init system sends that to
	 * every process at once, which is not the order of an end */
	for (enum child_kind k = 0; k < CHILD_COUNT; k++) {
		if (!l->child[k].pid)
			continue;
		shutdown(l->child[k].chan, SHUT_WR);
		kill(l->child[k].pid, SIGTERM);
	}
}

/* The command has ended, or there is none: give the lease back, then end. */
static void release(struct launcher *l)
{
	struct chan_msg m = { .kind = CHAN_STOP };
	if (l->phase >= PHASE_RELEASING)
		return;
	enter(l, PHASE_RELEASING, STOP_TIME);
	if (!l->child[CHILD_GATEWAY].pid || chan_send(l->child[CHILD_GATEWAY].chan, &m, -1) < 0)
		end_all(l);
}

/* Ends the command (it may take its time), then everything, with `status`. */
static void stop_with(struct launcher *l, int status)
{
	if (l->phase != PHASE_RUNNING)
		return;
	l->status = status;
	if (!l->command) {
		release(l);
		return;
	}
	enter(l, PHASE_STOPPING_COMMAND, COMMAND_STOP_TIME);
	kill(l->command, SIGTERM);
}

static void start_command(struct launcher *l, const struct chan_msg *up)
{
	struct command_env env = { .ip = up->ip, .ip6 = up->ip6, .worker_id = l->cfg->worker_id };
	if (!l->cfg->command || l->phase != PHASE_RUNNING)
		return;
	if (l->command_started) {
		if (strcmp(l->ip, up->ip) == 0)
			return;
		/* of a gateway that was started again and has lost its lease */
		log_error("this node has the address %s now, its command was started with %s: "
			  "stopping",
			  up->ip, l->ip);
		stop_with(l, EXIT_REPLACED);
		return;
	}
	l->command_started = true;
	snprintf(l->ip, sizeof(l->ip), "%s", up->ip);
	l->command_since = l->loop.now;
	l->command = command_start(l->cfg->command, l->cfg->user, &env);
	if (l->command < 0) {
		l->command = 0;
		stop_with(l, 127);
	}
}

static void on_message(struct launcher *l, const struct chan_msg *m)
{
	switch (m->kind) {
	case CHAN_UP:
		l->came_up = true;
		start_command(l, m);
		break;
	case CHAN_FATAL:
		/* what was once up has lost its place, also where another gateway process learns of it */
		stop_with(l, l->came_up ? EXIT_REPLACED : m->code);
		break;
	case CHAN_CANNOT:
		/* once the network was there, a start that fails is tried again like any other end */
		if (!l->came_up)
			stop_with(l, m->code);
		break;
	case CHAN_RELEASED:
		if (l->phase == PHASE_RELEASING)
			end_all(l);
		break;
	default:
		break;
	}
}

static void on_channel(struct ev_loop *ev, ev_io *w, int revents)
{
	struct launcher *l = w->data;
	struct chan_msg m;
	int fd, got;

	(void)revents;
	while ((got = chan_recv(w->fd, &m, &fd)) > 0) {
		container_of(w, struct child, io)->unanswered = 0;
		if (fd >= 0)
			close(fd); /* nobody sends us one */
		on_message(l, &m);
	}
	if (got < 0)
		ev_io_stop(ev, w); /* the end of the process is told by SIGCHLD */
}

static void command_ended(struct launcher *l, int wstatus)
{
	int status = WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);

	l->command = 0;
	if (l->phase == PHASE_RUNNING) {
		l->status = status;
		log_info("the command ended with status %d", status);
		if (status == 0 && l->cfg->trino && l->loop.now - l->command_since < AT_ONCE)
			log_warn("it returned at once: a command that leaves a daemon behind "
				 "(`launcher start`) cannot be supervised. Use `launcher run`");
	}
	release(l);
}

static nsec back_off(const struct child *c, nsec now, bool killed)
{
	nsec lived = now - c->started, next = lived > SETTLED ? 0 : c->back_off * 2;
	nsec most = killed || lived > REFUSES_WITHIN ? RESTART_MAX : REFUSED_MAX;

	return nsec_min(nsec_max(next, RESTART_FIRST), most);
}

static void child_ended(struct launcher *l, enum child_kind k, int wstatus)
{
	struct child *c = &l->child[k];

	/* its last words first; nobody may signal a process that is reaped */
	c->pid = 0;
	on_channel(l->loop.ev, &c->io, EV_READ);
	ev_io_stop(l->loop.ev, &c->io);
	close(c->chan);
	if (l->phase == PHASE_RELEASING && k == CHILD_GATEWAY)
		end_all(l);
	if (l->phase >= PHASE_RELEASING)
		return;
	if (l->phase == PHASE_STOPPING_COMMAND && l->status != 0 && k == CHILD_GATEWAY)
		return; /* it said why, and ended */
	c->back_off = back_off(c, l->loop.now, WIFSIGNALED(wstatus));
	c->restart_at = l->loop.now + c->back_off;
	c->restarts++;
	log_warn("the %s ended (%s %d%s%s): start number %u in %lld ms", child_names[k],
		 WIFSIGNALED(wstatus) ? "signal" : "status",
		 WIFSIGNALED(wstatus) ? WTERMSIG(wstatus) : WEXITSTATUS(wstatus),
		 WIFSIGNALED(wstatus) ? ", " : "",
		 WIFSIGNALED(wstatus) ? strsignal(WTERMSIG(wstatus)) : "", c->restarts + 1,
		 (long long)(c->back_off / NSEC_PER_MSEC));
}

static void reap(struct launcher *l)
{
	int wstatus;
	pid_t pid;
	while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0) {
		if (pid == l->command)
			command_ended(l, wstatus);
		for (enum child_kind k = 0; k < CHILD_COUNT; k++)
			if (pid == l->child[k].pid)
				child_ended(l, k, wstatus);
		/* anybody else: an orphan that came to us as PID 1 */
	}
}

static void on_signal(struct ev_loop *ev, ev_signal *w, int revents)
{
	struct launcher *l = w->data;
	(void)ev;
	(void)revents;
	if (w->signum == SIGCHLD)
		reap(l);
	else if (l->command)
		kill(l->command, w->signum);
	else if (w->signum == SIGTERM || w->signum == SIGINT || w->signum == SIGHUP ||
		 w->signum == SIGQUIT) {
		if (l->cfg->command && !l->command_started && l->phase == PHASE_RUNNING)
			l->status = 128 + w->signum; /* it never ran: that is no success */
		release(l);
	}
}

static bool all_ended(const struct launcher *l)
{
	for (enum child_kind k = 0; k < CHILD_COUNT; k++)
		if (l->child[k].pid)
			return false;
	return true;
}

static void end_late(struct launcher *l, enum child_kind k)
{
	if (!l->child[k].pid)
		return;
	log_warn("the %s did not end in time: killing it", child_names[k]);
	kill(l->child[k].pid, SIGKILL);
}

static void ask_whether_alive(struct launcher *l, enum child_kind k)
{
	struct child *c = &l->child[k];

	if (!c->pid || c->unanswered > UNANSWERED_MOST)
		return;
	if (c->unanswered++ < UNANSWERED_MOST) {
		chan_alive(c->chan);
		return;
	}
	log_error("the %s hangs: no answer from it for %lld s; killing it", child_names[k],
		  (long long)(UNANSWERED_MOST * ASK_EVERY / NSEC_PER_SEC));
	kill(c->pid, SIGKILL);
}

static void turn(void *ctx, nsec now)
{
	struct launcher *l = ctx;

	if (now >= l->next_ask && l->phase < PHASE_RELEASING) {
		l->next_ask = now + ASK_EVERY;
		ask_whether_alive(l, CHILD_GATEWAY);
		ask_whether_alive(l, CHILD_SHIM);
	}
	for (enum child_kind k = 0; k < CHILD_COUNT; k++)
		if (l->phase < PHASE_RELEASING && wanted(l, k) && !l->child[k].pid &&
		    now >= l->child[k].restart_at)
			start_child(l, k);
	if (l->phase != PHASE_RUNNING && now >= l->phase_until) {
		if (l->phase == PHASE_STOPPING_COMMAND && l->command)
			kill(l->command, SIGKILL);
		else if (l->phase == PHASE_ENDING)
			for (enum child_kind k = 0; k < CHILD_COUNT; k++)
				end_late(l, k);
		if (l->phase == PHASE_RELEASING)
			end_all(l);
		l->phase_until = now + STOP_TIME;
	}
	if (l->phase == PHASE_ENDING && all_ended(l))
		loop_stop(&l->loop);
}

static nsec deadline(void *ctx)
{
	struct launcher *l = ctx;
	nsec at = l->phase == PHASE_RUNNING ? NSEC_NEVER : l->phase_until;
	if (l->phase < PHASE_RELEASING)
		at = nsec_min(at, l->next_ask);
	for (enum child_kind k = 0; k < CHILD_COUNT; k++)
		if (l->phase < PHASE_RELEASING && wanted(l, k) && !l->child[k].pid)
			at = nsec_min(at, l->child[k].restart_at);
	return at;
}

int launcher_run(const struct launcher_config *cfg)
{
	static const int passed[] = { SIGCHLD, SIGTERM, SIGINT,	 SIGHUP,
				      SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };
	struct launcher l = { .cfg = cfg };

	if (loop_init(&l.loop, &l, turn, deadline) < 0) {
		log_error("cannot make an event loop: %s", strerror(errno));
		return EXIT_CANNOT;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	static_assert(ARRAY_SIZE(passed) == ARRAY_SIZE(l.signals), "one watcher a signal");
	for (size_t i = 0; i < ARRAY_SIZE(passed); i++) {
		ev_signal_init(&l.signals[i], on_signal, passed[i]);
		l.signals[i].data = &l;
		if (proc_heeds(passed[i]))
			ev_signal_start(l.loop.ev, &l.signals[i]);
	}
	loop_run(&l.loop);
	loop_close(&l.loop);
	return l.status;
}
