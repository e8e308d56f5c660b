/* SPDX-License-Identifier: Apache-2.0 */
/* Set-up of the tests that talk to the first end of the node's tests. */
#ifndef WARREN_TEST_UAPI_WIRE_H
#define WARREN_TEST_UAPI_WIRE_H

#include "tests/unit/gateway/node_wire.h"
#include "tests/unit/gateway/uapi_talk.h"

extern struct talk *t; /* about ends[0], whose port is 51820 */

int talk_begin(void **state);
int talk_end(void **state);

#endif
