/* SPDX-License-Identifier: Apache-2.0 */
/* The registrar among members who ask for as much as they can: what is left for the others. */
#include "test_registrar.h"

enum { GREEDY = 64, HONEST = 100, MEMBERS = 126 };

static const char *id_of(unsigned who)
{
	static char id[8];
	snprintf(id, sizeof(id), "w%u", who);
	return id;
}

/* run(), of which nobody wants to hear. */
static void pass(nsec time)
{
	nsec until = now + time;
	while (registrar_deadline(r) <= until) {
		now = nsec_max(now, registrar_deadline(r));
		drain();
	}
	now = until;
}

/* None two at one instant, so that their repetitions are not either. */
static enum drop connect_to(uint8_t who, member_number number)
{
	now += 20 * MSEC / 1000;
	struct ctl_msg m = { .type = CTL_CONNECT, .has = CTL_BIT(CTL_NUMBER), .number = number };
	return say(who, &m);
}

/* Half of the members ask to be introduced to everybody, all the time: the next of their questions. */
static void greedy_connects(void)
{
	static unsigned next;
	for (unsigned i = 0; i < 500; i++, next++)
		connect_to((uint8_t)(1 + next % GREEDY), 1 + next / GREEDY % MEMBERS);
}

static bool meets(uint8_t who, member_number number)
{
	for (size_t i = 0; i < nout; i++)
		if (out[i].event == REGISTRAR_SEND && memcmp(out[i].key, key(who), 32) == 0 &&
		    msg[i].type == CTL_INTRODUCE && msg[i].number == number)
			return true;
	return false;
}

/* One that joins asks again after 250 ms, as long as it is not introduced. */
static void test_introductions(void **state)
{
	bool met[MEMBERS + 1] = { false };
	unsigned count = 0;
	(void)state;
	for (unsigned i = 1; i <= MEMBERS; i++)
		reg((uint8_t)i, id_of(i), 1);
	pass(SEC);
	for (nsec until = now + 2 * SEC; now < until;)
		greedy_connects();
	for (nsec until = now + SEC; now < until;) {
		for (unsigned k = HONEST + 1; k <= MEMBERS; k++) {
			if (!met[k])
				connect_to(HONEST, k);
			met[k] |= meets(HONEST, k);
		}
		for (nsec again = now + 250 * MSEC; now < again;)
			greedy_connects();
	}
	for (unsigned k = HONEST + 1; k <= MEMBERS; k++)
		count += met[k];
	assert_int_equal(count, MEMBERS - HONEST);
	/* and when theirs are over all is as before */
	pass(2 * SEC);
	for (unsigned k = 1; k <= MEMBERS; k++) {
		if (k == HONEST)
			continue;
		connect_to(HONEST, k);
		assert_true(meets(HONEST, k));
	}
}

static enum drop get(uint8_t who, uint32_t request)
{
	struct ctl_msg m = { .type = CTL_ROSTER_GET,
			     .request = request,
			     .has = CTL_BIT(CTL_ROSTER) | CTL_BIT(CTL_RANGE) };
	return say(who, &m);
}

/* A question of a hundred bytes brings up to 24 pages, to wherever its sender says that it is. */
static void test_roster_questions(void **state)
{
	unsigned answered = 0;
	(void)state;
	for (unsigned i = 1; i <= 50; i++)
		reg((uint8_t)i, id_of(i), 1);
	for (unsigned i = 0; i < 10000; i++) {
		now += MSEC;
		enum drop d = get(1, i + 2);
		assert_true(d == DROP_NONE || d == DROP_FRAME_RATE);
		assert_true((d == DROP_NONE) == (count(1, CTL_ROSTER_PAGE) > 0));
		answered += d == DROP_NONE;
	}
	assert_true(answered <= 256 + 10 * 20);
	/* nobody else pays for it, and it is a member as before */
	assert_int_equal(get(2, 2), DROP_NONE);
	assert_true(count(2, CTL_ROSTER_PAGE) > 0);
	now += SEC;
	assert_int_equal(get(1, 20000), DROP_NONE);
}

/* All places for claims are taken: by nodes that want ids of those who are silent. */
static void test_claims(void **state)
{
	(void)state;
	assert_int_equal(admission_reserve(&admission, "c1"), 0);
	ticket(0, "c1");
	reg(200, "c1", 1);
	assert_true(granted(200));
	for (unsigned i = 1; i <= GREEDY; i++)
		reg((uint8_t)i, id_of(i), 1);
	pass(61 * SEC); /* as if they were gone */
	for (unsigned i = 1; i <= GREEDY; i++)
		reg((uint8_t)(100 + i), id_of(i), 1);
	/* no room for one more of that kind */
	reg(201, id_of(1), 1);
	assert_refused(201, CTL_REFUSED_WAIT, false, "at this moment");
	/* the coordinator comes back under another key, with its own token */
	ticket(0, "c1");
	reg(202, "c1", 1);
	assert_true(granted(202));
	assert_true(told(200, CTL_REPLACED));
}

/* One key has one claim: what it asked for last. */
static void test_one_claim(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= GREEDY; i++)
		reg((uint8_t)i, id_of(i), 1);
	pass(61 * SEC);
	for (unsigned i = 1; i <= GREEDY; i++)
		reg(200, id_of(i), i);
	reg(201, id_of(1), 1);
	assert_refused(201, CTL_REFUSED_WAIT, false, "asked whether it lives");
	pass(5100 * MSEC);
	assert_memory_equal(rows[1].key, key(201), 32);
	assert_memory_equal(rows[2].key, key(2), 32);
	assert_memory_equal(rows[GREEDY].key, key(200), 32);
}

/*
 * Two keys that hand an id to and fro: each time its lease counts as granted later, so that it holds against the one
 * before. It must not come to lie ahead of the clock, where it would hold against whoever has the number after them.
 */
static void test_to_and_fro(void **state)
{
	unsigned moved = 0;
	uint32_t request = 2;
	uint8_t holder = 1;
	(void)state;
	reg(1, "w1", 1);
	for (unsigned i = 0; i < 400; i++) {
		uint8_t other = (uint8_t)(3 - holder);
		run(25 * MSEC);
		say_plain(holder, CTL_RELEASE, request++);
		reg(other, "w1", request++);
		if (memcmp(rows[1].key, key(other), 32) != 0)
			continue;
		holder = other;
		moved++;
		assert_true(rows[1].granted <= (1700000000 * SEC + now) / SEC + 1);
	}
	assert_in_range(moved, 5, 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_introductions), TEST(test_roster_questions), TEST(test_claims),
		TEST(test_one_claim),	  TEST(test_to_and_fro),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
