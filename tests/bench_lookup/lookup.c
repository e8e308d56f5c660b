/* SPDX-License-Identifier: Apache-2.0 */
/* The lookup by itself, from 1 to 10,000 prefixes; then packets of real peers (peers.c). Not a test. */
#include "bench.h"
#include "route/table.h"

#include <sodium.h>
#include <stdio.h>
#include <time.h>

enum { PREFIXES = 10000, LOOKUPS = 100000 };

static struct prefix set[PREFIXES];
static struct addr asked[LOOKUPS];

double cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Three kinds, as peers have them: an address, a network behind it, and one of IPv6. */
static struct prefix any_prefix(struct rng *r, unsigned kind)
{
	struct prefix p = { .addr = addr_v4_u32(0x0a000000 | rng_below(r, 1 << 24)), .bits = 32 };
	if (kind == 1) {
		p.addr = addr_v4_u32(0xac000000 | rng_below(r, 1 << 16) << 8);
		p.bits = 24;
	}
	if (kind == 2) {
		p = (struct prefix){ .bits = 48 };
		store_be64(p.addr.b, (uint64_t)0xfd << 56 | (rng_next(r) >> 24) << 16);
	}
	return p;
}

static double lookups(const struct route_table *t)
{
	double least = 1e18;
	for (unsigned round = 0; round < ROUNDS; round++) {
		double begin = cpu_ns();
		unsigned found = 0;
		for (unsigned i = 0; i < LOOKUPS; i++)
			found += route_table_find(t, &asked[i]) != NULL;
		double took = cpu_ns() - begin;
		if (found != LOOKUPS)
			printf("%u of %u are not found\n", LOOKUPS - found, LOOKUPS);
		least = took < least ? took : least;
	}
	return least / LOOKUPS;
}

static double table_of(struct rng *r, unsigned n)
{
	struct route_table *t = route_table_new();
	for (unsigned i = 0; i < n; i++)
		if (!t || route_table_set(t, &set[i], &set[i]) < 0)
			return 0;
	for (unsigned i = 0; i < LOOKUPS; i++)
		asked[i] = set[rng_below(r, n)].addr;
	double ns = lookups(t);
	route_table_free(t);
	return ns;
}

int main(void)
{
	struct rng r = { 1 };
	double first = 0;

	if (sodium_init() < 0)
		return 1;
	for (unsigned i = 0; i < PREFIXES; i++)
		set[i] = any_prefix(&r, i % 3);
	printf("prefixes  ns a lookup  ratio to 1\n");
	for (unsigned n = 1; n <= PREFIXES; n *= 10) {
		double ns = table_of(&r, n);
		first = n == 1 ? ns : first;
		printf("%8u  %11.1f  %10.2f\n", n, ns, ns / first);
	}
	bench_peers();
	return 0;
}
