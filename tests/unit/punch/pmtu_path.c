/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "pmtu_path.h"
#include "tests/unit/splitmix.h"

uint32_t path_pick(struct pmtu_path *p, uint32_t below)
{
	return (uint32_t)(splitmix64(&p->random) >> 32) % below;
}

double path_chance(struct pmtu_path *p)
{
	return splitmix_share(&p->random);
}

void path_begin(struct pmtu_path *p, bool v6, uint32_t max)
{
	pmtu_init(&p->m, v6 ? PMTU_MIN_V6 : PMTU_MIN_V4, p->around);
	pmtu_start(&p->m, p->now, 1 + path_pick(p, 1000000), max);
}

void path_init(struct pmtu_path *p, uint64_t seed, uint32_t max, uint32_t mtu, nsec rtt)
{
	memset(p, 0, sizeof(*p));
	p->random = seed;
	p->now = PATH_START * SEC;
	p->mtu = mtu;
	p->around = 28;
	p->delay = rtt / 2;
	p->over_since = NSEC_NEVER;
	for (unsigned i = 0; i < PATH_STREAMS; i++)
		p->streams[i].next = NSEC_NEVER;
	path_begin(p, false, max);
}

void path_stream(struct pmtu_path *p, unsigned i, nsec every, uint32_t size, uint32_t count)
{
	p->streams[i] = (struct path_stream){
		.every = every, .next = every ? p->now : NSEC_NEVER, .size = size, .count = count
	};
}

/* --- the network --- */

static void add_event(struct pmtu_path *p, const struct path_event *e)
{
	if (p->nevents == PATH_EVENTS) {
		fprintf(stderr, "too much in flight\n");
		abort();
	}
	unsigned at = p->nevents++;
	for (; at && p->events[at - 1].at <= e->at; at--)
		p->events[at] = p->events[at - 1];
	p->events[at] = *e;
}

static void carry(struct pmtu_path *p, struct path_event e)
{
	bool watch = e.kind == AT_US || (e.kind == AT_PEER && e.probe.watch);
	if (p->dead || path_chance(p) < p->loss ||
	    (watch && p->deaf > 0 && path_chance(p) < p->deaf))
		return;
	unsigned copies = 1 + (path_chance(p) < p->duplicate);
	while (copies--) {
		e.at = p->now + p->delay + (nsec)(path_chance(p) * (double)p->jitter);
		add_event(p, &e);
	}
}

static void send_large(struct pmtu_path *p, struct path_event e)
{
	if (e.size <= p->mtu) {
		carry(p, e);
	} else if (p->icmp) {
		carry(p, (struct path_event){ .kind = ICMP_AT_US, .size = p->mtu });
	}
}

static void send_probe(struct pmtu_path *p, const struct pmtu_probe *probe)
{
	if (p->sent < ARRAY_SIZE(p->first_sizes))
		p->first_sizes[p->sent] = probe->size;
	p->sent++;
	p->largest = probe->size > p->largest ? probe->size : p->largest;
	if (p->verbose)
		printf("%10.3f probe %u: %u%s\n", (double)p->now / 1e9 - PATH_START,
		       probe->frame.number, probe->size, probe->frame.watch ? " (watch)" : "");
	send_large(p, (struct path_event){
			      .kind = AT_PEER, .size = probe->size, .probe = probe->frame });
}

static void at_peer(struct pmtu_path *p, const struct path_event *e)
{
	struct path_event answer = { .kind = AT_US };
	pmtu_seen_probe(&p->peer, p->now, p->relayed, &e->probe, &answer.ack);
	carry(p, answer);
}

static void deliver(struct pmtu_path *p, const struct path_event *e)
{
	switch (e->kind) {
	case AT_PEER:
		at_peer(p, e);
		break;
	case DATA_AT_PEER:
		pmtu_seen_data(&p->peer, p->relayed, e->size - p->around);
		break;
	case AT_US:
		pmtu_acked(&p->m, p->now, &e->ack);
		break;
	case ICMP_AT_US:
		pmtu_too_big(&p->m, p->now, e->size);
	}
}

static void send_data(struct pmtu_path *p, struct path_stream *s)
{
	uint32_t size = s->size && s->size < p->m.size ? s->size : p->m.size;
	s->next += s->every;
	if (size > p->mtu && p->over_since == NSEC_NEVER)
		p->over_since = p->now;
	for (uint32_t i = 0; i < s->count; i++)
		send_large(p, (struct path_event){ .kind = DATA_AT_PEER, .size = size });
	pmtu_sent(&p->m, p->now, size, s->count);
}

/* --- time --- */

static void look(struct pmtu_path *p, uint32_t size, enum pmtu_state state)
{
	if (p->m.spent > p->spent_most)
		p->spent_most = p->m.spent;
	if (p->over_since != NSEC_NEVER && p->now - p->over_since > p->over_longest)
		p->over_longest = p->now - p->over_since;
	if (p->m.size <= p->mtu)
		p->over_since = NSEC_NEVER;
	if (p->verbose && (size != p->m.size || state != p->m.state))
		printf("%10.3f %s: %u (%s), %u..%u\n", (double)p->now / 1e9 - PATH_START,
		       pmtu_state_name(p->m.state), p->m.size, pmtu_reason_text(p->m.reason),
		       p->m.search.low, p->m.search.high);
}

static void step(struct pmtu_path *p)
{
	struct pmtu_probe probe;
	uint32_t size = p->m.size;
	enum pmtu_state state = p->m.state;
	while (p->nevents && p->events[p->nevents - 1].at <= p->now) {
		struct path_event e = p->events[--p->nevents];
		deliver(p, &e);
	}
	if (p->forged_every && p->forged_next <= p->now) {
		p->forged_next = p->now + p->forged_every;
		pmtu_too_big(&p->m, p->now, path_pick(p, 10000));
	}
	for (unsigned i = 0; i < PATH_STREAMS; i++)
		if (p->streams[i].next <= p->now)
			send_data(p, &p->streams[i]);
	while (pmtu_poll(&p->m, p->now, 2 * p->delay + p->jitter, &probe))
		send_probe(p, &probe);
	look(p, size, state);
}

static nsec next_time(const struct pmtu_path *p)
{
	nsec next = pmtu_deadline(&p->m);
	if (p->nevents)
		next = nsec_min(next, p->events[p->nevents - 1].at);
	for (unsigned i = 0; i < PATH_STREAMS; i++)
		next = nsec_min(next, p->streams[i].next);
	return p->forged_every ? nsec_min(next, p->forged_next) : next;
}

static void run(struct pmtu_path *p, nsec until, bool to_complete)
{
	for (;;) {
		step(p);
		if (to_complete && p->m.state == PMTU_SEARCH_COMPLETE)
			return;
		nsec next = next_time(p);
		if (next > until)
			break;
		p->now = nsec_max(next, p->now);
	}
	p->now = until;
}

void path_run(struct pmtu_path *p, nsec until)
{
	run(p, until, false);
}

bool path_search(struct pmtu_path *p, nsec limit)
{
	run(p, p->now + limit, true);
	return p->m.state == PMTU_SEARCH_COMPLETE;
}
