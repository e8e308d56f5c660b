/* SPDX-License-Identifier: Apache-2.0 */
/* `warren run` and `warren up`: settings to a gateway's configuration, then the launcher. */
#include "gateway/app.h"
#include "gateway/cmd.h"
#include "gateway/file.h"
#include "gateway/keeper.h"
#include "gateway/launcher.h"
#include "gateway/proc.h"
#include "gateway/shimproc.h"
#include "base/arena.h"
#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const enum setting up_settings[] = { NODE_SETTINGS, SETTING_COUNT };
static const enum setting run_settings[] = { SET_USER, NODE_SETTINGS, SETTING_COUNT };

static const char run_usage[] =
	"usage: WARREN_JOIN=TOKEN WORKER_ID=ID warren run [OPTIONS] -- COMMAND ARGS…\n\n"
	"Joins the network, then runs the command with WARREN_IP, WARREN_IP6 and WORKER_ID in its\n"
	"environment. When it ends everything ends, with its status. With TRINO_MODE=true the "
	"discovery\n"
	"shim listens on localhost: discovery.uri=http://localhost:8080.\n";

static const char up_usage[] = "usage: WARREN_JOIN=TOKEN WORKER_ID=ID warren up [OPTIONS]\n"
			       "       warren up [OPTIONS] FILE\n\n"
			       "Joins the network, or brings up a WireGuard configuration file, "
			       "and stays until a signal.\n";

static int usage_error(const char *fmt, const char *a, const char *b)
{
	log_usage(fmt, a, b);
	return -1;
}

/* The value itself, or with @ in front the first line of a file. To be freed. */
static char *read_secret(const char *v, const char *what)
{
	char *text = *v == '@' ? file_read(v + 1, TOKEN_TEXT_MAX) : strdup(v);
	if (!text)
		log_usage("cannot read %s from the file %s: %s", what, v + 1, file_error(errno));
	else if (*v == '@')
		text[strcspn(text, "\r\n")] = 0;
	return text;
}

struct app *app_new(void)
{
	struct arena *arena;
	struct app *a = arena_alone(&arena, sizeof(*a));

	if (!a) {
		log_usage("out of memory");
		return NULL;
	}
	a->arena = a->gw.arena = arena;
	return a;
}

void app_free(struct app *a)
{
	wgconf_free(&a->conf);
	config_free(&a->c);
	arena_free(a->arena);
}

int app_token(struct app *a)
{
	const char *v = config_get(&a->c, SET_JOIN, NULL);
	unsigned version = 0;
	char *text, more[64] = "";

	if (!v)
		return usage_error("%s%s",
				   "no join token: set WARREN_JOIN to what `warren token` "
				   "prints on the rendezvous (or WARREN_JOIN=@FILE)",
				   "");
	text = read_secret(v, "the join token");
	if (!text)
		return -1;
	enum token_error err = token_parse(text, &a->gw.token, &version);
	sodium_memzero(text, strlen(text));
	free(text);
	if (err == TOKEN_VERSION)
		snprintf(more, sizeof(more), " (token version %u, this release knows 1)", version);
	if (err != TOKEN_OK)
		return usage_error("the join token is not usable: %s%s", token_error_text(err),
				   more);
	a->gw.joining = true;
	return 0;
}

/*
 * What the rendezvous would say as well. Who was a member before needs no token that is still good, but
 * for its addresses.
 */
int app_token_fits(const struct app *a)
{
	const struct token *t = &a->gw.token;
	int64_t wall = loop_wall();

	if (t->only_for[0] && strcmp(t->only_for, a->id) != 0)
		return usage_error("the join token is for worker id %s alone, and this node is %s",
				   t->only_for, a->id);
	if (t->expires && t->expires <= wall && !a->gw.state.has_psk)
		return usage_error("%s%s",
				   "the join token has expired: get a new one with `warren "
				   "token` on the rendezvous",
				   "");
	return 0;
}

int app_worker_id(struct app *a)
{
	char host[WORKER_ID_LEN] = "";
	const char *id = config_get(&a->c, SET_WORKER_ID, NULL);

	if (!id) {
		gethostname(host, sizeof(host) - 1);
		host[strcspn(host, ".")] = 0;
		id = host;
	}
	if (!worker_id_valid(id))
		return usage_error(
			"the worker id \"%s\" does not fit Trino's node.id: letters, digits, "
			"_ and -, at most 63, beginning with a letter or digit%s",
			id,
			a->c.value[SET_WORKER_ID] ? ""
						  : " (it is the host name: set "
						    "WORKER_ID)");
	snprintf(a->id, sizeof(a->id), "%s", id);
	a->gw.worker_id = a->id;
	return 0;
}

int app_trino(struct app *a)
{
	unsigned long trino, https, proxy;
	const char *coordinator = config_get(&a->c, SET_TRINO_COORDINATOR_ID, NULL);

	if (config_bool(&a->c, SET_TRINO_MODE, &a->gw.trino) < 0 ||
	    config_number(&a->c, SET_TRINO_LOCAL_PORT, 1, UINT16_MAX, 8081, &trino) < 0 ||
	    config_number(&a->c, SET_TRINO_HTTPS_PORT, 1, UINT16_MAX, 0, &https) < 0 ||
	    config_number(&a->c, SET_TRINO_PROXY_PORT, 1, UINT16_MAX, 8080, &proxy) < 0)
		return -1;
	if (a->gw.trino && trino == proxy)
		return usage_error("%s%s",
				   "TRINO_LOCAL_PORT and TRINO_PROXY_PORT are the same port: the "
				   "shim and Trino cannot share it",
				   "");
	if (a->gw.trino && (https == proxy || https == trino))
		return usage_error("%s%s",
				   "TRINO_HTTPS_PORT is the port of TRINO_LOCAL_PORT or "
				   "TRINO_PROXY_PORT: each of the three needs its own",
				   "");
	if (coordinator && !worker_id_valid(coordinator))
		return usage_error("TRINO_COORDINATOR_ID \"%s\" is no worker id%s", coordinator,
				   "");
	a->gw.trino_port = (uint16_t)trino;
	a->gw.proxy_port = (uint16_t)proxy;
	a->gw.coordinator_id = coordinator;
	a->shim = (struct shim_config){ .proxy_port = (uint16_t)proxy,
					.trino_port = (uint16_t)trino,
					.trino_https_port = (uint16_t)https,
					.worker_id = a->id,
					.coordinator_id = coordinator,
					.feed_fd = -1 };
	return 0;
}

static int add_endpoint(void *ctx, const char *part)
{
	struct gw_config *g = ctx;
	if (g->nstated == GW_MAX_ENDPOINTS || !endpoint_parse(part, &g->stated[g->nstated]) ||
	    g->stated[g->nstated].port == 0)
		return usage_error("--endpoint %s: it must be IP:PORT%s", part, "");
	const struct prefix none = { 0 };
	if (!candidate_valid(&g->stated[g->nstated], &none, &none))
		return usage_error("--endpoint %s: no other node can reach that address%s", part,
				   "");
	g->nstated++;
	return 0;
}

static int read_key(struct app *a)
{
	const char *v = config_get(&a->c, SET_KEY, NULL);
	char *text = v ? read_secret(v, "the private key") : NULL;
	bool ok = !v || (text && private_key_parse(text, a->gw.private_key));

	if (text) {
		sodium_memzero(text, strlen(text));
		free(text);
	}
	a->gw.own_key |= v && ok;
	if (!ok && text)
		usage_error("%s%s",
			    "--key is no private key (44 characters of base64, as `warren "
			    "genkey` prints)",
			    "");
	return ok ? 0 : -1;
}

void app_state_dir(const struct app *a, char out[static 256])
{
	const char *want = config_get(&a->c, SET_STATE, NULL);

	if (want)
		snprintf(out, 256, "%s", want);
	else
		snprintf(out, 256, "/var/lib/warren/%s",
			 a->gw.joining ? a->gw.token.network : a->interface);
}

/* The state directory, or where it cannot be used a place that lasts as long as the gateway. */
static int read_state(struct app *a)
{
	char dir[256];

	app_state_dir(a, dir);
	int err = state_load(&a->gw.state, dir);
	if (err == -EBADMSG)
		return usage_error(STATE_DAMAGED "%s", dir, "");
	/* nothing would be pinned after the next start, and nothing is now that was before */
	if (err < 0 && a->gw.joining && a->gw.pin_members)
		return usage_error("the state directory %s cannot be used (%s), and with "
				   "--pin-members the keys of members are kept there: make it "
				   "writable, or name another with --state",
				   dir, strerror(-err));
	if (err < 0) {
		log_warn("no state in %s (%s): %s lasts only as long as it runs", dir,
			 strerror(-err),
			 a->gw.joining ? "this node's key" : "what this interface has sent");
		snprintf(dir, sizeof(dir), "%s/%s.state", a->run_dir, a->interface);
		err = state_load(&a->gw.state, dir);
		a->gw.state.ephemeral = true;
	}
	if (err < 0)
		return usage_error("cannot keep state in %s: %s", dir, strerror(-err));
	return read_key(a);
}

int app_common(struct app *a)
{
	unsigned long port, mtu;
	bool gso;
	const char *interface = config_get(&a->c, SET_INTERFACE, "warren0");
	const char *run_dir = config_get(&a->c, SET_RUN_DIR, "/run/warren");

	if (strlen(interface) >= sizeof(a->interface) || !*interface || strpbrk(interface, "/ \t%"))
		return usage_error("--interface %s: at most 15 characters, without / and spaces%s",
				   interface, "");
	if (strlen(run_dir) >= sizeof(a->run_dir))
		return usage_error("--run-dir %s is too long%s", run_dir, "");
	snprintf(a->interface, sizeof(a->interface), "%s", interface);
	snprintf(a->run_dir, sizeof(a->run_dir), "%s", run_dir);
	a->gw.interface = a->interface;
	a->gw.run_dir = a->run_dir;
	if (config_number(&a->c, SET_PORT, 1, UINT16_MAX, 0, &port) < 0 ||
	    config_number(&a->c, SET_MTU, INNER_MTU_MIN, FRAGMENT_PACKET_MAX, 0, &mtu) < 0 ||
	    config_bool(&a->c, SET_GSO, &gso) < 0 ||
	    config_bool(&a->c, SET_PIN_MEMBERS, &a->gw.pin_members) < 0 ||
	    config_each(&a->c, SET_ENDPOINT, add_endpoint, &a->gw) < 0)
		return -1;
	a->gw.port = (uint16_t)port;
	a->gw.mtu = (uint32_t)mtu;
	a->gw.gso = gso || !a->c.value[SET_GSO];
	a->gw.aead = aead_choose(config_get(&a->c, SET_AEAD, NULL));
	if (!a->gw.aead)
		return usage_error("--aead %s: there is no such back end here%s",
				   config_get(&a->c, SET_AEAD, ""), "");
	return 0;
}

static bool open_to_others(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && st.st_mode & S_IRWXO;
}

/* As wg-quick(8) sees it: a folder that is closed to others closes the file. */
static void look_at_rights(const char *path)
{
	char folder[512];
	const char *slash = strrchr(path, '/');
	int len = slash == path ? 1 : slash ? (int)(slash - path) : 0;

	snprintf(folder, sizeof(folder), "%.*s", len ? len : 1, len ? path : ".");
	if (open_to_others(path) && open_to_others(folder))
		log_warn("others can use %s, which holds this node's key: chmod 600 it", path);
}

/* A WireGuard configuration: its key and port take the place of the state's. */
static int read_static(struct app *a, const char *path)
{
	wgconf_init(&a->conf);
	if (!wgconf_read(&a->conf, path)) {
		log_usage("%s: %s", path, a->conf.error);
		return -1;
	}
	look_at_rights(path);
	if (a->conf.skipped[0])
		log_info("%s: not acted on: %s", path, a->conf.skipped);
	a->gw.static_conf = &a->conf;
	if (a->conf.mtu >
	    FRAGMENT_PACKET_MAX) { /* what wg-quick(8) takes; larger is not put together */
		log_info("%s: the MTU is %d, not %u: that is the most", path, FRAGMENT_PACKET_MAX,
			 a->conf.mtu);
		a->conf.mtu = FRAGMENT_PACKET_MAX;
	}
	if (!a->gw.mtu)
		a->gw.mtu = a->conf.mtu;
	if (a->conf.listen_port && !a->gw.port)
		a->gw.port = a->conf.listen_port;
	return 0;
}

static void gateway_body(void *ctx, int chan, bool again)
{
	struct app *a = ctx;
	a->gw.again = again;
	gw_main(&a->gw, chan);
}

static void wipe(struct app *a)
{
	state_wipe(&a->gw.state);
	sodium_memzero(a->gw.private_key, sizeof(a->gw.private_key));
	token_wipe(&a->gw.token);
	wgconf_free(&a->conf);
}

static void shim_body(void *ctx, int chan)
{
	struct app *a = ctx;
	wipe(a); /* the shim holds no key, not even in memory that it never looks at */
	shim_main(&a->shim, chan);
}

static void helper_body(void *ctx, int chan)
{
	wipe(ctx);
	helper_main(chan);
}

static void keeper_body(void *ctx, int chan)
{
	struct app *a = ctx;
	char dir[sizeof(a->gw.state.dir)];

	snprintf(dir, sizeof(dir), "%s", a->gw.state.dir);
	wipe(a);
	keeper_main(dir, chan);
}

/*
 * What was parsed is not needed as text any more, here nor in /proc/PID/environ. The launcher keeps
 * the token, a --key and a configuration's keys for the gateways that it may have to start again; the
 * state's key each of them reads itself.
 */
static void forget_texts(struct app *a)
{
	static const char *const names[] = { "WARREN_JOIN", "WARREN_KEY" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char *env = getenv(names[i]);
		if (env)
			sodium_memzero(env, strlen(env));
	}
	config_forget(&a->c, SET_JOIN);
	config_forget(&a->c, SET_KEY);
	sodium_memzero(a->gw.state.private_key, sizeof(a->gw.state.private_key));
	sodium_memzero(a->gw.state.psk, sizeof(a->gw.state.psk));
	sodium_stackzero(LOOP_STACK); /* of which each child has a copy */
}

static int prepare(struct app *a, const char *file)
{
	if (app_common(a) < 0)
		return -1;
	if (file ? read_static(a, file) < 0 : app_token(a) < 0)
		return -1;
	if (app_worker_id(a) < 0 || app_trino(a) < 0 || cmd_log(&a->c, "launcher", a->id) < 0)
		return -1;
	if (read_state(a) < 0 || (!file && app_token_fits(a) < 0))
		return -1;
	if (file) {
		memcpy(a->gw.private_key, a->conf.private_key, 32);
		a->gw.own_key = true;
	}
	return 0;
}

static int launch(struct app *a, char *const *command)
{
	char control[300];

	snprintf(control, sizeof(control), "%s/%s.sock", a->run_dir, a->interface);
	struct launcher_config lc = {
		.command = command,
		.user = config_get(&a->c, SET_USER, NULL),
		.worker_id = a->id,
		.control = control,
		.trino = a->gw.trino,
		.ctx = a,
		.gateway = gateway_body,
		.shim = a->gw.trino ? shim_body : NULL,
		.helper = helper_body,
		.keeper = a->gw.joining ? keeper_body : NULL,
	};
	forget_texts(a);
	proc_keep_private();
	return launcher_run(&lc);
}

static int run(int argc, char **argv, const enum setting *allowed, bool with_command)
{
	struct app *a = app_new();
	int status = EXIT_USAGE;

	if (!a)
		return EXIT_CANNOT;
	bool ok = config_read(&a->c, argc, argv, allowed) == 0 &&
		  cmd_log(&a->c, "launcher", NULL) == 0;
	if (ok && with_command && a->c.nargs == 0)
		usage_error("%s%s", "run needs a command: warren run [OPTIONS] -- COMMAND ARGS…",
			    "");
	else if (ok && !with_command && a->c.nargs > 1)
		usage_error("up takes one file, not also %s%s", a->c.args[1], "");
	else if (ok && prepare(a, !with_command && a->c.nargs ? a->c.args[0] : NULL) == 0)
		status = launch(a, with_command ? a->c.args : NULL);
	app_free(a);
	return status;
}

int cmd_run(int argc, char **argv)
{
	if (cmd_help(argc, argv, run_usage, run_settings))
		return 0;
	return run(argc, argv, run_settings, true);
}

int cmd_up(int argc, char **argv)
{
	if (cmd_help(argc, argv, up_usage, up_settings))
		return 0;
	return run(argc, argv, up_settings, false);
}
