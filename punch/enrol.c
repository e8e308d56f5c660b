/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The member's state machine. Three questions at most are open at a time (REGISTER, ROSTER_GET,
 * RELEASE), and some CONNECTs; each is a struct request that repeats itself until something answers
 * it. What came in only changes state and marks events; poll reports them, then asks what is due.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "punch/enrol_impl.h"

/* Whoever waits for a virtual address waits for this: fast first, then gentle. */
static const nsec repeat_after[] = {
	250 * NSEC_PER_MSEC, 500 * NSEC_PER_MSEC, 1 * NSEC_PER_SEC,
	2 * NSEC_PER_SEC,    4 * NSEC_PER_SEC,	  5 * NSEC_PER_SEC,
};

struct enrol *enrol_new(const struct enrol_config *cfg)
{
	struct enrol *e;
	member_number max = member_number_max(&cfg->prefix4, &cfg->prefix6);
	if (!worker_id_valid(cfg->worker_id) || !max)
		return NULL;
	e = calloc(1, sizeof(*e));
	if (!e || !(e->psk = arena_alone(&e->arena, 32))) {
		free(e);
		return NULL;
	}
	e->prefix4 = cfg->prefix4;
	e->prefix6 = cfg->prefix6;
	e->ticket = cfg->ticket;
	e->max = max;
	e->several = cfg->several;
	e->claiming = !cfg->several;
	memcpy(e->key, cfg->key, 32);
	e->boot = cfg->boot;
	snprintf(e->id, sizeof(e->id), "%s", cfg->worker_id);
	snprintf(e->release, sizeof(e->release), "%s", cfg->release ? cfg->release : "");
	e->saved = cfg->saved != NULL;
	if (e->saved)
		e->lease = *cfg->saved;
	e->connects_next = e->renew_at = e->facts_at = e->silent_at = e->leave_until = NSEC_NEVER;
	return e;
}

void enrol_free(struct enrol *e)
{
	if (!e)
		return;
	enrol_roster_free(&e->roster);
	arena_free(e->arena);
	free(e);
}

/* --- requests --- */

void enrol_request_new(struct enrol *e, struct request *rq, nsec now)
{
	*rq = (struct request){ .active = true, .id = e->next_request++, .next = now };
}

/* How long nobody has answered is counted from the first question after the last answer. */
static void asked(struct enrol *e, struct request *rq, nsec now)
{
	if (rq->tries == 0)
		rq->sent = now;
	rq->next = now + repeat_after[size_min(rq->tries, ARRAY_SIZE(repeat_after) - 1)];
	rq->tries++;
	if (e->silent_at == NSEC_NEVER)
		e->silent_at = now + SILENT_AFTER;
}

bool enrol_request_due(struct enrol *e, struct request *rq, nsec now, struct ctl_msg *m,
		       struct enrol_output *out)
{
	if (!rq->active || rq->next > now)
		return false;
	m->request = rq->id;
	out->event = ENROL_SEND;
	out->len = ctl_write(m, out->bytes, sizeof(out->bytes));
	asked(e, rq, now);
	return true;
}

void enrol_request_again(struct request *rq, nsec now)
{
	rq->tries = 1;
	rq->next = now + repeat_after[0];
}

void enrol_register(struct enrol *e, nsec now)
{
	e->renew_at = e->facts_at = NSEC_NEVER;
	e->reg_made = now;
	enrol_request_new(e, &e->reg, now);
}

void enrol_stop(struct enrol *e, unsigned event)
{
	e->stopped = true;
	e->registered = e->silent = false;
	e->reg.active = e->get.active = e->leave.active = false;
	e->nasked = e->nvouch = 0;
	for (size_t i = 0; i < MAX_CONNECTS; i++)
		e->connects[i].rq.active = false;
	e->connects_next = e->renew_at = e->facts_at = e->silent_at = e->leave_until = NSEC_NEVER;
	e->events = (e->events & EV_REFUSED) | event;
}

/* --- the caller's words --- */

void enrol_session_up(struct enrol *e, nsec now)
{
	if (e->stopped)
		return;
	/* to a rendezvous that knows no BOOT a later process must not number its requests below an earlier one's */
	if (!e->next_request)
		e->next_request = (uint32_t)(now / NSEC_PER_MSEC) | 1;
	e->up = true;
	e->silent_at = NSEC_NEVER;
	if (e->leaving) {
		e->leave.next = now;
		return;
	}
	if (e->claiming || e->holds)
		enrol_register(e, now);
	enrol_roster_restart(e, now);
}

void enrol_claim(struct enrol *e, nsec now)
{
	bool first = !e->claiming;
	e->claiming = true;
	if (first && e->up && !e->stopped && !e->leaving && !e->holds)
		enrol_register(e, now);
}

/* The later grant of one number is the one that holds; a rendezvous says so to the other through us. */
void enrol_show(struct enrol *e, nsec now, const struct lease *l)
{
	bool known = e->holds && e->lease.number == l->number && e->lease.granted >= l->granted;
	if (e->stopped || e->leaving || known)
		return;
	e->lease = *l;
	e->holds = true;
	e->saved = false;
	if (e->up)
		enrol_register(e, now);
}

/* Facts changed: said at once, but not more often than twice a second. */
static void facts_changed(struct enrol *e, nsec now)
{
	if (e->up && !e->stopped && !e->leaving && (e->claiming || e->holds))
		e->facts_at = nsec_max(now, e->reg_made + FACTS_EVERY);
}

void enrol_set_candidates(struct enrol *e, nsec now, const struct endpoint *c, size_t n)
{
	struct endpoint good[MAX_CANDIDATES];
	size_t ngood = 0;
	bool same;
	for (size_t i = 0; i < n && ngood < MAX_CANDIDATES; i++)
		if (candidate_valid(&c[i], &e->prefix4, &e->prefix6))
			good[ngood++] = c[i];
	same = ngood == e->ncandidates;
	for (size_t i = 0; same && i < ngood; i++)
		same = endpoint_eq(&good[i], &e->candidates[i]);
	if (same)
		return;
	if (ngood)
		memcpy(e->candidates, good, ngood * sizeof(good[0]));
	e->ncandidates = ngood;
	facts_changed(e, now);
}

static bool trino_eq(const struct trino_facts *a, const struct trino_facts *b)
{
	return a->http_port == b->http_port && a->https_port == b->https_port &&
	       a->coordinator == b->coordinator &&
	       strncmp(a->environment, b->environment, sizeof(a->environment)) == 0 &&
	       strncmp(a->version, b->version, sizeof(a->version)) == 0;
}

void enrol_set_trino(struct enrol *e, nsec now, const struct trino_facts *f)
{
	if (trino_eq(&e->trino, f))
		return;
	e->trino = *f;
	e->trino.environment[TRINO_TEXT_LEN - 1] = e->trino.version[TRINO_TEXT_LEN - 1] = 0;
	facts_changed(e, now);
}

void enrol_release(struct enrol *e, nsec now)
{
	if (e->leaving)
		return;
	/* who was refused or replaced has nothing to give back: it has left already */
	if (e->stopped) {
		e->leaving = true;
		e->events |= EV_RELEASED;
		return;
	}
	if (!e->up || (!e->registered && !e->reg.active)) {
		enrol_stop(e, EV_RELEASED);
		return;
	}
	bool registered = e->registered;
	enrol_stop(e, 0);
	e->stopped = false;
	e->registered = registered;
	e->leaving = true;
	e->leave_until = now + RELEASE_FOR;
	enrol_request_new(e, &e->leave, now);
}

/* --- output --- */

/* With all at its longest there is room for fewer candidates; the last ones are the least likely. */
static void register_fit(struct ctl_msg *m)
{
	uint8_t b[CONTROL_SEND_MAX];
	while (m->ncandidates && !ctl_write(m, b, sizeof(b)))
		m->ncandidates--;
}

static bool poll_register(struct enrol *e, nsec now, struct enrol_output *out)
{
	struct ctl_msg m = {
		.type = CTL_REGISTER,
		.has = CTL_BIT(CTL_WORKER_ID) | CTL_BIT(CTL_RELEASE_NAME) |
		       CTL_BIT(CTL_CANDIDATES) | CTL_BIT(CTL_TRINO_PORTS) |
		       CTL_BIT(CTL_TRINO_ENVIRONMENT) | CTL_BIT(CTL_TRINO_VERSION) |
		       CTL_BIT(CTL_TRINO_COORDINATOR) | CTL_BIT(CTL_BOOT),
		.boot = e->boot,
		.trino = e->trino,
		.ncandidates = e->ncandidates,
		.lease = e->lease,
		.ticket = e->ticket,
	};
	if (e->facts_at <= now || e->renew_at <= now)
		enrol_register(e, now);
	if (!e->reg.active || e->reg.next > now)
		return false;
	memcpy(m.id, e->id, sizeof(m.id));
	memcpy(m.release, e->release, sizeof(m.release));
	memcpy(m.candidates, e->candidates, e->ncandidates * sizeof(m.candidates[0]));
	/* the lease that we believe to hold: without it, or with one of before, we are somebody new */
	if (e->holds || e->saved)
		m.has |= CTL_BIT(CTL_LEASE);
	if (!e->holds && e->saved)
		m.flags = CTL_REGISTER_SAVED;
	/* who shows his ticket */
	if (!e->registered && ticket_present(&e->ticket))
		m.has |= CTL_BIT(CTL_TICKET);
	register_fit(&m);
	return enrol_request_due(e, &e->reg, now, &m, out);
}

static bool poll_leave(struct enrol *e, nsec now, struct enrol_output *out)
{
	struct ctl_msg m = { .type = CTL_RELEASE, .has = CTL_BIT(CTL_BOOT), .boot = e->boot };
	if (e->leave_until <= now) {
		enrol_stop(e, 0);
		out->event = ENROL_RELEASED;
		return true;
	}
	return enrol_request_due(e, &e->leave, now, &m, out);
}

static bool poll_get(struct enrol *e, nsec now, struct enrol_output *out)
{
	struct ctl_msg m = { .type = CTL_ROSTER_GET,
			     .has = CTL_BIT(CTL_ROSTER) | CTL_BIT(CTL_RANGE),
			     .roster = e->have,
			     .after = e->sweep.after,
			     .upto = UINT32_MAX };
	return e->registered && enrol_request_due(e, &e->get, now, &m, out);
}

static bool poll_requests(struct enrol *e, nsec now, struct enrol_output *out)
{
	if (!e->up)
		return false;
	if (poll_register(e, now, out) || poll_leave(e, now, out) || poll_get(e, now, out) ||
	    (e->registered && enrol_connect_poll(e, now, out)))
		return true;
	if (e->silent_at > now)
		return false;
	e->silent_at = now + SILENT_AGAIN;
	e->silent = true;
	out->event = ENROL_SILENT;
	return true;
}

static void fill_lease(const struct enrol *e, struct enrol_output *out)
{
	out->lease = e->lease;
	out->observed = e->observed;
	memcpy(out->psk, e->psk, 32);
}

static void fill_text(const struct enrol *e, struct enrol_output *out)
{
	out->fatal = e->fatal;
	out->taken = e->refused_code == CTL_REFUSED_TAKEN;
	snprintf(out->text, sizeof(out->text), "%s", e->text);
}

static void challenge_ok(const struct enrol *e, struct enrol_output *out)
{
	struct ctl_msg m = { .type = CTL_CHALLENGE_OK, .request = e->challenge };
	out->len = ctl_write(&m, out->bytes, sizeof(out->bytes));
}

static bool poll_events(struct enrol *e, struct enrol_output *out)
{
	static const struct {
		unsigned bit;
		enum enrol_event event;
	} order[] = {
		{ EV_CHALLENGE_OK, ENROL_SEND }, { EV_GRANTED, ENROL_GRANTED },
		{ EV_OBSERVED, ENROL_OBSERVED }, { EV_REFUSED, ENROL_REFUSED },
		{ EV_REPLACED, ENROL_REPLACED }, { EV_RELEASED, ENROL_RELEASED },
	};
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		if (!(e->events & order[i].bit))
			continue;
		e->events &= ~order[i].bit;
		out->event = order[i].event;
		if (order[i].bit == EV_CHALLENGE_OK)
			challenge_ok(e, out);
		fill_lease(e, out);
		fill_text(e, out);
		return true;
	}
	return false;
}

bool enrol_poll(struct enrol *e, nsec now, struct enrol_output *out)
{
	out->len = 0;
	out->fatal = false;
	out->text[0] = 0;
	return poll_events(e, out) || enrol_ask_poll(e, out) || enrol_roster_poll(e, out) ||
	       enrol_intro_poll(e, now, out) || poll_requests(e, now, out);
}

static nsec request_deadline(const struct request *rq)
{
	return rq->active ? rq->next : NSEC_NEVER;
}

nsec enrol_deadline(const struct enrol *e)
{
	if (e->events || e->nasked || e->nvouch || e->roster.dirty[0] || e->roster.dirty[1])
		return 0; /* long past: poll now */
	nsec at = enrol_intro_deadline(e);
	if (!e->up || e->stopped)
		return at;
	at = nsec_min(at, nsec_min(e->renew_at, e->facts_at));
	at = nsec_min(at, nsec_min(e->silent_at, e->leave_until));
	at = nsec_min(at, nsec_min(request_deadline(&e->reg), request_deadline(&e->leave)));
	if (e->registered)
		at = nsec_min(at, nsec_min(request_deadline(&e->get), e->connects_next));
	return at;
}

void enrol_info(const struct enrol *e, struct enrol_info *out)
{
	*out = (struct enrol_info){
		.registered = e->registered && !e->silent,
		.silent = e->silent,
		.listed = e->have.instance != 0,
		.last_answer = e->last_answer,
		.rtt = e->rtt,
		.roster_version = e->have.version,
		.members = e->roster.live,
	};
}
