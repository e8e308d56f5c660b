/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The anti-replay window (RFC 6479: a ring of words, no shifting). Counters are checked after the
 * packet was authenticated, never before.
 */
#ifndef WARREN_REPLAY_H
#define WARREN_REPLAY_H

#include "base/base.h"

/* `bits` of window: a multiple of 64, a power of two; `words` has bits/64 of them and is zeroed. */
struct replay {
	uint64_t greatest; /* 0 before the first; counters are stored + 1 */
	uint32_t words;	   /* a power of two */
	uint64_t *ring;	   /* owned by whoever made it */
};

/* True, once, for each counter that is not older than the window: (words - 1) * 64 back. */
MUST_CHECK bool replay_accept(struct replay *w, uint64_t counter);

#endif
