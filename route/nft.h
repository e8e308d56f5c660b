/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nf_tables over netlink: batches of messages, and the expressions that rules are made of. Of this room
 * alone. All that changes travels in one batch, which the kernel takes whole or not at all:
 *
 *	batch begin | message… | batch end
 *
 * A message is a netlink header, struct nfgenmsg and attributes, in which numbers are big-endian. A
 * rule is a list of expressions that work on registers: load something, compare it, give a verdict;
 * the first comparison that fails ends the rule.
 */
#ifndef WARREN_ROUTE_NFT_H
#define WARREN_ROUTE_NFT_H

#include "base/addr.h"
#include "base/bytes.h"

struct nl_sock;

/* One netlink socket; the owner of the tables that are made through it. */
struct nft {
	struct nl_sock *sk;
	uint32_t seq;
};

/* 0 or -errno. To be closed in either case. */
int nft_open(struct nft *n);
void nft_close(struct nft *n);

enum { NFT_BATCH_MAX = 16384 };

/* Ends before its struct nft. What does not fit is -EMSGSIZE of nft_batch_send(). */
struct nft_batch {
	struct nft *nft;
	struct wr w;
	uint8_t buf[NFT_BATCH_MAX];
};

void nft_batch_begin(struct nft_batch *b, struct nft *n);
/* 0 or the kernel's first error, -errno. */
int nft_batch_send(struct nft_batch *b);

/* Messages and attributes: `type` of NFT_MSG_*, `flags` of NLM_F_*. Each begin returns what its end takes. */
size_t nft_message_begin(struct nft_batch *b, int type, int flags);
void nft_message_end(struct nft_batch *b, size_t mark);
size_t nft_attr_begin(struct nft_batch *b, int type);
void nft_attr_end(struct nft_batch *b, size_t mark);
void nft_attr_u32(struct nft_batch *b, int type, uint32_t v);
void nft_attr_string(struct nft_batch *b, int type, const char *s);

struct nft_rule {
	size_t message, expressions;
};

/* A rule at the end of a chain. What comes between is its expressions; the verdict is NF_* or NFT_*. */
struct nft_rule nft_rule_begin(struct nft_batch *b, const char *table, const char *chain);
void nft_rule_end(struct nft_batch *b, struct nft_rule r, uint32_t verdict);

/* Go on where a fact about the packet (NFT_META_*) is these bytes. */
void nft_meta_is(struct nft_batch *b, uint32_t key, const void *p, size_t n);
/* Go on with packets to an address in `to`. */
void nft_goes_to(struct nft_batch *b, const struct prefix *to);
/* Go on with UDP to this port. */
void nft_udp_to(struct nft_batch *b, uint16_t port);
void nft_count(struct nft_batch *b);
void nft_set_mark(struct nft_batch *b, uint32_t mark);

#endif
