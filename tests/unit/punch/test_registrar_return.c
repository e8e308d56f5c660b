/* SPDX-License-Identifier: Apache-2.0 */
/* Who had an id before: when that is worth something, and when it needs a good token as anybody. */
#include "test_registrar.h"

enum { WALL = 1700000000 };

static int64_t wall(void)
{
	return now / SEC + WALL;
}

static struct lease lease_of(uint8_t who)
{
	const struct ctl_msg *m = told(who, CTL_GRANT);
	assert_non_null(m);
	return m->lease;
}

/* What the next reg() shows: a lease, of a start before or of a process that runs with it. */
static void shows(const struct lease *l, bool runs)
{
	next_reg.lease = *l;
	next_reg.has |= CTL_BIT(CTL_LEASE);
	next_reg.flags = runs ? 0 : CTL_REGISTER_SAVED;
}

/* `who` gets c1, is replaced by `by` with a token for it, and forgotten by a restart. */
static struct lease replaced(uint8_t who, uint8_t by)
{
	ticket(0, "");
	reg(who, "c1", 1);
	struct lease had = lease_of(who);
	assert_int_equal(admission_reserve(&admission, "c1"), 0);
	ticket(0, "c1");
	reg(by, "c1", 1);
	assert_int_equal(granted(by), had.number);
	restart();
	run(31 * SEC);
	reg(by, "c1", 2);
	assert_int_equal(granted(by), had.number);
	plain = false;
	return had;
}

static void assert_still(uint8_t who, uint32_t request)
{
	assert_null(told(who, CTL_REPLACED));
	reg(who, "c1", request);
	assert_int_equal(granted(who), 1);
}

/* --- tickets for one id, which replace the holder --- */

static void test_forged_ticket(void **state)
{
	(void)state;
	struct lease had = replaced(1, 2);
	shows(&had, false);
	next_reg.ticket = (struct ticket){ .only = true };
	memset(next_reg.ticket.mac, 0x11, sizeof(next_reg.ticket.mac));
	next_reg.has |= CTL_BIT(CTL_TICKET);
	reg(1, "c1", 5);
	assert_refused(1, CTL_REFUSED_TOKEN, true, "another worker id alone");
	assert_still(2, 3);
	/* nor by itself */
	next_reg.ticket = (struct ticket){ .only = true };
	next_reg.has |= CTL_BIT(CTL_TICKET);
	reg(3, "c1", 1);
	assert_refused(3, CTL_REFUSED_TOKEN, true, "another worker id alone");
	assert_still(2, 4);
}

/* Its own was good once. */
static void test_stale_ticket(void **state)
{
	(void)state;
	struct lease had = replaced(1, 2);
	ticket(wall() + 10, "c1");
	struct ctl_msg expires = next_reg;
	run(10 * SEC);
	next_reg = expires;
	shows(&had, false);
	reg(1, "c1", 5);
	assert_refused(1, CTL_REFUSED_TOKEN, true, "expired");
	assert_still(2, 3);
	ticket(0, "c1");
	struct ctl_msg old = next_reg;
	admission_rotate(&admission, wall(), 0);
	next_reg = old;
	shows(&had, false);
	reg(1, "c1", 6);
	assert_refused(1, CTL_REFUSED_TOKEN, true, "replaced by a newer one");
	assert_still(2, 4);
	/* and a good one is good, whatever else it shows */
	ticket(0, "c1");
	shows(&had, false);
	reg(1, "c1", 7);
	assert_int_equal(granted(1), 1);
	assert_non_null(told(2, CTL_REPLACED));
}

/* A lease that is still its own, and nobody is in the way: no token is looked at. */
static void test_stale_ticket_of_the_holder(void **state)
{
	(void)state;
	plain = false;
	ticket(0, "c1");
	struct ctl_msg old = next_reg;
	reg(1, "c1", 1);
	struct lease has = lease_of(1);
	admission_rotate(&admission, wall(), 0);
	next_reg = old;
	shows(&has, false);
	reg(1, "c1", 2);
	assert_int_equal(granted(1), 1);
	memset(rows, 0, sizeof(rows));
	restart();
	next_reg = old;
	shows(&has, false);
	reg(1, "c1", 3);
	assert_int_equal(granted(1), 1);
}

/* --- one that was replaced --- */

static void test_replaced_needs_a_token(void **state)
{
	(void)state;
	/* c1 is kept for no token, and its holder is silent: what a challenge would give */
	plain = false;
	ticket(0, "");
	reg(1, "c1", 1);
	struct lease had = lease_of(1);
	say_plain(1, CTL_RELEASE, 2);
	ticket(0, "");
	reg(2, "c1", 1);
	assert_int_equal(granted(2), 1);
	struct lease now_is = lease_of(2);
	restart();
	run(100 * SEC);
	shows(&had, false);
	reg(1, "c1", 3);
	assert_refused(1, CTL_REFUSED_TOKEN, true, "no token that admits it");
	run(10 * SEC);
	assert_null(told(1, CTL_GRANT));
	/* a process that still runs with it hears why it has to stop */
	shows(&had, true);
	reg(1, "c1", 4);
	assert_non_null(told(1, CTL_REPLACED));
	assert_null(told(1, CTL_REFUSE));
	/* with a good token it may ask, as anybody */
	ticket(0, "");
	shows(&had, false);
	reg(1, "c1", 5);
	assert_refused(1, CTL_REFUSED_WAIT, false, "whether it lives");
	run(6 * SEC);
	assert_int_equal(granted(1), 1);
	/* by now it is the other one that was replaced */
	restart();
	run(100 * SEC);
	shows(&now_is, false);
	reg(2, "c1", 6);
	assert_refused(2, CTL_REFUSED_TOKEN, true, "no token that admits it");
}

/* The id got another number after its lease was freed: the lease of before is no older claim to it. */
static void test_replaced_under_another_number(void **state)
{
	(void)state;
	plain = false;
	for (uint8_t i = 1; i <= 2; i++) {
		ticket(0, "");
		reg(i, i == 1 ? "w1" : "c1", 1);
	}
	struct lease had = lease_of(2);
	say_plain(1, CTL_RELEASE, 2);
	say_plain(2, CTL_RELEASE, 2);
	assert_int_equal(registrar_forget(r, now, "w1"), 0);
	assert_int_equal(registrar_forget(r, now, "c1"), 0);
	drain();
	run(SEC);
	ticket(0, "");
	reg(3, "c1", 1);
	assert_int_equal(granted(3), 1);
	assert_int_equal(had.number, 2);
	for (int runs = 0; runs < 2; runs++) {
		shows(&had, runs);
		reg(2, "c1", 5);
		assert_refused(2, CTL_REFUSED_TOKEN, true, "no token that admits it");
		assert_null(told(3, CTL_REPLACED));
	}
}

/* The clock was set back between the two: the later one is the later one. */
static void test_clock_set_back(void **state)
{
	(void)state;
	reg(1, "c1", 1);
	struct lease first = lease_of(1);
	registrar_set_wall(r, (WALL - 86400) * NSEC_PER_SEC);
	ticket(0, "c1");
	reg(2, "c1", 1);
	assert_true(lease_of(2).granted > first.granted);
	assert_true(admission_unreserve(&admission, "c1")); /* else no other token is looked at */
	restart();
	run(31 * SEC);
	reg(2, "c1", 2);
	shows(&first, false);
	reg(1, "c1", 2); /* with a token for any id: the holder is asked */
	assert_refused(1, CTL_REFUSED_WAIT, false, "whether it lives");
	reg(2, "c1", 3);
	assert_int_equal(granted(2), 1);
	assert_refused(1, CTL_REFUSED_TAKEN, true, "living node");
}

/* --- a database that is lost --- */

/* Whoever has never been here might get the number of a member that is on its way back. */
static void test_newcomer_after_a_loss(void **state)
{
	struct lease had[3];
	(void)state;
	for (uint8_t i = 0; i < 3; i++) {
		reg((uint8_t)(1 + i), (const char *[]){ "c1", "w1", "w2" }[i], 1);
		had[i] = lease_of((uint8_t)(1 + i));
	}
	memset(rows, 0, sizeof(rows));
	restart();
	registrar_incomplete(r, now);
	reg(9, "new", 1);
	assert_refused(9, CTL_REFUSED_WAIT, false, "the rendezvous has lost leases");
	reg(8, "c1", 1); /* nor an id that has a holder somewhere */
	assert_refused(8, CTL_REFUSED_WAIT, false, "the rendezvous has lost leases");
	next_reg.has = CTL_BIT(CTL_LEASE); /* one that is not its own */
	next_reg.lease = had[0];
	reg(9, "new", 2);
	assert_refused(9, CTL_REFUSED_WAIT, false, "the rendezvous has lost leases");
	/* a member that runs, one that starts again: at once */
	run(19 * SEC);
	shows(&had[0], true);
	reg(1, "c1", 40);
	assert_int_equal(granted(1), had[0].number);
	shows(&had[1], false);
	reg(2, "w1", 1);
	assert_int_equal(granted(2), had[1].number);
	reg(2, "w1", 2);
	assert_int_equal(granted(2), had[1].number);
	/* and another node that asks for an id which is back is told of its holder, as ever */
	reg(8, "c1", 2);
	assert_refused(8, CTL_REFUSED_WAIT, false, "whether it lives");
	run(9 * SEC);
	reg(9, "new", 3);
	assert_refused(9, CTL_REFUSED_WAIT, false, "the rendezvous has lost leases");
	shows(&had[2], true);
	reg(3, "w2", 40);
	assert_int_equal(granted(3), had[2].number);
	run(2 * SEC);
	reg(9, "new", 4);
	assert_int_equal(granted(9), 4);
}

/* With all that it knew, or nothing to know, nobody waits. */
static void test_newcomer_after_a_restart(void **state)
{
	(void)state;
	reg(1, "c1", 1);
	assert_int_equal(granted(1), 1);
	restart();
	reg(9, "new", 1);
	assert_int_equal(granted(9), 2);
}

/* Of two rendezvous: a take-over of the other one's id needs a number of ours. */
static void test_take_over_after_a_loss(void **state)
{
	(void)state;
	registrar_free(r);
	cfg.number = 2;
	cfg.of = 2;
	r = registrar_new(&cfg, now);
	registrar_set_wall(r, WALL * NSEC_PER_SEC);
	reg(1, "w1", 1);
	struct lease had = lease_of(1);
	assert_int_equal(had.number, 2);
	memset(rows, 0, sizeof(rows));
	/* the other one's, which is all that was not lost */
	rows[1] = (struct lease_record){ .number = 1, .id = "c1", .granted = WALL };
	memset(rows[1].key, 3, 32);
	restart();
	registrar_incomplete(r, now);
	ticket(0, "c1");
	reg(4, "c1", 1);
	run(20 * SEC);
	assert_null(told(4, CTL_GRANT));
	shows(&had, true);
	reg(1, "w1", 40);
	assert_int_equal(granted(1), 2);
	run(11 * SEC);
	assert_int_equal(granted(4), 4);
}

/* --- at once, and what comes in between --- */

/* `seen` is being written, and the holder speaks meanwhile. */
static void test_at_once_during_a_write(void **state)
{
	(void)state;
	reg(1, "c1", 1);
	reg(3, "w3", 1);
	run(HOUR * SEC);
	reg(3, "w3", 2);
	store_holds = true;
	reg(1, "c1", 2);
	uint64_t seq = last_seq;
	ticket(0, "c1");
	reg(2, "c1", 1);
	reg(1, "c1", 3);
	assert_null(told(2, CTL_REFUSE));
	struct ctl_msg vouch = { .type = CTL_VOUCH, .has = CTL_BIT(CTL_NUMBER), .number = 1 };
	say(3, &vouch);
	assert_null(told(2, CTL_REFUSE));
	store_holds = false;
	registrar_stored(r, now, seq, false);
	run(SEC);
	assert_int_equal(granted(2), 1);
	assert_non_null(told(1, CTL_REPLACED));
}

/* Its claim waited for the holder's answer when it came with a token for the id. */
static void test_at_once_after_all(void **state)
{
	(void)state;
	reg(1, "c1", 1);
	run(100 * SEC);
	reg(2, "c1", 1);
	assert_refused(2, CTL_REFUSED_WAIT, false, "whether it lives");
	ticket(0, "c1");
	reg(2, "c1", 2);
	assert_int_equal(granted(2), 1);
}

/* --- a key that is removed while its lease goes to another --- */

static void remove_key(uint8_t who, member_number number)
{
	struct removed_key k = { .number = number, .since = wall() };
	memcpy(k.key, key(who), 32);
	snprintf(k.id, sizeof(k.id), "c1");
	assert_int_equal(admission_remove(&admission, &k), 0);
	registrar_remove(r, now, key(who));
	drain();
}

static void test_removed_during_a_take_over(void **state)
{
	(void)state;
	reg(1, "c1", 1);
	store_holds = true;
	ticket(0, "c1");
	reg(2, "c1", 1);
	uint64_t seq = last_seq;
	remove_key(1, 1);
	store_holds = false;
	registrar_stored(r, now, seq, false);
	drain();
	assert_int_equal(granted(2), 1);
	run(SEC);
	reg(2, "c1", 2);
	assert_int_equal(granted(2), 1);
	assert_int_equal(registrar_number(r, key(2)), 1);
}

/* And the one that takes it over. */
static void test_removed_claimant(void **state)
{
	(void)state;
	reg(1, "c1", 1);
	run(100 * SEC);
	reg(2, "c1", 1); /* is waiting for the holder's silence */
	remove_key(2, 0);
	run(10 * SEC);
	assert_null(told(2, CTL_GRANT));
	reg(1, "c1", 2);
	assert_int_equal(granted(1), 1);
	/* it is being written */
	store_holds = true;
	ticket(0, "c1");
	reg(3, "c1", 1);
	uint64_t seq = last_seq;
	remove_key(3, 0);
	store_holds = false;
	registrar_stored(r, now, seq, false);
	drain();
	assert_null(told(3, CTL_GRANT));
	assert_int_equal(registrar_count(r, NULL), 0);
}

static void get_roster(uint8_t who, const struct ctl_roster *have)
{
	struct ctl_msg m = { .type = CTL_ROSTER_GET,
			     .request = 7,
			     .has = CTL_BIT(CTL_ROSTER) | CTL_BIT(CTL_RANGE),
			     .roster = *have,
			     .upto = UINT32_MAX };
	assert_int_equal(say(who, &m), DROP_NONE);
}

/* Its lease was freed, but it still talks to others, who hear that its number is nobody's. */
static void test_removed_after_forget(void **state)
{
	struct ctl_change change;
	(void)state;
	reg(1, "c1", 1);
	run(70 * SEC); /* cut off from here, not from the others */
	reg(3, "w3", 1);
	assert_int_equal(registrar_forget(r, now, "c1"), 0);
	drain();
	run(SEC);
	get_roster(3, &(struct ctl_roster){ 0 });
	struct ctl_roster have = told(3, CTL_ROSTER_PAGE)->roster;
	const struct lease_record *last = registrar_lease_of_key(r, key(1));
	assert_non_null(last);
	assert_int_equal(last->number, 1);
	remove_key(1, last->number);
	run(SEC);
	assert_non_null(told(3, CTL_ROSTER_CHANGED));
	get_roster(3, &have);
	struct ctl_changes it = { .body = told(3, CTL_ROSTER_PAGE)->body };
	bool told_so = false;
	while (ctl_next_change(&it, &change))
		told_so |= change.removed && change.entry.number == 1;
	assert_true(told_so);
	/* once the number is another's, it is not taken back */
	reg(4, "w4", 1);
	run(70 * SEC);
	assert_int_equal(registrar_forget(r, now, "w4"), 0);
	drain();
	reg(5, "w5", 1);
	assert_null(registrar_lease_of_key(r, key(4)));
}

/* It asks a hundred times a second, and is told once. */
static void test_removed_is_told_once_a_second(void **state)
{
	size_t n = 0;
	(void)state;
	reg(1, "c1", 1);
	remove_key(1, 1);
	for (int i = 0; i < 300; i++) {
		now += 10 * MSEC;
		registrar_alive(r, now, key(1));
		drain();
		n += count(1, CTL_REPLACED);
	}
	assert_in_range(n, 2, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_forged_ticket),
		TEST(test_stale_ticket),
		TEST(test_stale_ticket_of_the_holder),
		TEST(test_replaced_needs_a_token),
		TEST(test_replaced_under_another_number),
		TEST(test_clock_set_back),
		TEST(test_newcomer_after_a_loss),
		TEST(test_newcomer_after_a_restart),
		TEST(test_take_over_after_a_loss),
		TEST(test_at_once_during_a_write),
		TEST(test_at_once_after_all),
		TEST(test_removed_during_a_take_over),
		TEST(test_removed_claimant),
		TEST(test_removed_after_forget),
		TEST(test_removed_is_told_once_a_second),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
