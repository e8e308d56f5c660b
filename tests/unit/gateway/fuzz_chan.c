/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway's other processes tell it, should one of them be taken over: messages of the launcher and the keeper with
 * and without descriptors, the helper's answers, the shim's lines, of any bytes and sizes, in any
 * pieces. The sockets are the test's (--wrap); the node below is a real one that joins.
 */
#include "gateway/gw.h"
#include "gateway/proc.h"
#include "gw_rest.h"
#include "base/log.h"
#include "snapshot.h"

#include <errno.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	STEPS_MAX = 64,
	WORDS = 0x80,
	TEXT_MAX = 1 << 13,
	LAUNCHER = 600,
	OTHERS = 601,
	SHIM_OUT = 8 << 20
};

#define START (1000 * NSEC_PER_SEC)
#define LONG "0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const words[] = {
	"{\"trino\":{\"http\":8081,\"https\":0,\"coordinator\":true,\"environment\":\"prod\","
	"\"version\":\"476\"}}\n",
	"{\"want\":\"status\"}\n",
	"{\"trino\":{",
	"\"http\":",
	"\"https\":",
	"\"coordinator\":true",
	"\"environment\":",
	"\"version\":",
	"\"want\":",
	"\"" LONG "\"",
	"\"a\\u00e9\\n\"",
	"65536",
	"-1",
	"null",
	"[[[[[[[[[[[[[[[[",
	"}}\n",
	",",
	"\n",
};

static struct gw g;
static struct gw_config cfg;
static struct node *node; /* made once and put back */
static int next_fd;
static unsigned opened, closed;

/* What is there to receive, on whichever channel is looked at. */
static struct {
	const uint8_t *p;
	size_t len;
	int fd; /* that comes along, or -1 */
	bool there, end;
} arrived;
static bool deaf; /* the others read nothing */

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* --- in the kernel's place --- */

int __real_close(int fd);
int __wrap_close(int fd);
ssize_t __wrap_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap___recv_chk(int fd, void *p, size_t n, size_t size, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *h, int flags);
ssize_t __wrap_send(int fd, const void *p, size_t n, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *h, int flags);

int __wrap_close(int fd)
{
	if (fd < LAUNCHER)
		return __real_close(fd);
	closed++;
	return 0;
}

static ssize_t nothing(void)
{
	errno = EAGAIN;
	return -1;
}

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags)
{
	(void)fd;
	(void)flags;
	if (!arrived.there)
		return nothing();
	n = size_min(n, arrived.len);
	memcpy(p, arrived.p, n);
	arrived.p += n;
	arrived.len -= n;
	arrived.there = arrived.len > 0;
	return arrived.end ? 0 : (ssize_t)n;
}

/* What a compiler makes of it that checks sizes. */
ssize_t __wrap___recv_chk(int fd, void *p, size_t n, size_t size, int flags)
{
	must(n <= size);
	return __wrap_recv(fd, p, n, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *h, int flags)
{
	ssize_t n = __wrap_recv(fd, h->msg_iov->iov_base, h->msg_iov->iov_len, flags);
	arrived.there = false; /* records: what does not fit is lost */
	if (n < 0 || arrived.fd < 0) {
		h->msg_controllen = 0;
		return n;
	}
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
			       .cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &arrived.fd, sizeof(int));
	h->msg_controllen = CMSG_SPACE(sizeof(int));
	opened++;
	return n;
}

ssize_t __wrap_send(int fd, const void *p, size_t n, int flags)
{
	(void)fd;
	(void)p;
	(void)flags;
	return deaf ? nothing() : (ssize_t)n;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *h, int flags)
{
	return __wrap_send(fd, h->msg_iov->iov_base, h->msg_iov->iov_len, flags);
}

/* --- steps --- */

static void arrive(ev_io *w, const uint8_t *p, size_t len, int fd)
{
	arrived.p = p;
	arrived.len = len;
	arrived.fd = fd;
	arrived.there = true;
	if (ev_is_active(w))
		ev_cb(w)(g.loop.ev, w, EV_READ);
	else if (fd >= 0)
		next_fd--; /* nobody took it */
	arrived.there = arrived.end = false;
}

/* The launcher, or the keeper. */
static void record_says(struct rd *r, ev_io *w)
{
	uint8_t bytes[sizeof(struct chan_msg) + 8] = { 0 }, how = rd_u8(r);
	struct chan_msg m = { .kind = (enum chan_kind)(how & 15), .code = how >> 4 };
	size_t len = sizeof(m);

	memcpy(bytes, &m, sizeof(m));
	if (how & 64) { /* as long as it likes */
		len = rd_u8(r) % sizeof(bytes);
		rd_bytes(r, bytes, len);
	}
	arrived.end = how & 128;
	arrive(w, bytes, len, how & 16 ? next_fd++ : -1);
}

static void helper_says(struct rd *r)
{
	uint8_t how = rd_u8(r), bytes[sizeof(struct resolve_answer) + 8];
	struct resolve_answer a;
	size_t len = sizeof(a);

	memset(&a, 0, sizeof(a));
	a.id = (how & 1) * rd_u8(r) % 3u;
	a.count = how >> 4;
	for (unsigned i = 0; i < RESOLVE_MAX; i++)
		a.at[i] = (struct endpoint){ .addr = addr_v4_u32(0xc0000200u + rd_u8(r)),
					     .port = 7777 };
	if (how & 2)
		rd_bytes(r, &a.at[0], sizeof(a.at[0]));
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, &a, sizeof(a));
	if (how & 4)
		len = rd_be16(r) % sizeof(bytes);
	arrived.end = len == 0;
	arrive(&g.helper_io, bytes, len, -1);
}

static void shim_says(struct rd *r)
{
	static uint8_t text[TEXT_MAX];
	size_t n = rd_u8(r), len = 0;
	for (; n && r->left; n--) {
		uint8_t b = rd_u8(r);
		const char *word = words[b % WORDS % ARRAY_SIZE(words)], letter = (char)b;
		size_t more = b < WORDS ? 1 : size_min(strlen(word), sizeof(text) - len);
		if (len + more > sizeof(text))
			break;
		memcpy(text + len, b < WORDS ? &letter : word, more);
		len += more;
	}
	arrived.end = len == 0;
	arrive(&g.shim_io, text, len, -1);
}

/* More than a line may be. */
static void shim_says_much(void)
{
	static uint8_t much[SHIM_LINE_MAX / 2 + 1];
	if (!much[0])
		memset(much, 'a', sizeof(much));
	arrive(&g.shim_io, much, sizeof(much), -1);
}

static void turn(uint8_t what)
{
	deaf = what & 1;
	g.up = what & 2;
	g.loop.now += NSEC_PER_SEC;
	gw_shim_turn(&g);
	if (what & 4)
		gw_shim_roster(&g);
	if (what & 8)
		node_tick(g.node, g.loop.now);
	if (ev_is_active(&g.shim_io) && g.shim_io.events & EV_WRITE)
		ev_cb (&g.shim_io)(g.loop.ev, &g.shim_io, EV_WRITE);
}

static void check(void)
{
	must(g.shim_have < sizeof(g.shim_line) && g.shim_out_len <= SHIM_OUT &&
	     g.shim_out_at <= g.shim_out_len);
	must(g.resolving >> TOKEN_MAX_RENDEZVOUS == 0);
	must(memchr(g.trino.environment, 0, sizeof(g.trino.environment)) != NULL);
	must(memchr(g.trino.version, 0, sizeof(g.trino.version)) != NULL);
}

static void step(struct rd *r)
{
	switch (rd_u8(r) % 7) {
	case 0:
		record_says(r, &g.chan_io);
		break;
	case 6:
		record_says(r, &g.keeper_io);
		break;
	case 1:
		helper_says(r);
		break;
	case 2:
		shim_says_much();
		break;
	case 3:
		turn(rd_u8(r));
		break;
	default:
		shim_says(r);
	}
	check();
}

static void once(void)
{
	struct token *t = &cfg.token;
	struct node_config nc = { .io = { .udp = rest_udp, .note = rest_note },
				  .aead = aead_choose(NULL),
				  .worker_id = "w1",
				  .release = WARREN_VERSION,
				  .private_key = { 8 },
				  .max_peers = 4,
				  .token = t };

	must(sodium_init() >= 0);
	log_init("fuzz", NULL, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	cfg = (struct gw_config){ .worker_id = "w1",
				  .interface = "warren0",
				  .aead = nc.aead,
				  .joining = true,
				  .trino = true };
	snprintf(t->network, sizeof(t->network), "n");
	t->nprefixes = 1;
	t->nrendezvous = 2;
	must(prefix_parse("10.77.0.0/16", &t->prefixes[0]));
	t->rendezvous[0] = (struct token_rendezvous){ .host = "rv.example.com", .udp_port = 7777 };
	t->rendezvous[1] = t->rendezvous[0];
	t->key[0] = 9;
	json_set_alloc_funcs(malloc, free);
	snapshot_begin();
	must((node = node_new(&nc, START)) != NULL);
	snapshot_take();
}

static void begin(void)
{
	static struct ev_loop *ev;

	if (!ev) {
		must((ev = ev_loop_new(EVFLAG_NOENV)) != NULL);
		once();
	}
	snapshot_restore();
	memset(&g, 0, offsetof(struct gw, shim_line));
	g.cfg = &cfg;
	g.loop = (struct loop){ .ev = ev, .now = START };
	g.chan = LAUNCHER;
	g.helper_fd = g.shim_fd = g.keeper_fd = -1;
	g.shim_have = 0;
	g.shim_dropping = g.shim_wants = false;
	g.shim_out = NULL;
	g.shim_out_len = g.shim_out_at = 0;
	g.node = node;
	next_fd = OTHERS;
	opened = closed = 0;
	deaf = false;
	gw_chan_start(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r = rd_of(data, size_min(size, 4096));

	begin();
	for (unsigned i = 0; i < STEPS_MAX && r.left; i++)
		step(&r);
	ev_io_stop(g.loop.ev, &g.chan_io);
	gw_chan_close(&g);
	if (snapshot_ends())
		node_free(g.node);
	snapshot_end();
	must(opened == closed);
	return 0;
}
