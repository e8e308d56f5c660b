/* SPDX-License-Identifier: Apache-2.0 */
/* Makes libsodium's random bytes follow from a seed, so that a failing case can be run again. */
#ifndef WARREN_SIM_RANDOM_H
#define WARREN_SIM_RANDOM_H

#include <sodium.h>

static uint64_t sim_random_state;

static uint32_t sim_random_u32(void)
{
	uint64_t z = sim_random_state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)(z >> 32);
}

static void sim_random_buf(void *const buf, const size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)buf)[i] = (uint8_t)sim_random_u32();
}

static const char *sim_random_name(void)
{
	return "seeded";
}

static inline void sim_random_seed(uint64_t seed)
{
	static randombytes_implementation seeded = {
		.implementation_name = sim_random_name,
		.random = sim_random_u32,
		.buf = sim_random_buf,
	};
	sim_random_state = seed;
	randombytes_set_implementation(&seeded);
}

#endif
