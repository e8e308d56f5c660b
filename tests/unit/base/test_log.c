/* SPDX-License-Identifier: Apache-2.0 */
/* The limiter as a table of times; lines as they arrive; the names of drops. */
#include "base/drop.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void limiter(void **ignored)
{
	static const struct {
		nsec now;
		bool allowed;
		unsigned left_out;
	} rows[] = {
		{ 0, true, 0 },	    { 0, false, 0 },	{ 1, false, 0 },    { 999, false, 0 },
		{ 1000, true, 3 },  { 1001, false, 0 }, { 1999, false, 0 }, { 2500, true, 2 },
		{ 3000, false, 0 }, { 3499, false, 0 }, { 3500, true, 2 },  { 9000, true, 0 },
		{ 9001, false, 0 }, { 8000, false, 0 }, { 10000, true, 2 },
	};
	struct log_limit l = { .every = 1000 };
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned left_out = 0;
		bool allowed = log_allowed(&l, rows[i].now, &left_out);
		if (allowed != rows[i].allowed || left_out != rows[i].left_out)
			fail_msg("row %zu: %d, %u left out", i + 1, allowed, left_out);
	}
}

static char line[4096];

/* What log_line() wrote to stderr, in `line`. */
static size_t captured(enum log_level level, const char *text)
{
	int pipe_fd[2], saved = dup(STDERR_FILENO);
	assert_int_equal(pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK), 0);
	assert_true(dup2(pipe_fd[1], STDERR_FILENO) >= 0);
	log_line(level, "%s", text);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(pipe_fd[1]);
	ssize_t n = read(pipe_fd[0], line, sizeof(line) - 1);
	close(pipe_fd[0]);
	line[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

static void a_line(void **ignored)
{
	(void)ignored;
	log_init("w1", LOG_LEVEL_INFO);
	assert_true(captured(LOG_LEVEL_WARN, "it rains") > 0);
	const char *rest = strchr(line, ' ');
	assert_non_null(rest);
	assert_string_equal(rest, " w1 warning: it rains\n");
	assert_int_equal(captured(LOG_LEVEL_DEBUG, "too fine"), 0);
	log_init("w1", LOG_LEVEL_DEBUG);
	assert_true(captured(LOG_LEVEL_DEBUG, "fine") > 0);
}

/* A stranger's bytes make no second line and move no cursor. */
static void hostile_bytes(void **ignored)
{
	(void)ignored;
	size_t n = captured(LOG_LEVEL_ERROR, "a\nb\rc\033[2Jd\x7f"
					     "e\tf");
	assert_true(n > 0);
	assert_ptr_equal(strchr(line, '\n'), line + n - 1);
	assert_non_null(strstr(line, "a?b?c?[2Jd?e?f\n"));
}

static void lines_are_cut(void **ignored)
{
	(void)ignored;
	for (size_t len = 900; len < 1100; len++) {
		char text[1100];
		memset(text, 'x', len);
		text[len] = 0;
		size_t n = captured(LOG_LEVEL_ERROR, text);
		assert_true(n > 900 && n <= 1024);
		assert_int_equal(line[n - 1], '\n');
		assert_int_equal(line[n - 2], 'x');
	}
}

static void long_names(void **ignored)
{
	char who[500];
	(void)ignored;
	memset(who, 'w', sizeof(who) - 1);
	who[sizeof(who) - 1] = 0;
	log_init(who, LOG_LEVEL_INFO);
	size_t n = captured(LOG_LEVEL_INFO, "still here");
	assert_true(n > 0 && n < 200);
	assert_non_null(strstr(line, "w info: still here\n"));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limiter),	 cmocka_unit_test(a_line),
		cmocka_unit_test(hostile_bytes), cmocka_unit_test(lines_are_cut),
		cmocka_unit_test(long_names),	 cmocka_unit_test(drops_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
