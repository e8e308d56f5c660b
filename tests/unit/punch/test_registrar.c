/* SPDX-License-Identifier: Apache-2.0 */
/* The registrar: grants and identity. */
#include "test_registrar.h"

/* --- grants --- */

static void test_grant_waits_for_the_store(void **state)
{
	uint8_t psk[32];
	char s[ADDR_STRLEN];
	store_holds = true;
	reg(1, "w1", 5);
	assert_int_equal(nout, 1);
	assert_non_null(event(REGISTRAR_STORE));
	assert_int_equal(registrar_number(r, key(1)), 0);
	assert_false(registrar_psk(r, key(1), psk));
	reg(1, "w1", 5); /* repeated meanwhile: nothing is written twice */
	assert_int_equal(nout, 0);
	registrar_stored(r, now, last_seq, false);
	drain();
	const struct ctl_msg *m = told(1, CTL_GRANT);
	assert_non_null(m);
	assert_int_equal(m->request, 5);
	assert_int_equal(m->lease.number, 1);
	assert_string_equal(addr_str(&m->lease.ip, s), "10.77.0.1");
	assert_string_equal(addr_str(&m->lease.ip6, s), "fd00:1::1");
	assert_true(endpoint_eq(&m->observed, &(struct endpoint){ at(1).addr, 1000, 0 }));
	assert_true(registrar_psk(r, key(1), psk));
	assert_memory_equal(psk, m->psk, 32);
	/* the caller knows the member before the member knows */
	assert_int_equal(out[0].event, REGISTRAR_MEMBER);
	assert_int_equal(out[0].record.number, 1);
	assert_true(endpoint_eq(&out[0].from, &m->observed) && !out[0].taken);
	(void)state;
}

static void test_smallest_free_and_renewals(void **state)
{
	for (uint8_t i = 1; i <= 5; i++) {
		char id[8];
		snprintf(id, sizeof(id), "w%u", i);
		reg(i, id, 1);
		assert_int_equal(granted(i), i);
	}
	for (uint8_t n = 1; n < 4; n++) {
		reg(3, "w3", 1u + n);
		assert_int_equal(granted(3), 3);
		assert_null(event(REGISTRAR_STORE)); /* nothing new to keep */
		assert_null(event(REGISTRAR_MEMBER));
	}
	size_t online;
	assert_int_equal(registrar_count(r, &online), 5);
	assert_int_equal(online, 5);
	struct registrar_member_info info[3];
	assert_int_equal(registrar_members(r, now, 0, info, 3), 3);
	assert_int_equal(registrar_members(r, now, 3, info, 3), 2);
	assert_string_equal(info[0].record.id, "w4");
	assert_true(info[0].online);
	(void)state;
}

static void test_store_fails(void **state)
{
	store_fails = true;
	reg(1, "w1", 9);
	assert_refused(1, CTL_REFUSED_STORE, false, "disk");
	assert_int_equal(told(1, CTL_REFUSE)->request, 9);
	assert_int_equal(registrar_count(r, NULL), 0);
	store_fails = false;
	reg(2, "w2", 1);
	assert_int_equal(granted(2), 1); /* the number is not burned */
	reg(1, "w1", 9);
	assert_int_equal(granted(1), 2);
	(void)state;
}

static void test_store_answers_in_groups(void **state)
{
	store_holds = true;
	reg(1, "w1", 1);
	uint64_t first = last_seq;
	reg(2, "w2", 1);
	reg(3, "w3", 1);
	/* the second failed, then all up to the third are committed */
	registrar_stored(r, now, first + 1, true);
	registrar_stored(r, now, first + 2, false);
	drain();
	assert_int_equal(granted(1), 1);
	assert_int_equal(granted(3), 3);
	assert_refused(2, CTL_REFUSED_STORE, false, "disk");
	(void)state;
}

static void test_store_is_slow(void **state)
{
	store_holds = true;
	reg(1, "w1", 1);
	now += 6 * SEC;
	reg(1, "w1", 2);
	assert_refused(1, CTL_REFUSED_STORE, false, "waits");
	registrar_stored(r, now, last_seq, false);
	drain();
	assert_int_equal(granted(1), 1);
	(void)state;
}

/* --- identity --- */

/* The store found another file: who is not here to show its lease keeps it all the same. */
static void test_store_begins_anew(void **state)
{
	(void)state;
	reg(1, "c1", 1);
	reg(2, "w1", 1);
	memset(rows, 0, sizeof(rows));
	registrar_rewrite(r, now);
	run(SEC);
	restart();
	reg(9, "new", 1);
	assert_int_equal(granted(9), 3);
	reg(2, "w1", 1);
	assert_int_equal(granted(2), 2);
}

static void test_living_holder(void **state)
{
	reg(1, "w1", 1);
	now += 10 * SEC;
	reg(2, "w1", 77);
	assert_refused(2, CTL_REFUSED_WAIT, false, "being asked");
	assert_non_null(told(1, CTL_CHALLENGE));
	run(1200 * MSEC);
	assert_int_equal(count(1, CTL_CHALLENGE), 2); /* each 500 ms */
	assert_int_equal(say_plain(1, CTL_CHALLENGE_OK, 0), DROP_NONE);
	assert_refused(2, CTL_REFUSED_TAKEN, true,
		       "worker id w1 is taken by a living node (key 01010101");
	assert_int_equal(told(2, CTL_REFUSE)->request, 77);
	run(10 * SEC);
	assert_int_equal(registrar_number(r, key(1)), 1);
	assert_int_equal(registrar_number(r, key(2)), 0);
	assert_int_equal(count(1, CTL_CHALLENGE), 0);
	(void)state;
}

static void test_any_sign_of_life_counts(void **state)
{
	reg(1, "w1", 1);
	reg(2, "w1", 1);
	now += 4900 * MSEC;
	registrar_alive(r, now, key(1));
	drain();
	assert_refused(2, CTL_REFUSED_TAKEN, true, "w1");
	(void)state;
}

static enum drop vouch(uint8_t who, member_number number)
{
	return say(who, &(struct ctl_msg){
				.type = CTL_VOUCH, .has = CTL_BIT(CTL_NUMBER), .number = number });
}

/* A holder that has no way to the rendezvous lives all the same, as long as another member hears it. */
static void test_holder_that_others_hear(void **state)
{
	reg(1, "w1", 1);
	reg(3, "w3", 1);
	reg(4, "w4", 1);
	assert_int_equal(say_plain(4, CTL_RELEASE, 2), DROP_NONE);
	run(SEC);
	reg(2, "w1", 77);
	run(900 * MSEC);
	assert_int_equal(count(3, CTL_ASK), 0); /* it may answer yet */
	assert_int_equal(vouch(3, 9), DROP_NONE);
	assert_int_equal(vouch(2, 1), DROP_FRAME_UNEXPECTED); /* nor can the claimant */
	run(1000 * MSEC);
	assert_int_equal(count(3, CTL_ASK), 1);
	assert_int_equal(told(3, CTL_ASK)->number, 1);
	assert_int_equal(count(1, CTL_ASK) + count(2, CTL_ASK) + count(4, CTL_ASK), 0);
	run(2 * SEC);
	assert_int_equal(count(3, CTL_ASK), 1); /* once more */
	assert_int_equal(vouch(3, 1), DROP_NONE);
	assert_refused(2, CTL_REFUSED_TAKEN, true, "which member w3 reaches");
	assert_int_equal(told(2, CTL_REFUSE)->request, 77);
	run(10 * SEC);
	assert_int_equal(registrar_number(r, key(1)), 1);
	/* a word that comes late changes nothing */
	assert_int_equal(vouch(3, 1), DROP_NONE);
	reg(2, "w1", 78);
	run(6 * SEC);
	assert_int_equal(granted(2), 1);
	assert_int_equal(vouch(3, 1), DROP_NONE);
	assert_int_equal(registrar_number(r, key(2)), 1);
	(void)state;
}

static void test_silent_holder_is_replaced(void **state)
{
	reg(1, "w1", 1);
	reg(3, "w3", 1);
	run(SEC);
	reg(2, "w1", 4);
	run(4900 * MSEC);
	assert_int_equal(granted(2), 0);
	reg(2, "w1", 5); /* it keeps asking, and the last question is answered */
	run(200 * MSEC);
	assert_int_equal(granted(2), 1); /* number and address stay */
	assert_int_equal(told(2, CTL_GRANT)->request, 5);
	assert_non_null(told(1, CTL_REPLACED));
	assert_memory_equal(rows[1].key, key(2), 32);
	assert_true(event(REGISTRAR_MEMBER)->taken);
	run(SEC);
	assert_non_null(told(3, CTL_ROSTER_CHANGED));
	/* whatever the old one says later, it is told */
	run(5 * SEC);
	struct ctl_msg m = { .type = CTL_CONNECT, .has = CTL_BIT(CTL_NUMBER), .number = 3 };
	assert_int_equal(say(1, &m), DROP_NONE);
	assert_non_null(told(1, CTL_REPLACED));
	assert_null(told(3, CTL_INTRODUCE));
	/* by its session alone as well, but once a second */
	registrar_alive(r, now, key(1));
	drain();
	assert_null(told(1, CTL_REPLACED));
	now += 2 * SEC;
	registrar_alive(r, now, key(1));
	drain();
	assert_non_null(told(1, CTL_REPLACED));
	/* its handshakes must go on to succeed for that */
	uint8_t psk[32];
	assert_true(registrar_psk(r, key(1), psk));
	assert_int_equal(registrar_number(r, key(1)), 0);
	/* its renewal is no claim; a new process' REGISTER is one */
	next_reg.has = CTL_BIT(CTL_LEASE);
	next_reg.lease.number = 1;
	now += 2 * SEC;
	reg(1, "w1", 9);
	assert_non_null(told(1, CTL_REPLACED));
	reg(1, "w1", 1);
	assert_non_null(told(2, CTL_CHALLENGE));
	(void)state;
}

static void reg_of(uint64_t boot, uint32_t request)
{
	next_reg.has = CTL_BIT(CTL_BOOT);
	next_reg.boot = boot;
	if (request > 1) {
		next_reg.has |= CTL_BIT(CTL_LEASE);
		next_reg.lease.number = 1;
	}
	now += 2 * SEC;
	reg(1, "w1", request);
}

/* A state directory that was copied: the process that started later stays, whatever number its questions have. */
static void test_two_processes_of_a_key(void **state)
{
	(void)state;
	reg_of(100, 1);
	reg_of(100, 50);
	reg_of(200, 1);
	assert_int_equal(granted(1), 1);
	reg_of(200, 2);
	reg_of(100, 51);
	assert_null(told(1, CTL_GRANT));
	assert_true(told(1, CTL_REPLACED)->boot == 100);
	assert_non_null(strstr(told(1, CTL_REPLACED)->text, "state directory copied"));
	reg_of(200, 3);
	assert_int_equal(granted(1), 1);
	/* one that was told so and starts again is the later one, and so on */
	reg_of(300, 1);
	assert_int_equal(granted(1), 1);
	reg_of(200, 4);
	assert_true(told(1, CTL_REPLACED)->boot == 200);
	/* one that has no lease yet is refused */
	reg_of(200, 1);
	assert_refused(1, CTL_REFUSED_TAKEN, true, "state directory copied");
}

/* A process after one that ended, under a clock that went back. */
static void test_a_clock_that_went_back(void **state)
{
	(void)state;
	reg_of(300, 1);
	reg_of(100, 1);
	assert_int_equal(granted(1), 1);
	reg_of(100, 2);
	assert_int_equal(granted(1), 1);
	reg_of(50, 1);
	assert_int_equal(granted(1), 1);
}

static void test_released_holder(void **state)
{
	reg(1, "w1", 1);
	assert_int_equal(say_plain(1, CTL_RELEASE, 2), DROP_NONE);
	assert_int_equal(told(1, CTL_RELEASED)->request, 2);
	reg(2, "w1", 1);
	assert_int_equal(granted(2), 1);
	run(SEC);
	/* or it releases while it is asked: the newcomer need not wait longer */
	reg(3, "w1", 1);
	assert_int_equal(granted(3), 0);
	assert_int_equal(say_plain(2, CTL_RELEASE, 2), DROP_NONE);
	assert_int_equal(granted(3), 1);
	(void)state;
}

static void test_release_overtakes_a_renewal(void **state)
{
	reg(1, "w1", 1);
	say_plain(1, CTL_RELEASE, 3);
	next_reg.has = CTL_BIT(CTL_LEASE);
	next_reg.lease.number = 1;
	reg(1, "w1", 2); /* said before, arrives after */
	assert_int_equal(granted(1), 0);
	size_t online;
	registrar_count(r, &online);
	assert_int_equal(online, 0);
	(void)state;
}

/* A host that boots while the rendezvous does not answer: its next process is up, and asks with lower numbers. */
static void test_another_process_numbers_anew(void **state)
{
	(void)state;
	reg_of(100, 1);
	say_plain(1, CTL_RELEASE, 5000);
	reg_of(100, 4999); /* said before it left */
	assert_int_equal(granted(1), 0);
	reg_of(200, 7);
	assert_int_equal(granted(1), 1);
	/* and one that was killed */
	reg_of(200, 6000);
	assert_int_equal(granted(1), 1);
	reg_of(300, 8);
	assert_int_equal(granted(1), 1);
	reg_of(300, 7); /* overtaken */
	assert_int_equal(granted(1), 0);
}

static void release_of(uint64_t boot, uint32_t request)
{
	say(1, &(struct ctl_msg){ .type = CTL_RELEASE,
				  .request = request,
				  .has = CTL_BIT(CTL_BOOT),
				  .boot = boot });
}

/* One key, given to both by their operator: the next node is up before the last one leaves. */
static void test_release_of_the_process_before(void **state)
{
	size_t online;
	(void)state;
	reg_of(100, 900000);
	reg_of(200, 5000); /* on a host that booted later */
	assert_int_equal(granted(1), 1);
	release_of(100, 900001);
	assert_int_equal(told(1, CTL_RELEASED)->request, 900001);
	registrar_count(r, &online);
	assert_int_equal(online, 1);
	reg(9, "w1", 1); /* the id is not free */
	assert_refused(9, CTL_REFUSED_WAIT, false, "whether it lives");
	reg_of(200, 5001);
	assert_int_equal(granted(1), 1);
	release_of(200, 5002);
	assert_int_equal(told(1, CTL_RELEASED)->request, 5002);
	registrar_count(r, &online);
	assert_int_equal(online, 0);
	reg(9, "w1", 2);
	assert_int_equal(granted(9), 1);
}

/* It leaves before it is heard by a rendezvous that has just started. */
static void test_release_after_a_restart(void **state)
{
	(void)state;
	reg_of(100, 1);
	restart();
	release_of(100, 20);
	assert_int_equal(told(1, CTL_RELEASED)->request, 20);
	now += 31 * SEC;
	reg(9, "w1", 2);
	assert_int_equal(granted(9), 1);
}

static void test_after_a_restart(void **state)
{
	reg(1, "w1", 1);
	reg(2, "w2", 1);
	restart();
	reg(9, "w1", 1);
	assert_refused(9, CTL_REFUSED_WAIT, false, "w1");
	reg(1, "w1", 1); /* the recorded key: at once */
	assert_int_equal(granted(1), 1);
	reg(9, "w1", 2); /* which has been heard, so others are judged as ever */
	assert_non_null(told(1, CTL_CHALLENGE));
	now += 31 * SEC;
	reg(8, "w2", 1); /* never heard since: challenged all the same */
	assert_int_equal(granted(8), 0);
	assert_non_null(told(2, CTL_CHALLENGE));
	run(5100 * MSEC);
	assert_int_equal(granted(8), 2);
	(void)state;
}

static void test_one_id_a_key(void **state)
{
	reg(1, "w1", 1);
	reg(1, "w2", 2);
	assert_int_equal(granted(1), 2);
	assert_int_equal(registrar_number(r, key(1)), 2);
	reg(3, "w1", 1); /* the former is released: no wait, same number */
	assert_int_equal(granted(3), 1);
	restart();
	reg(1, "w2", 1);
	assert_int_equal(granted(1), 2);
	reg(3, "w1", 1);
	assert_int_equal(granted(3), 1);
	(void)state;
}

static void test_two_newcomers(void **state)
{
	reg(1, "w1", 1);
	reg(2, "w1", 1);
	reg(3, "w1", 1);
	assert_refused(3, CTL_REFUSED_WAIT, false, "another node is claiming");
	run(5100 * MSEC);
	assert_int_equal(granted(2), 1);
	(void)state;
}

static void test_claim_fails_in_the_store(void **state)
{
	reg(1, "w1", 1);
	reg(2, "w1", 1);
	store_fails = true;
	run(5100 * MSEC);
	assert_refused(2, CTL_REFUSED_STORE, false, "disk");
	assert_int_equal(registrar_number(r, key(1)), 1);
	assert_int_equal(registrar_number(r, key(2)), 0);
	(void)state;
}

static void test_many_claims(void **state)
{
	/* more at a time than there is room for: told to wait */
	char id[8];
	start("10.77.0.0/16", 200);
	for (uint8_t i = 1; i <= 80; i++) {
		snprintf(id, sizeof(id), "w%u", i);
		reg(i, id, 1);
	}
	unsigned waits = 0;
	for (uint8_t i = 1; i <= 80; i++) {
		snprintf(id, sizeof(id), "w%u", i);
		reg((uint8_t)(100 + i), id, 1);
		waits += told((uint8_t)(100 + i), CTL_REFUSE) &&
			 strstr(told((uint8_t)(100 + i), CTL_REFUSE)->text, "too many");
	}
	assert_int_equal(waits, 80 - 64);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_grant_waits_for_the_store),
		TEST(test_smallest_free_and_renewals),
		TEST(test_store_fails),
		TEST(test_store_answers_in_groups),
		TEST(test_store_is_slow),
		TEST(test_store_begins_anew),
		TEST(test_living_holder),
		TEST(test_any_sign_of_life_counts),
		TEST(test_holder_that_others_hear),
		TEST(test_silent_holder_is_replaced),
		TEST(test_two_processes_of_a_key),
		TEST(test_a_clock_that_went_back),
		TEST(test_released_holder),
		TEST(test_release_overtakes_a_renewal),
		TEST(test_another_process_numbers_anew),
		TEST(test_release_of_the_process_before),
		TEST(test_release_after_a_restart),
		TEST(test_after_a_restart),
		TEST(test_one_id_a_key),
		TEST(test_two_newcomers),
		TEST(test_claim_fails_in_the_store),
		TEST(test_many_claims),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
