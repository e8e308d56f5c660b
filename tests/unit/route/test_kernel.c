/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, the link, whole lives, and hosts that do not let us: a namespace a test. */
#include "bench.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* Addresses and the link. */

static void address_v4(void **ignored)
{
	unsigned bits, flags;
	(void)ignored;
	struct prefix p = pfx("10.77.0.2");
	assert_int_equal(kernel_address_add(b.k, &p), 0);
	assert_true(lab_has_address(b.tun, "10.77.0.2", &bits, &flags));
	assert_int_equal(bits, 32);
	assert_int_equal(lab_routes("10.77.0.2/32", NULL), 0);
	assert_int_equal(kernel_address_add(b.k, &p), 0); /* once more is no error */
	assert_int_equal(kernel_address_remove(b.k, &p), 0);
	assert_false(lab_has_address(b.tun, "10.77.0.2", NULL, NULL));
	assert_int_equal(kernel_address_remove(b.k, &p), 0);
}

static void address_v6(void **ignored)
{
	unsigned bits, flags;
	(void)ignored;
	struct prefix p = pfx("fd77::2");
	assert_int_equal(kernel_address_add(b.k, &p), 0);
	assert_true(lab_has_address(b.tun, "fd77::2", &bits, &flags));
	assert_int_equal(bits, 128);
	assert_false(flags & IFA_F_TENTATIVE);
	assert_int_equal(lab_routes("fd77::2/128", NULL), 0);
	assert_int_equal(kernel_address_remove(b.k, &p), 0);
	assert_false(lab_has_address(b.tun, "fd77::2", NULL, NULL));
}

static void only_single_addresses(void **ignored)
{
	(void)ignored;
	assert_int_equal(add_address("10.77.0.0/24"), -EINVAL);
	assert_int_equal(add_address("fd77::/64"), -EINVAL);
}

/* An address that others put on our device is not ours to take away. */
static void address_of_others_stays(void **ignored)
{
	(void)ignored;
	struct prefix p = pfx("192.0.2.1");
	lab_address(b.tun, "192.0.2.1/32");
	assert_int_equal(kernel_address_remove(b.k, &p), 0);
	assert_true(lab_has_address(b.tun, "192.0.2.1", NULL, NULL));
}

static void link_up_and_mtu(void **ignored)
{
	bool up;
	(void)ignored;
	lab_link_set("warren0", false, 0);
	assert_int_equal(kernel_link_up(b.k, 1420), 0);
	assert_int_equal(lab_link_mtu(b.tun, &up), 1420);
	assert_true(up);
	assert_int_equal(kernel_link_mtu(b.k, 8920), 0);
	assert_int_equal(lab_link_mtu(b.tun, &up), 8920);
	assert_true(up);
	assert_int_equal(kernel_link_mtu(b.k, 1000000), -EINVAL);
	assert_int_equal(kernel_link_segments(b.k, 44), 0);
	assert_int_equal(lab_link_segments(b.tun), 44);
	assert_int_equal(kernel_link_segments(b.k, UINT16_MAX), 0);
	assert_int_equal(lab_link_segments(b.tun), UINT16_MAX);
	assert_int_equal(lab_link_mtu(b.tun, &up), 8920);
	assert_true(up);
}

static void nothing_without_a_device(void **ignored)
{
	struct kernel_routes *k;
	struct prefix p = pfx("10.77.0.2");
	(void)ignored;
	assert_int_equal(kernel_routes_new(&k, 0), 0);
	assert_int_equal(kernel_link_up(k, 1420), -ENODEV);
	assert_int_equal(kernel_link_mtu(k, 1420), -ENODEV);
	assert_int_equal(kernel_link_segments(k, 44), -ENODEV);
	assert_int_equal(kernel_address_add(k, &p), -ENODEV);
	assert_int_equal(kernel_route_set(k, &p, NULL, MTU(0)), -ENODEV);
	assert_int_equal(kernel_unreachable_set(k, &p), 0); /* needs none */
	kernel_routes_free(k);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
	kernel_routes_free(NULL);
}

static void device_that_went(void **ignored)
{
	(void)ignored;
	assert_int_equal(set("10.77.0.3", 1400, 0), 0);
	close(b.tun_fd);
	b.tun_fd = -1;
	assert_int_equal(set("10.77.0.4", 1400, 0), -ENODEV);
	assert_int_equal(add_address("10.77.0.2"), -ENODEV);
	assert_int_equal(kernel_link_mtu(b.k, 1400), -ENODEV);
	assert_int_equal(unset("10.77.0.3"), 0); /* it went along */
}

/* Whole lives. */

static void set_everything(struct kernel_routes *k)
{
	static const char *const addresses[] = { "10.77.0.2", "fd77::2" };
	static const char *const routes[] = { "10.77.0.3", "10.77.4.0/24", "fd77::3",
					      "fd77:4::/64" };
	static const char *const closed[] = { "10.77.0.0/16", "fd77::/16" };
	for (size_t i = 0; i < ARRAY_SIZE(closed); i++) {
		struct prefix p = pfx(closed[i]);
		assert_int_equal(kernel_unreachable_set(k, &p), 0);
	}
	assert_int_equal(kernel_link_up(k, 1420), 0);
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		struct prefix p = pfx(addresses[i]);
		assert_int_equal(kernel_address_add(k, &p), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		struct prefix p = pfx(routes[i]);
		assert_int_equal(kernel_route_set(k, &p, NULL, MTU(1400)), 0);
	}
}

static void free_cleans_up(void **ignored)
{
	(void)ignored;
	lab_route(&(struct lab_route){ .dst = "198.51.100.0/24", .oif = b.eth });
	lab_route(&(struct lab_route){ .dst = "fd99::/64", .oif = b.tun });
	set_everything(b.k);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 6);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
	assert_false(lab_has_address(b.tun, "10.77.0.2", NULL, NULL));
	assert_false(lab_has_address(b.tun, "fd77::2", NULL, NULL));
	assert_int_equal(lab_routes("198.51.100.0/24", NULL), 1);
	assert_int_equal(lab_routes("fd99::/64", NULL), 1);
}

/* A process that sets everything up and is killed. */
static void live_and_be_killed(void)
{
	int status, fd;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct kernel_routes *k;
		unsigned tun = lab_tun("warren1", &fd);
		if (kernel_routes_new(&k, tun) < 0)
			_exit(1);
		set_everything(k);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void leftovers_of_a_killed_one(void **ignored)
{
	const struct prefix six[] = { pfx("fd77::/16"), pfx("10.99.0.0/16"), pfx("10.0.0.0/8") };
	const struct prefix four = pfx("10.77.0.0/16");
	(void)ignored;
	lab_route(&(struct lab_route){ .dst = "10.99.0.0/16",
				       .type = RTN_UNREACHABLE,
				       .metric = ROUTE_UNREACHABLE_METRIC });
	live_and_be_killed();
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 2); /* the closed ones, nothing else */
	/* the next start needs one of them still, or it is another network's: it stays throughout */
	assert_int_equal(kernel_clean_leftovers(b.k, six, 3), 0);
	assert_int_equal(lab_routes("10.77.0.0/16", NULL), 1);
	assert_int_equal(lab_routes("fd77::/16", NULL), 0);
	assert_int_equal(close_off("10.77.0.0/16"), 0); /* adopted */
	assert_int_equal(kernel_clean_leftovers(b.k, &four, 1), 0);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
	assert_int_equal(lab_routes("10.99.0.0/16", NULL), 1);
}

static void adopted_leftovers_go_with_us(void **ignored)
{
	(void)ignored;
	live_and_be_killed();
	assert_int_equal(close_off("10.77.0.0/16"), 0);
	assert_int_equal(close_off("fd77::/16"), 0);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 2);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
}

/* Another gateway of another network, alive in the same namespace. */
static void leftovers_of_a_living_one(void **ignored)
{
	const struct prefix both[] = { pfx("10.77.0.0/16"), pfx("fd77::/16") };
	struct kernel_routes *other;
	int fd;
	(void)ignored;
	unsigned tun = lab_tun("warren2", &fd);
	assert_int_equal(kernel_routes_new(&other, tun), 0);
	set_everything(other);
	assert_int_equal(kernel_clean_leftovers(b.k, both, 2), 0);
	assert_int_equal(lab_routes("10.77.0.0/16", NULL), 1);
	assert_int_equal(lab_routes("fd77::/16", NULL), 1);
	close(fd); /* as if killed */
	assert_int_equal(kernel_clean_leftovers(b.k, both, 2), 0);
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
	kernel_routes_free(other);
}

/* Hosts that do not let us. */

static void write_sysctl(const char *path, const char *value)
{
	FILE *f = fopen(path, "we");
	if (!f || fputs(value, f) < 0 || fclose(f) != 0)
		fail_msg("cannot write %s", path);
}

static void without_ipv6(void **ignored)
{
	struct addr six = adr("fd77::3");
	(void)ignored;
	write_sysctl("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	assert_int_equal(add_address("fd77::2"), -EAFNOSUPPORT);
	assert_int_equal(set("fd77::3", 1400, 0), -EAFNOSUPPORT);
	int err = close_off("fd77::/48");
	assert_true(err == 0 || err == -EAFNOSUPPORT);
	assert_int_equal(kernel_way(b.k, &six, 0).mtu, 0);
	/* and IPv4 goes on */
	assert_int_equal(add_address("10.77.0.2"), 0);
	assert_int_equal(set("10.77.0.3", 1400, 0), 0);
	assert_int_equal(close_off("10.77.0.0/16"), 0);
	const struct prefix closed = pfx("10.77.0.0/16");
	assert_int_equal(kernel_clean_leftovers(b.k, &closed, 1), 0);
}

/* IPv6 that is switched off under us took what we made along: removing it is no error. */
static void ipv6_switched_off(void **ignored)
{
	struct prefix a = pfx("fd77::2"), r = pfx("fd77::3");
	(void)ignored;
	assert_int_equal(add_address("fd77::2"), 0);
	assert_int_equal(set("fd77::3", 1400, 0), 0);
	assert_int_equal(close_off("fd77::/48"), 0);
	write_sysctl("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	assert_int_equal(kernel_address_remove(b.k, &a), 0);
	assert_int_equal(kernel_route_remove(b.k, &r), 0);
	kernel_routes_free(b.k);
	b.k = NULL;
	assert_int_equal(lab_routes_of(ROUTE_PROTOCOL), 0);
}

/* The kernel's own refusal comes through: in a process without rights, EPERM and nothing else. */
static void without_rights(void **ignored)
{
	int status;
	(void)ignored;
	if (getuid() != 0 || access("/proc/self/setgroups", F_OK) != 0)
		skip();
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct kernel_routes *k;
		struct prefix p = pfx("10.77.0.3");
		if (setresuid(65534, 65534, 65534) < 0)
			_exit(77);
		if (kernel_routes_new(&k, b.tun) < 0)
			_exit(1);
		if (kernel_link_mtu(k, 1300) != -EPERM || kernel_address_add(k, &p) != -EPERM)
			_exit(2);
		if (kernel_route_set(k, &p, NULL, MTU(0)) != -EPERM ||
		    kernel_unreachable_set(k, &p) != -EPERM)
			_exit(3);
		kernel_routes_free(k);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) != 77) /* a user namespace has no second user to become */
		assert_int_equal(WEXITSTATUS(status), 0);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		IN_LAB(address_v4),
		IN_LAB(address_v6),
		IN_LAB(only_single_addresses),
		IN_LAB(address_of_others_stays),
		IN_LAB(link_up_and_mtu),
		IN_LAB(nothing_without_a_device),
		IN_LAB(device_that_went),
		IN_LAB(free_cleans_up),
		IN_LAB(leftovers_of_a_killed_one),
		IN_LAB(adopted_leftovers_go_with_us),
		IN_LAB(leftovers_of_a_living_one),
		IN_LAB(without_ipv6),
		IN_LAB(ipv6_switched_off),
		IN_LAB(without_rights),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return bench_main(run);
}
