/* SPDX-License-Identifier: Apache-2.0 */
/* What the shim knows, as a page for people, as metrics, and as a listing of the nodes. */
#include "discovery/shim_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text from other members goes into a page: nothing of it may be markup. */
static void put_escaped(FILE *f, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		default:
			fputc(*s, f);
		}
	}
}

static void cell(FILE *f, const char *s)
{
	fputs("<td>", f);
	put_escaped(f, s[0] ? s : "-");
	fputs("</td>", f);
}

/* A member as the pages show it: of ourselves we know more than the roster does. */
static struct member shown(const struct shim *s, const struct member *m)
{
	struct member out = *m;
	const struct trino *t = &s->probe.trino;
	bool self = strcmp(m->id, s->roster.self) == 0;
	if (self) {
		snprintf(out.link, sizeof(out.link), "self");
		out.presence = PRESENCE_ONLINE;
	}
	if (out.http == 0)
		out.http = s->trino_port;
	if (!self || !t->ever_up)
		return out;
	memcpy(out.version, t->version, sizeof(out.version));
	memcpy(out.environment, t->environment, sizeof(out.environment));
	out.coordinator = t->coordinator;
	return out;
}

static const char *const presence_words[] = {
	[PRESENCE_UNKNOWN] = "?",
	[PRESENCE_OFFLINE] = "offline",
	[PRESENCE_ONLINE] = "online",
};

static json_t *presence_json(enum presence p)
{
	return p == PRESENCE_UNKNOWN ? json_null() : json_boolean(p == PRESENCE_ONLINE);
}

static void people_row(FILE *f, const struct shim *s, const struct member *member)
{
	struct member m = shown(s, member);
	char ip[ADDR_STRLEN];
	bool leads = s->target.known && strcmp(s->target.id, m.id) == 0;
	fprintf(f, "<tr class=\"%s\">", m.presence == PRESENCE_OFFLINE ? "off" : "on");
	cell(f, m.id);
	cell(f, addr_str(&m.ip, ip));
	cell(f, leads ? "coordinator" : m.coordinator ? "coordinator (not used)" : "worker");
	cell(f, m.version);
	cell(f, m.environment);
	cell(f, m.link);
	cell(f, presence_words[m.presence]);
	cell(f, m.release);
	fputs("</tr>\n", f);
}

static void people_notes(FILE *f, const struct shim *s)
{
	const struct trino *t = &s->probe.trino;
	char why[WHY_SIZE], at[ENDPOINT_STRLEN];
	if (!s->target.known) {
		fputs("<p class=\"bad\">", f);
		put_escaped(f, s->target_why);
		fputs("</p>\n", f);
	}
	if (!t->up) {
		fputs("<p class=\"bad\">Trino on this node does not answer.</p>\n", f);
		return;
	}
	fprintf(f, "<p>Trino on this node answers at %s.</p>\n", endpoint_str(&t->at, at));
	if (s->roster.seen && guard_verdict(s, true) == GUARD_WRONG) {
		guard_text(s, why);
		fputs("<p class=\"bad\">", f);
		put_escaped(f, why);
		fputs("</p>\n", f);
	}
}

static void people(FILE *f, const struct shim *s)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
	      "<meta http-equiv=\"refresh\" content=\"5\">\n<title>warren: ",
	      f);
	put_escaped(f, s->worker_id);
	fputs("</title>\n<style>body{font:15px "
	      "sans-serif;margin:2em}table{border-collapse:collapse}"
	      "td,th{padding:.3em .9em;text-align:left;border-bottom:1px solid #ccc}"
	      ".off{color:#888}.bad{color:#a00}</style></head><body>\n<h1>",
	      f);
	put_escaped(f, s->worker_id);
	fputs("</h1>\n", f);
	people_notes(f, s);
	fputs("<table><tr><th>id</th><th>address</th><th>role</th><th>Trino</th><th>environment</"
	      "th>"
	      "<th>link</th><th></th><th>release</th></tr>\n",
	      f);
	for (size_t i = 0; i < s->roster.count; i++)
		people_row(f, s, &s->roster.members[i]);
	fputs("</table>\n<p><a href=\"/warren/status\">status</a> <a "
	      "href=\"/warren/metrics\">metrics"
	      "</a> <a href=\"/v1/announcement\">nodes</a></p>\n</body></html>\n",
	      f);
}

static void gauge(FILE *f, const char *name, const char *help, uint64_t value)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s gauge\n%s %llu\n", name, help, name, name,
		(unsigned long long)value);
}

static void counter(FILE *f, const char *name, const char *help, uint64_t value)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s counter\n%s %llu\n", name, help, name, name,
		(unsigned long long)value);
}

static const char *const route_names[] = {
	[ROUTE_LOCAL] = "local",
	[ROUTE_COORDINATOR] = "coordinator",
	[ROUTE_OWN] = "own",
	[ROUTE_REFUSED] = "refused",
};
static_assert(ARRAY_SIZE(route_names) == ROUTE_COUNT, "each route has a name");

static void metrics_requests(FILE *f, const struct shim *s)
{
	static const char name[] = "warren_shim_requests_total";
	fprintf(f,
		"# HELP %s Requests by where they went and the class of their answer.\n"
		"# TYPE %s counter\n",
		name, name);
	for (unsigned r = 0; r < ROUTE_COUNT; r++)
		for (unsigned k = 2; k < 6; k++)
			fprintf(f, "%s{route=\"%s\",class=\"%uxx\"} %llu\n", name, route_names[r],
				k, (unsigned long long)s->count.requests[r][k]);
}

static void metrics_members(FILE *f, const struct shim *s)
{
	static const char *const kinds[] = { "direct", "relay", "none" };
	unsigned links[ARRAY_SIZE(kinds)] = { 0 }, online = 0;
	for (size_t i = 0; i < s->roster.count; i++) {
		online += s->roster.members[i].presence == PRESENCE_ONLINE;
		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
			links[k] += strcmp(s->roster.members[i].link, kinds[k]) == 0;
	}
	gauge(f, "warren_members", "Members of the network, this node among them.",
	      s->roster.count);
	gauge(f, "warren_members_online", "Members that a rendezvous counts as online now.",
	      online);
	fputs("# HELP warren_links Links to other members by kind.\n# TYPE warren_links gauge\n",
	      f);
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		fprintf(f, "warren_links{kind=\"%s\"} %u\n", kinds[k], links[k]);
}

static void metrics_gateway(FILE *f, const struct shim *s)
{
	if (!s->gateway.known)
		return;
	fprintf(f,
		"# HELP warren_gateway_cpu_seconds_total CPU time that the gateway has used.\n"
		"# TYPE warren_gateway_cpu_seconds_total counter\n"
		"warren_gateway_cpu_seconds_total %.6f\n"
		"# HELP warren_gateway_cpu_share Its share of a core in the last minute; 1 is "
		"all.\n"
		"# TYPE warren_gateway_cpu_share gauge\n"
		"warren_gateway_cpu_share %.6f\n",
		s->gateway.cpu_seconds, s->gateway.cpu_share);
}

static void metrics(FILE *f, const struct shim *s)
{
	const struct trino *t = &s->probe.trino;
	unsigned splices = 0;
	for (const struct conn *c = s->conns; c; c = c->next)
		splices += c->phase == PHASE_SPLICE;
	metrics_members(f, s);
	metrics_gateway(f, s);
	metrics_requests(f, s);
	gauge(f, "warren_shim_connections", "Client connections open now.", s->clients);
	gauge(f, "warren_shim_splices", "Connections of HTTP/2 or TLS open now.", splices);
	counter(f, "warren_shim_connections_total", "Client connections accepted.",
		s->count.connections);
	counter(f, "warren_shim_splices_total", "Connections of HTTP/2 or TLS passed on.",
		s->count.splices);
	counter(f, "warren_shim_splices_closed_total", "Such connections that were closed by us.",
		s->count.splices_closed);
	counter(f, "warren_shim_bad_heads_total", "Request heads that had no single meaning.",
		s->count.refused_heads);
	counter(f, "warren_announcements_held_back_total",
		"Announcements refused because Trino's own address is not the virtual IP.",
		s->count.held_back);
	counter(f, "warren_shim_sent_bytes_total", "Bytes sent to Trino.", s->count.bytes_up);
	counter(f, "warren_shim_received_bytes_total", "Bytes received from Trino.",
		s->count.bytes_down);
	gauge(f, "warren_trino_up", "1 while the local Trino answers.", t->up);
	gauge(f, "warren_trino_address_ok", "1 while the local Trino announces the virtual IP.",
	      t->has_status && policy_address_is_ours(t->address, &s->roster));
	gauge(f, "warren_coordinator_known", "1 while the coordinator is known.", s->target.known);
}

static struct blob *page(const struct shim *s, void (*write)(FILE *f, const struct shim *s))
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	write(f, s);
	bool bad = ferror(f);
	if (fclose(f) != 0 || bad) {
		free(text);
		return NULL;
	}
	return blob_of(text, len);
}

struct blob *page_people(const struct shim *s)
{
	return page(s, people);
}

struct blob *page_metrics(const struct shim *s)
{
	return page(s, metrics);
}

static json_t *listed(const struct shim *s, const struct member *member)
{
	struct member m = shown(s, member);
	struct endpoint e = { .addr = m.ip, .port = m.http };
	char at[ENDPOINT_STRLEN], uri[ENDPOINT_STRLEN + 8], ip6[ADDR_STRLEN] = "";
	snprintf(uri, sizeof(uri), "http://%s", endpoint_str(&e, at));
	if (!addr_is_any(&m.ip6))
		addr_str(&m.ip6, ip6);
	return json_pack("{s:s,s:s,s:{s:s},s:s,s:b,s:o,s:s,s:s,s:s}", "id", m.id, "internalUri",
			 uri, "nodeVersion", "version", m.version[0] ? m.version : "unknown",
			 "environment", m.environment, "coordinator", m.coordinator, "online",
			 presence_json(m.presence), "link", m.link, "ip6", ip6, "release",
			 m.release);
}

struct blob *page_listing(const struct shim *s)
{
	json_t *list = json_array();
	for (size_t i = 0; list && i < s->roster.count; i++) {
		json_t *o = listed(s, &s->roster.members[i]);
		if (o) /* text that is no UTF-8 cannot come from JSON, but let it be left out */
			json_array_append_new(list, o);
	}
	char *text = list ? json_dumps(list, JSON_INDENT(2)) : NULL;
	json_decref(list);
	return blob_of(text, text ? strlen(text) : 0);
}
