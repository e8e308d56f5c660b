/* SPDX-License-Identifier: Apache-2.0 */
/* When the gateway's own state is written, and by whom: its loop, which packets wait for, does not wait for the disk. */
#include "gateway/gw.h"
#include "gateway/proc.h"
#include "gw_rest.h"
#include "base/log.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <unistd.h>
#include <cmocka.h>

#define LATER (41 * NSEC_PER_SEC) /* when there is something to reserve again */

static struct gw g;
static struct gw_config cfg;
static int keeper;
static unsigned syncs, warned;
static char dir[] = "/tmp/warren-state.XXXXXX";

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	syncs++;
	return __real_fsync(fd);
}

void __wrap_log_line(struct log_site *site, enum log_level level, const char *fmt, ...);
void __wrap_log_line(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	(void)site;
	warned += level == LOG_LEVEL_WARN && strstr(fmt, "cannot write the state") != NULL;
}

static void turn(nsec after)
{
	g.loop.now += after;
	gw_state_turn(&g, g.loop.now);
}

static void keeper_comes(void)
{
	int fds[2];
	assert_int_equal(chan_pair(fds), 0);
	g.keeper_fd = fds[0];
	keeper = fds[1];
}

static int setup(void **state)
{
	struct node_config nc = { .io = { .udp = rest_udp, .note = rest_note },
				  .aead = aead_choose(NULL),
				  .worker_id = "w1",
				  .private_key = { 8 },
				  .max_peers = 4 };
	(void)state;
	memset(&g, 0, sizeof(g));
	cfg = (struct gw_config){ .worker_id = "w1" };
	g.cfg = &cfg;
	g.keeper_fd = keeper = -1;
	g.loop.now = 1000 * NSEC_PER_SEC;
	g.loop.wall_offset = 1700000000 * NSEC_PER_SEC;
	g.node = node_new(&nc, g.loop.now);
	if (!g.node || state_load(&cfg.state, dir) < 0)
		return -1;
	state_begin(&cfg.state, g.loop.now, g.loop.now + g.loop.wall_offset);
	syncs = warned = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(g.keeper_fd);
	close(keeper);
	node_free(g.node);
	state_remove(&cfg.state);
	return 0;
}

/* What the keeper was handed: the timestamp in it; 0: nothing. */
static int64_t handed(void)
{
	uint8_t bytes[STATE_MAX];
	struct chan_msg m;
	struct state s = { 0 };
	int fd, got = chan_recv(keeper, &m, &fd);

	if (got <= 0)
		return 0;
	assert_true(m.kind == CHAN_KEEP && m.code == KEEPER_IDENTITY && fd >= 0);
	ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
	close(fd);
	assert_int_equal(state_decode(&s, bytes, (size_t)n), 0);
	assert_memory_equal(s.private_key, cfg.state.private_key, 32);
	return s.timestamp;
}

/* Before anything is sent it is on the disk. */
static void the_first_is_written_at_once(void **state)
{
	struct state s;
	(void)state;
	turn(0);
	assert_true(syncs > 0);
	assert_int_equal(state_read(&s, dir), 0);
	assert_true(s.timestamp > g.loop.now + g.loop.wall_offset);
	syncs = 0;
	turn(NSEC_PER_SEC);
	assert_int_equal(syncs, 0);
}

static void the_keeper_writes_the_others(void **state)
{
	(void)state;
	turn(0);
	keeper_comes();
	syncs = 0;
	turn(LATER);
	assert_int_equal(syncs, 0);
	int64_t first = handed();
	assert_true(first > g.loop.now + g.loop.wall_offset);
	/* its disk hangs: nobody waits, and nothing more is handed over */
	turn(LATER);
	turn(LATER);
	assert_int_equal(syncs, 0);
	assert_int_equal(handed(), 0);
	gw_state_kept(&g, 0);
	assert_true(gw_state_deadline(&g) <= g.loop.now);
	turn(0);
	assert_true(handed() > first + LATER);
	gw_state_kept(&g, 0);
	assert_int_equal(gw_state_deadline(&g), NSEC_NEVER);
	turn(NSEC_PER_SEC);
	assert_int_equal(handed(), 0);
	assert_int_equal(warned, 0);
}

static void what_was_refused_is_tried_again(void **state)
{
	(void)state;
	turn(0);
	keeper_comes();
	syncs = 0;
	turn(LATER);
	assert_true(handed());
	gw_state_kept(&g, -ENOSPC);
	assert_int_equal(warned, 1);
	turn(NSEC_PER_SEC);
	assert_int_equal(handed(), 0);
	assert_true(gw_state_deadline(&g) > g.loop.now);
	g.loop.now = gw_state_deadline(&g);
	turn(0);
	assert_true(handed());
	/* it dies over it: the next one, or we, at once */
	gw_state_kept(&g, -EPIPE);
	turn(0);
	assert_true(handed());
	assert_int_equal(warned, 1);
	assert_int_equal(syncs, 0);
}

/* A stop finds the keeper waiting for its disk: what it has under way stays its own. */
static void one_writer_at_a_time(void **state)
{
	(void)state;
	turn(0);
	keeper_comes();
	turn(LATER);
	assert_true(handed());
	syncs = 0;
	gw_state_end(&g);
	assert_int_equal(syncs, 0);
	gw_state_kept(&g, 0);
	gw_state_end(&g);
	assert_true(syncs > 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_first_is_written_at_once),
		T(the_keeper_writes_the_others),
		T(what_was_refused_is_tried_again),
		T(one_writer_at_a_time),
	};
	if (sodium_init() < 0 || !mkdtemp(dir))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
