/* SPDX-License-Identifier: Apache-2.0 */
/* `warren accept ID KEY`: the running gateway takes a member's key that --pin-members refused. */
#include "gateway/cmd.h"
#include "gateway/proc.h"
#include "gateway/ctl.h"
#include "gateway/status_ask.h"
#include "gateway/wgconf.h"
#include "punch/member.h"
#include "base/log.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const enum setting accept_settings[] = { SET_INTERFACE, SET_RUN_DIR, SETTING_COUNT };

static const char accept_usage[] =
	"usage: warren accept [--interface NAME] ID KEY\n\n"
	"Takes KEY as the new key of the member ID, which the gateway on this host has refused\n"
	"because of --pin-members; its log has the line. See first that the node was set up anew\n"
	"on purpose, and that this is its key.\n";

static int ask(const struct config *c, const char *id, const char *key)
{
	char question[CTL_LINE_MAX];

	snprintf(question, sizeof(question), "accept %s %s", id, key);
	char *text = status_ask(c, question);
	json_t *o = text ? json_loads(text, 0, NULL) : NULL;
	const char *error = json_string_value(json_object_get(o, "error"));
	int status = o && !error ? 0 : EXIT_CANNOT;

	if (text && !o)
		log_usage("the answer is not what this release understands");
	else if (error)
		log_usage("%s: %s", id, error);
	json_decref(o);
	free(text);
	return status;
}

int cmd_accept(int argc, char **argv)
{
	struct config c;

	if (cmd_help(argc, argv, accept_usage, accept_settings))
		return 0;
	if (config_read(&c, argc, argv, accept_settings) < 0)
		return EXIT_USAGE;
	int status = EXIT_USAGE;
	uint8_t key[32];
	if (c.nargs == 2 && worker_id_valid(c.args[0]) && key_parse(c.args[1], key))
		status = ask(&c, c.args[0], c.args[1]);
	else
		log_usage("accept takes a worker id and a key: warren accept ID KEY");
	config_free(&c);
	return status;
}
