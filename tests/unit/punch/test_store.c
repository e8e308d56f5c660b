/* SPDX-License-Identifier: Apache-2.0 */
/* The lease store on a real disk: rows that last, rows that are damaged, files that are no database. */
#include "test_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void put(struct lease_store *s, member_number number, const char *id)
{
	struct lease_record rec = store_record(number, id);
	assert_int_equal(lease_store_put(s, &rec), 0);
}

static void test_rows_last(void **state)
{
	struct stat st;
	struct lease_store *s = store_open();
	assert_int_equal(stat(store_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	put(s, 3, "w3");
	put(s, 1, "w1");
	assert_int_equal(lease_store_commit(s), 0);
	put(s, 2, "w2"); /* not committed: as if it had never been */
	lease_store_close(s);

	s = store_open();
	assert_int_equal(store_read(s), 2);
	assert_true(store_has(1, "w1") && store_has(3, "w3"));
	assert_int_equal(lease_store_delete(s, 1), 0);
	assert_int_equal(lease_store_delete(s, 99), 0);
	assert_int_equal(lease_store_commit(s), 0);
	assert_int_equal(lease_store_commit(s), 0); /* nothing to do */
	lease_store_close(s);

	s = store_open();
	assert_int_equal(store_read(s), 1);
	lease_store_close(s);
	(void)state;
}

/* One row per number and one per id, the later one counts. */
static void test_replace(void **state)
{
	struct lease_store *s = store_open();
	put(s, 1, "w1");
	put(s, 1, "w2");
	put(s, 5, "w2");
	put(s, 6, "w6");
	assert_int_equal(lease_store_commit(s), 0);
	assert_int_equal(store_read(s), 2);
	assert_true(store_has(5, "w2") && store_has(6, "w6"));
	lease_store_close(s);
	(void)state;
}

static void sql(const char *text)
{
	sqlite3 *db = NULL;
	assert_int_equal(sqlite3_open(store_path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void test_damaged_rows(void **state)
{
	struct lease_store *s = store_open();
	put(s, 1, "w1");
	assert_int_equal(lease_store_commit(s), 0);
	lease_store_close(s);
	sql("INSERT INTO lease VALUES (0, 'w0', randomblob(32), 1, 1);"
	    "INSERT INTO lease VALUES (-5, 'wm', randomblob(32), 1, 1);"
	    "INSERT INTO lease VALUES (99999999999, 'wx', randomblob(32), 1, 1);"
	    "INSERT INTO lease VALUES (2, 'w 2', randomblob(32), 1, 1);"
	    "INSERT INTO lease VALUES (3, x'7733', randomblob(32), 1, 1);"
	    "INSERT INTO lease VALUES (4, 'w4', randomblob(31), 1, 1);"
	    "INSERT INTO lease VALUES (5, 'w5', 'text that has 32 letters, exactly', 1, 1);"
	    "INSERT INTO lease VALUES (6, 'w6', zeroblob(32), 1, 1);"
	    "INSERT INTO lease VALUES (7, 'w7', randomblob(32), 'soon', 1);"
	    "INSERT INTO lease VALUES (8, 'w8', randomblob(32), 1, -1);"
	    "INSERT INTO lease VALUES (9, 'w' || char(0) || '9', randomblob(32), 1, 1);"
	    "INSERT INTO lease VALUES (10, printf('%.*c', 64, 'x'), randomblob(32), 1, 1);"
	    "INSERT INTO lease VALUES (11, 'w11', randomblob(32), 1, 1);");
	s = store_open();
	assert_int_equal(store_read(s), 2);
	assert_true(store_has(1, "w1") && store_has(11, NULL));
	lease_store_close(s);
	(void)state;
}

static void assert_refused(const char *path, const char *part)
{
	char err[300] = "";
	assert_null(lease_store_open(path, err, sizeof(err)));
	if (!strstr(err, part) || !strstr(err, path))
		fail_msg("\"%s\" lacks \"%s\" or the path", err, part);
}

static void write_file(const void *p, size_t n)
{
	int fd = open(store_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), n);
	close(fd);
}

static void test_no_database(void **state)
{
	char junk[8192], link[600];
	memset(junk, 'j', sizeof(junk));
	write_file(junk, sizeof(junk));
	assert_refused(store_path, "no lease database");
	assert_refused(store_dir, "writable --state");
	assert_refused("/nonexistent/leases.db", "writable --state");
	snprintf(link, sizeof(link), "%s/link", store_dir);
	assert_int_equal(symlink(store_path, link), 0);
	assert_refused(link, "writable --state");
	unlink(link);
	(void)state;
}

/* A page in the middle overwritten: found when it is opened, not when a lease is needed. */
static void test_damaged_file(void **state)
{
	char junk[2048];
	struct lease_store *s = store_open();
	for (member_number n = 1; n <= 500; n++) {
		char id[16];
		snprintf(id, sizeof(id), "w%u", n);
		put(s, n, id);
	}
	assert_int_equal(lease_store_commit(s), 0);
	lease_store_close(s);
	int fd = open(store_path, O_RDWR);
	memset(junk, 0xa5, sizeof(junk));
	assert_int_equal(pwrite(fd, junk, sizeof(junk), 3 * 4096), sizeof(junk));
	close(fd);
	assert_refused(store_path, "damaged");
	(void)state;
}

static void test_newer_schema(void **state)
{
	lease_store_close(store_open());
	sql("PRAGMA user_version = 2");
	assert_refused(store_path, "newer release (schema 2; this one knows 1)");
	(void)state;
}

static void test_in_use(void **state)
{
	struct lease_store *s = store_open();
	/* locks are a process' own: the second one has to be another process */
	pid_t pid = fork();
	if (pid == 0) {
		char err[300] = "";
		struct lease_store *t = lease_store_open(store_path, err, sizeof(err));
		_exit(!t && strstr(err, "in use by another rendezvous") ? 0 : 1);
	}
	int status = 1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	put(s, 1, "w1");
	assert_int_equal(lease_store_commit(s), 0);
	lease_store_close(s);
	(void)state;
}

static void test_read_only_folder(void **state)
{
	assert_int_equal(chmod(store_dir, 0555), 0);
	pid_t pid = fork();
	if (pid == 0) {
		char err[300] = "";
		/* root may write everywhere */
		if (getuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		struct lease_store *s = lease_store_open(store_path, err, sizeof(err));
		_exit(!s && strstr(err, "writable --state") ? 0 : 1);
	}
	int status = 1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod(store_dir, 0700), 0);
	assert_int_equal(status, 0);
	(void)state;
}

static void test_old_file_is_made_private(void **state)
{
	struct stat st;
	write_file("", 0);
	assert_int_equal(chmod(store_path, 0644), 0);
	lease_store_close(store_open());
	assert_int_equal(stat(store_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	(void)state;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rows_last),
		TEST(test_replace),
		TEST(test_damaged_rows),
		TEST(test_no_database),
		TEST(test_damaged_file),
		TEST(test_newer_schema),
		TEST(test_in_use),
		TEST(test_read_only_folder),
		TEST(test_old_file_is_made_private),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
