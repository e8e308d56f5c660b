/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rdv_store.h"
#include "gateway/proc.h"
#include "gateway/sandbox.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AGAIN_MSEC = 500 };

struct pending {
	struct pending *next;
	bool sent;
	struct store_request req;
};

const struct syscall_rule rdv_store_syscalls[] = {
	CALL(recvfrom),
	CALL(sendto),
	CALL(wait4), /* for the starter, at the end */
	CALLS_END,
};

struct rdv_store {
	struct rdv_store_config cfg;
	pid_t starter;
	int chan, fd; /* to the starter; to the store, -1 while there is none */
	bool loaded;
	struct pending *pending, **pending_end;
	ev_io chan_io, io;
};

/* --- the store --- */

static _Noreturn void store_main(const char *dir, int fd)
{
	const char *const writable[] = { dir, NULL };
	char path[300], err[200];

	proc_child_named(fd, "store"); /* it ends after the last commit */
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags & ~O_NONBLOCK); /* it may wait: that is what it is for */
	if (sandbox_enter(SANDBOX_STORE, writable) < 0)
		_exit(EXIT_CANNOT);
	snprintf(path, sizeof(path), "%s/leases.db", dir);
	struct lease_store *s = lease_store_open(path, err, sizeof(err));
	if (!s) {
		log_error("the leases in %s: %s", path, err);
		_exit(EXIT_CANNOT);
	}
	int status = lease_store_serve(s, fd);
	lease_store_close(s);
	log_end();
	_exit(status < 0 ? EXIT_CANNOT : 0);
}

/* --- the starter --- */

/* The new store's process; the other end of its channel goes to the rendezvous. */
static pid_t start_store(const char *dir, int chan)
{
	struct chan_msg m = { .kind = CHAN_HELPER };
	int fds[2];

	if (chan_pair(fds) < 0)
		return -1;
	pid_t pid = proc_fork();
	if (pid == 0)
		store_main(dir, fds[1]);
	close(fds[1]);
	if (pid > 0)
		chan_send(chan, &m, fds[0]);
	close(fds[0]);
	return pid;
}

static int status_of(pid_t pid)
{
	int wstatus = 0;
	while (pid > 0 && waitpid(pid, &wstatus, 0) < 0 && errno == EINTR)
		;
	if (pid > 0 && WIFSIGNALED(wstatus))
		log_warn("the lease store ended (signal %d, %s)", WTERMSIG(wstatus),
			 strsignal(WTERMSIG(wstatus)));
	return pid > 0 && WIFEXITED(wstatus) && WEXITSTATUS(wstatus) ? WEXITSTATUS(wstatus)
								     : EXIT_CANNOT;
}

static _Noreturn void starter_main(const struct rdv_store_config *cfg, int chan)
{
	const char *const writable[] = { cfg->dir, NULL };
	struct pollfd gone = { .fd = chan, .events = POLLIN };

	proc_child_named(chan, "starter");
	cfg->forked(cfg->ctx);
	if (sandbox_enter(SANDBOX_STARTER, writable) < 0)
		_exit(EXIT_CANNOT);
	do { /* nothing is ever said on it but its end */
		struct chan_msg m = { .kind = CHAN_CANNOT };
		m.code = status_of(start_store(cfg->dir, chan));
		chan_send(chan, &m, -1);
	} while (poll(&gone, 1, AGAIN_MSEC) == 0);
	_exit(0);
}

/* --- the rendezvous --- */

static void forget(struct rdv_store *s, uint64_t from, uint64_t to)
{
	struct pending **at = &s->pending;
	while (*at) {
		struct pending *q = *at;
		if (q->req.seq < from || q->req.seq > to) {
			at = &q->next;
			continue;
		}
		*at = q->next;
		free(q);
	}
	s->pending_end = at;
}

/* In order, as far as the socket takes it. */
void rdv_store_turn(struct rdv_store *s)
{
	for (struct pending *q = s->pending; q && s->fd >= 0 && s->loaded; q = q->next) {
		if (q->sent)
			continue;
		if (send(s->fd, &q->req, sizeof(q->req), MSG_NOSIGNAL) < 0)
			break; /* again with the next reply or turn */
		q->sent = true;
	}
}

bool rdv_store_put(struct rdv_store *s, const struct store_request *req)
{
	struct pending *q = malloc(sizeof(*q));
	if (!q)
		return false;
	*q = (struct pending){ .req = *req };
	*s->pending_end = q;
	s->pending_end = &q->next;
	rdv_store_turn(s);
	return true;
}

static void on_reply(struct rdv_store *s, const struct store_reply *r)
{
	if (r->kind == STORE_LOADED && s->loaded)
		return; /* of a store that was started again: all that is known */
	if (r->kind == STORE_READY)
		s->loaded = true;
	else if (r->kind == STORE_DONE)
		forget(s, 0, r->seq);
	else if (r->kind == STORE_FAILED)
		forget(s, r->seq, r->seq);
	s->cfg.reply(s->cfg.ctx, r);
	rdv_store_turn(s);
}

static void on_store(struct ev_loop *ev, ev_io *w, int revents)
{
	struct rdv_store *s = w->data;
	struct store_reply r;
	ssize_t n;

	(void)revents;
	while ((n = recv(w->fd, &r, sizeof(r), 0)) == (ssize_t)sizeof(r))
		on_reply(s, &r);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		ev_io_stop(ev, w); /* the starter tells the rest */
}

static void drop_store(struct rdv_store *s)
{
	if (s->fd < 0)
		return;
	on_store(s->cfg.ev, &s->io, EV_READ); /* its last words */
	ev_io_stop(s->cfg.ev, &s->io);
	close(s->fd);
	s->fd = -1;
}

static void new_store(struct rdv_store *s, int fd)
{
	drop_store(s);
	s->fd = fd;
	for (struct pending *q = s->pending; q; q = q->next)
		q->sent = false;
	ev_io_init(&s->io, on_store, fd, EV_READ);
	s->io.data = s;
	ev_io_start(s->cfg.ev, &s->io);
	rdv_store_turn(s);
}

static void store_ended(struct rdv_store *s, int status)
{
	drop_store(s);
	if (s->loaded)
		log_warn("the lease store ended: starting it again");
	else
		s->cfg.failed(s->cfg.ctx, status); /* it never worked: it has said why */
}

static void on_chan(struct ev_loop *ev, ev_io *w, int revents)
{
	struct rdv_store *s = w->data;
	struct chan_msg m;
	int fd, got;

	(void)revents;
	while ((got = chan_recv(w->fd, &m, &fd)) > 0) {
		if (m.kind == CHAN_HELPER && fd >= 0)
			new_store(s, fd);
		else if (fd >= 0)
			close(fd);
		if (m.kind == CHAN_CANNOT)
			store_ended(s, m.code);
	}
	if (got == 0)
		return;
	ev_io_stop(ev, w);
	log_error("the starter of the lease store is gone: ending, to be started again");
	s->cfg.failed(s->cfg.ctx, EXIT_CANNOT);
}

int rdv_store_open(struct rdv_store **out, const struct rdv_store_config *cfg)
{
	struct rdv_store *s = calloc(1, sizeof(*s));
	int fds[2], err = s ? chan_pair(fds) : -ENOMEM;

	if (err == 0) {
		s->starter = proc_fork();
		if (s->starter == 0)
			starter_main(cfg, fds[1]);
		err = s->starter < 0 ? -errno : 0;
		close(fds[1]);
		if (err)
			close(fds[0]);
	}
	if (err) {
		free(s);
		return err;
	}
	s->cfg = *cfg;
	s->pending_end = &s->pending;
	s->chan = fds[0];
	s->fd = -1;
	ev_io_init(&s->chan_io, on_chan, s->chan, EV_READ);
	s->chan_io.data = s;
	ev_io_start(cfg->ev, &s->chan_io);
	*out = s;
	return 0;
}

bool rdv_store_loaded(const struct rdv_store *s)
{
	return s->loaded;
}

void rdv_store_close(struct rdv_store *s)
{
	if (!s)
		return;
	/* the end of its requests: it commits and ends, and so does the starter */
	ev_io_stop(s->cfg.ev, &s->io);
	ev_io_stop(s->cfg.ev, &s->chan_io);
	if (s->fd >= 0)
		close(s->fd);
	close(s->chan);
	while (waitpid(s->starter, NULL, 0) < 0 && errno == EINTR)
		;
	forget(s, 0, UINT64_MAX);
	free(s);
}
