/* SPDX-License-Identifier: Apache-2.0 */
/* A network of a thousand members: one learns the roster of all, over a line that loses pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "punch/control.h"
#include "punch/enrol.h"
#include "punch/registrar.h"

enum { MEMBERS = 1000 };

static struct registrar *r;
static struct enrol *e;
static nsec now;
static uint8_t me[32];
static unsigned gets, pages, lose_each, members, gone;
static uint64_t rng;
static uint8_t key_of[MEMBERS + 2][32];

static void member_key(unsigned n, uint8_t key[static 32])
{
	memset(key, 0x77, 32);
	store_be32(key, n);
}

static void serve(void)
{
	static struct registrar_output o;
	while (registrar_poll(r, now, &o)) {
		if (o.event == REGISTRAR_STORE)
			registrar_stored(r, now, o.seq, false);
		if (o.event != REGISTRAR_SEND || memcmp(o.key, me, 32) != 0)
			continue;
		pages += o.bytes[2] == CTL_ROSTER_PAGE;
		rng = rng * 6364136223846793005u + 1442695040888963407u;
		if (o.bytes[2] == CTL_ROSTER_PAGE && lose_each && (rng >> 33) % lose_each == 0)
			continue;
		enrol_input(e, now, o.bytes, o.len);
	}
}

static void one_turn(void)
{
	static struct enrol_output o;
	struct endpoint from = { .port = 9 };
	while (enrol_poll(e, now, &o)) {
		if (o.event == ENROL_SEND) {
			gets += o.bytes[2] == CTL_ROSTER_GET;
			registrar_input(r, now, me, &from, true, o.bytes, o.len);
		}
		if (o.event == ENROL_MEMBER) {
			members++;
			memcpy(key_of[o.number], o.entry.key, 32);
		}
		gone += o.event == ENROL_MEMBER_GONE;
	}
	serve();
}

static void run(nsec for_long)
{
	for (nsec until = now + for_long; now < until; now += 10 * NSEC_PER_MSEC)
		one_turn();
}

static void add(unsigned n)
{
	struct ctl_msg m = {
		.type = CTL_REGISTER,
		.request = 1,
		.has = CTL_BIT(CTL_WORKER_ID) | CTL_BIT(CTL_RELEASE_NAME) |
		       CTL_BIT(CTL_TRINO_PORTS) | CTL_BIT(CTL_TRINO_ENVIRONMENT) |
		       CTL_BIT(CTL_TRINO_VERSION),
		.trino = { .http_port = 8081, .environment = "production", .version = "476" }
	};
	struct endpoint from = { .port = (uint16_t)n };
	uint8_t b[CONTROL_MAX], key[32];
	snprintf(m.id, sizeof(m.id), "worker-%u", n);
	strcpy(m.release, "0.1.0");
	member_key(n, key);
	assert_int_equal(registrar_input(r, now, key, &from, true, b, ctl_write(&m, b, sizeof(b))),
			 0);
	serve();
}

static int setup(void **state)
{
	struct registrar_config rc = { .max_members = 2000, .release = "0.1.0" };
	struct enrol_config ec = { .worker_id = "me", .release = "0.1.0" };
	(void)state;
	assert_true(prefix_parse("10.77.0.0/16", &rc.prefix4));
	ec.prefix4 = rc.prefix4;
	memset(me, 0xee, 32);
	memcpy(ec.key, me, 32);
	now = 1000 * NSEC_PER_SEC;
	r = registrar_new(&rc, now);
	e = enrol_new(&ec);
	for (unsigned n = 1; n <= MEMBERS; n++)
		add(n);
	gets = pages = lose_each = members = gone = 0;
	return !r || !e;
}

static int teardown(void **state)
{
	(void)state;
	registrar_free(r);
	enrol_free(e);
	return 0;
}

static void assert_all_known(void)
{
	uint8_t key[32];
	struct enrol_info info;
	enrol_info(e, &info);
	assert_int_equal(info.members, MEMBERS);
	for (unsigned n = 1; n <= MEMBERS; n++) {
		member_key(n, key);
		assert_memory_equal(key_of[n], key, 32);
	}
}

static void test_all_pages(void **state)
{
	enrol_session_up(e, now);
	run(2 * NSEC_PER_SEC);
	assert_all_known();
	assert_int_equal(members, MEMBERS);
	print_message("%u pages after %u questions\n", pages, gets);
	/* three entries a page, 24 pages a question; the sweep, then one for what changed */
	assert_in_range(pages, 330, 340);
	assert_in_range(gets, 14, 16);
	/* a change costs a page, not the whole again */
	pages = gets = members = 0;
	uint8_t key[32], b[CONTROL_MAX];
	struct ctl_msg m = { .type = CTL_RELEASE, .request = 2 };
	struct endpoint from = { .port = 9 };
	member_key(500, key);
	registrar_input(r, now, key, &from, true, b, ctl_write(&m, b, sizeof(b)));
	run(NSEC_PER_SEC);
	assert_int_equal(gone, 1);
	assert_int_equal(members, 0);
	assert_int_equal(pages, 1);
	(void)state;
}

static void test_lost_pages(void **state)
{
	for (unsigned seed = 0; seed < 64; seed++) {
		teardown(NULL);
		setup(NULL);
		rng = seed;
		lose_each = 3 + seed % 8;
		enrol_session_up(e, now);
		run(20 * NSEC_PER_SEC);
		assert_all_known();
		assert_int_equal(members, MEMBERS); /* each told once */
		assert_in_range(gets, 10, 400);
	}
	(void)state;
}

/* A rendezvous that starts anew says of nobody that he is gone until a minute has passed. */
static void test_restart(void **state)
{
	struct registrar_config rc = { .max_members = 2000, .release = "0.1.0" };
	assert_true(prefix_parse("10.77.0.0/16", &rc.prefix4));
	enrol_session_up(e, now);
	run(2 * NSEC_PER_SEC);
	assert_all_known();
	registrar_free(r);
	r = registrar_new(&rc, now);
	for (unsigned n = 1; n <= MEMBERS + 1; n++) {
		struct lease_record rec = { .number = n };
		snprintf(rec.id, sizeof(rec.id), n <= MEMBERS ? "worker-%u" : "me", n);
		if (n <= MEMBERS)
			member_key(n, rec.key);
		else
			memcpy(rec.key, me, 32);
		assert_int_equal(registrar_load(r, &rec), 0);
	}
	enrol_session_up(e, now);
	run(50 * NSEC_PER_SEC);
	assert_int_equal(gone, 0);
	/* half of them come back */
	for (unsigned n = 1; n <= MEMBERS; n += 2)
		add(n);
	run(20 * NSEC_PER_SEC);
	assert_int_equal(gone, MEMBERS / 2);
	(void)state;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_pages),
		TEST(test_lost_pages),
		TEST(test_restart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
