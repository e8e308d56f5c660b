/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state file: the fixtures of version 1, every damage, and a save that dies at every step. The
 * linker puts this file's write, fsync and rename before the kernel's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/blake2s.h"
#include "gateway/state.h"

enum { STEPS = 3, DIED = 77 };

static char dir[64], identity[128];

/* --- the disk, which dies or fails at the step that is asked for --- */

enum plan { DISK_WORKS, DISK_DIES, DISK_FAILS, DISK_FULL };

static struct {
	enum plan plan;
	unsigned step, at;
} disk;

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);

static bool accident(enum plan plan)
{
	return disk.plan == plan && disk.step == disk.at;
}

static bool step_fails(void)
{
	disk.step++;
	if (accident(DISK_DIES))
		_exit(DIED);
	errno = EIO;
	return accident(DISK_FAILS);
}

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
	if (fd <= 2)
		return __real_write(fd, p, n);
	if (step_fails())
		return -1;
	return __real_write(fd, p, accident(DISK_FULL) ? n / 2 : n);
}

int __wrap_fsync(int fd)
{
	return step_fails() ? -1 : __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
	return step_fails() ? -1 : __real_rename(from, to);
}

static void disk_plan(enum plan plan, unsigned at)
{
	disk.plan = plan;
	disk.at = at;
	disk.step = 0;
}

/* --- a folder for each test --- */

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/warren-state-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(identity, sizeof(identity), "%s/identity", dir);
	disk_plan(DISK_WORKS, 0);
	return 0;
}

static int teardown(void **state)
{
	char path[160];
	(void)state;
	unlink(identity);
	snprintf(path, sizeof(path), "%s.new", identity);
	unlink(path);
	return rmdir(dir);
}

static void put_file(const uint8_t *p, size_t len)
{
	FILE *f = fopen(identity, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, len, f), len);
	fclose(f);
}

static size_t fixture(const char *name, uint8_t out[static 512])
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", FIXTURES, name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(out, 1, 512, f);
	fclose(f);
	return n;
}

static void numbered(uint8_t *p, uint8_t first)
{
	for (unsigned i = 0; i < 32; i++)
		p[i] = (uint8_t)(first + i);
}

static struct state whole(void)
{
	struct state s = {
		.port = 51820, .timestamp = 1760000000123456789, .number = 4242, .has_psk = true
	};
	numbered(s.private_key, 1);
	numbered(s.psk, 0x80);
	return s;
}

/* --- the bytes --- */

static void test_fixture(void **state)
{
	uint8_t bytes[512], out[512];
	struct state s = { 0 }, want = whole();
	(void)state;
	size_t len = fixture("state.bin", bytes);
	assert_int_equal(state_decode(&s, bytes, len), 0);
	assert_memory_equal(&s, &want, sizeof(s));
	/* and it is what we write */
	assert_int_equal(state_encode(&want, out, sizeof(out)), len);
	assert_memory_equal(out, bytes, len);
}

static void test_fixture_smallest(void **state)
{
	uint8_t bytes[512];
	struct state s = { 0 }, want = { 0 };
	(void)state;
	numbered(want.private_key, 1);
	assert_int_equal(state_decode(&s, bytes, fixture("state-smallest.bin", bytes)), 0);
	assert_memory_equal(&s, &want, sizeof(s));
}

static void test_fixture_of_later_releases(void **state)
{
	uint8_t bytes[512];
	struct state s = { 0 }, want = whole();
	(void)state;
	assert_int_equal(state_decode(&s, bytes, fixture("state-unknown-tlv.bin", bytes)), 0);
	assert_memory_equal(&s, &want, sizeof(s));
	assert_int_equal(state_decode(&s, bytes, fixture("state-critical-tlv.bin", bytes)),
			 -EBADMSG);
	assert_int_equal(state_decode(&s, bytes, fixture("state-version-2.bin", bytes)), -EBADMSG);
}

static void test_every_cut_and_every_bit(void **state)
{
	uint8_t bytes[512];
	struct state s;
	(void)state;
	size_t len = fixture("state.bin", bytes);
	for (size_t i = 0; i < len; i++) {
		uint8_t *exact = malloc(i ? i : 1); /* so that ASan sees one byte too many */
		assert_non_null(exact);
		memcpy(exact, bytes, i);
		assert_int_equal(state_decode(&s, exact, i), -EBADMSG);
		free(exact);
	}
	for (size_t bit = 0; bit < len * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(state_decode(&s, bytes, len), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	bytes[len] = 0;
	assert_int_equal(state_decode(&s, bytes, len + 1), -EBADMSG);
}

/* TLVs with lengths that are wrong, under a sum that is right. */
static void test_wrong_fields(void **state)
{
	static const struct {
		uint16_t type, len;
	} wrong[] = { { 1, 31 }, { 1, 0 }, { 2, 1 }, { 3, 7 }, { 4, 3 }, { 5, 31 }, { 5, 0 } };
	uint8_t value[64] = { 9 }, bytes[512], sum[BLAKE2S_LEN];
	struct state s;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong) + 2; i++) {
		struct wr w = wr_of(bytes, sizeof(bytes));
		wr_bytes(&w, "warren s\001", 9);
		if (i != ARRAY_SIZE(wrong)) /* that one has no private key at all */
			wr_tlv(&w, 1, value, 32);
		if (i < ARRAY_SIZE(wrong))
			wr_tlv(&w, wrong[i].type, value, wrong[i].len);
		else if (i > ARRAY_SIZE(wrong))
			wr_be16(&w, 2); /* half of a TLV */
		blake2s_hash(bytes, w.len, NULL, 0, sum);
		wr_bytes(&w, sum, 8);
		memset(&s, 0, sizeof(s));
		assert_int_equal(state_decode(&s, bytes, w.len), -EBADMSG);
	}
}

static void test_encode_needs_room(void **state)
{
	uint8_t out[115];
	struct state s = whole();
	(void)state;
	for (size_t cap = 0; cap < sizeof(out); cap++)
		assert_int_equal(state_encode(&s, out, cap), 0);
	assert_int_equal(state_encode(&s, out, sizeof(out)), sizeof(out));
}

/* --- the file --- */

static void test_first_start_makes_a_key(void **state)
{
	struct state a, b;
	struct stat st;
	char below[96];
	(void)state;
	snprintf(below, sizeof(below), "%s/a/b", dir);
	assert_int_equal(state_load(&a, below), 0);
	assert_false(sodium_is_zero(a.private_key, 32));
	assert_int_equal(stat(below, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	snprintf(identity, sizeof(identity), "%s/identity", below);
	assert_int_equal(stat(identity, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(state_load(&b, below), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	unlink(identity);
	rmdir(below);
	*strrchr(below, '/') = 0;
	rmdir(below);
}

static void test_saved_is_loaded(void **state)
{
	struct state s = whole(), t;
	(void)state;
	snprintf(s.dir, sizeof(s.dir), "%s", dir);
	assert_int_equal(state_save(&s), 0);
	assert_int_equal(state_load(&t, dir), 0);
	assert_memory_equal(&s, &t, sizeof(s));
}

/* A damaged file is never taken for a missing one: a new key would be another identity. */
static void test_damage_is_not_absence(void **state)
{
	static const uint8_t rubbish[5000] = { 'w' };
	static const size_t lengths[] = { 0, 1, 100, 4096, 5000 };
	uint8_t now[5000];
	struct state s;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		put_file(rubbish, lengths[i]);
		assert_int_equal(state_load(&s, dir), -EBADMSG);
		FILE *f = fopen(identity, "rb");
		assert_int_equal(fread(now, 1, sizeof(now), f), lengths[i]);
		fclose(f);
	}
}

/* Nor is waited for who might write to it, or might read what is written beside it. */
static void test_a_pipe_of_its_name(void **state)
{
	struct state s = whole(), t;
	char fresh[160];
	(void)state;
	assert_int_equal(mkfifo(identity, 0600), 0);
	snprintf(fresh, sizeof(fresh), "%s.new", identity);
	assert_int_equal(mkfifo(fresh, 0600), 0);
	alarm(5);
	assert_int_equal(state_load(&t, dir), -EBADMSG);
	snprintf(s.dir, sizeof(s.dir), "%s", dir);
	assert_int_equal(state_save(&s), 0);
	assert_int_equal(state_load(&t, dir), 0);
	alarm(0);
}

static void test_a_folder_of_its_name(void **state)
{
	struct state s;
	(void)state;
	assert_int_equal(mkdir(identity, 0700), 0);
	assert_int_equal(state_load(&s, dir), -EBADMSG);
	rmdir(identity);
}

static void test_no_such_folder(void **state)
{
	struct state s;
	char path[600];
	(void)state;
	put_file((const uint8_t *)"x", 1);
	snprintf(path, sizeof(path), "%s/below", identity);
	assert_int_equal(state_load(&s, path), -ENOTDIR);
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	assert_int_equal(state_load(&s, path), -ENAMETOOLONG);
}

/* Whoever can write to the folder must not turn our key's file into a read of another. */
static void test_no_symbolic_link(void **state)
{
	struct state s;
	(void)state;
	assert_int_equal(symlink("/etc/hostname", identity), 0);
	assert_int_equal(state_load(&s, dir), -ELOOP);
}

/* What the file holds after a save of `s` that met with an accident; true: the old, false: the new. */
static bool old_remains(const struct state *old, const struct state *fresh)
{
	struct state t;
	disk_plan(DISK_WORKS, 0);
	assert_int_equal(state_load(&t, dir), 0);
	if (memcmp(&t, old, sizeof(t)) == 0)
		return true;
	assert_memory_equal(&t, fresh, sizeof(t));
	return false;
}

static void test_save_that_dies(void **state)
{
	struct state old = whole(), fresh = old;
	(void)state;
	snprintf(old.dir, sizeof(old.dir), "%s", dir);
	fresh = old;
	fresh.timestamp++;
	assert_int_equal(state_save(&old), 0);
	for (unsigned at = 1; at <= STEPS; at++) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			disk_plan(DISK_DIES, at);
			state_save(&fresh);
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(WEXITSTATUS(status), DIED);
		assert_true(old_remains(&old, &fresh));
	}
	/* its left-over does not hinder the next */
	assert_int_equal(state_save(&fresh), 0);
	assert_false(old_remains(&old, &fresh));
}

static void test_save_that_fails(void **state)
{
	struct state old = whole(), fresh;
	(void)state;
	snprintf(old.dir, sizeof(old.dir), "%s", dir);
	fresh = old;
	fresh.number++;
	assert_int_equal(state_save(&old), 0);
	for (unsigned at = 1; at <= STEPS; at++) {
		disk_plan(DISK_FAILS, at);
		assert_int_equal(state_save(&fresh), -EIO);
		assert_true(old_remains(&old, &fresh));
	}
	disk_plan(DISK_FULL, 1);
	assert_int_equal(state_save(&fresh), -ENOSPC);
	assert_true(old_remains(&old, &fresh));
	/* the directory: there is the new file, and no promise that it stays */
	disk_plan(DISK_FAILS, STEPS + 1);
	assert_int_equal(state_save(&fresh), -EIO);
	assert_false(old_remains(&old, &fresh));
	char path[160];
	snprintf(path, sizeof(path), "%s.new", identity);
	assert_int_equal(access(path, F_OK), -1);
}

/* `sudo warren token --for c1` beside a rendezvous of another user, who is to read what it wrote. */
static void test_owner_of_the_folder(void **state)
{
	struct state s = whole();
	struct stat st;
	(void)state;
	if (geteuid() != 0 || chown(dir, 12345, 23456) < 0)
		skip();
	snprintf(s.dir, sizeof(s.dir), "%s", dir);
	assert_int_equal(state_save(&s), 0);
	assert_int_equal(stat(identity, &st), 0);
	assert_int_equal(st.st_uid, 12345);
	assert_int_equal(st.st_gid, 23456);
	assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixture),
		cmocka_unit_test(test_fixture_smallest),
		cmocka_unit_test(test_fixture_of_later_releases),
		cmocka_unit_test(test_every_cut_and_every_bit),
		cmocka_unit_test(test_wrong_fields),
		cmocka_unit_test(test_encode_needs_room),
		IN_FOLDER(test_first_start_makes_a_key),
		IN_FOLDER(test_saved_is_loaded),
		IN_FOLDER(test_damage_is_not_absence),
		IN_FOLDER(test_a_pipe_of_its_name),
		IN_FOLDER(test_a_folder_of_its_name),
		IN_FOLDER(test_no_such_folder),
		IN_FOLDER(test_no_symbolic_link),
		IN_FOLDER(test_save_that_dies),
		IN_FOLDER(test_save_that_fails),
		IN_FOLDER(test_owner_of_the_folder),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
