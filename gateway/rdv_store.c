/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rdv_store.h"
#include "gateway/proc.h"
#include "gateway/sandbox.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct pending {
	struct pending *next;
	bool sent;
	struct store_request req;
};

const struct syscall_rule rdv_store_syscalls[] = {
	CALL(recvfrom),
	CALL(sendto),
	CALLS_END,
};

struct rdv_store {
	struct rdv_store_config cfg;
	int fd; /* to the store; -1 while there is none */
	bool loaded;
	struct pending *pending, **pending_end;
	uint64_t first; /* in it, at the last turn */
	nsec first_since;
	ev_io io;
};

/* --- the store --- */

/* Over which the rendezvous talks to it; -1: there is no starter any more. */
static int await_channel(int chan)
{
	struct pollfd p = { .fd = chan, .events = POLLIN };
	struct chan_msg m;
	int fd, got;

	do {
		poll(&p, 1, -1);
		got = chan_recv(chan, &m, &fd);
	} while (got == 0 || (got > 0 && fd < 0));
	return fd;
}

_Noreturn void rdv_store_main(const char *dir, int chan)
{
	const char *const writable[] = { dir, NULL };
	char path[300], err[200];
	int fd = await_channel(chan);

	if (fd < 0)
		_exit(0);
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
static void send_pending(struct rdv_store *s)
{
	for (struct pending *q = s->pending; q && s->fd >= 0 && s->loaded; q = q->next) {
		if (q->sent)
			continue;
		if (send(s->fd, &q->req, sizeof(q->req), MSG_NOSIGNAL) < 0)
			break; /* again with the next reply or turn */
		q->sent = true;
	}
}

void rdv_store_turn(struct rdv_store *s, nsec now)
{
	uint64_t first = s->pending ? s->pending->req.seq : 0;

	if (first != s->first)
		s->first_since = now;
	s->first = first;
	send_pending(s);
}

nsec rdv_store_waits(const struct rdv_store *s, nsec now)
{
	return s->pending && s->pending->req.seq == s->first ? now - s->first_since : 0;
}

bool rdv_store_put(struct rdv_store *s, const struct store_request *req)
{
	struct pending *q = malloc(sizeof(*q));
	if (!q)
		return false;
	*q = (struct pending){ .req = *req };
	*s->pending_end = q;
	s->pending_end = &q->next;
	send_pending(s);
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
	send_pending(s);
}

static void drop_store(struct rdv_store *s)
{
	if (s->fd < 0)
		return;
	ev_io_stop(s->cfg.ev, &s->io);
	close(s->fd);
	s->fd = -1;
}

static void on_store(struct ev_loop *ev, ev_io *w, int revents)
{
	struct rdv_store *s = w->data;
	struct store_reply r;
	ssize_t n;

	(void)ev;
	(void)revents;
	while ((n = recv(w->fd, &r, sizeof(r), 0)) == (ssize_t)sizeof(r))
		on_reply(s, &r);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		drop_store(s); /* and here comes another */
}

void rdv_store_connect(struct rdv_store *s, int fd)
{
	if (s->fd >= 0)
		on_store(s->cfg.ev, &s->io, EV_READ); /* the last words of the one before */
	drop_store(s);
	s->fd = fd;
	for (struct pending *q = s->pending; q; q = q->next)
		q->sent = false;
	ev_io_init(&s->io, on_store, fd, EV_READ);
	s->io.data = s;
	ev_io_start(s->cfg.ev, &s->io);
	send_pending(s);
}

struct rdv_store *rdv_store_open(const struct rdv_store_config *cfg)
{
	struct rdv_store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->cfg = *cfg;
	s->pending_end = &s->pending;
	s->fd = -1;
	return s;
}

bool rdv_store_loaded(const struct rdv_store *s)
{
	return s->loaded;
}

void rdv_store_close(struct rdv_store *s)
{
	if (!s)
		return;
	drop_store(s); /* the end of its requests: it commits and ends */
	forget(s, 0, UINT64_MAX);
	free(s);
}
