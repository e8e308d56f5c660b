/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/command.h"
#include "gateway/proc.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

int command_stream_pair(int fds[static 2])
{
	int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
	return socketpair(AF_UNIX, type, 0, fds) < 0 ? -errno : 0;
}

/* Everything of ours goes, the token above all. */
static void clean_environment(const struct command_env *env)
{
	for (char **e = environ; *e;) {
		char name[64];
		size_t len = strcspn(*e, "=");
		if (strncmp(*e, "WARREN_", 7) == 0 && len < sizeof(name)) {
			memcpy(name, *e, len);
			name[len] = 0;
			unsetenv(name);
			e = environ; /* it has moved */
		} else {
			e++;
		}
	}
	setenv("WARREN_IP", env->ip, 1);
	if (*env->ip6)
		setenv("WARREN_IP6", env->ip6, 1);
	setenv("WORKER_ID", env->worker_id, 1);
}

/* When memory runs out the command goes before the gateway does. */
static void raise_oom_score(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t n = write(fd, "500", 3);
	(void)n; /* not allowed in some containers, and no reason to fail */
	close(fd);
}

static int become(const struct passwd *pw)
{
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 ||
	    setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
		return -errno;
	setenv("HOME", pw->pw_dir, 1);
	setenv("USER", pw->pw_name, 1);
	return 0;
}

static _Noreturn void body(char *const *argv, const struct passwd *pw,
			   const struct command_env *env)
{
	proc_child(-1, -1);
	log_process("command");
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	raise_oom_score();
	clean_environment(env);
	int err = pw ? become(pw) : 0, status = 127;
	if (err < 0)
		log_error("cannot become user %s: %s", pw->pw_name, strerror(-err));
	else if (proc_drop_capabilities(-1, -1) < 0)
		log_error("cannot drop capabilities for the command");
	else {
		/* after the change of user, which clears it. Without us it has no network, and a second
		 * one of its kind may be on its way */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		execvp(argv[0], argv);
		status = errno == ENOENT ? 127 : 126; /* as shells say it */
		log_error("cannot start %s: %s", argv[0], strerror(errno));
	}
	_exit(status);
}

pid_t command_start(char *const *argv, const char *user, const struct command_env *env)
{
	const struct passwd *pw = user ? getpwnam(user) : NULL;
	if (user && !pw) {
		log_error("--user %s: there is no such user", user);
		return -1;
	}
	if (!user && geteuid() == 0)
		log_warn("the command runs as root (without capabilities); --user NAME changes "
			 "that");
	pid_t pid = proc_fork();
	if (pid < 0)
		log_error("cannot start the command: %s", strerror(errno));
	if (pid == 0)
		body(argv, pw, env);
	return pid;
}
