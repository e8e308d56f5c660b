/* SPDX-License-Identifier: Apache-2.0 */
/* Admission between whole nodes and a whole rendezvous: PSKs and their hints, tokens, removed members. */
#include "punch/admission.h"
#include "trust_world.h"

#define SEC NSEC_PER_SEC

/* --- PSKs --- */

/* Under a token, and with the PSK that it kept, known to the rendezvous or not: no handshake is for nothing. */
static void test_one_handshake(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL);
	uint8_t psk[32];
	(void)state;
	world_run(w, SEC);
	assert_true(a->up);
	assert_int_equal(a->to_rendezvous, 2); /* the first one earns a cookie */
	memcpy(psk, node_lease(a->node)->psk, 32);
	a = world_node(w, 0, "a", 1, psk);
	world_run(w, SEC);
	assert_true(a->up);
	assert_int_equal(a->to_rendezvous, 1);
	memset(w->rows, 0, sizeof(w->rows)); /* the database is lost */
	world_rendezvous(w);
	a = world_node(w, 0, "a", 1, psk);
	world_run(w, SEC);
	assert_true(a->up);
	assert_int_equal(a->to_rendezvous, 2);
	world_free(w);
}

/* A token of before there were tickets, and a release that gives no hint. */
static void plain_token(struct world *w)
{
	memcpy(w->token.admission, w->plain, 32);
	memset(&w->token.ticket, 0, sizeof(w->token.ticket));
}

static void test_plain_token(void **state)
{
	struct world *w = world_new();
	(void)state;
	plain_token(w);
	struct host *a = world_node(w, 0, "a", 1, NULL), *b = world_node(w, 1, "b", 2, NULL);
	wg_peer_set_mark(wg_peer_find(node_wg(b->node), w->token.key), 0x7761);
	world_run(w, 3 * SEC);
	assert_true(a->up && b->up);
	assert_int_equal(a->to_rendezvous, 2);
	admission_rotate(&w->admission, (WORLD_WALL + w->now) / SEC, 0);
	struct host *c = world_node(w, 2, "c", 3, NULL);
	world_run(w, 10 * SEC);
	assert_false(c->up);
	world_free(w);
}

/* Its PSK is worth nothing where it asks for another id, or after its lease was freed: the token still is. */
static void test_plain_token_and_a_psk(void **state)
{
	struct world *w = world_new();
	uint8_t psk[32];
	(void)state;
	plain_token(w);
	struct host *a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 3 * SEC);
	assert_true(a->up);
	memcpy(psk, node_lease(a->node)->psk, 32);
	for (int restarts = 0; restarts < 2; restarts++) {
		a = world_node(w, 0, restarts ? "c" : "b", 1, psk);
		world_run(w, SEC);
		assert_true(a->up && !a->refused);
		assert_int_equal(a->to_rendezvous, 1);
		world_rendezvous(w);
	}
	memset(w->rows, 0, sizeof(w->rows));
	world_rendezvous(w);
	a = world_node(w, 0, "a", 1, psk);
	world_run(w, SEC);
	assert_true(a->up && !a->refused);
	/* after a rotation its lease is what it has */
	admission_rotate(&w->admission, (WORLD_WALL + w->now) / SEC, 0);
	a = world_node(w, 0, "a", 1, psk);
	world_run(w, 3 * SEC);
	assert_true(a->up && !a->refused);
	a = world_node(w, 0, "d", 1, psk);
	world_run(w, 3 * SEC);
	assert_true(!a->up && a->fatal);
	world_free(w);
}

/*
 * Who knows the admission secret of a token for one id, and not that of plain tokens, is not taken for
 * one of those: neither by a handshake that it cannot finish, nor by leaving its ticket out.
 */
static void test_a_ticket_cannot_be_left_out(void **state)
{
	struct world *w = world_new();
	(void)state;
	memset(&w->token.ticket, 0, sizeof(w->token.ticket));
	struct host *a = world_node(w, 0, "a", 1, NULL);
	struct wg_peer *rendezvous = wg_peer_find(node_wg(a->node), w->token.key);
	wg_peer_set_mark(rendezvous, admission_hint(w->plain));
	world_run(w, 100 * NSEC_PER_MSEC);
	assert_false(a->up);
	assert_int_equal(a->to_rendezvous, 2);
	wg_peer_set_mark(rendezvous, admission_hint(w->token.admission));
	wg_peer_restart(node_wg(a->node), rendezvous, w->now);
	world_run(w, SEC);
	assert_true(a->refused && a->fatal);
	assert_non_null(strstr(a->text, "no token that admits it"));
	assert_int_equal(registrar_count(rdv_registrar(w->rdv), NULL), 0);
	world_free(w);
}

/* --- tokens --- */

static void test_rotated(void **state)
{
	struct world *w = world_new();
	(void)state;
	struct host *a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 3 * SEC);
	assert_true(a->up);
	admission_rotate(&w->admission, (WORLD_WALL + w->now) / SEC, 60);
	struct host *b = world_node(w, 1, "b", 2, NULL); /* the old token, within the overlap */
	world_run(w, 3 * SEC);
	assert_true(b->up);
	assert_int_equal(b->to_rendezvous, 2);
	world_run(w, 60 * SEC);
	struct host *c = world_node(w, 2, "c", 3, NULL);
	world_run(w, 3 * SEC);
	assert_false(c->up);
	assert_true(c->refused && !c->fatal);
	assert_non_null(strstr(c->text, "does not know this join token"));
	admission_token(w->secret, &w->admission, &w->token);
	struct host *d = world_node(w, 3, "d", 4, NULL);
	world_run(w, 200 * SEC);
	assert_true(d->up && a->up && b->up && !a->fatal && !b->fatal);
	world_free(w);
}

static void test_expired(void **state)
{
	struct world *w = world_new();
	(void)state;
	w->token.expires = (WORLD_WALL + w->now) / SEC + 10;
	admission_token(w->secret, &w->admission, &w->token);
	struct host *a = world_node(w, 0, "a", 1, NULL);
	world_run(w, 11 * SEC);
	assert_true(a->up);
	struct host *b = world_node(w, 1, "b", 2, NULL);
	world_run(w, SEC);
	assert_true(b->refused && b->fatal && !b->up);
	assert_non_null(strstr(b->text, "the join token has expired (2027-01-15"));
	world_run(w, 200 * SEC);
	assert_false(a->refused);
	world_free(w);
}

/* The coordinator's node is down: nobody but who has its token is given its address. */
static void test_for_one(void **state)
{
	struct world *w = world_new();
	(void)state;
	assert_int_equal(admission_reserve(&w->admission, "c1"), 0);
	struct host *a = world_node(w, 0, "c1", 1, NULL);
	world_run(w, 40 * SEC);
	assert_true(a->refused && a->fatal && !a->up);
	snprintf(w->token.only_for, sizeof(w->token.only_for), "c1");
	admission_token(w->secret, &w->admission, &w->token);
	struct host *b = world_node(w, 1, "c1", 2, NULL);
	world_run(w, SEC);
	assert_true(b->up);
	struct addr ip = world_ip(b);
	/* another node with it, while the first one runs */
	struct host *c = world_node(w, 2, "c1", 3, NULL);
	world_run(w, SEC);
	assert_true(c->up && b->replaced);
	struct addr now_at = world_ip(c);
	assert_true(addr_eq(&ip, &now_at));
	world_free(w);
}

/* --- removed --- */

static void talk(struct world *w, struct host *from, struct addr src, struct addr dst, nsec time)
{
	for (nsec until = w->now + time; w->now < until;) {
		world_send(from, src, dst);
		world_run(w, 200 * NSEC_PER_MSEC);
	}
}

/* It talks on as if nothing were, and its link was a living one. */
static void test_removed_member(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL), *b = world_node(w, 1, "b", 2, NULL);
	(void)state;
	world_run(w, 3 * SEC);
	struct addr ip = world_ip(a), bad = world_ip(b);
	talk(w, b, bad, ip, 2 * SEC);
	assert_true(a->packets >= 9);
	world_remove(w, "b");
	world_run(w, SEC);
	assert_true(b->replaced); /* and it knows */
	assert_null(world_peer(a, "b"));
	a->packets = 0;
	talk(w, b, bad, ip, 60 * SEC);
	assert_int_equal(a->packets, 0);
	/* neither its key with a good token, nor what it kept */
	b = world_node(w, 1, "b2", 2, NULL);
	world_run(w, 5 * SEC);
	assert_true(b->fatal && !b->up);
	assert_non_null(strstr(b->text, "removed this node's key"));
	/* a new key is another matter, until the token is another */
	b = world_node(w, 1, "b", 3, NULL);
	world_run(w, 5 * SEC);
	assert_true(b->up);
	struct addr other = world_ip(b);
	assert_false(addr_eq(&bad, &other));
	admission_rotate(&w->admission, (WORLD_WALL + w->now) / SEC, 0);
	struct host *c = world_node(w, 2, "c", 4, NULL);
	world_run(w, 5 * SEC);
	assert_false(c->up);
	world_free(w);
}

static bool cut_off(struct world *w, struct datagram *d)
{
	struct host *a = &w->hosts[0];
	bool rendezvous = endpoint_eq(&d->to, &w->rdv_at) || endpoint_eq(&d->from, &w->rdv_at);
	return !(rendezvous && (endpoint_eq(&d->to, &a->at) || endpoint_eq(&d->from, &a->at)));
}

/* A member that heard nothing of it, since the rendezvous was not there for it, hears it afterwards. */
static void test_removed_while_cut_off(void **state)
{
	struct world *w = world_new();
	struct host *a = world_node(w, 0, "a", 1, NULL), *b = world_node(w, 1, "b", 2, NULL);
	(void)state;
	world_run(w, 3 * SEC);
	struct addr ip = world_ip(a), bad = world_ip(b);
	talk(w, b, bad, ip, 2 * SEC);
	w->tap = cut_off;
	world_remove(w, "b");
	talk(w, b, bad, ip, 30 * SEC);
	a->packets = 0;
	talk(w, b, bad, ip, SEC);
	assert_true(a->packets >= 4); /* links live on without a rendezvous */
	world_rendezvous(w);	      /* and it forgets what it said to whom */
	talk(w, b, bad, ip, 90 * SEC);
	w->tap = NULL;
	talk(w, b, bad, ip, 30 * SEC);
	a->packets = 0;
	talk(w, b, bad, ip, 5 * SEC);
	assert_int_equal(a->packets, 0);
	assert_null(world_peer(a, "b"));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_handshake),
		cmocka_unit_test(test_plain_token),
		cmocka_unit_test(test_plain_token_and_a_psk),
		cmocka_unit_test(test_a_ticket_cannot_be_left_out),
		cmocka_unit_test(test_rotated),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_for_one),
		cmocka_unit_test(test_removed_member),
		cmocka_unit_test(test_removed_while_cut_off),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
