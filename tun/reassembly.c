/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store of packets that are not whole yet. Each of its REASSEMBLY_PACKETS places is in one of
 * three lists: free; held, by age; out, with the caller. A held one is also in the bucket of its
 * sender, newest first: the part that follows the last one is found at once, and the walk that does
 * not find its packet has counted what the sender holds and ends at the oldest of it.
 *
 * A packet that died of an overlap stays held as a dead one until its time is over, so that no part
 * of it that comes later begins it again.
 */
#include "tun/fragment.h"
#include <stdlib.h>
#include <string.h>

enum {
	BUCKETS = 64, /* a power of two */
	STRIDE = (FRAGMENT_PACKET_MAX + 63) / 64 * 64,
};

struct link {
	struct link *prev, *next;
};

struct part {
	uint16_t from, to;
};

struct packet {
	struct link age, chain;
	const void *sender;
	nsec since; /* the first part's arrival */
	uint32_t id;
	uint16_t total, received;
	uint8_t parts;
	bool dead;
	struct part part[FRAGMENT_PARTS_MAX];
};

struct reassembly {
	struct drops *drops;
	struct link unused, held, out, bucket[BUCKETS];
	uint32_t out_count;
	struct packet packet[REASSEMBLY_PACKETS];
	/* last and large: what the caller's allocator maps here is touched only when used */
	uint8_t bytes[REASSEMBLY_PACKETS][STRIDE];
};

static void list_init(struct link *list)
{
	list->prev = list->next = list;
}

static bool list_empty(const struct link *list)
{
	return list->next == list;
}

static void list_push(struct link *list, struct link *l)
{
	l->prev = list;
	l->next = list->next;
	l->next->prev = list->next = l;
}

static void list_remove(struct link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
}

static struct packet *by_age(struct link *l)
{
	return container_of(l, struct packet, age);
}

static struct packet *by_chain(struct link *l)
{
	return container_of(l, struct packet, chain);
}

static uint8_t *bytes_of(struct reassembly *r, const struct packet *p)
{
	return r->bytes[p - r->packet];
}

static struct link *bucket_of(struct reassembly *r, const void *sender)
{
	/* Fibonacci hashing: allocators leave the low bits of all pointers alike */
	uint64_t h = (uint64_t)(uintptr_t)sender * UINT64_C(0x9e3779b97f4a7c15);
	return &r->bucket[h >> 32 & (BUCKETS - 1)];
}

struct reassembly *reassembly_new(struct drops *drops)
{
	struct reassembly *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->drops = drops;
	list_init(&r->unused);
	list_init(&r->held);
	list_init(&r->out);
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&r->bucket[i]);
	for (size_t i = REASSEMBLY_PACKETS; i-- > 0;)
		list_push(&r->unused, &r->packet[i].age);
	return r;
}

void reassembly_free(struct reassembly *r)
{
	free(r);
}

/* From held to `list`. */
static void move(struct packet *p, struct link *list)
{
	list_remove(&p->chain);
	list_remove(&p->age);
	list_push(list, &p->age);
}

/* A dead one was counted when it died. */
static void lose(struct reassembly *r, struct packet *p, enum drop why)
{
	if (!p->dead)
		drop_count(r->drops, why);
	move(p, &r->unused);
}

/* The packet of (sender, id), or NULL, then what the sender holds and the oldest of it. */
static struct packet *find(struct reassembly *r, const void *sender, uint32_t id, uint32_t *holds,
			   struct packet **oldest)
{
	struct link *bucket = bucket_of(r, sender);
	*holds = 0;
	*oldest = NULL;
	for (struct link *l = bucket->next; l != bucket; l = l->next) {
		struct packet *p = by_chain(l);
		if (p->sender != sender)
			continue;
		if (p->id == id)
			return p;
		(*holds)++;
		*oldest = p;
	}
	return NULL;
}

static struct packet *begin(struct reassembly *r, nsec now, const void *sender,
			    const struct fragment *f)
{
	struct packet *p = by_age(r->unused.next);
	list_remove(&p->age);
	p->sender = sender;
	p->since = now;
	p->id = f->id;
	p->total = f->total;
	p->received = 0;
	p->parts = 0;
	p->dead = false;
	list_push(&r->held, &p->age);
	list_push(bucket_of(r, sender), &p->chain);
	return p;
}

/*
 * The packet that the part belongs to, begun where it is the first. The caller has seen to it that
 * fewer than half of the places are out, so there is a free one or one to evict.
 */
static struct packet *find_or_begin(struct reassembly *r, nsec now, const void *sender,
				    const struct fragment *f)
{
	uint32_t holds;
	struct packet *oldest, *p = find(r, sender, f->id, &holds, &oldest);
	if (p)
		return p;
	if (holds >= REASSEMBLY_PER_SENDER)
		lose(r, oldest, DROP_FRAGMENT_EVICTED);
	else if (list_empty(&r->unused))
		lose(r, by_age(r->held.prev), DROP_FRAGMENT_EVICTED);
	return begin(r, now, sender, f);
}

static bool overlaps(const struct packet *p, struct part n)
{
	for (uint32_t i = 0; i < p->parts; i++)
		if (n.from < p->part[i].to && p->part[i].from < n.to)
			return true;
	return false;
}

static enum drop add(struct reassembly *r, struct packet *p, const struct fragment *f)
{
	struct part n = { f->offset, (uint16_t)(f->offset + f->length) };
	if (p->dead)
		return DROP_FRAGMENT_OVERLAP;
	if (p->total != f->total || overlaps(p, n)) {
		p->dead = true;
		return DROP_FRAGMENT_OVERLAP;
	}
	if (p->parts == FRAGMENT_PARTS_MAX) {
		p->dead = true;
		return DROP_FRAME_MALFORMED;
	}
	p->part[p->parts++] = n;
	p->received = (uint16_t)(p->received + f->length);
	memcpy(bytes_of(r, p) + f->offset, f->bytes, f->length);
	return DROP_NONE;
}

enum drop reassembly_input(struct reassembly *r, nsec now, const void *sender, const uint8_t *frame,
			   size_t len, struct iovec *whole)
{
	struct fragment f;
	*whole = (struct iovec){ 0 };
	enum drop why = fragment_read(frame, len, &f);
	if (why != DROP_NONE)
		return why;
	if (r->out_count >= REASSEMBLY_PACKETS / 2)
		return DROP_QUEUE_FULL;
	reassembly_expire(r, now);
	struct packet *p = find_or_begin(r, now, sender, &f);
	why = add(r, p, &f);
	if (why != DROP_NONE || p->received < p->total)
		return why;
	/* parts that do not overlap and fill the sum fill the packet */
	move(p, &r->out);
	r->out_count++;
	*whole = (struct iovec){ .iov_base = bytes_of(r, p), .iov_len = p->total };
	return DROP_NONE;
}

uint32_t reassembly_out(const struct reassembly *r)
{
	return r->out_count;
}

void reassembly_recycle(struct reassembly *r)
{
	while (!list_empty(&r->out)) {
		struct link *l = r->out.next;
		list_remove(l);
		list_push(&r->unused, l);
	}
	r->out_count = 0;
}

void reassembly_forget(struct reassembly *r, const void *sender)
{
	struct link *bucket = bucket_of(r, sender);
	for (struct link *l = bucket->next, *next; l != bucket; l = next) {
		next = l->next;
		if (by_chain(l)->sender == sender)
			move(by_chain(l), &r->unused);
	}
}

void reassembly_expire(struct reassembly *r, nsec now)
{
	while (!list_empty(&r->held) && reassembly_deadline(r) <= now)
		lose(r, by_age(r->held.prev), DROP_FRAGMENT_TIMEOUT);
}

nsec reassembly_deadline(const struct reassembly *r)
{
	if (list_empty(&r->held))
		return NSEC_NEVER;
	return by_age(r->held.prev)->since + REASSEMBLY_TIMEOUT;
}
