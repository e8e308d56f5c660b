/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of lives that sim_net.c runs. */
#ifndef WARREN_SIM_CASES_H
#define WARREN_SIM_CASES_H

#include "sim.h"

/* So long it takes at most that all pairs talk after the last fault. */
#define SETTLE (10 * SEC)
/*
 * Where the rendezvous was started anew: it lists those who have registered since. Who relays something hears
 * of the start at once; who knew nobody finds out by its next renewal (20 s), 3 s of silence and a handshake or two.
 */
#define SETTLE_RENDEZVOUS (35 * SEC)

struct sim_case {
	const char *name;
	void (*run)(struct sim *s);
};

/* sim_cases.c: ordinary lives and their accidents */
void case_storm(struct sim *s);
void case_weather(struct sim *s);
void case_node_restarts(struct sim *s);
void case_rdv_restarts(struct sim *s);
void case_rekeys(struct sim *s);
void case_path_dies(struct sim *s);
void case_symmetric(struct sim *s);
void case_rebinding(struct sim *s);
void case_narrow(struct sim *s);

/* sim_cases_rare.c: members that go, enemies, mistakes */
void case_leaves(struct sim *s);
void case_crossing(struct sim *s);
void case_hostile(struct sim *s);
void case_spoofed(struct sim *s);
void case_another_id(struct sim *s);
void case_full_disk(struct sim *s);
void case_frozen(struct sim *s);
void case_everything(struct sim *s);

/* n hosts, each behind a NAT of its own; a fifth of them share a LAN with the one before. */
void cast(struct sim *s, unsigned n);
/* All start within a moment of each other, the rendezvous too. */
void start_all(struct sim *s);
/* Packets of all kinds between all, for so long. */
void live(struct sim *s, nsec duration);
/* Up, all talk, all that can be direct is. */
void grown_up(struct sim *s, unsigned n);
void expect_direct(struct sim *s);
void weather(struct sim *s);
void clear_sky(struct sim *s);

#endif
