/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One node with stock peers, as a WireGuard configuration makes them: roaming, allowed IPs, keepalive,
 * packets that wait for a session, padding, MTUs. Datagrams go over at once; time is the test's.
 */
#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/tun/packets.h"

#include <sodium.h>
#include <stdlib.h>

/* --- where peers are --- */

static void test_called_and_answers(void **state)
{
	(void)state;
	pair();
	/* 1 does not know where 0 is: "host unreachable", until 0 calls */
	send_inner(1, "10.0.0.2", "10.0.0.1", 1, 10);
	settle();
	assert_int_equal(datagrams, 0);
	assert_int_equal(drops(1, DROP_NO_PATH), 1);
	assert_int_equal(ends[1].came, 1);
	assert_memory_equal(ends[1].last + 20, "\3\1", 2);
	assert_memory_equal(ends[1].last + 16, "\12\0\0\2", 4);
	send_inner(0, "10.0.0.1", "10.0.0.2", 2, 10);
	settle();
	send_inner(1, "10.0.0.2", "10.0.0.1", 1, 10);
	settle();
	assert_int_equal(ends[1].came, 2);
	assert_int_equal(ends[0].came, 1);
	assert_int_equal(drops(0, DROP_INNER_SPOOFED), 0);
}

static void test_roaming(void **state)
{
	struct path path;
	struct peer *of1;
	(void)state;
	pair();
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 10);
	settle();
	of1 = node_peer_next(ends[1].node, NULL);
	assert_true(peer_path(of1, &path));
	assert_true(endpoint_eq(&path.remote, &ends[0].at));

	struct endpoint before = ends[0].at;
	ends[0].at.port = 4444;
	assert_true(peer_path(of1, &path) && endpoint_eq(&path.remote, &before));
	send_inner(0, "10.0.0.1", "10.0.0.2", 2, 10);
	settle();
	assert_true(peer_path(of1, &path) && endpoint_eq(&path.remote, &ends[0].at));
	assert_true(addr_eq(&path.local, &ends[1].at.addr));
	send_inner(1, "10.0.0.2", "10.0.0.1", 3, 10);
	settle();
	assert_int_equal(ends[0].came, 1);
}

/* What was read from the TUN before the peer moved goes where it was, what comes after where it is. */
static void test_roaming_within_a_turn(void **state)
{
	static const struct vnet_hdr plain;
	static uint8_t ip[PACKET_MAX];
	struct spec sp = { .udp = true, .payload = 10 };
	(void)state;
	pair();
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 10);
	settle();
	uint32_t len = packet_build(&sp, ip);
	memcpy(ip + 12, (const uint8_t[]){ 10, 0, 0, 2, 10, 0, 0, 1 }, 8);
	struct endpoint before = ends[0].at;
	ends[0].at.port = 4444;
	send_inner(0, "10.0.0.1", "10.0.0.2", 2, 10);
	node_tun(ends[1].node, now, &plain, ip, len);
	deliver(&wire[0]);
	node_tun(ends[1].node, now, &plain, ip, len);
	node_flush(ends[1].node, now);
	assert_int_equal(nwire, 3);
	assert_true(endpoint_eq(&wire[1].tx.to, &before));
	assert_true(endpoint_eq(&wire[2].tx.to, &ends[0].at));
	assert_int_equal(wire[1].tx.len, wire[2].tx.len);
}

/* Copies, changed or not, from elsewhere move nobody. */
static void test_no_roaming_by_a_thief(void **state)
{
	static uint8_t copy[2048];
	struct path path;
	(void)state;
	pair();
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 10);
	settle();
	struct peer *of1 = node_peer_next(ends[1].node, NULL);
	send_inner(0, "10.0.0.1", "10.0.0.2", 2, 10);
	uint32_t len = wire[nwire - 1].tx.len;
	memcpy(copy, wire[nwire - 1].bytes, len);
	settle();
	for (uint32_t i = 0; i <= len; i++) {
		uint8_t bytes[2048];
		memcpy(bytes, copy, len);
		if (i < len)
			bytes[i] ^= 0x40;
		struct udp_rx rx = { .buf = bytes, .len = len, .seg = len, .from = ends[2].at };
		node_udp(ends[1].node, now, &rx, 1);
	}
	assert_true(peer_path(of1, &path) && endpoint_eq(&path.remote, &ends[0].at));
	assert_int_equal(ends[1].came, 2);
	assert_int_equal(drops(1, DROP_WG_REPLAY), 1);
}

/* --- whose an address is --- */

static void test_longest_prefix(void **state)
{
	(void)state;
	add(0, 1, true, 0, "10.0.0.0/8");
	add(0, 2, true, 0, "10.1.0.0/16");
	add(1, 0, true, 0, "10.9.9.9/32");
	add(2, 0, true, 0, "10.9.9.9/32");
	send_inner(0, "10.9.9.9", "10.1.2.3", 1, 10);
	settle();
	assert_int_equal(ends[2].came, 1);
	send_inner(0, "10.9.9.9", "10.2.2.3", 2, 10);
	settle();
	assert_int_equal(ends[1].came, 1);
	send_inner(0, "10.9.9.9", "11.0.0.1", 3, 10);
	assert_int_equal(drops(0, DROP_NO_ROUTE), 1);
	assert_int_equal(ends[0].came, 1); /* that it is nobody's */
	assert_memory_equal(ends[0].last + 20, "\3\1", 2);
	ends[0].came = 0;
	/* the source decides in the same way: what is 2's, 1 may not claim */
	send_inner(1, "10.3.0.1", "10.9.9.9", 4, 10);
	settle();
	assert_int_equal(ends[0].came, 1);
	send_inner(1, "10.1.2.3", "10.9.9.9", 5, 10);
	settle();
	assert_int_equal(ends[0].came, 1);
	assert_int_equal(drops(0, DROP_INNER_SPOOFED), 1);
	/* a prefix given to another peer is no longer the first one's, as `wg set` has it */
	struct prefix p;
	assert_true(prefix_parse("10.1.0.0/16", &p));
	struct peer *one = node_peer_next(ends[0].node, NULL);
	assert_memory_equal(peer_key(one), ends[1].pub, 32);
	assert_int_equal(node_static_route(ends[0].node, one, &p), 0);
	send_inner(0, "10.9.9.9", "10.1.2.3", 6, 10);
	settle();
	assert_int_equal(ends[1].came, 2);
	assert_int_equal(ends[2].came, 1);
}

static void test_keys_that_cannot_be_peers(void **state)
{
	(void)state;
	pair();
	assert_null(node_static_add(ends[0].node, now, ends[1].pub, NULL, NULL, 0));
	assert_null(node_static_add(ends[0].node, now, ends[0].pub, NULL, NULL, 0));
	assert_null(node_lease(ends[0].node)->up ? ends[0].node : NULL);
}

static void test_malformed(void **state)
{
	static const struct vnet_hdr plain;
	static uint8_t ip[64];
	(void)state;
	pair();
	for (uint32_t len = 0; len < 20; len++) {
		ip[0] = 0x45;
		node_tun(ends[0].node, now, &plain, ip, len);
	}
	ip[0] = 0x60;
	node_tun(ends[0].node, now, &plain, ip, 39);
	ip[0] = 0x15;
	node_tun(ends[0].node, now, &plain, ip, 64);
	assert_int_equal(drops(0, DROP_TUN_MALFORMED), 22);
	settle();
	assert_int_equal(datagrams, 0);
}

/* --- time --- */

static void test_keepalive(void **state)
{
	(void)state;
	add(0, 1, true, 25, "10.0.0.2/32");
	add(1, 0, false, 0, "10.0.0.1/32");
	pass(30 * NSEC_PER_SEC); /* it calls by itself, so that a NAT opens; hellos are over */
	struct path path;
	assert_true(peer_path(node_peer_next(ends[1].node, NULL), &path));
	datagrams = 0;
	pass(90 * NSEC_PER_SEC);
	assert_int_equal(datagrams, 3);
	assert_int_equal(last_len, WG_OVERHEAD);
}

static void test_silence_without_keepalive(void **state)
{
	(void)state;
	pair();
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 10);
	settle();
	pass(30 * NSEC_PER_SEC); /* one keepalive of the receiver, as the paper's 6.5 has it */
	datagrams = 0;
	pass(600 * NSEC_PER_SEC);
	assert_int_equal(datagrams, 0);
}

/* --- packets that wait --- */

static void test_stage_limits(void **state)
{
	struct peer *p = pair();
	(void)state;
	ends[1].deaf = true;
	for (uint16_t i = 0; i < STAGE_PACKETS; i++)
		send_inner(0, "10.0.0.1", "10.0.0.2", (uint16_t)(i + 1), 10);
	assert_int_equal(drops(0, DROP_QUEUE_FULL), 0);
	send_inner(0, "10.0.0.1", "10.0.0.2", 999, 10);
	assert_int_equal(drops(0, DROP_QUEUE_FULL), 1);
	assert_int_equal(peer_drops(p)->n[DROP_QUEUE_FULL], 1);
	settle();
	ends[1].deaf = false;
	pass(7 * NSEC_PER_SEC); /* the second try */
	assert_int_equal(ends[1].came, STAGE_PACKETS);
	for (uint32_t i = 0; i < STAGE_PACKETS; i++)
		assert_int_equal(ends[1].order[i], i + 1);
}

static void test_stage_bytes(void **state)
{
	(void)state;
	pair();
	ends[1].deaf = true;
	for (uint16_t i = 0; i < 8; i++) /* 4 of them fill 256 KiB, less 28 bytes each */
		send_inner(0, "10.0.0.1", "10.0.0.2", (uint16_t)(i + 1), 65500 - 28);
	assert_int_equal(drops(0, DROP_QUEUE_FULL), 4);
}

static struct peer *add_unreachable(unsigned i, const char *allowed)
{
	uint8_t key[32] = { 0x20, (uint8_t)i, (uint8_t)(i >> 8) };
	struct endpoint nowhere = { .addr = addr_v4_u32(0xcb007109), .port = 9 };
	struct prefix p;
	struct peer *peer = node_static_add(ends[0].node, now, key, NULL, &nowhere, 0);
	assert_non_null(peer);
	assert_true(prefix_parse(allowed, &p));
	assert_int_equal(node_static_route(ends[0].node, peer, &p), 0);
	return peer;
}

/* A thousand peers whose handshakes go nowhere take no more than the node has for all of them. */
static void test_stage_total(void **state)
{
	char text[PREFIX_STRLEN];
	struct node *n = ends[0].node;
	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "10.%u.%u.0/24", 16 + i / 250, i % 250);
		add_unreachable(i, text);
		snprintf(text, sizeof(text), "10.%u.%u.1", 16 + i / 250, i % 250);
		/* each gets its first one in, however many came before */
		uint64_t before = drops(0, DROP_QUEUE_FULL);
		send_inner(0, "10.0.0.1", text, 1, 1000);
		assert_int_equal(drops(0, DROP_QUEUE_FULL), before);
		for (unsigned k = 0; k < 4; k++)
			send_inner(0, "10.0.0.1", text, 2, 65000);
		assert_true(n->staged_bytes <= STAGE_TOTAL);
	}
	assert_true(n->staged_bytes > STAGE_TOTAL / 2 && drops(0, DROP_QUEUE_FULL) > 3000);
	while (n->peers)
		node_static_remove(n->peers);
	assert_int_equal(n->staged_bytes, 0);
}

static void test_ten_thousand_peers(void **state)
{
	char text[PREFIX_STRLEN];
	unsigned count = 0;
	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(text, sizeof(text), "10.%u.%u.0/24", i / 250, i % 250);
		add_unreachable(i, text);
	}
	for (const struct peer *p = NULL; (p = node_peer_next(ends[0].node, p)); count++)
		assert_true(peer_key(p)[1] == (uint8_t)count && peer_key(p)[2] == count >> 8);
	assert_int_equal(count, 10000);
}

static void test_stage_expires(void **state)
{
	(void)state;
	pair();
	ends[1].deaf = true;
	for (uint16_t i = 0; i < 5; i++)
		send_inner(0, "10.0.0.1", "10.0.0.2", (uint16_t)(i + 1), 10);
	pass(85 * NSEC_PER_SEC);
	assert_int_equal(drops(0, DROP_STAGED_EXPIRED), 0);
	pass(15 * NSEC_PER_SEC);
	assert_int_equal(drops(0, DROP_STAGED_EXPIRED), 5);
	/* and a new packet starts it all again */
	ends[1].deaf = false;
	send_inner(0, "10.0.0.1", "10.0.0.2", 77, 10);
	settle();
	assert_int_equal(ends[1].came, 1);
	assert_int_equal(ends[1].order[0], 77);
}

/* The session may be too old by the time that a batch is sealed: its packets wait for the next one. */
static void test_session_ends_before_the_flush(void **state)
{
	static const struct vnet_hdr plain;
	static uint8_t ip[PACKET_MAX];
	struct spec sp = { .udp = true, .payload = 10 };
	(void)state;
	pair();
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 10);
	settle();
	for (uint16_t i = 0; i < 3; i++) {
		sp.sport = (uint16_t)(i + 10);
		uint32_t len = packet_build(&sp, ip);
		memcpy(ip + 12, (const uint8_t[]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
		packet_fix_sums(ip, len);
		node_tun(ends[0].node, now, &plain, ip, len);
	}
	now += 200 * NSEC_PER_SEC;
	node_flush(ends[0].node, now);
	settle();
	assert_int_equal(ends[1].came, 4);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(ends[1].order[i + 1], i + 10);
}

/* --- sizes --- */

static void test_padding(void **state)
{
	(void)state;
	stock_pair();
	for (uint32_t len = 28; len <= 1430; len++) {
		uint32_t padded = (len + 15) / 16 * 16;
		if (padded > 1420) /* beyond the inner MTU: not at all */
			padded = len;
		send_inner(0, "10.0.0.1", "10.0.0.2", (uint16_t)len, len - 28);
		settle();
		assert_int_equal(last_len, padded + 32);
		assert_int_equal(ends[1].came, len - 26);
		assert_int_equal(load_be16(ends[1].last + 2), len);
	}
}

static void test_stock_mtu(void **state)
{
	static const struct {
		uint32_t path, v4, v6;
	} cases[] = { { 1500, 1420, 1420 }, { 1499, 1420, 1419 }, { 1480, 1420, 1400 },
		      { 1479, 1419, 1399 }, { 1400, 1340, 1320 }, { 1280, 1220, 1200 },
		      { 577, 517, 1200 },   { 576, 516, 1200 },	  { 575, 516, 1200 },
		      { 100, 516, 1200 },   { 0, 1420, 1420 },	  { 9000, 1420, 1420 } };
	struct endpoint at6 = { .port = 1 };
	(void)state;
	struct peer *p4 = stock_pair();
	memset(at6.addr.b, 0x20, 16);
	struct peer *p6 = node_static_add(ends[0].node, now, ends[2].pub, NULL, &at6, 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		path_mtu = cases[i].path;
		node_network_changed(ends[0].node, now += 2 * NSEC_PER_SEC);
		run_for(NSEC_PER_MSEC); /* one after the other */
		assert_int_equal(peer_mtu(p4), cases[i].v4);
		assert_int_equal(peer_mtu(p6), cases[i].v6);
	}
}

/* A super-packet is cut at the peer's MTU, also where the kernel asked for larger segments. */
static void test_super_packet_is_cut(void **state)
{
	static uint8_t ip[PACKET_MAX];
	struct vnet_hdr h;
	struct spec sp = { .payload = 30000, .seq = 1 };
	struct addr s, d;
	(void)state;
	stock_pair();
	path_mtu = 1280;
	node_network_changed(ends[0].node, now += 2 * NSEC_PER_SEC);
	uint32_t len = packet_build_super(&sp, 1380, ip, &h);
	assert_true(addr_parse("10.0.0.1", &s) && addr_parse("10.0.0.2", &d));
	memcpy(ip + 12, s.b + 12, 4);
	memcpy(ip + 16, d.b + 12, 4);
	datagrams = 0;
	node_tun(ends[0].node, now, &h, ip, len);
	node_flush(ends[0].node, now);
	assert_int_equal(nwire, 1); /* one send of many */
	assert_int_equal(wire[0].tx.seg, 1220 + 32);
	assert_int_equal(datagrams, (30000 + 1179) / 1180);
}

/* `count` times the same message, in one piece as the kernel merges them. */
static void flood(const uint8_t *msg, uint32_t len, unsigned count)
{
	static uint8_t bytes[64 << 10];
	assert_true(len * count <= sizeof(bytes));
	for (unsigned i = 0; i < count; i++)
		memcpy(bytes + i * len, msg, len);
	struct udp_rx rx = { .buf = bytes,
			     .len = len * count,
			     .seg = len,
			     .from = ends[2].at,
			     .local = ends[0].at.addr };
	node_udp(ends[0].node, now, &rx, 1);
}

/* Initiations for nothing: answered in batches, and of one turn no more than some are looked at. */
static void test_flood(void **state)
{
	uint8_t msg[WG_INITIATION_LEN];
	(void)state;
	pair();
	add(2, 0, true, 0, "10.0.0.0/8");
	send_inner(2, "10.0.0.3", "10.0.0.1", 1, 10);
	node_tick(ends[2].node, now);
	assert_int_equal(wire[nwire - 1].tx.len, sizeof(msg));
	memcpy(msg, wire[nwire - 1].bytes, sizeof(msg));
	send_inner(0, "10.0.0.1", "10.0.0.2", 1, 10);
	ends[2].deaf = true;
	settle();

	/* until it is a load each is looked at; then there are cookies, of one size to one place */
	for (unsigned turn = 0; drops(0, DROP_WG_COOKIE_SENT) == 0; turn++) {
		assert_true(turn < 3);
		flood(msg, sizeof(msg), 200);
		node_tick(ends[0].node, now);
	}
	unsigned before = nwire, cookies = (unsigned)drops(0, DROP_WG_COOKIE_SENT);
	datagrams = 0;
	flood(msg, sizeof(msg), 200);
	assert_int_equal(datagrams, 200);
	assert_int_equal(nwire - before, (200 + UDP_GSO_MAX_SEGMENTS - 1) / UDP_GSO_MAX_SEGMENTS);
	assert_true(wire[before].tx.seg == WG_COOKIE_LEN &&
		    wire[before].tx.tos == WG_HANDSHAKE_TOS);
	assert_true(endpoint_eq(&wire[before].tx.to, &ends[2].at));
	assert_int_equal(drops(0, DROP_WG_COOKIE_SENT), cookies + 200);

	/* the rest of the turn is for others: what is no handshake goes on */
	flood(msg, sizeof(msg), 200);
	assert_int_equal(drops(0, DROP_WG_COOKIE_SENT), cookies + BAD_HANDSHAKES);
	assert_int_equal(drops(0, DROP_WG_HANDSHAKE_FLOOD), 400 - BAD_HANDSHAKES);
	unsigned came = ends[0].came;
	send_inner(1, "10.0.0.2", "10.0.0.1", 1, 10);
	deliver(&wire[nwire - 1]);
	assert_int_equal(ends[0].came, came + 1);
	/* and so is the next */
	node_tick(ends[0].node, now);
	flood(msg, sizeof(msg), 1);
	assert_int_equal(drops(0, DROP_WG_COOKIE_SENT), cookies + BAD_HANDSHAKES + 1);
	ends[2].deaf = false;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_called_and_answers),
		T(test_roaming),
		T(test_roaming_within_a_turn),
		T(test_no_roaming_by_a_thief),
		T(test_longest_prefix),
		T(test_keys_that_cannot_be_peers),
		T(test_malformed),
		T(test_keepalive),
		T(test_silence_without_keepalive),
		T(test_stage_limits),
		T(test_stage_bytes),
		T(test_stage_total),
		T(test_ten_thousand_peers),
		T(test_stage_expires),
		T(test_session_ends_before_the_flush),
		T(test_padding),
		T(test_stock_mtu),
		T(test_super_packet_is_cut),
		T(test_flood),
	};
	if (sodium_init() < 0)
		return 1;
	node_peers = 10000;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
