/* SPDX-License-Identifier: Apache-2.0 */
/* A client's connection: its events, its deadlines, and what it waits for. */
#include "discovery/shim_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void conn_deadline(struct conn *c, double seconds)
{
	ev_timer_stop(c->s->loop, &c->timer);
	ev_timer_set(&c->timer, seconds, 0.);
	ev_timer_start(c->s->loop, &c->timer);
}

void conn_kill(struct conn *c)
{
	c->phase = PHASE_DEAD;
}

void conn_reset(struct conn *c)
{
	struct linger now = { .l_onoff = 1 };
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	conn_kill(c);
}

void conn_count(struct conn *c, unsigned status)
{
	c->s->count.requests[c->d.route][status / 100 < 6 ? status / 100 : 0]++;
}

/* Gives back what a large head took of the common allowance. */
void conn_no_longer_big(struct conn *c)
{
	if (c->big)
		c->s->big_heads--;
	c->big = false;
}

/* Between two requests. */
void conn_idle(struct conn *c)
{
	c->phase = PHASE_HEAD;
	c->scan = (struct head_scan){ 0 };
	c->answered = false;
	c->hold_over = false;
	conn_no_longer_big(c);
	buf_release(&c->in);
	buf_release(&c->up.in);
	buf_free(&c->to_up);
	buf_free(&c->to_client);
	if (c->close || c->eof) {
		conn_kill(c);
		return;
	}
	conn_deadline(c, c->in.len > 0		   ? HEAD_SECONDS
			 : c->up.state == UP_READY ? UPSTREAM_IDLE_SECONDS
						   : IDLE_SECONDS);
}

/* Only so many clients may hold a large head at once: it bounds what strangers can make us keep. */
size_t conn_head_limit(struct conn *c, const struct buf *b)
{
	if (b->len < BUF_STREAM)
		return BUF_STREAM;
	if (!c->big && c->s->big_heads < BIG_HEADS_MAX) {
		c->big = true;
		c->s->big_heads++;
	}
	return c->big ? HEAD_MAX + 1 : BUF_STREAM;
}

static bool wants_client(struct conn *c)
{
	if (c->eof || c->broken)
		return false;
	switch (c->phase) {
	case PHASE_HEAD:
	case PHASE_LINGER:
		return true;
	case PHASE_EXCHANGE:
		return !c->body.done && c->in.len < BUF_STREAM;
	case PHASE_SPLICE:
		return c->in.len < BUF_STREAM;
	default:
		return false;
	}
}

static bool wants_to_client(const struct conn *c)
{
	if (c->broken || c->phase == PHASE_LINGER)
		return false;
	if (c->to_client.len > 0 || (c->blob && c->phase == PHASE_ANSWER))
		return true;
	return (c->phase == PHASE_EXCHANGE && c->up.ok > 0) ||
	       (c->phase == PHASE_SPLICE && c->up.in.len > 0);
}

static bool wants_upstream(const struct conn *c)
{
	const struct upstream *u = &c->up;
	if (u->state != UP_READY || u->eof)
		return false;
	switch (c->phase) {
	case PHASE_EXCHANGE:
		if (c->to_client.len >= BUF_STREAM)
			return false;
		return !u->head_done || (!u->body.done && u->in.len < BUF_STREAM);
	case PHASE_SPLICE:
		return u->in.len < BUF_STREAM;
	default:
		return true; /* idle: its end must not wait for the next request */
	}
}

static bool wants_to_upstream(const struct conn *c)
{
	if (c->up.state == UP_CONNECTING)
		return true;
	if (c->up.state != UP_READY || c->up.deaf)
		return false;
	if (c->phase == PHASE_SPLICE)
		return c->in.len > 0;
	return c->phase == PHASE_EXCHANGE && (c->to_up.len > 0 || c->ok > 0);
}

static void watch(struct conn *c, ev_io *w, bool want)
{
	if (want && !ev_is_active(w))
		ev_io_start(c->s->loop, w);
	else if (!want && ev_is_active(w))
		ev_io_stop(c->s->loop, w);
}

static bool step(struct conn *c)
{
	switch (c->phase) {
	case PHASE_HEAD:
		return request_step(c);
	case PHASE_HOLD:
		return request_hold_step(c);
	case PHASE_EXCHANGE:
		return exchange_step(c);
	case PHASE_SPLICE:
		return splice_step(c);
	case PHASE_ANSWER:
		return answer_step(c);
	case PHASE_LINGER:
		return linger_step(c);
	case PHASE_STATUS:
	case PHASE_CONNECT:
	case PHASE_DEAD:
		break;
	}
	return false;
}

void conn_run(struct conn *c)
{
	while (step(c))
		;
	if (c->phase == PHASE_DEAD) {
		conn_free(c);
		return;
	}
	watch(c, &c->rd, wants_client(c));
	watch(c, &c->wr, wants_to_client(c));
	if (c->up.state != UP_NONE) {
		watch(c, &c->up.rd, wants_upstream(c));
		watch(c, &c->up.wr, wants_to_upstream(c));
	}
}

static void client_readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct conn *c = w->data;
	(void)loop;
	(void)events;
	bool first = c->in.len == 0;
	size_t limit = c->phase == PHASE_HEAD ? conn_head_limit(c, &c->in) : BUF_STREAM;
	bool full = c->in.len >= limit;
	ssize_t n = full ? 0 : buf_fill(&c->in, c->fd, limit);
	if (full)
		c->wake = true; /* a large head that may not grow: PHASE_HEAD refuses it */
	else if (n == 0)
		c->eof = true;
	else if (n < 0 && n != -EAGAIN && n != -EINTR)
		c->broken = true;
	if (n > 0 && first && c->phase == PHASE_HEAD)
		conn_deadline(c, HEAD_SECONDS);
	conn_run(c);
}

static void client_writable(struct ev_loop *loop, ev_io *w, int events)
{
	(void)loop;
	(void)events;
	conn_run(w->data);
}

static void timed_out(struct ev_loop *loop, ev_timer *t, int events)
{
	struct conn *c = t->data;
	(void)loop;
	(void)events;
	switch (c->phase) {
	case PHASE_HEAD:
		if (c->in.len > 0 && !c->raw) {
			c->close = true;
			c->d = (struct decision){ .route = ROUTE_REFUSED };
			answer_text(c, 408, "the request head did not arrive within 10 s");
		} else if (c->up.state == UP_READY) {
			upstream_close(c);
			conn_deadline(c, IDLE_SECONDS - UPSTREAM_IDLE_SECONDS);
		} else {
			conn_kill(c);
		}
		break;
	case PHASE_HOLD:
		c->hold_over = true;
		break;
	case PHASE_STATUS:
		c->s->feed.wanted = false; /* the next one asks again */
		answer_without_status(c, "the gateway did not tell its status within 2 s");
		break;
	case PHASE_CONNECT:
		c->up.error = ETIMEDOUT;
		request_failed(c);
		break;
	case PHASE_EXCHANGE:
		exchange_timeout(c);
		break;
	case PHASE_SPLICE:
		break;
	case PHASE_ANSWER:
	case PHASE_LINGER:
	case PHASE_DEAD:
		conn_kill(c);
		break;
	}
	conn_run(c);
}

void conn_new(struct shim *s, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->s = s;
	c->fd = fd;
	c->next = s->conns;
	if (s->conns)
		s->conns->prev = c;
	s->conns = c;
	s->clients++;
	s->count.connections++;
	ev_io_init(&c->rd, client_readable, fd, EV_READ);
	ev_io_init(&c->wr, client_writable, fd, EV_WRITE);
	ev_timer_init(&c->timer, timed_out, HEAD_SECONDS, 0.);
	c->rd.data = c->wr.data = c->timer.data = c;
	upstream_init(c);
	conn_deadline(c, HEAD_SECONDS);
	conn_run(c);
}

void conn_free(struct conn *c)
{
	struct shim *s = c->s;
	upstream_close(c);
	ev_io_stop(s->loop, &c->rd);
	ev_io_stop(s->loop, &c->wr);
	ev_timer_stop(s->loop, &c->timer);
	close(c->fd);
	buf_free(&c->in);
	buf_free(&c->to_up);
	buf_free(&c->to_client);
	blob_drop(c->blob);
	conn_no_longer_big(c);
	if (c->prev)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	s->clients--;
	free(c);
	shim_client_gone(s);
}

/* The probe has an answer, or none: held announcements are decided. */
void conn_unhold(struct conn *c, void *arg)
{
	(void)arg;
	if (c->phase != PHASE_HOLD)
		return;
	c->hold_over = true;
	conn_run(c);
}
