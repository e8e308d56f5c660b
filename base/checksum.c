/* SPDX-License-Identifier: Apache-2.0 */
#include "base/checksum.h"
#include "base/bytes.h"

/* One's complement addition: the carry comes back in at the bottom. */
static inline uint64_t add64(uint64_t a, uint64_t b)
{
	uint64_t s = a + b;
	return s + (s < a);
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return v;
}

uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t s[4] = { sum, 0, 0, 0 }, wide[4] = { 0 };

	/* 32-bit halves into 64-bit lanes: no carry to chase, and the compiler makes vectors of it. */
	while (len >= 32) {
		for (unsigned i = 0; i < 4; i++) {
			uint64_t v = load64(p + 8 * i);
			s[i] = add64(s[i], v & 0xffffffffu);
			wide[i] += v >> 32;
		}
		p += 32;
		len -= 32;
	}
	sum = add64(add64(s[0], s[1]), add64(s[2], s[3]));
	for (unsigned i = 0; i < 4; i++)
		sum = add64(sum, wide[i]);
	for (; len >= 8; p += 8, len -= 8)
		sum = add64(sum, load64(p));
	if (len) {
		uint8_t tail[8] = { 0 };
		memcpy(tail, p, len);
		sum = add64(sum, load64(tail));
	}
	return sum;
}

uint64_t csum_pseudo(const uint8_t *src, const uint8_t *dst, size_t alen, uint8_t proto,
		     uint32_t l4len)
{
	uint8_t tail[8] = { 0 };
	store_be32(tail, l4len);
	tail[7] = proto;
	return csum_add(csum_add(csum_add(0, src, alen), dst, alen), tail, 8);
}

uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffffu) + (sum >> 32);
	sum = (sum & 0xffffffffu) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}
