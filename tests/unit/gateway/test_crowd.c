/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Somebody with a good token and many keys: each has a session with the rendezvous and asks for nothing,
 * and new ones come all the time. A node that joins finds room all the same.
 */
#include "trust_world.h"

#include "punch/admission.h"

enum { CROWD = 600, FIRST_PORT = 10000, A_STEP = 5 };

static struct wg *crowd[CROWD];
static struct wg_peer *there[CROWD];
static unsigned begun, sessions;

/* Each address has its own share. */
static struct endpoint at(unsigned i)
{
	struct endpoint e;
	assert_true(endpoint_parse("100.66.0.0:1", &e));
	e.port = (uint16_t)(FIRST_PORT + i);
	store_be16(e.addr.b + 14, (uint16_t)i);
	return e;
}

/* A packet over its session, which says nothing. */
static void proves(struct world *w, unsigned i)
{
	uint8_t buf[WG_OVERHEAD];
	struct endpoint from = at(i);
	struct wg_packet k = { .data = buf };
	assert_int_equal(wg_seal(crowd[i], there[i], w->now, &k, 1), DROP_NONE);
	world_inject(w, &from, &w->rdv_at, buf, k.len);
	sessions++;
}

static void sends(struct world *w, unsigned i)
{
	struct endpoint from = at(i);
	struct wg_output out;
	while (wg_poll(crowd[i], w->now, &out))
		if (out.event == WG_EVENT_SEND)
			world_inject(w, &from, &w->rdv_at, out.bytes, out.len);
}

/* What goes to `far` arrives 100 ms later. */
static const struct host *far;
static nsec arrives;

static bool is_late(struct world *w, struct datagram *d)
{
	if (!far || arrives == w->now || !endpoint_eq(&d->to, &far->at))
		return false;
	if (!w->nsaved)
		arrives = w->now + 100 * NSEC_PER_MSEC;
	world_save(w, d);
	return true;
}

static void arrive(struct world *w)
{
	if (w->now != arrives)
		return;
	for (unsigned i = 0; i < w->nsaved; i++)
		world_inject(w, &w->saved[i].from, &w->saved[i].to, w->saved[i].bytes,
			     w->saved[i].len);
	w->nsaved = 0;
}

static bool answers(struct world *w, struct datagram *d)
{
	if (is_late(w, d))
		return false;
	unsigned i = d->to.port - (unsigned)FIRST_PORT;
	struct wg_reply reply;
	if (i >= CROWD || (d->len != WG_COOKIE_LEN && d->len != WG_RESPONSE_LEN))
		return true;
	if (wg_handshake_input(crowd[i], w->now, d->bytes, d->len, w->rdv_at.addr.b, 16, &reply) !=
	    DROP_NONE)
		return true; /* for one that had this place before */
	sends(w, i);
	if (reply.session_up)
		proves(w, i);
	return true;
}

/* The next one of them, which shows the secret of the token. */
static void begins(struct world *w)
{
	unsigned i = begun++ % CROWD;
	struct wg_config cfg = { .max_peers = 1, .aead = aead_choose(NULL) };
	uint8_t priv[32];
	wg_free(crowd[i]);
	crowd[i] = wg_new(&cfg);
	assert_non_null(crowd[i]);
	wg_key_generate(priv);
	wg_set_private_key(crowd[i], priv);
	wg_set_wall_offset(crowd[i], WORLD_WALL);
	there[i] = wg_peer_add(crowd[i], w->token.key, NULL);
	wg_peer_set_psk(there[i], w->token.admission);
	wg_peer_set_mark(there[i], admission_hint(w->token.admission));
	wg_peer_initiate(crowd[i], there[i], w->now, 0);
	sends(w, i);
}

static void go_on(struct world *w, nsec time)
{
	for (nsec until = w->now + time; w->now < until; world_run(w, 10 * NSEC_PER_MSEC)) {
		arrive(w);
		for (unsigned i = 0; i < A_STEP; i++)
			begins(w);
	}
}

static void test_a_node_joins(void **state)
{
	struct world *w = world_new();
	(void)state;
	w->tap = answers;
	go_on(w, 2 * NSEC_PER_SEC);
	assert_true(sessions > 128);
	struct host *a = world_node(w, 0, "a", 1, NULL);
	far = a;
	go_on(w, 3 * NSEC_PER_SEC);
	assert_true(a->up);
	for (unsigned i = 0; i < CROWD; i++)
		wg_free(crowd[i]);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_a_node_joins) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
