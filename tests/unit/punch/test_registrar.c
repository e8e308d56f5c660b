/* SPDX-License-Identifier: Apache-2.0 */
/* The registrar alone, told what to do message by message. */
#include "punch/registrar.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "punch/control.h"

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

enum { HOUR = 3600 };

static struct registrar_config cfg;
static struct registrar *r;
static nsec now;
static bool store_holds, store_fails; /* it does not answer; it says no */
static struct registrar_output out[256];
static struct ctl_msg msg[256];       /* what out[] says, where it is a SEND */
static size_t nout;
static struct lease_record rows[300];
static uint64_t last_seq;
static struct ctl_msg next_reg; /* what the next reg() adds */

static const uint8_t *key(uint8_t who)
{
	static uint8_t keys[256][32];
	memset(keys[who], who, 32);
	return keys[who];
}

static struct endpoint at(uint8_t who)
{
	uint8_t b[4] = { 198, 51, 100, who };
	return (struct endpoint){ .addr = addr_v4(b), .port = 1000 };
}

/* Everything that the registrar wants to say or write now. */
static void drain(void)
{
	nout = 0;
	while (registrar_poll(r, now, &out[nout])) {
		struct registrar_output *o = &out[nout];
		if (o->event == REGISTRAR_SEND)
			assert_int_equal(ctl_parse(o->bytes, o->len, &msg[nout]), DROP_NONE);
		nout++;
		assert_true(nout < ARRAY_SIZE(out));
		if (o->event != REGISTRAR_STORE && o->event != REGISTRAR_FORGET)
			continue;
		last_seq = o->seq;
		if (store_holds)
			continue;
		if (!store_fails && o->event == REGISTRAR_STORE)
			rows[o->record.number] = o->record;
		registrar_stored(r, now, o->seq, store_fails);
	}
	assert_true(registrar_deadline(r) > now);
}

static void run(nsec for_long)
{
	nsec until = now + for_long;
	static struct registrar_output all[256];
	static struct ctl_msg allmsg[256];
	size_t n = 0;
	while (registrar_deadline(r) <= until) {
		now = nsec_max(now, registrar_deadline(r));
		drain();
		for (size_t i = 0; i < nout; i++, n++) {
			assert_true(n < ARRAY_SIZE(all));
			all[n] = out[i];
			allmsg[n] = msg[i];
		}
	}
	now = until;
	memcpy(out, all, n * sizeof(out[0]));
	memcpy(msg, allmsg, n * sizeof(msg[0]));
	nout = n;
}

static enum drop say(uint8_t who, struct ctl_msg *m)
{
	uint8_t b[CONTROL_MAX];
	struct endpoint from = at(who);
	size_t n = ctl_write(m, b, sizeof(b));
	assert_true(n > 0);
	enum drop d = registrar_input(r, now, key(who), &from, b, n);
	drain();
	return d;
}

static void reg(uint8_t who, const char *id, uint32_t request)
{
	struct ctl_msg m = next_reg;
	m.type = CTL_REGISTER;
	m.request = request;
	m.has |= CTL_BIT(CTL_WORKER_ID);
	snprintf(m.id, sizeof(m.id), "%s", id);
	memset(&next_reg, 0, sizeof(next_reg));
	assert_int_equal(say(who, &m), DROP_NONE);
}

static enum drop say_plain(uint8_t who, uint8_t type, uint32_t request)
{
	return say(who, &(struct ctl_msg){ .type = type, .request = request });
}

/* The first message of this type to `who` in the last turn, or NULL. */
static const struct ctl_msg *told(uint8_t who, uint8_t type)
{
	for (size_t i = 0; i < nout; i++)
		if (out[i].event == REGISTRAR_SEND && memcmp(out[i].key, key(who), 32) == 0 &&
		    msg[i].type == type)
			return &msg[i];
	return NULL;
}

static size_t count(uint8_t who, uint8_t type)
{
	size_t n = 0;
	for (size_t i = 0; i < nout; i++)
		n += out[i].event == REGISTRAR_SEND && memcmp(out[i].key, key(who), 32) == 0 &&
		     msg[i].type == type;
	return n;
}

static const struct registrar_output *event(enum registrar_event e)
{
	for (size_t i = 0; i < nout; i++)
		if (out[i].event == e)
			return &out[i];
	return NULL;
}

static member_number granted(uint8_t who)
{
	const struct ctl_msg *m = told(who, CTL_GRANT);
	return m ? m->lease.number : 0;
}

static void assert_refused(uint8_t who, enum ctl_refusal code, bool fatal, const char *part)
{
	const struct ctl_msg *m = told(who, CTL_REFUSE);
	assert_non_null(m);
	assert_int_equal(m->code, code);
	assert_int_equal(m->fatal, fatal);
	if (!strstr(m->text, part))
		fail_msg("\"%s\" lacks \"%s\"", m->text, part);
}

static void start(const char *prefix4, uint32_t max)
{
	registrar_free(r);
	memset(&cfg, 0, sizeof(cfg));
	memset(cfg.secret, 7, 32);
	assert_true(prefix_parse(prefix4, &cfg.prefix4));
	assert_true(prefix_parse("fd00:1::/64", &cfg.prefix6));
	cfg.max_members = max;
	cfg.release = "0.1.0";
	cfg.lease_ttl = 30 * 24 * HOUR * SEC;
	now = 1000 * SEC;
	r = registrar_new(&cfg, now);
	assert_non_null(r);
	registrar_set_wall(r, 1700000000);
	store_holds = store_fails = false;
}

/* A new process with what the store holds. */
static void restart(void)
{
	registrar_free(r);
	now += 3 * SEC;
	r = registrar_new(&cfg, now);
	registrar_set_wall(r, 1700000000);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].number)
			assert_int_equal(registrar_load(r, &rows[i]), 0);
}

static int setup(void **state)
{
	(void)state;
	memset(rows, 0, sizeof(rows));
	memset(&next_reg, 0, sizeof(next_reg));
	start("10.77.0.0/16", 200);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	registrar_free(r);
	r = NULL;
	return 0;
}

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

static void test_store_is_slow_or_new(void **state)
{
	store_holds = true;
	reg(1, "w1", 1);
	uint64_t lost = last_seq;
	now += 6 * SEC;
	reg(1, "w1", 2);
	assert_refused(1, CTL_REFUSED_STORE, false, "waits");
	registrar_store_reset(r, now);
	drain();
	assert_non_null(event(REGISTRAR_STORE));
	assert_true(last_seq > lost);
	registrar_stored(r, now, lost, false);
	drain();
	assert_int_equal(granted(1), 0);
	registrar_stored(r, now, last_seq, false);
	drain();
	assert_int_equal(granted(1), 1);
	(void)state;
}

/* --- identity --- */

static void test_living_holder(void **state)
{
	reg(1, "w1", 1);
	now += 10 * SEC;
	reg(2, "w1", 77);
	assert_null(told(2, CTL_REFUSE));
	assert_non_null(told(1, CTL_CHALLENGE));
	run(1200 * MSEC);
	assert_int_equal(count(1, CTL_CHALLENGE), 2); /* each 500 ms */
	assert_int_equal(say_plain(1, CTL_CHALLENGE_OK, 0), DROP_NONE);
	assert_refused(2, CTL_REFUSED_TAKEN, true, "worker id w1 is taken by a living node (key 01010101");
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
	assert_non_null(event(REGISTRAR_MEMBER));
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

static void test_released_holder(void **state)
{
	reg(1, "w1", 1);
	assert_int_equal(say_plain(1, CTL_RELEASE, 2), DROP_NONE);
	assert_int_equal(told(1, CTL_RELEASED)->request, 2);
	reg(2, "w1", 1);
	assert_int_equal(granted(2), 1);
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
		waits += told((uint8_t)(100 + i), CTL_REFUSE) != NULL;
	}
	assert_int_equal(waits, 80 - 64);
	(void)state;
}

/* --- room --- */

static void test_range_full(void **state)
{
	start("10.77.0.0/30", 200);
	reg(1, "w1", 1);
	reg(2, "w2", 1);
	reg(3, "w3", 1);
	assert_refused(3, CTL_REFUSED_FULL, true, "10.77.0.0/30 is full: restart the rendezvous with a larger --prefix");
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
	assert_int_equal(registrar_load(r, &rec), -EEXIST);
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
	assert_int_equal(registrar_input(r, now, key(9), &from, (const uint8_t *)"\xa0\1\1", 3),
			 DROP_CONTROL_MALFORMED);
	drain();
	assert_int_equal(nout, 0);
	(void)state;
}

static void test_other_versions(void **state)
{
	uint8_t b[64] = { 0xa0, 2, CTL_REGISTER, 0, 0, 0, 0, 42 };
	struct endpoint from = at(1);
	assert_int_equal(registrar_input(r, now, key(1), &from, b, 20), DROP_CONTROL_VERSION);
	drain();
	assert_refused(1, CTL_REFUSED_VERSION, true, "control version 1, this node version 2");
	assert_int_equal(told(1, CTL_REFUSE)->request, 42);
	struct wr w = wr_of(b + 8, sizeof(b) - 8);
	b[1] = 1;
	wr_tlv(&w, CTL_WORKER_ID, "w1", 2);
	wr_tlv(&w, 77 | TLV_CRITICAL, "x", 1);
	assert_int_equal(registrar_input(r, now, key(1), &from, b, 8 + w.len), DROP_CONTROL_VERSION);
	drain();
	assert_refused(1, CTL_REFUSED_VERSION, true, "field 77");
	/* an answer is never answered */
	b[1] = 2;
	b[2] = CTL_GRANT;
	assert_int_equal(registrar_input(r, now, key(1), &from, b, 20), DROP_CONTROL_VERSION);
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
		registrar_input(r, now, key((uint8_t)i), &from, b, 8);
	drain();
	assert_int_equal(nout, 128);
	(void)state;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_grant_waits_for_the_store),
		TEST(test_smallest_free_and_renewals),
		TEST(test_store_fails),
		TEST(test_store_answers_in_groups),
		TEST(test_store_is_slow_or_new),
		TEST(test_living_holder),
		TEST(test_any_sign_of_life_counts),
		TEST(test_silent_holder_is_replaced),
		TEST(test_released_holder),
		TEST(test_release_overtakes_a_renewal),
		TEST(test_after_a_restart),
		TEST(test_one_id_a_key),
		TEST(test_two_newcomers),
		TEST(test_claim_fails_in_the_store),
		TEST(test_many_claims),
		TEST(test_range_full),
		TEST(test_no_more_members),
		TEST(test_lease_ttl),
		TEST(test_seen_is_written_hourly),
		TEST(test_lease_shown),
		TEST(test_load),
		TEST(test_roster),
		TEST(test_pair_psk),
		TEST(test_restart_says_nobody_is_gone),
		TEST(test_offline),
		TEST(test_routes_and_facts),
		TEST(test_introduce),
		TEST(test_introduce_nobody),
		TEST(test_strangers),
		TEST(test_other_versions),
		TEST(test_flood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
