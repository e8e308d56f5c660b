/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole rendezvous with two members (sim.h): the input is a program of datagrams from anywhere,
 * recorded ones with changes, what a member that lies puts into its session, and time. The other
 * member keeps its address, and in the end it is still served.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/node_internal.h"
#include "sim.h"
#include "snapshot.h"
#include "tests/unit/punch/sim_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HONEST, LIAR, HOSTS, STEPS_MAX = 200, SEED = 13 };

static struct sim s;

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

static struct endpoint place(uint8_t b)
{
	if (b & 1)
		return s.net.hosts[b >> 1 & 1].inside;
	return (struct endpoint){ .addr = addr_v4_u32(0xc0000200u + b), .port = 1 + b };
}

static void to_rdv(struct endpoint from, uint8_t *bytes, uint32_t len, uint32_t seg)
{
	struct udp_rx rx = { .buf = bytes,
			     .len = len,
			     .seg = seg,
			     .from = from,
			     .local = s.net.rendezvous.addr,
			     .ifindex = 2 };
	rdv_udp(s.rdv, s.now, &rx, 1);
	rdv_tick(s.rdv, s.now);
}

static void raw(struct rd *r)
{
	struct endpoint from = place(rd_u8(r));
	uint32_t len = rd_be16(r) % 600, seg = rd_u8(r);
	uint8_t *bytes = malloc(len ? len : 1);
	if (!bytes)
		return;
	rd_bytes(r, bytes, len);
	to_rdv(from, bytes, len, seg ? seg : len);
	free(bytes);
}

static void recorded(struct rd *r)
{
	const struct datagram *d = s.net.captured[rd_u8(r) % CAPTURED];
	uint8_t how = rd_u8(r);
	if (!d)
		return;
	struct endpoint from = how & 1 ? d->from : place(rd_u8(r));
	uint32_t len = how & 2 ? (uint32_t)size_min(d->len, rd_be16(r)) : d->len;
	uint8_t *bytes = malloc(len ? len : 1);
	if (!bytes)
		return;
	memcpy(bytes, d->bytes, len);
	for (uint8_t i = how >> 2 & 3; len && i; i--)
		bytes[rd_be16(r) % len] ^= rd_u8(r);
	to_rdv(from, bytes, len, len);
	free(bytes);
}

static void time_passes(struct rd *r)
{
	sim_run(&s, (nsec)1 << (rd_u8(r) & 0x1f) << 5);
}

/* Any plaintext in the liar's session with the rendezvous. */
static void lie(struct rd *r)
{
	struct node *n = s.hosts[LIAR].node;
	uint8_t text[400];
	uint32_t len = rd_be16(r) % sizeof(text);
	rd_bytes(r, text, len);
	if (n && n->join.c[0].peer->path.remote.port)
		(void)out_frame(n->join.c[0].peer, s.now, &n->join.c[0].peer->path, text, len,
				(len + 15u) & ~15u);
}

/* A relay message with a right MAC, whatever it says. */
static void relay(struct rd *r)
{
	struct node *n = s.hosts[LIAR].node;
	struct link *l = n && node_links(n) ? link_find(node_links(n), s.hosts[HONEST].owns) : NULL;
	uint8_t bytes[600];
	uint32_t len = RELAY_HEADER_LEN + rd_be16(r) % (uint32_t)(sizeof(bytes) - RELAY_HEADER_LEN);
	if (!l)
		return;
	memset(bytes, 0, sizeof(bytes));
	rd_bytes(r, bytes + RELAY_HEADER_LEN, size_min(len - RELAY_HEADER_LEN, r->left));
	link_relay_header(l, &s.net.rendezvous, bytes, len - RELAY_HEADER_LEN);
	to_rdv(s.net.hosts[LIAR].inside, bytes, len, len);
}

static void accident(struct rd *r)
{
	uint8_t what = rd_u8(r);
	switch (what % 5) {
	case 0:
		sim_start(&s.hosts[what >> 4 & 1], what & 0x80 ? START_NEW_KEY : START_SAME);
		break;
	case 1:
		sim_rdv_start(&s);
		break;
	case 2:
		s.store_fails = what & 0x80;
		break;
	case 3:
		s.store_delay = (nsec)(what >> 4) * 200 * MSEC;
		break;
	case 4:
		traffic_udp(&s.hosts[what >> 4 & 1], &s.hosts[~what >> 4 & 1]);
		break;
	}
}

static void setup(void)
{
	sim_init(&s, SEED);
	for (unsigned i = 0; i < HOSTS; i++)
		sim_add(&s, net_add_site(&s.net, i ? NAT_NONE : NAT_SYMMETRIC), false);
	traffic_join(&s);
	check(sim_ok(&s), "they do not come up");
}

/* That takes ten times as long as most inputs: it is done once. */
static void begin(void)
{
	if (!snapshot_taken()) {
		snapshot_begin();
		snapshot_static(&s, sizeof(s));
		setup();
		snapshot_take();
	}
	snapshot_restore();
	sim_random_seed(SEED + 1); /* or new keys would be those of the set-up */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(struct rd *) = { raw, recorded, time_passes,
						      lie, relay,    accident };
	struct rd r = rd_of(data, size_min(size, 4096));

	check(sodium_init() >= 0, "no libsodium");
	begin();
	for (unsigned i = 0; i < STEPS_MAX && r.left; i++) {
		steps[rd_u8(&r) % ARRAY_SIZE(steps)](&r);
		rdv_tick(s.rdv, s.now);
		for (unsigned k = 0; k < HOSTS; k++)
			sim_tick_host(&s.hosts[k]);
		/* the liar may have released itself, or taken another id: its number is its own affair */
		check(sim_ok(&s) || strstr(s.failure, s.hosts[LIAR].id) != NULL, s.failure);
		s.failure[0] = 0;
	}
	check(rdv_deadline(s.rdv) > s.now - SEC, "a deadline that is never met");
	if (snapshot_ends())
		sim_free(&s);
	snapshot_end();
	return 0;
}
