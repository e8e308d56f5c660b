/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log line's text, whoever said what is in it: a worker id, a version, a refusal, a request. Pure.
 *
 * Clean text is valid UTF-8 without anything that ends a line, moves a cursor, or turns the direction of
 * what follows; so a line is one line on every reader's screen, and JSON needs two escapes.
 */
#ifndef WARREN_LOG_TEXT_H
#define WARREN_LOG_TEXT_H

#include "base/base.h"

/* Makes s[len] clean in place, '?' for what is not; never longer. The new length, also of a NUL behind it. */
size_t log_clean(char *s, size_t len);

struct log_fields {
	const char *time, *level, *process;
	const char *worker;  /* NULL: none */
	const char *message; /* all of them clean */
};

/* Each writes a whole line with its newline, cut to `cap` (≥ 512); its length. */
size_t log_text_line(char *out, size_t cap, const struct log_fields *f);
size_t log_json_line(char *out, size_t cap, const struct log_fields *f);

/* "2024-02-29T23:59:59" of seconds since 1970. Asks for no file, as the C library's own way does. */
enum { LOG_STAMP_LEN = 20 };
void log_stamp(int64_t seconds, char out[static LOG_STAMP_LEN]);

#endif
