/* SPDX-License-Identifier: Apache-2.0 */
/* Who is sent a packet with a partial sum, what comes out of the other TUN, and what a liar gets. */
#include "node_wire.h"
#include "../tun/packets.h"

static const uint8_t way[8] = { 10, 0, 0, 1, 10, 0, 0, 2 };
static uint8_t got[PACKET_MAX], super[PACKET_MAX], want[PACKET_MAX];
static uint32_t got_len;

static void take(struct end *e, const uint8_t *ip, uint32_t len)
{
	(void)e;
	memcpy(got, ip, len);
	got_len = len;
}

/*
 * A packet as the kernel of end 0 gives it, its sum only begun; in `want` as it would be without a tunnel.
 */
static uint32_t begun(struct vnet_hdr *h, bool udp, uint32_t payload)
{
	struct spec sp = { .udp = udp, .payload = payload, .fill = (uint8_t)payload };
	uint8_t pseudo[12] = { 0 };
	uint32_t len = packet_build_super(&sp, 0, super, h), l4 = packet_l4(super);

	memcpy(super + 12, way, 8);
	memcpy(want, super, len);
	packet_fix_sums(want, len);
	memcpy(super, want, l4);
	memcpy(pseudo, way, 8);
	pseudo[9] = super[9];
	store_be16(pseudo + 10, (uint16_t)(len - l4));
	store_be16(super + h->csum_start + h->csum_offset, naive_sum(0, pseudo, sizeof(pseudo)));
	return len;
}

static void through(const struct vnet_hdr *h, uint32_t len)
{
	ends[1].tun = take;
	ends[1].partial = 0;
	got_len = 0;
	node_tun(ends[0].node, now, h, super, len);
	node_flush(ends[0].node, now);
	settle();
}

static void expect_whole(uint32_t len, unsigned partial)
{
	assert_int_equal(got_len, len);
	assert_memory_equal(got, want,
			    len); /* node_wire completes what is begun, as a kernel does */
	assert_int_equal(ends[1].partial, partial);
}

static void test_between_warrens(void **state)
{
	struct vnet_hdr h;
	(void)state;
	warren_pair();
	for (uint32_t payload = 1; payload <= 1400; payload++) {
		uint32_t len = begun(&h, payload & 1, payload);
		through(&h, len);
		expect_whole(len, 1);
	}
}

static void test_not_to_a_stock_peer(void **state)
{
	struct vnet_hdr h;
	(void)state;
	stock_pair();
	for (uint32_t payload = 1; payload <= 1000; payload += 37) {
		uint32_t len = begun(&h, payload & 1, payload);
		through(&h, len);
		expect_whole(len, 0);
	}
}

/* A warren of before, or one that takes them no more. */
static void test_not_to_who_does_not_say_so(void **state)
{
	uint8_t f[HELLO_LEN];
	struct vnet_hdr h;
	struct frame_hello hello = { .flags = HELLO_ANSWER,
				     .capabilities = HELLO_PATH_MTU | HELLO_FRAGMENTS,
				     .largest = 9000 };
	(void)state;
	warren_pair();
	frame_hello_write(&hello, f);
	say(1, f, sizeof(f));
	settle();
	uint32_t len = begun(&h, true, 500);
	through(&h, len);
	expect_whole(len, 0);

	hello.capabilities |= HELLO_PARTIAL_SUMS;
	frame_hello_write(&hello, f);
	say(1, f, sizeof(f));
	settle();
	through(&h, len);
	expect_whole(len, 1);
}

/* What has a checksum keeps it, also a wrong one: it says that something was wrong before. */
static void test_a_whole_sum_stays(void **state)
{
	static const struct vnet_hdr plain;
	struct vnet_hdr h;
	(void)state;
	warren_pair();
	uint32_t len = begun(&h, false, 700);
	memcpy(super, want, len);
	super[len - 1] ^= 0x55;
	want[len - 1] ^= 0x55;
	through(&plain, len);
	expect_whole(len, 0);
}

/* What is cut goes whole: the fragments are put together to a packet with a right sum. */
static void test_not_in_fragments(void **state)
{
	struct vnet_hdr h;
	(void)state;
	warren_pair();
	uint32_t len = begun(&h, true, 4000);
	through(&h, len);
	expect_whole(len, 0);
}

/* The session ends between the TUN and the seal: the packet waits for the next one as it is. */
static void test_waits_for_a_session(void **state)
{
	struct vnet_hdr h;
	(void)state;
	warren_pair();
	uint32_t len = begun(&h, true, 300);
	node_tun(ends[0].node, now, &h, super, len);
	now += 181 * NSEC_PER_SEC;
	ends[1].tun = take;
	ends[1].partial = 0;
	node_flush(ends[0].node, now);
	assert_int_equal(peer_of(0)->staged_packets, 1);
	run_for(10 * NSEC_PER_SEC);
	expect_whole(len, 1);
}

static void lies(uint8_t first, uint8_t protocol, uint16_t len, enum drop why)
{
	uint8_t ip[64] = { first };
	store_be16(ip + (first >> 4 == 0xe ? 4 : 2),
		   first >> 4 == 0xe ? (uint16_t)(len - 40) : len);
	ip[9] = protocol;
	memcpy(ip + 12, (const uint8_t[]){ 10, 0, 0, 2, 10, 0, 0, 1 }, 8);
	uint64_t before = drops(0, why);
	say(1, ip, size_min(len, sizeof(ip)));
	settle();
	assert_int_equal(drops(0, why), before + 1);
}

static void test_a_liar(void **state)
{
	(void)state;
	warren_pair();
	ends[0].came = 0;
	lies(0xc5, 1, 60, DROP_INNER_MALFORMED);    /* ICMP has no pseudo header */
	lies(0xc5, 6, 30, DROP_INNER_MALFORMED);    /* no room for the sum */
	lies(0xcf, 17, 60, DROP_INNER_MALFORMED);   /* all header */
	lies(0xc5, 17, 1400, DROP_INNER_MALFORMED); /* longer than it is */
	lies(0xe0, 17, 64, DROP_INNER_SPOOFED);	    /* no IPv6 address is its */
	lies(0xd5, 17, 60, DROP_FRAME_UNKNOWN);
	lies(0xff, 17, 60, DROP_FRAME_UNKNOWN);
	assert_int_equal(ends[0].came, 0);
}

/*
 * Who has not said hello may have said it before our restart. What it sends is let in, within the same
 * bounds, and it is asked.
 */
static void test_from_who_is_no_warren(void **state)
{
	(void)state;
	struct peer *p = stock_pair();
	ends[1].stock = true;
	ends[0].tun = take;
	ends[0].came = 0;
	lies(0xc5, 1, 60, DROP_INNER_MALFORMED);
	assert_int_equal(ends[0].hellos, 1);
	uint8_t ip[60] = { 0xc5 };
	store_be16(ip + 2, sizeof(ip));
	ip[9] = 17;
	memcpy(ip + 12, (const uint8_t[]){ 10, 0, 0, 2, 10, 0, 0, 1 }, 8);
	say(1, ip, sizeof(ip));
	settle();
	assert_int_equal(ends[0].came, 1);
	assert_int_equal(ends[0].partial, 1);
	assert_int_equal(ends[0].hellos, 1);
	assert_false(peer_is_warren(p));
}

/* The rendezvous has no inner packets. */
static void test_from_the_rendezvous(void **state)
{
	uint8_t part[FRAGMENT_HEADER_LEN + 30] = { 0 };
	struct fragment_plan plan = { .total = 30, .count = 1, .part = 30 };
	(void)state;
	struct peer *p = stock_pair();
	p->kind = PEER_RENDEZVOUS;
	lies(0xc5, 17, 60, DROP_FRAME_UNEXPECTED);
	fragment_write(&plan, 0, 1, (const uint8_t[30]){ 0x45 }, part);
	say(1, part, sizeof(part));
	settle();
	assert_int_equal(drops(0, DROP_FRAME_UNEXPECTED), 2);
	p->kind = PEER_STATIC;
}

/*
 * End 0 knows end 1 as a warren, which has forgotten all: nothing of what it is sent is lost. Who is called
 * has seen a mark and would ask later, who calls has not.
 */
static void after_a_restart(bool it_calls)
{
	struct vnet_hdr h;
	warren_pair();
	restart(1);
	struct peer *p = add(1, 0, true, 0, "10.0.0.1/32");
	send_inner(it_calls, it_calls ? "10.0.0.2" : "10.0.0.1", it_calls ? "10.0.0.1" : "10.0.0.2",
		   1, 10);
	for (unsigned i = 0; !wg_can_send(p->wg, now); i++) {
		assert_true(i < 200);
		run_for(NSEC_PER_SEC / 10);
	}
	assert_false(peer_is_warren(p));
	assert_int_equal(p->next_hello == NSEC_NEVER, it_calls);
	ends[1].stock = true; /* its hellos are still on their way */
	ends[1].hellos = 0;
	uint32_t len = begun(&h, true, 300);
	through(&h, len);
	expect_whole(len, 1);
	assert_int_equal(ends[1].hellos, 1); /* at once */
	len = begun(&h, true, 4000);
	through(&h, len);
	expect_whole(len, 0);
	assert_int_equal(ends[1].hellos, 1);
	assert_false(peer_is_warren(p));
	ends[1].stock = false;
	run_for(NSEC_PER_SEC);
	assert_true(peer_is_warren(p));
}

static void test_after_a_restart(void **state)
{
	(void)state;
	after_a_restart(true);
}

static void test_after_a_restart_called(void **state)
{
	(void)state;
	after_a_restart(false);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_between_warrens),
		T(test_not_to_a_stock_peer),
		T(test_a_whole_sum_stays),
		T(test_not_to_who_does_not_say_so),
		T(test_not_in_fragments),
		T(test_waits_for_a_session),
		T(test_a_liar),
		T(test_from_who_is_no_warren),
		T(test_from_the_rendezvous),
		T(test_after_a_restart),
		T(test_after_a_restart_called),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
