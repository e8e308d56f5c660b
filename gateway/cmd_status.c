/* SPDX-License-Identifier: Apache-2.0 */
/* `warren status` for people and, with --json, for programs; `warren ping`. */
#include "gateway/cmd.h"
#include "gateway/ctl.h"
#include "gateway/proc.h"
#include "gateway/status_ask.h"
#include "base/log.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const enum setting status_settings[] = { SET_JSON, SET_INTERFACE, SET_RUN_DIR, SET_STATE,
						SETTING_COUNT };

static const char status_usage[] =
	"usage: warren status [--json] [--interface NAME]\n"
	"       warren status [--json] --state DIR        (a rendezvous)\n\n"
	"Lease, links and counters of the gateway on this host, or of a rendezvous.\n";

char *status_ask(const struct config *c, const char *question)
{
	char path[300], control[300] = "";
	const char *state =
		c->value[SET_STATE]; /* of a flag or WARREN_STATE: a rendezvous has one */
	char *text = NULL;

	if (state) {
		snprintf(control, sizeof(control), "%s/control.sock", state);
		text = ctl_ask(control, question);
	}
	if (!text) {
		snprintf(path, sizeof(path), "%s/%s.sock",
			 config_get(c, SET_RUN_DIR, "/run/warren"),
			 config_get(c, SET_INTERFACE, "warren0"));
		text = ctl_ask(path, question);
	}
	if (!text)
		log_usage("nothing answers at %s%s%s (%s): is it running here, under this "
			  "user, and with this --interface, --run-dir or --state?",
			  control, state ? ", nor at " : "", path, strerror(errno));
	return text;
}

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "-";
}

static long long num(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

/* "12.3 MiB" */
static const char *bytes_text(long long n, char out[static 24])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double v = (double)n;
	size_t u = 0;
	while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	snprintf(out, 24, u ? "%.1f %s" : "%.0f %s", v, units[u]);
	return out;
}

static const char *ms_text(const json_t *o, const char *key, char out[static 24])
{
	const json_t *v = json_object_get(o, key);
	if (json_is_number(v))
		snprintf(out, 24, "%.2f ms", json_number_value(v));
	else
		snprintf(out, 24, "-");
	return out;
}

static void print_drops(const json_t *drops)
{
	const char *name;
	json_t *n;
	if (json_object_size(drops) == 0)
		return;
	printf("\ndropped:");
	json_object_foreach((json_t *)(uintptr_t)drops, name, n)
		printf(" %s=%lld", name, (long long)json_integer_value(n));
	printf("\n");
}

static const json_t *path_in_use(const json_t *p)
{
	const json_t *path;
	size_t i;

	json_array_foreach(json_object_get(p, "paths"), i, path)
	{
		if (json_is_true(json_object_get(path, "in_use")))
			return path;
	}
	return NULL;
}

/* The MTU of a path: of the outer packets, as people know it of their lines. */
static const char *path_mtu_text(const json_t *path, char out[static 24])
{
	bool done = strcmp(str(path, "mtu_state"), "complete") == 0;
	if (json_object_get(path, "mtu"))
		snprintf(out, 24, "%lld%s", num(path, "mtu"), done ? "" : "?");
	else
		snprintf(out, 24, "-");
	return out;
}

/* Paths that are searched and not in use, below the one that is; and where batches get lost. */
static void print_paths(const json_t *p)
{
	const json_t *path;
	char rtt[24], mtu[24];
	size_t i;

	json_array_foreach(json_object_get(p, "paths"), i, path)
	{
		bool used = json_is_true(json_object_get(path, "in_use"));
		if (!used && json_object_get(path, "mtu"))
			printf("  %-16s %-16s %-7s %-26s %10s %8s\n", "", "or", str(path, "kind"),
			       str(path, "endpoint"), ms_text(path, "rtt_ms", rtt),
			       path_mtu_text(path, mtu));
		if (json_is_false(json_object_get(path, "batches")))
			printf("  %-16s %s to %s: datagrams go singly, batches of them get lost\n",
			       "", str(path, "kind"), str(path, "endpoint"));
	}
}

/* What packets that do not fit the path cost: they are cut, and put together. */
static void print_fragments(const json_t *p)
{
	const json_t *f = json_object_get(p, "fragments");
	long long sent = num(f, "packets_sent"), received = num(f, "packets_received");

	if (sent + received == 0)
		return;
	printf("  %-16s cut %lld packets into %lld, put %lld together\n", "", sent, num(f, "sent"),
	       received);
}

static void print_peer(const json_t *p)
{
	char rtt[24], tx[24], rx[24], path_mtu[24];
	bool member = strcmp(str(p, "kind"), "member") == 0;
	char key[12];

	snprintf(key, sizeof(key), "%.8s…", str(p, "key"));
	path_mtu_text(path_in_use(p), path_mtu);
	/* the dots of a key's beginning are one character and three bytes */
	printf("  %-*s %-16s %-7s %-26s %10s %8s %5lld %11s %11s  %s\n", member ? 16 : 18,
	       member ? str(p, "id") : key, member ? str(p, "ip") : "-", str(p, "path"),
	       str(p, "endpoint"), ms_text(p, "rtt_ms", rtt), path_mtu, num(p, "mtu"),
	       bytes_text(num(p, "tx_bytes"), tx), bytes_text(num(p, "rx_bytes"), rx),
	       member ? str(p, "release") : "");
	print_paths(p);
	print_fragments(p);
}

static void print_cpu(const json_t *cpu)
{
	if (cpu)
		printf("CPU: %.1f %% of a core in the last minute, %.1f %% since the start, %.1f s "
		       "in all\n",
		       100 * json_number_value(json_object_get(cpu, "share_minute")),
		       100 * json_number_value(json_object_get(cpu, "share")),
		       json_number_value(json_object_get(cpu, "seconds")));
}

static void print_registration(const json_t *r)
{
	const json_t *last = json_object_get(r, "last_answer_s");
	char rtt[24];

	printf("rendezvous %s: ", str(r, "endpoint"));
	if (json_is_true(json_object_get(r, "registered")))
		printf("registered, %s\n", ms_text(r, "rtt_ms", rtt));
	else if (json_is_number(last))
		printf("not registered, last answer %.0f s ago\n", json_number_value(last));
	else
		printf("no answer yet\n");
}

static void print_gateway(const json_t *o)
{
	const json_t *r = json_object_get(o, "rendezvous"), *peers = json_object_get(o, "peers");
	size_t i;
	json_t *p;

	printf("%s  %s%s%s on %s, %s (warren %s, %s)\n", str(o, "worker_id"), str(o, "state"),
	       r ? " in network " : "", r ? str(o, "network") : "", str(o, "interface"),
	       str(o, "ip"), str(o, "release"), str(o, "aead"));
	json_array_foreach((json_t *)(uintptr_t)r, i, p) print_registration(p);
	if (json_is_false(json_object_get(json_object_get(o, "tun"), "up")))
		printf("interface %s was set down: nothing is carried (ip link set %s up)\n",
		       str(o, "interface"), str(o, "interface"));
	if (json_is_integer(json_object_get(o, "mtu_pinned")))
		printf("inner MTU pinned to %lld: what does not fit a path is cut\n",
		       num(o, "mtu_pinned"));
	if (json_is_false(json_object_get(json_object_get(o, "udp"), "gso")))
		printf("datagrams go singly: no segmentation offload\n");
	print_cpu(json_object_get(o, "cpu"));
	printf("\n  %-16s %-16s %-7s %-26s %10s %8s %5s %11s %11s  %s\n", "MEMBER", "ADDRESS",
	       "PATH", "ENDPOINT", "RTT", "PATH-MTU", "MTU", "SENT", "RECEIVED", "RELEASE");
	json_array_foreach((json_t *)(uintptr_t)peers, i, p) print_peer(p);
	if (json_array_size(peers) == 0)
		printf("  nobody else yet\n");
	print_drops(json_object_get(o, "drops"));
}

/* What the operator told it of tokens and keys. */
static void print_admission(const json_t *a)
{
	const json_t *reserved = json_object_get(a, "reserved"),
		     *removed = json_object_get(a, "removed");
	size_t i;
	json_t *v;

	if (json_array_size(reserved))
		printf("\nkept for tokens of their own:");
	json_array_foreach((json_t *)(uintptr_t)reserved, i, v)
		printf(" %s", json_string_value(v) ? json_string_value(v) : "-");
	if (json_array_size(removed))
		printf("\nremoved:");
	json_array_foreach((json_t *)(uintptr_t)removed, i, v)
		printf(" %s (key %s…)", str(v, "id"), str(v, "key"));
	if (json_array_size(reserved) + json_array_size(removed))
		printf("\n");
}

static void print_rendezvous(const json_t *o)
{
	const json_t *relay = json_object_get(o, "relay"), *members = json_object_get(o, "members");
	char text[24];
	size_t i;
	json_t *m;

	printf("rendezvous of network %s (warren %s), relayed %s in %lld datagrams\n\n",
	       str(o, "network"), str(o, "release"), bytes_text(num(relay, "bytes"), text),
	       num(relay, "packets"));
	printf("  %-16s %-16s %-8s %-26s %12s  %s\n", "MEMBER", "ADDRESS", "STATE", "ENDPOINT",
	       "RELAYED", "RELEASE");
	json_array_foreach((json_t *)(uintptr_t)members, i, m) printf(
		"  %-16s %-16s %-8s %-26s %12s  %s\n", str(m, "id"), str(m, "ip"),
		json_is_true(json_object_get(m, "online")) ? "online" : "away", str(m, "endpoint"),
		bytes_text(num(m, "relayed_bytes"), text), str(m, "release"));
	if (json_array_size(members) == 0)
		printf("  nobody yet\n");
	print_admission(json_object_get(o, "admission"));
	print_drops(json_object_get(o, "drops"));
}

int cmd_status(int argc, char **argv)
{
	struct config c;
	bool json;

	if (cmd_help(argc, argv, status_usage, status_settings))
		return 0;
	if (config_read(&c, argc, argv, status_settings) < 0 ||
	    config_bool(&c, SET_JSON, &json) < 0)
		return EXIT_USAGE;
	char *text = status_ask(&c, "status");
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	int status = o ? 0 : EXIT_CANNOT;

	if (text && !o)
		log_usage("the answer is not what this release understands");
	if (o && json)
		puts(text);
	else if (o && json_object_get(o, "role"))
		print_rendezvous(o);
	else if (o)
		print_gateway(o);
	json_decref(o);
	free(text);
	config_free(&c);
	return status;
}
