/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/launcher.h"
#include "gateway/children.h"
#include "gateway/command.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum child_kind { CHILD_GATEWAY, CHILD_SHIM, CHILD_HELPER, CHILD_KEEPER, CHILD_COUNT };

#define STOP_TIME (5 * NSEC_PER_SEC)
#define COMMAND_STOP_TIME (30 * NSEC_PER_SEC)
#define AT_ONCE (15 * NSEC_PER_SEC)

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
	struct children children;
	pid_t command;
	bool came_up, command_started;
	nsec command_since;
	char ip[ADDR_STRLEN]; /* that the command was started with */
	enum phase phase;
	nsec phase_until;
	int status;
	ev_signal signals[8];
};

/* Joins gateway and `other`, whichever of the two is new. */
static void wire(struct launcher *l, enum child_kind other)
{
	static const enum chan_kind kinds[] = {
		[CHILD_SHIM] = CHAN_SHIM,
		[CHILD_HELPER] = CHAN_HELPER,
		[CHILD_KEEPER] = CHAN_KEEPER,
	};
	/* the shim's feed is a stream of lines; the helper's questions are records */
	children_join(&l->child[CHILD_GATEWAY], kinds[other], &l->child[other], CHAN_GATEWAY,
		      other == CHILD_SHIM ? command_stream_pair : chan_pair);
}

static void on_started(void *ctx, struct child *c)
{
	struct launcher *l = ctx;
	enum child_kind k = (enum child_kind)(c - l->child);

	for (enum child_kind other = CHILD_SHIM; other < CHILD_COUNT; other++)
		if (k == CHILD_GATEWAY || k == other)
			wire(l, other);
}

static void child_body(void *ctx, struct child *c, int chan)
{
	struct launcher *l = ctx;
	void (*const others[])(void *, int) = { [CHILD_SHIM] = l->cfg->shim,
						[CHILD_HELPER] = l->cfg->helper,
						[CHILD_KEEPER] = l->cfg->keeper };
	enum child_kind k = (enum child_kind)(c - l->child);

	loop_signals_end(&l->loop, l->signals, ARRAY_SIZE(l->signals));
	if (k == CHILD_GATEWAY)
		l->cfg->gateway(l->cfg->ctx, chan, l->came_up);
	else
		others[k](l->cfg->ctx, chan);
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
	children_end(&l->children);
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

static void on_message(void *ctx, struct child *c, const struct chan_msg *m)
{
	struct launcher *l = ctx;
	(void)c;
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

static void child_ended(struct launcher *l, struct child *c, int wstatus)
{
	bool gateway = c == &l->child[CHILD_GATEWAY];

	if (l->phase == PHASE_RELEASING && gateway)
		end_all(l);
	if (l->phase >= PHASE_RELEASING)
		return;
	if (l->phase == PHASE_STOPPING_COMMAND && l->status != 0 && gateway)
		return; /* it said why, and ended */
	child_again(c, wstatus);
}

static void reap(struct launcher *l)
{
	int wstatus;
	pid_t pid;
	while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0) {
		struct child *c = children_reaped(&l->children, pid);
		if (pid == l->command)
			command_ended(l, wstatus);
		else if (c)
			child_ended(l, c, wstatus);
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

static void turn(void *ctx, nsec now)
{
	struct launcher *l = ctx;

	if (l->phase < PHASE_RELEASING)
		children_turn(&l->children, now);
	if (l->phase != PHASE_RUNNING && now >= l->phase_until) {
		if (l->phase == PHASE_STOPPING_COMMAND && l->command)
			kill(l->command, SIGKILL);
		else if (l->phase == PHASE_ENDING)
			children_end_late(&l->children);
		if (l->phase == PHASE_RELEASING)
			end_all(l);
		l->phase_until = now + STOP_TIME;
	}
	if (l->phase == PHASE_ENDING && children_ended(&l->children))
		loop_stop(&l->loop);
}

static nsec deadline(void *ctx)
{
	struct launcher *l = ctx;
	nsec at = l->phase == PHASE_RUNNING ? NSEC_NEVER : l->phase_until;
	if (l->phase < PHASE_RELEASING)
		at = nsec_min(at, children_deadline(&l->children));
	return at;
}

int launcher_run(const struct launcher_config *cfg)
{
	static const int passed[] = { SIGCHLD, SIGTERM, SIGINT,	 SIGHUP,
				      SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };
	struct launcher l = {
		.cfg = cfg,
		.child = { [CHILD_GATEWAY] = { .name = "gateway",
					       .wanted = true,
					       .asked = true,
					       .control = cfg->control },
			   [CHILD_SHIM] = { .name = "shim", .wanted = cfg->shim, .asked = true },
			   [CHILD_HELPER] = { .name = "helper", .wanted = true },
			   [CHILD_KEEPER] = { .name = "keeper", .wanted = cfg->keeper } },
	};
	l.children = (struct children){ .loop = &l.loop,
					.v = l.child,
					.n = CHILD_COUNT,
					.lock = -1,
					.ctx = &l,
					.body = child_body,
					.started = on_started,
					.message = on_message };

	if (loop_init(&l.loop, &l, turn, deadline) < 0) {
		log_error("cannot make an event loop: %s", strerror(errno));
		return EXIT_CANNOT;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	static_assert(ARRAY_SIZE(passed) == ARRAY_SIZE(l.signals), "one watcher a signal");
	loop_signals(&l.loop, l.signals, passed, ARRAY_SIZE(passed), on_signal);
	loop_run(&l.loop);
	loop_close(&l.loop);
	return l.status;
}
