/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the body of a message ends (RFC 9112 6 and 7.1). The bytes themselves are passed on as they
 * are, chunk headers and all; nothing is decoded and nothing is held.
 *
 * Chunks are read by this strict reader and not by libhttp-parser: as distributions build it, that
 * one takes any byte for the LF of a chunk line, and what two parsers read differently is how
 * requests are smuggled.
 */
#ifndef WARREN_HTTP_BODY_H
#define WARREN_HTTP_BODY_H

#include "base/base.h"

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_UNTIL_CLOSE };

struct http_body {
	enum body_kind kind;
	uint64_t left;	/* LENGTH: bytes to come; CHUNKED: of this chunk */
	unsigned state; /* CHUNKED: see http_body.c */
	unsigned count; /* CHUNKED: digits of this size, bytes of extension or trailers */
	bool done, bad;
};

struct http_body http_body_of(enum body_kind kind, uint64_t length);
/* How many of these bytes belong to the body: all, or fewer where it is done or bad. */
size_t http_body_take(struct http_body *b, const uint8_t *p, size_t len);

#endif
