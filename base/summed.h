/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of a file that we keep: 8 bytes that name its kind, a version, the fields (TLVs), and the first
 * 8 bytes of BLAKE2s over all of that. The sum tells a damaged file, not a forged one.
 */
#ifndef WARREN_SUMMED_H
#define WARREN_SUMMED_H

#include "base/bytes.h"

struct summed {
	uint8_t magic[8];
	uint8_t version;
};

enum { SUMMED_SUM = 8, SUMMED_FRAME = 8 + 1 + SUMMED_SUM }; /* bytes around the fields */

/* A writer of the fields; summed_end() adds the sum and gives the whole length, 0 where there is no room. */
struct wr summed_begin(const struct summed *kind, uint8_t *out, size_t cap);
size_t summed_end(struct wr *w);

/* A reader of the fields. False: of another kind or version, or damaged. */
bool summed_open(const struct summed *kind, const uint8_t *p, size_t len, struct rd *fields);

#endif
