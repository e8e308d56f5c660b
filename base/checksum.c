/* SPDX-License-Identifier: Apache-2.0 */
#include "base/checksum.h"
#include "base/bytes.h"

/* Four lanes; where the CPU has no such register, the compiler makes two of it. */
typedef uint64_t lanes __attribute__((vector_size(32)));

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

/* 32-bit halves into 64-bit lanes: no carry to chase in the loop. */
static inline __attribute__((always_inline)) uint64_t sum_bytes(uint64_t sum, const uint8_t *p,
								size_t len)
{
	if (len >= 64) {
		lanes lo = { 0 }, hi = { 0 }, a, b;
		for (; len >= 64; p += 64, len -= 64) {
			memcpy(&a, p, 32);
			memcpy(&b, p + 32, 32);
			lo += (a & 0xffffffffu) + (b & 0xffffffffu);
			hi += (a >> 32) + (b >> 32);
		}
		lo += hi;
		for (unsigned i = 0; i < 4; i++)
			sum = add64(sum, lo[i]);
	}
	for (; len >= 8; p += 8, len -= 8)
		sum = add64(sum, load64(p));
	if (len) {
		uint8_t tail[8] = { 0 };
		memcpy(tail, p, len);
		sum = add64(sum, load64(tail));
	}
	return sum;
}

/*
 * Every inner byte is summed once on each side of the tunnel, so the loop is built for AVX2 too.
 * Not by target_clones: clang 14 does not export such a function to other files, and musl cannot
 * pick one.
 */
#if defined(__x86_64__) && !defined(WARREN_NO_AVX2)
__attribute__((target("avx2"))) static uint64_t sum_bytes_avx2(uint64_t sum, const uint8_t *p,
							       size_t len)
{
	return sum_bytes(sum, p, len);
}
#endif

uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
#if defined(__x86_64__) && !defined(WARREN_NO_AVX2)
	if (len >= 64 && __builtin_cpu_supports("avx2"))
		return sum_bytes_avx2(sum, data, len);
#endif
	return sum_bytes(sum, data, len);
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
