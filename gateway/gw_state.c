/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway's state directory: the identity file, and the members file, which grows with the network. Both are written
 * by the keeper, but for the first and the last time, when no packet waits.
 */
#include "gateway/gw.h"
#include "gateway/file.h"
#include "gateway/keeper.h"
#include "gateway/proc.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* A failed save is not tried in each turn. */
#define SAVE_AGAIN (5 * NSEC_PER_SEC)
/* Members come together, at a start and after an outage; where they were reached is less urgent. */
#define KEEP_KEYS (5 * NSEC_PER_SEC)
#define KEEP_EVERY (60 * NSEC_PER_SEC)

enum { LAST_ANSWER_MS = 2000, KEY_TEXT_LEN = 45 };

/* --- identity --- */

static void note_lease(struct gw *g)
{
	struct state *s = &g->cfg->state;
	const struct node_lease_info *l = node_lease(g->node);

	s->port = g->udp.port;
	if (l->up) {
		s->number = l->lease.number;
		memcpy(s->psk, l->psk, 32);
		s->has_psk = true;
	}
}

static bool wrote(const struct gw *g, int err)
{
	if (err < 0)
		log_warn("cannot write the state in %s: %s", g->cfg->state.dir, strerror(-err));
	return err == 0;
}

/* 0, and the keeper will answer; or -errno. */
static int hand_over(struct gw *g, enum keeper_file what, const uint8_t *bytes, size_t len)
{
	struct chan_msg m = { .kind = CHAN_KEEP, .code = (int)what };
	int err = chan_send_bytes(g->keeper_fd, &m, bytes, len);
	if (err == 0)
		g->keeping = what;
	return err;
}

static int hand_over_identity(struct gw *g)
{
	uint8_t bytes[STATE_MAX];
	int err = hand_over(g, KEEPER_IDENTITY, bytes,
			    state_encode(&g->cfg->state, bytes, sizeof(bytes)));
	sodium_memzero(bytes, sizeof(bytes));
	return err;
}

static nsec save_due(const struct gw *g)
{
	return g->save && !g->keeping ? g->next_save : NSEC_NEVER;
}

/* The disk may be busy for seconds, which is the keeper's to wait for. Before there is one nothing has been sent yet. */
static void save_identity(struct gw *g, nsec now)
{
	if (now < save_due(g))
		return;
	note_lease(g);
	g->save = !wrote(g, g->keeper_fd >= 0 ? hand_over_identity(g) : state_save(&g->cfg->state));
	g->next_save = now + SAVE_AGAIN;
}

void gw_state_save(struct gw *g)
{
	g->save = true;
	g->next_save = g->loop.now;
	save_identity(g, g->loop.now);
}

/* What may be sent as TAI64N before the next save is reserved ahead, so a crash repeats none. */
static void reserve_timestamps(struct gw *g, nsec now)
{
	if (state_reserve(&g->cfg->state, now, now + g->loop.wall_offset,
			  wg_timestamp_last(node_wg(g->node))))
		gw_state_save(g);
}

/* --- members --- */

static void members_path(const struct gw *g, char out[static 300])
{
	snprintf(out, 300, "%s/" MEMBERS_FILE, g->cfg->state.dir);
}

/* 0 also where there is none. */
static int read_members(struct memory *m, const char *path)
{
	uint8_t *bytes;
	size_t len;
	int err = file_load(path, MEMORY_FILE_MAX, &bytes, &len);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	err = memory_decode(m, bytes, len);
	sodium_memzero(bytes, len);
	free(bytes);
	return err;
}

static const char *members_error(int err)
{
	return err == -EBADMSG ? "damaged, or of a newer release" : strerror(-err);
}

static int load_members(struct gw *g)
{
	char path[300];

	members_path(g, path);
	int err = read_members(&g->memory, path);
	if (err == 0)
		return 0;
	if (g->cfg->pin_members) {
		log_error("%s cannot be read (%s), and with --pin-members the keys in it are what "
			  "others are known by: move it away, and this node learns the keys anew",
			  path, members_error(err));
		return err;
	}
	log_warn("%s is not used (%s): keys of members are learned anew, and without a rendezvous "
		 "this node does not start",
		 path, members_error(err));
	return 0;
}

/* Who can write there can give this node another key; who can read the file has its key. */
static void look_at_rights(const struct state *s)
{
	struct stat st;
	char path[300];

	snprintf(path, sizeof(path), "%s/identity", s->dir);
	if (stat(s->dir, &st) == 0 && st.st_mode & (S_IWGRP | S_IWOTH))
		log_warn("others can write to the state directory %s (mode %03o): chmod 700 it",
			 s->dir, (unsigned)st.st_mode & 0777u);
	if (stat(path, &st) == 0 && st.st_mode & (S_IRWXG | S_IRWXO))
		log_warn(
			"others can use %s, which holds this node's key (mode %03o): chmod 600 it, "
			"and make a new one if somebody may have read it",
			path, (unsigned)st.st_mode & 0777u);
}

/*
 * The state as it is now: a gateway that is started again finds what the one before has saved, not
 * what the launcher read at its own start.
 */
int gw_state_load(struct gw *g)
{
	char dir[sizeof(g->cfg->state.dir)];
	struct state *s = &g->cfg->state;
	bool ephemeral = s->ephemeral;

	snprintf(dir, sizeof(dir), "%s", s->dir);
	int err = state_load(s, dir);
	if (err == -EBADMSG)
		log_error(STATE_DAMAGED, dir);
	else if (err < 0)
		log_error("cannot read the state in %s: %s", dir, strerror(-err));
	s->ephemeral = ephemeral;
	if (err == 0)
		look_at_rights(s);
	if (g->cfg->own_key)
		memcpy(s->private_key, g->cfg->private_key, 32);
	g->kept_at = g->loop.now;
	if (err == 0 && g->cfg->joining)
		err = load_members(g);
	return err;
}

static uint8_t *encode(const struct memory *m, size_t *room, size_t *len)
{
	*room = memory_room(m);
	uint8_t *bytes = malloc(*room);
	*len = bytes ? memory_encode(m, bytes, *room) : 0;
	return bytes;
}

static void wipe_free(uint8_t *bytes, size_t room)
{
	if (bytes)
		sodium_memzero(bytes, room);
	free(bytes);
}

static nsec keep_due(const struct gw *g)
{
	if (!g->memory.changed || g->keeping || g->keeper_fd < 0)
		return NSEC_NEVER;
	return g->kept_at + (g->memory.keys_changed ? KEEP_KEYS : KEEP_EVERY);
}

static void keep_members(struct gw *g, nsec now)
{
	size_t room, len;

	if (now < keep_due(g))
		return;
	g->kept_at = now;
	uint8_t *bytes = encode(&g->memory, &room, &len);
	int err = hand_over(g, KEEPER_MEMBERS, bytes, len);
	wipe_free(bytes, room);
	if (err == 0)
		g->memory.changed = g->memory.keys_changed = false;
	else if (err != -EPIPE)
		log_warn("cannot hand over what is remembered of members: %s", strerror(-err));
}

static void members_unkept(struct gw *g, int err)
{
	char path[300];

	members_path(g, path);
	g->memory.changed = g->memory.keys_changed = true;
	if (err != -EPIPE)
		log_warn("cannot write %s: %s", path, strerror(-err));
}

/* -EPIPE: the keeper ended, and the next one does it. */
void gw_state_kept(struct gw *g, int err)
{
	enum keeper_file what = g->keeping;

	g->keeping = KEEPER_NOTHING;
	if (err >= 0 || what == KEEPER_NOTHING)
		return;
	if (what == KEEPER_MEMBERS) {
		members_unkept(g, err);
		return;
	}
	g->save = true;
	g->next_save = g->loop.now + (err == -EPIPE ? 0 : SAVE_AGAIN);
	if (err != -EPIPE)
		wrote(g, err);
}

/* Whatever the keeper has under way comes first: it must not put the older one in place of ours. */
static void await_keeper(struct gw *g)
{
	struct pollfd p = { .fd = g->keeper_fd, .events = POLLIN };
	int err;

	if (g->keeping && poll(&p, 1, LAST_ANSWER_MS) > 0 && chan_kept(g->keeper_fd, &err))
		gw_state_kept(g, err);
}

static void save_members(struct gw *g)
{
	char path[300];
	size_t room, len;

	if (!g->memory.changed || g->keeping)
		return;
	members_path(g, path);
	uint8_t *bytes = encode(&g->memory, &room, &len);
	int err = len ? file_replace(path, bytes, len) : -ENOMEM;
	wipe_free(bytes, room);
	if (err < 0)
		log_warn("cannot write %s: %s", path, strerror(-err));
}

/* --- both --- */

void gw_state_turn(struct gw *g, nsec now)
{
	reserve_timestamps(g, now);
	save_identity(g, now);
	keep_members(g, now);
}

nsec gw_state_deadline(const struct gw *g)
{
	return nsec_min(save_due(g), keep_due(g));
}

void gw_state_end(struct gw *g)
{
	state_settle(&g->cfg->state, g->loop.now, wg_timestamp_last(node_wg(g->node)));
	note_lease(g);
	await_keeper(g);
	/* two that write one file leave half of each; what a keeper writes that still waits for its disk is older, and as good */
	if (g->keeping != KEEPER_IDENTITY)
		wrote(g, state_save(&g->cfg->state));
	if (g->cfg->joining)
		save_members(g);
}

/* --- a member's key that is another --- */

static const char *key_text(const uint8_t key[static 32], char out[static KEY_TEXT_LEN])
{
	return sodium_bin2base64(out, KEY_TEXT_LEN, key, 32, sodium_base64_VARIANT_ORIGINAL);
}

void gw_state_key(const struct node_note *n)
{
	char old[KEY_TEXT_LEN], fresh[KEY_TEXT_LEN], at[ENDPOINT_STRLEN], prefix[PREFIX_STRLEN];

	if (!n->entry)
		return;
	if (n->event == NODE_KEY_UNKEPT) {
		log_warn("%s: this new member is refused (--pin-members): %d keys are remembered, "
			 "which is the most. A start without the file `members` in the state "
			 "directory learns them anew",
			 n->entry->id, MEMORY_MAX);
		return;
	}
	key_text(n->was->key, old);
	key_text(n->entry->key, fresh);
	if (n->event == NODE_ROUTE_REFUSED)
		log_warn("%s: the rendezvous routes %s to it (key %s), which holds the address of "
			 "%s, "
			 "remembered with the key %s: refused (--pin-members). If that is meant, "
			 "and "
			 "%s is gone for good: warren accept %s %s",
			 n->entry->id, prefix_str(&n->prefix, prefix), fresh, n->was->id, old,
			 n->was->id, n->entry->id, fresh);
	else if (n->event == NODE_KEY_REFUSED)
		log_warn("%s: the rendezvous names the key %s for it, and %s is remembered for %s: "
			 "refused (--pin-members). If that is meant: warren accept %s %s",
			 n->entry->id, fresh, old, n->was->id, n->entry->id, fresh);
	else
		log_warn(
			"%s: the rendezvous names the key %s for it, while the one of before, %s, "
			"still answers at %s: two nodes use this worker id, or the rendezvous puts "
			"somebody between. --pin-members refuses such a change",
			n->entry->id, fresh, old, endpoint_str(&n->path.remote, at));
}
