/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's channels: launcher (up, stop), helper (names), keeper (a file), shim (roster, status, Trino's facts). */
#include "gateway/gw.h"
#include "gateway/proc.h"
#include "base/log.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SHIM_OUT_MAX = 8 << 20 };

static void tell_launcher(struct gw *g, struct chan_msg *m)
{
	chan_send(g->chan, m, -1);
}

void gw_fatal(struct gw *g, int code)
{
	struct chan_msg m = { .kind = CHAN_FATAL, .code = code };
	tell_launcher(g, &m);
}

void gw_cannot(struct gw *g, int code)
{
	struct chan_msg m = { .kind = CHAN_CANNOT, .code = code };
	tell_launcher(g, &m);
}

void gw_tell_released(struct gw *g)
{
	struct chan_msg m = { .kind = CHAN_RELEASED };
	tell_launcher(g, &m);
}

void gw_tell_up(struct gw *g)
{
	struct chan_msg m = { .kind = CHAN_UP };
	const struct lease *l = &node_lease(g->node)->lease;
	addr_str(&l->ip, m.ip);
	gw_net_ip6(g, m.ip6);
	tell_launcher(g, &m);
}

void gw_tell_serves(struct gw *g)
{
	struct chan_msg m = { .kind = CHAN_CONTROL };
	tell_launcher(g, &m);
}

/* --- helper --- */

static void on_answer(struct gw *g, const struct resolve_answer *a)
{
	struct endpoint at[RESOLVE_MAX];
	size_t n = 0;

	if (gw_static_answer(g, a))
		return;
	if (a->id >= TOKEN_MAX_RENDEZVOUS || !(g->resolving & 1u << a->id) ||
	    a->count > RESOLVE_MAX)
		return;
	g->resolving &= ~(1u << a->id);
	g->resolved &= ~(1u << a->id);
	for (uint32_t i = 0; i < a->count; i++)
		if (g->udp.v6 || addr_is_v4(&a->at[i].addr))
			at[n++] = a->at[i];
	if (n)
		g->resolved |= 1u << a->id;
	else if (!g->resolving && !g->resolved)
		log_warn("no address for the rendezvous' name %s: trying again; see to this host's "
			 "name servers, or name an address in the rendezvous' --public",
			 g->cfg->token.rendezvous[a->id].host);
	node_resolved(g->node, g->loop.now, a->id, at, n);
}

static bool ask_helper(const struct gw *g, uint32_t id, const struct token_rendezvous *r)
{
	struct resolve_question q = { .id = id, .port = r->udp_port };

	snprintf(q.host, sizeof(q.host), "%s", r->host);
	return g->helper_fd >= 0 && send(g->helper_fd, &q, sizeof(q), MSG_NOSIGNAL) == sizeof(q);
}

/*
 * One that was asked, and not answered, is not asked again: a name server that is dead keeps the helper busy for longer than
 * a node waits. An address is no question.
 */
void gw_resolve(struct gw *g)
{
	const struct token *t = &g->cfg->token;

	for (uint32_t i = 0; i < t->nrendezvous; i++) {
		const struct token_rendezvous *r = &t->rendezvous[i];
		struct resolve_answer a = { .id = i, .count = 1, .at[0].port = r->udp_port };
		bool known = addr_parse(r->host, &a.at[0].addr);

		if (known || (!(g->resolving & 1u << i) && ask_helper(g, i, r)))
			g->resolving |= 1u << i;
		if (known)
			on_answer(g, &a);
	}
}

static void drop_fd(struct gw *g, ev_io *io, int *fd)
{
	if (*fd < 0)
		return;
	ev_io_stop(g->loop.ev, io);
	close(*fd);
	*fd = -1;
}

static void on_helper(struct ev_loop *ev, ev_io *w, int revents)
{
	struct gw *g = w->data;
	struct resolve_answer a;
	ssize_t n = recv(w->fd, &a, sizeof(a), 0);
	(void)ev;
	(void)revents;
	if (n == sizeof(a))
		on_answer(g, &a);
	else if (n == 0 || (n < 0 && errno != EAGAIN))
		drop_fd(g, &g->helper_io, &g->helper_fd);
}

/* --- keeper --- */

static void on_keeper(struct ev_loop *ev, ev_io *w, int revents)
{
	struct gw *g = w->data;
	int err;
	(void)ev;
	(void)revents;
	if (!chan_kept(w->fd, &err))
		return;
	if (err == -EPIPE)
		drop_fd(g, &g->keeper_io, &g->keeper_fd);
	gw_state_kept(g, err);
}

static void on_keeper_fd(struct gw *g, int fd)
{
	drop_fd(g, &g->keeper_io, &g->keeper_fd);
	gw_state_kept(g, -EPIPE);
	g->keeper_fd = fd;
	ev_io_init(&g->keeper_io, on_keeper, fd, EV_READ);
	g->keeper_io.data = g;
	ev_io_start(g->loop.ev, &g->keeper_io);
}

/* --- shim --- */

static void shim_send(struct gw *g)
{
	while (g->shim_out_at < g->shim_out_len) {
		ssize_t n = send(g->shim_fd, g->shim_out + g->shim_out_at,
				 g->shim_out_len - g->shim_out_at, MSG_NOSIGNAL);
		if (n <= 0)
			break;
		g->shim_out_at += (size_t)n;
	}
	bool left = g->shim_out_at < g->shim_out_len;
	if (!left) {
		free(g->shim_out);
		g->shim_out = NULL;
		g->shim_out_len = g->shim_out_at = 0;
	}
	ev_io_stop(g->loop.ev, &g->shim_io);
	ev_io_set(&g->shim_io, g->shim_fd, left ? EV_READ | EV_WRITE : EV_READ);
	ev_io_start(g->loop.ev, &g->shim_io);
}

void gw_shim_line(struct gw *g, char *text, size_t len)
{
	char *more = NULL;
	/* a shim that does not read gets no more; what it misses comes with the next roster */
	if (text && g->shim_fd >= 0 && g->shim_out_len + len + 1 <= SHIM_OUT_MAX)
		more = realloc(g->shim_out, g->shim_out_len + len + 1);
	if (more) {
		memcpy(more + g->shim_out_len, text, len);
		more[g->shim_out_len + len] = '\n';
		g->shim_out = more;
		g->shim_out_len += len + 1;
		shim_send(g);
	}
	free(text);
}

static void shim_object(struct gw *g, const char *name, json_t *value)
{
	json_t *o = json_pack("{s:o}", name, value);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	gw_shim_line(g, text, text ? strlen(text) : 0);
}

void gw_shim_roster(struct gw *g)
{
	if (g->shim_fd >= 0)
		shim_object(g, "roster", gw_roster(g));
}

void gw_shim_turn(struct gw *g)
{
	if (!g->shim_wants || g->shim_out)
		return;
	g->shim_wants = false;
	if (g->shim_fd >= 0)
		shim_object(g, "status", gw_status(g));
}

static void copy_text(char *to, size_t cap, const char *from)
{
	snprintf(to, cap, "%s", from ? from : "");
}

static void on_trino(struct gw *g, json_t *t)
{
	struct trino_facts f = { 0 }, before = g->trino;
	json_int_t http = json_integer_value(json_object_get(t, "http"));
	json_int_t https = json_integer_value(json_object_get(t, "https"));

	f.http_port = http > 0 && http <= UINT16_MAX ? (uint16_t)http : 0;
	f.https_port = https > 0 && https <= UINT16_MAX ? (uint16_t)https : 0;
	f.coordinator = json_is_true(json_object_get(t, "coordinator"));
	copy_text(f.environment, sizeof(f.environment),
		  json_string_value(json_object_get(t, "environment")));
	copy_text(f.version, sizeof(f.version), json_string_value(json_object_get(t, "version")));
	node_set_trino(g->node, g->loop.now, &f);
	g->trino = f;
	if (memcmp(&f, &before, sizeof(f)) != 0)
		g->roster_changed = true;
}

static void on_shim_line(struct gw *g, const char *line, size_t len)
{
	json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *want = json_string_value(json_object_get(o, "want"));
	json_t *trino = json_object_get(o, "trino");

	if (trino)
		on_trino(g, trino);
	if (want && strcmp(want, "status") == 0)
		g->shim_wants = true;
	json_decref(o);
}

static void on_shim_bytes(struct gw *g)
{
	char *end;
	while ((end = memchr(g->shim_line, '\n', g->shim_have))) {
		size_t len = (size_t)(end - g->shim_line);
		if (!g->shim_dropping)
			on_shim_line(g, g->shim_line, len);
		g->shim_dropping = false;
		g->shim_have -= len + 1;
		memmove(g->shim_line, end + 1, g->shim_have);
	}
	if (g->shim_have == sizeof(g->shim_line)) {
		g->shim_dropping = true;
		g->shim_have = 0;
	}
}

static void on_shim(struct ev_loop *ev, ev_io *w, int revents)
{
	struct gw *g = w->data;
	(void)ev;
	if (revents & EV_WRITE)
		shim_send(g);
	if (!(revents & EV_READ))
		return;
	ssize_t n =
		recv(w->fd, g->shim_line + g->shim_have, sizeof(g->shim_line) - g->shim_have, 0);
	if (n > 0) {
		g->shim_have += (size_t)n;
		on_shim_bytes(g);
	} else if (n == 0 || errno != EAGAIN) {
		drop_fd(g, &g->shim_io, &g->shim_fd);
	}
}

/* --- launcher --- */

static void on_helper_fd(struct gw *g, int fd)
{
	drop_fd(g, &g->helper_io, &g->helper_fd);
	g->helper_fd = fd;
	ev_io_init(&g->helper_io, on_helper, fd, EV_READ);
	g->helper_io.data = g;
	ev_io_start(g->loop.ev, &g->helper_io);
	g->resolving = 0; /* it was asked nothing yet */
	gw_static_helper(g);
	if (g->cfg->joining)
		gw_resolve(g);
}

static void on_shim_fd(struct gw *g, int fd)
{
	drop_fd(g, &g->shim_io, &g->shim_fd);
	free(g->shim_out);
	g->shim_out = NULL;
	g->shim_out_len = g->shim_out_at = g->shim_have = 0;
	g->shim_dropping = g->shim_wants = false;
	g->shim_fd = fd;
	ev_io_init(&g->shim_io, on_shim, fd, EV_READ);
	g->shim_io.data = g;
	ev_io_start(g->loop.ev, &g->shim_io);
	gw_shim_roster(g);
}

static void on_chan(struct ev_loop *ev, ev_io *w, int revents)
{
	struct gw *g = w->data;
	struct chan_msg m;
	int fd, got;

	(void)ev;
	(void)revents;
	while ((got = chan_recv(w->fd, &m, &fd)) > 0) {
		if (m.kind == CHAN_HELPER && fd >= 0)
			on_helper_fd(g, fd);
		else if (m.kind == CHAN_KEEPER && fd >= 0)
			on_keeper_fd(g, fd);
		else if (m.kind == CHAN_SHIM && fd >= 0)
			on_shim_fd(g, fd);
		else if (m.kind == CHAN_CONTROL && fd >= 0)
			ctl_take(g->ctl, fd);
		else if (fd >= 0)
			close(fd);
		if (m.kind == CHAN_ALIVE)
			chan_alive(w->fd);
		if (m.kind == CHAN_STOP && !g->releasing) {
			g->releasing = true;
			node_release(g->node, g->loop.now);
		}
	}
	if (got < 0)
		loop_stop(&g->loop); /* no launcher, no gateway */
}

void gw_chan_start(struct gw *g)
{
	ev_io_init(&g->chan_io, on_chan, g->chan, EV_READ);
	g->chan_io.data = g;
	ev_io_start(g->loop.ev, &g->chan_io);
}

void gw_chan_close(struct gw *g)
{
	drop_fd(g, &g->helper_io, &g->helper_fd);
	drop_fd(g, &g->keeper_io, &g->keeper_fd);
	drop_fd(g, &g->shim_io, &g->shim_fd);
	free(g->shim_out);
}
