/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cpu_meter.h"

void cpu_meter_init(struct cpu_meter *m, nsec now, nsec used)
{
	*m = (struct cpu_meter){ .start = { now, used } };
	cpu_meter_sample(m, now, used);
}

void cpu_meter_sample(struct cpu_meter *m, nsec now, nsec used)
{
	m->sample[m->next] = (struct cpu_sample){ now, used };
	m->next = (m->next + 1) % CPU_SAMPLES;
	if (m->n < CPU_SAMPLES)
		m->n++;
}

static double share(const struct cpu_sample *since, nsec now, nsec used)
{
	return now > since->at ? (double)(used - since->used) / (double)(now - since->at) : 0;
}

double cpu_share_ever(const struct cpu_meter *m, nsec now, nsec used)
{
	return share(&m->start, now, used);
}

double cpu_share_of_late(const struct cpu_meter *m, nsec now, nsec used, nsec window)
{
	unsigned at = (m->next + CPU_SAMPLES - m->n) % CPU_SAMPLES;
	unsigned newest = (m->next + CPU_SAMPLES - 1) % CPU_SAMPLES;

	while (at != newest && now - m->sample[at].at > window)
		at = (at + 1) % CPU_SAMPLES;
	return share(&m->sample[at], now, used);
}
