/* SPDX-License-Identifier: Apache-2.0 */
#include "route/nft.h"
#include "route/rtnl.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum {
	ANSWER_MAX = 8192, /* an answer brings back the message that it refuses */
	/* where a packet has its destination, from the network header on */
	IP4_DADDR = 16,
	IP6_DADDR = 24,
	UDP_DPORT = 2, /* from the transport header on */
};

int nft_open(struct nft *n)
{
	*n = (struct nft){ .sk = nl_socket_alloc() };
	return n->sk ? rtnl_errno(nl_connect(n->sk, NETLINK_NETFILTER)) : -ENOMEM;
}

void nft_close(struct nft *n)
{
	nl_socket_free(n->sk);
}

/* Messages and attributes: a length in front, in the machine's order, that is known at the end. */

static size_t message_begin(struct nft_batch *b, int type, int flags, const struct nfgenmsg *nf)
{
	size_t mark = b->w.len;
	struct nlmsghdr h = { .nlmsg_type = (uint16_t)type,
			      .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
			      .nlmsg_seq = ++b->nft->seq };
	wr_bytes(&b->w, &h, sizeof(h));
	wr_bytes(&b->w, nf, sizeof(*nf));
	return mark;
}

size_t nft_message_begin(struct nft_batch *b, int type, int flags)
{
	const struct nfgenmsg nf = { .nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0 };
	return message_begin(b, NFNL_SUBSYS_NFTABLES << 8 | type, NLM_F_ACK | flags, &nf);
}

void nft_message_end(struct nft_batch *b, size_t mark)
{
	uint32_t len = (uint32_t)(b->w.len - mark);
	if (wr_ok(&b->w))
		memcpy(b->w.base + mark + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof(len));
}

size_t nft_attr_begin(struct nft_batch *b, int type)
{
	size_t mark = b->w.len;
	struct nlattr a = { .nla_type = (uint16_t)type };
	wr_bytes(&b->w, &a, sizeof(a));
	return mark;
}

void nft_attr_end(struct nft_batch *b, size_t mark)
{
	uint16_t len = (uint16_t)(b->w.len - mark);
	if (wr_ok(&b->w))
		memcpy(b->w.base + mark + offsetof(struct nlattr, nla_len), &len, sizeof(len));
	wr_zeros(&b->w, (size_t)NLA_ALIGN(len) - len);
}

static void attr_bytes(struct nft_batch *b, int type, const void *p, size_t n)
{
	size_t mark = nft_attr_begin(b, type);
	wr_bytes(&b->w, p, n);
	nft_attr_end(b, mark);
}

void nft_attr_u32(struct nft_batch *b, int type, uint32_t v)
{
	size_t mark = nft_attr_begin(b, type);
	wr_be32(&b->w, v);
	nft_attr_end(b, mark);
}

void nft_attr_string(struct nft_batch *b, int type, const char *s)
{
	attr_bytes(b, type, s, strlen(s) + 1);
}

/* Batches. */

static void batch_mark(struct nft_batch *b, int type)
{
	const struct nfgenmsg nf = { .nfgen_family = AF_UNSPEC,
				     .version = NFNETLINK_V0,
				     .res_id = htons(NFNL_SUBSYS_NFTABLES) };
	nft_message_end(b, message_begin(b, type, 0, &nf));
}

void nft_batch_begin(struct nft_batch *b, struct nft *n)
{
	b->nft = n;
	b->w = wr_of(b->buf, sizeof(b->buf));
	batch_mark(b, NFNL_MSG_BATCH_BEGIN);
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
int nft_batch_send(struct nft_batch *b)
{
	union {
		struct nlmsghdr h;
		uint8_t bytes[ANSWER_MAX];
	} in;
	struct nl_sock *sk = b->nft->sk;
	bool acked = false;
	int err = 0;
	ssize_t n;

	batch_mark(b, NFNL_MSG_BATCH_END);
	if (!wr_ok(&b->w))
		return -EMSGSIZE;
	int sent = nl_sendto(sk, b->w.base, b->w.len);
	if (sent < 0)
		return rtnl_errno(sent);
	while ((n = recv(nl_socket_get_fd(sk), &in, sizeof(in), MSG_DONTWAIT)) > 0) {
		int e = read_answers(&in.h, (int)n, &acked);
		err = err ? err : e;
	}
	return err || acked ? err : -EIO;
}

/* Expressions. */

struct expr {
	size_t elem, data;
};

static struct expr expr_begin(struct nft_batch *b, const char *name)
{
	struct expr e = { .elem = nft_attr_begin(b, NFTA_LIST_ELEM) };
	nft_attr_string(b, NFTA_EXPR_NAME, name);
	e.data = nft_attr_begin(b, NFTA_EXPR_DATA);
	return e;
}

static void expr_end(struct nft_batch *b, struct expr e)
{
	nft_attr_end(b, e.data);
	nft_attr_end(b, e.elem);
}

static void data(struct nft_batch *b, int type, const void *p, size_t n)
{
	size_t mark = nft_attr_begin(b, type);
	attr_bytes(b, NFTA_DATA_VALUE, p, n);
	nft_attr_end(b, mark);
}

/* Go on where the register has these bytes. */
static void equal(struct nft_batch *b, const void *p, size_t n)
{
	struct expr e = expr_begin(b, "cmp");
	nft_attr_u32(b, NFTA_CMP_SREG, NFT_REG_1);
	nft_attr_u32(b, NFTA_CMP_OP, NFT_CMP_EQ);
	data(b, NFTA_CMP_DATA, p, n);
	expr_end(b, e);
}

void nft_meta_is(struct nft_batch *b, uint32_t key, const void *p, size_t n)
{
	struct expr e = expr_begin(b, "meta");
	nft_attr_u32(b, NFTA_META_DREG, NFT_REG_1);
	nft_attr_u32(b, NFTA_META_KEY, key);
	expr_end(b, e);
	equal(b, p, n);
}

static void payload(struct nft_batch *b, uint32_t header, uint32_t at, uint32_t len)
{
	struct expr e = expr_begin(b, "payload");
	nft_attr_u32(b, NFTA_PAYLOAD_DREG, NFT_REG_1);
	nft_attr_u32(b, NFTA_PAYLOAD_BASE, header);
	nft_attr_u32(b, NFTA_PAYLOAD_OFFSET, at);
	nft_attr_u32(b, NFTA_PAYLOAD_LEN, len);
	expr_end(b, e);
}

/* Of the register's bytes the first `bits` bits. */
static void first_bits(struct nft_batch *b, uint8_t bits, uint32_t len)
{
	static const uint8_t none[16];
	struct addr mask = { { 0 } };

	for (size_t i = 0; i < bits; i++)
		mask.b[i / 8] |= (uint8_t)(0x80 >> i % 8);
	struct expr e = expr_begin(b, "bitwise");
	nft_attr_u32(b, NFTA_BITWISE_SREG, NFT_REG_1);
	nft_attr_u32(b, NFTA_BITWISE_DREG, NFT_REG_1);
	nft_attr_u32(b, NFTA_BITWISE_LEN, len);
	data(b, NFTA_BITWISE_MASK, mask.b, len);
	data(b, NFTA_BITWISE_XOR, none, len);
	expr_end(b, e);
}

void nft_goes_to(struct nft_batch *b, const struct prefix *to)
{
	bool v4 = addr_is_v4(&to->addr);
	const uint8_t family = v4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
	const uint32_t len = v4 ? 4 : 16;

	nft_meta_is(b, NFT_META_NFPROTO, &family, sizeof(family));
	payload(b, NFT_PAYLOAD_NETWORK_HEADER, v4 ? IP4_DADDR : IP6_DADDR, len);
	if (!prefix_is_host(to))
		first_bits(b, to->bits, len);
	equal(b, to->addr.b + sizeof(to->addr.b) - len, len);
}

void nft_udp_to(struct nft_batch *b, uint16_t port)
{
	const uint8_t udp = IPPROTO_UDP;
	uint8_t be[2];

	store_be16(be, port);
	nft_meta_is(b, NFT_META_L4PROTO, &udp, sizeof(udp));
	payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, UDP_DPORT, sizeof(be));
	equal(b, be, sizeof(be));
}

void nft_count(struct nft_batch *b)
{
	expr_end(b, expr_begin(b, "counter"));
}

static void verdict(struct nft_batch *b, uint32_t code)
{
	struct expr e = expr_begin(b, "immediate");
	nft_attr_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	size_t value = nft_attr_begin(b, NFTA_IMMEDIATE_DATA);
	size_t mark = nft_attr_begin(b, NFTA_DATA_VERDICT);
	nft_attr_u32(b, NFTA_VERDICT_CODE, code);
	nft_attr_end(b, mark);
	nft_attr_end(b, value);
	expr_end(b, e);
}

void nft_set_mark(struct nft_batch *b, uint32_t mark)
{
	struct expr e = expr_begin(b, "immediate");
	nft_attr_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	data(b, NFTA_IMMEDIATE_DATA, &mark, sizeof(mark));
	expr_end(b, e);
	e = expr_begin(b, "meta");
	nft_attr_u32(b, NFTA_META_SREG, NFT_REG_1);
	nft_attr_u32(b, NFTA_META_KEY, NFT_META_MARK);
	expr_end(b, e);
}

/* Rules. */

struct nft_rule nft_rule_begin(struct nft_batch *b, const char *table, const char *chain)
{
	struct nft_rule r = { .message = nft_message_begin(b, NFT_MSG_NEWRULE,
							   NLM_F_CREATE | NLM_F_APPEND) };
	nft_attr_string(b, NFTA_RULE_TABLE, table);
	nft_attr_string(b, NFTA_RULE_CHAIN, chain);
	r.expressions = nft_attr_begin(b, NFTA_RULE_EXPRESSIONS);
	return r;
}

void nft_rule_end(struct nft_batch *b, struct nft_rule r, uint32_t code)
{
	verdict(b, code);
	nft_attr_end(b, r.expressions);
	nft_message_end(b, r.message);
}
