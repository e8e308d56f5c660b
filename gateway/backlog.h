/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a queue that the kernel keeps for us, the TUN's or the socket's, has not been found empty: as long as a
 * packet out of it may have waited, but for the turn in which it was found so. Such a queue, a standing one, is
 * only delay (RFC 7567 2); whoever fills it is told by marks (peer_congested()).
 */
#ifndef WARREN_BACKLOG_H
#define WARREN_BACKLOG_H

#include "base/base.h"

/* Zeros: empty. */
struct backlog {
	nsec empty;    /* when it was so last */
	uint64_t turn; /* of the loop, in which it was read; 0: and was found empty after that */
};

/*
 * It is read, in that turn of the loop (1, 2, …) for the first time or again. `waited`: the loop had to
 * wait for it, so it was empty. What it has stood by then.
 */
nsec backlog_read(struct backlog *b, nsec now, uint64_t turn, bool waited);
/* Nothing is left in it. */
void backlog_empty(struct backlog *b);

#endif
