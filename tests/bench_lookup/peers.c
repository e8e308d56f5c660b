/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole node with 1 to 10,000 static peers, each with a session: node_tun() and node_udp() for each
 * packet, with the flush and the tick of the turn. The peers are one and the same WireGuard core, which
 * takes one key after the other and seals what each will have sent.
 *
 *   busy	all packets are one peer's, in turns of TURN; the others are just there
 *   some	SOME peers take turns, each packet is a turn by itself: nothing to batch
 *   all	all take turns: besides, most of what is touched is in no cache
 */
#include "bench.h"
#include "gateway/node_internal.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	MOST_PEERS = 10000,
	TURN = 32,
	SOME = 100,
	PER_ROUND = 4000,
	PACKETS = ROUNDS * PER_ROUND, /* of each kind of traffic */
	PAYLOAD = 72,		      /* 100 bytes of inner packet */
	SEALED = 160,
};

static const struct shape {
	unsigned active, turn;
} shapes[] = { { 1, TURN }, { SOME, 1 }, { MOST_PEERS, 1 } };
enum { SHAPES = ARRAY_SIZE(shapes) };

struct datagram {
	uint32_t peer, len;
	uint8_t b[SEALED];
};

struct bench {
	struct node *node;
	struct wg *other;
	struct wg_peer *us; /* as the other side sees it */
	uint8_t pub[32];    /* ours */
	nsec now;
	unsigned peers;
	uint8_t answer[WG_MESSAGE_MAX]; /* the last handshake message that the node sent */
	size_t answer_len;
	uint64_t to_tun, to_udp;
	struct datagram *sent[SHAPES];
};

static uint8_t plain[PACKET_MAX];

static void on_udp(void *ctx, const struct udp_tx *tx, unsigned n)
{
	struct bench *b = ctx;
	for (unsigned i = 0; i < n; i++) {
		b->to_udp += (tx[i].len + tx[i].seg - 1) / tx[i].seg;
		if (load_le32(tx[i].buf) == WG_DATA)
			continue;
		b->answer_len = size_min(tx[i].len, sizeof(b->answer));
		memcpy(b->answer, tx[i].buf, b->answer_len);
	}
}

static void on_tun(void *ctx, const struct gro_write *w)
{
	struct bench *b = ctx;
	b->to_tun += w->packets;
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench_lookup: %s\n", what);
	exit(1);
}

static uint32_t inner_address(unsigned i)
{
	return 0x0a010000 + i;
}

static struct endpoint outer_address(unsigned i)
{
	return (struct endpoint){ .addr = addr_v4_u32(0xc6120000 + i), .port = 51820 };
}

/* The inner packet between the peer and us, either way. */
static uint32_t inner_packet(unsigned peer, bool from_peer)
{
	static uint32_t len;
	if (!len)
		len = packet_build(&(struct spec){ .udp = true, .payload = PAYLOAD }, plain);
	store_be32(plain + 12, from_peer ? inner_address(peer) : 0x0a000001);
	store_be32(plain + 16, from_peer ? 0x0a000001 : inner_address(peer));
	return len;
}

/* A turn of the event loop in which these datagrams came in. */
static void turn_in(struct bench *b, const struct datagram *d, unsigned n)
{
	static uint8_t buf[TURN][SEALED];
	struct udp_rx rx[TURN];
	for (unsigned i = 0; i < n; i++) {
		memcpy(buf[i], d[i].b, d[i].len);
		rx[i] = (struct udp_rx){ .buf = buf[i],
					 .len = d[i].len,
					 .seg = d[i].len,
					 .from = outer_address(d[i].peer) };
	}
	node_udp(b->node, b->now, rx, n);
	node_flush(b->node, b->now);
	node_tick(b->node, b->now);
}

static void turn_out(struct bench *b, const struct datagram *d, unsigned n)
{
	static const struct vnet_hdr none;
	for (unsigned i = 0; i < n; i++)
		node_tun(b->node, b->now, &none, plain, inner_packet(d[i].peer, false));
	node_flush(b->node, b->now);
	node_tick(b->node, b->now);
}

static void seal(struct bench *b, unsigned peer, struct datagram *out)
{
	uint32_t len = inner_packet(peer, true);
	struct wg_packet k = { .data = out->b, .len = len, .padded = wg_padded(len, 1420) };
	memcpy(out->b + WG_DATA_HEADER_LEN, plain, len);
	must(wg_seal(b->other, b->us, b->now, &k, 1) == DROP_NONE, "no session to seal with");
	out->len = k.len;
	out->peer = peer;
}

static void add_peer(struct bench *b, unsigned i)
{
	struct endpoint at = outer_address(i);
	struct peer *p = node_static_add(b->node, b->now, wg_public_key(b->other), NULL, &at, 0);
	struct prefix one = { .addr = addr_v4_u32(inner_address(i)), .bits = 32 };
	struct prefix net = { .addr = addr_v4_u32(0x80000000 + (i << 8)), .bits = 24 };
	struct prefix v6 = { .bits = 48 };
	store_be64(v6.addr.b, (uint64_t)0xfd << 56 | (uint64_t)i << 16);
	must(p && !node_static_route(b->node, p, &one) && !node_static_route(b->node, p, &net) &&
		     !node_static_route(b->node, p, &v6),
	     "no peer");
}

static void shake_hands(struct bench *b, unsigned i)
{
	struct wg_output out;
	struct wg_reply reply;
	static const uint8_t src[16];
	struct udp_rx rx = { .buf = out.bytes, .from = outer_address(i) };

	wg_peer_initiate(b->other, b->us, b->now, 0);
	do
		must(wg_poll(b->other, b->now, &out), "no initiation");
	while (!out.handshake);
	rx.len = rx.seg = (uint32_t)out.len;
	b->answer_len = 0;
	node_udp(b->node, b->now, &rx, 1);
	must(b->answer_len == WG_RESPONSE_LEN, "no response");
	must(wg_handshake_input(b->other, b->now, b->answer, b->answer_len, src, sizeof(src),
				&reply) == DROP_NONE,
	     "no session");
}

static unsigned active(const struct bench *b, unsigned shape)
{
	return b->peers < shapes[shape].active ? b->peers : shapes[shape].active;
}

/* A peer with a session, which it has confirmed; and what it will have sent. */
static void be_peer(struct bench *b, unsigned i)
{
	struct datagram first;
	uint8_t key[32];

	b->now += 2 * NSEC_PER_MSEC; /* so many handshakes a second are no load */
	wg_key_generate(key);
	wg_set_private_key(b->other, key);
	add_peer(b, i);
	shake_hands(b, i);
	seal(b, i, &first);
	turn_in(b, &first, 1);
	for (unsigned s = 0; s < SHAPES; s++)
		for (unsigned k = i; i < shapes[s].active && k < PACKETS; k += active(b, s))
			seal(b, i, &b->sent[s][k]);
}

/* Each peer comes once before one comes again, in no order that memory would know. */
static void shuffle(struct datagram *d, unsigned peers)
{
	struct rng r = { 1 };
	for (unsigned at = 0; at < PACKETS; at += peers) {
		unsigned n = (unsigned)size_min(peers, PACKETS - at);
		for (unsigned i = n - 1; i > 0; i--) {
			struct datagram *x = &d[at + i], *y = &d[at + rng_below(&r, i + 1)];
			struct datagram z = *x;
			*x = *y;
			*y = z;
		}
	}
}

static double per_packet(struct bench *b, unsigned shape,
			 void (*one)(struct bench *b, const struct datagram *d, unsigned n))
{
	const struct datagram *d = b->sent[shape];
	unsigned turn = shapes[shape].turn;
	double least = 1e18;
	for (unsigned round = 0; round < ROUNDS; round++, d += PER_ROUND) {
		double begin = cpu_ns();
		for (unsigned i = 0; i < PER_ROUND; i += turn)
			one(b, d + i, turn);
		double took = cpu_ns() - begin;
		least = took < least ? took : least;
	}
	return least / PER_ROUND;
}

static long own_memory(void)
{
	char line[128];
	long kb = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "RssAnon: %ld", &kb);
	if (f)
		fclose(f);
	return kb;
}

static void open_bench(struct bench *b, unsigned peers)
{
	uint8_t key[32];
	struct node_config cfg = { .io = { .ctx = b, .udp = on_udp, .tun = on_tun },
				   .aead = aead_choose(NULL),
				   .max_peers = peers };
	struct wg_config wc = { .max_peers = 1, .aead = cfg.aead };

	b->peers = peers;
	b->now = 1000 * NSEC_PER_SEC;
	b->to_tun = b->to_udp = 0;
	wg_key_generate(cfg.private_key);
	wg_key_public(cfg.private_key, b->pub);
	wg_key_generate(key);
	b->other = wg_new(&wc);
	b->node = node_new(&cfg, b->now);
	must(b->other && b->node, "no memory");
	wg_set_private_key(b->other, key);
	b->us = wg_peer_add(b->other, b->pub, NULL);
	must(b->us, "no peer on the other side");
}

/* What is asked of a new peer (is it a warren?) is over, and nothing else is due. */
static void settle(struct bench *b)
{
	for (unsigned i = 0; i < 200; i++, b->now += NSEC_PER_SEC / 20)
		node_tick(b->node, b->now);
}

struct figures {
	double in[SHAPES], out[SHAPES], mb;
};

static void measure(struct bench *b, unsigned peers, struct figures *f)
{
	open_bench(b, peers);
	long memory = own_memory();
	for (unsigned i = 0; i < peers; i++)
		be_peer(b, i);
	f->mb = (double)(own_memory() - memory) / 1000;
	settle(b);
	uint64_t to_tun = b->to_tun, to_udp;
	/* in the order in which they were sealed: the replay window would take no others */
	for (unsigned s = 0; s < SHAPES; s++) {
		shuffle(b->sent[s], active(b, s));
		f->in[s] = per_packet(b, s, turn_in);
	}
	must(b->to_tun - to_tun == SHAPES * PACKETS, "packets were lost on the way in");
	to_udp = b->to_udp;
	for (unsigned s = 0; s < SHAPES; s++)
		f->out[s] = per_packet(b, s, turn_out);
	must(b->to_udp - to_udp == SHAPES * PACKETS, "packets were lost on the way out");
	node_free(b->node);
	wg_free(b->other);
}

static void print(unsigned peers, const struct figures *f, const struct figures *first)
{
	printf("%8u", peers);
	for (unsigned s = 0; s < SHAPES; s++)
		printf("  %6.0f %6.0f", f->in[s], f->out[s]);
	printf("  %6.1f\n   ratio", f->mb);
	for (unsigned s = 0; s < SHAPES; s++)
		printf("  %6.2f %6.2f", f->in[s] / first->in[s], f->out[s] / first->out[s]);
	printf("\n");
}

void bench_peers(void)
{
	static struct bench b;
	struct figures first = { 0 }, f;

	for (unsigned s = 0; s < SHAPES; s++) {
		b.sent[s] = malloc(PACKETS * sizeof(struct datagram));
		must(b.sent[s], "no memory");
		/* so that it does not count as what a node takes later */
		memset(b.sent[s], 1, PACKETS * sizeof(struct datagram));
	}
	printf("\nns a packet of 100 bytes, and MB that the peers and their sessions took\n"
	       "   peers  busy:in    out  some:in    out   all:in    out      MB\n");
	for (unsigned n = 1; n <= MOST_PEERS; n *= 10) {
		measure(&b, n, &f);
		first = n == 1 ? f : first;
		print(n, &f, &first);
	}
	for (unsigned s = 0; s < SHAPES; s++)
		free(b.sent[s]);
}
