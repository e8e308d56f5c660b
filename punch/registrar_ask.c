/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a silent holder lives is not the rendezvous' to see alone: its own way there may be cut. So
 * after a second of silence the members are asked, and who gets an answer from the holder over its own
 * link with it within the challenge's time says so. A second time for what was lost.
 */
#include <sodium.h>
#include <stdio.h>

#include "punch/registrar_impl.h"

static_assert(MAX_CLAIMS <= 64, "a member has a bit for each claim");

void registrar_ask_all(struct registrar *r, const struct claim *c)
{
	uint64_t bit = (uint64_t)1 << (c - r->claims);
	for (member_number n = 1; n <= r->top; n++) {
		struct slot *s = r->slots[n];
		if (!s || s == c->slot || !s->online)
			continue;
		s->ask |= bit;
		registrar_todo(r, s, TODO_ASK);
	}
}

/* One a message. That its claim is over by now does no harm. */
void registrar_ask_emit(struct registrar *r, struct slot *s, struct registrar_output *out)
{
	unsigned i = 0;
	while (i < MAX_CLAIMS - 1 && !(s->ask >> i & 1))
		i++;
	struct ctl_msg m = { .type = CTL_ASK,
			     .has = CTL_BIT(CTL_NUMBER),
			     .number = r->claims[i].number };
	s->ask &= ~((uint64_t)1 << i);
	if (s->ask)
		registrar_todo(r, s, TODO_ASK);
	registrar_send(out, s->rec.key, &m);
}

/* A member says that it hears the holder of this number. */
void registrar_ask_vouched(struct registrar *r, const struct slot *by, member_number number)
{
	struct slot *s = registrar_slot_at(r, number);
	struct claim *c = s && s != by ? s->claim : NULL;
	char hex[9];

	if (!c || !registrar_claim_open(c))
		return;
	sodium_bin2hex(hex, sizeof(hex), s->rec.key, 4);
	registrar_refuse(r, c->key, c->request, CTL_REFUSED_TAKEN,
			 "worker id %s is taken by a living node (key %s...), which member %s "
			 "reaches, though not the rendezvous: give this node another WORKER_ID, or "
			 "stop the other one",
			 s->rec.id, hex, by->rec.id);
	registrar_claim_end(r, c);
}
