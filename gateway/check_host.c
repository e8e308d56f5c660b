/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/check_probes.h"
#include "gateway/file.h"
#include "gateway/proc.h"
#include "crypto/wg.h"
#include "base/log.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

/* Keys of a network of 64, each with three sessions: where so many are locked, few have more. */
enum { KEYS = 256 };

#define PROBE_INTERFACE "warren-check"
#define DEVICE "/dev/net/tun"

void check_running(struct check *k)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/%s.lock", k->app->run_dir, k->app->interface);
	int fd = file_open(path, O_NOFOLLOW);
	k->runs = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	if (fd >= 0)
		close(fd);
	if (k->runs)
		check_found(&k->report, "gateway", CHECK_OK,
			    "a gateway runs on interface %s already; what it holds is in use",
			    k->app->interface);
	else if (if_nametoindex(k->app->interface)) {
		check_found(&k->report, "interface", CHECK_FAILED, "interface %s exists already",
			    k->app->interface);
		check_todo(&k->report, "choose another --interface, or remove it");
	}
}

/* --- the TUN device, and what needs it --- */

static bool has_net_admin(void)
{
	return capng_get_caps_process() == 0 &&
	       capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN);
}

/* The device alone: whoever may open it may not be let make an interface. */
static bool check_tun(struct check *k)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0) {
		close(fd);
		check_found(&k->report, "tun", CHECK_OK, DEVICE " opens");
		return true;
	}
	check_found(&k->report, "tun", CHECK_FAILED, DEVICE " cannot be opened (%s)",
		    strerror(errno));
	check_todo(&k->report, "give the container the device (docker run --device " DEVICE
			       "), or load the module tun");
	return false;
}

static void check_offloads(struct check *k)
{
	const struct tun *t = &k->gw.tun;
	if (t->tso && t->uso)
		check_found(&k->report, "tun-offloads", CHECK_OK, "TSO and USO");
	else
		check_found(&k->report, "tun-offloads", CHECK_OK, "%s: %s", t->tso ? "TSO" : "none",
			    t->tso ? "no USO, which Linux 6.2 has; UDP costs more"
				   : "each packet is read by itself, which costs more");
}

static void check_guard(struct check *k)
{
	const struct addr example = addr_v4((const uint8_t[]){ 192, 0, 2, 1 }); /* RFC 5737 */
	const struct prefix host = prefix_host(&example);
	struct guard *guard = NULL;
	int err = guard_open(&guard, PROBE_INTERFACE, k->gw.tun.ifindex);

	if (err == 0)
		err = guard_address(guard, &host);
	guard_close(guard);
	if (err == 0) {
		check_found(&k->report, "lan-guard", CHECK_OK, "nf_tables takes the rules");
		return;
	}
	log_capture(k->words, sizeof(k->words));
	gw_net_no_guard(err);
	log_capture(NULL, 0);
	check_complaint(&k->report, "lan-guard", CHECK_WARNING, k->words);
}

/* Shim and helper become nobody, the command its --user. */
static void check_setuid(struct check *k)
{
	if (geteuid() != 0)
		return;
	if (capng_get_caps_process() == 0 && capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID) &&
	    capng_have_capability(CAPNG_EFFECTIVE, CAP_SETGID))
		return;
	check_found(&k->report, "setuid", CHECK_FAILED, "no CAP_SETUID or no CAP_SETGID");
	check_todo(&k->report, "root without them cannot give its rights up: docker run --cap-add "
			       "SETUID --cap-add SETGID");
}

void check_device(struct check *k)
{
	struct check_report *r = &k->report;
	bool device = check_tun(k);
	check_setuid(k);

	if (!has_net_admin()) {
		check_found(r, "net-admin", CHECK_FAILED, "no CAP_NET_ADMIN");
		check_todo(r, "docker run --cap-add NET_ADMIN, AmbientCapabilities=CAP_NET_ADMIN, "
			      "or run as root");
		return;
	}
	k->gw.cfg->interface = PROBE_INTERFACE;
	log_capture(k->words, sizeof(k->words));
	int err = device ? gw_io_tun_open(&k->gw) : 0;
	log_capture(NULL, 0);
	k->gw.cfg->interface = k->app->interface;
	if (err < 0) {
		check_complaint(r, "net-admin", CHECK_FAILED, k->words);
		return;
	}
	check_found(r, "net-admin", CHECK_OK, device ? "an interface can be made" : "there");
	if (device) {
		check_offloads(k);
		tun_close(&k->gw.tun);
	}
	check_guard(k);
}

/* --- keys --- */

void check_aead(struct check *k)
{
	check_found(&k->report, "aead", CHECK_OK, "%s", k->gw.cfg->aead->name);
}

static bool keys_are_locked(void)
{
	struct wg_config cfg = { .max_peers = GW_MAX_PEERS, .aead = aead_choose(NULL) };
	struct wg *wg = wg_new(&cfg);
	uint8_t key[WG_KEY_LEN], pub[WG_KEY_LEN];

	for (unsigned i = 0; wg && i < KEYS; i++) {
		wg_key_generate(key);
		wg_key_public(key, pub);
		wg_peer_add(wg, pub, NULL);
	}
	bool locked = wg && wg_keys_locked(wg);
	wg_free(wg);
	return locked;
}

void check_memory(struct check *k)
{
	if (keys_are_locked()) {
		check_found(&k->report, "memory", CHECK_OK, "keys are locked in memory");
		return;
	}
	check_found(&k->report, "memory", CHECK_WARNING,
		    "keys cannot be locked in memory, and may get into the swap");
	check_todo(&k->report, PROC_ALLOW_LOCK);
}

/* --- files --- */

void check_state(struct check *k)
{
	char dir[256];
	bool pins = k->app->gw.pin_members && k->app->gw.joining;
	app_state_dir(k->app, dir);
	check_dir(
		&k->report, "state", dir, true, pins ? CHECK_FAILED : CHECK_WARNING,
		pins ? "with --pin-members the keys of members are kept there: make it writable, "
		       "or name another with --state"
		     : "this node's key lasts only as long as it runs; give it a directory of its "
		       "own with --state");
	k->gw.cfg->state.port = check_identity(&k->report, dir, &k->gw.cfg->state.has_psk);
	check_dir(&k->report, "run-dir", k->app->run_dir, false, CHECK_FAILED,
		  "lock and status socket have to be somewhere: name another --run-dir");
}
