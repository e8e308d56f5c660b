/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole node that has joined, in a small network (sim.h): the input is a program of datagrams from
 * anywhere, recorded ones with changes, time, packets from the TUN, and what a lying member or a lying
 * rendezvous puts into its authenticated session: any bytes, and frames that look as they should. Nothing may come out of a TUN that an honest
 * member did not put into one, nothing may be taken for another's, nobody may be called for ever.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/node_internal.h"
#include "sim.h"
#include "snapshot.h"
#include "tests/unit/punch/sim_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VICTIM, LIAR, HOSTS, STEPS_MAX = 200, SEED = 11 };

static struct sim s;
static bool lied; /* the rendezvous: its words are believed, so the network may fall apart */

static struct endpoint place(uint8_t b)
{
	const struct port_of_host *h = s.net.hosts;
	switch (b % 6) {
	case 0:
		return s.net.rendezvous;
	case 1:
		return h[VICTIM].inside;
	case 2:
		return h[LIAR].inside;
	case 3:
		return s.net.rendezvous6;
	default:
		return (struct endpoint){ .addr = addr_v4_u32(0xc0000200u + b), .port = 1 + b };
	}
}

static void to_victim(struct endpoint from, uint8_t *bytes, uint32_t len, uint32_t seg)
{
	struct udp_rx rx = { .buf = bytes,
			     .len = len,
			     .seg = seg,
			     .from = from,
			     .local = s.net.hosts[VICTIM].inside.addr,
			     .ifindex = 2 };
	if (s.hosts[VICTIM].node)
		node_udp(s.hosts[VICTIM].node, s.now, &rx, 1);
}

/* Any bytes, in its own memory so that ASan sees one byte too many. */
static void raw(struct rd *r)
{
	struct endpoint from = place(rd_u8(r));
	uint32_t len = rd_be16(r) % 600, seg = rd_u8(r);
	uint8_t *bytes = malloc(len ? len : 1);
	if (!bytes)
		return;
	rd_bytes(r, bytes, len);
	to_victim(from, bytes, len, seg ? seg : len);
	free(bytes);
}

static void recorded(struct rd *r)
{
	const struct datagram *d = s.net.captured[rd_u8(r) % CAPTURED];
	uint8_t how = rd_u8(r);
	struct endpoint from = how & 1 && d ? d->from : place(rd_u8(r));
	uint32_t len = d ? d->len : 0;
	if (how & 2)
		len = (uint32_t)size_min(len, rd_be16(r));
	uint8_t *bytes = malloc(len ? len : 1);
	if (!bytes)
		return;
	if (d)
		memcpy(bytes, d->bytes, len);
	for (uint8_t i = how >> 2 & 3; len && i; i--)
		bytes[rd_be16(r) % len] ^= rd_u8(r);
	to_victim(from, bytes, len, len);
	free(bytes);
}

static void time_passes(struct rd *r)
{
	uint8_t what = rd_u8(r);
	sim_run(&s, (nsec)1 << (what & 0x1f) << 4);
}

static void tun(struct rd *r)
{
	struct vnet_hdr h;
	uint32_t len = rd_be16(r) % 300;
	uint8_t *ip = malloc(len ? len : 1), what = rd_u8(r);
	if (!ip)
		return;
	rd_bytes(r, &h, sizeof(h));
	rd_bytes(r, ip, len);
	/* with an address that leads somewhere, else most end at once; to whom nobody may believe it */
	if (what & 1 && len >= 20) {
		struct addr liar = member_addr(&s.token.prefixes[0], s.hosts[LIAR].owns);
		ip[0] = 0x45;
		memcpy(ip + 12, what & 2 ? liar.b + 12 : ip + 12, 4);
		memcpy(ip + 16, liar.b + 12, 4);
	}
	s.made_up = ip;
	if (s.hosts[VICTIM].node) {
		/* the liar checks nothing: whatever it gets is not our business here */
		node_tun(s.hosts[VICTIM].node, s.now, &h, ip, len);
	}
	s.made_up = NULL;
	free(ip);
}

static void honest(struct rd *r)
{
	uint8_t what = rd_u8(r);
	struct sim_host *a = &s.hosts[what & 1], *b = &s.hosts[~what & 1];
	if (what & 2)
		traffic_tcp(a, b, what & 4, 1 + (uint32_t)rd_be16(r) % 20000, 1320);
	else
		traffic_udp(a, b);
}

static void tell_victim(const uint8_t *text, uint32_t len)
{
	struct peer *p = sim_peer(&s.hosts[LIAR], &s.hosts[VICTIM]);
	struct path path;
	if (p && p->wg && peer_path(p, &path))
		(void)out_frame(p, s.now, &path, text, len, (len + 15u) & ~15u);
}

/*
 * What is put together of the liar's fragments has never its own address, for then it would be no
 * lie: the last byte of that is another wherever it is written. And its id is none of an honest packet.
 */
static void never_own(uint8_t *frame, uint32_t len)
{
	struct addr own[2];
	static const uint32_t last[] = { 12 + 3,
					 8 + 15 }; /* of the source address, IPv4 and IPv6 */
	uint32_t offset = len > FRAGMENT_HEADER_LEN ? load_be16(frame + 8) : UINT32_MAX;
	for (unsigned i = 0; i < 2; i++) {
		own[i] = member_addr(&s.token.prefixes[i], s.hosts[LIAR].owns);
		uint32_t at = FRAGMENT_HEADER_LEN + last[i] - offset;
		if (offset <= last[i] && at < len && frame[at] == own[i].b[15])
			frame[at] ^= 0x80;
	}
	if (len > 4)
		frame[4] |= 0x80;
}

/* Any plaintext in the liar's session: frames, and packets that lie about their addresses. */
static void lie(struct rd *r)
{
	uint8_t text[300];
	uint32_t len = rd_be16(r) % sizeof(text);
	rd_bytes(r, text, len);
	uint8_t what = rd_u8(r);
	if (what & 1 && len >= 28) {
		/* looks like IPv4, from somewhere that is not the liar's */
		text[0] = 0x45;
		store_be16(text + 2, (uint16_t)len);
		text[12] = 10;
		text[13] = 77;
		text[14] = 1;
	}
	/* its own address as a source would be no lie */
	struct addr src = addr_v4(text + 12),
		    own = member_addr(&s.token.prefixes[0], s.hosts[LIAR].owns);
	bool true_v4 = len >= 20 && text[0] >> 4 == 4 && addr_eq(&src, &own);
	if (true_v4 || (len >= 1 && text[0] >> 4 == 6))
		return;
	if (len && text[0] == FRAGMENT_FIRST_BYTE)
		never_own(text, len);
	tell_victim(text, len);
}

static void lie_hello(struct rd *r)
{
	uint8_t f[HELLO_LEN];
	struct frame_hello h = { .flags = rd_u8(r),
				 .capabilities = rd_u8(r),
				 .largest = rd_be16(r) };
	frame_hello_write(&h, f);
	tell_victim(f, sizeof(f));
}

static void lie_probe(struct rd *r)
{
	uint8_t f[PROBE_LEN], many = rd_u8(r);
	struct frame_probe probe = { .path = rd_u8(r) % 12u,
				     .number = rd_be32(r),
				     .size = rd_be16(r),
				     .watch = rd_be16(r) };
	for (; many; many--, probe.number++, probe.path += many & 1) {
		frame_probe_write(&probe, f);
		tell_victim(f, sizeof(f));
	}
}

/* Of a search that the victim really makes: what it asked, answered as the liar likes. */
static void lie_ack(struct rd *r)
{
	uint8_t f[PROBE_ACK_LEN], how = rd_u8(r);
	struct peer *p = sim_peer(&s.hosts[VICTIM], &s.hosts[LIAR]);
	const struct pmtu *m = p && p->link ? link_pmtu(p->link) : NULL;
	struct frame_ack ack = { .path = rd_u8(r),
				 .newest = rd_u8(r),
				 .seen = rd_be32(r),
				 .watch = rd_be16(r),
				 .count = rd_u8(r) };
	if (m && how & 1)
		ack.path = m->path;
	if (m && how & 2)
		ack.newest = m->number - ack.newest;
	if (m && how & 4)
		ack.watch = (uint16_t)(m->watch.size - m->around);
	frame_ack_write(&ack, f);
	tell_victim(f, sizeof(f));
}

/* A packet of somebody else, cut by the rules or nearly so. */
static void lie_fragments(struct rd *r)
{
	static uint8_t ip[FRAGMENT_PACKET_MAX], f[FRAGMENT_HEADER_LEN + FRAGMENT_PACKET_MAX];
	struct addr to = member_addr(&s.token.prefixes[0], s.hosts[VICTIM].owns);
	uint32_t len = 21 + rd_be16(r) % (FRAGMENT_PACKET_MAX - 20);
	uint32_t id = UINT32_C(0x80000000) | rd_u8(r), room = 60 + rd_u8(r) * 6u;
	uint8_t how = rd_u8(r), which = rd_u8(r), at = rd_u8(r), with = rd_u8(r);
	struct fragment_plan plan;

	memset(ip, with, len);
	ip[0] = how & 1 ? 0x45 : with;
	store_be16(ip + 2, (uint16_t)len);
	memcpy(ip + 12, how & 2 ? to.b + 12 : (const uint8_t[]){ 10, 77, 1, with }, 4);
	if (len >= 20)
		memcpy(ip + 16, to.b + 12, 4);
	if (fragment_plan(len, room, &plan) != DROP_NONE)
		return;
	for (uint32_t i = 0; i < plan.count; i++) {
		if (how & 4 && i != which % plan.count)
			continue;
		uint32_t n = fragment_write(&plan, i, id, ip, f);
		if (how & 8)
			f[1 + at % (FRAGMENT_HEADER_LEN - 1)] ^= with;
		if (how & 16 && n > which)
			n -= which;
		never_own(f, n);
		if (n + 15u <= 1400)
			tell_victim(f, n);
	}
}

static void lie_well(struct rd *r)
{
	static void (*const lies[])(struct rd *) = { lie_hello, lie_probe, lie_ack, lie_fragments };
	lies[rd_u8(r) % ARRAY_SIZE(lies)](r);
}

static void rendezvous_lies(struct rd *r)
{
	uint8_t text[400];
	uint32_t len = rd_be16(r) % sizeof(text);
	struct node *n = s.hosts[VICTIM].node;
	rd_bytes(r, text, len);
	if (!n)
		return;
	lied = true;
	(void)join_control(n->join.c[0].peer, s.now, text, len);
}

static void change(struct rd *r)
{
	struct node *n = s.hosts[VICTIM].node;
	uint8_t what = rd_u8(r);
	struct endpoint e[4];
	for (unsigned i = 0; i < ARRAY_SIZE(e); i++)
		e[i] = place(rd_u8(r));
	if (!n)
		return;
	switch (what % 5) {
	case 0:
		node_network_changed(n, s.now);
		break;
	case 1:
		node_set_candidates(n, s.now, e, what >> 4 & 3);
		break;
	case 2:
		node_resolved(n, s.now, 0, e, what >> 4 & 3);
		break;
	case 3:
		node_flush(n, s.now);
		break;
	case 4:
		sim_start(&s.hosts[what >> 4 & 1], START_SAME);
		break;
	}
}

static void setup(void)
{
	sim_init(&s, SEED);
	for (unsigned i = 0; i < HOSTS; i++)
		sim_add(&s, net_add_site(&s.net, NAT_NONE), false);
	traffic_join(&s);
	if (!sim_ok(&s))
		abort();
}

/* That takes ten times as long as most inputs: it is done once. */
static void begin(void)
{
	if (!snapshot_taken()) {
		snapshot_begin();
		snapshot_static(&s, sizeof(s));
		setup();
		snapshot_take();
	}
	snapshot_restore();
	sim_random_seed(SEED + 1); /* or new keys would be those of the set-up */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(struct rd *) = { raw,     recorded, time_passes,	  tun,
						      honest,  lie,	 rendezvous_lies, change,
						      lie_well };
	struct rd r = rd_of(data, size_min(size, 4096));

	if (sodium_init() < 0)
		abort();
	lied = false;
	begin();
	s.deaf_tun = LIAR + 1;
	for (unsigned i = 0; i < STEPS_MAX && r.left; i++) {
		steps[rd_u8(&r) % ARRAY_SIZE(steps)](&r);
		for (unsigned k = 0; k < HOSTS; k++)
			sim_tick_host(&s.hosts[k]);
		if (!sim_ok(&s) && !lied) {
			fprintf(stderr, "%s\n", s.failure);
			abort();
		}
		s.failure[0] = 0;
	}
	if (snapshot_ends())
		sim_free(&s);
	snapshot_end();
	return 0;
}
