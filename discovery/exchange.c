/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request and its response, both streaming at once. Each direction holds at most BUF_STREAM of
 * body: what the other side does not take stays in the kernel's buffers and slows its sender.
 *
 * A response that breaks off never looks whole: before its head left the client gets a 502, after
 * that its connection is reset.
 */
#include "discovery/shim_impl.h"

#include <errno.h>
#include <http_parser.h>
#include <sys/socket.h>

static bool is_fatal(ssize_t n)
{
	return n < 0 && n != -EAGAIN && n != -EINTR;
}

/* Where the client has no head yet it gets words, else a reset. */
static void give_up(struct conn *c, unsigned status, const char *why)
{
	upstream_close(c);
	c->close = true;
	if (c->answered)
		conn_reset(c);
	else
		answer_text(c, status, "%s", why);
}

/* The request, upwards. Bytes moved; false in *ok where the connection is done with. */
static size_t move_up(struct conn *c, bool *ok)
{
	struct upstream *u = &c->up;
	ssize_t n = 0;
	size_t moved = 0;
	if (c->in.len > c->ok)
		c->ok += http_body_take(&c->body, buf_bytes(&c->in) + c->ok, c->in.len - c->ok);
	if (c->body.bad) {
		give_up(c, 400, "a chunked body that is none");
		*ok = false;
		return 0;
	}
	while (!u->deaf && c->to_up.len > 0 && n >= 0) {
		n = buf_drain(&c->to_up, u->fd, c->to_up.len);
		moved += n > 0 ? (size_t)n : 0;
	}
	if (!u->deaf && n >= 0 && c->ok > 0) {
		n = buf_drain(&c->in, u->fd, c->ok);
		c->ok -= n > 0 ? (size_t)n : 0;
		moved += n > 0 ? (size_t)n : 0;
	}
	if (is_fatal(n))
		u->deaf = true; /* its answer may be there all the same */
	if (u->deaf) {
		buf_consume(&c->in, c->ok);
		c->ok = 0;
	}
	c->s->count.bytes_up += moved;
	return moved;
}

/* A response head of `len` bytes stands in u->in; it goes to the client in our framing of the hop. */
static bool pass_head(struct conn *c, size_t len)
{
	struct upstream *u = &c->up;
	struct http_head h;
	if (!http_head_parse(HEAD_RESPONSE, buf_bytes(&u->in), len, &h))
		return false;
	bool final = h.status >= 200;
	if (h.status == 101 || (final && c->http10 && h.body == BODY_CHUNKED))
		return false; /* we asked for neither */
	if (final) {
		u->body = http_response_body(&h, c->method == HTTP_HEAD);
		u->keep = h.keep_alive && u->body.kind != BODY_UNTIL_CLOSE;
		u->head_done = c->answered = true;
		c->close = c->close || u->body.kind == BODY_UNTIL_CLOSE || !c->body.done;
		conn_count(c, h.status);
	}
	bool ok = (!final && c->http10) || /* RFC 9110 15.2: never a 1xx to HTTP/1.0 */
		  http_head_rewrite(buf_bytes(&u->in), len, &h, final && c->close, &c->to_client);
	buf_consume(&u->in, len);
	u->scan = (struct head_scan){ 0 };
	return ok;
}

/* Heads that are whole. False: what came is no response. */
static bool read_heads(struct conn *c)
{
	struct upstream *u = &c->up;
	while (!u->head_done && c->to_client.len < BUF_STREAM) {
		switch (http_head_scan(&u->scan, buf_bytes(&u->in), u->in.len)) {
		case HEAD_MORE:
			return !c->wake;
		case HEAD_WHOLE:
			if (!pass_head(c, u->scan.at))
				return false;
			break;
		case HEAD_BAD:
		case HEAD_LARGE:
			return false;
		}
	}
	return true;
}

/* The response, downwards. */
static size_t move_down(struct conn *c, bool *ok)
{
	struct upstream *u = &c->up;
	ssize_t n = 0;
	size_t moved = 0;
	if (u->head_done && u->in.len > u->ok)
		u->ok += http_body_take(&u->body, buf_bytes(&u->in) + u->ok, u->in.len - u->ok);
	while (c->to_client.len > 0 && n >= 0) {
		n = buf_drain(&c->to_client, c->fd, c->to_client.len);
		moved += n > 0 ? (size_t)n : 0;
	}
	if (n >= 0 && u->ok > 0) {
		n = buf_drain(&u->in, c->fd, u->ok);
		u->ok -= n > 0 ? (size_t)n : 0;
		moved += n > 0 ? (size_t)n : 0;
	}
	if (is_fatal(n)) {
		conn_kill(c);
		*ok = false;
	}
	return moved;
}

/* True where upstream's end of its stream is the end of this exchange too. */
static bool broke_off(struct conn *c)
{
	struct upstream *u = &c->up;
	if (u->head_done && u->body.bad)
		return true;
	if (!u->eof || (u->head_done && u->body.done))
		return false;
	if (!u->head_done)
		return c->to_client.len < BUF_STREAM; /* else heads may be left in u->in */
	if (u->body.kind == BODY_UNTIL_CLOSE && !u->broken) {
		u->body.done = true;
		return false;
	}
	return true;
}

/* All of the response has left. */
static void finish(struct conn *c)
{
	struct upstream *u = &c->up;
	bool whole = c->body.done && c->ok == 0 && c->to_up.len == 0 && !u->deaf;
	if (!whole || !u->keep || u->eof || u->in.len > 0)
		upstream_close(c);
	else
		upstream_rest(c);
	if (!whole)
		c->close = true;
	if (!c->close) {
		conn_idle(c);
		return;
	}
	shutdown(c->fd, SHUT_WR);
	c->phase = PHASE_LINGER;
	conn_deadline(c, LINGER_SECONDS);
}

static double patience(const struct conn *c)
{
	bool clients_turn = !c->body.done && c->in.len == 0 && c->to_up.len == 0 && !c->answered;
	return clients_turn ? BODY_SECONDS : QUIET_SECONDS;
}

bool exchange_step(struct conn *c)
{
	struct upstream *u = &c->up;
	bool ok = true;
	size_t moved = move_up(c, &ok);
	if (!ok)
		return true;
	if (!u->head_done && !read_heads(c)) {
		give_up(c, 502, "Trino's answer is no HTTP response that could be passed on");
		return true;
	}
	c->wake = false;
	if (c->big && c->to_up.len == 0 && u->in.len < BUF_STREAM)
		conn_no_longer_big(c);
	moved += move_down(c, &ok);
	if (!ok)
		return false;
	if (broke_off(c)) {
		give_up(c, 502, "Trino closed the connection before its answer was complete");
		return true;
	}
	if (c->broken || (c->eof && !c->body.done)) {
		conn_kill(c);
		return false;
	}
	if (u->head_done && u->body.done && u->ok == 0 && c->to_client.len == 0) {
		finish(c);
		return true;
	}
	if (moved > 0)
		conn_deadline(c, patience(c));
	return false;
}

void exchange_timeout(struct conn *c)
{
	give_up(c, 504,
		c->body.done ? "Trino gave no answer for 15 minutes"
			     : "the request's body stopped arriving");
}
