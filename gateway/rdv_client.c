/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rdv_client.h"

#include <stdlib.h>

#define STRANGER_TIME (30 * NSEC_PER_SEC)
/* Of one that has not shown yet that it knows the admission secret. */
#define UNPROVEN_TIME (10 * NSEC_PER_SEC)
#define MEMBER_SILENCE (300 * NSEC_PER_SEC)
#define SWEEP_EVERY NSEC_PER_SEC

/*
 * Room for one more stranger: the one goes that would expire first, of those that have shown nothing yet; of
 * those that have, where these hold more than half of the places. So neither a flood of strangers pushes out one
 * that knows the secret, nor many keys of somebody who has a token those that are about to show theirs.
 */
static void make_room(struct clients *cs)
{
	struct client *first[2] = { NULL, NULL };
	uint32_t count[2] = { 0, 0 };
	for (struct client *c = cs->first; c; c = c->next) {
		if (c->member)
			continue;
		count[c->proven]++;
		if (!first[c->proven] || c->expires < first[c->proven]->expires)
			first[c->proven] = c;
	}
	bool proven = count[true] > CLIENT_STRANGERS / 2 || !first[false];
	if (first[proven])
		client_free(first[proven]);
}

struct client *client_new(struct clients *cs, nsec now, const uint8_t pub[static WG_KEY_LEN])
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	if (cs->strangers >= CLIENT_STRANGERS)
		make_room(cs);
	c->wg = wg_peer_add(cs->wg, pub, c);
	if (!c->wg) {
		free(c);
		return NULL;
	}
	c->all = cs;
	c->expires = now + UNPROVEN_TIME;
	c->next = cs->first;
	if (c->next)
		c->next->link_in = &c->next;
	c->link_in = &cs->first;
	cs->first = c;
	cs->strangers++;
	return c;
}

void client_free(struct client *c)
{
	wg_peer_remove(c->all->wg, c->wg);
	*c->link_in = c->next;
	if (c->next)
		c->next->link_in = c->link_in;
	c->all->strangers -= !c->member;
	free(c);
}

void client_heard(struct client *c, nsec now)
{
	c->proven = true;
	c->expires = now + (c->member ? MEMBER_SILENCE : STRANGER_TIME);
}

void client_set_member(struct client *c, nsec now)
{
	c->all->strangers -= !c->member;
	c->member = true;
	c->expires = now + MEMBER_SILENCE;
}

void client_end_member(struct client *c, nsec now)
{
	c->all->strangers += c->member;
	c->member = false;
	c->expires = nsec_min(c->expires, now + STRANGER_TIME);
}

void clients_sweep(struct clients *cs, nsec now)
{
	if (now < cs->next_sweep)
		return;
	cs->next_sweep = now + SWEEP_EVERY;
	for (struct client *c = cs->first, *next; c; c = next) {
		next = c->next;
		if (c->expires <= now)
			client_free(c);
	}
}
