/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

const uint8_t *rd_take(struct rd *r, size_t n)
{
	if (r->failed || n > r->left) {
		rd_fail(r);
		return NULL;
	}
	const uint8_t *p = r->p;
	r->p += n;
	r->left -= n;
	return p;
}

void rd_bytes(struct rd *r, void *out, size_t n)
{
	const uint8_t *p = rd_take(r, n);
	if (p)
		memcpy(out, p, n);
	else
		memset(out, 0, n);
}

uint8_t rd_u8(struct rd *r)
{
	const uint8_t *p = rd_take(r, 1);
	return p ? *p : 0;
}

uint16_t rd_be16(struct rd *r)
{
	const uint8_t *p = rd_take(r, 2);
	return p ? load_be16(p) : 0;
}

uint32_t rd_be32(struct rd *r)
{
	const uint8_t *p = rd_take(r, 4);
	return p ? load_be32(p) : 0;
}

uint64_t rd_be64(struct rd *r)
{
	const uint8_t *p = rd_take(r, 8);
	return p ? load_be64(p) : 0;
}

struct rd rd_sub(struct rd *r, size_t n)
{
	const uint8_t *p = rd_take(r, n);
	struct rd sub = rd_of(p, p ? n : 0);
	sub.failed = !p;
	return sub;
}

/* Room for `n` more bytes, or NULL (and failed for good). */
static uint8_t *wr_room(struct wr *w, size_t n)
{
	if (w->failed || n > w->cap - w->len) {
		w->failed = true;
		return NULL;
	}
	uint8_t *p = w->base + w->len;
	w->len += n;
	return p;
}

void wr_bytes(struct wr *w, const void *p, size_t n)
{
	uint8_t *to = wr_room(w, n);
	if (to && n)
		memcpy(to, p, n);
}

void wr_zeros(struct wr *w, size_t n)
{
	uint8_t *to = wr_room(w, n);
	if (to)
		memset(to, 0, n);
}

void wr_u8(struct wr *w, uint8_t v)
{
	wr_bytes(w, &v, 1);
}

void wr_be16(struct wr *w, uint16_t v)
{
	uint8_t *to = wr_room(w, 2);
	if (to)
		store_be16(to, v);
}

void wr_be32(struct wr *w, uint32_t v)
{
	uint8_t *to = wr_room(w, 4);
	if (to)
		store_be32(to, v);
}

void wr_be64(struct wr *w, uint64_t v)
{
	uint8_t *to = wr_room(w, 8);
	if (to)
		store_be64(to, v);
}

bool rd_tlv(struct rd *r, struct tlv *t)
{
	if (r->failed || r->left == 0)
		return false;
	uint16_t type = rd_be16(r);
	uint16_t len = rd_be16(r);
	t->value = rd_sub(r, len);
	t->type = (uint16_t)(type & ~TLV_CRITICAL);
	t->critical = type & TLV_CRITICAL;
	return rd_ok(r);
}

size_t wr_tlv_begin(struct wr *w, uint16_t type)
{
	wr_be16(w, type);
	wr_be16(w, 0);
	return w->len;
}

void wr_tlv_end(struct wr *w, size_t mark)
{
	if (w->failed)
		return;
	if (w->len - mark > UINT16_MAX) {
		w->failed = true;
		return;
	}
	store_be16(w->base + mark - 2, (uint16_t)(w->len - mark));
}

void wr_tlv(struct wr *w, uint16_t type, const void *p, size_t n)
{
	size_t mark = wr_tlv_begin(w, type);
	wr_bytes(w, p, n);
	wr_tlv_end(w, mark);
}
