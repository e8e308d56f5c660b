/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/ctl.h"
#include "gateway/unix_socket.h"
#include "base/bytes.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { CTL_ANSWER_MAX = 16 << 20, CTL_TIMEOUT_SECONDS = 5 };

struct client {
	struct ctl *ctl;
	ev_io io;
	char ask[CTL_LINE_MAX];
	size_t have;
	char *answer;
	size_t len, sent;
	int fd; /* -1: free */
};

struct ctl {
	struct unix_listener listener;
	char *(*answer)(void *ctx, const char *line);
	void *ctx;
	unsigned next; /* whose place a newcomer takes when all are taken */
	struct client clients[CTL_CLIENTS];
};

/* It may be a join token. */
static void wipe(char *text, size_t len)
{
	if (text)
		sodium_memzero(text, len);
	free(text);
}

static void client_end(struct client *c)
{
	if (c->fd < 0)
		return;
	ev_io_stop(c->ctl->listener.ev, &c->io);
	close(c->fd);
	wipe(c->answer, c->len);
	c->fd = -1;
	c->answer = NULL;
	c->have = c->len = c->sent = 0;
}

static void client_send(struct client *c)
{
	ssize_t n = send(c->fd, c->answer + c->sent, c->len - c->sent, MSG_NOSIGNAL);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0)
		c->sent += (size_t)n;
	if (n <= 0 || c->sent == c->len)
		client_end(c);
}

static void client_ask(struct client *c)
{
	ssize_t n = recv(c->fd, c->ask + c->have, sizeof(c->ask) - c->have, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0)
		c->have += (size_t)n;
	char *end = n > 0 ? memchr(c->ask, '\n', c->have) : NULL;
	if (!end) {
		if (n <= 0 || c->have == sizeof(c->ask))
			client_end(c);
		return;
	}
	*end = 0;
	c->answer = c->ctl->answer(c->ctl->ctx, c->ask);
	if (!c->answer) {
		client_end(c);
		return;
	}
	c->len = strlen(c->answer);
	ev_io_stop(c->ctl->listener.ev, &c->io);
	ev_io_set(&c->io, c->fd, EV_WRITE);
	ev_io_start(c->ctl->listener.ev, &c->io);
}

static void on_client(struct ev_loop *ev, ev_io *w, int revents)
{
	struct client *c = w->data;
	(void)ev;
	(void)revents;
	if (c->answer)
		client_send(c);
	else
		client_ask(c);
}

static void on_newcomer(void *ctx, int fd)
{
	struct ctl *ctl = ctx;
	struct client *c = NULL;

	for (unsigned i = 0; i < CTL_CLIENTS && !c; i++)
		if (ctl->clients[i].fd < 0)
			c = &ctl->clients[i];
	if (!c) {
		c = &ctl->clients[ctl->next++ % CTL_CLIENTS];
		client_end(c);
	}
	c->ctl = ctl;
	c->fd = fd;
	ev_io_init(&c->io, on_client, fd, EV_READ);
	c->io.data = c;
	ev_io_start(ctl->listener.ev, &c->io);
}

int ctl_open(struct ctl **out, struct ev_loop *ev, const char *path,
	     char *(*answer)(void *ctx, const char *line), void *ctx)
{
	struct ctl *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	for (unsigned i = 0; i < CTL_CLIENTS; i++)
		c->clients[i].fd = -1;
	c->answer = answer;
	c->ctx = ctx;
	int err = unix_listener_open(&c->listener, ev, path, CTL_CLIENTS, on_newcomer, c);
	if (err < 0) {
		free(c);
		return err;
	}
	*out = c;
	return 0;
}

void ctl_take(struct ctl *c, int fd)
{
	unix_listener_take(&c->listener, fd);
}

void ctl_close(struct ctl *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < CTL_CLIENTS; i++)
		client_end(&c->clients[i]);
	unix_listener_close(&c->listener);
	free(c);
}

/* Twice the room, and no copy left behind. */
static char *grow(char *text, size_t len, size_t *cap)
{
	size_t more = *cap ? *cap * 2 : 64 << 10;
	char *p = more > CTL_ANSWER_MAX ? NULL : malloc(more);
	if (p && len)
		memcpy(p, text, len);
	wipe(text, len);
	*cap = more;
	return p;
}

/* Reads to the end of the stream. */
static char *read_answer(int fd)
{
	char *text = NULL;
	size_t len = 0, cap = 0;
	for (;;) {
		if (len + 4096 > cap && !(text = grow(text, len, &cap)))
			return NULL;
		ssize_t n = recv(fd, text + len, cap - len - 1, 0);
		if (n < 0)
			break;
		if (n == 0) {
			text[len] = 0;
			return text;
		}
		len += (size_t)n;
	}
	wipe(text, len);
	return NULL;
}

char *ctl_ask(const char *path, const char *line)
{
	char ask[CTL_LINE_MAX + 1];
	struct timeval limit = { .tv_sec = CTL_TIMEOUT_SECONDS };
	struct sockaddr_un un;
	char *answer = NULL;
	int err = unix_address(path, &un);
	int fd = err ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (err)
		errno = -err;
	if (fd < 0)
		return NULL;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)); /* connect() too */
	size_t len = (size_t)snprintf(ask, sizeof(ask), "%s\n", line);
	if (len < sizeof(ask) && connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
	    send(fd, ask, len, MSG_NOSIGNAL) == (ssize_t)len)
		answer = read_answer(fd);
	err = errno;
	close(fd);
	errno = err;
	return answer;
}
