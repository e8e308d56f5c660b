/* SPDX-License-Identifier: Apache-2.0 */
/* The store's process: its loop, SIGKILL in the middle of it, a disk that is full. */
#include "test_store.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;
static int fd;
static uint64_t rng;
static struct store_reply ready; /* the last one */

static uint64_t any(uint64_t n)
{
	rng = rng * 6364136223846793005u + 1442695040888963407u;
	return (rng >> 33) % n;
}

static void serve_start(void)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char err[300] = "";
		close(pair[0]);
		struct lease_store *s = lease_store_open(store_path, err, sizeof(err));
		if (!s) {
			fprintf(stderr, "%s\n", err);
			_exit(3);
		}
		int rc = lease_store_serve(s, pair[1]);
		lease_store_close(s);
		_exit(rc == 0 ? 0 : 4);
	}
	close(pair[1]);
	fd = pair[0];
}

/* True when it ended by itself, in order. */
static bool serve_end(void)
{
	int status = 1;
	close(fd);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status == 0;
}

static void serve_kill(void)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(fd);
}

/* The next reply within `msec`; false: none. */
static bool hear(struct store_reply *r, int msec)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return poll(&p, 1, msec) == 1 && recv(fd, r, sizeof(*r), 0) == (ssize_t)sizeof(*r);
}

/* Rows and READY. */
static size_t hear_rows(void)
{
	struct store_reply r;
	store_nrows = 0;
	while (hear(&r, 10000) && r.kind == STORE_LOADED)
		store_rows[store_nrows++] = r.record;
	assert_int_equal(r.kind, STORE_READY);
	ready = r;
	return store_nrows;
}

static void ask(enum store_kind kind, uint64_t seq, member_number number, const char *id)
{
	struct store_request rq;
	memset(&rq, 0, sizeof(rq));
	rq.kind = kind;
	rq.seq = seq;
	rq.record = store_record(number, id);
	assert_int_equal(send(fd, &rq, sizeof(rq), MSG_NOSIGNAL), sizeof(rq));
}

static void ask_put(uint64_t seq, member_number number)
{
	char id[32];
	snprintf(id, sizeof(id), "w%u", number);
	ask(STORE_PUT, seq, number, id);
}

static void test_serve(void **state)
{
	struct store_reply r;
	serve_start();
	assert_int_equal(hear_rows(), 0);
	assert_true(ready.begun && !ready.left_out);
	/* many at once: fewer commits than requests, all answered in order */
	unsigned replies = 0;
	for (uint64_t seq = 1; seq <= 60; seq++)
		ask_put(seq, (member_number)seq);
	for (uint64_t done = 0; done < 60; replies++) {
		assert_true(hear(&r, 10000));
		assert_int_equal(r.kind, STORE_DONE);
		assert_true(r.seq > done && r.seq <= 60);
		done = r.seq;
	}
	assert_true(replies < 60);
	ask(STORE_DELETE, 61, 7, "");
	assert_true(hear(&r, 10000) && r.kind == STORE_DONE && r.seq == 61);
	/* what could not be read back is not written, and the others are not harmed */
	ask_put(62, 100);
	ask(STORE_PUT, 63, 101, "no id");
	ask(STORE_PUT, 64, 0, "w0");
	ask((enum store_kind)77, 65, 1, "w1");
	ask_put(66, 102);
	uint64_t done = 0, failed = 0;
	while (done < 66 && hear(&r, 10000)) {
		if (r.kind == STORE_FAILED)
			failed |= 1u << (r.seq - 60);
		else
			done = r.seq;
	}
	assert_int_equal(failed, 1u << 3 | 1u << 4 | 1u << 5);
	assert_true(serve_end());

	serve_start();
	assert_int_equal(hear_rows(), 61);
	assert_true(!ready.begun && !ready.left_out);
	assert_true(store_has(1, "w1") && store_has(102, "w102") && store_has(100, "w100"));
	assert_false(store_has(7, NULL) || store_has(101, NULL));
	assert_true(serve_end());
	(void)state;
}

/* It is for the rendezvous to know that leases are missing. */
static void test_what_is_missing(void **state)
{
	struct lease_store *s = store_open();
	struct lease_record damaged = store_record(2, "w2");
	(void)state;
	memset(damaged.key, 0, sizeof(damaged.key));
	assert_int_equal(lease_store_put(s, &damaged), 0);
	assert_int_equal(lease_store_commit(s), 0);
	lease_store_close(s);
	serve_start();
	assert_int_equal(hear_rows(), 0);
	assert_true(!ready.begun && ready.left_out);
	assert_true(serve_end());
	/* an empty file is no database either */
	assert_int_equal(truncate(store_path, 0), 0);
	serve_start();
	assert_int_equal(hear_rows(), 0);
	assert_true(ready.begun && !ready.left_out);
	assert_true(serve_end());
}

/* Nothing is said to be kept in a file that nobody will find. */
static void test_removed_under_it(void **state)
{
	struct store_reply r;
	int status = 0;
	(void)state;
	serve_start();
	assert_int_equal(hear_rows(), 0);
	ask_put(1, 1);
	assert_true(hear(&r, 10000) && r.kind == STORE_DONE);
	assert_int_equal(unlink(store_path), 0);
	ask_put(2, 2);
	assert_false(hear(&r, 10000));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(WEXITSTATUS(status), 4);
	close(fd);
	serve_start();
	assert_int_equal(hear_rows(), 0);
	ask_put(2, 2);
	assert_true(hear(&r, 10000) && r.kind == STORE_DONE);
	assert_true(serve_end());
	serve_start();
	assert_int_equal(hear_rows(), 1);
	assert_true(store_has(2, "w2"));
	assert_true(serve_end());
}

static void test_strange_peer(void **state)
{
	serve_start();
	hear_rows();
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_true(serve_end());
	(void)state;
}

/* Whatever was said to be committed is there after a SIGKILL at any moment, and whole. */
static void test_sigkill(void **state)
{
	static bool acked[STORE_ROWS];
	member_number next = 1;
	memset(acked, 0, sizeof(acked));
	rng = 7;
	for (unsigned round = 0; round < 20; round++) {
		struct store_reply r;
		member_number first = next;
		uint64_t stop = any(60), done = 0;
		serve_start();
		hear_rows();
		for (unsigned n = 0; n < 100 && done < stop; n++) {
			ask_put(next - first + 1, next);
			next++;
			while (hear(&r, any(4) == 0 ? 3 : 0) && r.kind == STORE_DONE)
				done = r.seq;
		}
		if (any(2))
			usleep((useconds_t)any(3000)); /* in the middle of a flush, perhaps */
		serve_kill();
		/* said before the end, and not heard by us yet: true as well, but not needed */
		for (uint64_t seq = 1; seq <= done; seq++)
			acked[first + seq - 1] = true;
		struct lease_store *s = store_open();
		store_read(s);
		lease_store_close(s);
		for (member_number n = 1; n < next; n++) {
			char id[32];
			snprintf(id, sizeof(id), "w%u", n);
			if (acked[n] && !store_has(n, id))
				fail_msg("round %u: lease %u is lost", round, n);
		}
		for (size_t i = 0; i < store_nrows; i++) {
			char id[32];
			snprintf(id, sizeof(id), "w%u", store_rows[i].number);
			assert_true(store_has(store_rows[i].number, id));
		}
	}
	(void)state;
}

/* --- a full disk --- */

static void fill(void)
{
	char path[600], b[4096];
	snprintf(path, sizeof(path), "%s/ballast", store_dir);
	int f = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	memset(b, 1, sizeof(b));
	while (write(f, b, sizeof(b)) > 0)
		;
	close(f);
}

static void unfill(void)
{
	char path[600];
	snprintf(path, sizeof(path), "%s/ballast", store_dir);
	unlink(path);
}

/* Puts first..last; how many could not be kept. What could is in `kept`. */
static unsigned put_many(member_number first, member_number last, bool *kept)
{
	struct store_reply r;
	unsigned failed = 0;
	for (member_number n = first; n <= last; n++) {
		ask_put(n, n);
		if (!hear(&r, 10000) || r.seq != n)
			_exit(20);
		kept[n] = r.kind == STORE_DONE;
		failed += !kept[n];
	}
	return failed;
}

/* In a mount namespace of its own; its exit status says what was wrong. */
static int full_disk(void)
{
	static bool kept[STORE_ROWS];
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", store_dir, "tmpfs", 0, "size=512k") < 0)
		return 77;
	serve_start();
	hear_rows();
	if (put_many(1, 20, kept) != 0)
		return 1;
	fill();
	if (put_many(21, 400, kept) == 0)
		return 2; /* it was never full */
	unfill();
	if (put_many(401, 420, kept) != 0)
		return 3; /* room again, and it did not go on */
	if (!serve_end())
		return 4;
	serve_start();
	hear_rows();
	for (member_number n = 1; n <= 420; n++)
		if (store_has(n, NULL) != kept[n])
			return 5; /* said otherwise than it is */
	return serve_end() ? 0 : 6;
}

static void test_full_disk(void **state)
{
	pid_t pid = fork();
	int status = 1;
	if (pid == 0)
		_exit(unshare(CLONE_NEWNS) < 0 ? 77 : full_disk());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip(); /* needs root */
	assert_int_equal(status, 0);
	(void)state;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_serve),	 TEST(test_what_is_missing), TEST(test_removed_under_it),
		TEST(test_strange_peer), TEST(test_sigkill),	     TEST(test_full_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
