/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
	char who[64];
	enum log_level least;
} self = { .who = "warren", .least = LOG_LEVEL_INFO };

static const char *const level_names[] = {
	[LOG_LEVEL_DEBUG] = "debug",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_WARN] = "warning",
	[LOG_LEVEL_ERROR] = "error",
};

void log_init(const char *who, enum log_level least)
{
	snprintf(self.who, sizeof(self.who), "%s", who);
	self.least = least;
}

/* Bytes that would break a line or a terminal become '?': arguments may come from a stranger. */
static size_t printable(char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			s[i] = '?';
	return len;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[1024], stamp[32];
	struct timespec ts;
	struct tm tm;
	va_list ap;

	if (level < self.least)
		return;
	clock_gettime(CLOCK_REALTIME, &ts); /* for people to read; nothing is timed by it */
	gmtime_r(&ts.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	size_t at = (size_t)snprintf(line, sizeof(line), "%s.%03ldZ %s %s: ", stamp,
				     ts.tv_nsec / 1000000, self.who, level_names[level]);
	va_start(ap, fmt);
	int n = vsnprintf(line + at, sizeof(line) - at - 1, fmt, ap);
	va_end(ap);
	size_t len = size_min(n < 0 ? 0 : (size_t)n, sizeof(line) - at - 2);
	at += printable(line + at, len);
	line[at++] = '\n';
	/* one write, so that the lines of several processes do not mix */
	ssize_t done = write(STDERR_FILENO, line, at);
	(void)done;
}

bool log_allowed(struct log_limit *l, nsec now, unsigned *left_out)
{
	if (now < l->next) {
		l->left_out++;
		return false;
	}
	l->next = now + l->every;
	*left_out = l->left_out;
	l->left_out = 0;
	return true;
}
