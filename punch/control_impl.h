/* SPDX-License-Identifier: Apache-2.0 */
/* What the codec's two files share: fields that stand in a message of their own and inside an ENTRY. */
#ifndef WARREN_CONTROL_IMPL_H
#define WARREN_CONTROL_IMPL_H

#include "punch/control.h"

enum { ENTRY_FIXED_LEN = 4 + 32 + 32 };

void ctl_read_text(struct rd *r, char *out, size_t cap);
void ctl_read_id(struct rd *r, char out[static WORKER_ID_LEN]);
void ctl_read_trino(struct rd *r, uint16_t field, struct trino_facts *t);
void ctl_read_routes(struct rd *r, struct prefix routes[static MAX_MEMBER_ROUTES], size_t *n);
void ctl_write_ports(struct wr *w, const struct trino_facts *t);
void ctl_write_routes(struct wr *w, const struct prefix *routes, size_t n);
void ctl_write_header(struct wr *w, uint8_t type, uint8_t flags, uint32_t request);

#endif
