/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a shim by itself for the tests in Python, until SIGTERM. On SIGUSR1 it goes over to the other
 * feed, as after a restart of the gateway.
 */
#include "base/log.h"
#include "discovery/shim.h"
#include "gateway/loop.h"

#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct shim *shim;
static int other_feed;

static void on_term(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)w;
	(void)events;
	ev_break(loop, EVBREAK_ALL);
}

static void on_usr1(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)loop;
	(void)w;
	(void)events;
	shim_set_feed(shim, other_feed);
}

int main(int argc, char **argv)
{
	static ev_signal term, usr1;
	if (argc != 8) {
		fprintf(stderr,
			"usage: %s PROXY-PORT TRINO-PORT HTTPS-PORT ID COORDINATOR|- FEED-FD "
			"OTHER-FEED-FD\n",
			argv[0]);
		return 2;
	}
	loop_reserve();
	struct ev_loop *loop = ev_default_loop(0);
	struct shim_config cfg = {
		.proxy_port = (uint16_t)atoi(argv[1]),
		.trino_port = (uint16_t)atoi(argv[2]),
		.trino_https_port = (uint16_t)atoi(argv[3]),
		.worker_id = argv[4],
		.coordinator_id = strcmp(argv[5], "-") ? argv[5] : NULL,
		.feed_fd = atoi(argv[6]),
	};
	other_feed = atoi(argv[7]);
	log_init("shim", argv[4], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	ev_signal_init(&term, on_term, SIGTERM);
	ev_signal_init(&usr1, on_usr1, SIGUSR1);
	ev_signal_start(loop, &term);
	ev_signal_start(loop, &usr1);
	int rc = shim_new(&shim, loop, &cfg);
	if (rc < 0) {
		fprintf(stderr, "shim_new: %s\n", strerror(-rc));
		return 1;
	}
	ev_run(loop, 0);
	shim_free(shim);
	ev_loop_destroy(loop);
	return 0;
}
