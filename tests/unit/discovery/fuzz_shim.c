/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole shim over sockets that are memory (fake_net.h): clients, the Trinos that it asks, and the
 * gateway's feed say anything, in any pieces, and hang up at any time; timers run out when the input
 * says so. Nothing may spin or stay open, and what reaches a Trino is HTTP whose framing is whole.
 */
#include "base/bytes.h"
#include "discovery/shim_impl.h"
#include "fake_net.h"
#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 64, TURNS_MAX = 20000, WORDS = 0x80, FLOOD = 1 << 16, TEXT_MAX = 1 << 13 };

static const char *const words[] = {
	"GET ",
	"HEAD ",
	"PUT ",
	"POST ",
	"/v1/announcement/w1",
	"/v1/info",
	"/v1/status",
	"/v1/statement",
	"/v1/announcement",
	"/warren/",
	"status",
	"metrics",
	"health",
	" HTTP/1.1\r\n",
	" HTTP/1.0\r\n",
	"Host: localhost\r\n",
	"Host: w1\r\n",
	"Host: 10.77.0.2:8080\r\n",
	"Host: [::1]\r\n",
	"Content-Length: ",
	"Transfer-Encoding: chunked\r\n",
	"Connection: close\r\n",
	"Origin: http://evil.example\r\n",
	"\r\n",
	"5\r\nhello\r\n",
	"0\r\n\r\n",
	"HTTP/1.1 200 OK\r\n",
	"HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 204 No Content\r\n",
	"HTTP/1.1 101 Switching Protocols\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"\x16\x03\x01",
	"{\"internalAddress\":\"10.77.0.2\",\"nodeVersion\":{\"version\":\"476\"},",
	"\"environment\":\"prod\",\"coordinator\":true}",
	"{\"internalAddress\":\"10-77-0-2.ip\"}",
	"{\"internalAddress\":\"192.0.2.1\"}",
	"{\"status\":{\"cpu\":{\"seconds\":1.5,\"share_minute\":0.1}}}\n",
	"{\"roster\":{\"self\":\"w1\",\"ip\":null,\"members\":[]}}\n",
	"{\"roster\":{\"self\":\"w1\",\"ip\":\"10.77.0.2\",\"ip6\":\"fd00::2\",\"coordinator_id\":"
	"null,"
	"\"members\":[{\"id\":\"c1\",\"ip\":\"10.77.0.1\",\"coordinator\":true,\"online\":true}]}}"
	"\n",
	"{\"roster\":{\"self\":\"w1\",\"ip\":\"10.77.0.2\",\"members\":[{\"id\":\"c1\",\"ip\":\"10."
	"77.0.1\","
	"\"http\":9,\"https\":10,\"coordinator\":true,\"online\":false}]}}\n",
	"{\"roster\":{\"self\":\"w1\",\"ip\":\"10.77.0.2\",\"members\":[{\"id\":\"w1\",\"ip\":\"10."
	"77.0.2\","
	"\"coordinator\":true,\"online\":true}]}}\n",
};

static struct shim *s;
static struct ev_loop *loop;
static nsec now;

static void must(bool ok)
{
	if (!ok)
		abort();
}

nsec __wrap_shim_now(void);

nsec __wrap_shim_now(void)
{
	return now;
}

/* --- the loop: whoever is ready is called --- */

static bool call(ev_io *w, int fd)
{
	if (!ev_is_active(w))
		return false;
	int ready = (w->events & EV_READ && fake_readable(fd) ? EV_READ : 0) |
		    (w->events & EV_WRITE && fake_writable(fd) ? EV_WRITE : 0);
	if (ready)
		ev_cb(w)(loop, w, ready);
	return ready;
}

static bool call_conns(void)
{
	for (struct conn *c = s->conns; c; c = c->next)
		if (call(&c->rd, c->fd) || call(&c->wr, c->fd) || call(&c->up.rd, c->up.fd) ||
		    call(&c->up.wr, c->up.fd))
			return true; /* it may be gone */
	return false;
}

static void turns(void)
{
	unsigned n = 0;
	while (call_conns() || call(&s->probe.io, s->probe.fd) || call(&s->feed.rd, s->feed_fd) ||
	       call(&s->feed.wr, s->feed_fd))
		must(++n < TURNS_MAX); /* ready and unwanted */
}

static bool run_out(ev_timer *t)
{
	if (!ev_is_active(t))
		return false;
	ev_timer_stop(loop, t);
	ev_cb(t)(loop, t, EV_TIMER);
	return true;
}

/* --- what a Trino reads --- */

static bool is_spliced(const uint8_t *p, size_t len)
{
	static const char h2[] = "PRI ";
	return len && (p[0] == 0x16 || memcmp(p, h2, size_min(len, sizeof(h2) - 1)) == 0);
}

/* Whole requests, one after the other; the last may be cut. */
static void check_requests(const uint8_t *p, size_t len)
{
	while (len && !is_spliced(p, len)) {
		struct head_scan scan = { 0 };
		struct http_head h;
		enum head_found found = http_head_scan(&scan, p, len);
		must(found == HEAD_WHOLE || found == HEAD_MORE);
		if (found == HEAD_MORE)
			return;
		must(http_head_parse(HEAD_REQUEST, p, scan.at, &h));
		struct http_body b = http_body_of(h.body, h.length);
		size_t body = http_body_take(&b, p + scan.at, len - scan.at);
		must(!b.bad);
		if (!b.done)
			return;
		p += scan.at + body;
		len -= scan.at + body;
	}
}

static void check(void)
{
	unsigned n = 0, big = 0;
	for (const struct conn *c = s->conns; c; c = c->next, n++) {
		size_t len;
		const uint8_t *p;
		big += c->big;
		must(c->ok <= c->in.len && c->up.ok <= c->up.in.len);
		must(c->in.len <= HEAD_MAX + 1 + BUF_STREAM && c->up.in.len <= HEAD_MAX + 1);
		if (c->up.state != UP_READY)
			continue;
		p = fake_sent(c->up.fd, &len);
		if (len < FAKE_KEPT)
			check_requests(p, len);
	}
	must(n == s->clients && big == s->big_heads);
}

/* --- steps --- */

static int descriptor(uint8_t which)
{
	int fd = FAKE_FIRST + which % FAKE_MAX;
	bool listens = fd == s->listen_fd[0] || fd == s->listen_fd[1];
	return fake_is_open(fd) && !listens ? fd : -1;
}

static void say(struct rd *r, int fd)
{
	static uint8_t text[TEXT_MAX];
	size_t n = rd_u8(r), len = 0;
	for (; n && r->left && len < sizeof(text); n--) {
		uint8_t b = rd_u8(r);
		if (b < WORDS) {
			text[len++] = b;
			continue;
		}
		const char *word = words[(b - WORDS) % ARRAY_SIZE(words)];
		size_t more = size_min(strlen(word), sizeof(text) - len);
		memcpy(text + len, word, more);
		len += more;
	}
	if (fd >= 0)
		fake_say(fd, text, len);
}

static void flood(int fd)
{
	static uint8_t a[FLOOD];
	if (!a[0])
		memset(a, 'a', sizeof(a));
	fake_say(fd, a, sizeof(a));
}

static void timer(uint8_t which)
{
	struct conn *c = s->conns;
	for (; c && which >= 4; which = (uint8_t)(which - 4))
		c = c->next;
	switch (which % 4) {
	case 0:
		if (c)
			run_out(&c->timer);
		break;
	case 1:
		run_out(&s->probe.next);
		break;
	case 2:
		run_out(&s->probe.timeout);
		break;
	default:
		now += (nsec)(1 + which) * NSEC_PER_SEC;
	}
}

static void arrive(uint8_t what)
{
	int fd = fake_open();
	if (fd < 0)
		return;
	if (what & 1)
		conn_new(s, fd);
	else
		shim_set_feed(s, fd);
}

static void step(struct rd *r)
{
	uint8_t op = rd_u8(r), arg = rd_u8(r);
	int fd = descriptor(arg);
	switch (op % 8) {
	case 0:
		arrive(arg);
		break;
	case 1:
	case 2:
	case 3:
		say(r, fd);
		break;
	case 4:
		if (fd >= 0)
			fake_hang_up(fd, arg & 0x80);
		break;
	case 5:
		if (fd >= 0)
			fake_deaf(fd, arg & 0x80);
		break;
	case 6:
		timer(arg);
		break;
	default:
		fake_set_mood((enum fake_mood)(arg >> 5) % FAKE_MOODS);
		if (fd >= 0 && op & 0x80)
			flood(fd);
	}
	if (!(op & 0x40)) /* else it comes together with the next */
		turns();
}

static void begin(void)
{
	static const struct shim_config cfg = { .proxy_port = 8080,
						.trino_port = 8081,
						.trino_https_port = 8443,
						.worker_id = "w1",
						.feed_fd = -1 };
	if (!loop) {
		log_init("fuzz", NULL, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
		must((loop = ev_loop_new(EVFLAG_NOENV)) != NULL);
		json_set_alloc_funcs(malloc, free);
		snapshot_begin(); /* of nothing: memory is that of one input */
		snapshot_take();
	}
	snapshot_restore();
	now = 1000 * NSEC_PER_SEC;
	fake_begin();
	must(shim_new(&s, loop, &cfg) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r = rd_of(data, size_min(size, 4096));
	begin();
	for (unsigned i = 0; i < STEPS_MAX && r.left; i++) {
		step(&r);
		check();
	}
	turns();
	check();
	shim_free(s);
	fake_end();
	snapshot_end();
	return 0;
}
