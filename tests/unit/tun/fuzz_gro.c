/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run of packets, each behind a flag byte (1: mend its sums, 2: with a partial sum) and a be16 length.
 * Each write must give the packets back when it is cut again, and a packet alone must be as it was.
 */
#include "packets.h"
#include <stdlib.h>

enum { RUN_MAX = 70 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * The naive sums look at what a packet says of itself: only whole ordinary headers may be mended.
 */
static bool may_mend(const uint8_t *p, size_t n)
{
	if (n >= 60 && p[0] >> 4 == 6)
		return p[6] == 6 || p[6] == 17;
	return n >= 40 && p[0] == 0x45;
}

static size_t read_run(struct rd *r, bool *udp, struct gro_packet *pkts, struct gro_packet *was)
{
	size_t n = 0;
	*udp = rd_u8(r) & 1;
	while (n < RUN_MAX && r->left >= 3) {
		struct vnet_hdr ignored;
		uint8_t flags = rd_u8(r);
		bool mend = flags & 1;
		size_t len = size_min(rd_be16(r), r->left);
		uint8_t *p = malloc(len ? len : 1), *q = malloc(len ? len : 1);
		if (!p || !q)
			abort();
		rd_bytes(r, p, len);
		if (mend && may_mend(p, len))
			packet_fix_sums(p, (uint32_t)len);
		memcpy(q, p, len);
		bool partial = flags & 2 && partial_vnet(p, len, &ignored);
		pkts[n] = (struct gro_packet){ p, (uint32_t)len, partial };
		was[n++] = (struct gro_packet){ q, (uint32_t)len, partial };
	}
	return n;
}

/*
 * Byte for byte, but for what two right packets may differ in: ids that stand still, absent sums.
 */
static bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
	bool v4 = b[0] >> 4 == 4;
	uint32_t l4 = v4 ? 20 : 40, sum = l4 + (packet_is_udp(b) ? 6 : 16);
	for (size_t i = 0; i < n; i++) {
		bool id = v4 && (i == 4 || i == 5 || i == 10 || i == 11);
		bool l4_sum = i == sum || i == sum + 1;
		if (a[i] != b[i] && !id && !l4_sum)
			return false;
	}
	return true;
}

static void check_merged(const struct gro_write *w, const struct gro_packet *was)
{
	static uint8_t flat[PACKET_MAX], cut[PACKET_MAX];
	struct gso_plan plan;
	uint32_t n = 0;
	for (int i = 1; i < w->iovcnt; i++) {
		if (n + w->iov[i].iov_len > sizeof(flat))
			abort();
		memcpy(flat + n, w->iov[i].iov_base, w->iov[i].iov_len);
		n += (uint32_t)w->iov[i].iov_len;
	}
	if (n != w->bytes || gso_plan(&w->vnet, flat, n, 65535, &plan) != DROP_NONE ||
	    plan.segments != w->packets)
		abort();
	for (uint32_t i = 0; i < plan.segments; i++) {
		uint32_t len = i + 1 < plan.segments ? plan.seg_len : plan.last_len;
		gso_split(&w->vnet, flat, &plan, i, 1, false, cut, len);
		if (len != was[i].len || !packet_sums_ok(cut, len) || !same(cut, was[i].ip, len))
			abort();
		const uint8_t *old = was[i].ip;
		bool absent = packet_is_udp(old) && load_be16(old + packet_l4(old) + 6) == 0;
		if (!absent && !was[i].partial && !packet_sums_ok(old, len))
			abort(); /* a wrong one was merged */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gro_packet pkts[RUN_MAX], was[RUN_MAX];
	struct rd r = rd_of(data, size);
	bool udp;
	size_t n = read_run(&r, &udp, pkts, was);
	for (size_t i = 0; i < n;) {
		struct gro_write w;
		size_t used = gro_merge(pkts, i, n, udp, &w);
		if (used == 0 || used > n - i || used != w.packets)
			abort();
		if (used > 1)
			check_merged(&w, was + i);
		else if (memcmp(pkts[i].ip, was[i].ip, was[i].len) != 0)
			abort();
		i += used;
	}
	for (size_t i = 0; i < n; i++) {
		free(pkts[i].ip);
		free(was[i].ip);
	}
	return 0;
}
