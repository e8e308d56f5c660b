/* SPDX-License-Identifier: Apache-2.0 */
/* In-tunnel frames: the codec. frame.h draws them. */
#include "punch/frame.h"

static_assert(PROBE_ACK_LEN <= PROBE_LEN, "an answer never is longer than what it answers");

/*
 * The type and the version that all begin with. Another version is told as such at any length: it may
 * have shorter frames.
 */
static enum drop head_parse(struct rd *r, uint8_t type)
{
	uint8_t got = rd_u8(r), version = rd_u8(r);
	if (!rd_ok(r) || got != type)
		return DROP_FRAME_MALFORMED;
	return version == FRAME_VERSION ? DROP_NONE : DROP_FRAME_VERSION;
}

static enum drop end_parse(const struct rd *r)
{
	return rd_ok(r) ? DROP_NONE : DROP_FRAME_MALFORMED;
}

enum drop frame_hello_parse(const uint8_t *p, size_t len, struct frame_hello *out)
{
	struct rd r = rd_of(p, len);
	enum drop why = head_parse(&r, FRAME_HELLO);
	if (why)
		return why;
	out->flags = rd_u8(&r);
	rd_take(&r, 1);
	out->capabilities = rd_be32(&r);
	out->largest = rd_be16(&r);
	rd_take(&r, 6);
	return end_parse(&r);
}

enum drop frame_probe_parse(const uint8_t *p, size_t len, struct frame_probe *out)
{
	struct rd r = rd_of(p, len);
	enum drop why = head_parse(&r, FRAME_PROBE);
	if (why)
		return why;
	out->size = rd_be16(&r);
	out->path = rd_be32(&r);
	out->number = rd_be32(&r);
	out->watch = rd_be16(&r);
	rd_take(&r, PROBE_LEN - 14);
	return end_parse(&r);
}

enum drop frame_ack_parse(const uint8_t *p, size_t len, struct frame_ack *out)
{
	struct rd r = rd_of(p, len);
	enum drop why = head_parse(&r, FRAME_PROBE_ACK);
	if (why)
		return why;
	out->watch = rd_be16(&r);
	out->path = rd_be32(&r);
	out->newest = rd_be32(&r);
	out->seen = rd_be64(&r);
	out->count = rd_be32(&r);
	rd_take(&r, PROBE_ACK_LEN - 24);
	return end_parse(&r);
}

static struct wr head_write(uint8_t *out, size_t len, uint8_t type)
{
	struct wr w = wr_of(out, len);
	wr_u8(&w, type);
	wr_u8(&w, FRAME_VERSION);
	return w;
}

void frame_hello_write(const struct frame_hello *f, uint8_t out[static HELLO_LEN])
{
	struct wr w = head_write(out, HELLO_LEN, FRAME_HELLO);
	wr_u8(&w, f->flags);
	wr_u8(&w, 0);
	wr_be32(&w, f->capabilities);
	wr_be16(&w, f->largest);
	wr_zeros(&w, HELLO_LEN - w.len);
}

void frame_probe_write(const struct frame_probe *f, uint8_t out[static PROBE_LEN])
{
	struct wr w = head_write(out, PROBE_LEN, FRAME_PROBE);
	wr_be16(&w, f->size);
	wr_be32(&w, f->path);
	wr_be32(&w, f->number);
	wr_be16(&w, f->watch);
	wr_zeros(&w, PROBE_LEN - w.len);
}

void frame_ack_write(const struct frame_ack *f, uint8_t out[static PROBE_ACK_LEN])
{
	struct wr w = head_write(out, PROBE_ACK_LEN, FRAME_PROBE_ACK);
	wr_be16(&w, f->watch);
	wr_be32(&w, f->path);
	wr_be32(&w, f->newest);
	wr_be64(&w, f->seen);
	wr_be32(&w, f->count);
	wr_zeros(&w, PROBE_ACK_LEN - w.len);
}
