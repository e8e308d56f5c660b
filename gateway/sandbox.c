/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/sandbox.h"
#include "gateway/ctl.h"
#include "gateway/gw_confine.h"
#include "gateway/helper.h"
#include "gateway/landlock.h"
#include "gateway/loop.h"
#include "gateway/proc.h"
#include "gateway/rdv_keeper.h"
#include "gateway/rdv_store.h"
#include "gateway/state.h"
#include "gateway/unix_socket.h"
#include "base/arena.h"
#include "base/log.h"
#include "discovery/shim.h"
#include "punch/lease_store.h"
#include "punch/udp.h"
#include "route/kernel.h"
#include "tun/dev.h"

#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NO_CAPABILITY = -1, ROOMS_MAX = 10, READS_MAX = 10 };

static const struct process {
	const char *name;
	const struct syscall_rule *rooms[ROOMS_MAX];
	int capability, if_held;
	rlim_t descriptors; /* at most; 0: as many as there may be now */
	bool forks;
	const char *reads[READS_MAX];
} processes[SANDBOX_PROCESSES] = {
	[SANDBOX_GATEWAY] = {
		.name = "gateway",
		.rooms = { base_syscalls, arena_syscalls, loop_syscalls, tun_syscalls, udp_syscalls, route_syscalls,
			   chan_syscalls, unix_socket_syscalls, state_syscalls, gateway_syscalls },
		.capability = CAP_NET_ADMIN,
		/* wg(8) may ask for port 53 or 443 at any time */
		.if_held = CAP_NET_BIND_SERVICE,
		.descriptors = 256,
	},
	[SANDBOX_SHIM] = {
		.name = "shim",
		.rooms = { base_syscalls, loop_syscalls, chan_syscalls, shim_syscalls },
		.capability = NO_CAPABILITY,
		.if_held = NO_CAPABILITY,
	},
	[SANDBOX_HELPER] = {
		.name = "helper",
		.rooms = { base_syscalls, chan_syscalls, resolve_syscalls },
		.capability = NO_CAPABILITY,
		.if_held = NO_CAPABILITY,
		.descriptors = 64,
		/* configuration, modules, and what sssd and resolved leave for others to read; a
		 * resolv.conf that is a link leads to its file */
		.reads = { "/etc", "/etc/resolv.conf", "/run", "/lib", "/lib64", "/usr", "/var/lib",
			   "/dev/urandom" },
	},
	[SANDBOX_RENDEZVOUS] = {
		.name = "rendezvous",
		.rooms = { base_syscalls, arena_syscalls, loop_syscalls, udp_syscalls, chan_syscalls,
			   unix_socket_syscalls, state_syscalls, rdv_store_syscalls, rdv_keeper_syscalls },
		.capability = NO_CAPABILITY,
		.if_held = NO_CAPABILITY,
		.descriptors = 256,
	},
	[SANDBOX_KEEPER] = {
		.name = "keeper",
		.rooms = { base_syscalls, chan_syscalls, state_syscalls },
		.capability = NO_CAPABILITY,
		.if_held = NO_CAPABILITY,
		.descriptors = 64,
	},
	[SANDBOX_STARTER] = {
		.name = "starter",
		.capability = NO_CAPABILITY,
		.if_held = NO_CAPABILITY,
		.descriptors = 64,
		.forks = true,
	},
	[SANDBOX_STORE] = {
		.name = "store",
		.rooms = { base_syscalls, lease_store_syscalls },
		.capability = NO_CAPABILITY,
		.if_held = NO_CAPABILITY,
		.descriptors = 64,
	},
};

#ifdef WARREN_SANITIZED
enum { SANITIZED = true };
#else
enum { SANITIZED = false };
#endif

/* Lowers a limit for good; a smaller one stays. */
static void limit(int which, rlim_t most)
{
	struct rlimit r;
	if (getrlimit((__rlimit_resource_t)which, &r) < 0)
		return;
	if (r.rlim_cur > most)
		r.rlim_cur = most;
	r.rlim_max = r.rlim_cur;
	setrlimit((__rlimit_resource_t)which, &r);
}

static void set_limits(const struct process *p)
{
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, p->descriptors ? p->descriptors : RLIM_INFINITY);
	if (!p->forks && !SANITIZED)
		limit(RLIMIT_NPROC, 0);
}

/* Of a kernel that cannot do it. Each process finds that out; those that matter say it. */
static void cannot(enum sandbox_process which, const char *what, const char *then)
{
	if (which == SANDBOX_GATEWAY || which == SANDBOX_RENDEZVOUS)
		log_warn("%s here: %s", what, then);
	else
		log_debug("%s here: %s", what, then);
}

static int see_less(enum sandbox_process which, const char *const *writable)
{
	/* who forks has to end what it started, also what is not confined as it is */
	int err = landlock_enter(processes[which].reads, writable, processes[which].forks);
	if (err == -ENOSYS || err == -EPERM) {
		cannot(which, "no Landlock (Linux 5.13)",
		       "the processes of warren see the file system as their users do");
		return 0;
	}
	return err;
}

/* --- system calls --- */

static const char *confined = "process";

/*
 * The call was not made, and nothing runs after this. The handler itself is set once (a process that is
 * confined cannot set another), and a blocked SIGSYS ends the process at once.
 */
static void on_forbidden(int sig, siginfo_t *info, void *context)
{
	(void)context;
	char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, info->si_syscall);
	log_error("the %s made a system call that it may not make: %s (%d). Ending it", confined,
		  name ? name : "unknown", info->si_syscall);
	raise(sig); /* by SA_RESETHAND what it does by default */
}

static int heed_forbidden(const char *name)
{
	struct sigaction sa = { .sa_sigaction = on_forbidden,
				.sa_flags = (int)(SA_SIGINFO | SA_RESETHAND | SA_NODEFER) };
	confined = name;
	return sigaction(SIGSYS, &sa, NULL) < 0 ? -errno : 0;
}

static int add_rule(scmp_filter_ctx filter, const struct syscall_rule *r)
{
	struct scmp_arg_cmp args[SYSCALL_ARGS];
	unsigned n = 0;
	int number = seccomp_syscall_resolve_name(r->name);

	if (number == __NR_SCMP_ERROR)
		return 0;
	for (size_t i = 0; i < SYSCALL_ARGS; i++)
		if (r->arg[i].mask)
			args[n++] = (struct scmp_arg_cmp){ .arg = r->arg[i].at,
							   .op = SCMP_CMP_MASKED_EQ,
							   .datum_a = r->arg[i].mask,
							   .datum_b = r->arg[i].value };
	int err = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, n, args);
	return err == -EEXIST ? 0 : err;
}

static int add_rules(scmp_filter_ctx filter, const struct process *p)
{
	/* abort() and raise() */
	const struct syscall_rule own_signals = CALL_IF(tgkill, ARG_IS(0, getpid()));
	int err = add_rule(filter, &own_signals);

	for (size_t i = 0; i < ROOMS_MAX && p->rooms[i]; i++)
		for (const struct syscall_rule *r = p->rooms[i]; err == 0 && r->name; r++)
			err = add_rule(filter, r);
	return err;
}

static int load(scmp_filter_ctx filter)
{
	/*
	 * A tree instead of a list, so that no place in it is a bad one. Without the third, kernels before
	 * 5.16 slow the process down as they would a browser's tab, which runs what strangers wrote.
	 */
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
	return seccomp_load(filter);
}

static int call_less(enum sandbox_process which)
{
	const struct process *p = &processes[which];
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
	int err = filter ? add_rules(filter, p) : -ENOMEM;

	if (err == 0)
		err = heed_forbidden(p->name);
	if (err == 0)
		err = load(filter);
	seccomp_release(filter);
	if (err == -EINVAL || err == -ENOSYS || err == -EPERM) {
		cannot(which, "no seccomp filters",
		       "the processes of warren may make any system call");
		return 0;
	}
	return err;
}

int sandbox_enter(enum sandbox_process which, const char *const *writable)
{
	const struct process *p = &processes[which];
	set_limits(p);
	int err = proc_drop_capabilities(p->capability, p->if_held);
	proc_keep_private(); /* another user, or fewer capabilities, may have made it dumpable */
	if (err == 0 && !SANITIZED)
		err = see_less(which, writable);
	if (err == 0 && !SANITIZED && !p->forks)
		err = call_less(which);
	if (err < 0)
		log_error("cannot confine the %s: %s", p->name, strerror(-err));
	return err;
}
