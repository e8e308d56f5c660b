/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's two data edges. */
#include "gateway/gw.h"
#include "base/log.h"

#include <errno.h>
#include <netinet/ip.h>
#include <stdlib.h>

enum {
	ERROR_ROUNDS = 4,
	BUSY_TURNS = 2,
	SOME_WRITES = 2,
	READ_PRICE = 32,
	READ_CREDIT_MOST = 8 * READ_PRICE,
	BULK_BYTES = 32 << 10
};

void gw_send_udp(void *ctx, const struct udp_tx *tx, unsigned n)
{
	struct gw *g = ctx;
	for (unsigned lost = udp_send(&g->udp, tx, n); lost; lost--)
		drop_count(node_drops_edit(g->node), DROP_UDP_SEND);
}

void gw_send_tun(void *ctx, const struct gro_write *w)
{
	struct gw *g = ctx;
	g->tun_writes++;
	g->tun_turns = 0;
	if (tun_write(&g->tun, w) < 0)
		node_drops_edit(g->node)->n[DROP_TUN_WRITE] += w->packets;
}

/*
 * A read that finds nothing costs as much as one that does. Where epoll said so (`ready`) the first finds
 * something; where several packets have just been given to the kernel, some may have been answered
 * already. As many more are tried as such packets, and all that there is where packets have come of late
 * without a wait and without one to answer, so that a queue is emptied at once. What finds nothing is
 * paid for by what did: one in READ_PRICE. Behind a super-packet of `last` bytes there mostly is another of
 * the same write, and beside what it takes to seal one a read is nothing.
 */
static bool may_read(const struct gw *g, bool ready, unsigned reads, size_t bytes, size_t last)
{
	bool credit = g->read_credit >= READ_PRICE;
	bool queue = g->loop.busy >= BUSY_TURNS && g->tun_turns >= BUSY_TURNS;
	if (reads == 0)
		return ready || (g->tun_writes >= SOME_WRITES && credit);
	return bytes < GW_TURN_BYTES &&
	       (reads < g->tun_writes || last >= BULK_BYTES || (queue && credit));
}

static void note_read(struct gw *g, bool found)
{
	if (found)
		g->read_credit += g->read_credit < READ_CREDIT_MOST;
	else
		g->read_credit -= g->read_credit < READ_PRICE ? g->read_credit : READ_PRICE;
}

void gw_interface_gone(struct gw *g, const char *why)
{
	log_error("interface %s is gone: %s. %s", g->tun.name, why,
		  g->cfg->bare ? "Ending" : "Starting anew");
	loop_stop(&g->loop);
}

/* The kernel counts a hop, of the 64 that it gives its own packets. */
static bool is_forwarded_tcp(const uint8_t *ip, size_t len)
{
	bool v6 = ip[0] >> 4 == 6;
	if (len < (v6 ? 40 : 20) || ip[v6 ? 6 : 9] != IPPROTO_TCP)
		return false;
	return ip[v6 ? 7 : 8] != IPDEFTTL;
}

static void note_backlog(struct gw *g, enum node_edge edge, struct backlog *b, bool ready)
{
	bool waited = g->loop.busy == 0 || !ready;
	node_backlog(g->node, edge, backlog_read(b, g->loop.now, g->loop.turns, waited));
}

static void read_tun(struct gw *g, bool ready)
{
	size_t bytes = 0, last = 0;
	g->tun_turns++;
	note_backlog(g, NODE_TUN, &g->tun_backlog, ready || ev_is_pending(&g->tun_io));
	for (unsigned reads = 0; may_read(g, ready, reads, bytes, last); reads++) {
		ssize_t n = tun_read(&g->tun, &g->vnet, g->tun_buf, TUN_READ_MAX);
		if (n == -EINVAL || n == -EMSGSIZE || n == -EFAULT) {
			/* one packet that the kernel could not hand over: no reason to go */
			drop_count(node_drops_edit(g->node), DROP_TUN_MALFORMED);
			break;
		}
		if (n < 0) {
			gw_interface_gone(g, n == -EBADFD ? "it was deleted" : strerror((int)-n));
			return;
		}
		note_read(g, n > 0);
		if (n == 0) {
			ev_clear_pending(g->loop.ev, &g->tun_io);
			break;
		}
		/* its owner has just raised its MTU, elsewhere */
		if (g->moved && g->vnet.gso_type == VNET_GSO_NONE && (size_t)n > g->own_mtu)
			gw_net_follow(g);
		if (!g->forwards && is_forwarded_tcp(g->tun_buf, (size_t)n))
			gw_net_forwards(g);
		node_tun(g->node, g->loop.now, &g->vnet, g->tun_buf, (size_t)n);
		bytes += last = (size_t)n;
	}
	/* taken for empty: to know it would take a read more, and a TUN that fills turns is what matters */
	if (bytes < GW_TURN_BYTES)
		backlog_empty(&g->tun_backlog);
	node_backlog(g->node, NODE_TUN, 0);
	g->tun_writes = 0;
	node_flush(g->node, g->loop.now);
}

static void on_tun(struct ev_loop *ev, ev_io *w, int revents)
{
	(void)ev;
	(void)revents;
	read_tun(w->data, true);
}

/* ICMP's word, and our own device's, of datagrams that were too large. */
static void take_errors(struct gw *g)
{
	struct udp_too_big e[GW_RX_SLOTS];
	/* a flood of them gets no more of a turn; the descriptor stays readable */
	for (unsigned rounds = 0; g->udp.errors && rounds < ERROR_ROUNDS; rounds++) {
		unsigned n = udp_errors(&g->udp, e, GW_RX_SLOTS);
		for (unsigned i = 0; i < n; i++)
			node_too_big(g->node, g->loop.now, &e[i]);
	}
}

static void on_udp(struct ev_loop *ev, ev_io *w, int revents)
{
	struct gw *g = w->data;
	struct udp_rx rx[GW_RX_SLOTS];
	size_t bytes = 0;

	(void)ev;
	(void)revents;
	for (unsigned i = 0; i < GW_RX_SLOTS; i++)
		rx[i].buf = g->rx_buf[i];
	note_backlog(g, NODE_UDP, &g->udp_backlog, true);
	int n = GW_RX_SLOTS;
	while (n == GW_RX_SLOTS && bytes < GW_TURN_BYTES) {
		n = udp_recv(&g->udp, rx, GW_RX_SLOTS);
		if (n <= 0)
			break; /* an error here is an ICMP's or a moment's: the socket stays good */
		for (int i = 0; i < n; i++)
			bytes += rx[i].len;
		node_udp(g->node, g->loop.now, rx, (unsigned)n);
	}
	if (n >= 0 && n < GW_RX_SLOTS)
		backlog_empty(&g->udp_backlog);
	node_backlog(g->node, NODE_UDP, 0);
	if (g->udp.errors)
		take_errors(g);
	if (may_read(g, false, 0, 0, 0))
		read_tun(g, false);
}

int gw_io_socket_open(struct gw *g)
{
	uint16_t port = g->cfg->port ? g->cfg->port : g->cfg->state.port;
	int err = udp_open(&g->udp, &addr_any, port);

	if (err == -EADDRINUSE && !g->cfg->port && port) {
		log_info("UDP port %u of the last start is taken: using another", port);
		err = udp_open(&g->udp, &addr_any, 0);
	}
	if (err == -EADDRINUSE)
		log_error("UDP port %u is in use by another program: choose another --port, or "
			  "leave it out",
			  port);
	else if (err == -EACCES)
		log_error("no right to use UDP port %u: below 1024 CAP_NET_BIND_SERVICE is needed; "
			  "or "
			  "choose another --port",
			  port);
	else if (err < 0)
		log_error("cannot open a UDP socket: %s", strerror(-err));
	if (err == 0 && !g->cfg->gso)
		udp_set_offload(&g->udp, false, false);
	if (err == 0 && g->cfg->static_conf && g->cfg->static_conf->fwmark) {
		g->fwmark = g->cfg->static_conf->fwmark;
		err = udp_set_mark(&g->udp, g->fwmark);
		if (err < 0)
			log_error("cannot set FwMark: %s", strerror(-err));
	}
	return err;
}

int gw_io_tun_open(struct gw *g)
{
	const char *name = g->cfg->interface;
	int err = tun_open(&g->tun, name);

	switch (err) {
	case 0:
		break;
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		log_error("/dev/net/tun is missing: give the container the device "
			  "(docker run --device /dev/net/tun), or load the module tun");
		break;
	case -EPERM:
	case -EACCES:
		log_error("no right to make interface %s: CAP_NET_ADMIN is needed "
			  "(docker run --cap-add NET_ADMIN, or run as root)",
			  name);
		break;
	case -EBUSY:
	case -EEXIST:
		log_error("interface %s exists already: is another gateway running? "
			  "Choose another --interface",
			  name);
		break;
	default:
		log_error("cannot make interface %s: %s", name, strerror(-err));
	}
	return err;
}

int gw_io_open(struct gw *g)
{
	g->tun_buf = malloc(TUN_READ_MAX);
	for (unsigned i = 0; i < GW_RX_SLOTS; i++)
		g->rx_buf[i] = malloc(UDP_RX_MAX);
	for (unsigned i = 0; i < GW_RX_SLOTS; i++)
		if (!g->tun_buf || !g->rx_buf[i])
			return -ENOMEM;
	int err = gw_io_tun_open(g);
	return err ? err : gw_io_socket_open(g);
}

void gw_io_close(struct gw *g)
{
	if (g->udp.fd >= 0)
		udp_close(&g->udp);
	if (g->tun.fd >= 0)
		tun_close(&g->tun);
	free(g->tun_buf);
	for (unsigned i = 0; i < GW_RX_SLOTS; i++)
		free(g->rx_buf[i]);
}

static void start_udp(struct gw *g)
{
	ev_io_init(&g->udp_io, on_udp, g->udp.fd, EV_READ);
	g->udp_io.data = g;
	ev_io_start(g->loop.ev, &g->udp_io);
}

void gw_io_socket(struct gw *g, const struct udp_socket *s)
{
	node_flush(g->node, g->loop.now);
	ev_io_stop(g->loop.ev, &g->udp_io);
	udp_close(&g->udp);
	g->udp = *s;
	g->udp_backlog = (struct backlog){ 0 };
	start_udp(g);
}

void gw_io_start(struct gw *g)
{
	g->read_credit = READ_CREDIT_MOST;
	ev_io_init(&g->tun_io, on_tun, g->tun.fd, EV_READ);
	g->tun_io.data = g;
	ev_io_start(g->loop.ev, &g->tun_io);
	start_udp(g);
}
