/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who reaches the virtual address while it is guarded, and that the guard is gone with its holder.
 * Kernels that refuse what is asked are played by the two calls that the guard makes (--wrap).
 */
#include "bench.h"
#include "neighbour.h"
#include "route/guard.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define TABLE "warren-warren0"

static enum kernel { AS_IT_IS, WITHOUT_OWNERS, WITHOUT_NETFILTER, MUTE } kernel;
static struct guard *g;

int __real_nl_connect(struct nl_sock *sk, int protocol);
int __wrap_nl_connect(struct nl_sock *sk, int protocol);
int __real_nl_sendto(struct nl_sock *sk, void *buf, size_t size);
int __wrap_nl_sendto(struct nl_sock *sk, void *buf, size_t size);

int __wrap_nl_connect(struct nl_sock *sk, int protocol)
{
	if (kernel == WITHOUT_NETFILTER)
		return -NLE_PROTO_MISMATCH;
	return __real_nl_connect(sk, protocol);
}

/* For the flag "owner" comes one that no kernel knows, so that the real one refuses it. */
int __wrap_nl_sendto(struct nl_sock *sk, void *buf, size_t size)
{
	static const uint8_t owner[] = { 0, 0, 0, NFT_TABLE_F_OWNER };
	uint8_t head[4] = { 0 };
	const uint16_t len = sizeof(head) + sizeof(owner), type = NFTA_TABLE_FLAGS;
	memcpy(head, &len, 2);
	memcpy(head + 2, &type, 2);
	if (kernel == MUTE)
		return (int)size;
	for (uint8_t *p = buf; kernel == WITHOUT_OWNERS && p + len <= (uint8_t *)buf + size; p += 4)
		if (memcmp(p, head, sizeof(head)) == 0 &&
		    memcmp(p + sizeof(head), owner, sizeof(owner)) == 0)
			p[4] = 0x80;
	return __real_nl_sendto(sk, buf, size);
}

static int setup(void **ignored)
{
	(void)ignored;
	kernel = AS_IT_IS;
	g = NULL;
	return neighbour_setup() ? 0 : -1;
}

static int teardown(void **ignored)
{
	(void)ignored;
	guard_close(g);
	neighbour_teardown();
	return 0;
}

static int guarded(struct guard *of, const char *addr)
{
	struct prefix p = pfx(addr);
	return guard_address(of, &p);
}

/* A table of any name, for the one TUN that there is. */
static int open_as(struct guard **out, const char *name)
{
	return guard_open(out, name, if_nametoindex("warren0"));
}

static int kept(const char *prefix)
{
	struct prefix p = pfx(prefix);
	return guard_prefix(g, &p);
}

static void open_guard(void)
{
	assert_int_equal(open_as(&g, "warren0"), 0);
	assert_int_equal(guarded(g, VIRTUAL4), 0);
	assert_int_equal(guarded(g, VIRTUAL6), 0);
}

static void open_to_the_lan(void)
{
	assert_true(neighbour_reaches(VIRTUAL4, NULL));
	assert_true(neighbour_reaches(VIRTUAL6, NULL));
}

static void closed_to_the_lan(void)
{
	assert_false(neighbour_reaches(VIRTUAL4, NULL));
	assert_false(neighbour_reaches(VIRTUAL6, NULL));
}

static void the_lan_is_shut_out(void **ignored)
{
	(void)ignored;
	open_to_the_lan(); /* what this is all about */
	assert_int_equal(open_as(&g, "warren0"), 0);
	open_to_the_lan();
	assert_int_equal(guarded(g, VIRTUAL4), 0);
	assert_false(neighbour_reaches(VIRTUAL4, NULL));
	assert_true(neighbour_reaches(VIRTUAL6, NULL));
	assert_int_equal(guarded(g, VIRTUAL6), 0);
	closed_to_the_lan();
	/* the host's other addresses are none of our business */
	assert_true(neighbour_reaches(LAN4, NULL));
	assert_true(neighbour_reaches(LAN6, NULL));
}

static void a_forged_source_is_shut_out(void **ignored)
{
	(void)ignored;
	assert_true(neighbour_reaches(VIRTUAL6, FORGED6));
	open_guard();
	assert_false(neighbour_reaches(VIRTUAL6, FORGED6));
	assert_false(neighbour_reaches(VIRTUAL6, NULL));
}

static void members_pass(void **ignored)
{
	(void)ignored;
	open_guard();
	assert_true(member_reaches(VIRTUAL4, MEMBER4));
	assert_true(member_reaches(VIRTUAL6, MEMBER6));
}

/* udev, or who is at the keyboard. */
static void members_pass_under_another_name(void **ignored)
{
	(void)ignored;
	open_guard();
	lab_link_set("warren0", false, 0);
	lab_link_rename("warren0", "other0");
	lab_link_set("other0", true, 0);
	lab_route(&(struct lab_route){ .dst = MEMBER4 "/32", .oif = if_nametoindex("other0") });
	assert_true(member_reaches(VIRTUAL4, MEMBER4));
	assert_false(neighbour_reaches(VIRTUAL4, NULL));
}

static void the_host_itself_passes(void **ignored)
{
	(void)ignored;
	open_guard();
	assert_true(host_reaches(VIRTUAL4, NULL));
	assert_true(host_reaches(VIRTUAL4, VIRTUAL4));
	assert_true(host_reaches(VIRTUAL4, LAN4));
	assert_true(host_reaches(VIRTUAL4, "127.0.0.1"));
	assert_true(host_reaches(VIRTUAL6, NULL));
	assert_true(host_reaches(VIRTUAL6, VIRTUAL6));
	assert_true(host_reaches(VIRTUAL6, LAN6));
}

static void the_kernel_owns_the_end(void **ignored)
{
	uint32_t flags = 0;
	(void)ignored;
	open_guard();
	assert_true(table_there(TABLE, &flags));
	assert_int_equal(flags, NFT_TABLE_F_OWNER);
	guard_close(g);
	g = NULL;
	assert_false(table_there(TABLE, NULL));
	open_to_the_lan();
	guard_close(NULL);
}

/* A process that holds a guard until it is killed. */
static pid_t holder(void)
{
	int ready[2];
	char c;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct prefix p4 = pfx(VIRTUAL4), p6 = pfx(VIRTUAL6);
		bool ok = open_as(&g, "warren0") == 0 && guard_address(g, &p4) == 0 &&
			  guard_address(g, &p6) == 0 && write(ready[1], "x", 1) == 1;
		while (ok)
			pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void kill_holder(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void killed(void **ignored)
{
	(void)ignored;
	pid_t pid = holder();
	bool there = table_there(TABLE, NULL), closed = !neighbour_reaches(VIRTUAL4, NULL);
	kill_holder(pid);
	assert_true(there);
	assert_true(closed);
	assert_false(table_there(TABLE, NULL));
	open_to_the_lan();
	open_guard(); /* and nothing stands in the way of the next */
	closed_to_the_lan();
}

static void an_old_kernel(void **ignored)
{
	uint32_t flags = 0;
	(void)ignored;
	kernel = WITHOUT_OWNERS;
	open_guard();
	assert_true(table_there(TABLE, &flags));
	assert_int_equal(flags, 0);
	closed_to_the_lan();
	assert_true(member_reaches(VIRTUAL4, MEMBER4));
	guard_close(g);
	g = NULL;
	assert_false(table_there(TABLE, NULL));
	open_to_the_lan();
}

static void killed_on_an_old_kernel(void **ignored)
{
	uint32_t flags = 0;
	(void)ignored;
	kernel = WITHOUT_OWNERS;
	kill_holder(holder());
	assert_true(table_there(TABLE, NULL));
	assert_false(neighbour_reaches(VIRTUAL4, NULL));
	/* the next start replaces it, addresses and all */
	assert_int_equal(open_as(&g, "warren0"), 0);
	open_to_the_lan();
	guard_close(g);
	assert_false(table_there(TABLE, NULL));
	/* also where the kernel was changed for a newer one meanwhile */
	kill_holder(holder());
	kernel = AS_IT_IS;
	open_guard();
	assert_true(table_there(TABLE, &flags));
	assert_int_equal(flags, NFT_TABLE_F_OWNER);
}

static void one_holder_for_a_name(void **ignored)
{
	struct guard *second = g, *other;
	(void)ignored;
	open_guard();
	assert_int_equal(open_as(&second, "warren0"), -EPERM);
	assert_null(second);
	closed_to_the_lan(); /* the first has lost nothing */
	/* another gateway on this host: to each the other's interface is a stranger's */
	assert_int_equal(open_as(&other, "warren1"), 0);
	assert_true(member_reaches(VIRTUAL4, MEMBER4));
	guard_close(other);
	assert_false(table_there("warren-warren1", NULL));
	closed_to_the_lan();
}

static void nothing_strays(void **ignored)
{
	(void)ignored;
	open_guard();
	assert_true(neighbour_hears(STRAY4)); /* what this is all about */
	assert_true(neighbour_hears(STRAY6));
	assert_int_equal(kept("10.77.0.0/16"), 0);
	assert_false(neighbour_hears(STRAY4));
	assert_true(neighbour_hears(STRAY6));
	assert_int_equal(kept("fd77::/64"), 0);
	assert_false(neighbour_hears(STRAY6));
	/* the rest of the LAN, and this host itself, as ever */
	assert_true(neighbour_hears(FAR4));
	assert_true(neighbour_hears(FAR6));
	assert_true(host_reaches(VIRTUAL4, VIRTUAL4));
	assert_true(host_reaches(VIRTUAL6, NULL));
	assert_true(member_reaches(VIRTUAL4, MEMBER4));
	assert_true(tun_carries(MEMBER4));
	assert_true(tun_carries(MEMBER6));
	closed_to_the_lan();
}

/* A prefix need not end where a byte does. */
static void bits_of_a_prefix(void **ignored)
{
	(void)ignored;
	assert_int_equal(open_as(&g, "warren0"), 0);
	assert_int_equal(kept("10.77.8.0/24"), 0);
	assert_int_equal(kept("10.77.9.10/31"), 0);
	assert_int_equal(kept("fd77::9:0/125"), 0);
	assert_true(neighbour_hears(STRAY4));
	assert_true(neighbour_hears(STRAY6));
	assert_int_equal(kept("10.77.8.0/23"), 0);
	assert_int_equal(kept("fd77::9:8/125"), 0);
	assert_false(neighbour_hears(STRAY4));
	assert_false(neighbour_hears(STRAY6));
}

static void as_many_as_it_holds(void **ignored)
{
	char text[32];
	(void)ignored;
	open_guard();
	for (int i = 2; i < GUARD_MAX_ADDRESSES; i++) {
		snprintf(text, sizeof(text), i % 2 ? "10.78.0.%d" : "fd78::%d", i);
		assert_int_equal(guarded(g, text), 0);
	}
	assert_int_equal(guarded(g, "10.79.0.1"), -ENOSPC);
	for (int i = 0; i < GUARD_MAX_PREFIXES; i++) {
		snprintf(text, sizeof(text), i % 2 ? "10.%d.0.0/15" : "fd%d::/62", 20 + 2 * i);
		assert_int_equal(kept(text), 0);
	}
	assert_int_equal(kept("10.90.0.0/16"), -ENOSPC);
	assert_int_equal(kept(text), 0);
	assert_int_equal(guard_mark(g, 51820, 51820), 0);
	assert_int_equal(table_rules(TABLE), GUARD_MAX_ADDRESSES + GUARD_MAX_PREFIXES + 5);
	assert_int_equal(guarded(g, VIRTUAL4), 0);
	assert_int_equal(guarded(g, "10.78.0.15"), 0);
	closed_to_the_lan();
}

/* However often a full tunnel comes, and wherever the port goes. */
static void one_mark_at_a_time(void **ignored)
{
	(void)ignored;
	open_guard();
	assert_int_equal(table_rules(TABLE), 6);
	for (int i = 0; i < 3; i++)
		assert_int_equal(guard_mark(g, 51820, 51820), 0);
	assert_int_equal(table_rules(TABLE), 7);
	for (uint16_t port = 1; port < 4; port++)
		assert_int_equal(guard_mark(g, port, 51820), 0);
	assert_int_equal(table_rules(TABLE), 7);
	assert_int_equal(guarded(g, "10.78.0.1"), 0);
	assert_int_equal(table_rules(TABLE), 8);
	closed_to_the_lan();
	kernel = MUTE; /* what was not taken is tried again */
	assert_int_equal(guard_mark(g, 9, 9), -EIO);
	kernel = AS_IT_IS;
	assert_int_equal(guard_mark(g, 9, 9), 0);
	closed_to_the_lan();
}

static void one_address_at_a_time(void **ignored)
{
	(void)ignored;
	assert_int_equal(open_as(&g, "warren0"), 0);
	assert_int_equal(guarded(g, "10.77.0.0/16"), -EINVAL);
	assert_int_equal(guarded(g, "fd77::/64"), -EINVAL);
	assert_int_equal(guarded(g, "fd77::/32"), -EINVAL);
	open_to_the_lan();
}

static void names(void **ignored)
{
	(void)ignored;
	assert_int_equal(open_as(&g, ""), -EINVAL);
	assert_null(g);
	assert_int_equal(open_as(&g, "a234567890123456"), -EINVAL);
	assert_int_equal(open_as(&g, "a23456789012345"), 0);
	assert_true(table_there("warren-a23456789012345", NULL));
}

static void a_kernel_without(void **ignored)
{
	(void)ignored;
	kernel = WITHOUT_NETFILTER;
	assert_int_equal(open_as(&g, "warren0"), -EPROTONOSUPPORT);
	assert_null(g);
	kernel = MUTE; /* no answer is no success */
	assert_int_equal(open_as(&g, "warren0"), -EIO);
	assert_null(g);
	kernel = AS_IT_IS;
	open_guard();
	kernel = MUTE;
	assert_int_equal(guarded(g, "10.78.0.1"), -EIO);
}

static void without_the_capability(void **ignored)
{
	int status;
	(void)ignored;
	pid_t pid = fork();
	if (pid == 0) {
		struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
		struct __user_cap_data_struct none[2] = { 0 };
		_exit(syscall(SYS_capset, &h, none) == 0 && open_as(&g, "warren0") == -EPERM && !g
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_false(table_there(TABLE, NULL));
}

#define BY_A_LAN(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static int run(void)
{
	const struct CMUnitTest tests[] = {
		BY_A_LAN(the_lan_is_shut_out),
		BY_A_LAN(a_forged_source_is_shut_out),
		BY_A_LAN(members_pass),
		BY_A_LAN(members_pass_under_another_name),
		BY_A_LAN(the_host_itself_passes),
		BY_A_LAN(the_kernel_owns_the_end),
		BY_A_LAN(killed),
		BY_A_LAN(an_old_kernel),
		BY_A_LAN(killed_on_an_old_kernel),
		BY_A_LAN(one_holder_for_a_name),
		BY_A_LAN(nothing_strays),
		BY_A_LAN(bits_of_a_prefix),
		BY_A_LAN(as_many_as_it_holds),
		BY_A_LAN(one_address_at_a_time),
		BY_A_LAN(one_mark_at_a_time),
		BY_A_LAN(names),
		BY_A_LAN(a_kernel_without),
		BY_A_LAN(without_the_capability),
	};
	if (!nf_tables_here()) /* nothing to try, and not for the guard to say */
		return getenv("CI") ? 1 : 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	return bench_main(run);
}
