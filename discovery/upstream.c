/* SPDX-License-Identifier: Apache-2.0 */
/* The connection upstream of one client: opened to the first address that answers, kept while idle. */
#include "discovery/shim_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *upstream_error(const struct upstream *u)
{
	if (u->error == ETIMEDOUT)
		return "no answer within 2.5 s";
	return u->error ? strerror(u->error) : "no error";
}

/* A fresh message on this connection. */
static void new_response(struct upstream *u)
{
	u->ok = 0;
	u->scan = (struct head_scan){ 0 };
	u->body = http_body_of(BODY_NONE, 0);
	u->head_done = u->keep = false;
}

void upstream_close(struct conn *c)
{
	struct upstream *u = &c->up;
	if (u->state == UP_NONE)
		return;
	ev_io_stop(c->s->loop, &u->rd);
	ev_io_stop(c->s->loop, &u->wr);
	close(u->fd);
	u->fd = -1;
	u->state = UP_NONE;
	u->eof = u->broken = u->deaf = false;
	buf_free(&u->in);
	new_response(u);
}

void upstream_rest(struct conn *c)
{
	new_response(&c->up);
}

static void connected(struct conn *c)
{
	c->up.state = UP_READY;
	if (c->raw) {
		c->phase = PHASE_SPLICE;
		c->s->count.splices++;
		ev_timer_stop(c->s->loop, &c->timer);
	} else {
		c->phase = PHASE_EXCHANGE;
		conn_deadline(c, QUIET_SECONDS);
	}
}

/* A connection to dest.ep[trying] on its way, or made. False: u->error says why not. */
static bool try_one(struct conn *c)
{
	struct upstream *u = &c->up;
	const struct endpoint *e = &u->dest.ep[u->trying];
	bool v6 = !addr_is_v4(&e->addr);
	struct sockaddr_storage ss;
	size_t len = endpoint_to_sockaddr(e, v6, &ss);
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		u->error = errno;
		return false;
	}
	shim_fd_prepare(fd);
	int rc = connect(fd, (const struct sockaddr *)&ss, (socklen_t)len);
	if (rc < 0 && errno != EINPROGRESS) {
		u->error = errno;
		close(fd);
		return false;
	}
	u->fd = fd;
	u->state = UP_CONNECTING;
	ev_io_set(&u->rd, fd, EV_READ);
	ev_io_set(&u->wr, fd, EV_WRITE);
	if (rc == 0)
		connected(c);
	return true;
}

static void try_next(struct conn *c)
{
	struct upstream *u = &c->up;
	for (; u->trying < u->dest.count; u->trying++)
		if (try_one(c))
			return;
	request_failed(c);
}

void upstream_open(struct conn *c, const struct dest *d)
{
	c->up.dest = *d;
	c->up.trying = 0;
	c->up.error = 0;
	new_response(&c->up);
	try_next(c);
}

bool upstream_fits(const struct upstream *u, const struct dest *d)
{
	if (u->state != UP_READY || u->eof || u->broken || u->dest.local != d->local)
		return false;
	for (unsigned i = 0; i < d->count; i++)
		if (endpoint_eq(&u->dest.ep[u->trying], &d->ep[i]))
			return true;
	return false;
}

/* Its end may have come in this very turn, behind the request that wants it. */
bool upstream_quiet(const struct upstream *u)
{
	char byte;
	return recv(u->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void upstream_target_changed(struct conn *c, void *arg)
{
	struct upstream *u = &c->up;
	struct dest d;
	char why[WHY_SIZE];
	(void)arg;
	if (u->state == UP_NONE || u->dest.route != ROUTE_COORDINATOR || c->phase == PHASE_EXCHANGE)
		return;
	/* offline is no change: the link may come back with everything on it still alive */
	bool found = dest_of(c->s, ROUTE_COORDINATOR, c->raw, &d, why) || d.count > 0;
	if (found && (u->state == UP_CONNECTING || upstream_fits(u, &d)))
		return;
	if (c->raw) {
		c->s->count.splices_closed++;
		conn_kill(c);
	} else if (c->phase == PHASE_CONNECT) {
		return; /* it fails by itself, in words */
	} else {
		upstream_close(c);
	}
	conn_run(c);
}

static void up_readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct conn *c = w->data;
	struct upstream *u = &c->up;
	(void)loop;
	(void)events;
	if (c->phase != PHASE_EXCHANGE && c->phase != PHASE_SPLICE) {
		upstream_close(c); /* idle: its end, or bytes that nobody asked for */
		conn_run(c);
		return;
	}
	size_t limit = BUF_STREAM;
	if (c->phase == PHASE_EXCHANGE && !u->head_done)
		limit = conn_head_limit(c, &u->in);
	bool full = u->in.len >= limit;
	ssize_t n = full ? 0 : buf_fill(&u->in, u->fd, limit);
	if (full)
		c->wake = true;
	else if (n == 0)
		u->eof = true;
	else if (n < 0 && n != -EAGAIN && n != -EINTR)
		u->eof = u->broken = true;
	if (n > 0)
		c->s->count.bytes_down += (uint64_t)n;
	conn_run(c);
}

static void up_writable(struct ev_loop *loop, ev_io *w, int events)
{
	struct conn *c = w->data;
	struct upstream *u = &c->up;
	int err = 0;
	socklen_t len = sizeof(err);
	(void)events;
	if (u->state == UP_CONNECTING) {
		if (getsockopt(u->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
			err = errno;
		if (err) {
			ev_io_stop(loop, &u->rd);
			ev_io_stop(loop, &u->wr);
			close(u->fd);
			u->fd = -1;
			u->state = UP_NONE;
			u->error = err;
			u->trying++;
			try_next(c);
		} else {
			connected(c);
		}
	}
	conn_run(c);
}

void upstream_init(struct conn *c)
{
	struct upstream *u = &c->up;
	u->fd = -1;
	ev_io_init(&u->rd, up_readable, -1, EV_READ);
	ev_io_init(&u->wr, up_writable, -1, EV_WRITE);
	u->rd.data = u->wr.data = c;
}
