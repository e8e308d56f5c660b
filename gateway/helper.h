/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper process does what blocks: it looks names up. One question at a time over a SOCK_SEQPACKET; answers come
 * in an order of their own, for a name whose server is silent waits for the others.
 */
#ifndef WARREN_HELPER_H
#define WARREN_HELPER_H

#include "base/syscalls.h"
#include "punch/token.h"

enum { RESOLVE_MAX = 8 };

struct resolve_question {
	uint32_t id; /* comes back in the answer */
	uint16_t port;
	char host[TOKEN_HOST_LEN];
};

struct resolve_answer {
	uint32_t id;
	uint32_t count; /* 0: not found, or no name server answered */
	struct endpoint at[RESOLVE_MAX];
};

/* Serves until the channel from the launcher ends. Never returns. */
_Noreturn void helper_main(int chan);
void helper_serve(int chan); /* the same, without the sandbox, for tests */

/* Blocking; at most RESOLVE_MAX. For the helper, and commands. */
uint32_t resolve(const char *host, uint16_t port, struct endpoint out[static RESOLVE_MAX]);

/* resolve(), by whatever modules /etc/nsswitch.conf names; reads files, writes none. */
extern const struct syscall_rule resolve_syscalls[];

#endif
