/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the configuration protocol for tests, and a parser of what get=1 answers that shares
 * nothing with the code under test.
 */
#ifndef WARREN_TEST_UAPI_TALK_H
#define WARREN_TEST_UAPI_TALK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/uapi_impl.h"

enum { TALK_ANSWER = 4 << 20, DUMP_PEERS = 1200, DUMP_ALLOWED = 24 };

struct talk {
	struct uapi *u;
	/* the device, and what it says to each change */
	uint16_t port;
	uint32_t mark;
	nsec offset;
	int port_error, mark_error;
	char answer[TALK_ANSWER]; /* of the last talk_say() */
};

/* talk_again() begins another conversation about the same device. */
struct talk *talk_new(struct node *n);
void talk_again(struct talk *t);
void talk_free(struct talk *t);
/* Any bytes; whether the conversation goes on. What there is to read is in t->answer. */
bool talk_bytes(struct talk *t, nsec now, const char *p, size_t len);
bool talk_say(struct talk *t, nsec now, const char *text);
/* "set=1", these lines, an empty one; the errno of the answer, which says nothing else. */
int talk_set(struct talk *t, nsec now, const char *fmt, ...) PRINTF_LIKE(3, 4);

struct dump_peer {
	char key[65], psk[65], endpoint[80];
	long long sec, nanos, tx, rx, keepalive, version;
	char allowed[DUMP_ALLOWED][72];
	unsigned nallowed;
};

struct dump {
	char private_key[65];
	long long port, mark;
	struct dump_peer peers[DUMP_PEERS];
	unsigned npeers;
};

/* Asks get=1; the same memory each time. */
const struct dump *talk_get(struct talk *t, nsec now);
const struct dump_peer *dump_find(const struct dump *d, const char *key); /* NULL */
bool dump_allows(const struct dump_peer *p, const char *prefix);

/* 64 digits; four buffers in turn. */
const char *hex(const uint8_t key[static 32]);

/* What is written to stderr between the two; the text is valid until the next call. */
void stderr_catch(void);
const char *stderr_caught(void);

#endif
