/* SPDX-License-Identifier: Apache-2.0 */
/* The shim process: discovery/shim.h on a loop of its own, as nobody, without capabilities or keys. */
#ifndef WARREN_SHIMPROC_H
#define WARREN_SHIMPROC_H

#include "discovery/shim.h"

_Noreturn void shim_main(const struct shim_config *cfg, int chan);

#endif
