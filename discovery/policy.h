/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where one request goes. A pure function of its head and of who we are.
 *
 * The path is compared as a server would read it: escapes decoded, dots resolved, empty segments and
 * parameters dropped. So "/v1//%61nnounce;x" is still an announcement.
 */
#ifndef WARREN_POLICY_H
#define WARREN_POLICY_H

#include "discovery/http_head.h"
#include "discovery/roster.h"

enum route { ROUTE_LOCAL, ROUTE_COORDINATOR, ROUTE_OWN, ROUTE_REFUSED, ROUTE_COUNT };

enum own {
	OWN_NONE,
	OWN_LISTING, /* GET /v1/announcement */
	OWN_PAGE,    /* below /warren/ */
	OWN_STATUS,
	OWN_HEALTH,
	OWN_METRICS,
};

struct decision {
	enum route route;
	enum own own;	 /* ROUTE_OWN */
	bool guarded;	 /* an announcement: passes only while Trino's own address is right */
	bool info;	 /* GET /v1/info itself: has a synthetic answer while Trino is down */
	unsigned status; /* ROUTE_REFUSED */
	const char *text;
};

/* `worker_id` is ours; the roster, once there, knows our addresses. */
struct decision policy_decide(const struct http_head *h, const struct roster *r,
			      const char *worker_id);

/* True where `host` ("name", "name:port", "[::1]:port") is one of our own names. */
bool policy_host_is_ours(struct view host, const struct roster *r, const char *worker_id);
/*
 * True where Trino's `internalAddress` is one of our virtual IPs: as a literal, or in the form
 * "10-77-0-2.ip" that node.internal-address-source=IP_ENCODED_AS_HOSTNAME makes of it.
 */
bool policy_address_is_ours(const char *address, const struct roster *r);

#endif
