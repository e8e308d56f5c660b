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

enum {
	READ_MAX = 16 << 10,   /* of one client, each turn */
	ANSWER_HIGH = 1 << 20, /* so much unsent: nothing more is read */
};

#define UAPI_DIR "/var/run/wireguard"

struct client {
	struct uapi_server *server;
	struct uapi *uapi;
	ev_io io;
	nsec heard;
	int fd;	   /* -1: free */
	bool ends; /* what there is to send is sent, then it is over */
};

struct uapi_server {
	struct loop *loop;
	struct uapi_device dev;
	void (*gone)(void *ctx);
	ev_io io, watch_io;
	int fd, watch_fd;
	char path[108];
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
}

/* Reads while there is not much to send, writes while there is anything. */
static void client_wait(struct client *c)
{
	struct ev_loop *ev = c->server->loop->ev;
	size_t left;
	uapi_answer(c->uapi, &left);
	int events = (left ? EV_WRITE : 0) | (c->ends || left > ANSWER_HIGH ? 0 : EV_READ);

	if (!events) {
		client_end(c);
		return;
	}
	ev_io_stop(ev, &c->io);
	ev_io_set(&c->io, c->fd, events);
	ev_io_start(ev, &c->io);
}

static bool client_write(struct client *c)
{
	size_t left;
	const char *text = uapi_answer(c->uapi, &left);
	ssize_t n = left ? send(c->fd, text, left, MSG_NOSIGNAL) : 0;

	if (n < 0)
		return errno == EAGAIN;
	uapi_sent(c->uapi, (size_t)n);
	return true;
}

/* The bytes may be a private key. */
static void client_read(struct client *c)
{
	char buf[READ_MAX];
	nsec now = c->server->loop->now;
	ssize_t n = recv(c->fd, buf, sizeof(buf), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	c->heard = now;
	c->ends = n <= 0 || !uapi_input(c->uapi, now, buf, (size_t)n);
	sodium_memzero(buf, n > 0 ? (size_t)n : 0);
}

static void on_client(struct ev_loop *ev, ev_io *w, int revents)
{
	struct client *c = w->data;
	(void)ev;
	if (revents & EV_READ)
		client_read(c);
	if (client_write(c))
		client_wait(c);
	else
		client_end(c);
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
	client_end(c);
	return c;
}

static void on_accept(struct ev_loop *ev, ev_io *w, int revents)
{
	struct uapi_server *s = w->data;
	int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)ev;
	(void)revents;
	if (fd < 0)
		return;
	struct client *c = place(s);
	struct uapi *u = uapi_new(&s->dev);
	if (!u) {
		close(fd);
		return;
	}
	*c = (struct client){ .server = s, .uapi = u, .heard = s->loop->now, .fd = fd };
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
	if (lstat(s->path, &st) < 0 && errno == ENOENT)
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
	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->dev = *dev;
	s->gone = gone;
	for (unsigned i = 0; i < UAPI_CLIENTS; i++)
		s->clients[i].fd = -1;
	snprintf(s->path, sizeof(s->path), UAPI_DIR "/%s.sock", interface);
	if (mkdir(UAPI_DIR, 0700) < 0 && errno != EEXIST)
		s->fd = -errno;
	else
		s->fd = unix_listen(s->path, UAPI_CLIENTS);
	if (s->fd < 0) {
		int err = s->fd;
		free(s);
		return err;
	}
	ev_io_init(&s->io, on_accept, s->fd, EV_READ);
	s->io.data = s;
	ev_io_start(loop->ev, &s->io);
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
	ev_io_stop(s->loop->ev, &s->io);
	close(s->fd);
	if (s->watch_fd >= 0) {
		ev_io_stop(s->loop->ev, &s->watch_io);
		close(s->watch_fd);
	}
	unlink(s->path);
	free(s);
}
