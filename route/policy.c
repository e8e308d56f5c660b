/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything through the tunnel but the tunnel itself, as wg-quick(8) does it: a default route in a table
 * of its own, and two rules before the usual ones, in `ip rule`'s words:
 *
 *	from all lookup main suppress_prefixlength 0	all routes of the host but its default
 *	not from all fwmark MARK lookup TABLE		whatever our socket has not marked
 *
 * A killed gateway's rules outlive it and lead to a table that went empty with its TUN, so that all goes
 * on to the main table; the next start removes them.
 */
#include "route/rtnl.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <sys/socket.h>

enum { RULES_MAX = 64, TABLES_TRIED = 1000 };

struct rule {
	uint8_t family, protocol;
	uint32_t table, mark, priority;
	bool inverted, suppresses; /* routes of prefix length 0 */
};

static bool rule_of(struct nlmsghdr *h, struct rule *out)
{
	struct nlattr *tb[FRA_MAX + 1] = { 0 };
	if (h->nlmsg_type != RTM_NEWRULE || !nlmsg_valid_hdr(h, sizeof(struct fib_rule_hdr)))
		return false;
	const struct fib_rule_hdr *m = nlmsg_data(h);
	if ((m->family != AF_INET && m->family != AF_INET6) ||
	    nlmsg_parse(h, sizeof(*m), tb, FRA_MAX, NULL) < 0)
		return false;
	*out = (struct rule){
		.family = m->family,
		.protocol = tb[FRA_PROTOCOL] && nla_len(tb[FRA_PROTOCOL])
				    ? nla_get_u8(tb[FRA_PROTOCOL])
				    : 0,
		.table = rtnl_u32(tb[FRA_TABLE], m->table),
		.mark = rtnl_u32(tb[FRA_FWMARK], 0),
		.priority = rtnl_u32(tb[FRA_PRIORITY], 0),
		.inverted = m->flags & FIB_RULE_INVERT,
		.suppresses = rtnl_u32(tb[FRA_SUPPRESS_PREFIXLEN], UINT32_MAX) == 0,
	};
	return true;
}

/* RTM_NEWRULE or RTM_DELRULE. Where no priority is said the kernel puts a new one before all others. */
static int rule_send(struct kernel_routes *k, int type, int flags, const struct rule *r)
{
	struct fib_rule_hdr h = { .family = r->family,
				  .table = r->table < 256 ? (uint8_t)r->table : RT_TABLE_UNSPEC,
				  .action = FR_ACT_TO_TBL,
				  .flags = r->inverted ? FIB_RULE_INVERT : 0 };
	struct nl_msg *m = rtnl_request(type, flags, &h, sizeof(h));
	if (m && (nla_put_u32(m, FRA_TABLE, r->table) < 0 ||
		  nla_put_u8(m, FRA_PROTOCOL, r->protocol) < 0 ||
		  (r->mark && nla_put_u32(m, FRA_FWMARK, r->mark) < 0) ||
		  (r->priority && nla_put_u32(m, FRA_PRIORITY, r->priority) < 0) ||
		  (r->suppresses && nla_put_u32(m, FRA_SUPPRESS_PREFIXLEN, 0) < 0))) {
		nlmsg_free(m);
		m = NULL;
	}
	return rtnl_talk(k, m, NULL, NULL);
}

static struct rule marked_rule(bool v4, uint32_t table)
{
	return (struct rule){ .family = v4 ? AF_INET : AF_INET6,
			      .protocol = ROUTE_PROTOCOL,
			      .table = table,
			      .mark = table,
			      .inverted = true };
}

static struct rule main_rule(bool v4)
{
	return (struct rule){ .family = v4 ? AF_INET : AF_INET6,
			      .protocol = ROUTE_PROTOCOL,
			      .table = RT_TABLE_MAIN,
			      .suppresses = true };
}

/* --- what is there --- */

struct rules {
	struct rule r[RULES_MAX];
	size_t n;
};

/* Those that are like ours, whoever made them. */
static void see_rule(void *ctx, struct nlmsghdr *h)
{
	struct rules *rs = ctx;
	struct rule r;
	if (rs->n < RULES_MAX && rule_of(h, &r) &&
	    (r.protocol == ROUTE_PROTOCOL || (r.suppresses && r.table == RT_TABLE_MAIN)))
		rs->r[rs->n++] = r;
}

struct table_use {
	uint32_t table;
	bool used;
};

static void see_use(void *ctx, struct nlmsghdr *h)
{
	struct table_use *t = ctx;
	struct rtnl_route r;
	t->used |= rtnl_route_of(h, &r) && r.table == t->table;
}

static bool table_used(struct kernel_routes *k, uint32_t table)
{
	struct table_use t = { .table = table };
	return rtnl_dump(k, RTM_GETROUTE, see_use, &t) < 0 || t.used;
}

uint32_t kernel_free_table(struct kernel_routes *k, uint32_t from)
{
	for (uint32_t t = from; t < from + TABLES_TRIED; t++)
		if (!table_used(k, t))
			return t;
	return 0;
}

/* --- ours --- */

static bool somebody_suppresses(struct kernel_routes *k, bool v4)
{
	struct rules rs = { 0 };
	if (rtnl_dump(k, RTM_GETRULE, see_rule, &rs) < 0)
		return false;
	for (size_t i = 0; i < rs.n; i++)
		if (rs.r[i].suppresses && rs.r[i].family == (v4 ? AF_INET : AF_INET6))
			return true;
	return false;
}

int kernel_full_tunnel(struct kernel_routes *k, bool v4, uint32_t table)
{
	struct rule marked = marked_rule(v4, table), main = main_rule(v4);

	k->full_table = table;
	if (k->full[v4])
		return 0;
	int err = rule_send(k, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &marked);
	if (err < 0)
		return !v4 && err == -EOPNOTSUPP ? -EAFNOSUPPORT : err;
	k->full[v4] = true;
	if (somebody_suppresses(k, v4))
		return 0;
	err = rule_send(k, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &main);
	if (err < 0)
		kernel_full_tunnel_end(k, v4);
	else
		k->suppresses[v4] = true;
	return err;
}

void kernel_full_tunnel_end(struct kernel_routes *k, bool v4)
{
	struct rule marked = marked_rule(v4, k->full_table), main = main_rule(v4);
	if (k->suppresses[v4])
		(void)rule_send(k, RTM_DELRULE, 0, &main);
	if (k->full[v4])
		(void)rule_send(k, RTM_DELRULE, 0, &marked);
	k->full[v4] = k->suppresses[v4] = false;
}

/* A living gateway has a route in its table; where none lives, nobody needs the other rule. */
void kernel_clean_rules(struct kernel_routes *k)
{
	struct rules rs = { 0 };
	bool living = false;

	if (rtnl_dump(k, RTM_GETRULE, see_rule, &rs) < 0)
		return;
	for (size_t i = 0; i < rs.n; i++) {
		struct rule *r = &rs.r[i];
		if (r->protocol != ROUTE_PROTOCOL || r->suppresses)
			continue;
		if (table_used(k, r->table))
			living = true;
		else
			(void)rule_send(k, RTM_DELRULE, 0, r);
	}
	for (size_t i = 0; i < rs.n && !living; i++)
		if (rs.r[i].protocol == ROUTE_PROTOCOL && rs.r[i].suppresses)
			(void)rule_send(k, RTM_DELRULE, 0, &rs.r[i]);
}
