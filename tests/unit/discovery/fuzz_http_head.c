/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a request and as a response: scanned in two parts, parsed, rewritten. What is passed
 * on must be taken again, unchanged by a second rewriting, and mean the same.
 */
#include "discovery/http_head.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void check(enum head_type type, const uint8_t *p, size_t size, size_t split)
{
	struct head_scan s = { 0 };
	struct http_head h, again;
	struct buf once = { 0 }, twice = { 0 };
	enum head_found found = http_head_scan(&s, p, split);
	if (found == HEAD_MORE)
		found = http_head_scan(&s, p, size);
	if (found != HEAD_WHOLE || !http_head_parse(type, p, s.at, &h))
		return;
	require(http_head_rewrite(p, s.at, &h, true, &once));
	require(http_head_parse(type, buf_bytes(&once), once.len, &again));
	require(again.body == h.body && again.length == h.length && again.method == h.method);
	require(again.status == h.status && again.target.len == h.target.len);
	require(http_head_rewrite(buf_bytes(&once), once.len, &again, true, &twice));
	require(once.len == twice.len && memcmp(once.p, twice.p, once.len) == 0);
	buf_free(&once);
	buf_free(&twice);
	struct http_body b = type == HEAD_REQUEST ? http_body_of(h.body, h.length)
						  : http_response_body(&h, false);
	size_t n = http_body_take(&b, p + s.at, size - s.at);
	require(n <= size - s.at);
	require(b.done || b.bad || n == size - s.at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	size_t split = data[0] % size; /* any place will do */
	check(HEAD_REQUEST, data + 1, size - 1, split < size ? split : 0);
	check(HEAD_RESPONSE, data + 1, size - 1, split < size ? split : 0);
	return 0;
}
