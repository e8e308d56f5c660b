/* SPDX-License-Identifier: Apache-2.0 */
#include "oracle.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned long long oracle_seed;

#define SAME(what, ours, naive)                                                                    \
	same(__LINE__, what, (unsigned long long)(ours), (unsigned long long)(naive))

static void same(int line, const char *what, unsigned long long ours, unsigned long long naive)
{
	if (ours == naive)
		return;
	fprintf(stderr, "oracle.c:%d: %s: %llu, naive %llu; SEED=%llu\n", line, what, ours, naive,
		oracle_seed);
	abort();
}

static uint32_t two(const uint8_t *p)
{
	return p[0] * 256u + p[1];
}

/* Takes packet i out of the array; its place becomes the first spare one. */
static void drop_at(struct oracle *o, size_t i)
{
	struct oracle_packet *p = o->at[i];
	memmove(&o->at[i], &o->at[i + 1], (o->n - i - 1) * sizeof(o->at[0]));
	o->at[--o->n] = p;
}

static void lose_at(struct oracle *o, size_t i, uint64_t *counter)
{
	if (!o->at[i]->dead)
		(*counter)++;
	drop_at(o, i);
}

static nsec oracle_deadline(const struct oracle *o)
{
	return o->n ? o->at[0]->since + REASSEMBLY_TIMEOUT : NSEC_NEVER;
}

static void oracle_expire(struct oracle *o, nsec now)
{
	while (o->n && oracle_deadline(o) <= now)
		lose_at(o, 0, &o->timeouts);
}

static void oracle_forget(struct oracle *o, const void *sender)
{
	for (size_t i = 0; i < o->n;)
		if (o->at[i]->sender == sender)
			drop_at(o, i);
		else
			i++;
}

static void make_room(struct oracle *o, const void *sender)
{
	size_t own = 0, oldest = 0;
	for (size_t i = o->n; i-- > 0;)
		if (o->at[i]->sender == sender) {
			own++;
			oldest = i;
		}
	if (own == REASSEMBLY_PER_SENDER)
		lose_at(o, oldest, &o->evicted);
	else if (o->n + o->out == REASSEMBLY_PACKETS)
		lose_at(o, 0, &o->evicted);
}

static size_t find_or_begin(struct oracle *o, nsec now, const void *sender, uint32_t id,
			    uint32_t total)
{
	for (size_t i = 0; i < o->n; i++)
		if (o->at[i]->sender == sender && o->at[i]->id == id)
			return i;
	make_room(o, sender);
	struct oracle_packet *p = o->at[o->n];
	p->sender = sender;
	p->id = id;
	p->total = total;
	p->parts = 0;
	p->since = now;
	p->dead = false;
	memset(p->have, 0, total);
	o->n++;
	if (o->n > o->most)
		o->most = o->n;
	return o->n - 1;
}

static enum drop check(const uint8_t *frame, size_t len)
{
	if (len < 2 || frame[0] != 0x84)
		return DROP_FRAME_MALFORMED;
	if (frame[1] != 1)
		return DROP_FRAME_VERSION;
	if (len < 12)
		return DROP_FRAME_MALFORMED;
	uint32_t total = two(frame + 2), offset = two(frame + 8), length = two(frame + 10);
	if (total < 21 || total > 9000 || length < 1 || offset + length > total ||
	    len - 12 < length)
		return DROP_FRAME_MALFORMED;
	return DROP_NONE;
}

static enum drop add(struct oracle_packet *p, const uint8_t *frame)
{
	uint32_t offset = two(frame + 8), length = two(frame + 10);
	bool overlap = p->dead || p->total != two(frame + 2);
	if (!overlap)
		overlap = memchr(p->have + offset, 1, length) != NULL;
	if (overlap || p->parts == 32) {
		p->dead = true;
		return overlap ? DROP_FRAGMENT_OVERLAP : DROP_FRAME_MALFORMED;
	}
	p->parts++;
	memset(p->have + offset, 1, length);
	memcpy(p->bytes + offset, frame + 12, length);
	return DROP_NONE;
}

/* *whole: the packet that is whole now; its place is spare, and its bytes stay till the next call. */
static enum drop oracle_input(struct oracle *o, nsec now, const void *sender, const uint8_t *frame,
			      size_t len, const struct oracle_packet **whole)
{
	*whole = NULL;
	enum drop why = check(frame, len);
	if (why != DROP_NONE)
		return why;
	if (o->out == ORACLE_OUT)
		return DROP_QUEUE_FULL;
	oracle_expire(o, now);
	uint32_t id = two(frame + 4) << 16 | two(frame + 6);
	size_t i = find_or_begin(o, now, sender, id, two(frame + 2));
	struct oracle_packet *p = o->at[i];
	why = add(p, frame);
	if (why == DROP_NONE && !memchr(p->have, 0, p->total)) {
		*whole = p;
		drop_at(o, i);
		o->out++;
		o->wholes++;
	}
	return why;
}

/* What both know of themselves is the same at any time, and within the bounds. */
static void compare(const struct pair *p)
{
	const struct oracle *o = &p->oracle;
	SAME("out", reassembly_out(p->store), o->out);
	SAME("deadline", reassembly_deadline(p->store), oracle_deadline(o));
	SAME("timeouts", p->drops.n[DROP_FRAGMENT_TIMEOUT], o->timeouts);
	SAME("evicted", p->drops.n[DROP_FRAGMENT_EVICTED], o->evicted);
	if (o->n + o->out > REASSEMBLY_PACKETS)
		abort();
}

void pair_begin(struct pair *p)
{
	struct oracle *o = &p->oracle;
	if (!p->store)
		p->store = reassembly_new(&p->drops);
	if (!p->store)
		abort();
	memset(&p->drops, 0, sizeof(p->drops));
	o->n = o->out = o->most = 0;
	o->timeouts = o->evicted = o->wholes = 0;
	for (size_t i = 0; i < ORACLE_PLACES; i++) {
		o->at[i] = &o->places[i];
		o->places[i].have = o->have[i];
		o->places[i].bytes = o->bytes[i];
	}
	compare(p);
}

void pair_end(struct pair *p, nsec now)
{
	pair_expire(p, now + REASSEMBLY_TIMEOUT);
	pair_recycle(p);
	SAME("held at the end", p->oracle.n, 0);
	SAME("deadline at the end", reassembly_deadline(p->store), NSEC_NEVER);
}

static void keep(struct pair *p, const struct iovec *w, const struct oracle_packet *naive)
{
	size_t i = p->oracle.out - 1;
	SAME("length of the whole", w->iov_len, naive->total);
	SAME("bytes of the whole", memcmp(w->iov_base, naive->bytes, naive->total), 0);
	p->out[i] = *w;
	memcpy(p->kept[i], naive->bytes, naive->total);
}

enum drop pair_input(struct pair *p, nsec now, const void *sender, const uint8_t *frame, size_t len,
		     struct iovec *whole)
{
	const struct oracle_packet *naive;
	enum drop ours = reassembly_input(p->store, now, sender, frame, len, whole);
	SAME("drop", ours, oracle_input(&p->oracle, now, sender, frame, len, &naive));
	SAME("whole", whole->iov_base != NULL, naive != NULL);
	if (naive)
		keep(p, whole, naive);
	compare(p);
	return ours;
}

void pair_recycle(struct pair *p)
{
	for (size_t i = 0; i < p->oracle.out; i++)
		SAME("bytes still out", memcmp(p->out[i].iov_base, p->kept[i], p->out[i].iov_len),
		     0);
	reassembly_recycle(p->store);
	p->oracle.out = 0;
	compare(p);
}

void pair_forget(struct pair *p, const void *sender)
{
	reassembly_forget(p->store, sender);
	oracle_forget(&p->oracle, sender);
	compare(p);
}

void pair_expire(struct pair *p, nsec now)
{
	reassembly_expire(p->store, now);
	oracle_expire(&p->oracle, now);
	compare(p);
}

size_t part_write(uint8_t *frame, uint32_t total, uint32_t id, uint32_t offset, uint32_t length,
		  const uint8_t *bytes)
{
	const uint32_t fields[] = { 0x8401, total, id >> 16, id & 0xffff, offset, length };
	for (size_t i = 0; i < 6; i++) {
		frame[2 * i] = (uint8_t)(fields[i] >> 8);
		frame[2 * i + 1] = (uint8_t)fields[i];
	}
	memcpy(frame + 12, bytes, length);
	return 12 + length;
}
