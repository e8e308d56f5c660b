/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/wgconf.h"
#include "gateway/file.h"
#include "base/arena.h"

#include <ctype.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { KEY_TEXT = 44 };

void wgconf_init(struct wgconf *c)
{
	memset(c, 0, sizeof(*c));
}

static bool refuse(struct wgconf *c, const char *fmt, const char *what)
{
	int n = snprintf(c->error, sizeof(c->error), "line %u: ", c->line);
	/* a value may be long or a key: the message is cut, and keys are never passed here */
	snprintf(c->error + n, sizeof(c->error) - (size_t)n, fmt, what);
	return false;
}

bool key_parse(const char *text, uint8_t key[static 32])
{
	uint8_t bytes[32];
	size_t len;
	bool ok = strlen(text) == KEY_TEXT &&
		  sodium_base642bin(bytes, sizeof(bytes), text, KEY_TEXT, NULL, &len, NULL,
				    sodium_base64_VARIANT_ORIGINAL) == 0 &&
		  len == 32;
	if (ok)
		memcpy(key, bytes, 32);
	sodium_memzero(bytes, sizeof(bytes));
	return ok;
}

bool private_key_parse(const char *text, uint8_t key[static 32])
{
	return key_parse(text, key) && !sodium_is_zero(key, 32);
}

static bool number(const char *v, unsigned long max, unsigned long *out)
{
	char *end;
	if (!isdigit((unsigned char)*v))
		return false;
	errno = 0;
	*out = strtoul(v, &end, strncmp(v, "0x", 2) == 0 ? 16 : 10);
	return !errno && !*end && *out <= max;
}

static char *trim(char *s)
{
	s += strspn(s, " \t\r");
	size_t len = strlen(s);
	while (len && strchr(" \t\r", s[len - 1]))
		s[--len] = 0;
	return s;
}

/* Calls `each` for the comma-separated parts, spaces trimmed. */
static bool list(struct wgconf *c, char *v, bool (*each)(struct wgconf *c, const char *part))
{
	for (char *part; (part = strsep(&v, ","));) {
		part = trim(part);
		if (*part && !each(c, part))
			return false;
	}
	return true;
}

/* ::ffff:10.0.0.0/8 is not 10.0.0.0/8: it would hold no packet of IPv4, and struct prefix has no form for it. */
static bool is_mapped(const char *text, const struct addr *a)
{
	return strchr(text, ':') && addr_is_v4(a);
}

static bool add_address(struct wgconf *c, const char *part)
{
	char host[ADDR_STRLEN];
	struct prefix p;
	struct addr a;
	size_t len = strcspn(part, "/");

	if (c->naddresses == WGCONF_MAX_ADDRESSES)
		return refuse(c, "more addresses than there is room for: %s", part);
	snprintf(host, sizeof(host), "%.*s", (int)size_min(len, sizeof(host) - 1), part);
	if (!prefix_parse(part, &p) || !addr_parse(host, &a))
		return refuse(c, "Address is no address with a prefix length: %s", part);
	if (is_mapped(part, &a))
		return refuse(c, "Address is IPv4 written as IPv6: %s", part);
	c->addresses[c->naddresses++] = (struct wgconf_address){ a, p.bits };
	return true;
}

static bool add_allowed(struct wgconf *c, const char *part)
{
	struct wgconf_peer *p = &c->peers[c->npeers - 1];
	if (p->nallowed == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 8;
		struct prefix *more = realloc(p->allowed, cap * sizeof(*more));
		if (!more)
			return refuse(c, "out of memory%s", "");
		p->allowed = more;
		p->cap = cap;
	}
	if (!prefix_parse(part, &p->allowed[p->nallowed]))
		return refuse(c, "AllowedIPs has no address with a prefix length: %s", part);
	if (is_mapped(part, &p->allowed[p->nallowed].addr))
		return refuse(c, "AllowedIPs has IPv4 written as IPv6: %s", part);
	p->nallowed++;
	return true;
}

static bool skip(struct wgconf *c, const char *key)
{
	size_t at = strlen(c->skipped);
	snprintf(c->skipped + at, sizeof(c->skipped) - at, "%s%s", at ? ", " : "", key);
	return true;
}

static bool table(struct wgconf *c, const char *v)
{
	static const struct {
		const char *name;
		uint32_t table;
	} names[] = { { "auto", 0 },
		      { "off", WGCONF_NO_ROUTES },
		      { "main", RT_TABLE_MAIN },
		      { "default", RT_TABLE_DEFAULT },
		      { "local", RT_TABLE_LOCAL } };
	unsigned long n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcasecmp(v, names[i].name) == 0) {
			c->table = names[i].table;
			return true;
		}
	}
	if (!number(v, UINT32_MAX - 1, &n) || n == 0)
		return refuse(c, "Table is not auto, off, main, default, local or a number: %s", v);
	c->table = (uint32_t)n;
	return true;
}

static bool interface_line(struct wgconf *c, const char *key, char *v)
{
	static const char *const skipped[] = { "DNS",	  "PreUp",    "PostUp",
					       "PreDown", "PostDown", "SaveConfig" };
	unsigned long n;

	if (strcasecmp(key, "PrivateKey") == 0) {
		c->has_private_key = private_key_parse(v, c->private_key);
		return c->has_private_key || refuse(c, "PrivateKey is no key%s", "");
	}
	if (strcasecmp(key, "ListenPort") == 0) {
		if (!number(v, UINT16_MAX, &n))
			return refuse(c, "ListenPort is no port: %s", v);
		c->listen_port = (uint16_t)n;
		return true;
	}
	if (strcasecmp(key, "FwMark") == 0) {
		n = 0;
		if (strcasecmp(v, "off") != 0 && !number(v, UINT32_MAX, &n))
			return refuse(c, "FwMark is no number: %s", v);
		c->fwmark = (uint32_t)n;
		return true;
	}
	if (strcasecmp(key, "Address") == 0)
		return list(c, v, add_address);
	if (strcasecmp(key, "Table") == 0)
		return table(c, v);
	if (strcasecmp(key, "MTU") == 0) {
		if (!number(v, UINT16_MAX, &n) || n < 576)
			return refuse(c, "MTU is not from 576 to 65535: %s", v);
		c->mtu = (uint32_t)n;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(skipped); i++)
		if (strcasecmp(key, skipped[i]) == 0)
			return skip(c, skipped[i]);
	return refuse(c, "there is no such key in [Interface]: %s", key);
}

/* HOST:PORT or [IPV6]:PORT */
static bool endpoint(struct wgconf *c, struct wgconf_peer *p, const char *v)
{
	const char *colon = strrchr(v, ':');
	size_t len = colon ? (size_t)(colon - v) : 0;
	unsigned long port;

	if (len >= 2 && v[0] == '[' && v[len - 1] == ']') {
		v++;
		len -= 2;
	}
	if (!colon || len == 0 || len >= WGCONF_HOST_LEN || !number(colon + 1, UINT16_MAX, &port) ||
	    port == 0)
		return refuse(c, "Endpoint is not HOST:PORT: %s", v);
	memcpy(p->host, v, len);
	p->host[len] = 0;
	p->port = (uint16_t)port;
	return true;
}

static bool psk_room(struct wgconf *c, struct wgconf_peer *p)
{
	if (!c->psks)
		c->psks = arena_new(sizeof(c->private_key), WGCONF_MAX_PEERS);
	if (c->psks && !p->psk)
		p->psk = arena_get(c->psks);
	return p->psk;
}

static bool peer_line(struct wgconf *c, const char *key, char *v)
{
	struct wgconf_peer *p = &c->peers[c->npeers - 1];
	unsigned long n;

	if (strcasecmp(key, "PublicKey") == 0) {
		p->has_key = key_parse(v, p->key);
		return p->has_key || refuse(c, "PublicKey is no key: %s", v);
	}
	if (strcasecmp(key, "PresharedKey") == 0) {
		if (!psk_room(c, p))
			return refuse(c, "there is no memory for keys%s", "");
		p->has_psk = key_parse(v, p->psk);
		return p->has_psk || refuse(c, "PresharedKey is no key%s", "");
	}
	if (strcasecmp(key, "Endpoint") == 0)
		return endpoint(c, p, v);
	if (strcasecmp(key, "AllowedIPs") == 0)
		return list(c, v, add_allowed);
	if (strcasecmp(key, "PersistentKeepalive") == 0) {
		n = 0;
		if (strcasecmp(v, "off") != 0 && !number(v, UINT16_MAX, &n))
			return refuse(c, "PersistentKeepalive is no number of seconds: %s", v);
		p->keepalive = (uint16_t)n;
		p->has_keepalive = true;
		return true;
	}
	return refuse(c, "there is no such key in [Peer]: %s", key);
}

static bool new_peer(struct wgconf *c)
{
	if (c->npeers && !c->peers[c->npeers - 1].has_key)
		return refuse(c, "the [Peer] before it has no PublicKey%s", "");
	if (c->npeers == WGCONF_MAX_PEERS)
		return refuse(c, "more peers than there is room for%s", "");
	if (c->npeers == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 8;
		struct wgconf_peer *more = realloc(c->peers, cap * sizeof(*more));
		if (!more)
			return refuse(c, "out of memory%s", "");
		c->peers = more;
		c->cap = cap;
	}
	memset(&c->peers[c->npeers++], 0, sizeof(*c->peers));
	c->section = WGCONF_PEER;
	return true;
}

/* `line` is worked on in place. */
static bool take_line(struct wgconf *c, char *line)
{
	char *key, *v;

	line[strcspn(line, "#")] = 0;
	key = trim(line);
	if (!*key)
		return true;
	if (strcasecmp(key, "[Interface]") == 0) {
		c->section = WGCONF_INTERFACE;
		return true;
	}
	if (strcasecmp(key, "[Peer]") == 0)
		return new_peer(c);
	v = strchr(key, '=');
	if (!v)
		return refuse(c, "this is neither KEY = VALUE nor a section: %s", key);
	*v++ = 0;
	key = trim(key);
	v = trim(v);
	if (c->section == WGCONF_NONE)
		return refuse(c, "%s stands before any section", key);
	return c->section == WGCONF_INTERFACE ? interface_line(c, key, v) : peer_line(c, key, v);
}

bool wgconf_line(struct wgconf *c, const char *line)
{
	size_t len = strlen(line);
	char *copy = len <= WGCONF_FILE_MAX ? strdup(line) : NULL;

	c->line++;
	if (!copy)
		return refuse(c, "the line is too long%s", "");
	bool ok = take_line(c, copy);
	sodium_memzero(copy, len);
	free(copy);
	return ok;
}

bool wgconf_finish(struct wgconf *c)
{
	if (!c->has_private_key) {
		snprintf(c->error, sizeof(c->error), "there is no PrivateKey in [Interface]");
		return false;
	}
	if (c->npeers && !c->peers[c->npeers - 1].has_key) {
		snprintf(c->error, sizeof(c->error), "the last [Peer] has no PublicKey");
		return false;
	}
	return true;
}

void wgconf_free(struct wgconf *c)
{
	for (size_t k = 0; k < c->npeers; k++)
		free(c->peers[k].allowed);
	free(c->peers);
	arena_free(c->psks);
	sodium_memzero(c, sizeof(*c));
}

bool wgconf_read(struct wgconf *c, const char *path)
{
	char *text = file_read(path, WGCONF_FILE_MAX), *rest = text;
	size_t len = text ? strlen(text) : 0;
	bool ok = text;

	if (!text) {
		snprintf(c->error, sizeof(c->error), "cannot be read: %s", file_error(errno));
		return false;
	}
	for (char *line; ok && (line = strsep(&rest, "\n"));)
		ok = wgconf_line(c, line);
	sodium_memzero(text, len);
	free(text);
	return ok && wgconf_finish(c);
}
