/* SPDX-License-Identifier: Apache-2.0 */
/* What `warren check` says: its lines and JSON, the clock, directories and the key file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/check.h"
#include "gateway/state.h"

enum { DAY = 86400 };
static const int64_t today = 1796000000; /* in 2026 */

static struct check_report r;
static char dir[64], path[128];

static int setup(void **state)
{
	(void)state;
	r.n = 0;
	snprintf(dir, sizeof(dir), "/tmp/warren-check-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/identity", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	chmod(dir, 0700);
	unlink(path);
	return rmdir(dir);
}

static const struct check_line *last(void)
{
	assert_true(r.n > 0);
	return &r.line[r.n - 1];
}

static bool nothing_left(void)
{
	char cmd[128];
	snprintf(cmd, sizeof(cmd), "test -z \"$(ls -A %s)\"", dir);
	return system(cmd) == 0;
}

/* --- the report --- */

static void text(void **state)
{
	(void)state;
	check_found(&r, "tun", CHECK_OK, "%s opens", "/dev/net/tun");
	check_complaint(&r, "shim-port", CHECK_FAILED, "TCP port 8080 is in use: choose: another");
	check_complaint(&r, "x", CHECK_WARNING, "no colon");
	char *t = check_text(&r);
	assert_string_equal(t, "ok       tun: /dev/net/tun opens\n"
			       "FAILED   shim-port: TCP port 8080 is in use: choose: another\n"
			       "warning  x: no colon\n");
	free(t);
	assert_false(check_passed(&r));
	r.line[1].result = CHECK_WARNING;
	assert_true(check_passed(&r));
}

static void json(void **state)
{
	(void)state;
	check_found(&r, "rendezvous", CHECK_WARNING, "%s", "a \"name\"\n\xff\x1b[2J");
	check_todo(&r, "do it\r\nnow");
	check_found(&r, "clock", CHECK_FAILED, "late");
	char *t = check_json(&r);
	json_t *o = json_loads(t, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(o);
	assert_null(strchr(t, '\n'));
	assert_true(json_is_false(json_object_get(o, "ok")));
	json_t *l = json_array_get(json_object_get(o, "checks"), 0);
	assert_string_equal(json_string_value(json_object_get(l, "name")), "rendezvous");
	assert_string_equal(json_string_value(json_object_get(l, "result")), "warning");
	assert_string_equal(json_string_value(json_object_get(l, "found")), "a \"name\"???[2J");
	assert_string_equal(json_string_value(json_object_get(l, "do")), "do it??now");
	l = json_array_get(json_object_get(o, "checks"), 1);
	assert_string_equal(json_string_value(json_object_get(l, "result")), "failed");
	assert_true(json_is_null(json_object_get(l, "do")));
	json_decref(o);
	free(t);
}

/* Words of any length fit, cut. */
static void long_words(void **state)
{
	char words[5000];
	(void)state;
	memset(words, 'x', sizeof(words) - 1);
	words[sizeof(words) - 1] = 0;
	memcpy(words + 2000, ": ", 2);
	for (size_t i = 0; i < CHECK_LINES; i++)
		check_complaint(&r, words, CHECK_FAILED, words);
	char *t = check_text(&r);
	assert_true(strlen(t) > CHECK_LINES * CHECK_TEXT);
	free(t);
	t = check_json(&r);
	assert_non_null(t);
	free(t);
}

/* --- the clock --- */

static void clocks(void **state)
{
	static const struct {
		int64_t wall, expires;
		enum check_result result;
		const char *says;
	} rows[] = {
		{ 0, 0, CHECK_FAILED, "1970-01-01" },
		{ 0, 1796000000, CHECK_FAILED, "1970-01-01" },
		{ -1, 0, CHECK_FAILED, "1969-12-31" },
		{ 1735689599, 0, CHECK_FAILED, "2024-12-31 23:59" },
		{ 1735689600, 0, CHECK_OK, "2025-01-01" },
		{ 4102444801, 0, CHECK_FAILED, "2100" },
		{ INT64_MAX, INT64_MAX, CHECK_FAILED, "it is" },
		{ today, 0, CHECK_OK, "2026" },
		{ today, today - 1, CHECK_FAILED, "expired" },
		{ today, today, CHECK_FAILED, "expired" },
		{ today, today + 1, CHECK_WARNING, "expires on" },
		{ today, today + DAY - 1, CHECK_WARNING, "expires on" },
		{ today, today + DAY, CHECK_OK, "good until" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		r.n = 0;
		check_clock(&r, rows[i].wall, rows[i].expires);
		if (r.n != 1 || last()->result != rows[i].result ||
		    !strstr(last()->found, rows[i].says))
			fail_msg("row %zu: %d, %s", i + 1, last()->result, last()->found);
		assert_true((last()->result == CHECK_OK) == !last()->todo[0]);
	}
}

/* --- directories --- */

static void try(const char *which, enum check_result want, const char *says)
{
	r.n = 0;
	check_dir(&r, "state", which, true, CHECK_WARNING, "what to do");
	if (last()->result != want || !strstr(last()->found, says))
		fail_msg("%s: %d, %s", which, last()->result, last()->found);
}

static void directories(void **state)
{
	char below[128];
	(void)state;
	try(dir, CHECK_OK, "can be written");
	snprintf(below, sizeof(below), "%s/not/yet", dir);
	try(below, CHECK_OK, "made at the first start");
	chmod(dir, 0750);
	try(dir, CHECK_WARNING, "mode 750");
	assert_non_null(strstr(last()->todo, "chmod 700"));
	assert_true(nothing_left());
	try("/proc/nowhere/at/all", CHECK_WARNING, "/proc cannot be written");
	assert_string_equal(last()->todo, "what to do");
	try("/dev/null", CHECK_WARNING, "Not a directory");
	try("/dev/null/below", CHECK_WARNING, "Not a directory");
	try("/dev/full", CHECK_WARNING, "cannot be written");
	if (geteuid() != 0) {
		chmod(dir, 0500);
		try(dir, CHECK_WARNING, "Permission denied");
	}
}

/* --- the key file --- */

static void key_file(void **state)
{
	struct state s;
	bool member = true;
	(void)state;
	assert_int_equal(check_identity(&r, dir, &member), 0);
	assert_int_equal(r.n, 0); /* none yet, and none is made */
	assert_true(nothing_left());
	assert_int_equal(state_load(&s, dir), 0);
	s.port = 51820;
	assert_int_equal(state_save(&s), 0);
	assert_int_equal(check_identity(&r, dir, &member), 51820);
	assert_false(member);
	s.has_psk = true;
	assert_int_equal(state_save(&s), 0);
	assert_int_equal(check_identity(&r, dir, &member), 51820);
	assert_true(member);
	assert_int_equal(last()->result, CHECK_OK);
	chmod(path, 0640);
	assert_int_equal(check_identity(&r, dir, &member), 51820);
	assert_int_equal(last()->result, CHECK_WARNING);
	assert_non_null(strstr(last()->found, "640"));
	assert_int_equal(truncate(path, 20), 0);
	assert_int_equal(check_identity(&r, dir, &member), 0);
	assert_int_equal(last()->result, CHECK_FAILED);
	assert_non_null(strstr(last()->found, "damaged"));
	unlink(path);
	assert_int_equal(symlink("/etc/passwd", path), 0); /* is not followed */
	assert_int_equal(check_identity(&r, dir, &member), 0);
	assert_int_equal(last()->result, CHECK_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(text, setup, teardown),
		cmocka_unit_test_setup_teardown(json, setup, teardown),
		cmocka_unit_test_setup_teardown(long_words, setup, teardown),
		cmocka_unit_test_setup_teardown(clocks, setup, teardown),
		cmocka_unit_test_setup_teardown(directories, setup, teardown),
		cmocka_unit_test_setup_teardown(key_file, setup, teardown),
	};
	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
