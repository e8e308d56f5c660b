/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/http_body.h"

enum {
	SIZE_MAX_DIGITS = 15, /* 60 bits: cannot overflow */
	EXT_MAX = 1024,	      /* nobody sends extensions; none is large */
	TRAILERS_MAX = 65536,
};

enum chunk_state {
	CHUNK_SIZE,
	CHUNK_EXT,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	TRAILER_START, /* of a line: CR ends the message */
	TRAILER_LINE,
	TRAILER_LF,
	END_LF,
};

struct http_body http_body_of(enum body_kind kind, uint64_t length)
{
	return (struct http_body){
		.kind = kind,
		.left = kind == BODY_LENGTH ? length : 0,
		.state = CHUNK_SIZE,
		.done = kind == BODY_NONE || (kind == BODY_LENGTH && length == 0),
	};
}

static int hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_text(uint8_t c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* One byte of the size line up to its CR. */
static bool size_byte(struct http_body *b, uint8_t c)
{
	int d = hex(c);
	if (d >= 0) {
		b->left = b->left << 4 | (unsigned)d;
		return ++b->count <= SIZE_MAX_DIGITS;
	}
	if (b->count == 0 || (c != ';' && c != '\r'))
		return false;
	b->state = c == ';' ? CHUNK_EXT : CHUNK_SIZE_LF;
	b->count = 0;
	return true;
}

static bool expect(struct http_body *b, uint8_t c, uint8_t want, enum chunk_state next)
{
	b->state = next;
	return c == want;
}

static bool trailer_byte(struct http_body *b, uint8_t c)
{
	bool start = b->state == TRAILER_START;
	if (c == '\r') {
		b->state = start ? END_LF : TRAILER_LF;
		return true;
	}
	if (start && (c == ' ' || c == '\t'))
		return false; /* a folded line */
	b->state = TRAILER_LINE;
	return is_text(c) && ++b->count <= TRAILERS_MAX;
}

/* One byte outside the data of a chunk. */
static bool chunk_byte(struct http_body *b, uint8_t c)
{
	switch ((enum chunk_state)b->state) {
	case CHUNK_SIZE:
		return size_byte(b, c);
	case CHUNK_EXT:
		if (c == '\r')
			b->state = CHUNK_SIZE_LF;
		return c == '\r' || (is_text(c) && ++b->count <= EXT_MAX);
	case CHUNK_SIZE_LF:
		b->count = 0;
		return expect(b, c, '\n', b->left > 0 ? CHUNK_DATA : TRAILER_START);
	case CHUNK_DATA_CR:
		return expect(b, c, '\r', CHUNK_DATA_LF);
	case CHUNK_DATA_LF:
		b->count = 0;
		return expect(b, c, '\n', CHUNK_SIZE);
	case TRAILER_START:
	case TRAILER_LINE:
		return trailer_byte(b, c);
	case TRAILER_LF:
		return expect(b, c, '\n', TRAILER_START);
	case END_LF:
		b->done = c == '\n';
		return b->done;
	case CHUNK_DATA:
		break;
	}
	return false;
}

static size_t take_chunked(struct http_body *b, const uint8_t *p, size_t len)
{
	size_t i = 0;
	while (i < len && !b->done) {
		if (b->state != CHUNK_DATA) {
			if (!chunk_byte(b, p[i])) {
				b->bad = true;
				return i;
			}
			i++;
			continue;
		}
		size_t n = b->left < len - i ? (size_t)b->left : len - i;
		b->left -= n;
		i += n;
		if (b->left == 0)
			b->state = CHUNK_DATA_CR;
	}
	return i;
}

size_t http_body_take(struct http_body *b, const uint8_t *p, size_t len)
{
	if (b->done || b->bad)
		return 0;
	if (b->kind == BODY_UNTIL_CLOSE)
		return len;
	if (b->kind == BODY_CHUNKED)
		return take_chunked(b, p, len);
	size_t n = b->left < len ? (size_t)b->left : len;
	b->left -= n;
	b->done = b->left == 0;
	return n;
}
