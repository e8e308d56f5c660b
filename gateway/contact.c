/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rendezvous of the token: its addresses, the session with it, and it as a relay.
 *
 * The PSK of that session is the token's admission secret for a key that was never admitted, and the
 * member's own PSK from the first grant on, by whichever rendezvous; a hint in message 1 says which is
 * meant. Either side may have lost what the other kept (a database, a state directory), so both are
 * tried in turn.
 *
 * A name may have many addresses, of which some are dead or of a family that leads nowhere here. Where
 * two handshakes were not answered, the next ones go to all of them, a moment later; the address that an answer comes
 * from is the one in use. The order is worth something: through a NAT it is IPv4 that others have to be
 * told of, so the first address is tried again now and then.
 */
#include "gateway/node_internal.h"
#include "punch/admission.h"

#include <sodium.h>

enum { MAX_ADDRS = TOKEN_MAX_RENDEZVOUS * HOST_ADDRS, ALL_AFTER = 2 };
#define TRY_FIRST NSEC_PER_SEC
#define TRY_EVERY (5 * NSEC_PER_SEC)
/* A session younger than REKEY_TIMEOUT is not renewed. */
#define BACK_FIRST (6 * NSEC_PER_SEC)
#define BACK_EVERY (300 * NSEC_PER_SEC)
#define OTHERS_AFTER (300 * NSEC_PER_MSEC)
#define MISMATCH_EVERY (200 * NSEC_PER_MSEC)
/* Responders take an initiation of a peer every 20 ms: near the rendezvous the answer is sooner here. */
#define MISMATCH_RETRY (50 * NSEC_PER_MSEC)
#define UNKNOWN_EVERY (60 * NSEC_PER_SEC)

/* The PSK that the next handshake is tried with. */
void contact_choose_psk(struct contact *c)
{
	const struct join *j = &c->peer->node->join;
	bool first = (c->tries / 2) % 2 == 0, own = j->own_psk && first == c->own_first;
	const uint8_t *psk = own ? j->keys->psk : j->keys->admission;
	wg_peer_set_psk(c->peer->wg, psk);
	wg_peer_set_mark(c->peer->wg, admission_hint(psk));
}

void contact_init(struct contact *c, nsec now)
{
	const struct join *j = &c->peer->node->join;
	/* a token without a ticket is shown by its secret alone, should the rendezvous ask for one */
	c->own_first = j->own_psk && ticket_present(&j->token.ticket);
	c->next_try = now;
	c->retry_at = c->back_at = c->held_at = NSEC_NEVER;
	c->back_wait = BACK_FIRST;
	contact_choose_psk(c);
}

const char *contact_host(const struct contact *c)
{
	const struct join *j = &c->peer->node->join;
	return j->token.rendezvous[j->n > 1 ? c - j->c : 0].host;
}

/* One of several has a host of the token for itself; a single one has all of them. */
static struct contact *contact_of_host(struct join *j, unsigned host)
{
	return &j->c[j->n > 1 ? host : 0];
}

static size_t addresses(struct join *j, const struct contact *c,
			struct endpoint out[static MAX_ADDRS])
{
	size_t n = 0;
	for (unsigned h = 0; h < TOKEN_MAX_RENDEZVOUS; h++)
		for (size_t i = 0; contact_of_host(j, h) == c && i < j->host[h].n; i++)
			out[n++] = j->host[h].at[i];
	return n;
}

void contact_use_relay(struct contact *c, nsec now)
{
	struct node *n = c->peer->node;
	const struct join *j = &n->join;
	uint8_t key[32];

	if (!n->links || !c->granted || c->peer->path.remote.port == 0)
		return;
	/* the key belongs to the member's own PSK, whichever one the session was tried with */
	wg_peer_set_psk(c->peer->wg, j->keys->psk);
	wg_peer_derive(c->peer->wg, "warren relay", key);
	contact_choose_psk(c);
	links_set_relay(n->links, now, (unsigned)(c - j->c), &c->peer->path.remote, key);
	sodium_memzero(key, sizeof(key));
}

static void use_address(struct contact *c, nsec now, const struct endpoint *at)
{
	if (endpoint_eq(&c->peer->path.remote, at))
		return;
	peer_set_path(c->peer, now, &(struct path){ .remote = *at });
	contact_use_relay(c, now);
}

static bool one_of(const struct endpoint *e, const struct endpoint *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (endpoint_eq(&list[i], e))
			return true;
	return false;
}

void node_resolved(struct node *n, nsec now, unsigned host, const struct endpoint *e, size_t count)
{
	struct join *j = &n->join;
	struct endpoint at[MAX_ADDRS];

	if (!j->on || host >= (j->n > 1 ? j->n : TOKEN_MAX_RENDEZVOUS) || count == 0)
		return;
	struct contact *c = contact_of_host(j, host);
	size_t before = addresses(j, c, at);
	bool news = false;
	j->host[host].n = size_min(count, HOST_ADDRS);
	memcpy(j->host[host].at, e, j->host[host].n * sizeof(*e));
	for (size_t i = 0; i < j->host[host].n; i++)
		news |= !one_of(&e[i], at, before);
	size_t all = addresses(j, c, at);
	/* stay with the one that works, as long as its name still says so */
	bool stays = one_of(&c->peer->path.remote, at, all);
	if (!stays)
		use_address(c, now, &at[0]);
	if (!stays || (news && !wg_can_send(c->peer->wg, now)))
		wg_peer_restart(n->wg, c->peer->wg, now);
	else if (!wg_can_send(c->peer->wg, now))
		wg_peer_initiate(n->wg, c->peer->wg, now, 0);
}

static void message_to(struct contact *c, const struct endpoint *at, const uint8_t *msg, size_t len)
{
	const struct path in_use = c->peer->path;
	c->peer->path = (struct path){ .remote = *at };
	out_message(c->peer, msg, len, true);
	c->peer->path = in_use;
}

void contact_message(struct contact *c, nsec now, const uint8_t *msg, size_t len, bool handshake)
{
	struct endpoint at[MAX_ADDRS];
	bool back = handshake && c->back && addresses(&c->peer->node->join, c, at);

	if (back)
		message_to(c, &at[0], msg, len);
	else
		out_message(c->peer, msg, len, handshake);
	c->back &= !handshake;
	if (!handshake || c->unanswered < ALL_AFTER)
		return;
	assert(len <= sizeof(c->held));
	memcpy(c->held, msg, len);
	c->held_len = len;
	c->held_at = now + OTHERS_AFTER;
}

static void send_held(struct contact *c)
{
	struct endpoint at[MAX_ADDRS];
	size_t n = addresses(&c->peer->node->join, c, at);

	c->held_at = NSEC_NEVER;
	for (size_t i = 0; i < n; i++)
		if (!endpoint_eq(&at[i], &c->peer->path.remote))
			message_to(c, &at[i], c->held, c->held_len);
}

void contact_session_up(struct contact *c, nsec now, const struct endpoint *from)
{
	struct endpoint at[MAX_ADDRS];
	size_t n = addresses(&c->peer->node->join, c, at);

	c->tries = c->unanswered = 0;
	c->retry_at = c->back_at = c->held_at = NSEC_NEVER;
	c->session = true;
	/* whichever it was that the two met with: the next handshake is under our own */
	contact_choose_psk(c);
	if (one_of(from, at, n))
		use_address(c, now, from);
	if (n && !endpoint_eq(&at[0], &c->peer->path.remote)) {
		c->back_at = now + c->back_wait;
		c->back_wait = nsec_min(c->back_wait * 2, BACK_EVERY);
	} else {
		c->back_wait = BACK_FIRST;
	}
	enrol_session_up(c->enrol, now);
}

/* No session, or none that is answered: the next PSK, and the name is looked up again. */
static void try_next(struct contact *c, nsec now)
{
	struct node *n = c->peer->node;

	c->next_try = now + (c->unanswered < ALL_AFTER ? TRY_FIRST : TRY_EVERY);
	if (c->peer->path.remote.port == 0)
		return; /* nowhere to send to: node_resolved() starts it */
	c->tries++;
	c->unanswered++;
	contact_choose_psk(c);
	join_resolve(n, now);
	wg_peer_restart(n->wg, c->peer->wg, now);
}

/* From the first time on contact_tick() goes on with it. */
void contact_silent(struct contact *c, nsec now)
{
	if (c->unanswered == 0)
		try_next(c, now);
}

/* Whoever is on the way could make such an answer: it is worth a line, and no reason to end. */
static void token_unknown(struct contact *c, nsec now)
{
	if (now < c->next_unknown)
		return;
	c->next_unknown = now + UNKNOWN_EVERY;
	node_tell(c->peer->node,
		  &(struct node_note){
			  .event = NODE_REFUSED,
			  .from = contact_host(c),
			  .text = "it answers, but does not know this join token, which was "
				  "replaced by a newer one or is of another network: get the one "
				  "that `warren token` prints on the rendezvous; trying on" });
}

/*
 * The rendezvous answered under another PSK than the one we tried: it does not know it, or is of a
 * release that takes no hint. It takes its own in turn then; we try each of ours twice, so they meet.
 */
void contact_mismatch(struct contact *c, nsec now)
{
	/* a session of before its restart, over which it is silent now, is none */
	bool works = wg_can_send(c->peer->wg, now) && c->tries == 0;
	c->unanswered = 0;
	if (!c->peer->node->join.own_psk)
		token_unknown(c, now);
	if (!c->peer->node->join.own_psk || works || c->retry_at != NSEC_NEVER)
		return;
	c->retry_at = nsec_max(now + MISMATCH_RETRY, c->next_mismatch);
	c->next_mismatch = c->retry_at + MISMATCH_EVERY;
}

static void retry(struct contact *c, nsec now)
{
	c->retry_at = NSEC_NEVER;
	c->next_try = now + TRY_FIRST;
	c->tries++;
	contact_choose_psk(c);
	wg_peer_restart(c->peer->node->wg, c->peer->wg, now);
}

void contact_gave_up(struct contact *c, nsec now)
{
	c->next_try = now;
}

void contact_tick(struct contact *c, nsec now)
{
	if (now >= c->next_try) {
		if (wg_can_send(c->peer->wg, now) && c->unanswered == 0)
			c->next_try = now + TRY_FIRST;
		else
			try_next(c, now);
	}
	if (now >= c->retry_at)
		retry(c, now);
	if (now >= c->held_at)
		send_held(c);
	if (now >= c->back_at) {
		c->back = true;
		c->back_at = NSEC_NEVER; /* until the next session */
		wg_peer_restart(c->peer->node->wg, c->peer->wg, now);
	}
}

nsec contact_deadline(const struct contact *c)
{
	nsec at = nsec_min(nsec_min(c->next_try, c->retry_at), nsec_min(c->back_at, c->held_at));
	return nsec_min(at, enrol_deadline(c->enrol));
}
