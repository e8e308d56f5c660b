/* SPDX-License-Identifier: Apache-2.0 */
/* `warren check`: would a gateway with these settings work here? Nothing joins, nothing stays. */
#include "gateway/check_probes.h"
#include "gateway/cmd.h"
#include "gateway/loop.h"
#include "gateway/proc.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const enum setting check_settings[] = { SET_JSON, NODE_SETTINGS, SETTING_COUNT };

static const char check_usage[] =
	"usage: warren check [--json] [OPTIONS]\n\n"
	"Tests what a gateway needs here, with the settings of `warren run` and without joining: a "
	"line each,\n"
	"ok, warning or FAILED, and what to do. With a join token also the network's ranges and "
	"the\n"
	"rendezvous. The status is 0 when nothing FAILED.\n";

static void check_token(struct check *k)
{
	if (!k->app->c.value[SET_JOIN])
		return;
	log_capture(k->words, sizeof(k->words));
	int err = app_token(k->app);
	log_capture(NULL, 0);
	if (err == 0)
		check_found(&k->report, "token", CHECK_OK, "of network %s",
			    k->gw.cfg->token.network);
	else
		check_complaint(&k->report, "token", CHECK_FAILED, k->words);
}

static void check_worker_id(struct check *k)
{
	log_capture(k->words, sizeof(k->words));
	int err = app_worker_id(k->app);
	log_capture(NULL, 0);
	if (err < 0)
		check_complaint(&k->report, "worker-id", CHECK_FAILED, k->words);
	else
		check_found(&k->report, "worker-id", CHECK_OK, "%s", k->app->id);
}

/* When it expires is said by the clock's line. */
static void check_token_fits(struct check *k, bool expired)
{
	log_capture(k->words, sizeof(k->words));
	int err = k->gw.cfg->joining ? app_token_fits(k->app) : 0;
	log_capture(NULL, 0);
	if (err < 0 && !expired)
		check_complaint(&k->report, "token", CHECK_FAILED, k->words);
}

static void check_all(struct check *k)
{
	const struct token *t = &k->gw.cfg->token;
	int64_t wall = loop_wall();
	int err = kernel_routes_new(&k->gw.kernel, 0);

	check_running(k);
	check_token(k);
	check_worker_id(k);
	check_state(k);
	/* who was a member before needs no token that is still good */
	check_clock(&k->report, wall, k->gw.cfg->state.has_psk ? 0 : t->expires);
	check_token_fits(k, t->expires && t->expires <= wall);
	check_device(k);
	check_aead(k);
	check_memory(k);
	check_socket(k);
	check_trino(k);
	if (err < 0) {
		check_found(&k->report, "routing", CHECK_FAILED,
			    "cannot talk to the kernel's routing (%s)", strerror(-err));
		check_todo(&k->report, "does a filter of system calls forbid netlink?");
	} else if (k->gw.cfg->joining) {
		check_prefixes(k);
		check_rendezvous(k);
	}
	if (k->gw.udp.fd >= 0)
		udp_close(&k->gw.udp);
	if (k->gw.kernel)
		kernel_routes_free(k->gw.kernel);
}

static int print(const struct check_report *r, bool json)
{
	char *text = json ? check_json(r) : check_text(r);
	if (!text) {
		log_usage("out of memory");
		return EXIT_CANNOT;
	}
	printf(json ? "%s\n" : "%s", text);
	free(text);
	return check_passed(r) ? 0 : EXIT_CANNOT;
}

int cmd_check(int argc, char **argv)
{
	static struct check k = { .gw = { .tun = { .fd = -1 }, .udp = { .fd = -1 } } };
	struct app *a;
	int status = EXIT_USAGE;
	bool json;

	if (cmd_help(argc, argv, check_usage, check_settings))
		return 0;
	a = app_new();
	if (!a)
		return EXIT_CANNOT;
	k.app = a;
	k.gw.cfg = &a->gw;
	proc_may_lock();
	if (config_read(&a->c, argc, argv, check_settings) == 0 &&
	    config_bool(&a->c, SET_JSON, &json) == 0 && app_common(a) == 0) {
		if (a->c.nargs)
			log_usage("check takes no %s (try --help)", a->c.args[0]);
		else {
			check_all(&k);
			status = print(&k.report, json);
		}
	}
	app_free(a);
	return status;
}
