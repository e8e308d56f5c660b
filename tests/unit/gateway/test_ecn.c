/* SPDX-License-Identifier: Apache-2.0 */
/* What routers on the way can mark, and that a mark reaches the inner packet. */
#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/tun/packets.h"

#include <sodium.h>

static void send_marked(uint8_t tos, uint32_t payload)
{
	static const struct vnet_hdr plain;
	static uint8_t ip[PACKET_MAX];
	struct spec sp = { .udp = true, .tos = tos, .payload = payload };
	uint32_t len = packet_build(&sp, ip);
	memcpy(ip + 12, (const uint8_t[]){ 10, 0, 0, 1, 10, 0, 0, 2 }, 8);
	packet_fix_sums(ip, len);
	node_tun(ends[0].node, now, &plain, ip, len);
}

/* DSCP is the inner network's own business; packets of one sort leave together. */
static void test_outside(void **state)
{
	static const uint8_t tos[] = { 0xb8, 0, ECN_ECT0, 0xfc | ECN_CE, ECN_ECT0, ECN_ECT1, 0 };
	static const uint8_t outer[] = { ECN_NONE, ECN_ECT0, ECN_ECT1, ECN_NONE };
	(void)state;
	stock_pair();
	unsigned from = nwire;
	for (size_t i = 0; i < sizeof(tos); i++)
		send_marked(tos[i], 100);
	node_flush(ends[0].node, now);
	assert_int_equal(nwire - from, ARRAY_SIZE(outer));
	for (size_t i = 0; i < ARRAY_SIZE(outer); i++)
		assert_int_equal(wire[from + i].tx.tos, outer[i]);
	settle();
	assert_int_equal(ends[1].last[1], 0);
}

/* The TOS with which a packet comes out at the other end, of a datagram that is marked on the way. */
static uint8_t after_mark(uint8_t tos)
{
	send_marked(tos, 100);
	node_flush(ends[0].node, now);
	struct sent *s = &wire[nwire - 1];
	struct udp_rx rx = { .buf = s->bytes,
			     .len = s->tx.len,
			     .seg = s->tx.seg,
			     .from = ends[0].at,
			     .local = ends[1].at.addr,
			     .tos = 0xb8 | ECN_CE };
	ends[1].came = 0;
	node_udp(ends[1].node, now, &rx, 1);
	wire_done = nwire;
	assert_int_equal(ends[1].came, 1);
	assert_true(packet_sums_ok(ends[1].last, 128));
	return ends[1].last[1];
}

static void test_marked(void **state)
{
	(void)state;
	stock_pair();
	assert_int_equal(after_mark(ECN_ECT0), ECN_CE);
	assert_int_equal(after_mark(0x20 | ECN_ECT1), 0x20 | ECN_CE);
	assert_int_equal(after_mark(ECN_CE), ECN_CE);
	assert_int_equal(after_mark(0x20), 0x20);
}

/* A fragment's mark would be lost with it. */
static void test_fragments(void **state)
{
	(void)state;
	wire_mtu = 1400;
	warren_pair();
	unsigned from = nwire;
	send_marked(ECN_ECT0, 4000);
	node_flush(ends[0].node, now);
	assert_true(nwire > from);
	for (unsigned i = from; i < nwire; i++)
		assert_int_equal(wire[i].tx.tos, ECN_NONE);
	wire_mtu = 0;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_outside),
		T(test_marked),
		T(test_fragments),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
