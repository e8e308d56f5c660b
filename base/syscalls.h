/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a room asks of the kernel once its process is set up: a table of system calls, each by its name
 * and, where it matters, by what its arguments may be. A process may make the calls of its rooms' tables
 * and no others (gateway/sandbox.h). A table stands beside the calls that it names, so that who adds one
 * sees it.
 *
 * A name without arguments costs next to nothing (the kernel remembers that it may pass), so what a packet
 * needs is of that kind. The same name may come several times: each line allows more.
 */
#ifndef WARREN_SYSCALLS_H
#define WARREN_SYSCALLS_H

#include "base/base.h"

enum { SYSCALL_ARGS = 3 };

struct syscall_arg {
	unsigned at;	/* 0: the first */
	uint64_t mask;	/* which bits are looked at; 0: this entry says nothing */
	uint64_t value; /* what they must be */
};

struct syscall_rule {
	const char *name; /* one that this processor has not is passed over */
	struct syscall_arg arg[SYSCALL_ARGS];
};

/* The argument, an int, is this; none of these bits; these bits and what they must be. */
#define ARG_IS(n, v)                                                                               \
	{                                                                                          \
		.at = (n), .mask = UINT32_MAX, .value = (uint32_t)(v)                              \
	}
#define ARG_HAS_NOT(n, bits)                                                                       \
	{                                                                                          \
		.at = (n), .mask = (uint32_t)(bits), .value = 0                                    \
	}
#define ARG_HAS(n, bits)                                                                           \
	{                                                                                          \
		.at = (n), .mask = (uint32_t)(bits), .value = (uint32_t)(bits)                     \
	}

#define CALL(n)                                                                                    \
	{                                                                                          \
		.name = #n                                                                         \
	}
#define CALL_IF(n, ...)                                                                            \
	{                                                                                          \
		.name = #n, .arg = { __VA_ARGS__ }                                                 \
	}
#define CALL_SOCKET(family, type)                                                                  \
	CALL_IF(socket, ARG_IS(0, family), ARG_IS(1, (type) | SOCK_CLOEXEC | SOCK_NONBLOCK))
#define CALL_OPTION(level, name) CALL_IF(setsockopt, ARG_IS(1, level), ARG_IS(2, name))
#define CALLS_END                                                                                  \
	{                                                                                          \
		.name = NULL                                                                       \
	}

/* Memory, clocks, the log, and how a process ends. For all of them. */
extern const struct syscall_rule base_syscalls[];

#endif
