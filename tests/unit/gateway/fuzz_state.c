/* SPDX-License-Identifier: Apache-2.0 */
/* The state file: any bytes, as they are and under a right sum. What is taken comes back the same. */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "gateway/state.h"
#include "tests/fuzz/summed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const uint8_t *p, size_t len)
{
	uint8_t out[512];
	struct state s = { 0 }, t = { 0 };
	int err = state_decode(&s, p, len);
	if (err) {
		if (err != -EBADMSG)
			abort();
		return;
	}
	size_t n = state_encode(&s, out, sizeof(out));
	if (n == 0 || state_decode(&t, out, n) != 0 || memcmp(&s, &t, sizeof(s)) != 0 ||
	    sodium_is_zero(s.private_key, 32))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_summed(data, size, decode);
	return 0;
}
