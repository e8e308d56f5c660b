/* SPDX-License-Identifier: Apache-2.0 */
/* The replay window at the size that sessions have: numbered cases, then sweeps against an oracle. */
#include "helper.h"

enum { REACH = (REPLAY_WORDS - 1) * 64 }; /* counters that far back are still taken */
#define T true
#define F false

static uint64_t ring[REPLAY_WORDS];
static struct replay window;

static void reset(void)
{
	memset(ring, 0, sizeof(ring));
	window = (struct replay){ .words = REPLAY_WORDS, .ring = ring };
}

static void numbered_cases(void **unused)
{
	static const struct {
		bool fresh; /* begin with an empty window */
		uint64_t counter;
		bool want;
	} rows[] = {
		/* clang-format off */
		/*  1 */ { T, 0, T },
		/*  2 */ { F, 0, F },
		/*  3 */ { F, 1, T },
		/*  4 */ { F, 1, F },
		/*  5 */ { F, 9, T },
		/*  6 */ { F, 8, T },
		/*  7 */ { F, 7, T },
		/*  8 */ { F, 7, F },
		/*  9 */ { F, REACH, T },
		/* 10 */ { F, REACH - 1, T },
		/* 11 */ { F, REACH - 1, F },
		/* 12 */ { F, REACH - 2, T },
		/* 13 */ { F, 2, T },
		/* 14 */ { F, 2, F },
		/* 15 */ { F, REACH + 16, T },
		/* 16 */ { F, 3, F }, /* behind the window now, though never seen */
		/* 17 */ { F, 15, F },
		/* 18 */ { F, 16, T },
		/* 19 */ { F, REACH + 16, F },
		/* 20 */ { F, REACH * 4, T },
		/* 21 */ { F, REACH * 4 - REACH, T },
		/* 22 */ { F, REACH * 4 - REACH - 1, F },
		/* 23 */ { F, 10, F },
		/* 24 */ { T, REPLAY_BITS, T },
		/* 25 */ { F, REPLAY_BITS - REACH, T },
		/* 26 */ { F, REPLAY_BITS - REACH - 1, F },
		/* 27 */ { F, 0, F },
		/* 28 */ { T, (uint64_t)1 << 40, T },
		/* 29 */ { F, ((uint64_t)1 << 40) + REPLAY_BITS, T }, /* the ring once around */
		/* 30 */ { F, (uint64_t)1 << 40, F },
		/* 31 */ { F, ((uint64_t)1 << 40) + 64, T },
		/* 32 */ { T, REJECT_AFTER_MESSAGES - 1, T },
		/* 33 */ { F, REJECT_AFTER_MESSAGES - 1, F },
		/* 34 */ { F, REJECT_AFTER_MESSAGES - 2, T },
		/* 35 */ { F, UINT64_MAX, F },
		/* 36 */ { F, UINT64_MAX - 1, T },
		/* clang-format on */
	};
	(void)unused;
	reset();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].fresh)
			reset();
		if (replay_accept(&window, rows[i].counter) != rows[i].want)
			fail_msg("case %zu", i + 1);
	}
}

static void sweeps(void **unused)
{
	(void)unused;
	reset();
	for (uint64_t i = 0; i <= REACH; i++)
		assert_true(replay_accept(&window, i));
	for (uint64_t i = 0; i <= REACH; i++)
		assert_false(replay_accept(&window, i));
	reset();
	for (uint64_t i = REACH + 1; i-- > 0;)
		assert_true(replay_accept(&window, i));
	for (uint64_t i = REACH + 1; i-- > 0;)
		assert_false(replay_accept(&window, i));
	reset();
	assert_true(replay_accept(&window, REACH + 1));
	assert_false(replay_accept(&window, 0)); /* just out */
}

/* The oracle remembers everything and knows one rule. */
static void against_oracle(unsigned seed)
{
	enum { SPAN = 4 * REPLAY_BITS };
	static bool seen[SPAN];
	uint64_t greatest = 0;
	bool any = false;

	seed_all(seed);
	memset(seen, 0, sizeof(seen));
	reset();
	for (unsigned i = 0; i < 60000; i++) {
		uint64_t back = rnd_below(rnd_below(20) ? 300 : REPLAY_BITS + 200);
		uint64_t ahead = rnd_below(2000) ? rnd_below(4) : rnd_below(REPLAY_BITS + 100);
		uint64_t c =
			rnd_below(2) ? greatest + ahead : (greatest > back ? greatest - back : 0);
		if (c >= SPAN)
			break;
		bool want = !seen[c] && (!any || c + REACH >= greatest);
		if (replay_accept(&window, c) != want)
			fail_msg("seed %u, step %u, counter %llu, greatest %llu", seed, i,
				 (unsigned long long)c, (unsigned long long)greatest);
		seen[c] |= want;
		any = true;
		greatest = c > greatest ? c : greatest;
	}
}

static void oracle(void **unused)
{
	(void)unused;
	for (unsigned seed = 1; seed <= 40; seed++)
		against_oracle(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbered_cases),
		cmocka_unit_test(sweeps),
		cmocka_unit_test(oracle),
	};
	return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
