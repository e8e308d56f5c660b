/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes in and out. Bounds live here and nowhere else.
 *
 * `struct rd` reads from untrusted bytes, `struct wr` writes into a bounded buffer. Both fail
 * stickily: after the first step out of bounds every later read gives zeros (every later write does
 * nothing), and one rd_ok() or wr_ok() at the end tells. Nothing is allocated or owned.
 *
 * Wire structs hold only le16..be64 and uint8_t arrays: alignment 1, no padding, no aliasing.
 */
#ifndef WARREN_BYTES_H
#define WARREN_BYTES_H

#include "base/base.h"
#include <string.h>

typedef struct {
	uint8_t b[2];
} be16;
typedef struct {
	uint8_t b[4];
} be32;
typedef struct {
	uint8_t b[8];
} be64;
typedef struct {
	uint8_t b[4];
} le32;
typedef struct {
	uint8_t b[8];
} le64;

static inline uint16_t load_be16(const uint8_t p[static 2])
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t load_be32(const uint8_t p[static 4])
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t load_be64(const uint8_t p[static 8])
{
	return (uint64_t)load_be32(p) << 32 | load_be32(p + 4);
}

static inline uint32_t load_le32(const uint8_t p[static 4])
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static inline uint64_t load_le64(const uint8_t p[static 8])
{
	return (uint64_t)load_le32(p + 4) << 32 | load_le32(p);
}

static inline void store_be16(uint8_t p[static 2], uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void store_be32(uint8_t p[static 4], uint32_t v)
{
	store_be16(p, (uint16_t)(v >> 16));
	store_be16(p + 2, (uint16_t)v);
}

static inline void store_be64(uint8_t p[static 8], uint64_t v)
{
	store_be32(p, (uint32_t)(v >> 32));
	store_be32(p + 4, (uint32_t)v);
}

static inline void store_le32(uint8_t p[static 4], uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

static inline void store_le64(uint8_t p[static 8], uint64_t v)
{
	store_le32(p, (uint32_t)v);
	store_le32(p + 4, (uint32_t)(v >> 32));
}

/* A reader over `left` untrusted bytes at `p`. */
struct rd {
	const uint8_t *p;
	size_t left;
	bool failed;
};

static inline struct rd rd_of(const void *p, size_t len)
{
	return (struct rd){ .p = p, .left = len };
}

/* The next `n` bytes, or NULL (and failed for good). The bytes belong to the caller of rd_of(). */
const uint8_t *rd_take(struct rd *r, size_t n);
/* Copies the next `n` bytes; zeros where there are not that many. */
void rd_bytes(struct rd *r, void *out, size_t n);
uint8_t rd_u8(struct rd *r);
uint16_t rd_be16(struct rd *r);
uint32_t rd_be32(struct rd *r);
uint64_t rd_be64(struct rd *r);
/* A reader over the next `n` bytes, which this one skips; a failed reader where it has fewer. */
struct rd rd_sub(struct rd *r, size_t n);

static inline bool rd_ok(const struct rd *r)
{
	return !r->failed;
}

/* True when all was read and nothing failed. */
static inline bool rd_done(const struct rd *r)
{
	return !r->failed && r->left == 0;
}

static inline void rd_fail(struct rd *r)
{
	r->failed = true;
	r->left = 0;
}

/* A writer into `cap` bytes at `base`, `len` of them written. */
struct wr {
	uint8_t *base;
	size_t len, cap;
	bool failed;
};

static inline struct wr wr_of(void *base, size_t cap)
{
	return (struct wr){ .base = base, .cap = cap };
}

void wr_bytes(struct wr *w, const void *p, size_t n);
void wr_zeros(struct wr *w, size_t n);
void wr_u8(struct wr *w, uint8_t v);
void wr_be16(struct wr *w, uint16_t v);
void wr_be32(struct wr *w, uint32_t v);
void wr_be64(struct wr *w, uint64_t v);

static inline bool wr_ok(const struct wr *w)
{
	return !w->failed;
}

/*
 * TLVs, the shape of every extensible part of ours: be16 type, be16 length, value. The top bit of
 * the type marks it critical: a reader that does not know it must refuse the whole message.
 */
#define TLV_CRITICAL 0x8000u

struct tlv {
	uint16_t type; /* without the critical bit */
	bool critical;
	struct rd value;
};

/* The next TLV; false at the end or on failure (rd_ok() tells which). */
bool rd_tlv(struct rd *r, struct tlv *t);
/* Opens a TLV and returns a mark for wr_tlv_end(), which fills in the length. */
size_t wr_tlv_begin(struct wr *w, uint16_t type);
void wr_tlv_end(struct wr *w, size_t mark);
void wr_tlv(struct wr *w, uint16_t type, const void *p, size_t n);

#endif
