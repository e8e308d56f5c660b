/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/log_text.h"

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	MESSAGE_MAX = 960,
	TEXT_LINE_MAX = 1100,
	JSON_LINE_MAX = PIPE_BUF, /* a pipe takes so much whole, or nothing */
};

static_assert(JSON_LINE_MAX >= 2 * MESSAGE_MAX + 512,
	      "a message fits, with an escape for each byte");

static struct {
	char process[16], worker[64];
	enum log_level least;
	enum log_format format;
	struct log_site *left_out; /* those that have something to tell */
	unsigned unwritten;	   /* lines that stderr did not take */
	bool torn;		   /* the last one was taken in part */
	char *capture;
	size_t capture_cap;
} self = { .process = "warren", .least = LOG_LEVEL_INFO };

static const char *const level_names[] = {
	[LOG_LEVEL_DEBUG] = "debug",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_WARN] = "warning",
	[LOG_LEVEL_ERROR] = "error",
};

static void copy_clean(char *out, size_t cap, const char *s)
{
	size_t len = strnlen(s, cap - 1);
	memcpy(out, s, len);
	log_clean(out, len);
}

void log_init(const char *process, const char *worker, enum log_level least, enum log_format format)
{
	copy_clean(self.process, sizeof(self.process), process);
	copy_clean(self.worker, sizeof(self.worker), worker ? worker : "");
	self.least = least;
	self.format = format;
}

static void forget_left_out(void)
{
	for (struct log_site *s = self.left_out, *next; s; s = next) {
		next = s->next;
		s->next = NULL;
		s->left_out = 0;
	}
	self.left_out = NULL;
}

void log_process(const char *name)
{
	copy_clean(self.process, sizeof(self.process), name);
	forget_left_out();
	self.unwritten = 0;
}

static nsec boot_time(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (nsec)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* For people to read; nothing is timed by it. */
static void stamp(char out[static 40])
{
	struct timespec ts;
	char day[LOG_STAMP_LEN];
	clock_gettime(CLOCK_REALTIME, &ts);
	log_stamp(ts.tv_sec, day);
	snprintf(out, 40, "%s.%03ldZ", day, ts.tv_nsec / 1000000);
}

/*
 * One write, so that the lines of several processes do not mix, and none that would wait: a pipe whose
 * reader has stopped must not stop the network.
 */
static bool put(const char *line, size_t len)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	if (poll(&p, 1, 0) == 0)
		return false;
	if (self.torn && write(STDERR_FILENO, "\n", 1) != 1)
		return false;
	self.torn = false;
	ssize_t n = write(STDERR_FILENO, line, len);
	self.torn = n > 0 && (size_t)n < len;
	return n == (ssize_t)len;
}

static bool put_message(enum log_level level, const char *message)
{
	char time[40], line[JSON_LINE_MAX];
	struct log_fields f = { .time = time,
				.level = level_names[level],
				.process = self.process,
				.worker = self.worker[0] ? self.worker : NULL,
				.message = message };
	stamp(time);
	size_t len = self.format == LOG_FORMAT_JSON ? log_json_line(line, sizeof(line), &f)
						    : log_text_line(line, TEXT_LINE_MAX, &f);
	return put(line, len);
}

/* What was missed is told before the next line that gets through. */
static void tell(enum log_level level, const char *message)
{
	char missed[80];
	if (self.capture) {
		if (!self.capture[0])
			snprintf(self.capture, self.capture_cap, "%s", message);
		return;
	}
	if (self.unwritten) {
		snprintf(missed, sizeof(missed), "%u lines before this one could not be written",
			 self.unwritten);
		if (put_message(LOG_LEVEL_ERROR, missed))
			self.unwritten = 0;
	}
	if (self.unwritten || !put_message(level, message))
		self.unwritten++;
}

/* What does not fit is cut, and the end says so. */
static void format(char out[static MESSAGE_MAX], const char *fmt, va_list ap)
{
	static const char cut[] = " …";
	int n = vsnprintf(out, MESSAGE_MAX, fmt, ap);
	size_t len = size_min(n < 0 ? 0 : (size_t)n, MESSAGE_MAX - 1);
	if (n >= MESSAGE_MAX)
		len -= sizeof(cut) - 1;
	len = log_clean(out, len);
	if (n >= MESSAGE_MAX)
		memcpy(out + len, cut, sizeof(cut));
}

bool log_allowed(struct log_site *s, nsec now)
{
	if (!s->left_out && (s->said == 0 || now - s->began >= s->every)) {
		s->began = now;
		s->said = 0;
	}
	if (s->said < s->burst) {
		s->said++;
		return true;
	}
	if (s->left_out++ == 0) {
		s->next = self.left_out;
		self.left_out = s;
	}
	return false;
}

/* The first that is left out is kept, to say what it is that there were more of. */
static void keep_sample(struct log_site *s, enum log_level level, const char *fmt, va_list ap)
{
	char message[MESSAGE_MAX];
	s->level = level;
	format(message, fmt, ap);
	copy_clean(s->sample, sizeof(s->sample), message);
}

void log_line(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	va_list ap;

	if (level < self.least)
		return;
	nsec now = boot_time();
	log_flush(now);
	va_start(ap, fmt);
	if (log_allowed(site, now)) {
		format(message, fmt, ap);
		tell(level, message);
	} else if (site->left_out == 1) {
		keep_sample(site, level, fmt, ap);
	}
	va_end(ap);
}

void log_usage(const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	format(message, fmt, ap);
	va_end(ap);
	if (self.capture || self.format == LOG_FORMAT_JSON)
		tell(LOG_LEVEL_ERROR, message);
	else
		fprintf(stderr, "warren: %s\n", message);
}

static void report(struct log_site *s, nsec took)
{
	char message[LOG_SAMPLE + 80];
	snprintf(message, sizeof(message), "… and %u more like this in %lld s: %s", s->left_out,
		 (long long)((took + NSEC_PER_SEC / 2) / NSEC_PER_SEC), s->sample);
	tell(s->level, message);
	s->left_out = s->said = 0;
	s->next = NULL;
}

void log_flush(nsec now)
{
	for (struct log_site **at = &self.left_out; *at;) {
		struct log_site *s = *at;
		if (now - s->began < s->every) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		report(s, now - s->began);
	}
}

nsec log_deadline(void)
{
	nsec at = NSEC_NEVER;
	for (const struct log_site *s = self.left_out; s; s = s->next)
		at = nsec_min(at, s->began + s->every);
	return at;
}

void log_tick(void)
{
	if (self.left_out)
		log_flush(boot_time());
}

void log_end(void)
{
	nsec now = self.left_out ? boot_time() : 0;
	while (self.left_out) {
		struct log_site *s = self.left_out;
		self.left_out = s->next;
		report(s, now - s->began);
	}
}

void log_capture(char *out, size_t cap)
{
	self.capture = out;
	self.capture_cap = cap;
	if (out && cap)
		out[0] = 0;
}
