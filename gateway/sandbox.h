/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each of our processes may still do once it is set up. In stages, of which none can be undone:
 *
 *	limits		no core file, no child, no more descriptors than its work takes
 *	capabilities	none, or the two of the gateway; no new privileges
 *	file system	the places that it needs (landlock.h), where the kernel has Landlock
 *	system calls	the union of its rooms' tables (base/syscalls.h), and of the rest its end:
 *			a line that names the call, then SIGSYS, after which the launcher starts it again
 *
 * A kernel without one of the last two costs a line of the log, and nothing else. Not confined are the
 * launcher, which has to execute anything as the user of `warren run`, but reads no byte from the network;
 * and commands that end at once (status, ping, keys). A build with sanitizers, whose own run-time opens,
 * maps and traces, does the first two stages alone.
 */
#ifndef WARREN_SANDBOX_H
#define WARREN_SANDBOX_H

#include "base/base.h"

enum sandbox_process {
	SANDBOX_GATEWAY, /* a bare interface, too */
	SANDBOX_SHIM,
	SANDBOX_HELPER,
	SANDBOX_RENDEZVOUS,
	SANDBOX_KEEPER,
	SANDBOX_STARTER, /* of the store: forks, and so keeps all calls, but reads nobody's bytes */
	SANDBOX_STORE,
	SANDBOX_PROCESSES
};

/*
 * `writable`: directories in which it may make, change and remove files, then NULL; or NULL. 0; or -errno
 * after a line in the log, and then the process should not go on.
 */
MUST_CHECK int sandbox_enter(enum sandbox_process p, const char *const *writable);

#endif
