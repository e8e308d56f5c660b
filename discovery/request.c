/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a request: recognised, read, decided, and sent on its way. */
#include "discovery/shim_impl.h"

#include <stdio.h>
#include <string.h>

static const char h2_preface[] = "PRI * HTTP/2.0\r\n";
enum { H2_LEN = sizeof(h2_preface) - 1, TLS_HANDSHAKE = 0x16, LOGGED_MAX = 100 };

/* The first bytes of a connection: HTTP/2 by prior knowledge, or TLS. True where more must come. */
static bool recognise(struct conn *c)
{
	const uint8_t *p = buf_bytes(&c->in);
	if (c->requests > 0 || c->in.len == 0)
		return false;
	if (p[0] == TLS_HANDSHAKE) {
		c->raw = RAW_TLS;
		return false;
	}
	if (memcmp(p, h2_preface, size_min(c->in.len, H2_LEN)) != 0)
		return false;
	if (c->in.len < H2_LEN)
		return true;
	c->raw = RAW_H2C;
	return false;
}

static void refuse_head(struct conn *c, unsigned status, const char *why)
{
	c->d = (struct decision){ .route = ROUTE_REFUSED };
	c->body = http_body_of(BODY_NONE, 0);
	c->close = true; /* nobody knows where the next request begins */
	c->s->count.refused_heads++;
	answer_text(c, status, "%s", why);
}

static const char *raw_name(const struct conn *c)
{
	return c->raw == RAW_TLS ? "TLS" : "HTTP/2";
}

/* Nobody can be told in words on such a connection; the log says it, now and then. */
static void refuse_raw(struct conn *c, const char *why)
{
	log_seldom(LOG_LEVEL_WARN, SELDOM, "closed a connection of %s: %s", raw_name(c), why);
	c->s->count.splices_closed++;
	conn_kill(c);
}

void request_forward(struct conn *c)
{
	struct dest d;
	char why[WHY_SIZE];
	if (!dest_of(c->s, c->d.route, c->raw, &d, why)) {
		if (c->raw)
			refuse_raw(c, why);
		else
			answer_text(c, 503, "%s", why);
		return;
	}
	if (upstream_fits(&c->up, &d) && upstream_quiet(&c->up)) {
		c->phase = PHASE_EXCHANGE;
		conn_deadline(c, QUIET_SECONDS);
		return;
	}
	upstream_close(c);
	c->phase = PHASE_CONNECT;
	conn_deadline(c, CONNECT_SECONDS);
	upstream_open(c, &d);
}

static void addresses(const struct dest *d, char *out, size_t size)
{
	char a[ENDPOINT_STRLEN], b[ENDPOINT_STRLEN];
	endpoint_str(&d->ep[0], a);
	if (d->count == 2)
		snprintf(out, size, "%s or %s", a, endpoint_str(&d->ep[1], b));
	else
		snprintf(out, size, "%s", a);
}

void request_failed(struct conn *c)
{
	const struct dest *d = &c->up.dest;
	char where[2 * ENDPOINT_STRLEN], why[WHY_SIZE];
	addresses(d, where, sizeof(where));
	if (d->local)
		snprintf(why, sizeof(why),
			 "Trino on this node does not answer at %s (%s): is it running, with "
			 "http-server.http.port=%u?",
			 where, upstream_error(&c->up), d->ep[0].port);
	else
		snprintf(why, sizeof(why),
			 "Trino of the coordinator '%s' does not answer at %s (%s): is it running "
			 "there, and listening on that address and port?",
			 d->id, where, upstream_error(&c->up));
	upstream_close(c);
	if (c->d.route == ROUTE_COORDINATOR && !c->raw)
		log_seldom(LOG_LEVEL_WARN, SELDOM, "refused a request: %s", why);
	if (c->raw)
		refuse_raw(c, why);
	else if (c->d.info)
		answer_starting(c);
	else
		answer_text(c, 503, "%s", why);
}

/* What may not pass before Trino's address is known to be right. */
static void guard(struct conn *c)
{
	char why[WHY_SIZE];
	switch (guard_verdict(c->s, c->hold_over)) {
	case GUARD_PASS:
		request_forward(c);
		return;
	case GUARD_ASK:
		c->phase = PHASE_HOLD;
		conn_deadline(c, HOLD_SECONDS);
		probe_now(c->s);
		return;
	case GUARD_NO_TRINO:
		snprintf(why, sizeof(why),
			 "Trino on this node does not answer /v1/status yet, so its "
			 "address cannot be checked before it is announced; it is asked again with "
			 "the "
			 "next announcement");
		break;
	case GUARD_WRONG:
		c->s->count.held_back++;
		guard_text(c->s, why);
		if (!c->raw) {
			answer_text(c, 409, "%s", why);
			return;
		}
		break;
	}
	if (c->raw)
		refuse_raw(c, why);
	else
		answer_text(c, 503, "%s", why);
}

bool request_hold_step(struct conn *c)
{
	if (!c->hold_over)
		return false;
	guard(c);
	return c->phase != PHASE_HOLD;
}

/*
 * The method and two parts of the path: what comes behind may be as good as a key to the result of a query,
 * or somebody's password in a query string.
 */
static void log_request(const struct http_head *h)
{
	const char *space = memchr(h->start.p, ' ', h->start.len), *p = h->target.p;
	size_t method = space ? (size_t)(space - h->start.p) : 0, len = 0, slashes = 0;
	while (len < h->target.len && len < LOGGED_MAX && p[len] != '?' &&
	       (p[len] != '/' || ++slashes <= 2))
		len++;
	log_debug("%.*s %.*s", (int)method, h->start.p, (int)len, p);
}

static void dispatch(struct conn *c, const struct http_head *h)
{
	size_t len = c->scan.at;
	c->method = h->method;
	c->http10 = h->http10;
	c->close = h->http10 || !h->keep_alive;
	c->body = http_body_of(h->body, h->length);
	c->ok = 0;
	c->d = policy_decide(h, &c->s->roster, c->s->worker_id);
	log_request(h);
	bool forward = c->d.route == ROUTE_LOCAL || c->d.route == ROUTE_COORDINATOR;
	bool ok = !forward || http_head_rewrite(buf_bytes(&c->in), len, h, false, &c->to_up);
	buf_consume(&c->in, len);
	c->scan = (struct head_scan){ 0 };
	if (!ok)
		conn_kill(c); /* no memory */
	else if (c->d.route == ROUTE_REFUSED)
		answer_text(c, c->d.status, "%s", c->d.text);
	else if (c->d.route == ROUTE_OWN)
		answer_own(c);
	else if (c->d.guarded)
		guard(c);
	else
		request_forward(c);
}

static void read_head(struct conn *c)
{
	struct http_head h;
	c->requests++;
	if (http_head_parse(HEAD_REQUEST, buf_bytes(&c->in), c->scan.at, &h))
		dispatch(c, &h);
	else
		refuse_head(c, h.refusal, h.why);
}

/* RFC 9112 2.2: empty lines before a request are skipped; some clients end a body with one. */
static void skip_empty_lines(struct conn *c)
{
	while (c->scan.at == 0 && c->in.len >= 2 && memcmp(buf_bytes(&c->in), "\r\n", 2) == 0)
		buf_consume(&c->in, 2);
}

bool request_step(struct conn *c)
{
	bool full = c->wake;
	c->wake = false;
	if (c->broken) {
		conn_kill(c);
		return false;
	}
	skip_empty_lines(c);
	if (recognise(c)) {
		if (c->eof)
			conn_kill(c);
		return false;
	}
	if (c->raw) {
		c->d = (struct decision){ .route = ROUTE_COORDINATOR };
		guard(c);
		return true;
	}
	if (c->in.len == 1 && c->scan.at == 0 && buf_bytes(&c->in)[0] == '\r' && !c->eof)
		return false;
	switch (http_head_scan(&c->scan, buf_bytes(&c->in), c->in.len)) {
	case HEAD_WHOLE:
		read_head(c);
		return true;
	case HEAD_BAD:
		refuse_head(c, 400, "a head with bare LF or CR, a folded line or control bytes");
		return true;
	case HEAD_LARGE:
		refuse_head(c, 431, "a head of more than 2 MiB");
		return true;
	case HEAD_MORE:
		break;
	}
	if (c->eof)
		conn_kill(c);
	else if (full)
		refuse_head(c, 431, "too many large heads at once; try again");
	return c->phase == PHASE_ANSWER;
}
