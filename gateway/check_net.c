/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/check_probes.h"
#include "gateway/shimproc.h"
#include "crypto/wg.h"
#include "base/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TRIES = 3 };
#define TRY_TIME NSEC_PER_SEC

/* --- ports --- */

/* What the gateway logs in these lines is what is to be said here. */
static int listening(struct check *k, int (*step)(struct gw *g))
{
	log_capture(k->words, sizeof(k->words));
	int err = step(&k->gw);
	log_capture(NULL, 0);
	return err;
}

static const char *offload_words(const struct udp_socket *u)
{
	return u->gso ? (u->gro ? "GSO and GRO" : "GSO, no GRO")
		      : (u->gro ? "GRO, no GSO" : "neither GSO nor GRO: each datagram by itself");
}

void check_socket(struct check *k)
{
	struct check_report *r = &k->report;
	uint16_t port = k->gw.cfg->port ? k->gw.cfg->port : k->gw.cfg->state.port;
	int err = listening(k, gw_io_socket_open);
	bool other = err == 0 && port && k->gw.udp.port != port;

	if (k->runs && (other || err == -EADDRINUSE))
		check_found(r, "udp-port", CHECK_OK, "port %u is the running gateway's", port);
	else if (err < 0)
		check_complaint(r, "udp-port", CHECK_FAILED, k->words);
	else if (other)
		check_complaint(r, "udp-port", CHECK_WARNING, k->words);
	else if (port)
		check_found(r, "udp-port", CHECK_OK, "port %u is free", port);
	else
		check_found(r, "udp-port", CHECK_OK, "any that is free");
	if (err == -EADDRINUSE) { /* what follows does with another */
		k->gw.cfg->port = 0;
		k->gw.cfg->state.port = 0;
		err = listening(k, gw_io_socket_open);
	}
	if (err == 0)
		check_found(r, "udp-offloads", CHECK_OK, "%s", offload_words(&k->gw.udp));
}

static bool in_use(uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	bool taken = fd >= 0 && bind(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0 &&
		     errno == EADDRINUSE;
	if (fd >= 0)
		close(fd);
	return taken;
}

static void check_trino_port(struct check *k, const char *name, uint16_t port)
{
	if (!in_use(port)) {
		check_found(&k->report, name, CHECK_OK, "TCP port %u is free for Trino", port);
		return;
	}
	check_found(&k->report, name, k->runs ? CHECK_OK : CHECK_WARNING, "TCP port %u is in use",
		    port);
	check_todo(&k->report, "well if that is this node's Trino; else it cannot start there");
}

/* The shim itself, which never comes to a turn. */
static void check_shim(struct check *k)
{
	struct shim *shim = NULL;
	struct ev_loop *ev = ev_loop_new(EVFLAG_NOENV);

	log_capture(k->words, sizeof(k->words));
	int err = ev ? shim_start(&shim, ev, &k->app->shim) : -ENOMEM;
	shim_free(shim);
	log_capture(NULL, 0);
	if (ev)
		ev_loop_destroy(ev);
	if (err == 0)
		check_found(&k->report, "shim-port", CHECK_OK, "TCP port %u on localhost is free",
			    k->app->shim.proxy_port);
	else if (err == -EADDRINUSE && k->runs)
		check_found(&k->report, "shim-port", CHECK_OK,
			    "TCP port %u is in use, by the running gateway's shim as it seems",
			    k->app->shim.proxy_port);
	else
		check_complaint(&k->report, "shim-port", CHECK_FAILED, k->words);
}

void check_trino(struct check *k)
{
	log_capture(k->words, sizeof(k->words));
	int err = app_trino(k->app);
	log_capture(NULL, 0);
	if (err < 0) {
		check_complaint(&k->report, "trino", CHECK_FAILED, k->words);
		return;
	}
	if (!k->gw.cfg->trino)
		return;
	check_shim(k);
	check_trino_port(k, "trino-port", k->app->shim.trino_port);
	if (k->app->shim.trino_https_port)
		check_trino_port(k, "trino-https", k->app->shim.trino_https_port);
}

/* --- the host's own network --- */

void check_prefixes(struct check *k)
{
	const struct token *t = &k->gw.cfg->token;
	char text[PREFIX_STRLEN];

	/* a gateway that runs has its own address there */
	k->gw.tun.ifindex = k->runs ? if_nametoindex(k->app->interface) : 0;
	for (size_t i = 0; i < t->nprefixes; i++) {
		log_capture(k->words, sizeof(k->words));
		int err = gw_net_clash(&k->gw, &t->prefixes[i]);
		log_capture(NULL, 0);
		if (err < 0)
			check_complaint(&k->report, "prefix", CHECK_FAILED, k->words);
		else if (k->words[0])
			check_complaint(&k->report, "prefix", CHECK_WARNING, k->words);
		else
			check_found(&k->report, "prefix", CHECK_OK, "nothing here uses %s",
				    prefix_str(&t->prefixes[i], text));
	}
}

/* --- the rendezvous --- */

/*
 * A handshake's first message, of a key that nobody knows. The rendezvous answers those with a cookie and
 * keeps nothing of them; only who has its key can make one. So an answer says that it is there, that UDP
 * passes both ways, and that the token is its own, and nobody has joined.
 */
struct knock {
	struct wg *wg;
	struct wg_peer *peer;
	struct udp_socket *udp;
	struct endpoint at;
	uint8_t *buf;
};

static bool knock_send(struct knock *n, nsec now)
{
	struct wg_output out;
	struct udp_tx tx = { .to = n->at, .buf = out.bytes, .may_fragment = true };

	wg_peer_restart(n->wg, n->peer, now);
	while (wg_poll(n->wg, now, &out)) {
		tx.len = tx.seg = (uint32_t)out.len;
		if (out.event == WG_EVENT_SEND && udp_send(n->udp, &tx, 1) > 0)
			return false;
	}
	return true;
}

static bool is_answer(struct knock *n, nsec now, const struct udp_rx *rx)
{
	struct wg_reply reply;
	return endpoint_eq(&rx->from, &n->at) &&
	       wg_handshake_input(n->wg, now, rx->buf, rx->len, rx->from.addr.b,
				  sizeof(rx->from.addr.b), &reply) == DROP_NONE;
}

/* The time that the answer took, or -1. */
static nsec knock_wait(struct knock *n, nsec sent)
{
	struct pollfd p = { .fd = n->udp->fd, .events = POLLIN };
	struct udp_rx rx = { .buf = n->buf };

	for (nsec now = sent; now - sent < TRY_TIME; now = loop_clock()) {
		if (poll(&p, 1, (int)((TRY_TIME - (now - sent)) / NSEC_PER_MSEC) + 1) <= 0)
			continue;
		while (udp_recv(n->udp, &rx, 1) > 0)
			if (is_answer(n, loop_clock(), &rx))
				return loop_clock() - sent;
	}
	return -1;
}

static bool knock_open(struct knock *n, const struct token *t, const struct aead *aead)
{
	struct wg_config cfg = { .max_peers = 1, .aead = aead };
	uint8_t key[WG_KEY_LEN];

	n->wg = wg_new(&cfg);
	n->buf = malloc(UDP_RX_MAX);
	if (!n->wg || !n->buf)
		return false;
	wg_key_generate(key);
	wg_set_private_key(n->wg, key);
	wg_set_wall_offset(n->wg, loop_wall_offset());
	sodium_memzero(key, sizeof(key));
	n->peer = wg_peer_add(n->wg, t->key, NULL);
	if (n->peer)
		wg_peer_set_psk(n->peer, t->admission);
	return n->peer;
}

static void say_answer(struct check *k, const struct endpoint *at, bool sent, nsec took)
{
	struct check_report *r = &k->report;
	char text[ENDPOINT_STRLEN];

	endpoint_str(at, text);
	if (took >= 0) {
		check_found(r, "rendezvous", CHECK_OK,
			    "%s answers in %.1f ms, and has the token's key", text,
			    (double)took / (double)NSEC_PER_MSEC);
	} else if (!sent) {
		check_found(r, "rendezvous", CHECK_FAILED, "nothing can be sent to %s by UDP",
			    text);
		check_todo(r, "see to this host's routes and its firewall for what goes out");
	} else {
		check_found(r, "rendezvous", CHECK_FAILED, "no answer from %s by UDP", text);
		check_todo(r,
			   "is it running there, do firewalls on both sides let UDP pass, is the "
			   "token its own?");
	}
}

static bool knock_at(struct check *k, const struct endpoint *at)
{
	struct knock n = { .udp = &k->gw.udp, .at = *at };
	bool sent = false;
	nsec took = -1;

	if (knock_open(&n, &k->gw.cfg->token, k->gw.cfg->aead))
		for (unsigned i = 0; i < TRIES && took < 0; i++) {
			nsec now = loop_clock();
			bool gone = knock_send(&n, now);
			sent |= gone;
			took = gone ? knock_wait(&n, now) : -1;
		}
	wg_free(n.wg);
	free(n.buf);
	say_answer(k, at, sent, took);
	return took >= 0;
}

/* Of a name with several addresses the first that answers will do. */
static bool check_one(struct check *k, const struct token_rendezvous *z)
{
	struct endpoint at[RESOLVE_MAX];
	uint32_t n = resolve(z->host, z->udp_port, at), ways = 0;

	if (n == 0) {
		check_found(&k->report, "rendezvous", CHECK_FAILED, "no address for the name %s",
			    z->host);
		check_todo(&k->report, "see to this host's name servers");
		return false;
	}
	for (uint32_t i = 0; i < n; i++)
		if (kernel_way(k->gw.kernel, &at[i].addr, 0).mtu && ++ways && knock_at(k, &at[i]))
			return true;
	if (ways == 0) {
		check_found(&k->report, "rendezvous", CHECK_FAILED, "no route to %s", z->host);
		check_todo(&k->report, "see to this host's network");
	}
	return false;
}

void check_rendezvous(struct check *k)
{
	const struct token *t = &k->gw.cfg->token;
	size_t first = k->report.n;
	bool any = false;

	for (size_t i = 0; i < t->nrendezvous && k->gw.udp.fd >= 0; i++)
		any |= check_one(k, &t->rendezvous[i]);
	/* any one alive is enough */
	for (size_t i = first; any && i < k->report.n; i++)
		if (k->report.line[i].result == CHECK_FAILED)
			k->report.line[i].result = CHECK_WARNING;
}
