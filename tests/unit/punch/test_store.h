/* SPDX-License-Identifier: Apache-2.0 */
/* A database in a fresh folder per test. */
#ifndef WARREN_TEST_STORE_H
#define WARREN_TEST_STORE_H

#include "punch/lease_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { STORE_ROWS = 8192 };

extern char store_dir[256], store_path[300];
extern struct lease_record store_rows[STORE_ROWS]; /* what store_read() found */
extern size_t store_nrows;

int store_setup(void **state);
int store_teardown(void **state);
struct lease_store *store_open(void);
struct lease_record store_record(member_number number, const char *id);
size_t store_read(struct lease_store *s);
/* A row of this number, whole as store_record() made it; id NULL: whatever it holds. */
bool store_has(member_number number, const char *id);

#endif
