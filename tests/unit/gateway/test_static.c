/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a static peer's datagrams leave from, static peers that are carried by others, what ends a batch, and
 * addresses that no packet has.
 */
#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/tun/packets.h"

#include <sodium.h>

#define SEC NSEC_PER_SEC

enum { TUN = 7, OTHER = 3 }; /* interfaces */

static const char one[] = "10.0.0.1", two[] = "10.0.0.2", three[] = "10.0.0.3";

/* --- the source of what is sent --- */

static bool way_is_the_same;
static struct path asked;

static bool leads(void *ctx, const struct path *path)
{
	(void)ctx;
	asked = *path;
	return way_is_the_same;
}

/* The last datagram of `from` arrives at end 0 by an interface and from an address. */
static void arrives(unsigned from, uint32_t ifindex, const struct endpoint *at)
{
	struct sent *s = &wire[nwire - 1];
	assert_int_equal(s->from, from);
	struct udp_rx rx = { .buf = s->bytes,
			     .len = s->tx.len,
			     .seg = s->tx.seg,
			     .from = *at,
			     .local = ends[0].at.addr,
			     .ifindex = ifindex };
	node_udp(ends[0].node, now, &rx, 1);
	wire_done = nwire;
}

static void test_source_is_what_was_addressed(void **state)
{
	(void)state;
	struct peer *p = stock_pair();
	ends[0].node->io.leads = leads;
	send_inner(1, two, one, 1, 100);
	arrives(1, OTHER, &ends[1].at);
	send_inner(0, one, two, 1, 100);
	assert_true(addr_eq(&wire[nwire - 1].tx.local, &ends[0].at.addr));
	assert_int_equal(wire[nwire - 1].tx.ifindex, 0); /* the way is the routes' to say */
	way_is_the_same = true;
	node_network_changed(ends[0].node, now);
	assert_int_equal(asked.ifindex, OTHER);
	assert_true(addr_eq(&asked.remote.addr, &ends[1].at.addr));
	send_inner(0, one, two, 1, 100);
	assert_true(addr_eq(&wire[nwire - 1].tx.local, &ends[0].at.addr));
	way_is_the_same = false;
	node_network_changed(ends[0].node, now);
	send_inner(0, one, two, 1, 100);
	assert_true(addr_is_any(&wire[nwire - 1].tx.local));
	assert_int_equal(p->path.ifindex, 0);
	/* until it is addressed again */
	send_inner(1, two, one, 1, 100);
	arrives(1, OTHER, &ends[1].at);
	send_inner(0, one, two, 1, 100);
	assert_true(addr_eq(&wire[nwire - 1].tx.local, &ends[0].at.addr));
}

static unsigned asks;

static bool count_asks(void *ctx, const struct path *path)
{
	(void)ctx;
	(void)path;
	asks++;
	return true;
}

/* A stream of changes asks the kernel for each peer once a second, and not for all of them at once. */
static void test_many_sources(void **state)
{
	enum { MANY = 500 };
	(void)state;
	node_peers = MANY;
	restart(0);
	struct node *n = ends[0].node;
	n->io.leads = count_asks;
	for (unsigned i = 0; i < MANY; i++) {
		uint8_t priv[32] = { 9, (uint8_t)i, (uint8_t)(i >> 8) }, pub[32];
		wg_key_public(priv, pub);
		struct peer *p = node_static_add(n, now, pub, NULL, &ends[1].at, 0);
		assert_non_null(p);
		p->path.local = ends[0].at.addr;
	}
	run_for(10 * SEC);
	unsigned before = asks = 0;
	for (unsigned i = 0; i < 300; i++) {
		node_network_changed(n, now);
		run_for(10 * NSEC_PER_MSEC);
		assert_in_range(asks - before, 0, 20);
		before = asks;
	}
	assert_in_range(asks, 2 * MANY, 4 * MANY + 300 * 8); /* eight are asked about at once */
	run_for(SEC);
	before = asks;
	run_for(100 * SEC);
	assert_int_equal(asks, before);
	node_peers = 8;
}

/* --- one carried by another --- */

static struct peer *carrier, *carried;

/* 0 reaches 1 over the wire, and 2 at an inner address of 1. */
static void onion(void)
{
	carrier = stock_pair();
	carried = add(0, 2, true, 0, "10.0.0.3/32");
	add(2, 0, false, 0, "10.0.0.1/32");
	send_inner(0, one, three, 1, 100);
	settle();
	wg_set_mark(ends[0].node->wg, 0);
	carried->next_hello = peer_of(2)->next_hello = NSEC_NEVER;
	ends[0].node->tun_ifindex = TUN;
}

static struct endpoint inner_at(const char *text)
{
	struct endpoint e = { .port = 5 };
	assert_true(addr_parse(text, &e.addr));
	return e;
}

static uint64_t sent_to(const struct peer *p)
{
	struct wg_peer_stats s;
	wg_peer_stats(p->wg, now, &s);
	return s.tx_bytes;
}

static void test_onion(void **state)
{
	(void)state;
	onion();
	struct endpoint inside = inner_at(two);
	unsigned came = ends[0].came;
	send_inner(2, three, one, 1, 100);
	arrives(2, TUN, &inside);
	assert_int_equal(ends[0].came, came + 1);
	assert_true(endpoint_eq(&carried->path.remote, &inside));
	assert_int_equal(drops(0, DROP_OUTER_INSIDE), 0);
	/* but nobody is carried by itself, */
	struct endpoint was = carrier->path.remote;
	send_inner(1, two, one, 1, 100);
	arrives(1, TUN, &inside);
	assert_int_equal(drops(0, DROP_OUTER_INSIDE), 1);
	assert_true(endpoint_eq(&carrier->path.remote, &was));
	/* nor by one that it carries */
	struct endpoint deeper = inner_at(three);
	send_inner(1, two, one, 1, 100);
	arrives(1, TUN, &deeper);
	assert_int_equal(drops(0, DROP_OUTER_INSIDE), 2);
	assert_int_equal(ends[0].came, came + 1);
	send_inner(1, two, one, 1, 100);
	arrives(1, OTHER, &was);
	assert_int_equal(ends[0].came, came + 2);
}

/* Who calls from inside of itself is not answered, and no answer is counted. */
static void test_handshake_that_carries_itself(void **state)
{
	(void)state;
	onion();
	struct endpoint inside = inner_at(two);
	now += 10 * SEC;
	wg_peer_initiate(ends[1].node->wg, peer_of(1)->wg, now, 0);
	node_tick(ends[1].node, now);
	assert_int_equal(wire[nwire - 1].tx.len, WG_INITIATION_LEN);
	uint64_t sent = sent_to(carrier);
	datagrams = 0;
	arrives(1, TUN, &inside);
	assert_int_equal(drops(0, DROP_OUTER_INSIDE), 1);
	assert_int_equal(datagrams, 0);
	assert_int_equal(sent_to(carrier), sent);
}

/* What end 0 has sent last comes to its TUN, on the way to `at`. */
static void own_datagram_inside(const struct endpoint *at)
{
	static const struct vnet_hdr plain;
	static uint8_t ip[PACKET_MAX];
	const struct sent *s = &wire[nwire - 1];
	struct spec sp = { .udp = true, .payload = s->tx.len, .sport = 1 };
	assert_int_equal(s->from, 0);
	uint32_t len = packet_build(&sp, ip);
	memcpy(ip + 16, at->addr.b + 12, 4);
	store_be16(ip + 22, at->port);
	memcpy(ip + 28, s->bytes, s->tx.len);
	packet_fix_sums(ip, len);
	node_tun(ends[0].node, now, &plain, ip, len);
	node_flush(ends[0].node, now);
}

static void test_what_goes_round(void **state)
{
	(void)state;
	onion();
	struct endpoint inside = inner_at(two), deeper = inner_at(three);
	node_static_endpoint(carried, now, &inside);
	send_inner(0, one, three, 1, 100);
	own_datagram_inside(&inside);
	assert_int_equal(drops(0, DROP_OUTER_INSIDE), 0); /* a layer */
	assert_true(endpoint_eq(&wire[nwire - 1].tx.to, &carrier->path.remote));
	/* carried by itself */
	node_static_endpoint(carried, now, &deeper);
	send_inner(0, one, three, 1, 100);
	own_datagram_inside(&deeper);
	assert_int_equal(drops(0, DROP_OUTER_INSIDE), 1);
	/* each by the other */
	node_static_endpoint(carried, now, &inside);
	node_static_endpoint(carrier, now, &deeper);
	send_inner(0, one, three, 1, 100);
	own_datagram_inside(&inside);
	assert_int_equal(drops(0, DROP_OUTER_INSIDE), 2);
	/* a full tunnel holds its own endpoint, which marks keep outside of it */
	struct prefix all;
	assert_true(prefix_parse("0.0.0.0/0", &all));
	node_static_endpoint(carrier, now, &ends[1].at);
	assert_int_equal(node_static_route(ends[0].node, carrier, &all), 0);
	send_inner(0, one, three, 1, 100);
	own_datagram_inside(&inside);
	assert_int_equal(drops(0, DROP_OUTER_INSIDE), 2);
}

/* Members and pings have no business there. */
static void test_nothing_else_inside(void **state)
{
	uint8_t bytes[OUTER_PING_LEN] = { 0, OUTER_VERSION };
	struct udp_rx rx = {
		.buf = bytes, .len = sizeof(bytes), .seg = sizeof(bytes), .ifindex = TUN
	};
	(void)state;
	onion();
	rx.from = inner_at(two);
	static const uint8_t first[] = { OUTER_TYPE_PING, OUTER_TYPE_RELAY };
	for (size_t i = 0; i < sizeof(first); i++) {
		bytes[0] = first[i];
		node_udp(ends[0].node, now, &rx, 1);
	}
	assert_int_equal(drops(0, DROP_OUTER_INSIDE), 2);
}

/* --- an interface that is down --- */

static void test_down_and_up(void **state)
{
	(void)state;
	struct peer *p = stock_pair();
	node_static_keepalive(p, now, 1);
	run_for(5 * SEC);
	node_set_down(ends[0].node, now, true);
	uint64_t sent = sent_to(p), heard = drops(0, DROP_LINK_DOWN);
	run_for(100 * SEC);
	assert_int_equal(sent_to(p), sent);
	send_inner(1, two, one, 1, 100);
	settle();
	assert_int_equal(ends[0].came, 0);
	assert_true(drops(0, DROP_LINK_DOWN) > heard);
	node_static_keepalive(p, now, 2); /* leaves nothing, and counts nothing */
	run_for(SEC);
	assert_int_equal(sent_to(p), sent);
	node_set_down(ends[0].node, now, false);
	run_for(6 * SEC);
	assert_true(wg_can_send(p->wg, now));
	send_inner(1, two, one, 1, 100);
	settle();
	assert_true(ends[0].came >= 1);
}

/* --- what ends a batch --- */

static void no_look(struct end *e, const uint8_t *ip, uint32_t len)
{
	(void)e;
	(void)ip;
	(void)len;
}

/* A packet of end 1, of the same flow as the last one. */
static void next_of_flow(uint16_t id, struct udp_rx *rx)
{
	static const struct vnet_hdr plain;
	static uint8_t ip[PACKET_MAX];
	struct spec sp = { .udp = true, .payload = 100, .id = id };
	uint32_t len = packet_build(&sp, ip);
	memcpy(ip + 12, (const uint8_t[]){ 10, 0, 0, 2, 10, 0, 0, 1 }, 8);
	packet_fix_sums(ip, len);
	node_tun(ends[1].node, now, &plain, ip, len);
	node_flush(ends[1].node, now);
	rx->buf = wire[nwire - 1].bytes;
	rx->len = rx->seg = wire[nwire - 1].tx.len;
}

/* Not what anybody can send: two packets of a flow go to the TUN as one, whatever is between them. */
static void test_forged_relay_in_a_batch(void **state)
{
	uint8_t forged[RELAY_HEADER_LEN + WG_INITIATION_LEN] = { OUTER_TYPE_RELAY, OUTER_VERSION };
	struct udp_rx rx[3] = { { 0 }, { .buf = forged, .len = sizeof(forged) } };
	(void)state;
	stock_pair();
	forged[RELAY_HEADER_LEN] = WG_INITIATION;
	ends[0].node->udp_gso = true;
	ends[0].tun = no_look;
	ends[0].came = 0;
	next_of_flow(1, &rx[0]);
	next_of_flow(2, &rx[2]);
	for (unsigned i = 0; i < ARRAY_SIZE(rx); i++) {
		rx[i].from = ends[1].at;
		rx[i].local = ends[0].at.addr;
	}
	node_udp(ends[0].node, now, rx, ARRAY_SIZE(rx));
	assert_int_equal(drops(0, DROP_RELAY_UNKNOWN_MEMBER), 1);
	assert_int_equal(ends[0].came, 1);
}

/* An IPv6 header with a mapped address is not of the IPv4 address' owner. */
static void test_mapped_addresses(void **state)
{
	static const struct vnet_hdr plain;
	uint8_t ip[48] = { 0x60, 0, 0, 0, 0, 8, 17, 64 };
	struct addr from = addr_v4_u32(0x0a000001), to = addr_v4_u32(0x0a000002);
	struct prefix p;

	(void)state;
	pair();
	assert_true(prefix_parse("fd00::2/128", &p));
	assert_int_equal(node_static_route(ends[0].node, node_peer_next(ends[0].node, NULL), &p),
			 0);
	memcpy(ip + 8, from.b, 16);
	memcpy(ip + 24, to.b, 16);
	node_tun(ends[0].node, now, &plain, ip, sizeof(ip));
	assert_int_equal(drops(0, DROP_TUN_MALFORMED), 1);
	memcpy(ip + 24, p.addr.b, 16);
	node_tun(ends[0].node, now, &plain, ip, sizeof(ip));
	settle();
	assert_int_equal(drops(1, DROP_INNER_MALFORMED), 1);
	assert_int_equal(ends[1].came, 0);
}

static bool seals;

static void seal_or_not(const uint8_t key[static AEAD_KEY_LEN], struct aead_job *jobs, size_t n)
{
	if (seals)
		aead_choose("libcrypto")->seal(key, jobs, n);
	for (size_t i = 0; i < n && !seals; i++)
		jobs[i].ok = false;
}

static int setup_unsealed(void **state)
{
	static struct aead failing;
	failing = *aead_choose("libcrypto");
	failing.seal = seal_or_not;
	seals = true;
	node_aead = &failing;
	int err = setup(state);
	node_aead = NULL;
	return err;
}

/* What was not encrypted goes nowhere; nor does it wait, as some of it may be sealed already. */
static void test_what_is_not_sealed(void **state)
{
	struct peer *p = stock_pair();
	unsigned before = datagrams, came = ends[1].came;
	(void)state;
	seals = false;
	send_inner(0, one, two, 1, 10);
	settle();
	assert_int_equal(datagrams, before);
	assert_int_equal(drops(0, DROP_WG_NOT_SEALED), 1);
	assert_int_equal(p->staged_packets, 0);
	seals = true;
	send_inner(0, one, two, 1, 10);
	settle();
	assert_int_equal(ends[1].came, came + 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_source_is_what_was_addressed),
		T(test_many_sources),
		T(test_onion),
		T(test_handshake_that_carries_itself),
		T(test_what_goes_round),
		T(test_nothing_else_inside),
		T(test_down_and_up),
		T(test_forged_relay_in_a_batch),
		T(test_mapped_addresses),
		cmocka_unit_test_setup_teardown(test_what_is_not_sealed, setup_unsealed, teardown),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
