/* SPDX-License-Identifier: Apache-2.0 */
/* The registrar: room, roster, introductions, strangers. */
#include "test_registrar.h"

#include <errno.h>

/* --- room --- */

static void test_range_full(void **state)
{
	start("10.77.0.0/30", 200);
	reg(1, "w1", 1);
	reg(2, "w2", 1);
	reg(3, "w3", 1);
	assert_refused(3, CTL_REFUSED_FULL, true,
		       "10.77.0.0/30 is full: restart the rendezvous with a larger --prefix");
	/* w1 has not been seen for an hour and is the longest unseen */
	for (unsigned i = 0; i < 70; i++) {
		run(55 * SEC);
		reg(2, "w2", 2 + i);
	}
	reg(3, "w3", 1);
	assert_refused(3, CTL_REFUSED_WAIT, false, "being freed");
	const struct registrar_output *gone = event(REGISTRAR_GONE);
	assert_non_null(gone);
	assert_int_equal(gone->record.number, 1);
	assert_memory_equal(gone->key, key(1), 32);
	reg(3, "w3", 2);
	assert_int_equal(granted(3), 1);
	assert_int_equal(registrar_number(r, key(1)), 0);
	(void)state;
}

static void test_no_more_members(void **state)
{
	start("10.77.0.0/16", 2);
	reg(1, "w1", 1);
	reg(2, "w2", 1);
	reg(3, "w3", 1);
	assert_refused(3, CTL_REFUSED_FULL, true, "no more than 2 members");
	assert_int_equal(registrar_refused(r, CTL_REFUSED_FULL), 1);
	reg(4, "w4", 1);
	assert_int_equal(registrar_refused(r, CTL_REFUSED_FULL), 2);
	assert_int_equal(registrar_refused(r, CTL_REFUSED_TAKEN), 0);
	assert_int_equal(registrar_refused(r, 1000), 0);
	(void)state;
}

static void test_lease_ttl(void **state)
{
	reg(1, "w1", 1);
	run(29 * 24 * HOUR * SEC);
	assert_null(event(REGISTRAR_FORGET));
	assert_int_equal(registrar_count(r, NULL), 1);
	store_fails = true;
	run(2 * 24 * HOUR * SEC);
	assert_non_null(event(REGISTRAR_FORGET));
	assert_int_equal(registrar_count(r, NULL), 1); /* not while the row is there */
	store_fails = false;
	run(HOUR * SEC);
	assert_int_equal(registrar_count(r, NULL), 0);
	assert_non_null(event(REGISTRAR_GONE));
	(void)state;
}

/* Somebody sets the year 2030 and mends that an hour later, or starts with it: nobody who is away loses an address. */
static void test_a_clock_that_is_ahead(void **state)
{
	const nsec right = 1700000000 * SEC, year = 365 * 24 * HOUR * SEC;
	(void)state;
	reg(1, "w1", 1);
	run(60 * SEC);
	restart();
	registrar_set_wall(r, right + 6 * year);
	run(HOUR * SEC);
	assert_null(event(REGISTRAR_FORGET));
	registrar_set_wall(r, right);
	run(29 * 24 * HOUR * SEC);
	assert_int_equal(registrar_count(r, NULL), 1);
	run(2 * 24 * HOUR * SEC);
	assert_int_equal(registrar_count(r, NULL), 0);
	/* at the start: as long as it is mended before the leases are looked at */
	reg(1, "w1", 2);
	registrar_free(r);
	r = registrar_new(&cfg, now);
	registrar_set_wall(r, right + 6 * year);
	assert_int_equal(registrar_load(r, &rows[1]), 0);
	run(60 * SEC);
	registrar_set_wall(r, right);
	run(24 * HOUR * SEC);
	assert_int_equal(registrar_count(r, NULL), 1);
}

static void test_seen_is_written_hourly(void **state)
{
	unsigned writes = 0;
	reg(1, "w1", 1);
	for (unsigned i = 0; i < 3 * HOUR / 20; i++) {
		run(20 * SEC);
		reg(1, "w1", 2 + i);
		writes += event(REGISTRAR_STORE) != NULL;
	}
	assert_int_equal(writes, 3);
	(void)state;
}

static void test_lease_shown(void **state)
{
	struct lease had[3];
	for (uint8_t i = 1; i <= 3; i++) {
		char id[8];
		snprintf(id, sizeof(id), "w%u", i);
		reg(i, id, 1);
		had[i - 1] = told(i, CTL_GRANT)->lease;
	}
	/* the database is lost, the secret kept */
	memset(rows, 0, sizeof(rows));
	restart();
	next_reg.has = CTL_BIT(CTL_LEASE);
	next_reg.lease = had[2];
	reg(3, "w3", 1);
	assert_int_equal(granted(3), 3);
	assert_memory_equal(told(3, CTL_GRANT)->lease.mac, had[2].mac, 16);
	/* somebody else's, or a forged one, is worth nothing */
	next_reg.has = CTL_BIT(CTL_LEASE);
	next_reg.lease = had[1];
	reg(1, "w1", 1);
	assert_int_equal(granted(1), 1);
	(void)state;
}

static void test_load(void **state)
{
	struct lease_record rec = { .number = 5, .id = "w5", .granted = 1, .seen = 1 };
	memcpy(rec.key, key(5), 32);
	assert_int_equal(registrar_load(r, &rec), 0);
	assert_int_equal(registrar_load(r, &rec),
			 0); /* a store died, and the next one begins anew */
	memcpy(rec.key, key(6), 32);
	assert_int_equal(registrar_load(r, &rec), -EEXIST); /* the number twice */
	strcpy(rec.id, "w6");
	memcpy(rec.key, key(5), 32);
	assert_int_equal(registrar_load(r, &rec), -EEXIST);
	strcpy(rec.id, "w5");
	rec.number = 6;
	assert_int_equal(registrar_load(r, &rec), -EEXIST); /* the id twice */
	strcpy(rec.id, "w6");
	assert_int_equal(registrar_load(r, &rec), 0); /* a key may have had two ids */
	rec.number = 0;
	assert_int_equal(registrar_load(r, &rec), -EINVAL);
	rec.number = 65535; /* the broadcast address */
	strcpy(rec.id, "w7");
	assert_int_equal(registrar_load(r, &rec), -EINVAL);
	rec.number = 7;
	strcpy(rec.id, "w 7");
	assert_int_equal(registrar_load(r, &rec), -EINVAL);
	memset(rec.id, 'x', sizeof(rec.id));
	assert_int_equal(registrar_load(r, &rec), -EINVAL);
	strcpy(rec.id, "w7");
	memset(rec.key, 0, 32);
	assert_int_equal(registrar_load(r, &rec), -EINVAL);
	(void)state;
}

/* --- roster --- */

static void get(uint8_t who, uint32_t request, struct ctl_roster have)
{
	struct ctl_msg m = { .type = CTL_ROSTER_GET,
			     .request = request,
			     .has = CTL_BIT(CTL_ROSTER) | CTL_BIT(CTL_RANGE),
			     .roster = have };
	assert_int_equal(say(who, &m), DROP_NONE);
}

/* Entries and tombstones of the pages to `who`, each as number or -number. */
static size_t changes(uint8_t who, int *list)
{
	size_t n = 0;
	for (size_t i = 0; i < nout; i++) {
		struct ctl_changes it = { .body = msg[i].body };
		struct ctl_change c;
		if (out[i].event != REGISTRAR_SEND || msg[i].type != CTL_ROSTER_PAGE ||
		    memcmp(out[i].key, key(who), 32) != 0)
			continue;
		while (ctl_next_change(&it, &c))
			list[n++] = c.gone ? -(int)c.entry.number : (int)c.entry.number;
	}
	return n;
}

static void test_roster(void **state)
{
	int list[64];
	reg(1, "w1", 1);
	reg(2, "w2", 1);
	reg(3, "w3", 1);
	run(61 * SEC - 1); /* settled, and w1..w3 just still online */
	for (uint8_t i = 1; i <= 3; i++) {
		char id[8];
		snprintf(id, sizeof(id), "w%u", i);
		reg(i, id, 2);
	}
	get(2, 1, (struct ctl_roster){ 0 });
	assert_int_equal(changes(2, list), 2); /* not oneself */
	assert_int_equal(list[0], 1);
	assert_int_equal(list[1], 3);
	assert_true(told(2, CTL_ROSTER_PAGE)->flags & CTL_PAGE_FULL);
	struct ctl_roster have = told(2, CTL_ROSTER_PAGE)->roster;
	/* nothing new, then one gone: told after 250 ms, and again until it asks */
	get(2, 2, have);
	assert_int_equal(changes(2, list), 0);
	assert_false(told(2, CTL_ROSTER_PAGE)->flags & CTL_PAGE_FULL);
	say_plain(3, CTL_RELEASE, 5);
	run(240 * MSEC);
	assert_null(told(2, CTL_ROSTER_CHANGED));
	run(20 * MSEC);
	assert_int_equal(count(2, CTL_ROSTER_CHANGED), 1);
	run(2 * SEC);
	assert_true(count(2, CTL_ROSTER_CHANGED) >= 3);
	get(2, 3, have);
	assert_int_equal(changes(2, list), 1);
	assert_int_equal(list[0], -3);
	run(5 * SEC);
	assert_int_equal(count(2, CTL_ROSTER_CHANGED), 0);
	/* another instance, or a version from the future: everything */
	have.version += 1000;
	get(2, 4, have);
	assert_true(told(2, CTL_ROSTER_PAGE)->flags & CTL_PAGE_FULL);
	assert_int_equal(changes(2, list), 1);
	(void)state;
}

static void test_pair_psk(void **state)
{
	struct ctl_change a, b;
	reg(1, "w1", 1);
	reg(2, "w2", 1);
	get(1, 1, (struct ctl_roster){ 0 });
	struct ctl_changes it = { .body = told(1, CTL_ROSTER_PAGE)->body };
	assert_true(ctl_next_change(&it, &a));
	get(2, 1, (struct ctl_roster){ 0 });
	it = (struct ctl_changes){ .body = told(2, CTL_ROSTER_PAGE)->body };
	assert_true(ctl_next_change(&it, &b));
	assert_memory_equal(a.entry.pair_psk, b.entry.pair_psk, 32);
	assert_memory_equal(a.entry.key, key(2), 32);
	/* HMAC-BLAKE2s(secret, label, 0, epoch 1, smaller key, greater key), computed elsewhere */
	static const uint8_t want[8] = { 0xe9, 0x06, 0xa9, 0xab, 0xc9, 0xc3, 0xf1, 0x4d };
	assert_memory_equal(a.entry.pair_psk, want, sizeof(want));
	(void)state;
}

static void test_restart_says_nobody_is_gone(void **state)
{
	int list[64];
	reg(1, "w1", 1);
	reg(2, "w2", 1);
	run(70 * SEC);
	restart();
	reg(1, "w1", 1);
	get(1, 1, (struct ctl_roster){ 0 });
	/* w2 has not come back yet, which is no news */
	assert_int_equal(changes(1, list), 0);
	assert_false(told(1, CTL_ROSTER_PAGE)->flags & CTL_PAGE_FULL);
	run(50 * SEC);
	reg(1, "w1", 2);
	run(11 * SEC);
	assert_non_null(told(1, CTL_ROSTER_CHANGED));
	get(1, 2, told(1, CTL_ROSTER_CHANGED)->roster);
	(void)state;
}

static void test_offline(void **state)
{
	int list[64];
	reg(1, "w1", 1);
	reg(2, "w2", 1);
	for (unsigned i = 0; i < 4; i++) {
		run(19 * SEC);
		reg(1, "w1", 2 + i);
	}
	/* 76 s: w2 is not there any more, w1 is */
	get(1, 1, (struct ctl_roster){ 0 });
	assert_int_equal(changes(1, list), 0);
	size_t online;
	registrar_count(r, &online);
	assert_int_equal(online, 1);
	registrar_alive(r, now, key(2)); /* its session lives: it is back */
	get(1, 2, (struct ctl_roster){ 0 });
	assert_int_equal(changes(1, list), 1);
	(void)state;
}

static void test_routes_and_facts(void **state)
{
	static struct member_route route = { .id = "w2" };
	struct ctl_change c;
	char s[PREFIX_STRLEN];
	assert_true(prefix_parse("10.99.0.0/24", &route.prefix));
	cfg.routes = &route;
	cfg.nroutes = 1;
	memset(rows, 0, sizeof(rows));
	restart();
	reg(1, "w1", 1);
	next_reg.has = CTL_BIT(CTL_TRINO_PORTS) | CTL_BIT(CTL_TRINO_COORDINATOR);
	next_reg.trino.http_port = 8081;
	next_reg.trino.coordinator = true;
	reg(2, "w2", 1);
	get(1, 1, (struct ctl_roster){ 0 });
	struct ctl_changes it = { .body = told(1, CTL_ROSTER_PAGE)->body };
	assert_true(ctl_next_change(&it, &c));
	assert_int_equal(c.entry.nroutes, 1);
	assert_string_equal(prefix_str(&c.entry.routes[0], s), "10.99.0.0/24");
	assert_int_equal(c.entry.trino.http_port, 8081);
	assert_true(c.entry.trino.coordinator);
	/* changed facts are a change of the roster, the same ones are none */
	run(SEC);
	next_reg.has = CTL_BIT(CTL_TRINO_PORTS);
	next_reg.trino.http_port = 8082;
	reg(2, "w2", 2);
	run(SEC);
	assert_non_null(told(1, CTL_ROSTER_CHANGED));
	get(1, 2, (struct ctl_roster){ 0 });
	next_reg.has = CTL_BIT(CTL_TRINO_PORTS);
	next_reg.trino.http_port = 8082;
	reg(2, "w2", 3);
	run(SEC);
	assert_null(told(1, CTL_ROSTER_CHANGED));
	(void)state;
}

/* --- introductions --- */

static void connect_to(uint8_t who, member_number number)
{
	struct ctl_msg m = { .type = CTL_CONNECT, .has = CTL_BIT(CTL_NUMBER), .number = number };
	assert_int_equal(say(who, &m), DROP_NONE);
}

static void test_introduce(void **state)
{
	static const char *const c[] = { "127.0.0.1:5", "192.168.1.7:5", "10.77.0.9:5",
					 "224.0.0.1:5", "192.168.1.7:0" };
	char s[ENDPOINT_STRLEN];
	next_reg.has = CTL_BIT(CTL_CANDIDATES);
	next_reg.ncandidates = ARRAY_SIZE(c);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		assert_true(endpoint_parse(c[i], &next_reg.candidates[i]));
	reg(1, "w1", 1);
	reg(2, "w2", 1);
	run(SEC);
	connect_to(2, 1);
	const struct ctl_msg *m = told(2, CTL_INTRODUCE);
	assert_int_equal(m->number, 1);
	assert_int_equal(m->ncandidates, 2);
	assert_string_equal(endpoint_str(&m->candidates[0], s), "198.51.100.1:1000");
	assert_string_equal(endpoint_str(&m->candidates[1], s), "192.168.1.7:5");
	assert_int_equal(told(1, CTL_INTRODUCE)->number, 2);
	assert_int_equal(told(1, CTL_INTRODUCE)->request, m->request);
	/* asked by both and often: still once a second, with its repetitions */
	connect_to(1, 2);
	assert_null(told(1, CTL_INTRODUCE));
	run(249 * MSEC);
	assert_null(told(1, CTL_INTRODUCE));
	run(2 * MSEC);
	assert_int_equal(count(1, CTL_INTRODUCE) + count(2, CTL_INTRODUCE), 2);
	connect_to(2, 1);
	run(800 * MSEC);
	assert_int_equal(count(1, CTL_INTRODUCE) + count(2, CTL_INTRODUCE), 2);
	uint32_t id = told(1, CTL_INTRODUCE)->request;
	run(SEC);
	assert_int_equal(count(1, CTL_INTRODUCE), 0);
	connect_to(2, 1);
	assert_int_not_equal(told(1, CTL_INTRODUCE)->request, id);
	(void)state;
}

/* Where we see a member is not where others do, if that is our own host. */
static void test_introduce_a_neighbour(void **state)
{
	reg(127, "w1", 1);
	reg(2, "w2", 1);
	connect_to(2, 1);
	assert_int_equal(told(2, CTL_INTRODUCE)->ncandidates, 0);
	assert_int_equal(told(127, CTL_INTRODUCE)->ncandidates, 1);
	(void)state;
}

static void test_introduce_nobody(void **state)
{
	reg(1, "w1", 1);
	connect_to(1, 9);
	assert_refused(1, CTL_REFUSED_NO_MEMBER, false, "not online");
	connect_to(1, 1);
	assert_refused(1, CTL_REFUSED_NO_MEMBER, false, "not online");
	connect_to(1, UINT32_MAX);
	assert_refused(1, CTL_REFUSED_NO_MEMBER, false, "not online");
	(void)state;
}

/* --- strangers --- */

static void test_strangers(void **state)
{
	struct ctl_msg m = { .type = CTL_CONNECT, .has = CTL_BIT(CTL_NUMBER), .number = 1 };
	struct endpoint from = at(9);
	reg(1, "w1", 1);
	assert_int_equal(say(9, &m), DROP_FRAME_UNEXPECTED);
	assert_int_equal(nout, 0);
	assert_int_equal(say_plain(9, CTL_RELEASE, 1), DROP_FRAME_UNEXPECTED);
	assert_int_equal(say_plain(9, CTL_CHALLENGE_OK, 1), DROP_FRAME_UNEXPECTED);
	assert_int_equal(say_plain(1, CTL_CHALLENGE, 1), DROP_FRAME_UNEXPECTED);
	assert_int_equal(
		registrar_input(r, now, key(9), &from, true, (const uint8_t *)"\xa0\1\1", 3),
		DROP_CONTROL_MALFORMED);
	drain();
	assert_int_equal(nout, 0);
	(void)state;
}

static void test_other_versions(void **state)
{
	uint8_t b[64] = { 0xa0, 2, CTL_REGISTER, 0, 0, 0, 0, 42 };
	struct endpoint from = at(1);
	assert_int_equal(registrar_input(r, now, key(1), &from, true, b, 20), DROP_CONTROL_VERSION);
	drain();
	assert_refused(1, CTL_REFUSED_VERSION, true, "control version 1, this node version 2");
	assert_int_equal(told(1, CTL_REFUSE)->request, 42);
	struct wr w = wr_of(b + 8, sizeof(b) - 8);
	b[1] = 1;
	wr_tlv(&w, CTL_WORKER_ID, "w1", 2);
	wr_tlv(&w, 77 | TLV_CRITICAL, "x", 1);
	assert_int_equal(registrar_input(r, now, key(1), &from, true, b, 8 + w.len),
			 DROP_CONTROL_VERSION);
	drain();
	assert_refused(1, CTL_REFUSED_VERSION, true, "field 77");
	/* an answer is never answered */
	b[1] = 2;
	b[2] = CTL_GRANT;
	assert_int_equal(registrar_input(r, now, key(1), &from, true, b, 20), DROP_CONTROL_VERSION);
	drain();
	assert_int_equal(nout, 0);
	(void)state;
}

/* More refusals in one turn than the ring holds: some are left out, which are asked for again. */
static void test_flood(void **state)
{
	uint8_t b[8] = { 0xa0, 9, CTL_REGISTER };
	struct endpoint from = at(1);
	for (unsigned i = 0; i < 1000; i++)
		registrar_input(r, now, key((uint8_t)i), &from, true, b, 8);
	drain();
	assert_int_equal(nout, 128);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_range_full),
		TEST(test_no_more_members),
		TEST(test_lease_ttl),
		TEST(test_a_clock_that_is_ahead),
		TEST(test_seen_is_written_hourly),
		TEST(test_lease_shown),
		TEST(test_load),
		TEST(test_roster),
		TEST(test_pair_psk),
		TEST(test_restart_says_nobody_is_gone),
		TEST(test_offline),
		TEST(test_routes_and_facts),
		TEST(test_introduce),
		TEST(test_introduce_a_neighbour),
		TEST(test_introduce_nobody),
		TEST(test_strangers),
		TEST(test_other_versions),
		TEST(test_flood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
