/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/http_head.h"

#include <http_parser.h>
#include <string.h>
#include <strings.h>

bool view_is(struct view v, const char *word)
{
	return v.len == strlen(word) && (v.len == 0 || strncasecmp(v.p, word, v.len) == 0);
}

static bool is_control(uint8_t c)
{
	return (c < 0x20 && c != '\t') || c == 0x7f;
}

enum head_found http_head_scan(struct head_scan *s, const uint8_t *p, size_t len)
{
	for (; s->at < len; s->at++) {
		uint8_t c = p[s->at];
		if (s->at >= HEAD_MAX)
			return HEAD_LARGE;
		if (s->cr != (c == '\n'))
			return HEAD_BAD; /* LF alone, or CR alone */
		if (c == '\n') {
			bool empty = s->at == s->line + 1;
			if (empty && s->line == 0)
				return HEAD_BAD;
			s->cr = false;
			s->line = s->at + 1;
			if (!empty)
				continue;
			s->at++;
			return HEAD_WHOLE;
		}
		s->cr = c == '\r';
		if (!s->cr && is_control(c))
			return HEAD_BAD;
		if (s->at == s->line && (c == ' ' || c == '\t'))
			return HEAD_BAD; /* a folded line */
	}
	return len >= HEAD_MAX ? HEAD_LARGE : HEAD_MORE;
}

/* The line at *at without its CRLF, and *at behind it; false at the empty line or the end. */
static bool next_line(const uint8_t *p, size_t len, size_t *at, struct view *line)
{
	const uint8_t *lf = *at < len ? memchr(p + *at, '\n', len - *at) : NULL;
	if (!lf)
		return false;
	size_t end = (size_t)(lf - p);
	if (end < *at + 2) /* CRLF alone */
		return false;
	*line = (struct view){ (const char *)p + *at, end - 1 - *at };
	*at = end + 1;
	return true;
}

static bool is_token(struct view v)
{
	static const char others[] = "!#$%&'*+-.^_`|~";
	for (size_t i = 0; i < v.len; i++) {
		char c = v.p[i];
		bool alnum =
			(c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (!alnum && (c == 0 || !strchr(others, c)))
			return false;
	}
	return v.len > 0;
}

static struct view trim(struct view v)
{
	while (v.len > 0 && (v.p[0] == ' ' || v.p[0] == '\t')) {
		v.p++;
		v.len--;
	}
	while (v.len > 0 && (v.p[v.len - 1] == ' ' || v.p[v.len - 1] == '\t'))
		v.len--;
	return v;
}

static bool split_field(struct view line, struct view *name, struct view *value)
{
	const char *colon = memchr(line.p, ':', line.len);
	if (!colon)
		return false;
	size_t n = (size_t)(colon - line.p);
	*name = (struct view){ line.p, n };
	*value = trim((struct view){ colon + 1, line.len - n - 1 });
	return is_token(*name);
}

static bool refuse(struct http_head *h, unsigned status, const char *why)
{
	h->refusal = status;
	h->why = why;
	return false;
}

/* What the headers said so far; the counts tell what came twice. */
struct seen {
	unsigned hosts, lengths, encodings;
};

static bool field_length(struct http_head *h, struct view v)
{
	h->length = 0;
	if (v.len == 0 || v.len > 18)
		return refuse(h, 400, "a Content-Length that is no number");
	for (size_t i = 0; i < v.len; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return refuse(h, 400, "a Content-Length that is no number");
		h->length = h->length * 10 + (uint64_t)(v.p[i] - '0');
	}
	h->body = BODY_LENGTH;
	return true;
}

/* RFC 9110 7.6.1. The list is bounded: each name costs a comparison per header line. */
static bool field_connection(struct http_head *h, struct view v)
{
	while (v.len > 0) {
		const char *comma = memchr(v.p, ',', v.len);
		size_t n = comma ? (size_t)(comma - v.p) : v.len;
		struct view word = trim((struct view){ v.p, n });
		size_t step = n + (comma ? 1 : 0);
		v.p += step;
		v.len -= step;
		if (word.len == 0 || view_is(word, "close") || view_is(word, "keep-alive"))
			continue;
		if (h->names == HEAD_NAMED_MAX)
			return refuse(h, 400, "a Connection header with too many names");
		h->named[h->names++] = word;
	}
	return true;
}

static bool field(struct http_head *h, struct seen *seen, struct view name, struct view value)
{
	if (view_is(name, "host")) {
		h->host = value;
		seen->hosts++;
	} else if (view_is(name, "origin")) {
		h->origin = value;
		h->origins++;
	} else if (view_is(name, "content-length")) {
		if (seen->lengths++ > 0)
			return refuse(h, 400, "more than one Content-Length");
		return field_length(h, value);
	} else if (view_is(name, "transfer-encoding")) {
		if (seen->encodings++ > 0 || !view_is(value, "chunked"))
			return refuse(h, 501, "a Transfer-Encoding other than chunked");
	} else if (view_is(name, "connection") || view_is(name, "proxy-connection")) {
		return field_connection(h, value);
	}
	return true;
}

static bool fields(struct http_head *h, const uint8_t *p, size_t len, size_t at)
{
	struct seen seen = { 0 };
	struct view line, name, value;
	while (next_line(p, len, &at, &line)) {
		if (!split_field(line, &name, &value))
			return refuse(h, 400, "a header line that is none");
		if (!field(h, &seen, name, value))
			return false;
	}
	if (seen.lengths > 0 && seen.encodings > 0)
		return refuse(h, 400, "Content-Length and Transfer-Encoding together");
	if (seen.encodings > 0 && h->http10)
		return refuse(h, 400, "Transfer-Encoding in HTTP/1.0");
	if (seen.encodings > 0)
		h->body = BODY_CHUNKED;
	if (h->type == HEAD_REQUEST && seen.hosts != 1)
		return refuse(h, 400, seen.hosts ? "more than one Host" : "no Host");
	return true;
}

/* "http://localhost:8080/v1/info" → authority and "/v1/info" (RFC 9112 3.2.2). */
static bool absolute_target(struct http_head *h)
{
	struct view t = h->target;
	if (t.len < 8 || strncasecmp(t.p, "http://", 7) != 0)
		return false;
	t.p += 7;
	t.len -= 7;
	const char *slash = memchr(t.p, '/', t.len);
	if (!slash || slash == t.p)
		return false;
	h->authority = (struct view){ t.p, (size_t)(slash - t.p) };
	h->target = (struct view){ slash, t.len - h->authority.len };
	return true;
}

static bool request_line(struct http_head *h)
{
	struct view l = h->start;
	const char *sp = memchr(l.p, ' ', l.len);
	size_t m = sp ? (size_t)(sp - l.p) : 0;
	if (l.len < m + 11 || l.p[l.len - 9] != ' ')
		return refuse(h, 400, "a request line that is none");
	if (strncmp(l.p + l.len - 8, "HTTP/", 5) != 0)
		return refuse(h, 400, "a request line that is none");
	h->http10 = strncmp(l.p + l.len - 8, "HTTP/1.0", 8) == 0;
	if (!h->http10 && strncmp(l.p + l.len - 8, "HTTP/1.1", 8) != 0)
		return refuse(h, 505, "not HTTP/1.1");
	h->target = (struct view){ sp + 1, l.len - 9 - (m + 1) };
	for (size_t i = 0; i < h->target.len; i++)
		if ((uint8_t)h->target.p[i] <= 0x20 || (uint8_t)h->target.p[i] >= 0x7f)
			return refuse(h, 400, "a target with spaces or bytes beyond ASCII");
	if (h->target.p[0] == '/' || view_is(h->target, "*") || absolute_target(h))
		return true;
	return refuse(h, 400, "a target that is no path");
}

static bool status_line(struct http_head *h)
{
	struct view l = h->start;
	if (l.len < 12 || strncmp(l.p, "HTTP/1.", 7) != 0 || (l.p[7] != '0' && l.p[7] != '1') ||
	    l.p[8] != ' ' || (l.len > 12 && l.p[12] != ' '))
		return refuse(h, 502, "a status line that is none");
	h->http10 = l.p[7] == '0';
	return true;
}

static int headers_complete(http_parser *hp)
{
	struct http_head *h = hp->data;
	h->method = hp->method;
	h->status = hp->status_code;
	h->keep_alive = http_should_keep_alive(hp);
	if (h->body == BODY_LENGTH && h->length != hp->content_length)
		return -1; /* two readings of one head: never */
	h->why = NULL;
	return 1; /* the body is not its business */
}

static bool second_reading(struct http_head *h, const uint8_t *p, size_t len)
{
	http_parser hp;
	http_parser_settings set;
	http_parser_settings_init(&set);
	set.on_headers_complete = headers_complete;
	http_parser_set_max_header_size(HEAD_MAX + 1);
	http_parser_init(&hp, h->type == HEAD_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE);
	hp.data = h;
	h->why = "a head that is no HTTP";
	http_parser_execute(&hp, &set, (const char *)p, len);
	if (h->why || HTTP_PARSER_ERRNO(&hp) != HPE_OK)
		return refuse(h, HTTP_PARSER_ERRNO(&hp) == HPE_INVALID_METHOD ? 501 : 400,
			      http_errno_description(HTTP_PARSER_ERRNO(&hp)));
	return true;
}

bool http_head_parse(enum head_type type, const uint8_t *p, size_t len, struct http_head *out)
{
	struct http_head h = { .type = type };
	size_t at = 0;
	bool ok = next_line(p, len, &at, &h.start);
	if (!ok)
		refuse(&h, 400, "an empty head");
	ok = ok && (type == HEAD_REQUEST ? request_line(&h) : status_line(&h));
	ok = ok && fields(&h, p, len, at) && second_reading(&h, p, len);
	*out = h;
	return ok;
}

struct http_body http_response_body(const struct http_head *h, bool to_head_request)
{
	if (to_head_request || h->status < 200 || h->status == 204 || h->status == 304)
		return http_body_of(BODY_NONE, 0);
	if (h->body == BODY_NONE)
		return http_body_of(BODY_UNTIL_CLOSE, 0);
	return http_body_of(h->body, h->length);
}

/* Headers that end with this hop: the known ones and those that Connection names. */
static bool ends_here(const struct http_head *h, struct view name)
{
	static const char *const own[] = { "connection", "proxy-connection", "keep-alive", "te",
					   "upgrade" };
	/* naming these in Connection would change what the message is */
	static const char *const kept[] = { "host", "content-length", "transfer-encoding",
					    "trailer" };
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (view_is(name, own[i]))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (view_is(name, kept[i]))
			return false;
	for (unsigned i = 0; i < h->names; i++)
		if (h->named[i].len == name.len &&
		    strncasecmp(h->named[i].p, name.p, name.len) == 0)
			return true;
	return false;
}

static bool put_start(const struct http_head *h, struct buf *out)
{
	if (h->authority.len == 0)
		return buf_put(out, h->start.p, h->start.len) && buf_put(out, "\r\n", 2);
	const char *sp = memchr(h->start.p, ' ', h->start.len);
	size_t rest = (size_t)(h->start.p + h->start.len - h->target.p);
	return buf_put(out, h->start.p, (size_t)(sp - h->start.p) + 1) &&
	       buf_put(out, h->target.p, rest) && buf_put(out, "\r\n", 2);
}

bool http_head_rewrite(const uint8_t *p, size_t len, const struct http_head *h, bool close,
		       struct buf *out)
{
	static const char close_line[] = "Connection: close\r\n";
	struct view line, name, value;
	size_t at = 0;
	bool ok = next_line(p, len, &at, &line) && put_start(h, out);
	while (ok && next_line(p, len, &at, &line)) {
		if (split_field(line, &name, &value) && ends_here(h, name))
			continue;
		ok = buf_put(out, line.p, line.len + 2); /* its CRLF stands behind it */
	}
	if (close)
		ok = ok && buf_put(out, close_line, sizeof(close_line) - 1);
	return ok && buf_put(out, "\r\n", 2);
}
