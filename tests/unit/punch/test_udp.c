/* SPDX-License-Identifier: Apache-2.0 */
/* The socket against itself over loopback; refusals come from udp_kernel.c. */
#include "punch/udp.h"
#include "udp_kernel.h"
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <setjmp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <cmocka.h>

enum { SLOTS = 8, SEG = 1200, SEGS = 100 };

/* --- two sockets --- */

static struct udp_socket a, b;
static uint8_t *rx_mem, data[SEG * SEGS], got[sizeof(data)];

static int setup(void **state)
{
	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	a.fd = b.fd = -1;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + i / SEG);
	rx_mem = malloc(SLOTS * (size_t)UDP_RX_MAX);
	return rx_mem ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	udp_close(&a);
	udp_close(&b);
	free(rx_mem);
	return 0;
}

static void open_two(void)
{
	assert_int_equal(udp_open(&a, NULL, 0), 0);
	assert_int_equal(udp_open(&b, NULL, 0), 0);
	assert_true(a.port && a.port != b.port);
}

static struct addr addr_of(const char *s)
{
	struct addr out;
	assert_true(addr_parse(s, &out));
	return out;
}

static struct udp_tx to_b(const char *host, uint32_t len, uint32_t seg)
{
	return (struct udp_tx){
		.buf = data, .len = len, .seg = seg, .to = { .addr = addr_of(host), .port = b.port }
	};
}

static unsigned receive(struct udp_socket *s, struct udp_rx *rx)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	for (unsigned i = 0; i < SLOTS; i++)
		rx[i] = (struct udp_rx){ .buf = rx_mem + i * (size_t)UDP_RX_MAX };
	assert_int_equal(poll(&p, 1, 2000), 1);
	int n = udp_recv(s, rx, SLOTS);
	assert_true(n > 0);
	return (unsigned)n;
}

/* Reads until `bytes` have come, which are `data` in datagrams of seg. How many datagrams. */
static unsigned expect_data(uint32_t bytes, uint32_t seg)
{
	struct udp_rx rx[SLOTS];
	uint32_t at = 0;
	unsigned datagrams = 0;
	while (at < bytes) {
		unsigned n = receive(&b, rx);
		for (unsigned i = 0; i < n; i++) {
			assert_true(at + rx[i].len <= bytes);
			assert_true(rx[i].seg == seg || at + rx[i].len == bytes);
			assert_false(rx[i].truncated);
			memcpy(got + at, rx[i].buf, rx[i].len);
			at += rx[i].len;
			datagrams += (rx[i].len + rx[i].seg - 1) / rx[i].seg;
		}
	}
	assert_memory_equal(got, data, bytes);
	uint64_t empty = b.rx_empty;
	assert_int_equal(udp_recv(&b, rx, SLOTS), 0);
	assert_int_equal(b.rx_empty - empty, 1);
	return datagrams;
}

static void one_datagram(const char *host)
{
	struct udp_rx rx[SLOTS];
	struct udp_tx tx = to_b(host, 100, 100);
	assert_int_equal(udp_send(&a, &tx, 1), 0);
	assert_int_equal(receive(&b, rx), 1);
	assert_int_equal(rx[0].len, 100);
	assert_int_equal(rx[0].seg, 100);
	assert_memory_equal(rx[0].buf, data, 100);
	assert_int_equal(rx[0].from.port, a.port);
	struct addr want = addr_of(host);
	assert_true(addr_eq(&rx[0].from.addr, &want));
	assert_true(addr_eq(&rx[0].local, &want));
	assert_int_not_equal(rx[0].ifindex, 0);
}

static void dual_stack(void **state)
{
	(void)state;
	open_two();
	assert_true(a.v6);
	one_datagram("127.0.0.1");
	one_datagram("::1");
	assert_int_equal(a.tx_datagrams, 2);
	assert_int_equal(b.rx_datagrams, 2);
}

static void without_ipv6(void **state)
{
	(void)state;
	kernel.no_v6 = true;
	open_two();
	assert_false(a.v6);
	one_datagram("127.0.0.1");
	/* a peer that this socket cannot reach is a loss, not a stray packet */
	struct udp_tx tx = to_b("::1", 5 * SEG, SEG);
	assert_int_equal(udp_send(&a, &tx, 1), 5);
	struct addr six = addr_of("::1");
	struct udp_socket s;
	assert_int_equal(udp_open(&s, &six, 0), -EAFNOSUPPORT);
}

static void batches(void **state)
{
	(void)state;
	const char *hosts[] = { "127.0.0.1", "::1" };
	open_two();
	assert_true(a.gso);
	assert_true(b.gro);
	for (unsigned i = 0; i < 2; i++) {
		/* 20 whole ones and an odd one of 7 bytes */
		struct udp_tx tx = to_b(hosts[i], 20 * SEG + 7, SEG);
		uint64_t calls = b.rx_calls;
		assert_int_equal(udp_send(&a, &tx, 1), 0);
		assert_int_equal(expect_data(20 * SEG + 7, SEG), 21);
		assert_true(b.rx_calls - calls < 10); /* received in batches, too */
	}
	assert_int_equal(a.tx_calls, 2);
	assert_int_equal(a.tx_datagrams, 42);
	assert_int_equal(b.rx_datagrams, 42);
	assert_int_equal(a.gso_fallbacks, 0);
}

/* More than a message holds: by segments (small ones) and by bytes (large ones). */
static void large_entries_are_cut(void **state)
{
	(void)state;
	open_two();
	struct udp_tx tx = to_b("127.0.0.1", 100 * 50 + 1, 50);
	assert_int_equal(udp_send(&a, &tx, 1), 0);
	assert_int_equal(kernel.largest_batch, UDP_GSO_MAX_SEGMENTS);
	assert_int_equal(expect_data(100 * 50 + 1, 50), 101);
	tx = to_b("::1", SEGS * SEG, SEG);
	kernel.largest_batch = 0;
	assert_int_equal(udp_send(&a, &tx, 1), 0);
	assert_int_equal(kernel.largest_batch, UDP_GSO_MAX_BYTES / SEG);
	assert_int_equal(expect_data(SEGS * SEG, SEG), SEGS);
	assert_int_equal(a.tx_calls, 2);
}

/* Several entries, empty ones between them, and a kernel that takes three messages at a time. */
static void many_entries(void **state)
{
	(void)state;
	struct udp_tx tx[40];
	open_two();
	kernel.at_most = 3;
	uint32_t at = 0;
	for (unsigned i = 0; i < 40; i++) {
		tx[i] = to_b("127.0.0.1", i % 5 == 4 ? 0 : 2 * 400, 400);
		tx[i].buf = data + at;
		at += tx[i].len;
	}
	assert_int_equal(udp_send(&a, tx, 40), 0);
	assert_int_equal(expect_data(at, 400), 64);
	assert_int_equal(a.tx_datagrams, 64);
	assert_int_equal(udp_send(&a, tx, 0), 0);
}

static void offloads_off(void **state)
{
	(void)state;
	open_two();
	udp_set_offload(&a, false, false);
	udp_set_offload(&b, false, false);
	struct udp_tx tx = to_b("127.0.0.1", 70 * SEG + 1, SEG);
	assert_int_equal(udp_send(&a, &tx, 1), 0);
	assert_int_equal(kernel.largest_batch, 0);
	assert_int_equal(a.tx_calls, 2); /* 64 messages and 7 */
	assert_int_equal(expect_data(70 * SEG + 1, SEG), 71);
	udp_set_offload(&a, true, true);
	assert_true(a.gso && a.gro);
}

static void kernel_without_offloads(void **state)
{
	(void)state;
	kernel.no_segment = kernel.no_gro = true;
	open_two();
	assert_false(a.gso || a.gro);
	struct udp_tx tx = to_b("::1", 30 * SEG + 1, SEG);
	assert_int_equal(udp_send(&a, &tx, 1), 0);
	assert_int_equal(kernel.refused, 0);
	assert_int_equal(expect_data(30 * SEG + 1, SEG), 31);
}

/*
 * Each refusal of a batch: it arrives singly and once; where GSO is the one to blame it stays off, for
 * ten minutes.
 */
static void refused_batches(void **state)
{
	(void)state;
	static const struct {
		int err;
		uint32_t seg;
		bool gso_after;
	} t[] = {
		{ EIO, SEG, false },
		{ EINVAL, SEG, false }, /* small enough for any link: it is the batch */
		{ EINVAL, 1400, true }, /* too large for the link, maybe */
		{ EMSGSIZE, SEG, true },
	};
	open_two();
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		nsec again = (nsec)i * UDP_GSO_AGAIN;
		udp_gso_turn(&a, again - 1);
		assert_int_equal(a.gso, i == 0 || t[i - 1].gso_after);
		udp_gso_turn(&a, again);
		assert_true(a.gso);
		kernel.batch_error = t[i].err;
		uint64_t before = a.gso_fallbacks;
		struct udp_tx tx = to_b("127.0.0.1", 10 * t[i].seg + 3, t[i].seg);
		assert_int_equal(udp_send(&a, &tx, 1), 0);
		assert_int_equal(expect_data(10 * t[i].seg + 3, t[i].seg), 11);
		assert_int_equal(a.gso_fallbacks, before + 1);
		assert_int_equal(a.gso, t[i].gso_after);
	}
	assert_int_equal(a.tx_datagrams, 44);
	/* what is refused singly, too, was no batch's fault */
	kernel.batch_error = EINVAL, kernel.largest = SEG - 1;
	struct udp_tx tx = to_b("127.0.0.1", 10 * SEG + 3, SEG);
	assert_int_equal(udp_send(&a, &tx, 1), 10);
	assert_true(a.gso);
}

/* The second message of an entry is refused: the first is not sent again. */
static void resumes_at_the_first_unsent(void **state)
{
	(void)state;
	open_two();
	struct udp_tx tx[2] = { to_b("127.0.0.1", 1400, 1400), to_b("127.0.0.1", 20 * 1400, 1400) };
	tx[1].buf = data + 1400;
	kernel.batch_error = EINVAL;
	assert_int_equal(udp_send(&a, tx, 2), 0);
	assert_int_equal(kernel.refused, 2); /* behind the first message, then as the first */
	assert_int_equal(kernel.messages, 21);
	assert_int_equal(expect_data(21 * 1400, 1400), 21);
}

static void source_address(void **state)
{
	(void)state;
	struct udp_rx rx[SLOTS];
	open_two();
	struct udp_tx tx = to_b("127.0.0.1", 10, 10);
	tx.local = addr_of("127.0.0.7");
	assert_int_equal(udp_send(&a, &tx, 1), 0);
	assert_int_equal(receive(&b, rx), 1);
	assert_true(addr_eq(&rx[0].from.addr, &tx.local));

	/* a reply by what was received: from the address that it came to */
	struct udp_tx reply = { .buf = data,
				.len = 5,
				.seg = 5,
				.to = rx[0].from,
				.local = rx[0].local,
				.ifindex = rx[0].ifindex };
	assert_int_equal(udp_send(&b, &reply, 1), 0);
	assert_int_equal(receive(&a, rx), 1);
	assert_true(addr_eq(&rx[0].local, &tx.local));

	tx = to_b("::1", 10, 10);
	tx.local = addr_of("::1");
	assert_int_equal(udp_send(&a, &tx, 1), 0);
	assert_int_equal(receive(&b, rx), 1);
	tx.local = addr_of("127.0.0.1"); /* the wrong family: none */
	assert_int_equal(udp_send(&a, &tx, 1), 0);
	assert_int_equal(receive(&b, rx), 1);
}

/* A source that is gone is left out; a batch stays a batch. */
static void source_is_gone(void **state)
{
	(void)state;
	const char *hosts[] = { "127.0.0.1", "::1" }, *gone[] = { "192.0.2.1", "2001:db8::1" };
	open_two();
	for (unsigned i = 0; i < 2; i++) {
		struct udp_tx tx = to_b(hosts[i], 5 * SEG, SEG);
		tx.local = addr_of(gone[i]);
		kernel.largest_batch = 0;
		assert_int_equal(udp_send(&a, &tx, 1), 0);
		assert_int_equal(expect_data(5 * SEG, SEG), 5);
		assert_int_equal(kernel.largest_batch, 5);
		tx.local = addr_any;
		tx.ifindex = 0x7ffffff0; /* an interface that is gone */
		assert_int_equal(udp_send(&a, &tx, 1), 0);
		assert_int_equal(expect_data(5 * SEG, SEG), 5);
	}
	assert_true(a.gso); /* it was not to blame */
	kernel.source_error = ENETUNREACH;
	struct udp_tx tx = to_b("127.0.0.1", 100, 100);
	tx.local = addr_of("127.0.0.1");
	assert_int_equal(udp_send(&a, &tx, 1), 0);
	assert_int_equal(expect_data(100, 100), 1);
}

static void losses_are_counted(void **state)
{
	(void)state;
	open_two();
	struct udp_tx tx[3] = { to_b("127.0.0.1", 100, 100), to_b("127.0.0.1", 66000, 66000),
				to_b("127.0.0.1", 100, 50) };
	/* what no datagram can hold dies alone */
	tx[1].buf = data;
	assert_int_equal(udp_send(&a, tx, 3), 1);
	struct udp_rx rx[SLOTS];
	unsigned n = receive(&b, rx);
	assert_true(n >= 1 && rx[0].len == 100);
	if (n == 1)
		n += receive(&b, rx);
	assert_int_equal(b.rx_datagrams, 3);

	/* a full socket: all that is left is lost, in one count */
	kernel.fail_after = kernel.messages + 1;
	kernel.calls = 0;
	tx[1] = to_b("127.0.0.1", 10 * 50 + 1, 50);
	assert_int_equal(udp_send(&a, tx, 3), 11 + 2);
	assert_int_equal(kernel.calls, 2);
	assert_int_equal(expect_data(100, 100), 1);
}

static void port_in_use(void **state)
{
	(void)state;
	struct udp_socket c;
	struct addr lo = addr_of("127.0.0.1"), elsewhere = addr_of("192.0.2.1");
	open_two();
	assert_int_equal(udp_open(&c, NULL, a.port), -EADDRINUSE);
	assert_int_equal(c.fd, -1);
	assert_int_equal(udp_open(&c, &lo, a.port), -EADDRINUSE);
	assert_int_equal(udp_open(&c, &elsewhere, 0), -EADDRNOTAVAIL);
	udp_close(&c); /* twice is fine */
	assert_int_equal(udp_open(&c, &lo, 0), 0);
	udp_close(&c);
}

static void bound_to_one_address(void **state)
{
	(void)state;
	struct addr lo4 = addr_of("127.0.0.1"), lo6 = addr_of("::1");
	assert_int_equal(udp_open(&a, &lo4, 0), 0);
	assert_int_equal(udp_open(&b, &lo4, 0), 0);
	one_datagram("127.0.0.1");
	udp_close(&a);
	udp_close(&b);
	assert_int_equal(udp_open(&a, &lo6, 0), 0);
	assert_int_equal(udp_open(&b, &lo6, 0), 0);
	one_datagram("::1");
}

static int get_int(int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);
	assert_int_equal(getsockopt(a.fd, level, name, &v, &len), 0);
	return v;
}

static void df_is_set(void **state)
{
	(void)state;
	open_two();
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(get_int(IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_PROBE);
		assert_int_equal(get_int(IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_PROBE);
		/* and again after it was not for a while */
		struct udp_tx tx = to_b(i ? "::1" : "127.0.0.1", 10, 10);
		tx.may_fragment = true;
		assert_int_equal(udp_send(&a, &tx, 1), 0);
	}
}

/* The DS field of both families, seen by a bare socket. */
static void ds_field(void **state)
{
	(void)state;
	const char *hosts[] = { "127.0.0.1", "::1" };
	const uint8_t all[] = { 0x88, 0, 1, 2, 3, 0xff };
	open_two();
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(all); i++) {
		struct udp_tx tx = to_b(hosts[i & 1], 10 * SEG, SEG);
		struct udp_rx rx[SLOTS];
		tx.tos = all[i / 2];
		assert_int_equal(udp_send(&a, &tx, 1), 0);
		for (uint32_t came = 0; came < tx.len;) {
			unsigned n = receive(&b, rx);
			for (unsigned k = 0; k < n; k++, came += rx[k - 1].len)
				assert_int_equal(rx[k].tos, tx.tos);
		}
	}
}

/*
 * A real refusal: the link's MTU is below the segment, so no batch may pass, and each datagram goes out in IP fragments
 * where it may; else only the small one does. Last, since the process is in a namespace of its own then.
 */
static void segment_above_the_links_mtu(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		skip();
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	open_two();
	assert_int_equal(ioctl(a.fd, SIOCSIFFLAGS, &ifr), 0);
	ifr.ifr_mtu = 1300;
	assert_int_equal(ioctl(a.fd, SIOCSIFMTU, &ifr), 0);
	const char *hosts[] = { "127.0.0.1", "::1" };
	for (unsigned i = 0; i < 2; i++) {
		struct udp_tx tx = to_b(hosts[i], 10 * 1400 + 1, 1400);
		tx.may_fragment = true;
		assert_int_equal(udp_send(&a, &tx, 1), 0);
		assert_int_equal(expect_data(10 * 1400 + 1, 1400), 11);
		assert_int_equal(a.gso_fallbacks, 2 * i + 1);
		tx.may_fragment = false;
		assert_int_equal(udp_send(&a, &tx, 1), 10);
		struct udp_rx rx[SLOTS];
		assert_int_equal(receive(&b, rx), 1);
		assert_int_equal(rx[0].len, 1);
		assert_int_equal(a.gso_fallbacks, 2 * i + 2);
		assert_true(a.gso);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(dual_stack),
		T(without_ipv6),
		T(batches),
		T(large_entries_are_cut),
		T(many_entries),
		T(offloads_off),
		T(kernel_without_offloads),
		T(refused_batches),
		T(resumes_at_the_first_unsent),
		T(source_address),
		T(source_is_gone),
		T(losses_are_counted),
		T(port_in_use),
		T(bound_to_one_address),
		T(df_is_set),
		T(ds_field),
		T(segment_above_the_links_mtu),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
