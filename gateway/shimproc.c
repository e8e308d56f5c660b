/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/shimproc.h"
#include "gateway/loop.h"
#include "gateway/proc.h"
#include "gateway/sandbox.h"
#include "base/log.h"

#include <errno.h>
#include <ev.h>
#include <jansson.h>
#include <signal.h>
#include <unistd.h>

struct shimproc {
	struct shim *shim;
	ev_io chan_io;
	ev_prepare log;
};

static void on_chan(struct ev_loop *ev, ev_io *w, int revents)
{
	struct shimproc *p = w->data;
	struct chan_msg m;
	int fd, got;

	(void)revents;
	while ((got = chan_recv(w->fd, &m, &fd)) > 0) {
		if (m.kind == CHAN_ALIVE)
			chan_alive(w->fd);
		if (fd >= 0)
			shim_set_feed(p->shim, fd);
	}
	if (got < 0)
		ev_break(ev, EVBREAK_ALL);
}

/* Trino is asked every few seconds, so there is a turn in time. */
static void on_turn(struct ev_loop *ev, ev_prepare *w, int revents)
{
	(void)ev;
	(void)w;
	(void)revents;
	log_tick();
}

int shim_start(struct shim **out, struct ev_loop *ev, const struct shim_config *cfg)
{
	int err = shim_new(out, ev, cfg);
	if (err == -EADDRINUSE)
		log_error("TCP port %u on localhost is in use: choose another TRINO_PROXY_PORT "
			  "(and the same in Trino's discovery.uri)",
			  cfg->proxy_port);
	else if (err < 0)
		log_error("cannot start the shim: %s", strerror(-err));
	return err;
}

_Noreturn void shim_main(const struct shim_config *cfg, int chan)
{
	struct shimproc p = { 0 };
	struct chan_msg cannot = { .kind = CHAN_CANNOT, .code = EXIT_CANNOT };
	loop_reserve();
	struct ev_loop *ev = ev_loop_new(EVFLAG_NOENV);
	int err = ev ? shim_start(&p.shim, ev, cfg) : -ENOMEM;

	if (err == 0 && (err = proc_become_nobody()) < 0)
		log_error("cannot drop the shim's privileges: %s", strerror(-err));
	signal(SIGTERM, SIG_IGN); /* it ends with the channel, when the launcher says so */
	json_object_seed(0);	  /* which opens a file */
	if (err == 0)
		err = sandbox_enter(SANDBOX_SHIM, NULL);
	if (err < 0) {
		chan_send(chan, &cannot, -1);
		_exit(EXIT_CANNOT);
	}
	ev_io_init(&p.chan_io, on_chan, chan, EV_READ);
	p.chan_io.data = &p;
	ev_io_start(ev, &p.chan_io);
	ev_prepare_init(&p.log, on_turn);
	ev_prepare_start(ev, &p.log);
	ev_run(ev, 0);
	shim_free(p.shim);
	ev_loop_destroy(ev);
	log_end();
	_exit(0);
}
