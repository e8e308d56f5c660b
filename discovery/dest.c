/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator of the moment, and the ways to it and to our own Trino. */
#include "discovery/shim_impl.h"

#include <stdio.h>
#include <string.h>

static const struct addr loopback = { { [10] = 0xff, 0xff, 127, 0, 0, 1 } };

/* Trino listens on the virtual IP, or where node.bind-ip says nothing on 127.0.0.1 too. */
void dest_local(const struct shim *s, uint16_t port, struct dest *out)
{
	const struct trino *t = &s->probe.trino;
	out->local = true;
	out->count = 0;
	snprintf(out->id, sizeof(out->id), "%s", s->worker_id);
	if (s->roster.seen && !addr_is_any(&s->roster.ip))
		out->ep[out->count++] = (struct endpoint){ .addr = s->roster.ip, .port = port };
	out->ep[out->count++] = (struct endpoint){ .addr = loopback, .port = port };
	if (out->count == 2 && t->up && addr_eq(&t->at.addr, &loopback)) {
		out->ep[1] = out->ep[0];
		out->ep[0] = (struct endpoint){ .addr = loopback, .port = port };
	}
}

static bool coordinator_dest(const struct shim *s, enum raw raw, struct dest *out,
			     char why[static WHY_SIZE])
{
	const struct target *t = &s->target;
	uint16_t port = raw == RAW_TLS ? t->https : t->http;
	if (!t->known) {
		memcpy(why, s->target_why, WHY_SIZE);
		return false;
	}
	if (port == 0) {
		snprintf(why, WHY_SIZE,
			 "the coordinator '%s' has told no HTTPS port; point "
			 "discovery.uri at http://localhost:%u, the tunnel encrypts already",
			 t->id, s->proxy_port);
		return false;
	}
	if (t->local) {
		dest_local(s, port, out);
		return true;
	}
	snprintf(out->id, sizeof(out->id), "%s", t->id);
	out->ep[0] = (struct endpoint){ .addr = t->ip, .port = port };
	out->count = 1;
	return true;
}

bool dest_of(const struct shim *s, enum route route, enum raw raw, struct dest *out,
	     char why[static WHY_SIZE])
{
	char ip[ADDR_STRLEN];
	*out = (struct dest){ .route = route };
	if (route == ROUTE_LOCAL) {
		dest_local(s, s->trino_port, out);
		return true;
	}
	if (!coordinator_dest(s, raw, out, why))
		return false;
	if (s->target.local || !s->target.offline)
		return true;
	snprintf(why, WHY_SIZE,
		 "the coordinator '%s' (%s) is offline; see to its gateway, the link comes back by "
		 "itself",
		 s->target.id, addr_str(&s->target.ip, ip));
	return false;
}

static struct target target_of(struct shim *s)
{
	struct target t = { 0 };
	const char *id = s->coordinator_id[0] ? s->coordinator_id : NULL;
	const struct member *m = roster_coordinator(&s->roster, id, s->target_why);
	if (!m)
		return t;
	t.known = true;
	t.local = strcmp(m->id, s->roster.self) == 0;
	t.offline = m->presence == PRESENCE_OFFLINE;
	snprintf(t.id, sizeof(t.id), "%s", m->id);
	t.ip = m->ip;
	t.http = m->http && !t.local ? m->http : s->trino_port;
	t.https = t.local ? s->trino_https_port : m->https;
	return t;
}

static bool same_target(const struct target *a, const struct target *b)
{
	return a->known == b->known && a->local == b->local && strcmp(a->id, b->id) == 0 &&
	       addr_eq(&a->ip, &b->ip) && a->http == b->http && a->https == b->https;
}

void target_update(struct shim *s)
{
	struct target old = s->target;
	char ip[ADDR_STRLEN], why[WHY_SIZE];
	memcpy(why, s->target_why, sizeof(why));
	s->target = target_of(s);
	const struct target *t = &s->target;
	if (t->known && (!same_target(&old, t) || old.offline != t->offline))
		log_info("the coordinator is %s, Trino at %s port %u%s%s", t->id,
			 addr_str(&t->ip, ip), t->http, t->local ? " (this node)" : "",
			 t->offline && !t->local ? "; it is offline" : "");
	else if (!t->known && strcmp(why, s->target_why) != 0)
		log_warn("%s", s->target_why);
	if (!same_target(&old, t))
		shim_each(s, upstream_target_changed, NULL);
}
