/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversations of the configuration protocol: any split of the bytes, clients that are wrong or
 * greedy, and what never gets out.
 */
#include "tests/unit/gateway/uapi_wire.h"
#include "base/log.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#define KEY_A "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
#define KEY_B "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
#define PRIV "3839393939393939393939393939393939393939393939393939393939393979"
#define PSK "7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c"

/* --- any split --- */

static const char whole[] =
	"set=1\nprivate_key=" PRIV "\nlisten_port=4711\nfwmark=7\nreplace_peers=true\n"
	"public_key=" KEY_A "\npreshared_key=" PSK "\nendpoint=192.0.2.1:9\n"
	"persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\n"
	"public_key=" KEY_B "\nallowed_ip=10.0.0.0/8\nupdate_only=true\n\n"
	"get=1\n\n"
	"set=1\npublic_key=" KEY_A "\nallowed_ip=-10.0.0.0/8\nno line\nremove=true\n\n"
	"get=1\n\n";

/* All answers to `whole`, given in pieces that end before `cut` and then every `step` bytes. */
static const char *answers(size_t cut, size_t step)
{
	static char all[8192];
	size_t at = 0, len = sizeof(whole) - 1, n;

	all[0] = 0;
	while (at < len) {
		n = size_min(at == 0 && cut ? cut : step, len - at);
		assert_true(talk_bytes(t, now, whole + at, n));
		assert_true(strlen(all) + strlen(t->answer) < sizeof(all));
		strcat(all, t->answer);
		at += n;
	}
	return all;
}

static void test_any_split(void **state)
{
	const size_t len = sizeof(whole) - 1;
	(void)state;
	char *want = strdup(answers(0, len));
	assert_non_null(want);
	assert_non_null(strstr(want, "\nerrno=-71\n\nprivate_key="));
	for (size_t cut = 1; cut < len; cut++)
		assert_string_equal(answers(cut, len), want);
	for (size_t step = 1; step < 80; step++)
		assert_string_equal(answers(0, step), want);
	free(want);
}

/* A client may leave at any byte; what it said before is done. */
static void test_left_half_way(void **state)
{
	(void)state;
	assert_true(talk_say(t, now,
			     "set=1\nfwmark=9\npublic_key=" KEY_A "\nallowed_ip=10.0.0.0/8\n"
			     "allowed_ip=10.0.0.0/9"));
	talk_again(t);
	const struct dump *d = talk_get(t, now);
	assert_true(d->mark == 9 && d->npeers == 1 && d->peers[0].nallowed == 1);
}

/* What was said when nothing more comes, and what it is answered: as wireguard-go does. */
static const struct {
	const char *said, *answer;
	uint32_t mark;
} ended[] = {
	{ "", "", 0 },
	{ "set=1", "", 0 },
	{ "set=1\n", "errno=0\n\n", 0 },
	{ "set=1\nfwmark=9\n", "errno=0\n\n", 9 },
	{ "set=1\nfwmark=9\nfwmark=10", "errno=0\n\n", 10 }, /* a line all the same */
	{ "set=1\nfwmark=9\nfwmark=", "errno=-22\n\n", 9 },
	{ "set=1\nfwmark=9\nfwm", "errno=-71\n\n", 9 },
	{ "set=1\nfwmark=x\nfwmark=9", "errno=-22\n\n", 0 },
	{ "set=1\nfwmark=9\n\n", "", 9 }, /* it has its answer */
	{ "get=1", "", 0 },
	{ "get=1\n", "", 0 }, /* a get ends with its empty line alone */
	{ "get=1\nx", "", 0 },
};

static void test_end_of_input(void **state)
{
	size_t len;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ended); i++) {
		t->mark = 0;
		assert_true(talk_say(t, now, ended[i].said));
		for (unsigned twice = 0; twice < 2; twice++) {
			uapi_eof(t->u, now);
			const char *text = uapi_answer(t->u, &len);
			assert_int_equal(len, strlen(ended[i].answer));
			assert_memory_equal(text, ended[i].answer, len);
		}
		assert_int_equal(t->mark, ended[i].mark);
		assert_false(uapi_broken(t->u) || uapi_works(t->u));
		talk_again(t);
	}
}

/* --- clients that are wrong --- */

static void test_long_lines(void **state)
{
	static const char allowed[] = "allowed_ip=10.0.0.0/";
	static char line[UAPI_LINE_MAX + 2];
	(void)state;
	/* the longest that is taken, with zeros before its last digit; one more, and it is another */
	memset(line, '0', sizeof(line) - 1);
	memcpy(line, allowed, sizeof(allowed) - 1);
	line[UAPI_LINE_MAX - 1] = '8';
	line[UAPI_LINE_MAX] = 0;
	assert_int_equal(talk_set(t, now, "public_key=" KEY_A "\n%s\n", line), 0);
	assert_true(dump_allows(&talk_get(t, now)->peers[0], "10.0.0.0/8"));
	line[UAPI_LINE_MAX] = '0';
	assert_int_equal(talk_set(t, now, "public_key=" KEY_B "\n%s\nfwmark=3\n", line), -EINVAL);
	assert_int_equal(talk_get(t, now)->peers[1].nallowed, 0);
	assert_int_equal(t->mark, 0);
	/* 3 MB of one line: nothing of it is kept, and it ends like others */
	memset(line, 'x', sizeof(line) - 1);
	assert_true(talk_say(t, now, "set=1\nfwmark=4\n"));
	for (unsigned i = 0; i < 768; i++)
		assert_true(talk_bytes(t, now, line, UAPI_LINE_MAX));
	assert_true(talk_say(t, now, "\nfwmark=5\n\n"));
	assert_string_equal(t->answer, "errno=-22\n\n");
	assert_int_equal(t->mark, 4);
	assert_int_equal(talk_set(t, now, "fwmark=6\n"), 0);
}

static void test_nul(void **state)
{
	static const char line[] = "set=1\nfwmark=8\0\n\n", more[] = "set=1\n\0fwmark=8\n\n",
			  empty[] = "set=1\n\0\n\n";
	(void)state;
	assert_true(talk_bytes(t, now, line, sizeof(line) - 1));
	assert_string_equal(t->answer, "errno=-22\n\n");
	assert_true(talk_bytes(t, now, more, sizeof(more) - 1));
	assert_string_equal(t->answer, "errno=-22\n\n");
	assert_true(talk_bytes(t, now, empty, sizeof(empty) - 1));
	assert_string_equal(t->answer, "errno=-22\n\n");
	assert_int_equal(t->mark, 0);
}

static void test_no_request(void **state)
{
	static char longer[UAPI_LINE_MAX + 16];
	static const char nul[] = "get=1\0\n\n";
	static const char *const wrong[] = { "\n",	  "get=2\n",   "set=0\n",
					     "get\n",	  "get=1 \n",  "GET=1\n",
					     "set=1\r\n", "errno=0\n", "GET / HTTP/1.1\r\n" };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_false(talk_say(t, now, wrong[i]));
		assert_string_equal(t->answer, "");
		/* for good */
		assert_false(talk_say(t, now, "set=1\nfwmark=8\n\n"));
		assert_string_equal(t->answer, "");
		talk_again(t);
	}
	assert_false(talk_bytes(t, now, nul, sizeof(nul) - 1));
	talk_again(t);
	memset(longer, 'x', sizeof(longer) - 2);
	longer[sizeof(longer) - 2] = '\n';
	assert_false(talk_say(t, now, longer));
	talk_again(t);
	/* what was answered before is still to be had */
	assert_false(
		talk_say(t, now, "set=1\nfwmark=3\n\nset=1\nfwmark=4\n\nbye\nset=1\nfwmark=5\n\n"));
	assert_string_equal(t->answer, "errno=0\n\nerrno=0\n\n");
	assert_int_equal(t->mark, 4);
	assert_int_equal(peer_of(0) != NULL, 0);
}

static void many_peers(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(talk_set(t, now, "public_key=%062x%02x\nallowed_ip=10.0.%u.0/24\n",
					  0, 0x20 + i, i),
				 0);
}

/* Who asks and never reads is done nothing for, and what he said waits. */
static void test_greedy(void **state)
{
	static const char ask[] = "get=1\n\nget=1\n\nget=1\n\nget=1\n\n";
	size_t len = 0, before = 1, taken = 0;
	(void)state;
	many_peers(8);
	for (unsigned i = 0; len != before; i++) {
		before = len;
		taken = uapi_turn(t->u, now, ask, sizeof(ask) - 1);
		uapi_answer(t->u, &len);
		/* each turn makes a bounded piece of it */
		assert_in_range(len - before, 0, UAPI_TURN_WORK * 256 + 1024);
		assert_true(t->u->cap <= 4 * UAPI_UNSENT_MAX);
		assert_true(i < 1000);
	}
	assert_true(taken == 0 && len >= UAPI_UNSENT_MAX && !uapi_broken(t->u));
	/* once he reads it goes on */
	uapi_sent(t->u, len);
	assert_true(uapi_turn(t->u, now, ask, sizeof(ask) - 1) > 0 || uapi_works(t->u));
}

/* Of a megabyte of lines a turn takes a few; of those that concern all peers, one. */
static void test_turns_are_short(void **state)
{
	static const char lines[] = "public_key=" KEY_A "\nallowed_ip=10.0.0.0/8\n";
	static const char heavy[] = "replace_peers=true\n", port[] = "listen_port=0\n";
	static char text[64 << 10] = "set=1\n";
	size_t at = 6, most = UAPI_TURN_WORK * sizeof(lines);
	(void)state;
	assert_true(uapi_turn(t->u, now, text, 6) == 6);
	for (size_t i = 0; i < 200; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", lines);
	for (size_t from = 6, taken; from < at; from += taken) {
		taken = uapi_turn(t->u, now, text + from, at - from);
		assert_in_range(taken, 1, most);
	}
	assert_true(talk_say(t, now, "\nset=1\n"));
	at = 0;
	for (size_t i = 0; i < 200; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", i % 2 ? heavy : port);
	assert_int_equal(uapi_turn(t->u, now, text, at), sizeof(port) - 1);
	assert_int_equal(uapi_turn(t->u, now, text + sizeof(port) - 1, at), sizeof(heavy) - 1);
}

/* Peers come and go while the answer is made: none twice, none left out that was there all the time. */
static void test_answer_of_a_table_that_changes(void **state)
{
	static char all[1 << 16];
	unsigned found = 0, turns = 0;
	size_t len;
	(void)state;
	many_peers(8);
	struct peer *first = node_peer_next(ends[0].node, NULL), *third = first->next->next;
	for (unsigned i = 0; i < 500; i++)
		assert_int_equal(talk_set(t, now, "public_key=%s\nallowed_ip=10.9.%u.%u/32\n",
					  hex(peer_key(third)), i / 250, i % 250),
				 0);
	assert_int_equal(uapi_turn(t->u, now, "get=1\n\n", 7), 7);
	for (; uapi_works(t->u); turns++) {
		(void)!uapi_turn(t->u, now, NULL, 0);
		if (turns == 0)
			node_static_remove(first);
		if (t->u->answer.at == ANSWER_ROUTES && t->u->answer.serial == 3 && third) {
			node_static_remove(third);
			third = NULL;
		}
	}
	const char *text = uapi_answer(t->u, &len);
	assert_true(len < sizeof(all) && turns > 1 && !third);
	memcpy(all, text, len);
	all[len] = 0;
	for (const char *p = all; (p = strstr(p, "public_key=")); p++)
		found++;
	assert_int_equal(found, 8);
	for (unsigned i = 0; i < 8; i++) {
		char line[80];
		snprintf(line, sizeof(line), "public_key=%062x%02x\n", 0, 0x20 + i);
		assert_non_null(strstr(all, line));
	}
	assert_non_null(strstr(all, "\nerrno=0\n\n"));
}

/* Half an answer must not look like a whole one, and there is no other. */
static void test_no_memory(void **state)
{
	(void)state;
	assert_true(talk_say(t, now, "set=1\nfwmark=1\n"));
	t->u->no_memory = true;
	assert_false(talk_say(t, now, "fwmark=2\n\nset=1\nfwmark=3\n\n"));
	assert_string_equal(t->answer, "");
	assert_int_equal(t->mark, 2);
	uapi_free(NULL);
}

/* --- what never gets out --- */

static void test_no_key_is_logged_or_kept(void **state)
{
	static char secrets[] =
		"set=1\nprivate_key=" PRIV "\npublic_key=" KEY_A "\npreshared_key=" PSK
		"\npreshared_key=" PSK "7\nprivate_key=" PRIV "\n\nget=1\n\n";
	(void)state;
	log_init("test", NULL, LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
	stderr_catch();
	for (unsigned i = 0; i < 3; i++)
		assert_true(talk_say(t, now, secrets));
	assert_true(talk_say(t, now, "set=1\npreshared_key=" PSK "\n\n"));
	const char *log = stderr_caught();
	log_init("test", NULL, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	assert_null(strstr(log, "3939"));
	assert_null(strstr(log, "7c7c"));
	assert_true(sodium_is_zero((const uint8_t *)t->u->line, sizeof(t->u->line)));
	assert_null(t->u->out);
	/* of an answer half read, the part that was is wiped */
	assert_int_equal(uapi_turn(t->u, now, "get=1\n\n", 7), 7);
	const char *text = t->u->out;
	assert_memory_equal(text, "private_key=" PRIV, 76);
	uapi_sent(t->u, 76);
	assert_true(sodium_is_zero((const uint8_t *)text, 76));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(test_any_split, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_left_half_way, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_end_of_input, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_long_lines, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_nul, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_no_request, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_greedy, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_turns_are_short, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_answer_of_a_table_that_changes, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_no_memory, talk_begin, talk_end),
	cmocka_unit_test_setup_teardown(test_no_key_is_logged_or_kept, talk_begin, talk_end),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
