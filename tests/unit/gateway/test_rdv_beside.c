/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rendezvous sees of the processes beside it, keeper and store, when one dies and another comes: what was being
 * saved is the next one's, in order, and nothing is said to be done that is not.
 */
#include "gateway/keeper.h"
#include "gateway/proc.h"
#include "gateway/rdv_keeper.h"
#include "gateway/rdv_store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static struct ev_loop *ev;
static int errors[8];
static unsigned nerrors;
static struct store_reply replies[16];
static unsigned nreplies;

static void on_kept(void *ctx, int err)
{
	(void)ctx;
	errors[nerrors++] = err;
}

static void on_reply(void *ctx, const struct store_reply *r)
{
	(void)ctx;
	replies[nreplies++] = *r;
}

static void turn(void)
{
	ev_run(ev, EVRUN_NOWAIT);
}

static int set_up(void **state)
{
	(void)state;
	ev = ev_loop_new(EVFLAG_NOENV);
	nerrors = nreplies = 0;
	return ev ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	ev_loop_destroy(ev);
	return 0;
}

/* --- the keeper --- */

static int new_keeper(struct rdv_keeper *k)
{
	int fds[2];
	assert_int_equal(chan_pair(fds), 0);
	rdv_keeper_connect(k, fds[0]);
	return fds[1];
}

/* The keeper's side: which byte it is to write; -1: there is nothing. */
static int handed(int fd)
{
	struct chan_msg m;
	uint8_t byte = 0;
	int file = -1;
	if (chan_recv(fd, &m, &file) <= 0)
		return -1;
	assert_int_equal(m.kind, CHAN_KEEP);
	assert_int_equal(m.code, KEEPER_IDENTITY);
	assert_int_equal(pread(file, &byte, 1, 0), 1);
	close(file);
	return byte;
}

static void a_keeper_that_dies(void **state)
{
	const struct rdv_keeper_config kc = { .ev = ev, .kept = on_kept };
	const struct chan_msg kept = { .kind = CHAN_KEPT };
	struct rdv_keeper k;

	(void)state;
	rdv_keeper_init(&k, &kc);
	assert_true(k.fd < 0 && !k.busy);
	int fd = new_keeper(&k);
	assert_int_equal(rdv_keeper_save(&k, (const uint8_t[]){ 1 }, 1), 0);
	assert_true(k.busy);
	assert_int_equal(handed(fd), 1);
	chan_send(fd, &kept, -1);
	turn();
	assert_true(nerrors == 1 && errors[0] == 0 && !k.busy);
	/* while it writes */
	assert_int_equal(rdv_keeper_save(&k, (const uint8_t[]){ 2 }, 1), 0);
	close(fd);
	turn();
	assert_true(nerrors == 2 && errors[1] == -EPIPE && !k.busy && k.fd < 0);
	/* while it does nothing: there is nothing to do again */
	fd = new_keeper(&k);
	close(fd);
	turn();
	assert_true(nerrors == 2 && k.fd < 0);
	rdv_keeper_close(&k);
}

/* The next one is there before the end of the one before was seen; and that one may have been done. */
static void a_keeper_after_another(void **state)
{
	const struct rdv_keeper_config kc = { .ev = ev, .kept = on_kept };
	const struct chan_msg kept = { .kind = CHAN_KEPT };
	struct rdv_keeper k;

	(void)state;
	rdv_keeper_init(&k, &kc);
	int fd = new_keeper(&k);
	assert_int_equal(rdv_keeper_save(&k, (const uint8_t[]){ 1 }, 1), 0);
	close(fd);
	fd = new_keeper(&k);
	assert_true(nerrors == 1 && errors[0] == -EPIPE && !k.busy && k.fd >= 0);
	assert_int_equal(rdv_keeper_save(&k, (const uint8_t[]){ 1 }, 1), 0);
	assert_int_equal(handed(fd), 1);
	chan_send(fd, &kept, -1);
	close(fd);
	fd = new_keeper(&k);
	assert_true(nerrors == 2 && errors[1] == 0 && !k.busy);
	/* who waits for it at an end does not wait for one that is dead */
	assert_int_equal(rdv_keeper_save(&k, (const uint8_t[]){ 3 }, 1), 0);
	close(fd);
	rdv_keeper_await(&k);
	assert_true(nerrors == 3 && errors[2] == -EPIPE && !k.busy);
	rdv_keeper_close(&k);
}

/* --- the store --- */

static int new_store(struct rdv_store *s)
{
	int fds[2];
	assert_int_equal(chan_pair(fds), 0);
	rdv_store_connect(s, fds[0]);
	return fds[1];
}

static void put(struct rdv_store *s, uint64_t seq)
{
	const struct store_request q = { .kind = STORE_PUT, .seq = seq };
	assert_true(rdv_store_put(s, &q));
}

/* The store's side: the number of the request; 0: there is none. */
static uint64_t asked(int fd)
{
	struct store_request q;
	return recv(fd, &q, sizeof(q), 0) == (ssize_t)sizeof(q) ? q.seq : 0;
}

static void say(int fd, enum store_kind kind, uint64_t seq)
{
	const struct store_reply r = { .kind = kind, .seq = seq };
	assert_int_equal(send(fd, &r, sizeof(r), MSG_NOSIGNAL), sizeof(r));
	turn();
}

static void a_store_that_dies(void **state)
{
	const struct rdv_store_config sc = { .ev = ev, .reply = on_reply };
	struct rdv_store *s = rdv_store_open(&sc);

	(void)state;
	assert_non_null(s);
	int fd = new_store(s);
	say(fd, STORE_LOADED, 0);
	assert_true(nreplies == 1 && !rdv_store_loaded(s));
	close(fd); /* while it loads: the next one begins anew */
	turn();
	fd = new_store(s);
	say(fd, STORE_LOADED, 0);
	say(fd, STORE_READY, 0);
	assert_true(nreplies == 3 && rdv_store_loaded(s));
	for (uint64_t seq = 1; seq <= 4; seq++)
		put(s, seq);
	assert_int_equal(asked(fd), 1);
	assert_int_equal(asked(fd), 2);
	say(fd, STORE_DONE, 2);
	close(fd); /* with the rest in its hands, and one that came while there was none */
	turn();
	put(s, 5);
	fd = new_store(s);
	say(fd, STORE_LOADED, 0); /* is known */
	assert_int_equal(nreplies, 4);
	for (uint64_t seq = 3; seq <= 5; seq++)
		assert_int_equal(asked(fd), seq);
	assert_int_equal(asked(fd), 0);
	say(fd, STORE_DONE, 5);
	assert_int_equal(nreplies, 5);
	rdv_store_close(s);
	close(fd);
}

/* For how long nothing was done, whatever became of the store. */
static void a_store_that_is_late(void **state)
{
	const struct rdv_store_config sc = { .ev = ev, .reply = on_reply };
	struct rdv_store *s = rdv_store_open(&sc);

	(void)state;
	int fd = new_store(s);
	say(fd, STORE_READY, 0);
	assert_int_equal(rdv_store_waits(s, 1000), 0);
	put(s, 1);
	rdv_store_turn(s, 1000);
	put(s, 2);
	rdv_store_turn(s, 3000);
	assert_int_equal(rdv_store_waits(s, 4000), 3000);
	close(fd);
	fd = new_store(s);
	assert_int_equal(rdv_store_waits(s, 5000), 4000);
	say(fd, STORE_DONE, 1);
	rdv_store_turn(s, 5000);
	assert_int_equal(rdv_store_waits(s, 6000), 1000);
	say(fd, STORE_DONE, 2);
	assert_int_equal(rdv_store_waits(s, 5000), 0);
	rdv_store_close(s);
	close(fd);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(a_keeper_that_dies),
		T(a_keeper_after_another),
		T(a_store_that_dies),
		T(a_store_that_is_late),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
