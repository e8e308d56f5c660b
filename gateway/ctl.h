/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: a unix stream socket, 0600, that takes one line, answers it with a text, and
 * closes. "status" is answered with one JSON object; what else there is, is its owner's (rdv_admin.h).
 * At most CTL_CLIENTS at once; one that is slow to send or to read is cut off and delays nobody.
 */
#ifndef WARREN_CTL_H
#define WARREN_CTL_H

#include "base/base.h"
#include <ev.h>

struct ctl;

enum { CTL_CLIENTS = 16, CTL_LINE_MAX = 128 /* with the newline */ };

/*
 * `answer` returns a fresh text (malloc) to a line, which has no newline any more; or NULL. 0 or -errno;
 * -EADDRINUSE: somebody serves there.
 */
int ctl_open(struct ctl **out, struct ev_loop *ev, const char *path,
	     char *(*answer)(void *ctx, const char *line), void *ctx);
void ctl_take(struct ctl *c,
	      int fd);	       /* another socket of that path, for the one there was was removed */
void ctl_close(struct ctl *c); /* removes the socket */

/* The client's side: the whole answer (malloc), or NULL with errno. */
char *ctl_ask(const char *path, const char *line);

#endif
