/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Static peers and the size of their paths: what the routes are told, what ICMP
 * messages and this host's own MTU change. The wire drops what is too large for it.
 */
#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/tun/packets.h"

#include <sodium.h>

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

static const struct pmtu *search(void)
{
	return peer_static_pmtu(peer_of(0));
}

static void count_tun(struct end *e, const uint8_t *ip, uint32_t len)
{
	(void)e;
	assert_int_equal(load_be16(ip + 2), len);
}

/* A peer that answers no hello, and is asked no more. */
static struct peer *stock(void)
{
	struct peer *p = pair();
	ends[1].stock = true;
	wire_data(0, 100);
	run_for(10 * SEC);
	assert_false(peer_is_warren(p));
	assert_int_equal(peer_mtu(p), 1420);
	return p;
}

/* --- search and routes --- */

static void at_ip6(void)
{
	for (uint8_t i = 0; i < ENDS; i++) {
		struct addr a = { .b = { 0x20, 1, 0xd, 0xb8, [15] = i } };
		ends[i].at.addr = a;
	}
}

static void find(uint32_t mtu, uint32_t around, bool v6)
{
	wire_mtu = mtu;
	path_mtu = 9000;
	if (v6)
		at_ip6();
	struct peer *p = pair();
	wire_data(0, 100);
	run_for(20 * SEC);
	assert_true(peer_is_warren(p));
	assert_int_equal(search()->size, mtu);
	assert_int_equal(search()->state, PMTU_SEARCH_COMPLETE);
	assert_int_equal(peer_room(p), mtu - around);
	assert_int_equal(peer_mtu(p), mtu - around);
	assert_int_equal(ends[0].path_mtu_lines, 1);
	/* from below: each step up a second after the one before at least */
	for (unsigned i = 0; i + 1 < ends[0].told; i++)
		if (ends[0].told_mtu[i + 1] > ends[0].told_mtu[i])
			assert_true(ends[0].told_at[i + 1] - ends[0].told_at[i] >= SEC);
}

static void test_each_size_is_found(void **state)
{
	static const uint32_t mtus[] = { 576,  577,  1000, 1279, 1280, 1281, 1399, 1400,
					 1420, 1452, 1491, 1492, 1500, 1501, 8896, 9000 };
	for (size_t i = 0; i < ARRAY_SIZE(mtus); i++) {
		if (i) {
			teardown(state);
			setup(state);
		}
		find(mtus[i], 60, false);
	}
}

static void test_over_ip6(void **state)
{
	static const uint32_t mtus[] = { 1280, 1281, 1400, 1480, 1492, 1500, 9000 };
	for (size_t i = 0; i < ARRAY_SIZE(mtus); i++) {
		if (i) {
			teardown(state);
			setup(state);
		}
		find(mtus[i], 80, true);
	}
}

/* The wire shrinks without a word while data flows; then it is as large as before. */
static void test_black_hole(void **state)
{
	(void)state;
	struct peer *p = warren_pair();
	ends[1].tun = count_tun;
	uint32_t probes = search()->probes;
	wire_flow(2 * SEC, 50 * MS, 1440);
	/* the peer is asked for these, once a second while all arrive, and counts them */
	assert_int_equal(peer_of(1)->seen.watch[0].size, 1440 + WG_OVERHEAD);
	assert_in_range(peer_of(1)->seen.watch[0].count, 35, 40);
	assert_in_range(search()->probes - probes, 2, 3);
	unsigned told = ends[0].told;
	wire_mtu = 1400;
	nsec shrank = now;
	while (peer_mtu(p) == 1440 && now < shrank + 3 * SEC)
		wire_flow(50 * MS, 50 * MS, 1440);
	assert_true(now - shrank < 3 * SEC);
	assert_true(peer_mtu(p) < 1440);
	/* from then on each packet comes, cut where it has to be */
	ends[1].came = 0;
	wire_flow(5 * SEC, 50 * MS, 1440);
	assert_int_equal(ends[1].came, 100);
	assert_true(p->stats.tx_cut > 0);
	assert_int_equal(peer_mtu(p), 1340);
	assert_int_equal(search()->size, 1400);
	for (unsigned i = told; i + 1 < ends[0].told; i++)
		if (ends[0].told_mtu[i + 1] > ends[0].told_mtu[i])
			assert_true(ends[0].told_at[i + 1] - ends[0].told_at[i] >= SEC);
	wire_mtu = 0;
	wire_flow(130 * SEC, SEC, 1340); /* the raise timer: a minute, and what then is searched */
	assert_int_equal(peer_mtu(p), 1440);
}

static void test_own_mtu(void **state)
{
	(void)state;
	struct peer *p = warren_pair();
	path_mtu = 1300;
	node_network_changed(ends[0].node, now);
	assert_int_equal(peer_room(p), 1240); /* at once */
	run_for(2 * SEC);
	assert_int_equal(peer_mtu(p), 1240);
	path_mtu = 9000;
	node_network_changed(ends[0].node, now);
	run_for(10 * SEC);
	assert_int_equal(peer_mtu(p), 8940);
	assert_int_equal(search()->size, 9000);
}

static void test_roaming_searches_anew(void **state)
{
	(void)state;
	struct peer *p = warren_pair();
	assert_int_equal(peer_mtu(p), 1440);
	wire_mtu = 1300;
	ends[1].at.addr.b[15] ^= 0x40;
	wire_data(1, 100);
	run_for(10 * SEC);
	assert_true(endpoint_eq(&p->path.remote, &ends[1].at));
	assert_int_equal(search()->size, 1300);
	assert_int_equal(peer_mtu(p), 1240);
	wire_mtu = 0;
	ends[1].at.port = 4321;
	wire_data(1, 100);
	run_for(10 * SEC);
	assert_int_equal(peer_mtu(p), 1440);
}

/* --- this host's own word --- */

static void test_local_too_big(void **state)
{
	(void)state;
	struct peer *p = stock();
	struct udp_too_big e = { .to = { .addr = ends[1].at.addr }, .mtu = 1300, .local = true };
	path_mtu = 1300;
	node_too_big(ends[0].node, now, &e);
	assert_int_equal(peer_mtu(p), 1240);
	e.to.addr = ends[2].at.addr;
	path_mtu = 1200;
	node_too_big(ends[0].node, now += 2 * SEC, &e);
	assert_int_equal(peer_mtu(p), 1240); /* another way */
}

/* --- ICMP --- */

/* The quote of the last datagram of end 0, as far as an ICMP message goes. */
static struct udp_too_big icmp(uint32_t mtu)
{
	const struct sent *s = &wire[nwire - 1];
	struct udp_too_big e = { .to = s->tx.to, .mtu = mtu, .quoted = UDP_QUOTE_MAX };
	assert_true(s->from == 0 && s->tx.seg >= UDP_QUOTE_MAX);
	memcpy(e.quote, s->bytes, UDP_QUOTE_MAX);
	return e;
}

static void hear(const struct udp_too_big *e)
{
	node_too_big(ends[0].node, now += 100 * MS, e);
}

static void test_stock_believes_true_icmp(void **state)
{
	(void)state;
	struct peer *p = stock();
	wire_data(0, 1400);
	struct udp_too_big e = icmp(1400);
	hear(&e);
	nsec said = now;
	assert_int_equal(peer_mtu(p), 1340);
	e.mtu = 1450; /* no longer the least that was said */
	hear(&e);
	run_for(2 * SEC);
	assert_int_equal(peer_mtu(p), 1340);
	e.mtu = 68; /* no path is so small */
	hear(&e);
	assert_int_equal(peer_mtu(p), 516);
	said = now;
	run_until(said + 599 * SEC);
	assert_int_equal(peer_mtu(p), 516);
	run_until(said + 601 * SEC);
	assert_int_equal(peer_mtu(p), 1420);
}

/* IPv6 takes no less than 1280 anywhere: who says so is not believed at all. */
static void test_no_less_than_ip6_has(void **state)
{
	(void)state;
	at_ip6();
	struct peer *p = stock();
	wire_data(0, 1400);
	struct udp_too_big e = icmp(1279);
	hear(&e);
	assert_int_equal(peer_mtu(p), 1420);
	e.mtu = 1280;
	hear(&e);
	assert_int_equal(peer_mtu(p), 1200);
}

static void test_forged_icmp(void **state)
{
	(void)state;
	struct peer *p = stock();
	wire_data(0, 1400);
	struct udp_too_big e = icmp(1300), bad;
	for (unsigned i = 0; i < WG_DATA_HEADER_LEN * 8; i++) {
		if (i / 8 >= 8 && i / 8 < 10)
			continue; /* the counter: whose other values may be true */
		bad = e;
		bad.quote[i / 8] ^= (uint8_t)(1 << i % 8);
		hear(&bad);
		assert_int_equal(peer_mtu(p), 1420);
	}
	bad = e;
	store_le64(bad.quote + 8, load_le64(e.quote + 8) + 1); /* not sent yet */
	hear(&bad);
	bad = e;
	bad.quoted = WG_DATA_HEADER_LEN - 1;
	hear(&bad);
	bad = e;
	bad.to.port++;
	hear(&bad);
	bad = e;
	bad.to = ends[2].at;
	hear(&bad);
	for (unsigned i = 0; i < 1000; i++) {
		bad = e;
		randombytes_buf(bad.quote, sizeof(bad.quote));
		store_le32(bad.quote, WG_DATA);
		hear(&bad);
	}
	assert_int_equal(peer_mtu(p), 1420);
	hear(&e);
	assert_int_equal(peer_mtu(p), 1240);
}

/* A warren looks at it: what is not so costs a probe and changes nothing, what is so is found soon. */
static void test_warren_verifies_icmp(void **state)
{
	(void)state;
	struct peer *p = warren_pair();
	uint32_t probes = search()->probes;
	wire_data(0, 1440);
	struct udp_too_big e = icmp(1280);
	hear(&e);
	assert_int_equal(peer_mtu(p), 1440);
	run_for(2 * SEC);
	assert_int_equal(peer_mtu(p), 1440);
	assert_true(search()->probes > probes && search()->probes < probes + 10);
	assert_int_equal(search()->size, 1500);

	run_for(60 * SEC);
	wire_mtu = 1350;
	wire_data(0, 1440);
	e = icmp(1350);
	hear(&e);
	run_for(3 * SEC);
	assert_int_equal(search()->size, 1350);
	assert_int_equal(peer_mtu(p), 1290);
}

static void test_icmp_rate(void **state)
{
	(void)state;
	struct peer *p = stock();
	wire_data(0, 1400);
	struct udp_too_big e = icmp(1300), bad = e;
	bad.quote[4] ^= 1;
	for (unsigned i = 0; i < 50; i++)
		node_too_big(ends[0].node, now, &bad);
	node_too_big(ends[0].node, now, &e); /* too many at once: not looked at */
	assert_int_equal(peer_mtu(p), 1420);
	node_too_big(ends[0].node, now + SEC / 50, &e);
	assert_int_equal(peer_mtu(p), 1240);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_each_size_is_found),
		T(test_over_ip6),
		T(test_black_hole),
		T(test_own_mtu),
		T(test_roaming_searches_anew),
		T(test_local_too_big),
		T(test_stock_believes_true_icmp),
		T(test_no_less_than_ip6_has),
		T(test_forged_icmp),
		T(test_warren_verifies_icmp),
		T(test_icmp_rate),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
