/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/shimproc.h"
#include "gateway/proc.h"
#include "base/log.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <unistd.h>

struct shimproc {
	struct shim *shim;
	ev_io chan_io;
};

static void on_chan(struct ev_loop *ev, ev_io *w, int revents)
{
	struct shimproc *p = w->data;
	struct chan_msg m;
	int fd, got;

	(void)revents;
	while ((got = chan_recv(w->fd, &m, &fd)) > 0)
		if (fd >= 0)
			shim_set_feed(p->shim, fd);
	if (got < 0)
		ev_break(ev, EVBREAK_ALL);
}

_Noreturn void shim_main(const struct shim_config *cfg, int chan)
{
	struct shimproc p = { 0 };
	struct chan_msg cannot = { .kind = CHAN_CANNOT, .code = EXIT_CANNOT };
	struct ev_loop *ev = ev_loop_new(EVFLAG_NOENV);
	int err = ev ? shim_new(&p.shim, ev, cfg) : -ENOMEM;

	if (err == -EADDRINUSE)
		log_error(
			"TCP port %u on localhost is in use: choose another TRINO_PROXY_PORT (and "
			"the same in Trino's discovery.uri)",
			cfg->proxy_port);
	else if (err < 0)
		log_error("cannot start the shim: %s", strerror(-err));
	else if ((err = proc_become_nobody()) < 0 || (err = proc_drop_capabilities(-1, -1)) < 0)
		log_error("cannot drop the shim's privileges: %s", strerror(-err));
	if (err < 0) {
		chan_send(chan, &cannot, -1);
		_exit(EXIT_CANNOT);
	}
	ev_io_init(&p.chan_io, on_chan, chan, EV_READ);
	p.chan_io.data = &p;
	ev_io_start(ev, &p.chan_io);
	signal(SIGTERM, SIG_IGN); /* it ends with the channel, when the launcher says so */
	ev_run(ev, 0);
	shim_free(p.shim);
	ev_loop_destroy(ev);
	_exit(0);
}
