/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each process' sandbox from inside: a child is confined as that process is and tries one thing. What it may
 * not do kills it, with a line that names the system call, or is refused by the file system; what it needs
 * works.
 */
#include "gateway/helper.h"
#include "gateway/sandbox.h"
#include "gateway/state.h"
#include "base/log.h"
#include "punch/lease_store.h"
#include "punch/udp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/warren-sandbox-XXXXXX", inside[64], outside[64];

enum { SKIPPED = 77, WORKS = 0, REFUSED = 1, OTHERWISE = 2, UNCONFINED = 3 };

/* --- what is tried: 0 or -errno --- */

static int result(long rc)
{
	return rc < 0 ? -errno : 0;
}

static int try_execve(void)
{
	char *const argv[] = { NULL };
	return result(execve("/bin/true", argv, argv));
}

static int try_fork(void)
{
	return result(fork());
}

static int try_thread(void)
{
	return result(syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0));
}

static int try_ptrace(void)
{
	return result(ptrace(PTRACE_ATTACH, getpid(), NULL, NULL));
}

static int try_read_others(void)
{
	return result(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0));
}

static int try_mount(void)
{
	return result(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int try_setuid(void)
{
	return result(syscall(SYS_setuid, 1));
}

static int try_kill(void)
{
	return result(kill(1, 0));
}

static int try_signal_other(void)
{
	return result(syscall(SYS_tgkill, 1, 1, 0));
}

static int try_handler(void)
{
	return result(signal(SIGSYS, SIG_IGN) == SIG_ERR ? -1 : 0);
}

static int try_prctl(void)
{
	return result(prctl(PR_SET_DUMPABLE, 1));
}

static int try_unshare(void)
{
	return result(unshare(CLONE_NEWUSER));
}

static int try_bpf(void)
{
	return result(syscall(SYS_bpf, 0, NULL, 0));
}

static int try_io_uring(void)
{
	return result(syscall(SYS_io_uring_setup, 1, NULL));
}

static int try_raise_limit(void)
{
	struct rlimit r = { RLIM_INFINITY, RLIM_INFINITY };
	return result(setrlimit(RLIMIT_CORE, &r));
}

static int try_packet_socket(void)
{
	return result(socket(AF_PACKET, SOCK_RAW, 0));
}

static int try_raw_socket(void)
{
	return result(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static int try_tcp_socket(void)
{
	return result(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

static int try_listen(void)
{
	return result(listen(0, 1));
}

/* Where somebody else listens, and answers with a shell. */
static int try_connect(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/run/docker.sock" };
	int rc = connect(0, (struct sockaddr *)&un, sizeof(un));
	return rc < 0 && errno == ENOTSOCK ? 0 : result(rc);
}

static int try_filter_packets(void)
{
	struct sock_fprog none = { 0 };
	int rc = setsockopt(0, SOL_SOCKET, SO_ATTACH_FILTER, &none, sizeof(none));
	return rc < 0 && errno == ENOTSOCK ? 0 : result(rc);
}

static int try_terminal(void)
{
	char c = 'x';
	return result(ioctl(0, TIOCSTI, &c));
}

static int try_mmap_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	return p == MAP_FAILED ? -errno : 0;
}

static int try_make_code(void)
{
	static uint8_t page[8192];
	void *p = page + 4096 - (uintptr_t)page % 4096;
	return result(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int try_write_inside(void)
{
	return result(open(inside, O_WRONLY | O_CREAT | O_TRUNC, 0600));
}

static int try_replace_inside(void)
{
	return file_replace(inside, "x", 1);
}

static int try_write_outside(void)
{
	return result(open(outside, O_WRONLY | O_CREAT | O_TRUNC, 0600));
}

static int try_read_passwd(void)
{
	return result(open("/etc/passwd", O_RDONLY));
}

static int try_read_home(void)
{
	return result(open(dir, O_RDONLY));
}

static int try_memory(void)
{
	char *p = malloc(1 << 24), *q = p ? realloc(p, 1 << 25) : NULL;
	if (!q)
		return -ENOMEM;
	memset(q, 1, 1 << 25);
	free(q);
	log_info("a line");
	return 0;
}

static int try_udp(void)
{
	struct udp_socket s;
	int err = udp_open(&s, &addr_any, 0);
	if (err == 0)
		udp_set_offload(&s, true, true);
	udp_set_mark(&s, 0);
	return err;
}

static int try_name(void)
{
	return if_nametoindex("lo") ? 0 : -errno;
}

static int try_resolve(void)
{
	struct endpoint at[RESOLVE_MAX];
	/* the second asks a name server, if there is one */
	resolve("warren.invalid", 1, at);
	return resolve("localhost", 1, at) ? 0 : -ENOENT;
}

static int try_leases(void)
{
	struct lease_record rec = { .id = "w1", .number = 7 };
	char path[80], err[200];
	snprintf(path, sizeof(path), "%s/leases.db", dir);
	struct lease_store *s = lease_store_open(path, err, sizeof(err));
	if (!s)
		return -EIO;
	int rc = lease_store_put(s, &rec);
	if (rc == 0)
		rc = lease_store_commit(s);
	lease_store_close(s);
	return rc;
}

/* --- and with which result --- */

enum {
	GATEWAY = 1 << SANDBOX_GATEWAY,
	SHIM = 1 << SANDBOX_SHIM,
	HELPER = 1 << SANDBOX_HELPER,
	RENDEZVOUS = 1 << SANDBOX_RENDEZVOUS,
	KEEPER = 1 << SANDBOX_KEEPER,
	STORE = 1 << SANDBOX_STORE,
	ALL = GATEWAY | SHIM | HELPER | RENDEZVOUS | KEEPER | STORE,
};

static const char *const names[] = { "gateway", "shim",	   "helper", "rendezvous",
				     "keeper",	"starter", "store" };

/* In a process of neither `works` nor `refused` it is deadly, and the call's name is in the log. */
static const struct attempt {
	const char *what, *call;
	int (*run)(void);
	unsigned works, refused;
} attempts[] = {
	{ "run a program", "execve", try_execve, 0, 0 },
	{ "fork", "clone", try_fork, 0, 0 },
	{ "start a thread", "clone", try_thread, 0, 0 },
	{ "trace", "ptrace", try_ptrace, 0, 0 },
	{ "read another's memory", "process_vm_readv", try_read_others, 0, 0 },
	{ "mount", "mount", try_mount, 0, 0 },
	{ "become another user", "setuid", try_setuid, 0, 0 },
	{ "signal another", "kill", try_kill, 0, 0 },
	{ "signal another's thread", "tgkill", try_signal_other, 0, 0 },
	{ "ignore the sandbox", "rt_sigaction", try_handler, 0, 0 },
	{ "become dumpable", "prctl", try_prctl, 0, 0 },
	{ "make a namespace", "unshare", try_unshare, 0, 0 },
	{ "load a BPF program", "bpf", try_bpf, 0, 0 },
	{ "make an io_uring", "io_uring_setup", try_io_uring, 0, 0 },
	{ "raise a limit", "prlimit64", try_raise_limit, 0, 0 },
	{ "open a packet socket", "socket", try_packet_socket, 0, 0 },
	{ "open a raw socket", "socket", try_raw_socket, 0, HELPER }, /* no capability */
	{ "open a TCP socket", "socket", try_tcp_socket, SHIM | HELPER, 0 },
	{ "listen", "listen", try_listen, 0, 0 },
	{ "connect", "connect", try_connect, SHIM | HELPER, 0 },
	{ "filter packets", "setsockopt", try_filter_packets, HELPER, 0 },
	{ "type into a terminal", "ioctl", try_terminal, 0, 0 },
	{ "map writable code", "mmap", try_mmap_code, HELPER, 0 },
	{ "make code", "mprotect", try_make_code, HELPER, 0 },
	{ "write into its directory", "openat", try_write_inside,
	  GATEWAY | RENDEZVOUS | KEEPER | STORE, 0 },
	{ "replace a file there", "", try_replace_inside, GATEWAY | RENDEZVOUS | KEEPER, 0 },
	{ "write elsewhere", "openat", try_write_outside, 0,
	  GATEWAY | RENDEZVOUS | KEEPER | STORE },
	{ "read /etc/passwd", "openat", try_read_passwd, HELPER,
	  GATEWAY | RENDEZVOUS | KEEPER | STORE },
	{ "read another's directory", "openat", try_read_home,
	  GATEWAY | RENDEZVOUS | KEEPER | STORE, HELPER },
	{ "use memory and log", "", try_memory, ALL, 0 },
	{ "open a UDP socket as the data path does", "socket", try_udp,
	  GATEWAY | HELPER | RENDEZVOUS, 0 },
	{ "find an interface", "socket", try_name, GATEWAY | HELPER, 0 },
	{ "look up a name", "", try_resolve, HELPER, 0 },
	{ "keep a lease", "", try_leases, STORE, 0 },
};

/* Of the calls that end in another one for which the process has a right, the outcome is the other's. */
static bool is_said(const struct attempt *a, const char *text, const char *process)
{
	char want[120];
	snprintf(want, sizeof(want), "the %s made a system call that it may not make: %s", process,
		 a->call);
	return strstr(text, want);
}

static _Noreturn void child(enum sandbox_process p, const struct attempt *a)
{
	const char *const writable[] = { dir, NULL };

	log_init("test", NULL, LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
	/* the helper is nobody's child; what it reads here belongs to the directory's owner */
	if (sandbox_enter(p, p == SANDBOX_SHIM || p == SANDBOX_HELPER ? NULL : writable) < 0)
		_exit(UNCONFINED);
	int err = a->run();
	if (err < 0)
		log_error("it returned %s", strerror(-err));
	_exit(err == 0 ? WORKS : err == -EACCES || err == -EPERM ? REFUSED : OTHERWISE);
}

/* The wait status of a child that tried it; what it wrote is in `text`. */
static int outcome(enum sandbox_process p, const struct attempt *a, char *text, size_t cap)
{
	int fds[2], status = 0;
	size_t len = 0;
	ssize_t n;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(fds[1], 2);
		child(p, a);
	}
	close(fds[1]);
	while ((n = read(fds[0], text + len, cap - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = 0;
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void each_in_each(void **ignored)
{
	char text[4096];
	unsigned bad = 0;

	(void)ignored;
	for (enum sandbox_process p = 0; p < SANDBOX_PROCESSES; p++) {
		for (size_t i = 0; p != SANDBOX_STARTER && i < ARRAY_SIZE(attempts); i++) {
			const struct attempt *a = &attempts[i];
			bool works = a->works >> p & 1, refused = a->refused >> p & 1;
			if (!works && !refused && !*a->call)
				continue;
			int status = outcome(p, a, text, sizeof(text));
			bool right =
				works || refused
					? WIFEXITED(status) &&
						  WEXITSTATUS(status) == (works ? WORKS : REFUSED)
					: WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS &&
						  is_said(a, text, names[p]);
			if (right)
				continue;
			bad++;
			print_error("%s: %s: status %#x, not %s: %s\n", names[p], a->what,
				    (unsigned)status,
				    works     ? "done"
				    : refused ? "refused"
					      : "dead",
				    text);
		}
	}
	assert_int_equal(bad, 0);
}

/* abort() is how an assertion ends, and must not look like the sandbox. */
static int try_abort(void)
{
	abort();
}

static void abort_stays_abort(void **ignored)
{
	static const struct attempt a = { "abort", "", try_abort, 0, 0 };
	char text[4096];

	(void)ignored;
	for (enum sandbox_process p = 0; p < SANDBOX_PROCESSES; p++) {
		int status = outcome(p, &a, text, sizeof(text));
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGABRT);
		assert_false(WCOREDUMP(status));
	}
}

/* The starter forks, and ends what it started before it was confined; no more than that is needed. */
static int try_child_writes(void)
{
	int status;
	if (kill(getppid(), 0) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid == 0)
		_exit(try_write_inside() == 0 && try_write_outside() == -EACCES ? 0 : 1);
	waitpid(pid, &status, 0);
	return status ? -EIO : 0;
}

static void the_starter(void **ignored)
{
	static const struct attempt a = { "fork", "", try_child_writes, 0, 0 };
	char text[4096];
	(void)ignored;
	assert_int_equal(outcome(SANDBOX_STARTER, &a, text, sizeof(text)), 0);
}

static bool kernel_can(void)
{
	long landlock = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, 1u);
	return landlock >= 1 && prctl(PR_GET_SECCOMP) == 0;
}

static int make_places(void **ignored)
{
	(void)ignored;
	if (!mkdtemp(dir))
		return -1;
	snprintf(inside, sizeof(inside), "%s/file", dir);
	snprintf(outside, sizeof(outside), "%s.outside", dir);
	return 0;
}

static int remove_places(void **ignored)
{
	static const char *const files[] = { "file", "file.new", "leases.db", "leases.db-wal",
					     "leases.db-shm" };
	char path[80];
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	unlink(outside);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_in_each),
		cmocka_unit_test(abort_stays_abort),
		cmocka_unit_test(the_starter),
	};
	if (!kernel_can()) {
		fprintf(stderr, "skipped: this kernel has no Landlock or no seccomp filters\n");
		return SKIPPED;
	}
	return cmocka_run_group_tests(tests, make_places, remove_places);
}
