/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vnet header (10 bytes), the room (2 bytes) and a packet. What the plan takes must be cut within
 * bounds, whole, and into packets that are right by the naive rules.
 */
#include "packets.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The naive sums know one extension header, and take the protocol from where it says. */
static bool naive_knows(const struct vnet_hdr *h, const uint8_t *ip)
{
	uint8_t proto = h->gso_type == VNET_GSO_UDP_L4 ? 17 : 6;
	if (h->gso_type == VNET_GSO_NONE || packet_l4(ip) != h->csum_start)
		return false;
	return ip[0] >> 4 == 4 || ip[6] == proto || (ip[6] == 60 && ip[40] == proto);
}

static void check(const struct vnet_hdr *h, const uint8_t *ip, size_t len,
		  const struct gso_plan *plan)
{
	/* one segment at a time into exactly its size, so that ASan sees one byte too many */
	uint32_t payload = 0;
	for (uint32_t i = 0; i < plan->segments; i++) {
		uint32_t n = i + 1 < plan->segments ? plan->seg_len : plan->last_len;
		uint8_t *out = malloc(n);
		if (!out)
			abort();
		gso_split(h, ip, plan, i, 1, false, out, n);
		payload += n - plan->hdr_len;
		bool v6 = ip[0] >> 4 == 6;
		if (n > plan->seg_len || load_be16(out + (v6 ? 4 : 2)) + (v6 ? 40u : 0) != n)
			abort();
		if (naive_knows(h, ip) && !packet_sums_ok(out, n))
			abort();
		free(out);
	}
	if (payload != len - plan->hdr_len)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vnet_hdr h;
	struct gso_plan plan;
	if (size < VNET_HDR_LEN + 2)
		return 0;
	memcpy(&h, data, VNET_HDR_LEN);
	uint32_t room = load_be16(data + VNET_HDR_LEN);
	const uint8_t *ip = data + VNET_HDR_LEN + 2;
	size_t len = size - VNET_HDR_LEN - 2;
	if (gso_plan(&h, ip, len, room, &plan) == DROP_NONE)
		check(&h, ip, len, &plan);
	return 0;
}
