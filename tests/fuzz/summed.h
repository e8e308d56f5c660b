/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as one of our files (base/summed.h): as they are, and with the right sum behind them. */
#ifndef WARREN_FUZZ_SUMMED_H
#define WARREN_FUZZ_SUMMED_H

#include "base/blake2s.h"

#include <stdlib.h>
#include <string.h>

static inline void fuzz_summed(const uint8_t *data, size_t size,
			       void (*decode)(const uint8_t *p, size_t len))
{
	uint8_t sum[BLAKE2S_LEN], *summed = malloc(size + 8);
	decode(data, size);
	if (!summed)
		return;
	memcpy(summed, data, size);
	blake2s_hash(data, size, NULL, 0, sum);
	memcpy(summed + size, sum, 8);
	decode(summed, size + 8);
	free(summed);
}

#endif
