/* SPDX-License-Identifier: Apache-2.0 */
/* The rendezvous' surroundings: its socket, and the process that keeps its leases. */
#include "sim.h"

#include <stdio.h>

static void on_rdv_udp(void *ctx, const struct udp_tx *tx, unsigned n)
{
	struct sim *s = ctx;
	for (unsigned i = 0; i < n; i++) {
		if (s->rdv_tap)
			s->rdv_tap(&tx[i]);
		net_send(&s->net, s->now, AT_RENDEZVOUS, &tx[i]);
	}
}

static void on_store(void *ctx, const struct store_request *req)
{
	struct sim *s = ctx;
	assert(s->npending < STORE_PENDING);
	s->pending[s->npending++] =
		(struct store_pending){ .at = s->now + s->store_delay, .req = *req };
}

static void store_apply(struct sim *s, const struct store_request *req)
{
	member_number number = req->record.number;
	assert(number && number < STORE_ROWS);
	if (req->kind == STORE_PUT)
		s->rows[number] = req->record;
	else
		s->rows[number].number = 0;
}

void sim_store_turn(struct sim *s)
{
	while (s->npending && s->pending[0].at <= s->now && s->rdv_frozen <= s->now) {
		struct store_request req = s->pending[0].req;
		memmove(s->pending, s->pending + 1, --s->npending * sizeof(s->pending[0]));
		if (!s->store_fails)
			store_apply(s, &req);
		if (s->rdv)
			rdv_stored(s->rdv, s->now, req.seq, s->store_fails);
	}
}

void sim_rdv_start(struct sim *s)
{
	struct rdv_config cfg = {
		.io = { .ctx = s, .udp = on_rdv_udp, .store = on_store },
		.aead = aead_choose("libcrypto"),
		.boot = (uint64_t)(s->now + s->rdv_wall),
		.registrar = { .prefix4 = s->token.prefixes[0],
			       .prefix6 = s->token.prefixes[1],
			       .max_members = SIM_MEMBERS,
			       .lease_ttl = 30 * 86400 * SEC,
			       .release = "sim" },
	};
	sim_log(s, "the rendezvous starts");
	sim_rdv_stop(s);
	memcpy(cfg.private_key, s->rdv_key, 32);
	cfg.registrar.admission = &s->admission;
	memcpy(cfg.registrar.secret, s->rdv_secret, sizeof(cfg.registrar.secret));
	s->rdv = rdv_new(&cfg, s->now);
	assert(s->rdv);
	rdv_set_wall(s->rdv, s->rdv_wall);
	for (unsigned i = 1; i < STORE_ROWS; i++)
		if (s->rows[i].number && rdv_load(s->rdv, &s->rows[i]) < 0)
			sim_fail(s, "the rendezvous does not take its own lease %u", i);
}

/* What was on its way to the disk may have come there, or not. */
void sim_rdv_stop(struct sim *s)
{
	rdv_free(s->rdv);
	s->rdv = NULL;
	s->rdv_frozen = 0;
	memset(&s->rdv_drops_told, 0, sizeof(s->rdv_drops_told));
	unsigned keep = s->npending ? net_pick(&s->net, s->npending + 1) : 0;
	for (unsigned i = 0; i < keep; i++)
		store_apply(s, &s->pending[i].req);
	s->npending = 0;
}
