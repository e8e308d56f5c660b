/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An announcement passes only while Trino's own idea of its address is the virtual IP. A wrong one is
 * silent on both sides: the coordinator would list a node that it reaches somewhere else, or itself
 * twice. Rewriting the announcement would not help: each task status repeats the address.
 */
#include "discovery/shim_impl.h"

#include <stdio.h>

#define FRESH (6 * NSEC_PER_SEC)       /* one question is asked every 5 s */
#define FRESH_WRONG (1 * NSEC_PER_SEC) /* it may have been put right and started again */
#define STILL_TRUE (15 * NSEC_PER_SEC) /* through a pause of a Java heap */

/* `asked`: there was a question just now, or the time for one is over. */
enum verdict guard_verdict(const struct shim *s, bool asked)
{
	const struct trino *t = &s->probe.trino;
	nsec age = shim_now() - t->asked_at;
	if (!s->roster.seen)
		return GUARD_PASS; /* there is no coordinator either, and that text says more */
	bool ours = t->has_status && policy_address_is_ours(t->address, &s->roster);
	if (!asked) {
		if (!t->up || !t->has_status || age > (ours ? FRESH : FRESH_WRONG))
			return GUARD_ASK;
		return ours ? GUARD_PASS : GUARD_WRONG;
	}
	if (!t->up || age > STILL_TRUE)
		return GUARD_NO_TRINO;
	return ours ? GUARD_PASS : GUARD_WRONG;
}

void guard_text(const struct shim *s, char out[static WHY_SIZE])
{
	const struct trino *t = &s->probe.trino;
	char ip[ADDR_STRLEN];
	addr_str(&s->roster.ip, ip);
	if (t->has_status)
		snprintf(out, WHY_SIZE,
			 "Trino on this node announces the address '%s', but the other nodes reach "
			 "it "
			 "at %s alone: put node.internal-address=${ENV:WARREN_IP} (here %s) into "
			 "etc/node.properties and start Trino again; its announcements are held "
			 "back "
			 "until then",
			 t->address, ip, ip);
	else
		snprintf(out, WHY_SIZE,
			 "Trino on this node answers, but its /v1/status tells no internalAddress "
			 "that "
			 "could be checked against %s; with node.internal-address=${ENV:WARREN_IP} "
			 "in "
			 "etc/node.properties it does; its announcements are held back until then",
			 ip);
}
