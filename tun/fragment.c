/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting a packet into frames, and reading one frame. What puts them together is reassembly.c. */
#include "tun/fragment.h"
#include "base/bytes.h"

/*
 * count is the least that will do, so count - 1 full frames do not hold the packet; part is no more
 * than a full frame, so the last part is never empty.
 */
enum drop fragment_plan(size_t len, uint32_t room, struct fragment_plan *plan)
{
	if (len == 0)
		return DROP_INNER_MALFORMED;
	if (len > FRAGMENT_PACKET_MAX || room <= FRAGMENT_HEADER_LEN)
		return DROP_TOO_BIG;
	uint32_t total = (uint32_t)len, full = room - FRAGMENT_HEADER_LEN;
	/* not (total + full - 1) / full, since a caller's room may be without bound */
	uint32_t count = (total - 1) / full + 1;
	if (count > FRAGMENT_PARTS_MAX)
		return DROP_TOO_BIG;
	*plan = (struct fragment_plan){ .total = total,
					.count = count,
					.part = (total - 1) / count + 1 };
	return DROP_NONE;
}

uint32_t fragment_write(const struct fragment_plan *plan, uint32_t i, uint32_t id,
			const uint8_t *packet, uint8_t *out)
{
	uint32_t offset = i * plan->part;
	assert(i < plan->count && offset < plan->total);
	uint32_t length = (uint32_t)size_min(plan->part, plan->total - offset);
	struct wr w = wr_of(out, FRAGMENT_HEADER_LEN + plan->part);
	wr_u8(&w, FRAGMENT_FIRST_BYTE);
	wr_u8(&w, FRAGMENT_VERSION);
	wr_be16(&w, (uint16_t)plan->total);
	wr_be32(&w, id);
	wr_be16(&w, (uint16_t)offset);
	wr_be16(&w, (uint16_t)length);
	wr_bytes(&w, packet + offset, length);
	assert(wr_ok(&w));
	return (uint32_t)w.len;
}

enum drop fragment_read(const uint8_t *frame, size_t len, struct fragment *f)
{
	struct rd r = rd_of(frame, len);
	uint8_t first = rd_u8(&r), version = rd_u8(&r);
	if (!rd_ok(&r) || first != FRAGMENT_FIRST_BYTE)
		return DROP_FRAME_MALFORMED;
	if (version != FRAGMENT_VERSION)
		return DROP_FRAME_VERSION;
	f->total = rd_be16(&r);
	f->id = rd_be32(&r);
	f->offset = rd_be16(&r);
	f->length = rd_be16(&r);
	f->bytes = rd_take(&r, f->length);
	/* what is left is padding */
	if (!rd_ok(&r) || f->length == 0 || f->total < FRAGMENT_PACKET_MIN ||
	    f->total > FRAGMENT_PACKET_MAX || (uint32_t)f->offset + f->length > f->total)
		return DROP_FRAME_MALFORMED;
	return DROP_NONE;
}
