/* SPDX-License-Identifier: Apache-2.0 */
/* What a bare interface has to do itself, since it has no launcher. */
#include "gateway/gw.h"

#include <signal.h>
#include <unistd.h>

static void on_signal(struct ev_loop *ev, ev_signal *w, int revents)
{
	struct gw *g = w->data;
	(void)ev;
	(void)revents;
	loop_stop(&g->loop);
}

void gw_bare_heed(struct gw *g)
{
	static const int heeded[] = { SIGTERM, SIGINT, SIGHUP };
	static_assert(ARRAY_SIZE(heeded) == ARRAY_SIZE(g->signals), "one watcher a signal");

	g->releasing = true; /* whenever it ends, it is a clean end */
	loop_signals(&g->loop, g->signals, heeded, ARRAY_SIZE(heeded), on_signal);
}

void gw_bare_leave(int null)
{
	for (int fd = 0; null > 2 && fd <= 2; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}
