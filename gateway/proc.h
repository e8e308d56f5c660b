/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes of one binary, and the channels between them. A channel is a SOCK_SEQPACKET pair that
 * carries struct chan_msg, with at most one descriptor each. Both ends are ours, yet every message is
 * checked for its size: a process that was taken over must not take the next one with it.
 */
#ifndef WARREN_PROC_H
#define WARREN_PROC_H

#include "base/addr.h"
#include "base/syscalls.h"
#include <sys/types.h>

enum chan_kind {
	/*
	 * launcher → child, with a descriptor: the other end leads to shim, helper, keeper or gateway. Starter → child:
	 * to the keeper, the store, and the rendezvous, which is the keeper's gateway
	 */
	CHAN_SHIM,
	CHAN_HELPER,
	CHAN_KEEPER,
	CHAN_STORE,
	CHAN_GATEWAY,
	CHAN_STOP, /* launcher → gateway: release the lease and end. Starter → rendezvous: end */
	/* gateway → launcher */
	CHAN_UP, /* ip, ip6: start the command. Rendezvous → starter: the leases are loaded, it serves */
	CHAN_FATAL, /* code: end everything with this status; the line has been written */
	/* gateway, shim → launcher */
	CHAN_CANNOT, /* code: could not start, and ends. Fatal if it never worked before */
	/* gateway → launcher */
	CHAN_RELEASED,
	/* launcher → gateway, shim, starter → rendezvous, and back: does the loop turn? */
	CHAN_ALIVE,
	/*
	 * gateway, rendezvous → its parent: it serves its control socket. Back, with a descriptor: that was removed,
	 * here is another
	 */
	CHAN_CONTROL,
	/* gateway → keeper, with a descriptor: write what is in it. Keeper → gateway, code: 0 or -errno */
	CHAN_KEEP,
	CHAN_KEPT,
};

struct chan_msg {
	enum chan_kind kind;
	int code;
	char ip[ADDR_STRLEN], ip6[ADDR_STRLEN];
};

int chan_pair(int fds[static 2]); /* SOCK_SEQPACKET, CLOEXEC, non-blocking; 0 or -errno */
/* `fd` -1: none. 0 or -errno. */
int chan_send(int chan, const struct chan_msg *m, int fd);
/* With a file in memory that holds the bytes (memfd_create()). 0 or -errno. */
int chan_send_bytes(int chan, const struct chan_msg *m, const uint8_t *bytes, size_t len);
/* 1 with *m and *fd (-1: none), 0 when there is nothing now, -1 at the end of the channel. */
int chan_recv(int chan, struct chan_msg *m, int *fd);
/* A keeper's answer: 0, or the -errno that writing ended with; -EPIPE: it is gone. False: there is none now. */
bool chan_kept(int chan, int *err);
void chan_alive(int chan); /* asks or answers */
/*
 * Serves the gateway's channel, which comes over the launcher's `chan`, and again with each gateway that is
 * started anew. `answer` takes one message of `fd`, and says false when the gateway is gone. Returns when
 * the launcher is.
 */
void chan_serve(int chan, bool (*answer)(void *ctx, int fd), void *ctx);
extern const struct syscall_rule chan_syscalls[];

/*
 * First of all: who started us may have left signals blocked, or SIGCHLD ignored, and an end that was
 * asked for or a child that died would never be heard of.
 */
void proc_signals(void);

/* false: a hang-up that is to be ignored, for whoever started us (nohup) has said so; the command inherits that. */
bool proc_heeds(int signum);

/*
 * fork() for a child that begins with proc_child(). Signals wait meanwhile: one that arrived before the
 * child has its own handlers would be taken by the parent's, and lost.
 */
pid_t proc_fork(void);
/* In a fresh child: default signals, and no descriptor but 0, 1, 2 and these two (-1: none). */
void proc_child(int chan, int lock);
/* It ends when its channel does, and not by a signal that a terminal or an init system sends to all. */
void proc_heed_channel_alone(void);
/*
 * Keeps the capability `cap` alone, and `if_held` where we have it (CAP_* numbers, -1: none); no new
 * privileges. 0 or -errno.
 */
int proc_drop_capabilities(int cap, int if_held);
/*
 * No core file and no debugger of the same user: keys and tokens are in here. An exec undoes it, so the
 * command is not concerned.
 */
void proc_keep_private(void);
/* As much memory as may be is locked: before capabilities go, and not where a command is started. */
void proc_may_lock(void);
#define PROC_ALLOW_LOCK                                                                            \
	"allow 1 MiB (ulimit -l 1024, LimitMEMLOCK=1M, docker run --ulimit memlock=1048576), "     \
	"or have no swap"
/* One line, if a key is in memory that is not locked; *told: it was said. */
void proc_tell_unlocked(bool *told);
/* Becomes nobody where we are root. 0 or -errno. */
int proc_become_nobody(void);

/* Exit statuses. */
enum { EXIT_CANNOT = 1, EXIT_USAGE = 2, EXIT_REPLACED = 75 };

#endif
