/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration protocol: a conversation of any text, in any pieces, with a node that has a
 * static peer, and in every second input also a rendezvous and a member. The input is the text;
 * bytes from 0x80 on stand for words of the protocol, for the end of a piece, and for what happens
 * meanwhile.
 *
 * Each request has one answer, and it is whole; the table of peers is never overfull; what the
 * rendezvous introduced stays as it is.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "gateway/node_internal.h"
#include "gateway/uapi_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_PEERS = 6, TEXT_MAX = 1 << 14, WORDS = 0x80, PIECES = 0xc0, DEEDS = 0xe0 };

static const char key_a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  key_b[] = "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2",
		  key_0[] = "0000000000000000000000000000000000000000000000000000000000000000",
		  member[] = "c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3",
		  rendezvous[] = "d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4",
		  /* 0x11, and what the curve below makes of it */
	ours[] = "1111111111111111111111111111111111111111111111111111111111111111",
		  self[] = "4544444444444444444444444444444444444444444444444444444444444404";

static const char *const words[] = {
	"get=1\n",
	"set=1\n",
	"\n",
	"public_key=",
	"private_key=",
	"listen_port=",
	"fwmark=",
	"replace_peers=",
	"remove=",
	"update_only=",
	"protocol_version=",
	"preshared_key=",
	"endpoint=",
	"persistent_keepalive_interval=",
	"replace_allowed_ips=",
	"allowed_ip=",
	"true\n",
	key_a,
	key_b,
	key_0,
	member,
	rendezvous,
	ours,
	self,
	"10.0.0.1/32",
	"10.77.0.9/32",
	"192.0.2.1:51820",
	"[2001:db8::1]:9",
	"[fe80::1%eth0]:9",
	"[fe80::1%3]:9",
	"::/0",
	"0x",
	"65535",
	"4294967295",
	"01234567890123456789012345678901234567890123456789012345678901234567890123456789",
};

/* The same in bytes. */
static uint8_t static_key[2][32], member_key[32], rendezvous_key[32], our_key[32];
static struct prefix own; /* the member's */

static struct node *nodes[2]; /* static peers alone; and a member */
static struct node *n;
static nsec now;
static uint16_t the_port;
static uint32_t the_mark;

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* In place of the curve, which would take all of the fuzzer's time: the same for all pairs. */
int crypto_scalarmult(unsigned char *q, const unsigned char *k, const unsigned char *p)
{
	for (unsigned i = 0; i < 32; i++)
		q[i] = k[i] ^ p[i];
	return sodium_is_zero(p, 32) ? -1 : 0;
}

int crypto_scalarmult_base(unsigned char *q, const unsigned char *k)
{
	uint8_t key[32];
	memcpy(key, k, 32);
	wg_key_clamp(key); /* as the curve does */
	for (unsigned i = 0; i < 32; i++)
		q[i] = key[i] ^ 0x55;
	return 0;
}

/* --- the device --- */

static uint16_t port(void *ctx)
{
	(void)ctx;
	return the_port;
}

static int set_port(void *ctx, uint16_t wanted)
{
	(void)ctx;
	if (wanted == 1)
		return -EADDRINUSE;
	the_port = wanted;
	return 0;
}

static uint32_t mark(void *ctx)
{
	(void)ctx;
	return the_mark;
}

static int set_mark(void *ctx, uint32_t wanted)
{
	(void)ctx;
	if (wanted == 1)
		return -EPERM;
	the_mark = wanted;
	return 0;
}

static nsec wall_offset(void *ctx)
{
	(void)ctx;
	return -NSEC_PER_SEC;
}

static uint32_t ifindex(void *ctx, const char *name)
{
	(void)ctx;
	return strcmp(name, "eth0") == 0 ? 2 : 0;
}

static void on_udp(void *ctx, const struct udp_tx *tx, unsigned count)
{
	(void)ctx;
	(void)tx;
	(void)count;
}

static void key_of(const char *hex, uint8_t key[static 32])
{
	check(sodium_hex2bin(key, 32, hex, 64, NULL, NULL, NULL) == 0);
}

static struct peer *learned(struct node *to, enum peer_kind kind, const uint8_t *key)
{
	struct peer *p = peer_new(to, kind, key);
	check(p);
	wg_peer_set_psk(p->wg, key);
	return p;
}

static void make_nodes(void)
{
	struct node_config cfg = { .io = { .udp = on_udp },
				   .aead = aead_choose(NULL),
				   .max_peers = MAX_PEERS };

	check(sodium_init() >= 0 && prefix_parse("10.77.0.9/32", &own));
	log_init("fuzz", NULL, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	key_of(key_a, static_key[0]);
	key_of(key_b, static_key[1]);
	key_of(member, member_key);
	key_of(rendezvous, rendezvous_key);
	key_of(ours, our_key);
	memcpy(cfg.private_key, our_key, 32);
	for (unsigned i = 0; i < 2; i++)
		check((nodes[i] = node_new(&cfg, 0)));
	learned(nodes[1], PEER_RENDEZVOUS, rendezvous_key);
	struct peer *m = learned(nodes[1], PEER_MEMBER, member_key);
	snprintf(m->entry.id, sizeof(m->entry.id), "w1");
	check(peer_route(m, &own) == 0);
	nodes[1]->join.on = true;
}

static void not_pristine(void *ctx, const struct prefix *prefix)
{
	(void)prefix;
	*(bool *)ctx = false;
}

/* As reset() makes it; to make it anew takes longer than most inputs do. */
static bool is_pristine(const struct peer *p)
{
	bool yes = memcmp(peer_key(p), static_key[0], 32) == 0 && p->path.remote.port == 0 &&
		   wg_peer_keepalive(p->wg) == 0 && sodium_is_zero(wg_peer_psk(p->wg), 32);
	peer_each_route(p, not_pristine, &yes);
	return yes;
}

static void reset(unsigned which)
{
	struct peer *next;

	if (!nodes[0])
		make_nodes();
	n = nodes[which];
	now = 1000 * NSEC_PER_SEC;
	the_port = 51820;
	the_mark = 0;
	for (struct peer *p = node_peer_next(n, NULL); p; p = next) {
		next = node_peer_next(n, p);
		if (peer_kind(p) == PEER_STATIC && !is_pristine(p))
			node_static_remove(p);
	}
	check(node_set_private_key(n, our_key) == 0);
	if (!node_peer_find(n, static_key[0]))
		check(node_static_add(n, now, static_key[0], NULL, NULL, 0));
}

static void is_untouched(const uint8_t *key, enum peer_kind kind)
{
	const struct peer *p = node_peer_find(n, key);
	check(p && peer_kind(p) == kind && wg_peer_keepalive(peer_wg(p)) == 0);
	check(memcmp(wg_peer_psk(peer_wg(p)), key, 32) == 0);
}

static void check_node(void)
{
	unsigned count = 0;
	for (struct peer *p = NULL; (p = node_peer_next(n, p));)
		count++;
	check(count <= MAX_PEERS);
	if (n != nodes[1])
		return;
	is_untouched(rendezvous_key, PEER_RENDEZVOUS);
	is_untouched(member_key, PEER_MEMBER);
	check(route_table_exact(n->routes, &own) == node_peer_find(n, member_key));
}

/* --- what must come of it --- */

/* The text so far, as a reader sees it who knows nothing but lines. */
static struct {
	char line[8];
	size_t len;
	bool within, set, broken;
	unsigned requests;
} asked;

static void ask(char c)
{
	if (asked.broken)
		return;
	if (c != '\n') {
		if (asked.len < sizeof(asked.line))
			asked.line[asked.len] = c;
		asked.len++;
		return;
	}
	if (asked.within) {
		asked.within = asked.len != 0;
		asked.requests += !asked.within;
	} else {
		asked.set = asked.len == 5 && memcmp(asked.line, "set=1", 5) == 0;
		asked.within = asked.set || (asked.len == 5 && memcmp(asked.line, "get=1", 5) == 0);
		asked.broken = !asked.within;
	}
	asked.len = 0;
}

/* And the answers: lines of key=value, an empty one after errno= and nowhere else. */
static struct {
	char line[200];
	size_t len;
	bool told; /* errno= */
	unsigned requests;
} answered;

static void answer(char c)
{
	check(answered.len < sizeof(answered.line) - 1);
	if (c != '\n') {
		check(c > ' ' && c <= '~');
		answered.line[answered.len++] = c;
		return;
	}
	answered.line[answered.len] = 0;
	check(answered.told == (answered.len == 0));
	check(answered.len == 0 || strchr(answered.line, '='));
	answered.requests += answered.told;
	answered.told = strncmp(answered.line, "errno=", 6) == 0;
	answered.len = 0;
}

static void take(struct uapi *u, size_t most)
{
	size_t len;
	const char *text = uapi_answer(u, &len);
	len = size_min(len, most);
	for (size_t i = 0; i < len; i++)
		answer(text[i]);
	uapi_sent(u, len);
}

/* A piece, in its own memory so that ASan sees one byte too many. */
static bool say(struct uapi *u, const char *text, size_t len)
{
	char *piece = malloc(len ? len : 1);
	if (!piece)
		return false;
	memcpy(piece, text, len);
	for (size_t i = 0; i < len; i++)
		ask(piece[i]);
	for (size_t at = 0; (at < len || uapi_works(u)) && !uapi_broken(u);) {
		size_t taken = uapi_turn(u, now, piece + at, len - at);
		check(taken <= len - at && u->len <= UAPI_LINE_MAX &&
		      u->cap <= 4 * UAPI_UNSENT_MAX);
		at += taken;
		if (u->unsent >= UAPI_UNSENT_MAX)
			take(u, UAPI_UNSENT_MAX / 2);
	}
	free(piece);
	check(uapi_broken(u) == asked.broken);
	return !uapi_broken(u);
}

static void deed(uint8_t what)
{
	struct peer *p = node_peer_find(n, static_key[what & 1]);

	if (what & 2) {
		now += NSEC_PER_SEC << (what >> 2 & 7);
		if (n == nodes[0])
			node_tick(n, now);
	} else if (p) {
		node_static_remove(p); /* another client does */
	}
}

static size_t expand(uint8_t b, char *text, size_t at)
{
	const char *word = b < WORDS + ARRAY_SIZE(words) ? words[b - WORDS] : "?";
	size_t len = size_min(strlen(word), TEXT_MAX - at);
	memcpy(text + at, word, len);
	return at + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct uapi_device device = { .port = port,
						   .set_port = set_port,
						   .fwmark = mark,
						   .set_fwmark = set_mark,
						   .wall_offset = wall_offset,
						   .ifindex = ifindex };
	static char text[TEXT_MAX];
	struct rd r = rd_of(data, size_min(size, 4096));
	size_t len = 0;

	reset(rd_u8(&r) & 1);
	memset(&asked, 0, sizeof(asked));
	memset(&answered, 0, sizeof(answered));
	struct uapi_device d = device;
	d.node = n;
	struct uapi *u = uapi_new(&d);
	check(u);
	for (bool ok = true; ok && r.left;) {
		uint8_t b = rd_u8(&r);
		if (b < WORDS && len < TEXT_MAX)
			text[len++] = (char)b;
		else if (b < PIECES)
			len = expand(b, text, len);
		if (b < PIECES && r.left && len < TEXT_MAX)
			continue;
		ok = say(u, text, len);
		len = 0;
		if (b < DEEDS)
			take(u, (size_t)(b & 0x1f) << 6);
		else
			deed(b);
		check_node();
	}
	uapi_eof(u, now);
	while (uapi_works(u))
		check(uapi_turn(u, now, "", 0) == 0);
	check_node();
	asked.requests += asked.within && asked.set;
	take(u, SIZE_MAX);
	check(answered.len == 0 && !answered.told && answered.requests == asked.requests);
	uapi_free(u);
	return 0;
}
