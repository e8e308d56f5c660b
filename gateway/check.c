/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/check.h"
#include "gateway/state.h"
#include "base/log_text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS_A_DAY = 86400, OTHERS = 077, LINE_SIZE = sizeof(struct check_line) + 32 };

/* No release is older; a clock that is behind was never set. And none is meant to run for so long. */
static const int64_t clock_first = 1735689600; /* 2025-01-01 */
static const int64_t clock_last = 4102444800;  /* 2100-01-01 */

static const char *const result_words[] = { "ok", "warning", "FAILED" };
static const char *const result_names[] = { "ok", "warning", "failed" };

/* --- the report --- */

static void put_clean(char out[static CHECK_TEXT], const char *fmt, va_list ap)
{
	int n = vsnprintf(out, CHECK_TEXT, fmt, ap);
	log_clean(out, size_min(n < 0 ? 0 : (size_t)n, CHECK_TEXT - 1));
}

void check_found(struct check_report *r, const char *name, enum check_result result,
		 const char *fmt, ...)
{
	va_list ap;
	assert(r->n < CHECK_LINES);
	struct check_line *l = &r->line[r->n++];

	*l = (struct check_line){ .result = result };
	snprintf(l->name, sizeof(l->name), "%s", name);
	va_start(ap, fmt);
	put_clean(l->found, fmt, ap);
	va_end(ap);
}

void check_todo(struct check_report *r, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	put_clean(r->line[r->n - 1].todo, fmt, ap);
	va_end(ap);
}

void check_complaint(struct check_report *r, const char *name, enum check_result result,
		     const char *words)
{
	const char *colon = strstr(words, ": ");
	if (!colon) {
		check_found(r, name, result, "%s", words);
		return;
	}
	check_found(r, name, result, "%.*s", (int)(colon - words), words);
	check_todo(r, "%s", colon + 2);
}

bool check_passed(const struct check_report *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->line[i].result == CHECK_FAILED)
			return false;
	return true;
}

char *check_text(const struct check_report *r)
{
	size_t cap = r->n * LINE_SIZE + 1, at = 0;
	char *out = calloc(1, cap);

	for (size_t i = 0; out && i < r->n; i++) {
		const struct check_line *l = &r->line[i];
		at += (size_t)snprintf(out + at, cap - at, "%-7s  %s: %s%s%s\n",
				       result_words[l->result], l->name, l->found,
				       l->todo[0] ? ": " : "", l->todo);
	}
	return out;
}

char *check_json(const struct check_report *r)
{
	json_t *lines = json_array();
	for (size_t i = 0; i < r->n; i++) {
		const struct check_line *l = &r->line[i];
		json_array_append_new(lines,
				      json_pack("{s:s,s:s,s:s,s:s?}", "name", l->name, "result",
						result_names[l->result], "found", l->found, "do",
						l->todo[0] ? l->todo : NULL));
	}
	json_t *o = json_pack("{s:b,s:s,s:o}", "ok", check_passed(r), "release", WARREN_VERSION,
			      "checks", lines);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}

/* --- the clock --- */

static void date(int64_t seconds, char out[static 24])
{
	time_t t = (time_t)seconds;
	struct tm tm;
	if (!gmtime_r(&t, &tm) || !strftime(out, 24, "%Y-%m-%d %H:%M UTC", &tm))
		out[0] = 0;
}

void check_clock(struct check_report *r, int64_t wall, int64_t expires)
{
	char now[24], end[24];

	date(wall, now);
	date(expires, end);
	if (wall < clock_first || wall > clock_last) {
		check_found(r, "clock", CHECK_FAILED, "it is %s here", now);
		check_todo(r,
			   "set the clock (NTP): handshakes are ordered by it, and a key that was "
			   "used at a later time is refused until then");
	} else if (!expires) {
		check_found(r, "clock", CHECK_OK, "%s", now);
	} else if (expires <= wall) {
		check_found(r, "clock", CHECK_FAILED, "%s, and the token expired on %s", now, end);
		check_todo(r, "get a new one with `warren token` on the rendezvous, or set the "
			      "clock");
	} else if (expires - wall < SECONDS_A_DAY) {
		check_found(r, "clock", CHECK_WARNING, "%s, and the token expires on %s", now, end);
		check_todo(r, "join before that, or get a new one");
	} else {
		check_found(r, "clock", CHECK_OK, "%s; the token is good until %s", now, end);
	}
}

/* --- directories --- */

/* The directory that is there on the way to `dir`: itself, or the one that it would be made in. */
static void existing(const char *dir, char out[static 512])
{
	struct stat st;
	snprintf(out, 512, "%s", dir);
	while (stat(out, &st) < 0 && errno == ENOENT) {
		char *slash = strrchr(out, '/');
		if (!slash) {
			snprintf(out, 512, ".");
			return;
		}
		slash[slash == out] = 0;
	}
}

/* Rights say little of a file system that is full or read-only: only a file that was written does. */
static int try_file(const char *dir)
{
	char path[600];
	static const char bytes[4096];

	snprintf(path, sizeof(path), "%s/check.XXXXXX", dir);
	int fd = mkstemp(path);
	if (fd < 0)
		return -errno;
	unlink(path);
	ssize_t n = write(fd, bytes, sizeof(bytes));
	int err = n < 0 ? -errno : n < (ssize_t)sizeof(bytes) ? -ENOSPC : 0;
	if (err == 0 && fsync(fd) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int try_dir(const char *dir, const char *at, struct stat *st)
{
	if (strlen(dir) >= 300)
		return -ENAMETOOLONG;
	if (stat(at, st) < 0)
		return -errno;
	if (!S_ISDIR(st->st_mode))
		return -ENOTDIR;
	if (access(at, W_OK | X_OK) < 0)
		return -errno;
	return try_file(at);
}

void check_dir(struct check_report *r, const char *name, const char *dir, bool secret,
	       enum check_result if_not, const char *todo)
{
	char at[512];
	struct stat st = { 0 };

	existing(dir, at);
	int err = try_dir(dir, at, &st);
	if (err < 0) {
		check_found(r, name, if_not, "%s cannot be written (%s)", at, strerror(-err));
		check_todo(r, "%s", todo);
	} else if (strcmp(at, dir) != 0) {
		check_found(r, name, CHECK_OK, "%s is made at the first start", dir);
	} else if (secret && (st.st_mode & OTHERS)) {
		check_found(r, name, CHECK_WARNING, "others may look into %s (mode %03o)", dir,
			    (unsigned)st.st_mode & 0777u);
		check_todo(r, "chmod 700 %s", dir);
	} else {
		check_found(r, name, CHECK_OK, "%s can be written", dir);
	}
}

uint16_t check_identity(struct check_report *r, const char *dir, bool *member)
{
	struct state s;
	struct stat st;
	char path[600];
	int err = state_read(&s, dir);
	uint16_t port = err == 0 ? s.port : 0;

	*member = err == 0 && s.has_psk;
	snprintf(path, sizeof(path), "%s/identity", dir);
	state_wipe(&s);
	if (err == -ENOENT || err == -ENOTDIR)
		return 0; /* made at the first start */
	if (err == -EBADMSG) {
		check_found(r, "key", CHECK_FAILED, "%s is damaged or of a newer release", path);
		check_todo(r, "move it away, and this node joins with a new key");
	} else if (err < 0) {
		check_found(r, "key", CHECK_FAILED, "cannot read %s (%s)", path, strerror(-err));
		check_todo(r, "run as its owner, or choose another --state");
	} else if (stat(path, &st) == 0 && (st.st_mode & OTHERS)) {
		check_found(r, "key", CHECK_WARNING, "others may read %s (mode %03o)", path,
			    (unsigned)st.st_mode & 0777u);
		check_todo(r, "chmod 600 %s; if somebody has, move it away: a new key is made",
			   path);
	} else {
		check_found(r, "key", CHECK_OK, "%s", path);
	}
	return port;
}
