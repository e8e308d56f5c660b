/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A start without a rendezvous: lease and members as they were when we last heard of them, from
 * memory.h. Nothing of it is touched while a rendezvous answers, whatever it says.
 *
 * Silence of a few seconds, and the members that were listed become peers again, asked where they were
 * last reached. One that answers shows that we are still who we were to it: we are up. With nobody to
 * answer the node comes up alone a little later, for somebody has to be the first.
 */
#include "gateway/node_internal.h"

#include <sodium.h>
#include <stdio.h>

/* A rendezvous that works has answered by then: two tries, or one and a name that changed. */
#define SAVED_AFTER (5 * NSEC_PER_SEC)
#define SAVED_ALONE_AFTER (20 * NSEC_PER_SEC)

void saved_init(struct node *n, nsec now, const struct node_config *cfg)
{
	struct saved *s = &n->saved;
	const struct token *t = cfg->token;

	n->memory = cfg->memory;
	n->pin_members = cfg->pin_members;
	s->at = NSEC_NEVER;
	if (!n->memory)
		return;
	memcpy(s->owner.rendezvous, t->key, 32);
	memcpy(s->owner.key, wg_public_key(n->wg), 32);
	snprintf(s->owner.id, sizeof(s->owner.id), "%s", cfg->worker_id);
	n->memory->start++;
	if (!memory_fits(n->memory, &s->owner))
		return;
	s->lease = n->memory->lease;
	s->lease.ip = member_addr(join_prefix(t, true), s->lease.number);
	s->lease.ip6 = member_addr(join_prefix(t, false), s->lease.number);
	if (s->lease.number > member_number_max(join_prefix(t, true), join_prefix(t, false)))
		return; /* the prefix is a smaller one now */
	s->usable = true;
	s->at = now + SAVED_AFTER;
}

static void restore_members(struct node *n, nsec now)
{
	const struct memory *m = n->memory;
	for (size_t i = 0; i < m->n; i++) {
		struct roster_entry e = m->v[i].e;
		e.online = true;
		if (m->v[i].listed && enrol_admits(n->join.c[0].enrol, &e))
			members_restore(n, now, &e, m->v[i].at, m->v[i].nat);
		sodium_memzero(&e, sizeof(e));
	}
}

/* From now on we are no new process to a rendezvous that answers: it says REPLACED where another holds our id. */
static void come_up(struct node *n, nsec now, const char *with)
{
	n->saved.at = NSEC_NEVER;
	n->join.lease.up = true;
	join_show(n, now, &n->join.lease.lease);
	node_tell(n, &(struct node_note){ .event = NODE_UP, .text = with });
}

void saved_tick(struct node *n, nsec now)
{
	struct saved *s = &n->saved;

	if (now < s->at)
		return;
	if (join_info(n).last_answer || n->join.lease.up) {
		s->at = NSEC_NEVER;
		return;
	}
	if (n->links) {
		come_up(n, now, "nor does any other member");
		return;
	}
	s->at = now + SAVED_ALONE_AFTER - SAVED_AFTER;
	if (join_links(n, &s->lease) < 0) {
		s->at = NSEC_NEVER;
		return;
	}
	n->join.lease.lease = s->lease;
	restore_members(n, now);
}

/* The first session with a member: to it we are who we were. */
void saved_session(struct node *n, nsec now, const struct peer *p)
{
	if (n->saved.at != NSEC_NEVER && n->links && p->kind == PEER_MEMBER && !n->join.lease.up)
		come_up(n, now, "but a member does, which knows it");
}
