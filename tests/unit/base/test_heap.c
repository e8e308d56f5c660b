/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of timers against an array that is searched from end to end. */
#include "base/heap.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { TIMERS = 200 };

static struct timer timers[TIMERS];
static nsec at[TIMERS]; /* the oracle: NSEC_NEVER where not armed */
static struct heap heap;
static uint64_t seed, state;
static unsigned round_no;

static uint32_t rnd(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % below;
}

static void reset(uint64_t s)
{
	seed = state = s;
	heap = (struct heap){ 0 };
	for (size_t i = 0; i < TIMERS; i++) {
		timers[i] = (struct timer){ 0 };
		at[i] = NSEC_NEVER;
	}
}

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			fail_msg("seed %llu, round %u: %s", (unsigned long long)seed, round_no,    \
				 #cond);                                                           \
	} while (0)

static nsec earliest(void)
{
	nsec t = NSEC_NEVER;
	for (size_t i = 0; i < TIMERS; i++)
		t = nsec_min(t, at[i]);
	return t;
}

static void take_due(nsec now)
{
	nsec expected = earliest();
	struct timer *t = heap_due(&heap, now);
	if (!t) {
		CHECK(expected > now);
		return;
	}
	size_t i = (size_t)(t - timers);
	CHECK(expected <= now && at[i] == expected && t->at == expected && !timer_armed(t));
	at[i] = NSEC_NEVER;
}

static void one_step(void)
{
	size_t i = rnd(TIMERS);
	uint32_t dice = rnd(10);
	if (dice < 6) {
		/* few different times, so that many are equal; some never, some in the past */
		at[i] = rnd(20) ? (nsec)rnd(500) - 50 : NSEC_NEVER;
		heap_set(&heap, &timers[i], at[i]);
	} else if (dice < 8) {
		at[i] = NSEC_NEVER;
		heap_cancel(&heap, &timers[i]);
	} else {
		take_due((nsec)rnd(200));
	}
	i = rnd(TIMERS);
	CHECK(timer_armed(&timers[i]) == (at[i] != NSEC_NEVER));
	CHECK(heap_deadline(&heap) == earliest());
}

static void random_ops(void **ignored)
{
	(void)ignored;
	for (uint64_t s = 1; s <= 30; s++) {
		reset(s);
		for (round_no = 0; round_no < 3000; round_no++)
			one_step();
		while (heap_deadline(&heap) != NSEC_NEVER)
			take_due(NSEC_NEVER - 1);
		CHECK(earliest() == NSEC_NEVER && heap_due(&heap, NSEC_NEVER) == NULL);
	}
}

static int by_time(const void *a, const void *b)
{
	nsec x = *(const nsec *)a, y = *(const nsec *)b;
	return (x > y) - (x < y);
}

/* All in, all out: a sort. Ascending, descending and shuffled insertion take different shapes. */
static void sorts(void **ignored)
{
	(void)ignored;
	for (unsigned shape = 0; shape < 6; shape++) {
		nsec sorted[TIMERS];
		reset(shape + 1);
		for (size_t i = 0; i < TIMERS; i++) {
			sorted[i] = shape == 0	 ? (nsec)i
				    : shape == 1 ? TIMERS - (nsec)i
						 : (nsec)rnd(1000);
			heap_set(&heap, &timers[i], sorted[i]);
		}
		qsort(sorted, TIMERS, sizeof(sorted[0]), by_time);
		for (size_t i = 0; i < TIMERS; i++) {
			struct timer *t = heap_due(&heap, NSEC_NEVER);
			assert_non_null(t);
			assert_true(t->at == sorted[i]);
		}
		assert_null(heap_due(&heap, NSEC_NEVER));
	}
}

static void moves(void **ignored)
{
	(void)ignored;
	reset(1);
	heap_cancel(&heap, &timers[0]); /* not armed: nothing happens */
	heap_set(&heap, &timers[0], 100);
	heap_set(&heap, &timers[1], 200);
	heap_set(&heap, &timers[0], 300); /* later */
	assert_true(heap_deadline(&heap) == 200);
	heap_set(&heap, &timers[0], 50); /* earlier */
	assert_true(heap_deadline(&heap) == 50);
	heap_set(&heap, &timers[0], 50); /* the same */
	assert_true(heap_deadline(&heap) == 50);
	assert_null(heap_due(&heap, 49));
	assert_ptr_equal(heap_due(&heap, 50), &timers[0]);
	heap_set(&heap, &timers[1], NSEC_NEVER);
	assert_false(timer_armed(&timers[1]));
	assert_true(heap_deadline(&heap) == NSEC_NEVER);
	assert_null(heap_due(&heap, NSEC_NEVER));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves),
		cmocka_unit_test(sorts),
		cmocka_unit_test(random_ops),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
