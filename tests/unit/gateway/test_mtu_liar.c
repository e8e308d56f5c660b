/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of a peer that lies, within its session: they are answered at a bounded rate, prove nothing
 * that was not sent, and put no packet into the TUN that the peer might not have sent otherwise.
 */
#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/tun/packets.h"

#include <sodium.h>
#include <stdlib.h>

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

static struct rng rng;

static void ignore(struct end *e, const uint8_t *ip, uint32_t len)
{
	(void)e;
	(void)ip;
	(void)len;
}

static struct peer *warrens(void)
{
	wire_mtu = 1400;
	struct peer *p = warren_pair();
	run_for(2 * SEC);
	ends[0].came = 0;
	return p;
}

static void address(uint8_t *ip)
{
	static const uint8_t way[] = { 10, 0, 0, 2, 10, 0, 0, 1 };
	memcpy(ip + 12, way, sizeof(way));
}

static void packet_of_liar(uint8_t *ip, uint16_t len)
{
	memset(ip, 7, len);
	ip[0] = 0x45;
	store_be16(ip + 2, len);
	address(ip);
}

static void test_probe_flood(void **state)
{
	uint8_t f[PROBE_LEN];
	(void)state;
	warrens();
	run_for(10 * SEC);
	unsigned answers = 0;
	for (uint32_t i = 0; i < 3000; i++, now += MS) {
		frame_probe_write(
			&(struct frame_probe){
				.size = 64, .path = 1 + i % 11, .number = i, .watch = (uint16_t)i },
			f);
		say(1, f, sizeof(f));
		deliver(&wire[0]);
		for (unsigned k = 1; k < nwire; k++)
			answers += wire[k].from == 0;
		wire_clear();
	}
	assert_in_range(answers, 395, 401);
	assert_int_equal(drops(0, DROP_FRAME_RATE), 3000 - answers);
}

/* It is a warren, it is none, it is one …: each change is one of the kernel's routes as well. */
static void test_hello_flood(void **state)
{
	(void)state;
	warrens();
	run_for(10 * SEC);
	unsigned before = ends[0].told;
	for (uint32_t i = 0; i < 2000; i++, now += MS) {
		uint8_t f[HELLO_LEN];
		bool is = i & 1;
		frame_hello_write(&(struct frame_hello){ .flags = i & 2 ? HELLO_ANSWER : 0,
							 .capabilities = is ? 7 : 0,
							 .largest = is ? FRAGMENT_PACKET_MAX : 0 },
				  f);
		say(1, f, sizeof(f));
		settle();
	}
	/* the burst, and two seconds of a hundred */
	assert_in_range(ends[0].told - before, 10, 300 + 10);
	assert_true(drops(0, DROP_FRAME_RATE) > 1500);
}

static void test_invented_acks(void **state)
{
	(void)state;
	struct peer *p = warrens();
	struct pmtu before = p->pmtu;
	for (unsigned i = 0; i < 10000; i++) {
		uint8_t f[PROBE_ACK_LEN];
		struct frame_ack a = { .path = rng_below(&rng, 2) ? p->pmtu.path
								  : (uint32_t)rng_next(&rng),
				       .newest = (uint32_t)rng_next(&rng),
				       .seen = rng_next(&rng),
				       .count = (uint32_t)rng_next(&rng),
				       .watch = (uint16_t)rng_next(&rng) };
		/* the right name with numbers that were not sent, or others' names with right numbers */
		if (a.path != p->pmtu.path)
			a.newest = p->pmtu.number - rng_below(&rng, 3);
		else if (a.newest <= p->pmtu.number)
			a.newest = p->pmtu.number + 1 + i;
		frame_ack_write(&a, f);
		say(1, f, sizeof(f));
		deliver(&wire[0]);
		wire_clear();
	}
	assert_memory_equal(&before, &p->pmtu, sizeof(before));
	assert_int_equal(peer_mtu(p), 1340);
}

/* A frame by hand; its fields need not be true. */
static void part(uint16_t total, uint32_t id, uint16_t offset, uint16_t length,
		 const uint8_t *bytes, uint32_t len)
{
	uint8_t f[FRAGMENT_HEADER_LEN + 1300] = { 0 };
	struct wr w = wr_of(f, sizeof(f));
	wr_u8(&w, FRAGMENT_FIRST_BYTE);
	wr_u8(&w, FRAGMENT_VERSION);
	wr_be16(&w, total);
	wr_be32(&w, id);
	wr_be16(&w, offset);
	wr_be16(&w, length);
	wr_bytes(&w, bytes, len);
	assert_true(wr_ok(&w));
	say(1, f, w.len);
}

static void test_lying_parts(void **state)
{
	static uint8_t ip[PACKET_MAX];
	(void)state;
	warrens();
	ends[0].tun = ignore;
	packet_of_liar(ip, 100);
	part(20, 1, 0, 20, ip, 20);
	part(9001, 2, 0, 100, ip, 100);
	part(100, 3, 1, 100, ip, 100);
	part(100, 4, 65535, 1, ip, 1);
	part(100, 5, 0, 0, ip, 0);
	part(100, 6, 0, 100, ip, 99);
	settle();
	assert_int_equal(drops(0, DROP_FRAME_MALFORMED), 6);
	part(100, 7, 0, 50, ip, 50);
	part(100, 7, 49, 51, ip + 49, 51);
	part(100, 7, 50, 50, ip + 50, 50);
	part(100, 8, 0, 50, ip, 50);
	part(99, 8, 50, 49, ip + 50, 49);
	settle();
	assert_int_equal(drops(0, DROP_FRAGMENT_OVERLAP), 3);
	assert_int_equal(ends[0].came, 0);
	/* whole, and yet no better than another packet of this peer */
	part(100, 9, 0, 100, ip, 100);
	settle();
	assert_int_equal(ends[0].came, 1);
	ip[15] = 9;
	part(100, 10, 0, 100, ip, 100);
	settle();
	assert_int_equal(drops(0, DROP_INNER_SPOOFED), 1);
	address(ip);
	store_be16(ip + 2, 101);
	part(100, 11, 0, 100, ip, 100);
	ip[0] = FRAGMENT_FIRST_BYTE;
	part(100, 12, 0, 100, ip, 100);
	ip[0] = 0xa0;
	part(100, 13, 0, 100, ip, 100);
	settle();
	assert_int_equal(drops(0, DROP_INNER_MALFORMED), 3);
	assert_int_equal(ends[0].came, 1);
	/* one who begins packets and never ends them */
	for (uint32_t i = 0; i < 1000; i++) {
		part(100, 100 + i, 0, 50, ip, 50);
		settle();
	}
	assert_int_equal(drops(0, DROP_FRAGMENT_EVICTED), 1000 - 32);
	run_for(2 * SEC);
	assert_int_equal(drops(0, DROP_FRAGMENT_TIMEOUT), 32);
}

/* More packets made whole in one receive batch than the store has places for. */
static void test_a_burst_of_whole_ones(void **state)
{
	enum { N = 250 };
	static struct udp_rx rx[N];
	static uint8_t ip[PACKET_MAX];
	(void)state;
	warrens();
	ends[0].tun = NULL;
	for (uint32_t i = 0; i < N; i++) {
		struct spec sp = { .udp = true, .sport = (uint16_t)(i + 1), .payload = 20 };
		uint32_t len = packet_build(&sp, ip);
		address(ip);
		packet_fix_sums(ip, len);
		part((uint16_t)len, i, 0, (uint16_t)len, ip, len);
	}
	assert_int_equal(nwire, N);
	for (uint32_t i = 0; i < N; i++)
		rx[i] = (struct udp_rx){ .buf = wire[i].bytes,
					 .len = wire[i].tx.len,
					 .seg = wire[i].tx.len,
					 .from = ends[1].at,
					 .local = ends[0].at.addr };
	node_udp(ends[0].node, now, rx, N);
	assert_int_equal(ends[0].came, N);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(ends[0].order[i], i + 1);
	for (enum drop d = DROP_NONE + 1; d < DROP_COUNT; d++)
		assert_int_equal(drops(0, d), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_probe_flood), T(test_hello_flood),	    T(test_invented_acks),
		T(test_lying_parts), T(test_a_burst_of_whole_ones),
	};
	if (sodium_init() < 0)
		return 1;
	const char *seed = getenv("SEED");
	rng.state = seed ? strtoull(seed, NULL, 0) : randombytes_random();
	print_message("SEED=%llu\n", (unsigned long long)rng.state);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
