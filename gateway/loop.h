/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process's event loop over libev, and the only reader of the clock: CLOCK_BOOTTIME once per turn
 * and once at its end, one timerfd(CLOCK_BOOTTIME) as the only timer. Before each wait the owner's `turn`
 * runs, then its deadline is armed.
 */
#ifndef WARREN_LOOP_H
#define WARREN_LOOP_H

#include "base/syscalls.h"
#include "base/base.h"
#include <ev.h>

/*
 * What turns leave below themselves on the stack, as deep as handshakes and files go, is wiped: libraries leave
 * copies of keys there. That takes a microsecond, so a turn that comes soon after another leaves it to a later one.
 */
enum { LOOP_STACK = 16 << 10 };

struct loop {
	struct ev_loop *ev;
	nsec now;	  /* of this turn */
	nsec ended;	  /* of the turn before: looked at for nothing but this: */
	uint64_t turns;	  /* so far: for each the loop has asked the kernel once what there is */
	unsigned busy;	  /* turns in a row for which nobody had to wait: there was work already */
	nsec wall_offset; /* nanoseconds since 1970 = now + this */
	int timer_fd;
	nsec armed;
	nsec next_wipe; /* of the stack */
	ev_io timer;
	ev_check check;
	ev_prepare prepare;
	void *ctx;
	void (*turn)(void *ctx, nsec now);
	nsec (*deadline)(void *ctx);
};

int loop_init(struct loop *l, void *ctx, void (*turn)(void *, nsec), nsec (*deadline)(void *));
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
void loop_close(struct loop *l);

/*
 * `heard` is called for each of these signals, with the loop's ctx as data; but not for a hang-up that is to be
 * ignored (proc_heeds()). libev binds a signal to one loop of a process: a child with a loop of its own must find
 * them free, and begins with loop_signals_end().
 */
void loop_signals(struct loop *l, ev_signal *w, const int *signums, size_t n,
		  void (*heard)(struct ev_loop *, ev_signal *, int));
void loop_signals_end(struct loop *l, ev_signal *w, size_t n);

/* Before the first loop of a process: libev's memory never runs out (loop_memory.c). */
void loop_reserve(void);

/* For what runs outside a loop: once, at start. */
nsec loop_clock(void);
nsec loop_wall_offset(void);
int64_t loop_wall(void); /* seconds since 1970 */

/* CPU time that this process has used, of the kernel's work for it, too. */
nsec loop_cpu_used(void);

extern const struct syscall_rule loop_syscalls[]; /* of libev, too */

#endif
