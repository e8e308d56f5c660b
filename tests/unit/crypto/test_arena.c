/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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
	if (!a || !arena_get(a) || (arena_locked(a) && !LOCKING_IS_FAKED))
		_exit(1);
	arena_free(a);
}

/* A right to lock a little serves the first slots. */
static void locked_in_part(void)
{
	struct rlimit little = { 64 << 10, 64 << 10 };
	setrlimit(RLIMIT_MEMLOCK, &little);
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		_exit(98);
	struct arena *a = arena_new(64, 10000);
	for (unsigned i = 0; i < 512; i++)
		if (!a || !arena_get(a) || !arena_locked(a))
			_exit(1);
	for (unsigned i = 0; i < 512; i++)
		if (!arena_get(a))
			_exit(2);
	if (arena_locked(a) && !LOCKING_IS_FAKED)
		_exit(3);
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

static void works_where_locking_is_refused(void **unused)
{
	(void)unused;
	assert_int_equal(death_of(unlocked), 0);
	assert_int_equal(death_of(locked_in_part), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_zeroed_and_reused),
		cmocka_unit_test(refuses_nonsense),
		cmocka_unit_test(guards_hold),
		cmocka_unit_test(works_where_locking_is_refused),
		cmocka_unit_test(unused_slots_cost_nothing),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
