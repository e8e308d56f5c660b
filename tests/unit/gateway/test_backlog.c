/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/backlog.h"

#define MS NSEC_PER_MSEC

static void test_stands(void **state)
{
	struct backlog b = { 0 };
	(void)state;
	assert_int_equal(backlog_read(&b, 1000 * MS, 1, true), 0);
	assert_int_equal(backlog_read(&b, 1002 * MS, 2, false), 2 * MS);
	assert_int_equal(backlog_read(&b, 1002 * MS, 2, false), 2 * MS); /* again in that turn */
	assert_int_equal(backlog_read(&b, 1009 * MS, 3, false), 9 * MS);
}

static void test_empty(void **state)
{
	struct backlog b = { 0 };
	(void)state;
	assert_int_equal(backlog_read(&b, 1000 * MS, 1, false), 0); /* the first turn of all */
	assert_int_equal(backlog_read(&b, 1003 * MS, 2, false), 3 * MS);
	backlog_empty(&b);
	assert_int_equal(backlog_read(&b, 1004 * MS, 3, false), 0);
	assert_int_equal(backlog_read(&b, 1005 * MS, 4, false), 1 * MS);
	assert_int_equal(backlog_read(&b, 1010 * MS, 5, true), 0);  /* the loop slept */
	assert_int_equal(backlog_read(&b, 1011 * MS, 7, false), 0); /* nothing in the sixth */
}

/* Found empty, and read again in the same turn. */
static void test_empty_and_again(void **state)
{
	struct backlog b = { 0 };
	(void)state;
	backlog_read(&b, 1000 * MS, 4, true);
	backlog_read(&b, 1003 * MS, 5, false);
	backlog_empty(&b);
	assert_int_equal(backlog_read(&b, 1003 * MS, 5, true), 0);
	assert_int_equal(backlog_read(&b, 1004 * MS, 6, false), 1 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stands),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_empty_and_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
