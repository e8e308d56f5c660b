/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rdv_keeper.h"
#include "gateway/keeper.h"
#include "gateway/proc.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

const struct syscall_rule rdv_keeper_syscalls[] = {
	CALL(memfd_create),
	CALL(wait4), /* at the end */
	CALLS_END,
};

static _Noreturn void body(const struct rdv_keeper_config *cfg, int chan)
{
	proc_child_named(chan, "keeper"); /* it ends after the last write */
	cfg->forked(cfg->ctx);
	keeper_main(cfg->dir, chan);
}

static void gone(struct rdv_keeper *k)
{
	ev_io_stop(k->cfg.ev, &k->io);
	close(k->fd);
	k->fd = -1;
}

static void on_answer(struct ev_loop *ev, ev_io *w, int revents)
{
	struct rdv_keeper *k = w->data;
	int err;

	(void)ev;
	(void)revents;
	if (!chan_kept(w->fd, &err))
		return;
	if (err == -EPIPE)
		gone(k);
	k->busy = false;
	k->cfg.kept(k->cfg.ctx, err);
}

/* The keeper takes its channel over another, as from a launcher; here there is never a second one. */
static int connect_it(struct rdv_keeper *k)
{
	int fds[2], err = chan_pair(fds);
	if (err < 0)
		return err;
	err = chan_send(k->chan, &(struct chan_msg){ .kind = CHAN_GATEWAY }, fds[1]);
	close(fds[1]);
	if (err < 0) {
		close(fds[0]);
		return err;
	}
	k->fd = fds[0];
	ev_io_init(&k->io, on_answer, k->fd, EV_READ);
	k->io.data = k;
	ev_io_start(k->cfg.ev, &k->io);
	return 0;
}

int rdv_keeper_open(struct rdv_keeper *k, const struct rdv_keeper_config *cfg)
{
	int fds[2], err = chan_pair(fds);

	*k = (struct rdv_keeper){ .cfg = *cfg, .chan = -1, .fd = -1 };
	if (err < 0)
		return err;
	k->pid = proc_fork();
	if (k->pid == 0)
		body(cfg, fds[1]);
	err = k->pid < 0 ? -errno : 0;
	close(fds[1]);
	k->chan = fds[0];
	if (err == 0)
		err = connect_it(k);
	if (err < 0)
		rdv_keeper_close(k);
	return err;
}

int rdv_keeper_save(struct rdv_keeper *k, const uint8_t *bytes, size_t len)
{
	const struct chan_msg m = { .kind = CHAN_KEEP, .code = KEEPER_IDENTITY };
	int err = chan_send_bytes(k->fd, &m, bytes, len);
	k->busy = err == 0;
	return err;
}

void rdv_keeper_close(struct rdv_keeper *k)
{
	if (k->fd >= 0)
		gone(k);
	if (k->chan >= 0)
		close(k->chan);
	k->chan = -1;
	while (k->pid > 0 && waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
		;
	k->pid = 0;
}
