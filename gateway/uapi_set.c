/* SPDX-License-Identifier: Apache-2.0 */
/*
 * set=1, line by line. A line's value is parsed first, whatever it is for, so that nonsense is
 * refused in an ignored section too; then it is decided whether it may be done.
 */
#include "gateway/uapi_impl.h"
#include "base/log.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

/* A line's key: what its value is, and what it does. */
struct field {
	const char *name;
	uapi_parse *parse;
	/* device lines have no peer */
	int (*apply)(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v);
	/* NULL: members take it. Else: is the peer so already? If not, a member refuses it */
	bool (*is_so)(struct uapi *u, const struct peer *p, const struct uapi_value *v);
};

/* --- what is not the client's to change --- */

/* A tool may try as often as it likes: one line in ten seconds for each kind of change. */
#define SAY_REFUSED(...)                                                                           \
	log_seldom(LOG_LEVEL_WARN, LOG_EVERY,                                                      \
		   "the configuration socket was refused a change: " __VA_ARGS__)

static int refuse_peer(const struct peer *p)
{
	if (peer_kind(p) == PEER_RENDEZVOUS)
		SAY_REFUSED("the rendezvous comes from the token");
	else
		SAY_REFUSED("member %s comes from the rendezvous", peer_entry(p)->id);
	return -EPERM;
}

/* --- what takes many turns --- */

/* `p`: NULL for all that are there */
static void begin_chore(struct uapi *u, unsigned chore, const struct peer *p)
{
	u->chore = chore;
	memcpy(u->chore_key, p ? peer_key(p) : u->key, sizeof(u->chore_key));
	u->chore_serial = p ? peer_serial(p) : node_newest(u->dev.node);
	u->has_after = false;
}

/* --- the device --- */

/* No key is what a file without PrivateKey says, which setconf and syncconf pass on. */
static int set_private_key(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	(void)p;
	(void)now;
	if (node_is_joined(u->dev.node) && sodium_is_zero(v->key, sizeof(v->key)))
		return 0;
	int err = node_set_private_key(u->dev.node, v->key);
	if (err == -EPERM)
		SAY_REFUSED("the network knows this gateway by its key");
	return err;
}

static int set_port(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	(void)p;
	(void)now;
	return u->dev.set_port(u->dev.ctx, (uint16_t)v->number);
}

static int set_mark(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	(void)p;
	(void)now;
	return u->dev.set_fwmark(u->dev.ctx, v->number);
}

static int replace_peers(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	(void)p;
	(void)now;
	(void)v;
	begin_chore(u, CHORE_REMOVE_ALL, NULL);
	return 0;
}

static const struct field device_fields[] = {
	{ "private_key", uapi_parse_key, set_private_key, NULL },
	{ "listen_port", uapi_parse_u16, set_port, NULL },
	{ "fwmark", uapi_parse_mark, set_mark, NULL },
	{ "replace_peers", uapi_parse_true, replace_peers, NULL },
};

/* --- a peer; NULL where it could not be made --- */

static int remove_peer(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	(void)now;
	(void)v;
	if (p)
		begin_chore(u, CHORE_REMOVE, p);
	u->section = SECTION_IGNORED;
	return 0;
}

static int update_only(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	return p && !u->made ? 0 : remove_peer(u, p, now, v);
}

static int protocol_version(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	(void)u;
	(void)p;
	(void)now;
	(void)v;
	return 0;
}

static int set_psk(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	(void)u;
	(void)now;
	node_static_psk(p, v->key);
	return 0;
}

static int set_endpoint(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	(void)u;
	node_static_endpoint(p, now, &v->endpoint);
	return 0;
}

/* The same again starts nothing: tools that keep a configuration in step repeat it for ever. */
static int set_keepalive(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	(void)u;
	if (v->number != wg_peer_keepalive(peer_wg(p)))
		node_static_keepalive(p, now, v->number);
	return 0;
}

static int replace_allowed_ips(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	(void)p;
	(void)now;
	(void)v;
	trie_clear(&u->named);
	u->replacing = true;
	return 0;
}

static int set_allowed_ip(struct uapi *u, struct peer *p, nsec now, const struct uapi_value *v)
{
	char prefix[PREFIX_STRLEN];
	void *before;

	(void)now;
	if (v->minus) {
		trie_remove(&u->named, &v->prefix);
		node_static_unroute(p, &v->prefix);
		return 0;
	}
	int err = node_static_route(u->dev.node, p, &v->prefix);
	if (err == -EPERM)
		SAY_REFUSED("%s is a member's", prefix_str(&v->prefix, prefix));
	if (err == 0 && u->replacing)
		err = trie_set(&u->named, &v->prefix, u, &before);
	return err;
}

/* --- what a member is already: tools that keep a configuration in step repeat it --- */

static bool is_psk(struct uapi *u, const struct peer *p, const struct uapi_value *v)
{
	(void)u;
	return sodium_memcmp(wg_peer_psk(peer_wg(p)), v->key, sizeof(v->key)) == 0;
}

static bool is_endpoint(struct uapi *u, const struct peer *p, const struct uapi_value *v)
{
	struct path path;
	(void)u;
	return peer_path(p, &path) && endpoint_eq(&path.remote, &v->endpoint);
}

static bool is_keepalive(struct uapi *u, const struct peer *p, const struct uapi_value *v)
{
	(void)u;
	return v->number == wg_peer_keepalive(peer_wg(p));
}

/* Whether it is so shows when the section ends: each of its prefixes has to be in it. */
static bool is_replaced(struct uapi *u, const struct peer *p, const struct uapi_value *v)
{
	(void)p;
	(void)v;
	u->replacing = true;
	u->listed = 0;
	return true;
}

struct listing {
	const struct prefix *wanted;
	uint64_t found, all;
	unsigned at;
};

static void list_prefix(void *ctx, const struct prefix *prefix)
{
	struct listing *l = ctx;
	uint64_t bit = (uint64_t)1 << l->at++;

	assert(bit);
	l->all |= bit;
	if (l->wanted && prefix->bits == l->wanted->bits &&
	    addr_eq(&prefix->addr, &l->wanted->addr))
		l->found = bit;
}

static bool is_allowed(struct uapi *u, const struct peer *p, const struct uapi_value *v)
{
	struct listing l = { .wanted = &v->prefix };

	peer_each_route(p, list_prefix, &l);
	u->listed |= l.found;
	return v->minus ? !l.found : l.found != 0;
}

static int replaced_all(const struct uapi *u, const struct peer *p)
{
	struct listing l = { 0 };

	peer_each_route(p, list_prefix, &l);
	return l.all == u->listed ? 0 : refuse_peer(p);
}

static const struct field peer_fields[] = {
	{ "remove", uapi_parse_true, remove_peer, NULL },
	{ "update_only", uapi_parse_true, update_only, NULL },
	{ "protocol_version", uapi_parse_one, protocol_version, NULL },
	{ "preshared_key", uapi_parse_key, set_psk, is_psk },
	{ "endpoint", uapi_parse_endpoint, set_endpoint, is_endpoint },
	{ "persistent_keepalive_interval", uapi_parse_u16, set_keepalive, is_keepalive },
	{ "replace_allowed_ips", uapi_parse_true, replace_allowed_ips, is_replaced },
	{ "allowed_ip", uapi_parse_prefix, set_allowed_ip, is_allowed },
};

static const struct field *find(const struct field *f, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(f[i].name, name) == 0)
			return &f[i];
	return NULL;
}

static int device_line(struct uapi *u, nsec now, const char *key, const char *text)
{
	const struct field *f = find(device_fields, ARRAY_SIZE(device_fields), key);
	struct uapi_value v = { 0 };
	int err = f && f->parse(u, text, &v) ? f->apply(u, NULL, now, &v) : -EINVAL;

	u->work += UAPI_TURN_WORK; /* each peer has to hear of it, or a socket is opened */
	sodium_memzero(&v, sizeof(v));
	return err;
}

static int peer_apply(struct uapi *u, nsec now, const struct field *f, const struct uapi_value *v)
{
	if (u->section == SECTION_IGNORED)
		return 0;
	if (u->section == SECTION_FULL)
		return f->is_so ? -ENOSPC : f->apply(u, NULL, now, v);
	struct peer *p = node_peer_find(u->dev.node, u->key);
	if (!p)
		return 0; /* somebody else has just removed it */
	if (f->is_so && peer_kind(p) != PEER_STATIC)
		return f->is_so(u, p, v) ? 0 : refuse_peer(p);
	return f->apply(u, p, now, v);
}

static int peer_line(struct uapi *u, nsec now, const char *key, const char *text)
{
	const struct field *f = find(peer_fields, ARRAY_SIZE(peer_fields), key);
	struct uapi_value v = { 0 };
	int err = f && f->parse(u, text, &v) ? peer_apply(u, now, f, &v) : -EINVAL;

	sodium_memzero(&v, sizeof(v));
	return err;
}

/* --- what takes many turns, goes on: a peer may have 100,000 prefixes, and there may be thousands of peers --- */

static struct peer *first_static(const struct node *n)
{
	struct peer *p = NULL;
	while ((p = node_peer_next(n, p)) && peer_kind(p) != PEER_STATIC)
		;
	return p;
}

/* Each of these: some of it; true when there is no more. */
static bool remove_some(struct uapi *u, struct peer *p)
{
	size_t n = node_static_unroute_some(p);

	u->work += (unsigned)n;
	if (n == PEER_UNROUTE)
		return false;
	node_static_remove(p);
	return true;
}

static bool remove_some_peer(struct uapi *u)
{
	struct peer *p = first_static(u->dev.node);
	bool done = !p || peer_serial(p) > u->chore_serial;

	if (!done)
		remove_some(u, p);
	return done;
}

static bool prune_some(struct uapi *u, struct peer *p)
{
	struct prefix some[PEER_UNROUTE];
	size_t n = peer_routes(p, u->has_after ? &u->after : NULL, some, PEER_UNROUTE);

	u->work += (unsigned)n;
	for (size_t i = 0; i < n; i++)
		if (!trie_remove(&u->named, &some[i]))
			node_static_unroute(p, &some[i]);
	if (n < PEER_UNROUTE) {
		trie_clear(&u->named); /* what somebody else took meanwhile */
		return true;
	}
	u->after = some[n - 1];
	u->has_after = true;
	return false;
}

void uapi_set_goes_on(struct uapi *u)
{
	struct peer *p = node_peer_find(u->dev.node, u->chore_key);
	/* somebody else may have removed it, and made another */
	bool done = !p || peer_serial(p) != u->chore_serial || peer_kind(p) != PEER_STATIC;

	u->work++;
	if (u->chore == CHORE_REMOVE_ALL)
		done = remove_some_peer(u);
	else if (!done)
		done = u->chore == CHORE_PRUNE ? prune_some(u, p) : remove_some(u, p);
	if (done)
		u->chore = CHORE_NONE;
}

/* --- sections --- */

static bool is_ours(const struct uapi *u, const uint8_t key[static 32])
{
	const struct wg *wg = node_wg(u->dev.node);
	return !sodium_is_zero(wg_private_key(wg), 32) && memcmp(wg_public_key(wg), key, 32) == 0;
}

static int peer_begins(struct uapi *u, nsec now, const char *text)
{
	struct node *n = u->dev.node;
	struct uapi_value v;

	int err = uapi_set_end(u);
	if (err < 0 || u->sections == UAPI_PEERS_MAX)
		return err < 0 ? err : -ENOSPC;
	if (!uapi_parse_key(u, text, &v))
		return -EINVAL;
	u->sections++;
	memcpy(u->key, v.key, 32);
	u->made = false;
	u->section = SECTION_IGNORED;
	if (is_ours(u, v.key))
		return 0;
	u->section = SECTION_PEER;
	if (node_peer_find(n, v.key))
		return 0;
	u->made = node_static_add(n, now, v.key, NULL, NULL, 0) != NULL;
	u->section = u->made ? SECTION_PEER : SECTION_FULL;
	return 0;
}

void uapi_set_begin(struct uapi *u)
{
	u->section = SECTION_DEVICE;
	u->sections = 0;
	trie_clear(&u->named);
}

int uapi_set_line(struct uapi *u, nsec now, const char *key, const char *value)
{
	if (strcmp(key, "public_key") == 0)
		return peer_begins(u, now, value);
	return u->section == SECTION_DEVICE ? device_line(u, now, key, value)
					    : peer_line(u, now, key, value);
}

/* To remove a peer, or to change one that is there, needs no room. */
int uapi_set_end(struct uapi *u)
{
	if (u->section == SECTION_FULL)
		return -ENOSPC;
	struct peer *p = u->replacing && u->section == SECTION_PEER
				 ? node_peer_find(u->dev.node, u->key)
				 : NULL;
	u->replacing = false;
	if (p && peer_kind(p) != PEER_STATIC)
		return u->err ? 0 : replaced_all(u, p);
	if (p)
		begin_chore(u, CHORE_PRUNE, p);
	return 0;
}
