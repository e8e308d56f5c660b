/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of rendezvous that do not answer: once, in words, and when they do again. */
#include "gateway/gw.h"
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

static struct gw g;
static struct gw_config cfg;
static struct enrol_info info[2];
static struct endpoint at[2];
static unsigned count, lines;
static char said[500];
static enum log_level level_said;

void __wrap_log_line(struct log_site *site, enum log_level level, const char *fmt, ...);
void __wrap_log_line(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	va_list ap;
	(void)site;
	va_start(ap, fmt);
	vsnprintf(said, sizeof(said), fmt, ap);
	va_end(ap);
	level_said = level;
	lines++;
}

unsigned node_rendezvous_count(const struct node *n)
{
	(void)n;
	return count;
}

const struct endpoint *node_rendezvous(const struct node *n, unsigned i)
{
	(void)n;
	return at[i].port ? &at[i] : NULL;
}

void node_enrol_info(const struct node *n, unsigned i, struct enrol_info *out)
{
	(void)n;
	*out = info[i];
}

static int setup(void **state)
{
	(void)state;
	memset(&g, 0, sizeof(g));
	memset(&cfg, 0, sizeof(cfg));
	memset(info, 0, sizeof(info));
	memset(at, 0, sizeof(at));
	g.cfg = &cfg;
	g.loop.now = 1000 * NSEC_PER_SEC;
	snprintf(cfg.token.network, sizeof(cfg.token.network), "lab");
	snprintf(cfg.token.rendezvous[0].host, sizeof(cfg.token.rendezvous[0].host), "rv.example");
	snprintf(cfg.token.rendezvous[1].host, sizeof(cfg.token.rendezvous[1].host), "203.0.113.7");
	count = 1;
	lines = 0;
	return endpoint_parse("203.0.113.10:7777", &at[0]) &&
			       endpoint_parse("203.0.113.7:7778", &at[1])
		       ? 0
		       : -1;
}

static void watched_for(unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		g.loop.now += NSEC_PER_SEC;
		gw_watch_rendezvous(&g);
	}
}

static void never_answered(void **state)
{
	(void)state;
	watched_for(29);
	assert_int_equal(lines, 1);
	assert_non_null(strstr(
		said,
		"no answer from the rendezvous of lab at rv.example (203.0.113.10:7777) yet"));
	watched_for(30);
	assert_int_equal(lines, 2);
	at[0].port = 0;
	watched_for(30);
	assert_non_null(strstr(said, "at rv.example (no address) yet"));
	count = 0; /* a gateway of a configuration file has none */
	watched_for(100);
	assert_int_equal(lines, 3);
}

static void falls_silent(void **state)
{
	(void)state;
	info[0].last_answer = g.loop.now;
	watched_for(300); /* that nothing was asked of it is no silence */
	assert_int_equal(lines, 0);
	info[0].last_answer = g.loop.now;
	info[0].silent = true;
	watched_for(59);
	assert_int_equal(lines, 0);
	watched_for(1);
	assert_int_equal(lines, 1);
	assert_int_equal(level_said, LOG_LEVEL_WARN);
	assert_non_null(strstr(said, "rv.example (203.0.113.10:7777) has not answered for 60 s"));
	watched_for(86400);
	assert_int_equal(lines, 1);
	info[0].last_answer = g.loop.now;
	info[0].silent = false;
	watched_for(10);
	assert_int_equal(lines, 2);
	assert_int_equal(level_said, LOG_LEVEL_INFO);
	assert_non_null(strstr(said, "answers again"));
	info[0].silent = true;
	watched_for(100);
	assert_int_equal(lines, 3);
}

static void one_of_two(void **state)
{
	(void)state;
	count = 2;
	info[0].last_answer = info[1].last_answer = g.loop.now;
	info[1].silent = true;
	watched_for(70);
	assert_int_equal(lines, 1);
	assert_non_null(strstr(said, "the rendezvous 203.0.113.7:7778 has not answered"));
	info[1].silent = false;
	watched_for(1);
	assert_int_equal(lines, 2);
}

/* A node that has joined by the one does not hear of the other, and nobody would know that there is none. */
static void never_one_of_two(void **state)
{
	(void)state;
	count = 2;
	gw_watch_rendezvous(&g);
	watched_for(2);
	info[0].last_answer = g.loop.now;
	watched_for(57);
	assert_int_equal(lines, 1); /* none yet */
	watched_for(1);
	assert_int_equal(lines, 2);
	assert_non_null(
		strstr(said, "203.0.113.7:7778 has not answered for 60 s, never since the start"));
	watched_for(600);
	assert_int_equal(lines, 2);
	info[1].last_answer = g.loop.now;
	watched_for(1);
	assert_int_equal(lines, 3);
	assert_non_null(strstr(said, "203.0.113.7:7778 answers again"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(never_answered, setup),
		cmocka_unit_test_setup(falls_silent, setup),
		cmocka_unit_test_setup(one_of_two, setup),
		cmocka_unit_test_setup(never_one_of_two, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
