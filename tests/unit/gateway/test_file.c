/* SPDX-License-Identifier: Apache-2.0 */
/* Files that a person named: what is none is refused at once, and what was handed over is read to its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/file.h"

static char dir[64], file[80];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/warren-file-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof(file), "%s/it", dir);
	alarm(10); /* nothing here waits */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	alarm(0);
	unlink(file);
	return rmdir(dir);
}

static void put(const char *text, size_t len)
{
	FILE *f = fopen(file, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
}

static void is_read(const char *path, const char *want)
{
	char *text = file_read(path, 8);
	assert_non_null(text);
	assert_string_equal(text, want);
	free(text);
}

static void is_refused(const char *path, int err)
{
	errno = 0;
	assert_null(file_read(path, 8));
	assert_int_equal(errno, err);
}

static void test_text(void **state)
{
	(void)state;
	put("12345678", 8);
	is_read(file, "12345678");
	put("", 0);
	is_read(file, "");
	put("123456789", 9);
	is_refused(file, EFBIG);
	put("1234\0"
	    "678",
	    8);
	is_refused(file, EILSEQ);
	is_refused("/no/such/file", ENOENT);
}

/* As secrets are mounted into containers. */
static void test_link_to_a_file(void **state)
{
	char name[96];
	(void)state;
	put("secret", 6);
	snprintf(name, sizeof(name), "%s.link", file);
	assert_int_equal(symlink(file, name), 0);
	is_read(name, "secret");
	assert_int_equal(file_open(name, O_NOFOLLOW), -ELOOP);
	unlink(name);
}

static void test_no_file(void **state)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	(void)state;
	is_refused(dir, EBADMSG);
	is_refused("/dev/zero", EBADMSG);
	is_refused("/dev/null", EBADMSG);
	assert_int_equal(mkfifo(file, 0600), 0);
	is_refused(file, EBADMSG);
	/* nor with somebody at its other end */
	int end = open(file, O_RDWR);
	assert_int_equal(write(end, "x", 1), 1);
	is_refused(file, EBADMSG);
	close(end);
	unlink(file);
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", file);
	assert_int_equal(bind(s, (struct sockaddr *)&at, sizeof(at)), 0);
	is_refused(file, EBADMSG);
	close(s);
}

/* A shell's <(COMMAND): a pipe whose writer takes its time. */
static void test_handed_over(void **state)
{
	char by_number[32];
	int ends[2], left = 1, status;
	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "abc", 3), 3);
	snprintf(by_number, sizeof(by_number), "/dev/fd/%d", ends[0]);
	pid_t reader = fork();
	assert_true(reader >= 0);
	if (reader == 0) {
		close(ends[1]);
		char *text = file_read(by_number, 8);
		_exit(!text || strcmp(text, "abcdef") != 0);
	}
	while (left > 0) /* until it has what there is, and waits for more */
		assert_int_equal(ioctl(ends[0], FIONREAD, &left), 0);
	assert_int_equal(write(ends[1], "def", 3), 3);
	close(ends[1]);
	assert_true(waitpid(reader, &status, 0) == reader && status == 0);
	close(ends[0]);
}

/* That of a file is read from its beginning, each time. */
static void test_file_handed_over(void **state)
{
	char by_number[32];
	(void)state;
	put("secret", 6);
	int fd = open(file, O_RDONLY);
	snprintf(by_number, sizeof(by_number), "/proc/self/fd/%d", fd);
	is_read(by_number, "secret");
	is_read(by_number, "secret");
	close(fd);
	is_refused(by_number, ENOENT);
}

static void test_words(void **state)
{
	(void)state;
	assert_non_null(strstr(file_error(EBADMSG), "a pipe"));
	assert_non_null(strstr(file_error(EILSEQ), "NUL"));
	assert_string_equal(file_error(ENOENT), strerror(ENOENT));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_text),	     T(test_link_to_a_file),   T(test_no_file),
		T(test_handed_over), T(test_file_handed_over), T(test_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
