/* SPDX-License-Identifier: Apache-2.0 */
/* What a gateway asks its helper, over real channels: which questions there are, and when. */
#include "gateway/gw.h"
#include "gateway/helper.h"
#include "gateway/proc.h"
#include "gw_rest.h"
#include "base/log.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static struct gw g;
static struct gw_config cfg;
static int launcher, helper;
static unsigned warned;

void __wrap_log_line(struct log_site *site, enum log_level level, const char *fmt, ...);
void __wrap_log_line(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	(void)site;
	warned += level == LOG_LEVEL_WARN && strstr(fmt, "no address for the rendezvous");
}

/* --- the world --- */

static int setup(void **state)
{
	int fds[2];
	(void)state;

	cfg = (struct gw_config){ .worker_id = "w1", .interface = "warren0", .joining = true };
	cfg.aead = aead_choose(NULL);
	cfg.token.nprefixes = 1;
	cfg.token.nrendezvous = 3;
	cfg.token.key[0] = 9;
	if (!prefix_parse("10.77.0.0/16", &cfg.token.prefixes[0]))
		return -1;
	for (unsigned i = 0; i < 3; i++) {
		static const char *const hosts[] = { "a.example.com", "203.0.113.10",
						     "b.example.com" };
		cfg.token.rendezvous[i].udp_port = (uint16_t)(7777 + i);
		snprintf(cfg.token.rendezvous[i].host, sizeof(cfg.token.rendezvous[i].host), "%s",
			 hosts[i]);
	}
	struct node_config nc = { .io = { .udp = rest_udp, .note = rest_note },
				  .aead = cfg.aead,
				  .worker_id = "w1",
				  .release = WARREN_VERSION,
				  .private_key = { 8 },
				  .max_peers = 4,
				  .token = &cfg.token };
	memset(&g, 0, sizeof(g));
	g.cfg = &cfg;
	g.udp.v6 = true;
	g.loop.ev = ev_loop_new(EVFLAG_NOENV);
	g.loop.now = 1000 * NSEC_PER_SEC;
	g.helper_fd = g.shim_fd = g.keeper_fd = -1;
	g.node = node_new(&nc, g.loop.now);
	warned = 0;
	if (!g.node || !g.loop.ev || chan_pair(fds) < 0)
		return -1;
	g.chan = fds[0];
	launcher = fds[1];
	helper = -1;
	gw_chan_start(&g);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ev_io_stop(g.loop.ev, &g.chan_io);
	gw_chan_close(&g);
	close(g.chan);
	close(launcher);
	close(helper);
	node_free(g.node);
	ev_loop_destroy(g.loop.ev);
	return 0;
}

static void turn(void)
{
	ev_run(g.loop.ev, EVRUN_NOWAIT);
}

/* The launcher has one; before that there was another, or none. */
static void helper_comes(void)
{
	int fds[2];
	assert_int_equal(chan_pair(fds), 0);
	assert_int_equal(chan_send(launcher, &(struct chan_msg){ .kind = CHAN_HELPER }, fds[0]), 0);
	close(fds[0]);
	if (helper >= 0)
		close(helper);
	helper = fds[1];
	turn();
}

/* The hosts that it was asked for, one bit each. */
static unsigned asked(void)
{
	struct resolve_question q;
	unsigned bits = 0;
	while (recv(helper, &q, sizeof(q), MSG_DONTWAIT) == (ssize_t)sizeof(q)) {
		assert_true(q.id < TOKEN_MAX_RENDEZVOUS && !(bits & 1u << q.id));
		assert_string_equal(q.host, cfg.token.rendezvous[q.id].host);
		assert_int_equal(q.port, cfg.token.rendezvous[q.id].udp_port);
		bits |= 1u << q.id;
	}
	return bits;
}

static void answers(uint32_t id, unsigned count)
{
	struct resolve_answer a = { .id = id, .count = count };
	a.at[0] = (struct endpoint){ .addr = addr_v4_u32(0xcb007100u + id), .port = 7777 };
	assert_int_equal(send(helper, &a, sizeof(a), 0), sizeof(a));
	turn();
}

/* --- tests --- */

/* A name server that is dead: the helper takes longer than the node waits until it wants to know again. */
static void slow_answers_count(void **state)
{
	(void)state;
	helper_comes();
	assert_int_equal(asked(), 5);
	gw_resolve(&g);
	gw_resolve(&g);
	assert_int_equal(asked(), 0);
	answers(0, 1);
	assert_int_equal(g.resolving, 4);
	assert_int_equal(g.resolved, 3);
	gw_resolve(&g);
	assert_int_equal(asked(), 1); /* and not the one that is still being looked for */
	answers(2, 1);
	assert_int_equal(g.resolved, 7);
	assert_int_equal(warned, 0);
}

static void an_address_needs_no_helper(void **state)
{
	(void)state;
	gw_resolve(&g);
	assert_int_equal(g.resolved, 2);
	assert_int_equal(g.resolving, 0);
}

static void another_helper_is_asked_again(void **state)
{
	(void)state;
	helper_comes();
	assert_int_equal(asked(), 5);
	helper_comes();
	assert_int_equal(asked(), 5);
}

static void no_address_at_all_is_said(void **state)
{
	(void)state;
	cfg.token.rendezvous[1].host[0] = 'x';
	helper_comes();
	assert_int_equal(asked(), 7);
	answers(0, 0);
	answers(1, 0);
	assert_int_equal(warned, 0); /* the third may have one */
	answers(2, 0);
	assert_int_equal(warned, 1);
	answers(2, 1); /* nobody asked */
	assert_int_equal(g.resolved, 0);
	gw_resolve(&g);
	answers(1, 1);
	answers(0, 0);
	answers(2, RESOLVE_MAX + 1);
	assert_int_equal(g.resolved, 2);
	assert_int_equal(warned, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(slow_answers_count),
		T(an_address_needs_no_helper),
		T(another_helper_is_asked_again),
		T(no_address_at_all_is_said),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
