/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `warren IFNAME`: a bare WireGuard interface, as wg-quick expects of a userspace implementation
 * (www.wireguard.com/xplatform, "Interface"). It returns when the interface and its configuration
 * socket are there, and leaves one process behind, which ends with either of the two or by a signal.
 */
#include "gateway/cmd.h"
#include "gateway/gw.h"
#include "gateway/proc.h"
#include "base/arena.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const enum setting bare_settings[] = { SET_GSO,	      SET_AEAD,	   SET_LOG_LEVEL,
					      SET_LOG_FORMAT, SET_RUN_DIR, SETTING_COUNT };

static const char bare_usage[] =
	"usage: warren [-f|--foreground] INTERFACE\n\n"
	"Makes a bare WireGuard interface, for wg(8) and wg-quick(8) to configure:\n"
	"  WG_QUICK_USERSPACE_IMPLEMENTATION=warren wg-quick up FILE\n";

bool cmd_bare_name(const char *name)
{
	size_t len = strlen(name);
	return len > 0 && len < IFNAMSIZ && name[0] != '-' && name[0] != '.' &&
	       strspn(name,
		      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_=+.-") == len;
}

static int read_settings(struct gw_config *g, struct config *c)
{
	static char dir[256];
	const char *run_dir = config_get(c, SET_RUN_DIR, "/run/warren");
	int err;

	if (config_bool(c, SET_GSO, &g->gso) < 0 || cmd_log(c, "gateway", g->interface) < 0)
		return EXIT_USAGE;
	g->gso |= !c->value[SET_GSO];
	g->aead = aead_choose(config_get(c, SET_AEAD, NULL));
	if (!g->aead) {
		log_usage("--aead %s: there is no such back end here", config_get(c, SET_AEAD, ""));
		return EXIT_USAGE;
	}
	g->run_dir = run_dir;
	/* what counts in it is which timestamps may have been sent: its key is nobody's */
	snprintf(dir, sizeof(dir), "%s/%s.state", run_dir, g->interface);
	err = make_dir(run_dir, 0755);
	if (err == 0)
		err = state_load(&g->state, dir);
	if (err < 0) {
		log_usage("cannot use %s: %s", dir,
			  err == -EBADMSG ? "it is damaged or of a newer release: remove it"
					  : strerror(-err));
		return EXIT_CANNOT;
	}
	g->state.ephemeral = true;
	return 0;
}

/* Waits until the gateway says that it is up; its status otherwise. */
static int wait_for_up(int chan)
{
	struct pollfd p = { .fd = chan, .events = POLLIN };
	struct chan_msg m;
	int fd, got = 0;

	while (got >= 0) {
		poll(&p, 1, -1);
		while ((got = chan_recv(chan, &m, &fd)) > 0) {
			if (fd >= 0)
				close(fd);
			if (m.kind == CHAN_UP)
				return 0;
		}
	}
	return EXIT_CANNOT;
}

static int in_background(struct gw_config *g)
{
	int fds[2];
	if (chan_pair(fds) < 0)
		return EXIT_CANNOT;
	pid_t pid = proc_fork();
	if (pid == 0) {
		proc_child(fds[1], -1);
		setsid();
		if (chdir("/") < 0)
			_exit(EXIT_CANNOT);
		gw_main(g, fds[1]);
	}
	close(fds[1]);
	int status = pid < 0 ? EXIT_CANNOT : wait_for_up(fds[0]);
	close(fds[0]);
	return status;
}

int cmd_bare(const char *interface, bool foreground)
{
	struct arena *arena;
	struct gw_config *g = arena_alone(&arena, sizeof(*g));
	struct config c;
	int fds[2];

	if (strcmp(interface, "--help") == 0) {
		fputs(bare_usage, stdout);
		return 0;
	}
	if (!g) {
		log_usage("out of memory");
		return EXIT_CANNOT;
	}
	if (config_read(&c, 0, NULL, bare_settings) < 0)
		return EXIT_USAGE;
	*g = (struct gw_config){
		.arena = arena,
		.worker_id = interface,
		.interface = interface,
		.bare = true,
		.detach = !foreground,
	};
	int status = read_settings(g, &c);
	if (status)
		return status;
	proc_keep_private();
	if (!foreground)
		return in_background(g);
	if (chan_pair(fds) < 0)
		return EXIT_CANNOT;
	gw_main(g, fds[1]);
}
