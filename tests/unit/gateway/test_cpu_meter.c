/* SPDX-License-Identifier: Apache-2.0 */
/* The share of a core, against what a table of working hours says. */
#include "gateway/cpu_meter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum { EVERY = 5, WINDOW = 60 };

static nsec s(double seconds)
{
	return (nsec)(seconds * NSEC_PER_SEC);
}

static void assert_share(double got, double want)
{
	assert_float_equal(got, want, 1e-6);
}

static void nothing_yet(void **state)
{
	struct cpu_meter m;
	(void)state;
	cpu_meter_init(&m, s(1000), s(2));
	assert_share(cpu_share_ever(&m, s(1000), s(2)), 0);
	assert_share(cpu_share_of_late(&m, s(1000), s(2), s(WINDOW)), 0);
	/* half of the first two seconds; what was used before does not count */
	assert_share(cpu_share_ever(&m, s(1002), s(3)), 0.5);
	assert_share(cpu_share_of_late(&m, s(1002), s(3), s(WINDOW)), 0.5);
}

/* Each row is a time of day: from there on the process works at that share. */
static void a_day(void **state)
{
	static const struct {
		double until, share, ever, late;
	} rows[] = {
		{ 100, 0.2, 0.2, 0.2 },
		{ 160, 0.8, 0.425, 0.8 }, /* a minute of it: all of the window */
		{ 190, 0.0, 0.357895, 0.4 },
		{ 1000, 0.0, 0.068, 0 },
		{ 1030, 1.0, 0.0951456, 0.5 },
	};
	struct cpu_meter m;
	double used = 0;
	int now = 0;
	(void)state;
	cpu_meter_init(&m, 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		while (now < rows[i].until) {
			now++;
			used += rows[i].share;
			if (now % EVERY == 0)
				cpu_meter_sample(&m, s(now), s(used));
		}
		assert_share(cpu_share_ever(&m, s(now), s(used)), rows[i].ever);
		assert_share(cpu_share_of_late(&m, s(now), s(used), s(WINDOW)), rows[i].late);
	}
}

/* Between samples the window is a little shorter than it could be, never longer. */
static void between_samples(void **state)
{
	struct cpu_meter m;
	(void)state;
	cpu_meter_init(&m, 0, 0);
	for (int t = EVERY; t <= 200; t += EVERY)
		cpu_meter_sample(&m, s(t), t <= 141 ? 0 : s(t - 141));
	/* at 203 the sample of 145 is the oldest of the last minute; all of it was work */
	assert_share(cpu_share_of_late(&m, s(203), s(62), s(WINDOW)), 1.0);
}

/* A machine that slept has no sample within the window: the newest there is has to do. */
static void after_a_sleep(void **state)
{
	struct cpu_meter m;
	(void)state;
	cpu_meter_init(&m, 0, 0);
	cpu_meter_sample(&m, s(5), s(5));
	assert_share(cpu_share_of_late(&m, s(3605), s(41), s(WINDOW)), 0.01);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_yet),
		cmocka_unit_test(a_day),
		cmocka_unit_test(between_samples),
		cmocka_unit_test(after_a_sleep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
