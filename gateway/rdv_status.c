/* SPDX-License-Identifier: Apache-2.0 */
/* What `warren status` says of a rendezvous. */
#include "gateway/rdvproc.h"

#include <jansson.h>
#include <sodium.h>

enum { MEMBERS_AT_ONCE = 64 };

static json_t *member_json(const struct rdv *rdv, const struct rdvproc_config *cfg,
			   const struct registrar_member_info *m)
{
	char ip[ADDR_STRLEN], at[ENDPOINT_STRLEN];
	struct addr a = member_addr(&cfg->core.registrar.prefix4, m->record.number);
	struct relay_counts c = relay_server_sender(rdv_relay(rdv), m->record.number);

	json_t *o = json_pack("{s:s,s:I,s:s,s:b,s:I,s:I,s:s}", "id", m->record.id, "number",
			      (json_int_t)m->record.number, "ip", addr_str(&a, ip), "online",
			      m->online, "relayed_bytes", (json_int_t)c.bytes, "relayed_packets",
			      (json_int_t)c.packets, "release", m->release);
	json_object_set_new(o, "endpoint",
			    m->from.port ? json_string(endpoint_str(&m->from, at)) : json_null());
	return o;
}

/* Rotations, ids that are kept for a token of their own, keys that were removed. */
static json_t *admission_json(const struct admission *a)
{
	json_t *reserved = json_array(), *removed = json_array();
	char hex[9];

	for (size_t i = 0; i < a->nreserved; i++)
		json_array_append_new(reserved, json_string(a->reserved[i]));
	for (size_t i = 0; i < a->nremoved; i++) {
		const struct removed_key *k = &a->removed[i];
		sodium_bin2hex(hex, sizeof(hex), k->key, 4);
		json_array_append_new(removed, json_pack("{s:s,s:s,s:I}", "id", k->id, "key", hex,
							 "since", (json_int_t)k->since));
	}
	return json_pack("{s:I,s:I,s:o,s:o}", "epoch", (json_int_t)a->epoch, "previous_until",
			 (json_int_t)a->previous_until, "reserved", reserved, "removed", removed);
}

char *rdv_status(struct rdv *rdv, const struct rdvproc_config *cfg, nsec now)
{
	struct registrar_member_info m[MEMBERS_AT_ONCE];
	struct relay_counts total = relay_server_total(rdv_relay(rdv));
	const struct drops *d = rdv_drops(rdv);
	json_t *members = json_array(), *drops = json_object();
	size_t first = 0, n;

	while ((n = registrar_members(rdv_registrar(rdv), now, first, m, MEMBERS_AT_ONCE)) > 0) {
		for (size_t i = 0; i < n; i++)
			json_array_append_new(members, member_json(rdv, cfg, &m[i]));
		first += n;
	}
	for (enum drop i = DROP_NONE + 1; i < DROP_COUNT; i++)
		if (d->n[i])
			json_object_set_new(drops, drop_name(i), json_integer((json_int_t)d->n[i]));
	const struct registrar_config *g = &cfg->core.registrar;
	json_t *o = json_pack("{s:s,s:s,s:s,s:i,s:i,s:o,s:o,s:{s:I,s:I},s:o}", "role", "rendezvous",
			      "release", WARREN_VERSION, "network", cfg->token.network, "number",
			      (int)g->number, "of", (int)g->of, "admission",
			      admission_json(&cfg->admission), "members", members, "relay",
			      "packets", (json_int_t)total.packets, "bytes",
			      (json_int_t)total.bytes, "drops", drops);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}
