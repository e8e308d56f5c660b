/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token bucket as one time stamp: `busy` is when all that was taken so far will have been worked
 * off. What costs `cost` may be taken while that lies at most `depth` ahead, so the rate is one per
 * `cost` and the burst depth / cost. All zeros is a full bucket.
 */
#ifndef WARREN_BUCKET_H
#define WARREN_BUCKET_H

#include "base/base.h"

struct bucket {
	nsec busy;
};

MUST_CHECK static inline bool bucket_take(struct bucket *b, nsec now, nsec cost, nsec depth)
{
	nsec busy = nsec_max(b->busy, now) + cost;
	if (busy - now > depth)
		return false;
	b->busy = busy;
	return true;
}

#endif
