/* SPDX-License-Identifier: Apache-2.0 */
/* What the gateway tells of itself, as JSON: `warren status`, the shim's roster, /warren/status. */
#include "gateway/gw.h"

#include <jansson.h>
#include <sodium.h>

static double ms(nsec t)
{
	return (double)t / (double)NSEC_PER_MSEC;
}

static json_t *key_text(const uint8_t key[static 32])
{
	char text[64];
	sodium_bin2base64(text, sizeof(text), key, 32, sodium_base64_VARIANT_ORIGINAL);
	return json_string(text);
}

static json_t *addr_text(const struct addr *a)
{
	char text[ADDR_STRLEN];
	return json_string(addr_str(a, text));
}

/* Our own; null where there is none. */
static json_t *ip6_text(const struct gw *g)
{
	char text[ADDR_STRLEN] = "";
	if (g->up)
		gw_net_ip6(g, text);
	return *text ? json_string(text) : json_null();
}

static json_t *endpoint_text(const struct endpoint *e)
{
	char text[ENDPOINT_STRLEN];
	return json_string(endpoint_str(e, text));
}

static json_t *drops_json(const struct drops *d)
{
	json_t *o = json_object();
	for (enum drop i = DROP_NONE + 1; i < DROP_COUNT; i++)
		if (d->n[i])
			json_object_set_new(o, drop_name(i), json_integer((json_int_t)d->n[i]));
	return o;
}

static const char *path_word(const struct peer *p, struct path *path)
{
	if (!peer_path(p, path))
		return "none";
	return path->relay ? "relay" : "direct";
}

/* A path's search (docs/mtu.md): sizes are bytes of the outer IP packet. */
static void mtu_fields(json_t *path, const struct pmtu *m)
{
	json_object_set_new(path, "mtu", json_integer(m->size));
	json_object_set_new(path, "mtu_state", json_string(pmtu_state_name(m->state)));
	json_object_set_new(path, "mtu_reason", json_string(pmtu_reason_text(m->reason)));
	json_object_set_new(path, "mtu_probes", json_integer(m->probes));
	json_object_set_new(path, "mtu_probe_bytes", json_integer((json_int_t)m->bytes));
	json_object_set_new(path, "batches", json_boolean(m->batching.state != BATCHING_SINGLES));
}

static json_t *fragments_json(const struct peer_stats *s)
{
	return json_pack("{s:I,s:I,s:I,s:I}", "packets_sent", (json_int_t)s->tx_cut, "sent",
			 (json_int_t)s->tx_fragments, "packets_received", (json_int_t)s->rx_whole,
			 "received", (json_int_t)s->rx_fragments);
}

static json_t *paths_json(const struct link *l, nsec now, nsec *rtt_in_use)
{
	struct link_path_info info[MAX_CANDIDATES + 8];
	size_t n = link_paths(l, info, ARRAY_SIZE(info));
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		if (info[i].in_use)
			*rtt_in_use = info[i].rtt;
		json_t *o = json_pack("{s:s,s:o,s:b,s:b,s:I,s:I}", "kind",
				      info[i].path.relay ? "relay" : "direct", "endpoint",
				      endpoint_text(&info[i].path.remote), "proven", info[i].proven,
				      "in_use", info[i].in_use, "sent", (json_int_t)info[i].sent,
				      "lost", (json_int_t)info[i].lost);
		if (info[i].rtt)
			json_object_set_new(o, "rtt_ms", json_real(ms(info[i].rtt)));
		if (info[i].last_answer)
			json_object_set_new(o, "last_answer_s",
					    json_real(ms(now - info[i].last_answer) / 1000));
		if (info[i].mtu)
			mtu_fields(o, info[i].mtu);
		json_array_append_new(list, o);
	}
	return list;
}

/* Only a rendezvous knows: while none answers nobody here does, whatever was said last. */
static json_t *online_json(const struct node *n, const struct peer *p)
{
	return node_told(n) ? json_boolean(peer_entry(p)->online) : json_null();
}

static void member_fields(const struct node *n, json_t *o, const struct peer *p, nsec now)
{
	const struct roster_entry *e = peer_entry(p);
	struct addr ip = peer_ip(p);
	nsec rtt = 0;

	json_object_set_new(o, "id", json_string(e->id));
	json_object_set_new(o, "number", json_integer(e->number));
	json_object_set_new(o, "ip", addr_text(&ip));
	json_object_set_new(o, "release", json_string(e->release));
	json_object_set_new(o, "online", online_json(n, p));
	json_object_set_new(o, "paths", paths_json(peer_link(p), now, &rtt));
	json_object_set_new(o, "rtt_ms", rtt ? json_real(ms(rtt)) : json_null());
}

/* A static peer has one path; where it is a warren that has a search. */
static void static_fields(json_t *o, const struct peer *p)
{
	const struct pmtu *m = peer_static_pmtu(p);
	struct path path;

	if (!m || !peer_path(p, &path))
		return;
	json_t *way = json_pack("{s:s,s:o,s:b}", "kind", "direct", "endpoint",
				endpoint_text(&path.remote), "in_use", true);
	mtu_fields(way, m);
	json_object_set_new(o, "paths", json_pack("[o]", way));
}

static json_t *peer_json(const struct node *n, const struct peer *p, nsec now)
{
	const struct peer_stats *s = peer_stats_of(p);
	struct wg_peer_stats w;
	struct path path;
	const char *word = path_word(p, &path);

	wg_peer_stats(peer_wg(p), now, &w);
	json_t *o = json_pack("{s:s,s:o,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:i,s:b,s:o}", "kind",
			      peer_kind(p) == PEER_MEMBER ? "member" : "static", "key",
			      key_text(peer_key(p)), "path", word, "tx_bytes",
			      (json_int_t)s->tx_bytes, "rx_bytes", (json_int_t)s->rx_bytes,
			      "tx_direct_bytes", (json_int_t)s->tx_direct, "tx_relay_bytes",
			      (json_int_t)s->tx_relay, "rx_direct_bytes", (json_int_t)s->rx_direct,
			      "rx_relay_bytes", (json_int_t)s->rx_relay, "mtu", (int)peer_mtu(p),
			      "session", w.can_send, "drops", drops_json(peer_drops(p)));
	json_object_set_new(o, "endpoint",
			    word[0] == 'n' ? json_null() : endpoint_text(&path.remote));
	json_object_set_new(o, "last_handshake_s",
			    w.last_handshake ? json_real(ms(now - w.last_handshake) / 1000)
					     : json_null());
	json_object_set_new(o, "warren", json_boolean(peer_is_warren(p)));
	json_object_set_new(o, "room", json_integer(peer_room(p)));
	json_object_set_new(o, "fragments", fragments_json(s));
	if (peer_kind(p) == PEER_MEMBER)
		member_fields(n, o, p, now);
	else
		static_fields(o, p);
	return o;
}

static json_t *rendezvous_json(struct gw *g, unsigned i)
{
	const struct endpoint *at = node_rendezvous(g->node, i);
	struct enrol_info e;

	node_enrol_info(g->node, i, &e);
	return json_pack(
		"{s:o,s:b,s:o,s:I,s:o}", "endpoint", at ? endpoint_text(at) : json_null(),
		"registered", e.registered, "rtt_ms", e.rtt ? json_real(ms(e.rtt)) : json_null(),
		"roster_version", (json_int_t)e.roster_version, "last_answer_s",
		e.last_answer ? json_real(ms(g->loop.now - e.last_answer) / 1000) : json_null());
}

static json_t *all_rendezvous_json(struct gw *g)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < node_rendezvous_count(g->node); i++)
		json_array_append_new(list, rendezvous_json(g, i));
	return list;
}

static const char *state_word(const struct gw *g)
{
	if (g->releasing && !g->cfg->bare)
		return "stopping";
	return g->up || !g->cfg->joining ? "up" : "joining";
}

static json_t *socket_json(const struct gw *g)
{
	return json_pack("{s:i,s:b,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "port", g->udp.port, "gso",
			 g->udp.gso, "gro", g->udp.gro, "tx_calls", (json_int_t)g->udp.tx_calls,
			 "tx_datagrams", (json_int_t)g->udp.tx_datagrams, "rx_calls",
			 (json_int_t)g->udp.rx_calls, "rx_empty", (json_int_t)g->udp.rx_empty,
			 "rx_datagrams", (json_int_t)g->udp.rx_datagrams, "gso_fallbacks",
			 (json_int_t)g->udp.gso_fallbacks, "marked",
			 (json_int_t)node_marked(g->node, NODE_UDP));
}

static json_t *tun_json(const struct gw *g)
{
	const struct tun *t = &g->tun;
	return json_pack("{s:b,s:b,s:b,s:I,s:I,s:I,s:I}", "up", !g->set_down, "tso", t->tso, "uso",
			 t->uso, "reads", (json_int_t)t->reads, "empty_reads",
			 (json_int_t)t->empty_reads, "writes", (json_int_t)t->writes, "marked",
			 (json_int_t)node_marked(g->node, NODE_TUN));
}

static json_t *cpu_json(const struct gw *g)
{
	nsec now = g->loop.now, used = loop_cpu_used();

	return json_pack("{s:f,s:f,s:f,s:I}", "seconds", (double)used / NSEC_PER_SEC, "share",
			 cpu_share_ever(&g->cpu, now, used), "share_minute",
			 cpu_share_of_late(&g->cpu, now, used, 60 * NSEC_PER_SEC), "turns",
			 (json_int_t)g->loop.turns);
}

json_t *gw_status(struct gw *g)
{
	const struct lease *l = &node_lease(g->node)->lease;
	json_t *peers = json_array();

	for (struct peer *p = NULL; (p = node_peer_next(g->node, p));)
		if (peer_is_shown(p))
			json_array_append_new(peers, peer_json(g->node, p, g->loop.now));
	json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:o,s:s,s:o,s:o,s:o,s:o,s:o}", "release",
			      WARREN_VERSION, "state", state_word(g), "worker_id",
			      g->cfg->worker_id, "interface", g->tun.name, "key",
			      key_text(wg_public_key(node_wg(g->node))), "aead", g->cfg->aead->name,
			      "udp", socket_json(g), "tun", tun_json(g), "cpu", cpu_json(g),
			      "peers", peers, "drops", drops_json(node_drops(g->node)));
	if (g->cfg->joining) {
		json_object_set_new(o, "network", json_string(g->cfg->token.network));
		json_object_set_new(o, "rendezvous", all_rendezvous_json(g));
	}
	json_object_set_new(o, "ip", g->up ? addr_text(&l->ip) : json_null());
	json_object_set_new(o, "ip6", ip6_text(g));
	json_object_set_new(o, "mtu_pinned", g->cfg->mtu ? json_integer(g->cfg->mtu) : json_null());
	return o;
}

static json_t *roster_member(const struct node *n, const struct peer *p)
{
	const struct roster_entry *e = peer_entry(p);
	struct addr ip = peer_ip(p);
	struct path path;

	return json_pack("{s:s,s:o,s:i,s:i,s:b,s:s,s:s,s:o,s:s,s:s}", "id", e->id, "ip",
			 addr_text(&ip), "http", e->trino.http_port, "https", e->trino.https_port,
			 "coordinator", e->trino.coordinator, "environment", e->trino.environment,
			 "version", e->trino.version, "online", online_json(n, p), "link",
			 path_word(p, &path), "release", e->release);
}

/* The shim's own node is a member as well: on the coordinator's node the coordinator is found there. */
static json_t *roster_self(const struct gw *g, const struct lease *l)
{
	const struct trino_facts *t = &g->trino;

	return json_pack("{s:s,s:o,s:o,s:i,s:i,s:b,s:s,s:s,s:b,s:s,s:s}", "id", g->cfg->worker_id,
			 "ip", addr_text(&l->ip), "ip6", addr_text(&l->ip6), "http", t->http_port,
			 "https", t->https_port, "coordinator", t->coordinator, "environment",
			 t->environment, "version", t->version, "online", true, "link", "self",
			 "release", WARREN_VERSION);
}

/* Why nothing is carried; null: it is. */
static json_t *down_json(const struct gw *g)
{
	return g->set_down ? json_sprintf(GW_SET_DOWN, g->tun.name, g->tun.name) : json_null();
}

json_t *gw_roster(struct gw *g)
{
	const struct lease *l = &node_lease(g->node)->lease;
	json_t *members = json_array();

	if (g->up)
		json_array_append_new(members, roster_self(g, l));
	for (struct peer *p = NULL; (p = node_peer_next(g->node, p));)
		if (peer_kind(p) == PEER_MEMBER)
			json_array_append_new(members, roster_member(g->node, p));
	return json_pack("{s:s,s:o,s:o,s:o,s:o,s:o}", "self", g->cfg->worker_id, "ip",
			 g->up ? addr_text(&l->ip) : json_null(), "ip6", ip6_text(g),
			 "coordinator_id",
			 g->cfg->coordinator_id ? json_string(g->cfg->coordinator_id) : json_null(),
			 "down", down_json(g), "members", members);
}
