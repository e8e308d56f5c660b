/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a rendezvous that does not answer: a node that has its links works on, and nobody would know. */
#include "gateway/gw.h"
#include "base/log.h"

#include <stdio.h>

#define COMPLAINS_EVERY (30 * NSEC_PER_SEC)
/* It may be started anew meanwhile, or move: that is an operator's own doing. */
#define SILENT_LONG (60 * NSEC_PER_SEC)

enum { WHERE_LEN = 256 + ENDPOINT_STRLEN + 4 };

/* As the token names it, and what that name means here now. */
static const char *where(const struct gw *g, unsigned i, char out[static WHERE_LEN])
{
	unsigned host = node_rendezvous_count(g->node) > 1 ? i : 0;
	const struct token_rendezvous *r = &g->cfg->token.rendezvous[host];
	const struct endpoint *at = node_rendezvous(g->node, i);
	char text[ENDPOINT_STRLEN];
	struct addr a;

	if (!at)
		snprintf(out, WHERE_LEN, "%s (no address)", r->host);
	else if (addr_parse(r->host, &a))
		snprintf(out, WHERE_LEN, "%s", endpoint_str(at, text));
	else
		snprintf(out, WHERE_LEN, "%s (%s)", r->host, endpoint_str(at, text));
	return out;
}

/* Each time that one falls silent a line, and one when it answers (again). */
static void watch(struct gw *g, unsigned i, const struct enrol_info *e)
{
	char text[WHERE_LEN];
	uint32_t bit = 1u << i;
	bool silent = e->silent || !e->last_answer;
	nsec silent_for = g->loop.now - (e->last_answer ? e->last_answer : g->began);

	if (g->silent & bit && !silent) {
		g->silent &= ~bit;
		log_info("the rendezvous %s answers again", where(g, i, text));
	} else if (!(g->silent & bit) && silent && silent_for >= SILENT_LONG) {
		g->silent |= bit;
		log_warn("the rendezvous %s has not answered for %lld s%s: direct links go on; "
			 "relayed "
			 "ones, and who is new, need one that answers",
			 where(g, i, text), (long long)(silent_for / NSEC_PER_SEC),
			 e->last_answer ? "" : ", never since the start");
	}
}

void gw_watch_rendezvous(struct gw *g)
{
	unsigned count = node_rendezvous_count(g->node);
	char text[WHERE_LEN];
	struct enrol_info e[TOKEN_MAX_RENDEZVOUS];
	bool ever = false;

	if (!g->began)
		g->began = g->loop.now;
	for (unsigned i = 0; i < count; i++) {
		node_enrol_info(g->node, i, &e[i]);
		ever |= e[i].last_answer != 0;
	}
	for (unsigned i = 0; ever && i < count; i++)
		watch(g, i, &e[i]);
	if (ever || count == 0 || g->loop.now < g->complains)
		return;
	g->complains = g->loop.now + COMPLAINS_EVERY;
	log_warn(
		"no answer from %s of %s at %s%s yet, trying on: is it running, does UDP reach it, "
		"is the token its own?",
		count > 1 ? "any rendezvous" : "the rendezvous", g->cfg->token.network,
		where(g, 0, text), count > 1 ? " and the others" : "");
}
