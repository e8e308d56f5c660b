/* SPDX-License-Identifier: Apache-2.0 */
/* What the log of a rendezvous says of its members. */
#include "gateway/rdv_log.h"
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

static uint64_t refused[CTL_REFUSAL_END];
static unsigned lines;
static char said[500];

void __wrap_log_line(struct log_site *site, enum log_level level, const char *fmt, ...);
void __wrap_log_line(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	va_list ap;
	(void)site;
	(void)level;
	va_start(ap, fmt);
	vsnprintf(said, sizeof(said), fmt, ap);
	va_end(ap);
	lines++;
}

uint64_t __wrap_registrar_refused(const struct registrar *r, unsigned code);
uint64_t __wrap_registrar_refused(const struct registrar *r, unsigned code)
{
	(void)r;
	return refused[code];
}

static void who_is_new(void **state)
{
	struct registrar_output m = { .event = REGISTRAR_MEMBER,
				      .record = { .number = 258, .id = "w7", .granted = 1000 } };
	struct prefix range;
	(void)state;
	memset(m.record.key, 0xab, sizeof(m.record.key));
	assert_true(prefix_parse("10.77.0.0/16", &range));
	assert_true(endpoint_parse("203.0.113.9:4000", &m.from));
	rdv_log_member(&range, 1001, &m);
	assert_string_equal(
		said, "member w7, 10.77.1.2, from 203.0.113.9:4000, key abababab...: a new lease");
	rdv_log_member(&range, 9000, &m);
	assert_string_equal(said, "member w7, 10.77.1.2, from 203.0.113.9:4000, key abababab...");
	m.taken = true;
	rdv_log_member(&range, 9000, &m);
	assert_non_null(strstr(said, "key abababab...: in place of another key"));
}

static void who_was_refused(void **state)
{
	struct rdv_log l = { 0 };
	nsec now = 100 * NSEC_PER_SEC;
	(void)state;
	lines = 0;
	rdv_log_refused(&l, NULL, now);
	refused[CTL_REFUSED_WAIT] = 7; /* an ordinary start */
	rdv_log_refused(&l, NULL, now);
	assert_int_equal(lines, 0);
	refused[CTL_REFUSED_TAKEN] = 1;
	refused[CTL_REFUSED_FULL] = 3;
	rdv_log_refused(&l, NULL, now);
	assert_int_equal(lines, 1);
	assert_string_equal(
		said,
		"refused: 1 for a worker id that a living node holds, 3 for want of a free lease "
		"(--max-members, --prefix)");
	refused[CTL_REFUSED_FULL] = 1000;
	for (unsigned i = 0; i < 6; i++)
		rdv_log_refused(&l, NULL, now += 10 * NSEC_PER_SEC - 1);
	assert_int_equal(lines, 1);
	rdv_log_refused(&l, NULL, now + 6);
	assert_int_equal(lines, 2);
	assert_non_null(strstr(said, "refused: 997 for want"));
	for (unsigned i = 1; i < CTL_REFUSAL_END; i++) /* the longest */
		refused[i] = UINT64_MAX;
	rdv_log_refused(&l, NULL, now + 100 * NSEC_PER_SEC);
	assert_non_null(strstr(said, "with a key that was removed"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_new),
		cmocka_unit_test(who_was_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
