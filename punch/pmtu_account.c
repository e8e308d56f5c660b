/* SPDX-License-Identifier: Apache-2.0 */
/* What a search may cost (pmtu.h, "Cost"). */
#include "punch/pmtu_core.h"

/* What was paid off since. */
static void settle(struct pmtu *m, nsec now)
{
	/* all is paid by then, and weeks of nanoseconds would overflow */
	nsec time = nsec_min(now - m->spent_at, pmtu_worth(PMTU_SEARCH_BYTES));
	nsec paid = time * PMTU_IDLE_BYTES / (60 * NSEC_PER_SEC);
	if (paid <= 0)
		return;
	m->spent -= paid < m->spent ? (uint32_t)paid : m->spent;
	m->spent_at = now;
}

void pmtu_account_anew(struct pmtu *m, nsec now, uint32_t spent)
{
	m->spent = spent < PMTU_SEARCH_BYTES ? spent : PMTU_SEARCH_BYTES;
	m->spent_at = now;
}

void pmtu_spend(struct pmtu *m, nsec now, uint32_t bytes)
{
	settle(m, now);
	m->spent += bytes;
	if (m->spent > PMTU_SEARCH_BYTES)
		m->spent = PMTU_SEARCH_BYTES;
	if (m->round.kind == ROUND_VERIFY)
		m->doubted += bytes;
}

bool pmtu_affordable(struct pmtu *m, nsec now)
{
	struct pmtu_round *r = &m->round;
	uint32_t cost = query_size(m);
	unsigned n = 0;
	settle(m, now);
	while (n < r->len && m->spent + cost + r->plan[n] <= PMTU_SEARCH_BYTES)
		cost += r->plan[n++];
	if (n < r->len && (n == 0 || r->kind != ROUND_CONFIRM))
		return false;
	r->len = (uint8_t)n;
	return true;
}
