/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything through the tunnel but the tunnel itself, as wg-quick(8) does it: a default route in a table
 * of its own, and two rules before the usual ones, in `ip rule`'s words:
 *
 *	from all lookup main suppress_prefixlength 0	all routes of the host but its default
 *	not from all fwmark MARK lookup TABLE		whatever our socket has not marked
 *
 * Both are ours, also where somebody else has the first: it has to stand before the second, and to stay as
 * long. The kernel puts a new rule before all others, so the second is made first.
 *
 * A killed gateway's rules outlive it and lead to a table that went empty with its TUN, so that all goes
 * on to the main table; the next start with a configuration file removes them.
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

/* The kernel's echo of a new rule. */
static void see_made(void *ctx, struct nlmsghdr *h)
{
	struct rule r;
	if (ctx && rule_of(h, &r))
		*(struct rule *)ctx = r;
}

/* RTM_NEWRULE or RTM_DELRULE. Where no priority is said the kernel puts a new one before all others. */
static int rule_send(struct kernel_routes *k, int type, int flags, const struct rule *r,
		     struct rule *made)
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
	return rtnl_talk(k, m, see_made, made);
}

static int rule_make(struct kernel_routes *k, struct rule r, uint32_t *priority)
{
	struct rule made = { 0 };
	int err = rule_send(k, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, &r, &made);
	*priority = made.priority;
	return err;
}

/* That very one: others may have one like it. */
static void rule_delete(struct kernel_routes *k, struct rule r, uint32_t priority)
{
	r.priority = priority;
	(void)rule_send(k, RTM_DELRULE, 0, &r, NULL);
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

/* Gateways' of this host. */
static void see_rule(void *ctx, struct nlmsghdr *h)
{
	struct rules *rs = ctx;
	struct rule r;
	if (rs->n < RULES_MAX && rule_of(h, &r) && r.protocol == ROUTE_PROTOCOL)
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

int kernel_full_tunnel(struct kernel_routes *k, bool v4, uint32_t table)
{
	struct full_tunnel f = { .table = table };

	if (k->full[v4].table)
		return 0;
	int err = rule_make(k, marked_rule(v4, table), &f.marked_at);
	if (err < 0)
		return !v4 && err == -EOPNOTSUPP ? -EAFNOSUPPORT : err;
	err = rule_make(k, main_rule(v4), &f.main_at);
	if (err == 0 && f.main_at >= f.marked_at) { /* somebody's rules leave no room before them */
		rule_delete(k, main_rule(v4), f.main_at);
		err = -ENOSPC;
	}
	if (err < 0)
		rule_delete(k, marked_rule(v4, table), f.marked_at);
	else
		k->full[v4] = f;
	return err;
}

void kernel_full_tunnel_end(struct kernel_routes *k, bool v4)
{
	const struct full_tunnel *f = &k->full[v4];
	if (!f->table)
		return;
	rule_delete(k, main_rule(v4), f->main_at);
	rule_delete(k, marked_rule(v4, f->table), f->marked_at);
	k->full[v4] = (struct full_tunnel){ 0 };
}

/* A living gateway has a route in its table; the rule before a dead one's was made with it. */
void kernel_clean_rules(struct kernel_routes *k)
{
	struct rules rs = { 0 };
	bool living = false;

	if (rtnl_dump(k, RTM_GETRULE, see_rule, &rs) < 0)
		return;
	for (size_t i = 0; i < rs.n; i++) {
		struct rule *r = &rs.r[i];
		if (r->suppresses)
			continue;
		bool used = table_used(k, r->table);
		living |= used;
		if (!used)
			rule_delete(k, *r, r->priority);
		if (!used && i && r[-1].suppresses && r[-1].family == r->family)
			rule_delete(k, r[-1], r[-1].priority);
	}
	for (size_t i = 0; i < rs.n && !living; i++)
		if (rs.r[i].suppresses)
			rule_delete(k, rs.r[i], rs.r[i].priority);
}
