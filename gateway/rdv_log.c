/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rdv_log.h"
#include "base/log.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#define REFUSED_EVERY (60 * NSEC_PER_SEC)

enum { NEW_WITHIN = 5, KEY_CHARS = 8 }; /* seconds; so much of a key as `warren status` shows */

/* What its operator can do something about. That it has to wait is said again and again in an ordinary start. */
static const struct {
	enum ctl_refusal code;
	const char *why;
} reasons[] = {
	{ CTL_REFUSED_VERSION, "of a release that does not fit" },
	{ CTL_REFUSED_TAKEN, "for a worker id that a living node holds" },
	{ CTL_REFUSED_FULL, "for want of a free lease (--max-members, --prefix)" },
	{ CTL_REFUSED_STORE, "as the leases cannot be written" },
	{ CTL_REFUSED_TOKEN, "with a token that is not good for it" },
	{ CTL_REFUSED_REMOVED, "with a key that was removed" },
};

void rdv_log_member(const struct prefix *range, int64_t wall, const struct registrar_output *m)
{
	char at[ENDPOINT_STRLEN], ip[ADDR_STRLEN], key[KEY_CHARS + 1];
	struct addr a = member_addr(range, m->record.number);
	bool fresh = wall - m->record.granted <= NEW_WITHIN;

	sodium_bin2hex(key, sizeof(key), m->record.key, KEY_CHARS / 2);
	log_info("member %s, %s, from %s, key %s...%s", m->record.id, addr_str(&a, ip),
		 endpoint_str(&m->from, at), key,
		 m->taken ? ": in place of another key"
		 : fresh  ? ": a new lease"
			  : "");
}

void rdv_log_refused(struct rdv_log *l, const struct registrar *r, nsec now)
{
	char text[400] = "";
	size_t at = 0;

	if (now < l->next)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		uint64_t all = registrar_refused(r, reasons[i].code);
		uint64_t n = all - l->told[reasons[i].code];
		l->told[reasons[i].code] = all;
		if (n)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%" PRIu64 " %s",
					       at ? ", " : "", n, reasons[i].why);
	}
	if (!at)
		return;
	l->next = now + REFUSED_EVERY;
	log_warn("refused: %s", text);
}
