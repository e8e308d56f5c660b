/* SPDX-License-Identifier: Apache-2.0 */
#include "route/rtnl.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <netlink/errno.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { DUMP_TRIES = 5 };

int rtnl_errno(int nle)
{
	static const int to_errno[NLE_MAX + 1] = {
		[NLE_INTR] = EINTR,
		[NLE_BAD_SOCK] = ENOTSOCK,
		[NLE_AGAIN] = EAGAIN,
		[NLE_NOMEM] = ENOMEM,
		[NLE_EXIST] = EEXIST,
		[NLE_INVAL] = EINVAL,
		[NLE_RANGE] = ERANGE,
		[NLE_MSGSIZE] = EMSGSIZE,
		[NLE_OPNOTSUPP] = EOPNOTSUPP,
		[NLE_AF_NOSUPPORT] = EAFNOSUPPORT,
		[NLE_OBJ_NOTFOUND] = ENOENT,
		[NLE_NOADDR] = EADDRNOTAVAIL,
		[NLE_BUSY] = EBUSY,
		[NLE_NOACCESS] = EACCES,
		[NLE_PERM] = EPERM,
		[NLE_NODEV] = ENODEV,
		[NLE_PROTO_MISMATCH] = EPROTONOSUPPORT,
		[NLE_DUMP_INTR] = EINTR,
	};
	int code = nle < 0 ? -nle : nle;
	if (code == 0)
		return 0;
	return code <= NLE_MAX && to_errno[code] ? -to_errno[code] : -EIO;
}

uint8_t rtnl_family(const struct prefix *p)
{
	return addr_is_v4(&p->addr) ? AF_INET : AF_INET6;
}

int rtnl_no_ipv6(const struct prefix *p, int err)
{
	if (rtnl_family(p) == AF_INET6 && (err == -EACCES || err == -EOPNOTSUPP))
		return -EAFNOSUPPORT;
	return err;
}

int rtnl_gone_is_fine(int err)
{
	if (err == -ESRCH || err == -ENOENT || err == -ENODEV || err == -EADDRNOTAVAIL ||
	    err == -EAFNOSUPPORT)
		return 0;
	return err;
}

/* An answer to a request that was given up is not one to this. */
static int on_seq(struct nl_msg *m, void *arg)
{
	const struct kernel_routes *k = arg;
	return nlmsg_hdr(m)->nlmsg_seq == k->seq ? NL_OK : NL_SKIP;
}

static int on_valid(struct nl_msg *m, void *arg)
{
	struct kernel_routes *k = arg;
	if (k->each)
		k->each(k->ctx, nlmsg_hdr(m));
	return NL_OK;
}

static int on_done(struct nl_msg *m, void *arg)
{
	struct kernel_routes *k = arg;
	(void)m;
	k->done = true;
	return NL_STOP;
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *e, void *arg)
{
	struct kernel_routes *k = arg;
	(void)from;
	k->err = e->error;
	k->done = true;
	return NL_STOP;
}

const struct syscall_rule route_syscalls[] = {
	CALL(sendmsg), CALL(sendto), CALL(recvmsg), CALL(recvfrom), CALLS_END,
};

int rtnl_open(struct kernel_routes *k)
{
	k->sk = nl_socket_alloc();
	k->cb = nl_cb_alloc(NL_CB_DEFAULT);
	if (!k->sk || !k->cb)
		return -ENOMEM;
	nl_cb_set(k->cb, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, on_seq, k);
	nl_cb_set(k->cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, k);
	nl_cb_set(k->cb, NL_CB_ACK, NL_CB_CUSTOM, on_done, k);
	nl_cb_set(k->cb, NL_CB_FINISH, NL_CB_CUSTOM, on_done, k);
	nl_cb_err(k->cb, NL_CB_CUSTOM, on_error, k);
	return rtnl_errno(nl_connect(k->sk, NETLINK_ROUTE));
}

void rtnl_close(struct kernel_routes *k)
{
	if (k->sk)
		nl_socket_free(k->sk);
	nl_cb_put(k->cb);
}

struct nl_msg *rtnl_request(int type, int flags, const void *header, size_t len)
{
	struct nl_msg *m = nlmsg_alloc_simple(type, flags);
	if (!m || nlmsg_append(m, (void *)(uintptr_t)header, len, NLMSG_ALIGNTO) < 0) {
		nlmsg_free(m);
		return NULL;
	}
	return m;
}

int rtnl_put_addr(struct nl_msg *m, int attr, const struct addr *a)
{
	return addr_is_v4(a) ? nla_put(m, attr, 4, a->b + 12) : nla_put(m, attr, 16, a->b);
}

int rtnl_talk(struct kernel_routes *k, struct nl_msg *m,
	      void (*each)(void *ctx, struct nlmsghdr *h), void *ctx)
{
	if (!m)
		return -ENOMEM;
	k->each = each;
	k->ctx = ctx;
	k->done = false;
	k->err = 0;
	int nle = nl_send_auto(k->sk, m);
	k->seq = nlmsg_hdr(m)->nlmsg_seq;
	nlmsg_free(m);
	while (nle >= 0 && !k->done)
		nle = nl_recvmsgs(k->sk, k->cb);
	/* on_error() has the kernel's own number; what else fails is libnl's */
	if (k->err)
		return k->err;
	return nle < 0 ? rtnl_errno(nle) : 0;
}

int rtnl_dump(struct kernel_routes *k, int type, void (*each)(void *ctx, struct nlmsghdr *h),
	      void *ctx)
{
	/* the family, AF_UNSPEC, is the first byte of each of the four headers */
	static const struct ifinfomsg header;
	size_t len = type == RTM_GETROUTE  ? sizeof(struct rtmsg)
		     : type == RTM_GETADDR ? sizeof(struct ifaddrmsg)
		     : type == RTM_GETRULE ? sizeof(struct fib_rule_hdr)
					   : sizeof(struct ifinfomsg);
	int err = -EINTR;
	for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++)
		err = rtnl_talk(k, rtnl_request(type, NLM_F_DUMP, &header, len), each, ctx);
	return err == -EINTR ? 0 : err; /* a table that never rests: what was seen has to do */
}

/* An address attribute of either family. */
static bool addr_of(struct nlattr *a, uint8_t family, struct addr *out)
{
	if (!a)
		return false;
	if (family == AF_INET && nla_len(a) == 4)
		*out = addr_v4(nla_data(a));
	else if (family == AF_INET6 && nla_len(a) == 16)
		memcpy(out->b, nla_data(a), 16);
	else
		return false;
	return true;
}

/* RTA_VIA: a gateway of a family that need not be the route's. */
static bool via_of(struct nlattr *a, struct addr *out)
{
	if (!a || nla_len(a) < (int)sizeof(struct rtvia))
		return false;
	const struct rtvia *via = nla_data(a);
	size_t len = (size_t)nla_len(a) - sizeof(*via);
	if (via->rtvia_family == AF_INET && len == 4)
		*out = addr_v4(via->rtvia_addr);
	else if (via->rtvia_family == AF_INET6 && len == 16)
		memcpy(out->b, via->rtvia_addr, 16);
	else
		return false;
	return true;
}

static void add_gateway(struct rtnl_route *r, struct nlattr **tb, uint8_t family)
{
	struct addr a;
	if (r->gateways < RTNL_GATEWAYS &&
	    (addr_of(tb[RTA_GATEWAY], family, &a) || via_of(tb[RTA_VIA], &a)))
		r->gateway[r->gateways++] = a;
}

static void add_nexthops(struct rtnl_route *r, struct nlattr *multipath, uint8_t family)
{
	struct rd rest = rd_of(nla_data(multipath), (size_t)nla_len(multipath));
	struct rtnexthop nh;
	while (rest.left >= sizeof(nh)) {
		memcpy(&nh, rest.p, sizeof(nh));
		struct rd one = rd_sub(&rest, nh.rtnh_len);
		const uint8_t *head = rd_take(&one, sizeof(nh));
		if (!head)
			return;
		if (!r->oif)
			r->oif = (unsigned)nh.rtnh_ifindex;
		struct nlattr *tb[RTA_MAX + 1] = { 0 };
		void *attrs = (void *)(uintptr_t)one.p; /* libnl's parser knows no const */
		if (nla_parse(tb, RTA_MAX, attrs, (int)one.left, NULL) == 0)
			add_gateway(r, tb, family);
		rd_take(&rest, size_min(rest.left, (4u - nh.rtnh_len % 4u) % 4u));
	}
}

uint32_t rtnl_u32(struct nlattr *a, uint32_t otherwise)
{
	return a && nla_len(a) >= 4 ? nla_get_u32(a) : otherwise;
}

static void add_metrics(struct rtnl_route *r, struct nlattr *metrics)
{
	struct nlattr *tb[RTAX_MAX + 1] = { 0 };
	if (nla_parse_nested(tb, RTAX_MAX, metrics, NULL) < 0)
		return;
	r->mtu = rtnl_u32(tb[RTAX_MTU], 0);
	r->advmss = rtnl_u32(tb[RTAX_ADVMSS], 0);
}

bool rtnl_route_of(struct nlmsghdr *h, struct rtnl_route *out)
{
	struct nlattr *tb[RTA_MAX + 1] = { 0 };
	if ((h->nlmsg_type != RTM_NEWROUTE && h->nlmsg_type != RTM_DELROUTE) ||
	    !nlmsg_valid_hdr(h, sizeof(struct rtmsg)))
		return false;
	const struct rtmsg *m = nlmsg_data(h);
	bool v4 = m->rtm_family == AF_INET;
	if ((!v4 && m->rtm_family != AF_INET6) || m->rtm_dst_len > (v4 ? 32 : 128) ||
	    nlmsg_parse(h, sizeof(*m), tb, RTA_MAX, NULL) < 0)
		return false;
	struct addr dst = v4 ? addr_v4_u32(0) : addr_any;
	if (tb[RTA_DST] && !addr_of(tb[RTA_DST], m->rtm_family, &dst))
		return false;
	*out = (struct rtnl_route){
		.type = m->rtm_type,
		.protocol = m->rtm_protocol,
		.cloned = m->rtm_flags & RTM_F_CLONED,
		.table = rtnl_u32(tb[RTA_TABLE], m->rtm_table),
		.metric = rtnl_u32(tb[RTA_PRIORITY], 0),
		.dst = prefix_of(&dst, m->rtm_dst_len),
		.oif = rtnl_u32(tb[RTA_OIF], 0),
	};
	add_gateway(out, tb, m->rtm_family);
	if (tb[RTA_MULTIPATH])
		add_nexthops(out, tb[RTA_MULTIPATH], m->rtm_family);
	if (tb[RTA_METRICS])
		add_metrics(out, tb[RTA_METRICS]);
	return true;
}

bool rtnl_address_of(struct nlmsghdr *h, struct rtnl_address *out)
{
	struct nlattr *tb[IFA_MAX + 1] = { 0 };
	if ((h->nlmsg_type != RTM_NEWADDR && h->nlmsg_type != RTM_DELADDR) ||
	    !nlmsg_valid_hdr(h, sizeof(struct ifaddrmsg)))
		return false;
	const struct ifaddrmsg *m = nlmsg_data(h);
	if (nlmsg_parse(h, sizeof(*m), tb, IFA_MAX, NULL) < 0)
		return false;
	*out = (struct rtnl_address){
		.ifindex = m->ifa_index,
		.scope = m->ifa_scope,
		.bits = m->ifa_prefixlen,
		.flags = rtnl_u32(tb[IFA_FLAGS], m->ifa_flags),
	};
	/* on a link with a far end IFA_ADDRESS is that end's, and ours is IFA_LOCAL */
	return out->bits <= (m->ifa_family == AF_INET ? 32 : 128) &&
	       (addr_of(tb[IFA_LOCAL], m->ifa_family, &out->addr) ||
		addr_of(tb[IFA_ADDRESS], m->ifa_family, &out->addr));
}

bool rtnl_link_of(struct nlmsghdr *h, struct rtnl_link *out)
{
	struct nlattr *tb[IFLA_MAX + 1] = { 0 };
	if ((h->nlmsg_type != RTM_NEWLINK && h->nlmsg_type != RTM_DELLINK) ||
	    !nlmsg_valid_hdr(h, sizeof(struct ifinfomsg)))
		return false;
	const struct ifinfomsg *m = nlmsg_data(h);
	if (nlmsg_parse(h, sizeof(*m), tb, IFLA_MAX, NULL) < 0)
		return false;
	*out = (struct rtnl_link){
		.ifindex = (unsigned)m->ifi_index,
		.flags = m->ifi_flags,
		.mtu = rtnl_u32(tb[IFLA_MTU], 0),
		.wireless_event = tb[IFLA_WIRELESS],
	};
	return true;
}
