/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `warren check` asks the kernel and the network: the gateway's own steps, each taken back at once.
 * All that is made goes with a descriptor, so that nothing is left behind however the process ends.
 */
#ifndef WARREN_CHECK_PROBES_H
#define WARREN_CHECK_PROBES_H

#include "gateway/app.h"
#include "gateway/check.h"

struct check {
	struct app *app;
	struct check_report report;
	struct gw gw;	  /* the gateway that would be: its TUN, its socket */
	bool runs;	  /* a gateway of this interface name is at work: what it holds is in use */
	char words[1024]; /* what the gateway would have logged */
};

/* check_host.c */
void check_running(struct check *k);
void check_device(struct check *k); /* /dev/net/tun, CAP_NET_ADMIN, offloads, the LAN guard */
void check_aead(struct check *k);
void check_memory(struct check *k);
void check_state(struct check *k); /* and the run directory */

/* check_net.c */
void check_socket(struct check *k); /* the UDP port; stays open for check_rendezvous() */
void check_trino(struct check *k);
void check_prefixes(struct check *k);
void check_rendezvous(struct check *k);

#endif
