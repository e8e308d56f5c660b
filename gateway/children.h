/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that one of ours starts, joins with each other, asks whether they live, and starts again when they die:
 * what the launcher of `warren run` and the starter of a rendezvous have in common.
 *
 * Who is `asked` has nothing to wait for. One that leaves so many questions in a row without an answer hangs, and is
 * killed. Questions are counted, and not seconds: after a pause of the whole machine there is one more. Not counted is
 * what a process is not to be blamed for: a debugger that holds it, and a disk that it waits for in the kernel.
 *
 * People remove what stands in /run, and a clean-up does. Who serves a control socket there is confined and cannot
 * make another; so we do, and hand it over.
 */
#ifndef WARREN_CHILDREN_H
#define WARREN_CHILDREN_H

#include "gateway/loop.h"
#include "gateway/proc.h"

struct children;

struct child {
	/* by the owner */
	const char *name; /* of the process (warren-NAME), and in the log */
	bool wanted, asked;
	const char
		*control; /* path of its control socket, which it says that it serves; NULL: none */
	/* by these functions */
	pid_t pid; /* 0: not running */
	int chan;
	int status_fd; /* its /proc/PID/status, of one that is asked; or -1 */
	nsec started, restart_at, back_off;
	unsigned restarts, unanswered;
	bool excused; /* at the last look */
	bool serves;  /* its control socket, which */
	bool remade;  /* we have made again since */
	struct children *of;
	ev_io io;
};

struct children {
	struct loop *loop;
	struct child *v;
	size_t n;
	int lock; /* a descriptor that all of them keep; -1: none */
	void *ctx;
	/* In the child, whose channel to us is `chan`. Does not return. */
	void (*body)(void *ctx, struct child *c, int chan);
	/* It was started (again): join it with the others. */
	void (*started)(void *ctx, struct child *c);
	void (*message)(void *ctx, struct child *c, const struct chan_msg *m);
	nsec next_ask;
};

/* While they are to run: starts who is wanted and not there, and asks. */
void children_turn(struct children *cs, nsec now);
nsec children_deadline(const struct children *cs);
/* Now, each that is asked. */
void children_ask(struct children *cs);
/*
 * Two that run get the ends of a pair, `to_a` and `to_b` being the messages that bring them. Where that fails the
 * one that was started last is killed, and so started again.
 */
void children_join(struct child *a, enum chan_kind to_a, struct child *b, enum chan_kind to_b,
		   int (*pair)(int fds[static 2]));
/* Whose process that was; NULL: nobody's. It is reaped: its last messages are passed on, and its channel closed. */
struct child *children_reaped(struct children *cs, pid_t pid);
/* It is to be started again, a little later. */
void child_again(struct child *c, int wstatus);

/* They end with their channel; SIGTERM, for who waits for something else and heeds it. */
void children_end(struct children *cs);
bool children_ended(const struct children *cs);
void child_end_late(struct child *c); /* by SIGKILL */
void children_end_late(struct children *cs);

#endif
