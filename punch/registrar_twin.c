/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes with one key: a state directory, or a container's image, that was copied. To WireGuard they
 * are one peer that roams, and each takes the other's sessions; both would run a command at one address.
 * REGISTER says which process it is of (BOOT, the time of its start). One that ended never comes again; so
 * where an earlier one registers after a later one that took its place, both live, and the later one stays.
 * That is seen only when both have registered twice, for a start under a clock that went back is no twin.
 */
#include "punch/registrar_impl.h"

#include <stdio.h>

static const char twin_text[] = "a process that started later uses this node's key: was its state "
				"directory copied? Give one of "
				"the two another, and another WORKER_ID";

/* The session may be the other one's by now: the number in it tells whom it is for. */
static void tell(struct registrar *r, nsec now, const struct slot *s, const struct ctl_msg *m)
{
	if (!registrar_holds(m)) {
		registrar_refuse(r, s->rec.key, m->request, CTL_REFUSED_TAKEN, "%s", twin_text);
		return;
	}
	struct notice *n = registrar_told(r, now, s->rec.key)
				   ? NULL
				   : registrar_notice(r, s->rec.key, REGISTRAR_SEND);
	if (!n)
		return;
	n->type = CTL_REPLACED;
	n->code = CTL_REFUSED_TAKEN;
	n->fatal = true;
	n->boot = m->boot;
	snprintf(n->text, sizeof(n->text), "%s", twin_text);
}

bool registrar_twin(struct registrar *r, nsec now, struct slot *s, const struct ctl_msg *m)
{
	if (!m->boot || m->boot == s->boot)
		return false;
	if (m->boot == s->boot_before && m->boot < s->boot) {
		tell(r, now, s, m);
		return true;
	}
	s->boot_before = s->boot;
	s->boot = m->boot;
	return false;
}
