/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes with one key: a state directory, or a container's image, that was copied. To WireGuard they
 * are one peer that roams, and each takes the other's sessions; both would run a command at one address.
 * REGISTER says which process it is of (BOOT, the time of its start). One that ended never comes again; so
 * where an earlier one registers again after a later one that took its place, both live, and the later one
 * stays. A start under a clock that went back is no twin: the one that it followed does not register again.
 *
 * Where a key is given to nodes by their operator, the next one may be up before the last one leaves; the last
 * one's RELEASE, over a session of before, is not the next one's.
 */
#include "punch/registrar_impl.h"

static const char twin_text[] = "a process that started later uses this node's key: was its state "
				"directory copied? Give one of the two another, and another "
				"WORKER_ID";

/* The session may be the other one's by now: the number in it tells whom it is for. */
static void tell(struct registrar *r, nsec now, const struct slot *s, const struct ctl_msg *m)
{
	if (!registrar_holds(m))
		registrar_refuse(r, s->rec.key, m->request, CTL_REFUSED_TAKEN, "%s", twin_text);
	else if (!registrar_told(r, now, s->rec.key))
		registrar_replace(r, s->rec.key, m->boot, CTL_REFUSED_TAKEN, "%s", twin_text);
}

bool registrar_twin(struct registrar *r, nsec now, struct slot *s, const struct ctl_msg *m)
{
	if (!m->boot || m->boot == s->facts.boot)
		return false;
	if (m->boot == s->boot_before && m->boot < s->facts.boot) {
		tell(r, now, s, m);
		return true;
	}
	s->boot_before = s->facts.boot; /* the rest of REGISTER makes it one of the facts */
	return false;
}

bool registrar_twin_leaves(struct registrar *r, const struct slot *s, const struct ctl_msg *m)
{
	/* a release of warren that does not say it; or nobody has registered since our start */
	if (!m->boot || (!s->registered && !s->facts.boot) || m->boot == s->facts.boot)
		return false;
	struct notice *n = registrar_notice(r, s->rec.key, REGISTRAR_SEND);
	if (n) {
		n->type = CTL_RELEASED;
		n->request = m->request;
	}
	return true;
}
