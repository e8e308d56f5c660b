/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rdv_starter.h"
#include "gateway/children.h"
#include "gateway/keeper.h"
#include "gateway/rdv_store.h"
#include "gateway/sandbox.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_RENDEZVOUS, CHILD_KEEPER, CHILD_STORE, CHILD_COUNT };

#define STOP_TIME (5 * NSEC_PER_SEC)

struct starter {
	const struct rdv_starter_config *cfg;
	struct loop loop;
	struct child child[CHILD_COUNT];
	struct children children;
	bool serves; /* the leases were loaded: store and keeper have worked */
	bool ending;
	nsec late; /* when who has not ended by then is killed */
	int status;
	ev_signal signals[4];
};

static void body(void *ctx, struct child *c, int chan)
{
	struct starter *s = ctx;

	loop_signals_end(&s->loop, s->signals, ARRAY_SIZE(s->signals));
	proc_heed_channel_alone();
	if (c == &s->child[CHILD_RENDEZVOUS])
		_exit(s->cfg->rendezvous(s->cfg->ctx, chan));
	else if (c == &s->child[CHILD_KEEPER])
		keeper_main(s->cfg->dir, chan);
	else
		rdv_store_main(s->cfg->dir, chan);
}

static void on_started(void *ctx, struct child *c)
{
	struct starter *s = ctx;
	struct child *rdv = &s->child[CHILD_RENDEZVOUS];

	if (c == &s->child[CHILD_KEEPER])
		children_join(rdv, CHAN_KEEPER, c, CHAN_GATEWAY, chan_pair);
	else if (c == &s->child[CHILD_STORE])
		children_join(rdv, CHAN_STORE, c, CHAN_GATEWAY, chan_pair);
}

static void on_message(void *ctx, struct child *c, const struct chan_msg *m)
{
	struct starter *s = ctx;
	if (c == &s->child[CHILD_RENDEZVOUS] && m->kind == CHAN_UP)
		s->serves = true;
}

/* Store and keeper end with their channels, once they have done what they were told. */
static void end_others(struct starter *s)
{
	s->ending = true;
	s->late = s->loop.now + STOP_TIME;
	children_end(&s->children);
}

static void stop(struct starter *s)
{
	const struct chan_msg m = { .kind = CHAN_STOP };
	struct child *rdv = &s->child[CHILD_RENDEZVOUS];

	if (s->ending)
		return;
	s->ending = true;
	s->late = s->loop.now + STOP_TIME;
	if (!rdv->pid || chan_send(rdv->chan, &m, -1) < 0)
		end_others(s);
}

static void rendezvous_ended(struct starter *s, int wstatus)
{
	if (WIFSIGNALED(wstatus) && !s->ending)
		log_error(
			"the rendezvous ended (signal %d, %s): ending with it, to be started again",
			WTERMSIG(wstatus), strsignal(WTERMSIG(wstatus)));
	if (s->status == 0)
		s->status = WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);
	end_others(s);
}

static void child_ended(struct starter *s, struct child *c, int wstatus)
{
	if (c == &s->child[CHILD_RENDEZVOUS]) {
		rendezvous_ended(s, wstatus);
	} else if (s->ending) {
		return;
	} else if (!s->serves && WIFEXITED(wstatus) && WEXITSTATUS(wstatus)) {
		s->status = WEXITSTATUS(wstatus); /* it never worked: it has said why */
		stop(s);
	} else {
		child_again(c, wstatus);
	}
}

static void on_signal(struct ev_loop *ev, ev_signal *w, int revents)
{
	struct starter *s = w->data;
	struct child *c;
	int wstatus;
	pid_t pid;

	(void)ev;
	(void)revents;
	if (w->signum != SIGCHLD) {
		stop(s);
		return;
	}
	while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0)
		if ((c = children_reaped(&s->children, pid)) != NULL)
			child_ended(s, c, wstatus);
}

/* The others wait for the rendezvous, and have their time after it. */
static void end_late(struct starter *s)
{
	s->late = s->loop.now + STOP_TIME;
	if (s->child[CHILD_RENDEZVOUS].pid)
		child_end_late(&s->child[CHILD_RENDEZVOUS]);
	else
		children_end_late(&s->children);
}

static void turn(void *ctx, nsec now)
{
	struct starter *s = ctx;

	if (!s->ending)
		children_turn(&s->children, now);
	else if (children_ended(&s->children))
		loop_stop(&s->loop);
	else if (now >= s->late)
		end_late(s);
}

static nsec deadline(void *ctx)
{
	struct starter *s = ctx;
	return s->ending ? s->late : children_deadline(&s->children);
}

static int prepare(struct starter *s)
{
	static const int heeded[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };

	static_assert(ARRAY_SIZE(heeded) == ARRAY_SIZE(s->signals), "one watcher a signal");
	proc_keep_private();
	if (loop_init(&s->loop, s, turn, deadline) < 0) {
		log_error("cannot make an event loop: %s", strerror(errno));
		return -1;
	}
	loop_signals(&s->loop, s->signals, heeded, ARRAY_SIZE(heeded), on_signal);
	return 0;
}

int rdv_starter_run(const struct rdv_starter_config *cfg)
{
	const char *const writable[] = { cfg->dir, NULL };
	struct starter s = {
		.cfg = cfg,
		.child = { [CHILD_RENDEZVOUS] = { .name = "rendezvous",
						  .wanted = true,
						  .asked = true,
						  .control = cfg->control },
			   [CHILD_KEEPER] = { .name = "keeper", .wanted = true },
			   [CHILD_STORE] = { .name = "store", .wanted = true } },
	};
	s.children = (struct children){ .loop = &s.loop,
					.v = s.child,
					.n = CHILD_COUNT,
					.lock = cfg->lock,
					.ctx = &s,
					.body = body,
					.started = on_started,
					.message = on_message };
	if (prepare(&s) < 0)
		return EXIT_CANNOT;
	/* the rendezvous needs more than what is left to us after this */
	children_turn(&s.children, s.loop.now);
	if (sandbox_enter(SANDBOX_STARTER, writable) < 0) {
		s.status = EXIT_CANNOT;
		stop(&s);
	}
	loop_run(&s.loop);
	loop_close(&s.loop);
	return s.status;
}
