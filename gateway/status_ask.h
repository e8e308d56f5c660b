/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WARREN_STATUS_ASK_H
#define WARREN_STATUS_ASK_H

#include "gateway/config.h"

/* The JSON answer of the gateway or rendezvous that the settings point at; NULL after a line. To be freed. */
char *status_ask(const struct config *c, const char *question);

#endif
