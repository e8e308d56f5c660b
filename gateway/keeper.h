/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper process writes the gateway's files, which may wait for the disk: the gateway hands it the bytes in a memory
 * file (CHAN_KEEP, with which file it is as its code) and hears when they are on the disk (CHAN_KEPT). It reads none of them.
 */
#ifndef WARREN_KEEPER_H
#define WARREN_KEEPER_H

#include "base/base.h"

/* Beside IDENTITY_FILE in the state directory. */
#define MEMBERS_FILE "members"

enum keeper_file { KEEPER_NOTHING, KEEPER_MEMBERS, KEEPER_IDENTITY };

/* Serves until the channel from the launcher ends. Never returns. */
_Noreturn void keeper_main(const char *dir, int chan);

#endif
