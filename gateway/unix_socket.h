/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets by path, as the status and the configuration socket want them. Touches the kernel. */
#ifndef WARREN_UNIX_SOCKET_H
#define WARREN_UNIX_SOCKET_H

#include <stdbool.h>
#include <sys/un.h>

/* 0 or -ENAMETOOLONG. */
int unix_address(const char *path, struct sockaddr_un *un);
/*
 * Listens at `path` with mode 0600; a file there that nobody serves is replaced. The descriptor
 * (non-blocking, close-on-exec), or -errno; -EADDRINUSE: somebody serves there.
 */
int unix_listen(const char *path, int backlog);

#endif
