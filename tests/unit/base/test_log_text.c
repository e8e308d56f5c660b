/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anybody's bytes in a line: numbered cases, then random ones against what a line has to be. A failure
 * prints its seed; SEED=N repeats one, SEEDS=N runs more.
 */
#include "base/log_text.h"

#include <jansson.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void cases(void **ignored)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "" },
		{ "plain ~ text", "plain ~ text" },
		{ "a\nb\rc\td", "a?b?c?d" },
		{ "\x1b[2J\x1b]0;title\x07", "?[2J?]0;title?" },
		{ "del \x7f", "del ?" },
		{ "…é日本", "…é日本" },
		{ "\xf0\x9f\x90\xb0", "\xf0\x9f\x90\xb0" },
		/* C1 controls, one byte and two */
		{ "\x9b"
		  "2J",
		  "?2J" },
		{ "\xc2\x9b"
		  "2J",
		  "?2J" },
		{ "\xc2\x85", "?" },
		/* line and paragraph separators, directions, a byte order mark, a zero width */
		{ "a\xe2\x80\xa8"
		  "b\xe2\x80\xa9",
		  "a?b?" },
		{ "\xe2\x80\xae"
		  "gpj.exe",
		  "?gpj.exe" },
		{ "\xe2\x81\xa6x\xe2\x81\xa9", "?x?" },
		{ "\xef\xbb\xbfx", "?x" },
		{ "a\xe2\x80\x8b"
		  "b",
		  "a?b" },
		/* no UTF-8: alone, cut, overlong, a surrogate, beyond the end */
		{ "\x80\xbf", "??" },
		{ "\xe2\x80", "??" },
		{ "x\xe2", "x?" },
		{ "\xc0\xaf", "??" },
		{ "\xc1\x81", "??" },
		{ "\xe0\x80\x8a", "???" },
		{ "\xf0\x80\x80\x8a", "????" },
		{ "\xed\xa0\x80", "?" },
		{ "\xf4\x90\x80\x80", "?" },
		{ "\xf8\x88\x80\x80\x80", "?????" },
		{ "\xff\xfe", "??" },
	};
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[64];
		snprintf(text, sizeof(text), "%s", rows[i].in);
		size_t n = log_clean(text, strlen(text));
		if (n != strlen(text) || strcmp(text, rows[i].out) != 0)
			fail_msg("row %zu: \"%s\"", i + 1, text);
	}
}

static void a_nul_inside(void **ignored)
{
	char text[] = "a\0b";
	(void)ignored;
	assert_int_equal(log_clean(text, 3), 3);
	assert_string_equal(text, "a?b");
}

/* --- random bytes --- */

static uint64_t state;

static uint32_t any(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % below;
}

/* Pieces that matter, between bytes that may be anything. */
static size_t mixture(char *out, size_t cap)
{
	static const char *const pieces[] = { "\n",
					      "\r\n",
					      "\"",
					      "\\",
					      "\\u000a",
					      "\"}",
					      "{\"level\":",
					      "\xe2\x80\xa8",
					      "\xe2\x80\xae",
					      "\xc2\x85",
					      "\x1b[0m",
					      "…",
					      "é",
					      "\xf0\x9f\x90\xb0",
					      "\xe2",
					      "\xf0\x9f",
					      "%s%n" };
	size_t len = any((uint32_t)cap), at = 0;
	while (at < len) {
		if (any(2)) {
			out[at++] = (char)any(256);
			continue;
		}
		const char *p = pieces[any(ARRAY_SIZE(pieces))];
		size_t n = size_min(strlen(p), len - at);
		memcpy(out + at, p, n);
		at += n;
	}
	out[len] = 0;
	return len;
}

static bool one_line(const char *line, size_t len)
{
	return len > 1 && memchr(line, '\n', len) == line + len - 1 && !memchr(line, '\r', len) &&
	       !memchr(line, 0x1b, len) && !memchr(line, 0, len);
}

/* One line; a JSON object with these five members alone; the message as it was, or its beginning. */
static const char *wrong(const char *line, size_t len, const struct log_fields *f)
{
	json_error_t e;
	if (!one_line(line, len))
		return "not one line";
	json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e);
	if (!o)
		return "no JSON";
	const char *m = json_string_value(json_object_get(o, "message"));
	const char *w = json_string_value(json_object_get(o, "worker"));
	const char *bad = json_object_size(o) != 5			   ? "members"
			  : !m || strncmp(f->message, m, strlen(m)) != 0   ? "another message"
			  : f->worker && (!w || strcmp(w, f->worker) != 0) ? "another worker"
									   : NULL;
	json_decref(o);
	return bad;
}

static void one_seed(unsigned seed)
{
	static char message[1200], worker[64];
	char line[4096], text[1100], tiny[512];

	state = seed;
	any(1);
	log_clean(worker, mixture(worker, sizeof(worker) - 1));
	size_t len = log_clean(message, mixture(message, sizeof(message) - 1));
	char again[sizeof(message)];
	memcpy(again, message, len + 1);
	assert_int_equal(log_clean(again, len), len);
	assert_string_equal(again, message);
	struct log_fields f = { "2026-01-01T00:00:00.000Z", "info", "shim", any(4) ? worker : NULL,
				message };
	const char *bad = wrong(line, log_json_line(line, sizeof(line), &f), &f);
	if (!bad && strlen(message) < 1100 && any(2) == 0)
		bad = wrong(tiny, log_json_line(tiny, sizeof(tiny), &f), &f);
	if (!bad && !one_line(text, log_text_line(text, sizeof(text), &f)))
		bad = "text: not one line";
	if (bad)
		fail_msg("SEED=%u: %s", seed, bad);
}

static void random_bytes(void **ignored)
{
	const char *one = getenv("SEED"), *many = getenv("SEEDS");
	unsigned n = many ? (unsigned)atoi(many) : 20000;
	(void)ignored;
	if (one) {
		one_seed((unsigned)atoi(one));
		return;
	}
	for (unsigned seed = 1; seed <= n; seed++)
		one_seed(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cases),
		cmocka_unit_test(a_nul_inside),
		cmocka_unit_test(random_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
