/* SPDX-License-Identifier: Apache-2.0 */
/* What outlives a start: the bytes of the state file, and the reserve that no start may use twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/state.h"

#define WALL ((int64_t)1800000000 * NSEC_PER_SEC)

#define SEC NSEC_PER_SEC
#define MINUTE (60 * SEC)

enum { LOOK = 5 }; /* seconds from one look at the reserve to the next */

/* A node's starts: what is on its disk, and all that it has ever sent. */
struct starts {
	struct state disk, state;
	nsec now;	  /* since the machine started; goes on whatever the clock does */
	int64_t wall;	  /* the clock is now + wall */
	int64_t last;	  /* TAI64N of this start */
	int64_t greatest; /* of all starts */
	int64_t counter;  /* the same of what begins at the boot id */
	unsigned saves;
};

static int64_t clock_of(const struct starts *s)
{
	return s->now + s->wall;
}

static void save(struct starts *s)
{
	s->disk = s->state;
	s->saves++;
}

static void look(struct starts *s)
{
	if (state_reserve(&s->state, s->now, clock_of(s), s->last))
		save(s);
}

static void start(struct starts *s)
{
	s->state = s->disk;
	s->last = (int64_t)state_begin(&s->state, s->now, clock_of(s));
	assert_true(s->last > s->greatest && s->last > s->counter);
	s->greatest = s->last;
	look(s);
}

/* As handshakes have it. */
static void send_one(struct starts *s)
{
	int64_t ns = clock_of(s) > s->last ? clock_of(s) : s->last + 1;
	assert_true(ns > s->greatest);
	/* a start after a crash at this instruction would not send it again */
	assert_true(s->disk.timestamp >= ns);
	s->last = s->greatest = ns;
}

static void run(struct starts *s, unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		send_one(s);
		s->now += SEC;
		/* relay counters, which begin at the boot id, go on at three millions a second */
		s->counter = s->counter > s->state.boot ? s->counter : s->state.boot;
		s->counter += 3000000;
		send_one(s);
		if (i % LOOK == LOOK - 1)
			look(s);
	}
}

static void end(struct starts *s)
{
	state_settle(&s->state, s->now, s->last);
	save(s);
}

static void test_starts_do_not_add_up(void **state)
{
	struct starts s = { .wall = WALL };
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		start(&s);
		send_one(&s);
		s.now += 100 * NSEC_PER_MSEC; /* and is killed */
		assert_true(s.greatest <= clock_of(&s) + MINUTE + 5 * SEC);
	}
	/* nor do those that end cleanly, which give back what they did not use */
	for (unsigned i = 0; i < 100; i++) {
		start(&s);
		s.now += 100 * NSEC_PER_MSEC;
		send_one(&s);
		end(&s);
	}
	s.now += MINUTE;
	start(&s);
	assert_true(s.last == clock_of(&s));
	run(&s, 20);
	end(&s);
	assert_true(s.disk.timestamp <= clock_of(&s));
}

/* Killed and ended in turns; steps back and forth, one that has lost its battery. */
static void test_no_clock_makes_it_repeat(void **state)
{
	static const int64_t steps[] = {
		0, 1, -3600, 5, 3599, -1700000000, 1, 1700000000, -61, -30
	};
	struct starts s = { .wall = WALL };
	(void)state;
	for (unsigned i = 0; i < 20 * ARRAY_SIZE(steps); i++) {
		s.wall += steps[i % ARRAY_SIZE(steps)] * SEC;
		start(&s);
		run(&s, i % 23);
		s.wall += steps[i / 20] * (SEC / 7);
		look(&s);
		run(&s, i % 7);
		if (i % 3 == 0)
			end(&s);
	}
}

/* The disk is full, and one start after the other finds what the first one has reserved. */
static void test_nothing_can_be_saved(void **state)
{
	struct starts s = { .wall = WALL };
	(void)state;
	start(&s);
	for (unsigned i = 0; i < 100; i++) {
		unsigned lived = 1 + i % 20; /* tenths of a second */
		s.greatest += (int64_t)lived * 20 * 65536;
		s.now += lived * 100 * NSEC_PER_MSEC; /* and is killed */
		s.state = s.disk;
		s.last = (int64_t)state_begin(&s.state, s.now, clock_of(&s));
		assert_true(s.last > s.greatest);
		s.greatest = s.last;
	}
	assert_true(s.last == clock_of(&s));
}

static void test_reserve_is_saved_in_time(void **state)
{
	struct starts s = { .wall = WALL };
	(void)state;
	start(&s);
	run(&s, 6000);
	assert_in_range(s.saves, 100, 160);
	assert_true(s.greatest <= clock_of(&s));
	s.wall -= 3600 * SEC;
	look(&s);
	run(&s, 600);
	assert_true(s.disk.timestamp <= s.greatest + MINUTE);
}

static void test_file_comes_back(void **state)
{
	struct state s = { .port = 40000, .timestamp = WALL, .number = 77, .has_psk = true }, t;
	uint8_t bytes[512];
	(void)state;
	memset(s.private_key, 1, 32);
	memset(s.psk, 2, 32);
	size_t len = state_encode(&s, bytes, sizeof(bytes));
	assert_true(len > 0);
	memset(&t, 0, sizeof(t));
	assert_int_equal(state_decode(&t, bytes, len), 0);
	assert_memory_equal(&s, &t, sizeof(s));
	/* cut anywhere, or with any bit changed, it is not taken */
	for (size_t i = 0; i < len; i++) {
		memset(&t, 0, sizeof(t));
		assert_int_not_equal(state_decode(&t, bytes, i), 0);
		bytes[i] ^= 1;
		assert_int_not_equal(state_decode(&t, bytes, len), 0);
		bytes[i] ^= 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starts_do_not_add_up),
		cmocka_unit_test(test_no_clock_makes_it_repeat),
		cmocka_unit_test(test_nothing_can_be_saved),
		cmocka_unit_test(test_reserve_is_saved_in_time),
		cmocka_unit_test(test_file_comes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
