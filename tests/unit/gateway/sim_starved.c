/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No memory: any allocation of the rendezvous' core, of the gateways' cores, or of both fails for a while, at
 * random, in their libraries too. Nobody dies, and no address gets two holders. Where it was the rendezvous, all
 * pairs talk afterwards as if nothing had been. (A gateway may have left a member out, which it hears of again
 * with the next change of that member, or when it registers anew.)
 *
 *     sim_starved            SIM_CASES lives (default 60)
 *     SEED=42 sim_starved    that one
 *
 * The simulation's own memory is another (meson.build: -Dmalloc=sim_malloc).
 */
#include "sim_cases.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CASES = 60 };

#undef malloc
#undef calloc
#undef realloc

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);
void *sim_malloc(size_t n);
void *sim_calloc(size_t n, size_t size);
void *sim_realloc(void *p, size_t n);

void *sim_malloc(size_t n)
{
	return __libc_malloc(n);
}

void *sim_calloc(size_t n, size_t size)
{
	return __libc_calloc(n, size);
}

void *sim_realloc(void *p, size_t n)
{
	return __libc_realloc(p, n);
}

/* --- who is starved, and when --- */

static bool rdv_starves, nodes_starve, starved;
static unsigned of_eight; /* allocations in eight that fail */
static uint64_t dice, refused;

static bool fails(void)
{
	if (!starved)
		return false;
	dice = dice * 6364136223846793005u + 1442695040888963407u;
	bool no = (dice >> 33) % 8 < of_eight;
	refused += no;
	return no;
}

void *malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}

/* A call into a core, by the linker's --wrap. */
#define STARVED(who, call)                                                                         \
	do {                                                                                       \
		starved = who;                                                                     \
		call;                                                                              \
		starved = false;                                                                   \
	} while (0)

void __real_rdv_udp(struct rdv *r, nsec now, const struct udp_rx *rx, unsigned n);
void __wrap_rdv_udp(struct rdv *r, nsec now, const struct udp_rx *rx, unsigned n);
void __real_rdv_tick(struct rdv *r, nsec now);
void __wrap_rdv_tick(struct rdv *r, nsec now);
void __real_rdv_stored(struct rdv *r, nsec now, uint64_t seq, bool failed);
void __wrap_rdv_stored(struct rdv *r, nsec now, uint64_t seq, bool failed);
void __real_node_udp(struct node *n, nsec now, const struct udp_rx *rx, unsigned count);
void __wrap_node_udp(struct node *n, nsec now, const struct udp_rx *rx, unsigned count);
void __real_node_tick(struct node *n, nsec now);
void __wrap_node_tick(struct node *n, nsec now);

void __wrap_rdv_udp(struct rdv *r, nsec now, const struct udp_rx *rx, unsigned n)
{
	STARVED(rdv_starves, __real_rdv_udp(r, now, rx, n));
}

void __wrap_rdv_tick(struct rdv *r, nsec now)
{
	STARVED(rdv_starves, __real_rdv_tick(r, now));
}

void __wrap_rdv_stored(struct rdv *r, nsec now, uint64_t seq, bool failed)
{
	STARVED(rdv_starves, __real_rdv_stored(r, now, seq, failed));
}

void __wrap_node_udp(struct node *n, nsec now, const struct udp_rx *rx, unsigned count)
{
	STARVED(nodes_starve, __real_node_udp(n, now, rx, count));
}

void __wrap_node_tick(struct node *n, nsec now)
{
	STARVED(nodes_starve, __real_node_tick(n, now));
}

/* --- lives --- */

static void starve(const struct sim *s)
{
	rdv_starves = s->seed % 3 != 1;
	nodes_starve = s->seed % 3 != 0;
	of_eight = 1 + (unsigned)(s->seed / 6 % 8);
	dice = s->seed;
}

static void feed(void)
{
	rdv_starves = nodes_starve = false;
}

static void well_again(struct sim *s)
{
	bool only_rdv = !nodes_starve;
	feed();
	if (only_rdv) {
		traffic_settle(s, 120 * SEC);
		traffic_calm(s, 0);
		live(s, 5 * SEC);
		sim_run(s, 2 * SEC);
		traffic_account(s);
	} else {
		live(s, 20 * SEC);
	}
}

/* From the first handshake on. */
static void starved_joining(struct sim *s)
{
	cast(s, 4);
	starve(s);
	start_all(s);
	sim_run(s, 20 * SEC);
	well_again(s);
}

/* While links are up, and somebody comes, and somebody comes back. */
static void starved_living(struct sim *s)
{
	grown_up(s, 4);
	traffic_storm(s, SEC);
	starve(s);
	sim_start(&s->hosts[0], START_SAME);
	sim_start(&s->hosts[1], START_NEW_KEY);
	live(s, 20 * SEC);
	well_again(s);
}

static bool life(uint64_t seed)
{
	static struct sim s;
	refused = 0;
	sim_init(&s, seed);
	s.verbose = getenv("SEED");
	if (seed / 3 % 2)
		starved_living(&s);
	else
		starved_joining(&s);
	if (!sim_ok(&s))
		printf("SEED=%llu at %.3f s: %s\n", (unsigned long long)seed,
		       (double)(s.now - 1000 * SEC) / 1e9, s.failure);
	bool ok = sim_ok(&s);
	sim_free(&s);
	return ok;
}

int main(void)
{
	const char *one = getenv("SEED"), *many = getenv("SIM_CASES");
	uint64_t n = many ? strtoull(many, NULL, 10) : CASES,
		 first = one ? strtoull(one, NULL, 10) : 1;
	unsigned red = 0;
	uint64_t all = 0;

	if (sodium_init() < 0)
		return 1;
	for (uint64_t seed = first; seed < first + (one ? 1 : n); seed++) {
		printf("seed %llu\n", (unsigned long long)seed); /* should it die */
		fflush(stdout);
		red += !life(seed);
		all += refused;
	}
	printf("%u of %llu failed; %llu allocations were refused\n", red,
	       (unsigned long long)(one ? 1 : n), (unsigned long long)all);
	return red || !all;
}
