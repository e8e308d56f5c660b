/* SPDX-License-Identifier: Apache-2.0 */
#include "base/syscalls.h"

#include <fcntl.h>
#include <sys/mman.h>

/*
 * What the C library does by itself counts too: malloc's memory, the clock where the kernel gives it no
 * page, a wait that SIGSTOP has interrupted, abort(). No memory is ever executable; nobody but the
 * process itself can be signalled (the sandbox adds tgkill for that one alone).
 */
const struct syscall_rule base_syscalls[] = {
	CALL(read),
	CALL(write),
	CALL(close),
	CALL(clock_gettime),
	CALL(clock_gettime64),
	CALL(gettimeofday),
	CALL(poll), /* does anybody read the log? */
	CALL(ppoll),
	CALL(getrandom),
	CALL(brk),
	CALL(munmap),
	CALL(mremap),
	CALL(madvise),
	CALL_IF(mmap, ARG_HAS_NOT(2, PROT_EXEC)),
	CALL_IF(mmap2, ARG_HAS_NOT(2, PROT_EXEC)),
	CALL_IF(mprotect, ARG_HAS_NOT(2, PROT_EXEC)),
	CALL(futex),
	CALL(futex_time64),
	CALL(getpid),
	CALL(gettid),
	CALL(restart_syscall),
	CALL(rt_sigprocmask),
	CALL(rt_sigreturn),
	CALL(sigreturn),
	CALL(exit),
	CALL(exit_group),
	/* fstat() is the second with the C libraries of these years */
	CALL(fstat),
	CALL_IF(newfstatat, ARG_HAS(3, AT_EMPTY_PATH)),
	/* qsort() asks how much memory there is */
	CALL(sysinfo),
	CALLS_END,
};
