/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The path MTU search through lives of paths in virtual time: MTUs that step up and down, of the path
 * and of the host; loss, jitter, duplicates, outages, a peer that restarts, other paths; data in bulk,
 * sparse, mixed or none; routers that tell the truth, nothing or lies. `sim_pmtu SEED` (or SEED=…)
 * runs one case and says more; SEEDS=N runs the first N.
 *
 * Always: data that is too large for the path flows for 3 s and 10 round trips at most (loss gives it
 * more), and a search costs no more than it may. In the end: the size is what the path takes.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "pmtu_path.h"
#include "sim_seeds.h"

enum traffic { NONE, BULK, SPARSE, MIXED, TRAFFICS };
enum change { PATH_MTU, OWN_MTU, OTHER_PATH, OUTAGE, PEER_RESTARTS, CHANGES };

static const char *const traffic_names[] = { "no data", "bulk", "sparse", "mixed" };
static const char *const change_names[] = { "the path's MTU", "own MTU", "another path", "outage",
					    "the peer restarts" };

static struct sim {
	struct pmtu_path path;
	uint64_t seed;
	bool v6;
	uint32_t max;
	nsec rtt;
	enum traffic traffic;
} sim;

static double worst_hole, worst_low = 1;

static void PRINTF_LIKE(1, 2) note(const char *format, ...)
{
	va_list ap;
	if (!sim.path.verbose)
		return;
	printf("%10.3f --- ", (double)sim.path.now / 1e9 - PATH_START);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
}

static void PRINTF_LIKE(1, 2) fail(const char *format, ...)
{
	va_list ap;
	fprintf(stderr, "SEED=%llu, after %.3f s: ", (unsigned long long)sim.seed,
		(double)sim.path.now / 1e9 - PATH_START);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

/* --- what is drawn --- */

/* Round sizes, near ones and any. */
static uint32_t draw_mtu(void)
{
	static const uint16_t common[] = { 1280, 1400, 1420, 1480, 1492, 1500, 8896, 9000 };
	struct pmtu_path *p = &sim.path;
	uint32_t min = p->m.min;
	switch (path_pick(p, 4)) {
	case 0:
		return common[path_pick(p, ARRAY_SIZE(common))];
	case 1:
		return min + path_pick(p, 9001 - min);
	default:
		return min + path_pick(p, 1501 - min);
	}
}

static uint32_t draw_own(void)
{
	static const uint16_t common[] = { 1500, 1500, 1460, 9000 };
	return path_pick(&sim.path, 4) ? common[path_pick(&sim.path, ARRAY_SIZE(common))]
				       : draw_mtu();
}

static void draw_network(void)
{
	static const double losses[] = { 0, 0, 0.05, 0.2 };
	struct pmtu_path *p = &sim.path;
	/* 0.2 to 400 ms */
	sim.rtt = (nsec)(200e3 * (double)(1 << path_pick(p, 11)) * (1 + path_chance(p)));
	p->delay = sim.rtt / 2;
	p->loss = losses[path_pick(p, ARRAY_SIZE(losses))];
	p->duplicate = path_pick(p, 2) ? 0.05 : 0;
	if (path_pick(p, 2))
		p->jitter = (nsec)(path_chance(p) * (double)nsec_min(sim.rtt / 2, 40 * MSEC));
	sim.rtt += 2 * p->jitter;
	p->relayed = path_pick(p, 3) == 0;
	p->around = (sim.v6 ? 48u : 28u) + (p->relayed ? 28u : 0u);
	p->icmp = path_pick(p, 3) == 0;
	p->forged_every = path_pick(p, 3) == 0 ? 130 * MSEC : 0;
}

static void set_traffic(enum traffic t)
{
	struct pmtu_path *p = &sim.path;
	nsec sparse = (300 + path_pick(p, 700)) * MSEC;
	path_stream(p, 0, t == BULK ? 20 * MSEC : t == NONE ? 0 : sparse, 0, t == BULK ? 4 : 1);
	path_stream(p, 1, t == MIXED ? 50 * MSEC : 0, 1300, 1);
}

/* --- what must hold --- */

static double hole_allowed(void)
{
	double patience = sim.path.loss > 0.1 ? 4 : sim.path.loss > 0 ? 2 : 1;
	return patience * (3 + 10 * (double)sim.rtt / 1e9);
}

static void run_for(nsec time)
{
	struct pmtu_path *p = &sim.path;
	path_run(p, p->now + time);
	double hole = (double)p->over_longest / 1e9;
	if (hole > hole_allowed())
		fail("data of %u bytes was sent for %.3f s, and %u pass", p->m.size, hole, p->mtu);
	if (p->spent_most > PMTU_SEARCH_BYTES)
		fail("%u bytes in a search", p->spent_most);
	if (p->m.size > p->m.max || p->m.size < p->m.min)
		fail("size is %u, the most %u", p->m.size, p->m.max);
	if (p->loss == 0 && hole > worst_hole)
		worst_hole = hole;
	p->over_longest = 0;
}

static void check_result(void)
{
	struct pmtu_path *p = &sim.path;
	uint32_t best = p->mtu < p->m.max ? p->mtu : p->m.max, size = p->m.size;
	double enough = best <= 1500 ? 1 : p->loss > 0 ? 0.95 : 0.97;
	if (p->m.state != PMTU_SEARCH_COMPLETE && p->loss == 0)
		fail("the search is not complete but %s", pmtu_state_name(p->m.state));
	if (size > best)
		fail("size is %u, and %u pass", size, best);
	if (size < enough * best)
		fail("size is %u, and %u would pass", size, best);
	if ((double)size / best < worst_low)
		worst_low = (double)size / best;
}

/* A search may have been due, and who forges ICMP messages has half as much for himself. */
static void run_idle(uint32_t seconds)
{
	uint64_t before = sim.path.m.bytes, idle = (uint64_t)seconds * PMTU_IDLE_BYTES / 60;
	if (sim.path.forged_every)
		idle += idle / 2;
	run_for(seconds * SEC);
	uint64_t bytes = sim.path.m.bytes - before;
	if (bytes > (64 << 10) + idle)
		fail("%llu bytes in %u s without data", (unsigned long long)bytes, seconds);
}

/* --- a life --- */

static void change(enum change c)
{
	struct pmtu_path *p = &sim.path;
	/* what was too large before is judged anew */
	p->over_since = NSEC_NEVER;
	switch (c) {
	case OWN_MTU:
		pmtu_set_max(&p->m, p->now, draw_own());
		break;
	case OTHER_PATH:
		p->mtu = draw_mtu();
		pmtu_start(&p->m, p->now, p->m.path + 1, p->m.max);
		break;
	case OUTAGE:
		p->dead = true;
		run_for((nsec)(path_chance(p) * 3e9));
		p->over_since = NSEC_NEVER;
		p->dead = false;
		break;
	case PEER_RESTARTS:
		memset(&p->peer, 0, sizeof(p->peer));
		break;
	default:
		p->mtu = draw_mtu();
	}
	note("%s: the path takes %u, own %u", change_names[c], p->mtu, p->m.max);
}

/* Half the time a path change makes it search again; else it is for the raise timer. */
static void end_of_life(void)
{
	struct pmtu_path *p = &sim.path;
	bool told = path_pick(p, 2);
	run_for(20 * SEC);
	bool dear =
		p->mtu > 1500 || p->m.size > 1500; /* the bytes of one search may not be enough */
	note("%s", told ? "told to search again" : "left to itself");
	set_traffic(SPARSE); /* who sends nothing knows nothing of a black hole */
	if (told)
		pmtu_start(&p->m, p->now, p->m.path + 1, p->m.max);
	run_for(30 * SEC + 100 * sim.rtt);
	set_traffic(NONE);
	if (!told || p->loss > 0 || dear)
		run_idle(3300);
	/* each probe of them waits minutes until it is paid for, and is lost now and then */
	if (p->loss > 0 && dear)
		run_idle(3300);
	if (p->m.state != PMTU_SEARCH_COMPLETE) /* the raise timer made it search just now */
		run_for(10 * SEC + 100 * sim.rtt);
	check_result();
}

static void run_seed(uint64_t seed, bool verbose)
{
	struct pmtu_path *p = &sim.path;
	memset(&sim, 0, sizeof(sim));
	sim.seed = seed;
	path_init(p, seed, 1500, 1500, 0);
	sim.v6 = path_pick(p, 4) == 0;
	draw_network();
	p->verbose = verbose;
	path_begin(p, sim.v6, draw_own());
	p->mtu = draw_mtu();
	sim.traffic = (enum traffic)path_pick(p, TRAFFICS);
	note("rtt %.1f ms, jitter %.1f ms, loss %.2f, %s%s%s", (double)sim.rtt / 1e6,
	     (double)p->jitter / 1e6, p->loss, traffic_names[sim.traffic], p->icmp ? ", ICMP" : "",
	     p->forged_every ? ", forged ICMP" : "");
	note("IPv%d, the path takes %u, own %u", sim.v6 ? 6 : 4, p->mtu, p->m.max);
	set_traffic(sim.traffic);
	run_for((nsec)(path_chance(p) * 8e9));
	for (unsigned n = path_pick(p, 5); n; n--) {
		change((enum change)path_pick(p, CHANGES));
		run_for((nsec)(path_chance(p) * (path_pick(p, 3) ? 20e9 : 1e9)));
	}
	end_of_life();
}

int main(int argc, char **argv)
{
	uint64_t n = sim_seeds(argc, argv, 5000, run_seed);

	if (n)
		printf("%llu seeds passed; without loss a black hole lasted %.2f s at most; the "
		       "least "
		       "result was %.3f of the MTU\n",
		       (unsigned long long)n, worst_hole, worst_low);
	return 0;
}
