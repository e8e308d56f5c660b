/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rdv_keeper.h"
#include "gateway/keeper.h"
#include "gateway/proc.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

const struct syscall_rule rdv_keeper_syscalls[] = {
	CALL(memfd_create),
	CALLS_END,
};

void rdv_keeper_init(struct rdv_keeper *k, const struct rdv_keeper_config *cfg)
{
	*k = (struct rdv_keeper){ .cfg = *cfg, .fd = -1 };
}

static void drop_keeper(struct rdv_keeper *k)
{
	if (k->fd < 0)
		return;
	ev_io_stop(k->cfg.ev, &k->io);
	close(k->fd);
	k->fd = -1;
	k->busy = false;
}

static void hear(struct rdv_keeper *k)
{
	int err;

	if (k->fd < 0 || !chan_kept(k->fd, &err))
		return;
	bool was_busy = k->busy;
	k->busy = false;
	if (err == -EPIPE)
		drop_keeper(k);
	if (was_busy)
		k->cfg.kept(k->cfg.ctx, err);
}

static void on_answer(struct ev_loop *ev, ev_io *w, int revents)
{
	(void)ev;
	(void)revents;
	hear(w->data);
}

void rdv_keeper_connect(struct rdv_keeper *k, int fd)
{
	hear(k); /* the last words of the one before */
	bool unsaid = k->busy;
	drop_keeper(k);
	k->fd = fd;
	ev_io_init(&k->io, on_answer, fd, EV_READ);
	k->io.data = k;
	ev_io_start(k->cfg.ev, &k->io);
	if (unsaid)
		k->cfg.kept(k->cfg.ctx, -EPIPE);
}

int rdv_keeper_save(struct rdv_keeper *k, const uint8_t *bytes, size_t len)
{
	const struct chan_msg m = { .kind = CHAN_KEEP, .code = KEEPER_IDENTITY };
	int err = chan_send_bytes(k->fd, &m, bytes, len);
	k->busy = err == 0;
	return err;
}

void rdv_keeper_await(struct rdv_keeper *k)
{
	struct pollfd p = { .fd = k->fd, .events = POLLIN };
	while (k->busy && (poll(&p, 1, -1) >= 0 || errno == EINTR))
		hear(k);
}

void rdv_keeper_close(struct rdv_keeper *k)
{
	drop_keeper(k);
}
