/* SPDX-License-Identifier: Apache-2.0 */
/* The frames' codec over any bytes; what it accepts must be written again as the same frame. */
#include <stdlib.h>

#include "punch/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void hello(const uint8_t *data, size_t size)
{
	struct frame_hello f, g;
	uint8_t out[HELLO_LEN];
	if (frame_hello_parse(data, size, &f))
		return;
	frame_hello_write(&f, out);
	check(frame_hello_parse(out, sizeof(out), &g) == DROP_NONE);
	check(f.flags == g.flags && f.capabilities == g.capabilities && f.largest == g.largest);
}

static void probe(const uint8_t *data, size_t size)
{
	struct frame_probe f, g;
	uint8_t out[PROBE_LEN];
	if (frame_probe_parse(data, size, &f))
		return;
	frame_probe_write(&f, out);
	check(memcmp(out, data, 14) == 0);
	check(frame_probe_parse(out, sizeof(out), &g) == DROP_NONE);
	check(f.size == g.size && f.path == g.path && f.number == g.number && f.watch == g.watch);
}

static void ack(const uint8_t *data, size_t size)
{
	struct frame_ack f, g;
	uint8_t out[PROBE_ACK_LEN];
	if (frame_ack_parse(data, size, &f))
		return;
	frame_ack_write(&f, out);
	check(memcmp(out, data, 24) == 0);
	check(frame_ack_parse(out, sizeof(out), &g) == DROP_NONE);
	check(f.path == g.path && f.newest == g.newest && f.seen == g.seen);
	check(f.watch == g.watch && f.count == g.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	hello(data, size);
	probe(data, size);
	ack(data, size);
	return 0;
}
