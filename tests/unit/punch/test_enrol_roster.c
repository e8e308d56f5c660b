/* SPDX-License-Identifier: Apache-2.0 */
/* A member: its copy of the roster, introductions. */
#include "test_enrol.h"

/* --- roster --- */

static void test_entries_that_are_not_believed(void **state)
{
	struct roster_entry r[6] = {
		member(2, "w2", 2), member(3, "w1", 3),	    member(1, "w9", 4),
		member(5, "w5", 1), member(70000, "w6", 6), member(7, "w7", 7)
	};
	static const char *const routes[] = { "10.0.0.0/8", "0.0.0.0/0", "10.99.0.0/24",
					      "fd00:1::/32" };
	r[5].nroutes = 4;
	for (size_t i = 0; i < 4; i++)
		assert_true(prefix_parse(routes[i], &r[5].routes[i]));
	/* a part of the network may lie behind a member, but not the part that we are in */
	r[0].nroutes = 2;
	assert_true(prefix_parse("10.77.0.0/24", &r[0].routes[0]));
	assert_true(prefix_parse("10.77.1.0/24", &r[0].routes[1]));
	join();
	roster(r, 6, 0, 5001);
	/* our id, our number, our key, a number outside the prefix: none of them */
	assert_int_equal(events(ENROL_MEMBER), 2);
	assert_int_equal(out[0].number, 2);
	assert_int_equal(out[1].number, 7);
	assert_int_equal(out[1].entry.nroutes, 1);
	char s[PREFIX_STRLEN];
	assert_string_equal(prefix_str(&out[1].entry.routes[0], s), "10.99.0.0/24");
	assert_int_equal(out[0].entry.nroutes, 1);
	assert_string_equal(prefix_str(&out[0].entry.routes[0], s), "10.77.1.0/24");
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
	struct ctl_msg changed = { .type = CTL_ROSTER_CHANGED,
				   .has = CTL_BIT(CTL_ROSTER),
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
	struct ctl_msg changed = { .type = CTL_ROSTER_CHANGED,
				   .has = CTL_BIT(CTL_ROSTER),
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
	/* the answer to that lacks the page as well */
	assert_int_equal(page(5002, CTL_PAGE_MORE, 9, 12, NULL), DROP_FRAME_UNEXPECTED);
	assert_int_equal(asked(CTL_ROSTER_GET)->after, 5);
	assert_int_equal(page(5002, CTL_PAGE_MORE, 9, 12, NULL), DROP_FRAME_UNEXPECTED);
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
	struct ctl_msg m = { .type = CTL_REFUSE,
			     .has = CTL_BIT(CTL_REFUSAL),
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_entries_that_are_not_believed),
		TEST(test_changes),
		TEST(test_pages_of_two_answers),
		TEST(test_pages_out_of_turn),
		TEST(test_introductions),
		TEST(test_connect),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
