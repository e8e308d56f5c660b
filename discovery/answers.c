/* SPDX-License-Identifier: Apache-2.0 */
/* What the shim says itself, and how a connection ends so that the client has read it. */
#include "discovery/shim_impl.h"

#include <errno.h>
#include <http_parser.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct blob *blob_of(char *p, size_t len)
{
	struct blob *b = p ? malloc(sizeof(*b)) : NULL;
	if (!b) {
		free(p);
		return NULL;
	}
	*b = (struct blob){ .refs = 1, .p = p, .len = len };
	return b;
}

void blob_drop(struct blob *b)
{
	if (!b || --b->refs > 0)
		return;
	free(b->p);
	free(b);
}

static const char *reason(unsigned status)
{
	switch (status) {
#define XX(num, name, string)                                                                      \
	case num:                                                                                  \
		return #string;
		HTTP_STATUS_MAP(XX)
#undef XX
	default:
		return "Unknown";
	}
}

/*
 * What is here of the request's body is skipped; where more is to come the connection ends with the
 * answer, because nobody knows how much.
 */
static void skip_body(struct conn *c)
{
	size_t more = http_body_take(&c->body, buf_bytes(&c->in) + c->ok, c->in.len - c->ok);
	buf_consume(&c->in, c->ok + more);
	c->ok = 0;
	if (!c->body.done)
		c->close = true;
}

/* Takes over one reference of `b`. */
void answer_blob(struct conn *c, unsigned status, const char *type, struct blob *b)
{
	char head[512];
	if (!b) {
		conn_kill(c); /* no memory */
		return;
	}
	if (c->in.len > 0)
		skip_body(c);
	else if (!c->body.done)
		c->close = true;
	int n = snprintf(
		head, sizeof(head),
		"HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
		"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
		"%s\r\n",
		status, reason(status), type, b->len, c->close ? "Connection: close\r\n" : "");
	buf_free(&c->to_up);
	blob_drop(c->blob);
	c->blob = b;
	c->blob_at = c->method == HTTP_HEAD ? b->len : 0;
	c->answered = true;
	c->phase = PHASE_ANSWER;
	conn_count(c, status);
	conn_deadline(c, ANSWER_SECONDS);
	if (!buf_put(&c->to_client, head, (size_t)n))
		conn_kill(c);
}

void answer_text(struct conn *c, unsigned status, const char *fmt, ...)
{
	char text[WHY_SIZE + 64];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text) - 1, fmt, ap);
	va_end(ap);
	size_t len = size_min(n < 0 ? 0 : (size_t)n, sizeof(text) - 2);
	text[len++] = '\n';
	char *copy = malloc(len);
	if (copy)
		memcpy(copy, text, len);
	answer_blob(c, status, "text/plain; charset=utf-8", blob_of(copy, len));
}

/* The shape of Trino's own answer. It never says ACTIVE: nobody may schedule on it. */
void answer_starting(struct conn *c)
{
	const struct member *self = roster_find(&c->s->roster, c->s->roster.self);
	const char *environment = c->s->probe.trino.environment;
	if (!environment[0])
		environment = self ? self->environment : "";
	json_t *o = json_pack("{s:{s:s},s:s,s:b,s:b,s:s}", "nodeVersion", "version", "unknown",
			      "environment", environment, "coordinator", 0, "starting", 1, "uptime",
			      "0.00s");
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	answer_blob(c, 200, "application/json", blob_of(text, text ? strlen(text) : 0));
}

static void answer_health(struct conn *c)
{
	const struct shim *s = c->s;
	if (s->feed.dead)
		answer_text(c, 503, "the gateway is gone; it is being started again");
	else if (!s->roster.seen)
		answer_text(c, 503, "this node has not joined the network yet");
	else if (s->roster.down[0])
		answer_text(c, 503, "%s", s->roster.down);
	else
		answer_text(c, 200, "ok");
}

static void answer_metrics(struct conn *c)
{
	answer_blob(c, 200, "text/plain; version=0.0.4; charset=utf-8", page_metrics(c->s));
}

/* Metrics are of the shim, too: they leave out what only the gateway could have said. */
void answer_without_status(struct conn *c, const char *why)
{
	c->s->gateway.known = false;
	if (c->d.own == OWN_METRICS)
		answer_metrics(c);
	else
		answer_text(c, 503, "%s", why);
}

void answer_own(struct conn *c)
{
	static const char json[] = "application/json";
	switch (c->d.own) {
	case OWN_LISTING:
		answer_blob(c, 200, json, page_listing(c->s));
		return;
	case OWN_PAGE:
		answer_blob(c, 200, "text/html; charset=utf-8", page_people(c->s));
		return;
	case OWN_METRICS:
	case OWN_STATUS:
		if (c->s->feed.dead) {
			answer_without_status(c, "the gateway is gone; it is being started again");
			return;
		}
		c->phase = PHASE_STATUS;
		conn_deadline(c, STATUS_SECONDS);
		feed_want_status(c->s);
		return;
	case OWN_HEALTH:
		answer_health(c);
		return;
	case OWN_NONE:
		break;
	}
	answer_text(c, 404, "nothing is here");
}

/* The gateway's status came: to all that wait for it. */
void answer_status(struct conn *c, void *arg)
{
	struct blob *b = arg;
	if (c->phase != PHASE_STATUS)
		return;
	if (c->d.own == OWN_METRICS) {
		answer_metrics(c);
	} else {
		b->refs++;
		answer_blob(c, 200, "application/json", b);
	}
	conn_run(c);
}

static ssize_t drain_blob(struct conn *c)
{
	size_t left = c->blob->len - c->blob_at;
	if (left == 0)
		return 0;
	ssize_t n = send(c->fd, c->blob->p + c->blob_at, left, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	c->blob_at += (size_t)n;
	return n;
}

bool answer_step(struct conn *c)
{
	ssize_t n = 0;
	while (n >= 0 && c->to_client.len > 0)
		n = buf_drain(&c->to_client, c->fd, c->to_client.len);
	while (n >= 0 && c->blob_at < c->blob->len)
		n = drain_blob(c);
	if (n == -EAGAIN || n == -EINTR)
		return false;
	if (n < 0) {
		conn_kill(c);
		return false;
	}
	blob_drop(c->blob);
	c->blob = NULL;
	if (!c->close) {
		conn_idle(c);
		return true;
	}
	shutdown(c->fd, SHUT_WR);
	c->phase = PHASE_LINGER;
	conn_deadline(c, LINGER_SECONDS);
	return true;
}

/*
 * Closing with unread bytes in the socket sends a reset, which can overtake the answer. So what the
 * client still sends is thrown away until it has seen our end, for a while.
 */
bool linger_step(struct conn *c)
{
	c->lingered += c->in.len;
	buf_consume(&c->in, c->in.len);
	c->ok = 0; /* also what of its body had not left */
	if (c->eof || c->broken || c->lingered > LINGER_BYTES)
		conn_kill(c);
	return false;
}
