/* SPDX-License-Identifier: Apache-2.0 */
/* One of two rendezvous: which numbers it gives, and what it makes of leases that the other gave. */
#include "test_registrar.h"

#include <string.h>

#define WALL 1700000000

/* This one gives the numbers ≡ `number` mod `of`; its clock is `ahead` seconds ahead. */
static void start_as(uint32_t number, uint32_t of, int64_t ahead)
{
	start("10.77.0.0/16", 200);
	registrar_free(r);
	memset(rows, 0, sizeof(rows));
	cfg.number = number;
	cfg.of = of;
	r = registrar_new(&cfg, now);
	assert_non_null(r);
	registrar_set_wall(r, (WALL + ahead) * NSEC_PER_SEC);
}

static struct lease lease_of(uint8_t who)
{
	const struct ctl_msg *m = told(who, CTL_GRANT);
	assert_non_null(m);
	return m->lease;
}

/* What number `number` of 2 gave, at a second of its own. */
static struct lease given_by(uint32_t number, uint8_t who, const char *id, int64_t ahead)
{
	start_as(number, 2, ahead);
	reg(who, id, 1);
	return lease_of(who);
}

static void show(uint8_t who, const char *id, const struct lease *l, uint32_t request)
{
	next_reg.has = CTL_BIT(CTL_LEASE);
	next_reg.lease = *l;
	reg(who, id, request);
}

static void test_modulo(void **state)
{
	char id[8];
	(void)state;
	for (uint32_t k = 1; k <= 3; k++) {
		start_as(k, 3, 0);
		for (uint8_t i = 1; i < 20; i++) {
			snprintf(id, sizeof(id), "w%u", i);
			reg(i, id, 1);
			assert_int_equal(granted(i) % 3, k % 3);
		}
	}
}

/* Recorded: written, listed, granted as it is; and still known after a restart. */
static void test_shown_is_recorded(void **state)
{
	(void)state;
	struct lease l = given_by(2, 1, "w1", 0), back;
	start_as(1, 2, 50);
	show(1, "w1", &l, 1);
	back = lease_of(1);
	assert_int_equal(back.number, l.number);
	assert_int_equal(back.granted, l.granted);
	assert_memory_equal(back.mac, l.mac, 16);
	assert_int_equal(rows[l.number].granted, l.granted);
	reg(2, "w2", 1);
	assert_int_equal(granted(2), 1);
	restart();
	reg(1, "w1", 9); /* without showing it */
	assert_int_equal(granted(1), l.number);
}

static void test_forged_is_not(void **state)
{
	(void)state;
	struct lease l = given_by(2, 1, "w1", 0), bad;
	start_as(1, 2, 0);
	bad = l, bad.mac[0] ^= 1;
	show(1, "w1", &bad, 1);
	assert_int_equal(granted(1) % 2, 1);
	bad = l, bad.number += 2;
	show(2, "w2", &bad, 1);
	assert_int_equal(granted(2) % 2, 1);
	show(3, "w3", &l, 1); /* of another id and key */
	assert_int_equal(granted(3) % 2, 1);
	bad = l, bad.number = 60000000;
	show(4, "w4", &bad, 1);
	assert_int_equal(granted(4) % 2, 1);
}

/* It was granted one here as well, of which it never heard: what it shows is what it uses. */
static void test_key_uses_what_it_shows(void **state)
{
	(void)state;
	struct lease l = given_by(2, 1, "w1", 100);
	start_as(1, 2, 0);
	reg(1, "w1", 1);
	member_number here = granted(1);
	assert_true(here != l.number);
	show(1, "w1", &l, 2);
	assert_int_equal(granted(1), l.number);
	assert_null(told(1, CTL_REPLACED));
	/* the other number is free again */
	reg(2, "w2", 1);
	assert_int_equal(granted(2), here);
	assert_int_equal(registrar_number(r, key(1)), l.number);
}

/* Two nodes got one id from two rendezvous that did not know of each other: the older one holds. */
static void test_older_of_an_id(void **state)
{
	(void)state;
	struct lease old = given_by(2, 1, "w1", 0);
	start_as(1, 2, 10);
	reg(2, "w1", 1);
	member_number younger = granted(2);
	struct lease young = lease_of(2);
	show(1, "w1", &old, 1);
	assert_int_equal(granted(1), old.number);
	assert_non_null(told(2, CTL_REPLACED));
	assert_non_null(event(REGISTRAR_GONE));
	/* and it stays out */
	run(2 * SEC);
	show(2, "w1", &young, 2);
	say_plain(1, CTL_CHALLENGE_OK, 0);
	assert_refused(2, CTL_REFUSED_TAKEN, true, "taken");
	reg(3, "w3", 1);
	assert_int_equal(granted(3), younger);
}

static void test_younger_of_an_id(void **state)
{
	(void)state;
	struct lease young = given_by(2, 1, "w1", 10);
	start_as(1, 2, 0);
	reg(2, "w1", 1);
	member_number older = granted(2);
	struct lease lease_of_older = lease_of(2);
	/* its holder lives */
	show(1, "w1", &young, 1);
	assert_refused(1, CTL_REFUSED_WAIT, false, "asked whether it lives");
	assert_non_null(told(2, CTL_CHALLENGE));
	say_plain(2, CTL_CHALLENGE_OK, 0);
	assert_refused(1, CTL_REFUSED_TAKEN, true, "taken");
	/* its holder does not */
	struct lease old = lease_of_older;
	show(1, "w1", &young, 2);
	run(5 * SEC);
	assert_int_equal(granted(1), young.number);
	/* it did after all: so it holds */
	show(2, "w1", &old, 7);
	assert_int_equal(granted(2), older);
	assert_non_null(told(1, CTL_REPLACED));
	run(2 * SEC);
	show(1, "w1", &young, 3);
	say_plain(2, CTL_CHALLENGE_OK, 0);
	assert_refused(1, CTL_REFUSED_TAKEN, true, "taken");
}

/* In one second: both rendezvous still come to one answer. */
static void test_same_age(void **state)
{
	(void)state;
	struct lease a = given_by(1, 1, "w1", 0), b = given_by(2, 2, "w1", 0);
	assert_true(a.granted == b.granted && a.number < b.number);
	start_as(1, 2, 0);
	show(2, "w1", &b, 1);
	show(1, "w1", &a, 1);
	assert_int_equal(granted(1), a.number);
	assert_non_null(told(2, CTL_REPLACED));
	start_as(2, 2, 0);
	show(1, "w1", &a, 1);
	show(2, "w1", &b, 1);
	assert_refused(2, CTL_REFUSED_WAIT, false, "");
}

/* The other one gave the number on, to a key that took the id over. Who has it knows by its lease. */
static void test_take_over_elsewhere(void **state)
{
	(void)state;
	struct lease was = given_by(2, 1, "w1", 0);
	reg(2, "w1", 1);
	run(5 * SEC);
	struct lease now_is = lease_of(2);
	assert_true(now_is.number == was.number && now_is.granted > was.granted);
	start_as(1, 2, 0);
	show(1, "w1", &was, 1);
	say_plain(1, CTL_CHALLENGE_OK, 0); /* it lives, and does not know yet */
	show(2, "w1", &now_is, 1);
	assert_int_equal(granted(2), was.number);
	assert_non_null(told(1, CTL_REPLACED));
	show(1, "w1", &was, 2);
	run(2 * SEC);
	assert_null(told(1, CTL_GRANT));
	/* also where the former one comes second, to a rendezvous that never saw it */
	start_as(1, 2, 0);
	show(2, "w1", &now_is, 1);
	show(1, "w1", &was, 1);
	assert_non_null(told(1, CTL_REPLACED));
	assert_null(told(1, CTL_GRANT));
}

/* A take-over keeps the id's age: a third one that was granted it meanwhile elsewhere is younger. */
static void test_take_over_keeps_age(void **state)
{
	(void)state;
	given_by(2, 1, "w1", 0);
	run(30 * SEC);
	reg(2, "w1", 1);
	run(5 * SEC);
	struct lease over = lease_of(2);
	start_as(1, 2, 20);
	reg(3, "w1", 1);
	show(2, "w1", &over, 1);
	assert_int_equal(granted(2), over.number);
	assert_non_null(told(3, CTL_REPLACED));
}

/* The number was freed there, and given to another id. */
static void test_number_given_on(void **state)
{
	(void)state;
	struct lease was = given_by(2, 1, "w1", 0), is = given_by(2, 2, "w2", 1000);
	assert_int_equal(was.number, is.number);
	start_as(1, 2, 0);
	show(1, "w1", &was, 1);
	assert_int_equal(granted(1), was.number);
	show(2, "w2", &is, 1);
	assert_int_equal(granted(2), is.number);
	assert_non_null(told(1, CTL_REPLACED));
	/* the other way round */
	start_as(1, 2, 0);
	show(2, "w2", &is, 1);
	show(1, "w1", &was, 1);
	assert_int_equal(granted(1) % 2, 1); /* another address: it will stop for that */
}

/*
 * Somebody new claims an id whose number is the other's: that one could have given it on, so it comes
 * first. Where it does not, the claimant gets a number of ours.
 */
static void test_claim_of_a_foreign_number(void **state)
{
	(void)state;
	struct lease l = given_by(2, 1, "w1", 0);
	start_as(1, 2, 0);
	show(1, "w1", &l, 1);
	reg(2, "w1", 1);
	assert_refused(2, CTL_REFUSED_WAIT, false, "lives");
	run(9 * SEC);
	assert_null(told(2, CTL_GRANT));
	run(2 * SEC);
	assert_int_equal(granted(2) % 2, 1);
	/* released: its holder need not be asked, but the other still comes first */
	start_as(1, 2, 0);
	show(1, "w1", &l, 1);
	say_plain(1, CTL_RELEASE, 2);
	reg(2, "w1", 1);
	assert_refused(2, CTL_REFUSED_WAIT, false, "comes first");
	run(4 * SEC);
	assert_null(told(2, CTL_GRANT));
	run(2 * SEC);
	assert_int_equal(granted(2) % 2, 1);
	/* and what the other gave meanwhile is shown: no number of ours for it */
	start_as(2, 2, 0);
	reg(1, "w1", 1);
	say_plain(1, CTL_RELEASE, 2);
	reg(2, "w1", 1);
	struct lease next = lease_of(2);
	start_as(1, 2, 0);
	show(1, "w1", &l, 1);
	say_plain(1, CTL_RELEASE, 2);
	reg(2, "w1", 1);
	show(2, "w1", &next, 2);
	assert_int_equal(granted(2), l.number);
	run(20 * SEC);
	assert_int_equal(registrar_number(r, key(2)), l.number);
}

/* A process that was replaced and has another lease by now is no former one. */
static void test_replaced_and_back(void **state)
{
	(void)state;
	struct lease old = given_by(2, 1, "w1", 0), again = given_by(2, 2, "w2", 0);
	start_as(1, 2, 10);
	reg(2, "w1", 1);
	show(1, "w1", &old, 1);
	assert_non_null(told(2, CTL_REPLACED));
	again.number = 0;
	start_as(2, 2, 0);
	reg(5, "w5", 1);
	reg(2, "w2", 1);
	again = lease_of(2);
	start_as(1, 2, 10);
	reg(2, "w1", 1);
	show(1, "w1", &old, 1);
	assert_non_null(told(2, CTL_REPLACED));
	run(5 * SEC);
	show(2, "w2", &again, 3);
	assert_null(told(2, CTL_REPLACED));
	assert_int_equal(granted(2), again.number);
}

/* Given later here: a number's later lease is the one that holds. */
static void test_later_for_the_same_number(void **state)
{
	(void)state;
	struct lease a = given_by(2, 1, "w1", 0), b = given_by(2, 1, "w1", 500), got;
	start_as(1, 2, 0);
	show(1, "w1", &a, 1);
	show(1, "w1", &b, 2);
	got = lease_of(1);
	assert_int_equal(got.granted, b.granted);
	show(1, "w1", &a, 3);
	got = lease_of(1);
	assert_int_equal(got.granted, b.granted);
	assert_int_equal(rows[a.number].granted, b.granted);
}

/* The disk is full: nothing is lost but the answer, and it works when there is room. */
static void test_store_fails(void **state)
{
	(void)state;
	struct lease old = given_by(2, 1, "w1", 0);
	start_as(1, 2, 10);
	reg(2, "w1", 1);
	store_fails = true;
	show(1, "w1", &old, 1);
	assert_refused(1, CTL_REFUSED_STORE, false, "disk");
	store_fails = false;
	show(1, "w1", &old, 2);
	assert_int_equal(granted(1), old.number);
	/* while it is being written, others wait */
	store_holds = true;
	reg(3, "w3", 1);
	struct lease l3 = { .number = 3 };
	show(3, "w3", &l3, 2);
	assert_null(told(3, CTL_GRANT));
}

/* --- an id that is kept for a token of its own --- */

static void assert_kept(const char *id, bool full)
{
	const struct registrar_output *o = event(REGISTRAR_KEPT);
	assert_non_null(o);
	assert_string_equal(o->record.id, id);
	assert_int_equal(o->full, full);
}

/* The token was made at the other one. From its first use on it counts here, whatever else the node shows. */
static void test_kept_by_its_ticket(void **state)
{
	(void)state;
	for (int shows = 0; shows < 2; shows++) {
		struct lease l = given_by(1, 1, "c1", 0);
		start_as(2, 2, 0);
		plain = false;
		ticket(0, "c1");
		struct ctl_msg own = next_reg;
		if (shows) {
			next_reg.has |= CTL_BIT(CTL_LEASE);
			next_reg.lease = l;
		}
		reg(1, "c1", 1);
		assert_true(granted(1));
		assert_kept("c1", false);
		/* c1 is down, and somebody has the token of the others */
		say_plain(1, CTL_RELEASE, 2);
		run(100 * SEC);
		ticket(0, "");
		reg(9, "c1", 1);
		assert_refused(9, CTL_REFUSED_TOKEN, true, "kept for a token of its own");
		plain = true;
		reg(9, "c1", 2);
		assert_refused(9, CTL_REFUSED_TOKEN, true, "kept for a token of its own");
		plain = false;
		next_reg = own;
		reg(2, "c1", 1);
		assert_null(event(REGISTRAR_KEPT));
		assert_true(granted(2) || (shows && told(2, CTL_REFUSE)->code == CTL_REFUSED_WAIT));
	}
}

static void test_not_kept(void **state)
{
	char id[16];
	(void)state;
	start_as(2, 2, 0);
	ticket(0, ""); /* for any id */
	reg(1, "w1", 1);
	assert_null(event(REGISTRAR_KEPT));
	ticket(0, "w2");
	next_reg.ticket.mac[0] ^= 1;
	reg(2, "w2", 1);
	assert_refused(2, CTL_REFUSED_TOKEN, true, "another worker id alone");
	ticket(WALL - 1, "w3");
	reg(3, "w3", 1);
	assert_refused(3, CTL_REFUSED_TOKEN, true, "expired");
	assert_int_equal(admission.nreserved, 0);
	/* it is said, and the node is admitted all the same */
	for (int i = 0; i < ADMISSION_MAX_RESERVED; i++) {
		snprintf(id, sizeof(id), "k%d", i);
		assert_int_equal(admission_reserve(&admission, id), 0);
	}
	ticket(0, "w4");
	reg(4, "w4", 1);
	assert_true(granted(4));
	assert_kept("w4", true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_modulo),
		TEST(test_shown_is_recorded),
		TEST(test_forged_is_not),
		TEST(test_key_uses_what_it_shows),
		TEST(test_older_of_an_id),
		TEST(test_younger_of_an_id),
		TEST(test_same_age),
		TEST(test_take_over_elsewhere),
		TEST(test_take_over_keeps_age),
		TEST(test_number_given_on),
		TEST(test_claim_of_a_foreign_number),
		TEST(test_replaced_and_back),
		TEST(test_later_for_the_same_number),
		TEST(test_store_fails),
		TEST(test_kept_by_its_ticket),
		TEST(test_not_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
