/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, endpoints and prefixes: numbered cases of text, and bit by bit against an oracle. */
#include "base/addr.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <cmocka.h>

struct text_case {
	const char *in, *out; /* NULL: refused */
};

static void addr_texts(void **ignored)
{
	static const struct text_case cases[] = {
		/* 1 */ { "0.0.0.0", "0.0.0.0" },
		/* 2 */ { "255.255.255.255", "255.255.255.255" },
		/* 3 */ { "10.77.0.1", "10.77.0.1" },
		/* 4 */ { "::", "::" },
		/* 5 */ { "::1", "::1" },
		/* 6 */ { "2001:DB8::0:1", "2001:db8::1" },
		/* 7 */ { "::ffff:10.77.0.1", "10.77.0.1" },
		/* 8 */ { "::ffff:a4d:1", "10.77.0.1" },
		/* 9 */
		{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
		/* 10 */ { "", NULL },
		/* 11 */ { "1.2.3", NULL },
		/* 12 */ { "1.2.3.256", NULL },
		/* 13 */ { "1.2.3.4.5", NULL },
		/* 14 */ { " 1.2.3.4", NULL },
		/* 15 */ { "1.2.3.4 ", NULL },
		/* 16 */ { "1.2.3.4\n", NULL },
		/* 17 */ { "0x1.2.3.4", NULL },
		/* 18 */ { "localhost", NULL },
		/* 19 */ { "fe80::1%eth0", NULL },
		/* 20 */ { "[::1]", NULL },
		/* 21 */ { "1::2::3", NULL },
		/* 22 */ { "1:2:3:4:5:6:7:8:9", NULL },
		/* 23 */ { "::fffff", NULL },
		/* 24 */ { "10.77.0.1/32", NULL },
	};
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct addr a, before;
		char out[ADDR_STRLEN];
		memset(&a, 0x5a, sizeof(a));
		before = a;
		bool ok = addr_parse(cases[i].in, &a);
		if (ok != (cases[i].out != NULL) ||
		    (ok && strcmp(addr_str(&a, out), cases[i].out) != 0) ||
		    (!ok && !addr_eq(&a, &before)))
			fail_msg("case %zu: %s", i + 1, cases[i].in);
	}
}

static void endpoint_texts(void **ignored)
{
	static const struct text_case cases[] = {
		/* 1 */ { "1.2.3.4:51820", "1.2.3.4:51820" },
		/* 2 */ { "[::1]:1", "[::1]:1" },
		/* 3 */ { "[2001:db8::1]:65535", "[2001:db8::1]:65535" },
		/* 4 */ { "0.0.0.0:0", "0.0.0.0:0" },
		/* 5 */ { "[::ffff:1.2.3.4]:5", "1.2.3.4:5" },
		/* 6 */ { "1.2.3.4:00080", "1.2.3.4:80" },
		/* 7 */ { "", NULL },
		/* 8 */ { "1.2.3.4", NULL },
		/* 9 */ { "1.2.3.4:", NULL },
		/* 10 */ { ":51820", NULL },
		/* 11 */ { "1.2.3.4:65536", NULL },
		/* 12 */ { "1.2.3.4:99999999999999999999", NULL },
		/* 13 */ { "1.2.3.4:-1", NULL },
		/* 14 */ { "1.2.3.4:+1", NULL },
		/* 15 */ { "1.2.3.4: 1", NULL },
		/* 16 */ { "1.2.3.4:1x", NULL },
		/* 17 */ { "::1:51820", NULL },
		/* 18 */ { "[::1]", NULL },
		/* 19 */ { "[::1]:", NULL },
		/* 20 */ { "[::1:1", NULL },
		/* 21 */ { "::1]:1", NULL },
		/* 22 */ { "[]:1", NULL },
		/* 23 */ { "[:1", NULL },
		/* 24 */ { "host:1", NULL },
		/* 25 */ { "[host]:1", NULL },
		/* 26 */
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:"
		  "1",
		  NULL },
	};
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct endpoint e, before;
		char out[ENDPOINT_STRLEN];
		memset(&e, 0x5a, sizeof(e));
		before = e;
		bool ok = endpoint_parse(cases[i].in, &e);
		if (ok != (cases[i].out != NULL) ||
		    (ok && strcmp(endpoint_str(&e, out), cases[i].out) != 0) ||
		    (!ok && !endpoint_eq(&e, &before)))
			fail_msg("case %zu: %s", i + 1, cases[i].in);
	}
}

static void prefix_texts(void **ignored)
{
	static const struct text_case cases[] = {
		/* 1 */ { "10.77.0.0/16", "10.77.0.0/16" },
		/* 2: host bits go */ { "10.77.3.9/16", "10.77.0.0/16" },
		/* 3 */ { "10.77.3.9", "10.77.3.9/32" },
		/* 4 */ { "0.0.0.0/0", "0.0.0.0/0" },
		/* 5 */ { "255.255.255.255/1", "128.0.0.0/1" },
		/* 6 */ { "fd00::1", "fd00::1/128" },
		/* 7 */ { "fdff::1/7", "fc00::/7" },
		/* 8 */ { "::/0", "::/0" },
		/* 9 */ { "ffff::/1", "8000::/1" },
		/* 10 */ { "10.77.3.9/31", "10.77.3.8/31" },
		/* 11: the other form of IPv4 */ { "::ffff:10.77.3.9/24", "10.77.3.0/24" },
		/* 12 */ { "10.0.0.0/33", NULL },
		/* 13 */ { "fd00::/129", NULL },
		/* 14 */ { "10.0.0.0/", NULL },
		/* 15 */ { "10.0.0.0/-1", NULL },
		/* 16 */ { "10.0.0.0/8/8", NULL },
		/* 17 */ { "10.0.0.0/8 ", NULL },
		/* 18 */ { "/8", NULL },
		/* 19 */ { "", NULL },
		/* 20 */ { "10.0.0/8", NULL },
		/* 21 */ { "10.0.0.0/4294967304", NULL },
		/* 22 */ { "::ffff:10.77.3.9/120", NULL },
	};
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct prefix p, before;
		char out[PREFIX_STRLEN];
		memset(&p, 0x5a, sizeof(p));
		before = p;
		bool ok = prefix_parse(cases[i].in, &p);
		if (ok != (cases[i].out != NULL) ||
		    (ok && strcmp(prefix_str(&p, out), cases[i].out) != 0) ||
		    (!ok && (p.bits != before.bits || !addr_eq(&p.addr, &before.addr))))
			fail_msg("case %zu: %s", i + 1, cases[i].in);
	}
}

static void kinds_of_addresses(void **ignored)
{
	enum { V4 = 1, ANY = 2, LOOP = 4, LINK = 8, MULTI = 16 };
	static const struct {
		const char *text;
		unsigned is;
	} cases[] = {
		/* 1 */ { "0.0.0.0", V4 | ANY },
		/* 2 */ { "::", ANY },
		/* 3 */ { "127.0.0.1", V4 | LOOP },
		/* 4 */ { "127.255.255.255", V4 | LOOP },
		/* 5 */ { "126.255.255.255", V4 },
		/* 6 */ { "128.0.0.0", V4 },
		/* 7 */ { "::1", LOOP },
		/* 8 */ { "::2", 0 },
		/* 9 */ { "169.254.0.1", V4 | LINK },
		/* 10 */ { "169.253.0.1", V4 },
		/* 11 */ { "fe80::1", LINK },
		/* 12 */ { "febf::1", LINK },
		/* 13 */ { "fec0::1", 0 },
		/* 14 */ { "224.0.0.1", V4 | MULTI },
		/* 15 */ { "239.255.255.255", V4 | MULTI },
		/* 16 */ { "240.0.0.1", V4 },
		/* 17 */ { "223.255.255.255", V4 },
		/* 18 */ { "ff02::1", MULTI },
		/* 19 */ { "fe00::1", 0 },
		/* 20: v4-compatible is no IPv4 */ { "::10.0.0.1", 0 },
	};
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct addr a;
		assert_true(addr_parse(cases[i].text, &a));
		unsigned is = (addr_is_v4(&a) ? V4 : 0u) | (addr_is_any(&a) ? ANY : 0u) |
			      (addr_is_loopback(&a) ? LOOP : 0u) |
			      (addr_is_link_local(&a) ? LINK : 0u) |
			      (addr_is_multicast(&a) ? MULTI : 0u);
		if (is != cases[i].is)
			fail_msg("case %zu: %s is %u", i + 1, cases[i].text, is);
	}
}

/* The oracle: one bit after another. */

static unsigned bit(const struct addr *a, unsigned i)
{
	return (unsigned)a->b[i / 8] >> (7 - i % 8) & 1u;
}

static bool naive_contains(const struct prefix *p, const struct addr *a)
{
	unsigned bits = p->bits + (addr_is_v4(&p->addr) ? 96u : 0u);
	if (addr_is_v4(&p->addr) != addr_is_v4(a))
		return false;
	for (unsigned i = 0; i < bits; i++)
		if (bit(&p->addr, i) != bit(a, i))
			return false;
	return true;
}

static uint64_t state;

static uint32_t rnd(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % below;
}

static struct addr random_addr(void)
{
	struct addr a;
	for (unsigned i = 0; i < 16; i++)
		a.b[i] = (uint8_t)(rnd(2) ? 0 : rnd(256));
	return rnd(2) ? a : addr_v4(a.b);
}

static struct addr near(const struct addr *a)
{
	struct addr n = *a;
	unsigned i = rnd(addr_is_v4(a) ? 32 : 128);
	i += addr_is_v4(a) ? 96 : 0;
	n.b[i / 8] ^= (uint8_t)(0x80u >> i % 8);
	return n;
}

static void prefixes_against_the_oracle(void **ignored)
{
	(void)ignored;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		state = seed;
		for (unsigned i = 0; i < 5000; i++) {
			struct addr a = random_addr(), c = rnd(4) ? near(&a) : random_addr();
			struct prefix p = prefix_of(&a, (uint8_t)rnd(addr_is_v4(&a) ? 33 : 129));
			struct prefix q = prefix_of(&c, (uint8_t)rnd(addr_is_v4(&c) ? 33 : 129));
			bool overlap = naive_contains(&p, &q.addr) || naive_contains(&q, &p.addr);
			bool ok = prefix_contains(&p, &a) &&
				  prefix_contains(&p, &c) == naive_contains(&p, &c) &&
				  prefix_overlaps(&p, &q) == overlap &&
				  prefix_overlaps(&q, &p) == overlap;
			for (unsigned b = prefix_bits128(&p); b < 128; b++)
				ok = ok && bit(&p.addr, b) == 0;
			if (!ok)
				fail_msg("seed %llu, round %u", (unsigned long long)seed, i);
		}
	}
}

/* Whatever is printed is read back as it was. */
static void texts_both_ways(void **ignored)
{
	(void)ignored;
	state = 77;
	for (unsigned i = 0; i < 20000; i++) {
		char text[ENDPOINT_STRLEN];
		struct endpoint e = { .addr = random_addr(), .port = (uint16_t)rnd(65536) }, e2;
		struct prefix p = prefix_of(&e.addr, (uint8_t)rnd(addr_is_v4(&e.addr) ? 33 : 129)),
			      p2;
		struct addr a2;
		if (!addr_parse(addr_str(&e.addr, text), &a2) || !addr_eq(&a2, &e.addr) ||
		    !endpoint_parse(endpoint_str(&e, text), &e2) || !endpoint_eq(&e, &e2) ||
		    !prefix_parse(prefix_str(&p, text), &p2) || p2.bits != p.bits ||
		    !addr_eq(&p.addr, &p2.addr))
			fail_msg("seed 77, round %u: %s", i, text);
	}
}

static void order_and_numbers(void **ignored)
{
	struct addr a = addr_v4_u32(0x0a4d0001), c = addr_v4_u32(0x0a4d0002), six;
	(void)ignored;
	assert_true(addr_to_v4(&a) == 0x0a4d0001);
	assert_true(addr_cmp(&a, &c) < 0 && addr_cmp(&c, &a) > 0 && addr_cmp(&a, &a) == 0);
	assert_true(addr_parse("fd00::", &six));
	assert_true(addr_cmp(&a, &six) < 0);
	struct prefix h4 = prefix_host(&a), h6 = prefix_host(&six);
	assert_int_equal(h4.bits, 32);
	assert_int_equal(h6.bits, 128);
	assert_int_equal(prefix_bits128(&h4), 128);
}

static void on_the_wire(void **ignored)
{
	uint8_t buf[18];
	struct endpoint e, got;
	(void)ignored;
	assert_true(endpoint_parse("10.77.0.1:258", &e));
	e.scope = 9; /* does not travel */
	struct wr w = wr_of(buf, sizeof(buf));
	wr_endpoint(&w, &e);
	assert_true(wr_ok(&w));
	assert_memory_equal(buf, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x4d\0\1\1\2", 18);
	struct rd r = rd_of(buf, sizeof(buf));
	got = rd_endpoint(&r);
	assert_true(rd_done(&r));
	e.scope = 0;
	assert_true(endpoint_eq(&e, &got));
	r = rd_of(buf, 17);
	got = rd_endpoint(&r);
	assert_false(rd_ok(&r));
	assert_int_equal(got.port, 0);
}

static void socket_addresses(void **ignored)
{
	static const char *const texts[] = { "192.0.2.1:51820", "[2001:db8::1]:9", "[fe80::1]:9" };
	struct sockaddr_storage ss;
	struct endpoint e, got;
	(void)ignored;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_true(endpoint_parse(texts[i], &e));
		if (addr_is_link_local(&e.addr))
			e.scope = 3;
		assert_int_equal(endpoint_to_sockaddr(&e, true, &ss), sizeof(struct sockaddr_in6));
		assert_int_equal(ss.ss_family, AF_INET6);
		assert_true(endpoint_from_sockaddr(&ss, &got));
		assert_true(endpoint_eq(&e, &got));
	}
	assert_true(endpoint_parse(texts[0], &e));
	assert_int_equal(endpoint_to_sockaddr(&e, false, &ss), sizeof(struct sockaddr_in));
	assert_int_equal(ss.ss_family, AF_INET);
	assert_true(endpoint_from_sockaddr(&ss, &got));
	assert_true(endpoint_eq(&e, &got));
	ss.ss_family = AF_UNIX;
	assert_false(endpoint_from_sockaddr(&ss, &got));
	assert_true(endpoint_eq(&e, &got)); /* left as it was */
}

static void test_private(void **unused)
{
	static const struct {
		const char *prefix;
		bool private;
	} cases[] = {
		{ "10.0.0.0/8", true },	    { "10.77.200.0/24", true }, { "10.0.0.0/7", false },
		{ "0.0.0.0/0", false },	    { "0.0.0.0/1", false },	{ "172.16.0.0/12", true },
		{ "172.32.0.0/16", false }, { "192.168.1.0/25", true }, { "192.169.0.0/24", false },
		{ "100.64.0.0/10", true },  { "8.8.8.8/32", false },	{ "169.254.0.0/16", false },
		{ "127.0.0.0/8", false },   { "fd00:1::/32", true },	{ "fc00::/6", false },
		{ "2001:db8::/32", false }, { "fe80::/10", false },	{ "::/0", false },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct prefix p;
		assert_true(prefix_parse(cases[i].prefix, &p));
		assert_int_equal(prefix_is_private(&p), cases[i].private);
	}
	(void)unused;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_private),	      cmocka_unit_test(addr_texts),
		cmocka_unit_test(endpoint_texts),     cmocka_unit_test(prefix_texts),
		cmocka_unit_test(kinds_of_addresses), cmocka_unit_test(prefixes_against_the_oracle),
		cmocka_unit_test(texts_both_ways),    cmocka_unit_test(order_and_numbers),
		cmocka_unit_test(on_the_wire),	      cmocka_unit_test(socket_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
