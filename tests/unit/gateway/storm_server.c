/* SPDX-License-Identifier: Apache-2.0 */
#include "storm_server.h"
#include "base/base.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BESIDE_MAX = 4 };

static _Noreturn void run(const struct server *s)
{
	char listen[40], state[128], log[128];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", s->port);
	snprintf(state, sizeof(state), "--state=%s", s->dir);
	snprintf(log, sizeof(log), "%s/log", s->dir);
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, 1);
	dup2(fd, 2);
	execl(s->warren, s->warren, "rendezvous", "--listen", listen, "--public", listen, state,
	      "--max-members", "5000", (char *)NULL);
	_exit(127);
}

void server_start(struct server *s)
{
	s->pid = fork();
	if (s->pid == 0)
		run(s);
}

void server_keep(struct server *s)
{
	if (s->pid > 0 && waitpid(s->pid, NULL, WNOHANG) != s->pid)
		return;
	server_start(s);
}

void server_stop(struct server *s, int sig)
{
	if (s->pid > 0) {
		kill(s->pid, sig);
		waitpid(s->pid, NULL, 0);
	}
	s->pid = 0;
}

/* What its first process has started; how many. */
static unsigned beside(const struct server *s, pid_t out[static BESIDE_MAX])
{
	char path[64];
	int pid;
	unsigned n = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)s->pid, (int)s->pid);
	FILE *f = fopen(path, "re");
	while (f && n < BESIDE_MAX && fscanf(f, "%d", &pid) == 1)
		out[n++] = pid;
	if (f)
		fclose(f);
	return n;
}

void server_strike(struct server *s, uint32_t (*pick)(uint32_t n))
{
	pid_t pids[BESIDE_MAX];
	unsigned n = s->pid > 0 && pick(3) ? beside(s, pids) : 0;
	if (n == 0) {
		server_stop(s, SIGKILL);
		return;
	}
	for (unsigned i = 0, which = 1 + pick((1u << n) - 1); i < n; i++)
		if (which >> i & 1)
			kill(pids[i], SIGKILL);
}

void server_remove_files(const struct server *s)
{
	static const char *const names[] = { "leases.db", "leases.db-wal", "leases.db-shm",
					     "identity",  "token",	   "lock",
					     "admission", "control.sock",  "log" };
	char path[128];
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", s->dir, names[i]);
		unlink(path);
	}
	rmdir(s->dir);
}
