/* SPDX-License-Identifier: Apache-2.0 */
/* How long control messages are: the bound that all of them keep, and the padding. */
#include "base/bytes.h"
#include "punch/control.h"

/*
 * The longest that we write, without the padding: the sum of the fields that a type may have, each
 * with its header. What grows beyond CONTROL_SEND_MAX does not pass the smallest path.
 */
#define FIELD(len) (CTL_TLV_LEN + (len))

enum {
	ENDPOINT_LEN = 16 + 2,
	ROUTE_LEN = 1 + 16,
	ID_MOST = FIELD(WORKER_ID_LEN - 1),
	RELEASE_MOST = FIELD(RELEASE_LEN - 1),
	TRINO_MOST = FIELD(4) + 2 * FIELD(TRINO_TEXT_LEN - 1) + FIELD(1),
	CANDIDATES_MOST = FIELD(MAX_CANDIDATES * ENDPOINT_LEN),
	LEASE_MOST = FIELD(4 + 8 + 16),
	ROUTES_MOST = FIELD(MAX_MEMBER_ROUTES * ROUTE_LEN),
	ROSTER_MOST = FIELD(4 + 8),
	ENTRY_MOST = FIELD(4 + 32 + 32 + ID_MOST + RELEASE_MOST + TRINO_MOST + ROUTES_MOST),

	REGISTER_MOST =
		CTL_HEADER_LEN + ID_MOST + RELEASE_MOST + CANDIDATES_MOST + TRINO_MOST + LEASE_MOST,
	GRANT_MOST = CTL_HEADER_LEN + RELEASE_MOST + LEASE_MOST + FIELD(32) + FIELD(16 + 16) +
		     FIELD(ENDPOINT_LEN) + ROSTER_MOST + ROUTES_MOST,
	INTRODUCE_MOST = CTL_HEADER_LEN + FIELD(4) + CANDIDATES_MOST + ROSTER_MOST,
	REFUSE_MOST = CTL_HEADER_LEN + RELEASE_MOST + FIELD(2 + 1 + CTL_TEXT_LEN - 1),
	PAGE_MOST = CTL_HEADER_LEN + ROSTER_MOST + FIELD(4 + 4) + ENTRY_MOST,
};

static_assert((int)REGISTER_MOST <= (int)CONTROL_SEND_MAX, "REGISTER");
static_assert((int)GRANT_MOST <= (int)CONTROL_SEND_MAX, "GRANT");
static_assert((int)INTRODUCE_MOST <= (int)CONTROL_SEND_MAX, "INTRODUCE");
static_assert((int)REFUSE_MOST <= (int)CONTROL_SEND_MAX, "REFUSE, REPLACED");
static_assert((int)PAGE_MOST <= (int)CTL_PAGE_MAX, "ROSTER_PAGE with one entry");

size_t ctl_pad(uint8_t *p, size_t len, size_t cap)
{
	enum { UNIT = 16 };
	size_t pad = (UNIT - len % UNIT) % UNIT;

	if (pad && pad < CTL_TLV_LEN)
		pad += UNIT;
	if (!pad || len + pad > size_min(cap, CONTROL_SEND_MAX))
		return len;
	struct wr w = wr_of(p + len, pad);
	wr_be16(&w, 0);
	wr_be16(&w, (uint16_t)(pad - CTL_TLV_LEN));
	wr_zeros(&w, pad - CTL_TLV_LEN);
	return len + w.len;
}
