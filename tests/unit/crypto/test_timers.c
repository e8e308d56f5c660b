/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timers, as tables: what happens when, and what comes out. The jitter of up to 333 ms makes ranges
 * of some times, so rows look just before the earliest and just after the latest.
 */
#include "helper.h"

enum act {
	WAIT,	   /* nothing happens */
	ASK,	   /* wg_peer_initiate(), now */
	ASK_LATER, /* … in 500 ms */
	SEND,	   /* we seal a data packet */
	RECEIVE,   /* one comes in */
	RECEIVE_KEEPALIVE,
	DELAY, /* the peer sends something that is long under way */
	RECEIVE_DELAYED,
	KEEPALIVE_25, /* the configured keepalive is set to 25 s */
	KEEPALIVE_OFF,
	ANSWER,	   /* the peer answers the initiation that came out last */
	PEER_ASKS, /* the peer's initiation comes in, and we answer */
	PEER_CONFIRMS,
	CONNECT, /* a whole handshake that we begin */
	END
};

enum out { NONE, INITIATION, KEEPALIVE, GAVE_UP };

struct row {
	nsec at; /* milliseconds */
	enum act act;
	enum out want; /* of all that wg_poll() gives after it: the only message, or none */
};

static struct pair d;
static struct datagram last_initiation, last_response, delayed;

static void feed_data(const char *text, nsec now)
{
	struct datagram m = must_seal(&d, 1, now, text);
	assert_int_equal(open_one(d.wg[0], now, &m, NULL), DROP_NONE);
}

static void answer(nsec now)
{
	struct datagram r;
	assert_int_equal(hand_over(d.wg[1], now, &last_initiation, &r), DROP_NONE);
	assert_int_equal(hand_over(d.wg[0], now, &r, NULL), DROP_NONE);
}

static void peer_asks(nsec now)
{
	wg_peer_initiate(d.wg[1], d.peer[1], now, 0);
	struct datagram m = must_poll(d.wg[1], now);
	assert_int_equal(hand_over(d.wg[0], now, &m, &last_response), DROP_NONE);
}

static void peer_confirms(nsec now)
{
	struct datagram m;
	assert_int_equal(hand_over(d.wg[1], now, &last_response, NULL), DROP_NONE);
	m = must_seal(&d, 1, now, "");
	assert_int_equal(open_one(d.wg[0], now, &m, NULL), DROP_NONE);
}

static void perform(enum act act, nsec now)
{
	switch (act) {
	case ASK:
		wg_peer_initiate(d.wg[0], d.peer[0], now, 0);
		break;
	case ASK_LATER:
		wg_peer_initiate(d.wg[0], d.peer[0], now, 500 * MSEC);
		break;
	case SEND:
		must_seal(&d, 0, now, "data");
		break;
	case RECEIVE:
		feed_data("data", now);
		break;
	case RECEIVE_KEEPALIVE:
		feed_data("", now);
		break;
	case DELAY:
		delayed = must_seal(&d, 1, now, "");
		break;
	case RECEIVE_DELAYED:
		assert_int_equal(open_one(d.wg[0], now, &delayed, NULL), DROP_NONE);
		break;
	case KEEPALIVE_25:
	case KEEPALIVE_OFF:
		wg_peer_set_keepalive(d.wg[0], d.peer[0], now, act == KEEPALIVE_25 ? 25 : 0);
		break;
	case ANSWER:
		answer(now);
		break;
	case PEER_ASKS:
		peer_asks(now);
		break;
	case PEER_CONFIRMS:
		peer_confirms(now);
		break;
	case CONNECT:
		pair_connect(&d, 0, now);
		break;
	case WAIT:
	case END:
		break;
	}
}

static enum out poll_all(nsec now)
{
	struct wg_output o;
	enum out got = NONE;
	while (wg_poll(d.wg[0], now, &o)) {
		assert_int_equal(got, NONE); /* one thing at a time */
		assert_ptr_equal(o.peer, d.peer[0]);
		if (o.event == WG_EVENT_GAVE_UP) {
			got = GAVE_UP;
		} else if (o.len == WG_INITIATION_LEN) {
			got = INITIATION;
			memcpy(last_initiation.b, o.bytes, o.len);
			last_initiation.len = o.len;
			assert_true(o.handshake);
		} else {
			got = KEEPALIVE;
			assert_int_equal(o.len, WG_OVERHEAD);
			assert_false(o.handshake);
			/* The peer gets it, so that sessions are confirmed. */
			struct datagram m = { .len = o.len };
			memcpy(m.b, o.bytes, o.len);
			open_one(d.wg[1], now, &m, NULL);
		}
	}
	return got;
}

static void run(const char *name, const struct row *rows)
{
	static const char *const names[] = { "nothing", "initiation", "keepalive", "gave up" };
	seed_all(31);
	pair_init(&d);
	for (const struct row *r = rows; r->act != END; r++) {
		nsec now = SEC + r->at * MSEC;
		perform(r->act, now);
		enum out got = poll_all(now);
		if (got != r->want)
			fail_msg("%s, row %d (%.3f s): %s instead of %s", name, (int)(r - rows),
				 (double)r->at / 1e3, names[got], names[r->want]);
		assert_true(wg_deadline(d.wg[0]) > now);
	}
	pair_free(&d);
}

#define TABLE(name, ...)                                                                           \
	static void name(void **unused)                                                            \
	{                                                                                          \
		static const struct row rows[] = { __VA_ARGS__, { 0, END, NONE } };                \
		(void)unused;                                                                      \
		run(#name, rows);                                                                  \
	}

/* clang-format off */

TABLE(initiations_are_repeated,
	{ 0, ASK, INITIATION },
	{ 1, ASK, NONE }, /* one is in flight */
	{ 4999, WAIT, NONE },
	{ 5334, WAIT, INITIATION },
	{ 10333, WAIT, NONE },
	{ 10668, WAIT, INITIATION },
	{ 10700, ANSWER, NONE },
	{ 10701, WAIT, KEEPALIVE }, /* confirms the session */
	{ 30000, WAIT, NONE })

TABLE(an_answer_just_in_time,
	{ 0, ASK, INITIATION },
	{ 4999, ANSWER, NONE },
	{ 4999, SEND, NONE }, /* confirms it too, so no keepalive */
	{ 5010, WAIT, NONE },
	{ 9000, ASK, NONE }, /* the session is younger than 5 s */
	{ 9999, ASK, INITIATION })

TABLE(a_late_request,
	{ 0, ASK_LATER, NONE },
	{ 499, WAIT, NONE },
	{ 500, WAIT, INITIATION })

TABLE(a_late_request_is_overtaken,
	{ 0, ASK_LATER, NONE },
	{ 100, ASK, INITIATION },
	{ 500, WAIT, NONE })

TABLE(a_late_request_made_needless,
	{ 0, ASK_LATER, NONE },
	{ 100, PEER_ASKS, NONE },
	{ 200, PEER_CONFIRMS, NONE },
	{ 500, WAIT, NONE },
	{ 5000, WAIT, NONE })

/* Message 2 got lost: we begin ourselves, sooner than the peer would again. */
TABLE(a_late_request_that_is_needed,
	{ 0, ASK_LATER, NONE },
	{ 100, PEER_ASKS, NONE },
	{ 500, WAIT, NONE },
	{ 1099, WAIT, NONE },
	{ 1100, WAIT, INITIATION })

TABLE(passive_keepalive,
	{ 0, CONNECT, NONE },
	{ 1000, RECEIVE, NONE },
	{ 10999, WAIT, NONE },
	{ 11000, WAIT, KEEPALIVE },
	{ 30000, WAIT, NONE },
	{ 31000, RECEIVE, NONE },
	{ 32000, SEND, NONE }, /* says as much */
	{ 33000, RECEIVE, NONE },
	{ 41001, WAIT, NONE },
	{ 43000, WAIT, KEEPALIVE })

TABLE(passive_keepalive_again,
	{ 0, CONNECT, NONE },
	{ 1000, RECEIVE, NONE },
	{ 5000, RECEIVE, NONE },
	{ 11000, WAIT, KEEPALIVE },
	{ 20999, WAIT, NONE },
	{ 21000, WAIT, KEEPALIVE },
	{ 60000, WAIT, NONE })

TABLE(keepalives_are_not_answered,
	{ 0, CONNECT, NONE },
	{ 1000, RECEIVE_KEEPALIVE, NONE },
	{ 60000, WAIT, NONE })

TABLE(silence_after_data,
	{ 0, CONNECT, NONE },
	{ 10000, SEND, NONE },
	{ 20000, SEND, NONE }, /* counted from the first */
	{ 24999, WAIT, NONE },
	{ 25334, WAIT, INITIATION })

TABLE(silence_is_broken,
	{ 0, CONNECT, NONE },
	{ 10000, SEND, NONE },
	{ 24000, RECEIVE_KEEPALIVE, NONE },
	{ 60000, WAIT, NONE },
	{ 61000, SEND, NONE },
	{ 75999, WAIT, NONE },
	{ 76334, WAIT, INITIATION })

TABLE(rekey_by_the_initiator,
	{ 0, CONNECT, NONE },
	{ 119999, SEND, NONE },
	{ 120000, SEND, INITIATION },
	{ 120001, SEND, NONE },
	{ 120100, ANSWER, NONE },
	{ 120101, WAIT, KEEPALIVE })

/* 180 - 10 - 5 s: the last time at which receiving is enough. */
TABLE(rekey_on_receiving,
	{ 0, CONNECT, NONE },
	{ 164999, RECEIVE_KEEPALIVE, NONE },
	{ 165000, RECEIVE_KEEPALIVE, INITIATION })

/* Nor is it of any account how old the session before is. */
TABLE(no_rekey_by_a_late_packet,
	{ 0, CONNECT, NONE },
	{ 50000, DELAY, NONE },
	{ 100000, PEER_ASKS, NONE },
	{ 100010, PEER_CONFIRMS, NONE },
	{ 170000, RECEIVE_DELAYED, NONE },
	{ 180000, WAIT, NONE })

TABLE(the_responder_does_not_rekey,
	{ 0, PEER_ASKS, NONE },
	{ 10, PEER_CONFIRMS, NONE },
	{ 130000, SEND, NONE },
	{ 130001, RECEIVE_KEEPALIVE, NONE },
	{ 170000, RECEIVE_KEEPALIVE, NONE },
	{ 177999, SEND, NONE })

TABLE(persistent_keepalive,
	{ 0, KEEPALIVE_25, INITIATION }, /* opens the way at once */
	{ 20, ANSWER, NONE },
	{ 21, WAIT, KEEPALIVE },
	{ 25020, WAIT, NONE },
	{ 25021, WAIT, KEEPALIVE },
	{ 30000, RECEIVE_KEEPALIVE, NONE }, /* any packet counts */
	{ 54999, WAIT, NONE },
	{ 55000, WAIT, KEEPALIVE },
	{ 56000, KEEPALIVE_OFF, NONE },
	{ 119000, WAIT, NONE })

/* With nobody there it gives up, and begins again at its next turn. */
TABLE(persistent_keepalive_alone,
	{ 0, KEEPALIVE_25, INITIATION },
	{ 4999, WAIT, NONE },
	{ 5400, WAIT, INITIATION },
	{ 10800, WAIT, INITIATION },
	{ 16200, WAIT, INITIATION },
	{ 21600, WAIT, INITIATION })

/* 18 initiations, 90 s and the jitters: then it is over, until somebody asks. */
TABLE(giving_up,
	{ 0, ASK, INITIATION },
	{ 5400, WAIT, INITIATION },
	{ 10800, WAIT, INITIATION },
	{ 16200, WAIT, INITIATION },
	{ 21600, WAIT, INITIATION },
	{ 27000, WAIT, INITIATION },
	{ 32400, WAIT, INITIATION },
	{ 37800, WAIT, INITIATION },
	{ 43200, WAIT, INITIATION },
	{ 48600, WAIT, INITIATION },
	{ 54000, WAIT, INITIATION },
	{ 59400, WAIT, INITIATION },
	{ 64800, WAIT, INITIATION },
	{ 70200, WAIT, INITIATION },
	{ 75600, WAIT, INITIATION },
	{ 81000, WAIT, INITIATION },
	{ 86400, WAIT, INITIATION },
	{ 91800, WAIT, INITIATION },
	{ 97200, WAIT, GAVE_UP },
	{ 300000, WAIT, NONE },
	{ 300001, ASK, INITIATION },
	{ 300002, ANSWER, NONE },
	{ 300003, WAIT, KEEPALIVE })

/* A session came up the other way: the own initiation is not repeated, its late answer still good. */
TABLE(a_moot_initiation,
	{ 0, ASK, INITIATION },
	{ 100, PEER_ASKS, NONE },
	{ 200, PEER_CONFIRMS, NONE },
	{ 6000, WAIT, NONE },
	{ 60000, WAIT, NONE })

/* clang-format on */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(initiations_are_repeated),
		cmocka_unit_test(an_answer_just_in_time),
		cmocka_unit_test(a_late_request),
		cmocka_unit_test(a_late_request_is_overtaken),
		cmocka_unit_test(a_late_request_made_needless),
		cmocka_unit_test(a_late_request_that_is_needed),
		cmocka_unit_test(passive_keepalive),
		cmocka_unit_test(passive_keepalive_again),
		cmocka_unit_test(keepalives_are_not_answered),
		cmocka_unit_test(silence_after_data),
		cmocka_unit_test(silence_is_broken),
		cmocka_unit_test(rekey_by_the_initiator),
		cmocka_unit_test(rekey_on_receiving),
		cmocka_unit_test(no_rekey_by_a_late_packet),
		cmocka_unit_test(the_responder_does_not_rekey),
		cmocka_unit_test(persistent_keepalive),
		cmocka_unit_test(persistent_keepalive_alone),
		cmocka_unit_test(giving_up),
		cmocka_unit_test(a_moot_initiation),
	};
	return cmocka_run_group_tests_name("timers", tests, NULL, NULL);
}
