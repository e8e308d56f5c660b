/* SPDX-License-Identifier: Apache-2.0 */
/* `warren rendezvous`; what is said to one that runs is in cmd_admin.c. */
#include "gateway/cmd.h"
#include "gateway/proc.h"
#include "gateway/rdv_starter.h"
#include "gateway/rdvproc.h"
#include "base/arena.h"
#include "base/blake2s.h"
#include "base/log.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_ROUTES = 64, SECONDS_A_DAY = 86400, ULA_BITS = 64 };

static const enum setting rendezvous_settings[] = {
	SET_LISTEN, SET_PUBLIC,	   SET_NUMBER,	    SET_NETWORK,   SET_STATE,
	SET_PREFIX, SET_ROUTE,	   SET_MAX_MEMBERS, SET_LEASE_TTL, SET_GSO,
	SET_AEAD,   SET_LOG_LEVEL, SET_LOG_FORMAT,  SET_CONFIG,	   SETTING_COUNT
};

static const char rendezvous_usage[] =
	"usage: warren rendezvous --public HOST:PORT... [--number K/N] [--state DIR] [OPTIONS]\n"
	"       warren rendezvous rotate [--overlap DURATION] [--state DIR]\n"
	"       warren rendezvous remove ID|KEY [--state DIR]\n"
	"       warren rendezvous forget ID [--state DIR]\n\n"
	"Introduces members to each other and relays for those that have no direct path. It sees "
	"who\n"
	"talks to whom, and no content. Runs on any host with a public UDP port, without "
	"privilege.\n";

/* The IPv6 range: a unique local prefix (RFC 4193) that follows from the network's key. */
static struct prefix ula_of(const uint8_t key[static 32])
{
	uint8_t hash[BLAKE2S_LEN];
	struct addr a = { { 0xfd } };
	blake2s_hash("warren ula", 10, key, 32, hash);
	memcpy(a.b + 1, hash, 5);
	return prefix_of(&a, ULA_BITS);
}

static int add_public(void *ctx, const char *part)
{
	struct token *t = ctx;
	struct token_rendezvous *r = &t->rendezvous[t->nrendezvous];

	if (t->nrendezvous == TOKEN_MAX_RENDEZVOUS) {
		log_usage("at most %d --public addresses fit in a token", TOKEN_MAX_RENDEZVOUS);
		return -1;
	}
	if (!cmd_host_port(part, r->host, sizeof(r->host), &r->udp_port)) {
		log_usage("--public %s: it must be HOST:PORT", part);
		return -1;
	}
	struct addr a;
	if (addr_parse(r->host, &a) && (addr_is_any(&a) || addr_is_multicast(&a))) {
		log_usage("--public %s: no member can reach that address", part);
		return -1;
	}
	t->nrendezvous++;
	return 0;
}

static bool is_private(const struct addr *a)
{
	struct prefix host = prefix_host(a);
	return prefix_is_private(&host) || addr_is_link_local(a) || addr_is_any(a) ||
	       addr_is_loopback(a);
}

/* Which of several rendezvous of one network this is. All have the same token, so all are named in it. */
static int set_number(const struct config *c, struct rdvproc_config *rc)
{
	const char *text = config_get(c, SET_NUMBER, "1/1");
	struct registrar_config *g = &rc->core.registrar;
	size_t named = rc->token.nrendezvous;
	bool ok = strlen(text) == 3 && text[1] == '/' && text[2] <= '0' + TOKEN_MAX_RENDEZVOUS &&
		  text[0] >= '1' && text[0] <= text[2];

	if (!ok) {
		log_usage("--number %s: it must be K/N, the K-th of N rendezvous, at most "
			  "%d of them",
			  text, TOKEN_MAX_RENDEZVOUS);
		return -1;
	}
	g->number = (uint32_t)(text[0] - '0');
	g->of = (uint32_t)(text[2] - '0');
	if (g->of == 1 || named == g->of)
		return 0;
	log_usage("--number %s needs --public %u times, once for each rendezvous and in the "
		  "same order for all of them; it is there %zu times",
		  text, g->of, named);
	return -1;
}

/* Where members reach us: what --public says, or the listen address where that is public itself. */
static int set_public(const struct config *c, struct rdvproc_config *rc)
{
	struct token_rendezvous *r = &rc->token.rendezvous[0];

	if (config_each(c, SET_PUBLIC, add_public, &rc->token) < 0)
		return -1;
	if (rc->token.nrendezvous)
		return 0;
	if (is_private(&rc->listen.addr)) {
		log_usage("members cannot reach %s from outside: name the public "
			  "address with --public HOST:PORT",
			  config_get(c, SET_LISTEN, "0.0.0.0:7777"));
		return -1;
	}
	addr_str(&rc->listen.addr, r->host);
	r->udp_port = rc->listen.port;
	rc->token.nrendezvous = 1;
	return 0;
}

struct routes {
	struct member_route r[MAX_ROUTES];
	size_t n;
};

static int add_route(void *ctx, const char *part)
{
	struct routes *routes = ctx;
	struct member_route *r = &routes->r[routes->n];
	const char *eq = strchr(part, '=');

	if (routes->n < MAX_ROUTES && eq && (size_t)(eq - part) < sizeof(r->id)) {
		memcpy(r->id, part, (size_t)(eq - part));
		r->id[eq - part] = 0;
		if (worker_id_valid(r->id) && prefix_parse(eq + 1, &r->prefix) &&
		    prefix_is_private(&r->prefix)) {
			routes->n++;
			return 0;
		}
	}
	log_usage("--route %s: it must be ID=CIDR, at most %d of them, each a private range "
		  "(10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 or fc00::/7)",
		  part, MAX_ROUTES);
	return -1;
}

/* What a member sends there it would send into its tunnel. */
static int outside_of(const struct prefix *p, const struct token *t)
{
	char text[PREFIX_STRLEN];
	struct addr a;

	for (size_t i = 0; i < t->nrendezvous; i++) {
		if (!addr_parse(t->rendezvous[i].host, &a) || !prefix_contains(p, &a))
			continue;
		log_usage("--public %s: it is one of the virtual addresses, %s; choose another "
			  "range with --prefix",
			  t->rendezvous[i].host, prefix_str(p, text));
		return -1;
	}
	return 0;
}

static int set_prefix(const struct config *c, struct rdvproc_config *rc)
{
	const char *text = config_get(c, SET_PREFIX, "10.77.0.0/16");
	struct registrar_config *g = &rc->core.registrar;

	if (!prefix_parse(text, &g->prefix4) || !addr_is_v4(&g->prefix4.addr) ||
	    g->prefix4.bits < 8 || g->prefix4.bits > 30) {
		log_usage("--prefix %s: it must be an IPv4 range of /8 to /30", text);
		return -1;
	}
	rc->token.prefixes[0] = g->prefix4;
	rc->token.nprefixes = 1;
	return outside_of(&g->prefix4, &rc->token);
}

static int lock_state(const char *dir)
{
	int fd = make_dir(dir, 0700);

	if (fd == 0)
		fd = rdv_admin_lock(dir);
	if (fd == -EBUSY)
		log_usage("another rendezvous runs with the state in %s, or has not ended yet",
			  dir);
	else if (fd < 0)
		log_usage("cannot keep state in %s: %s (choose another --state)", dir,
			  strerror(-fd));
	return fd;
}

static int load_state(const char *dir, struct rdvproc_config *rc)
{
	int err = state_load(&rc->state, dir);
	if (err == -EBADMSG)
		log_usage("%s/identity is damaged or of a newer release: restore it, or "
			  "move it away (members then need a new token)",
			  dir);
	else if (err < 0)
		log_usage("cannot keep state in %s: %s (choose another --state)", dir,
			  strerror(-err));
	if (err == 0 && (err = rdv_admin_load(&rc->admission, dir)) < 0)
		log_usage("%s/admission cannot be read (%s): restore it; without it removed "
			  "nodes and old tokens could come back",
			  dir,
			  err == -EBADMSG ? "it is damaged, or of a newer release"
					  : strerror(-err));
	return err;
}

/*
 * The key of number k, which is its own: what somebody recorded of one rendezvous is nothing to another,
 * and one that was started under the wrong number has a session with nobody.
 */
static void derive_private_key(const uint8_t secret[static 32], uint32_t k, uint8_t out[static 32])
{
	uint8_t number[4];

	store_be32(number, k);
	if (k == 1)
		memcpy(out, secret, 32);
	else
		derive_key(secret, "warren rendezvous", (struct bytes_view){ number, 4 },
			   (struct bytes_view){ NULL, 0 }, out);
}

/* All secrets of the network follow from the one key, so that `identity` and `admission` are all there is to keep. */
static void derive_secrets(struct rdvproc_config *rc)
{
	struct rdv_config *core = &rc->core;
	const uint8_t *secret = rc->state.private_key;
	uint8_t other[32];

	derive_private_key(secret, core->registrar.number, core->private_key);
	rdv_admin_secrets(secret, core->registrar.secret, core->registrar.plain);
	core->registrar.admission = &rc->admission;
	wg_key_public(secret, rc->token.key);
	for (uint32_t k = 2; k <= core->registrar.of; k++) {
		derive_private_key(secret, k, other);
		wg_key_public(other, rc->token.more_keys[rc->token.nmore_keys++]);
	}
	sodium_memzero(other, sizeof(other));
	core->registrar.prefix6 = ula_of(rc->token.key);
	rc->token.prefixes[rc->token.nprefixes++] = core->registrar.prefix6;
}

/* Members hold the range of their tokens against each renewal. */
static bool same_range(const struct rdvproc_config *rc, const struct token *old)
{
	char now[PREFIX_STRLEN], before[PREFIX_STRLEN];

	if (prefix_eq(&old->prefixes[0], &rc->token.prefixes[0]))
		return true;
	log_usage("--prefix %s: the members of this network have addresses of %s and refuse "
		  "others. Say that one; or move %s/token away, and give each member the new token",
		  prefix_str(&rc->token.prefixes[0], now), prefix_str(&old->prefixes[0], before),
		  rc->state.dir);
	return false;
}

static bool is_named(const struct token *t, const struct token_rendezvous *r)
{
	for (size_t i = 0; i < t->nrendezvous; i++)
		if (strcmp(t->rendezvous[i].host, r->host) == 0 &&
		    t->rendezvous[i].udp_port == r->udp_port)
			return true;
	return false;
}

/* A member asks where its token says, for ever: none of them hears of another name or port. */
static void warn_of_moves(const struct rdvproc_config *rc, const struct token *old)
{
	for (size_t i = 0; i < old->nrendezvous; i++)
		if (!is_named(&rc->token, &old->rendezvous[i]))
			log_warn("--public does not name %s port %u any more: members that have a "
				 "token of before ask there, and need the new one where it does "
				 "not lead here",
				 old->rendezvous[i].host, old->rendezvous[i].udp_port);
}

/* Beside the token of before, where there is one. */
static bool fits_before(const struct rdvproc_config *rc)
{
	struct token old;
	bool had_one = rdv_admin_read_token(rc->state.dir, &old) == 0;
	bool fits = !had_one || same_range(rc, &old);

	if (had_one && fits)
		warn_of_moves(rc, &old);
	token_wipe(&old);
	return fits;
}

static int write_token(struct rdvproc_config *rc)
{
	if (!fits_before(rc))
		return -EINVAL;
	struct rdv_admin a = { .dir = rc->state.dir,
			       .secret = rc->core.registrar.secret,
			       .admission = &rc->admission,
			       .token = &rc->token };
	int err = rdv_admin_write_token(&a);
	if (err < 0)
		log_usage("cannot write the token: %s",
			  err != -EINVAL
				  ? strerror(-err)
				  : "--network takes letters, digits, _ . and -, at most 63, and "
				    "--public a host name or an address");
	return err;
}

static int read_settings(const struct config *c, struct rdvproc_config *rc, struct routes *routes)
{
	const char *listen = config_get(c, SET_LISTEN, "0.0.0.0:7777");
	const char *network = config_get(c, SET_NETWORK, "warren");
	unsigned long members, days;
	bool gso;

	if (!endpoint_parse(listen, &rc->listen) || rc->listen.port == 0) {
		log_usage("--listen %s: it must be IP:PORT", listen);
		return -1;
	}
	/* one that is too long becomes one that is not valid, and not a shorter one */
	if (strlen(network) < sizeof(rc->token.network))
		memcpy(rc->token.network, network, strlen(network) + 1);
	if (set_public(c, rc) < 0 || set_number(c, rc) < 0 || set_prefix(c, rc) < 0 ||
	    config_each(c, SET_ROUTE, add_route, routes) < 0 ||
	    config_number(c, SET_MAX_MEMBERS, 1, 100000, 1000, &members) < 0 ||
	    config_number(c, SET_LEASE_TTL, 1, 3650, 30, &days) < 0 ||
	    config_bool(c, SET_GSO, &gso) < 0)
		return -1;
	rc->gso = gso || !c->value[SET_GSO];
	rc->aead = aead_choose(config_get(c, SET_AEAD, NULL));
	if (!rc->aead) {
		log_usage("--aead %s: there is no such back end here", config_get(c, SET_AEAD, ""));
		return -1;
	}
	rc->core.registrar.max_members = (uint32_t)members;
	rc->core.registrar.lease_ttl = (nsec)days * SECONDS_A_DAY * NSEC_PER_SEC;
	rc->core.registrar.routes = routes->r;
	rc->core.registrar.nroutes = routes->n;
	rc->core.registrar.release = WARREN_VERSION;
	return 0;
}

struct start {
	const char *dir;
	struct rdvproc_config *rc;
	struct arena *arena; /* of rc, for its keys */
};

/* In a process of its own, so that no other ever has a key. */
static int rendezvous(void *ctx, int chan)
{
	struct start *s = ctx;
	int status = EXIT_CANNOT;

	arena_relock(s->arena);
	if (load_state(s->dir, s->rc) == 0) {
		derive_secrets(s->rc);
		if (write_token(s->rc) == 0)
			status = rdvproc_run(s->rc, chan);
	}
	admission_free(&s->rc->admission);
	arena_free(s->arena);
	return status;
}

static int run(const struct config *c, struct start *s)
{
	char dir[256], control[300];

	snprintf(dir, sizeof(dir), "%s", config_get(c, SET_STATE, "/var/lib/warren/rendezvous"));
	s->dir = dir;
	snprintf(control, sizeof(control), "%s/control.sock", dir);
	const struct rdv_starter_config sc = { .dir = dir,
					       .control = control,
					       .lock = lock_state(dir),
					       .ctx = s,
					       .rendezvous = rendezvous };
	return sc.lock < 0 ? EXIT_CANNOT : rdv_starter_run(&sc);
}

int cmd_rendezvous(int argc, char **argv)
{
	static struct routes routes;
	struct start s = { 0 };
	struct config c;

	if (argc > 0 && cmd_admin_verb(argv[0]))
		return cmd_admin(argc, argv);
	if (cmd_help(argc, argv, rendezvous_usage, rendezvous_settings))
		return 0;
	proc_may_lock();
	s.rc = arena_alone(&s.arena, sizeof(*s.rc));
	if (!s.rc) {
		log_usage("out of memory");
		return EXIT_CANNOT;
	}
	if (config_read(&c, argc, argv, rendezvous_settings) < 0 ||
	    cmd_log(&c, "starter", NULL) < 0)
		return EXIT_USAGE;
	if (c.nargs) {
		log_usage("rendezvous takes no %s (try --help)", c.args[0]);
		return EXIT_USAGE;
	}
	int status = read_settings(&c, s.rc, &routes) < 0 ? EXIT_USAGE : run(&c, &s);
	arena_free(s.arena);
	config_free(&c);
	return status;
}
