/* SPDX-License-Identifier: Apache-2.0 */
#include "discovery/roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A bounded copy of a text; what is not text, or too long, is empty. */
static void copy_text(const json_t *obj, const char *key, char *out, size_t size)
{
	const char *s = json_string_value(json_object_get(obj, key));
	size_t len = s ? strlen(s) : 0;
	out[0] = 0;
	if (len > 0 && len < size)
		memcpy(out, s, len + 1);
}

static struct addr read_addr(const json_t *obj, const char *key)
{
	struct addr a = addr_any;
	const char *s = json_string_value(json_object_get(obj, key));
	return s && addr_parse(s, &a) ? a : addr_any;
}

static uint16_t read_port(const json_t *obj, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(obj, key));
	return n > 0 && n <= UINT16_MAX ? (uint16_t)n : 0;
}

static enum presence read_presence(const json_t *online)
{
	return json_is_true(online)    ? PRESENCE_ONLINE
	       : json_is_false(online) ? PRESENCE_OFFLINE
				       : PRESENCE_UNKNOWN;
}

static bool read_member(const json_t *obj, struct member *m)
{
	copy_text(obj, "id", m->id, sizeof(m->id));
	copy_text(obj, "environment", m->environment, sizeof(m->environment));
	copy_text(obj, "version", m->version, sizeof(m->version));
	copy_text(obj, "release", m->release, sizeof(m->release));
	copy_text(obj, "link", m->link, sizeof(m->link));
	m->ip = read_addr(obj, "ip");
	m->ip6 = read_addr(obj, "ip6");
	if (addr_is_any(&m->ip))
		m->ip = m->ip6;
	m->http = read_port(obj, "http");
	m->https = read_port(obj, "https");
	m->coordinator = json_is_true(json_object_get(obj, "coordinator"));
	m->presence = read_presence(json_object_get(obj, "online"));
	return m->id[0] && !addr_is_any(&m->ip);
}

bool roster_read(struct roster *r, const json_t *obj)
{
	const json_t *list = json_object_get(obj, "members");
	struct roster new = { 0 };
	copy_text(obj, "self", new.self, sizeof(new.self));
	copy_text(obj, "coordinator_id", new.coordinator_id, sizeof(new.coordinator_id));
	copy_text(obj, "down", new.down, sizeof(new.down));
	new.ip = read_addr(obj, "ip");
	new.ip6 = read_addr(obj, "ip6");
	if (addr_is_any(&new.ip))
		new.ip = new.ip6;
	new.seen = !addr_is_any(&new.ip); /* without an address it still waits for its lease */
	if (!json_is_array(list) || json_array_size(list) > ROSTER_MAX)
		return false;
	new.members = calloc(json_array_size(list) + 1, sizeof(*new.members));
	if (!new.members)
		return false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct member m = { 0 };
		if (read_member(json_array_get(list, i), &m))
			new.members[new.count++] = m;
	}
	roster_free(r);
	*r = new;
	return true;
}

void roster_free(struct roster *r)
{
	free(r->members);
	*r = (struct roster){ 0 };
}

const struct member *roster_find(const struct roster *r, const char *id)
{
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->members[i].id, id) == 0)
			return &r->members[i];
	return NULL;
}

/* "c1, w1, w2, …" of all members or of those that say coordinator; as many as fit. */
static void list_ids(const struct roster *r, bool coordinators, char *out, size_t size)
{
	size_t at = 0;
	snprintf(out, size, "none");
	for (size_t i = 0; i < r->count; i++) {
		if (coordinators && !r->members[i].coordinator)
			continue;
		if (at + NAME_SIZE + 8 > size) {
			snprintf(out + at, size - at, ", ...");
			return;
		}
		at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "",
				       r->members[i].id);
	}
}

/* Nobody was named: the only one that says so. */
static const struct member *only_coordinator(const struct roster *r, char why[static WHY_SIZE])
{
	const struct member *found = NULL;
	unsigned n = 0;
	char ids[256];
	for (size_t i = 0; i < r->count; i++) {
		if (!r->members[i].coordinator)
			continue;
		found = &r->members[i];
		n++;
	}
	if (n == 1)
		return found;
	list_ids(r, n > 0, ids, sizeof(ids));
	if (n == 0)
		snprintf(why, WHY_SIZE,
			 "no member of the network is known to be a coordinator (members: %s); "
			 "start "
			 "the Trino that has coordinator=true in etc/config.properties, or set "
			 "TRINO_COORDINATOR_ID to its worker id",
			 ids);
	else
		snprintf(why, WHY_SIZE,
			 "%u members say that they are the coordinator: %s; set "
			 "TRINO_COORDINATOR_ID "
			 "to the worker id of one of them, the same on every node",
			 n, ids);
	return NULL;
}

const struct member *roster_coordinator(const struct roster *r, const char *id,
					char why[static WHY_SIZE])
{
	char ids[256];
	if (!r->seen) {
		snprintf(why, WHY_SIZE,
			 "this node has not joined the network yet; the gateway keeps "
			 "trying and its log says what it waits for");
		return NULL;
	}
	if (!id || !id[0])
		id = r->coordinator_id;
	const struct member *m = id[0] ? roster_find(r, id) : only_coordinator(r, why);
	if (!m && id[0]) {
		list_ids(r, false, ids, sizeof(ids));
		snprintf(why, WHY_SIZE,
			 "the coordinator '%s' is not a member of the network (members: %s); start "
			 "its "
			 "gateway with WORKER_ID=%s, or correct TRINO_COORDINATOR_ID",
			 id, ids, id);
	}
	return m;
}
