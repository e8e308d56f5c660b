/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nf_tables over netlink. All that changes travels in one batch, which the kernel takes whole or not
 * at all:
 *
 *	batch begin | message… | batch end
 *
 * A message is a netlink header, struct nfgenmsg and attributes, in which numbers are big-endian. A
 * rule is a list of expressions that work on registers: load something, compare it, give a verdict;
 * the first comparison that fails ends the rule. The table reads, in nft's words:
 *
 *	table inet warren-IFNAME {
 *		chain prerouting {
 *			type filter hook prerouting priority raw; policy accept;
 *			iif "lo" accept
 *			iif INTERFACE accept
 *			ip daddr ADDRESS counter drop
 *			ip6 daddr ADDRESS counter drop
 *			udp dport PORT meta mark set MARK	(a full tunnel alone)
 *		}
 *	}
 *
 * Whatever changes, all rules are written anew in one batch, so that they are never open and never pile up.
 *
 * Packets of this host to itself are told by the loopback and not by their source (fib), which a
 * neighbour can forge and which needs one module more.
 */
#include "route/guard.h"
#include "route/rtnl.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define CHAIN "prerouting"
#define TABLE_PREFIX "warren-"

enum {
	LOOPBACK_INDEX = 1, /* in every network namespace */
	BATCH_MAX = 16384,
	ANSWER_MAX = 8192, /* an answer brings back the message that it refuses */
	/* where a packet has its destination, from the network header on */
	IP4_DADDR = 16,
	IP6_DADDR = 24,
	UDP_DPORT = 2, /* from the transport header on */
};

struct guard {
	struct nl_sock *sk;
	uint32_t seq;
	bool owned; /* the table goes with the socket */
	uint32_t ifindex;
	char table[sizeof(TABLE_PREFIX) + IFNAMSIZ];
	struct addr hosts[GUARD_MAX_ADDRESSES];
	size_t nhosts;
	uint16_t port; /* whose datagrams get `mark`; 0 none */
	uint32_t mark;
};

/* Messages and attributes: a length in front, in the machine's order, that is known at the end. */

static size_t message_begin(struct guard *g, struct wr *w, int type, int flags)
{
	size_t mark = w->len;
	struct nlmsghdr h = { .nlmsg_type = (uint16_t)type,
			      .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
			      .nlmsg_seq = ++g->seq };
	wr_bytes(w, &h, sizeof(h));
	return mark;
}

static void message_end(struct wr *w, size_t mark)
{
	uint32_t len = (uint32_t)(w->len - mark);
	if (wr_ok(w))
		memcpy(w->base + mark + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof(len));
}

static size_t attr_begin(struct wr *w, int type)
{
	size_t mark = w->len;
	struct nlattr a = { .nla_type = (uint16_t)type };
	wr_bytes(w, &a, sizeof(a));
	return mark;
}

static void attr_end(struct wr *w, size_t mark)
{
	uint16_t len = (uint16_t)(w->len - mark);
	if (wr_ok(w))
		memcpy(w->base + mark + offsetof(struct nlattr, nla_len), &len, sizeof(len));
	wr_zeros(w, (size_t)NLA_ALIGN(len) - len);
}

static void attr_bytes(struct wr *w, int type, const void *p, size_t n)
{
	size_t mark = attr_begin(w, type);
	wr_bytes(w, p, n);
	attr_end(w, mark);
}

static void attr_u32(struct wr *w, int type, uint32_t v)
{
	size_t mark = attr_begin(w, type);
	wr_be32(w, v);
	attr_end(w, mark);
}

static void attr_string(struct wr *w, int type, const char *s)
{
	attr_bytes(w, type, s, strlen(s) + 1);
}

/* Batches. */

static void batch_mark(struct guard *g, struct wr *w, int type)
{
	const struct nfgenmsg nf = { .nfgen_family = AF_UNSPEC,
				     .version = NFNETLINK_V0,
				     .res_id = htons(NFNL_SUBSYS_NFTABLES) };
	size_t mark = message_begin(g, w, type, 0);
	wr_bytes(w, &nf, sizeof(nf));
	message_end(w, mark);
}

static size_t nft_begin(struct guard *g, struct wr *w, int type, int flags)
{
	const struct nfgenmsg nf = { .nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0 };
	size_t mark = message_begin(g, w, NFNL_SUBSYS_NFTABLES << 8 | type, NLM_F_ACK | flags);
	wr_bytes(w, &nf, sizeof(nf));
	return mark;
}

/* The first error among these answers; *acked where there is one that is none. */
static int read_answers(struct nlmsghdr *h, int len, bool *acked)
{
	int err = 0;
	for (; nlmsg_ok(h, len); h = nlmsg_next(h, &len)) {
		struct nlmsgerr e;
		if (h->nlmsg_type != NLMSG_ERROR || !nlmsg_valid_hdr(h, sizeof(e)))
			continue;
		memcpy(&e, nlmsg_data(h), sizeof(e));
		*acked |= e.error == 0;
		if (err == 0)
			err = e.error;
	}
	return err;
}

/* The kernel has worked the batch off, and answered, before sending returns: nothing is waited for. */
static int batch_send(struct guard *g, const struct wr *w)
{
	union {
		struct nlmsghdr h;
		uint8_t bytes[ANSWER_MAX];
	} in;
	bool acked = false;
	int err = 0;
	ssize_t n;

	if (!wr_ok(w))
		return -EMSGSIZE;
	int sent = nl_sendto(g->sk, w->base, w->len);
	if (sent < 0)
		return rtnl_errno(sent);
	while ((n = recv(nl_socket_get_fd(g->sk), &in, sizeof(in), MSG_DONTWAIT)) > 0) {
		int e = read_answers(&in.h, (int)n, &acked);
		err = err ? err : e;
	}
	return err || acked ? err : -EIO;
}

/* Expressions. */

struct expr {
	size_t elem, data;
};

static struct expr expr_begin(struct wr *w, const char *name)
{
	struct expr e = { .elem = attr_begin(w, NFTA_LIST_ELEM) };
	attr_string(w, NFTA_EXPR_NAME, name);
	e.data = attr_begin(w, NFTA_EXPR_DATA);
	return e;
}

static void expr_end(struct wr *w, struct expr e)
{
	attr_end(w, e.data);
	attr_end(w, e.elem);
}

/* Go on where the register has these bytes. */
static void expr_equal(struct wr *w, const void *p, size_t n)
{
	struct expr e = expr_begin(w, "cmp");
	attr_u32(w, NFTA_CMP_SREG, NFT_REG_1);
	attr_u32(w, NFTA_CMP_OP, NFT_CMP_EQ);
	size_t data = attr_begin(w, NFTA_CMP_DATA);
	attr_bytes(w, NFTA_DATA_VALUE, p, n);
	attr_end(w, data);
	expr_end(w, e);
}

/* Go on where a fact about the packet is these bytes. */
static void expr_meta(struct wr *w, uint32_t key, const void *p, size_t n)
{
	struct expr e = expr_begin(w, "meta");
	attr_u32(w, NFTA_META_DREG, NFT_REG_1);
	attr_u32(w, NFTA_META_KEY, key);
	expr_end(w, e);
	expr_equal(w, p, n);
}

static void expr_payload(struct wr *w, uint32_t header, uint32_t at, uint32_t len)
{
	struct expr e = expr_begin(w, "payload");
	attr_u32(w, NFTA_PAYLOAD_DREG, NFT_REG_1);
	attr_u32(w, NFTA_PAYLOAD_BASE, header);
	attr_u32(w, NFTA_PAYLOAD_OFFSET, at);
	attr_u32(w, NFTA_PAYLOAD_LEN, len);
	expr_end(w, e);
}

static void expr_daddr(struct wr *w, const struct addr *a)
{
	bool v4 = addr_is_v4(a);
	const uint8_t family = v4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
	const uint32_t len = v4 ? 4 : 16;

	expr_meta(w, NFT_META_NFPROTO, &family, sizeof(family));
	expr_payload(w, NFT_PAYLOAD_NETWORK_HEADER, v4 ? IP4_DADDR : IP6_DADDR, len);
	expr_equal(w, a->b + sizeof(a->b) - len, len);
}

static void expr_counter(struct wr *w)
{
	expr_end(w, expr_begin(w, "counter"));
}

static void expr_verdict(struct wr *w, uint32_t verdict)
{
	struct expr e = expr_begin(w, "immediate");
	attr_u32(w, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	size_t data = attr_begin(w, NFTA_IMMEDIATE_DATA);
	size_t code = attr_begin(w, NFTA_DATA_VERDICT);
	attr_u32(w, NFTA_VERDICT_CODE, verdict);
	attr_end(w, code);
	attr_end(w, data);
	expr_end(w, e);
}

/* Set the packet's mark. */
static void expr_set_mark(struct wr *w, uint32_t mark)
{
	struct expr e = expr_begin(w, "immediate");
	attr_u32(w, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	size_t data = attr_begin(w, NFTA_IMMEDIATE_DATA);
	attr_bytes(w, NFTA_DATA_VALUE, &mark, sizeof(mark));
	attr_end(w, data);
	expr_end(w, e);
	e = expr_begin(w, "meta");
	attr_u32(w, NFTA_META_SREG, NFT_REG_1);
	attr_u32(w, NFTA_META_KEY, NFT_META_MARK);
	expr_end(w, e);
}

/* Rules. */

struct rule {
	size_t message, expressions;
};

static struct rule rule_begin(struct guard *g, struct wr *w)
{
	struct rule r = { .message =
				  nft_begin(g, w, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND) };
	attr_string(w, NFTA_RULE_TABLE, g->table);
	attr_string(w, NFTA_RULE_CHAIN, CHAIN);
	r.expressions = attr_begin(w, NFTA_RULE_EXPRESSIONS);
	return r;
}

static void rule_end(struct wr *w, struct rule r, uint32_t verdict)
{
	expr_verdict(w, verdict);
	attr_end(w, r.expressions);
	message_end(w, r.message);
}

/* By its number, which it keeps when somebody gives it another name. */
static void rule_accept(struct guard *g, struct wr *w, const uint32_t *ifindex)
{
	struct rule r = rule_begin(g, w);
	expr_meta(w, NFT_META_IIF, ifindex, sizeof(*ifindex));
	rule_end(w, r, NF_ACCEPT);
}

static void rule_host(struct guard *g, struct wr *w, const struct addr *a)
{
	struct rule r = rule_begin(g, w);
	expr_daddr(w, a);
	expr_counter(w);
	rule_end(w, r, NF_DROP);
}

static void rule_mark(struct guard *g, struct wr *w)
{
	const uint8_t udp = IPPROTO_UDP;
	uint8_t be[2];

	store_be16(be, g->port);
	struct rule r = rule_begin(g, w);
	expr_meta(w, NFT_META_L4PROTO, &udp, sizeof(udp));
	expr_payload(w, NFT_PAYLOAD_TRANSPORT_HEADER, UDP_DPORT, sizeof(be));
	expr_equal(w, be, sizeof(be));
	expr_set_mark(w, g->mark);
	rule_end(w, r, (uint32_t)NFT_CONTINUE);
}

static void rules_put(struct guard *g, struct wr *w)
{
	const uint32_t loopback = LOOPBACK_INDEX;

	rule_accept(g, w, &loopback);
	rule_accept(g, w, &g->ifindex);
	for (size_t i = 0; i < g->nhosts; i++)
		rule_host(g, w, &g->hosts[i]);
	if (g->port)
		rule_mark(g, w);
}

/* In place of those that are there. */
static int rules_write(struct guard *g)
{
	uint8_t buf[BATCH_MAX];
	struct wr w = wr_of(buf, sizeof(buf));

	batch_mark(g, &w, NFNL_MSG_BATCH_BEGIN);
	size_t message = nft_begin(g, &w, NFT_MSG_DELRULE, 0);
	attr_string(&w, NFTA_RULE_TABLE, g->table);
	attr_string(&w, NFTA_RULE_CHAIN, CHAIN);
	message_end(&w, message);
	rules_put(g, &w);
	batch_mark(g, &w, NFNL_MSG_BATCH_END);
	return batch_send(g, &w);
}

/* Tables. */

static int table_remove(struct guard *g)
{
	uint8_t buf[BATCH_MAX];
	struct wr w = wr_of(buf, sizeof(buf));

	batch_mark(g, &w, NFNL_MSG_BATCH_BEGIN);
	size_t message = nft_begin(g, &w, NFT_MSG_DELTABLE, 0);
	attr_string(&w, NFTA_TABLE_NAME, g->table);
	message_end(&w, message);
	batch_mark(g, &w, NFNL_MSG_BATCH_END);
	return batch_send(g, &w);
}

static void chain_make(struct guard *g, struct wr *w)
{
	size_t message = nft_begin(g, w, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	attr_string(w, NFTA_CHAIN_TABLE, g->table);
	attr_string(w, NFTA_CHAIN_NAME, CHAIN);
	attr_string(w, NFTA_CHAIN_TYPE, "filter");
	attr_u32(w, NFTA_CHAIN_POLICY, NF_ACCEPT);
	size_t hook = attr_begin(w, NFTA_CHAIN_HOOK);
	attr_u32(w, NFTA_HOOK_HOOKNUM, NF_INET_PRE_ROUTING);
	attr_u32(w, NFTA_HOOK_PRIORITY, (uint32_t)NF_IP_PRI_RAW);
	attr_end(w, hook);
	message_end(w, message);
}

static int table_make(struct guard *g)
{
	uint8_t buf[BATCH_MAX];
	struct wr w = wr_of(buf, sizeof(buf));

	batch_mark(g, &w, NFNL_MSG_BATCH_BEGIN);
	size_t message = nft_begin(g, &w, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
	attr_string(&w, NFTA_TABLE_NAME, g->table);
	attr_u32(&w, NFTA_TABLE_FLAGS, g->owned ? NFT_TABLE_F_OWNER : 0);
	message_end(&w, message);
	chain_make(g, &w);
	rules_put(g, &w);
	batch_mark(g, &w, NFNL_MSG_BATCH_END);
	return batch_send(g, &w);
}

static int table_open(struct guard *g)
{
	int err = rtnl_errno(nl_connect(g->sk, NETLINK_NETFILTER));
	if (err == 0)
		err = table_remove(g); /* one without an owner, of a process that was killed */
	if (err < 0 && err != -ENOENT)
		return err;
	g->owned = true;
	err = table_make(g);
	if (err == -EINVAL || err == -EOPNOTSUPP) { /* a flag that this kernel does not know */
		g->owned = false;
		err = table_make(g);
	}
	return err;
}

int guard_open(struct guard **out, const char *ifname, unsigned ifindex)
{
	size_t len = strlen(ifname);

	*out = NULL;
	if (len == 0 || len >= IFNAMSIZ)
		return -EINVAL;
	struct guard *g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->ifindex = ifindex;
	snprintf(g->table, sizeof(g->table), TABLE_PREFIX "%s", ifname);
	g->sk = nl_socket_alloc();
	int err = g->sk ? table_open(g) : -ENOMEM;
	if (err < 0) {
		nl_socket_free(g->sk);
		free(g);
		return err;
	}
	*out = g;
	return 0;
}

int guard_address(struct guard *g, const struct prefix *host)
{
	if (!prefix_is_host(host))
		return -EINVAL;
	for (size_t i = 0; i < g->nhosts; i++)
		if (addr_eq(&g->hosts[i], &host->addr))
			return 0;
	if (g->nhosts == GUARD_MAX_ADDRESSES)
		return -ENOSPC;
	g->hosts[g->nhosts++] = host->addr;
	int err = rules_write(g);
	if (err < 0)
		g->nhosts--;
	return err;
}

int guard_mark(struct guard *g, uint16_t port, uint32_t mark)
{
	uint16_t old_port = g->port;
	uint32_t old_mark = g->mark;

	if (port == old_port && mark == old_mark)
		return 0;
	g->port = port;
	g->mark = mark;
	int err = rules_write(g);
	if (err < 0) {
		g->port = old_port;
		g->mark = old_mark;
	}
	return err;
}

void guard_close(struct guard *g)
{
	if (!g)
		return;
	if (!g->owned)
		(void)table_remove(g);
	nl_socket_free(g->sk);
	free(g);
}
