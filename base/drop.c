/* SPDX-License-Identifier: Apache-2.0 */
#include "base/drop.h"

static const char *const names[] = {
#define X(id, name) [DROP_##id] = name,
	DROPS(X)
#undef X
};

static_assert(ARRAY_SIZE(names) == DROP_COUNT, "each drop has a name");

const char *drop_name(enum drop d)
{
	return (unsigned)d < DROP_COUNT ? names[d] : "?";
}
