/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: lines up to an empty one are words of a command line, the rest is a configuration file. What is
 * taken is text without a line's end, and asking for it as a truth, a number or a list gives what it says.
 */
#include "gateway/config.h"
#include "tests/fuzz/poison.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS_MAX = 8, FROM = 3, TO = 70000, LARGE = 1 << 20 };

/*
 * What a file is read into is large, and to have the kernel map it and clear it took two thirds of the time: one block is
 * kept from one input to the next (the linker puts these before the C library's). It is poisoned while
 * nobody has it, and of zeros: nothing was written further than the file was long.
 */
static struct {
	uint8_t *p;
	size_t len, written;
	bool taken;
} kept;

void *__real_calloc(size_t n, size_t each);
void __real_free(void *p);
void *__wrap_calloc(size_t n, size_t each);
void __wrap_free(void *p);

static int file = -1;
static char flag[64]; /* --config=… */

static void must(bool ok)
{
	if (!ok)
		abort();
}

void *__wrap_calloc(size_t n, size_t each)
{
	if (n * each < LARGE || kept.taken || (kept.p && kept.len != n * each))
		return __real_calloc(n, each);
	if (!kept.p) {
		kept.len = n * each;
		must((kept.p = __real_calloc(n, each)) != NULL);
	}
	ASAN_UNPOISON_MEMORY_REGION(kept.p, kept.len);
	kept.taken = true;
	return kept.p;
}

void __wrap_free(void *p)
{
	if (!p || p != kept.p) {
		__real_free(p);
		return;
	}
	must(kept.taken);
	memset(kept.p, 0, kept.written);
	ASAN_POISON_MEMORY_REGION(kept.p, kept.len);
	kept.taken = false;
}

static void once(void)
{
	file = memfd_create("fuzz", MFD_CLOEXEC);
	must(file >= 0);
	snprintf(flag, sizeof(flag), "--config=/proc/self/fd/%d", file);
}

static int see_part(void *ctx, const char *part)
{
	size_t *n = ctx;
	must(part[0] && !strchr(part, ','));
	return ++*n == 3;
}

static void check_value(const struct config *c, enum setting s)
{
	const char *v = config_get(c, s, "");
	unsigned long n;
	int64_t when;
	size_t parts = 0;
	bool yes;

	must(!strchr(v, '\n'));
	if (config_bool(c, s, &yes) == 0 && c->value[s])
		must(strchr("1tyoTYO0fnFN", v[0]) != NULL);
	if (config_number(c, s, FROM, TO, FROM, &n) == 0)
		must(n >= FROM && n <= TO);
	if (config_duration(c, s, FROM, &when) == 0)
		must(when >= 0);
	if (config_date(c, s, FROM, &when) == 0)
		must(when >= 0);
	(void)config_each(c, s, see_part, &parts);
	must(parts <= 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum setting all[SETTING_COUNT + 1];
	struct config c;
	char *words[WORDS_MAX], *text = malloc(size + 1), *rest = text;
	int n = 1;

	if (file < 0)
		once();
	must(text != NULL);
	memcpy(text, data, size);
	text[size] = 0;
	words[0] = strdup(flag);
	for (char *word; n < WORDS_MAX && (word = strsep(&rest, "\n")) && *word;)
		words[n++] = word;
	/* the file has what is left, NULs and all */
	size_t len = rest ? size - (size_t)(rest - text) : 0;
	kept.written = len;
	must(ftruncate(file, 0) == 0 && pwrite(file, rest ? rest : "", len, 0) == (ssize_t)len);
	for (enum setting s = 0; s <= SETTING_COUNT; s++)
		all[s] = s;
	if (config_read(&c, n, words, all) == 0) {
		must(c.nargs >= 0 && c.nargs < n);
		for (enum setting s = 0; s < SETTING_COUNT; s++)
			check_value(&c, s);
	}
	config_free(&c);
	free(words[0]);
	free(text);
	return 0;
}
