/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `warren check` has found: a line for each thing, as text or JSON. The checks that need no kernel but
 * a clock's reading and a directory are here too; check_host.c and check_net.c have the others.
 */
#ifndef WARREN_CHECK_H
#define WARREN_CHECK_H

#include "base/base.h"

enum check_result { CHECK_OK, CHECK_WARNING, CHECK_FAILED };

enum { CHECK_LINES = 40, CHECK_TEXT = 400 };

struct check_line {
	char name[16];
	enum check_result result;
	char found[CHECK_TEXT], todo[CHECK_TEXT]; /* todo: what to do, or empty */
};

struct check_report {
	struct check_line line[CHECK_LINES];
	size_t n;
};

/* What was found; the text may hold anybody's words. */
void check_found(struct check_report *r, const char *name, enum check_result result,
		 const char *fmt, ...) PRINTF_LIKE(4, 5);
/* What to do about the line added last. */
void check_todo(struct check_report *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The gateway's own words: what stands before the first ": " was found, the rest is to be done. */
void check_complaint(struct check_report *r, const char *name, enum check_result result,
		     const char *words);

bool check_passed(const struct check_report *r); /* nothing FAILED */
/* The whole, to be freed; NULL where there is no memory. */
char *check_text(const struct check_report *r);
char *check_json(const struct check_report *r);

/* `wall` and `expires` in seconds since 1970; 0: it does not expire, or there is no token. */
void check_clock(struct check_report *r, int64_t wall, int64_t expires);
/* A directory that is to hold secrets (`secret`) or not; where it is not there, can it be made? */
void check_dir(struct check_report *r, const char *name, const char *dir, bool secret,
	       enum check_result if_not, const char *todo);
/*
 * The key file in the state directory: not damaged, not open to others. Its UDP port, 0: none. *member: it
 * has been one, and needs no token that is still good.
 */
uint16_t check_identity(struct check_report *r, const char *dir, bool *member);

#endif
