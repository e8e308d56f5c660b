/* SPDX-License-Identifier: Apache-2.0 */
#include "base/replay.h"

bool replay_accept(struct replay *w, uint64_t counter)
{
	uint64_t window = (uint64_t)(w->words - 1) * 64;
	if (counter == UINT64_MAX)
		return false;
	counter++; /* so that 0 in `greatest` means none yet */
	if (w->greatest > window && counter < w->greatest - window)
		return false;
	uint64_t word = counter / 64;
	if (counter > w->greatest) {
		uint64_t current = w->greatest / 64, fresh = word - current;
		if (fresh > w->words)
			fresh = w->words;
		for (uint64_t i = 1; i <= fresh; i++)
			w->ring[(current + i) & (w->words - 1)] = 0;
		w->greatest = counter;
	}
	uint64_t bit = (uint64_t)1 << (counter % 64), *at = &w->ring[word & (w->words - 1)];
	if (*at & bit)
		return false;
	*at |= bit;
	return true;
}
