/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/backlog.h"

nsec backlog_read(struct backlog *b, nsec now, uint64_t turn, bool waited)
{
	if (turn == b->turn)
		return now - b->empty;
	bool skipped = turn != b->turn + 1; /* a turn in which there was nothing to read */
	if (waited || skipped || b->turn == 0)
		b->empty = now;
	b->turn = turn;
	return now - b->empty;
}

void backlog_empty(struct backlog *b)
{
	b->turn = 0;
}
