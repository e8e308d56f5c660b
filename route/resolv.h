/* SPDX-License-Identifier: Apache-2.0 */
/* The name servers of a resolv.conf, line by line. Pure. */
#ifndef WARREN_ROUTE_RESOLV_H
#define WARREN_ROUTE_RESOLV_H

#include "base/addr.h"

/* True when `line` names a name server; `line` need not end in a newline. */
MUST_CHECK bool resolv_line(const char *line, struct addr *out);

#endif
