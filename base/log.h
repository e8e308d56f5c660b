/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines to stderr, one an event. A line that an outsider can provoke goes through a log_limit.
 * No secret is ever an argument.
 */
#ifndef WARREN_LOG_H
#define WARREN_LOG_H

#include "base/base.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* `who` stands in each line ("w1", "rendezvous"); it is copied. */
void log_init(const char *who, enum log_level least);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

/* At most one line per `every`; the next one that passes says how many were left out. */
struct log_limit {
	nsec every, next;
	unsigned left_out;
};

/* True when a line may be written now; *left_out then has how many were not. */
bool log_allowed(struct log_limit *l, nsec now, unsigned *left_out);

#endif
