/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node keeps between starts, in its state directory (0700, files 0600): private key, UDP port,
 * the TAI64N reserve, and from its lease the member number and PSK. docs/protocol.md, "State file".
 * Written to a new file that replaces the old one, so that a crash leaves one or the other.
 */
#ifndef WARREN_STATE_H
#define WARREN_STATE_H

#include "base/base.h"
#include "base/syscalls.h"
#include "punch/member.h"

#define IDENTITY_FILE "identity"

struct state {
	char dir[256];
	bool ephemeral; /* the directory could not be used: nothing outlives this start */
	uint8_t private_key[32];
	uint16_t port;
	int64_t timestamp; /* no TAI64N up to this (ns since 1970) may be sent again */
	int64_t boot;	   /* of this start, not in the file; state_begin() */
	nsec began;	   /* and when that was */
	member_number number;
	bool has_psk;
	uint8_t psk[32];
};

/*
 * Reads DIR/identity, or makes DIR and a key where there is none. 0; -errno where the directory cannot be used
 * (then only dir is set); -EBADMSG where the file is damaged or of a newer version.
 */
int state_load(struct state *s, const char *dir);
#define STATE_DAMAGED                                                                              \
	"%s/identity is damaged or of a newer release: move it away and this node joins with a "   \
	"new key"
/* The same, and nothing is made: -ENOENT where there is no key. */
int state_read(struct state *s, const char *dir);
int state_save(const struct state *s);
/* Takes an ephemeral one away. */
void state_remove(const struct state *s);
void state_wipe(struct state *s);

/*
 * Nothing that was sent may be sent again by a later start, though the clock step back or the process
 * be killed at once: what the next minute may use is reserved ahead, and a start begins after it. So that starts
 * do not add up, the reserve is of the clock: a start that finds the clock behind what it begins with counts on
 * from there, and reserves no more than it can count in that time.
 *
 * `wall` is the clock as nanoseconds since 1970, `last` the greatest TAI64N sent or 0.
 */
/*
 * The boot id of a start, and the floor of its timestamps: greater than all that any start before used
 * as TAI64N, boot id, or counter that begins at the boot id (and grows by less than 4 million a second).
 */
uint64_t state_begin(struct state *s, nsec now, int64_t wall);
/* True where the reserve was moved and is to be saved. */
MUST_CHECK bool state_reserve(struct state *s, nsec now, int64_t wall, int64_t last);
/* A clean end: what was reserved and not used is given back, once that is saved. */
void state_settle(struct state *s, nsec now, int64_t last);

/* The bytes of the file. 0 where they do not fit. */
enum { STATE_MAX = 4096 };
size_t state_encode(const struct state *s, uint8_t *out, size_t cap);
int state_decode(struct state *s, const uint8_t *p, size_t len);

/* mkdir -p with mode 0700 for the last part; 0 or -errno. */
int make_dir(const char *dir, unsigned mode);
/*
 * Writes a file of mode 0600 so that a crash leaves the old or the new one whole, and the new one once this
 * returned. What root writes belongs to the directory's owner, who is to read it. 0 or -errno.
 */
int file_replace(const char *path, const void *bytes, size_t len);

/* file_replace() and state_remove(). Where that may be, the sandbox says. */
extern const struct syscall_rule state_syscalls[];

#endif
