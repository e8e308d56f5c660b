/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets by path, as the status and the configuration socket want them. Touches the kernel. */
#ifndef WARREN_UNIX_SOCKET_H
#define WARREN_UNIX_SOCKET_H

#include "base/syscalls.h"
#include <ev.h>
#include <stdbool.h>
#include <sys/un.h>

/* 0 or -ENAMETOOLONG. */
int unix_address(const char *path, struct sockaddr_un *un);
/*
 * Listens at `path` with mode 0600; a file there that nobody serves is replaced. The descriptor
 * (non-blocking, close-on-exec), or -errno; -EADDRINUSE: somebody serves there.
 */
int unix_listen(const char *path, int backlog);

/*
 * The same in a loop: `client` gets each newcomer's descriptor. Where descriptors or memory have run out,
 * newcomers wait, a second at a time; a socket that stays readable would otherwise keep the loop busy. So they do
 * where `has_room`, which may be set after the opening, says no, or until unix_listener_resume().
 */
struct unix_listener {
	struct ev_loop *ev;
	ev_io io;
	ev_timer again;
	int fd;
	char path[108];
	void (*client)(void *ctx, int fd);
	bool (*has_room)(void *ctx); /* NULL: always */
	void *ctx;
};

/* 0 or -errno, as unix_listen(). `l` must not move. */
int unix_listener_open(struct unix_listener *l, struct ev_loop *ev, const char *path, int backlog,
		       void (*client)(void *ctx, int fd), void *ctx);
void unix_listener_resume(struct unix_listener *l); /* there is room again */
/* Another socket, its own from here on, in place of the one that it listens to. */
void unix_listener_take(struct unix_listener *l, int fd);
void unix_listener_close(struct unix_listener *l); /* removes the socket */

extern const struct syscall_rule unix_socket_syscalls[]; /* of who serves one, to its removal */

#endif
