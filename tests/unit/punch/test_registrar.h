/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registrar alone, told what to do message by message: `say` and `reg` give it one and collect
 * everything that it wants to say or write at once, `run` does so over time.
 */
#ifndef WARREN_TEST_REGISTRAR_H
#define WARREN_TEST_REGISTRAR_H

#include "punch/control.h"
#include "punch/registrar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

enum { HOUR = 3600, MAX_OUT = 256 };

extern struct registrar_config cfg;
extern struct registrar *r;
extern struct admission admission;
extern bool plain; /* sessions are under the secret of tokens without a ticket */
extern nsec now;
extern bool store_holds, store_fails; /* it does not answer; it says no */
extern struct registrar_output out[MAX_OUT];
extern struct ctl_msg msg[MAX_OUT]; /* what out[] says, where it is a SEND */
extern size_t nout;
extern struct lease_record rows[300];
extern uint64_t last_seq;
extern struct ctl_msg next_reg; /* what the next reg() adds */

const uint8_t *key(uint8_t who);
struct endpoint at(uint8_t who);
void drain(void);
void run(nsec for_long);
enum drop say(uint8_t who, struct ctl_msg *m);
enum drop say_plain(uint8_t who, uint8_t type, uint32_t request);
/* What the next reg() shows: a ticket of the present epoch, for any id or for one. */
void ticket(int64_t expires, const char *only);
void reg(uint8_t who, const char *id, uint32_t request);
/* The first message of this type to `who` in the last turn, or NULL; and how many. */
const struct ctl_msg *told(uint8_t who, uint8_t type);
size_t count(uint8_t who, uint8_t type);
const struct registrar_output *event(enum registrar_event e);
member_number granted(uint8_t who);
void assert_refused(uint8_t who, enum ctl_refusal code, bool fatal, const char *part);
void start(const char *prefix4, uint32_t max);
/* A new process with what the store holds. */
void restart(void);
int setup(void **state);
int teardown(void **state);

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
