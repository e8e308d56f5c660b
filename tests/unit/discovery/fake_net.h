/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream sockets that are memory, for a fuzzer of what is above them. The linker puts these before the
 * kernel's (--wrap, see meson.build); descriptors that are not of here go to the kernel. Nothing
 * waits: what is not there is EAGAIN, and the test calls the watchers of what is ready itself.
 */
#ifndef WARREN_FAKE_NET_H
#define WARREN_FAKE_NET_H

#include "base/base.h"

enum { FAKE_FIRST = 600, FAKE_MAX = 16, FAKE_ROOM = 1 << 18, FAKE_KEPT = 1 << 14 };

/* How the next connect() goes. */
enum fake_mood { FAKE_AT_ONCE, FAKE_SOON, FAKE_REFUSED, FAKE_LATER_REFUSED, FAKE_MOODS };

void fake_begin(void);
void fake_end(void); /* aborts where a descriptor was left open */
void fake_set_mood(enum fake_mood mood);
int fake_open(void); /* -1: all are in use */
bool fake_is_open(int fd);
/* The far end: what it says, its end, a reset, and that it reads nothing for a while. */
void fake_say(int fd, const void *p, size_t len);
void fake_hang_up(int fd, bool reset);
void fake_deaf(int fd, bool deaf);
bool fake_readable(int fd);
bool fake_writable(int fd);
/* The first FAKE_KEPT bytes that were sent there, since fake_forget(). */
const uint8_t *fake_sent(int fd, size_t *len);

#endif
