/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Path MTUs of static peers where something is amiss: a peer that lies about where it is or what it takes, a
 * route that says more than its device takes, hellos that are lost.
 */
#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/tun/packets.h"
#include "tun/too_big.h"

#include <sodium.h>
#include <unistd.h>

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

static struct peer *stock(void)
{
	struct peer *p = pair();
	ends[1].stock = true;
	wire_data(0, 100);
	run_for(10 * SEC);
	return p;
}

/* Nobody can be answered at port 0; and what ICMP said ends there, too. */
static void test_port_zero(void **state)
{
	(void)state;
	struct peer *p = stock();
	wire_data(0, 1400);
	struct udp_too_big e = { .to = ends[1].at, .mtu = 1300, .quoted = UDP_QUOTE_MAX };
	memcpy(e.quote, wire[nwire - 1].bytes, UDP_QUOTE_MAX);
	node_too_big(ends[0].node, now, &e);
	assert_int_equal(peer_mtu(p), 1240);
	struct endpoint home = ends[1].at, nowhere = { .addr = home.addr };
	ends[1].at = nowhere;
	wire_data(1, 100);
	settle();
	assert_true(endpoint_eq(&p->path.remote, &home));
	node_static_endpoint(p, now, &nowhere);
	alarm(20); /* it hung here */
	run_for(700 * SEC);
	alarm(0);
}

/*
 * The device takes less than the route says (policy routing, several next hops): each probe that is too
 * large comes back as this host's own word. It is believed, and the search ends.
 */
static void test_local_word_ends(void **state)
{
	(void)state;
	struct peer *p = pair();
	wire_mtu = 1400;
	wire_data(0, 100);
	for (unsigned i = 0; i < 600; i++) {
		uint32_t before = p->pmtu.probes;
		run_for(100 * MS);
		struct udp_too_big e = { .to = { .addr = ends[1].at.addr },
					 .mtu = 1400,
					 .local = true };
		if (p->pmtu.probes != before)
			node_too_big(ends[0].node, now, &e);
	}
	assert_int_equal(p->pmtu.state, PMTU_SEARCH_COMPLETE);
	assert_int_equal(p->pmtu.size, 1400);
	assert_true(p->pmtu.bytes < 60000);
}

/* IPv6 promises 1280: where the peer is stock, the outer packet is cut by those on the way. */
static void test_ip6_promise_to_stock(void **state)
{
	static const struct vnet_hdr plain;
	static uint8_t ip[PACKET_MAX];
	struct spec sp = { .v6 = true, .payload = 1280 - 60 };
	struct prefix pre;
	(void)state;
	struct peer *p = stock();
	assert_true(prefix_parse("::/0", &pre));
	assert_int_equal(node_static_route(ends[0].node, p, &pre), 0);
	path_mtu = 1280;
	node_network_changed(ends[0].node, now);
	assert_int_equal(peer_mtu(p), 1220);
	uint32_t len = packet_build(&sp, ip);
	datagrams = 0;
	node_tun(ends[0].node, now, &plain, ip, len);
	node_flush(ends[0].node, now);
	assert_int_equal(drops(0, DROP_TOO_BIG), 0);
	assert_int_equal(datagrams, 1);
}

/* The first answer of a search is not its result: the routes wait for that. */
static void test_routes_do_not_dip(void **state)
{
	(void)state;
	struct peer *p = warren_pair();
	ends[1].at.addr.b[15] ^= 0x40; /* roams: the new path is as good */
	wire_data(1, 100);
	run_for(10 * SEC);
	assert_int_equal(peer_mtu(p), 1440);
	for (unsigned i = 0; i < ends[0].told; i++)
		assert_true(ends[0].told_mtu[i] >= 1420);
}

static void test_warren_that_takes_less_now(void **state)
{
	uint8_t f[HELLO_LEN];
	(void)state;
	struct peer *p = warren_pair();
	frame_hello_write(&(struct frame_hello){ .capabilities = HELLO_PATH_MTU, .largest = 9000 },
			  f);
	say(1, f, sizeof(f));
	settle();
	assert_false(peer_is_warren(p));
}

static void test_hello_rate_is_counted(void **state)
{
	uint8_t f[HELLO_LEN];
	(void)state;
	warren_pair();
	frame_hello_write(&(struct frame_hello){ .capabilities = 3, .largest = 9000 }, f);
	for (unsigned i = 0; i < 1000; i++)
		say(1, f, sizeof(f));
	settle();
	assert_true(drops(0, DROP_FRAME_RATE) > 800);
}

/*
 * One that is heard from two addresses in turn: nobody has proven to be there, so that little goes to them.
 */
static void test_roaming_is_no_amplifier(void **state)
{
	uint64_t in = 0, out = 0;
	(void)state;
	warren_pair();
	for (unsigned i = 0; i < 1000; i++, now += MS) {
		ends[1].at =
			(struct endpoint){ .addr = addr_v4_u32(0xc0000201 + i % 2), .port = 9 };
		wire_data(1, 100);
		in += 100 + WG_OVERHEAD + 28;
		deliver(&wire[0]);
		node_tick(ends[0].node, now);
		for (unsigned k = 1; k < nwire; k++)
			out += wire[k].tx.len;
		wire_clear();
	}
	assert_true(out > 0 && out < in);
}

/* A NAT gives the peer another port: the path is the same, and so is its size, until shown otherwise. */
static void test_port_alone_keeps_size(void **state)
{
	(void)state;
	struct peer *p = warren_pair();
	ends[1].at.port++;
	wire_data(1, 100);
	deliver(&wire[nwire - 1]);
	assert_int_equal(p->path.remote.port, ends[1].at.port);
	assert_int_equal(peer_room(p), 1440);
}

/* An answer that nobody asked for says nothing of the round trip. */
static void test_unasked_answer(void **state)
{
	uint8_t f[HELLO_LEN];
	(void)state;
	struct peer *p = warren_pair();
	run_for(100 * SEC);
	frame_hello_write(
		&(struct frame_hello){ .flags = HELLO_ANSWER, .capabilities = 3, .largest = 9000 },
		f);
	say(1, f, sizeof(f));
	settle();
	assert_true(p->rtt < SEC);
}

/* The other side still cuts for us: what it sends is lost, until we ask again. */
static void test_lost_hellos_heal(void **state)
{
	(void)state;
	struct peer *p = warren_pair();
	ends[0].stock = true; /* for as long as the hellos of one session go */
	unsigned before = ends[0].hellos;
	while (ends[0].hellos < before + 5) {
		wire_data(0, 100);
		run_for(5 * SEC);
	}
	run_for(10 * SEC);
	assert_false(peer_is_warren(p));
	ends[0].stock = false;
	peer_of(1)->warren = true; /* it had luck */
	ends[0].came = 0;
	for (unsigned i = 0; i < 30; i++) {
		wire_mtu = 1400;
		wire_data(1, 1600);
		run_for(SEC);
	}
	assert_true(ends[0].came >= 29);
}

/* A quote of the last datagram of end 0. */
static struct udp_too_big icmp(uint32_t mtu)
{
	struct udp_too_big e = { .to = ends[1].at, .mtu = mtu, .quoted = UDP_QUOTE_MAX };
	wire_data(0, 100); /* for a session */
	settle();
	wire_data(0, 1000);
	memcpy(e.quote, wire[nwire - 1].bytes, UDP_QUOTE_MAX);
	return e;
}

/* A container that starts here says nothing of a path elsewhere. */
static void test_hint_outlives_changes_here(void **state)
{
	(void)state;
	struct peer *p = stock();
	struct udp_too_big e = icmp(1300);
	node_too_big(ends[0].node, now, &e);
	nsec said = now;
	for (unsigned i = 0; i < 100; i++) {
		node_network_changed(ends[0].node, now += 2 * SEC);
		settle();
		assert_int_equal(peer_mtu(p), 1240);
	}
	run_until(said + 602 * SEC);
	assert_int_equal(peer_mtu(p), 1420);
	/* but another way out of here is another path */
	e = icmp(1300);
	node_too_big(ends[0].node, now, &e);
	path_mtu = 1400;
	node_network_changed(ends[0].node, now += 2 * SEC);
	settle();
	run_for(2 * SEC);
	assert_int_equal(peer_mtu(p), 1340);
}

/* Nor does it make the path of a warren be searched again; another way out of here does, once a second. */
static void test_searched_again_for_cause(void **state)
{
	(void)state;
	struct peer *p = warren_pair();
	run_for(5 * SEC);
	uint32_t probes = p->pmtu.probes, path = p->pmtu.path;
	for (unsigned i = 0; i < 50; i++) {
		node_network_changed(ends[0].node, now);
		run_for(100 * MS);
	}
	assert_int_equal(p->pmtu.probes, probes);
	unsigned searches = 0;
	for (unsigned i = 0; i < 50; i++) {
		path_tag++;
		node_network_changed(ends[0].node, now);
		run_for(100 * MS);
		searches += p->pmtu.path != path;
		path = p->pmtu.path;
	}
	assert_in_range(searches, 5, 6);
	assert_int_equal(p->pmtu.size, 1500);
}

/* What anybody may send leaves room for this host's own word. */
static void test_flood_and_own_word(void **state)
{
	(void)state;
	struct peer *p = stock();
	struct udp_too_big e = icmp(1300);
	e.quote[4] ^= 1;
	for (unsigned i = 0; i < 1000; i++)
		node_too_big(ends[0].node, now, &e);
	e = (struct udp_too_big){ .to = { .addr = ends[1].at.addr }, .mtu = 1300, .local = true };
	node_too_big(ends[0].node, now, &e);
	assert_int_equal(peer_mtu(p), 1240);
}

static uint8_t answer[TOO_BIG_MAX];

static void take_answer(struct end *e, const uint8_t *ip, uint32_t len)
{
	(void)e;
	assert_true(len <= sizeof(answer));
	memcpy(answer, ip, len);
}

/* No sender of IPv6 goes below 1280, so that it is not asked for less. */
static void test_ip6_is_told_no_less(void **state)
{
	static const struct vnet_hdr plain;
	static uint8_t ip[PACKET_MAX];
	struct spec sp = { .v6 = true, .payload = 1281 - 60 };
	struct prefix all;
	(void)state;
	struct peer *p = stock();
	ends[0].tun = take_answer;
	assert_true(prefix_parse("::/0", &all));
	assert_int_equal(node_static_route(ends[0].node, p, &all), 0);
	path_mtu = 1280;
	node_network_changed(ends[0].node, now);
	node_tun(ends[0].node, now, &plain, ip, packet_build(&sp, ip));
	assert_int_equal(drops(0, DROP_TOO_BIG), 1);
	assert_int_equal(answer[40], 2); /* Packet Too Big */
	assert_int_equal(load_be32(answer + 44), 1280);
}

/* What the routes offer depends on what the peer is, also where its MTU stays: 1500 - 80 = 1420. */
static void test_routes_hear_of_it(void **state)
{
	(void)state;
	for (uint8_t i = 0; i < ENDS; i++) {
		struct addr a = { .b = { 0x20, 1, 0xd, 0xb8, [15] = i } };
		ends[i].at.addr = a;
	}
	struct peer *p = warren_pair();
	assert_int_equal(peer_mtu(p), 1420);
	assert_true(ends[0].told > 0);
	unsigned told = ends[0].told;
	ends[1].stock = true;
	while (peer_is_warren(p)) {
		wire_data(0, 100);
		run_for(5 * SEC);
	}
	assert_int_equal(peer_mtu(p), 1420);
	assert_true(ends[0].told > told);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_port_zero),
		T(test_local_word_ends),
		T(test_ip6_promise_to_stock),
		T(test_routes_do_not_dip),
		T(test_warren_that_takes_less_now),
		T(test_hello_rate_is_counted),
		T(test_roaming_is_no_amplifier),
		T(test_port_alone_keeps_size),
		T(test_unasked_answer),
		T(test_lost_hellos_heal),
		T(test_hint_outlives_changes_here),
		T(test_searched_again_for_cause),
		T(test_flood_and_own_word),
		T(test_ip6_is_told_no_less),
		T(test_routes_hear_of_it),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
