/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command of `warren run`: as its user, without capabilities, descriptors or secrets of ours, and
 * first to go when memory runs out.
 */
#ifndef WARREN_COMMAND_H
#define WARREN_COMMAND_H

#include <sys/types.h>

struct command_env {
	const char *ip, *ip6, *worker_id;
};

/* Its pid, or -1 after a line that says why. `user` NULL: the invoking one. */
pid_t command_start(char *const *argv, const char *user, const struct command_env *env);

/* A stream socket pair, CLOEXEC and non-blocking; 0 or -errno. */
int command_stream_pair(int fds[static 2]);

#endif
