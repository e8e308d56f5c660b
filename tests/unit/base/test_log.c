/* SPDX-License-Identifier: Apache-2.0 */
/* Lines as they arrive, how many of a kind and what is told of the rest; the names of drops. */
#include "base/drop.h"
#include "base/log.h"
#include "base/log_text.h"

#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* --- stderr, caught --- */

static char said[64 << 10];
static int saved = -1, reader = -1;

static void catch_in(int fds[static 2])
{
	saved = dup(STDERR_FILENO);
	assert_true(saved >= 0 && dup2(fds[1], STDERR_FILENO) >= 0);
	close(fds[1]);
	reader = fds[0];
}

static void catch (void)
{
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	catch_in(fds);
}

/* What has come since; lines. */
static unsigned take(void)
{
	ssize_t n = read(reader, said, sizeof(said) - 1);
	unsigned lines = 0;
	said[n > 0 ? n : 0] = 0;
	for (const char *p = said; (p = strchr(p, '\n')); p++)
		lines++;
	return lines;
}

static unsigned caught(void)
{
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	unsigned lines = take();
	close(reader);
	return lines;
}

/* What stands behind the time, in the first line. */
static const char *behind_time(void)
{
	const char *rest = strchr(said, ' ');
	return rest ? rest + 1 : said;
}

/* --- how many --- */

static void places_are_counted(void **ignored)
{
	static const struct {
		nsec now;
		bool allowed;
		unsigned left_out;
	} rows[] = {
		{ 5, true, 0 },	    { 5, true, 0 },	{ 900, false, 1 },
		{ 1004, false, 2 }, { 1005, false, 3 }, { 9000, false, 4 },
	};
	struct log_site s = { .every = 1000, .burst = 2 };
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool allowed = log_allowed(&s, rows[i].now);
		if (allowed != rows[i].allowed || s.left_out != rows[i].left_out)
			fail_msg("row %zu: %d, %u left out", i + 1, allowed, s.left_out);
	}
	/* nothing passes before what was left out is told: it would look like all there is */
	assert_true(log_deadline() == 1005);
	catch ();
	log_flush(1004);
	assert_int_equal(take(), 0);
	log_flush(1005);
	assert_int_equal(caught(), 1);
	assert_non_null(strstr(said, "… and 4 more like this in 0 s: "));
	assert_true(log_deadline() == NSEC_NEVER);
	assert_true(log_allowed(&s, 1006) && log_allowed(&s, 1006) && !log_allowed(&s, 1006));
	log_process("test");
	assert_true(log_deadline() == NSEC_NEVER);
	assert_int_equal(s.left_out, 0);
}

/* Calm in between costs nothing, and what was said long ago does not count. */
static void calm_places(void **ignored)
{
	struct log_site s = { .every = 1000, .burst = 1 };
	(void)ignored;
	for (nsec now = 1000; now < 100000; now += 1000)
		assert_true(log_allowed(&s, now));
	assert_true(log_deadline() == NSEC_NEVER);
}

static void flood(const char *who)
{
	log_error("%s: the sky falls", who);
}

static void a_flood_is_cut_and_told(void **ignored)
{
	(void)ignored;
	log_init("gateway", "w1", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	catch ();
	for (unsigned i = 0; i < 100000; i++)
		flood(i < LOG_BURST ? "early" : i == LOG_BURST ? "first left out" : "later");
	log_warn("another place is not hushed");
	unsigned lines = take();
	assert_int_equal(lines, LOG_BURST + 1);
	assert_non_null(strstr(said, "not hushed"));
	log_end();
	assert_int_equal(caught(), 1);
	assert_string_equal(behind_time(),
			    "w1 error: … and 99980 more like this in 0 s: first left "
			    "out: the sky falls\n");
}

static void seldom(void **ignored)
{
	(void)ignored;
	catch ();
	for (unsigned i = 0; i < 3; i++)
		log_seldom(LOG_LEVEL_WARN, 3600 * NSEC_PER_SEC, "number %u", i);
	assert_int_equal(take(), 1);
	assert_non_null(strstr(said, "number 0"));
	log_end();
	assert_int_equal(caught(), 1);
	assert_non_null(strstr(said, "warning: … and 2 more like this in 0 s: number 1\n"));
}

/* What the level leaves out is no flood. */
static void levels_come_first(void **ignored)
{
	(void)ignored;
	log_init("gateway", "w1", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	catch ();
	for (unsigned i = 0; i < 1000; i++)
		log_debug("too fine");
	log_end();
	assert_int_equal(caught(), 0);
}

/* --- what a line is --- */

static void a_line(void **ignored)
{
	(void)ignored;
	log_init("gateway", "w1", LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
	catch ();
	log_warn("it rains");
	assert_int_equal(take(), 1);
	assert_string_equal(behind_time(), "w1 warning: it rains\n");
	log_init("rendezvous", NULL, LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
	log_debug("%s", "fine");
	assert_int_equal(caught(), 1);
	assert_string_equal(behind_time(), "rendezvous debug: fine\n");
}

static void a_json_line(void **ignored)
{
	(void)ignored;
	log_init("launcher", "w1", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	catch ();
	log_info("a \"quoted\" \\ and\n%s", "\tmore");
	assert_int_equal(take(), 1);
	assert_memory_equal(said, "{\"time\":\"20", 11);
	assert_string_equal(strchr(said, ','),
			    ",\"level\":\"info\",\"process\":\"launcher\",\"worker\":\"w1\","
			    "\"message\":\"a \\\"quoted\\\" \\\\ and??more\"}\n");
	log_process("shim");
	log_usage("--port %d: no", 70000);
	assert_int_equal(take(), 1);
	assert_non_null(strstr(said, "\"level\":\"error\",\"process\":\"shim\""));
	log_init("rendezvous", NULL, LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	log_info("hello");
	assert_int_equal(caught(), 1);
	assert_non_null(strstr(said, "\"worker\":null,"));
}

static void usage_is_for_people(void **ignored)
{
	(void)ignored;
	log_init("warren", NULL, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	catch ();
	log_usage("%s: that\nis wrong", "x");
	assert_int_equal(caught(), 1);
	assert_string_equal(said, "warren: x: that?is wrong\n");
}

static void lines_are_cut(void **ignored)
{
	(void)ignored;
	log_init("gateway", "w1", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	for (size_t len = 940; len < 2000; len += 7) {
		char text[2000];
		memset(text, 'x', len);
		text[len] = 0;
		catch ();
		log_error("%s", text);
		log_end();
		assert_int_equal(caught(), 1);
		size_t n = strlen(said);
		assert_true(n < 1100);
		assert_string_equal(said + n - (len < 960 ? 2 : 6), len < 960 ? "x\n" : "x …\n");
		if (len > 1050)
			break; /* beyond the burst */
	}
}

static void long_names(void **ignored)
{
	char who[500];
	(void)ignored;
	memset(who, 'w', sizeof(who) - 1);
	who[sizeof(who) - 1] = 0;
	log_init(who, who, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	catch ();
	log_info("still here");
	assert_int_equal(caught(), 1);
	assert_true(strlen(said) < 200);
	assert_non_null(strstr(said, "w info: still here\n"));
}

/* --- a reader that does not read --- */

static void a_stopped_reader_holds_up_nobody(void **ignored)
{
	int fds[2];
	(void)ignored;
	log_init("gateway", "w1", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0); /* a write to it waits */
	fcntl(fds[1], F_SETPIPE_SZ, 8192);
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	catch_in(fds);
	char text[900];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	for (unsigned i = 0; i < 18; i++)
		log_error("%s", text);
	unsigned got = take();
	assert_true(got >= 1 && got < 18);
	log_info("here again");
	assert_int_equal(take(), 2);
	char want[80];
	snprintf(want, sizeof(want), "error: %u lines before this one could not be written\n",
		 18 - got);
	assert_non_null(strstr(said, want));
	assert_non_null(strstr(said, "here again\n"));
	log_info("and no more of it");
	assert_int_equal(caught(), 1);
}

static void a_captured_message(void **ignored)
{
	char words[64];
	(void)ignored;
	catch ();
	log_capture(words, sizeof(words));
	log_error("the first");
	log_usage("the second");
	log_capture(NULL, 0);
	assert_string_equal(words, "the first");
	assert_int_equal(caught(), 0);
}

/* Each reason has a name, and no two the same: the counters are told apart by it. */
static void drops_have_names(void **ignored)
{
	(void)ignored;
	for (unsigned i = 0; i < DROP_COUNT; i++) {
		const char *name = drop_name((enum drop)i);
		assert_non_null(name);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"),
				 strlen(name));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(name, drop_name((enum drop)j));
	}
	struct drops d = { .n = { 0 } };
	drop_count(&d, DROP_NO_ROUTE);
	drop_count(&d, DROP_NO_ROUTE);
	assert_true(d.n[DROP_NO_ROUTE] == 2 && d.n[DROP_NONE] == 0);
}

/* Against the C library's calendar. */
static void stamps(void **ignored)
{
	char ours[LOG_STAMP_LEN], theirs[LOG_STAMP_LEN];
	(void)ignored;
	for (int64_t day = 0; day < 400 * 366; day++) {
		time_t t = day * 86400 + day % 86400;
		struct tm tm;
		gmtime_r(&t, &tm);
		strftime(theirs, sizeof(theirs), "%Y-%m-%dT%H:%M:%S", &tm);
		log_stamp(t, ours);
		assert_string_equal(ours, theirs);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_are_counted),
		cmocka_unit_test(calm_places),
		cmocka_unit_test(a_flood_is_cut_and_told),
		cmocka_unit_test(seldom),
		cmocka_unit_test(levels_come_first),
		cmocka_unit_test(a_line),
		cmocka_unit_test(a_json_line),
		cmocka_unit_test(usage_is_for_people),
		cmocka_unit_test(lines_are_cut),
		cmocka_unit_test(long_names),
		cmocka_unit_test(a_stopped_reader_holds_up_nobody),
		cmocka_unit_test(a_captured_message),
		cmocka_unit_test(stamps),
		cmocka_unit_test(drops_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
