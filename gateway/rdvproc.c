/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rdvproc.h"
#include "gateway/ctl.h"
#include "gateway/loop.h"
#include "gateway/proc.h"
#include "gateway/rdv_keeper.h"
#include "gateway/rdv_log.h"
#include "gateway/rdv_store.h"
#include "gateway/sandbox.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RX_SLOTS = 8, TURN_BYTES = 1 << 20 };
#define HOUSEKEEPING (10 * NSEC_PER_SEC)
#define STALLED_EVERY (60 * NSEC_PER_SEC) /* how often it is said */

struct proc {
	struct rdvproc_config *cfg;
	struct loop loop;
	struct rdv *rdv;
	struct udp_socket udp;
	struct ctl *ctl;
	struct rdv_store *store;
	struct rdv_keeper keeper;
	struct rdv_log log;
	int chan; /* to the starter */
	ev_io udp_io, chan_io;
	nsec next_housekeeping;
	bool told_unlocked;
	bool admission_unsaved, state_unsaved; /* the next housekeeping tries again */
	bool before;			       /* the identity was in use before this start */
	bool loaded;			       /* the store has told all that it holds */
	int status;
	uint8_t *rx_buf[RX_SLOTS];
};

/* --- the store --- */

static void start_udp(struct proc *p);

static void save_admission(struct proc *p)
{
	const char *dir = p->cfg->state.dir;
	int err = p->admission_unsaved ? rdv_admin_save(&p->cfg->admission, dir) : 0;
	p->admission_unsaved = err < 0;
	if (err < 0)
		log_seldom(LOG_LEVEL_WARN, LOG_EVERY,
			   "cannot write %s/admission: %s; trying again every 10 s", dir,
			   strerror(-err));
}

static void on_kept(struct proc *p, const char *id, bool full)
{
	if (full) {
		log_seldom(LOG_LEVEL_WARN, LOG_EVERY,
			   "a token for %s alone was shown; here other tokens are good for it as "
			   "well, for %d ids are kept already (`warren rendezvous forget ID` ends "
			   "that for one)",
			   id, ADMISSION_MAX_RESERVED);
		return;
	}
	log_info("worker id %s is kept for tokens made for it, one of which was shown", id);
	p->admission_unsaved = true;
	save_admission(p);
}

static void on_told(void *ctx, const struct registrar_output *o)
{
	struct proc *p = ctx;
	int64_t wall = (p->loop.now + p->loop.wall_offset) / NSEC_PER_SEC;
	if (o->event == REGISTRAR_KEPT)
		on_kept(p, o->record.id, o->full);
	else
		rdv_log_member(&p->cfg->core.registrar.prefix4, wall, o);
}

static void on_store_request(void *ctx, const struct store_request *req)
{
	struct proc *p = ctx;
	if (!rdv_store_put(p->store, req))
		rdv_stored(p->rdv, p->loop.now, req->seq, true);
}

/* The identity of before, and not all leases: members come back with theirs, and nobody may be given them first. */
static void check_whole(struct proc *p, const struct store_reply *ready)
{
	bool lost = ready->begun && p->before;
	if (!lost && !ready->left_out)
		return;
	log_warn("%s: for %lld s nobody is given a new address, so that members which come back "
		 "with theirs have it again",
		 lost ? "this network is not new, and its lease database was not there"
		      : "leases in the database cannot be read",
		 (long long)(REGISTRAR_RETURN_FOR / NSEC_PER_SEC));
	rdv_incomplete(p->rdv, p->loop.now);
}

static void load(struct proc *p, const struct lease_record *rec)
{
	int err = rdv_load(p->rdv, rec);
	if (err < 0)
		log_warn("the lease of %.*s, number %u, is left out: %s", WORKER_ID_LEN - 1,
			 rec->id, rec->number,
			 err == -EINVAL	  ? "--prefix has no such number (now)"
			 : err == -EEXIST ? "another lease has its id or its number"
					  : strerror(-err));
}

static void on_store_reply(void *ctx, const struct store_reply *r)
{
	struct proc *p = ctx;
	switch (r->kind) {
	case STORE_LOADED:
		load(p, &r->record);
		break;
	case STORE_READY:
		if (p->loaded) {
			rdv_rewrite(p->rdv, p->loop.now);
			break;
		}
		p->loaded = true;
		check_whole(p, r);
		start_udp(p);
		chan_send(p->chan, &(struct chan_msg){ .kind = CHAN_UP }, -1);
		break;
	case STORE_DONE:
	case STORE_FAILED:
		rdv_stored(p->rdv, p->loop.now, r->seq, r->kind == STORE_FAILED);
		break;
	default:
		break;
	}
}

static int open_store(struct proc *p)
{
	const struct rdv_store_config sc = { .ev = p->loop.ev, .ctx = p, .reply = on_store_reply };
	p->store = rdv_store_open(&sc);
	return p->store ? 0 : -ENOMEM;
}

/* --- the socket --- */

static void send_udp(void *ctx, const struct udp_tx *tx, unsigned n)
{
	struct proc *p = ctx;
	for (unsigned lost = udp_send(&p->udp, tx, n); lost; lost--)
		drop_count(rdv_drops(p->rdv), DROP_UDP_SEND);
}

static void on_udp(struct ev_loop *ev, ev_io *w, int revents)
{
	struct proc *p = w->data;
	struct udp_rx rx[RX_SLOTS];
	size_t bytes = 0;
	int n;

	(void)ev;
	(void)revents;
	for (unsigned i = 0; i < RX_SLOTS; i++)
		rx[i].buf = p->rx_buf[i];
	do {
		n = udp_recv(&p->udp, rx, RX_SLOTS);
		for (int i = 0; i < n; i++)
			bytes += rx[i].len;
		if (n > 0)
			rdv_udp(p->rdv, p->loop.now, rx, (unsigned)n);
	} while (n == RX_SLOTS && bytes < TURN_BYTES);
}

static void start_udp(struct proc *p)
{
	char text[ENDPOINT_STRLEN], fp[TOKEN_FINGERPRINT_LEN];

	ev_io_init(&p->udp_io, on_udp, p->udp.fd, EV_READ);
	p->udp_io.data = p;
	ev_io_start(p->loop.ev, &p->udp_io);
	token_fingerprint(&p->cfg->token, fp);
	log_info("rendezvous %u of %u of network %s on UDP %s, token %s (`warren token --state %s` "
		 "prints it)",
		 p->cfg->core.registrar.number, p->cfg->core.registrar.of, p->cfg->token.network,
		 endpoint_str(&p->cfg->listen, text), fp, p->cfg->state.dir);
	if (!p->before) /* or a disk that was not mounted */
		log_info("%s held no identity: this is a new network, and tokens of another one "
			 "do not lead into it",
			 p->cfg->state.dir);
}

/* --- the operator's words --- */

static int lease_find(void *ctx, const char *id, const uint8_t *key, struct lease_record *out)
{
	struct proc *p = ctx;
	const struct registrar *r = rdv_registrar(p->rdv);
	const struct lease_record *rec =
		id ? registrar_lease_of(r, id) : registrar_lease_of_key(r, key);
	if (!rdv_store_loaded(p->store))
		return -EAGAIN;
	if (!rec)
		return -ENOENT;
	*out = *rec;
	return 0;
}

static int lease_remove(void *ctx, const struct lease_record *rec)
{
	struct proc *p = ctx;
	rdv_remove(p->rdv, p->loop.now, rec->key);
	return 0;
}

static int lease_forget(void *ctx, const char *id)
{
	struct proc *p = ctx;
	return rdv_store_loaded(p->store) ? rdv_forget(p->rdv, p->loop.now, id) : -EAGAIN;
}

static char *control(void *ctx, const char *line)
{
	struct proc *p = ctx;
	struct rdv_admin a = {
		.dir = p->cfg->state.dir,
		.secret = p->cfg->core.registrar.secret,
		.admission = &p->cfg->admission,
		.token = &p->cfg->token,
		.leases = { p, lease_find, lease_remove, lease_forget },
		.wall = (p->loop.now + p->loop.wall_offset) / NSEC_PER_SEC,
	};
	return strcmp(line, "status") == 0 ? rdv_status(p->rdv, p->cfg, p->loop.now)
					   : rdv_admin(&a, line);
}

/* --- the loop --- */

static int hand_over(struct proc *p)
{
	uint8_t bytes[STATE_MAX];
	int err = rdv_keeper_save(&p->keeper, bytes,
				  state_encode(&p->cfg->state, bytes, sizeof(bytes)));
	sodium_memzero(bytes, sizeof(bytes));
	return err;
}

static void not_saved(struct proc *p, int err)
{
	p->state_unsaved = true;
	log_warn("cannot write the state in %s: %s", p->cfg->state.dir, strerror(-err));
}

static void save_state(struct proc *p)
{
	/* later it is then: with its answer, with the next keeper, with the next housekeeping */
	p->state_unsaved = p->keeper.busy || p->keeper.fd < 0;
	int err = p->state_unsaved ? 0 : hand_over(p);
	if (err < 0)
		not_saved(p, err);
}

/* The first and the last time, when nobody waits for us. */
static void save_state_here(struct proc *p)
{
	int err = state_save(&p->cfg->state);
	p->state_unsaved = false;
	if (err < 0)
		not_saved(p, err);
}

static void on_state_kept(void *ctx, int err)
{
	struct proc *p = ctx;
	if (err == -EPIPE)
		p->state_unsaved = true;
	else if (err < 0)
		not_saved(p, err);
}

static void on_keeper(struct proc *p, int fd)
{
	rdv_keeper_connect(&p->keeper, fd);
	if (p->state_unsaved)
		save_state(p);
}

/* Who waits for a disk for as long as it takes is not to be told from who hangs. */
static void tell_stalled(struct proc *p, nsec now)
{
	nsec waits = rdv_store_waits(p->store, now);
	if (waits >= HOUSEKEEPING)
		log_seldom(LOG_LEVEL_WARN, STALLED_EVERY,
			   "the store has written no lease for %lld s (a disk that stalls?): until "
			   "it has, nobody new gets an address",
			   (long long)(waits / NSEC_PER_SEC));
}

static void housekeeping(struct proc *p, nsec now)
{
	struct state *s = &p->cfg->state;

	p->next_housekeeping = now + HOUSEKEEPING;
	udp_gso_turn(&p->udp, now);
	p->loop.wall_offset = loop_wall_offset();
	rdv_set_wall(p->rdv, p->loop.wall_offset);
	proc_tell_unlocked(&p->told_unlocked);
	rdv_log_refused(&p->log, rdv_registrar(p->rdv), now);
	save_admission(p);
	tell_stalled(p, now);
	if (state_reserve(s, now, now + p->loop.wall_offset, rdv_timestamp_last(p->rdv)) ||
	    p->state_unsaved)
		save_state(p);
}

static void turn(void *ctx, nsec now)
{
	struct proc *p = ctx;
	if (now >= p->next_housekeeping)
		housekeeping(p, now);
	rdv_tick(p->rdv, now);
	rdv_store_turn(p->store, now);
}

static nsec deadline(void *ctx)
{
	struct proc *p = ctx;
	return nsec_min(rdv_deadline(p->rdv), p->next_housekeeping);
}

static int open_socket(struct proc *p)
{
	char text[ENDPOINT_STRLEN];
	int err = udp_open(&p->udp, &p->cfg->listen.addr, p->cfg->listen.port);

	if (err == -EADDRINUSE)
		log_error("UDP %s is in use by another program: choose another --listen",
			  endpoint_str(&p->cfg->listen, text));
	else if (err < 0)
		log_error("cannot listen on UDP %s: %s", endpoint_str(&p->cfg->listen, text),
			  strerror(-err));
	if (err == 0 && !p->cfg->gso)
		udp_set_offload(&p->udp, false, false);
	return err;
}

static int make_core(struct proc *p)
{
	struct rdv_config *c = &p->cfg->core;
	int64_t wall = p->loop.now + p->loop.wall_offset;

	c->io = (struct rdv_io){
		.ctx = p, .udp = send_udp, .store = on_store_request, .tell = on_told
	};
	c->aead = p->cfg->aead;
	p->before = p->cfg->state.timestamp != 0;
	c->boot = state_begin(&p->cfg->state, p->loop.now, wall);
	p->rdv = rdv_new(c, p->loop.now);
	if (!p->rdv)
		log_error("out of memory");
	return p->rdv ? 0 : -ENOMEM;
}

/* --- the starter --- */

static void on_chan(struct ev_loop *ev, ev_io *w, int revents)
{
	struct proc *p = w->data;
	struct chan_msg m;
	int fd, got;

	(void)ev;
	(void)revents;
	while ((got = chan_recv(w->fd, &m, &fd)) > 0) {
		if (m.kind == CHAN_STORE && fd >= 0)
			rdv_store_connect(p->store, fd);
		else if (m.kind == CHAN_KEEPER && fd >= 0)
			on_keeper(p, fd);
		else if (m.kind == CHAN_CONTROL && fd >= 0)
			ctl_take(p->ctl, fd);
		else if (fd >= 0)
			close(fd);
		if (m.kind == CHAN_ALIVE)
			chan_alive(w->fd);
		if (m.kind == CHAN_STOP)
			loop_stop(&p->loop);
	}
	if (got < 0) /* nobody would start store and keeper again */
		loop_stop(&p->loop);
}

static void heed_starter(struct proc *p)
{
	const struct rdv_keeper_config kc = { .ev = p->loop.ev, .ctx = p, .kept = on_state_kept };

	rdv_keeper_init(&p->keeper, &kc);
	ev_io_init(&p->chan_io, on_chan, p->chan, EV_READ);
	p->chan_io.data = p;
	ev_io_start(p->loop.ev, &p->chan_io);
}

static int set_up(struct proc *p)
{
	const char *const writable[] = { p->cfg->state.dir, NULL };
	char path[300];
	int err = 0;

	for (unsigned i = 0; i < RX_SLOTS; i++)
		p->rx_buf[i] = malloc(UDP_RX_MAX);
	for (unsigned i = 0; i < RX_SLOTS; i++)
		err = p->rx_buf[i] ? err : -ENOMEM;
	if (err == 0)
		err = open_socket(p);
	if (err == 0)
		err = make_core(p);
	snprintf(path, sizeof(path), "%s/control.sock", p->cfg->state.dir);
	if (err == 0 && (err = ctl_open(&p->ctl, p->loop.ev, path, control, p)) < 0)
		log_error("cannot serve the control socket %s: %s", path, strerror(-err));
	if (err == 0)
		err = open_store(p);
	if (err == 0) {
		/* before anything is sent its timestamps are on the disk */
		housekeeping(p, p->loop.now);
		save_state_here(p);
	}
	return err ? err : sandbox_enter(SANDBOX_RENDEZVOUS, writable);
}

static void tear_down(struct proc *p)
{
	ctl_close(p->ctl);
	rdv_keeper_close(&p->keeper);
	rdv_free(p->rdv);
	if (p->udp.fd >= 0)
		udp_close(&p->udp);
	for (unsigned i = 0; i < RX_SLOTS; i++)
		free(p->rx_buf[i]);
	rdv_store_close(p->store);
	loop_close(&p->loop);
}

int rdvproc_run(struct rdvproc_config *cfg, int chan)
{
	struct proc p = { .cfg = cfg, .chan = chan };

	p.udp.fd = -1;
	proc_keep_private();
	if (loop_init(&p.loop, &p, turn, deadline) < 0)
		return EXIT_CANNOT;
	heed_starter(&p);
	if (set_up(&p) == 0) {
		chan_send(p.chan, &(struct chan_msg){ .kind = CHAN_CONTROL }, -1);
		loop_run(&p.loop);
		rdv_keeper_await(&p.keeper);
		state_settle(&cfg->state, p.loop.now, rdv_timestamp_last(p.rdv));
		save_state_here(&p);
	} else {
		p.status = EXIT_CANNOT;
	}
	tear_down(&p);
	return p.status;
}
