/* SPDX-License-Identifier: Apache-2.0 */
/* What of a gateway process is not there where a test has gw_chan.c or gw_state.c alone; none of it does anything. */
#ifndef WARREN_GW_REST_H
#define WARREN_GW_REST_H

#include "gateway/node.h"

/* Of a node that sends nothing and tells nobody. */
void rest_udp(void *ctx, const struct udp_tx *tx, unsigned n);
void rest_note(void *ctx, const struct node_note *note);

#endif
