/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queues in front of a gateway belong to the way, as those of a router do. A TCP that fills them is told by
 * marks (RFC 3168) before anything is lost, so that whoever shares them, a ping or a small answer, does not wait
 * behind its window. As CoDel has it (RFC 8289 3.2), a burst that is gone within a round trip is none of its
 * business; other than a router, a gateway knows how long that takes.
 */
#include "gateway/node_internal.h"

/* CoDel's target; and its interval, which is for round trips that nobody knows. */
#define STANDS_LEAST (5 * NSEC_PER_MSEC)
#define STANDS_FAR (100 * NSEC_PER_MSEC)

void node_backlog(struct node *n, enum node_edge edge, nsec stood)
{
	n->stood[edge] = stood;
}

uint64_t node_marked(const struct node *n, enum node_edge edge)
{
	return n->marked[edge];
}

/* What is behind a peer is further away than the peer. */
static nsec may_stand(const struct peer *p, const struct addr *far)
{
	nsec rtt = p->link && peer_is_at(p, far) ? link_rtt(p->link) : 0;
	return rtt ? nsec_max(2 * rtt, STANDS_LEAST) : STANDS_FAR;
}

void peer_congested(struct peer *p, enum node_edge edge, const struct addr *far, uint8_t *ip)
{
	nsec stood = p->node->stood[edge];
	if (stood >= STANDS_LEAST && stood >= may_stand(p, far))
		p->node->marked[edge] += ecn_congested(ip);
}
