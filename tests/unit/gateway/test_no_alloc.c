/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path allocates nothing: not for single packets nor for super-packets, whole, with a partial sum or
 * in fragments, from the TUN to the socket and from the socket to the TUN. All of the process is watched,
 * its libraries too. So the wire of this test is a buffer of its own.
 */
#include "node_wire.h"
#include "../tun/packets.h"

#include <stdlib.h>

enum { FLIGHTS = 64, ROUNDS = 200 };

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static unsigned allocations;

void *malloc(size_t n)
{
	allocations++;
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	allocations++;
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	allocations++;
	return __libc_realloc(p, n);
}

static struct flight {
	uint8_t bytes[UDP_GSO_MAX_BYTES];
	uint32_t len, seg;
} flights[FLIGHTS];
static unsigned nflights;
static uint64_t came; /* bytes out of the other TUN */

static void fly(void *ctx, const struct udp_tx *tx, unsigned n)
{
	(void)ctx;
	for (unsigned i = 0; i < n; i++) {
		struct flight *f = &flights[nflights++];
		assert_true(nflights <= FLIGHTS && tx[i].len <= sizeof(f->bytes));
		memcpy(f->bytes, tx[i].buf, tx[i].len);
		f->len = tx[i].len;
		f->seg = tx[i].seg;
	}
}

static void land(void *ctx, const struct gro_write *w)
{
	(void)ctx;
	came += w->bytes;
}

static uint8_t ip[PACKET_MAX];

/* A packet of end 0 to end 1, as the kernel gives it. */
static uint32_t make(const struct spec *sp, uint16_t gso, struct vnet_hdr *h)
{
	static const uint8_t way[8] = { 10, 0, 0, 1, 10, 0, 0, 2 };
	uint32_t len = packet_build_super(sp, gso, ip, h);
	memcpy(ip + 12, way, 8);
	if (!gso)
		packet_fix_sums(ip, len);
	if (!gso)
		h->flags = 0;
	return len;
}

static void across(const struct vnet_hdr *h, uint32_t len)
{
	nflights = 0;
	node_tun(ends[0].node, now, h, ip, len);
	node_flush(ends[0].node, now);
	for (unsigned i = 0; i < nflights; i++) {
		struct udp_rx rx = { .buf = flights[i].bytes,
				     .len = flights[i].len,
				     .seg = flights[i].seg,
				     .from = ends[0].at,
				     .local = ends[1].at.addr };
		node_udp(ends[1].node, now, &rx, 1);
	}
}

static void test_nothing_is_allocated(void **state)
{
	static const struct {
		struct spec sp;
		uint16_t gso;
	} t[] = {
		{ { .udp = true, .payload = 64 }, 0 },
		{ { .payload = 1 }, 0 },
		{ { .udp = true, .payload = 1300 }, 0 },
		{ { .payload = 60000 }, 1388 },
		{ { .udp = true, .payload = 50000 }, 1200 },
		{ { .udp = true, .payload = 8000 }, 0 },
		{ { .udp = true, .payload = 40000 }, 5000 },
	};
	(void)state;
	warren_pair();
	for (unsigned i = 0; i < 2; i++) {
		ends[i].node->io.udp = fly;
		ends[i].node->io.tun = land;
	}
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct vnet_hdr h;
		uint32_t len = make(&t[i].sp, t[i].gso, &h);
		came = 0;
		across(&h, len); /* what is made once */
		assert_true(came >= len);
		unsigned before = allocations;
		for (unsigned k = 0; k < ROUNDS; k++)
			across(&h, len);
		assert_int_equal(allocations, before);
		assert_true(came >= (uint64_t)len * (ROUNDS + 1));
	}
}

/* It would be seen. */
static void test_the_watch(void **state)
{
	unsigned before = allocations;
	void *volatile p = malloc(1);
	(void)state;
	free(p);
	assert_true(allocations > before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_is_allocated, setup, teardown),
		cmocka_unit_test(test_the_watch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
