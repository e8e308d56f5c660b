/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks our own Trino who it is: /v1/status every 5 s (every second until it first answers), at the
 * virtual IP and then at 127.0.0.1, and /v1/info after each answer. One question at a time.
 *
 * Here libhttp-parser alone reads the answers: nothing is passed on, so nothing can be smuggled.
 */
#include "discovery/shim_impl.h"

#include <errno.h>
#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ASK_SECONDS 2.0
enum { BODY_MAX = 64 * 1024, MISSES_MAX = 3, WRONG_EVERY_SECONDS = 60 };
enum { ASK_STATUS, ASK_INFO };

struct probe_reply {
	http_parser parser;
	bool whole;
	size_t len;
	char body[BODY_MAX];
};

static const char *const paths[] = { [ASK_STATUS] = "/v1/status", [ASK_INFO] = "/v1/info" };

static void ask_next(struct shim *s);

static int on_body(http_parser *hp, const char *at, size_t len)
{
	struct probe_reply *r = hp->data;
	if (len > sizeof(r->body) - r->len)
		return -1;
	memcpy(r->body + r->len, at, len);
	r->len += len;
	return 0;
}

static int on_complete(http_parser *hp)
{
	struct probe_reply *r = hp->data;
	r->whole = true;
	http_parser_pause(hp, 1);
	return 0;
}

static void hang_up(struct probe *p, struct ev_loop *loop)
{
	if (p->fd < 0)
		return;
	ev_io_stop(loop, &p->io);
	ev_timer_stop(loop, &p->timeout);
	close(p->fd);
	p->fd = -1;
	free(p->reply);
	p->reply = NULL;
}

static void schedule(struct shim *s, double after)
{
	struct probe *p = &s->probe;
	ev_timer_stop(s->loop, &p->next);
	ev_timer_set(&p->next, after, 0.);
	ev_timer_start(s->loop, &p->next);
}

static void round_over(struct shim *s)
{
	feed_tell_trino(s);
	schedule(s, s->probe.trino.ever_up ? WAIT_TRINO : WAIT_TRINO_NEVER_UP);
}

/* A heap that pauses misses a question or two; a refused connection is a fact. */
static void no_answer(struct shim *s, bool refused)
{
	struct probe *p = &s->probe;
	p->misses++;
	if (p->trino.up && (refused || p->misses >= MISSES_MAX)) {
		log_warn("Trino on this node no longer answers on port %u", s->trino_port);
		p->trino.up = p->trino.has_status = false;
	}
	shim_trino_told(s);
	round_over(s);
}

static void failed(struct shim *s, int error)
{
	struct probe *p = &s->probe;
	hang_up(p, s->loop);
	if (p->step != ASK_STATUS) {
		round_over(s); /* the address is known; the rest can wait */
	} else if (++p->trying < p->dest.count) {
		ask_next(s);
	} else {
		no_answer(s, error == ECONNREFUSED);
	}
}

static void copy_text(const json_t *o, const char *key, char *out, size_t size)
{
	const char *v = json_string_value(json_object_get(o, key));
	if (v && strlen(v) < size)
		snprintf(out, size, "%s", v);
}

static void read_facts(struct trino *t, const json_t *o)
{
	const json_t *coordinator = json_object_get(o, "coordinator");
	copy_text(json_object_get(o, "nodeVersion"), "version", t->version, sizeof(t->version));
	copy_text(o, "environment", t->environment, sizeof(t->environment));
	if (json_is_boolean(coordinator))
		t->coordinator = json_is_true(coordinator);
}

static void say_state(struct shim *s, bool was_up)
{
	struct probe *p = &s->probe;
	struct trino *t = &p->trino;
	char at[ENDPOINT_STRLEN], why[WHY_SIZE];
	if (!was_up)
		log_info("Trino on this node is up at %s: version %s, environment %s, %s",
			 endpoint_str(&t->at, at), t->version[0] ? t->version : "unknown",
			 t->environment[0] ? t->environment : "unknown",
			 t->coordinator ? "coordinator" : "worker");
	if (guard_verdict(s, true) != GUARD_WRONG)
		return;
	guard_text(s, why);
	log_seldom(LOG_LEVEL_WARN, WRONG_EVERY_SECONDS * NSEC_PER_SEC, "%s", why);
}

static void status_came(struct shim *s, const json_t *o)
{
	struct probe *p = &s->probe;
	struct trino *t = &p->trino;
	bool was_up = t->up;
	t->address[0] = 0;
	copy_text(o, "internalAddress", t->address, sizeof(t->address));
	t->has_status = t->address[0];
	t->at = p->dest.ep[p->trying];
	t->asked_at = shim_now();
	t->up = t->ever_up = true;
	p->misses = 0;
	read_facts(t, o);
	say_state(s, was_up);
	shim_trino_told(s);
}

static void answered(struct shim *s)
{
	struct probe *p = &s->probe;
	json_t *o = p->reply->parser.status_code == 200
			    ? json_loadb(p->reply->body, p->reply->len, 0, NULL)
			    : NULL;
	hang_up(p, s->loop);
	if (p->step == ASK_STATUS) {
		status_came(s, o);
		p->step = ASK_INFO;
		ask_next(s);
	} else {
		read_facts(&p->trino, o);
		round_over(s);
	}
	json_decref(o);
}

static bool send_question(struct shim *s)
{
	struct probe *p = &s->probe;
	char at[ENDPOINT_STRLEN], text[512];
	int err = 0;
	socklen_t len = sizeof(err);
	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || err) {
		failed(s, err);
		return false;
	}
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: warren/" WARREN_VERSION "\r\n"
			 "Accept: application/json\r\nConnection: close\r\n\r\n",
			 paths[p->step], endpoint_str(&p->dest.ep[p->trying], at));
	if (send(p->fd, text, (size_t)n, MSG_NOSIGNAL) != n) { /* a fresh socket takes it whole */
		failed(s, errno);
		return false;
	}
	ev_io_stop(s->loop, &p->io);
	ev_io_set(&p->io, p->fd, EV_READ);
	ev_io_start(s->loop, &p->io);
	return true;
}

static void read_reply(struct shim *s)
{
	struct probe_reply *r = s->probe.reply;
	http_parser_settings set;
	char bytes[16384];
	ssize_t n = read(s->probe.fd, bytes, sizeof(bytes));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		failed(s, errno);
		return;
	}
	http_parser_settings_init(&set);
	set.on_body = on_body;
	set.on_message_complete = on_complete;
	http_parser_execute(&r->parser, &set, bytes, (size_t)n);
	if (r->whole)
		answered(s);
	else if (n == 0 || HTTP_PARSER_ERRNO(&r->parser) != HPE_OK)
		failed(s, EPROTO);
}

static void on_io(struct ev_loop *loop, ev_io *w, int events)
{
	struct shim *s = w->data;
	(void)loop;
	if (events & EV_WRITE)
		send_question(s);
	else
		read_reply(s);
}

static void on_timeout(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)events;
	failed(t->data, ETIMEDOUT);
}

static int open_question(struct probe *p)
{
	const struct endpoint *e = &p->dest.ep[p->trying];
	bool v6 = !addr_is_v4(&e->addr);
	struct sockaddr_storage ss;
	size_t len = endpoint_to_sockaddr(e, v6, &ss);
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&ss, (socklen_t)len) < 0 && errno != EINPROGRESS) {
		int err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* Asks paths[step] at dest.ep[trying], or at the next that can be connected to. */
static void ask_next(struct shim *s)
{
	struct probe *p = &s->probe;
	int fd = open_question(p);
	p->reply = fd >= 0 ? calloc(1, sizeof(*p->reply)) : NULL;
	if (!p->reply) {
		if (fd >= 0)
			close(fd);
		failed(s, fd < 0 ? -fd : ENOMEM);
		return;
	}
	p->fd = fd;
	http_parser_init(&p->reply->parser, HTTP_RESPONSE);
	p->reply->parser.data = p->reply;
	ev_io_set(&p->io, fd, EV_WRITE);
	ev_io_start(s->loop, &p->io);
	ev_timer_set(&p->timeout, ASK_SECONDS, 0.);
	ev_timer_start(s->loop, &p->timeout);
}

static void on_next(struct ev_loop *loop, ev_timer *t, int events)
{
	struct shim *s = t->data;
	struct probe *p = &s->probe;
	(void)loop;
	(void)events;
	if (p->fd >= 0)
		return;
	p->dest = (struct dest){ .route = ROUTE_LOCAL };
	dest_local(s, s->trino_port, &p->dest);
	p->step = ASK_STATUS;
	p->trying = 0;
	ask_next(s);
}

/* By the timer, so that no answer can come while the caller is still at work. */
void probe_now(struct shim *s)
{
	if (s->probe.fd < 0)
		schedule(s, 0.);
}

void probe_init(struct shim *s)
{
	struct probe *p = &s->probe;
	p->fd = -1;
	ev_init(&p->io, on_io);
	ev_timer_init(&p->timeout, on_timeout, ASK_SECONDS, 0.);
	ev_timer_init(&p->next, on_next, 0., 0.);
	p->io.data = p->timeout.data = p->next.data = s;
	schedule(s, 0.);
}

void probe_stop(struct shim *s)
{
	hang_up(&s->probe, s->loop);
	ev_timer_stop(s->loop, &s->probe.next);
}
