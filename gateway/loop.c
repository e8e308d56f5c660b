/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/loop.h"
#include "gateway/proc.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

const struct syscall_rule loop_syscalls[] = {
	CALL(epoll_wait),      CALL(epoll_pwait),	CALL(epoll_ctl),
	CALL(timerfd_settime), CALL(timerfd_settime64), CALLS_END,
};

/* A wait that is over sooner was none: epoll_wait() and back. */
#define NO_WAIT (NSEC_PER_MSEC / 200)

#define WIPE_EVERY (100 * NSEC_PER_MSEC)

static nsec read_clock(clockid_t which)
{
	struct timespec ts;
	clock_gettime(which, &ts);
	return (nsec)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

nsec loop_clock(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

nsec loop_wall_offset(void)
{
	return read_clock(CLOCK_REALTIME) - read_clock(CLOCK_BOOTTIME);
}

int64_t loop_wall(void)
{
	return read_clock(CLOCK_REALTIME) / NSEC_PER_SEC;
}

nsec loop_cpu_used(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static void on_timer(struct ev_loop *ev, ev_io *w, int revents)
{
	uint64_t expired;
	(void)ev;
	(void)revents;
	ssize_t n = read(w->fd, &expired, sizeof(expired));
	(void)n; /* it only wakes: the turn does the work */
}

static void on_wake(struct ev_loop *ev, ev_check *w, int revents)
{
	struct loop *l = w->data;
	(void)ev;
	(void)revents;
	l->now = read_clock(CLOCK_BOOTTIME);
	l->turns++;
	l->busy = l->now - l->ended < NO_WAIT ? l->busy + 1 : 0;
}

static void arm(struct loop *l, nsec at)
{
	struct itimerspec its = { 0 };
	if (at == l->armed)
		return;
	l->armed = at;
	if (at != NSEC_NEVER) {
		at = nsec_max(at, 1); /* 0 would disarm */
		its.it_value.tv_sec = at / NSEC_PER_SEC;
		its.it_value.tv_nsec = at % NSEC_PER_SEC;
	}
	timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

/* When it is due again: NSEC_NEVER where it was done. */
static nsec wipe_stack(struct loop *l)
{
	if (l->now < l->next_wipe)
		return l->next_wipe;
	l->next_wipe = l->now + WIPE_EVERY;
	sodium_stackzero(LOOP_STACK);
	return NSEC_NEVER;
}

static void before_wait(struct ev_loop *ev, ev_prepare *w, int revents)
{
	struct loop *l = w->data;
	(void)ev;
	(void)revents;
	l->turn(l->ctx, l->now);
	log_flush(l->now);
	nsec at = nsec_min(l->deadline(l->ctx), log_deadline());
	at = nsec_min(at, wipe_stack(l));
	/* one that has fired and is still due must fire again */
	if (at <= l->now)
		l->armed = NSEC_NEVER;
	arm(l, at);
	l->ended = read_clock(CLOCK_BOOTTIME);
}

int loop_init(struct loop *l, void *ctx, void (*turn)(void *, nsec), nsec (*deadline)(void *))
{
	memset(l, 0, sizeof(*l));
	signal(SIGPIPE, SIG_IGN); /* the log's reader may go away: that ends nobody's network */
	l->ctx = ctx;
	l->turn = turn;
	l->deadline = deadline;
	l->now = loop_clock();
	l->wall_offset = loop_wall_offset();
	l->armed = NSEC_NEVER;
	loop_reserve();
	l->ev = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
	l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (!l->ev || l->timer_fd < 0)
		return errno ? -errno : -ENOMEM;
	ev_io_init(&l->timer, on_timer, l->timer_fd, EV_READ);
	ev_io_start(l->ev, &l->timer);
	ev_check_init(&l->check, on_wake);
	ev_set_priority(&l->check, EV_MAXPRI); /* before every handler of the turn */
	l->check.data = l;
	ev_check_start(l->ev, &l->check);
	ev_prepare_init(&l->prepare, before_wait);
	l->prepare.data = l;
	ev_prepare_start(l->ev, &l->prepare);
	return 0;
}

void loop_run(struct loop *l)
{
	ev_run(l->ev, 0);
}

void loop_stop(struct loop *l)
{
	ev_break(l->ev, EVBREAK_ALL);
}

void loop_signals(struct loop *l, ev_signal *w, const int *signums, size_t n,
		  void (*heard)(struct ev_loop *, ev_signal *, int))
{
	for (size_t i = 0; i < n; i++) {
		ev_signal_init(&w[i], heard, signums[i]);
		w[i].data = l->ctx;
		if (proc_heeds(signums[i]))
			ev_signal_start(l->ev, &w[i]);
	}
}

void loop_signals_end(struct loop *l, ev_signal *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ev_signal_stop(l->ev, &w[i]);
}

void loop_close(struct loop *l)
{
	sigset_t all;

	log_end();

	/* libev's signal handlers outlive the loop and would write into it. Only an end follows */
	sigfillset(&all);
	sigdelset(&all, SIGSYS); /* the sandbox' last word */
	sigprocmask(SIG_BLOCK, &all, NULL);
	if (l->ev)
		ev_loop_destroy(l->ev);
	if (l->timer_fd >= 0)
		close(l->timer_fd);
	l->ev = NULL;
	l->timer_fd = -1;
}
