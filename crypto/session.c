/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/core.h"

#include <sodium.h>
#include <stdlib.h>

struct session *session_new(struct wg_peer *p, bool initiator, nsec now)
{
	struct session *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->keys = arena_get(p->wg->arena);
	if (!s->keys) {
		free(s);
		return NULL;
	}
	s->in = (struct indexed){ .is_session = true, .peer = p };
	s->initiator = initiator;
	s->born = now;
	s->replay = (struct replay){ .words = REPLAY_WORDS, .ring = s->ring };
	return s;
}

void session_free(struct wg_peer *p, struct session *s)
{
	if (!s)
		return;
	index_remove(&p->wg->indices, &s->in);
	arena_put(p->wg->arena, s->keys);
	free(s);
}

static void drop_slot(struct wg_peer *p, struct session **slot)
{
	session_free(p, *slot);
	*slot = NULL;
}

void sessions_drop(struct wg_peer *p)
{
	drop_slot(p, &p->sessions.current);
	drop_slot(p, &p->sessions.next);
	for (int i = 0; i < PREVIOUS; i++)
		drop_slot(p, &p->sessions.previous[i]);
}

static nsec expire_slot(struct wg_peer *p, struct session **slot, nsec now)
{
	if (!*slot)
		return NSEC_NEVER;
	if (session_alive(*slot, now))
		return (*slot)->born + REJECT_AFTER_TIME;
	drop_slot(p, slot);
	return NSEC_NEVER;
}

nsec sessions_expire(struct wg_peer *p, nsec now)
{
	nsec at = nsec_min(expire_slot(p, &p->sessions.current, now),
			   expire_slot(p, &p->sessions.next, now));
	for (int i = 0; i < PREVIOUS; i++)
		at = nsec_min(at, expire_slot(p, &p->sessions.previous[i], now));
	return at;
}

/* `s` receives from now on, and no more. The oldest one goes. */
static void retire(struct wg_peer *p, struct session *s)
{
	if (!s)
		return;
	session_free(p, p->sessions.previous[PREVIOUS - 1]);
	for (int i = PREVIOUS - 1; i > 0; i--)
		p->sessions.previous[i] = p->sessions.previous[i - 1];
	p->sessions.previous[0] = s;
}

static bool is_crossing(const struct session *a, const struct session *b)
{
	return (a->initiator && b->crossed == a->in.index) ||
	       (b->initiator && a->crossed == b->in.index);
}

/* Of two that may send, is `a` the one to send under? */
static bool preferred(const struct wg_peer *p, const struct session *a, const struct session *b,
		      nsec now)
{
	if (!session_can_send(b, now))
		return true;
	if (is_crossing(a, b))
		return a->initiator != p->we_follow; /* its initiator has the smaller key */
	return a->born >= b->born;
}

/* `s` is in no slot, and may send. */
static void adopt_session(struct wg_peer *p, struct session *s, nsec now)
{
	if (!preferred(p, s, p->sessions.current, now)) {
		retire(p, s);
		return;
	}
	retire(p, p->sessions.current);
	p->sessions.current = s;
}

void session_made_as_responder(struct wg_peer *p, struct session *s, nsec now)
{
	/* The peer has begun anew, so that it never completed the one before. */
	session_free(p, p->sessions.next);
	p->sessions.next = s;
	s->crossed = p->initiation.in.index;
	timers_session_made(p, now);
}

void session_made_as_initiator(struct wg_peer *p, struct session *s, nsec now)
{
	adopt_session(p, s, now);
	p->handshakes++;
	p->last_handshake = now;
	timers_session_made(p, now);
	timers_handshake_completed(p, now);
	if (p->sessions.current == s)
		timers_initiator_completed(p, now);
}

static bool confirm(struct wg_peer *p, struct session *s, nsec now)
{
	p->sessions.next = NULL;
	adopt_session(p, s, now);
	p->handshakes++;
	p->last_handshake = now;
	timers_handshake_completed(p, now);
	return true;
}

static bool are_siblings(const struct session *a, const struct session *b)
{
	nsec apart = a->born - b->born;
	return a->initiator != b->initiator && apart < REKEY_TIMEOUT && apart > -REKEY_TIMEOUT;
}

/* See struct sessions: the side with the larger key sends under what the other one sends under. */
static void follow(struct wg_peer *p, struct session *s, nsec now)
{
	struct session **current = &p->sessions.current;
	if (!p->we_follow || !*current || !are_siblings(s, *current) || !session_can_send(s, now))
		return;
	for (int i = 0; i < PREVIOUS; i++) {
		if (p->sessions.previous[i] == s) {
			p->sessions.previous[i] = *current;
			*current = s;
			return;
		}
	}
}

bool session_received(struct wg_peer *p, struct session *s, nsec now)
{
	if (s == p->sessions.next)
		return confirm(p, s, now);
	if (s != p->sessions.current)
		follow(p, s, now);
	return false;
}
