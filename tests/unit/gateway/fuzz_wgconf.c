/* SPDX-License-Identifier: Apache-2.0 */
/* WireGuard's configuration format, line by line: any bytes. What is refused says which line. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/wgconf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_peer(const struct wgconf_peer *p)
{
	check(p->nallowed <= p->cap);
	check(memchr(p->host, 0, sizeof(p->host)) != NULL);
	check(!p->host[0] || p->port);
	for (size_t i = 0; i < p->nallowed; i++) {
		struct prefix again = prefix_of(&p->allowed[i].addr, p->allowed[i].bits);
		check(memcmp(&again, &p->allowed[i], sizeof(again)) == 0); /* no host bits */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wgconf c;
	char *text = malloc(size + 1), *rest = text, want[32];
	unsigned line = 0;
	bool ok = true;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	wgconf_init(&c);
	for (char *l; ok && (l = strsep(&rest, "\n"));) {
		ok = wgconf_line(&c, l);
		line++;
	}
	snprintf(want, sizeof(want), "line %u: ", line);
	check(ok || strncmp(c.error, want, strlen(want)) == 0);
	check(c.naddresses <= WGCONF_MAX_ADDRESSES && c.npeers <= c.cap);
	for (size_t i = 0; i < c.npeers; i++)
		check_peer(&c.peers[i]);
	if (ok && wgconf_finish(&c))
		check(c.has_private_key && (!c.npeers || c.peers[c.npeers - 1].has_key));
	wgconf_free(&c);
	free(text);
	return 0;
}
