/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A life of the store, as operations: a byte of kind (low 3 bits) and sender, then what the kind
 * needs. After each, the store and the naive one must agree (oracle.h); what is cut must come back.
 */
#include "oracle.h"
#include "packets.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SENDERS = 32, TABLE = 4096, BURST_MAX = 32, FRAME_MAX = 12 + FRAGMENT_PACKET_MAX };
enum op { PART, BURST, RAW, CUT, STEP, RECYCLE, FORGET, EXPIRE };

static struct pair pair;
static const void *senders[SENDERS];
static uint8_t random_bytes[TABLE + FRAGMENT_PACKET_MAX];
static uint8_t frame_room[FRAME_MAX]; /* a frame ends where this does: ASan sees a byte too many */
static nsec now;
static uint32_t frames;

static void once(void)
{
	struct rng rng = { 1 };
	for (size_t i = 0; i < sizeof(random_bytes); i++)
		random_bytes[i] = (uint8_t)rng_next(&rng);
	/* only compared; the same in each run, and by chance some share whatever is hashed of them */
	for (size_t i = 0; i < SENDERS; i++)
		senders[i] = (const void *)(uintptr_t)rng_next(&rng);
}

/* Other bytes for each frame, so that none can stand for another. */
static const uint8_t *fresh_bytes(void)
{
	return random_bytes + frames++ * 61 % TABLE;
}

static void input(const void *sender, const uint8_t *frame, size_t len)
{
	struct iovec whole;
	uint8_t *at = frame_room + sizeof(frame_room) - len;
	memmove(at, frame, len);
	(void)pair_input(&pair, now, sender, at, len, &whole);
}

/* Parts with any fields; a frame that says more than it has is cut short by the room. */
static void parts(struct rd *r, const void *sender, uint32_t n)
{
	static uint8_t frame[FRAME_MAX];
	uint32_t id = rd_u8(r), total = rd_be16(r), offset = rd_be16(r), length = rd_be16(r);
	uint32_t bytes = (uint32_t)size_min(length, FRAGMENT_PACKET_MAX);
	for (uint32_t i = 0; i < n; i++) {
		size_t len = part_write(frame, total, id + i, offset, bytes, fresh_bytes());
		store_be16(frame + 10, (uint16_t)length);
		input(sender, frame, len);
	}
}

static void raw(struct rd *r, const void *sender)
{
	size_t n = size_min(rd_u8(r), r->left);
	const uint8_t *p = rd_take(r, n);
	if (p)
		input(sender, p, n);
}

/* The least count that will do, by trying; 0: none. */
static uint32_t naive_count(uint32_t len, uint32_t room)
{
	for (uint32_t count = 1; count <= 32 && room > 12 && len <= 9000; count++)
		if (count * (room - 12) >= len)
			return count;
	return 0;
}

static bool plan_for(uint32_t len, uint32_t room, struct fragment_plan *plan)
{
	uint32_t count = len ? naive_count(len, room) : 0;
	if ((fragment_plan(len, room, plan) == DROP_NONE) != (count > 0))
		abort();
	/* as equal as can be, and the last not empty */
	if (count && (plan->total != len || plan->count != count ||
		      plan->count * plan->part < len || plan->count * (plan->part - 1) >= len ||
		      (plan->count - 1) * plan->part >= len || plan->part > room - 12))
		abort();
	return count > 0;
}

/* A packet cut and put in, from part `first` on; the first `lost` of that order are left out. */
static void cut(struct rd *r, const void *sender)
{
	static uint8_t frame[FRAME_MAX], want[FRAME_MAX];
	uint32_t id = rd_u8(r), len = rd_be16(r), room = rd_be16(r), first = rd_u8(r);
	uint32_t lost = rd_u8(r);
	struct fragment_plan plan;
	if (!plan_for(len, room, &plan))
		return;
	const uint8_t *packet = fresh_bytes();
	for (uint32_t i = lost; i < plan.count; i++) {
		uint32_t part = (first + i) % plan.count, offset = part * plan.part;
		uint32_t n = fragment_write(&plan, part, id, packet, frame);
		size_t length = size_min(plan.part, len - offset);
		if (n != part_write(want, len, id, offset, (uint32_t)length, packet + offset) ||
		    memcmp(frame, want, n) != 0)
			abort();
		input(sender, frame, n);
	}
}

static void operate(struct rd *r)
{
	uint8_t byte = rd_u8(r);
	const void *sender = senders[byte >> 3];
	switch ((enum op)(byte & 7)) {
	case PART:
		parts(r, sender, 1);
		break;
	case BURST:
		parts(r, sender, rd_u8(r) % BURST_MAX + 1);
		break;
	case RAW:
		raw(r, sender);
		break;
	case CUT:
		cut(r, sender);
		break;
	case STEP:
		now += rd_be16(r) * NSEC_PER_MSEC;
		break;
	case RECYCLE:
		pair_recycle(&pair);
		break;
	case FORGET:
		pair_forget(&pair, sender);
		break;
	case EXPIRE:
		pair_expire(&pair, now);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r = rd_of(data, size);
	if (!pair.store)
		once();
	now = 0;
	frames = 0;
	pair_begin(&pair);
	while (r.left > 0)
		operate(&r);
	pair_end(&pair, now);
	return 0;
}
