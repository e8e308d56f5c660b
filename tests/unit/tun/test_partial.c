/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partial sums: what is split with them, and completed as a kernel does, is what a whole split gives;
 * what is merged again is the super-packet that it was; and only what can have one may have one.
 */
#include "packets.h"
#include <stdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { ROUNDS = 500, STRIDE = 9216, SEGMENTS = 64 };

static uint8_t super[PACKET_MAX], merged[PACKET_MAX];
static uint8_t cut[SEGMENTS * STRIDE], whole[STRIDE];

static struct spec random_spec(struct rng *r)
{
	return (struct spec){ .v6 = rng_below(r, 2),
			      .udp = rng_below(r, 2),
			      .id = (uint16_t)rng_next(r),
			      .frag = 0x4000,
			      .seq = (uint32_t)rng_next(r),
			      .flags = rng_below(r, 2) ? 0x18 : 0x10,
			      .options = (uint8_t)(rng_below(r, 4) * 4),
			      .fill = (uint8_t)rng_next(r),
			      .payload = 1 + rng_below(r, 60000) };
}

static uint32_t seg_len(const struct gso_plan *plan, uint32_t i)
{
	return i + 1 < plan->segments ? plan->seg_len : plan->last_len;
}

/* A super-packet of at most SEGMENTS segments, planned. */
static uint32_t make(struct rng *r, struct vnet_hdr *h, struct gso_plan *plan)
{
	struct spec s = random_spec(r);
	uint16_t gso = (uint16_t)(s.payload / SEGMENTS + 1 + rng_below(r, 8000));
	uint32_t len = packet_build_super(&s, gso, super, h);
	assert_int_equal(gso_plan(h, super, len, STRIDE, plan), DROP_NONE);
	assert_true(gso_partial(h, super, len));
	return len;
}

static void completed_is_whole(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		struct rng r = { seed };
		struct vnet_hdr h;
		struct gso_plan plan;
		make(&r, &h, &plan);
		gso_split(&h, super, &plan, 0, plan.segments, true, cut, STRIDE);
		for (uint32_t i = 0; i < plan.segments; i++) {
			gso_split(&h, super, &plan, i, 1, false, whole, 0);
			packet_complete(&h, cut + i * STRIDE, seg_len(&plan, i));
			if (memcmp(cut + i * STRIDE, whole, seg_len(&plan, i)) != 0)
				fail_msg("seed %llu, segment %u", (unsigned long long)seed, i);
		}
	}
}

static uint32_t flatten(const struct gro_write *w)
{
	uint32_t n = 0;
	for (int i = 1; i < w->iovcnt; i++) {
		memcpy(merged + n, w->iov[i].iov_base, w->iov[i].iov_len);
		n += (uint32_t)w->iov[i].iov_len;
	}
	return n;
}

/* One kernel's super-packet becomes the other's, byte for byte, and nobody summed its payload. */
static void merged_is_the_super_packet(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		struct rng r = { seed };
		struct vnet_hdr h;
		struct gso_plan plan;
		struct gro_packet pkts[SEGMENTS];
		struct gro_write w;
		uint32_t len = make(&r, &h, &plan);
		gso_split(&h, super, &plan, 0, plan.segments, true, cut, STRIDE);
		for (uint32_t i = 0; i < plan.segments; i++)
			pkts[i] = (struct gro_packet){ cut + i * STRIDE, seg_len(&plan, i), true };
		assert_int_equal(gro_merge(pkts, 0, plan.segments, true, &w), plan.segments);
		if (flatten(&w) != len || memcmp(merged, super, len) != 0)
			fail_msg("seed %llu", (unsigned long long)seed);
		assert_int_equal(w.vnet.flags, VNET_NEEDS_CSUM);
		assert_int_equal(w.vnet.csum_start, h.csum_start);
		assert_int_equal(w.vnet.csum_offset, h.csum_offset);
		assert_int_equal(w.vnet.gso_size, plan.segments > 1 ? plan.payload : 0);
	}
}

/* A wrong whole sum next to a partial one is neither merged nor mended. */
static void wrong_stays_wrong(void **state)
{
	struct spec s = { .payload = 100 };
	struct gro_packet pkts[2];
	struct gro_write w;
	(void)state;
	for (uint32_t bad = 0; bad < 2; bad++) {
		for (uint32_t i = 0; i < 2; i++) {
			s.seq = i * 100;
			s.id = (uint16_t)i;
			pkts[i] = (struct gro_packet){ cut + i * STRIDE,
						       packet_build(&s, cut + i * STRIDE), true };
		}
		pkts[bad].partial = false;
		pkts[bad].ip[39] ^= 1; /* the last byte of the header: its urgent pointer */
		pkts[!bad].ip[39] ^= 1;
		memcpy(whole, pkts[bad].ip, pkts[bad].len);
		assert_int_equal(gro_merge(pkts, 0, 2, true, &w), 1);
		assert_int_equal(gro_merge(pkts, bad, 2, true, &w), 1);
		assert_int_equal(w.vnet.flags, 0);
		assert_memory_equal(pkts[bad].ip, whole, pkts[bad].len);
	}
}

struct made {
	uint8_t ip[256];
	uint32_t len;
};

static struct made packet(const struct spec *s)
{
	struct made m;
	static uint8_t room[PACKET_MAX];
	m.len = packet_build(s, room);
	memcpy(m.ip, room, m.len);
	return m;
}

static void who_can_have_one(void **state)
{
	struct vnet_hdr h;
	struct made m;
	(void)state;

	m = packet(&(struct spec){ .payload = 9 });
	assert_true(partial_vnet(m.ip, m.len, &h));
	assert_int_equal(h.csum_start, 20);
	assert_int_equal(h.csum_offset, 16);
	assert_false(partial_vnet(m.ip, m.len - 1, &h)); /* not whole */
	m.ip[9] = 1;					 /* ICMP */
	assert_false(partial_vnet(m.ip, m.len, &h));

	m = packet(&(struct spec){ .v6 = true, .udp = true, .payload = 9 });
	assert_true(partial_vnet(m.ip, m.len, &h));
	assert_int_equal(h.csum_start, 40);
	assert_int_equal(h.csum_offset, 6);
	m = packet(&(struct spec){ .v6 = true, .ext = 8, .payload = 9 });
	assert_false(partial_vnet(m.ip, m.len, &h)); /* where its sum is, nobody says */

	m = packet(&(struct spec){ .udp = true, .payload = 9, .frag = 0x2000 });
	assert_false(partial_vnet(m.ip, m.len, &h));
	m = packet(&(struct spec){ .udp = true, .payload = 9, .frag = 1 });
	assert_false(partial_vnet(m.ip, m.len, &h));
}

/* TCP's header has 20 bytes at least, UDP's 8: not a byte of the checksum may lie outside. */
static void too_short_for_one(void **state)
{
	uint8_t ip[60] = { 0x45 };
	struct vnet_hdr h;
	(void)state;
	for (uint16_t len = 20; len <= 60; len++) {
		store_be16(ip + 2, len);
		ip[9] = 6;
		assert_int_equal(partial_vnet(ip, len, &h), len >= 40);
		ip[9] = 17;
		assert_int_equal(partial_vnet(ip, len, &h), len >= 28);
	}
}

/* The kernel's word is taken for what its own packet says. */
static void only_as_the_kernel_said(void **state)
{
	struct spec s = { .udp = true, .payload = 50 };
	struct vnet_hdr h, lie;
	uint32_t len = packet_build_super(&s, 0, super, &h);
	(void)state;

	assert_true(gso_partial(&h, super, len));
	lie = h;
	lie.flags = 0;
	assert_false(gso_partial(&lie, super, len));
	lie = h;
	lie.csum_start += 2;
	assert_false(gso_partial(&lie, super, len));
	lie = h;
	lie.csum_offset += 2;
	assert_false(gso_partial(&lie, super, len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(completed_is_whole), cmocka_unit_test(merged_is_the_super_packet),
		cmocka_unit_test(wrong_stays_wrong),  cmocka_unit_test(who_can_have_one),
		cmocka_unit_test(too_short_for_one),  cmocka_unit_test(only_as_the_kernel_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
