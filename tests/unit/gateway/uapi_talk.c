/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/gateway/uapi_talk.h"

#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

/* --- the device --- */

static uint16_t port(void *ctx)
{
	const struct talk *t = ctx;
	return t->port;
}

static int set_port(void *ctx, uint16_t wanted)
{
	struct talk *t = ctx;
	if (t->port_error == 0)
		t->port = wanted;
	return t->port_error;
}

static uint32_t mark(void *ctx)
{
	const struct talk *t = ctx;
	return t->mark;
}

static int set_mark(void *ctx, uint32_t wanted)
{
	struct talk *t = ctx;
	if (t->mark_error == 0)
		t->mark = wanted;
	return t->mark_error;
}

static nsec wall_offset(void *ctx)
{
	const struct talk *t = ctx;
	return t->offset;
}

static uint32_t ifindex(void *ctx, const char *name)
{
	(void)ctx;
	return strcmp(name, "eth0") == 0 ? 2 : 0;
}

struct talk *talk_new(struct node *n)
{
	struct talk *t = calloc(1, sizeof(*t));
	assert_non_null(t);
	const struct uapi_device dev = { .node = n,
					 .ctx = t,
					 .port = port,
					 .set_port = set_port,
					 .fwmark = mark,
					 .set_fwmark = set_mark,
					 .wall_offset = wall_offset,
					 .ifindex = ifindex };
	t->u = uapi_new(&dev);
	assert_non_null(t->u);
	return t;
}

void talk_again(struct talk *t)
{
	const struct uapi_device dev = t->u->dev;
	uapi_free(t->u);
	t->u = uapi_new(&dev);
	assert_non_null(t->u);
}

void talk_free(struct talk *t)
{
	uapi_free(t->u);
	free(t);
}

/* --- the client --- */

bool talk_bytes(struct talk *t, nsec now, const char *p, size_t len)
{
	size_t n, at = 0;

	do {
		size_t taken = uapi_turn(t->u, now, p, len);
		assert_true(taken <= len);
		p += taken;
		len -= taken;
		for (const char *part = uapi_answer(t->u, &n); n; part = uapi_answer(t->u, &n)) {
			n = size_min(n, 1000); /* as a socket takes it, in pieces */
			assert_true(at + n < sizeof(t->answer));
			memcpy(t->answer + at, part, n);
			uapi_sent(t->u, n);
			at += n;
		}
	} while (!uapi_broken(t->u) && (len || uapi_works(t->u)));
	t->answer[at] = 0;
	return !uapi_broken(t->u);
}

bool talk_say(struct talk *t, nsec now, const char *text)
{
	return talk_bytes(t, now, text, strlen(text));
}

int talk_set(struct talk *t, nsec now, const char *fmt, ...)
{
	static char text[64 << 10];
	va_list ap;
	int err, end = 0;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < sizeof(text));
	assert_true(talk_say(t, now, "set=1\n"));
	assert_true(talk_say(t, now, text));
	assert_string_equal(t->answer, "");
	assert_true(talk_say(t, now, "\n"));
	assert_int_equal(sscanf(t->answer, "errno=%d\n\n%n", &err, &end), 1);
	assert_int_equal(strlen(t->answer), end);
	return err;
}

/* --- what get=1 says --- */

static long long number(const char *text)
{
	long long n;
	int end = 0;
	assert_true(sscanf(text, "%lld%n", &n, &end) == 1 && text[end] == 0);
	return n;
}

static void copy(char *out, size_t room, const char *text)
{
	assert_true(strlen(text) < room);
	snprintf(out, room, "%s", text);
}

static void dump_line(struct dump *d, const char *key, const char *v)
{
	struct dump_peer *p = d->npeers ? &d->peers[d->npeers - 1] : NULL;

	if (strcmp(key, "public_key") == 0) {
		assert_true(d->npeers < DUMP_PEERS);
		p = &d->peers[d->npeers++];
		memset(p, 0, sizeof(*p));
		p->keepalive = p->tx = p->rx = p->sec = p->nanos = -1;
		copy(p->key, sizeof(p->key), v);
	} else if (!p && strcmp(key, "private_key") == 0) {
		copy(d->private_key, sizeof(d->private_key), v);
	} else if (!p && strcmp(key, "listen_port") == 0) {
		d->port = number(v);
	} else if (!p && strcmp(key, "fwmark") == 0) {
		d->mark = number(v);
	} else if (p && strcmp(key, "preshared_key") == 0) {
		copy(p->psk, sizeof(p->psk), v);
	} else if (p && strcmp(key, "protocol_version") == 0) {
		p->version = number(v);
	} else if (p && strcmp(key, "endpoint") == 0) {
		copy(p->endpoint, sizeof(p->endpoint), v);
	} else if (p && strcmp(key, "last_handshake_time_sec") == 0) {
		p->sec = number(v);
	} else if (p && strcmp(key, "last_handshake_time_nsec") == 0) {
		p->nanos = number(v);
	} else if (p && strcmp(key, "tx_bytes") == 0) {
		p->tx = number(v);
	} else if (p && strcmp(key, "rx_bytes") == 0) {
		p->rx = number(v);
	} else if (p && strcmp(key, "persistent_keepalive_interval") == 0) {
		p->keepalive = number(v);
	} else if (p && strcmp(key, "allowed_ip") == 0) {
		assert_true(p->nallowed < DUMP_ALLOWED);
		copy(p->allowed[p->nallowed++], sizeof(p->allowed[0]), v);
	} else {
		fail_msg("what is %s=%s here?", key, v);
	}
}

static void is_key(const char *text)
{
	assert_int_equal(strlen(text), 64);
	assert_int_equal(strspn(text, "0123456789abcdef"), 64);
}

const struct dump *talk_get(struct talk *t, nsec now)
{
	static struct dump d;
	char *line = t->answer, *end;

	d.npeers = 0;
	d.private_key[0] = 0;
	d.port = -1;
	d.mark = 0;
	assert_true(talk_say(t, now, "get=1\n\n"));
	for (; strcmp(line, "errno=0\n\n") != 0; line = end + 1) {
		end = strchr(line, '\n');
		char *v = strchr(line, '=');
		assert_true(end && v && v < end);
		*end = *v = 0;
		dump_line(&d, line, v + 1);
	}
	assert_true(d.port >= 0);
	for (unsigned i = 0; i < d.npeers; i++) {
		const struct dump_peer *p = &d.peers[i];
		is_key(p->key);
		is_key(p->psk);
		assert_true(p->version == 1 && p->keepalive >= 0 && p->tx >= 0 && p->rx >= 0 &&
			    p->sec >= 0 && p->nanos >= 0);
	}
	return &d;
}

const struct dump_peer *dump_find(const struct dump *d, const char *key)
{
	for (unsigned i = 0; i < d->npeers; i++)
		if (strcmp(d->peers[i].key, key) == 0)
			return &d->peers[i];
	return NULL;
}

bool dump_allows(const struct dump_peer *p, const char *prefix)
{
	for (unsigned i = 0; i < p->nallowed; i++)
		if (strcmp(p->allowed[i], prefix) == 0)
			return true;
	return false;
}

const char *hex(const uint8_t key[static 32])
{
	static char text[4][65];
	static unsigned turn;
	char *out = text[turn++ % 4];
	for (unsigned i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", key[i]);
	return out;
}

/* --- stderr --- */

static FILE *caught;
static int real_stderr;

void stderr_catch(void)
{
	caught = tmpfile();
	assert_non_null(caught);
	real_stderr = dup(STDERR_FILENO);
	assert_true(real_stderr >= 0);
	assert_true(dup2(fileno(caught), STDERR_FILENO) >= 0);
}

const char *stderr_caught(void)
{
	static char text[64 << 10];
	assert_true(dup2(real_stderr, STDERR_FILENO) >= 0);
	close(real_stderr);
	rewind(caught);
	text[fread(text, 1, sizeof(text) - 1, caught)] = 0;
	fclose(caught);
	return text;
}
