/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device, and what the kernel thinks of our cuts and merges: two kernels (network namespaces)
 * with a TUN device each, and this process as the wire between them. Skipped where the machine
 * gives no namespace or no /dev/net/tun.
 *
 *   10.9.0.1, fd09::1 - tun 0  ==>  split  ==>  merge  ==>  tun 1 - 10.9.0.2, fd09::2
 */
#include "tun/dev.h"
#include "base/addr.h"
#include "packets.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/if_tun.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { SKIP = 77, MTU = 1420, STRIDE = 1536, TRANSFER = 8 << 20, SEGMENTS = 64 };

/* One end: a namespace with a TUN device in it. */
struct end {
	int ns;
	struct tun tun;
	const char *v4, *v6;
};

static struct end ends[2] = { { .v4 = "10.9.0.1", .v6 = "fd09::1" },
			      { .v4 = "10.9.0.2", .v6 = "fd09::2" } };

static void enter(const struct end *e)
{
	assert_int_equal(setns(e->ns, CLONE_NEWNET), 0);
}

/* The addresses by ip(8): what is tested here is the device, not how it is set up. */
static void run(const char *fmt, const char *dev, const char *what)
{
	char line[256];
	snprintf(line, sizeof(line), fmt, dev, what);
	if (system(line) != 0)
		fail_msg("%s", line);
}

static int make_end(struct end *e)
{
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	e->ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int err = e->ns < 0 ? -errno : tun_open(&e->tun, "wtest%d");
	if (err < 0)
		return err;
	run("ip address add %s/24 dev %s", e->v4, e->tun.name);
	run("ip address add %s/64 dev %s nodad", e->v6, e->tun.name);
	run("ip link set %s mtu %s up", e->tun.name, "1420");
	return 0;
}

/* --- the device alone --- */

static void name_in_use(void **state)
{
	(void)state;
	struct tun t;
	enter(&ends[0]);
	assert_int_equal(tun_open(&t, ends[0].tun.name), -EBUSY);
	assert_int_equal(t.fd, -1);
	assert_int_equal(tun_open(&t, "lo"), -EBUSY);
	assert_int_equal(tun_open(&t, ""), -EINVAL);
	assert_int_equal(tun_open(&t, "a-name-that-is-too-long"), -EINVAL);
	run("ip tuntap add %s mode %s", "wkept", "tun"); /* persistent, held by nobody */
	assert_int_equal(tun_open(&t, "wkept"), -EBUSY);
	run("ip link delete %s%s", "wkept", "");
	assert_int_equal(tun_open(&t, "wkept"), 0);
	assert_string_equal(t.name, "wkept");
	assert_int_equal(t.ifindex, if_nametoindex("wkept"));
	tun_close(&t);
	tun_close(&t);
	assert_int_equal(if_nametoindex("wkept"), 0); /* gone with its descriptor */
}

static void close_on_exec_and_non_blocking(void **state)
{
	(void)state;
	static uint8_t buf[TUN_READ_MAX];
	struct vnet_hdr h;
	int fd = ends[0].tun.fd;
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	while (tun_read(&ends[0].tun, &h, buf, sizeof(buf)) > 0)
		; /* neighbour discovery and the like */
	uint64_t reads = ends[0].tun.reads, empty = ends[0].tun.empty_reads;
	assert_int_equal(tun_read(&ends[0].tun, &h, buf, sizeof(buf)), 0);
	assert_int_equal(ends[0].tun.reads - reads, 1);
	assert_int_equal(ends[0].tun.empty_reads - empty, 1);
}

/* --- traffic between two kernels --- */

static uint8_t super[65536], *cuts;
static struct {
	unsigned supers, segments, writes, merged;
} count;

/* Moves one read of `from` to `to`: split, then merged again. False when there was nothing. */
static bool pump_one(struct end *from, struct end *to)
{
	struct vnet_hdr h;
	struct gso_plan plan;
	struct gro_packet pkts[SEGMENTS];
	ssize_t n = tun_read(&from->tun, &h, super, sizeof(super));
	assert_true(n >= 0);
	if (n == 0)
		return false;
	assert_int_equal(gso_plan(&h, super, (size_t)n, MTU, &plan), DROP_NONE);
	count.supers += plan.segments > 1;
	for (uint32_t at = 0; at < plan.segments; at += SEGMENTS) {
		uint32_t take = plan.segments - at < SEGMENTS ? plan.segments - at : SEGMENTS;
		gso_split(&h, super, &plan, at, take, false, cuts, STRIDE);
		for (uint32_t i = 0; i < take; i++)
			pkts[i] = (struct gro_packet){ .ip = cuts + i * STRIDE,
						       .len = at + i + 1 < plan.segments
								      ? plan.seg_len
								      : plan.last_len };
		count.segments += take;
		for (size_t i = 0; i < take;) {
			struct gro_write w;
			i += gro_merge(pkts, i, take, to->tun.uso, &w);
			assert_int_equal(tun_write(&to->tun, &w), 0);
			count.writes++;
			count.merged += w.packets > 1;
		}
	}
	return true;
}

static void pump(void)
{
	while (pump_one(&ends[0], &ends[1]) || pump_one(&ends[1], &ends[0]))
		;
}

/* Waits until one of the devices or `fd` has something. */
static void wait_any(int fd, short events)
{
	struct pollfd p[3] = { { .fd = ends[0].tun.fd, .events = POLLIN },
			       { .fd = ends[1].tun.fd, .events = POLLIN },
			       { .fd = fd, .events = events } };
	if (poll(p, 3, 5000) <= 0)
		fail_msg("nothing moves for 5 s");
}

static struct sockaddr_storage address(const char *host, uint16_t port, socklen_t *len)
{
	struct sockaddr_storage ss;
	struct endpoint e = { .port = port };
	assert_true(addr_parse(host, &e.addr));
	*len = (socklen_t)endpoint_to_sockaddr(&e, !addr_is_v4(&e.addr), &ss);
	return ss;
}

static int socket_at(const struct end *e, const char *host, int type, uint16_t port)
{
	socklen_t len;
	struct sockaddr_storage ss = address(host, port, &len);
	enter(e);
	int fd = socket(ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

static void pump_until(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	for (;;) {
		pump();
		if (poll(&p, 1, 0) == 1)
			return;
		wait_any(fd, events);
	}
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 13 + (i >> 9));
}

/* Reads what is there and checks it against the pattern; true at the end of the stream. */
static bool drain(int fd, size_t *at)
{
	static uint8_t buf[65536];
	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		if (n < 0 && errno == EAGAIN)
			return false;
		assert_true(n >= 0);
		if (n == 0)
			return true;
		for (ssize_t i = 0; i < n; i++, ++*at)
			if (buf[i] != pattern(*at))
				fail_msg("byte %zu differs", *at);
	}
}

static void transfer(int out, int in)
{
	uint8_t *data = malloc(TRANSFER);
	size_t sent = 0, at = 0;
	assert_non_null(data);
	for (size_t i = 0; i < TRANSFER; i++)
		data[i] = pattern(i);
	for (bool done = false; !done;) {
		ssize_t n = sent < TRANSFER ? send(out, data + sent, TRANSFER - sent, 0) : 0;
		if (n > 0)
			sent += (size_t)n;
		if (sent == TRANSFER && n > 0)
			shutdown(out, SHUT_WR);
		pump();
		done = drain(in, &at);
		if (!done)
			wait_any(sent < TRANSFER ? out : in, sent < TRANSFER ? POLLOUT : POLLIN);
	}
	assert_int_equal(at, TRANSFER);
	free(data);
}

/* 8 MiB of TCP from kernel to kernel: split and merged, nothing lost, no checksum refused. */
static void tcp(const char *client, const char *server)
{
	socklen_t len;
	struct sockaddr_storage to = address(server, 7001, &len);
	int listener = socket_at(&ends[1], server, SOCK_STREAM, 7001);
	assert_int_equal(listen(listener, 1), 0);
	int out = socket_at(&ends[0], client, SOCK_STREAM, 0);
	assert_int_equal(connect(out, (struct sockaddr *)&to, len), -1);
	assert_int_equal(errno, EINPROGRESS);
	pump_until(listener, POLLIN);
	int in = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(in >= 0);
	memset(&count, 0, sizeof(count));
	transfer(out, in);
	print_message("  %u supers, %u packets, %u writes, %u of them merged\n", count.supers,
		      count.segments, count.writes, count.merged);
	if (ends[0].tun.tso)
		assert_true(count.supers > 0 && count.merged > 0 &&
			    count.writes * 2 < count.segments);
	close(out);
	close(in);
	close(listener);
}

static void tcp_v4(void **state)
{
	(void)state;
	tcp(ends[0].v4, ends[1].v4);
}

static void tcp_v6(void **state)
{
	(void)state;
	tcp(ends[0].v6, ends[1].v6);
}

/* 30 datagrams and an odd one in one send: as many arrive, whole, in order. */
static void udp(const char *client, const char *server, bool no_csum)
{
	static uint8_t buf[30 * 1200 + 5], got[2048];
	socklen_t len;
	struct sockaddr_storage to = address(server, 7002, &len);
	int in = socket_at(&ends[1], server, SOCK_DGRAM, 7002);
	int out = socket_at(&ends[0], client, SOCK_DGRAM, 0);
	/* the kernel does not segment what has no checksum: those go as 31 sends */
	uint32_t each = no_csum ? 1200 : sizeof(buf);
	if (no_csum)
		assert_int_equal(setsockopt(out, SOL_SOCKET, SO_NO_CHECK, &(int){ 1 }, 4), 0);
	else
		assert_int_equal(setsockopt(out, IPPROTO_UDP, UDP_SEGMENT, &(int){ 1200 }, 4), 0);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = pattern(i);
	memset(&count, 0, sizeof(count));
	for (uint32_t at = 0; at < sizeof(buf); at += each) {
		uint32_t n = sizeof(buf) - at < each ? (uint32_t)sizeof(buf) - at : each;
		assert_int_equal(sendto(out, buf + at, n, 0, (struct sockaddr *)&to, len), n);
	}
	for (size_t at = 0; at < sizeof(buf);) {
		pump_until(in, POLLIN);
		ssize_t n = recv(in, got, sizeof(got), 0);
		assert_int_equal(n, sizeof(buf) - at < 1200 ? sizeof(buf) - at : 1200);
		assert_memory_equal(got, buf + at, (size_t)n);
		at += (size_t)n;
	}
	print_message("  %u supers, %u packets, %u writes, %u of them merged\n", count.supers,
		      count.segments, count.writes, count.merged);
	if (ends[0].tun.uso && !no_csum)
		assert_true(count.supers > 0 && count.merged > 0);
	close(out);
	close(in);
}

static void udp_v4(void **state)
{
	(void)state;
	udp(ends[0].v4, ends[1].v4, false);
}

static void udp_v6(void **state)
{
	(void)state;
	udp(ends[0].v6, ends[1].v6, false);
}

static void udp_no_checksum(void **state)
{
	(void)state;
	udp(ends[0].v4, ends[1].v4, true);
}

/* Datagrams without a checksum, merged into one write: a socket gets them one by one. */
static void merged_without_checksum(void **state)
{
	(void)state;
	if (!ends[1].tun.uso)
		skip();
	struct gro_packet pkts[8];
	struct gro_write w;
	uint8_t got[2048];
	int in = socket_at(&ends[1], ends[1].v4, SOCK_DGRAM, 8080);
	for (uint16_t i = 0; i < 8; i++) {
		struct spec s = {
			.udp = true, .no_csum = true, .id = i, .payload = i < 7 ? 500 : 9
		};
		uint8_t *p = cuts + i * STRIDE;
		pkts[i] = (struct gro_packet){ .ip = p, .len = packet_build(&s, p) };
		memcpy(p + 12, (const uint8_t[]){ 10, 9, 0, 1, 10, 9, 0, 2 }, 8);
		packet_fix_sums(p, pkts[i].len);
		store_be16(p + 26, 0);
	}
	assert_int_equal(gro_merge(pkts, 0, 8, true, &w), 8);
	uint64_t writes = ends[1].tun.writes;
	assert_int_equal(tun_write(&ends[1].tun, &w), 0);
	assert_int_equal(ends[1].tun.writes - writes, 1);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(recv(in, got, sizeof(got), 0), i < 7 ? 500 : 9);
	assert_int_equal(recv(in, got, sizeof(got), 0), -1);
	close(in);
}

int main(void)
{
	int err = make_end(&ends[0]);
	if (err == 0)
		err = make_end(&ends[1]);
	if (err == -EPERM || err == -ENOENT || err == -EACCES) {
		printf("skipped: no namespace or no TUN device (%s)\n", strerror(-err));
		return SKIP;
	}
	cuts = malloc(SEGMENTS * STRIDE);
	if (err < 0 || !cuts)
		return 1;
	printf("tso %d, uso %d\n", ends[0].tun.tso, ends[0].tun.uso);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(name_in_use),	   cmocka_unit_test(close_on_exec_and_non_blocking),
		cmocka_unit_test(tcp_v4),	   cmocka_unit_test(tcp_v6),
		cmocka_unit_test(udp_v4),	   cmocka_unit_test(udp_v6),
		cmocka_unit_test(udp_no_checksum), cmocka_unit_test(merged_without_checksum),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	for (unsigned i = 0; i < 2; i++) {
		tun_close(&ends[i].tun);
		close(ends[i].ns);
	}
	free(cuts);
	return failed;
}
