/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cryptokey routing (the paper's section 2): which peer owns an inner address, by longest prefix.
 * Destinations of outgoing and sources of incoming packets are looked up in the same table. One
 * prefix belongs to one owner: setting it again moves it. A lookup costs no more than 128 steps
 * whatever the number of entries. Addresses of both families, kept apart by the v4-mapped prefix.
 */
#ifndef WARREN_ROUTE_TABLE_H
#define WARREN_ROUTE_TABLE_H

#include "base/addr.h"

struct route_table;

struct route_table *route_table_new(void);
void route_table_free(struct route_table *t);
/* Sets or moves; owner is not NULL and stays the caller's. 0, -ENOMEM, or -EINVAL: longer than its family. */
int route_table_set(struct route_table *t, const struct prefix *p, void *owner);
/* Removes the prefix if it is `owner`'s. */
void route_table_remove(struct route_table *t, const struct prefix *p, const void *owner);
/* The owner of the longest prefix that holds `a`, or NULL. */
void *route_table_find(const struct route_table *t, const struct addr *a);
/* The owner of exactly this prefix, or NULL. */
void *route_table_exact(const struct route_table *t, const struct prefix *p);
/* Calls `each` for every prefix of `owner` (NULL: of everybody), in address order. The table must not change meanwhile. */
void route_table_each(const struct route_table *t, const void *owner,
		      void (*each)(void *ctx, const struct prefix *p, void *owner), void *ctx);
/*
 * The first `room` prefixes of `owner` (NULL: of everybody) in address order that come after `after` (NULL: from
 * the first; it need not be there any more); how many there are of these. Costs a look-up and what is listed.
 */
size_t route_table_list(const struct route_table *t, const void *owner, const struct prefix *after,
			struct prefix *out, size_t room);
size_t route_table_count(const struct route_table *t);

#endif
