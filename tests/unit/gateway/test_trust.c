/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is believed what: strangers, replays, members that lie, nodes that lost what they kept. Whole
 * nodes and a whole rendezvous, no kernel.
 */
#include "trust_world.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/blake2s.h"

enum { FRAME_CONTROL = 0xa0 };

static bool is_initiation(const struct datagram *d)
{
	return d->len == WG_INITIATION_LEN && d->bytes[0] == WG_INITIATION;
}

/* --- the ordinary case, so that the refusals below mean something --- */

static void test_two_members_talk(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL), *b = world_node(w, 1, "b", 2, NULL);
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	assert_true(a->up && b->up && !a->refused);
	world_send(a, world_ip(a), world_ip(b));
	world_run(w, NSEC_PER_SEC);
	assert_int_equal(b->packets, 1);
	struct addr from = addr_v4(b->last + 12), ip = world_ip(a);
	assert_true(addr_eq(&from, &ip));
	world_free(w);
}

/* --- what a member may send --- */

static void test_member_reaches_only_the_receiver(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL), *b = world_node(w, 1, "b", 2, NULL);
	struct prefix lan;
	struct addr metadata;
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	/* a sends through b to what lies beyond it */
	assert_true(prefix_parse("169.254.169.254/32", &lan));
	assert_int_equal(node_static_route(a->node, world_peer(a, "b"), &lan), 0);
	assert_true(addr_parse("169.254.169.254", &metadata));
	world_send(a, world_ip(a), metadata);
	world_run(w, NSEC_PER_SEC);
	assert_int_equal(b->packets, 0);
	assert_int_equal(world_drops(b, DROP_NOT_FOR_ME), 1);
	world_free(w);
}

static void test_member_cannot_take_an_address(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL), *b = world_node(w, 1, "b", 2, NULL),
		    *c = world_node(w, 2, "c", 3, NULL);
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	world_send(a, world_ip(c), world_ip(b));
	world_run(w, NSEC_PER_SEC);
	assert_int_equal(b->packets, 0);
	assert_int_equal(world_drops(b, DROP_INNER_SPOOFED), 1);
	world_free(w);
}

/* What the operator wrote into a configuration file, no roster takes away. */
static void test_configured_address_stays(void **state)
{
	static const uint8_t laptop[32] = { 9, 9, 9 };
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL), *b;
	struct prefix second;
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	struct peer *p = node_static_add(a->node, w->now, laptop, NULL, NULL, 0);
	assert_true(p && prefix_parse("10.77.0.2/32", &second));
	assert_int_equal(node_static_route(a->node, p, &second), 0);
	b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 3 * NSEC_PER_SEC);
	struct addr ip = world_ip(b);
	assert_true(addr_eq(&ip, &second.addr));
	world_send(a, world_ip(a), ip);
	world_send(b, ip, world_ip(a));
	world_run(w, NSEC_PER_SEC);
	assert_int_equal(a->packets, 1); /* that the laptop is nowhere */
	assert_int_equal(b->packets, 0);
	assert_int_equal(world_drops(a, DROP_NO_PATH), 1);
	assert_int_equal(world_drops(a, DROP_INNER_SPOOFED), 1);
	world_free(w);
}

/* A frame of `h` to the peer with this key, over their session. */
static void send_frame(struct host *h, const uint8_t *key, const struct endpoint *to,
		       const uint8_t *frame, uint32_t len)
{
	uint8_t buf[256] = { 0 };
	struct wg_peer *p = wg_peer_find(node_wg(h->node), key);
	struct wg_packet k = { .data = buf, .len = len, .padded = len };
	assert_non_null(p);
	memcpy(buf + WG_DATA_HEADER_LEN, frame, len);
	assert_int_equal(wg_seal(node_wg(h->node), p, h->w->now, &k, 1), DROP_NONE);
	world_inject(h->w, &h->at, to, buf, k.len);
}

/* CTL_REPLACED with a reason: from the rendezvous it would stop the node's command. */
static void test_member_is_no_rendezvous(void **state)
{
	static const uint8_t replaced[] = {
		FRAME_CONTROL, 1, 0x43, 0, 0, 0, 0, 0, 0, 17, 0, 7, 0, 2, 1, 'b', 'y', 'e', '!'
	};
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL), *b = world_node(w, 1, "b", 2, NULL);
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	send_frame(a, peer_key(world_peer(a, "b")), &b->at, replaced, sizeof(replaced));
	world_run(w, NSEC_PER_SEC);
	assert_false(b->replaced);
	assert_int_equal(world_drops(b, DROP_FRAME_UNEXPECTED), 1);
	world_free(w);
}

/* --- identity --- */

static bool save_initiations(struct world *w, struct datagram *d)
{
	if (is_initiation(d) && endpoint_eq(&d->to, &w->rdv_at) &&
	    endpoint_eq(&d->from, &w->hosts[0].at))
		world_save(w, d);
	return true;
}

/*
 * After a restart the rendezvous knows no timestamps, so a recorded message 1 is answered once more.
 * It must not count as a sign of life: that would end the wait for the recorded key early.
 */
static void test_replayed_initiation_is_no_sign_of_life(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "c1", 1, NULL), *thief;
	struct endpoint elsewhere;
	(void)state;
	w->tap = save_initiations;
	world_run(w, 3 * NSEC_PER_SEC);
	w->tap = NULL;
	assert_true(a->up && w->nsaved > 0);
	a->unplugged = true;
	world_rendezvous(w);
	assert_true(endpoint_parse("192.0.2.66:666", &elsewhere));
	struct datagram *last = &w->saved[w->nsaved - 1];
	world_inject(w, &elsewhere, &w->rdv_at, last->bytes, last->len);
	world_run(w, NSEC_PER_SEC);
	thief = world_node(w, 1, "c1", 66, NULL);
	world_run(w, 15 * NSEC_PER_SEC);
	assert_false(thief->up);
	assert_false(thief->fatal);
	a->unplugged = false;
	world_run(w, 30 * NSEC_PER_SEC);
	assert_false(thief->up);
	assert_true(thief->fatal);
	assert_false(a->replaced);
	world_free(w);
}

static void test_living_node_keeps_its_id(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "c1", 1, NULL), *thief;
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	thief = world_node(w, 1, "c1", 66, NULL);
	world_run(w, 10 * NSEC_PER_SEC);
	assert_true(a->up && !a->replaced);
	assert_true(thief->fatal && !thief->up);
	world_free(w);
}

/* The same key under another worker id, as when a state volume is given to another container. */
static void test_key_under_another_id(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL), *b = world_node(w, 1, "b", 2, NULL);
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	struct addr before = world_ip(b);
	uint8_t psk[32];
	memcpy(psk, node_lease(b->node)->psk, 32);
	b = world_node(w, 1, "other", 2, psk);
	world_run(w, 10 * NSEC_PER_SEC);
	assert_true(b->up);
	struct addr after = world_ip(b);
	assert_false(addr_eq(&before, &after));
	assert_non_null(world_peer(a, "other"));
	assert_null(world_peer(a, "b"));
	world_send(b, world_ip(b), world_ip(a));
	world_run(w, NSEC_PER_SEC);
	assert_int_equal(a->packets, 1);
	world_free(w);
}

/* --- secrets that one side lost --- */

static void test_member_that_lost_its_psk(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL);
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 10 * NSEC_PER_SEC);
	assert_true(a->up);
	world_free(w);
}

static void test_rendezvous_that_lost_its_leases(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL);
	uint8_t psk[32];
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	memcpy(psk, node_lease(a->node)->psk, 32);
	memset(w->rows, 0, sizeof(w->rows));
	world_rendezvous(w);
	a = world_node(w, 0, "a", 1, psk);
	world_run(w, 20 * NSEC_PER_SEC);
	assert_true(a->up);
	world_free(w);
}

static void test_wrong_admission_secret(void **state)
{
	struct world *w = world_new();
	struct host *a;
	(void)state;
	w->token.admission[0] ^= 1;
	a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 20 * NSEC_PER_SEC);
	assert_false(a->up);
	assert_int_equal(registrar_count(rdv_registrar(w->rdv), NULL), 0);
	world_free(w);
}

/* --- handshakes of others --- */

static bool cut_off_rendezvous(struct world *w, struct datagram *d)
{
	return !endpoint_eq(&d->to, &w->rdv_at) && !endpoint_eq(&d->from, &w->rdv_at);
}

/* A member's answer to us that fits nothing, though its mac1 is right: only it could make that. */
static bool spoil_response(struct world *w, struct datagram *d)
{
	struct host *victim = &w->hosts[0];
	uint8_t key[32];
	if (d->len == WG_RESPONSE_LEN && endpoint_eq(&d->to, &victim->at)) {
		d->bytes[44] ^= 1;
		blake2s_hash("mac1----", 8, wg_public_key(node_wg(victim->node)), 32, key);
		blake2s_mac(key, 32, d->bytes, WG_RESPONSE_LEN - 32,
			    d->bytes + WG_RESPONSE_LEN - 32);
		world_save(w, d);
	}
	return cut_off_rendezvous(w, d);
}

/* Without a session with the rendezvous a node changes its PSK on a wrong answer: on its alone. */
static void test_member_cannot_disturb_rejoining(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL);
	(void)state;
	world_node(w, 1, "b", 2, NULL);
	world_run(w, 3 * NSEC_PER_SEC);
	w->tap = cut_off_rendezvous;
	world_run(w, 200 * NSEC_PER_SEC);
	w->tap = spoil_response;
	a->to_rendezvous = 0;
	for (unsigned i = 0; i < 30; i++) {
		struct wg_peer *b = wg_peer_find(node_wg(a->node), peer_key(world_peer(a, "b")));
		world_run(w, 2 * NSEC_PER_SEC);
		wg_peer_restart(node_wg(a->node), b, w->now);
	}
	assert_true(w->nsaved > 5);
	/* what its own timers ask for in a minute: 12; twice that with its help */
	assert_in_range(a->to_rendezvous, 1, 20);
	world_free(w);
}

static bool detour(struct world *w, struct datagram *d)
{
	if (endpoint_eq(&d->from, &w->rdv_at))
		assert_true(endpoint_parse("192.0.2.66:666", &d->from));
	return true;
}

/* Who forwards the rendezvous' datagrams from elsewhere does not draw the node's there. */
static void test_rendezvous_stays_where_its_name_says(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL);
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	w->tap = detour;
	world_run(w, 30 * NSEC_PER_SEC);
	assert_true(endpoint_eq(node_rendezvous(a->node, 0), &w->rdv_at));
	world_free(w);
}

/* --- a stranger at the rendezvous --- */

static unsigned replies;
static size_t reply_len;

static bool count_replies(struct world *w, struct datagram *d)
{
	if (endpoint_eq(&d->from, &w->rdv_at)) {
		replies++;
		reply_len = d->len;
	}
	return true;
}

static void test_stranger_gets_a_cookie_alone(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL);
	struct endpoint elsewhere;
	(void)state;
	w->tap = save_initiations;
	world_run(w, 100 * NSEC_PER_MSEC);
	assert_true(w->nsaved > 0);
	world_stop(a);
	world_run(w, 100 * NSEC_PER_MSEC);
	/* another rendezvous with the same key: it knows nobody */
	memset(w->rows, 0, sizeof(w->rows));
	world_rendezvous(w);
	w->tap = count_replies;
	replies = 0;
	assert_true(endpoint_parse("192.0.2.66:666", &elsewhere));
	world_inject(w, &elsewhere, &w->rdv_at, w->saved[w->nsaved - 1].bytes, WG_INITIATION_LEN);
	world_run(w, NSEC_PER_SEC);
	assert_int_equal(replies, 1);
	assert_int_equal(reply_len, WG_COOKIE_LEN);
	world_free(w);
}

enum { FLOOD = 300, FLOOD_PORT = 10000 };
static struct wg *flood[FLOOD];

static void flood_sends(struct world *w, unsigned i)
{
	struct endpoint from;
	struct wg_output out;
	assert_true(endpoint_parse("100.66.0.0:1", &from));
	from.port = (uint16_t)(FLOOD_PORT + i);
	store_be16(from.addr.b + 14, (uint16_t)i); /* each address has its own share */
	while (wg_poll(flood[i], w->now, &out))
		if (out.event == WG_EVENT_SEND)
			world_inject(w, &from, &w->rdv_at, out.bytes, out.len);
}

/* Each of the flood takes its cookie and comes back with it. */
static bool flood_answers(struct world *w, struct datagram *d)
{
	unsigned i = d->to.port - (unsigned)FLOOD_PORT;
	struct wg_reply reply;
	if (i >= FLOOD || d->len != WG_COOKIE_LEN)
		return true;
	assert_int_equal(wg_handshake_input(flood[i], w->now, d->bytes, d->len, w->rdv_at.addr.b,
					    16, &reply),
			 DROP_NONE);
	flood_sends(w, i);
	return true;
}

static void flood_begins(struct world *w, unsigned i)
{
	struct wg_config cfg = { .max_peers = 1, .aead = aead_choose(NULL) };
	uint8_t priv[32];
	flood[i] = wg_new(&cfg);
	assert_non_null(flood[i]);
	wg_key_generate(priv);
	wg_set_private_key(flood[i], priv);
	wg_set_wall_offset(flood[i], WORLD_WALL);
	wg_peer_initiate(flood[i], wg_peer_add(flood[i], w->token.key, NULL), w->now, 0);
	flood_sends(w, i);
}

/* More strangers than there is room for do not push out one that has shown the admission secret. */
static void test_flood_of_strangers(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL);
	(void)state;
	w->slow_store = true;
	world_run(w, 500 * NSEC_PER_MSEC);
	w->tap = flood_answers;
	for (unsigned i = 0; i < FLOOD; i++)
		flood_begins(w, i);
	world_run(w, 500 * NSEC_PER_MSEC);
	assert_true(rdv_drops(w->rdv)->n[DROP_WG_COOKIE_SENT] >= FLOOD);
	w->slow_store = false;
	world_run(w, 50 * NSEC_PER_MSEC);
	assert_true(a->up);
	/* and who comes next finds room */
	struct host *b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 3 * NSEC_PER_SEC);
	assert_true(b->up);
	for (unsigned i = 0; i < FLOOD; i++)
		wg_free(flood[i]);
	world_free(w);
}

static bool lose_initiations(struct world *w, struct datagram *d)
{
	return !(is_initiation(d) && endpoint_eq(&d->to, &w->rdv_at));
}

/*
 * The rendezvous has told a process that was killed something, and asks for an answer by a handshake of its
 * own. The next process takes the session that comes of it for what it is, and registers.
 */
static void test_rendezvous_begins_the_session(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL);
	uint8_t psk[32];
	(void)state;
	world_run(w, 3 * NSEC_PER_SEC);
	assert_true(a->up);
	memcpy(psk, node_lease(a->node)->psk, 32);
	world_stop(a);
	struct host *b = world_node(w, 1, "b", 2, NULL);
	world_run(w, 3 * NSEC_PER_SEC);
	assert_true(b->up);
	w->tap = lose_initiations;
	a = world_node(w, 0, "a", 1, psk);
	for (unsigned s = 0;
	     s < 40 && !wg_can_send(wg_peer_find(node_wg(a->node), w->token.key), w->now); s++)
		world_run(w, NSEC_PER_SEC);
	assert_true(wg_can_send(wg_peer_find(node_wg(a->node), w->token.key), w->now));
	world_run(w, NSEC_PER_SEC);
	assert_true(a->up);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_members_talk),
		cmocka_unit_test(test_member_reaches_only_the_receiver),
		cmocka_unit_test(test_member_cannot_take_an_address),
		cmocka_unit_test(test_configured_address_stays),
		cmocka_unit_test(test_member_is_no_rendezvous),
		cmocka_unit_test(test_replayed_initiation_is_no_sign_of_life),
		cmocka_unit_test(test_living_node_keeps_its_id),
		cmocka_unit_test(test_key_under_another_id),
		cmocka_unit_test(test_member_that_lost_its_psk),
		cmocka_unit_test(test_rendezvous_that_lost_its_leases),
		cmocka_unit_test(test_wrong_admission_secret),
		cmocka_unit_test(test_member_cannot_disturb_rejoining),
		cmocka_unit_test(test_rendezvous_stays_where_its_name_says),
		cmocka_unit_test(test_stranger_gets_a_cookie_alone),
		cmocka_unit_test(test_flood_of_strangers),
		cmocka_unit_test(test_rendezvous_begins_the_session),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
