/* SPDX-License-Identifier: Apache-2.0 */
/* `warren accept ID`: the running gateway takes a member's key that --pin-members refused. */
#include "gateway/cmd.h"
#include "gateway/proc.h"
#include "gateway/status_ask.h"
#include "punch/member.h"
#include "base/log.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const enum setting accept_settings[] = { SET_INTERFACE, SET_RUN_DIR, SETTING_COUNT };

static const char accept_usage[] =
	"usage: warren accept [--interface NAME] ID\n\n"
	"Takes the new key of the member ID, which the gateway on this host has refused because "
	"of\n"
	"--pin-members. See first that the node was set up anew on purpose.\n";

static int ask(const struct config *c, const char *id)
{
	char question[WORKER_ID_LEN + 8];

	snprintf(question, sizeof(question), "accept %s", id);
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
	if (c.nargs == 1 && worker_id_valid(c.args[0]))
		status = ask(&c, c.args[0]);
	else
		log_usage("accept takes one worker id: warren accept ID");
	config_free(&c);
	return status;
}
