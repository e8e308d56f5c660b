/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/policy.h"

#include <http_parser.h>
#include <string.h>
#include <strings.h>

/*
 * The first segments of a path, cut to a length that no name of ours reaches; `depth` counts all.
 */
struct path {
	char seg[3][32];
	unsigned depth;
};

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The next character of the path, decoded. */
static char next_char(struct view *v)
{
	char c = v->p[0];
	size_t step = 1;
	if (c == '%' && v->len >= 3 && hex(v->p[1]) >= 0 && hex(v->p[2]) >= 0) {
		c = (char)(hex(v->p[1]) << 4 | hex(v->p[2]));
		step = 3;
	}
	v->p += step;
	v->len -= step;
	return c;
}

static void end_segment(struct path *p, const char *seg)
{
	if (strcmp(seg, "..") == 0) {
		p->depth -= p->depth > 0 ? 1 : 0;
	} else if (seg[0] && strcmp(seg, ".") != 0) {
		if (p->depth < ARRAY_SIZE(p->seg))
			memcpy(p->seg[p->depth], seg, sizeof(p->seg[0]));
		p->depth++;
	}
}

static struct path path_of(struct view target)
{
	struct path p = { 0 };
	char seg[32] = { 0 };
	size_t at = 0;
	bool skip = false; /* parameters of a segment */
	const char *q = memchr(target.p, '?', target.len);
	if (q)
		target.len = (size_t)(q - target.p);
	while (target.len > 0) {
		char c = next_char(&target);
		if (c == '/') {
			end_segment(&p, seg);
			memset(seg, 0, sizeof(seg));
			at = 0;
			skip = false;
			continue;
		}
		skip = skip || c == ';';
		if (!skip && at < sizeof(seg) - 1)
			seg[at++] = c ? c : '?'; /* a NUL ends no name of ours */
	}
	end_segment(&p, seg);
	for (unsigned i = p.depth; i < ARRAY_SIZE(p.seg); i++)
		p.seg[i][0] = 0; /* what ".." took back */
	return p;
}

/* "host:port" without its port; "[::1]:80" without brackets too. */
static struct view host_alone(struct view h)
{
	if (h.len > 0 && h.p[0] == '[') {
		const char *end = memchr(h.p, ']', h.len);
		if (!end || (end + 1 < h.p + h.len && end[1] != ':'))
			return (struct view){ h.p, 0 };
		return (struct view){ h.p + 1, (size_t)(end - h.p - 1) };
	}
	const char *colon = memchr(h.p, ':', h.len);
	if (colon)
		h.len = (size_t)(colon - h.p);
	return h;
}

static bool is_our_addr(const struct addr *a, const struct roster *r)
{
	return r->seen && !addr_is_any(a) && (addr_eq(a, &r->ip) || addr_eq(a, &r->ip6));
}

bool policy_host_is_ours(struct view host, const struct roster *r, const char *worker_id)
{
	static const struct addr loopback6 = { { [15] = 1 } };
	char text[ADDR_STRLEN];
	struct addr a;
	if (host.len == 0)
		return false;
	struct view h = host_alone(host);
	if (h.len == 0 || h.len >= sizeof(text))
		return false;
	memcpy(text, h.p, h.len);
	text[h.len] = 0;
	if (host.p[0] == '[')
		return addr_parse(text, &a) && !addr_is_v4(&a) &&
		       (addr_eq(&a, &loopback6) || is_our_addr(&a, r));
	if (view_is(h, "localhost") || view_is(h, "127.0.0.1") || view_is(h, worker_id))
		return true;
	return addr_parse(text, &a) && is_our_addr(&a, r);
}

bool policy_address_is_ours(const char *address, const struct roster *r)
{
	char text[ADDR_STRLEN];
	struct addr a;
	size_t len = strlen(address);
	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, address, len + 1);
	if (addr_parse(text, &a))
		return is_our_addr(&a, r);
	if (len < 4 || strcmp(text + len - 3, ".ip") != 0)
		return false;
	text[len - 3] = 0;
	for (char sep = '.'; sep; sep = sep == '.' ? ':' : 0) {
		for (size_t i = 0; i < len - 3; i++)
			if (address[i] == '-')
				text[i] = sep;
		if (addr_parse(text, &a) && is_our_addr(&a, r))
			return true;
	}
	return false;
}

static struct decision refuse(unsigned status, const char *text)
{
	return (struct decision){ .route = ROUTE_REFUSED, .status = status, .text = text };
}

static bool is_read(unsigned method)
{
	return method == HTTP_GET || method == HTTP_HEAD;
}

/* A page of elsewhere, in a browser on this machine, must not change anything here. */
static bool origin_is_foreign(const struct http_head *h, const struct roster *r, const char *id)
{
	struct view o = h->origin;
	if (h->origins == 0)
		return false;
	if (h->origins > 1)
		return true;
	size_t scheme = o.len > 7 && strncasecmp(o.p, "http://", 7) == 0 ? 7 : 8;
	if (o.len <= 8 || (scheme == 8 && strncasecmp(o.p, "https://", 8) != 0))
		return true;
	return !policy_host_is_ours((struct view){ o.p + scheme, o.len - scheme }, r, id);
}

static struct decision own_path(const struct path *p, unsigned method)
{
	static const struct {
		const char *name;
		enum own own;
	} pages[] = { { "status", OWN_STATUS },
		      { "health", OWN_HEALTH },
		      { "metrics", OWN_METRICS } };
	struct decision d = { .route = ROUTE_OWN };
	if (!is_read(method))
		return refuse(405, "only GET and HEAD below /warren/");
	if (p->depth == 1)
		d.own = OWN_PAGE;
	for (size_t i = 0; p->depth == 2 && i < ARRAY_SIZE(pages); i++)
		if (strcmp(p->seg[1], pages[i].name) == 0)
			d.own = pages[i].own;
	return d.own ? d : refuse(404, "below /warren/ there are status, health and metrics");
}

static struct decision trino_path(const struct path *p, unsigned method)
{
	struct decision d = { .route = ROUTE_COORDINATOR };
	if (strcmp(p->seg[0], "v1") != 0 || p->depth < 2)
		return d;
	if (strcmp(p->seg[1], "info") == 0 || strcmp(p->seg[1], "task") == 0 ||
	    (strcmp(p->seg[1], "status") == 0 && p->depth == 2)) {
		d.route = ROUTE_LOCAL;
		d.info = strcmp(p->seg[1], "info") == 0 && p->depth == 2 && is_read(method);
	} else if (strcmp(p->seg[1], "announcement") == 0) {
		d.guarded = method == HTTP_PUT || method == HTTP_POST;
		if (p->depth == 2 && is_read(method))
			d = (struct decision){ .route = ROUTE_OWN, .own = OWN_LISTING };
	} else if (strcmp(p->seg[1], "announce") == 0) {
		d.guarded = method == HTTP_POST || method == HTTP_PUT;
	}
	return d;
}

struct decision policy_decide(const struct http_head *h, const struct roster *r,
			      const char *worker_id)
{
	if (!policy_host_is_ours(h->host, r, worker_id) ||
	    (h->authority.len > 0 && !policy_host_is_ours(h->authority, r, worker_id)))
		return refuse(
			421, "this address serves localhost, 127.0.0.1, [::1], and this node's own "
			     "worker id and virtual IP alone; the Host header names another");
	if (h->method == HTTP_CONNECT || h->method == HTTP_TRACE)
		return refuse(405, "neither CONNECT nor TRACE is served here");
	if (!is_read(h->method) && h->method != HTTP_OPTIONS && origin_is_foreign(h, r, worker_id))
		return refuse(403, "a page of another origin may not change anything here");
	struct path p = path_of(h->target);
	if (strcmp(p.seg[0], "warren") == 0)
		return own_path(&p, h->method);
	return trino_path(&p, h->method);
}
