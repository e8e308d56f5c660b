/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends in virtual time: what gets lost, what comes twice, and when it comes. */
#include "sim.h"

static nsec rnd_msec(unsigned below)
{
	return (nsec)rnd_below(below * 1000) * 1000;
}

/* The network loses nothing: neither do we, through all rekeys, whoever sends how much. */
static void nothing_is_lost_through_rekeys(void **unused)
{
	static struct sim s;
	(void)unused;
	for (unsigned seed = 1; seed <= 200; seed++) {
		sim_init(&s, seed);
		for (int i = 0; i < 2; i++) {
			s.delay[i] = MSEC + rnd_msec(200);
			s.end[i].interval =
				rnd_below(4) ? 200 * MSEC + rnd_msec(rnd_below(2) ? 2000 : 60000)
					     : 0;
		}
		s.jitter = rnd_below(2) ? rnd_msec(100) : 0;
		s.duplication = rnd_below(3) ? 0 : 100;
		/* Both ask at once now and then, with a session in full use. */
		for (int k = 0; k < 6; k++) {
			sim_run(&s, s.now + SEC + rnd_msec(150000));
			if (rnd_below(2))
				sim_initiate(&s, 0, rnd_msec(100));
			if (rnd_below(2))
				sim_initiate(&s, 1, rnd_msec(100));
		}
		s.end[0].interval = s.end[1].interval = 0;
		sim_run(&s, s.now + 10 * SEC);
		sim_all_arrived(&s, 0, 0);
		sim_all_arrived(&s, 1, 0);
		sim_nothing_twice(&s);
		assert_int_equal(s.end[0].gave_up + s.end[1].gave_up, 0);
		sim_free(&s);
	}
}

/* A packet sent at any moment around a session's end arrives, whichever end sends it. */
static void the_last_moments_of_a_session(void **unused)
{
	static struct sim s;
	(void)unused;
	for (unsigned k = 0; k < 1200; k++) {
		sim_init(&s, k);
		s.delay[0] = s.delay[1] = 100 * MSEC;
		s.jitter = 50 * MSEC;
		sim_send(&s, 0);
		sim_run(&s, s.now + 175 * SEC + (nsec)(k / 2) * 10 * MSEC);
		sim_send(&s, (int)(k % 2));
		sim_run(&s, s.now + 4 * SEC);
		sim_all_arrived(&s, 0, 0);
		sim_all_arrived(&s, 1, 0);
		sim_free(&s);
	}
}

/* Rekeys keep to their times: one each 120 s, by the initiator. */
static void rekeys_are_regular(void **unused)
{
	static struct sim s;
	(void)unused;
	sim_init(&s, 7);
	s.end[0].interval = s.end[1].interval = SEC;
	sim_run(&s, 1200 * SEC);
	unsigned handshakes = s.end[0].initiations + s.end[1].initiations;
	assert_in_range(handshakes, 9, 11);
	sim_free(&s);
	/* Only the responder has something to say: the initiator's keepalives see to it. */
	sim_init(&s, 8);
	sim_send(&s, 0);
	sim_run(&s, 2 * SEC);
	s.end[1].interval = SEC;
	sim_run(&s, 120 * SEC);
	assert_int_equal(s.end[0].initiations, 1);
	sim_run(&s, 133 * SEC);
	assert_int_equal(s.end[0].initiations, 2);
	assert_int_equal(s.end[1].initiations, 0);
	sim_all_arrived(&s, 1, 0);
	sim_free(&s);
}

/* Both begin at about the same time, in a network that keeps the order. */
static void crossing_initiations(void **unused)
{
	static struct sim s;
	(void)unused;
	for (unsigned seed = 1; seed <= 300; seed++) {
		sim_init(&s, seed);
		s.in_order = true;
		s.jitter = rnd_below(2) ? rnd_msec(30) : 0;
		s.delay[0] = MSEC + rnd_msec(150);
		s.delay[1] = MSEC + rnd_msec(150);
		nsec apart = rnd_msec(60);
		int first = (int)rnd_below(2);
		sim_send(&s, first);
		sim_run(&s, s.now + apart);
		sim_send(&s, 1 - first);
		sim_run(&s, s.now + 3 * SEC);
		sim_all_arrived(&s, 0, 0);
		sim_all_arrived(&s, 1, 0);
		nsec rtt = s.delay[0] + s.delay[1] + 3 * s.jitter;
		nsec worst = nsec_max(sim_slowest(&s, 0, 0), sim_slowest(&s, 1, 0));
		if (worst > 2 * rtt + 5 * MSEC)
			fail_msg("seed %u: a packet took %.1f ms of a round trip of %.1f ms", seed,
				 (double)worst / 1e6, (double)rtt / 1e6);
		sim_agreed(&s, -1);
		sim_nothing_twice(&s);
		sim_free(&s);
	}
}

/* Truly at the same time: the session of the smaller key is the one. */
static void the_smaller_key_decides(void **unused)
{
	static struct sim s;
	(void)unused;
	for (unsigned seed = 1; seed <= 100; seed++) {
		sim_init(&s, seed);
		s.delay[0] = MSEC + rnd_msec(150);
		s.delay[1] = MSEC + rnd_msec(150);
		sim_send(&s, (int)rnd_below(2));
		sim_send(&s, 0);
		sim_send(&s, 1);
		sim_run(&s, s.now + 2 * SEC);
		assert_int_equal(s.end[0].initiations, 1);
		assert_int_equal(s.end[1].initiations, 1);
		sim_agreed(&s, 0);
		sim_send(&s, 0);
		sim_send(&s, 1);
		sim_run(&s, s.now + SEC);
		sim_all_arrived(&s, 0, 0);
		sim_all_arrived(&s, 1, 0);
		sim_agreed(&s, 0);
		sim_free(&s);
	}
}

/* Messages overtake each other: the ends may see different overlaps, and agree all the same. */
static void crossing_with_reordering(void **unused)
{
	static struct sim s;
	(void)unused;
	for (unsigned seed = 1; seed <= 400; seed++) {
		sim_init(&s, seed);
		s.jitter = rnd_msec(200);
		s.duplication = rnd_below(2) ? 200 : 0;
		sim_send(&s, 0);
		sim_run(&s, s.now + rnd_msec(200));
		sim_send(&s, 1);
		sim_run(&s, s.now + 2 * SEC);
		for (int k = 0; k < 10; k++) {
			sim_send(&s, (int)rnd_below(2));
			sim_run(&s, s.now + SEC);
		}
		sim_send(&s, 0);
		sim_run(&s, s.now + SEC);
		sim_all_arrived(&s, 0, 0);
		sim_all_arrived(&s, 1, 0);
		sim_nothing_twice(&s);
		sim_agreed(&s, -1);
		sim_free(&s);
	}
}

/* One end is a stock peer, which forgets its own initiation when it takes another's. */
static void crossing_with_a_stock_peer(void **unused)
{
	static struct sim s;
	(void)unused;
	for (unsigned seed = 1; seed <= 300; seed++) {
		sim_init(&s, seed);
		s.end[seed % 2].stock = true;
		s.jitter = rnd_below(2) ? rnd_msec(100) : 0;
		s.in_order = rnd_below(2);
		sim_send(&s, 0);
		sim_run(&s, s.now + rnd_msec(60));
		sim_send(&s, 1);
		sim_run(&s, s.now + SEC);
		for (int k = 0; k < 10; k++) {
			sim_send(&s, (int)rnd_below(2));
			sim_run(&s, s.now + SEC);
		}
		sim_all_arrived(&s, 0, 0);
		sim_all_arrived(&s, 1, 0);
		if (nsec_max(sim_slowest(&s, 0, 0), sim_slowest(&s, 1, 0)) > SEC)
			fail_msg("seed %u: slow", seed);
		sim_free(&s);
	}
}

/* Each of the first datagrams of a crossing is lost once. */
static void crossing_with_one_loss(void **unused)
{
	static struct sim s;
	(void)unused;
	for (unsigned seed = 1; seed <= 240; seed++) {
		sim_init(&s, seed);
		s.drop_nth = 1 + (int)(seed % 8);
		sim_initiate(&s, 0, 0);
		sim_run(&s, s.now + rnd_msec(40));
		sim_initiate(&s, 1, 0);
		sim_run(&s, s.now + 6 * SEC);
		unsigned id[2] = { s.end[0].next_id, s.end[1].next_id };
		s.drop_nth = 0;
		for (int k = 0; k < 4; k++) {
			sim_send(&s, k % 2);
			sim_run(&s, s.now + 6 * SEC);
		}
		for (int i = 0; i < 2; i++) {
			sim_all_arrived(&s, i, id[i]);
			if (sim_slowest(&s, i, id[i]) > SEC)
				fail_msg("seed %u: slow", seed);
		}
		sim_agreed(&s, -1);
		sim_free(&s);
	}
}

/* A bad network, then a good one: everything sent in the good one arrives, soon after its start. */
static void loss_is_got_over(void **unused)
{
	static struct sim s;
	(void)unused;
	for (unsigned seed = 1; seed <= 150; seed++) {
		sim_init(&s, seed);
		s.loss = 50 + rnd_below(500);
		s.duplication = rnd_below(200);
		s.jitter = rnd_msec(300);
		s.end[0].interval = 300 * MSEC + rnd_msec(3000);
		s.end[1].interval = 300 * MSEC + rnd_msec(3000);
		sim_run(&s, s.now + 200 * SEC + rnd_msec(300000));
		sim_nothing_twice(&s);
		s.loss = 0;
		sim_run(&s, s.now + 25 * SEC);
		unsigned id[2] = { s.end[0].next_id, s.end[1].next_id };
		sim_run(&s, s.now + 200 * SEC);
		s.end[0].interval = s.end[1].interval = 0;
		sim_run(&s, s.now + 10 * SEC);
		sim_all_arrived(&s, 0, id[0]);
		sim_all_arrived(&s, 1, id[1]);
		sim_nothing_twice(&s);
		sim_free(&s);
	}
}

/* A peer begins anew with the same key and asks for a handshake, as a started gateway does. */
static void a_restarted_peer_is_back_at_once(void **unused)
{
	static struct sim s;
	(void)unused;
	for (unsigned seed = 1; seed <= 100; seed++) {
		int which = (int)seed % 2;
		sim_init(&s, seed);
		s.end[0].interval = s.end[1].interval = 100 * MSEC + rnd_msec(1000);
		sim_run(&s, s.now + SEC + rnd_msec(seed % 3 ? 20000 : 4000));
		sim_restart(&s, which);
		sim_initiate(&s, which, 0);
		sim_run(&s, s.now + 200 * MSEC);
		unsigned id[2] = { s.end[0].next_id, s.end[1].next_id };
		sim_run(&s, s.now + 60 * SEC);
		s.end[0].interval = s.end[1].interval = 0;
		sim_run(&s, s.now + SEC);
		sim_all_arrived(&s, 0, id[0]);
		sim_all_arrived(&s, 1, id[1]);
		sim_free(&s);
	}
}

/* It does not ask: the other end notices within 15 s that nothing comes back. */
static void a_silent_restart_is_noticed(void **unused)
{
	static struct sim s;
	(void)unused;
	for (unsigned seed = 1; seed <= 40; seed++) {
		sim_init(&s, seed);
		s.end[0].interval = 500 * MSEC;
		sim_run(&s, s.now + 5 * SEC + rnd_msec(30000));
		sim_restart(&s, 1);
		sim_run(&s, s.now + 16 * SEC);
		unsigned id = s.end[0].next_id;
		sim_run(&s, s.now + 30 * SEC);
		s.end[0].interval = 0;
		sim_run(&s, s.now + SEC);
		sim_all_arrived(&s, 0, id);
		sim_free(&s);
	}
}

static void unreachable_peers_are_given_up(void **unused)
{
	static struct sim s;
	(void)unused;
	sim_init(&s, 1);
	s.loss = 1000;
	sim_send(&s, 0);
	sim_run(&s, s.now + 89 * SEC);
	assert_int_equal(s.end[0].gave_up, 0);
	sim_run(&s, s.now + 11 * SEC);
	assert_int_equal(s.end[0].gave_up, 1);
	assert_true(s.end[0].given_up[0]);
	unsigned so_far = s.end[0].initiations;
	assert_in_range(so_far, 17, 19);
	s.loss = 0;
	sim_run(&s, s.now + 300 * SEC);
	assert_int_equal(s.end[0].initiations, so_far); /* it stops */
	sim_send(&s, 0);				/* until somebody asks */
	sim_run(&s, s.now + SEC);
	assert_int_equal(s.end[1].got[1], 1);
	sim_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_through_rekeys),
		cmocka_unit_test(the_last_moments_of_a_session),
		cmocka_unit_test(rekeys_are_regular),
		cmocka_unit_test(crossing_initiations),
		cmocka_unit_test(the_smaller_key_decides),
		cmocka_unit_test(crossing_with_reordering),
		cmocka_unit_test(crossing_with_a_stock_peer),
		cmocka_unit_test(crossing_with_one_loss),
		cmocka_unit_test(loss_is_got_over),
		cmocka_unit_test(a_restarted_peer_is_back_at_once),
		cmocka_unit_test(a_silent_restart_is_noticed),
		cmocka_unit_test(unreachable_peers_are_given_up),
	};
	return cmocka_run_group_tests_name("wireguard", tests, NULL, NULL);
}
