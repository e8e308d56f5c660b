/* SPDX-License-Identifier: Apache-2.0 */
/* A conversation: bytes become lines, lines requests; the answer waits until it is sent. */
#include "gateway/uapi_impl.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST_ROOM = 4096, ANSWER_BYTES = 256 /* are worth a line */ };

struct uapi *uapi_new(const struct uapi_device *dev)
{
	struct uapi *u = calloc(1, sizeof(*u));
	if (u)
		u->dev = *dev;
	return u;
}

/* Without realloc(), which would leave keys behind. */
static void drop_answer(struct uapi *u)
{
	if (u->out)
		sodium_memzero(u->out, u->cap);
	free(u->out);
	u->out = NULL;
	u->sent = u->unsent = u->cap = 0;
}

void uapi_free(struct uapi *u)
{
	if (!u)
		return;
	drop_answer(u);
	trie_clear(&u->named);
	sodium_memzero(u, sizeof(*u));
	free(u);
}

/* --- the answer --- */

static bool make_room(struct uapi *u, size_t more)
{
	size_t cap = size_max(u->cap, FIRST_ROOM), unsent = u->unsent;

	if (u->sent + unsent + more <= u->cap)
		return true;
	while (cap < unsent + more)
		cap *= 2;
	char *fresh = malloc(cap);
	if (!fresh)
		return false;
	if (unsent)
		memcpy(fresh, u->out + u->sent, unsent);
	drop_answer(u);
	u->out = fresh;
	u->cap = cap;
	u->unsent = unsent;
	return true;
}

void uapi_put(struct uapi *u, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < sizeof(text));
	u->no_memory = u->no_memory || !make_room(u, (size_t)n);
	if (!u->no_memory) {
		memcpy(u->out + u->sent + u->unsent, text, (size_t)n);
		u->unsent += (size_t)n;
		u->put += (unsigned)n;
		u->work += u->put / ANSWER_BYTES;
		u->put %= ANSWER_BYTES;
	}
	sodium_memzero(text, (size_t)n);
}

const char *uapi_answer(const struct uapi *u, size_t *len)
{
	*len = u->unsent;
	return u->out ? u->out + u->sent : "";
}

void uapi_sent(struct uapi *u, size_t len)
{
	assert(len <= u->unsent);
	if (len)
		sodium_memzero(u->out + u->sent, len);
	u->sent += len;
	u->unsent -= len;
	if (u->unsent == 0)
		drop_answer(u);
}

/* --- requests --- */

static void request_begins(struct uapi *u)
{
	bool whole = !u->overlong && strlen(u->line) == u->len;

	u->state = UAPI_BROKEN;
	u->err = 0;
	if (whole && strcmp(u->line, "get=1") == 0)
		u->state = UAPI_GET;
	if (whole && strcmp(u->line, "set=1") == 0) {
		u->state = UAPI_SET;
		uapi_set_begin(u);
	}
}

/* With errno=0 all of it is there, and without memory none of it looks whole. */
static void answer_ends(struct uapi *u)
{
	uapi_put(u, "errno=%d\n\n", u->err);
	u->state = u->no_memory ? UAPI_BROKEN : UAPI_IDLE;
}

static void answer_goes_on(struct uapi *u, nsec now)
{
	if (uapi_get(u, now) || u->no_memory)
		answer_ends(u);
}

/* The last section ends after an error as well: what stands before a bad line is done. */
static void set_ends(struct uapi *u)
{
	int err = uapi_set_end(u);

	if (u->err == 0)
		u->err = err;
	u->state = UAPI_ENDING;
	if (!uapi_is_busy(u))
		answer_ends(u);
}

static void request_ends(struct uapi *u)
{
	if (u->state == UAPI_SET) {
		set_ends(u);
	} else if (u->state == UAPI_GET && u->err == 0) {
		u->state = UAPI_ANSWER;
		u->answer.at = ANSWER_DEVICE;
	} else {
		answer_ends(u);
	}
}

static void chore_goes_on(struct uapi *u)
{
	uapi_set_goes_on(u);
	if (u->state == UAPI_ENDING && !uapi_is_busy(u))
		answer_ends(u);
}

static int request_line(struct uapi *u, nsec now)
{
	char *value = strchr(u->line, '=');

	if (u->overlong || strlen(u->line) != u->len || u->state == UAPI_GET)
		return -EINVAL;
	if (!value)
		return -EPROTO;
	*value++ = 0;
	return uapi_set_line(u, now, u->line, value);
}

static void line_ends(struct uapi *u, nsec now)
{
	u->line[u->len] = 0;
	u->work++;
	if (u->state == UAPI_IDLE)
		request_begins(u);
	else if (u->len == 0)
		request_ends(u);
	else if (u->err == 0)
		u->err = request_line(u, now);
	sodium_memzero(u->line, u->len);
	u->len = 0;
	u->overlong = false;
}

static void line_grows(struct uapi *u, const char *p, size_t len)
{
	size_t fits = size_min(len, UAPI_LINE_MAX - u->len);

	memcpy(u->line + u->len, p, fits);
	u->len += fits;
	u->overlong |= fits < len;
}

static bool has_time(const struct uapi *u)
{
	return u->work < UAPI_TURN_WORK && u->unsent < UAPI_UNSENT_MAX && u->state != UAPI_BROKEN;
}

size_t uapi_turn(struct uapi *u, nsec now, const char *p, size_t len)
{
	const char *at = p, *end = p + len;

	for (u->work = 0; has_time(u) && (at < end || uapi_works(u));) {
		if (uapi_is_busy(u)) {
			chore_goes_on(u);
			continue;
		}
		if (u->state == UAPI_ANSWER) {
			answer_goes_on(u, now);
			continue;
		}
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		line_grows(u, at, (size_t)((newline ? newline : end) - at));
		at = newline ? newline + 1 : end;
		if (newline)
			line_ends(u, now);
	}
	return (size_t)(at - p);
}

void uapi_eof(struct uapi *u, nsec now)
{
	if (u->state != UAPI_SET)
		return;
	if (u->len)
		line_ends(u, now);
	request_ends(u);
}

bool uapi_works(const struct uapi *u)
{
	return u->state == UAPI_ANSWER || uapi_is_busy(u);
}

bool uapi_is_busy(const struct uapi *u)
{
	return u->chore != CHORE_NONE;
}

bool uapi_broken(const struct uapi *u)
{
	return u->state == UAPI_BROKEN;
}
