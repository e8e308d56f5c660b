/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joining: the session with the rendezvous, the lease it grants, and the members it tells of.
 *
 * The PSK of that session is the admission secret for a key that the rendezvous does not know, and
 * the member's own PSK from the first grant on. Either side may have lost what the other kept (a
 * database, a state directory), so both are tried in turn; so are the addresses of its name.
 */
#include "gateway/node_internal.h"
#include "punch/control.h"

#include <errno.h>
#include <sodium.h>

enum { RENDEZVOUS_NUMBER = 0 };
#define TRY_EVERY (3 * NSEC_PER_SEC)
#define MISMATCH_EVERY (200 * NSEC_PER_MSEC)
/* Responders take an initiation of a peer every 20 ms: near the rendezvous the answer is sooner here. */
#define MISMATCH_RETRY (50 * NSEC_PER_MSEC)
#define RESOLVE_EVERY (300 * NSEC_PER_SEC)
#define RESOLVE_FIRST_RETRY (2 * NSEC_PER_SEC)

const struct prefix *join_prefix(const struct token *t, bool v4)
{
	static const struct prefix none;
	for (size_t i = 0; i < t->nprefixes; i++)
		if (addr_is_v4(&t->prefixes[i].addr) == v4)
			return &t->prefixes[i];
	return &none;
}

/* The PSK that the next handshake is tried with. */
static void choose_psk(struct join *j)
{
	bool own = j->own_psk && (j->tries / 2) % 2 == 0;
	wg_peer_set_psk(j->rendezvous->wg, own ? j->lease.psk : j->token.admission);
}

int join_start(struct node *n, nsec now, const struct node_config *cfg)
{
	struct join *j = &n->join;
	struct enrol_config ec = { .worker_id = cfg->worker_id, .release = cfg->release };

	j->token = *cfg->token;
	ec.prefix4 = *join_prefix(&j->token, true);
	ec.prefix6 = *join_prefix(&j->token, false);
	memcpy(ec.key, wg_public_key(n->wg), 32);
	saved_init(n, now, cfg);
	ec.saved = n->saved.usable ? &n->saved.lease : NULL;
	j->enrol = enrol_new(&ec);
	j->rendezvous = peer_new(n, PEER_RENDEZVOUS, j->token.key);
	if (!j->enrol || !j->rendezvous)
		return -ENOMEM;
	j->on = true;
	j->lease.lease.number = cfg->number;
	if (cfg->psk) {
		memcpy(j->lease.psk, cfg->psk, 32);
		j->own_psk = true;
	}
	choose_psk(j);
	j->next_resolve = now;
	j->next_try = now;
	j->retry_at = NSEC_NEVER;
	return 0;
}

void join_stop(struct node *n)
{
	enrol_free(n->join.enrol);
	token_wipe(&n->join.token);
	sodium_memzero(n->join.lease.psk, sizeof(n->join.lease.psk));
	n->join.on = false;
}

static void use_relay(struct node *n, nsec now)
{
	struct join *j = &n->join;
	uint8_t key[32];

	if (!n->links || !j->own_psk || j->rendezvous->path.remote.port == 0)
		return;
	/* the key belongs to the member's own PSK, whichever one the session was tried with */
	wg_peer_set_psk(j->rendezvous->wg, j->lease.psk);
	wg_peer_derive(j->rendezvous->wg, "warren relay", key);
	choose_psk(j);
	links_set_relay(n->links, now, RENDEZVOUS_NUMBER, &j->rendezvous->path.remote, key);
	sodium_memzero(key, sizeof(key));
}

static void use_address(struct node *n, nsec now, size_t i)
{
	struct join *j = &n->join;
	j->current = i % j->count;
	if (endpoint_eq(&j->rendezvous->path.remote, &j->at[j->current]))
		return;
	peer_set_path(j->rendezvous, now, &(struct path){ .remote = j->at[j->current] });
	use_relay(n, now);
}

void node_resolved(struct node *n, nsec now, const struct endpoint *e, size_t count)
{
	struct join *j = &n->join;
	struct endpoint *in_use = &j->rendezvous->path.remote;

	if (!j->on || count == 0)
		return;
	j->count = size_min(count, ARRAY_SIZE(j->at));
	memcpy(j->at, e, j->count * sizeof(*e));
	/* stay with the one that works, as long as its name still says so */
	size_t keep = 0;
	for (size_t i = 0; i < j->count; i++)
		if (endpoint_eq(&j->at[i], in_use))
			keep = i;
	use_address(n, now, keep);
	if (!wg_can_send(j->rendezvous->wg, now))
		wg_peer_initiate(n->wg, j->rendezvous->wg, now, 0);
}

const struct endpoint *node_rendezvous(const struct node *n)
{
	return n->join.on && n->join.count ? &n->join.rendezvous->path.remote : NULL;
}

void join_session_up(struct node *n, nsec now)
{
	n->join.tries = 0;
	n->join.retry_at = NSEC_NEVER;
	choose_psk(
		&n->join); /* whichever it was that the two met with: the next handshake is under our own */
	enrol_session_up(n->join.enrol, now);
}

/* No session yet: the next PSK, and every second time the next address, looked up anew. */
static void try_next(struct node *n, nsec now)
{
	struct join *j = &n->join;

	j->next_try = now + TRY_EVERY;
	if (j->count == 0)
		return; /* nowhere to send to: node_resolved() starts it */
	j->tries++;
	choose_psk(j);
	if (j->tries % 2 == 0) {
		use_address(n, now, j->current + 1);
		j->next_resolve = nsec_min(j->next_resolve, now);
	}
	wg_peer_initiate(n->wg, j->rendezvous->wg, now, 0);
}

/*
 * The rendezvous answered under another PSK than the one we tried: it may have lost what we kept, or
 * we what it kept. It takes its two in turn; we try each of ours twice, so they meet.
 */
void join_mismatch(struct node *n, nsec now)
{
	struct join *j = &n->join;
	/* a session of before its restart, over which it is silent now, is none */
	bool works = wg_can_send(j->rendezvous->wg, now) && j->tries == 0;
	if (!j->on || !j->own_psk || works || j->retry_at != NSEC_NEVER)
		return;
	j->retry_at = nsec_max(now + MISMATCH_RETRY, j->next_mismatch);
	j->next_mismatch = j->retry_at + MISMATCH_EVERY;
}

static void retry(struct node *n, nsec now)
{
	struct join *j = &n->join;
	j->retry_at = NSEC_NEVER;
	j->next_try = now + TRY_EVERY;
	j->tries++;
	choose_psk(j);
	wg_peer_restart(n->wg, j->rendezvous->wg, now);
}

void join_gave_up(struct node *n, nsec now)
{
	n->join.next_try = now;
}

enum drop join_control(struct node *n, nsec now, const uint8_t *p, size_t len)
{
	return enrol_input(n->join.enrol, now, p, len);
}

/* --- the lease --- */

/* What members may send to us: our addresses, and what the operator put behind us. */
static void set_own(struct node *n, const struct lease *l)
{
	n->own[0] = prefix_host(&l->ip);
	n->own[1] = prefix_host(&l->ip6);
	memcpy(&n->own[2], l->routes, l->nroutes * sizeof(l->routes[0]));
	n->nown = 2 + l->nroutes;
}

int join_links(struct node *n, const struct lease *l)
{
	struct links_config lc = { .self = l->number,
				   .boot = n->boot,
				   .max_links = n->max_peers,
				   .local_way = n->io.local_way,
				   .ctx = n->io.ctx };
	set_own(n, l);
	if (!n->links)
		n->links = links_new(&lc);
	return n->links ? 0 : -ENOMEM;
}

/* Nobody has used the number that we came back with: what was made for it ends, under a boot id of its own. */
static void other_number(struct node *n)
{
	members_clear(n);
	links_free(n->links);
	n->links = NULL;
	n->boot++;
}

static void remember_lease(struct node *n, const struct lease *l)
{
	if (n->memory)
		memory_lease(n->memory, &n->saved.owner, l);
}

static void granted(struct node *n, nsec now, const struct enrol_output *out)
{
	struct join *j = &n->join;
	bool psk_new = !j->own_psk || sodium_memcmp(j->lease.psk, out->psk, 32) != 0;
	bool first = !j->lease.up, moved = j->lease.lease.number != out->lease.number;

	if (moved && !first) {
		node_tell(n, &(struct node_note){ .event = NODE_LEASE_CHANGED });
		return;
	}
	if (moved && n->links)
		other_number(n);
	memcpy(j->lease.psk, out->psk, 32);
	j->lease.lease = out->lease;
	j->own_psk = true;
	if (join_links(n, &out->lease) < 0) {
		node_tell(n, &(struct node_note){ .event = NODE_REFUSED,
						  .fatal = true,
						  .text = "out of memory" });
		return;
	}
	if (psk_new || !j->have_relay) {
		use_relay(n, now);
		j->have_relay = true;
	}
	j->lease.up = true;
	remember_lease(n, &out->lease);
	if (psk_new || moved)
		node_tell(n, &(struct node_note){ .event = NODE_SAVE });
	if (first)
		node_tell(n, &(struct node_note){ .event = NODE_UP });
}

static void introduced(struct node *n, nsec now, const struct enrol_output *out)
{
	struct peer *p = members_find(n, out->number);
	if (p)
		link_introduce(p->link, now, out->candidates, out->ncandidates);
}

static void refused(struct node *n, const struct enrol_output *out, enum node_event event)
{
	node_tell(n, &(struct node_note){ .event = event, .text = out->text, .fatal = out->fatal });
}

static bool send_control(struct peer *r, nsec now, uint8_t *payload, size_t len)
{
	len = ctl_pad(payload, len, CONTROL_SEND_MAX);
	return out_frame(r, now, &r->path, payload, len, len);
}

static void handle(struct node *n, nsec now, struct enrol_output *out)
{
	struct peer *r = n->join.rendezvous;

	switch (out->event) {
	case ENROL_SEND:
		if (!send_control(r, now, out->bytes, out->len))
			wg_peer_initiate(n->wg, r->wg, now, 0);
		break;
	case ENROL_GRANTED:
		granted(n, now, out);
		break;
	case ENROL_REFUSED:
		refused(n, out, NODE_REFUSED);
		break;
	case ENROL_REPLACED:
		refused(n, out, NODE_REPLACED);
		break;
	case ENROL_MEMBER:
		members_set(n, now, &out->entry);
		break;
	case ENROL_MEMBER_GONE:
		members_gone(n, out->number);
		break;
	case ENROL_INTRODUCED:
		introduced(n, now, out);
		break;
	case ENROL_OBSERVED:
		n->join.observed = out->observed;
		break;
	case ENROL_SILENT:
		try_next(n, now);
		break;
	case ENROL_RELEASED:
		node_tell(n, &(struct node_note){ .event = NODE_RELEASED });
		break;
	}
	sodium_memzero(out->psk, sizeof(out->psk));
	sodium_memzero(out->entry.pair_psk, sizeof(out->entry.pair_psk));
}

void join_tick(struct node *n, nsec now)
{
	struct join *j = &n->join;
	struct enrol_output out;

	if (!j->on)
		return;
	if (now >= j->next_resolve) {
		j->next_resolve = now + (j->count ? RESOLVE_EVERY : RESOLVE_FIRST_RETRY);
		node_tell(n, &(struct node_note){ .event = NODE_RESOLVE });
	}
	if (now >= j->next_try) {
		if (wg_can_send(j->rendezvous->wg, now))
			j->next_try = now + TRY_EVERY;
		else
			try_next(n, now);
		members_sweep(n, now);
	}
	if (now >= j->retry_at)
		retry(n, now);
	while (enrol_poll(j->enrol, now, &out))
		handle(n, now, &out);
	saved_tick(n, now);
}

nsec join_deadline(const struct node *n)
{
	const struct join *j = &n->join;
	if (!j->on)
		return NSEC_NEVER;
	nsec at = nsec_min(nsec_min(j->next_resolve, j->next_try), j->retry_at);
	return nsec_min(nsec_min(at, n->saved.at), enrol_deadline(j->enrol));
}

void node_set_candidates(struct node *n, nsec now, const struct endpoint *c, size_t count)
{
	if (n->join.on)
		enrol_set_candidates(n->join.enrol, now, c, count);
}

void node_set_trino(struct node *n, nsec now, const struct trino_facts *f)
{
	if (n->join.on)
		enrol_set_trino(n->join.enrol, now, f);
}

void node_release(struct node *n, nsec now)
{
	if (n->join.on)
		enrol_release(n->join.enrol, now);
	else
		node_tell(n, &(struct node_note){ .event = NODE_RELEASED });
}

void node_enrol_info(const struct node *n, struct enrol_info *out)
{
	*out = (struct enrol_info){ 0 };
	if (n->join.on)
		enrol_info(n->join.enrol, out);
}
