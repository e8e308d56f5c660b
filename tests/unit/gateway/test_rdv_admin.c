/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator asks of a rendezvous, and what is left of it where it cannot be done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/rdv_admin.h"

enum { WALL = 1800000000 };

static char dir[64];
static const uint8_t secret[32] = { 7 };
static struct admission admission;
static struct token token;
static struct lease_record lease; /* number 0: none */
static int find_err, forget_err;

static int find(void *ctx, const char *id, const uint8_t *key, struct lease_record *out)
{
	(void)ctx;
	if (find_err)
		return find_err;
	if (!lease.number || (id ? strcmp(id, lease.id) : memcmp(key, lease.key, 32)))
		return -ENOENT;
	*out = lease;
	return 0;
}

static int drop(void *ctx, const struct lease_record *rec)
{
	(void)ctx;
	if (rec->number == lease.number)
		lease.number = 0;
	return 0;
}

static int forget(void *ctx, const char *id)
{
	(void)ctx;
	if (!lease.number || strcmp(id, lease.id) != 0)
		return -ENOENT;
	return forget_err;
}

static void says(const char *line, char kind, const char *part)
{
	struct rdv_admin a = { .dir = dir,
			       .secret = secret,
			       .admission = &admission,
			       .token = &token,
			       .leases = { NULL, find, drop, forget },
			       .wall = WALL };
	char *text = rdv_admin(&a, line);
	assert_non_null(text);
	if (text[0] != kind || !strstr(text, part))
		fail_msg("\"%s\" to \"%s\": lacks %c, \"%s\"", text, line, kind, part);
	free(text);
}

/* As the next start reads it. */
static bool kept(const char *id)
{
	struct admission saved;
	assert_int_equal(rdv_admin_load(&saved, dir), 0);
	bool is = admission_reserved(&saved, id);
	assert_int_equal(admission_reserved(&admission, id), is);
	admission_free(&saved);
	return is;
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/warren-admin-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	admission_free(&admission);
	token = (struct token){ .nprefixes = 1, .nrendezvous = 1 };
	snprintf(token.network, sizeof(token.network), "test");
	assert_true(prefix_parse("10.77.0.0/16", &token.prefixes[0]));
	snprintf(token.rendezvous[0].host, sizeof(token.rendezvous[0].host), "203.0.113.1");
	token.rendezvous[0].udp_port = 7777;
	token.key[0] = 9;
	lease = (struct lease_record){ .number = 5, .id = "c1" };
	memset(lease.key, 0x11, 32);
	find_err = forget_err = 0;
	return 0;
}

static int teardown(void **state)
{
	char path[128];
	(void)state;
	admission_free(&admission);
	snprintf(path, sizeof(path), "%s/admission", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/token", dir);
	unlink(path);
	return rmdir(dir);
}

/* What is refused leaves the id kept. */
static void test_forget_that_is_refused(void **state)
{
	static const int errors[] = { -EBUSY, -EAGAIN, -EIO };
	(void)state;
	says("token 0 c1", ADMIN_DONE, "warren1_");
	assert_true(kept("c1"));
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		forget_err = errors[i];
		says("forget c1", ADMIN_REFUSED, i == 0 ? "c1 is online: stop it first" : "");
		assert_true(kept("c1"));
	}
	forget_err = 0;
	find_err = -EAGAIN;
	says("forget c1", ADMIN_REFUSED, "still reading its database");
	assert_true(kept("c1"));
}

static void test_forget(void **state)
{
	(void)state;
	says("token 0 c1", ADMIN_DONE, "warren1_");
	says("forget c1", ADMIN_PENDING, "remove ERERERERERERERERERERERERERERERERERERERERERE=`");
	assert_false(kept("c1"));
	lease.number = 0;
	says("forget c1", ADMIN_NONE, "c1 has no lease");
	says("token 0 c1", ADMIN_DONE, "warren1_");
	says("forget c1", ADMIN_DONE, "any good token may claim c1 now");
	assert_false(kept("c1"));
}

static void test_most_kept_ids(void **state)
{
	char id[16];
	(void)state;
	for (int i = 0; i < ADMISSION_MAX_RESERVED; i++) {
		snprintf(id, sizeof(id), "w%d", i);
		assert_int_equal(admission_reserve(&admission, id), 0);
	}
	says("token 0 w7", ADMIN_DONE, "warren1_");
	says("token 0 c1", ADMIN_REFUSED, "1024 worker ids are kept");
}

static void test_rotate_twice(void **state)
{
	(void)state;
	says("rotate 600", ADMIN_DONE, "until 2027-01-15 08:10:00 UTC. Members stay.");
	says("rotate 60", ADMIN_DONE, "before, until 2027-01-15 08:10:00 UTC, is over");
	says("rotate 0", ADMIN_DONE, "before, until 2027-01-15 08:01:00 UTC, is over");
	says("rotate 0", ADMIN_DONE, "Members stay.");
}

static void test_remove(void **state)
{
	struct admission saved;
	uint8_t other[32];
	(void)state;
	find_err = -EAGAIN;
	says("remove c1", ADMIN_REFUSED, "still reading its database");
	find_err = 0;
	says("remove c2", ADMIN_REFUSED, "there is no member c2");
	/* a key that has no lease, as one that was replaced */
	says("remove IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI=", ADMIN_DONE, "holds no lease");
	says("remove ERERERERERERERERERERERERERERERERERERERERERE=", ADMIN_DONE, "c1 is out");
	assert_int_equal(lease.number, 0);
	says("remove no/id", ADMIN_REFUSED, "no worker id");
	assert_int_equal(rdv_admin_load(&saved, dir), 0);
	memset(other, 0x22, 32);
	const struct removed_key *k = admission_removed(&saved, other);
	assert_true(k && k->number == 0 && !k->id[0]);
	k = admission_removed(&saved, lease.key);
	assert_true(k && k->number == 5 && strcmp(k->id, "c1") == 0);
	admission_free(&saved);
}

/* Of a rendezvous that was killed a process may yet hold it, for a moment. */
static void test_lock(void **state)
{
	char path[80];

	(void)state;
	int fd = rdv_admin_lock(dir);
	assert_true(fd >= 0);
	pid_t pid = fork();
	if (pid == 0) {
		poll(NULL, 0, 200);
		_exit(0);
	}
	close(fd);
	fd = rdv_admin_lock(dir);
	assert_true(fd >= 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(rdv_admin_lock(dir), -EBUSY);
	close(fd);
	snprintf(path, sizeof(path), "%s/lock", dir);
	unlink(path);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_forget_that_is_refused), T(test_forget), T(test_most_kept_ids),
		T(test_rotate_twice),		T(test_remove), T(test_lock),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
