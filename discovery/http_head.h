/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of one HTTP/1.x message: found, checked, read, and written again for the next hop.
 *
 * libhttp-parser takes bare LF, folded lines and two Hosts. So the raw bytes are scanned first, and
 * only what has one meaning alone reaches it: lines end with CRLF, no folding, no control bytes, one
 * Host, one length and not two, ≤ 2 MiB. Then its reading and ours of the length must agree.
 * Views point into the caller's bytes. Nothing is allocated but by http_head_rewrite().
 */
#ifndef WARREN_HTTP_HEAD_H
#define WARREN_HTTP_HEAD_H

#include "discovery/buf.h"
#include "discovery/http_body.h"

enum { HEAD_MAX = 2 * 1024 * 1024 }; /* Trino's own limit: prepared statements travel in headers */

struct view {
	const char *p;
	size_t len;
};

bool view_is(struct view v, const char *word); /* without regard to case */

enum head_found { HEAD_MORE, HEAD_WHOLE, HEAD_BAD, HEAD_LARGE };

/* Looks for the end of a head in bytes that arrive bit by bit; no byte is looked at twice. */
struct head_scan {
	size_t at; /* scanned so far; the length of the head where it is whole */
	size_t line;
	bool cr;
};

enum head_found http_head_scan(struct head_scan *s, const uint8_t *p, size_t len);

enum head_type { HEAD_REQUEST, HEAD_RESPONSE };
enum { HEAD_NAMED_MAX = 16 }; /* header names that one head's Connection may list */

struct http_head {
	enum head_type type;
	unsigned method; /* enum http_method */
	unsigned status;
	struct view start;     /* the first line, without its CRLF */
	struct view target;    /* in origin form, or "*" */
	struct view host;      /* of the Host header */
	struct view authority; /* of an absolute target, else empty */
	struct view origin;
	unsigned origins;
	bool http10, keep_alive;
	enum body_kind body; /* as the headers say; a request without any has none */
	uint64_t length;
	struct view named[HEAD_NAMED_MAX]; /* by Connection: theirs end with this hop */
	unsigned names;
	unsigned refusal; /* the status that a bad head earns */
	const char *why;
};

/* Reads a whole head. False: `refusal` and `why` say what is wrong with it. */
MUST_CHECK bool http_head_parse(enum head_type type, const uint8_t *p, size_t len,
				struct http_head *out);
/* The framing of a response: HEAD, 1xx, 204 and 304 have no body. */
struct http_body http_response_body(const struct http_head *h, bool to_head_request);
/*
 * Appends the head as the next hop gets it: all lines unchanged and in order, but for what belongs
 * to this hop alone. `close` adds "Connection: close". False where there is no memory.
 */
MUST_CHECK bool http_head_rewrite(const uint8_t *p, size_t len, const struct http_head *h,
				  bool close, struct buf *out);

#endif
