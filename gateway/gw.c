/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway process: set-up in the order that fails closed, the turn, and the end. */
#include "gateway/gw.h"
#include "gateway/gw_confine.h"
#include "gateway/proc.h"
#include "base/arena.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOCK_TRIES = 50, LOCK_WAIT_US = 20000 };

#define HOUSEKEEPING (5 * NSEC_PER_SEC)
#define HOUSEKEEPING_MOVED NSEC_PER_SEC
#define ROSTER_COALESCE (250 * NSEC_PER_MSEC)
#define COMPLAINS_AFTER (5 * NSEC_PER_SEC)

static void env_path(const struct gw *g, char out[static 300])
{
	snprintf(out, 300, "%s/env", g->cfg->run_dir);
}

/* For a sidecar: what the command gets in its environment. */
static void write_env(struct gw *g)
{
	char path[300], text[400], ip[ADDR_STRLEN], ip6[ADDR_STRLEN];
	const struct lease *l = &node_lease(g->node)->lease;
	bool six = *gw_net_ip6(g, ip6);
	int n = snprintf(text, sizeof(text), "WARREN_IP=%s\n%s%s%sWORKER_ID=%s\n",
			 addr_str(&l->ip, ip), six ? "WARREN_IP6=" : "", ip6, six ? "\n" : "",
			 g->cfg->worker_id);
	env_path(g, path);
	int err = file_replace(path, text, (size_t)n);
	if (err < 0)
		log_warn("cannot write %s: %s", path, strerror(-err));
	else
		chmod(path, 0644);
}

static void on_up(struct gw *g, const char *without)
{
	char ip[ADDR_STRLEN], ip6[ADDR_STRLEN];
	const struct lease *l = &node_lease(g->node)->lease;

	if (gw_net_up(g) < 0) {
		gw_cannot(g, EXIT_CANNOT);
		loop_stop(&g->loop);
		return;
	}
	g->up = true;
	gw_net_members(g); /* a start without a rendezvous has found them before */
	if (without)
		log_warn("no rendezvous answers, %s: this node goes on with the address and the "
			 "members that it had",
			 without);
	bool six = *gw_net_ip6(g, ip6);
	log_info("joined %s: %s%s%s on %s", g->cfg->token.network, addr_str(&l->ip, ip),
		 six ? " and " : "", ip6, g->tun.name);
	write_env(g);
	gw_tell_up(g);
	g->roster_changed = true;
}

static void on_refused(struct gw *g, const struct node_note *n)
{
	if (n->fatal) {
		log_error("the rendezvous %s refuses this node: %s", n->from, n->text);
		gw_fatal(g, EXIT_CANNOT);
	} else if (node_lease(g->node)->up) {
		log_warn(
			"the rendezvous %s does not renew this node's lease: %s. Links and command "
			"go on, it is asked again",
			n->from, n->text);
	} else {
		log_warn("the rendezvous %s refuses for now: %s", n->from, n->text);
	}
}

static void on_session(const struct peer *p)
{
	if (peer_kind(p) == PEER_MEMBER)
		log_info("%s: encrypted session is up", peer_entry(p)->id);
	else
		log_info("encrypted session with %s is up",
			 peer_kind(p) == PEER_RENDEZVOUS ? "the rendezvous" : "a peer");
}

static void on_note(void *ctx, const struct node_note *n)
{
	struct gw *g = ctx;

	switch (n->event) {
	case NODE_UP:
		on_up(g, n->text);
		break;
	case NODE_LEASE_CHANGED:
		log_error("the rendezvous gives this node another address than the one its command "
			  "started with: stopping");
		gw_fatal(g, EXIT_REPLACED);
		break;
	case NODE_REFUSED:
		on_refused(g, n);
		break;
	case NODE_REPLACED:
		log_error("this node is out of the network: %s: stopping", n->text);
		gw_fatal(g, EXIT_REPLACED);
		break;
	case NODE_RELEASED:
		gw_tell_released(g);
		loop_stop(&g->loop);
		break;
	case NODE_ROUTE_ADD:
	case NODE_ROUTE_REMOVE:
		gw_net_route(g, n->peer, &n->prefix, n->event == NODE_ROUTE_ADD);
		break;
	case NODE_PATH_CHANGED:
		gw_net_path(g, n->peer);
		g->roster_changed = true;
		break;
	case NODE_ENDPOINT:
		gw_net_endpoint(g, n->peer, n->path.remote.port == 0);
		break;
	case NODE_MTU:
		gw_net_mtu(g, n->peer);
		break;
	case NODE_PATH_MTU:
		gw_net_path_mtu(n->peer, &n->path, &n->mtu);
		break;
	case NODE_RESOLVE:
		gw_resolve(g);
		break;
	case NODE_SAVE:
		gw_state_save(g);
		break;
	case NODE_ROSTER:
		g->roster_changed = true;
		break;
	case NODE_SESSION:
		on_session(n->peer);
		break;
	case NODE_KEY_TWICE:
	case NODE_KEY_REFUSED:
	case NODE_ROUTE_REFUSED:
	case NODE_KEY_UNKEPT:
		gw_state_key(n);
		break;
	}
}

static void housekeeping(struct gw *g, nsec now)
{
	g->next_housekeeping = now + (g->moved ? HOUSEKEEPING_MOVED : HOUSEKEEPING);
	cpu_meter_sample(&g->cpu, now, loop_cpu_used());
	if (g->moved)
		gw_net_follow(g);
	g->loop.wall_offset = loop_wall_offset();
	node_set_wall(g->node, g->loop.wall_offset);
	udp_gso_turn(&g->udp, now);
	proc_tell_unlocked(&g->told_unlocked);
	gw_watch_rendezvous(g);
}

static void turn(void *ctx, nsec now)
{
	struct gw *g = ctx;
	if (now >= g->next_housekeeping)
		housekeeping(g, now);
	gw_static_turn(g, now);
	gw_restore_turn(g, now);
	node_tick(g->node, now);
	gw_state_turn(g, now);
	if (g->roster_changed && now >= g->next_roster) {
		g->roster_changed = false;
		g->next_roster = now + ROSTER_COALESCE;
		gw_shim_roster(g);
	}
	gw_shim_turn(g);
}

static nsec deadline(void *ctx)
{
	struct gw *g = ctx;
	nsec at = nsec_min(node_deadline(g->node), g->next_housekeeping);
	at = nsec_min(at, nsec_min(gw_static_deadline(g), gw_state_deadline(g)));
	at = nsec_min(at, g->restore_at);
	return g->roster_changed ? nsec_min(at, g->next_roster) : at;
}

static char *json_text(json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}

/* `warren accept ID KEY`: a key that --pin-members refused. */
static json_t *accept_key(struct gw *g, const char *args)
{
	char id[WORKER_ID_LEN];
	uint8_t key[32];
	size_t len = strcspn(args, " ");
	const char *error = NULL;

	if (len >= sizeof(id) || !args[len] || !key_parse(args + len + 1, key))
		return json_pack("{s:s}", "error", "no id and key");
	snprintf(id, sizeof(id), "%.*s", (int)len, args);
	int err = node_accept_key(g->node, g->loop.now, id, key);
	if (err == 0)
		log_info("%s: its new key is accepted, as asked for", id);
	else if (err == -ENOENT)
		error = "the rendezvous lists no member of this id";
	else if (err == -ESTALE)
		error = "the rendezvous lists it with another key";
	else if (err == -EADDRINUSE)
		error = "a route to it holds the address of another member, which is there: take "
			"the route back on the rendezvous";
	else
		error = "no other key was remembered for it: nothing to accept";
	return json_pack("{s:s?}", "error", error);
}

static char *ctl_answer(void *ctx, const char *question)
{
	static const char accept[] = "accept ";
	if (strcmp(question, "status") == 0)
		return json_text(gw_status(ctx));
	if (strncmp(question, accept, sizeof(accept) - 1) == 0)
		return json_text(accept_key(ctx, question + sizeof(accept) - 1));
	return NULL;
}

/* The lock, if the file that we locked is still the one of that name: its last holder removes it. */
static int lock_file(const char *path, int *fd)
{
	struct stat locked, named;
	*fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return -errno;
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0 && fstat(*fd, &locked) == 0 &&
	    stat(path, &named) == 0 && locked.st_ino == named.st_ino)
		return 0;
	close(*fd);
	*fd = -1;
	return -EBUSY;
}

/* One that was killed a moment ago may still be on its way out. */
static int wait_for_lock(const char *path, int *fd)
{
	int err = -EBUSY;
	for (unsigned i = 0; err == -EBUSY && i < LOCK_TRIES; i++) {
		if (i)
			usleep(LOCK_WAIT_US);
		err = lock_file(path, fd);
	}
	if (err < 0 && err != -EBUSY)
		log_error("cannot open the lock %s: %s", path, strerror(-err));
	return err;
}

static void unlock(const char *path, int fd, bool stays)
{
	if (fd < 0)
		return;
	if (!stays)
		unlink(path);
	close(fd);
}

static void lock_path(const struct gw *g, char out[static 300])
{
	snprintf(out, 300, "%s/%s.lock", g->cfg->run_dir, g->cfg->interface);
}

static void state_lock_path(const struct gw *g, char out[static 300])
{
	snprintf(out, 300, "%s/lock", g->cfg->state.dir);
}

/* Somebody may have removed them since the launcher made them. */
static int make_dirs(const struct gw *g)
{
	const char *dir = g->cfg->run_dir;
	int err = make_dir(dir, 0755);
	if (err == 0)
		err = make_dir(dir = g->cfg->state.dir, 0700);
	if (err < 0)
		log_error("cannot make the directory %s: %s", dir, strerror(-err));
	return err;
}

/* One gateway for an interface name, and one for a key. */
static int take_locks(struct gw *g)
{
	char path[300];
	struct stat names;
	int err = make_dirs(g);

	if (err < 0)
		return err;
	lock_path(g, path);
	err = wait_for_lock(path, &g->lock_fd);
	if (err == -EBUSY)
		log_error("another gateway runs interface %s already (%s): choose another "
			  "--interface",
			  g->cfg->interface, path);
	if (err < 0)
		return err;
	g->left_closed = fstat(g->lock_fd, &names) == 0 && names.st_size > 0;
	state_lock_path(g, path);
	err = wait_for_lock(path, &g->state_lock_fd);
	if (err == -EBUSY)
		log_error("another gateway uses the state in %s: each needs a --state of its own",
			  g->cfg->state.dir);
	return err;
}

static int open_ctl(struct gw *g)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/%s.sock", g->cfg->run_dir, g->cfg->interface);
	int err = ctl_open(&g->ctl, g->loop.ev, path, ctl_answer, g);
	if (err < 0)
		log_error("cannot serve the status socket %s: %s", path, strerror(-err));
	return err;
}

static int make_node(struct gw *g)
{
	struct node_config nc = {
		.io = { .ctx = g,
			.udp = gw_send_udp,
			.tun = gw_send_tun,
			.note = on_note,
			.local_way = gw_net_local_way,
			.leads = gw_net_leads },
		.aead = g->cfg->aead,
		.worker_id = g->cfg->worker_id,
		.release = WARREN_VERSION,
		.max_peers = GW_MAX_PEERS,
		.udp_gso = g->tun.uso,
		.tun_ifindex = g->tun.ifindex,
		.pinned_mtu = g->cfg->bare ? GW_BARE_MTU : g->cfg->mtu,
		.token = g->cfg->joining ? &g->cfg->token : NULL,
		.psk = g->cfg->state.has_psk ? g->cfg->state.psk : NULL,
		.number = g->cfg->state.number,
		.memory = g->cfg->joining ? &g->memory : NULL,
		.pin_members = g->cfg->pin_members,
		.holds = g->cfg->again,
	};
	int64_t wall = g->loop.now + g->loop.wall_offset;

	nc.boot = state_begin(&g->cfg->state, g->loop.now, wall);
	if (!g->cfg->bare) /* that one has none until it is told */
		memcpy(nc.private_key, g->cfg->state.private_key, 32);
	g->node = node_new(&nc, g->loop.now);
	sodium_memzero(&nc, sizeof(nc));
	if (!g->node) {
		log_error("cannot make the gateway: %s", strerror(errno ? errno : ENOMEM));
		return -ENOMEM;
	}
	node_set_wall(g->node, g->loop.wall_offset);
	return 0;
}

static int set_up(struct gw *g)
{
	int err = take_locks(g);
	if (err == 0)
		err = gw_state_load(g);
	if (err == 0)
		err = gw_io_open(g);
	if (err == 0)
		err = make_node(g);
	if (err == 0)
		err = gw_net_open(g);
	if (err == 0)
		err = open_ctl(g);
	if (err == 0)
		err = gw_uapi_open(g);
	if (err == 0 && g->cfg->static_conf) {
		err = gw_static_addresses(g);
		if (err == 0)
			err = gw_static_peers(g);
	}
	if (err == 0)
		gw_net_follow(g);
	json_object_seed(0); /* which opens a file */
	return err;
}

static void tear_down(struct gw *g)
{
	char path[300];

	/* where we never came so far it is another's */
	env_path(g, path);
	if (g->up)
		unlink(path);
	ctl_close(g->ctl);
	gw_uapi_close(g);
	if (g->kernel)
		gw_net_close(g);
	gw_chan_close(g);
	if (g->node)
		node_free(g->node);
	memory_free(&g->memory);
	free(g->names);
	gw_io_close(g);
	state_lock_path(g, path);
	unlock(path, g->state_lock_fd, false);
	if (g->state_lock_fd >= 0 && g->releasing && g->cfg->state.ephemeral)
		state_remove(&g->cfg->state);
	lock_path(g, path);
	unlock(path, g->lock_fd, g->left_closed);
	loop_close(&g->loop);
}

/* All is open: what may be done after this is little. */
static int start(struct gw *g)
{
	const struct gw_config *cfg = g->cfg;
	int null = cfg->detach ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;

	signal(SIGTERM, SIG_IGN); /* it ends with the channel, when the launcher says so */
	if (cfg->bare)
		gw_bare_heed(g);
	else
		gw_chan_start(g);
	gw_state_turn(g, g->loop.now);
	if (cfg->joining)
		gw_net_candidates(g);
	gw_io_start(g);
	int err = gw_confine(g);
	if (err < 0)
		return err;
	gw_tell_serves(g);
	if (!cfg->joining)
		gw_tell_up(g);
	gw_bare_leave(null);
	return 0;
}

_Noreturn void gw_main(struct gw_config *cfg, int chan)
{
	struct gw *g = calloc(1, sizeof(*g));
	bool ok = g;

	proc_may_lock();
	arena_relock(cfg->arena);
	if (cfg->static_conf)
		arena_relock(cfg->static_conf->psks);
	if (ok) {
		g->cfg = cfg;
		g->chan = chan;
		g->helper_fd = g->shim_fd = g->monitor_fd = g->lock_fd = g->state_lock_fd =
			g->keeper_fd = g->valid_mark_fd = g->tun.fd = g->udp.fd = -1;
		ok = loop_init(&g->loop, g, turn, deadline) == 0;
		cpu_meter_init(&g->cpu, g->loop.now, loop_cpu_used());
		g->complains = g->loop.now + COMPLAINS_AFTER;
		g->restore_at = NSEC_NEVER;
	}
	if (!ok || set_up(g) < 0 || start(g) < 0) {
		if (g) {
			gw_cannot(g, EXIT_CANNOT);
			tear_down(g);
		}
		_exit(EXIT_CANNOT);
	}
	loop_run(&g->loop);
	gw_state_end(g);
	tear_down(g);
	state_wipe(&cfg->state);
	_exit(0);
}
