/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WARREN_TEST_REMOVE_OWNER_H
#define WARREN_TEST_REMOVE_OWNER_H

#include "route/table.h"

/* As who lists an owner's prefixes by and by. */
static inline void remove_owner(struct route_table *t, const void *owner)
{
	struct prefix p[3];
	size_t n;
	while ((n = route_table_list(t, owner, NULL, p, ARRAY_SIZE(p))))
		for (size_t i = 0; i < n; i++)
			route_table_remove(t, &p[i], owner);
}

#endif
