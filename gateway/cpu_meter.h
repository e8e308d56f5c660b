/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What share of one core a process uses: since its start, and of late. It is told the time and the CPU
 * time used so far; it reads neither.
 */
#ifndef WARREN_CPU_METER_H
#define WARREN_CPU_METER_H

#include "base/base.h"

/* A minute of samples 5 s apart; one more, since the oldest may be a moment too young. */
enum { CPU_SAMPLES = 13 };

struct cpu_sample {
	nsec at, used;
};

struct cpu_meter {
	struct cpu_sample sample[CPU_SAMPLES]; /* a ring: the newest is at `next` - 1 */
	unsigned next, n;
	struct cpu_sample start;
};

void cpu_meter_init(struct cpu_meter *m, nsec now, nsec used);
/* To be called every few seconds. */
void cpu_meter_sample(struct cpu_meter *m, nsec now, nsec used);

/* Of one core, 1 being all of it. */
double cpu_share_ever(const struct cpu_meter *m, nsec now, nsec used);
/* Since the oldest sample that is no older than `window`; without one, since the newest there is. */
double cpu_share_of_late(const struct cpu_meter *m, nsec now, nsec used, nsec window);

#endif
