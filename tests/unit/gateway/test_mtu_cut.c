/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does not fit: cut between warrens and put together byte for byte, told or cut outside towards
 * stock peers.
 */
#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/tun/packets.h"

#include <sodium.h>
#include <stdlib.h>

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

static const struct vnet_hdr plain;
static struct rng rng;

/* What came out of end 1's TUN. */
static uint8_t got[PACKET_MAX + 1];
static uint32_t got_len, got_bytes;

static void take(struct end *e, const uint8_t *ip, uint32_t len)
{
	(void)e;
	memcpy(got, ip, len);
	got_len = len;
	got_bytes += len;
}

static const uint32_t paths[] = { 576, 1124, 1400 };

/* Two warrens who know what the wire between them takes. */
static struct peer *cutters(uint32_t mtu)
{
	wire_mtu = mtu;
	struct peer *p = warren_pair();
	assert_int_equal(peer_room(p), mtu - 60);
	run_for(2 * SEC);
	ends[1].tun = take;
	ends[0].came = ends[1].came = 0;
	return p;
}

/* From 10.0.0.1 to 10.0.0.2, or the other way. */
static void address(uint8_t *ip, unsigned from)
{
	static const uint8_t way[2][8] = { { 10, 0, 0, 1, 10, 0, 0, 2 },
					   { 10, 0, 0, 2, 10, 0, 0, 1 } };
	memcpy(ip + 12, way[from], 8);
}

/* No transport that anybody knows: a packet may be as short as this. */
static uint32_t raw_packet(uint8_t *ip, uint32_t len)
{
	memset(ip, 0, 20);
	ip[0] = 0x45;
	store_be16(ip + 2, (uint16_t)len);
	ip[8] = 64;
	ip[9] = 253;
	address(ip, 0);
	store_be16(ip + 10, (uint16_t)~naive_sum(0, ip, 20));
	for (uint32_t i = 20; i < len; i++)
		ip[i] = (uint8_t)rng_next(&rng);
	return len;
}

static void into_tun(const struct vnet_hdr *h, uint8_t *ip, uint32_t len)
{
	node_tun(ends[0].node, now, h, ip, len);
	node_flush(ends[0].node, now);
}

static void expect_same(const uint8_t *ip, uint32_t len)
{
	assert_int_equal(got_len, len);
	assert_memory_equal(got, ip, len);
}

static void expect_none(uint64_t cut)
{
	assert_int_equal(peer_of(0)->stats.tx_cut, cut);
	for (enum drop d = DROP_NONE + 1; d < DROP_COUNT; d++)
		assert_int_equal(drops(0, d) + drops(1, d), 0);
}

/* --- between warrens --- */

static void each_size(uint32_t mtu)
{
	static uint8_t ip[PACKET_MAX];
	struct peer *p = cutters(mtu);
	uint32_t room = mtu - 60, came = 0, cut = 0;
	for (uint32_t len = 21; len <= 9000; len += len < 2600 ? 1 + len % 7 : 97, came++) {
		if (len + 97 > 9000)
			len = 9000;
		raw_packet(ip, len);
		into_tun(&plain, ip, len);
		assert_int_equal(nwire, 1); /* one send, of whatever many */
		assert_true(wire[0].tx.seg + 28 <= mtu);
		assert_int_equal(wire[0].datagrams,
				 len <= room ? 1 : (len + room - 13) / (room - 12));
		assert_int_equal(wire[0].tx.len, wire[0].tx.seg * wire[0].datagrams);
		assert_false(wire[0].tx.may_fragment);
		settle();
		expect_same(ip, len);
		cut += len > room;
	}
	assert_int_equal(ends[1].came, came);
	expect_none(cut);
	assert_int_equal(peer_of(1)->stats.rx_whole, cut);
	assert_int_equal(peer_of(1)->stats.rx_fragments, p->stats.tx_fragments);
}

static void test_every_size(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		if (i) {
			teardown(state);
			setup(state);
		}
		each_size(paths[i]);
	}
}

/* From the local TCP or UDP the sum is still to be made: it is whole in what comes out. */
static void test_partial_sums(void **state)
{
	static uint8_t ip[PACKET_MAX], whole[PACKET_MAX];
	(void)state;
	cutters(1124);
	for (unsigned i = 0; i < 200; i++) {
		struct spec sp = { .udp = i & 1, .payload = 1 + rng_below(&rng, 8900) };
		struct vnet_hdr h;
		sp.fill = (uint8_t)i;
		uint32_t len = packet_build_super(&sp, 1000, ip, &h);
		h.gso_type = VNET_GSO_NONE;
		h.gso_size = 0;
		/* the address goes into the sum of the pseudo header */
		uint32_t l4 = packet_l4(ip), at = h.csum_start + h.csum_offset;
		memcpy(whole, ip, len);
		address(whole, 0);
		packet_fix_sums(whole, len);
		/* the same number; whoever finishes a sum writes it so for each protocol, as the kernel does */
		if (!load_be16(whole + at))
			store_be16(whole + at, 0xffff);
		address(ip, 0);
		memcpy(ip, whole, 20);
		uint8_t pseudo[12] = { 0 };
		memcpy(pseudo, ip + 12, 8);
		pseudo[9] = ip[9];
		store_be16(pseudo + 10, (uint16_t)(len - l4));
		store_be16(ip + at, naive_sum(0, pseudo, sizeof(pseudo)));
		into_tun(&h, ip, len);
		settle();
		assert_true(packet_sums_ok(got, got_len));
		expect_same(whole, len);
	}
}

/* Super-packets from the TUN: UDP's boundaries stay, each too large one is cut; TCP is split to fit. */
static uint32_t super(bool udp, uint16_t gso, uint32_t payload)
{
	static uint8_t ip[PACKET_MAX];
	struct spec sp = { .udp = udp, .payload = payload, .seq = 1 };
	struct vnet_hdr h;
	uint32_t len = packet_build_super(&sp, gso, ip, &h);
	address(ip, 0);
	got_bytes = 0;
	into_tun(&h, ip, len);
	return len;
}

static void expect_segment(struct end *e, const uint8_t *ip, uint32_t len)
{
	assert_true(packet_sums_ok(ip, len));
	take(e, ip, len);
}

static void test_udp_super(void **state)
{
	(void)state;
	struct peer *p = cutters(1124);
	ends[1].tun = expect_segment;
	super(true, 1400, 20000); /* 14 of them, and one of 400 */
	assert_int_equal(nwire, 1);
	assert_int_equal(p->stats.tx_cut, 14);
	assert_int_equal(p->stats.tx_fragments, 14 * 2); /* the last fits */
	settle();
	assert_int_equal(ends[1].came, 15);
	assert_int_equal(got_bytes, 20000 + 15 * 28);
	assert_int_equal(got_len, 428);
	super(true, 1036, 20000); /* these fit, to the byte */
	settle();
	expect_none(14);
	assert_int_equal(ends[1].came, 15 + 20);
}

static void test_tcp_is_never_cut(void **state)
{
	(void)state;
	cutters(1124);
	for (unsigned i = 0; i < 100; i++) {
		uint32_t payload = 1 + rng_below(&rng, 60000);
		super(false, (uint16_t)(500 + rng_below(&rng, 8400)), payload);
		settle();
		assert_true(got_bytes >= payload + 40);
	}
	expect_none(0);
}

/* Larger than what the other puts together: whole, and cut outside where it has to be. */
static void test_larger_than_fragments(void **state)
{
	static const uint32_t sizes[] = { 9001, 20000, 34736, 65400 };
	static uint8_t ip[PACKET_MAX];
	(void)state;
	cutters(1400);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		into_tun(&plain, ip, raw_packet(ip, sizes[i]));
		assert_true(nwire == 1 && wire[0].tx.may_fragment && wire[0].datagrams == 1);
		settle();
		expect_same(ip, sizes[i]);
	}
	got_bytes = 0;
	super(true, 30000, 60000);
	settle();
	assert_int_equal(got_bytes, 60056);
	expect_none(0);
	into_tun(&plain, ip, raw_packet(ip, 9000)); /* which it does put together */
	assert_false(wire[0].tx.may_fragment);
	settle();
	expect_same(ip, 9000);
	into_tun(&plain, ip, raw_packet(ip, 65500)); /* no datagram holds that */
	assert_int_equal(nwire, 0);
	assert_int_equal(drops(0, DROP_TOO_BIG), 1);
}

/* --- loss and time --- */

static unsigned to_lose;

static bool lose_one(const struct sent *s, uint32_t len)
{
	(void)s;
	return len > 200 && to_lose && --to_lose == 0;
}

static void test_a_part_lost(void **state)
{
	static uint8_t ip[PACKET_MAX];
	(void)state;
	cutters(576);
	wire_loses = lose_one;
	for (unsigned i = 1; i <= 6; i++) { /* each of the 6 parts once */
		to_lose = i;
		into_tun(&plain, ip, raw_packet(ip, 3000));
		assert_int_equal(wire[0].datagrams, 6);
		into_tun(&plain, ip, raw_packet(ip, 3000));
		settle();
		assert_int_equal(ends[1].came, i);
		expect_same(ip, 3000);
	}
	run_for(2 * SEC);
	assert_int_equal(ends[1].came, 6);
	assert_int_equal(drops(1, DROP_FRAGMENT_TIMEOUT), 6);
	assert_int_equal(drops(1, DROP_FRAGMENT_OVERLAP), 0);
}

static void test_staged(void **state)
{
	static uint8_t ip[PACKET_MAX];
	(void)state;
	cutters(1400);
	run_for(400 * SEC);
	assert_false(wg_can_send(peer_of(0)->wg, now));
	into_tun(&plain, ip, raw_packet(ip, 9000));
	settle();
	assert_int_equal(ends[1].came, 1);
	expect_same(ip, 9000);
}

/* Cut, and then there is no session: the parts go, what was whole waits. */
static void test_session_ends_between(void **state)
{
	static uint8_t ip[PACKET_MAX];
	(void)state;
	cutters(1400);
	node_tun(ends[0].node, now, &plain, ip, raw_packet(ip, 3000));
	node_tun(ends[0].node, now, &plain, ip, raw_packet(ip, 200));
	now += 200 * SEC;
	node_flush(ends[0].node, now);
	settle();
	run_for(SEC);
	assert_int_equal(ends[1].came, 1);
	expect_same(ip, 200);
	assert_int_equal(drops(0, DROP_WG_EXPIRED), 3);
}

/* --- stock peers --- */

static struct peer *to_stock(uint32_t mtu)
{
	path_mtu = mtu;
	struct peer *p = pair();
	ends[1].stock = true;
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 10);
	run_for(10 * SEC);
	ends[0].tun = ends[1].tun = take;
	ends[0].came = ends[1].came = 0;
	got_len = 0;
	return p;
}

static void test_stock_is_told(void **state)
{
	static uint8_t ip[PACKET_MAX];
	(void)state;
	to_stock(1300);
	raw_packet(ip, 1241);
	ip[6] = 0x40;
	store_be16(ip + 10, 0);
	store_be16(ip + 10, (uint16_t)~naive_sum(0, ip, 20));
	into_tun(&plain, ip, 1241);
	assert_int_equal(nwire, 0);
	assert_int_equal(ends[0].came, 1);
	/* ICMP of the destination's: 3, 4, 1240, and the packet's beginning */
	assert_int_equal(got_len, 576);
	const uint8_t back[8] = { 10, 0, 0, 2, 10, 0, 0, 1 };
	assert_memory_equal(got + 12, back, 8);
	assert_int_equal(load_be32(got + 20) >> 16, 0x0304);
	assert_int_equal(load_be16(got + 26), 1240);
	assert_int_equal(naive_sum(0, got, 20), 0xffff);
	assert_int_equal(naive_sum(0, got + 20, got_len - 20), 0xffff);
	assert_memory_equal(got + 28, ip, got_len - 28);
	assert_int_equal(drops(0, DROP_TOO_BIG), 1);
	/* fifty a second, as many at once */
	for (unsigned i = 0; i < 200; i++)
		into_tun(&plain, ip, 1241);
	assert_int_equal(ends[0].came, 50);
	for (unsigned i = 0; i < 100; i++, now += 10 * MS)
		into_tun(&plain, ip, 1241);
	assert_in_range(ends[0].came, 99, 101);
	assert_int_equal(nwire, 0);
	/* one byte less passes */
	store_be16(ip + 2, 1240);
	into_tun(&plain, ip, 1240);
	assert_int_equal(wire[0].tx.len, 1240 + 32);
}

static void test_without_df_it_goes(void **state)
{
	static uint8_t ip[PACKET_MAX];
	(void)state;
	struct peer *p = to_stock(1300);
	into_tun(&plain, ip, raw_packet(ip, 1400));
	assert_true(wire[nwire - 1].tx.may_fragment);
	assert_int_equal(wire[nwire - 1].tx.seg, 1432);
	settle();
	expect_same(ip, 1400);
	assert_int_equal(p->stats.tx_cut, 0);
	assert_int_equal(ends[0].came, 0);
}

static int setup_pinned(void **state)
{
	pinned_mtu = 1500;
	int err = setup(state);
	pinned_mtu = 0;
	return err;
}

static void test_pinned_to_stock(void **state)
{
	static uint8_t ip[PACKET_MAX];
	(void)state;
	struct peer *p = to_stock(1300);
	assert_int_equal(peer_mtu(p), 1500);
	raw_packet(ip, 1500);
	ip[6] = 0x40;
	into_tun(&plain, ip, 1500);
	assert_true(wire[nwire - 1].tx.may_fragment);
	settle();
	expect_same(ip, 1500);
	assert_int_equal(ends[0].came, 0);
}

static void test_pinned_to_warren(void **state)
{
	static uint8_t ip[PACKET_MAX];
	(void)state;
	struct peer *p = cutters(1400);
	assert_int_equal(peer_mtu(p), 1500);
	raw_packet(ip, 1500);
	ip[6] = 0x40;
	into_tun(&plain, ip, 1500);
	assert_int_equal(nwire, 1);
	assert_int_equal(wire[0].datagrams, 2);
	assert_false(wire[0].tx.may_fragment);
	settle();
	expect_same(ip, 1500);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define PINNED(f) cmocka_unit_test_setup_teardown(f, setup_pinned, teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_size),
		T(test_partial_sums),
		T(test_udp_super),
		T(test_tcp_is_never_cut),
		T(test_larger_than_fragments),
		T(test_a_part_lost),
		T(test_staged),
		T(test_session_ends_between),
		T(test_stock_is_told),
		T(test_without_df_it_goes),
		PINNED(test_pinned_to_stock),
		PINNED(test_pinned_to_warren),
	};
	if (sodium_init() < 0)
		return 1;
	const char *seed = getenv("SEED");
	rng.state = seed ? strtoull(seed, NULL, 0) : randombytes_random();
	print_message("SEED=%llu\n", (unsigned long long)rng.state);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
