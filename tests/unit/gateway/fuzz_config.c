/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: lines up to an empty one are words of a command line, the rest is a configuration file. What is
 * taken is text without a line's end, and asking for it as a truth, a number or a list gives what it says.
 */
#include "gateway/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS_MAX = 8, FROM = 3, TO = 70000 };

static int file = -1;
static char flag[64]; /* --config=… */

static void must(bool ok)
{
	if (!ok)
		abort();
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
