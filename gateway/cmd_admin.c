/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `warren token`, and `warren rendezvous rotate | remove | forget`: asked of the rendezvous that runs
 * with this state directory; where none does, done here, under its lock.
 */
#include "gateway/cmd.h"
#include "gateway/ctl.h"
#include "gateway/file.h"
#include "gateway/loop.h"
#include "gateway/proc.h"
#include "gateway/rdv_admin.h"
#include "gateway/state.h"
#include "gateway/wgconf.h"
#include "base/log.h"
#include "punch/lease_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PENDING_TRIES = 250 };
#define PENDING_EVERY (20 * NSEC_PER_MSEC)

static const enum setting token_settings[] = { SET_STATE, SET_FOR, SET_EXPIRES, SETTING_COUNT };
static const enum setting admin_settings[] = { SET_STATE, SETTING_COUNT };
static const enum setting rotate_settings[] = { SET_STATE, SET_OVERLAP, SETTING_COUNT };

static const char token_usage[] =
	"usage: warren token --state DIR [--for ID] [--expires DURATION|DATE]\n\n"
	"Prints the join token of the rendezvous whose state is in DIR. It is a secret: who has it "
	"may\n"
	"join. Hand it over as WARREN_JOIN=TOKEN, or in a file as WARREN_JOIN=@FILE.\n";

static const char rotate_usage[] =
	"usage: warren rendezvous rotate [--overlap DURATION] [--state DIR]\n\n"
	"Makes another join token, for `warren token` to print. Those of before admit nobody any "
	"more, or\n"
	"for DURATION yet. Members stay; who restarts without its state needs the new one.\n";

static const char remove_usage[] =
	"usage: warren rendezvous remove ID|KEY [--state DIR]\n\n"
	"Takes a member out for good, or whoever has KEY: its key is refused with any token, and "
	"the others drop it "
	"when they\n"
	"hear the rendezvous. Its owner may still have the join token: rotate as well.\n";

static const char forget_usage[] =
	"usage: warren rendezvous forget ID [--state DIR]\n\n"
	"Frees the lease of a member that is away, with its address; and any good token may claim "
	"the id,\n"
	"also where `warren token --for ID` had kept it.\n";

/* --- without a rendezvous that runs --- */

struct offline {
	struct state state;
	struct token token;
	struct admission admission;
	uint8_t secret[32], plain[32];
	struct lease_store *store;
	struct lease_record found;
	const char *wanted; /* NULL: the key */
	const uint8_t *wanted_key;
	int lock_fd;
};

static int match(void *ctx, const struct lease_record *rec)
{
	struct offline *o = ctx;
	if (o->wanted ? strcmp(rec->id, o->wanted) : memcmp(rec->key, o->wanted_key, 32))
		return 0;
	o->found = *rec;
	return 1;
}

static int offline_find(void *ctx, const char *id, const uint8_t *key, struct lease_record *out)
{
	struct offline *o = ctx;
	char path[300], err[400];
	o->wanted = id;
	o->wanted_key = key;
	o->found.number = 0;
	snprintf(path, sizeof(path), "%s/leases.db", o->state.dir);
	if (!o->store && !(o->store = lease_store_open(path, err, sizeof(err)))) {
		log_usage("the leases: %s", err);
		return -EIO;
	}
	if (lease_store_each(o->store, match, o) < 0)
		return -EIO;
	*out = o->found;
	return o->found.number ? 0 : -ENOENT;
}

static int offline_remove(void *ctx, const struct lease_record *rec)
{
	struct offline *o = ctx;
	int err = rec->number ? lease_store_delete(o->store, rec->number) : 0;
	return err ? err : lease_store_commit(o->store);
}

static int offline_forget(void *ctx, const char *id)
{
	struct lease_record rec;
	int err = offline_find(ctx, id, NULL, &rec);
	return err ? err : offline_remove(ctx, &rec);
}

static int take_lock(struct offline *o)
{
	o->lock_fd = rdv_admin_lock(o->state.dir);
	if (o->lock_fd >= 0)
		return 0;
	char path[300];
	snprintf(path, sizeof(path), "%s/control.sock", o->state.dir);
	bool gone = access(path, F_OK) < 0 && errno == ENOENT;
	log_usage("a rendezvous runs with the state in %s and %s", o->state.dir,
		  gone ? "has no control socket: again in a moment; if that stays so, restart it "
			 "(links "
			 "live on)"
		       : "does not answer at its control socket: ask as its user, or again in a "
			 "moment");
	return -EBUSY;
}

/* A rendezvous writes it at each start. */
static void cannot_read(const char *dir, int err)
{
	log_usage("cannot read %s/token: %s%s", dir, file_error(err),
		  err == ENOENT ? ": is this the --state of a rendezvous? It writes its token when "
				  "it starts"
		  : err == EACCES ? ": ask as the rendezvous' user"
				  : "");
}

static int read_token(struct offline *o)
{
	int err = rdv_admin_read_token(o->state.dir, &o->token);
	if (err < 0)
		cannot_read(o->state.dir, -err);
	else if (err)
		log_usage("%s/token: %s", o->state.dir, token_error_text((enum token_error)err));
	return err ? -EINVAL : 0;
}

static int offline_open(struct offline *o, const char *dir)
{
	/* first what only a rendezvous that was started leaves: nothing is to be made here */
	snprintf(o->state.dir, sizeof(o->state.dir), "%s", dir);
	o->lock_fd = -1;
	if (read_token(o) < 0 || take_lock(o) < 0)
		return -1;
	int fd = o->lock_fd, err = state_load(&o->state, dir);
	o->lock_fd = fd;
	if (err == 0)
		err = rdv_admin_load(&o->admission, dir);
	if (err < 0)
		log_usage("the state in %s cannot be used: %s", dir,
			  err == -EBADMSG ? "it is damaged, or of a newer release"
					  : strerror(-err));
	rdv_admin_secrets(o->state.private_key, o->secret, o->plain);
	return err;
}

static void offline_close(struct offline *o)
{
	lease_store_close(o->store);
	admission_free(&o->admission);
	if (o->lock_fd >= 0)
		close(o->lock_fd);
	sodium_memzero(o, sizeof(*o));
}

static char *ask_offline(const char *dir, const char *line)
{
	static struct offline o;
	char *text = NULL;
	log_init("warren", NULL, LOG_LEVEL_WARN, LOG_FORMAT_TEXT); /* the answer says it */
	if (offline_open(&o, dir) == 0) {
		struct rdv_admin a = {
			.dir = dir,
			.secret = o.secret,
			.admission = &o.admission,
			.token = &o.token,
			.leases = { &o, offline_find, offline_remove, offline_forget },
			.wall = loop_wall(),
		};
		text = rdv_admin(&a, line);
	}
	if (text && text[0] == ADMIN_PENDING)
		text[0] = ADMIN_DONE; /* it was committed */
	offline_close(&o);
	return text;
}

/* --- asking --- */

static char *ask(const char *dir, const char *line)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/control.sock", dir);
	char *text = ctl_ask(path, line);
	return text ? text : ask_offline(dir, line);
}

static void forget_text(char *text)
{
	if (text)
		sodium_memzero(text, strlen(text));
	free(text);
}

/* Its deletion is being written: asked again until there is no lease. Then what it said first is true. */
static char *ask_until_gone(const char *dir, const char *line)
{
	const struct timespec pause = { .tv_nsec = PENDING_EVERY };
	char *first = ask(dir, line);
	for (int i = 0; first && first[0] == ADMIN_PENDING && i < PENDING_TRIES; i++) {
		nanosleep(&pause, NULL);
		char *text = ask(dir, line);
		char kind = text ? text[0] : ADMIN_REFUSED;
		if (kind == ADMIN_NONE)
			first[0] = ADMIN_DONE;
		if (kind == ADMIN_NONE || kind == ADMIN_PENDING) {
			forget_text(text);
			continue;
		}
		forget_text(first);
		first = text;
	}
	return first;
}

static int print(char *text)
{
	int status = EXIT_CANNOT;
	switch (text ? text[0] : ADMIN_REFUSED) {
	case ADMIN_DONE:
		puts(text + 1);
		status = 0;
		break;
	case ADMIN_PENDING:
		log_usage("the rendezvous cannot write its database: its log says "
			  "why");
		break;
	case ADMIN_NONE:
	case ADMIN_REFUSED:
		if (text)
			log_usage("%s", text + 1);
		break;
	default:
		log_usage("the rendezvous that runs is of another release: restart "
			  "it");
	}
	forget_text(text);
	return status;
}

/* --- commands --- */

static const struct admin_verb {
	const char *name, *usage;
	const enum setting *settings;
	bool takes_id;
} verbs[] = {
	{ "rotate", rotate_usage, rotate_settings, false },
	{ "remove", remove_usage, admin_settings, true },
	{ "forget", forget_usage, admin_settings, true },
};

static const struct admin_verb *find_verb(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, word) == 0)
			return &verbs[i];
	return NULL;
}

bool cmd_admin_verb(const char *word)
{
	return find_verb(word);
}

static const char *state_dir(const struct config *c)
{
	return config_get(c, SET_STATE, "/var/lib/warren/rendezvous");
}

static int run_verb(const struct admin_verb *v, const struct config *c, const char *id)
{
	char line[CTL_LINE_MAX];
	uint8_t key[32];
	int64_t overlap;

	if (!v->takes_id) {
		if (config_duration(c, SET_OVERLAP, 0, &overlap) < 0)
			return EXIT_USAGE;
		snprintf(line, sizeof(line), "rotate %lld", (long long)overlap);
		return print(ask(state_dir(c), line));
	}
	bool removes = strcmp(v->name, "remove") == 0;
	if (!worker_id_valid(id) && !(removes && key_parse(id, key))) {
		log_usage("\"%s\" is no worker id%s", id, removes ? " and no key" : "");
		return EXIT_USAGE;
	}
	snprintf(line, sizeof(line), "%s %s", v->name, id);
	return print(removes ? ask(state_dir(c), line) : ask_until_gone(state_dir(c), line));
}

int cmd_admin(int argc, char **argv)
{
	const struct admin_verb *v = find_verb(argv[0]);
	struct config c;

	argc--;
	argv++;
	if (cmd_help(argc, argv, v->usage, v->settings))
		return 0;
	/* the id may stand before the options or behind them */
	const char *id = v->takes_id && argc > 0 && argv[0][0] != '-' ? argv[0] : NULL;
	int skip = id ? 1 : 0;
	if (config_read(&c, argc - skip, argv + skip, v->settings) < 0)
		return EXIT_USAGE;
	if (!id && v->takes_id && c.nargs == 1) {
		id = c.args[0];
		c.nargs = 0;
	}
	int status = EXIT_USAGE;
	if (c.nargs || (v->takes_id && !id))
		fputs(v->usage, stderr);
	else
		status = run_verb(v, &c, id);
	config_free(&c);
	return status;
}

/* The one that everybody may have: as the rendezvous has written it. */
static int print_token(const char *dir)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/token", dir);
	char *text = file_read(path, TOKEN_TEXT_MAX);
	if (!text) {
		cannot_read(dir, errno);
		return EXIT_CANNOT;
	}
	fputs(text, stdout);
	sodium_memzero(text, strlen(text));
	free(text);
	return 0;
}

/* An answer with a token: of a network with several rendezvous? */
static bool is_of_several(const char *answer)
{
	struct token t;
	bool several = answer && answer[0] == ADMIN_DONE &&
		       token_parse(answer + 1, &t, NULL) == TOKEN_OK && t.nmore_keys > 0;
	token_wipe(&t);
	return several;
}

static int print_special_token(const struct config *c)
{
	const char *id = config_get(c, SET_FOR, "");
	int64_t wall = loop_wall(), expires;
	char line[CTL_LINE_MAX];

	if (config_date(c, SET_EXPIRES, wall, &expires) < 0)
		return EXIT_USAGE;
	if (expires && expires <= wall) {
		log_usage("--expires %s is over already", config_get(c, SET_EXPIRES, ""));
		return EXIT_USAGE;
	}
	/* an empty one as well: `--for "$ID"` without an ID would be a token for everybody */
	if (c->value[SET_FOR] && !worker_id_valid(id)) {
		log_usage("--for \"%s\" is no worker id", id);
		return EXIT_USAGE;
	}
	snprintf(line, sizeof(line), *id ? "token %lld %s" : "token %lld", (long long)expires, id);
	char *text = ask(state_dir(c), line);
	bool several = is_of_several(text);
	int status = print(text);
	if (status == 0 && *id)
		fprintf(stderr,
			"worker id %s is kept for tokens like this one from now on (`warren "
			"rendezvous forget %s` ends that)%s\n",
			id, id,
			several ? " at this rendezvous; at each of the others from when you say "
				  "the same there, or a node has joined there with such a token"
				: "");
	return status;
}

int cmd_token(int argc, char **argv)
{
	struct config c;

	if (cmd_help(argc, argv, token_usage, token_settings))
		return 0;
	if (config_read(&c, argc, argv, token_settings) < 0)
		return EXIT_USAGE;
	bool special = c.value[SET_FOR] || c.value[SET_EXPIRES];
	int status = special ? print_special_token(&c) : print_token(state_dir(&c));
	config_free(&c);
	return status;
}
