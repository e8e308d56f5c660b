/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a shim by itself for test_shim.py, until its feed ends. */
#include "base/log.h"
#include "discovery/shim.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct shim *s = NULL;
	if (argc != 7) {
		fprintf(stderr, "usage: %s PROXY-PORT TRINO-PORT HTTPS-PORT ID COORDINATOR|- FEED-FD\n",
			argv[0]);
		return 2;
	}
	struct ev_loop *loop = ev_default_loop(0);
	struct shim_config cfg = {
		.proxy_port = (uint16_t)atoi(argv[1]),
		.trino_port = (uint16_t)atoi(argv[2]),
		.trino_https_port = (uint16_t)atoi(argv[3]),
		.worker_id = argv[4],
		.coordinator_id = strcmp(argv[5], "-") ? argv[5] : NULL,
		.feed_fd = atoi(argv[6]),
	};
	log_init(argv[4], LOG_LEVEL_INFO);
	int rc = shim_new(&s, loop, &cfg);
	if (rc < 0) {
		fprintf(stderr, "shim_new: %s\n", strerror(-rc));
		return 1;
	}
	ev_run(loop, 0);
	shim_free(s);
	ev_loop_destroy(loop);
	return 0;
}
