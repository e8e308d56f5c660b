/* SPDX-License-Identifier: Apache-2.0 */
#include "base/summed.h"
#include "base/blake2s.h"

struct wr summed_begin(const struct summed *kind, uint8_t *out, size_t cap)
{
	struct wr w = wr_of(out, cap);

	wr_bytes(&w, kind->magic, sizeof(kind->magic));
	wr_u8(&w, kind->version);
	return w;
}

size_t summed_end(struct wr *w)
{
	uint8_t sum[BLAKE2S_LEN];

	if (!wr_ok(w))
		return 0;
	blake2s_hash(w->base, w->len, NULL, 0, sum);
	wr_bytes(w, sum, SUMMED_SUM);
	return wr_ok(w) ? w->len : 0;
}

bool summed_open(const struct summed *kind, const uint8_t *p, size_t len, struct rd *fields)
{
	uint8_t sum[BLAKE2S_LEN];

	if (len < SUMMED_FRAME || memcmp(p, kind->magic, sizeof(kind->magic)) != 0 ||
	    p[sizeof(kind->magic)] != kind->version)
		return false;
	blake2s_hash(p, len - SUMMED_SUM, NULL, 0, sum);
	*fields = rd_of(p + SUMMED_FRAME - SUMMED_SUM, len - SUMMED_FRAME);
	return memcmp(sum, p + len - SUMMED_SUM, SUMMED_SUM) == 0;
}
