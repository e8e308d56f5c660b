/* SPDX-License-Identifier: Apache-2.0 */
/* What a packet costs among many peers: CPU time of this process, the least of several rounds. */
#ifndef WARREN_BENCH_LOOKUP_H
#define WARREN_BENCH_LOOKUP_H

#include "tests/unit/tun/packets.h"

enum { ROUNDS = 9 };

double cpu_ns(void);
void bench_peers(void);

#endif
