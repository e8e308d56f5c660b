/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_text.h"

#include <stdio.h>
#include <string.h>

enum { CODE_MAX = 0x10ffff, SURROGATE_FIRST = 0xd800, SURROGATE_LAST = 0xdfff };

/* Code points that print as nothing, or change how others do. */
static bool is_unfit(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} unfit[] = {
		{ 0x00, 0x1f },	      { 0x7f, 0x9f },	  { 0xad, 0xad },
		{ 0x61c, 0x61c },     { 0x180e, 0x180e }, { 0x200b, 0x200f },
		{ 0x2028, 0x202e },   { 0x2060, 0x206f }, { SURROGATE_FIRST, SURROGATE_LAST },
		{ 0xfeff, 0xfeff },   { 0xfff0, 0xfffb }, { 0xfffe, 0xffff },
		{ 0xe0000, 0xe0fff },
	};
	for (size_t i = 0; i < ARRAY_SIZE(unfit); i++)
		if (c >= unfit[i].first && c <= unfit[i].last)
			return true;
	return c > CODE_MAX;
}

/* The bytes of the code point that begins at p, or 0 where those are no UTF-8 (RFC 3629). */
static size_t decode(const uint8_t *p, size_t left, uint32_t *code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (n == 0 || n > left || p[0] > 0xf4)
		return 0;
	*code = n == 1 ? p[0] : p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (p[i] & 0x3fu);
	}
	return *code < least[n] ? 0 : n;
}

size_t log_clean(char *s, size_t len)
{
	size_t from = 0, to = 0;

	while (from < len) {
		uint32_t code = 0;
		size_t n = decode((const uint8_t *)s + from, len - from, &code);
		if (n == 0 || is_unfit(code)) {
			s[to++] = '?';
			from += n ? n : 1;
			continue;
		}
		memmove(s + to, s + from, n);
		to += n;
		from += n;
	}
	s[to] = 0;
	return to;
}

/* A line in the making; what does not fit before the end that every line has is left out. */
struct line {
	char *out;
	size_t len, cap;
};

static void put(struct line *l, const char *s, size_t n)
{
	if (n > l->cap - l->len)
		return;
	memcpy(l->out + l->len, s, n);
	l->len += n;
}

/* Clean text by whole code points, up to what fits; escaped for JSON on request. */
static void put_text(struct line *l, const char *s, bool json)
{
	size_t left = strlen(s);

	while (left) {
		uint32_t code;
		size_t n = decode((const uint8_t *)s, left, &code);
		bool escape = json && (*s == '"' || *s == '\\');
		if (n == 0 || n + escape > l->cap - l->len)
			return;
		if (escape)
			put(l, "\\", 1);
		put(l, s, n);
		s += n;
		left -= n;
	}
}

static void put_word(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

size_t log_text_line(char *out, size_t cap, const struct log_fields *f)
{
	struct line l = { .out = out, .cap = cap - 1 };

	put_text(&l, f->time, false);
	put_word(&l, " ");
	put_text(&l, f->worker ? f->worker : f->process, false);
	put_word(&l, " ");
	put_text(&l, f->level, false);
	put_word(&l, ": ");
	put_text(&l, f->message, false);
	l.out[l.len++] = '\n';
	return l.len;
}

static void put_member(struct line *l, const char *key, const char *value)
{
	put_word(l, "\"");
	put_word(l, key);
	put_word(l, "\":");
	put_word(l, value ? "\"" : "null");
	if (value) {
		put_text(l, value, true);
		put_word(l, "\"");
	}
}

size_t log_json_line(char *out, size_t cap, const struct log_fields *f)
{
	static const char end[] = "\"}\n";
	struct line l = { .out = out, .cap = cap - sizeof(end) };

	put_word(&l, "{");
	put_member(&l, "time", f->time);
	put_word(&l, ",");
	put_member(&l, "level", f->level);
	put_word(&l, ",");
	put_member(&l, "process", f->process);
	put_word(&l, ",");
	put_member(&l, "worker", f->worker);
	put_word(&l, ",\"message\":\"");
	put_text(&l, f->message, true);
	l.cap = cap;
	put(&l, end, sizeof(end) - 1);
	return l.len;
}

static void digits(char *to, size_t count, int64_t n)
{
	for (; count; n /= 10)
		to[--count] = (char)('0' + n % 10);
}

enum {
	DAY = 86400,
	ERA = 146097 /* days of 400 years */,
	FIRST = 719468 /* from 0000-03-01 to 1970 */
};

/* Years that begin in March: the day that may be missing is the last one. */
void log_stamp(int64_t seconds, char out[static LOG_STAMP_LEN])
{
	int64_t days = seconds / DAY + FIRST, s = seconds % DAY;
	int64_t day = days % ERA;
	int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	int64_t rest = day - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * rest + 2) / 153; /* since March */

	year += days / ERA * 400 + (month >= 10);
	memcpy(out, "yyyy-mm-ddThh:mm:ss", LOG_STAMP_LEN);
	digits(out, 4, year);
	digits(out + 5, 2, month < 10 ? month + 3 : month - 9);
	digits(out + 8, 2, rest - (153 * month + 2) / 5 + 1);
	digits(out + 11, 2, s / 3600);
	digits(out + 14, 2, s / 60 % 60);
	digits(out + 17, 2, s % 60);
}
