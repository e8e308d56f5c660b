/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which routes of static peers the kernel is told of, and when; and the mark of a full tunnel. A real node
 * below; the kernel is played by its calls (--wrap).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/gw.h"
#include "gateway/uapi_server.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOW "0.0.0.0/1"
#define HIGH "128.0.0.0/1"
#define NAME "vpn.example.com"

static struct gw g;
static struct gw_config cfg;
static struct wgconf conf;
static struct uapi_device dev;

/* --- the kernel --- */

static struct prefix held[8];
static size_t nheld;
static unsigned warned, told; /* route_set: how often */
static int full_tunnel_err;
static uint32_t socket_mark;
static int mark_err;
static unsigned sockets; /* that took the place of the one in use */
static nsec began;

static size_t find(const struct prefix *p)
{
	size_t i = 0;
	while (i < nheld && !prefix_eq(&held[i], p))
		i++;
	return i;
}

bool __wrap_kernel_route_held(const struct kernel_routes *k, const struct prefix *p);
int __wrap_kernel_route_set(struct kernel_routes *k, const struct prefix *p, const struct addr *src,
			    const struct route_metrics *m);
int __wrap_kernel_route_remove(struct kernel_routes *k, const struct prefix *p);
int __wrap_kernel_full_tunnel(struct kernel_routes *k, bool v4, uint32_t table);
void __wrap_kernel_full_tunnel_end(struct kernel_routes *k, bool v4);
uint32_t __wrap_kernel_free_table(struct kernel_routes *k, uint32_t from);
int __wrap_udp_set_mark(struct udp_socket *s, uint32_t mark);
void __wrap_log_line(struct log_site *site, enum log_level level, const char *fmt, ...);

bool __wrap_kernel_route_held(const struct kernel_routes *k, const struct prefix *p)
{
	(void)k;
	return find(p) < nheld;
}

int __wrap_kernel_route_set(struct kernel_routes *k, const struct prefix *p, const struct addr *src,
			    const struct route_metrics *m)
{
	(void)k;
	(void)src;
	(void)m;
	size_t i = find(p);
	assert_true(i < ARRAY_SIZE(held));
	held[i] = *p;
	nheld += i == nheld;
	told++;
	return 0;
}

int __wrap_kernel_route_remove(struct kernel_routes *k, const struct prefix *p)
{
	(void)k;
	size_t i = find(p);
	if (i < nheld)
		held[i] = held[--nheld];
	return 0;
}

int __wrap_kernel_full_tunnel(struct kernel_routes *k, bool v4, uint32_t table)
{
	(void)k;
	(void)v4;
	(void)table;
	return full_tunnel_err;
}

void __wrap_kernel_full_tunnel_end(struct kernel_routes *k, bool v4)
{
	(void)k;
	(void)v4;
}

uint32_t __wrap_kernel_free_table(struct kernel_routes *k, uint32_t from)
{
	(void)k;
	return from;
}

int __wrap_udp_set_mark(struct udp_socket *s, uint32_t mark)
{
	(void)s;
	if (mark_err == 0)
		socket_mark = mark;
	return mark_err;
}

void __wrap_log_line(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	(void)fmt;
	warned += level == LOG_LEVEL_WARN && log_allowed(site, g.loop.now);
}

/* --- the rest of the gateway --- */

int uapi_server_open(struct uapi_server **out, struct loop *l, const char *ifname,
		     const struct uapi_device *d, void (*gone)(void *ctx))
{
	(void)l;
	(void)ifname;
	(void)gone;
	dev = *d;
	*out = NULL;
	return 0;
}

void uapi_server_close(struct uapi_server *s)
{
	(void)s;
}

void loop_stop(struct loop *l)
{
	(void)l;
}

void gw_interface_gone(struct gw *of, const char *why)
{
	(void)of;
	(void)why;
}

void gw_io_socket(struct gw *of, const struct udp_socket *s)
{
	udp_close(&of->udp);
	of->udp = *s;
	sockets++;
}

static void on_note(void *ctx, const struct node_note *n)
{
	struct gw *of = ctx;
	if (n->event == NODE_ROUTE_ADD || n->event == NODE_ROUTE_REMOVE)
		gw_net_route(of, n->peer, &n->prefix, n->event == NODE_ROUTE_ADD);
	else if (n->event == NODE_ENDPOINT)
		gw_net_endpoint(of, n->peer, n->path.remote.port == 0);
	else if (n->event == NODE_MTU)
		gw_net_mtu(of, n->peer);
}

static void on_udp(void *ctx, const struct udp_tx *tx, unsigned n)
{
	(void)ctx;
	(void)tx;
	(void)n;
}

static int setup(void **state)
{
	struct node_config nc = { .io = { .ctx = &g, .udp = on_udp, .note = on_note },
				  .aead = aead_choose("libcrypto"),
				  .private_key = { 1 },
				  .max_peers = 8 };
	(void)state;
	nheld = warned = told = 0;
	full_tunnel_err = mark_err = 0;
	sockets = 0;
	socket_mark = 0;
	wgconf_init(&conf);
	cfg = (struct gw_config){ .static_conf = &conf };
	g = (struct gw){
		.cfg = &cfg, .helper_fd = -1, .udp.fd = -1, .kernel = (struct kernel_routes *)&g
	};
	began += 1000 * NSEC_PER_SEC; /* what one test has logged is forgotten in the next */
	log_flush(began);
	g.loop.now = began;
	g.node = node_new(&nc, g.loop.now);
	return g.node && gw_uapi_open(&g) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	udp_close(&g.udp);
	node_free(g.node);
	free(g.names);
	wgconf_free(&conf);
	return 0;
}

/* --- what the tests say --- */

static const char *const keys[] = { "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
				    "AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" };

static void says(const char *key, const char *value)
{
	char line[200];
	snprintf(line, sizeof(line), "%s = %s", key, value);
	assert_true(wgconf_line(&conf, line));
}

static void peer(unsigned i, const char *endpoint, const char *allowed)
{
	assert_true(wgconf_line(&conf, "[Peer]"));
	says("PublicKey", keys[i]);
	if (endpoint)
		says("Endpoint", endpoint);
	says("AllowedIPs", allowed);
}

static struct peer *start(void)
{
	assert_int_equal(gw_static_peers(&g), 0);
	return node_peer_find(g.node, conf.peers[0].key);
}

static struct endpoint at(const char *addr)
{
	struct endpoint e = { .port = 51820 };
	assert_true(addr_parse(addr, &e.addr));
	return e;
}

/* The name of the first peer that has one. */
static void found(const char *addr)
{
	struct resolve_answer a = { .id = 1u << 31, .count = 1, .at = { at(addr) } };
	assert_true(gw_static_answer(&g, &a));
}

static void moves(struct peer *p, const char *addr)
{
	struct endpoint e = at(addr);
	node_static_endpoint(p, g.loop.now, &e);
}

static bool has(const char *text)
{
	struct prefix p;
	assert_true(prefix_parse(text, &p));
	return find(&p) < nheld;
}

static void waits_for_its_name(void **state)
{
	(void)state;
	peer(0, NAME ":51820", LOW ", " HIGH ", ::/0");
	struct peer *p = start();
	assert_int_equal(nheld, 0);
	gw_net_mtu(&g, p);
	assert_int_equal(nheld, 0);
	assert_int_equal(socket_mark, 0);
	found("203.0.113.9");
	assert_true(has(LOW) && has("::/0"));
	assert_false(has(HIGH)); /* its endpoint is inside */
	assert_int_equal(warned, 1);
	assert_int_equal(socket_mark, 51820);
	gw_net_mtu(&g, p);
	assert_false(has(HIGH));
	assert_int_equal(warned, 1);
}

static void heard_of_before_its_name(void **state)
{
	(void)state;
	peer(0, NAME ":51820", "10.0.0.0/8, ::/0");
	struct peer *p = start();
	moves(p, "203.0.113.9");
	assert_int_equal(nheld, 2);
	unsigned before = told;
	found("10.1.1.1");
	assert_int_equal(told, before);
	assert_int_equal(nheld, 2);
	assert_int_equal(warned, 0);
}

/* How many questions the helper got, since the last time. */
static unsigned asked(int helper)
{
	struct resolve_question q;
	unsigned n = 0;
	gw_static_turn(&g, g.loop.now);
	while (recv(helper, &q, sizeof(q), MSG_DONTWAIT) == (ssize_t)sizeof(q)) {
		assert_string_equal(q.host, NAME);
		n++;
	}
	return n;
}

/* A name without an address is asked for again after 1, 2, 4 … 30 s; one without an answer after a minute. */
static void asks_again_for_a_name(void **state)
{
	static const int gaps[] = { 1, 2, 4, 8, 16, 30, 30 };
	const struct resolve_answer none = { .id = 1u << 31 }, six = {
		.id = 1u << 31, .count = 1, .at = { at("2001:db8::9") }
	};
	int helper[2];
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, helper), 0);
	g.helper_fd = helper[0];
	peer(0, NAME ":51820", "10.0.0.0/8");
	start();
	assert_int_equal(asked(helper[1]), 1);
	g.loop.now += 60 * NSEC_PER_SEC - 1;
	assert_int_equal(asked(helper[1]), 0);
	g.loop.now++;
	assert_int_equal(asked(helper[1]), 1);
	for (size_t i = 0; i < ARRAY_SIZE(gaps); i++) {
		/* an address that this socket cannot send to is none */
		assert_true(gw_static_answer(&g, i % 2 ? &six : &none));
		assert_true(gw_static_deadline(&g) == g.loop.now + gaps[i] * NSEC_PER_SEC);
		assert_int_equal(asked(helper[1]), 0);
		g.loop.now = gw_static_deadline(&g);
		assert_int_equal(asked(helper[1]), 1);
	}
	assert_int_equal(warned, 1);
	gw_static_helper(&g); /* another one, which was asked nothing yet */
	assert_int_equal(asked(helper[1]), 1);
	found("203.0.113.9");
	assert_true(has("10.0.0.0/8"));
	assert_true(gw_static_deadline(&g) == NSEC_NEVER);
	assert_int_equal(asked(helper[1]), 0);
	close(helper[0]);
	close(helper[1]);
}

static void ask_of(int helper, struct resolve_question *q)
{
	gw_static_turn(&g, g.loop.now);
	assert_int_equal(recv(helper, q, sizeof(*q), MSG_DONTWAIT), sizeof(*q));
}

/* Each is asked for by itself and a key's last one alone, wherever they stand in the file. */
static void names_of_several(void **state)
{
	int helper[2];
	struct resolve_question q;
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, helper), 0);
	g.helper_fd = helper[0];
	peer(1, "203.example.com:1", "10.1.0.0/16");
	peer(0, NAME ":51820", "10.2.0.0/16");
	peer(1, "204.example.com:1", "10.3.0.0/16");
	assert_true(gw_static_deadline(&g) == NSEC_NEVER);
	start();
	for (int i = 0; i < 2; i++) {
		ask_of(helper[1], &q);
		bool late = strcmp(q.host, NAME) != 0;
		assert_string_equal(q.host, late ? "204.example.com" : NAME);
		struct resolve_answer a = { .id = q.id, .count = 1 };
		a.at[0] = at(late ? "203.0.113.204" : "203.0.113.9");
		g.loop.now += NSEC_PER_SEC;
		assert_true(gw_static_answer(&g, &a));
		assert_true(gw_static_answer(&g, &a));
	}
	assert_int_equal(recv(helper[1], &q, sizeof(q), MSG_DONTWAIT), -1);
	assert_true(gw_static_deadline(&g) == NSEC_NEVER);
	assert_true(has("10.2.0.0/16") && has("10.3.0.0/16") && nheld == 2);
	close(helper[0]);
	close(helper[1]);
}

static void takes_over_what_waits(void **state)
{
	(void)state;
	peer(0, "203.0.113.9:51820", LOW ", ::/0");
	peer(1, NAME ":51820", LOW ", ::/0");
	start();
	assert_int_equal(nheld, 0); /* the first's, which would swallow the look-up */
	assert_false(g.full[0]);
	found("203.0.113.10");
	assert_int_equal(nheld, 2);
}

static void moves_into_its_own_prefix(void **state)
{
	(void)state;
	peer(0, "203.0.113.9:51820", "10.0.0.0/8");
	struct peer *p = start();
	assert_true(has("10.0.0.0/8"));
	unsigned before = told;
	moves(p, "203.0.113.10");
	assert_int_equal(told, before);
	moves(p, "10.1.1.1");
	assert_false(has("10.0.0.0/8"));
	assert_int_equal(warned, 1);
	moves(p, "10.1.1.2");
	assert_int_equal(warned, 1);
	moves(p, "203.0.113.9");
	assert_true(has("10.0.0.0/8"));
	for (int i = 0; i < 100; i++)
		moves(p, i % 2 ? "203.0.113.9" : "10.1.1.1");
	assert_int_equal(warned, 1); /* in ten seconds */
}

/* `Table = main` is no full tunnel; what would hold the endpoint is as little of use there as by itself. */
static void the_main_table(void **state)
{
	(void)state;
	assert_true(wgconf_line(&conf, "[Interface]"));
	says("Table", "main");
	peer(0, "203.0.113.9:51820", "0.0.0.0/0, 10.0.0.0/8, " HIGH);
	start();
	assert_true(has("0.0.0.0/0") && has("10.0.0.0/8"));
	assert_false(has(HIGH));
	assert_int_equal(socket_mark, 0);
	assert_false(g.full[1]);
	assert_int_equal(warned, 1);
}

static void warned_of_once(void **state)
{
	(void)state;
	full_tunnel_err = -EOPNOTSUPP;
	peer(0, "203.0.113.9:51820", "0.0.0.0/0");
	struct peer *p = start();
	for (int i = 0; i < 3; i++)
		gw_net_mtu(&g, p);
	assert_int_equal(nheld, 0);
	assert_int_equal(warned, 1);
}

static void a_full_tunnel_keeps_its_mark(void **state)
{
	(void)state;
	peer(0, "203.0.113.9:51820", "::/0");
	struct peer *p = start();
	assert_int_equal(socket_mark, 51820);
	assert_int_equal(dev.set_fwmark(&g, 0), 0); /* as of a file that says none */
	assert_int_equal(socket_mark, 51820);
	assert_int_equal(dev.set_fwmark(&g, 51820), 0);
	assert_int_equal(dev.set_fwmark(&g, 7), -EBUSY);
	assert_int_equal(socket_mark, 51820);
	assert_int_equal(dev.fwmark(&g), 51820);
	node_static_unroute_all(p);
	assert_int_equal(dev.set_fwmark(&g, 7), 0);
	assert_int_equal(socket_mark, 7);
	assert_int_equal(dev.fwmark(&g), 7);
}

static int lowest_free(void)
{
	int fd = dup(0);
	close(fd);
	return fd;
}

/* A socket without the mark would send our own datagrams into the tunnel. */
static void a_port_needs_its_mark(void **state)
{
	(void)state;
	mark_err = -EPERM;
	assert_int_equal(dev.set_port(&g, 0), 0); /* there is none */
	g.fwmark = 7;
	int fd = lowest_free();
	uint16_t port = g.udp.port;
	assert_int_equal(dev.set_port(&g, 0), -EPERM);
	assert_int_equal(dev.port(&g), port);
	assert_int_equal(lowest_free(), fd);
	mark_err = 0;
	assert_int_equal(dev.set_port(&g, 0), 0);
	assert_int_equal(sockets, 2);
	assert_int_equal(socket_mark, 7);
}

int main(void)
{
#define IN_GATEWAY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		IN_GATEWAY(waits_for_its_name),
		IN_GATEWAY(heard_of_before_its_name),
		IN_GATEWAY(asks_again_for_a_name),
		IN_GATEWAY(takes_over_what_waits),
		IN_GATEWAY(names_of_several),
		IN_GATEWAY(moves_into_its_own_prefix),
		IN_GATEWAY(warned_of_once),
		IN_GATEWAY(the_main_table),
		IN_GATEWAY(a_full_tunnel_keeps_its_mark),
		IN_GATEWAY(a_port_needs_its_mark),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
