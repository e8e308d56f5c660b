/* SPDX-License-Identifier: Apache-2.0 */
/* What the links of a node share where path MTUs are searched: what may be spent, and the relay. */
#include "link_harness.h"

#include <sodium.h>

enum { MANY = 1000 };

/* --- whose a quoted relay message is --- */

static struct link *quoted(const uint8_t *q, size_t len)
{
	struct endpoint e = ep("203.0.113.1:7777");
	return links_quoted(t.ls, &e, q, len);
}

static void test_quotes(void **state)
{
	uint8_t q[RELAY_HEADER_LEN + 40] = { 0 }, bad[sizeof(q)];
	struct endpoint e = ep("203.0.113.1:7777");
	(void)state;
	link_relay_header(t.l, &e, q, 40); /* under no relay */
	assert_null(quoted(q, sizeof(q)));
	set_relay();
	link_relay_header(t.l, &e, q, 40);
	assert_ptr_equal(quoted(q, sizeof(q)), t.l);
	for (size_t len = 0; len <= RELAY_HEADER_LEN; len++)
		assert_null(quoted(q, len));
	struct relay_msg m;
	assert_int_equal(relay_peek(q, sizeof(q), &m), DROP_NONE);
	struct relay_msg lies[] = { m, m, m, m };
	lies[0].source = PEER;
	lies[1].destination = 77;
	lies[2].counter++; /* not sent yet */
	lies[3].counter = BOOT - 1;
	for (size_t i = 0; i < 3; i++) {
		relay_write(bad, 40, &lies[i], relay_key);
		assert_null(quoted(bad, sizeof(bad)));
	}
	for (uint32_t i = 0; i < 1 << 20; i++)
		link_relay_header(t.l, &e, bad, 40);
	assert_null(quoted(q, sizeof(q))); /* too long ago */
	assert_ptr_equal(quoted(bad, sizeof(bad)), t.l);
	link_remove(t.l);
	assert_null(quoted(bad, sizeof(bad)));
	t.l = NULL;
}

/* --- all together --- */

static struct {
	struct link *l;
	struct pmtu_seen seen;
} many[MANY];
static uint64_t second[200];

/* Only the relay; each peer's answer comes at once. */
static void poll_many(nsec t0)
{
	struct link_output out;
	while (links_poll(t.ls, t.now, &out)) {
		if (out.event != LINK_PROBE)
			continue;
		size_t i = (size_t)(intptr_t)link_user(out.link);
		struct frame_ack ack;
		second[(t.now - t0) / SEC] += out.message + path_around(&out.path);
		if (out.message + path_around(&out.path) > 1400)
			continue;
		pmtu_seen_probe(&many[i].seen, t.now, true, &out.probe, &ack);
		link_probe_ack(out.link, t.now, &ack);
	}
}

static void pong_many(size_t i)
{
	struct outer_msg m = { .type = OUTER_TYPE_PONG,
			       .sender = (uint32_t)i + 10,
			       .receiver = SELF,
			       .boot = BOOT,
			       .counter = 1 };
	struct link_output out;
	struct endpoint r = relay_at();
	uint8_t p[OUTER_MAX];
	bool asked = false;
	while (links_poll(t.ls, t.now, &out)) {
		if (out.event != LINK_SEND)
			continue;
		struct outer_msg ping;
		assert_int_equal(outer_parse(out.bytes + RELAY_HEADER_LEN,
					     out.len - RELAY_HEADER_LEN, outer_key, &ping),
				 DROP_NONE);
		memcpy(m.txid, ping.txid, TXID_LEN);
		asked = true;
	}
	assert_true(asked);
	struct addr at = local();
	size_t n = outer_write(&m, outer_key, p, sizeof(p));
	assert_int_equal(links_input(t.ls, t.now, &r, &at, 1, true, p, n), DROP_NONE);
}

/* A thousand links whose sessions come at one moment: 1 MB/s, 256 KB more at first; all get there. */
static void test_a_thousand_searches(void **state)
{
	(void)state;
	link_remove(t.l);
	t.l = NULL;
	memset(many, 0, sizeof(many));
	memset(second, 0, sizeof(second));
	set_relay();
	for (size_t i = 0; i < MANY; i++) {
		many[i].l = link_add(t.ls, t.now, (uint32_t)i + 10, outer_key, (void *)(intptr_t)i);
		assert_non_null(many[i].l);
		pong_many(i);
	}
	nsec t0 = t.now;
	for (size_t i = 0; i < MANY; i++)
		link_session_up(many[i].l, t.now);
	size_t done = 0;
	while (done < MANY && t.now < t0 + 150 * SEC) {
		poll_many(t0);
		assert_true(links_deadline(t.ls) > t.now);
		t.now = links_deadline(t.ls);
		for (done = 0; done < MANY; done++)
			if (link_pmtu(many[done].l)->state != PMTU_SEARCH_COMPLETE)
				break;
	}
	assert_int_equal(done, MANY);
	uint64_t all = 0;
	for (nsec s = 0; s < (t.now - t0) / SEC; s++) {
		all += second[s];
		assert_true(all <= 1000000 * (uint64_t)(s + 1) + 256000 + 9000);
	}
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(link_message_max(many[i].l), 1400 - 56);
	print_message("%llu bytes in %.1f s\n", (unsigned long long)all,
		      (double)(t.now - t0) / SEC);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fresh, done)
	const struct CMUnitTest tests[] = {
		T(test_quotes),
		T(test_a_thousand_searches),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
