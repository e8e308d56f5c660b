/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "punch/control.h"

size_t ctl_pad(uint8_t *p, size_t len, size_t cap)
{
	enum { UNIT = 16, TLV_HEADER = 4 };
	size_t pad = (UNIT - len % UNIT) % UNIT;

	if (pad && pad < TLV_HEADER)
		pad += UNIT;
	struct wr w = wr_of(p + len, cap - len);
	if (!pad || pad > w.cap)
		return len;
	wr_be16(&w, 0);
	wr_be16(&w, (uint16_t)(pad - TLV_HEADER));
	wr_zeros(&w, pad - TLV_HEADER);
	return len + w.len;
}
