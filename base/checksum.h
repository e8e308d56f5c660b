/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Internet checksum (RFC 1071). A sum is kept unfolded in 64 bits, in the byte order of the
 * data, so that sums of pieces at even offsets can be added; fold at the end.
 */
#ifndef WARREN_CHECKSUM_H
#define WARREN_CHECKSUM_H

#include "base/base.h"

/* Adds `len` bytes to `sum`. An odd last byte is padded with zero: only the last piece may be odd. */
uint64_t csum_add(uint64_t sum, const void *p, size_t len);
/* The sum of the pseudo header of TCP or UDP (RFC 793, 768; RFC 8200 8.1). Addresses of alen 4 or 16. */
uint64_t csum_pseudo(const uint8_t *src, const uint8_t *dst, size_t alen, uint8_t proto,
		     uint32_t l4len);
/* Folded to 16 bits, not inverted; in memory order: store with memcpy. */
uint16_t csum_fold(uint64_t sum);

#endif
