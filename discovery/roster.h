/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway's feed says about the network, and who the coordinator is by it. The texts are
 * for the operator: they come back as the body of a 503.
 */
#ifndef WARREN_ROSTER_H
#define WARREN_ROSTER_H

#include "base/addr.h"

#include <jansson.h>

enum { ROSTER_MAX = 4096, NAME_SIZE = 64, WHY_SIZE = 512 };

/* While no rendezvous answers nobody knows; whether the link carries data is seen when it is used. */
enum presence { PRESENCE_UNKNOWN, PRESENCE_OFFLINE, PRESENCE_ONLINE };

struct member {
	char id[NAME_SIZE], environment[NAME_SIZE], version[NAME_SIZE], release[NAME_SIZE];
	char link[16];
	struct addr ip, ip6;  /* ip6: addr_any where it has none */
	uint16_t http, https; /* 0: not known */
	bool coordinator;
	enum presence presence;
};

struct roster {
	bool seen; /* the feed gave one, and this node has its address */
	char self[NAME_SIZE], coordinator_id[NAME_SIZE];
	char down[128]; /* why the gateway carries nothing; empty: it does */
	struct addr ip, ip6;
	struct member *members;
	size_t count;
};

/* Replaces *r by {"self":…}. False leaves it as it was. Members that make no sense are left out. */
MUST_CHECK bool roster_read(struct roster *r, const json_t *obj);
void roster_free(struct roster *r);
const struct member *roster_find(const struct roster *r, const char *id);

/*
 * The coordinator: the member `id`, or where that is NULL the one that the feed names, or the only
 * member that says so. NULL: `why` says what is wrong and what to do.
 */
const struct member *roster_coordinator(const struct roster *r, const char *id,
					char why[static WHY_SIZE]);

#endif
