/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two devices under a hostile network. The input is a list of steps: raw bytes into either door of
 * either end, true messages of the ends delivered, mangled, again or never, floods that came before, time,
 * requests, a peer that is forgotten and comes again as a stranger. Whatever comes, nothing crashes,
 * and what is opened without error was sealed by the other end.
 */
#include "base/bytes.h"
#include "crypto/core.h"

#include <sodium.h>
#include <stdlib.h>

enum { MAIL = 16, MAX = 512, MARK = 0x5a, STEPS = 200 };
/* The bucket that counts is empty for so long after it. */
#define FLOOD (300 * NSEC_PER_MSEC)

struct mail {
	uint8_t b[MAX];
	size_t len;
	int to;
};

static struct wg *wg[2];
static struct wg_peer *peer[2];
static struct mail mail[MAIL];
static unsigned n_mail;
static nsec now;
static uint64_t state;

static const char *fixed_name(void)
{
	return "fuzz";
}

static uint32_t fixed_random(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 32);
}

static void fixed_buf(void *const out, const size_t n)
{
	uint8_t *p = out;
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)fixed_random();
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void post(int to, const uint8_t *p, size_t len)
{
	struct mail *m = &mail[n_mail++ % MAIL];
	must(len <= MAX);
	memcpy(m->b, p, len);
	m->len = len;
	m->to = to;
}

/* Copies of exactly the right size, so that ASan sees one byte too many. */
static uint8_t *copy_of(const uint8_t *p, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	must(copy);
	if (len)
		memcpy(copy, p, len);
	return copy;
}

static void handshake_in(int to, const uint8_t *p, size_t len)
{
	static const uint8_t src[18] = { 7 };
	uint8_t *copy = copy_of(p, len);
	struct wg_reply r;
	enum drop why = wg_handshake_input(wg[to], now, copy, len, src, sizeof(src), &r);
	must(r.len <= sizeof(r.bytes) && r.len <= len);
	must(why == DROP_NONE || !r.peer);
	must(why == DROP_NONE || why == DROP_WG_COOKIE_SENT || !r.len);
	if (r.len)
		post(1 - to, r.bytes, r.len);
	free(copy);
}

static void check_opened(int to, const struct wg_packet *k, size_t len)
{
	must(!k->confirmed || k->peer);
	must((k->drop == DROP_NONE) == (k->peer != NULL));
	if (k->drop == DROP_NONE)
		must(k->peer == peer[to] && k->len + WG_OVERHEAD == len &&
		     (!k->len || k->data[WG_DATA_HEADER_LEN] == MARK));
}

static void data_in(int to, const uint8_t *p, size_t len)
{
	uint8_t *copy = copy_of(p, len);
	struct wg_packet k = { .data = copy, .len = (uint32_t)len };
	wg_open(wg[to], now, &k, 1);
	check_opened(to, &k, len);
	free(copy);
}

/* All that lies there for this end, at once. */
static void batch_in(int to)
{
	struct wg_packet k[MAIL];
	size_t len[MAIL], n = 0;
	for (int i = 0; i < MAIL; i++) {
		if (mail[i].to != to || mail[i].len == 0)
			continue;
		len[n] = mail[i].len;
		k[n] = (struct wg_packet){ .data = copy_of(mail[i].b, len[n]),
					   .len = (uint32_t)len[n] };
		n++;
	}
	wg_open(wg[to], now, k, n);
	for (size_t i = 0; i < n; i++) {
		check_opened(to, &k[i], len[i]);
		free(k[i].data);
	}
}

static void deliver(int to, const uint8_t *p, size_t len)
{
	if (len && p[0] == WG_DATA)
		data_in(to, p, len);
	else
		handshake_in(to, p, len);
}

static void poll_all(void)
{
	struct wg_output o;
	for (int i = 0; i < 2; i++) {
		unsigned n = 0;
		while (wg_poll(wg[i], now, &o)) {
			must(++n < 100);
			if (o.event == WG_EVENT_SEND)
				post(1 - i, o.bytes, o.len);
		}
		must(wg_deadline(wg[i]) > now);
	}
}

static void seal(int from, size_t len)
{
	uint8_t b[MAX] = { 0 };
	struct wg_packet k = { .data = b,
			       .len = (uint32_t)len,
			       .padded = wg_padded((uint32_t)len, 400) };
	memset(b + WG_DATA_HEADER_LEN, MARK, len);
	bool can = wg_can_send(peer[from], now);
	if (wg_seal(wg[from], peer[from], now, &k, 1) != DROP_NONE) {
		must(!can);
		return;
	}
	must(wg_sent_of_late(peer[from], b));
	post(1 - from, b, k.len);
}

/* A stranger whose address is real: it is taken in again. */
static struct wg_peer *adopt(void *user, const uint8_t pub[static WG_KEY_LEN])
{
	int end = user == &wg[1];
	must(!peer[end]);
	peer[end] = wg_peer_add(wg[end], pub, NULL);
	return peer[end];
}

static bool forgetful; /* when it is asked next */

static void forget(int end)
{
	wg_peer_remove(wg[end], peer[end]);
	peer[end] = NULL;
}

/* The owner may do that while a message is looked at. */
static void before_handshake(void *user, nsec at)
{
	int end = user == &wg[1];
	must(at == now);
	if (forgetful && peer[end])
		forget(end);
	forgetful = false;
}

static void before_response(void *user, struct wg_peer *p, uint16_t mark)
{
	(void)mark;
	must(p == peer[user == &wg[1]]);
}

/* What only a peer can be asked for. */
static void request(int end, uint8_t op, uint8_t arg)
{
	uint8_t psk[WG_KEY_LEN] = { arg };
	if (!peer[end])
		return;
	if (op % 8 == 5)
		wg_peer_initiate(wg[end], peer[end], now, arg * NSEC_PER_MSEC);
	else if (op % 8 == 6)
		seal(end, arg);
	else if (op & 0x40)
		forget(end);
	else if (op & 0x20)
		wg_peer_set_psk(peer[end], psk);
	else
		wg_peer_set_keepalive(wg[end], peer[end], now, arg % 64);
}

static void mangle(struct rd *r, struct mail *m)
{
	uint8_t flips = rd_u8(r) % 4, cut = rd_u8(r);
	for (; flips; flips--) {
		uint16_t at = rd_be16(r) % MAX;
		m->b[at] ^= rd_u8(r);
	}
	if (cut & 0x80)
		m->len = m->len > cut % 64u ? m->len - cut % 64u : 0;
}

static void step(struct rd *r)
{
	uint8_t op = rd_u8(r), arg = rd_u8(r);
	int end = op >> 7;
	struct mail m = mail[arg % MAIL];
	switch (op % 8) {
	case 0:
	case 1: {
		const uint8_t *p = rd_take(r, arg);
		if (p && op % 8)
			data_in(end, p, arg);
		else if (p)
			handshake_in(end, p, arg);
		break;
	}
	case 2:
		mangle(r, &m);
		deliver(m.to, m.b, m.len);
		break;
	case 3:
		if (op & 0x40) /* as after so many messages that were worth a handshake */
			wg[m.to]->checker.load.full_at = now + FLOOD;
		forgetful = op & 0x20;
		if (op & 0x10)
			batch_in(end);
		else
			deliver(m.to, m.b, m.len);
		break;
	case 4:
		now += (nsec)arg * arg * arg * NSEC_PER_MSEC;
		break;
	default:
		request(end, op, arg);
	}
	poll_all();
}

static void begin(void)
{
	static struct randombytes_implementation fixed = { .implementation_name = fixed_name,
							   .random = fixed_random,
							   .buf = fixed_buf };
	struct wg_config cfg = { .max_peers = 2,
				 .adopt = adopt,
				 .before_handshake = before_handshake,
				 .before_response = before_response };
	randombytes_set_implementation(&fixed);
	must(sodium_init() >= 0);
	cfg.aead = aead_choose(NULL);
	state = 1;
	now = NSEC_PER_SEC;
	n_mail = 0;
	forgetful = false;
	memset(mail, 0, sizeof(mail));
	for (int i = 0; i < 2; i++) {
		uint8_t priv[WG_KEY_LEN];
		cfg.user = &wg[i];
		wg[i] = wg_new(&cfg);
		must(wg[i]);
		wg_key_generate(priv);
		wg_set_private_key(wg[i], priv);
	}
	wg_set_mark(wg[1], WG_MARK_MAX);
	for (int i = 0; i < 2; i++) {
		peer[i] = wg_peer_add(wg[i], wg_public_key(wg[1 - i]), NULL);
		must(peer[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r = rd_of(data, size);
	begin();
	for (int i = 0; i < STEPS && r.left; i++)
		step(&r);
	wg_free(wg[0]);
	wg_free(wg[1]);
	return 0;
}
