/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cmd.h"
#include "gateway/proc.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct command {
	const char *name, *help;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "rendezvous", "introduce members to each other and relay for them; needs no privilege",
	  cmd_rendezvous },
	{ "token", "print the join token of a rendezvous", cmd_token },
	{ "run", "join a network and run a command in it: warren run -- CMD ARGS…", cmd_run },
	{ "up", "join a network, or bring up a WireGuard configuration FILE", cmd_up },
	{ "status", "what the gateway on this host, or a rendezvous, is doing", cmd_status },
	{ "check", "would a gateway work on this host? Joins nothing, changes nothing", cmd_check },
	{ "ping", "round trips to a member over its virtual address", cmd_ping },
	{ "accept", "take a member's new key that --pin-members refused", cmd_accept },
	{ "genkey", "make a private key", cmd_genkey },
	{ "pubkey", "the public key of the private key on standard input", cmd_pubkey },
	{ "genpsk", "make a pre-shared key", cmd_genpsk },
};

static void usage(FILE *f)
{
	fprintf(f,
		"warren %s: one private network for Trino nodes behind NATs\n\n"
		"usage: warren COMMAND [--OPTION VALUE]… (warren COMMAND --help says more)\n\n",
		WARREN_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-11s %s\n", commands[i].name, commands[i].help);
	fprintf(f, "\nTo begin:\n"
		   "  warren rendezvous --public HOST:7777 --state /var/lib/warren/rendezvous\n"
		   "  warren token --state /var/lib/warren/rendezvous\n"
		   "  WARREN_JOIN=TOKEN WORKER_ID=w1 warren up\n");
}

/* Started without 0, 1 or 2, the first descriptors of ours would be what a command prints into. */
static void fill_standard(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 2);
	if (fd > 2)
		close(fd);
}

static size_t min3(size_t a, size_t b, size_t c)
{
	return size_min(a, size_min(b, c));
}

/* Levenshtein's distance, of two short words. */
static size_t distance(const char *a, const char *b)
{
	size_t row[32], la = strlen(a), lb = strlen(b);
	if (la >= ARRAY_SIZE(row) || lb >= ARRAY_SIZE(row))
		return ARRAY_SIZE(row);
	for (size_t k = 0; k <= lb; k++)
		row[k] = k;
	for (size_t i = 0; i < la; i++) {
		size_t before = row[0]++;
		for (size_t k = 0; k < lb; k++) {
			size_t swap = before + (a[i] != b[k]);
			before = row[k + 1];
			row[k + 1] = min3(row[k + 1] + 1, row[k] + 1, swap);
		}
	}
	return row[lb];
}

/* A slip of the keyboard makes no interface. wg-quick(8) makes none: tokyo.conf is not meant to be `token`. */
static bool nearly_a_command(const char *word)
{
	if (getenv("WG_QUICK_USERSPACE_IMPLEMENTATION"))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strlen(commands[i].name) > 3 && distance(word, commands[i].name) <= 2)
			return true;
	return strcmp(word, "netcheck") == 0;
}

static int command(int argc, char **argv)
{
	char help[] = "--help";

	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "help") == 0 && argc > 2) {
		argv[1] = argv[2]; /* `help run` is `run --help` */
		argv[2] = help;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		usage(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("warren %s\n", WARREN_VERSION);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 2, argv + 2);
	bool foreground = strcmp(argv[1], "-f") == 0 || strcmp(argv[1], "--foreground") == 0;
	if (argc == 2 + foreground && cmd_bare_name(argv[1 + foreground]) &&
	    (foreground || !nearly_a_command(argv[1])))
		return cmd_bare(argv[1 + foreground], foreground);
	if (foreground)
		log_usage("-f is for one interface's name: at most 15 letters, digits and _=+.-");
	else
		log_usage("there is no command %s (try warren --help)", argv[1]);
	return EXIT_USAGE;
}

/* A token that a full disk has cut short is no token: what was to be printed is there, or it was no success. */
static int printed(int status)
{
	bool before = ferror(stdout);
	if (fflush(stdout) == 0 && !before)
		return status;
	log_usage("cannot write to standard output%s%s", before ? "" : ": ",
		  before ? "" : strerror(errno));
	return status ? status : EXIT_CANNOT;
}

int main(int argc, char **argv)
{
	const char *format = getenv("WARREN_LOG_FORMAT");

	fill_standard();
	proc_signals();
	if (format &&
	    strcmp(format, "json") == 0) /* for what is wrong with the settings themselves */
		log_init("warren", NULL, LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	if (sodium_init() < 0) {
		log_usage("no source of random numbers");
		return EXIT_CANNOT;
	}
	return printed(command(argc, argv));
}

/* The place of `want` among the names; -1 with a line. */
static int log_setting(const char *flag, const char *want, const char *const *names, int n,
		       const char *they)
{
	for (int i = 0; i < n; i++)
		if (strcmp(want, names[i]) == 0)
			return i;
	log_usage("--%s %s: it must be %s", flag, want, they);
	return -1;
}

int cmd_log(const struct config *c, const char *process, const char *worker)
{
	static const char *const levels[] = { "debug", "info", "warning", "error" };
	static const char *const formats[] = { "text", "json" };
	int level = log_setting("log-level", config_get(c, SET_LOG_LEVEL, "info"), levels,
				ARRAY_SIZE(levels), "debug, info, warning or error");
	int format = log_setting("log-format", config_get(c, SET_LOG_FORMAT, "text"), formats,
				 ARRAY_SIZE(formats), "text or json");

	if (level < 0 || format < 0)
		return -1;
	log_init(process, worker, (enum log_level)level, (enum log_format)format);
	return 0;
}

bool cmd_host_port(const char *text, char *host, size_t cap, uint16_t *port)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	char *end = NULL;
	unsigned long n = colon ? strtoul(colon + 1, &end, 10) : 0;
	bool v6 = len >= 2 && text[0] == '[' && text[len - 1] == ']';

	if (v6) {
		text++;
		len -= 2;
	}
	if (len == 0 || len >= cap || n == 0 || n > UINT16_MAX || *end ||
	    (!v6 && memchr(text, ':', len)))
		return false;
	memcpy(host, text, len);
	host[len] = 0;
	*port = (uint16_t)n;
	return true;
}

bool cmd_help(int argc, char **argv, const char *usage_text, const enum setting *allowed)
{
	if (argc < 1 || (strcmp(argv[0], "--help") != 0 && strcmp(argv[0], "-h") != 0))
		return false;
	fputs(usage_text, stdout);
	if (allowed && *allowed != SETTING_COUNT) {
		printf("\nOptions (a flag beats the environment, the environment beats the "
		       "file):\n");
		config_help(allowed);
	}
	return true;
}
