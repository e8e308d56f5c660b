/* SPDX-License-Identifier: Apache-2.0 */
/* The rendezvous of the storm: a real one, in a directory of its own, and how its processes are killed. */
#ifndef WARREN_STORM_SERVER_H
#define WARREN_STORM_SERVER_H

#include <stdint.h>
#include <sys/types.h>

struct server {
	const char *warren, *dir;
	uint16_t port;
	pid_t pid; /* of its first process; 0: none */
};

void server_start(struct server *s);
void server_keep(struct server *s); /* one that has ended is started again */
void server_stop(struct server *s, int sig);
/* SIGKILL to the first process, or to any of those that it has started, or to several of them. */
void server_strike(struct server *s, uint32_t (*pick)(uint32_t n));
void server_remove_files(const struct server *s); /* and the directory */

#endif
