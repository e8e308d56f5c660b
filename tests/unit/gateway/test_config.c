/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: a flag beats the environment, the environment beats the file; what is wrong is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/config.h"

static const enum setting allowed[] = { SET_CONFIG, SET_WORKER_ID, SET_PORT,	 SET_PUBLIC,
					SET_GSO,    SET_JSON,	   SETTING_COUNT };

static char file[64], said[4096];
static int saved_stderr;

static int setup(void **state)
{
	(void)state;
	snprintf(file, sizeof(file), "/tmp/warren-config-XXXXXX");
	int fd = mkstemp(file);
	if (fd < 0)
		return -1;
	close(fd);
	unsetenv("WORKER_ID");
	unsetenv("WARREN_PORT");
	unsetenv("WARREN_CONFIG");
	unsetenv("WARREN_STATE");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return unlink(file);
}

static void put(const char *text)
{
	FILE *f = fopen(file, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* What is written to stderr goes into `said` until listen_end(). */
static void listen_begin(void)
{
	fflush(stderr);
	saved_stderr = dup(2);
	FILE *f = tmpfile();
	assert_non_null(f);
	assert_true(dup2(fileno(f), 2) == 2);
	fclose(f);
}

static void listen_end(void)
{
	fflush(stderr);
	ssize_t n = pread(2, said, sizeof(said) - 1, 0);
	said[n < 0 ? 0 : n] = 0;
	dup2(saved_stderr, 2);
	close(saved_stderr);
}

/* Reads the words up to a NULL. */
static int read_words(struct config *c, const char *const *words)
{
	static char bytes[16][80], *argv[17];
	int argc = 0;
	for (; words[argc]; argc++) {
		snprintf(bytes[argc], sizeof(bytes[argc]), "%s", words[argc]);
		argv[argc] = bytes[argc];
	}
	listen_begin();
	int err = config_read(c, argc, argv, allowed);
	listen_end();
	return err;
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void one_line(void)
{
	assert_non_null(strchr(said, '\n'));
	assert_string_equal(strchr(said, '\n'), "\n");
}

static void test_order(void **state)
{
	static const char *const want[] = { "0",    "file", "env",  "env",
					    "flag", "flag", "flag", "flag" };
	struct config c;
	(void)state;
	put("# a comment\nWORKER_ID=file\n\nWARREN_PORT=1\n");
	for (unsigned i = 0; i < 8; i++) {
		const char *words[4] = { 0 };
		int n = 0;
		if (i & 1) {
			words[n++] = "--config";
			words[n++] = file;
		}
		if (i & 4)
			words[n++] = "--worker-id=flag";
		if (i & 2)
			setenv("WORKER_ID", "env", 1);
		else
			unsetenv("WORKER_ID");
		assert_int_equal(read_words(&c, words), 0);
		assert_string_equal(config_get(&c, SET_WORKER_ID, "0"), want[i]);
		config_free(&c);
	}
}

static void test_file_by_environment(void **state)
{
	struct config c;
	(void)state;
	put("WORKER_ID=a b=c\r\nWARREN_PUBLIC=x:1\nWARREN_PUBLIC=y:2\nWARREN_STATE=/not/for/us\n");
	setenv("WARREN_CONFIG", file, 1);
	assert_int_equal(read_words(&c, (const char *const[]){ NULL }), 0);
	assert_string_equal(config_get(&c, SET_WORKER_ID, ""), "a b=c");
	assert_string_equal(config_get(&c, SET_PUBLIC, ""), "x:1,y:2");
	/* known, but of another command */
	assert_null(config_get(&c, SET_STATE, NULL));
	config_free(&c);
}

static void test_words(void **state)
{
	struct config c;
	(void)state;
	assert_int_equal(read_words(&c, WORDS("--json", "--port", "7", "--public=a", "--public",
					      "b", "--", "run", "--port")),
			 0);
	assert_string_equal(config_get(&c, SET_JSON, ""), "true");
	assert_string_equal(config_get(&c, SET_PORT, ""), "7");
	assert_string_equal(config_get(&c, SET_PUBLIC, ""), "a,b");
	assert_int_equal(c.nargs, 2);
	assert_string_equal(c.args[0], "run");
	assert_string_equal(c.args[1], "--port");
	config_free(&c);
	/* the first other word ends the flags, and "-" is one */
	assert_int_equal(read_words(&c, WORDS("-", "--port=1")), 0);
	assert_int_equal(c.nargs, 2);
	assert_null(config_get(&c, SET_PORT, NULL));
	config_free(&c);
	/* a value may be empty, or look like a flag */
	assert_int_equal(read_words(&c, WORDS("--port=", "--worker-id", "--json")), 0);
	assert_string_equal(config_get(&c, SET_PORT, "x"), "");
	assert_string_equal(config_get(&c, SET_WORKER_ID, ""), "--json");
	config_free(&c);
}

static void test_refusals(void **state)
{
	struct config c;
	char wanted[160];
	(void)state;
	assert_int_equal(read_words(&c, WORDS("--fish")), -1);
	assert_string_equal(said, "warren: no such option here: --fish (try --help)\n");
	config_free(&c);
	assert_int_equal(read_words(&c, WORDS("--state", "x")), -1); /* of another command */
	config_free(&c);
	assert_int_equal(read_words(&c, WORDS("--por=7")), -1); /* no abbreviations */
	config_free(&c);
	assert_int_equal(read_words(&c, WORDS("--json", "--port")), -1);
	assert_string_equal(said, "warren: --port needs a value (try --help)\n");
	config_free(&c);
	assert_int_equal(read_words(&c, WORDS("--config=/no/such/file")), -1);
	one_line();
	config_free(&c);
	put("WORKER_ID=a\nWARREN_FISH=1\n");
	assert_int_equal(read_words(&c, WORDS("--config", file)), -1);
	snprintf(wanted, sizeof(wanted),
		 "warren: %s: line 2: there is no such setting: WARREN_FISH\n", file);
	assert_string_equal(said, wanted);
	config_free(&c);
	put("# a comment\r\n\r\nwarren1_AQEEcHJvZA\r\n"); /* a token without its name is not told */
	assert_int_equal(read_words(&c, WORDS("--config", file)), -1);
	snprintf(wanted, sizeof(wanted), "warren: %s: line 3: this is not NAME=VALUE\n", file);
	assert_string_equal(said, wanted);
	config_free(&c);
	put("\033[2J=1\n"); /* nor what a terminal would act on */
	assert_int_equal(read_words(&c, WORDS("--config", file)), -1);
	snprintf(wanted, sizeof(wanted),
		 "warren: %s: line 1: there is no such setting: (not text)\n", file);
	assert_string_equal(said, wanted);
	static const char *const blanks[] = { "export WORKER_ID=a\n", " WORKER_ID=a\n",
					      "WORKER_ID =a\n" };
	for (size_t i = 0; i < ARRAY_SIZE(blanks); i++) {
		config_free(&c);
		put(blanks[i]);
		assert_int_equal(read_words(&c, WORDS("--config", file)), -1);
		assert_non_null(
			strstr(said, "line 1: this is not NAME=VALUE: no blank before the ="));
	}
	config_free(&c);
}

static void test_empty_environment_is_none(void **state)
{
	struct config c;
	(void)state;
	put("WORKER_ID=file\n");
	setenv("WORKER_ID", "", 1);
	assert_int_equal(read_words(&c, WORDS("--config", file)), 0);
	assert_string_equal(config_get(&c, SET_WORKER_ID, ""), "file");
	config_free(&c);
}

static void test_bool(void **state)
{
	static const struct {
		const char *v;
		int err, out;
	} cases[] = { { "1", 0, 1 },  { "true", 0, 1 },	 { "YES", 0, 1 },   { "on", 0, 1 },
		      { "0", 0, 0 },  { "False", 0, 0 }, { "no", 0, 0 },    { "off", 0, 0 },
		      { "2", -1, 0 }, { "", -1, 0 },	 { "truee", -1, 0 } };
	struct config c = { 0 };
	bool out = true;
	(void)state;
	assert_int_equal(config_bool(&c, SET_GSO, &out), 0);
	assert_false(out);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		c.value[SET_GSO] = strdup(cases[i].v);
		listen_begin();
		int err = config_bool(&c, SET_GSO, &out);
		listen_end();
		assert_int_equal(err, cases[i].err);
		assert_int_equal(out, cases[i].out);
		config_free(&c);
	}
	assert_string_equal(said,
			    "warren: --gso (WARREN_GSO) is \"truee\": it must be true or false\n");
}

static void test_number(void **state)
{
	static const struct {
		const char *v;
		int err;
		unsigned long out;
	} cases[] = { { "5", 0, 5 },
		      { "10", 0, 10 },
		      { "007", 0, 7 },
		      { "4", -1, 0 },
		      { "11", -1, 0 },
		      { "", -1, 0 },
		      { "-7", -1, 0 },
		      { "+7", -1, 0 },
		      { " 7", -1, 0 },
		      { "7 ", -1, 0 },
		      { "0x7", -1, 0 },
		      { "7.0", -1, 0 },
		      { "18446744073709551621", -1, 0 } };
	struct config c = { 0 };
	unsigned long out;
	(void)state;
	assert_int_equal(config_number(&c, SET_PORT, 5, 10, 77, &out), 0);
	assert_int_equal(out, 77);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		c.value[SET_PORT] = strdup(cases[i].v);
		listen_begin();
		int err = config_number(&c, SET_PORT, 5, 10, 77, &out);
		listen_end();
		assert_int_equal(err, cases[i].err);
		if (!err)
			assert_int_equal(out, cases[i].out);
		else
			assert_non_null(strstr(said, "it must be a number from 5 to 10"));
		config_free(&c);
	}
}

static int add(void *ctx, const char *part)
{
	strcat(ctx, part);
	strcat(ctx, ";");
	return strcmp(part, "stop") == 0 ? 9 : 0;
}

static void test_each(void **state)
{
	struct config c = { 0 };
	char got[64] = "";
	(void)state;
	assert_int_equal(config_each(&c, SET_PUBLIC, add, got), 0);
	c.value[SET_PUBLIC] = strdup("a,,b:1,stop,c");
	assert_int_equal(config_each(&c, SET_PUBLIC, add, got), 9);
	assert_string_equal(got, "a;b:1;stop;");
	assert_string_equal(c.value[SET_PUBLIC], "a,,b:1,stop,c");
	config_free(&c);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_order),
		T(test_file_by_environment),
		T(test_words),
		T(test_refusals),
		T(test_empty_environment_is_none),
		T(test_bool),
		T(test_number),
		T(test_each),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
