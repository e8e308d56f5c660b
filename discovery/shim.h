/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP shim on localhost that is Trino's `discovery.uri`: it forwards to the coordinator's Trino
 * at its virtual IP (on the coordinator's node: to the local Trino), answers a little itself, and
 * checks that announcements name the virtual IP. It is a process of its own: no capability, no key.
 *
 * It is joined to the gateway by one stream socket that carries JSON objects, one a line (≤ 4 MiB):
 *   gateway → shim  {"roster":{"self":ID,"ip":IP,"ip6":IP6,"coordinator_id":ID or null,
 *                     "down":TEXT or null,"members":[
 *                     {"id":…,"ip":…,"ip6":…,"http":8081,"https":0,"coordinator":true|false,
 *                      "environment":…,"version":…,"online":true|false|null,"link":"direct"|"relay"|"none"|"self","release":…},…]}}
 *                   {"status":{…}}            the answer to want-status, passed on as it is; its
 *                                             "cpu" goes into the metrics, too
 *   shim → gateway  {"trino":{"http":8081,"https":0,"coordinator":true,"environment":…,"version":…,"up":true}}
 *                   {"want":"status"}
 * The facts of Trino are sent when they change, and once at the start. Unknown keys are skipped, and
 * members with an "http" of 0 are taken to listen on `trino_port` (their shim has not asked yet).
 * When the socket ends or carries no JSON, the shim goes on with the roster that it has: a gateway
 * that is started again comes with a new socket (shim_set_feed()), and no request notices.
 */
#ifndef WARREN_SHIM_H
#define WARREN_SHIM_H

#include "base/addr.h"
#include "base/syscalls.h"

struct ev_loop;

struct shim_config {
	uint16_t proxy_port;	   /* TRINO_PROXY_PORT, 8080: we listen on 127.0.0.1 and ::1 */
	uint16_t trino_port;	   /* TRINO_LOCAL_PORT, 8081: where Trino listens on every node */
	uint16_t trino_https_port; /* of our own Trino, told to the others; 0: it has none */
	const char *worker_id;
	const char
		*coordinator_id; /* TRINO_COORDINATOR_ID, or NULL: the only member that says so */
	int feed_fd;		 /* to the gateway, ours from here on; -1 in tests */
};

struct shim;

/*
 * Opens the listening sockets, and raises the soft limit of descriptors to what 1024 clients need.
 * 0, -EADDRINUSE, …; before privileges are dropped. The strings of `cfg` are copied.
 */
int shim_new(struct shim **out, struct ev_loop *loop, const struct shim_config *cfg);
void shim_free(struct shim *s);
/* Another socket to the gateway, ours from here on, in place of the one before. */
void shim_set_feed(struct shim *s, int fd);
/* One object of the feed, as tests give it; false where it is not one. */
bool shim_feed(struct shim *s, const char *json, size_t len);

extern const struct syscall_rule shim_syscalls[]; /* after shim_new() */

#endif
