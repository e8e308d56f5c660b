/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets in: tickets, rotations, ids that are kept, keys that were removed, leases that are freed. */
#include <errno.h>

#include "test_registrar.h"

enum { WALL = 1700000000 + 1000 }; /* where start() begins */

static int64_t wall(void)
{
	return now / SEC + 1700000000;
}

static void removed_from_the_list(uint8_t who, const char *id)
{
	struct removed_key k = { .number = registrar_lease_of(r, id)->number, .since = wall() };
	memcpy(k.key, key(who), 32);
	snprintf(k.id, sizeof(k.id), "%s", id);
	assert_int_equal(admission_remove(&admission, &k), 0);
}

static void remove_member(uint8_t who, const char *id)
{
	removed_from_the_list(who, id);
	registrar_remove(r, now, key(who));
	drain();
}

static void get_roster(uint8_t who, uint32_t request)
{
	struct ctl_msg m = { .type = CTL_ROSTER_GET,
			     .request = request,
			     .has = CTL_BIT(CTL_ROSTER) | CTL_BIT(CTL_RANGE) };
	assert_int_equal(say(who, &m), DROP_NONE);
}

/* What the pages of the last turn say of this number. */
static void page_says(uint8_t who, member_number number, bool *removed, bool *listed)
{
	*removed = *listed = false;
	for (size_t i = 0; i < nout; i++) {
		struct ctl_changes it = { .body = msg[i].body };
		struct ctl_change c;
		if (out[i].event != REGISTRAR_SEND || msg[i].type != CTL_ROSTER_PAGE ||
		    memcmp(out[i].key, key(who), 32) != 0)
			continue;
		while (ctl_next_change(&it, &c)) {
			*removed |= c.removed && c.entry.number == number;
			*listed |= !c.removed && !c.gone && c.entry.number == number;
		}
	}
}

static void assert_removed(uint8_t who, member_number number, uint32_t request)
{
	bool removed, listed;
	get_roster(who, request);
	page_says(who, number, &removed, &listed);
	assert_true(removed);
	assert_false(listed);
}

/* --- tickets --- */

static void test_ticket(void **state)
{
	(void)state;
	plain = false;
	reg(1, "w1", 1);
	assert_refused(1, CTL_REFUSED_TOKEN, true, "no token that admits it");
	ticket(0, "");
	reg(1, "w1", 2);
	assert_int_equal(granted(1), 1);
	reg(1, "w1", 3); /* who is in needs none */
	assert_int_equal(granted(1), 1);
	ticket(0, "");
	next_reg.ticket.mac[15] ^= 1;
	reg(2, "w2", 1);
	assert_refused(2, CTL_REFUSED_TOKEN, true, "not of this rendezvous");
	assert_int_equal(registrar_count(r, NULL), 1);
}

static void test_plain_token(void **state)
{
	(void)state;
	reg(1, "w1", 1);
	assert_int_equal(granted(1), 1);
	admission_rotate(&admission, wall(), 60);
	reg(2, "w2", 1); /* within the overlap */
	assert_int_equal(granted(2), 2);
	run(61 * SEC);
	reg(3, "w3", 1);
	assert_refused(3, CTL_REFUSED_TOKEN, true, "replaced by a newer one");
	assert_int_equal(registrar_count(r, NULL), 2);
}

static void test_expiry(void **state)
{
	(void)state;
	plain = false;
	ticket(WALL + 10, "");
	reg(1, "w1", 1);
	assert_int_equal(granted(1), 1);
	ticket(WALL + 10, "");
	run(9 * SEC);
	struct ctl_msg kept = next_reg;
	reg(2, "w2", 1);
	assert_int_equal(granted(2), 2);
	run(1 * SEC);
	next_reg = kept;
	reg(3, "w3", 1);
	assert_refused(3, CTL_REFUSED_TOKEN, true, "expired (2023-11-14 22:30:10 UTC)");
	next_reg = kept; /* and a later date is not under the MAC */
	next_reg.ticket.expires += 1000;
	reg(3, "w3", 2);
	assert_refused(3, CTL_REFUSED_TOKEN, true, "not of this rendezvous");
	reg(1, "w1", 2); /* members stay */
	assert_int_equal(granted(1), 1);
}

/* The clock's fraction of a second counts, and so does the offset's. */
static void test_expiry_to_the_second(void **state)
{
	(void)state;
	plain = false;
	registrar_set_wall(r, 1700000000 * SEC - SEC / 2);
	ticket(WALL + 10, "");
	run(10 * SEC + SEC / 4);
	reg(1, "w1", 1);
	assert_int_equal(granted(1), 1);
	ticket(WALL + 10, "");
	run(SEC / 4);
	reg(2, "w2", 1);
	assert_refused(2, CTL_REFUSED_TOKEN, true, "expired (2023-11-14 22:30:10 UTC)");
}

static void test_rotation(void **state)
{
	(void)state;
	plain = false;
	ticket(0, "");
	struct ctl_msg old = next_reg;
	reg(1, "w1", 1);
	admission_rotate(&admission, wall(), 100);
	next_reg = old;
	reg(2, "w2", 1);
	assert_int_equal(granted(2), 2);
	run(100 * SEC);
	next_reg = old;
	reg(3, "w3", 1);
	assert_refused(3, CTL_REFUSED_TOKEN, true, "replaced by a newer one");
	ticket(0, "");
	reg(3, "w3", 2);
	assert_int_equal(granted(3), 3);
	reg(1, "w1", 2); /* members stay, whatever they came with */
	assert_int_equal(granted(1), 1);
	/* but another id is another admission */
	next_reg = old;
	reg(1, "w4", 3);
	assert_refused(1, CTL_REFUSED_TOKEN, true, "replaced by a newer one");
}

/* --- ids that are kept --- */

static void test_reserved(void **state)
{
	(void)state;
	plain = false;
	assert_int_equal(admission_reserve(&admission, "c1"), 0);
	ticket(0, "");
	reg(1, "c1", 1);
	assert_refused(1, CTL_REFUSED_TOKEN, true, "warren token --for c1");
	ticket(0, "c1");
	reg(1, "w1", 2);
	assert_refused(1, CTL_REFUSED_TOKEN, true, "for another worker id alone");
	ticket(0, "c1");
	reg(1, "c1", 3);
	assert_int_equal(granted(1), 1);
	/* free for nobody: not while its node is silent, nor once it released it, nor after a restart */
	run(100 * SEC);
	ticket(0, "");
	reg(2, "c1", 1);
	assert_refused(2, CTL_REFUSED_TOKEN, true, "warren token --for c1");
	say_plain(1, CTL_RELEASE, 4);
	ticket(0, "");
	reg(2, "c1", 2);
	assert_refused(2, CTL_REFUSED_TOKEN, true, "warren token --for c1");
	restart();
	run(100 * SEC);
	ticket(0, "");
	reg(2, "c1", 3);
	assert_refused(2, CTL_REFUSED_TOKEN, true, "warren token --for c1");
	plain = true;
	reg(2, "c1", 4);
	assert_refused(2, CTL_REFUSED_TOKEN, true, "warren token --for c1");
}

/* Who was there before the id was kept stays; who has a token for it replaces him at once. */
static void test_replaces_at_once(void **state)
{
	(void)state;
	reg(1, "c1", 1);
	assert_int_equal(granted(1), 1);
	assert_int_equal(admission_reserve(&admission, "c1"), 0);
	reg(1, "c1", 2);
	assert_int_equal(granted(1), 1);
	ticket(0, "c1");
	reg(2, "c1", 1);
	assert_int_equal(granted(2), 1);
	assert_non_null(told(1, CTL_REPLACED));
	assert_null(told(2, CTL_REFUSE));
	/* also right after a restart, when else only the recorded key may */
	restart();
	ticket(0, "c1");
	reg(3, "c1", 1);
	assert_int_equal(granted(3), 1);
}

/* One that runs with the lease that it had is no newcomer: it was replaced, and does not win it back. */
static void test_a_former_holder_waits(void **state)
{
	(void)state;
	assert_int_equal(admission_reserve(&admission, "c1"), 0);
	ticket(0, "c1");
	reg(1, "c1", 1);
	struct lease had = told(1, CTL_GRANT)->lease;
	run(1 * SEC);
	ticket(0, "c1");
	reg(2, "c1", 1);
	assert_int_equal(granted(2), 1);
	restart(); /* which forgets who was replaced */
	run(31 * SEC);
	reg(2, "c1", 2);
	assert_int_equal(granted(2), 1);
	next_reg.lease = had;
	next_reg.has = CTL_BIT(CTL_LEASE);
	reg(1, "c1", 2);
	assert_string_equal(
		told(1, CTL_REPLACED)->text,
		"worker id c1 is held by another node now, which took it over: give one "
		"of the two another WORKER_ID");
	assert_int_equal(granted(1), 0);
	next_reg.lease = had;
	next_reg.has = CTL_BIT(CTL_LEASE);
	next_reg.flags = CTL_REGISTER_SAVED;
	reg(1, "c1", 3);
	assert_refused(1, CTL_REFUSED_TOKEN, true, "warren token --for c1");
	assert_int_equal(granted(1), 0);
}

/* The claim of another that waits for the holder's answer does not delay it either. */
static void test_overtakes_a_claim(void **state)
{
	(void)state;
	reg(1, "c1", 1);
	run(100 * SEC);
	reg(2, "c1", 1);
	assert_refused(2, CTL_REFUSED_WAIT, false, "asked whether it lives");
	ticket(0, "c1");
	reg(3, "c1", 1);
	assert_int_equal(granted(3), 1);
	reg(2, "c1", 2);
	assert_int_equal(granted(2), 0);
}

/* --- removed keys --- */

static void test_remove(void **state)
{
	(void)state;
	reg(1, "w1", 1);
	reg(2, "w2", 1);
	assert_int_equal(granted(2), 2);
	remove_member(2, "w2");
	assert_string_equal(told(2, CTL_REPLACED)->text,
			    "the operator removed this node's key from the network for good: a new "
			    "key needs a new state directory, and a good token");
	assert_non_null(event(REGISTRAR_FORGET));
	assert_non_null(event(REGISTRAR_GONE));
	uint8_t psk[32];
	assert_false(registrar_psk(r, key(2), psk));
	assert_int_equal(registrar_number(r, key(2)), 0);
	/* the others hear it, with a push and whenever they ask from the beginning */
	run(300 * MSEC);
	assert_non_null(told(1, CTL_ROSTER_CHANGED));
	assert_removed(1, 2, 5);
	restart();
	reg(1, "w1", 6);
	assert_removed(1, 2, 7);
	run(100 * SEC); /* settled: sweeps show everybody */
	reg(1, "w1", 8);
	assert_removed(1, 2, 9);
	/* with no token, and no lease of before, also as another id */
	ticket(0, "");
	reg(2, "w2", 2);
	assert_refused(2, CTL_REFUSED_REMOVED, true, "removed this node's key");
	ticket(0, "w3");
	reg(2, "w3", 3);
	assert_refused(2, CTL_REFUSED_REMOVED, true, "removed this node's key");
	say_plain(2, CTL_CHALLENGE_OK, 1);
	assert_non_null(told(2, CTL_REPLACED));
	/* its id is free for another key, its number is not while there are others */
	reg(4, "w2", 1);
	assert_int_equal(granted(4), 3);
	assert_removed(1, 2, 10);
}

/* Its row is being written at that moment, or cannot be deleted: out all the same. */
static void test_remove_while_the_store_writes(void **state)
{
	(void)state;
	reg(1, "w1", 1);
	store_holds = true;
	run(HOUR * SEC); /* its next renewal writes `seen` */
	reg(1, "w1", 2);
	uint64_t seq = last_seq;
	remove_member(1, "w1");
	assert_int_equal(registrar_number(r, key(1)), 0);
	assert_null(event(REGISTRAR_FORGET));
	store_holds = false;
	registrar_stored(r, now, seq, false);
	drain();
	assert_non_null(event(REGISTRAR_FORGET));
	assert_int_equal(registrar_count(r, NULL), 0);

	reg(2, "w2", 1);
	assert_int_equal(granted(2), 2);
	store_fails = true;
	remove_member(2, "w2");
	reg(2, "w2", 2);
	assert_refused(2, CTL_REFUSED_REMOVED, true, "removed");
	restart(); /* the row is still there, and is deleted by whoever finds it */
	store_fails = false;
	drain();
	assert_non_null(event(REGISTRAR_FORGET));
	assert_int_equal(registrar_count(r, NULL), 0);
}

/* One whose first lease is being written, and one that is being claimed. */
static void test_remove_in_between(void **state)
{
	(void)state;
	store_holds = true;
	reg(1, "w1", 1);
	uint64_t seq = last_seq;
	struct removed_key k = { .number = 1 };
	memcpy(k.key, key(1), 32);
	snprintf(k.id, sizeof(k.id), "w1");
	assert_int_equal(admission_remove(&admission, &k), 0);
	registrar_remove(r, now, key(1));
	store_holds = false;
	registrar_stored(r, now, seq, false);
	drain();
	assert_null(told(1, CTL_GRANT));
	assert_int_equal(registrar_count(r, NULL), 0);

	reg(2, "w2", 1);
	run(100 * SEC);
	reg(3, "w2", 1); /* waits for an answer of 2 */
	remove_member(2, "w2");
	reg(3, "w2", 2);
	assert_int_equal(granted(3), 3);
}

/* A network so full that the number of a removed key is the last one: it is given, after all others. */
static void test_removed_numbers_come_last(void **state)
{
	(void)state;
	start("10.77.0.0/29", 200); /* six numbers */
	for (uint8_t i = 1; i <= 3; i++) {
		char id[8];
		snprintf(id, sizeof(id), "w%u", i);
		reg(i, id, 1);
	}
	remove_member(1, "w1");
	for (uint8_t i = 4; i <= 6; i++) {
		char id[8];
		snprintf(id, sizeof(id), "w%u", i);
		reg(i, id, 1);
		assert_int_equal(granted(i), i);
	}
	reg(7, "w7", 1);
	assert_int_equal(granted(7), 1);
	reg(8, "w8", 1);
	assert_refused(8, CTL_REFUSED_FULL, true, "full");
}

/* --- leases that are freed --- */

static void test_forget(void **state)
{
	(void)state;
	assert_int_equal(registrar_forget(r, now, "w1"), -ENOENT);
	reg(1, "w1", 1);
	assert_int_equal(registrar_forget(r, now, "w1"), -EBUSY);
	say_plain(1, CTL_RELEASE, 2);
	store_holds = true;
	assert_int_equal(registrar_forget(r, now, "w1"), 0);
	drain();
	assert_int_equal(registrar_forget(r, now, "w1"), 0); /* asked again while it is written */
	drain();
	store_holds = false;
	registrar_stored(r, now, last_seq, false);
	drain();
	assert_int_equal(registrar_forget(r, now, "w1"), -ENOENT);
	reg(2, "w2", 1);
	assert_int_equal(granted(2), 1);
	/* right after a start it may be on its way back */
	restart();
	assert_int_equal(registrar_forget(r, now, "w2"), -EAGAIN);
	run(61 * SEC);
	assert_int_equal(registrar_forget(r, now, "w2"), 0);
	drain();
	assert_int_equal(registrar_count(r, NULL), 0);
}

/* --- a database that is lost --- */

/* What they were granted is under our MAC: it needs neither the database nor a token that is still good. */
static void test_lost_database(void **state)
{
	struct lease had[40];
	char id[8];
	(void)state;
	for (uint8_t i = 0; i < 40; i++) {
		snprintf(id, sizeof(id), "w%u", i);
		reg((uint8_t)(1 + i), id, 1);
		had[i] = told((uint8_t)(1 + i), CTL_GRANT)->lease;
	}
	remove_member(40, "w39");
	assert_int_equal(admission_reserve(&admission, "w5"), 0);
	admission_rotate(&admission, wall(), 0);
	plain = false;
	memset(rows, 0, sizeof(rows));
	restart();
	for (uint8_t i = 40; i-- > 0;) {
		snprintf(id, sizeof(id), "w%u", i);
		next_reg.lease = had[i];
		next_reg.has = CTL_BIT(CTL_LEASE);
		reg((uint8_t)(1 + i), id, 2);
		assert_int_equal(granted((uint8_t)(1 + i)), i == 39 ? 0 : had[i].number);
	}
	assert_int_equal(registrar_count(r, NULL), 39);
	/* somebody who was never a member has no such lease, and its own MAC fits no other key or id */
	next_reg.lease = had[3];
	next_reg.has = CTL_BIT(CTL_LEASE);
	reg(100, "w3", 1);
	assert_refused(100, CTL_REFUSED_TOKEN, true, "no token");
	next_reg.lease = had[3];
	next_reg.has = CTL_BIT(CTL_LEASE);
	reg(4, "w77", 3);
	assert_refused(4, CTL_REFUSED_TOKEN, true, "no token");
}

/* Of two that had the same address one after the other, the later one has it. */
static void test_lost_database_later_grant(void **state)
{
	(void)state;
	reg(1, "w1", 1);
	struct lease first = told(1, CTL_GRANT)->lease;
	run(100 * SEC);
	reg(2, "w1", 1);
	run(6 * SEC);
	struct lease second = told(2, CTL_GRANT)->lease;
	assert_int_equal(second.number, first.number);
	memset(rows, 0, sizeof(rows));
	restart();
	next_reg.lease = first;
	next_reg.has = CTL_BIT(CTL_LEASE);
	reg(1, "w1", 2);
	assert_int_equal(granted(1), 1);
	next_reg.lease = second;
	next_reg.has = CTL_BIT(CTL_LEASE);
	reg(2, "w1", 2);
	assert_int_equal(granted(2), 1);
	assert_non_null(told(1, CTL_REPLACED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ticket),
		TEST(test_plain_token),
		TEST(test_expiry),
		TEST(test_expiry_to_the_second),
		TEST(test_rotation),
		TEST(test_reserved),
		TEST(test_replaces_at_once),
		TEST(test_a_former_holder_waits),
		TEST(test_overtakes_a_claim),
		TEST(test_remove),
		TEST(test_remove_while_the_store_writes),
		TEST(test_remove_in_between),
		TEST(test_removed_numbers_come_last),
		TEST(test_forget),
		TEST(test_lost_database),
		TEST(test_lost_database_later_grant),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
