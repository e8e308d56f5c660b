/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Are batches blamed for what an overloaded path loses? Ways of any capacity in virtual time, hosts that
 * send fewer single datagrams than batches, TCP that takes what is left and UDP that comes, goes and does
 * not care; radio that fades. `sim_batching SEED` (or SEED=…) runs one case and says more; SEEDS=N runs
 * the first N.
 *
 * In an hour without a bad driver batches stay; overload may happen to keep time with all turns of a trial
 * in one hour of RARE, no more. Always: in the end a driver loses half of the batches or more, or the large
 * ones, under a steady load, and it is found out where single datagrams carry clearly more.
 */
#include <stdio.h>

#include "punch/batching.h"
#include "sim_seeds.h"
#include "tests/unit/splitmix.h"

#define MSEC NSEC_PER_MSEC
#define HOUR (3600 * NSEC_PER_SEC)
#define EVERY (250 * MSEC)
#define STEP (10 * MSEC)

enum {
	BATCH = 44, /* datagrams, that are lost together */
	RARE = 200,
};

/* Datagrams a second, and seconds: in the mean, where `random`. */
struct way {
	double capacity, batches_most, singles_most; /* of the path; what this host sends */
	double mangled;				     /* share of the batches that a driver loses */
	double mangles_from;			     /* datagrams in a batch */
	double tcp, udp;			     /* wanted; UDP: while it is on */
	double on_for, off_for;
	double fades_to; /* share of the capacity that is left now and then, as with radio */
	double clear_for, fade_for;
	bool random;
};

static struct sim {
	struct way way;
	struct batching batching;
	uint64_t seed, random;
	nsec now;
	bool verbose;
	struct flip {
		bool on;
		double left; /* seconds until it is switched */
	} udp, fade;
	struct tcp {
		double window, threshold, timeout, silent; /* datagrams; seconds */
	} tcp;
} sim;

static nsec in_trials, slowest;
static unsigned mistakes;

static double between(double low, double high)
{
	return low + (high - low) * splitmix_share(&sim.random);
}

static bool one_of(unsigned n)
{
	return between(0, n) < 1;
}

static double least(double x, double y)
{
	return x < y ? x : y;
}

static void tell(const char *what)
{
	const struct way *w = &sim.way;
	fprintf(stderr, "SEED=%llu, after %.2f s: %s\n", (unsigned long long)sim.seed,
		(double)sim.now / 1e9, what);
	fprintf(stderr, "capacity %.0f, host %.0f or %.0f, mangled %.2f, TCP %.0f, UDP %.0f",
		w->capacity, w->batches_most, w->singles_most, w->mangled, w->tcp, w->udp);
	fprintf(stderr, ", %.2f s on, %.2f s off%s; to %.2f for %.2f s each %.2f\n", w->on_for,
		w->off_for, w->random ? " in the mean" : "", w->fades_to, w->fade_for,
		w->fade_for + w->clear_for);
}

/* --- the load --- */

static bool flip_now(struct flip *f, double on_for, double off_for, double seconds)
{
	while (f->left <= 0) {
		f->on = !f->on;
		f->left += (f->on ? on_for : off_for) * (sim.way.random ? between(0.1, 1.9) : 1);
	}
	f->left -= seconds;
	return f->on;
}

/* Of `sent` datagrams, those that a driver takes: whole batches, of what one look at the TUN brings. */
static double mangled(double sent)
{
	const struct way *w = &sim.way;
	double lost = 0;

	if (!batching_allowed(&sim.batching) || w->mangled <= 0)
		return 0;
	for (double rest = sent; rest > 0; rest -= BATCH) {
		double n = least(rest, BATCH);
		lost += n >= w->mangles_from && between(0, 1) < w->mangled ? n : 0;
	}
	return lost;
}

struct account {
	double sent, arrived; /* datagrams */
	nsec time;	      /* of a report: from the first on, as pmtu_watch.c has it */
};

/* A window of datagrams in each step, as if that were the round trip. */
static struct account tcp_step(double room, double seconds)
{
	const struct way *w = &sim.way;
	struct tcp *t = &sim.tcp;

	t->silent -= seconds;
	if (t->silent > 0 || w->tcp <= 0)
		return (struct account){ 0 };
	double sent = least(t->window, least(w->tcp, room) * seconds), lost = mangled(sent);
	if (lost <= 0) {
		t->timeout = 0.2;
		t->window = least(t->window < t->threshold ? 2 * t->window : t->window + 1, 1e5);
	} else if (lost < sent) {
		t->threshold = t->window = sent / 2 > 2 ? sent / 2 : 2;
	} else {
		t->threshold = sent / 2 > 2 ? sent / 2 : 2;
		t->window = 1;
		t->silent = t->timeout;
		t->timeout = least(2 * t->timeout, 10);
	}
	return (struct account){ .sent = sent, .arrived = sent - lost };
}

static struct account step(void)
{
	const struct way *w = &sim.way;
	double seconds = (double)STEP / 1e9;
	double host = batching_allowed(&sim.batching) ? w->batches_most : w->singles_most;
	bool fades = flip_now(&sim.fade, w->fade_for, w->clear_for, seconds);
	double capacity = w->capacity * (fades ? w->fades_to : 1);
	double udp = flip_now(&sim.udp, w->on_for, w->off_for, seconds) ? least(w->udp, host) : 0;
	struct account a = tcp_step(
		least(host, capacity) - udp > 0 ? least(host, capacity) - udp : 0, seconds);

	udp *= seconds;
	a.sent += udp;
	a.arrived += least((udp - mangled(udp)) * between(0.99, 1), capacity * seconds);
	return a;
}

/* A path loses batches as a whole, or not at all. */
static uint32_t lost_of(const struct account *a, uint32_t sent)
{
	uint32_t whole = batching_allowed(&sim.batching) ? BATCH : 1;

	whole = sent && sent < whole ? sent : whole;
	uint32_t lost = (uint32_t)((a->sent - a->arrived) / whole + between(0, 1)) * whole;
	return lost < sent ? lost : sent;
}

static void report(const struct account *a)
{
	uint32_t sent = (uint32_t)(a->sent + between(0, 1)), lost = lost_of(a, sent);
	enum batching_state was = sim.batching.state;
	unsigned turn = sim.batching.turn;

	if (was == BATCHING_TRIAL)
		in_trials += EVERY;
	if (!sent)
		return;
	batching_asked(&sim.batching);
	batching_report(&sim.batching, sim.now,
			&(struct batching_count){ sent, sent - lost, a->time });
	if (sim.verbose && (was != sim.batching.state || turn != sim.batching.turn))
		printf("%10.2f state %u turn %u: %u sent, %u lost\n", (double)sim.now / 1e9,
		       sim.batching.state, sim.batching.turn, sent, lost);
}

/* True once batches are blamed, within `time`. */
static bool blamed(nsec time)
{
	for (nsec until = sim.now + time; sim.now < until; sim.now += EVERY) {
		struct account sum = { 0 };
		for (nsec t = 0; t < EVERY; t += STEP) {
			struct account a = step();
			sum.sent += a.sent;
			sum.arrived += a.arrived;
			sum.time += sum.sent > 0 ? STEP : 0;
		}
		report(&sum);
		if (sim.batching.state == BATCHING_SINGLES)
			return true;
	}
	return false;
}

/* --- what is drawn --- */

static void draw_way(void)
{
	struct way *w = &sim.way;

	w->batches_most = between(300e3, 600e3);
	w->singles_most = w->batches_most * between(0.15, 1);
	w->capacity = one_of(2) ? between(500, 50e3) : w->batches_most * between(0.1, 1.2);
	w->tcp = one_of(2) ? 1e6 : 0;
	w->udp = w->capacity * between(0.2, 3);
	w->random = one_of(2);
	w->on_for = between(0.1, 5);
	w->off_for = one_of(4) ? 0 : between(0.1, 5);
	w->fades_to = one_of(4) ? 0 : between(0.1, 1);
	w->fade_for = one_of(2) ? between(0.1, 5) : 0;
	w->clear_for = between(0.1, 5);
}

/* A steady load of the one kind or the other, and a driver that loses batches. */
static void draw_bad_driver(void)
{
	struct way *w = &sim.way;

	w->mangled = one_of(2) ? 1 : between(0.5, 1);
	w->mangles_from = one_of(2) ? 2 : between(2, 12);
	w->off_for = w->fade_for = 0;
	if (w->tcp > 0)
		w->udp = 0;
}

/* What arrives of UDP; TCP that stalls is always worse off. */
static bool singles_are_better(void)
{
	const struct way *w = &sim.way;
	double load = w->tcp > 0 ? w->capacity : w->udp;
	double batches = least(load, w->batches_most), singles = least(load, w->singles_most);

	if (batches * (double)STEP / 1e9 < w->mangles_from)
		return false;
	if (w->tcp > 0)
		return true;
	if (singles > w->capacity) /* it loses them as well */
		return false;
	return singles > least(batches * (1 - w->mangled), w->capacity) * 1.3;
}

static void run_seed(uint64_t seed, bool verbose)
{
	sim = (struct sim){ .seed = seed, .random = seed, .verbose = verbose, .now = HOUR };
	sim.tcp = (struct tcp){ .window = 10, .threshold = 1e5, .timeout = 0.2 };
	draw_way();
	if (blamed(HOUR)) {
		tell("batches are blamed for what the path loses");
		mistakes++;
		return;
	}
	draw_bad_driver();
	nsec since = sim.now;
	if (!blamed(HOUR) && singles_are_better()) {
		tell("the driver that loses batches is not found out");
		exit(1);
	}
	if (singles_are_better())
		slowest = nsec_max(slowest, sim.now - since);
}

int main(int argc, char **argv)
{
	uint64_t n = sim_seeds(argc, argv, 600, run_seed);

	if (n)
		printf("%llu hours of overload, %u times batches were blamed; %.2f %% of the time "
		       "in "
		       "trials; a bad driver was found out after %.0f s at most\n",
		       (unsigned long long)n, mistakes,
		       (double)in_trials / (double)HOUR / (double)n * 100, (double)slowest / 1e9);
	return mistakes * RARE > n;
}
