/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two or three rendezvous in one token, and whole nodes (nothing is faked but the network and the
 * store). Anybody is cut off from anybody, rendezvous and nodes die and come back, a rendezvous with another
 * prefix, nodes lose their keys, two want one id; then all is whole again. Nodes restart as under a supervisor.
 *
 * At any time   two nodes that are up never have one address, but where a holder was taken for dead by
 *               the rendezvous that its number belongs to: then they are of one id, and it is over
 *               within seconds once everybody reaches everybody. Nobody that is up is refused.
 * In the end    each id is up once, everybody is registered everywhere and has a session with everybody.
 *   sim_several [SEED [COUNT]]      VERBOSE=1 tells what happens
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "../punch/sim_random.h"
#include "gateway/node.h"
#include "gateway/rdv.h"

enum { MAX_RDVS = 3, MAX_NODES = 5, ENDS = MAX_RDVS + MAX_NODES, MAX_WIRE = 4096, ROWS = 64 };
#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC
#define WALL ((nsec)1800000000 * SEC)
#define DELAY (10 * MSEC)
#define TROUBLE (90 * SEC)
#define PEACE (120 * SEC)

struct datagram {
	nsec at;
	unsigned from, to;
	size_t len;
	uint8_t bytes[1600];
};

struct place {		 /* a rendezvous */
	struct rdv *rdv; /* NULL: dead */
	struct lease_record rows[ROWS];
	uint64_t stored;
	nsec stored_at, back;
	bool wrong; /* started with another --prefix */
};

struct spot {		   /* a node */
	struct node *node; /* NULL: it is down */
	char id[WORKER_ID_LEN];
	bool up, ending, has_psk;
	uint8_t key, psk[32];
	member_number number;
	nsec back;
};

static struct {
	uint64_t seed;
	nsec now, boots, whole; /* whole: since when everybody reaches everybody */
	unsigned nrdvs, nnodes, loss, wires;
	bool verbose;
	struct token token;
	uint8_t registrar[32];
	struct admission admission; /* never rotated */
	struct place rdvs[MAX_RDVS];
	struct spot nodes[MAX_NODES];
	bool cut[ENDS][ENDS];
	struct datagram *wire[MAX_WIRE];
	unsigned doubles;
} s;

static void say(const char *what, unsigned i, unsigned k)
{
	if (s.verbose)
		printf("%9.3f  %s %u %u\n", (double)s.now / SEC, what, i, k);
}

static _Noreturn void failed(const char *what, unsigned i, unsigned k)
{
	printf("SEED=%" PRIu64 " at %.3f s: %s (%u, %u)\n", s.seed, (double)s.now / SEC, what, i,
	       k);
	exit(1);
}

static unsigned pick(unsigned n)
{
	return sim_random_u32() % n;
}

/* --- the network: end i < MAX_RDVS is a rendezvous, the others are nodes --- */

static struct endpoint at(unsigned end)
{
	uint8_t b[4] = { 203, 0, 113, (uint8_t)(1 + end) };
	return (struct endpoint){ .addr = addr_v4(b), .port = 7777 };
}

static void push(unsigned from, const struct endpoint *to, const uint8_t *p, size_t len)
{
	unsigned end = to->addr.b[15] - 1u;
	if (end >= ENDS || s.cut[from][end] || pick(100) < s.loss || s.wires == MAX_WIRE)
		return;
	struct datagram *d = malloc(sizeof(*d));
	if (!d || len > sizeof(d->bytes))
		failed("a datagram that does not fit", (unsigned)len, 0);
	*d = (struct datagram){ .at = s.now + DELAY, .from = from, .to = end, .len = len };
	memcpy(d->bytes, p, len);
	s.wire[s.wires++] = d;
}

static void push_all(unsigned from, const struct udp_tx *tx, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (uint32_t k = 0; k < tx[i].len; k += tx[i].seg)
			push(from, &tx[i].to, tx[i].buf + k, size_min(tx[i].seg, tx[i].len - k));
}

/* --- rendezvous --- */

static void rdv_udp_out(void *ctx, const struct udp_tx *tx, unsigned n)
{
	push_all((unsigned)((struct place *)ctx - s.rdvs), tx, n);
}

/* As SQLite's INSERT OR REPLACE with a unique id. */
static void rdv_store(void *ctx, const struct store_request *rq)
{
	struct place *p = ctx;
	for (unsigned i = 0; i < ROWS; i++)
		if (rq->kind == STORE_PUT && strcmp(p->rows[i].id, rq->record.id) == 0)
			memset(&p->rows[i], 0, sizeof(p->rows[i]));
	if (rq->record.number >= ROWS)
		failed("a number too great", rq->record.number, 0);
	p->rows[rq->record.number] =
		rq->kind == STORE_PUT ? rq->record : (struct lease_record){ 0 };
	say("rendezvous keeps number", (unsigned)(p - s.rdvs), rq->record.number);
	p->stored = rq->seq;
	p->stored_at = s.now + 2 * MSEC;
}

static void private_key(unsigned i, uint8_t out[static 32])
{
	memset(out, 0x50 + (int)i, 32);
}

static void rdv_start(unsigned i, bool wrong)
{
	struct place *p = &s.rdvs[i];
	struct rdv_config c = { .io = { .ctx = p, .udp = rdv_udp_out, .store = rdv_store },
				.aead = aead_choose(NULL),
				.boot = (uint64_t)(WALL + s.now + ++s.boots),
				.registrar = { .max_members = ROWS - 1,
					       .number = i + 1,
					       .of = s.nrdvs,
					       .lease_ttl = 86400 * SEC,
					       .admission = &s.admission,
					       .prefix4 = s.token.prefixes[0],
					       .prefix6 = s.token.prefixes[1],
					       .release = "sim" } };
	private_key(i, c.private_key);
	memcpy(c.registrar.secret, s.registrar, 32);
	p->wrong = wrong;
	c.registrar.prefix4.addr.b[13] += wrong;
	rdv_free(p->rdv);
	p->rdv = rdv_new(&c, s.now);
	p->stored_at = NSEC_NEVER;
	rdv_set_wall(p->rdv, WALL);
	for (unsigned k = 0; k < ROWS; k++)
		if (p->rows[k].number && rdv_load(p->rdv, &p->rows[k]) < 0)
			failed("a row that contradicts another", i, k);
	say("rendezvous starts, right or wrong", i, wrong);
}

/* --- nodes --- */

static void node_udp_out(void *ctx, const struct udp_tx *tx, unsigned n)
{
	push_all(MAX_RDVS + (unsigned)((struct spot *)ctx - s.nodes), tx, n);
}

static void node_note_out(void *ctx, const struct node_note *note)
{
	struct spot *n = ctx;
	switch (note->event) {
	case NODE_UP:
		n->up = true;
		n->number = node_lease(n->node)->lease.number;
		say("node is up as number", (unsigned)(n - s.nodes), n->number);
		break;
	case NODE_SAVE:
		memcpy(n->psk, node_lease(n->node)->psk, 32);
		n->has_psk = true;
		break;
	case NODE_REFUSED:
		say(note->text, (unsigned)(n - s.nodes), note->fatal);
		if (n->up && note->fatal)
			failed("one that is up is refused", (unsigned)(n - s.nodes), 0);
		n->ending |= note->fatal;
		break;
	case NODE_REPLACED:
	case NODE_LEASE_CHANGED:
	case NODE_RELEASED:
		n->ending = true;
		break;
	default:
		break;
	}
}

static void node_start(unsigned i)
{
	struct spot *n = &s.nodes[i];
	struct endpoint self = at(MAX_RDVS + i);
	struct node_config c = {
		.io = { .ctx = n, .udp = node_udp_out, .note = node_note_out },
		.aead = aead_choose(NULL),
		.worker_id = n->id,
		.release = "sim",
		.max_peers = 32,
		.boot = (uint64_t)(WALL + s.now + ++s.boots),
		.token = &s.token,
		.psk = n->has_psk ? n->psk : NULL,
		.number = n->number,
	};
	memset(c.private_key, n->key, 32);
	wg_key_clamp(c.private_key);
	n->up = n->ending = false;
	n->node = node_new(&c, s.now);
	node_set_wall(n->node, WALL);
	node_set_candidates(n->node, s.now, &self, 1);
	for (unsigned k = 0; k < s.nrdvs; k++) {
		struct endpoint e = at(k);
		node_resolved(n->node, s.now, k, &e, 1);
	}
	say("node starts", i, n->key);
}

static void node_kill(unsigned i, nsec back)
{
	struct spot *n = &s.nodes[i];
	node_free(n->node);
	n->node = NULL;
	n->up = false;
	n->back = back;
}

/* --- a turn --- */

static void deliver(struct datagram *d)
{
	struct udp_rx rx = { .buf = d->bytes,
			     .len = (uint32_t)d->len,
			     .from = at(d->from),
			     .local = at(d->to).addr };
	if (d->to < MAX_RDVS) {
		if (s.rdvs[d->to].rdv)
			rdv_udp(s.rdvs[d->to].rdv, s.now, &rx, 1);
	} else if (s.nodes[d->to - MAX_RDVS].node) {
		node_udp(s.nodes[d->to - MAX_RDVS].node, s.now, &rx, 1);
	}
	free(d);
}

static void arrivals(void)
{
	unsigned n = 0;
	for (; n < s.wires && s.wire[n]->at <= s.now; n++)
		;
	struct datagram *due[MAX_WIRE];
	memcpy(due, s.wire, n * sizeof(due[0]));
	memmove(s.wire, s.wire + n, (s.wires - n) * sizeof(s.wire[0]));
	s.wires -= n;
	for (unsigned i = 0; i < n; i++)
		deliver(due[i]);
}

static void turn_rdv(unsigned i)
{
	struct place *p = &s.rdvs[i];
	if (!p->rdv)
		return;
	if (p->stored_at <= s.now) {
		p->stored_at = NSEC_NEVER;
		rdv_stored(p->rdv, s.now, p->stored, false);
	}
	rdv_tick(p->rdv, s.now);
}

static void turn_node(unsigned i)
{
	struct spot *n = &s.nodes[i];
	if (!n->node && s.now >= n->back)
		node_start(i);
	if (!n->node)
		return;
	node_tick(n->node, s.now);
	if (n->ending) {
		say("node ends", i, n->number);
		node_kill(i, s.now + 2 * SEC + pick(3000) * MSEC);
	}
}

/* Never one address for two ids; for one id only as long as somebody is out of reach, and a moment. */
static void check(void)
{
	for (unsigned i = 0; i < s.nnodes; i++) {
		for (unsigned k = 0; k < i; k++) {
			const struct spot *a = &s.nodes[i], *b = &s.nodes[k];
			if (!a->up || !b->up || a->number != b->number)
				continue;
			s.doubles++;
			if (strcmp(a->id, b->id) != 0)
				failed("two ids have one address", i, k);
			if (s.whole && s.now - s.whole > 30 * SEC)
				failed("two nodes have one address for long", i, k);
		}
	}
}

static nsec next_turn(void)
{
	nsec t = s.wires ? s.wire[0]->at : NSEC_NEVER;
	for (unsigned i = 0; i < s.nrdvs; i++)
		if (s.rdvs[i].rdv)
			t = nsec_min(t, nsec_min(rdv_deadline(s.rdvs[i].rdv), s.rdvs[i].stored_at));
	for (unsigned i = 0; i < s.nnodes; i++)
		t = nsec_min(t, s.nodes[i].node ? node_deadline(s.nodes[i].node) : s.nodes[i].back);
	return nsec_max(t, s.now + MSEC);
}

static void run(nsec time)
{
	nsec end = s.now + time;
	while (s.now < end) {
		s.now = nsec_min(next_turn(), end);
		arrivals();
		for (unsigned i = 0; i < s.nrdvs; i++)
			turn_rdv(i);
		for (unsigned i = 0; i < s.nnodes; i++)
			turn_node(i);
		check();
	}
}

/* --- a life --- */

static void cut(unsigned a, unsigned b, bool off)
{
	s.cut[a][b] = s.cut[b][a] = off;
	say(off ? "cut" : "mended", a, b);
}

static void trouble(void)
{
	unsigned i = pick(s.nnodes), r = pick(s.nrdvs);
	switch (pick(8)) {
	case 0:
	case 1:
		cut(r, MAX_RDVS + i, pick(3) > 0);
		break;
	case 2:
		cut(MAX_RDVS + i, MAX_RDVS + pick(s.nnodes), pick(2));
		break;
	case 3: /* all of it: a node that is alone, or a whole site */
		for (unsigned k = 0; k < s.nrdvs; k++)
			cut(k, MAX_RDVS + i, pick(4) > 0);
		break;
	case 4:
		say("rendezvous dies or starts", r, 0);
		if (s.rdvs[r].rdv)
			rdv_free(s.rdvs[r].rdv), s.rdvs[r].rdv = NULL;
		else
			rdv_start(r, pick(3) == 0);
		break;
	case 5: /* killed, with or without its state */
		if (s.nodes[i].node)
			node_kill(i, s.now + pick(8000) * MSEC);
		if (pick(2)) {
			s.nodes[i].key = (uint8_t)(s.nodes[i].key + 10);
			s.nodes[i].has_psk = false;
			s.nodes[i].number = 0;
		}
		break;
	case 6:
		if (s.nodes[i].node && s.nodes[i].up)
			node_release(s.nodes[i].node, s.now);
		break;
	case 7:
		s.loss = pick(10);
	}
}

static void make_whole(void)
{
	memset(s.cut, 0, sizeof(s.cut));
	s.loss = 0;
	for (unsigned i = 0; i < s.nrdvs; i++)
		if (!s.rdvs[i].rdv || s.rdvs[i].wrong)
			rdv_start(i, false);
	s.whole = s.now;
	say("whole", 0, 0);
}

static bool knows(const struct spot *a, const struct spot *b)
{
	for (struct peer *p = NULL; (p = node_peer_next(a->node, p));)
		if (peer_kind(p) == PEER_MEMBER && strcmp(peer_entry(p)->id, b->id) == 0 &&
		    peer_entry(p)->number == b->number && wg_can_send(peer_wg(p), s.now))
			return true;
	return false;
}

static void check_end(void)
{
	for (unsigned i = 0; i < s.nnodes; i++) {
		const struct spot *a = &s.nodes[i];
		unsigned same = 0;
		for (unsigned k = 0; k < s.nnodes; k++)
			same += s.nodes[k].up && strcmp(s.nodes[k].id, a->id) == 0;
		if (same != 1)
			failed(same ? "an id is up twice" : "an id is not up", i, same);
		for (unsigned k = 0; a->up && k < s.nrdvs; k++) {
			struct enrol_info e;
			node_enrol_info(a->node, k, &e);
			if (!e.registered || s.now - e.last_answer > 25 * SEC)
				failed("not registered", i, k);
		}
		for (unsigned k = 0; a->up && k < s.nnodes; k++)
			if (k != i && s.nodes[k].up && !knows(a, &s.nodes[k]))
				failed("does not know", i, k);
	}
}

static void set_up(uint64_t seed)
{
	memset(&s, 0, sizeof(s));
	sim_random_seed(seed);
	s.seed = seed;
	s.verbose = getenv("VERBOSE");
	s.now = 1000 * SEC;
	s.nrdvs = 2 + pick(4) / 3;
	s.nnodes = 3 + pick(3);
	memset(s.registrar, 7, 32);
	snprintf(s.token.network, sizeof(s.token.network), "sim");
	if (!prefix_parse("10.77.0.0/24", &s.token.prefixes[0]) ||
	    !prefix_parse("fd00:77::/64", &s.token.prefixes[1]))
		abort();
	s.token.nprefixes = 2;
	s.token.nrendezvous = s.nrdvs;
	s.token.nmore_keys = s.nrdvs - 1;
	admission_token(s.registrar, &s.admission, &s.token);
	for (unsigned i = 0; i < s.nrdvs; i++) {
		uint8_t key[32];
		private_key(i, key);
		wg_key_public(key, i ? s.token.more_keys[i - 1] : s.token.key);
	}
	/* the last two may want one id */
	unsigned ids = s.nnodes - pick(2);
	for (unsigned i = 0; i < s.nnodes; i++) {
		snprintf(s.nodes[i].id, WORKER_ID_LEN, "w%u", i < ids ? i : ids - 1);
		s.nodes[i].key = (uint8_t)(1 + i);
		s.nodes[i].back = s.now + pick(5000) * MSEC;
	}
	for (unsigned i = 0; i < s.nrdvs; i++)
		rdv_start(i, false);
}

static void tear_down(void)
{
	for (unsigned i = 0; i < s.nnodes; i++)
		node_free(s.nodes[i].node);
	for (unsigned i = 0; i < s.nrdvs; i++)
		rdv_free(s.rdvs[i].rdv);
	for (unsigned i = 0; i < s.wires; i++)
		free(s.wire[i]);
}

static bool life(uint64_t seed)
{
	set_up(seed);
	for (nsec end = s.now + TROUBLE; s.now < end;) {
		run(100 * MSEC + pick(6000) * MSEC);
		trouble();
	}
	make_whole();
	run(PEACE);
	check_end();
	tear_down();
	return s.doubles > 0;
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : argc > 1 ? 1 : 60;
	unsigned doubles = 0;

	if (sodium_init() < 0)
		return 1;
	for (uint64_t i = 0; i < count; i++)
		doubles += life(first + i);
	printf("%" PRIu64 " lives; in %u of them a holder was taken for dead that was not\n", count,
	       doubles);
	return 0;
}
