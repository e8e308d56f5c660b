/* SPDX-License-Identifier: Apache-2.0 */
/* A member alone, with a rendezvous that says what a test wants. */
#include "punch/enrol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "punch/control.h"

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

enum { MAX_OUT = 128 };

static struct enrol *e;
static nsec now, began;
static struct enrol_output out[MAX_OUT];
static nsec out_at[MAX_OUT];
static struct ctl_msg sent[MAX_OUT];
static size_t nout;
static uint32_t last_get;
static const struct ctl_roster here = { 77, 5000 };

static void collect(void)
{
	while (enrol_poll(e, now, &out[nout])) {
		if (out[nout].event == ENROL_SEND)
			assert_int_equal(ctl_parse(out[nout].bytes, out[nout].len, &sent[nout]),
					 DROP_NONE);
		if (out[nout].event == ENROL_SEND && sent[nout].type == CTL_ROSTER_GET)
			last_get = sent[nout].request;
		out_at[nout++] = now;
		assert_true(nout < MAX_OUT);
	}
	assert_true(enrol_deadline(e) > now);
}

static void drain(void)
{
	nout = 0;
	collect();
}

static void run(nsec for_long)
{
	nsec until = now + for_long;
	nout = 0;
	while (enrol_deadline(e) <= until) {
		now = nsec_max(now, enrol_deadline(e));
		collect();
	}
	now = until;
}

static int setup(void **state)
{
	struct enrol_config cfg = { .worker_id = "w1", .release = "0.1.0" };
	(void)state;
	assert_true(prefix_parse("10.77.0.0/16", &cfg.prefix4));
	assert_true(prefix_parse("fd00:1::/64", &cfg.prefix6));
	memset(cfg.key, 1, 32);
	e = enrol_new(&cfg);
	assert_non_null(e);
	now = began = 500 * SEC;
	enrol_session_up(e, now);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	enrol_free(e);
	return 0;
}

static enum drop hear(struct ctl_msg m)
{
	uint8_t b[CONTROL_MAX];
	size_t n = ctl_write(&m, b, sizeof(b));
	assert_true(n > 0);
	enum drop d = enrol_input(e, now, b, n);
	drain();
	return d;
}

static const struct enrol_output *event(enum enrol_event want)
{
	for (size_t i = 0; i < nout; i++)
		if (out[i].event == want)
			return &out[i];
	return NULL;
}

static size_t events(enum enrol_event want)
{
	size_t n = 0;
	for (size_t i = 0; i < nout; i++)
		n += out[i].event == want;
	return n;
}

/* The last message of this type that was sent in this turn, or NULL. */
static const struct ctl_msg *asked(uint8_t type)
{
	for (size_t i = nout; i--;)
		if (out[i].event == ENROL_SEND && sent[i].type == type)
			return &sent[i];
	return NULL;
}

static struct ctl_msg grant(uint32_t request, member_number number)
{
	struct ctl_msg m = { .type = CTL_GRANT,
			     .request = request,
			     .has = CTL_BIT(CTL_LEASE) | CTL_BIT(CTL_PSK) | CTL_BIT(CTL_ADDRESSES) |
				    CTL_BIT(CTL_OBSERVED) | CTL_BIT(CTL_ROSTER),
			     .lease = { .number = number, .granted = 1700000000 },
			     .roster = here };
	char ip[32], ip6[32];
	snprintf(ip, sizeof(ip), "10.77.0.%u", number);
	snprintf(ip6, sizeof(ip6), "fd00:1::%x", number);
	assert_true(addr_parse(ip, &m.lease.ip) && addr_parse(ip6, &m.lease.ip6));
	assert_true(endpoint_parse("198.51.100.1:4000", &m.observed));
	return m;
}

/* Joined as number 1, with an empty roster. */
static void join(void)
{
	drain();
	assert_int_equal(hear(grant(asked(CTL_REGISTER)->request, 1)), DROP_NONE);
	uint8_t b[CONTROL_MAX];
	struct ctl_page pg;
	ctl_page_begin(&pg, b, sizeof(b), asked(CTL_ROSTER_GET)->request, &here);
	size_t n = ctl_page_end(&pg, CTL_PAGE_FULL | CTL_PAGE_PAUSE, 0, UINT32_MAX);
	assert_int_equal(enrol_input(e, now, b, n), DROP_NONE);
	drain();
}

/* Answers the roster question under way with these members, and whoever is `gone`. */
static void roster(const struct roster_entry *r, size_t n, uint32_t gone, uint64_t version)
{
	uint8_t b[CONTROL_MAX];
	struct ctl_page pg;
	struct ctl_roster at = { here.instance, version };
	hear((struct ctl_msg){ .type = CTL_ROSTER_CHANGED, .has = CTL_BIT(CTL_ROSTER), .roster = at });
	ctl_page_begin(&pg, b, sizeof(b), last_get, &at);
	for (size_t i = 0; i < n; i++)
		assert_true(ctl_page_entry(&pg, &r[i]));
	if (gone)
		assert_true(ctl_page_gone(&pg, gone));
	n = ctl_page_end(&pg, CTL_PAGE_PAUSE, 0, UINT32_MAX);
	assert_int_equal(enrol_input(e, now, b, n), DROP_NONE);
	drain();
}

static struct roster_entry member(member_number number, const char *id, uint8_t key)
{
	struct roster_entry r = { .number = number };
	memset(r.key, key, 32);
	snprintf(r.id, sizeof(r.id), "%s", id);
	return r;
}

/* --- repetitions --- */

static void test_register_is_repeated(void **state)
{
	static const int at[] = { 0, 250, 750, 1750, 3750, 7750, 12750, 17750, 22750 };
	static const int silent_at[] = { 3000, 8000, 13000, 18000, 23000 };
	size_t n = 0, silent = 0;
	run(26 * SEC);
	for (size_t i = 0; i < nout; i++) {
		if (out[i].event == ENROL_SEND) {
			assert_int_equal((out_at[i] - began) / MSEC, at[n]);
			assert_int_equal(sent[i].request, sent[0].request);
			assert_int_equal(sent[i].has & CTL_BIT(CTL_LEASE), 0);
			n++;
		} else {
			assert_int_equal(out[i].event, ENROL_SILENT);
			assert_int_equal((out_at[i] - began) / MSEC, silent_at[silent++]);
		}
	}
	assert_int_equal(n, ARRAY_SIZE(at));
	assert_int_equal(silent, ARRAY_SIZE(silent_at));
	/* a new session begins anew */
	began = now;
	enrol_session_up(e, now);
	run(2900 * MSEC);
	assert_int_equal((out_at[1] - began) / MSEC, 250);
	assert_null(event(ENROL_SILENT));
	(void)state;
}

static void test_grant_and_renewal(void **state)
{
	struct enrol_info info;
	char s[ADDR_STRLEN];
	drain();
	now += 30 * MSEC;
	struct ctl_msg g = grant(asked(CTL_REGISTER)->request, 1);
	assert_int_equal(hear(g), DROP_NONE);
	assert_non_null(event(ENROL_OBSERVED));
	const struct enrol_output *o = event(ENROL_GRANTED);
	assert_int_equal(o->lease.number, 1);
	assert_string_equal(addr_str(&o->lease.ip, s), "10.77.0.1");
	enrol_info(e, &info);
	assert_true(info.registered);
	assert_int_equal(info.rtt, 30 * MSEC);
	assert_int_equal(hear(g), DROP_FRAME_UNEXPECTED); /* twice */
	roster(NULL, 0, 0, here.version);
	run(19900 * MSEC);
	assert_null(asked(CTL_REGISTER));
	run(200 * MSEC);
	const struct ctl_msg *m = asked(CTL_REGISTER);
	assert_non_null(m);
	assert_true(m->has & CTL_BIT(CTL_LEASE)); /* it shows what it holds */
	/* the same again is no event; another place is one */
	g.request = m->request;
	assert_int_equal(hear(g), DROP_NONE);
	assert_int_equal(nout, 0);
	run(20 * SEC);
	g.request = asked(CTL_REGISTER)->request;
	g.observed.port = 4001;
	assert_int_equal(hear(g), DROP_NONE);
	assert_int_equal(event(ENROL_OBSERVED)->observed.port, 4001);
	assert_non_null(event(ENROL_GRANTED));
	(void)state;
}

static void test_facts_twice_a_second(void **state)
{
	struct endpoint c = { 0 };
	join();
	size_t n = 0;
	now += SEC;
	for (unsigned i = 0; i < 40; i++) {
		assert_true(endpoint_parse("192.168.1.2:1000", &c));
		c.port = (uint16_t)(c.port + i);
		enrol_set_candidates(e, now, &c, 1);
		run(50 * MSEC);
		if (asked(CTL_REGISTER)) {
			n++;
			assert_int_equal(asked(CTL_REGISTER)->ncandidates, 1);
			uint32_t request = asked(CTL_REGISTER)->request;
			assert_int_equal(hear(grant(request, 1)), DROP_NONE);
		}
	}
	assert_in_range(n, 4, 5); /* in 2 s, both ends included */
	/* unchanged: nothing */
	run(SEC);
	enrol_set_candidates(e, now, &c, 1);
	enrol_set_trino(e, now, &(struct trino_facts){ 0 });
	run(SEC);
	assert_null(asked(CTL_REGISTER));
	/* what must not be offered is not */
	struct endpoint bad[2];
	assert_true(endpoint_parse("127.0.0.1:5", &bad[0]) && endpoint_parse("10.77.0.1:5", &bad[1]));
	enrol_set_candidates(e, now, bad, 2);
	run(SEC);
	assert_int_equal(asked(CTL_REGISTER)->ncandidates, 0);
	(void)state;
}

/* --- refusals --- */

static void refuse(uint16_t code, bool fatal, const char *text)
{
	struct ctl_msg m = { .type = CTL_REFUSE, .has = CTL_BIT(CTL_REFUSAL), .code = code,
			     .fatal = fatal };
	assert_non_null(asked(CTL_REGISTER));
	m.request = asked(CTL_REGISTER)->request;
	snprintf(m.text, sizeof(m.text), "%s", text);
	assert_int_equal(hear(m), DROP_NONE);
}

static void test_refused(void **state)
{
	drain();
	refuse(CTL_REFUSED_WAIT, false, "wait");
	assert_string_equal(event(ENROL_REFUSED)->text, "wait");
	assert_false(event(ENROL_REFUSED)->fatal);
	/* asks again every other second, and does not report each */
	for (unsigned i = 0; i < 5; i++) {
		run(2 * SEC);
		refuse(CTL_REFUSED_WAIT, false, "wait");
		assert_null(event(ENROL_REFUSED));
	}
	run(2 * SEC);
	refuse(CTL_REFUSED_TAKEN, true, "taken");
	assert_true(event(ENROL_REFUSED)->fatal);
	run(100 * SEC);
	assert_int_equal(nout, 0);
	enrol_session_up(e, now);
	run(100 * SEC);
	assert_int_equal(nout, 0);
	(void)state;
}

static void test_address_outside(void **state)
{
	drain();
	struct ctl_msg g = grant(asked(CTL_REGISTER)->request, 1);
	assert_true(addr_parse("10.78.0.1", &g.lease.ip));
	assert_int_equal(hear(g), DROP_NONE);
	assert_null(event(ENROL_GRANTED));
	assert_true(event(ENROL_REFUSED)->fatal);
	assert_non_null(strstr(event(ENROL_REFUSED)->text, "10.78.0.1"));
	(void)state;
}

static void test_rendezvous_of_another_version(void **state)
{
	uint8_t b[8] = { CTL_FIRST_BYTE, 2, CTL_ROSTER_CHANGED };
	join();
	/* a member lives on, and says it once */
	assert_int_equal(enrol_input(e, now, b, 8), DROP_CONTROL_VERSION);
	assert_int_equal(enrol_input(e, now, b, 8), DROP_CONTROL_VERSION);
	drain();
	assert_int_equal(events(ENROL_REFUSED), 1);
	assert_false(event(ENROL_REFUSED)->fatal);
	assert_non_null(strstr(event(ENROL_REFUSED)->text, "control version 2, this node version 1"));
	/* who has no lease can do nothing else */
	teardown(NULL);
	setup(NULL);
	drain();
	assert_int_equal(enrol_input(e, now, b, 8), DROP_CONTROL_VERSION);
	drain();
	assert_true(event(ENROL_REFUSED)->fatal);
	(void)state;
}

static void test_replaced(void **state)
{
	struct ctl_msg m = { .type = CTL_REPLACED, .has = CTL_BIT(CTL_REFUSAL), .text = "replaced" };
	drain();
	assert_int_equal(hear(m), DROP_FRAME_UNEXPECTED); /* of a process before us */
	teardown(NULL);
	setup(NULL);
	join();
	assert_int_equal(hear(m), DROP_NONE);
	assert_string_equal(event(ENROL_REPLACED)->text, "replaced");
	run(100 * SEC);
	assert_int_equal(nout, 0);
	(void)state;
}

static void test_challenge(void **state)
{
	struct ctl_msg m = { .type = CTL_CHALLENGE, .request = 3 };
	drain();
	assert_int_equal(hear(m), DROP_FRAME_UNEXPECTED);
	teardown(NULL);
	setup(NULL);
	join();
	assert_int_equal(hear(m), DROP_NONE);
	assert_int_equal(asked(CTL_CHALLENGE_OK)->request, 3);
	(void)state;
}

static void test_release(void **state)
{
	join();
	enrol_release(e, now);
	run(SEC);
	assert_int_equal(events(ENROL_SEND), 3); /* at 0, 250, 750 ms */
	assert_int_equal(hear((struct ctl_msg){ .type = CTL_RELEASED, .request = 1 }),
			 DROP_FRAME_UNEXPECTED);
	run(SEC);
	assert_non_null(event(ENROL_RELEASED)); /* after 2 s without an answer */
	run(100 * SEC);
	assert_int_equal(nout, 0);

	teardown(NULL);
	setup(NULL);
	join();
	enrol_release(e, now);
	drain();
	uint32_t request = asked(CTL_RELEASE)->request;
	assert_int_equal(hear((struct ctl_msg){ .type = CTL_RELEASED, .request = request }), DROP_NONE);
	assert_non_null(event(ENROL_RELEASED));
	(void)state;
}

/* --- roster --- */

static void test_entries_that_are_not_believed(void **state)
{
	struct roster_entry r[6] = { member(2, "w2", 2), member(3, "w1", 3), member(1, "w9", 4),
				     member(5, "w5", 1), member(70000, "w6", 6), member(7, "w7", 7) };
	static const char *const routes[] = { "10.77.3.0/24", "0.0.0.0/0", "10.99.0.0/24",
					      "fd00:1::/32" };
	r[5].nroutes = 4;
	for (size_t i = 0; i < 4; i++)
		assert_true(prefix_parse(routes[i], &r[5].routes[i]));
	join();
	roster(r, 6, 0, 5001);
	/* our id, our number, our key, a number outside the prefix: none of them */
	assert_int_equal(events(ENROL_MEMBER), 2);
	assert_int_equal(out[0].number, 2);
	assert_int_equal(out[1].number, 7);
	assert_int_equal(out[1].entry.nroutes, 1);
	char s[PREFIX_STRLEN];
	assert_string_equal(prefix_str(&out[1].entry.routes[0], s), "10.99.0.0/24");
	(void)state;
}

static void test_changes(void **state)
{
	struct roster_entry r = member(2, "w2", 2), moved = member(1 + 2, "w3", 2);
	struct enrol_info info;
	join();
	roster(&r, 1, 0, 5001);
	assert_int_equal(events(ENROL_MEMBER), 1);
	roster(&r, 1, 0, 5002);
	assert_int_equal(events(ENROL_MEMBER), 0); /* nothing new */
	memset(r.key, 9, 32);
	roster(&r, 1, 0, 5003);
	assert_int_equal(events(ENROL_MEMBER), 1);
	memset(moved.key, 9, 32); /* the key is at another number now: first gone, then there */
	roster(&moved, 1, 0, 5004);
	assert_int_equal(out[0].event, ENROL_MEMBER_GONE);
	assert_int_equal(out[0].number, 2);
	assert_int_equal(out[1].event, ENROL_MEMBER);
	assert_int_equal(out[1].number, 3);
	roster(NULL, 0, 3, 5005);
	assert_int_equal(events(ENROL_MEMBER_GONE), 1);
	roster(NULL, 0, 3, 5006);
	assert_int_equal(nout, 0);
	enrol_info(e, &info);
	assert_int_equal(info.roster_version, 5006);
	assert_int_equal(info.members, 0);
	(void)state;
}

/* One page of a sweep that is under way. */
static enum drop page(uint64_t version, uint8_t flags, uint32_t after, uint32_t upto,
		      const struct roster_entry *r)
{
	uint8_t b[CONTROL_MAX];
	struct ctl_page pg;
	ctl_page_begin(&pg, b, sizeof(b), last_get, &(struct ctl_roster){ here.instance, version });
	if (r)
		assert_true(ctl_page_entry(&pg, r));
	size_t n = ctl_page_end(&pg, flags, after, upto);
	enum drop d = enrol_input(e, now, b, n);
	drain();
	return d;
}

/* Two answers to one question: a page of the older one may show who has left since. */
static void test_pages_of_two_answers(void **state)
{
	struct roster_entry two = member(2, "w2", 2), left = member(9, "w9", 9);
	struct ctl_msg changed = { .type = CTL_ROSTER_CHANGED, .has = CTL_BIT(CTL_ROSTER),
				   .roster = { here.instance, 5002 } };
	struct enrol_info info;
	join();
	hear(changed);
	assert_int_equal(page(5002, CTL_PAGE_MORE, 0, 5, &two), DROP_NONE);
	assert_int_equal(page(5001, CTL_PAGE_PAUSE, 5, UINT32_MAX, &left), DROP_NONE);
	assert_null(event(ENROL_MEMBER));
	assert_int_equal(page(5002, CTL_PAGE_PAUSE, 5, UINT32_MAX, NULL), DROP_NONE);
	enrol_info(e, &info);
	assert_int_equal(info.members, 1);
	assert_int_equal(info.roster_version, 5002);
	(void)state;
}

/* Pages twice, out of turn, without an end; a sweep that turns out to be of another instance. */
static void test_pages_out_of_turn(void **state)
{
	struct roster_entry two = member(2, "w2", 2);
	struct ctl_msg changed = { .type = CTL_ROSTER_CHANGED, .has = CTL_BIT(CTL_ROSTER),
				   .roster = { here.instance, 5002 } };
	join();
	assert_int_equal(page(5002, CTL_PAGE_PAUSE, 0, UINT32_MAX, &two), DROP_FRAME_UNEXPECTED);
	hear(changed);
	assert_int_equal(page(5002, CTL_PAGE_MORE, 0, 0, NULL), DROP_CONTROL_MALFORMED);
	assert_int_equal(page(5002, CTL_PAGE_MORE, 0, 5, &two), DROP_NONE);
	assert_int_equal(page(5002, CTL_PAGE_MORE, 0, 5, &two), DROP_FRAME_UNEXPECTED);
	/* the first that shows a gap asks again from where we are, the others do not */
	assert_int_equal(page(5002, CTL_PAGE_MORE, 9, 12, NULL), DROP_FRAME_UNEXPECTED);
	assert_int_equal(asked(CTL_ROSTER_GET)->after, 5);
	assert_int_equal(page(5002, CTL_PAGE_MORE, 12, 15, NULL), DROP_FRAME_UNEXPECTED);
	assert_null(asked(CTL_ROSTER_GET));
	/* everybody is in this one: the sweep was not that, and starts again */
	assert_int_equal(page(5002, CTL_PAGE_FULL, 5, UINT32_MAX, NULL), DROP_NONE);
	assert_int_equal(asked(CTL_ROSTER_GET)->after, 0);
	(void)state;
}

static struct ctl_msg introduce(member_number number, uint32_t id)
{
	struct ctl_msg m = { .type = CTL_INTRODUCE,
			     .request = id,
			     .has = CTL_BIT(CTL_NUMBER) | CTL_BIT(CTL_CANDIDATES),
			     .number = number,
			     .ncandidates = 2 };
	assert_true(endpoint_parse("127.0.0.1:9", &m.candidates[0]) &&
		    endpoint_parse("192.168.1.9:9", &m.candidates[1]));
	return m;
}

static void test_introductions(void **state)
{
	struct roster_entry r = member(2, "w2", 2);
	join();
	/* about somebody whom we do not know yet: it waits for the roster */
	assert_int_equal(hear(introduce(2, 40)), DROP_NONE);
	assert_null(event(ENROL_INTRODUCED));
	roster(&r, 1, 0, 5001);
	assert_int_equal(out[0].event, ENROL_MEMBER);
	assert_int_equal(out[1].event, ENROL_INTRODUCED);
	assert_int_equal(out[1].ncandidates, 1); /* not our own loopback */
	assert_int_equal(hear(introduce(2, 40)), DROP_NONE);
	assert_null(event(ENROL_INTRODUCED)); /* a repetition */
	assert_int_equal(hear(introduce(2, 41)), DROP_NONE);
	assert_non_null(event(ENROL_INTRODUCED));
	assert_int_equal(hear(introduce(1, 42)), DROP_FRAME_UNEXPECTED); /* to ourselves */
	/* not for ever */
	assert_int_equal(hear(introduce(3, 43)), DROP_NONE);
	now += 6 * SEC;
	r = member(3, "w3", 3);
	roster(&r, 1, 0, 5002);
	assert_null(event(ENROL_INTRODUCED));
	(void)state;
}

static void test_connect(void **state)
{
	join();
	enrol_connect(e, now, 2);
	enrol_connect(e, now, 2);
	run(SEC);
	assert_int_equal(events(ENROL_SEND), 3);
	assert_int_equal(asked(CTL_CONNECT)->number, 2);
	assert_int_equal(hear(introduce(2, 9)), DROP_NONE);
	run(5 * SEC);
	assert_null(asked(CTL_CONNECT));
	enrol_connect(e, now, 3);
	drain();
	struct ctl_msg m = { .type = CTL_REFUSE, .has = CTL_BIT(CTL_REFUSAL),
			     .code = CTL_REFUSED_NO_MEMBER };
	m.request = asked(CTL_CONNECT)->request;
	assert_int_equal(hear(m), DROP_NONE);
	assert_null(event(ENROL_REFUSED)); /* the link asks again when it wants to */
	run(5 * SEC);
	assert_null(asked(CTL_CONNECT));
	/* more than there is room for: left out */
	for (member_number n = 2; n < 1000; n++)
		enrol_connect(e, now, n);
	(void)state;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_register_is_repeated),
		TEST(test_grant_and_renewal),
		TEST(test_facts_twice_a_second),
		TEST(test_refused),
		TEST(test_address_outside),
		TEST(test_rendezvous_of_another_version),
		TEST(test_replaced),
		TEST(test_challenge),
		TEST(test_release),
		TEST(test_entries_that_are_not_believed),
		TEST(test_changes),
		TEST(test_pages_of_two_answers),
		TEST(test_pages_out_of_turn),
		TEST(test_introductions),
		TEST(test_connect),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
