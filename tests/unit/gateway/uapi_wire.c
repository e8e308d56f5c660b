/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/gateway/uapi_wire.h"

struct talk *t;

int talk_begin(void **state)
{
	int err = setup(state);
	if (err)
		return err;
	t = talk_new(ends[0].node);
	t->port = 51820;
	return 0;
}

int talk_end(void **state)
{
	talk_free(t);
	return teardown(state);
}
