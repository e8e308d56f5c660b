/* SPDX-License-Identifier: Apache-2.0 */
/* What the rendezvous says to a member. It is believed in nothing that we can check. */
#include <sodium.h>
#include <stdio.h>

#include "punch/enrol_impl.h"

#define RETRY_WAIT (2 * NSEC_PER_SEC)
#define RETRY_STORE (5 * NSEC_PER_SEC)
#define REFUSED_AGAIN (60 * NSEC_PER_SEC)

/*
 * What ends a node that has nothing yet does not end one that works. Who holds a lease runs a command, and
 * others have links with it; of several rendezvous one alone may be wrong. So it stops only where its own
 * place is gone: the id or the number is another's (TAKEN, and TOKEN, for of who shows its lease a token is
 * asked where another has one or the other), or the operator removed its key. Another version, a full range,
 * another prefix, and what later releases may refuse, are the rendezvous' own: told of, and asked again.
 */
static bool ends(const struct enrol *e, uint16_t code)
{
	return !e->holds || code == CTL_REFUSED_TAKEN || code == CTL_REFUSED_TOKEN ||
	       code == CTL_REFUSED_REMOVED;
}

static void refused(struct enrol *e, nsec now, uint16_t code, bool fatal)
{
	fatal = fatal && ends(e, code);
	/* the same "wait" every other second would be noise */
	if (!fatal && code == e->refused_code && e->refused_at &&
	    now - e->refused_at < REFUSED_AGAIN)
		return;
	e->refused_code = code;
	e->refused_at = now;
	e->fatal = fatal;
	if (fatal)
		enrol_stop(e, EV_REFUSED);
	else
		e->events |= EV_REFUSED;
}

/* Ours are the prefixes of the token: an address that is not prefix + number is from elsewhere. */
static bool lease_fits(const struct enrol *e, const struct lease *l)
{
	if (!l->number || l->number > e->max)
		return false;
	struct addr ip = member_addr(&e->prefix4, l->number);
	struct addr ip6 = member_addr(&e->prefix6, l->number);
	return addr_eq(&ip, &l->ip) && addr_eq(&ip6, &l->ip6);
}

static void refuse_lease(struct enrol *e, nsec now, const struct lease *l)
{
	char ip[ADDR_STRLEN], ip6[ADDR_STRLEN];
	snprintf(
		e->text, sizeof(e->text),
		"the rendezvous granted %s and %s, outside the join token's prefixes: its --prefix "
		"has changed; set it back, or get a new token",
		addr_str(&l->ip, ip), addr_str(&l->ip6, ip6));
	e->reg.next = now + RENEW_EVERY;
	refused(e, now, 0, true);
}

static void answered(struct enrol *e, const struct request *rq, nsec now)
{
	/* an answer to a repeated question says nothing about time (Karn) */
	if (rq->tries == 1)
		e->rtt = now - rq->sent;
}

static enum drop input_grant(struct enrol *e, nsec now, const struct ctl_msg *m)
{
	if (!e->reg.active || m->request != e->reg.id)
		return DROP_FRAME_UNEXPECTED;
	if (!lease_fits(e, &m->lease)) {
		refuse_lease(e, now, &m->lease);
		return DROP_NONE;
	}
	bool moved = !e->registered || !endpoint_eq(&e->observed, &m->observed);
	bool changed = moved || e->lease.number != m->lease.number ||
		       e->lease.granted != m->lease.granted ||
		       memcmp(e->lease.mac, m->lease.mac, 16) != 0 ||
		       e->lease.nroutes != m->lease.nroutes ||
		       memcmp(e->lease.routes, m->lease.routes, sizeof(e->lease.routes)) != 0 ||
		       memcmp(e->psk, m->psk, 32) != 0;
	answered(e, &e->reg, now);
	e->registered = e->holds = true;
	e->saved = false;
	e->refused_at = 0;
	e->lease = m->lease;
	e->observed = m->observed;
	memcpy(e->psk, m->psk, 32);
	enrol_roster_forget(e, m->lease.number); /* whoever had it before us */
	e->events |= (changed ? EV_GRANTED : 0u) | (moved ? EV_OBSERVED : 0u);
	e->reg.active = false;
	e->renew_at = now + RENEW_EVERY;
	enrol_roster_note(e, now, &m->roster);
	return DROP_NONE;
}

/* What is refused for good, but for a lease that goes on, is asked as often as if it were granted. */
static nsec retry_after(const struct enrol *e, const struct ctl_msg *m)
{
	if (m->fatal && e->holds)
		return RENEW_EVERY;
	return m->code == CTL_REFUSED_STORE ? RETRY_STORE : RETRY_WAIT;
}

static enum drop input_refuse(struct enrol *e, nsec now, const struct ctl_msg *m)
{
	if (m->code == CTL_REFUSED_NO_MEMBER)
		return enrol_connect_refused(e, m->request) ? DROP_NONE : DROP_FRAME_UNEXPECTED;
	bool of_reg = e->reg.active && m->request == e->reg.id;
	bool of_other = (e->get.active && m->request == e->get.id) ||
			(e->leave.active && m->request == e->leave.id);
	if (!of_reg && !of_other && !enrol_connect_refused(e, m->request))
		return DROP_FRAME_UNEXPECTED;
	memcpy(e->text, m->text, sizeof(e->text));
	if (of_reg) {
		answered(e, &e->reg, now);
		e->reg.next = now + retry_after(e, m);
	}
	bool fatal =
		m->fatal && !e->leaving &&
		!(e->several && (m->code == CTL_REFUSED_FULL || m->code == CTL_REFUSED_VERSION));
	refused(e, now, m->code, fatal);
	return DROP_NONE;
}

static enum drop input_replaced(struct enrol *e, const struct ctl_msg *m)
{
	/* without a lease it means a process before us: our own claim is on its way */
	if (!e->holds || (m->has & CTL_BIT(CTL_BOOT) && m->boot != e->boot))
		return DROP_FRAME_UNEXPECTED;
	memcpy(e->text, m->text, sizeof(e->text));
	e->fatal = true;
	enrol_stop(e, e->leaving ? EV_RELEASED : EV_REPLACED);
	return DROP_NONE;
}

static enum drop input_released(struct enrol *e, const struct ctl_msg *m)
{
	if (!e->leaving || m->request != e->leave.id)
		return DROP_FRAME_UNEXPECTED;
	enrol_stop(e, EV_RELEASED);
	return DROP_NONE;
}

static enum drop input_challenge(struct enrol *e, const struct ctl_msg *m)
{
	if (!e->registered || e->leaving)
		return DROP_FRAME_UNEXPECTED;
	e->challenge = m->request;
	e->events |= EV_CHALLENGE_OK;
	return DROP_NONE;
}

static enum drop dispatch(struct enrol *e, nsec now, const struct ctl_msg *m)
{
	switch ((enum ctl_type)m->type) {
	case CTL_GRANT:
		return input_grant(e, now, m);
	case CTL_REFUSE:
		return input_refuse(e, now, m);
	case CTL_REPLACED:
		return input_replaced(e, m);
	case CTL_ROSTER_PAGE:
		return enrol_roster_page(e, now, m);
	case CTL_ROSTER_CHANGED:
		if (!e->registered || e->leaving)
			return DROP_FRAME_UNEXPECTED;
		enrol_roster_note(e, now, &m->roster);
		enrol_roster_ask(e,
				 now); /* also when we know it: asking is what ends the telling */
		return DROP_NONE;
	case CTL_INTRODUCE:
		return e->leaving ? DROP_FRAME_UNEXPECTED : enrol_intro_input(e, now, m);
	case CTL_CHALLENGE:
		return input_challenge(e, m);
	case CTL_ASK:
		if (!e->registered || e->leaving)
			return DROP_FRAME_UNEXPECTED;
		enrol_asked(e, m->number);
		return DROP_NONE;
	case CTL_RELEASED:
		return input_released(e, m);
	default:
		return DROP_FRAME_UNEXPECTED;
	}
}

/*
 * A rendezvous of another version: a node that has no lease can do nothing but say so; one that has
 * lives on with its links, and says it once.
 */
static void other_version(struct enrol *e, nsec now, const struct ctl_msg *m)
{
	if (m->unknown_critical)
		snprintf(e->text, sizeof(e->text),
			 "the rendezvous demands field %u of control version %u, which this node "
			 "(control version %u) does not know: update this node",
			 m->unknown_critical & ~TLV_CRITICAL, m->version, CTL_VERSION);
	else
		snprintf(e->text, sizeof(e->text),
			 "the rendezvous speaks control version %u, this node version %u: update "
			 "the %s",
			 m->version, CTL_VERSION, m->version > CTL_VERSION ? "node" : "rendezvous");
	refused(e, now, CTL_REFUSED_VERSION, !e->leaving && !e->several);
}

enum drop enrol_input(struct enrol *e, nsec now, const uint8_t *p, size_t len)
{
	struct ctl_msg m;
	if (e->stopped || !e->up)
		return DROP_FRAME_UNEXPECTED;
	enum drop d = ctl_parse(p, len, &m);
	if (d == DROP_CONTROL_VERSION)
		other_version(e, now, &m);
	if (d == DROP_NONE)
		d = dispatch(e, now, &m);
	sodium_memzero(m.psk, sizeof(m.psk));
	if (d == DROP_NONE && !e->stopped) {
		e->last_answer = now;
		e->silent_at = NSEC_NEVER;
		e->silent = false;
	}
	return d;
}
