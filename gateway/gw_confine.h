/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway process' own part of its sandbox. */
#ifndef WARREN_GW_CONFINE_H
#define WARREN_GW_CONFINE_H

#include "base/syscalls.h"

struct gw;

/* Once all is open. 0 or -errno, after a line in the log. */
MUST_CHECK int gw_confine(const struct gw *g);

extern const struct syscall_rule gateway_syscalls[];

#endif
