/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config.h"
#include "gateway/file.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

static const struct setting_info {
	const char *flag, *env, *arg, *help;
} settings[] = {
	[SET_CONFIG] = { "config", "WARREN_CONFIG", "FILE",
			 "lines of NAME=VALUE, with the names of the environment variables" },
	[SET_JOIN] = { "join", "WARREN_JOIN", "TOKEN|@FILE",
		       "the join token that `warren token` prints" },
	[SET_WORKER_ID] = { "worker-id", "WORKER_ID", "ID",
			    "this node's name in the network (default: the host name)" },
	[SET_TRINO_MODE] = { "trino-mode", "TRINO_MODE", "true|false",
			     "run the discovery shim for a local Trino (default: false)" },
	[SET_TRINO_LOCAL_PORT] = { "trino-local-port", "TRINO_LOCAL_PORT", "PORT",
				   "Trino's http-server.http.port (default: 8081)" },
	[SET_TRINO_HTTPS_PORT] = { "trino-https-port", "TRINO_HTTPS_PORT", "PORT",
				   "Trino's http-server.https.port, where it has one: TLS is "
				   "passed to it" },
	[SET_TRINO_PROXY_PORT] = { "trino-proxy-port", "TRINO_PROXY_PORT", "PORT",
				   "the shim's port on localhost, Trino's discovery.uri (default: "
				   "8080)" },
	[SET_TRINO_COORDINATOR_ID] = { "trino-coordinator-id", "TRINO_COORDINATOR_ID", "ID",
				       "worker id of the coordinator's node (default: the only "
				       "member whose Trino says so)" },
	[SET_STATE] = { "state", "WARREN_STATE", "DIR",
			"where key and lease are kept (default: /var/lib/warren/NETWORK; "
			"of a rendezvous: /var/lib/warren/rendezvous)" },
	[SET_RUN_DIR] = { "run-dir", "WARREN_RUN_DIR", "DIR",
			  "status socket and env file (default: /run/warren)" },
	[SET_INTERFACE] = { "interface", "WARREN_INTERFACE", "NAME",
			    "name of the TUN interface (default: warren0)" },
	[SET_PORT] = { "port", "WARREN_PORT", "PORT",
		       "UDP port (default: random, then kept in the state)" },
	[SET_MTU] = { "mtu", "WARREN_MTU", "BYTES",
		      "MTU of the inner side, 576 to 9000, whatever the paths take: what does not "
		      "fit is "
		      "cut inside the tunnel (default: what fits each path)" },
	[SET_ENDPOINT] = { "endpoint", "WARREN_ENDPOINT", "IP:PORT",
			   "a further address that others reach us at (port forward, elastic IP); "
			   "repeatable" },
	[SET_KEY] = { "key", "WARREN_KEY", "@FILE",
		      "private key, as `warren genkey` prints it (default: made once, kept in the "
		      "state)" },
	[SET_PIN_MEMBERS] = { "pin-members", "WARREN_PIN_MEMBERS", "true|false",
			      "refuse a member whose key is another than the one remembered "
			      "(default: false)" },
	[SET_USER] = { "user", "WARREN_USER", "NAME",
		       "the command runs as this user (default: the invoking one)" },
	[SET_GSO] = { "gso", "WARREN_GSO", "true|false",
		      "UDP segmentation offload (default: where the kernel has it)" },
	[SET_AEAD] = { "aead", "WARREN_AEAD", "NAME",
		       "ipsec-mb or libcrypto (default: the faster one there is)" },
	[SET_LOG_LEVEL] = { "log-level", "WARREN_LOG_LEVEL", "LEVEL",
			    "debug, info, warning or error (default: info)" },
	[SET_LOG_FORMAT] = { "log-format", "WARREN_LOG_FORMAT", "text|json",
			     "a line for people, or a JSON object a line (default: text)" },
	[SET_LISTEN] = { "listen", "WARREN_LISTEN", "IP:PORT",
			 "UDP address of the rendezvous (default: 0.0.0.0:7777)" },
	[SET_NETWORK] = { "network", "WARREN_NETWORK", "NAME",
			  "name of the network (default: warren)" },
	[SET_PUBLIC] = { "public", "WARREN_PUBLIC", "HOST:PORT",
			 "where members reach the rendezvous; goes into the token; repeatable" },
	[SET_NUMBER] = { "number", "WARREN_NUMBER", "K/N",
			 "this is number K of N rendezvous, which share one identity; --public "
			 "then "
			 "names each of them, in their order" },
	[SET_PREFIX] = { "prefix", "WARREN_PREFIX", "CIDR",
			 "IPv4 range of the virtual addresses (default: 10.77.0.0/16)" },
	[SET_ROUTE] = { "route", "WARREN_ROUTE", "ID=CIDR",
			"a further prefix behind a member; repeatable" },
	[SET_MAX_MEMBERS] = { "max-members", "WARREN_MAX_MEMBERS", "N", "(default: 1000)" },
	[SET_LEASE_TTL] = { "lease-ttl", "WARREN_LEASE_TTL", "DAYS",
			    "a lease unseen for so long is freed (default: 30)" },
	[SET_FOR] = { "for", NULL, "ID",
		      "good for this worker id alone, which no other token may claim from now on; "
		      "replaces whoever holds it" },
	[SET_EXPIRES] = { "expires", NULL, "DURATION|DATE",
			  "admits nobody after that: 12h, 30d or 2027-12-31 (default: never)" },
	[SET_OVERLAP] = { "overlap", NULL, "DURATION",
			  "tokens of before admit new nodes for so long: 12h, 7d (default: 0)" },
	[SET_JSON] = { "json", NULL, NULL, "for programs" },
	[SET_COUNT_] = { "count", NULL, "N", "how many pings (default: 5)" },
	[SET_SWEEP] = { "sweep", NULL, NULL, "packets of many sizes: which pass" },
};

static_assert(ARRAY_SIZE(settings) == SETTING_COUNT, "each setting is in the table");

void config_forget(struct config *c, enum setting s)
{
	if (c->value[s])
		explicit_bzero(c->value[s], strlen(c->value[s]));
	free(c->value[s]);
	c->value[s] = NULL;
}

/* A second value of the same source is added behind a comma. */
static int put(struct config *c, enum setting s, const char *v)
{
	const char *old = c->value[s];
	size_t size = (old ? strlen(old) + 1 : 0) + strlen(v) + 1;
	char *joined = malloc(size); /* asprintf() would leave a copy of a secret in a buffer */

	if (!joined)
		return -1;
	snprintf(joined, size, "%s%s%s", old ? old : "", old ? "," : "", v);
	config_forget(c, s);
	c->value[s] = joined;
	return 0;
}

static enum setting find_flag(const char *name, size_t len, const enum setting *allowed)
{
	for (; *allowed != SETTING_COUNT; allowed++)
		if (strlen(settings[*allowed].flag) == len &&
		    strncmp(settings[*allowed].flag, name, len) == 0)
			return *allowed;
	return SETTING_COUNT;
}

static int bad(const char *fmt, const char *what)
{
	log_usage(fmt, what);
	return -1;
}

/* One flag at argv[0]; how many words it took, or -1. */
static int read_flag(struct config *c, int argc, char **argv, const enum setting *allowed)
{
	const char *name = argv[0] + 2, *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	enum setting s = find_flag(name, len, allowed);

	if (s == SETTING_COUNT)
		return bad("no such option here: %s (try --help)", argv[0]);
	if (!settings[s].arg)
		return put(c, s, "true") < 0 ? -1 : 1;
	if (eq)
		return put(c, s, eq + 1) < 0 ? -1 : 1;
	if (argc < 2)
		return bad("%s needs a value (try --help)", argv[0]);
	return put(c, s, argv[1]) < 0 ? -1 : 2;
}

/* `ps` shows the words of a command line to everybody. */
static void hide_secret(char **argv, int words)
{
	char *v = words == 2 ? argv[1] : strchr(argv[0], '=') + 1;
	if (*v != '@')
		memset(v, '*', strlen(v));
}

static int read_flags(struct config *c, int argc, char **argv, const enum setting *allowed)
{
	int i = 0;
	while (i < argc && strncmp(argv[i], "--", 2) == 0 && argv[i][2]) {
		int took = read_flag(c, argc - i, argv + i, allowed);
		if (took < 0)
			return -1;
		if (strncmp(argv[i], "--join", 6) == 0 || strncmp(argv[i], "--key", 5) == 0)
			hide_secret(argv + i, took);
		i += took;
	}
	if (i < argc && strcmp(argv[i], "--") == 0)
		i++;
	c->nargs = argc - i;
	c->args = argv + i;
	return 0;
}

/* What is wrong with a line of the file; never its text, which may be a secret without its name. */
static int bad_line(const struct config *c, unsigned number, const char *what, const char *name)
{
	log_usage("%s: line %u: %s%s", c->value[SET_CONFIG], number, what, name);
	return -1;
}

static bool printable(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s > '~')
			return false;
	return true;
}

static int read_line(struct config *c, char *line, unsigned number, const enum setting *allowed,
		     bool *set)
{
	char *eq = strchr(line, '=');
	if (!*line || *line == '#')
		return 0;
	if (!eq)
		return bad_line(c, number, "this is not NAME=VALUE", "");
	*eq = 0;
	if (strpbrk(line, " \t")) /* as shells and systemd take it, and we do not */
		return bad_line(c, number,
				"this is not NAME=VALUE: no blank before the =, no export", "");
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		if (!settings[s].env || strcmp(settings[s].env, line) != 0)
			continue;
		/* a file may serve several commands: what this one does not take is no mistake */
		for (const enum setting *a = allowed; *a != SETTING_COUNT; a++)
			if (*a == s && !set[s])
				return put(c, s, eq + 1);
		return 0;
	}
	return bad_line(c, number,
			"there is no such setting: ", printable(line) ? line : "(not text)");
}

static int bad_file(const char *path)
{
	log_usage("cannot read the configuration file %s: %s", path, file_error(errno));
	return -1;
}

static int read_file(struct config *c, const char *path, const enum setting *allowed)
{
	bool set[SETTING_COUNT];
	char *text = file_read(path, 1 << 20), *rest = text;
	size_t len = text ? strlen(text) : 0;
	unsigned number = 0;
	int err = 0;

	if (!text)
		return bad_file(path);
	for (enum setting s = 0; s < SETTING_COUNT; s++)
		set[s] = c->value[s];
	for (char *line; err == 0 && (line = strsep(&rest, "\n"));) {
		line[strcspn(line, "\r")] = 0;
		err = read_line(c, line, ++number, allowed, set);
	}
	explicit_bzero(text, len); /* it may hold the token */
	free(text);
	return err;
}

int config_read(struct config *c, int argc, char **argv, const enum setting *allowed)
{
	memset(c, 0, sizeof(*c));
	if (read_flags(c, argc, argv, allowed) < 0)
		return -1;
	for (const enum setting *a = allowed; *a != SETTING_COUNT; a++) {
		const char *env = settings[*a].env ? getenv(settings[*a].env) : NULL;
		if (env && *env && !c->value[*a] && put(c, *a, env) < 0)
			return -1;
	}
	return c->value[SET_CONFIG] ? read_file(c, c->value[SET_CONFIG], allowed) : 0;
}

void config_free(struct config *c)
{
	for (enum setting s = 0; s < SETTING_COUNT; s++)
		config_forget(c, s);
}

const char *config_get(const struct config *c, enum setting s, const char *otherwise)
{
	return c->value[s] ? c->value[s] : otherwise;
}

static int bad_value(enum setting s, const char *v, const char *wanted)
{
	const char *env = settings[s].env;
	log_usage("--%s%s%s%s is \"%s\": it must be %s", settings[s].flag, env ? " (" : "",
		  env ? env : "", env ? ")" : "", v, wanted);
	return -1;
}

int config_bool(const struct config *c, enum setting s, bool *out)
{
	static const char *const yes[] = { "1", "true", "yes", "on" };
	static const char *const no[] = { "0", "false", "no", "off" };
	const char *v = c->value[s];
	*out = false;
	for (size_t i = 0; v && i < ARRAY_SIZE(yes); i++) {
		if (strcasecmp(v, no[i]) == 0)
			return 0;
		if (strcasecmp(v, yes[i]) == 0) {
			*out = true;
			return 0;
		}
	}
	return v ? bad_value(s, v, "true or false") : 0;
}

int config_number(const struct config *c, enum setting s, unsigned long min, unsigned long max,
		  unsigned long otherwise, unsigned long *out)
{
	const char *v = c->value[s];
	char *end, wanted[80];
	*out = otherwise;
	if (!v)
		return 0;
	errno = 0;
	unsigned long n = strtoul(v, &end, 10);
	if (errno || end == v || *end || *v < '0' || *v > '9' || n < min || n > max) {
		snprintf(wanted, sizeof(wanted), "a number from %lu to %lu", min, max);
		return bad_value(s, v, wanted);
	}
	*out = n;
	return 0;
}

/* A number with its unit; false for anything else. */
static bool duration_parse(const char *v, int64_t *out)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	const int64_t most = (int64_t)36500 * 86400;
	char *end;

	errno = 0;
	long long n = strtoll(v, &end, 10);
	if (errno || end == v || *v < '0' || *v > '9' || (*end && end[1]))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (units[i].unit != (*end ? *end : 'd'))
			continue;
		if (n > most / units[i].seconds)
			return false;
		*out = n * units[i].seconds;
		return true;
	}
	return false;
}

int config_duration(const struct config *c, enum setting s, int64_t otherwise, int64_t *out)
{
	const char *v = c->value[s];
	*out = otherwise;
	if (!v || duration_parse(v, out))
		return 0;
	return bad_value(s, v, "a number and s, m, h or d, like 12h or 7d");
}

int config_date(const struct config *c, enum setting s, int64_t wall, int64_t *out)
{
	const char *v = c->value[s];
	struct tm tm = { 0 };
	*out = 0;
	if (!v)
		return 0;
	if (duration_parse(v, out)) {
		*out += wall;
		return 0;
	}
	const char *end = strptime(v, "%Y-%m-%d", &tm);
	int mday = tm.tm_mday; /* which timegm() carries on: February has no 30th */
	int64_t day = end && !*end ? timegm(&tm) : -1;
	if (day < 0 || tm.tm_mday != mday)
		return bad_value(s, v, "a date like 2027-12-31, or a duration like 12h or 30d");
	*out = day + 86400;
	return 0;
}

int config_each(const struct config *c, enum setting s, int (*each)(void *ctx, const char *part),
		void *ctx)
{
	char *copy = c->value[s] ? strdup(c->value[s]) : NULL, *rest = copy;
	int err = 0;
	for (char *part; err == 0 && (part = strsep(&rest, ","));)
		if (*part)
			err = each(ctx, part);
	free(copy);
	return err;
}

void config_help(const enum setting *allowed)
{
	for (; *allowed != SETTING_COUNT; allowed++) {
		const struct setting_info *s = &settings[*allowed];
		printf("  --%s%s%s\n      %s%s%s%s\n", s->flag, s->arg ? " " : "",
		       s->arg ? s->arg : "", s->help, s->env ? " [" : "", s->env ? s->env : "",
		       s->env ? "]" : "");
	}
}
