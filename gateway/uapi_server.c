/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/uapi_server.h"
#include "gateway/unix_socket.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_MAX = 4096 /* of one client at once */, BACKLOG = 128 };

/* Who neither says nor takes anything for so long makes room for another. */
#define SILENT NSEC_PER_SEC

struct client {
	struct uapi_server *server;
	struct uapi *uapi;
	ev_io io;
	nsec heard;	 /* something of it, or took something of its answer */
	int fd;		 /* -1: free */
	bool ready;	 /* to be read from, written to or worked for */
	bool ends;	 /* nothing more is read */
	size_t at, have; /* what was read and not yet taken: in[at] to in[have] */
	char in[READ_MAX];
};

struct uapi_server {
	struct loop *loop;
	struct uapi_device dev;
	void (*gone)(void *ctx);
	struct unix_listener listener;
	ev_io watch_io;
	ev_check turn;
	unsigned last; /* whose turn it was */
	int watch_fd;
	struct client clients[UAPI_CLIENTS];
};

static void client_end(struct client *c)
{
	if (c->fd < 0)
		return;
	ev_io_stop(c->server->loop->ev, &c->io);
	close(c->fd);
	c->fd = -1;
	uapi_free(c->uapi);
	c->uapi = NULL;
	sodium_memzero(c->in, sizeof(c->in));
	unix_listener_resume(&c->server->listener);
}

static bool has_work(const struct client *c)
{
	return uapi_works(c->uapi) || c->at < c->have;
}

/*
 * Reads when all is done and sent. Whoever does not read what he asked for is not worked for, so the
 * socket that can be written to says when there is more to do, too.
 */
static void client_wait(struct client *c)
{
	struct ev_loop *ev = c->server->loop->ev;
	size_t left;
	uapi_answer(c->uapi, &left);
	bool writes = left || has_work(c);

	if (!writes && c->ends) {
		client_end(c);
		return;
	}
	ev_io_stop(ev, &c->io);
	ev_io_set(&c->io, c->fd, writes ? EV_WRITE : EV_READ);
	ev_io_start(ev, &c->io);
}

static bool client_write(struct client *c)
{
	size_t left;
	const char *text = uapi_answer(c->uapi, &left);
	ssize_t n = left ? send(c->fd, text, left, MSG_NOSIGNAL) : 0;

	if (n < 0)
		return errno == EAGAIN;
	if (n > 0)
		c->heard = c->server->loop->now;
	uapi_sent(c->uapi, (size_t)n);
	return true;
}

static void client_read(struct client *c)
{
	ssize_t n = recv(c->fd, c->in, sizeof(c->in), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	c->heard = c->server->loop->now;
	c->ends = n <= 0;
	c->at = 0;
	c->have = n > 0 ? (size_t)n : 0;
	if (n <= 0)
		uapi_eof(c->uapi, c->heard);
}

/* What was taken is wiped: it may be a private key. */
static void client_work(struct client *c)
{
	nsec now = c->server->loop->now;
	size_t taken = uapi_turn(c->uapi, now, c->in + c->at, c->have - c->at);

	sodium_memzero(c->in + c->at, taken);
	c->at += taken;
	if (uapi_is_busy(c->uapi))
		c->heard = now; /* he waits for us */
	if (uapi_broken(c->uapi)) {
		c->ends = true;
		sodium_memzero(c->in, c->have);
		c->at = c->have;
	}
}

static void client_turn(struct client *c)
{
	c->ready = false;
	if (!has_work(c) && !c->ends)
		client_read(c);
	client_work(c);
	if (client_write(c))
		client_wait(c);
	else
		client_end(c);
}

static void on_client(struct ev_loop *ev, ev_io *w, int revents)
{
	struct client *c = w->data;
	(void)ev;
	(void)revents;
	c->ready = true;
}

/* One of those that are ready has its turn, after all packets: ten of them take no longer than one. */
static void on_turn(struct ev_loop *ev, ev_check *w, int revents)
{
	struct uapi_server *s = w->data;
	(void)ev;
	(void)revents;
	for (unsigned i = 1; i <= UAPI_CLIENTS; i++) {
		unsigned at = (s->last + i) % UAPI_CLIENTS;
		if (s->clients[at].fd < 0 || !s->clients[at].ready)
			continue;
		s->last = at;
		client_turn(&s->clients[at]);
		return;
	}
}

/* A free place, or that of who was silent for longest. */
static struct client *place(struct uapi_server *s)
{
	struct client *c = &s->clients[0];
	for (unsigned i = 0; i < UAPI_CLIENTS; i++) {
		if (s->clients[i].fd < 0)
			return &s->clients[i];
		if (s->clients[i].heard < c->heard)
			c = &s->clients[i];
	}
	return c;
}

/* Nobody is cut off in the middle of an answer: a hundred `wg show` at once wait for each other. */
static bool has_room(void *ctx)
{
	struct uapi_server *s = ctx;
	const struct client *c = place(s);
	return c->fd < 0 || s->loop->now - c->heard >= SILENT;
}

static void on_newcomer(void *ctx, int fd)
{
	struct uapi_server *s = ctx;
	struct client *c = place(s);
	struct uapi *u = uapi_new(&s->dev);
	client_end(c);
	if (!u) {
		close(fd);
		return;
	}
	c->server = s;
	c->uapi = u;
	c->heard = s->loop->now;
	c->fd = fd;
	c->ready = c->ends = false;
	c->at = c->have = 0;
	ev_io_init(&c->io, on_client, fd, EV_READ);
	c->io.data = c;
	ev_io_start(s->loop->ev, &c->io);
}

/* Something of the directory went: was it ours? */
static void on_watch(struct ev_loop *ev, ev_io *w, int revents)
{
	struct uapi_server *s = w->data;
	char buf[4096];
	struct stat st;

	(void)ev;
	(void)revents;
	while (read(w->fd, buf, sizeof(buf)) > 0)
		;
	if (lstat(s->listener.path, &st) < 0 && errno == ENOENT)
		s->gone(s->dev.ctx);
}

static void start_watch(struct uapi_server *s)
{
	s->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->watch_fd < 0 ||
	    inotify_add_watch(s->watch_fd, UAPI_DIR, IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR) < 0)
		return; /* it ends by its interface or a signal, then */
	ev_io_init(&s->watch_io, on_watch, s->watch_fd, EV_READ);
	s->watch_io.data = s;
	ev_io_start(s->loop->ev, &s->watch_io);
}

int uapi_server_open(struct uapi_server **out, struct loop *loop, const char *interface,
		     const struct uapi_device *dev, void (*gone)(void *ctx))
{
	struct uapi_server *s = calloc(1, sizeof(*s));
	char path[108];
	int err;

	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->dev = *dev;
	s->gone = gone;
	for (unsigned i = 0; i < UAPI_CLIENTS; i++)
		s->clients[i].fd = -1;
	snprintf(path, sizeof(path), UAPI_DIR "/%s.sock", interface);
	if (mkdir(UAPI_DIR, 0700) < 0 && errno != EEXIST)
		err = -errno;
	else
		err = unix_listener_open(&s->listener, loop->ev, path, BACKLOG, on_newcomer, s);
	if (err < 0) {
		free(s);
		return err;
	}
	s->listener.has_room = has_room;
	ev_check_init(&s->turn, on_turn);
	ev_set_priority(&s->turn, EV_MINPRI);
	s->turn.data = s;
	ev_check_start(loop->ev, &s->turn);
	start_watch(s);
	*out = s;
	return 0;
}

void uapi_server_close(struct uapi_server *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < UAPI_CLIENTS; i++)
		client_end(&s->clients[i]);
	unix_listener_close(&s->listener);
	ev_check_stop(s->loop->ev, &s->turn);
	if (s->watch_fd >= 0) {
		ev_io_stop(s->loop->ev, &s->watch_io);
		close(s->watch_fd);
	}
	free(s);
}
