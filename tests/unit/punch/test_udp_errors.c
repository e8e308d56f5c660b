/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outer DF, and what ICMP messages do to the socket, in a namespace whose way out is a TUN: what
 * goes out is read from it, and forged answers go in there.
 *
 *   a, b (sockets) -- 192.0.2.2, 2001:db8::2 -- out0 (the test reads and writes it) -- 192.0.2.9, 2001:db8::9
 */
#include "../route/lab.h"
#include "forge.h"
#include "punch/udp.h"
#include "udp_kernel.h"
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <unistd.h>
#include <cmocka.h>

enum { SLOTS = 8, SEG = 1200, PORT = 4242, PACKET = 2048 };

static struct udp_socket a, b;
static int tun;
static uint8_t data[64 * SEG], *rx_mem;
static const char *const far[] = { "2001:db8::9", "192.0.2.9" };    /* [IPv4] */
static const char *const self[] = { "::1", "127.0.0.1" };	    /* [IPv4] */
static const char *const router[] = { "2001:db8::1", "192.0.2.1" }; /* [IPv4] */

static struct udp_tx tx_to(const char *host, uint16_t port, uint32_t len, uint32_t seg)
{
	struct udp_tx tx = { .buf = data, .len = len, .seg = seg, .to = { .port = port } };
	assert_true(addr_parse(host, &tx.to.addr));
	return tx;
}

/* The next UDP packet that goes out, or the first fragment of one; 0: none within `ms`. */
static size_t outgoing(uint8_t *packet, int ms)
{
	struct pollfd p = { .fd = tun, .events = POLLIN };
	while (poll(&p, 1, ms) == 1) {
		ssize_t n = read(tun, packet, PACKET);
		assert_true(n > 0);
		if (packet_is_udp(packet, (size_t)n))
			return (size_t)n;
	}
	return 0;
}

static bool is_woken(const struct udp_socket *s, int ms)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	return poll(&p, 1, ms) == 1;
}

static int receive(struct udp_socket *s)
{
	struct udp_rx rx[SLOTS];
	for (unsigned i = 0; i < SLOTS; i++)
		rx[i] = (struct udp_rx){ .buf = rx_mem + i * (size_t)UDP_RX_MAX };
	return udp_recv(s, rx, SLOTS);
}

/* The kernel hears at a new IPv6 address only some time after it may be sent from. */
static bool wait_for_the_address(void)
{
	struct udp_tx tx = tx_to("2001:db8::2", a.port, 1, 1);
	uint8_t packet[PACKET];
	for (unsigned i = 0; i < 500; i++) {
		udp_send(&b, &tx, 1);
		if (is_woken(&a, 10) && receive(&a) > 0) {
			while (outgoing(packet, 0))
				;
			memset(&kernel, 0, sizeof(kernel));
			return true;
		}
	}
	return false;
}

static int setup(void **state)
{
	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	a.fd = b.fd = tun = -1;
	rx_mem = malloc(SLOTS * (size_t)UDP_RX_MAX);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + i / SEG);
	if (!rx_mem || !lab_enter())
		return -1;
	unsigned index = lab_tun("out0", &tun);
	lab_address(index, "192.0.2.2/24");
	lab_address(index, "2001:db8::2/64");
	if (udp_open(&a, NULL, 0) < 0 || udp_open(&b, NULL, 0) < 0)
		return -1;
	return wait_for_the_address() ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	udp_close(&a);
	udp_close(&b);
	close(tun);
	free(rx_mem);
	return 0;
}

/* Sends one datagram of `len` and takes the packet. */
static size_t send_one(bool v4, uint32_t len, uint8_t *packet)
{
	struct udp_tx tx = tx_to(far[v4], PORT, len, len);
	assert_int_equal(udp_send(&a, &tx, 1), 0);
	size_t n = outgoing(packet, 2000);
	assert_int_equal(n, len + (v4 ? 28 : 48));
	return n;
}

/* An ICMP message comes in that quotes `quoted` bytes of the packet. */
static void icmp_in(const uint8_t *packet, size_t quoted, uint8_t type, uint8_t code, uint32_t info)
{
	uint8_t out[PACKET];
	struct addr from;
	assert_true(addr_parse(router[packet[0] >> 4 == 4], &from));
	size_t n = forge_icmp(out, &from, packet, quoted, type, code, info);
	assert_int_equal(write(tun, out, n), n);
}

static void too_big_in(const uint8_t *packet, size_t quoted, uint32_t mtu)
{
	bool v4 = packet[0] >> 4 == 4;
	icmp_in(packet, quoted, v4 ? 3 : 2, v4 ? 4 : 0, mtu);
}

static void unreachable_in(const uint8_t *packet, size_t quoted)
{
	bool v4 = packet[0] >> 4 == 4;
	icmp_in(packet, quoted, v4 ? 3 : 1, v4 ? 3 : 4, 0);
}

/* --- DF --- */

/* Each entry as it says, batch or not, in one call, whatever stands beside it. */
static void df_of_each_entry(void **state)
{
	static const bool clear[] = { false, false, true, false, true, true };
	struct udp_tx tx[ARRAY_SIZE(clear)];
	uint8_t packet[PACKET];
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(clear); i++) {
		tx[i] = tx_to(far[1], PORT, 3 * SEG, i % 2 ? 3 * SEG : SEG);
		tx[i].len = tx[i].seg == SEG ? 3 * SEG : SEG;
		tx[i].may_fragment = clear[i];
	}
	for (unsigned round = 0; round < 2; round++) {
		kernel.calls = 0;
		assert_int_equal(udp_send(&a, tx, ARRAY_SIZE(clear)), 0);
		assert_int_equal(kernel.calls, 4);
		for (size_t i = 0; i < ARRAY_SIZE(clear); i++)
			for (uint32_t left = tx[i].len; left; left -= SEG) {
				assert_int_equal(outgoing(packet, 2000), SEG + 28);
				assert_int_equal(packet_has_df(packet), !clear[i]);
			}
	}
	assert_int_equal(outgoing(packet, 0), 0);
}

/* Larger than our own device: in fragments where it may, else lost and told of. */
static void larger_than_the_device(void **state)
{
	struct udp_too_big e[4];
	uint8_t packet[PACKET];
	(void)state;
	for (unsigned v4 = 0; v4 < 2; v4++) {
		struct udp_tx tx[3] = { tx_to(far[v4], PORT, 1600, 1600),
					tx_to(far[v4], PORT, 1600, 1600),
					tx_to(far[v4], PORT, 100, 100) };
		tx[1].may_fragment = true;
		assert_int_equal(udp_send(&a, tx, 3), 1);
		assert_in_range(outgoing(packet, 2000), 1400, 1500); /* two fragments */
		assert_true(outgoing(packet, 2000) != 0);
		assert_int_equal(outgoing(packet, 2000), 100 + (v4 ? 28 : 48));
		assert_int_equal(outgoing(packet, 0), 0);
		assert_true(a.errors);
		assert_true(is_woken(&a, 0));
		unsigned n = udp_errors(&a, e, ARRAY_SIZE(e));
		assert_in_range(n, 1, 3); /* one for each attempt */
		for (unsigned i = 0; i < n; i++) {
			assert_true(e[i].local);
			assert_int_equal(e[i].mtu, 1500);
			assert_int_equal(e[i].quoted, 0);
			assert_true(addr_eq(&e[i].to.addr, &tx[0].to.addr));
			assert_int_equal(e[i].to.port, v4 ? 0 : PORT);
		}
		assert_int_equal(udp_errors(&a, e, ARRAY_SIZE(e)), 0);
		assert_false(a.errors);
		assert_false(is_woken(&a, 0));
	}
}

/* A batch of too large ones: each is tried by itself, and costs one attempt only. */
static void batch_larger_than_the_device(void **state)
{
	(void)state;
	struct udp_tx tx = tx_to(far[1], PORT, 20 * 1600, 1600);
	assert_int_equal(udp_send(&a, &tx, 1), 20);
	assert_true(a.gso);
	assert_in_range(a.tx_calls, 20, 30);
}

/* Whatever a forged message put into the kernel's cache of path MTUs. */
static void cached_path_mtu_is_not_asked(void **state)
{
	uint8_t packet[PACKET];
	(void)state;
	for (unsigned v4 = 0; v4 < 2; v4++) {
		size_t n = send_one(v4, 1400, packet);
		too_big_in(packet, n < 500 ? n : 500, 1290);
		struct udp_tx tx = tx_to(far[v4], PORT, 5 * 1400, 1400);
		uint64_t fallbacks = a.gso_fallbacks;
		assert_int_equal(udp_send(&a, &tx, 1), 0);
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(outgoing(packet, 2000), 1400 + (v4 ? 28 : 48));
			assert_true(!v4 || packet_has_df(packet));
		}
		assert_int_equal(a.gso_fallbacks, fallbacks);
		/* it is there: in IPv6, where no router cuts, who may fragment does so */
		tx.may_fragment = true;
		assert_int_equal(udp_send(&a, &tx, 1), 0);
		assert_int_equal(a.gso_fallbacks, fallbacks + !v4);
		for (unsigned i = 0; i < (v4 ? 5 : 10); i++)
			assert_in_range(outgoing(packet, 2000), v4 ? 1428 : 1, v4 ? 1428 : 1290);
		assert_int_equal(outgoing(packet, 0), 0);
	}
}

/* --- the queue --- */

static void too_big_comes_out(void **state)
{
	static const uint32_t quoted[] = { 0, 20, 200 }; /* of the payload */
	struct udp_too_big e[4];
	uint8_t packet[PACKET];
	(void)state;
	for (unsigned v4 = 0; v4 < 2; v4++)
		for (size_t i = 0; i < ARRAY_SIZE(quoted); i++) {
			uint32_t want = quoted[i] < UDP_QUOTE_MAX ? quoted[i] : UDP_QUOTE_MAX;
			struct udp_tx to = tx_to(far[v4], PORT, 1, 1);
			send_one(v4, 1400, packet);
			too_big_in(packet, quoted[i] + (v4 ? 28 : 48), 1300 + (uint32_t)i);
			assert_true(is_woken(&a, 2000));
			assert_int_equal(receive(&a), 0); /* the pending error itself is none */
			assert_true(a.errors);
			assert_int_equal(udp_errors(&a, e, ARRAY_SIZE(e)), 1);
			assert_true(endpoint_eq(&e[0].to, &to.to));
			assert_int_equal(e[0].mtu, 1300 + i);
			assert_false(e[0].local);
			assert_int_equal(e[0].quoted, want);
			assert_memory_equal(e[0].quote, data, want);
			assert_false(a.errors);
			assert_false(is_woken(&a, 0));
		}
}

/* Also what comes back while the last that was sent had DF clear. */
static void too_big_after_a_stock_peers_batch(void **state)
{
	struct udp_too_big e;
	uint8_t packet[PACKET], other[PACKET];
	(void)state;
	for (unsigned v4 = 0; v4 < 2; v4++) {
		struct udp_tx stock = tx_to(far[v4], PORT + 1, 100, 100);
		stock.may_fragment = true;
		size_t n = send_one(v4, 1400, packet);
		assert_int_equal(udp_send(&a, &stock, 1), 0);
		assert_true(outgoing(other, 2000) > 0);
		too_big_in(packet, n - 1000, 1300);
		assert_true(is_woken(&a, 2000));
		assert_int_equal(udp_errors(&a, &e, 1), 1);
		assert_int_equal(e.to.port, PORT);
	}
}

static void all_else_is_skipped(void **state)
{
	struct udp_too_big e[4];
	uint8_t packet[PACKET];
	unsigned got = 0;
	(void)state;
	for (unsigned v4 = 0; v4 < 2; v4++) {
		send_one(v4, 1400, packet);
		for (unsigned i = 0; i < 40; i++) {
			unreachable_in(packet, 100);
			icmp_in(packet, 100, v4 ? 11 : 3, 0, 0);    /* time exceeded */
			icmp_in(packet, 100, v4 ? 12 : 4, 0, 1300); /* parameter problem */
			too_big_in(packet, 100, 0);
		}
		if (!v4) { /* IPv4 has no room for such a number */
			too_big_in(packet, 100, 65536);
			too_big_in(packet, 100, UINT32_MAX);
		}
		too_big_in(packet, 100, 1333);
	}
	assert_true(is_woken(&a, 2000));
	a.errors = true;
	for (unsigned i = 0; i < 20 && a.errors; i++) {
		unsigned n = udp_errors(&a, e + got, 4 - got);
		assert_true(i || n == 0); /* a share of the work at a time */
		got += n;
		assert_int_equal(a.errors, is_woken(&a, 0));
	}
	assert_int_equal(got, 2);
	assert_int_equal(e[0].mtu, 1333);
	assert_int_equal(e[1].mtu, 1333);
	assert_false(is_woken(&a, 0));
}

/* Who never asks is woken in vain for some turns only, and hears all else. */
static void unheard_errors_do_not_last(void **state)
{
	uint8_t packet[PACKET];
	unsigned wakes = 0;
	(void)state;
	size_t n = send_one(true, 1400, packet);
	for (unsigned i = 0; i < 200; i++)
		too_big_in(packet, n - 1000, 1300);
	assert_true(is_woken(&a, 2000));
	while (is_woken(&a, 50) && wakes++ < 1000)
		assert_int_equal(receive(&a), 0);
	assert_in_range(wakes, 2, 30);
	struct udp_tx tx = tx_to(self[1], a.port, 100, 100);
	assert_int_equal(udp_send(&b, &tx, 1), 0);
	assert_true(is_woken(&a, 2000));
	assert_int_equal(receive(&a), 1);
}

static void kernel_without_the_queue(void **state)
{
	struct udp_too_big e;
	struct udp_socket s;
	(void)state;
	kernel.no_recverr = true;
	assert_int_equal(udp_open(&s, NULL, 0), 0);
	assert_int_equal(udp_errors(&s, &e, 1), 0);
	udp_close(&s);
}

/* --- errors of another --- */

/* How many bytes b got; they are `data` from its beginning on. */
static uint32_t arrived(void)
{
	static uint8_t got[sizeof(data)];
	struct udp_rx rx[SLOTS];
	uint32_t at = 0;
	for (unsigned i = 0; i < SLOTS; i++)
		rx[i] = (struct udp_rx){ .buf = rx_mem + i * (size_t)UDP_RX_MAX };
	while (is_woken(&b, 0)) {
		int n = udp_recv(&b, rx, SLOTS);
		assert_true(n > 0);
		for (int i = 0; i < n; i++) {
			assert_true(at + rx[i].len <= sizeof(got));
			memcpy(got + at, rx[i].buf, rx[i].len);
			at += rx[i].len;
		}
	}
	assert_memory_equal(got, data, at);
	return at;
}

/* All errors that an ICMP message can leave behind, before each message, once and twice. */
static void pending_errors_cost_nothing(void **state)
{
	static const int errors[] = { ECONNREFUSED, EHOSTUNREACH, EHOSTDOWN,  ENETUNREACH, ENONET,
				      EMSGSIZE,	    ENOPROTOOPT,  EOPNOTSUPP, EACCES,	   EPROTO };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors) * 2; i++) {
		struct udp_tx tx[4];
		kernel.pending = errors[i / 2];
		kernel.pending_times = 1 + i % 2;
		kernel.largest_batch = 0;
		for (unsigned k = 0; k < 4; k++) {
			tx[k] = tx_to(self[k % 2], b.port, 10 * SEG, SEG);
			tx[k].buf = data + k * 10 * SEG;
			assert_true(addr_parse(self[k % 2], &tx[k].local));
		}
		assert_int_equal(udp_send(&a, tx, 4), 0);
		assert_int_equal(arrived(), 40 * SEG);
		assert_int_equal(kernel.largest_batch, 10);
		assert_true(a.errors);
	}
	assert_true(a.gso);
	assert_int_equal(a.gso_fallbacks, 0);
}

/* One that comes again each time is about the datagram itself. */
static void lasting_errors_are_believed(void **state)
{
	(void)state;
	kernel.pending = EHOSTUNREACH;
	kernel.pending_times = UINT32_MAX;
	struct udp_tx tx[2] = { tx_to(self[1], b.port, 100, 100), tx_to(self[1], b.port, 100, 50) };
	assert_int_equal(udp_send(&a, tx, 2), 3);
	assert_in_range(kernel.calls, 4, 8);
}

/* The real thing: a refusal for one peer is pending when a batch for another goes out. */
static void refusal_before_a_batch(void **state)
{
	uint8_t packet[PACKET];
	(void)state;
	for (unsigned v4 = 0; v4 < 2; v4++) {
		struct udp_tx tx = tx_to(self[v4], b.port, 40 * SEG, SEG);
		size_t n = send_one(v4, 1400, packet);
		for (unsigned i = 0; i < 3; i++) {
			if (i % 2)
				too_big_in(packet, n - 1000, 1300);
			else
				unreachable_in(packet, n - 1000);
			a.errors = false;
			assert_int_equal(udp_send(&a, &tx, 1), 0);
			assert_true(a.errors); /* it was there: the test tests something */
			assert_int_equal(arrived(), 40 * SEG);
		}
	}
	assert_true(a.gso);
	assert_int_equal(a.gso_fallbacks, 0);
}

/* Every second datagram goes to a closed port of this host, whose refusal is there at once. */
static void refusals_between_datagrams(void **state)
{
	enum { PAIRS = 32 };
	struct udp_tx tx[2 * PAIRS];
	(void)state;
	udp_close(&b); /* a port that was free a moment ago */
	uint16_t closed = b.port;
	assert_int_equal(udp_open(&b, NULL, 0), 0);
	assert_int_not_equal(b.port, closed);
	for (unsigned v4 = 0; v4 < 2; v4++) {
		for (unsigned i = 0; i < PAIRS; i++) {
			tx[2 * i] = tx_to(self[v4], closed, 100, 100);
			tx[2 * i + 1] = tx_to(self[v4], b.port, SEG, SEG);
			tx[2 * i + 1].buf = data + i * SEG;
		}
		kernel.refused = 0;
		a.errors = false;
		assert_int_equal(udp_send(&a, tx, 2 * PAIRS), 0);
		assert_true(kernel.refused > 0); /* or the test is none */
		assert_true(a.errors);
		assert_int_equal(arrived(), PAIRS * SEG);
	}
}

/* A pending error hides nothing of what is there to receive. */
static void refusal_before_a_receipt(void **state)
{
	uint8_t packet[PACKET];
	(void)state;
	for (unsigned v4 = 0; v4 < 2; v4++) {
		struct udp_tx tx = tx_to(self[v4], a.port, 100, 100);
		size_t n = send_one(v4, 1400, packet);
		assert_int_equal(udp_send(&b, &tx, 1), 0);
		unreachable_in(packet, n - 1000);
		a.errors = false;
		assert_int_equal(receive(&a), 1);
		assert_true(a.errors);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(df_of_each_entry),
		T(larger_than_the_device),
		T(batch_larger_than_the_device),
		T(cached_path_mtu_is_not_asked),
		T(too_big_comes_out),
		T(too_big_after_a_stock_peers_batch),
		T(all_else_is_skipped),
		T(unheard_errors_do_not_last),
		T(kernel_without_the_queue),
		T(pending_errors_cost_nothing),
		T(lasting_errors_are_believed),
		T(refusal_before_a_batch),
		T(refusals_between_datagrams),
		T(refusal_before_a_receipt),
	};
	if (!lab_enter())
		return getenv("CI") ? 1 : 77; /* 77: meson counts it as skipped */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
