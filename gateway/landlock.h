/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process sees of the file system, by the kernel's Landlock (Linux 5.13): these places and no
 * others, from the call to the process' end. It needs no privilege but PR_SET_NO_NEW_PRIVS, and no mount
 * namespace, so it works in any container whose kernel has it. Descriptors that are open stay good, and so
 * does connect() to a socket's path, which Landlock does not know.
 */
#ifndef WARREN_LANDLOCK_H
#define WARREN_LANDLOCK_H

#include "base/base.h"

/*
 * `read`: files and directories that may be read; `write`: directories in which files and sockets may be
 * made, changed and removed. Each ends with NULL; what is not there is passed over. Nothing may be executed.
 * `signals`: also to processes that are not confined as this one is (Linux 6.12 can refuse that).
 * 0; -ENOSYS where the kernel has no Landlock; -errno.
 */
int landlock_enter(const char *const *read, const char *const *write, bool signals);

#endif
