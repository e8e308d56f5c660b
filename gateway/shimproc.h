/* SPDX-License-Identifier: Apache-2.0 */
/* The shim process: discovery/shim.h on a loop of its own, as nobody, without capabilities or keys. */
#ifndef WARREN_SHIMPROC_H
#define WARREN_SHIMPROC_H

#include "discovery/shim.h"

struct ev_loop;

/* shim_new(), with a line that says what is wrong. */
int shim_start(struct shim **out, struct ev_loop *ev, const struct shim_config *cfg);
_Noreturn void shim_main(const struct shim_config *cfg, int chan);

#endif
