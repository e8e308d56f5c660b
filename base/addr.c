/* SPDX-License-Identifier: Apache-2.0 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

const struct addr addr_any;

static const uint8_t v4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

struct addr addr_v4(const uint8_t b[static 4])
{
	struct addr a;
	memcpy(a.b, v4_mapped, 12);
	memcpy(a.b + 12, b, 4);
	return a;
}

struct addr addr_v4_u32(uint32_t host_order)
{
	uint8_t b[4];
	store_be32(b, host_order);
	return addr_v4(b);
}

bool addr_is_v4(const struct addr *a)
{
	return memcmp(a->b, v4_mapped, 12) == 0;
}

uint32_t addr_to_v4(const struct addr *a)
{
	return load_be32(a->b + 12);
}

bool addr_is_any(const struct addr *a)
{
	return addr_eq(a, &addr_any) || (addr_is_v4(a) && addr_to_v4(a) == 0);
}

bool addr_is_loopback(const struct addr *a)
{
	static const struct addr v6 = { { [15] = 1 } };
	return addr_is_v4(a) ? a->b[12] == 127 : addr_eq(a, &v6);
}

bool addr_is_link_local(const struct addr *a)
{
	if (addr_is_v4(a))
		return a->b[12] == 169 && a->b[13] == 254;
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

bool addr_is_multicast(const struct addr *a)
{
	return addr_is_v4(a) ? (a->b[12] & 0xf0) == 0xe0 : a->b[0] == 0xff;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	return memcmp(a->b, b->b, 16) == 0;
}

int addr_cmp(const struct addr *a, const struct addr *b)
{
	return memcmp(a->b, b->b, 16);
}

bool endpoint_eq(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && a->scope == b->scope && addr_eq(&a->addr, &b->addr);
}

bool addr_parse(const char *s, struct addr *out)
{
	uint8_t b[16];
	if (inet_pton(AF_INET, s, b) == 1) {
		*out = addr_v4(b);
		return true;
	}
	if (inet_pton(AF_INET6, s, b) == 1) {
		memcpy(out->b, b, 16);
		return true;
	}
	return false;
}

/* A decimal number of at most `max`, the whole of `s`. */
static bool parse_uint(const char *s, unsigned max, unsigned *out)
{
	unsigned v = 0;
	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		v = v * 10 + (unsigned)(*s - '0');
		if (v > max)
			return false;
	}
	*out = v;
	return true;
}

bool endpoint_parse(const char *s, struct endpoint *out)
{
	char host[ADDR_STRLEN];
	const char *colon = strrchr(s, ':');
	struct endpoint e = { 0 };
	unsigned port;
	if (!colon || !parse_uint(colon + 1, UINT16_MAX, &port))
		return false;
	size_t len = (size_t)(colon - s);
	bool v6 = len >= 2 && s[0] == '[' && s[len - 1] == ']';
	if (v6) {
		s++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(host))
		return false;
	memcpy(host, s, len);
	host[len] = 0;
	if (!v6 && strchr(host, ':'))
		return false;
	if (!addr_parse(host, &e.addr))
		return false;
	e.port = (uint16_t)port;
	*out = e;
	return true;
}

bool prefix_parse(const char *s, struct prefix *out)
{
	char host[ADDR_STRLEN];
	struct addr a;
	const char *slash = strchr(s, '/');
	size_t len = slash ? (size_t)(slash - s) : strlen(s);
	if (len >= sizeof(host))
		return false;
	memcpy(host, s, len);
	host[len] = 0;
	if (!addr_parse(host, &a))
		return false;
	unsigned max = addr_is_v4(&a) ? 32 : 128, bits = max;
	if (slash && !parse_uint(slash + 1, max, &bits))
		return false;
	*out = prefix_of(&a, (uint8_t)bits);
	return true;
}

const char *addr_str(const struct addr *a, char out[static ADDR_STRLEN])
{
	if (addr_is_v4(a))
		inet_ntop(AF_INET, a->b + 12, out, ADDR_STRLEN);
	else
		inet_ntop(AF_INET6, a->b, out, ADDR_STRLEN);
	return out;
}

const char *endpoint_str(const struct endpoint *e, char out[static ENDPOINT_STRLEN])
{
	char a[ADDR_STRLEN];
	addr_str(&e->addr, a);
	snprintf(out, ENDPOINT_STRLEN, addr_is_v4(&e->addr) ? "%s:%u" : "[%s]:%u", a, e->port);
	return out;
}

const char *prefix_str(const struct prefix *p, char out[static PREFIX_STRLEN])
{
	char a[ADDR_STRLEN];
	snprintf(out, PREFIX_STRLEN, "%s/%u", addr_str(&p->addr, a), p->bits);
	return out;
}

uint8_t prefix_bits128(const struct prefix *p)
{
	return addr_is_v4(&p->addr) ? (uint8_t)(p->bits + 96) : p->bits;
}

/* True when the first `bits` of the two are equal. */
static bool same_bits(const struct addr *a, const struct addr *b, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;
	if (memcmp(a->b, b->b, bytes) != 0)
		return false;
	return rest == 0 || ((a->b[bytes] ^ b->b[bytes]) >> (8 - rest)) == 0;
}

bool prefix_contains(const struct prefix *p, const struct addr *a)
{
	return addr_is_v4(&p->addr) == addr_is_v4(a) && same_bits(&p->addr, a, prefix_bits128(p));
}

bool prefix_eq(const struct prefix *a, const struct prefix *b)
{
	return a->bits == b->bits && addr_eq(&a->addr, &b->addr);
}

bool prefix_overlaps(const struct prefix *a, const struct prefix *b)
{
	return a->bits < b->bits ? prefix_contains(a, &b->addr) : prefix_contains(b, &a->addr);
}

bool prefix_is_private(const struct prefix *p)
{
	static const char *const ranges[] = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
					      "100.64.0.0/10", "fc00::/7" };
	struct prefix r;
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		if (prefix_parse(ranges[i], &r) && p->bits >= r.bits &&
		    prefix_contains(&r, &p->addr))
			return true;
	return false;
}

struct prefix prefix_of(const struct addr *a, uint8_t bits)
{
	struct prefix p = { .addr = *a, .bits = bits };
	unsigned keep = prefix_bits128(&p);
	for (unsigned i = 0; i<16; i++, keep = keep> 8 ? keep - 8 : 0)
		p.addr.b[i] &= (uint8_t)(keep >= 8 ? 0xff : 0xff00u >> keep);
	return p;
}

struct prefix prefix_host(const struct addr *a)
{
	return prefix_of(a, addr_is_v4(a) ? 32 : 128);
}

bool prefix_is_host(const struct prefix *p)
{
	return p->bits == (addr_is_v4(&p->addr) ? 32 : 128);
}

void wr_endpoint(struct wr *w, const struct endpoint *e)
{
	wr_bytes(w, e->addr.b, 16);
	wr_be16(w, e->port);
}

struct endpoint rd_endpoint(struct rd *r)
{
	struct endpoint e = { 0 };
	rd_bytes(r, e.addr.b, 16);
	e.port = rd_be16(r);
	return e;
}

size_t endpoint_to_sockaddr(const struct endpoint *e, bool v6socket, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (!v6socket) {
		struct sockaddr_in *in = (struct sockaddr_in *)ss;
		in->sin_family = AF_INET;
		in->sin_port = htons(e->port);
		memcpy(&in->sin_addr, e->addr.b + 12, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(e->port);
	memcpy(&in6->sin6_addr, e->addr.b, 16);
	in6->sin6_scope_id = e->scope;
	return sizeof(*in6);
}

bool endpoint_from_sockaddr(const struct sockaddr_storage *ss, struct endpoint *out)
{
	struct endpoint e = { 0 };
	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
		e.addr = addr_v4((const uint8_t *)&in->sin_addr);
		e.port = ntohs(in->sin_port);
	} else if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
		memcpy(e.addr.b, &in6->sin6_addr, 16);
		e.port = ntohs(in6->sin6_port);
		e.scope = addr_is_link_local(&e.addr) ? in6->sin6_scope_id : 0;
	} else {
		return false;
	}
	*out = e;
	return true;
}
