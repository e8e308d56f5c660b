/* SPDX-License-Identifier: Apache-2.0 */
#include "neighbour.h"

#include "base/checksum.h"

#include <netinet/in.h> /* before linux/in.h, which knows it and stands back */
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <netlink/route/link.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	PORT = 4242,
	MARK_PORT = 4243,
	PATIENCE_MS = 5000,
	TRY_MS = 50,
	IP4 = 20,
	IP6 = 40,
	UDP = 8
};

static int host_ns = -1, far_ns = -1, tun_fd = -1;

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "neighbour: %s: %s\n", what, strerror(errno));
		abort();
	}
}

static int this_ns(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	must(fd >= 0, "namespace");
	return fd;
}

static void go(int ns)
{
	must(setns(ns, CLONE_NEWNET) == 0, "setns");
}

/* Datagrams. */

static int udp_socket(const char *local, uint16_t port)
{
	struct sockaddr_storage ss;
	struct endpoint e = { .port = port };
	must(addr_parse(local, &e.addr), local);
	bool v4 = addr_is_v4(&e.addr);
	int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = (socklen_t)endpoint_to_sockaddr(&e, !v4, &ss);
	must(fd >= 0 && bind(fd, (struct sockaddr *)&ss, len) == 0, local);
	return fd;
}

static void udp_send(const char *src, const char *dst, uint16_t port)
{
	struct sockaddr_storage ss;
	struct endpoint e = { .port = port };
	must(addr_parse(dst, &e.addr), dst);
	bool v4 = addr_is_v4(&e.addr);
	int fd = udp_socket(src ? src : v4 ? "0.0.0.0" : "::", 0);
	socklen_t len = (socklen_t)endpoint_to_sockaddr(&e, !v4, &ss);
	must(sendto(fd, "x", 1, 0, (struct sockaddr *)&ss, len) == 1 || errno == EPERM, dst);
	close(fd);
}

static bool received(int fd, int patience)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;
	return poll(&p, 1, patience) == 1 && recv(fd, &c, 1, MSG_DONTWAIT) == 1;
}

/*
 * What is sent on one processor over one link stays in order: when a second datagram, to the LAN
 * address, is there, the first has come or never will.
 */
bool neighbour_reaches(const char *dst, const char *src)
{
	const char *lan = strchr(dst, ':') ? LAN6 : LAN4;
	int fd = udp_socket(dst, PORT), mark = udp_socket(lan, MARK_PORT);
	go(far_ns);
	udp_send(src, dst, PORT);
	udp_send(NULL, lan, MARK_PORT);
	go(host_ns);
	must(received(mark, PATIENCE_MS), "the LAN carries nothing");
	bool ok = received(fd, 0);
	close(fd);
	close(mark);
	return ok;
}

bool host_reaches(const char *dst, const char *src)
{
	int fd = udp_socket(dst, PORT);
	udp_send(src, dst, PORT);
	bool ok = received(fd, PATIENCE_MS);
	close(fd);
	return ok;
}

/* In the same way, with a second datagram to the neighbour's LAN address. */
bool neighbour_hears(const char *dst)
{
	const char *lan = strchr(dst, ':') ? FAR6 : FAR4;
	go(far_ns);
	int fd = udp_socket(dst, PORT), mark = udp_socket(lan, MARK_PORT);
	go(host_ns);
	udp_send(NULL, dst, PORT);
	udp_send(NULL, lan, MARK_PORT);
	must(received(mark, PATIENCE_MS), "the LAN carries nothing");
	bool ok = received(fd, 0);
	close(fd);
	close(mark);
	return ok;
}

/* A datagram as it leaves the tunnel; its length. */
static size_t raw_udp(uint8_t *out, const struct addr *src, const struct addr *dst)
{
	bool v4 = addr_is_v4(src);
	size_t ip = v4 ? IP4 : IP6, alen = v4 ? 4 : 16, at = ip - 2 * alen;
	uint8_t *udp = out + ip;
	memset(out, 0, ip + UDP);
	memcpy(out + at, src->b + 16 - alen, alen);
	memcpy(out + at + alen, dst->b + 16 - alen, alen);
	if (v4) {
		out[0] = 0x45;
		store_be16(out + 2, IP4 + UDP + 1);
		out[8] = 64;
		out[9] = IPPROTO_UDP;
		uint16_t sum = (uint16_t)~csum_fold(csum_add(0, out, IP4));
		memcpy(out + 10, &sum, 2);
	} else {
		out[0] = 0x60;
		store_be16(out + 4, UDP + 1);
		out[6] = IPPROTO_UDP;
		out[7] = 64;
	}
	store_be16(udp, PORT);
	store_be16(udp + 2, PORT);
	store_be16(udp + 4, UDP + 1);
	udp[UDP] = 'x';
	uint64_t pseudo = csum_pseudo(out + at, out + at + alen, alen, IPPROTO_UDP, UDP + 1);
	uint16_t sum = (uint16_t)~csum_fold(csum_add(pseudo, udp, UDP + 1));
	memcpy(udp + 6, &sum, 2);
	return ip + UDP + 1;
}

bool member_reaches(const char *dst, const char *src)
{
	uint8_t packet[IP6 + UDP + 1];
	struct addr from, to;
	must(addr_parse(src, &from) && addr_parse(dst, &to), src);
	int fd = udp_socket(dst, PORT);
	size_t len = raw_udp(packet, &from, &to);
	must(write(tun_fd, packet, len) == (ssize_t)len, "tun");
	bool ok = received(fd, PATIENCE_MS);
	close(fd);
	return ok;
}

static bool is_udp_to(const uint8_t *packet, ssize_t len, const struct addr *dst)
{
	size_t alen = addr_is_v4(dst) ? 4 : 16, ip = alen == 4 ? IP4 : IP6;
	return len == (ssize_t)(ip + UDP + 1) &&
	       memcmp(packet + ip - alen, dst->b + 16 - alen, alen) == 0;
}

bool tun_carries(const char *dst)
{
	struct pollfd p = { .fd = tun_fd, .events = POLLIN };
	uint8_t packet[2048];
	struct addr to;
	bool ok = false;
	must(addr_parse(dst, &to), dst);
	udp_send(NULL, dst, PORT);
	while (!ok && poll(&p, 1, TRY_MS) == 1) /* the kernel has its own to say as well */
		ok = is_udp_to(packet, read(tun_fd, packet, sizeof(packet)), &to);
	return ok;
}

/* The two hosts. */

static void move_link(const char *name, int ns)
{
	struct nl_sock *sk = nl_socket_alloc();
	struct rtnl_link *old, *change = rtnl_link_alloc();
	must(nl_connect(sk, NETLINK_ROUTE) == 0, "netlink");
	must(rtnl_link_get_kernel(sk, 0, name, &old) == 0, name);
	rtnl_link_set_ns_fd(change, ns);
	must(rtnl_link_change(sk, old, change, 0) == 0, "link to the other namespace");
	rtnl_link_put(old);
	rtnl_link_put(change);
	nl_socket_free(sk);
}

static void neighbour_make(const char *link)
{
	lab_link_set(link, true, 0);
	unsigned far = if_nametoindex(link);
	lab_address(far, FAR4 "/24");
	lab_address(far, FAR6 "/64");
	lab_address(1, STRAY4 "/32");
	lab_address(1, STRAY6 "/128");
	lab_address(1, FORGED6 "/128");
	lab_route(&(struct lab_route){ .dst = "10.77.0.0/16", .via = LAN4 });
	lab_route(&(struct lab_route){ .dst = "fd77::/48", .via = LAN6 });
}

/* The link comes up, and its ends find each other, in their own time. */
static void wait_for_lan(const char *lan)
{
	int fd = udp_socket(lan, MARK_PORT), tries = PATIENCE_MS / TRY_MS;
	bool ok = false;
	while (!ok && tries-- > 0) {
		go(far_ns);
		udp_send(NULL, lan, MARK_PORT);
		go(host_ns);
		ok = received(fd, TRY_MS);
	}
	must(ok, "the LAN does not come up");
	close(fd);
}

static void stay_on_one_processor(void)
{
	cpu_set_t all, one;
	size_t cpu = 0;
	must(sched_getaffinity(0, sizeof(all), &all) == 0, "affinity");
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	must(sched_setaffinity(0, sizeof(one), &one) == 0, "affinity");
}

bool neighbour_setup(void)
{
	stay_on_one_processor();
	if (!lab_enter())
		return false;
	far_ns = this_ns();
	if (!lab_enter())
		return false;
	host_ns = this_ns();
	unsigned tun = lab_tun("warren0", &tun_fd), eth = lab_veth("eth0", "far0");
	move_link("far0", far_ns);
	lab_address(eth, LAN4 "/24");
	lab_address(eth, LAN6 "/64");
	lab_address(1, FORGED6 "/128");
	lab_address(tun, VIRTUAL4 "/32");
	lab_address(tun, VIRTUAL6 "/128");
	lab_route(&(struct lab_route){ .dst = MEMBER4 "/32", .oif = tun });
	lab_route(&(struct lab_route){ .dst = MEMBER6 "/128", .oif = tun });
	lab_route(&(struct lab_route){ .dst = "10.77.9.0/24", .via = FAR4 });
	lab_route(&(struct lab_route){ .dst = "fd77::9:0/112", .via = FAR6 });
	go(far_ns);
	neighbour_make("far0");
	go(host_ns);
	wait_for_lan(LAN4);
	wait_for_lan(LAN6);
	return true;
}

void neighbour_teardown(void)
{
	close(tun_fd);
	close(host_ns);
	close(far_ns);
}

/* nf_tables, by libnl's own messages. */

static int see_table(struct nl_msg *m, void *flags)
{
	struct nlattr *a = nlmsg_find_attr(nlmsg_hdr(m), sizeof(struct nfgenmsg), NFTA_TABLE_FLAGS);
	if (flags && a)
		*(uint32_t *)flags = ntohl(nla_get_u32(a));
	return NL_OK;
}

/* 0, or libnl's code: -NLE_OBJ_NOTFOUND where there is no such table. */
static int ask_for_table(const char *name, uint32_t *flags)
{
	struct nfgenmsg nf = { .nfgen_family = NFPROTO_INET };
	struct nl_sock *sk = nl_socket_alloc();
	struct nl_msg *m = nlmsg_alloc_simple(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0);
	must(nlmsg_append(m, &nf, sizeof(nf), NLMSG_ALIGNTO) == 0, "message");
	must(nla_put_string(m, NFTA_TABLE_NAME, name) == 0, "message");
	nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, see_table, flags);
	int nle = nl_connect(sk, NETLINK_NETFILTER);
	if (nle == 0)
		nle = nl_send_sync(sk, m);
	else
		nlmsg_free(m);
	nl_socket_free(sk);
	return nle;
}

bool table_there(const char *name, uint32_t *flags)
{
	int nle = ask_for_table(name, flags);
	must(nle == 0 || nle == -NLE_OBJ_NOTFOUND, nl_geterror(nle));
	return nle == 0;
}

struct count {
	const char *table;
	unsigned rules;
};

static int see_rule(struct nl_msg *m, void *ctx)
{
	struct nlattr *a = nlmsg_find_attr(nlmsg_hdr(m), sizeof(struct nfgenmsg), NFTA_RULE_TABLE);
	struct count *c = ctx;
	c->rules += a && strcmp(nla_get_string(a), c->table) == 0;
	return NL_OK;
}

unsigned table_rules(const char *name)
{
	struct nfgenmsg nf = { .nfgen_family = NFPROTO_INET };
	struct count c = { .table = name };
	struct nl_sock *sk = nl_socket_alloc();
	struct nl_msg *m =
		nlmsg_alloc_simple(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, NLM_F_DUMP);
	must(nlmsg_append(m, &nf, sizeof(nf), NLMSG_ALIGNTO) == 0, "message");
	nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, see_rule, &c);
	nl_socket_disable_auto_ack(sk);
	must(nl_connect(sk, NETLINK_NETFILTER) == 0, "connect");
	must(nl_send_auto(sk, m) >= 0 && nl_recvmsgs_default(sk) == 0, "rules");
	nlmsg_free(m);
	nl_socket_free(sk);
	return c.rules;
}

bool nf_tables_here(void)
{
	int nle = ask_for_table("none", NULL);
	if (nle != -NLE_OBJ_NOTFOUND)
		fprintf(stderr, "no nf_tables here: %s\n", nl_geterror(nle));
	return nle == -NLE_OBJ_NOTFOUND;
}
