/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fail closed before anything else: nothing for the network ever leaves in clear. Unreachable routes stand where
 * there is none through the tunnel, and the guard where somebody has a better one.
 */
#include "gateway/gw.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* A prefix that this host uses already would be cut off, or would cut us off. */
int gw_net_clash(struct gw *g, const struct prefix *p)
{
	char what[200], text[PREFIX_STRLEN];
	if (!kernel_prefix_clash(g->kernel, p, "/etc/resolv.conf", g->tun.ifindex, what,
				 sizeof(what)))
		return 0;
	log_error("the network's range %s overlaps this host's %s: start the rendezvous with "
		  "another --prefix",
		  prefix_str(p, text), what);
	return -EADDRINUSE;
}

/* A network that works with a door ajar is better than none. */
void gw_net_no_guard(int err)
{
	log_info("no nf_tables for a guard (%s): a host on the LAN that routes to the virtual "
		 "address can reach it, and another route into the network's range leads there in "
		 "clear; close both with a firewall",
		 strerror(-err));
}

/* Beside a command that runs a gateway is better than none, and the guard keeps packets off that route. */
static int refuse_clash(struct gw *g, const struct prefix *p)
{
	int err = gw_net_clash(g, p);
	return g->cfg->again ? 0 : err;
}

static void keep_inside(struct gw *g, const struct prefix *p)
{
	int err = g->guard ? guard_prefix(g->guard, p) : 0;
	if (err < 0)
		gw_net_no_guard(err);
}

static int close_one(struct gw *g, const struct prefix *p)
{
	char text[PREFIX_STRLEN];
	int err = refuse_clash(g, p);

	if (err < 0)
		return err;
	err = kernel_unreachable_set(g->kernel, p);
	if (err == 0) {
		keep_inside(g, p);
	} else if (!addr_is_v4(&p->addr)) {
		log_info("no IPv6 on this host: the network's IPv6 addresses are not used");
		err = 0;
	} else {
		log_error("cannot set the unreachable route for %s: %s", prefix_str(p, text),
			  strerror(-err));
	}
	return err;
}

/* The prefixes that the lock file of our interface names, but for the token's: what they were closed by is left over. */
static size_t left_over(const struct gw *g, struct prefix left[static TOKEN_MAX_PREFIXES])
{
	const struct token *t = &g->cfg->token;
	char text[TOKEN_MAX_PREFIXES * PREFIX_STRLEN], *rest = text;
	ssize_t len = pread(g->lock_fd, text, sizeof(text) - 1, 0);
	size_t n = 0;

	text[len > 0 ? len : 0] = 0;
	for (char *line; n < TOKEN_MAX_PREFIXES && (line = strsep(&rest, "\n"));) {
		bool ours = !prefix_parse(line, &left[n]);
		for (size_t i = 0; i < t->nprefixes && !ours; i++)
			ours = prefix_eq(&left[n], &t->prefixes[i]);
		n += !ours;
	}
	return n;
}

/*
 * A killed gateway leaves its prefixes closed, and their names in the lock file: so the next one of this
 * interface knows whose they are. Another network's, which may wait for its lease, are not touched.
 */
static void clean_leftovers(struct gw *g)
{
	const struct token *t = &g->cfg->token;
	struct prefix left[TOKEN_MAX_PREFIXES];
	char text[TOKEN_MAX_PREFIXES * PREFIX_STRLEN], one[PREFIX_STRLEN];
	int len = 0;

	kernel_clean_leftovers(g->kernel, left, left_over(g, left));
	for (size_t i = 0; i < t->nprefixes; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%s\n",
				prefix_str(&t->prefixes[i], one));
	if (ftruncate(g->lock_fd, 0) < 0 || pwrite(g->lock_fd, text, (size_t)len, 0) != len)
		log_warn("cannot write the lock file of %s: %s", g->tun.name, strerror(errno));
}

int gw_net_close_prefixes(struct gw *g)
{
	const struct token *t = &g->cfg->token;
	int err = 0;

	clean_leftovers(g);
	for (size_t i = 0; i < t->nprefixes && err == 0; i++)
		err = close_one(g, &t->prefixes[i]);
	return err;
}
