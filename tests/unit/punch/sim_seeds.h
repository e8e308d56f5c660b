/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WARREN_SIM_SEEDS_H
#define WARREN_SIM_SEEDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/*
 * Runs the one seed that the command line or SEED names, in words, and returns 0; or the first ones, `most`
 * or SEEDS, and returns how many.
 */
static inline uint64_t sim_seeds(int argc, char **argv, uint64_t most,
				 void (*run)(uint64_t seed, bool verbose))
{
	const char *one = argc > 1 ? argv[1] : getenv("SEED");
	const char *count = getenv("SEEDS");
	uint64_t n = count ? strtoull(count, NULL, 10) : most;

	if (one) {
		run(strtoull(one, NULL, 10), true);
		return 0;
	}
	for (uint64_t seed = 1; seed <= n; seed++)
		run(seed, false);
	return n;
}

#endif
