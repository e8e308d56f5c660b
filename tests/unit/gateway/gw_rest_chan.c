/* SPDX-License-Identifier: Apache-2.0 */
/* The rest of the gateway, as gw_chan.c sees it. */
#include "gateway/gw.h"

#include <unistd.h>

bool gw_static_answer(struct gw *g, const struct resolve_answer *a)
{
	(void)g;
	(void)a;
	return false;
}

const char *gw_net_ip6(const struct gw *g, char out[static ADDR_STRLEN])
{
	return addr_str(&node_lease(g->node)->lease.ip6, out);
}

void gw_state_kept(struct gw *g, int err)
{
	(void)g;
	(void)err;
}

void gw_static_helper(struct gw *g)
{
	(void)g;
}

void ctl_take(struct ctl *c, int fd)
{
	(void)c;
	close(fd);
}

void loop_stop(struct loop *l)
{
	(void)l;
}

nsec loop_cpu_used(void)
{
	return NSEC_PER_SEC;
}
