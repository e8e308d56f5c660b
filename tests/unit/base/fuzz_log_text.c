/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log line of any bytes, cut to any room: what comes out is one line, clean, and as JSON it is an
 * object that says what the clean text says, or its beginning.
 */
#include "base/log_text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 512, TEXT_MAX = 2000 };

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_line(const char *line, size_t len, size_t cap)
{
	must(len > 0 && len <= cap && line[len - 1] == '\n');
	for (size_t i = 0; i + 1 < len; i++)
		must((uint8_t)line[i] >= 0x20 && line[i] != 0x7f);
}

static void check_json(const char *line, size_t len, const struct log_fields *f)
{
	json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *said = json_string_value(json_object_get(o, "message"));
	must(said && strncmp(said, f->message, strlen(said)) == 0);
	must(json_is_null(json_object_get(o, "worker")) == !f->worker);
	json_decref(o);
}

/* The first byte: how much room beyond the least, and whether a worker is named. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > TEXT_MAX)
		return 0;
	size_t cap = ROOM + (data[0] & 0x7f), len = size - 1;
	char *text = malloc(len + 1), *again = malloc(len + 1), *line = malloc(cap);
	must(text && again && line);
	memcpy(text, data + 1, len);
	size_t clean = log_clean(text, len);
	must(clean <= len && text[clean] == 0);
	memcpy(again, text, clean + 1);
	must(log_clean(again, clean) == clean && memcmp(again, text, clean) == 0);
	struct log_fields f = { .time = "2026-01-01T00:00:00.000Z",
				.level = "info",
				.process = "gateway",
				.worker = data[0] & 0x80 ? "w1" : NULL,
				.message = text };
	check_line(line, log_text_line(line, cap, &f), cap);
	size_t n = log_json_line(line, cap, &f);
	check_line(line, n, cap);
	check_json(line, n, &f);
	free(text);
	free(again);
	free(line);
	return 0;
}
