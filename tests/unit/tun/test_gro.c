/* SPDX-License-Identifier: Apache-2.0 */
/* The merge: its rules one by one, and "cut again, it gives the same packets" over random runs. */
#include "packets.h"
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { SLOTS = 80, SLOT = PACKET_MAX + 1 };

static uint8_t *slots, *merged, *resplit;
static struct gro_packet pkts[SLOTS];

static int setup(void **state)
{
	(void)state;
	slots = malloc(2 * SLOTS * SLOT); /* the packets, and behind them how they were */
	merged = malloc(2 * SLOT);
	resplit = malloc(SLOTS * SLOT);
	return slots && merged && resplit ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(slots);
	free(merged);
	free(resplit);
	return 0;
}

static uint8_t *slot(size_t i)
{
	return slots + i * SLOT;
}

static uint8_t *before(size_t i)
{
	return slots + (SLOTS + i) * SLOT;
}

static void put(size_t i, const struct spec *s)
{
	pkts[i] = (struct gro_packet){ .ip = slot(i), .len = packet_build(s, slot(i)) };
}

static void remember(size_t n)
{
	for (size_t i = 0; i < n; i++)
		memcpy(before(i), slot(i), pkts[i].len);
}

/* The write as the kernel sees it, in one piece; its length. */
static uint32_t gather(const struct gro_write *w)
{
	uint32_t n = 0;
	assert_ptr_equal(w->iov[0].iov_base, &w->vnet);
	assert_int_equal(w->iov[0].iov_len, VNET_HDR_LEN);
	for (int i = 1; i < w->iovcnt; i++) {
		memcpy(merged + n, w->iov[i].iov_base, w->iov[i].iov_len);
		n += (uint32_t)w->iov[i].iov_len;
		assert_true(n <= PACKET_MAX);
	}
	assert_int_equal(n, w->bytes);
	return n;
}

/* Does the write, cut again, give the packets [from, from + used) as they were? */
static bool gives_back(const struct gro_write *w, size_t from, size_t used)
{
	static const struct vnet_hdr plain;
	uint32_t len = gather(w);
	struct gso_plan plan;

	if (w->packets != used || gso_plan(&w->vnet, merged, len, 65535, &plan) != DROP_NONE ||
	    plan.segments != used)
		return false;
	if (used == 1 && memcmp(&w->vnet, &plain, sizeof(plain)) != 0)
		return false;
	gso_split(&w->vnet, merged, &plan, 0, plan.segments, false, resplit, SLOT);
	for (size_t i = 0; i < used; i++) {
		uint32_t n = i + 1 < used ? plan.seg_len : plan.last_len;
		if (n != pkts[from + i].len || memcmp(resplit + i * SLOT, before(from + i), n) != 0)
			return false;
	}
	return true;
}

/* --- the rules --- */

enum kind { TCP4, TCP6, UDP4, UDP6 };

/*
 * Packets of one flow with these payloads; byte `at` of packet `which` gets `flip` XORed in and,
 * with `mend`, right sums again. `used`: how many of them one write takes from the first on.
 */
static const struct rule {
	const char *name;
	enum kind kind;
	uint32_t payload[4];
	struct {
		unsigned which, at;
		uint8_t flip;
		bool mend;
	} change;
	size_t used;
} rules[] = {
	{ "1 tcp v4", TCP4, { 100, 100, 100, 100 }, { 0 }, 4 },
	{ "2 tcp v6", TCP6, { 100, 100, 100, 100 }, { 0 }, 4 },
	{ "3 udp v4", UDP4, { 100, 100, 100, 100 }, { 0 }, 4 },
	{ "4 udp v6", UDP6, { 100, 100, 100, 100 }, { 0 }, 4 },
	{ "5 a smaller one is the last", TCP4, { 100, 100, 60, 100 }, { 0 }, 3 },
	{ "6 a smaller one is the last, udp", UDP4, { 100, 100, 60, 60 }, { 0 }, 3 },
	{ "7 a larger one does not join", TCP4, { 100, 100, 101 }, { 0 }, 2 },
	{ "8 a larger one does not join, udp", UDP6, { 100, 101 }, { 0 }, 1 },
	{ "9 no payload: alone", TCP4, { 0, 100 }, { 0 }, 1 },
	{ "10 no payload does not join", TCP4, { 100, 0 }, { 0 }, 1 },
	{ "11 no payload does not join, udp", UDP4, { 100, 0 }, { 0 }, 1 },
	{ "12 odd sizes", TCP6, { 101, 101, 33 }, { 0 }, 3 },
	{ "13 one byte each", TCP4, { 1, 1, 1, 1 }, { 0 }, 4 },
	{ "20 PSH ends the run", TCP4, { 100, 100, 100 }, { 1, 33, 0x08, true }, 2 },
	{ "21 PSH on the first: alone", TCP4, { 100, 100 }, { 0, 33, 0x08, true }, 1 },
	{ "22 FIN", TCP4, { 100, 100 }, { 1, 33, 0x01, true }, 1 },
	{ "23 SYN", TCP4, { 100, 100 }, { 1, 33, 0x02, true }, 1 },
	{ "24 RST", TCP4, { 100, 100 }, { 1, 33, 0x04, true }, 1 },
	{ "25 URG", TCP4, { 100, 100 }, { 1, 33, 0x20, true }, 1 },
	{ "26 ECE", TCP4, { 100, 100 }, { 1, 33, 0x40, true }, 1 },
	{ "27 CWR", TCP4, { 100, 100 }, { 1, 33, 0x80, true }, 1 },
	{ "28 no ACK", TCP4, { 100, 100 }, { 1, 33, 0x10, true }, 1 },
	{ "29 reserved bit", TCP4, { 100, 100 }, { 1, 32, 0x01, true }, 1 },
	{ "30 FIN on the first", TCP6, { 100, 100 }, { 0, 53, 0x01, true }, 1 },
	{ "31 CWR on the first", TCP4, { 100, 100 }, { 0, 33, 0x80, true }, 1 },
	{ "32 another ACK", TCP4, { 100, 100 }, { 1, 31, 1, true }, 1 },
	{ "33 a gap in the sequence", TCP4, { 100, 100 }, { 1, 27, 1, true }, 1 },
	{ "34 the third leaves a gap", TCP6, { 100, 100, 100 }, { 2, 47, 1, true }, 2 },
	{ "35 another window", TCP4, { 100, 100 }, { 1, 35, 1, true }, 1 },
	{ "36 urgent pointer", TCP4, { 100, 100 }, { 1, 39, 1, true }, 1 },
	{ "37 another option", TCP4, { 100, 100 }, { 1, 51, 1, true }, 1 },
	{ "38 fewer options", TCP4, { 100, 100 }, { 1, 32, 0x80 ^ 0x70, true }, 1 },
	{ "40 another ToS", TCP4, { 100, 100 }, { 1, 1, 0x02, true }, 1 },
	{ "41 another TTL", TCP4, { 100, 100 }, { 1, 8, 1, true }, 1 },
	{ "42 another DF", TCP4, { 100, 100 }, { 1, 6, 0x40, true }, 1 },
	{ "43 reserved IP flag", TCP4, { 100, 100 }, { 1, 6, 0x80, true }, 1 },
	{ "44 reserved IP flag on the first", TCP4, { 100, 100 }, { 0, 6, 0x80, true }, 1 },
	{ "45 more fragments", TCP4, { 100, 100 }, { 1, 6, 0x20, true }, 1 },
	{ "46 fragment offset", UDP4, { 100, 100 }, { 1, 7, 1, true }, 1 },
	{ "47 first is a fragment", UDP4, { 100, 100 }, { 0, 6, 0x20, true }, 1 },
	{ "48 another source", TCP4, { 100, 100 }, { 1, 15, 8, true }, 1 },
	{ "49 another destination", UDP4, { 100, 100 }, { 1, 19, 8, true }, 1 },
	{ "50 another source port", TCP4, { 100, 100 }, { 1, 21, 1, true }, 1 },
	{ "51 another destination port", UDP4, { 100, 100 }, { 1, 23, 1, true }, 1 },
	{ "52 another protocol", TCP4, { 100, 100 }, { 1, 9, 6 ^ 132, false }, 1 },
	{ "53 id jumps", TCP4, { 100, 100 }, { 1, 4, 1, true }, 1 },
	{ "54 id jumps, udp", UDP4, { 100, 100, 100 }, { 2, 4, 1, true }, 2 },
	{ "55 v6 another source", TCP6, { 100, 100 }, { 1, 23, 8, true }, 1 },
	{ "56 v6 another destination", UDP6, { 100, 100 }, { 1, 39, 8, true }, 1 },
	{ "57 v6 another traffic class", TCP6, { 100, 100 }, { 1, 1, 0x20, true }, 1 },
	{ "58 v6 another flow label", TCP6, { 100, 100 }, { 1, 3, 1, true }, 1 },
	{ "59 v6 another hop limit", UDP6, { 100, 100 }, { 1, 7, 1, true }, 1 },
	{ "60 a wrong TCP sum", TCP4, { 100, 100, 100 }, { 1, 60, 1, false }, 1 },
	{ "61 a wrong TCP sum on the first", TCP4, { 100, 100, 100 }, { 0, 60, 1, false }, 1 },
	{ "62 a wrong TCP sum, v6", TCP6, { 100, 100, 100 }, { 2, 99, 0x80, false }, 2 },
	{ "63 a wrong UDP sum", UDP4, { 100, 100, 100 }, { 1, 30, 1, false }, 1 },
	{ "64 a wrong UDP sum on the first", UDP6, { 100, 100, 100 }, { 0, 60, 1, false }, 1 },
	{ "65 a wrong IPv4 header sum", TCP4, { 100, 100 }, { 1, 10, 1, false }, 1 },
	{ "66 a wrong IPv4 header sum on the first", UDP4, { 100, 100 }, { 0, 11, 1, false }, 1 },
	{ "67 a wrong last byte", UDP4, { 101, 101 }, { 1, 128, 1, false }, 1 },
	{ "70 a UDP length that lies", UDP4, { 100, 100 }, { 1, 25, 4, true }, 1 },
	{ "71 a data offset that lies", TCP4, { 100, 100 }, { 1, 32, 0x80 ^ 0x40, true }, 1 },
	{ "72 an IP length that lies", TCP4, { 100, 100 }, { 1, 3, 1, false }, 1 },
	{ "73 a v6 length that lies", TCP6, { 100, 100 }, { 0, 5, 1, false }, 1 },
	{ "74 version 5", TCP4, { 100, 100 }, { 0, 0, 0x10, false }, 1 },
};

static struct spec spec_of(enum kind kind)
{
	return (struct spec){ .v6 = kind == TCP6 || kind == UDP6,
			      .udp = kind == UDP4 || kind == UDP6,
			      .options = kind == TCP4 || kind == TCP6 ? 12 : 0,
			      .id = 0xfffe, /* wraps on the way */
			      .seq = 0xffffff80u,
			      .window = 500 };
}

static size_t lay_out(const struct rule *rule)
{
	struct spec s = spec_of(rule->kind);
	size_t n = 0;
	for (; n < 4 && (rule->payload[n] || (n < 2 && rule->payload[1 - n])); n++) {
		s.payload = rule->payload[n];
		s.fill = (uint8_t)(n * 50);
		put(n, &s);
		s.seq += s.payload;
		s.id++;
	}
	if (rule->change.flip) {
		uint8_t *p = pkts[rule->change.which].ip;
		p[rule->change.at] ^= rule->change.flip;
		if (rule->change.mend)
			packet_fix_sums(p, pkts[rule->change.which].len);
	}
	remember(n);
	return n;
}

static void each_rule(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		struct gro_write w;
		size_t n = lay_out(&rules[i]), used = gro_merge(pkts, 0, n, true, &w);
		if (used != rules[i].used)
			fail_msg("rule %s: %zu of %zu", rules[i].name, used, n);
		if (used > 1 ? !gives_back(&w, 0, used)
			     : memcmp(slot(0), before(0), pkts[0].len) != 0)
			fail_msg("rule %s: not given back", rules[i].name);
		assert_int_equal(w.vnet.gso_type == VNET_GSO_NONE, used == 1);
		assert_int_equal(w.iovcnt, 1 + (int)used);
		for (size_t k = used; k < n; k++) /* nothing else is touched */
			assert_memory_equal(slot(k), before(k), pkts[k].len);
	}
}

/* What both packets have alike, and yet neither is ordinary. */
static void unusual_in_both(void **state)
{
	(void)state;
	static const struct {
		enum kind kind;
		unsigned at;
		uint8_t flip;
		size_t used;
	} t[] = {
		{ TCP4, 32, 0x01, 1 }, { TCP4, 33, 0x02, 1 }, { TCP4, 33, 0x20, 1 },
		{ TCP4, 33, 0x40, 1 }, { TCP4, 33, 0x80, 1 }, { TCP4, 33, 0x10, 1 },
		{ TCP4, 6, 0x80, 1 },  { TCP4, 6, 0x20, 1 },  { UDP4, 7, 0x01, 1 },
		{ UDP4, 6, 0x20, 1 },  { TCP6, 52, 0x02, 1 }, { TCP4, 6, 0x40, 2 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct rule rule = { .kind = t[i].kind, .payload = { 100, 100 } };
		struct gro_write w;
		lay_out(&rule);
		for (size_t k = 0; k < 2; k++) {
			uint8_t *p = pkts[k].ip;
			p[t[i].at] ^= t[i].flip;
			packet_fix_sums(p, pkts[k].len);
		}
		if (gro_merge(pkts, 0, 2, true, &w) != t[i].used)
			fail_msg("row %zu", i);
	}
}

static size_t merge_specs(struct spec *s, size_t n, bool udp, struct gro_write *w)
{
	for (size_t i = 0; i < n; i++)
		put(i, &s[i]);
	remember(n);
	return gro_merge(pkts, 0, n, udp, w);
}

/* IPv4 ids: counting, or standing still with DF, but not first one and then the other. */
static void ids(void **state)
{
	(void)state;
	static const struct {
		uint16_t id[3], frag;
		size_t used;
	} t[] = {
		{ { 7, 8, 9 }, 0, 3 },	    { { 7, 8, 9 }, 0x4000, 3 }, { { 7, 7, 7 }, 0x4000, 3 },
		{ { 7, 7, 7 }, 0, 1 },	    { { 7, 7, 8 }, 0x4000, 2 }, { { 7, 8, 8 }, 0x4000, 2 },
		{ { 7, 6, 5 }, 0x4000, 1 }, { { 7, 9, 11 }, 0, 1 },	{ { 0, 0, 0 }, 0x4000, 3 },
	};
	for (size_t i = 0; i < 2 * ARRAY_SIZE(t); i++) {
		struct spec s[3];
		struct gro_write w;
		for (uint32_t k = 0; k < 3; k++) {
			s[k] = (struct spec){ .udp = i % 2, .payload = 50, .seq = 50 * k };
			s[k].id = t[i / 2].id[k];
			s[k].frag = t[i / 2].frag;
		}
		if (merge_specs(s, 3, true, &w) != t[i / 2].used)
			fail_msg("row %zu", i / 2);
	}
}

static void ip_options_go_alone(void **state)
{
	(void)state;
	struct gro_write w;
	struct spec v4[2] = { { .ip_options = 4, .payload = 50 },
			      { .ip_options = 4, .payload = 50, .seq = 50, .id = 1 } };
	struct spec v6[2] = { { .v6 = true, .ext = 8, .payload = 50 },
			      { .v6 = true, .ext = 8, .payload = 50, .seq = 50 } };
	assert_int_equal(merge_specs(v4, 2, true, &w), 1);
	assert_int_equal(merge_specs(v6, 2, true, &w), 1);
}

/* Without USO, UDP goes singly and TCP does not care. */
static void udp_needs_uso(void **state)
{
	(void)state;
	struct gro_write w;
	struct spec u[2] = { { .udp = true, .payload = 50 },
			     { .udp = true, .payload = 50, .id = 1 } };
	struct spec t[2] = { { .payload = 50 }, { .payload = 50, .seq = 50, .id = 1 } };
	assert_int_equal(merge_specs(u, 2, false, &w), 1);
	assert_int_equal(merge_specs(u, 2, true, &w), 2);
	assert_int_equal(merge_specs(t, 2, false, &w), 2);
}

/*
 * UDP without a checksum: over IPv4 it joins its like (each gets a real one when it is cut again);
 * not one that has a sum; never over IPv6.
 */
static void udp_without_checksum(void **state)
{
	(void)state;
	struct gro_write w;
	struct gso_plan plan;
	struct spec s[2] = { { .udp = true, .no_csum = true, .payload = 50 },
			     { .udp = true, .no_csum = true, .payload = 40, .id = 1 } };
	assert_int_equal(merge_specs(s, 2, true, &w), 2);
	assert_int_equal(gso_plan(&w.vnet, merged, gather(&w), 1500, &plan), DROP_NONE);
	gso_split(&w.vnet, merged, &plan, 0, 2, false, resplit, SLOT);
	for (size_t i = 0; i < 2; i++) {
		assert_true(packet_sums_ok(resplit + i * SLOT, i ? plan.last_len : plan.seg_len));
		store_be16(resplit + i * SLOT + 26, 0);
		assert_memory_equal(resplit + i * SLOT, before(i), pkts[i].len);
	}
	s[1].no_csum = false;
	assert_int_equal(merge_specs(s, 2, true, &w), 1);
	s[1].no_csum = s[0].v6 = s[1].v6 = true;
	assert_int_equal(merge_specs(s, 2, true, &w), 1);
}

/* What the kernel is told. */
static void vnet_header_of_a_merge(void **state)
{
	(void)state;
	static const struct {
		enum kind kind;
		struct vnet_hdr want;
	} t[] = {
		{ TCP4, { VNET_NEEDS_CSUM, VNET_GSO_TCPV4, 52, 100, 20, 16 } },
		{ TCP6, { VNET_NEEDS_CSUM, VNET_GSO_TCPV6, 72, 100, 40, 16 } },
		{ UDP4, { VNET_NEEDS_CSUM, VNET_GSO_UDP_L4, 28, 100, 20, 6 } },
		{ UDP6, { VNET_NEEDS_CSUM, VNET_GSO_UDP_L4, 48, 100, 40, 6 } },
	};
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct rule rule = { .kind = t[i].kind, .payload = { 100, 100, 30 } };
		struct gro_write w;
		assert_int_equal(gro_merge(pkts, 0, lay_out(&rule), true, &w), 3);
		assert_memory_equal(&w.vnet, &t[i].want, sizeof(w.vnet));
		/* the seed: the sum of the pseudo header, not inverted */
		uint32_t len = gather(&w), l4 = packet_l4(merged);
		struct spec s = spec_of(t[i].kind);
		struct vnet_hdr h;
		s.payload = 230;
		packet_build_super(&s, 100, resplit, &h);
		uint32_t at = l4 + t[i].want.csum_offset;
		assert_int_equal(load_be16(merged + at), load_be16(resplit + at));
		if (t[i].kind == UDP4 || t[i].kind == UDP6)
			assert_int_equal(load_be16(merged + l4 + 4), len - l4);
		if (t[i].kind == TCP4 || t[i].kind == UDP4)
			assert_int_equal(naive_sum(0, merged, 20), 0xffff);
		assert_int_equal(len, l4 + (t[i].want.hdr_len - l4) + 230u);
	}
}

/* 65535 bytes and 64 packets are the most; the next call goes on from there. */
static void limits(void **state)
{
	(void)state;
	struct gro_write w;
	for (size_t i = 0; i < 70; i++) {
		struct spec s = { .payload = 10, .seq = (uint32_t)i * 10, .id = (uint16_t)i };
		put(i, &s);
	}
	remember(70);
	assert_int_equal(gro_merge(pkts, 0, 70, true, &w), GRO_MAX_PACKETS);
	assert_true(gives_back(&w, 0, GRO_MAX_PACKETS));
	assert_int_equal(gro_merge(pkts, 64, 70, true, &w), 6);
	assert_true(gives_back(&w, 64, 6));
	assert_int_equal(gro_merge(pkts, 70, 70, true, &w), 0);

	/* 40 + 45 * 1455 = 65515; with a last one of 20 it is 65535, with 21 too much */
	for (uint32_t last = 20; last <= 21; last++) {
		for (size_t i = 0; i < 46; i++) {
			struct spec s = { .payload = i < 45 ? 1455 : last,
					  .seq = (uint32_t)i * 1455,
					  .id = (uint16_t)i };
			put(i, &s);
		}
		remember(46);
		assert_int_equal(gro_merge(pkts, 0, 46, true, &w), last == 20 ? 46 : 45);
		assert_int_equal(w.bytes, last == 20 ? 65535 : 65515);
	}
}

/* --- cut, merge, cut --- */

static size_t split_to_slots(struct rng *r, size_t from)
{
	struct spec s = { .v6 = rng_below(r, 2),
			  .udp = rng_below(r, 3) == 0,
			  .tos = (uint8_t)rng_below(r, 4),
			  .id = (uint16_t)rng_next(r),
			  .frag = rng_below(r, 2) ? 0x4000 : 0,
			  .seq = (uint32_t)rng_next(r),
			  .ack = (uint32_t)rng_next(r),
			  .window = (uint16_t)rng_next(r),
			  .options = (uint8_t)(rng_below(r, 4) * 4),
			  .fill = (uint8_t)rng_next(r),
			  .sport = (uint16_t)(1 + rng_below(r, 3)) };
	struct vnet_hdr h;
	struct gso_plan plan;
	s.flags = rng_below(r, 3) ? 0 : 0x18;
	s.payload = 1 + rng_below(r, 30000);
	uint16_t gso = (uint16_t)(1000 + rng_below(r, 9000));
	uint32_t len = packet_build_super(&s, gso, merged, &h);
	if (gso_plan(&h, merged, len, 65535, &plan) != DROP_NONE || plan.segments > SLOTS - from)
		return 0;
	gso_split(&h, merged, &plan, 0, plan.segments, false, slot(from), SLOT);
	for (size_t i = 0; i < plan.segments; i++)
		pkts[from + i] =
			(struct gro_packet){ .ip = slot(from + i),
					     .len = i + 1 < plan.segments ? plan.seg_len
									  : plan.last_len };
	return plan.segments;
}

/* Bad luck on the way: flipped bits, which no merge may hide. */
static void corrupt_some(struct rng *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (rng_below(r, 10))
			continue;
		uint8_t *p = pkts[i].ip;
		p[rng_below(r, rng_below(r, 2) ? 60 : pkts[i].len)] ^=
			(uint8_t)(1u << rng_below(r, 8));
	}
}

static bool merge_all(size_t n, size_t *writes)
{
	for (size_t i = 0, used; i < n; i += used, ++*writes) {
		struct gro_write w;
		used = gro_merge(pkts, i, n, true, &w);
		if (used == 0 || i + used > n)
			return false;
		if (used == 1 ? w.packets != 1 || memcmp(slot(i), before(i), pkts[i].len) != 0
			      : !gives_back(&w, i, used))
			return false;
	}
	return true;
}

static void round_trips(void **state)
{
	(void)state;
	size_t packets = 0, writes = 0;
	for (uint64_t seed = 1; seed <= 400; seed++) {
		struct rng r = { seed };
		size_t n = 0;
		for (int k = 0; k < 8; k++)
			n += split_to_slots(&r, n);
		if (seed % 2)
			corrupt_some(&r, n);
		remember(n);
		if (!merge_all(n, &writes))
			fail_msg("seed %llu", (unsigned long long)seed);
		packets += n;
	}
	assert_true(writes * 2 < packets); /* it does merge */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_rule),
		cmocka_unit_test(unusual_in_both),
		cmocka_unit_test(ids),
		cmocka_unit_test(ip_options_go_alone),
		cmocka_unit_test(udp_needs_uso),
		cmocka_unit_test(udp_without_checksum),
		cmocka_unit_test(vnet_header_of_a_merge),
		cmocka_unit_test(limits),
		cmocka_unit_test(round_trips),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
