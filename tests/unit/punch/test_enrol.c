/* SPDX-License-Identifier: Apache-2.0 */
/* A member: its questions, their repetitions, refusals, leaving. */
#include "test_enrol.h"

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
	assert_true(endpoint_parse("127.0.0.1:5", &bad[0]) &&
		    endpoint_parse("10.77.0.1:5", &bad[1]));
	enrol_set_candidates(e, now, bad, 2);
	run(SEC);
	assert_int_equal(asked(CTL_REGISTER)->ncandidates, 0);
	(void)state;
}

/* --- refusals --- */

static void refuse(uint16_t code, bool fatal, const char *text)
{
	struct ctl_msg m = {
		.type = CTL_REFUSE, .has = CTL_BIT(CTL_REFUSAL), .code = code, .fatal = fatal
	};
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

/* --- while a lease is held --- */

/* One that another rendezvous granted: this one is shown it, and has not said anything yet. */
static void shown(void)
{
	struct enrol_config cfg = { .worker_id = "w1", .boot = BOOT, .several = true };
	struct lease l = grant(0, 1).lease;
	enrol_free(e);
	assert_true(prefix_parse("10.77.0.0/16", &cfg.prefix4));
	assert_true(prefix_parse("fd00:1::/64", &cfg.prefix6));
	e = enrol_new(&cfg);
	assert_non_null(e);
	enrol_session_up(e, now);
	enrol_show(e, now, &l);
	drain();
}

static void joined(void)
{
	join();
	run(20 * SEC);
}

static void (*const holders[])(void) = { joined, shown };

/* Its renewal is answered by what a rendezvous with another --prefix grants. */
static void hear_another_prefix(void)
{
	struct ctl_msg g = grant(asked(CTL_REGISTER)->request, 1);
	assert_true(addr_parse("10.78.0.1", &g.lease.ip));
	assert_int_equal(hear(g), DROP_NONE);
}

static void hear_newer_version(void)
{
	struct ctl_msg m = { .type = CTL_REFUSE,
			     .has = CTL_BIT(CTL_REFUSAL),
			     .request = asked(CTL_REGISTER)->request,
			     .code = CTL_REFUSED_VERSION,
			     .fatal = true,
			     .text = "speaks control version 2" };
	uint8_t b[CONTROL_MAX];
	size_t n = ctl_write(&m, b, sizeof(b));
	b[1] = 2; /* its layout is that of every version */
	assert_int_equal(enrol_input(e, now, b, n), DROP_NONE);
	drain();
}

static void hear_full(void)
{
	refuse(CTL_REFUSED_FULL, true, "full");
}

/* Who holds a lease and is not answered is no longer registered, to those who look, until he is. */
static void test_silence_shows(void **state)
{
	struct enrol_info info;
	drain();
	assert_int_equal(hear(grant(asked(CTL_REGISTER)->request, 1)), DROP_NONE);
	roster(NULL, 0, 0, here.version);
	run(20 * SEC);
	run(2900 * MSEC);
	enrol_info(e, &info);
	assert_true(info.registered && !info.silent);
	uint32_t request = asked(CTL_REGISTER)->request;
	run(200 * MSEC);
	enrol_info(e, &info);
	assert_true(!info.registered && info.silent);
	run(60 * SEC);
	enrol_info(e, &info);
	assert_true(!info.registered && info.silent);
	assert_int_equal(hear(grant(request, 1)), DROP_NONE);
	enrol_info(e, &info);
	assert_true(info.registered && !info.silent);
	(void)state;
}

static void hear_the_unknown(void)
{
	refuse(99, true, "what a later release says");
}

/* Told, in words, once a minute; asked again as often as it would be renewed; and good when that is. */
static void holds_on(void (*hear_it)(void))
{
	struct enrol_info info;
	unsigned told = 0;
	for (unsigned i = 0; i < 10; i++) {
		hear_it();
		told += events(ENROL_REFUSED) == 1;
		assert_true(i || told == 1);
		assert_null(event(ENROL_GRANTED));
		assert_false(event(ENROL_REFUSED) && event(ENROL_REFUSED)->fatal);
		run(20 * SEC - MSEC);
		assert_null(asked(CTL_REGISTER));
		assert_null(event(ENROL_SILENT));
		run(MSEC);
		assert_true(asked(CTL_REGISTER)->has & CTL_BIT(CTL_LEASE));
	}
	assert_in_range(told, 3, 4);
	assert_int_equal(hear(grant(asked(CTL_REGISTER)->request, 1)), DROP_NONE);
	enrol_info(e, &info);
	assert_true(info.registered);
}

static void test_holder_goes_on(void **state)
{
	static void (*const what[])(void) = { hear_another_prefix, hear_newer_version, hear_full,
					      hear_the_unknown };
	for (size_t i = 0; i < ARRAY_SIZE(holders) * ARRAY_SIZE(what); i++) {
		holders[i % ARRAY_SIZE(holders)]();
		holds_on(what[i / ARRAY_SIZE(holders)]);
		teardown(NULL);
		setup(NULL);
	}
	(void)state;
}

/* Its own place is gone, whoever says so. */
static void test_holder_is_stopped(void **state)
{
	static const uint16_t codes[] = { CTL_REFUSED_TAKEN, CTL_REFUSED_TOKEN,
					  CTL_REFUSED_REMOVED };
	for (size_t i = 0; i < ARRAY_SIZE(holders) * ARRAY_SIZE(codes); i++) {
		holders[i % ARRAY_SIZE(holders)]();
		refuse(codes[i / ARRAY_SIZE(holders)], true, "gone");
		assert_true(event(ENROL_REFUSED)->fatal);
		teardown(NULL);
		setup(NULL);
	}
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
	assert_non_null(
		strstr(event(ENROL_REFUSED)->text, "control version 2, this node version 1"));
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
	struct ctl_msg m = { .type = CTL_REPLACED,
			     .has = CTL_BIT(CTL_REFUSAL),
			     .text = "replaced" };
	drain();
	assert_int_equal(hear(m), DROP_FRAME_UNEXPECTED); /* of a process before us */
	teardown(NULL);
	setup(NULL);
	join();
	assert_int_equal(hear(m), DROP_NONE);
	assert_string_equal(event(ENROL_REPLACED)->text, "replaced");
	/* or it is for another process of our key, whose session this was */
	teardown(NULL);
	setup(NULL);
	join();
	m.has |= CTL_BIT(CTL_BOOT);
	m.boot = BOOT - 1;
	assert_int_equal(hear(m), DROP_FRAME_UNEXPECTED);
	m.boot = BOOT;
	assert_int_equal(hear(m), DROP_NONE);
	assert_non_null(event(ENROL_REPLACED));
	run(100 * SEC);
	assert_int_equal(nout, 0);
	(void)state;
}

/* With everything at its longest a REGISTER leaves out candidates, the last ones, and nothing else. */
static void test_longest_register(void **state)
{
	struct endpoint c[MAX_CANDIDATES];
	struct trino_facts t = { .http_port = 65535, .https_port = 65535, .coordinator = true };
	struct enrol_config cfg = { .release = "0.1.0-and-a-lot-of-other-letters",
				    .ticket = { .epoch = 1, .mac = { 1 } },
				    .boot = UINT64_MAX };
	char id[WORKER_ID_LEN] = "";
	(void)state;
	enrol_free(e);
	memset(id, 'w', sizeof(id) - 1);
	cfg.worker_id = id;
	memset(t.environment, 'e', sizeof(t.environment) - 1);
	memset(t.version, 'v', sizeof(t.version) - 1);
	assert_true(prefix_parse("10.77.0.0/16", &cfg.prefix4));
	e = enrol_new(&cfg);
	assert_non_null(e);
	for (uint8_t i = 0; i < MAX_CANDIDATES; i++)
		assert_true(endpoint_parse("192.0.2.1:7", &c[i]) && (c[i].addr.b[15] = i + 1));
	enrol_set_candidates(e, now, c, MAX_CANDIDATES);
	enrol_set_trino(e, now, &t);
	enrol_session_up(e, now);
	drain();
	const struct ctl_msg *m = asked(CTL_REGISTER);
	assert_true(m->boot == UINT64_MAX && m->ticket.epoch == 1 && strcmp(m->id, id) == 0);
	assert_true(m->trino.coordinator && strlen(m->trino.version) == sizeof(t.version) - 1);
	assert_in_range(m->ncandidates, MAX_CANDIDATES - 2, MAX_CANDIDATES - 1);
	assert_memory_equal(m->candidates, c, m->ncandidates * sizeof(c[0]));
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

static void test_asked_about_another(void **state)
{
	struct ctl_msg m = { .type = CTL_ASK, .has = CTL_BIT(CTL_NUMBER), .number = 7 };
	drain();
	assert_int_equal(hear(m), DROP_FRAME_UNEXPECTED);
	teardown(NULL);
	setup(NULL);
	join();
	assert_int_equal(hear(m), DROP_NONE);
	assert_int_equal(event(ENROL_ASKED)->number, 7);
	assert_null(asked(CTL_VOUCH));
	enrol_vouch(e, 7);
	drain();
	assert_int_equal(asked(CTL_VOUCH)->number, 7);
	/* more than there is room for: the oldest are forgotten */
	for (member_number n = 1; n <= 20; n++)
		enrol_vouch(e, n);
	enrol_vouch(e, 20);
	drain();
	assert_int_equal(events(ENROL_SEND), 8);
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
	assert_true(asked(CTL_RELEASE)->boot == BOOT);
	assert_int_equal(hear((struct ctl_msg){ .type = CTL_RELEASED, .request = request }),
			 DROP_NONE);
	assert_non_null(event(ENROL_RELEASED));
	(void)state;
}

/* Whoever waits for its end does not wait for one that is stopped. */
static void released_at_once(void)
{
	enrol_release(e, now);
	drain();
	assert_int_equal(events(ENROL_RELEASED), 1);
	assert_null(event(ENROL_SEND));
	enrol_release(e, now);
	run(100 * SEC);
	assert_int_equal(nout, 0);
	teardown(NULL);
	setup(NULL);
}

static void test_release_when_stopped(void **state)
{
	struct ctl_msg m = { .type = CTL_REPLACED,
			     .has = CTL_BIT(CTL_REFUSAL),
			     .text = "replaced" };
	drain();
	refuse(CTL_REFUSED_TAKEN, true, "taken");
	released_at_once();
	join();
	assert_int_equal(hear(m), DROP_NONE);
	released_at_once();
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_register_is_repeated),
		TEST(test_grant_and_renewal),
		TEST(test_silence_shows),
		TEST(test_facts_twice_a_second),
		TEST(test_refused),
		TEST(test_address_outside),
		TEST(test_holder_goes_on),
		TEST(test_holder_is_stopped),
		TEST(test_rendezvous_of_another_version),
		TEST(test_replaced),
		TEST(test_longest_register),
		TEST(test_challenge),
		TEST(test_asked_about_another),
		TEST(test_release),
		TEST(test_release_when_stopped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
