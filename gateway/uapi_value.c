/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind the = of a line. The whole of it is the value, or it is none. */
#include "gateway/uapi_impl.h"

#include <sodium.h>
#include <stdlib.h>

bool uapi_parse_true(const struct uapi *u, const char *text, struct uapi_value *v)
{
	(void)u;
	(void)v;
	return strcmp(text, "true") == 0;
}

bool uapi_parse_one(const struct uapi *u, const char *text, struct uapi_value *v)
{
	(void)u;
	(void)v;
	return strcmp(text, "1") == 0;
}

bool uapi_parse_key(const struct uapi *u, const char *text, struct uapi_value *v)
{
	size_t len = 0;
	(void)u;
	return strlen(text) == 64 &&
	       sodium_hex2bin(v->key, sizeof(v->key), text, 64, NULL, &len, NULL) == 0 &&
	       len == sizeof(v->key);
}

/* Decimal, no sign, no spaces. */
static bool parse_number(const char *text, uint32_t max, uint32_t *out)
{
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || text[digits])
		return false;
	unsigned long long n = strtoull(text, NULL, 10); /* ULLONG_MAX where it is more */
	*out = (uint32_t)n;
	return n <= max;
}

bool uapi_parse_u16(const struct uapi *u, const char *text, struct uapi_value *v)
{
	(void)u;
	return parse_number(text, UINT16_MAX, &v->number);
}

bool uapi_parse_mark(const struct uapi *u, const char *text, struct uapi_value *v)
{
	(void)u;
	if (strncmp(text, "0x", 2) != 0)
		return parse_number(text, UINT32_MAX, &v->number);
	text += 2;
	size_t digits = strspn(text, "0123456789abcdefABCDEF");
	v->number = (uint32_t)strtoul(text, NULL, 16);
	return digits >= 1 && digits <= 8 && !text[digits];
}

/*
 * An interface by number, or by name as getnameinfo() writes it. It says where a link-local address is;
 * of a global one the kernel does not look at it, so that it is not looked up and not kept.
 */
static bool parse_scope(const struct uapi *u, const char *text, struct endpoint *e)
{
	if (!addr_is_link_local(&e->addr))
		return *text;
	if (!parse_number(text, UINT32_MAX, &e->scope))
		e->scope = u->dev.ifindex ? u->dev.ifindex(u->dev.ctx, text) : 0;
	return e->scope;
}

bool uapi_parse_endpoint(const struct uapi *u, const char *text, struct uapi_value *v)
{
	struct endpoint *e = &v->endpoint;
	const char *percent = strchr(text, '%'), *close = strrchr(text, ']');
	char plain[ENDPOINT_STRLEN], scope[ENDPOINT_STRLEN];
	size_t len = strlen(text);

	if (len >= sizeof(plain))
		return false;
	if (!percent)
		return endpoint_parse(text, e);
	if (!close || close < percent)
		return false;
	size_t before = (size_t)(percent - text), within = (size_t)(close - percent) - 1;
	memcpy(plain, text, before);
	memcpy(plain + before, close, strlen(close) + 1);
	memcpy(scope, percent + 1, within);
	scope[within] = 0;
	return endpoint_parse(plain, e) && !addr_is_v4(&e->addr) && parse_scope(u, scope, e);
}

/*
 * ::ffff:10.0.0.0/104 is a prefix of IPv6 here, which struct prefix has no form for; that it becomes
 * a route of IPv4, whose bits are counted otherwise too, was nobody's wish.
 */
bool uapi_parse_prefix(const struct uapi *u, const char *text, struct uapi_value *v)
{
	(void)u;
	v->minus = *text == '-';
	text += *text == '-' || *text == '+';
	return strchr(text, '/') && prefix_parse(text, &v->prefix) &&
	       !(strchr(text, ':') && addr_is_v4(&v->prefix.addr));
}
