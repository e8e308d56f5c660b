/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's side: one JSON object a line, both ways. */
#include "discovery/shim_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4 * 1024 * 1024, OUT_MAX = 64 * 1024 };

static void ended(struct shim *s, const char *why)
{
	if (s->feed.dead)
		return;
	log_warn("the gateway is gone: %s: going on with what it said last", why);
	s->feed.dead = true;
	s->feed.wanted = false;
	ev_io_stop(s->loop, &s->feed.rd);
	ev_io_stop(s->loop, &s->feed.wr);
}

static void flush(struct shim *s)
{
	struct feed *f = &s->feed;
	ssize_t n = 0;
	if (f->dead || s->feed_fd < 0)
		return;
	while (n >= 0 && f->out.len > 0) {
		n = write(s->feed_fd, buf_bytes(&f->out), f->out.len);
		if (n >= 0)
			buf_consume(&f->out, (size_t)n);
		else if (errno != EAGAIN && errno != EINTR)
			ended(s, strerror(errno));
	}
	if (f->dead)
		return;
	if (f->out.len > 0)
		ev_io_start(s->loop, &f->wr);
	else
		ev_io_stop(s->loop, &f->wr);
}

static void say(struct shim *s, const char *line)
{
	struct feed *f = &s->feed;
	if (s->feed_fd < 0 || f->dead)
		return;
	if (f->out.len > OUT_MAX || !buf_put(&f->out, line, strlen(line)) ||
	    !buf_put(&f->out, "\n", 1)) {
		ended(s, "it reads nothing");
		return;
	}
	flush(s);
}

/* Several that ask while one answer is awaited share it. */
void feed_want_status(struct shim *s)
{
	if (s->feed.wanted)
		return;
	s->feed.wanted = true;
	say(s, "{\"want\":\"status\"}");
}

void feed_tell_trino(struct shim *s)
{
	const struct trino *t = &s->probe.trino;
	json_t *o = json_pack("{s:{s:i,s:i,s:b,s:s,s:s,s:b}}", "trino", "http", s->trino_port,
			      "https", s->trino_https_port, "coordinator", t->coordinator,
			      "environment", t->environment, "version", t->version, "up", t->up);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	if (!text || (s->feed.told && strcmp(text, s->feed.told) == 0)) {
		free(text);
		return;
	}
	free(s->feed.told);
	s->feed.told = text;
	say(s, text);
}

/* What the metrics say of the gateway; a release that does not tell it is no error. */
static void take_cpu(struct shim *s, const json_t *status)
{
	const json_t *cpu = json_object_get(status, "cpu");
	const json_t *seconds = json_object_get(cpu, "seconds");
	const json_t *share = json_object_get(cpu, "share_minute");

	s->gateway.known = json_is_number(seconds) && json_is_number(share);
	s->gateway.cpu_seconds = json_number_value(seconds);
	s->gateway.cpu_share = json_number_value(share);
}

static bool take_status(struct shim *s, const json_t *status)
{
	char *text = json_dumps(status, JSON_COMPACT | JSON_ENCODE_ANY);
	struct blob *b = blob_of(text, text ? strlen(text) : 0);
	s->feed.wanted = false;
	take_cpu(s, status);
	if (!b)
		return false;
	shim_each(s, answer_status, b);
	blob_drop(b);
	return true;
}

bool shim_feed(struct shim *s, const char *json, size_t len)
{
	json_t *o = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *roster = json_object_get(o, "roster");
	const json_t *status = json_object_get(o, "status");
	bool ok = json_is_object(o);
	if (ok && roster) {
		ok = roster_read(&s->roster, roster);
		if (ok)
			target_update(s);
	}
	if (ok && status)
		ok = take_status(s, status);
	json_decref(o);
	return ok;
}

/* Whole lines in the buffer. */
static void take_lines(struct shim *s)
{
	struct feed *f = &s->feed;
	while (!f->dead && f->scanned < f->in.len) {
		const uint8_t *p = buf_bytes(&f->in);
		const uint8_t *lf = memchr(p + f->scanned, '\n', f->in.len - f->scanned);
		if (!lf) {
			f->scanned = f->in.len;
			return;
		}
		size_t len = (size_t)(lf - p);
		if (len > 0 && !shim_feed(s, (const char *)p, len))
			ended(s, "what it said is no object of ours");
		buf_consume(&f->in, len + 1);
		f->scanned = 0;
	}
}

static void readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct shim *s = w->data;
	(void)loop;
	(void)events;
	ssize_t n = buf_fill(&s->feed.in, s->feed_fd, LINE_MAX_BYTES);
	if (n == 0)
		ended(s, "end of its socket");
	else if (n < 0 && n != -EAGAIN && n != -EINTR)
		ended(s, strerror((int)-n));
	if (n <= 0)
		return;
	take_lines(s);
	if (s->feed.in.len >= LINE_MAX_BYTES)
		ended(s, "a line of more than 4 MiB");
}

static void writable(struct ev_loop *loop, ev_io *w, int events)
{
	(void)loop;
	(void)events;
	flush(w->data);
}

bool feed_open(struct shim *s)
{
	int fd = s->feed_fd;
	if (fd < 0)
		return true;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return false;
	ev_io_init(&s->feed.rd, readable, fd, EV_READ);
	ev_io_init(&s->feed.wr, writable, fd, EV_WRITE);
	s->feed.rd.data = s->feed.wr.data = s;
	ev_io_start(s->loop, &s->feed.rd);
	return true;
}

void feed_close(struct shim *s)
{
	if (s->feed_fd >= 0) {
		ev_io_stop(s->loop, &s->feed.rd);
		ev_io_stop(s->loop, &s->feed.wr);
		close(s->feed_fd);
		s->feed_fd = -1;
	}
	buf_free(&s->feed.in);
	buf_free(&s->feed.out);
	free(s->feed.told);
	memset(&s->feed, 0, sizeof(s->feed));
}

void shim_set_feed(struct shim *s, int fd)
{
	feed_close(s);
	s->feed_fd = fd;
	if (!feed_open(s)) {
		feed_close(s);
		s->feed.dead = true;
		return;
	}
	feed_tell_trino(s);
}
