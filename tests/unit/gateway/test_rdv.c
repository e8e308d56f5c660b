/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rendezvous' core, with real members at its ends (sim.h): how relayed datagrams are batched, who
 * may use the relay, what it keeps through a restart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>

#include "gateway/node_internal.h"
#include "punch/control.h"
#include "punch/outer.h"
#include "sim.h"

enum { NODES = 3, TX_MAX = 128, SIZE = 100 };

static struct sim s;
static unsigned ntx;
static struct tx_seen {
	struct endpoint to;
	uint32_t len, seg;
	uint8_t first[RELAY_HEADER_LEN];
} tx_seen[TX_MAX];

static void tap(const struct udp_tx *tx)
{
	assert_true(ntx < TX_MAX);
	struct tx_seen *t = &tx_seen[ntx++];
	*t = (struct tx_seen){ .to = tx->to, .len = tx->len, .seg = tx->seg };
	memcpy(t->first, tx->buf, size_min(tx->len, sizeof(t->first)));
}

/* Three members behind symmetric NATs, so that they talk by the relay alone. */
static int setup(void **state)
{
	(void)state;
	sim_init(&s, 7);
	s.verbose = getenv("VERBOSE");
	for (unsigned i = 0; i < NODES; i++)
		sim_add(&s, net_add_site(&s.net, NAT_SYMMETRIC), false);
	traffic_join(&s);
	ntx = 0;
	s.rdv_tap = tap;
	return sim_ok(&s) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	if (!sim_ok(&s))
		fprintf(stderr, "%s\n", s.failure);
	sim_free(&s);
	return 0;
}

/* A relayed datagram of `from` for `to`, of `len` bytes in all; its own counter each time. */
static void relayed(struct sim_host *from, struct sim_host *to, uint8_t *p, uint32_t len)
{
	struct link *l = link_find(node_links(from->node), to->owns);
	memset(p, 0x5a, len);
	memcpy(p + RELAY_HEADER_LEN, (const uint8_t[]){ 4, 0, 0, 0 }, 4);
	link_relay_header(l, &s.net.rendezvous, p, len - RELAY_HEADER_LEN);
}

/* Where the rendezvous sees host `i`. */
static struct endpoint seen(unsigned i)
{
	struct registrar_member_info m[NODES];
	size_t n = registrar_members(rdv_registrar(s.rdv), s.now, 0, m, NODES);
	for (size_t k = 0; k < n; k++)
		if (m[k].record.number == s.hosts[i].owns)
			return m[k].from;
	fail();
	return (struct endpoint){ 0 };
}

static uint8_t batch[UDP_RX_MAX];

static void receive(uint32_t len, uint32_t seg)
{
	struct udp_rx rx = { .buf = batch, .len = len, .seg = seg, .from = seen(0) };
	rdv_udp(s.rdv, s.now, &rx, 1);
}

static void assert_tx(unsigned i, unsigned to, uint32_t len, uint32_t seg)
{
	struct endpoint want = seen(to);
	assert_true(i < ntx);
	assert_true(endpoint_eq(&tx_seen[i].to, &want));
	assert_int_equal(tx_seen[i].len, len);
	assert_int_equal(tx_seen[i].seg, seg);
}

static void test_run_of_one_size(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		relayed(&s.hosts[0], &s.hosts[1], batch + i * SIZE, SIZE);
	relayed(&s.hosts[0], &s.hosts[1], batch + 10 * SIZE,
		SIZE / 2); /* the last may be shorter */
	receive(10 * SIZE + SIZE / 2, SIZE);
	assert_int_equal(ntx, 1);
	assert_tx(0, 1, 10 * SIZE + SIZE / 2, SIZE);
	struct relay_counts c = relay_server_sender(rdv_relay(s.rdv), s.hosts[0].owns);
	assert_true(c.packets >= 11);
}

static void test_members_are_kept_apart(void **state)
{
	static const unsigned to[] = { 1, 1, 2, 1, 2, 2, 2 };
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(to); i++)
		relayed(&s.hosts[0], &s.hosts[to[i]], batch + i * SIZE, SIZE);
	receive(ARRAY_SIZE(to) * SIZE, SIZE);
	assert_int_equal(ntx, 4);
	assert_tx(0, 1, 2 * SIZE, SIZE);
	assert_tx(1, 2, SIZE, SIZE);
	assert_tx(2, 1, SIZE, SIZE);
	assert_tx(3, 2, 3 * SIZE, SIZE);
}

/* One that is refused leaves a hole: what follows is another batch, and nothing of the hole goes out. */
static void test_hole(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++)
		relayed(&s.hosts[0], &s.hosts[1], batch + i * SIZE, SIZE);
	batch[2 * SIZE + 20] ^= 1; /* the MAC */
	receive(5 * SIZE, SIZE);
	assert_int_equal(rdv_drops(s.rdv)->n[DROP_RELAY_BAD_MAC], 1);
	assert_int_equal(ntx, 2);
	assert_tx(0, 1, 2 * SIZE, SIZE);
	assert_tx(1, 1, 2 * SIZE, SIZE);
	for (unsigned i = 0; i < ntx; i++)
		assert_int_equal(load_be32(tx_seen[i].first + 8), s.hosts[0].owns);
}

/* Two receives are two batches, whatever stands where in memory. */
static void test_batches_end_with_the_receive(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		relayed(&s.hosts[0], &s.hosts[1], batch + i * SIZE, SIZE);
	struct udp_rx rx[2] = {
		{ .buf = batch, .len = 2 * SIZE, .seg = SIZE, .from = seen(0) },
		{ .buf = batch + 2 * SIZE, .len = 2 * SIZE, .seg = SIZE, .from = seen(0) }
	};
	rdv_udp(s.rdv, s.now, rx, 2);
	assert_int_equal(ntx, 2);
}

static void test_batch_fits_one_send(void **state)
{
	enum { LARGE = 1424, COUNT = UDP_RX_MAX / LARGE }; /* more than one send takes */
	(void)state;
	for (unsigned i = 0; i < COUNT; i++)
		relayed(&s.hosts[0], &s.hosts[1], batch + i * LARGE, LARGE);
	receive(COUNT * LARGE, LARGE);
	uint32_t sum = 0;
	for (unsigned i = 0; i < ntx; i++) {
		assert_true(tx_seen[i].len <= UDP_GSO_MAX_BYTES);
		sum += tx_seen[i].len;
	}
	assert_int_equal(sum, COUNT * LARGE);
}

/* What was recorded passes neither again nor for another destination. */
static void test_no_replay(void **state)
{
	static uint8_t copy[SIZE];
	(void)state;
	relayed(&s.hosts[0], &s.hosts[1], batch, SIZE);
	memcpy(copy, batch, SIZE);
	receive(SIZE, SIZE);
	assert_int_equal(ntx, 1);
	memcpy(batch, copy, SIZE);
	receive(SIZE, SIZE);
	memcpy(batch, copy, SIZE);
	store_be32(batch + 4, s.hosts[2].owns);
	receive(SIZE, SIZE);
	assert_int_equal(ntx, 1);
	assert_int_equal(rdv_drops(s.rdv)->n[DROP_RELAY_REPLAY], 1);
	assert_int_equal(rdv_drops(s.rdv)->n[DROP_RELAY_BAD_MAC], 1);
}

static void test_truncated(void **state)
{
	struct udp_rx rx = { .buf = batch, .len = SIZE, .seg = SIZE, .truncated = true };
	(void)state;
	relayed(&s.hosts[0], &s.hosts[1], batch, SIZE);
	rx.from = seen(0);
	rdv_udp(s.rdv, s.now, &rx, 1);
	assert_int_equal(ntx, 0);
	assert_int_equal(rdv_drops(s.rdv)->n[DROP_UDP_TRUNCATED], 1);
}

/* A member of before a restart relays at once, to one who has been heard again. */
static void test_relays_at_once_after_a_restart(void **state)
{
	struct endpoint at0 = seen(0), at1 = seen(1);
	(void)state;
	sim_rdv_start(&s);
	relayed(&s.hosts[0], &s.hosts[1], batch, SIZE);
	struct udp_rx rx = { .buf = batch, .len = SIZE, .seg = SIZE, .from = at0 };
	rdv_udp(s.rdv, s.now, &rx, 1);
	assert_int_equal(rdv_drops(s.rdv)->n[DROP_RELAY_NO_ADDRESS], 1);
	relayed(&s.hosts[1], &s.hosts[0], batch, SIZE);
	rx = (struct udp_rx){ .buf = batch, .len = SIZE, .seg = SIZE, .from = at1 };
	rdv_udp(s.rdv, s.now, &rx, 1);
	assert_int_equal(ntx, 1);
	assert_true(endpoint_eq(&tx_seen[0].to, &at0));
	relayed(&s.hosts[0], &s.hosts[1], batch, SIZE);
	rx = (struct udp_rx){ .buf = batch, .len = SIZE, .seg = SIZE, .from = at0 };
	rdv_udp(s.rdv, s.now, &rx, 1);
	assert_int_equal(ntx, 2);
	assert_true(endpoint_eq(&tx_seen[1].to, &at1));
}

/* However long it was away, and whichever PSK its members try next: they are back in seconds. */
static void test_members_come_back(void **state)
{
	size_t online;
	(void)state;
	for (unsigned away = 20; away < 110; away += 7) {
		s.rdv_tap = NULL;
		sim_rdv_stop(&s);
		sim_run(&s, away * SEC);
		sim_rdv_start(&s);
		sim_run(&s, 8 * SEC);
		registrar_count(rdv_registrar(s.rdv), &online);
		assert_int_equal(online, NODES);
		sim_run(&s, 5 * SEC);
	}
	assert_true(sim_ok(&s));
}

/* Who relays something after a start of the rendezvous hears of it at once, and so registers. */
static void test_members_hear_of_a_start(void **state)
{
	size_t online;
	(void)state;
	s.rdv_tap = NULL;
	for (unsigned i = 0; i < NODES; i++) {
		/* the last session came to be under the other secret */
		struct peer *rdv = s.hosts[i].node->join.c[0].peer;
		wg_peer_set_psk(rdv->wg, s.token.admission);
		join_session_up(rdv, s.now, &rdv->path.remote);
	}
	sim_run(&s, 5 * SEC); /* the renewals of 20 s are far away */
	sim_rdv_start(&s);
	registrar_count(rdv_registrar(s.rdv), &online);
	assert_int_equal(online, 0);
	for (unsigned i = 0; i < NODES; i++)
		assert_true(traffic_udp(&s.hosts[i], &s.hosts[(i + 1) % NODES]));
	sim_run(&s, SEC);
	registrar_count(rdv_registrar(s.rdv), &online);
	assert_int_equal(online, NODES);
}

static void say_register(struct sim_host *h, const char *id)
{
	static uint8_t datagram[2000];
	uint8_t *text = datagram + WG_DATA_HEADER_LEN;
	struct ctl_msg m = { .type = CTL_REGISTER, .request = 77, .has = CTL_BIT(CTL_WORKER_ID) };
	struct wg_packet k = { .data = datagram };
	snprintf(m.id, sizeof(m.id), "%s", id);
	k.len = k.padded = (uint32_t)ctl_pad(text, ctl_write(&m, text, 1000), 1000);
	assert_int_equal(wg_seal(h->node->wg, h->node->join.c[0].peer->wg, s.now, &k, 1),
			 DROP_NONE);
	struct udp_rx rx = { .buf = datagram, .len = k.len, .seg = k.len, .from = seen(0) };
	rdv_udp(s.rdv, s.now, &rx, 1);
	rdv_tick(s.rdv, s.now);
}

/* A session that the rendezvous began, under the member's own PSK, says nothing of a token. */
static void test_a_start_admits_nobody(void **state)
{
	struct registrar_member_info m[NODES + 1];
	(void)state;
	s.rdv_tap = NULL;
	sim_run(&s, 5 * SEC);
	sim_rdv_start(&s);
	assert_true(traffic_udp(&s.hosts[0], &s.hosts[1]));
	sim_run(&s, SEC);
	say_register(&s.hosts[0], "another");
	sim_run(&s, SEC);
	size_t n = registrar_members(rdv_registrar(s.rdv), s.now, 0, m, ARRAY_SIZE(m));
	assert_int_equal(n, NODES);
}

/* A packet that found no path waits for one, though there is a session. */
static void test_path_comes_back(void **state)
{
	struct sim_host *a = &s.hosts[0], *b = &s.hosts[1];
	uint8_t key[32];
	struct path path;
	(void)state;
	wg_peer_derive(a->node->join.c[0].peer->wg, "warren relay", key);
	links_set_relay(node_links(a->node), s.now, 0, NULL, key);
	sim_tick_host(a);
	assert_false(peer_path(sim_peer(a, b), &path));
	assert_true(wg_can_send(peer_wg(sim_peer(a, b)), s.now));
	uint64_t came = s.udp_came;
	assert_true(traffic_udp(a, b));
	links_set_relay(node_links(a->node), s.now, 0, &s.net.rendezvous, key);
	sim_tick_host(a);
	sim_run(&s, SEC);
	assert_int_equal(s.udp_came, came + 1);
}

/* The rows of the store are the members; a row that contradicts another is not taken. */
static void test_load(void **state)
{
	struct lease_record rec = s.rows[s.hosts[0].owns];
	(void)state;
	assert_int_equal(rec.number, s.hosts[0].owns);
	assert_true(rdv_load(s.rdv, &rec) < 0);
	assert_int_equal(registrar_count(rdv_registrar(s.rdv), NULL), NODES);
	rec.number = 20;
	assert_true(rdv_load(s.rdv, &rec) < 0);
	memset(rec.key, 0x33, sizeof(rec.key));
	assert_true(rdv_load(s.rdv, &rec) < 0);
	snprintf(rec.id, sizeof(rec.id), "another");
	assert_int_equal(rdv_load(s.rdv, &rec), 0);
	assert_int_equal(registrar_count(rdv_registrar(s.rdv), NULL), NODES + 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_run_of_one_size),
		T(test_members_are_kept_apart),
		T(test_hole),
		T(test_batches_end_with_the_receive),
		T(test_batch_fits_one_send),
		T(test_no_replay),
		T(test_truncated),
		T(test_relays_at_once_after_a_restart),
		T(test_members_come_back),
		T(test_members_hear_of_a_start),
		T(test_a_start_admits_nobody),
		T(test_path_comes_back),
		T(test_load),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
