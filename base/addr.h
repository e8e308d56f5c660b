/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses. One type for both families: IPv4 lives inside IPv6 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2),
 * so that no code has two paths. Values, compared with *_eq(), never owned.
 */
#ifndef WARREN_ADDR_H
#define WARREN_ADDR_H

#include "base/bytes.h"

struct addr {
	uint8_t b[16];
};

/* A UDP endpoint. `scope` is the interface index of a link-local address, else 0. */
struct endpoint {
	struct addr addr;
	uint16_t port; /* host order */
	uint32_t scope;
};

/* A CIDR prefix. `bits` counts within the family: 0..32 for IPv4, 0..128 for IPv6. Host bits are 0. */
struct prefix {
	struct addr addr;
	uint8_t bits;
};

enum { ADDR_STRLEN = 64, ENDPOINT_STRLEN = 80, PREFIX_STRLEN = 72 };

extern const struct addr addr_any; /* :: */

struct addr addr_v4(const uint8_t b[static 4]);
struct addr addr_v4_u32(uint32_t host_order);
bool addr_is_v4(const struct addr *a);
uint32_t addr_to_v4(const struct addr *a); /* host order; only where addr_is_v4() */
bool addr_is_any(const struct addr *a);	   /* :: or 0.0.0.0 */
bool addr_is_loopback(const struct addr *a);
bool addr_is_link_local(const struct addr *a);
bool addr_is_multicast(const struct addr *a);
bool addr_eq(const struct addr *a, const struct addr *b);
int addr_cmp(const struct addr *a, const struct addr *b);

bool endpoint_eq(const struct endpoint *a, const struct endpoint *b);

/* Text forms. The parsers take literals only, no names; false leaves *out as it was. */
MUST_CHECK bool addr_parse(const char *s, struct addr *out);
MUST_CHECK bool endpoint_parse(const char *s, struct endpoint *out); /* 1.2.3.4:5, [::1]:5 */
MUST_CHECK bool prefix_parse(const char *s, struct prefix *out);     /* no /N: the whole address */
const char *addr_str(const struct addr *a, char out[static ADDR_STRLEN]);
const char *endpoint_str(const struct endpoint *e, char out[static ENDPOINT_STRLEN]);
const char *prefix_str(const struct prefix *p, char out[static PREFIX_STRLEN]);

/* `bits` counted within 128, as a trie over struct addr wants it: 96 more for IPv4. */
uint8_t prefix_bits128(const struct prefix *p);
bool prefix_contains(const struct prefix *p, const struct addr *a);
bool prefix_eq(const struct prefix *a, const struct prefix *b);
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);
/* All of it for private use: RFC 1918, RFC 6598 (shared), RFC 4193 (unique local). */
bool prefix_is_private(const struct prefix *p);
struct prefix prefix_of(const struct addr *a, uint8_t bits); /* host bits cleared */
struct prefix prefix_host(const struct addr *a);	     /* /32 or /128 */
bool prefix_is_host(const struct prefix *p);

/* On the wire: 16 bytes of address, be16 port. The scope does not travel. */
void wr_endpoint(struct wr *w, const struct endpoint *e);
struct endpoint rd_endpoint(struct rd *r);

/* To and from the kernel's forms. `ss` is a struct sockaddr_in6 where `v6socket`, else sockaddr_in. */
struct sockaddr_storage;
size_t endpoint_to_sockaddr(const struct endpoint *e, bool v6socket, struct sockaddr_storage *ss);
MUST_CHECK bool endpoint_from_sockaddr(const struct sockaddr_storage *ss, struct endpoint *out);

#endif
