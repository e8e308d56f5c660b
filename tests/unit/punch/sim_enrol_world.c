/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_enrol.h"
#include "tests/unit/splitmix.h"

#include <stdio.h>
#include <stdlib.h>

#define HANDSHAKE_RETRY (5 * NSEC_PER_SEC)

_Noreturn void sim_fail(const struct sim *s, const char *what, const char *file, int line)
{
	fprintf(stderr, "seed %llu, at %.3f s, %s:%d: %s\n", (unsigned long long)s->seed,
		(double)s->now / 1e9, file, line, what);
	abort();
}

uint64_t sim_random(struct sim *s, uint64_t n)
{
	return splitmix64(&s->rng) % n;
}

void sim_clean(struct sim *s)
{
	s->loss = s->twice = 0;
	s->delay_least = 5;
	s->delay_most = 40;
	s->store_delay = 5 * NSEC_PER_MSEC;
	s->store_fails = false;
	s->calm_since = s->now;
}

void sim_init(struct sim *s, uint64_t seed, const char *prefix4, uint32_t max_members)
{
	memset(s, 0, sizeof(*s));
	s->seed = s->rng = seed;
	s->now = NSEC_PER_SEC * (nsec)(1000 + sim_random(s, 100000));
	s->wall = 1700000000;
	memset(s->cfg.secret, 0x5e, 32);
	SIM_CHECK(s, prefix_parse(prefix4, &s->cfg.prefix4));
	SIM_CHECK(s, prefix_parse("fd00:1::/64", &s->cfg.prefix6));
	s->cfg.max_members = max_members;
	s->cfg.lease_ttl = 30 * 86400 * NSEC_PER_SEC;
	s->cfg.release = "0.1.0";
	sim_clean(s);
}

void sim_end(struct sim *s)
{
	for (size_t i = 0; i < s->nnodes; i++)
		enrol_free(s->nodes[i].e);
	registrar_free(s->r);
	free(s->flights);
}

/* --- the network --- */

static bool earlier(const struct flight *a, const struct flight *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap_flights(struct flight *a, struct flight *b)
{
	struct flight t = *a;
	*a = *b;
	*b = t;
}

static void launch(struct sim *s, const struct flight *f)
{
	if (s->nflights == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 256;
		s->flights = realloc(s->flights, s->cap * sizeof(*s->flights));
		SIM_CHECK(s, s->flights);
	}
	size_t i = s->nflights++;
	s->flights[i] = *f;
	for (; i && earlier(&s->flights[i], &s->flights[(i - 1) / 2]); i = (i - 1) / 2)
		swap_flights(&s->flights[i], &s->flights[(i - 1) / 2]);
}

static struct flight land(struct sim *s)
{
	struct flight top = s->flights[0];
	s->flights[0] = s->flights[--s->nflights];
	for (size_t i = 0;;) {
		size_t c = 2 * i + 1;
		if (c >= s->nflights)
			break;
		if (c + 1 < s->nflights && earlier(&s->flights[c + 1], &s->flights[c]))
			c++;
		if (!earlier(&s->flights[c], &s->flights[i]))
			break;
		swap_flights(&s->flights[c], &s->flights[i]);
		i = c;
	}
	return top;
}

static void send_message(struct sim *s, struct node *n, bool to_registrar, const uint8_t *p,
			 size_t len)
{
	unsigned copies = sim_random(s, 1000) < s->twice ? 2 : 1;
	SIM_CHECK(s, len >= 8 && len <= CONTROL_SEND_MAX);
	for (; copies; copies--) {
		struct flight f = { .to_registrar = to_registrar,
				    .node = (unsigned)(n - s->nodes),
				    .boot = n->boot,
				    .life = s->life,
				    .order = s->order++,
				    .len = len };
		if (n->cut || sim_random(s, 1000) < s->loss)
			continue;
		f.at = s->now +
		       NSEC_PER_MSEC * (nsec)(s->delay_least +
					      sim_random(s, s->delay_most - s->delay_least + 1));
		memcpy(f.bytes, p, len);
		launch(s, &f);
	}
}

/* WireGuard's session is what lets a message through: one per process and life of the rendezvous. */
static void arrive(struct sim *s, const struct flight *f)
{
	struct node *n = &s->nodes[f->node];
	if (n->state == NODE_OFF || f->boot != n->boot || n->session != s->life ||
	    f->life != s->life || !s->r)
		return;
	if (f->to_registrar)
		registrar_input(s->r, s->now, n->key, &n->at, true, f->bytes, f->len);
	else
		enrol_input(n->e, s->now, f->bytes, f->len);
}

/* --- the store --- */

static void store_write(struct sim *s, const struct registrar_output *out)
{
	struct write *w = &s->writes[s->nwrites++];
	SIM_CHECK(s, s->nwrites < SIM_STORE_QUEUE);
	w->at = s->now + s->store_delay;
	if (s->nwrites > 1 && w[-1].at > w->at)
		w->at = w[-1].at;
	w->seq = out->seq;
	w->del = out->event == REGISTRAR_FORGET;
	w->failed = s->store_fails;
	w->rec = out->record;
	if (!w->del)
		sim_check_takeover(s, &w->rec);
}

static void store_done(struct sim *s)
{
	struct write w = s->writes[0];
	memmove(s->writes, s->writes + 1, --s->nwrites * sizeof(w));
	SIM_CHECK(s, w.rec.number && w.rec.number < SIM_NUMBERS);
	if (!w.failed && w.del)
		memset(&s->rows[w.rec.number], 0, sizeof(w.rec));
	else if (!w.failed)
		s->rows[w.rec.number] = w.rec;
	if (s->r)
		registrar_stored(s->r, s->now, w.seq, w.failed);
}

/* --- members --- */

struct node *sim_add(struct sim *s, const char *id)
{
	struct node *n = &s->nodes[s->nnodes++];
	SIM_CHECK(s, s->nnodes <= SIM_NODES);
	snprintf(n->id, sizeof(n->id), "%s", id);
	n->at.addr = addr_v4_u32(0xc6336400u + (uint32_t)s->nnodes);
	n->at.port = 40000;
	n->handshake_at = NSEC_NEVER;
	sim_new_key(s, n);
	return n;
}

void sim_new_key(struct sim *s, struct node *n)
{
	for (size_t i = 0; i < 32; i++)
		n->key[i] = (uint8_t)sim_random(s, 256);
}

void sim_start(struct sim *s, struct node *n)
{
	struct enrol_config cfg = { .worker_id = n->id,
				    .release = "0.1.0",
				    .prefix4 = s->cfg.prefix4,
				    .prefix6 = s->cfg.prefix6 };
	struct endpoint c = { .addr = addr_v4_u32(0xc0a80101u), .port = n->at.port };
	struct trino_facts t = { .http_port = (uint16_t)(8000 + (n - s->nodes)),
				 .environment = "test",
				 .version = "476" };
	memcpy(cfg.key, n->key, 32);
	sim_kill(s, n);
	n->e = enrol_new(&cfg);
	SIM_CHECK(s, n->e);
	enrol_set_candidates(n->e, s->now, &c, 1);
	enrol_set_trino(n->e, s->now, &t);
	n->state = NODE_RUNNING;
	n->boot++;
	n->handshake_at = s->now;
}

void sim_kill(struct sim *s, struct node *n)
{
	(void)s;
	enrol_free(n->e);
	n->e = NULL;
	n->state = NODE_OFF;
	n->granted = false;
	n->session = 0;
	n->number = 0;
	n->handshake_at = NSEC_NEVER;
	n->both_since = 0;
	memset(n->peers, 0, sizeof(n->peers));
}

static void handshake(struct sim *s, struct node *n)
{
	n->handshake_at = NSEC_NEVER;
	if (n->state != NODE_RUNNING)
		return;
	if (n->cut || !s->r || sim_random(s, 1000) < 2 * s->loss) {
		n->handshake_at = s->now + HANDSHAKE_RETRY;
		return;
	}
	n->session = s->life;
	registrar_alive(s->r, s->now, n->key);
	enrol_session_up(n->e, s->now);
}

static void check_grant(struct sim *s, struct node *n, const struct enrol_output *out)
{
	member_number num = out->lease.number;
	uint8_t psk[32];
	SIM_CHECK(s, num && num < SIM_NUMBERS);
	/* it was on disk before anybody was told */
	const struct lease_record *row = &s->rows[num];
	SIM_CHECK(s, strcmp(row->id, n->id) == 0);
	if (s->r && n->session == s->life && registrar_psk(s->r, n->key, psk))
		SIM_CHECK(s, memcmp(psk, out->psk, 32) == 0);
	/* nobody else ever had this number, and it never had another */
	if (!s->may_reuse) {
		SIM_CHECK(s, !s->owner[num][0] || strcmp(s->owner[num], n->id) == 0);
		for (member_number i = 1; i < SIM_NUMBERS; i++)
			SIM_CHECK(s, i == num || strcmp(s->owner[i], n->id) != 0);
	}
	snprintf(s->owner[num], WORKER_ID_LEN, "%s", n->id);
	if (!n->granted)
		n->granted_since = s->now;
	n->granted = true;
	s->grants++;
	n->number = num;
	memcpy(n->psk, out->psk, 32);
}

static void check_member(struct sim *s, struct node *n, const struct enrol_output *out)
{
	struct peer_view *v;
	SIM_CHECK(s, out->number && out->number < SIM_NUMBERS && out->number != n->number);
	v = &n->peers[out->number];
	v->live = out->event == ENROL_MEMBER;
	memcpy(v->key, out->entry.key, 32);
	memcpy(v->psk, out->entry.pair_psk, 32);
	memcpy(v->id, out->entry.id, sizeof(v->id));
	v->http_port = out->entry.trino.http_port;
}

static void node_event(struct sim *s, struct node *n, const struct enrol_output *out)
{
	switch (out->event) {
	case ENROL_SEND:
		n->sent++;
		send_message(s, n, true, out->bytes, out->len);
		break;
	case ENROL_GRANTED:
		check_grant(s, n, out);
		break;
	case ENROL_REFUSED:
		memcpy(n->text, out->text, sizeof(n->text));
		if (out->fatal) {
			n->state = NODE_REFUSED;
			s->refusals++;
			n->granted = false;
		}
		break;
	case ENROL_REPLACED:
		memcpy(n->text, out->text, sizeof(n->text));
		n->state = NODE_REPLACED;
		s->replacements++;
		n->granted = false;
		break;
	case ENROL_MEMBER:
	case ENROL_MEMBER_GONE:
		check_member(s, n, out);
		break;
	case ENROL_INTRODUCED:
		SIM_CHECK(s, n->peers[out->number].live && out->ncandidates);
		s->introductions++;
		break;
	case ENROL_ASKED:
		sim_asked(s, n, out->number);
		break;
	case ENROL_OBSERVED:
		SIM_CHECK(s, endpoint_eq(&out->observed, &n->at));
		break;
	case ENROL_SILENT:
		n->silent++;
		if (n->handshake_at == NSEC_NEVER)
			n->handshake_at = s->now + NSEC_PER_MSEC * 50;
		break;
	case ENROL_RELEASED:
		n->state = NODE_RELEASED;
		n->granted = false;
		break;
	}
}

/* --- the rendezvous --- */

void sim_registrar_start(struct sim *s)
{
	s->life++;
	s->life_since = s->now;
	s->r = registrar_new(&s->cfg, s->now);
	SIM_CHECK(s, s->r);
	registrar_set_wall(s->r, s->wall * NSEC_PER_SEC);
	for (size_t i = 1; i < SIM_NUMBERS; i++)
		if (s->rows[i].number)
			SIM_CHECK(s, registrar_load(s->r, &s->rows[i]) == 0);
}

/* What the disk was told but had not done is lost with it. */
void sim_registrar_kill(struct sim *s)
{
	registrar_free(s->r);
	s->r = NULL;
	s->nwrites = 0;
}

static struct node *node_of_key(struct sim *s, const uint8_t *key)
{
	for (size_t i = 0; i < s->nnodes; i++)
		if (s->nodes[i].state != NODE_OFF && memcmp(s->nodes[i].key, key, 32) == 0)
			return &s->nodes[i];
	return NULL;
}

static void registrar_event(struct sim *s, const struct registrar_output *out)
{
	struct node *n = node_of_key(s, out->key);
	switch (out->event) {
	case REGISTRAR_SEND:
		s->from_registrar++;
		if (n)
			send_message(s, n, false, out->bytes, out->len);
		break;
	case REGISTRAR_STORE:
	case REGISTRAR_FORGET:
		store_write(s, out);
		break;
	case REGISTRAR_MEMBER:
		SIM_CHECK(s, memcmp(s->rows[out->record.number].key, out->key, 32) == 0);
		break;
	default: /* REGISTRAR_GONE, REGISTRAR_KEPT */
		break;
	}
}

/* --- time --- */

static void drain(struct sim *s)
{
	static struct registrar_output ro;
	static struct enrol_output eo;
	unsigned steps = 0;
	while (s->r && registrar_poll(s->r, s->now, &ro)) {
		SIM_CHECK(s, ++steps < 100000);
		registrar_event(s, &ro);
	}
	for (size_t i = 0; i < s->nnodes; i++) {
		struct node *n = &s->nodes[i];
		steps = 0;
		while (n->e && enrol_poll(n->e, s->now, &eo)) {
			SIM_CHECK(s, ++steps < 100000);
			node_event(s, n, &eo);
		}
	}
}

static nsec next_time(const struct sim *s)
{
	nsec at = s->nflights ? s->flights[0].at : NSEC_NEVER;
	if (s->nwrites)
		at = nsec_min(at, s->writes[0].at);
	if (s->r)
		at = nsec_min(at, registrar_deadline(s->r));
	at = nsec_min(at, sim_next_ask(s));
	for (size_t i = 0; i < s->nnodes; i++) {
		at = nsec_min(at, s->nodes[i].handshake_at);
		if (s->nodes[i].e)
			at = nsec_min(at, enrol_deadline(s->nodes[i].e));
	}
	return at;
}

/* How long two living nodes, both with a way to the rendezvous, believe to hold one id. */
static void check_doubles(struct sim *s)
{
	for (size_t i = 0; i < s->nnodes; i++) {
		struct node *a = &s->nodes[i];
		bool both = false;
		for (size_t j = 0; j < s->nnodes && !both; j++) {
			struct node *b = &s->nodes[j];
			both = j != i && a->granted && b->granted && strcmp(a->id, b->id) == 0 &&
			       s->r && !a->cut && !b->cut;
		}
		if (!both)
			a->both_since = 0;
		else if (!a->both_since)
			a->both_since = s->now;
		else
			s->both_most = nsec_max(s->both_most, s->now - a->both_since);
	}
}

void sim_run(struct sim *s, nsec until)
{
	drain(s);
	for (unsigned stuck = 0; next_time(s) <= until;) {
		nsec at = nsec_max(next_time(s), s->now);
		stuck = at == s->now ? stuck + 1 : 0;
		SIM_CHECK(s, stuck < 100000); /* a deadline that poll does not serve */
		s->now = at;
		while (s->nwrites && s->writes[0].at <= s->now)
			store_done(s);
		while (s->nflights && s->flights[0].at <= s->now) {
			struct flight f = land(s);
			arrive(s, &f);
			drain(s);
		}
		sim_answer_asks(s);
		for (size_t i = 0; i < s->nnodes; i++)
			if (s->nodes[i].handshake_at <= s->now)
				handshake(s, &s->nodes[i]);
		drain(s);
		check_doubles(s);
	}
	s->now = until;
}

/* --- what must be true in the end --- */

static bool knows(const struct node *a, const struct node *b, size_t index)
{
	const struct peer_view *v = &a->peers[b->number], *w = &b->peers[a->number];
	return v->live && memcmp(v->key, b->key, 32) == 0 && strcmp(v->id, b->id) == 0 &&
	       memcmp(v->psk, w->psk, 32) == 0 && v->http_port == 8000 + index;
}

bool sim_converged(struct sim *s, bool print)
{
	bool ok = true;
	for (size_t i = 0; i < s->nnodes; i++) {
		struct node *a = &s->nodes[i];
		size_t live = 0, want = 0;
		if (a->state != NODE_RUNNING)
			continue;
		for (member_number n = 1; n < SIM_NUMBERS; n++)
			live += a->peers[n].live;
		for (size_t j = 0; j < s->nnodes; j++) {
			struct node *b = &s->nodes[j];
			if (j == i || b->state != NODE_RUNNING)
				continue;
			want++;
			if (b->granted && !knows(a, b, j)) {
				ok = false;
				if (print)
					fprintf(stderr,
						"%s (%u) does not know %s (%u) rightly: %d %s port "
						"%u\n",
						a->id, a->number, b->id, b->number,
						a->peers[b->number].live, a->peers[b->number].id,
						a->peers[b->number].http_port);
			}
		}
		if (!a->granted || live != want) {
			ok = false;
			if (print)
				fprintf(stderr, "%s (%u): granted %d, knows %zu of %zu: %s\n",
					a->id, a->number, a->granted, live, want, a->text);
		}
	}
	return ok;
}
