/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policy in time (paper section 6). Five timers are the paper's:
 *
 * - An initiation without an answer is made anew after REKEY_TIMEOUT and a jitter, for
 *   REKEY_ATTEMPT_TIME; then we give up until somebody asks again.
 * - Data came in and nothing has gone out for KEEPALIVE_TIMEOUT: an empty packet says that we live.
 * - Data went out and nothing has come in for KEEPALIVE_TIMEOUT + REKEY_TIMEOUT: the session may be
 *   gone on the other side; a handshake.
 * - Keys are wiped when they can be of no more use, which is when their session expires.
 * - With a persistent keepalive, nothing may be silent for longer than that.
 *
 * And ours: a handshake asked for with a delay; a message sent again at once when a cookie came; and
 * the initiator's first packet, without which the responder may not send.
 *
 * Nothing else sets a timer. The rest of the room tells what happened.
 */
#include "crypto/core.h"

#include <sodium.h>

#define JITTER_MAX_MSEC 333
/* So long the caller has to seal what it has staged, before an empty packet confirms the session. */
#define CONFIRM_DELAY NSEC_PER_MSEC
/* Message 2 is under way and the peer will confirm: no handshake of our own for this long. */
#define ANSWER_TIME NSEC_PER_SEC

void timers_init(struct wg_peer *p)
{
	for (unsigned k = 0; k < TIMER_KINDS; k++)
		p->timers[k] = (struct peer_timer){ .peer = p, .kind = (enum timer_kind)k };
}

static void arm(struct wg_peer *p, enum timer_kind kind, nsec at)
{
	heap_set(&p->wg->heap, &p->timers[kind].t, at);
}

static void disarm(struct wg_peer *p, enum timer_kind kind)
{
	heap_cancel(&p->wg->heap, &p->timers[kind].t);
}

static bool armed(const struct wg_peer *p, enum timer_kind kind)
{
	return timer_armed(&p->timers[kind].t);
}

static nsec jitter(void)
{
	return (nsec)randombytes_uniform(JITTER_MAX_MSEC + 1) * NSEC_PER_MSEC;
}

void timers_stop(struct wg_peer *p)
{
	for (unsigned k = 0; k < TIMER_KINDS; k++)
		disarm(p, (enum timer_kind)k);
	p->another_keepalive = false;
}

void timers_data_sent(struct wg_peer *p, nsec now)
{
	if (!armed(p, TIMER_SILENCE))
		arm(p, TIMER_SILENCE, now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + p->silence_jitter);
}

void timers_data_received(struct wg_peer *p, nsec now)
{
	if (armed(p, TIMER_KEEPALIVE))
		p->another_keepalive = true;
	else
		arm(p, TIMER_KEEPALIVE, now + KEEPALIVE_TIMEOUT);
}

static void any_traversed(struct wg_peer *p, nsec now)
{
	if (p->persistent)
		arm(p, TIMER_PERSISTENT, now + p->persistent);
}

void timers_any_sent(struct wg_peer *p, nsec now)
{
	disarm(p, TIMER_KEEPALIVE);
	p->another_keepalive = false;
	any_traversed(p, now);
}

void timers_any_received(struct wg_peer *p, nsec now)
{
	disarm(p, TIMER_SILENCE);
	any_traversed(p, now);
}

void timers_initiation_sent(struct wg_peer *p, nsec now)
{
	disarm(p, TIMER_START);
	arm(p, TIMER_RETRY, now + REKEY_TIMEOUT + jitter());
}

void timers_session_made(struct wg_peer *p, nsec now)
{
	p->silence_jitter = jitter();
	arm(p, TIMER_EXPIRE, sessions_expire(p, now));
}

void timers_initiator_completed(struct wg_peer *p, nsec now)
{
	arm(p, TIMER_CONFIRM, now + CONFIRM_DELAY);
}

void timers_handshake_completed(struct wg_peer *p, nsec now)
{
	(void)now;
	disarm(p, TIMER_START);
	p->initiation.attempts = 0;
	if (initiation_in_flight(p))
		p->initiation.moot = true;
	else
		disarm(p, TIMER_RETRY);
}

void timers_cookie_received(struct wg_peer *p, nsec now)
{
	arm(p, TIMER_RESEND, now);
}

void timers_persistent_changed(struct wg_peer *p, nsec now, nsec before)
{
	if (!p->persistent)
		disarm(p, TIMER_PERSISTENT);
	else if (!before)
		arm(p, TIMER_PERSISTENT, now); /* switched on: open the way at once */
	else
		arm(p, TIMER_PERSISTENT, now + p->persistent);
}

/* When a handshake would be of use: NSEC_NEVER where a session is too young for another. */
static nsec useful_from(const struct wg_peer *p, nsec now)
{
	const struct session *current = p->sessions.current, *next = p->sessions.next;
	if (session_can_send(current, now) && now - current->born < REKEY_TIMEOUT)
		return NSEC_NEVER;
	if (next && now - next->born < ANSWER_TIME)
		return next->born + ANSWER_TIME;
	return now;
}

void timers_handshake_wanted(struct wg_peer *p, nsec now, nsec delay)
{
	if (initiation_in_flight(p) && !p->initiation.moot)
		return;
	nsec from = useful_from(p, now), at = now + delay;
	if (from == NSEC_NEVER)
		return;
	at = nsec_max(at, from);
	if (!armed(p, TIMER_START) || at < p->timers[TIMER_START].t.at)
		arm(p, TIMER_START, at);
}

static bool start(struct wg_peer *p, nsec now, struct wg_output *out)
{
	nsec from = useful_from(p, now);
	if (from > now) {
		if (from != NSEC_NEVER)
			arm(p, TIMER_START, from);
		return false;
	}
	return initiation_make(p, now, out);
}

static bool give_up(struct wg_peer *p, struct wg_output *out)
{
	initiation_forget(p);
	p->initiation.attempts = 0;
	disarm(p, TIMER_KEEPALIVE);
	disarm(p, TIMER_SILENCE);
	*out = (struct wg_output){ .event = WG_EVENT_GAVE_UP, .peer = p };
	return true;
}

static bool retry(struct wg_peer *p, nsec now, struct wg_output *out)
{
	if (p->initiation.moot) {
		initiation_forget(p);
		return false;
	}
	if (p->initiation.attempts >= REKEY_ATTEMPT_TIME / REKEY_TIMEOUT)
		return give_up(p, out);
	return initiation_make(p, now, out);
}

static bool keepalive(struct wg_peer *p, nsec now, struct wg_output *out)
{
	return session_can_send(p->sessions.current, now) && keepalive_make(p, now, out);
}

static bool confirm(struct wg_peer *p, nsec now, struct wg_output *out)
{
	const struct session *s = p->sessions.current;
	return s && s->initiator && !s->sent && keepalive(p, now, out);
}

static bool passive_keepalive(struct wg_peer *p, nsec now, struct wg_output *out)
{
	bool another = p->another_keepalive, made = keepalive(p, now, out);
	if (another)
		arm(p, TIMER_KEEPALIVE, now + KEEPALIVE_TIMEOUT);
	return made;
}

static bool persistent_keepalive(struct wg_peer *p, nsec now, struct wg_output *out)
{
	arm(p, TIMER_PERSISTENT, now + p->persistent);
	if (keepalive(p, now, out))
		return true;
	timers_handshake_wanted(p, now, 0);
	return false;
}

static bool fire(struct wg_peer *p, enum timer_kind kind, nsec now, struct wg_output *out)
{
	switch (kind) {
	case TIMER_START:
		return start(p, now, out);
	case TIMER_RETRY:
		return retry(p, now, out);
	case TIMER_RESEND:
		return resend_take(p, now, out);
	case TIMER_CONFIRM:
		return confirm(p, now, out);
	case TIMER_KEEPALIVE:
		return passive_keepalive(p, now, out);
	case TIMER_SILENCE:
		timers_handshake_wanted(p, now, 0);
		return false;
	case TIMER_PERSISTENT:
		return persistent_keepalive(p, now, out);
	case TIMER_EXPIRE:
		timers_session_made(p, now);
		return false;
	case TIMER_KINDS:
		break;
	}
	return false;
}

bool wg_poll(struct wg *wg, nsec now, struct wg_output *out)
{
	struct timer *t;
	while ((t = heap_due(&wg->heap, now))) {
		struct peer_timer *pt = container_of(t, struct peer_timer, t);
		if (fire(pt->peer, pt->kind, now, out))
			return true;
	}
	return false;
}

nsec wg_deadline(const struct wg *wg)
{
	return heap_deadline(&wg->heap);
}
