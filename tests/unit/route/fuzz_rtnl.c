/* SPDX-License-Identifier: Apache-2.0 */
/* Netlink messages and resolv.conf lines of any bytes. The first byte chooses the message's type. */
#include "route/resolv.h"
#include "route/rtnl.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_message(uint16_t type, const uint8_t *p, size_t len)
{
	struct nlmsghdr *h = malloc(sizeof(*h) + len);
	struct rtnl_route r;
	struct rtnl_address a;
	struct rtnl_link l;
	if (!h)
		return;
	*h = (struct nlmsghdr){ .nlmsg_len = (uint32_t)(sizeof(*h) + len), .nlmsg_type = type };
	memcpy(h + 1, p, len);
	if (rtnl_route_of(h, &r) && (r.gateways > RTNL_GATEWAYS || r.dst.bits > 128))
		abort();
	if (rtnl_address_of(h, &a) && a.bits > 128)
		abort();
	if (rtnl_link_of(h, &l) && l.wireless_event && type != RTM_NEWLINK && type != RTM_DELLINK)
		abort();
	free(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t types[] = { RTM_NEWROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_DELROUTE };
	struct addr a;
	if (size < 1 || size > 4096)
		return 0;
	as_message(types[data[0] % ARRAY_SIZE(types)], data + 1, size - 1);
	char *line = malloc(size + 1);
	if (!line)
		return 0;
	memcpy(line, data, size);
	line[size] = 0;
	if (resolv_line(line, &a) && !strstr(line, "nameserver"))
		abort();
	free(line);
	return 0;
}
