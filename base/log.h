/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines to stderr, one an event, as text or as JSON. No secret is ever an argument.
 *
 * Whatever an argument holds, a line stays one line (log_text.h). A flood of one kind is cut by the log
 * itself: each place in the source that logs has its own count, so that a flood of one hides no other.
 * What is left out is told at the end of its time: "… and 37 more like this in 10 s: " and the first of
 * them. A reader that does not read holds up nobody; the lines that it missed are counted, and told.
 */
#ifndef WARREN_LOG_H
#define WARREN_LOG_H

#include "base/base.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

enum { LOG_BURST = 20, LOG_SAMPLE = 120 };
#define LOG_EVERY (10 * NSEC_PER_SEC)

/* A place in the source that logs: at most `burst` lines in `every`. */
struct log_site {
	nsec every;
	unsigned burst;
	/* the rest is log.c's */
	unsigned said, left_out;
	nsec began;
	enum log_level level;
	struct log_site *next; /* of those that have left something out */
	char sample[LOG_SAMPLE];
};

/* `worker` (a worker id) stands in each line; where NULL, `process` does. Both are copied. */
void log_init(const char *process, const char *worker, enum log_level least,
	      enum log_format format);
/* In a fresh child: who it is. What its parent has yet to tell is not told twice. */
void log_process(const char *name);

void log_line(struct log_site *site, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);

#define LOG_AT(level, every, burst, ...)                                                           \
	do {                                                                                       \
		static struct log_site log_site_ = { every, burst, 0, 0, 0, 0, NULL, "" };         \
		log_line(&log_site_, level, __VA_ARGS__);                                          \
	} while (0)

#define log_debug(...) LOG_AT(LOG_LEVEL_DEBUG, LOG_EVERY, LOG_BURST, __VA_ARGS__)
#define log_info(...) LOG_AT(LOG_LEVEL_INFO, LOG_EVERY, LOG_BURST, __VA_ARGS__)
#define log_warn(...) LOG_AT(LOG_LEVEL_WARN, LOG_EVERY, LOG_BURST, __VA_ARGS__)
#define log_error(...) LOG_AT(LOG_LEVEL_ERROR, LOG_EVERY, LOG_BURST, __VA_ARGS__)
/* Where one line in `every` says it all. */
#define log_seldom(level, every, ...) LOG_AT(level, every, 1, __VA_ARGS__)

/*
 * What is wrong with a command line or its settings: "warren: …" for people, an error line for a reader
 * of JSON.
 */
void log_usage(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Tells what was left out and is due. Once a turn of a loop, which wakes for the deadline. */
void log_flush(nsec now);
nsec log_deadline(void);
/* For a loop that does not know the time. */
void log_tick(void);
/* Tells all of it: the process ends. */
void log_end(void);

/* May this place write a line now? Counts it in any case. For tests; log_line() asks it. */
bool log_allowed(struct log_site *site, nsec now);
/* From now on messages go to out[cap], the first of them, in place of stderr; NULL: to stderr again. */
void log_capture(char *out, size_t cap);

#endif
