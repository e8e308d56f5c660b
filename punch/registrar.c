/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registrar's verbs but for poll (registrar_poll.c): input is parsed and handed to identity
 * (registrar_claim.c), roster (registrar_roster.c) or introductions (registrar_intro.c), which only
 * mark what is to be done.
 */
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>

#include "punch/registrar_impl.h"

/* More often a sign of life changes nothing but a number. */
#define ALIVE_EVERY (100 * NSEC_PER_MSEC)

#define SWEEP_FIRST (120 * NSEC_PER_SEC)

/* --- making and loading --- */

static bool copy_config(struct registrar *r, const struct registrar_config *cfg)
{
	r->cfg = *cfg;
	r->admission = cfg->admission ? cfg->admission : &r->none;
	snprintf(r->release, sizeof(r->release), "%s", cfg->release ? cfg->release : "");
	r->routes = calloc(cfg->nroutes ? cfg->nroutes : 1, sizeof(*r->routes));
	if (!r->routes)
		return false;
	if (cfg->nroutes)
		memcpy(r->routes, cfg->routes, cfg->nroutes * sizeof(*r->routes));
	r->cfg.routes = r->routes;
	r->cfg.release = r->release;
	r->keys = arena_alone(&r->arena, sizeof(*r->keys));
	if (r->keys) {
		memcpy(r->keys->secret, cfg->secret, sizeof(r->keys->secret));
		memcpy(r->keys->plain, cfg->plain, sizeof(r->keys->plain));
	}
	sodium_memzero(r->cfg.secret, sizeof(r->cfg.secret));
	sodium_memzero(r->cfg.plain, sizeof(r->cfg.plain));
	return r->keys;
}

static void derive_keys(struct registrar *r)
{
	const struct bytes_view none = { "", 0 };
	uint8_t h[32];
	derive_key(r->keys->secret, "warren lease mac", none, none, r->keys->lease);
	derive_key(r->keys->secret, "warren registrar hash", none, none, h);
	memcpy(r->keys->hash, h, sizeof(r->keys->hash));
	sodium_memzero(h, sizeof(h));
}

static void init_timers(struct registrar *r)
{
	r->push.kind = TIMER_PUSH;
	r->settle.kind = TIMER_SETTLE;
	r->sweep.kind = TIMER_SWEEP;
	if (r->cfg.lease_ttl > 0)
		registrar_timer(r, &r->sweep, r->start + SWEEP_FIRST);
}

struct registrar *registrar_new(const struct registrar_config *cfg, nsec now)
{
	struct registrar *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	node_init(&r->ready);
	node_init(&r->inflight);
	r->start = now;
	r->next_seq = 1;
	if (!copy_config(r, cfg) || !registrar_table_init(r) || !registrar_intro_init(r)) {
		registrar_free(r);
		return NULL;
	}
	derive_keys(r);
	registrar_claim_init(r);
	init_timers(r);
	registrar_roster_init(r, now);
	registrar_load_removed(r);
	return r;
}

void registrar_free(struct registrar *r)
{
	if (!r)
		return;
	registrar_table_free(r);
	free(r->intros);
	free(r->routes);
	admission_free(&r->none);
	arena_free(r->arena);
	sodium_memzero(r, sizeof(*r));
	free(r);
}

void registrar_set_wall(struct registrar *r, nsec offset)
{
	r->wall = offset;
	/* nobody has heard of a version yet: it may start from the right second */
	if (!r->used)
		registrar_roster_init(r, r->start);
}

int64_t registrar_wall(const struct registrar *r, nsec now)
{
	/* added before it is divided: two rounded parts are up to a second behind the clock */
	return (now + r->wall) / NSEC_PER_SEC;
}

int registrar_load(struct registrar *r, const struct lease_record *rec)
{
	if (!rec->number || rec->number > r->limit || !memchr(rec->id, 0, sizeof(rec->id)) ||
	    !worker_id_valid(rec->id) || sodium_is_zero(rec->key, 32))
		return -EINVAL;
	struct slot *s = registrar_slot_at(r, rec->number);
	/* of a store that died while it told them: the next one begins anew */
	if (s && s->loaded && strcmp(s->rec.id, rec->id) == 0 &&
	    memcmp(s->rec.key, rec->key, 32) == 0)
		return 0;
	if ((s && s->state != LEASE_FREE) || registrar_slot_find_id(r, rec->id))
		return -EEXIST;
	s = registrar_slot_make(r, rec->number);
	if (!s)
		return -ENOMEM;
	s->rec = *rec;
	s->state = LEASE_HELD;
	s->loaded = true;
	s->age = nsec_max(registrar_wall(r, r->start) - rec->seen, 0);
	s->removed = admission_removed(r->admission, rec->key);
	registrar_slot_index(r, s);
	registrar_lease_free_removed(r, r->start, s); /* a crash was quicker than the store */
	return 0;
}

/* --- small tools of the other files --- */

void registrar_todo(struct registrar *r, struct slot *s, unsigned bits)
{
	s->todo |= bits;
	if (node_alone(&s->ready))
		node_append(&r->ready, &s->ready);
}

void registrar_store(struct registrar *r, nsec now, struct slot *s, enum store_op op)
{
	s->op = op;
	s->op_since = now;
	s->seq = 0;
	registrar_todo(r, s, TODO_STORE);
}

void registrar_timer(struct registrar *r, struct kind_timer *t, nsec at)
{
	heap_set(&r->heap, &t->t, at);
}

/* At most one message waits per key: whoever floods us is answered once a turn. */
struct notice *registrar_notice(struct registrar *r, const uint8_t key[static 32],
				enum registrar_event event)
{
	struct notice *n = NULL;
	for (size_t i = 0; i < r->nnotices && !n; i++) {
		struct notice *o = &r->notices[(r->first_notice + i) % MAX_NOTICES];
		if (o->event == event && memcmp(o->key, key, 32) == 0)
			n = o;
	}
	if (!n && r->nnotices == MAX_NOTICES)
		return NULL;
	if (!n)
		n = &r->notices[(r->first_notice + r->nnotices++) % MAX_NOTICES];
	*n = (struct notice){ .event = event };
	memcpy(n->key, key, 32);
	return n;
}

void registrar_refuse(struct registrar *r, const uint8_t key[static 32], uint32_t request,
		      enum ctl_refusal code, const char *fmt, ...)
{
	struct notice *n = registrar_notice(r, key, REGISTRAR_SEND);
	va_list ap;
	r->refused[code]++;
	if (!n)
		return;
	n->type = CTL_REFUSE;
	n->request = request;
	n->code = code;
	n->fatal = code == CTL_REFUSED_TAKEN || code == CTL_REFUSED_FULL ||
		   code == CTL_REFUSED_VERSION || code == CTL_REFUSED_TOKEN ||
		   code == CTL_REFUSED_REMOVED;
	va_start(ap, fmt);
	vsnprintf(n->text, sizeof(n->text), fmt, ap);
	va_end(ap);
}

uint64_t registrar_refused(const struct registrar *r, unsigned code)
{
	return code < CTL_REFUSAL_END ? r->refused[code] : 0;
}

void registrar_replace(struct registrar *r, const uint8_t key[static 32], uint64_t boot,
		       enum ctl_refusal code, const char *fmt, ...)
{
	struct notice *n = registrar_notice(r, key, REGISTRAR_SEND);
	va_list ap;
	if (!n)
		return;
	n->type = CTL_REPLACED;
	n->code = code;
	n->fatal = true;
	n->boot = boot;
	va_start(ap, fmt);
	vsnprintf(n->text, sizeof(n->text), fmt, ap);
	va_end(ap);
}

/* --- keys --- */

void registrar_member_psk(const struct registrar *r, const uint8_t key[static 32],
			  uint8_t psk[static 32])
{
	derive_key(r->keys->secret, "warren member psk", (struct bytes_view){ key, 32 },
		   (struct bytes_view){ "", 0 }, psk);
}

bool registrar_psk(const struct registrar *r, const uint8_t key[static 32], uint8_t psk[static 32])
{
	bool former = false;
	if (admission_removed(r->admission, key))
		return false;
	for (size_t i = 0; i < MAX_FORMER && !former; i++)
		former = r->former[i].used && memcmp(r->former[i].key, key, 32) == 0;
	if (!former && !registrar_slot_find_key(r, key))
		return false;
	registrar_member_psk(r, key, psk);
	return true;
}

member_number registrar_number(const struct registrar *r, const uint8_t key[static 32])
{
	const struct slot *s = registrar_slot_find_key(r, key);
	return s && !s->removed ? s->rec.number : 0;
}

void registrar_lease_mac(const struct registrar *r, const struct lease_record *rec,
			 uint8_t mac[static 16])
{
	uint8_t b[12 + 32 + WORKER_ID_LEN];
	struct wr w = wr_of(b, sizeof(b));
	wr_be32(&w, rec->number);
	wr_be64(&w, (uint64_t)rec->granted);
	wr_bytes(&w, rec->key, 32);
	wr_bytes(&w, rec->id, strlen(rec->id));
	blake2s_mac(r->keys->lease, 32, b, w.len, mac);
}

/* --- input --- */

static void refuse_version(struct registrar *r, const uint8_t key[static 32],
			   const struct ctl_msg *m)
{
	if (m->type >= CTL_GRANT)
		return; /* an answer to an answer would go on for ever */
	if (m->unknown_critical)
		registrar_refuse(
			r, key, m->request, CTL_REFUSED_VERSION,
			"the rendezvous (warren %s, control version %u) does not know field "
			"%u of this message of control version %u: update the rendezvous",
			r->release, CTL_VERSION, m->unknown_critical & ~TLV_CRITICAL, m->version);
	else
		registrar_refuse(r, key, m->request, CTL_REFUSED_VERSION,
				 "the rendezvous (warren %s) speaks control version %u, this node "
				 "version %u: update the %s",
				 r->release, CTL_VERSION, m->version,
				 m->version > CTL_VERSION ? "rendezvous" : "node");
}

static enum drop member_input(struct registrar *r, nsec now, struct slot *s,
			      const struct ctl_msg *m)
{
	if (!s->registered)
		return DROP_FRAME_UNEXPECTED;
	if (m->type == CTL_ROSTER_GET)
		return registrar_roster_ask(r, now, s, m);
	if (m->type == CTL_CONNECT)
		registrar_intro_connect(r, now, s, m);
	else if (m->type == CTL_VOUCH)
		registrar_ask_vouched(r, s, m->number);
	return DROP_NONE;
}

static enum drop dispatch(struct registrar *r, nsec now, const uint8_t key[static 32],
			  const struct endpoint *from, bool plain, const struct ctl_msg *m)
{
	struct slot *s = registrar_slot_find_key(r, key);
	switch ((enum ctl_type)m->type) {
	case CTL_REGISTER:
		registrar_claim_register(r, now, key, from, m, plain);
		return DROP_NONE;
	case CTL_RELEASE:
		if (!s)
			return DROP_FRAME_UNEXPECTED;
		registrar_claim_release(r, now, s, m);
		return DROP_NONE;
	case CTL_ROSTER_GET:
	case CTL_CONNECT:
	case CTL_CHALLENGE_OK:
	case CTL_VOUCH:
		return s ? member_input(r, now, s, m) : DROP_FRAME_UNEXPECTED;
	default:
		return DROP_FRAME_UNEXPECTED;
	}
}

/*
 * A replaced key that does not know it yet. One that starts anew is no member yet; what becomes of a lease
 * that is shown is decided like everywhere (registrar_shown.c).
 */
static bool told_former(struct registrar *r, nsec now, const uint8_t key[static 32],
			const struct ctl_msg *m)
{
	struct former *f = registrar_former_find(r, key);
	if (!f ||
	    (m->type == CTL_REGISTER && (!registrar_holds(m) || registrar_lease_shown(r, key, m))))
		return false;
	registrar_former_tell(r, now, f);
	return true;
}

enum drop registrar_input(struct registrar *r, nsec now, const uint8_t key[static 32],
			  const struct endpoint *from, bool plain, const uint8_t *p, size_t len)
{
	struct ctl_msg m;
	enum drop d = ctl_parse(p, len, &m);
	r->used = true;
	if (d == DROP_CONTROL_VERSION)
		refuse_version(r, key, &m);
	if (d != DROP_NONE)
		return d;
	if (m.type >= CTL_GRANT)
		return DROP_FRAME_UNEXPECTED;
	if (registrar_removed_input(r, now, key, &m) || told_former(r, now, key, &m))
		return DROP_NONE;
	struct slot *s = registrar_slot_find_key(r, key);
	if (s && m.type != CTL_RELEASE) {
		registrar_claim_heard(r, now, s);
		s->facts.from = *from;
	}
	return dispatch(r, now, key, from, plain, &m);
}

void registrar_alive(struct registrar *r, nsec now, const uint8_t key[static 32])
{
	struct slot *s = registrar_slot_find_key(r, key);
	struct former *f = s ? NULL : registrar_former_find(r, key);
	if (admission_removed(r->admission, key)) {
		registrar_tell_removed(r, now, key);
		return;
	}
	/* of several: by now it may hold a lease that another one gave, and is about to show it */
	if (f && r->cfg.of < 2)
		registrar_former_tell(r, now, f);
	if (s && (s->claim || !s->online || now - s->heard >= ALIVE_EVERY))
		registrar_claim_heard(r, now, s);
}

/* --- the store --- */

void registrar_stored(struct registrar *r, nsec now, uint64_t seq, bool failed)
{
	struct node *n = r->inflight.next;
	while (n != &r->inflight) {
		struct slot *s = container_of(n, struct slot, inflight);
		n = n->next;
		if (s->seq > seq)
			return;
		if (!failed || s->seq == seq)
			registrar_lease_stored(r, now, s, failed);
	}
}

/* --- status --- */

size_t registrar_count(const struct registrar *r, size_t *online)
{
	size_t n = 0;
	for (member_number i = 1; online && i <= r->top; i++)
		n += r->slots[i] && r->slots[i]->online;
	if (online)
		*online = n;
	return r->leases;
}

size_t registrar_members(const struct registrar *r, nsec now, size_t first,
			 struct registrar_member_info *out, size_t cap)
{
	size_t at = 0, n = 0;
	(void)now;
	for (member_number i = 1; i <= r->top && n < cap; i++) {
		const struct slot *s = r->slots[i];
		if (!s || s->state != LEASE_HELD || at++ < first)
			continue;
		struct registrar_member_info *m = &out[n++];
		*m = (struct registrar_member_info){ .record = s->rec,
						     .from = s->facts.from,
						     .online = s->online,
						     .last_seen = s->heard };
		memcpy(m->release, s->facts.release, sizeof(m->release));
	}
	return n;
}
