/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's answers: whatever this room asks by netlink, the input answers (the linker puts the test's
 * own ends before libnl's sockets; what parses is libnl and ours). The first byte chooses the question;
 * then come datagrams of messages, rightly made or nearly so. Whatever is answered, the words
 * end, the counts stay within their bounds, and nothing is asked for ever.
 */
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/net_namespace.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "route/guard.h"
#include "route/rtnl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DATAGRAM = 4096, ASKED_MAX = 5000, IFINDEX = 7, PAYLOAD_MAX = 1024 };

static struct kernel_routes *k;
static struct rd *input;
static uint32_t seq; /* of the question under way */
static unsigned asked;

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* --- answers --- */

static const struct {
	uint16_t type, header;
} kinds[] = {
	{ RTM_NEWROUTE, sizeof(struct rtmsg) },
	{ RTM_NEWADDR, sizeof(struct ifaddrmsg) },
	{ RTM_NEWLINK, sizeof(struct ifinfomsg) },
	{ RTM_NEWRULE, sizeof(struct fib_rule_hdr) },
	{ RTM_NEWNSID, sizeof(struct rtgenmsg) },
	{ RTM_DELROUTE, sizeof(struct rtmsg) },
	{ RTM_DELADDR, sizeof(struct ifaddrmsg) },
	{ RTM_DELLINK, sizeof(struct ifinfomsg) },
	{ NLMSG_DONE, 4 },
	{ NLMSG_ERROR, sizeof(struct nlmsgerr) },
	{ NLMSG_NOOP, 0 },
	{ NLMSG_OVERRUN, 0 },
};

/* An attribute with a right length, and right padding. */
static void attribute(struct rd *r, struct wr *w)
{
	uint8_t type = rd_u8(r), how = rd_u8(r);
	size_t len = size_min(how & 0x3f, r->left);
	struct nlattr a = { .nla_type = type, .nla_len = (uint16_t)(sizeof(struct nlattr) + len) };
	if (how & 0x40)
		a.nla_type |= NLA_F_NESTED;
	wr_bytes(w, &a, sizeof(a));
	wr_bytes(w, rd_take(r, len), len);
	if (how & 0x80)
		wr_zeros(w, (4 - len % 4) % 4);
}

static void message(struct rd *r, struct wr *w)
{
	static uint8_t payload[PAYLOAD_MAX];
	uint8_t what = rd_u8(r), how = rd_u8(r), many = how & 7;
	struct wr body = wr_of(payload, sizeof(payload));
	size_t header = kinds[what % ARRAY_SIZE(kinds)].header;
	struct nlmsghdr h = { .nlmsg_type = kinds[what % ARRAY_SIZE(kinds)].type,
			      .nlmsg_flags = how & 8 ? NLM_F_MULTI : 0,
			      .nlmsg_seq = how & 16 ? seq - 1 : seq };

	if (header) {
		uint8_t bytes[64];
		rd_bytes(r, bytes, header);
		if (h.nlmsg_type == NLMSG_ERROR) /* a number that is an error's, or none */
			memcpy(bytes, &(int){ -(bytes[0] % 134) }, sizeof(int));
		wr_bytes(&body, bytes, header);
		wr_zeros(&body, (4 - header % 4) % 4);
	}
	for (; many; many--)
		attribute(r, &body);
	if (how & 32)
		h.nlmsg_flags |= NLM_F_DUMP_INTR;
	h.nlmsg_len = (uint32_t)(sizeof(h) + body.len);
	if (how & 64)
		h.nlmsg_len += rd_u8(r) - 128u;
	wr_bytes(w, &h, sizeof(h));
	wr_bytes(w, payload, body.len);
	wr_zeros(w, (4 - body.len % 4) % 4);
}

/* The next datagram, exactly as long; NULL at the end of the input. */
static uint8_t *datagram(size_t *len)
{
	static uint8_t room[DATAGRAM];
	struct wr w = wr_of(room, sizeof(room));
	if (!input->left)
		return NULL;
	uint8_t many = rd_u8(input) % 4;
	for (unsigned i = 0; i <= many; i++)
		message(input, &w);
	uint8_t *copy = malloc(w.len + 1);
	must(copy != NULL);
	memcpy(copy, room, w.len);
	*len = w.len;
	return copy;
}

/* --- in libnl's and the kernel's place --- */

int __wrap_nl_connect(struct nl_sock *sk, int protocol);
int __wrap_nl_send_auto(struct nl_sock *sk, struct nl_msg *m);
int __wrap_nl_sendto(struct nl_sock *sk, void *p, size_t n);
int __wrap_nl_recvmsgs(struct nl_sock *sk, struct nl_cb *cb);
int __real_nl_recvmsgs(struct nl_sock *sk, struct nl_cb *cb);
ssize_t __wrap_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap___recv_chk(int fd, void *p, size_t n, size_t size, int flags);
ssize_t __wrap_recvfrom(int fd, void *p, size_t n, int flags, struct sockaddr *from,
			socklen_t *flen);
char *__wrap_if_indextoname(unsigned ifindex, char *name);

int __wrap_nl_connect(struct nl_sock *sk, int protocol)
{
	(void)sk;
	(void)protocol;
	return 0;
}

int __wrap_nl_send_auto(struct nl_sock *sk, struct nl_msg *m)
{
	must(++asked < ASKED_MAX);
	nl_complete_msg(sk, m);
	seq = nlmsg_hdr(m)->nlmsg_seq;
	return (int)nlmsg_hdr(m)->nlmsg_len;
}

int __wrap_nl_sendto(struct nl_sock *sk, void *p, size_t n)
{
	(void)sk;
	(void)p;
	return (int)n;
}

static int receive(struct nl_sock *sk, struct sockaddr_nl *from, unsigned char **buf,
		   struct ucred **creds)
{
	size_t len = 0;
	(void)sk;
	(void)creds;
	*from = (struct sockaddr_nl){ .nl_family = AF_NETLINK };
	*buf = datagram(&len);
	return *buf && len ? (int)len : -NLE_NOMEM;
}

int __wrap_nl_recvmsgs(struct nl_sock *sk, struct nl_cb *cb)
{
	nl_cb_overwrite_recv(cb, receive);
	return __real_nl_recvmsgs(sk, cb);
}

static ssize_t receive_into(void *p, size_t n)
{
	size_t len;
	uint8_t *d = datagram(&len);
	if (!d) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(p, d, size_min(len, n));
	free(d);
	return (ssize_t)len;
}

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags)
{
	(void)fd;
	(void)flags;
	return receive_into(p, n);
}

/* What a compiler makes of it that checks sizes. */
ssize_t __wrap___recv_chk(int fd, void *p, size_t n, size_t size, int flags)
{
	must(n <= size);
	return __wrap_recv(fd, p, n, flags);
}

ssize_t __wrap_recvfrom(int fd, void *p, size_t n, int flags, struct sockaddr *from,
			socklen_t *flen)
{
	(void)fd;
	(void)flags;
	memset(from, 0, *flen);
	return receive_into(p, n);
}

char *__wrap_if_indextoname(unsigned ifindex, char *name)
{
	snprintf(name, IF_NAMESIZE, "eth%u", ifindex % 100);
	return ifindex % 3 ? name : NULL;
}

/* --- questions --- */

static struct prefix prefix(const char *text)
{
	struct prefix p;
	must(prefix_parse(text, &p));
	return p;
}

static void ask_clash(void)
{
	char what[64];
	struct prefix p = prefix("10.77.0.0/16");
	memset(what, 'x', sizeof(what));
	if (kernel_prefix_clash(k, &p, NULL, IFINDEX, what, sizeof(what)))
		must(memchr(what, 0, sizeof(what)) != NULL);
}

static void ask_addresses(void)
{
	struct addr out[4];
	struct prefix skip = prefix("10.77.0.0/16");
	size_t n = kernel_host_addresses(k, IFINDEX, &skip, 1, out, ARRAY_SIZE(out));
	must(n <= ARRAY_SIZE(out));
	for (size_t i = 0; i < n; i++)
		must(!addr_is_any(&out[i]) && !addr_is_loopback(&out[i]) &&
		     !prefix_contains(&skip, &out[i]));
}

static void ask_way(void)
{
	struct addr to = addr_v4_u32(0xc0000201), local = addr_v4_u32(0xc0000202);
	kernel_addresses_changed(k);
	(void)kernel_way(k, &to, 1);
	(void)kernel_way(k, &to, 0);
	(void)kernel_path_leads(k, &to, &local, 0, IFINDEX);
}

static void ask_link(void)
{
	struct kernel_link l;
	(void)kernel_link_now(k, &l);
	(void)kernel_link_elsewhere(k, 0, "warren0", &l);
}

static void ask_to_clean(void)
{
	struct prefix left = prefix("10.77.0.0/16"); /* of which the corpus speaks */
	(void)kernel_clean_leftovers(k, &left, 1);
	kernel_clean_rules(k);
}

static void ask_to_route(void)
{
	struct prefix p = prefix("10.77.0.9/32"), wide = prefix("fd00::/64");
	for (unsigned i = 0; i < 2; i++) {
		bool ok = kernel_route_set(
				  k, &p, NULL,
				  &(struct route_metrics){ .mtu = 1400, .advmss = 1360 }) == 0;
		must(!ok || kernel_route_held(k, &p));
		ok = kernel_route_set(k, &wide, NULL, &(struct route_metrics){ 0 }) == 0;
		must(!ok || kernel_route_held(k, &wide));
	}
	(void)kernel_route_remove(k, &p);
	(void)kernel_unreachable_set(k, &wide);
}

static void ask_for_tunnel(void)
{
	bool v4 = rd_u8(input) & 1;
	(void)kernel_full_tunnel(k, v4, 51820);
	kernel_full_tunnel_end(k, v4);
	(void)kernel_free_table(k, 51820);
}

static void ask_monitor(void)
{
	struct kernel_undone u = { 0 };
	(void)kernel_monitor_drain(0, IFINDEX, k, &u);
	if (u.lost)
		(void)kernel_restore(k);
}

static void ask_guard(void)
{
	struct guard *g;
	struct prefix host = prefix("10.77.0.2/32");
	if (guard_open(&g, "warren0", IFINDEX) < 0)
		return;
	(void)guard_address(g, &host);
	(void)guard_prefix(g, &host);
	(void)guard_mark(g, 51820, 1);
	guard_close(g);
}

static void ask_for_address(void)
{
	struct prefix host = prefix("10.77.0.2/32");
	(void)kernel_link_up(k, 1420);
	(void)kernel_address_add(k, &host);
	(void)kernel_address_remove(k, &host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const questions[])(
		void) = { ask_clash,	ask_addresses,	ask_way,     ask_link,	ask_to_clean,
			  ask_to_route, ask_for_tunnel, ask_monitor, ask_guard, ask_for_address };
	struct rd r = rd_of(data, size_min(size, 2048));
	uint8_t which = rd_u8(&r);

	log_init("fuzz", NULL, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	input = &r;
	asked = 0;
	must(kernel_routes_new(&k, IFINDEX) == 0);
	questions[which % ARRAY_SIZE(questions)]();
	kernel_routes_free(k);
	return 0;
}
