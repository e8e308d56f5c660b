/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table reads, in nft's words:
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
 *		chain postrouting {
 *			type filter hook postrouting priority raw; policy accept;
 *			oif "lo" accept
 *			oif INTERFACE accept
 *			ip daddr PREFIX counter drop
 *			ip6 daddr PREFIX counter drop
 *		}
 *	}
 *
 * Whatever changes, all rules are written anew in one batch, so that they are never open and never pile up.
 *
 * Packets of this host to itself are told by the loopback and not by their source (fib), which a
 * neighbour can forge and which needs one module more.
 */
#include "route/guard.h"
#include "route/nft.h"
#include "route/rtnl.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

#define CHAIN_IN "prerouting"
#define CHAIN_OUT "postrouting"
#define TABLE_PREFIX "warren-"

enum { LOOPBACK_INDEX = 1 /* in every network namespace */ };

struct guard {
	struct nft nft;
	bool owned; /* the table goes with the socket */
	uint32_t ifindex;
	char table[sizeof(TABLE_PREFIX) + IFNAMSIZ];
	struct prefix hosts[GUARD_MAX_ADDRESSES], prefixes[GUARD_MAX_PREFIXES];
	size_t nhosts, nprefixes;
	uint16_t port; /* whose datagrams get `mark`; 0 none */
	uint32_t mark;
};

/* By its number, which it keeps when somebody gives it another name. */
static void accept_by(struct guard *g, struct nft_batch *b, const char *chain, uint32_t ifindex)
{
	bool in = strcmp(chain, CHAIN_IN) == 0;
	struct nft_rule r = nft_rule_begin(b, g->table, chain);
	nft_meta_is(b, in ? NFT_META_IIF : NFT_META_OIF, &ifindex, sizeof(ifindex));
	nft_rule_end(b, r, NF_ACCEPT);
}

static void drop_to(struct guard *g, struct nft_batch *b, const char *chain,
		    const struct prefix *to)
{
	struct nft_rule r = nft_rule_begin(b, g->table, chain);
	nft_goes_to(b, to);
	nft_count(b);
	nft_rule_end(b, r, NF_DROP);
}

/* What is for `to` passes by the loopback and by our TUN alone. */
static void chain_rules(struct guard *g, struct nft_batch *b, const char *chain,
			const struct prefix *to, size_t n)
{
	accept_by(g, b, chain, LOOPBACK_INDEX);
	accept_by(g, b, chain, g->ifindex);
	for (size_t i = 0; i < n; i++)
		drop_to(g, b, chain, &to[i]);
}

static void mark_rule(struct guard *g, struct nft_batch *b)
{
	struct nft_rule r = nft_rule_begin(b, g->table, CHAIN_IN);
	nft_udp_to(b, g->port);
	nft_set_mark(b, g->mark);
	nft_rule_end(b, r, (uint32_t)NFT_CONTINUE);
}

static void all_rules(struct guard *g, struct nft_batch *b)
{
	chain_rules(g, b, CHAIN_IN, g->hosts, g->nhosts);
	if (g->port)
		mark_rule(g, b);
	chain_rules(g, b, CHAIN_OUT, g->prefixes, g->nprefixes);
}

/* In place of those that are there. */
static int rules_write(struct guard *g)
{
	struct nft_batch b;

	nft_batch_begin(&b, &g->nft);
	size_t message = nft_message_begin(&b, NFT_MSG_DELRULE, 0);
	nft_attr_string(&b, NFTA_RULE_TABLE, g->table);
	nft_message_end(&b, message);
	all_rules(g, &b);
	return nft_batch_send(&b);
}

static int table_remove(struct guard *g)
{
	struct nft_batch b;

	nft_batch_begin(&b, &g->nft);
	size_t message = nft_message_begin(&b, NFT_MSG_DELTABLE, 0);
	nft_attr_string(&b, NFTA_TABLE_NAME, g->table);
	nft_message_end(&b, message);
	return nft_batch_send(&b);
}

static void chain_make(struct guard *g, struct nft_batch *b, const char *name, uint32_t hooknum)
{
	size_t message = nft_message_begin(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	nft_attr_string(b, NFTA_CHAIN_TABLE, g->table);
	nft_attr_string(b, NFTA_CHAIN_NAME, name);
	nft_attr_string(b, NFTA_CHAIN_TYPE, "filter");
	nft_attr_u32(b, NFTA_CHAIN_POLICY, NF_ACCEPT);
	size_t hook = nft_attr_begin(b, NFTA_CHAIN_HOOK);
	nft_attr_u32(b, NFTA_HOOK_HOOKNUM, hooknum);
	nft_attr_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)NF_IP_PRI_RAW);
	nft_attr_end(b, hook);
	nft_message_end(b, message);
}

static int table_make(struct guard *g)
{
	struct nft_batch b;

	nft_batch_begin(&b, &g->nft);
	size_t message = nft_message_begin(&b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
	nft_attr_string(&b, NFTA_TABLE_NAME, g->table);
	nft_attr_u32(&b, NFTA_TABLE_FLAGS, g->owned ? NFT_TABLE_F_OWNER : 0);
	nft_message_end(&b, message);
	chain_make(g, &b, CHAIN_IN, NF_INET_PRE_ROUTING);
	chain_make(g, &b, CHAIN_OUT, NF_INET_POST_ROUTING);
	all_rules(g, &b);
	return nft_batch_send(&b);
}

static int table_open(struct guard *g)
{
	int err = nft_open(&g->nft);
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
	int err = table_open(g);
	if (err < 0) {
		nft_close(&g->nft);
		free(g);
		return err;
	}
	*out = g;
	return 0;
}

/* One more of them, once. */
static int add(struct guard *g, struct prefix *list, size_t *n, size_t most, const struct prefix *p)
{
	for (size_t i = 0; i < *n; i++)
		if (prefix_eq(&list[i], p))
			return 0;
	if (*n == most)
		return -ENOSPC;
	list[(*n)++] = *p;
	int err = rules_write(g);
	if (err < 0)
		(*n)--;
	return err;
}

int guard_address(struct guard *g, const struct prefix *host)
{
	if (!prefix_is_host(host))
		return -EINVAL;
	return add(g, g->hosts, &g->nhosts, GUARD_MAX_ADDRESSES, host);
}

int guard_prefix(struct guard *g, const struct prefix *p)
{
	return add(g, g->prefixes, &g->nprefixes, GUARD_MAX_PREFIXES, p);
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
	nft_close(&g->nft);
	free(g);
}
