/* SPDX-License-Identifier: Apache-2.0 */
/* The split against a splitter so naive that it can be read as the rule. */
#include "packets.h"
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { ROUNDS = 1500, HEAD = 24, OUT_MAX = 4 << 20 };

static uint8_t super[PACKET_MAX], want[PACKET_MAX];
static uint8_t *out;

static int setup(void **state)
{
	(void)state;
	out = malloc(OUT_MAX);
	return out ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(out);
	return 0;
}

/* Segment i of a super-packet cut at mss, built from the rules alone; its length. */
static uint32_t naive_segment(const uint8_t *ip, uint32_t len, uint32_t mss, uint32_t i)
{
	bool v4 = ip[0] >> 4 == 4, udp = packet_is_udp(ip);
	uint32_t l4 = packet_l4(ip), hdr = l4 + (udp ? 8 : (uint32_t)(ip[l4 + 12] >> 4) * 4);
	uint32_t from = hdr + i * mss, n = from + mss < len ? mss : len - from;
	bool last = from + n == len;
	uint32_t total = hdr + n;

	for (uint32_t k = 0; k < hdr; k++)
		want[k] = ip[k];
	for (uint32_t k = 0; k < n; k++)
		want[hdr + k] = ip[from + k];
	if (v4) {
		store_be16(want + 2, (uint16_t)total);
		store_be16(want + 4, (uint16_t)(load_be16(ip + 4) + i));
	} else {
		store_be16(want + 4, (uint16_t)(total - 40));
	}
	if (udp) {
		store_be16(want + l4 + 4, (uint16_t)(8 + n));
	} else {
		store_be32(want + l4 + 4, load_be32(ip + l4 + 4) + i * mss);
		if (!last)
			want[l4 + 13] &= 0xff ^ 0x09; /* FIN, PSH */
		if (i)
			want[l4 + 13] &= 0x7f; /* CWR */
	}
	packet_fix_sums(want, total);
	return total;
}

static struct spec random_spec(struct rng *r)
{
	static const uint8_t flags[] = {
		0x10, 0x18, 0x11, 0x19, 0x90, 0x98, 0xd0, 0x50, 0xd9, 0x04
	};
	struct spec s = {
		.v6 = rng_below(r, 2),
		.udp = rng_below(r, 3) == 0,
		.tos = (uint8_t)rng_next(r),
		.ttl = (uint8_t)(1 + rng_below(r, 255)),
		.id = (uint16_t)rng_next(r),
		.frag = rng_below(r, 2) ? 0x4000 : 0,
		.seq = (uint32_t)rng_next(r),
		.ack = (uint32_t)rng_next(r),
		.flow = (uint32_t)rng_next(r),
		.window = (uint16_t)rng_next(r),
		.flags = flags[rng_below(r, ARRAY_SIZE(flags))],
		.ip_options = (uint8_t)(rng_below(r, 4) ? 0 : rng_below(r, 11) * 4),
		.ext = (uint8_t)(rng_below(r, 4) ? 0 : 8 * (1 + rng_below(r, 4))),
		.options = (uint8_t)(rng_below(r, 11) * 4),
		.fill = (uint8_t)rng_next(r),
	};
	uint32_t headers =
		(s.v6 ? 40u + s.ext : 20u + s.ip_options) + (s.udp ? 8 : 20u + s.options);
	s.payload = 1 + rng_below(r, rng_below(r, 2) ? 4000 : PACKET_MAX - headers);
	return s;
}

static bool segments_right(const struct vnet_hdr *h, uint32_t len, const struct gso_plan *plan,
			   uint32_t mss)
{
	size_t stride = HEAD + plan->seg_len + 3;
	uint32_t total = 0, half = plan->segments / 2;
	if ((plan->segments + 1) * stride > OUT_MAX)
		return false;
	memset(out, 0xee, plan->segments * stride + HEAD);
	/* in two goes, as a caller with a smaller buffer would */
	gso_split(h, super, plan, 0, half, false, out + HEAD, stride);
	gso_split(h, super, plan, half, plan->segments - half, false, out + HEAD + half * stride,
		  stride);
	for (uint32_t i = 0; i < plan->segments; i++) {
		const uint8_t *got = out + HEAD + i * stride;
		uint32_t n = i + 1 < plan->segments ? plan->seg_len : plan->last_len;
		if (naive_segment(super, len, mss, i) != n || memcmp(got, want, n) != 0 ||
		    !packet_sums_ok(got, n))
			return false;
		for (uint32_t k = n; k < stride; k++)
			if (got[k] != 0xee) /* beyond its end */
				return false;
		total += n - plan->hdr_len;
	}
	return total == len - plan->hdr_len;
}

static bool round_right(uint64_t seed)
{
	struct rng r = { seed };
	struct spec s = random_spec(&r);
	struct vnet_hdr h;
	struct gso_plan plan;
	uint16_t gso = (uint16_t)(1 + rng_below(&r, rng_below(&r, 4) ? 1500 : 65535));
	if (s.payload / gso > 600)
		gso = (uint16_t)(s.payload / 600 + 1);
	uint32_t len = packet_build_super(&s, gso, super, &h), hdr = len - s.payload;
	uint32_t room = rng_below(&r, 3) ? 65535 : hdr + 120 + rng_below(&r, 1400);
	uint32_t mss = !s.udp && room - hdr < gso ? room - hdr : gso;
	if (!s.udp && rng_below(&r, 2))
		h.gso_type |= VNET_GSO_ECN;
	return gso_plan(&h, super, len, room, &plan) == DROP_NONE && plan.hdr_len == hdr &&
	       plan.segments == (s.payload + mss - 1) / mss && segments_right(&h, len, &plan, mss);
}

static void split_equals_naive(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= ROUNDS; seed++)
		if (!round_right(seed))
			fail_msg("seed %llu", (unsigned long long)seed);
}

/* Without GSO: untouched, or a partial sum completed. */
static void whole_packets(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 500; seed++) {
		struct rng r = { seed };
		struct spec s = random_spec(&r);
		struct vnet_hdr h;
		struct gso_plan plan;
		uint32_t len = packet_build_super(&s, 0, super, &h);
		assert_int_equal(gso_plan(&h, super, len, 100, &plan), DROP_NONE);
		assert_int_equal(plan.segments, 1);
		assert_int_equal(plan.seg_len, len);
		assert_int_equal(plan.last_len, len);
		gso_split(&h, super, &plan, 0, 1, false, out, len);
		packet_build(&s, want);
		assert_memory_equal(out, want, len);

		h = (struct vnet_hdr){ 0 };
		super[len - 1] ^= 0x55; /* a wrong sum that nobody asked us to mend */
		assert_int_equal(gso_plan(&h, super, len, 100, &plan), DROP_NONE);
		gso_split(&h, super, &plan, 0, 1, false, out, len);
		assert_memory_equal(out, super, len);
	}
}

/* A sum of zero is written as 0xffff: zero would say that there is none. */
static void zero_sum_is_written_as_ffff(void **state)
{
	(void)state;
	struct spec s = { .udp = true, .payload = 200 };
	struct vnet_hdr h;
	struct gso_plan plan;
	for (uint32_t gso = 0; gso <= 100; gso += 100) {
		uint32_t len = packet_build_super(&s, (uint16_t)gso, super, &h);
		/*
		 * choose the first two payload bytes so that the first segment sums up to nothing
		 */
		naive_segment(super, len, gso ? gso : 200, 0);
		uint32_t word = load_be16(want + 28) + (uint32_t)load_be16(want + 26);
		word = (word & 0xffff) + (word >> 16);
		store_be16(super + 28, (uint16_t)word);
		assert_int_equal(gso_plan(&h, super, len, 1500, &plan), DROP_NONE);
		gso_split(&h, super, &plan, 0, plan.segments, false, out, plan.seg_len);
		assert_int_equal(load_be16(out + 26), 0xffff);
	}
}

/* One lie per row, of one or two parts; all else is right. */
enum part { NOTHING, BYTE, FLAGS, TYPE, GSO, START, OFFSET, LENGTH, ROOM };
enum kind { TCP4, UDP4, TCP6, UDP6, TCP6_EXT };

static const struct lie {
	const char *name;
	enum kind kind;
	struct {
		enum part part;
		int value, at; /* BYTE: packet byte `at` becomes value */
	} is[2];
} lies[] = {
	{ "version 5", TCP4, { { BYTE, 0x55, 0 } } },
	{ "header length 16", TCP4, { { BYTE, 0x44, 0 } } },
	{ "header length 60", TCP4, { { BYTE, 0x4f, 0 } } },
	{ "total length", TCP4, { { BYTE, 1, 3 } } },
	{ "one byte more", TCP4, { { LENGTH, 1, 0 } } },
	{ "one byte less", TCP4, { { LENGTH, -1, 0 } } },
	{ "v6 one byte more", TCP6, { { LENGTH, 1, 0 } } },
	{ "v6 one byte less", TCP6, { { LENGTH, -1, 0 } } },
	{ "tcpv4 over v6", TCP6, { { TYPE, VNET_GSO_TCPV4, 0 } } },
	{ "tcpv6 over v4", TCP4, { { TYPE, VNET_GSO_TCPV6, 0 } } },
	{ "udp type, tcp packet", TCP4, { { TYPE, VNET_GSO_UDP_L4, 0 }, { OFFSET, 6, 0 } } },
	{ "tcp type, udp packet", UDP4, { { TYPE, VNET_GSO_TCPV4, 0 }, { OFFSET, 16, 0 } } },
	{ "tcp type, udp packet, v6", UDP6, { { TYPE, VNET_GSO_TCPV6, 0 }, { OFFSET, 16, 0 } } },
	{ "ufo", UDP4, { { TYPE, 3, 0 } } },
	{ "unknown type", TCP4, { { TYPE, 9, 0 } } },
	{ "ecn alone", TCP4, { { TYPE, VNET_GSO_ECN, 0 } } },
	{ "ecn with udp", UDP4, { { TYPE, VNET_GSO_UDP_L4 | VNET_GSO_ECN, 0 } } },
	{ "no checksum asked", TCP4, { { FLAGS, 0, 0 } } },
	{ "gso size 0", TCP4, { { GSO, 0, 0 } } },
	{ "csum_start early", TCP4, { { START, 18, 0 } } },
	{ "csum_start late", TCP4, { { START, 24, 0 } } },
	{ "csum_start past the end", TCP4, { { START, 65535, 0 } } },
	{ "csum_start past the end, v6", TCP6_EXT, { { START, 65528, 0 } } },
	{ "csum_start inside v6", TCP6, { { START, 32, 0 } } },
	{ "csum_start between units, v6", TCP6_EXT, { { START, 44, 0 } } },
	{ "v6 says tcp, but csum_start is later", TCP6, { { START, 48, 0 } } },
	{ "v6 csum_start at an extension header", TCP6_EXT, { { START, 40, 0 } } },
	{ "csum_offset", TCP4, { { OFFSET, 6, 0 } } },
	{ "csum_offset, udp", UDP4, { { OFFSET, 16, 0 } } },
	{ "more fragments", TCP4, { { BYTE, 0x20, 6 } } },
	{ "fragment offset", TCP4, { { BYTE, 1, 7 } } },
	{ "data offset 4", TCP4, { { BYTE, 0x40, 32 } } },
	{ "no room for payload", TCP4, { { ROOM, 40, 0 } } },
	{ "no room", TCP4, { { ROOM, 0, 0 } } },
};

static void tell(const struct lie *l, struct vnet_hdr *h, uint32_t *len, uint32_t *room)
{
	for (size_t i = 0; i < ARRAY_SIZE(l->is); i++) {
		int v = l->is[i].value;
		switch (l->is[i].part) {
		case NOTHING:
			break;
		case BYTE:
			super[l->is[i].at] = (uint8_t)v;
			break;
		case FLAGS:
			h->flags = (uint8_t)v;
			break;
		case TYPE:
			h->gso_type = (uint8_t)v;
			break;
		case GSO:
			h->gso_size = (uint16_t)v;
			break;
		case START:
			h->csum_start = (uint16_t)v;
			break;
		case OFFSET:
			h->csum_offset = (uint16_t)v;
			break;
		case LENGTH:
			*len = (uint32_t)((int)*len + v);
			break;
		case ROOM:
			*room = (uint32_t)v;
			break;
		}
	}
}

static void lies_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		const struct lie *l = &lies[i];
		struct spec s = { .v6 = l->kind >= TCP6,
				  .udp = l->kind == UDP4 || l->kind == UDP6,
				  .ext = l->kind == TCP6_EXT ? 16 : 0,
				  .payload = 3000 };
		struct vnet_hdr h;
		struct gso_plan plan;
		uint32_t len = packet_build_super(&s, 1000, super, &h), room = 1500;
		assert_int_equal(gso_plan(&h, super, len, room, &plan), DROP_NONE);
		tell(l, &h, &len, &room);
		if (gso_plan(&h, super, len, room, &plan) != DROP_TUN_MALFORMED)
			fail_msg("believed: %s", l->name);
	}
}

/* Truncated at every length: refused, and (under ASan) never read past the end. */
static void short_packets_are_refused(void **state)
{
	(void)state;
	static const struct spec specs[] = { { .payload = 30 },
					     { .v6 = true, .payload = 30 },
					     { .udp = true, .payload = 30 },
					     { .v6 = true, .ext = 8, .payload = 30 } };
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		for (uint16_t gso = 0; gso <= 10; gso = (uint16_t)(gso + 10)) {
			struct vnet_hdr h;
			struct gso_plan plan;
			uint32_t len = packet_build_super(&specs[i], gso, super, &h);
			for (uint32_t n = 0; n < len; n++) {
				uint8_t *exact = malloc(n ? n : 1);
				assert_non_null(exact);
				memcpy(exact, super, n);
				assert_int_equal(gso_plan(&h, exact, n, 1500, &plan),
						 DROP_TUN_MALFORMED);
				free(exact);
			}
		}
	}
}

/* A TCP header that would reach past the end of the packet. */
static void long_tcp_header_is_refused(void **state)
{
	(void)state;
	struct spec s = { .payload = 30 };
	struct vnet_hdr h;
	struct gso_plan plan;
	uint32_t len = packet_build_super(&s, 10, super, &h);
	super[32] = 0xc0; /* 48 bytes: two of payload left */
	assert_int_equal(gso_plan(&h, super, len, 1500, &plan), DROP_NONE);
	assert_int_equal(plan.hdr_len, 68);
	super[32] = 0xd0;
	assert_int_equal(gso_plan(&h, super, len, 1500, &plan), DROP_TUN_MALFORMED);
}

/* A partial sum may be asked for anywhere after the IP header, but nowhere else. */
static void whole_packet_sum_place(void **state)
{
	(void)state;
	struct spec s = { .payload = 10 };
	struct vnet_hdr h;
	struct gso_plan plan;
	uint32_t len = packet_build_super(&s, 0, super, &h);
	static const struct {
		uint16_t start, offset;
		enum drop want;
	} t[] = {
		{ 20, 16, DROP_NONE },		{ 20, 28, DROP_NONE },
		{ 20, 30, DROP_TUN_MALFORMED }, { 19, 16, DROP_TUN_MALFORMED },
		{ 20, 17, DROP_TUN_MALFORMED }, { 48, 0, DROP_NONE },
		{ 49, 0, DROP_TUN_MALFORMED },	{ 65535, 65534, DROP_TUN_MALFORMED },
		{ 0, 10, DROP_TUN_MALFORMED },
	};
	assert_int_equal(len, 50);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		h.csum_start = t[i].start;
		h.csum_offset = t[i].offset;
		if (gso_plan(&h, super, len, 1500, &plan) != t[i].want)
			fail_msg("row %zu", i);
	}
}

/* UDP keeps its boundaries, whatever the path takes; TCP is cut smaller, never larger. */
static void room_caps_tcp_alone(void **state)
{
	(void)state;
	struct vnet_hdr h;
	struct gso_plan plan;
	struct spec s = { .udp = true, .payload = 5000 };
	uint32_t len = packet_build_super(&s, 2000, super, &h);
	assert_int_equal(gso_plan(&h, super, len, 1280, &plan), DROP_NONE);
	assert_int_equal(plan.seg_len, 2028);
	assert_int_equal(plan.last_len, 1028);
	s.udp = false;
	len = packet_build_super(&s, 2000, super, &h);
	assert_int_equal(gso_plan(&h, super, len, 1280, &plan), DROP_NONE);
	assert_int_equal(plan.seg_len, 1280);
	assert_int_equal(plan.segments, 5);
	len = packet_build_super(&s, 2000, super, &h);
	assert_int_equal(gso_plan(&h, super, len, 9000, &plan), DROP_NONE);
	assert_int_equal(plan.seg_len, 2040);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_equals_naive),
		cmocka_unit_test(whole_packets),
		cmocka_unit_test(zero_sum_is_written_as_ffff),
		cmocka_unit_test(lies_are_refused),
		cmocka_unit_test(short_packets_are_refused),
		cmocka_unit_test(long_tcp_header_is_refused),
		cmocka_unit_test(whole_packet_sum_place),
		cmocka_unit_test(room_caps_tcp_alone),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
