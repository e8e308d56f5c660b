/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void slots_are_zeroed_and_reused(void **unused)
{
	struct arena *a = arena_new(100, 3);
	uint8_t *s[3];
	(void)unused;
	assert_non_null(a);
	for (int i = 0; i < 3; i++) {
		s[i] = arena_get(a);
		assert_non_null(s[i]);
		assert_true(sodium_is_zero(s[i], 100));
		memset(s[i], 0xee, 100);
	}
	assert_null(arena_get(a));
	arena_put(a, NULL);
	arena_put(a, s[1]);
	assert_true(sodium_is_zero(s[1], 100)); /* wiped at once */
	assert_ptr_equal(arena_get(a), s[1]);
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < i; j++)
			assert_true(s[i] >= s[j] + 100 || s[j] >= s[i] + 100);
	arena_free(a);
	arena_free(NULL);
}

static void refuses_nonsense(void **unused)
{
	(void)unused;
	assert_null(arena_new(0, 1));
	assert_int_equal(errno, EINVAL);
	assert_null(arena_new(1, 0));
	assert_null(arena_new(SIZE_MAX, 2));
	assert_null(arena_new(SIZE_MAX / 64, 64));
}

/* What a child that runs `f` dies of; 0 when it does not. */
static int death_of(void (*f)(void))
{
	int status = 0;
	pid_t pid = fork();
	if (!pid) {
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL); /* cmocka has its own */
		if (!freopen("/dev/null", "w", stderr))
			_exit(99);
		f();
		_exit(0);
	}
	assert_true(waitpid(pid, &status, 0) == pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static void read_before(void)
{
	struct arena *a = arena_new(64, 64); /* one page exactly, where pages are 4 KiB */
	volatile uint8_t *first = arena_get(a);
	(void)first[-1];
}

static void read_behind(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct arena *a = arena_new(page, 1);
	volatile uint8_t *first = arena_get(a);
	(void)first[page];
}

static void nothing(void)
{
	arena_free(arena_new(64, 64));
}

static void guards_hold(void **unused)
{
	(void)unused;
	assert_int_equal(death_of(nothing), 0);
	assert_int_not_equal(death_of(read_before), 0);
	assert_int_not_equal(death_of(read_behind), 0);
}

/* AddressSanitizer makes a success of every mlock(). */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define LOCKING_IS_FAKED true
#else
#define LOCKING_IS_FAKED false
#endif

static void unlocked(void)
{
	struct rlimit none = { 0, 0 };
	setrlimit(RLIMIT_MEMLOCK, &none);
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		_exit(98);
	struct arena *a = arena_new(64, 10);
	if (!a || !arenas_locked() || !arena_get(a) || (arena_locked(a) && !LOCKING_IS_FAKED) ||
	    arenas_locked() != arena_locked(a))
		_exit(1);
	arena_free(a);
	if (!arenas_locked())
		_exit(2);
}

/* A right to lock a little serves the first slots. */
static void locked_in_part(void)
{
	struct rlimit little = { 64 << 10, 64 << 10 };
	setrlimit(RLIMIT_MEMLOCK, &little);
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		_exit(98);
	struct arena *a = arena_new(64, 10000), *b = arena_new(4096, 1);
	for (unsigned i = 0; i < 12 * 64; i++)
		if (!a || !arena_get(a) || !arena_locked(a))
			_exit(1);
	/* no more than that is asked for: there is a page for somebody else */
	if (!arena_get(b) || !arena_locked(b) || !arenas_locked())
		_exit(2);
	for (unsigned i = 0; i < 4 * 64; i++)
		if (!arena_get(a))
			_exit(3);
	if ((arena_locked(a) || arenas_locked()) && !LOCKING_IS_FAKED)
		_exit(4);
	arena_free(a);
	arena_free(b);
}

/* KiB that are locked, by the kernel's word. */
static unsigned long locked_now(void)
{
	char line[256];
	unsigned long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f) && sscanf(line, "VmLck: %lu kB", &kib) != 1)
		;
	if (f)
		fclose(f);
	return kib;
}

static struct arena *inherited;

/* In a child nothing is locked, until it says so. */
static void locked_again(void)
{
	if (locked_now() != 0)
		_exit(1);
	arena_relock(NULL);
	arena_relock(inherited);
	if (!LOCKING_IS_FAKED && (locked_now() == 0 || !arenas_locked()))
		_exit(2);
}

static void a_child_locks_again(void **unused)
{
	(void)unused;
	inherited = arena_new(64, 64);
	assert_non_null(arena_get(inherited));
	assert_int_equal(death_of(locked_again), 0);
	arena_free(inherited);
}

static void one_piece_grows(void **unused)
{
	struct arena *a = NULL;
	(void)unused;
	uint8_t *p = arena_grow(&a, 0, 100);
	assert_non_null(p);
	memset(p, 7, 100);
	uint8_t *more = arena_grow(&a, 60, 100000);
	assert_non_null(more);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(more[i], i < 60 ? 7 : 0);
	more[99999] = 1;
	struct arena *same = a;
	assert_null(arena_grow(&a, 60, SIZE_MAX));
	assert_ptr_equal(a, same);
	assert_int_equal(more[59], 7);
	arena_free(a);
}

/* Bytes of own memory, counted page by page: the kernel's quick figure of it (statm) is an estimate. */
static size_t resident(void)
{
	char line[256];
	unsigned long kib = 0;
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) && sscanf(line, "Anonymous: %lu kB", &kib) != 1)
		;
	fclose(f);
	assert_true(kib > 0);
	return kib << 10;
}

static void unused_slots_cost_nothing(void **unused)
{
	size_t before = resident();
	struct arena *a = arena_new(128, 100000);
	(void)unused;
	assert_non_null(a);
	for (unsigned i = 0; i < 100; i++)
		memset(arena_get(a), 1, 128);
	assert_true(resident() < before + (512 << 10));
	arena_free(a);
	assert_true(resident() < before + (512 << 10));
}

/* What may be locked is enough for one of the two. */
static void grows_where_little_is_locked(void)
{
	struct rlimit little = { 64 << 10, 64 << 10 };
	struct arena *a = NULL;
	setrlimit(RLIMIT_MEMLOCK, &little);
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		_exit(98);
	if (!arena_grow(&a, 0, 36 << 10) || !arenas_locked() ||
	    !arena_grow(&a, 36 << 10, 60 << 10) || !arenas_locked())
		_exit(1);
	arena_free(a);
}

static void works_where_locking_is_refused(void **unused)
{
	(void)unused;
	assert_int_equal(death_of(unlocked), 0);
	assert_int_equal(death_of(locked_in_part), 0);
	assert_int_equal(death_of(grows_where_little_is_locked), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_zeroed_and_reused),
		cmocka_unit_test(refuses_nonsense),
		cmocka_unit_test(guards_hold),
		cmocka_unit_test(works_where_locking_is_refused),
		cmocka_unit_test(a_child_locks_again),
		cmocka_unit_test(one_piece_grows),
		cmocka_unit_test(unused_slots_cost_nothing),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
