/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that came in: the plaintext of a data message whose first byte is 0x80 or above. They are
 * authentic, and their sender may still be malicious: each is parsed by its bounded reader, answers
 * are limited, and what does not fit is a named drop.
 */
#include "gateway/node_internal.h"
#include "punch/control.h"

/* A round of a search is 12 probes and a query; several paths at once, and what the watch asks. */
#define FRAME_ANSWER_COST (NSEC_PER_SEC / 100)
#define FRAME_ANSWER_DEPTH NSEC_PER_SEC

/* By the path in use: the answer may come by any. */
static void answer(struct peer *p, nsec now, const uint8_t *frame, size_t len)
{
	struct path path;
	if (peer_path(p, &path))
		out_frame(p, now, &path, frame, len, len);
}

static enum drop hello(struct peer *p, nsec now, const uint8_t *f, size_t len)
{
	const uint32_t both = HELLO_PATH_MTU | HELLO_FRAGMENTS;
	const uint32_t mine_all = both | HELLO_PARTIAL_SUMS;
	struct frame_hello h;
	enum drop why = frame_hello_parse(f, len, &h);
	uint8_t out[HELLO_LEN];

	if (why != DROP_NONE)
		return why;
	/* also before one that wants no answer: what it changes are routes of the kernel */
	if (!bucket_take(&p->answers, now, FRAME_ANSWER_COST, FRAME_ANSWER_DEPTH))
		return DROP_FRAME_RATE;
	mtu_become(p, now, (h.capabilities & both) == both && h.largest >= FRAGMENT_PACKET_MAX);
	if (p->kind == PEER_STATIC)
		p->partial = p->warren && h.capabilities & HELLO_PARTIAL_SUMS;
	if (h.flags & HELLO_ANSWER) {
		if (p->next_hello != NSEC_NEVER) /* one that was waited for */
			p->rtt = now - p->last_hello;
		p->next_hello = NSEC_NEVER;
		peer_schedule(p);
		return DROP_NONE;
	}
	struct frame_hello mine = { .flags = HELLO_ANSWER,
				    .capabilities = mine_all,
				    .largest = FRAGMENT_PACKET_MAX };
	frame_hello_write(&mine, out);
	answer(p, now, out, sizeof(out));
	if (p->warren && !p->rtt) /* which our own question tells */
		mtu_ask(p, now);
	return DROP_NONE;
}

static enum drop probe(struct peer *p, nsec now, bool relayed, const uint8_t *f, size_t len)
{
	struct frame_probe probe;
	struct frame_ack ack;
	uint8_t out[PROBE_ACK_LEN];
	enum drop why = frame_probe_parse(f, len, &probe);

	if (why != DROP_NONE)
		return why;
	pmtu_seen_probe(&p->seen, now, relayed, &probe, &ack);
	if (!bucket_take(&p->answers, now, FRAME_ANSWER_COST, FRAME_ANSWER_DEPTH))
		return DROP_FRAME_RATE;
	frame_ack_write(&ack, out);
	answer(p, now, out, sizeof(out));
	return DROP_NONE;
}

static enum drop probe_ack(struct peer *p, nsec now, const uint8_t *f, size_t len)
{
	struct frame_ack ack;
	enum drop why = frame_ack_parse(f, len, &ack);

	if (why != DROP_NONE)
		return why;
	if (p->link) {
		link_probe_ack(p->link, now, &ack);
	} else {
		pmtu_acked(&p->pmtu, now, &ack);
		mtu_review(p, now);
	}
	return DROP_NONE;
}

static enum drop fragment(struct node *n, struct peer *p, nsec now, const uint8_t *f, size_t len,
			  struct iovec *whole)
{
	enum drop why = reassembly_input(n->reassembly, now, p, f, len, whole);
	if (why == DROP_NONE) {
		p->stats.rx_fragments++;
		p->stats.rx_whole += whole->iov_base != NULL;
	}
	return why;
}

enum drop frame_input(struct node *n, struct peer *p, nsec now, bool relayed, const uint8_t *f,
		      size_t len, struct iovec *whole)
{
	bool rendezvous = p->kind == PEER_RENDEZVOUS;

	whole->iov_base = NULL;
	if (f[0] == CTL_FIRST_BYTE)
		return rendezvous ? join_control(p, now, f, len) : DROP_FRAME_UNEXPECTED;
	if (f[0] == FRAME_HELLO)
		return rendezvous ? DROP_FRAME_UNEXPECTED : hello(p, now, f, len);
	/*
	 * Its sender thinks that we know it as a warren, and may be right: it has to say so. Its data need
	 * not wait for that; what it may hold of the store is a warren's share.
	 */
	if (!p->warren && (f[0] == FRAME_PROBE || f[0] == FRAGMENT_FIRST_BYTE))
		mtu_ask(p, now);
	switch (f[0]) {
	case FRAME_PROBE:
		return p->warren ? probe(p, now, relayed, f, len) : DROP_FRAME_UNEXPECTED;
	case FRAME_PROBE_ACK:
		return p->warren ? probe_ack(p, now, f, len) : DROP_FRAME_UNEXPECTED;
	case FRAGMENT_FIRST_BYTE:
		return rendezvous ? DROP_FRAME_UNEXPECTED : fragment(n, p, now, f, len, whole);
	default:
		return DROP_FRAME_UNKNOWN;
	}
}
