/* SPDX-License-Identifier: Apache-2.0 */
#include "gw_rest.h"

void rest_udp(void *ctx, const struct udp_tx *tx, unsigned n)
{
	(void)ctx;
	(void)tx;
	(void)n;
}

void rest_note(void *ctx, const struct node_note *note)
{
	(void)ctx;
	(void)note;
}
