/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The path MTU search against a peer and routers that say anything, at any time: the size keeps its
 * bounds, a search its cost, and what is due is sent and then waited for.
 */
#include <stdlib.h>

#include "punch/pmtu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { AROUND = 28, PATH = 7, MOST_AT_ONCE = 2 * PMTU_ROUND };

/* Who is probed, and what it would answer. */
struct far_end {
	struct pmtu_seen seen;
	struct frame_ack last;
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_bounds(const struct pmtu *m, uint32_t max)
{
	uint32_t most = max > PMTU_MIN_V4 ? max : PMTU_MIN_V4;
	check(m->size >= PMTU_MIN_V4 && m->size <= most && m->size <= PMTU_MAX);
	check(m->spent <= PMTU_SEARCH_BYTES);
	check(m->lost <= m->probes);
	(void)pmtu_state_name(m->state);
	(void)pmtu_reason_text(m->reason);
}

static void poll(struct pmtu *m, nsec now, struct far_end *far)
{
	struct pmtu_probe probe;
	unsigned n = 0;
	for (; pmtu_poll(m, now, 20 * NSEC_PER_MSEC, &probe); n++) {
		check(n < MOST_AT_ONCE);
		check(probe.size <= PMTU_MAX && probe.size == probe.frame.size + (uint32_t)AROUND);
		pmtu_seen_probe(&far->seen, now, false, &probe.frame, &far->last);
	}
	check(pmtu_deadline(m) > now);
}

/* One step of six bytes: what happens, and its number. */
static uint32_t step(struct pmtu *m, struct rd *r, nsec *now, uint32_t max, struct far_end *far)
{
	uint8_t what = rd_u8(r);
	uint32_t wide = rd_be32(r), narrow = wide % 10000;
	struct frame_ack any = { .path = PATH,
				 .newest = far->last.newest - wide % 70,
				 .seen = (uint64_t)wide << rd_u8(r) % 64 | 1,
				 .watch = (uint16_t)(m->watch.size - AROUND),
				 .count = wide % 3 };
	switch (what % 9) {
	case 0:
		pmtu_acked(m, *now, &any);
		break;
	case 1:
		pmtu_acked(m, *now, &far->last);
		break;
	case 2:
		*now = nsec_max(*now, pmtu_deadline(m) == NSEC_NEVER ? 0 : pmtu_deadline(m));
		break;
	case 3:
		*now += wide;
		break;
	case 4:
		pmtu_sent(m, *now, narrow, 1 + wide % 9);
		break;
	case 5:
		pmtu_too_big(m, *now, narrow);
		break;
	case 6:
		max = narrow;
		pmtu_set_max(m, *now, max);
		break;
	case 7:
		if (wide % 4 == 0)
			pmtu_stop(m);
		break;
	default:
		max = wide % 16 ? max : narrow;
		pmtu_start(m, *now, PATH + wide % 2, max);
	}
	poll(m, *now, far);
	return max;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pmtu m;
	struct far_end far = { 0 };
	struct rd r = rd_of(data, size);
	nsec now = NSEC_PER_SEC;
	uint32_t max = PMTU_MAX;
	pmtu_init(&m, PMTU_MIN_V4, AROUND);
	pmtu_start(&m, now, PATH, max);
	while (r.left >= 6) {
		max = step(&m, &r, &now, max, &far);
		check_bounds(&m, max);
	}
	return 0;
}
