/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration socket of the gateway process: what of a device lies outside its node. */
#include "gateway/gw.h"
#include "gateway/uapi_server.h"
#include "base/log.h"

#include <errno.h>

static uint16_t port(void *ctx)
{
	const struct gw *g = ctx;
	return g->udp.port;
}

/* Without the mark, what it sends would be led into the tunnel. */
static int open_socket(const struct gw *g, uint16_t wanted, struct udp_socket *s)
{
	int err = udp_open(s, &addr_any, wanted);
	if (err < 0)
		return err;
	udp_set_offload(s, g->cfg->gso, g->cfg->gso);
	err = g->fwmark ? udp_set_mark(s, g->fwmark) : 0;
	if (err < 0)
		udp_close(s);
	return err;
}

/* Our own candidates have another port now, and each path has to be proven from there. */
static int set_port(void *ctx, uint16_t wanted)
{
	struct gw *g = ctx;
	struct udp_socket s;

	if (wanted && wanted == g->udp.port)
		return 0;
	int err = open_socket(g, wanted, &s);
	if (err < 0)
		return err;
	gw_io_socket(g, &s);
	if (g->full[1] && g->guard)
		guard_mark(g->guard, s.port, g->fwmark);
	if (g->cfg->joining)
		gw_net_candidates(g);
	node_network_changed(g->node, g->loop.now);
	return 0;
}

static uint32_t fwmark(void *ctx)
{
	const struct gw *g = ctx;
	return g->fwmark;
}

/*
 * A full tunnel's rules tell our datagrams by its mark, which stays as long as it does. A configuration
 * without FwMark, which `wg setconf` and `syncconf` give on as 0, is the usual one there.
 */
static int set_fwmark(void *ctx, uint32_t mark)
{
	struct gw *g = ctx;
	bool full = g->full[0] || g->full[1];

	if (mark == g->fwmark || (full && !mark))
		return 0;
	if (full) {
		log_warn("the mark of %s stays %u while there is a full tunnel", g->tun.name,
			 g->fwmark);
		return -EBUSY;
	}
	int err = udp_set_mark(&g->udp, mark);
	if (err < 0)
		return err;
	g->fwmark = mark;
	node_network_changed(g->node, g->loop.now); /* it may lead elsewhere */
	return 0;
}

static nsec wall_offset(void *ctx)
{
	const struct gw *g = ctx;
	return g->loop.wall_offset;
}

/* "fe80::1%eth0" */
static uint32_t ifindex(void *ctx, const char *name)
{
	(void)ctx;
	return if_nametoindex(name);
}

/* wg-quick and people end a userspace implementation by removing its socket. */
static void gone(void *ctx)
{
	struct gw *g = ctx;
	if (g->cfg->bare) {
		log_info("the configuration socket of %s was removed: ending", g->tun.name);
		loop_stop(&g->loop);
		return;
	}
	log_warn("the configuration socket of %s was removed: `wg` does not see this interface any "
		 "more",
		 g->tun.name);
	gw_uapi_close(g);
}

int gw_uapi_open(struct gw *g)
{
	const struct uapi_device dev = {
		.node = g->node,
		.ctx = g,
		.port = port,
		.set_port = set_port,
		.fwmark = fwmark,
		.set_fwmark = set_fwmark,
		.wall_offset = wall_offset,
		.ifindex = ifindex,
	};
	int err = uapi_server_open(&g->uapi, &g->loop, g->tun.name, &dev, gone);
	const char *why = err == -EADDRINUSE ? "another serves it" : strerror(-err);

	if (err < 0 && g->cfg->bare)
		log_error("cannot serve the configuration socket of %s: %s", g->tun.name, why);
	else if (err < 0)
		log_info("no configuration socket (%s): `wg` does not see this interface", why);
	return g->cfg->bare ? err : 0;
}

void gw_uapi_close(struct gw *g)
{
	uapi_server_close(g->uapi);
	g->uapi = NULL;
}
