/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/member.h"

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool worker_id_valid(const char *id)
{
	size_t len = 0;
	if (!is_alnum(id[0]))
		return false;
	for (; id[len]; len++)
		if (len >= WORKER_ID_LEN - 1 ||
		    (!is_alnum(id[len]) && id[len] != '_' && id[len] != '-'))
			return false;
	return true;
}

static bool prefix_present(const struct prefix *p)
{
	return !addr_is_any(&p->addr);
}

/* Hosts that a prefix has: the network itself is left out, and IPv4's broadcast address. */
static member_number prefix_hosts(const struct prefix *p)
{
	unsigned host_bits = 128u - prefix_bits128(p);
	member_number all = host_bits >= 32 ? UINT32_MAX : ((member_number)1 << host_bits) - 1;
	if (all && addr_is_v4(&p->addr))
		all--;
	/* never the whole 32 bits, so that a loop over numbers ends */
	return all == UINT32_MAX ? all - 1 : all;
}

member_number member_number_max(const struct prefix *p4, const struct prefix *p6)
{
	member_number max4 = prefix_present(p4) ? prefix_hosts(p4) : UINT32_MAX;
	member_number max6 = prefix_present(p6) ? prefix_hosts(p6) : UINT32_MAX;
	member_number max = max4 < max6 ? max4 : max6;
	return max == UINT32_MAX ? 0 : max;
}

struct addr member_addr(const struct prefix *p, member_number number)
{
	struct addr a = p->addr;
	if (!prefix_present(p))
		return addr_any;
	store_be32(a.b + 12, load_be32(a.b + 12) | number);
	return a;
}

bool candidate_valid(const struct endpoint *e, const struct prefix *p4, const struct prefix *p6)
{
	const struct addr *a = &e->addr;
	if (e->port == 0 || addr_is_any(a) || addr_is_loopback(a) || addr_is_multicast(a) ||
	    addr_is_link_local(a))
		return false;
	/* 0.0.0.0/8 is "this network", 240.0.0.0/4 reserved, with the broadcast address in it */
	if (addr_is_v4(a) && (a->b[12] == 0 || a->b[12] >= 240))
		return false;
	/* an address inside the tunnel would lead the tunnel into itself */
	return !(prefix_present(p4) && prefix_contains(p4, a)) &&
	       !(prefix_present(p6) && prefix_contains(p6, a));
}
