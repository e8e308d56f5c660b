/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway, and through it each member, tells the shim: lines of any text, of which bytes from 0x80
 * on stand for words of the feed. After each line the pages are made of it. The members are never more than
 * a feed may hold, their texts end where they should, nothing of them is markup, and what JSON
 * we make is JSON.
 */
#include "base/bytes.h"
#include "discovery/shim_impl.h"
#include "snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS = 0x80, TEXT_MAX = 1 << 13 };

#define MARKUP "<b>"
#define LONG "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"

static const char *const words[] = {
	"{\"roster\":{\"self\":\"w1\",\"ip\":\"10.77.0.2\",\"members\":[",
	"{\"roster\":{",
	"\"members\":[",
	"]}}\n",
	"}}\n",
	"]",
	"},{",
	"{\"id\":\"c1\",\"ip\":\"10.77.0.1\",\"coordinator\":true,\"online\":true}",
	"{\"id\":\"w1\",\"ip\":\"10.77.0.2\",\"link\":\"self\",\"http\":8081}",
	"\"self\":",
	"\"ip\":",
	"\"ip6\":",
	"\"coordinator_id\":",
	"\"id\":",
	"\"environment\":",
	"\"version\":",
	"\"release\":",
	"\"link\":",
	"\"http\":",
	"\"https\":",
	"\"coordinator\":",
	"\"online\":",
	"true",
	"null",
	"65536",
	"-1",
	"1e999",
	"\"10.77.0.9\"",
	"\"fd00::9\"",
	"\"direct\"",
	"\"relay\"",
	"\"c1\"",
	"\"" MARKUP "\"",
	"\"" LONG "\"",
	"\"a\\u00e9&<>\\\"\"",
	"\"a\\ud800\"",
	",",
	"{\"status\":{\"cpu\":{\"seconds\":1.5,\"share_minute\":0.25}}}\n",
	"{\"status\":",
	"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
	"\n",
};

static struct shim *s;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_text(const char *text, size_t size)
{
	must(memchr(text, 0, size) != NULL);
}

static void check_roster(const struct roster *r)
{
	must(r->count <= ROSTER_MAX && (r->seen || !r->count || r->members));
	for (size_t i = 0; i < r->count; i++) {
		const struct member *m = &r->members[i];
		check_text(m->id, sizeof(m->id));
		check_text(m->environment, sizeof(m->environment));
		check_text(m->version, sizeof(m->version));
		check_text(m->release, sizeof(m->release));
		check_text(m->link, sizeof(m->link));
		must(m->id[0] && !addr_is_any(&m->ip));
	}
}

static void check_json(struct blob *b)
{
	json_t *o = b ? json_loadb(b->p, b->len, 0, NULL) : NULL;
	must(json_is_array(o) && json_array_size(o) == s->roster.count);
	json_decref(o);
	blob_drop(b);
}

static void check_pages(void)
{
	struct blob *people = page_people(s);
	must(people && !memmem(people->p, people->len, MARKUP, strlen(MARKUP)));
	blob_drop(people);
	blob_drop(page_metrics(s));
	check_json(page_listing(s));
}

/* What requests would come to now. */
static void check_decisions(void)
{
	static const enum raw raws[] = { RAW_NONE, RAW_H2C, RAW_TLS };
	for (size_t i = 0; i < ARRAY_SIZE(raws); i++) {
		struct dest d;
		char why[WHY_SIZE] = "";
		bool ok = dest_of(s, ROUTE_COORDINATOR, raws[i], &d, why);
		check_text(why, sizeof(why));
		must(!ok || (d.count >= 1 && d.count <= ARRAY_SIZE(d.ep) && d.ep[0].port));
		must(dest_of(s, ROUTE_LOCAL, raws[i], &d, why) && d.count >= 1);
	}
	check_text(s->target_why, sizeof(s->target_why));
}

/* In its own memory, so that ASan sees one byte too many. */
static void line(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);
	must(copy != NULL);
	memcpy(copy, text, len);
	bool ok = shim_feed(s, copy, len);
	free(copy);
	check_roster(&s->roster);
	check_decisions();
	if (ok)
		check_pages();
}

static void begin(uint8_t how)
{
	static const char *const ids[] = { "", "c1", "c2", LONG };
	if (!s) {
		struct shim_config cfg = { .trino_port = 8081, .worker_id = "w1", .feed_fd = -1 };
		struct ev_loop *loop = ev_loop_new(EVFLAG_NOENV);
		log_init("fuzz", NULL, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
		must(loop && shim_new(&s, loop, &cfg) == 0);
		/* memory of this input alone, Jansson's too: thousands of small blocks cost ASan's own more time */
		json_set_alloc_funcs(malloc, free);
		snapshot_begin();
		snapshot_take();
	}
	snapshot_restore();
	s->gateway.known = false;
	s->trino_https_port = how & 0x80 ? 8443 : 0;
	s->probe.trino = (struct trino){ .up = how & 0x40, .ever_up = how & 0x40 };
	snprintf(s->coordinator_id, sizeof(s->coordinator_id), "%s", ids[how % ARRAY_SIZE(ids)]);
	target_update(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[TEXT_MAX];
	struct rd r = rd_of(data, size_min(size, 2048));
	size_t len = 0;

	begin(rd_u8(&r));
	while (r.left) {
		uint8_t b = rd_u8(&r);
		const char *word = words[b % WORDS % ARRAY_SIZE(words)], letter = (char)b;
		size_t n = b < WORDS ? 1 : size_min(strlen(word), sizeof(text) - len);
		if (len < sizeof(text))
			memcpy(text + len, b < WORDS ? &letter : word, n);
		len = size_min(len + n, sizeof(text));
		if (len && (text[len - 1] == '\n' || !r.left)) {
			line(text, len - (text[len - 1] == '\n'));
			len = 0;
		}
	}
	roster_free(&s->roster);
	snapshot_end();
	return 0;
}
