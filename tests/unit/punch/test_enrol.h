/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member alone, with a rendezvous that says what a test wants: `hear` is that, `run` lets time
 * pass; `event` and `asked` look at what came of it.
 */
#ifndef WARREN_TEST_ENROL_H
#define WARREN_TEST_ENROL_H

#include "punch/control.h"
#include "punch/enrol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

enum { MAX_OUT = 128, BOOT = 1000 };

extern struct enrol *e;
extern nsec now, began;
extern struct enrol_output out[MAX_OUT];
extern nsec out_at[MAX_OUT];
extern struct ctl_msg sent[MAX_OUT];
extern size_t nout;
extern uint32_t last_get;
extern const struct ctl_roster here;

void drain(void);
void run(nsec for_long);
int setup(void **state);
int teardown(void **state);
enum drop hear(struct ctl_msg m);
const struct enrol_output *event(enum enrol_event want);
size_t events(enum enrol_event want);
/* The last message of this type that was sent in this turn, or NULL. */
const struct ctl_msg *asked(uint8_t type);
struct ctl_msg grant(uint32_t request, member_number number);
/* Joined as number 1, with an empty roster. */
void join(void);
/* Answers the roster question under way with these members, and whoever is `gone`. */
void roster(const struct roster_entry *r, size_t n, uint32_t gone, uint64_t version);
struct roster_entry member(member_number number, const char *id, uint8_t key);

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
