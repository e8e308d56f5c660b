/* SPDX-License-Identifier: Apache-2.0 */
/* The table against a list that is searched from end to end, and by hand. */
#include "route/table.h"
#include "tests/unit/route/remove_owner.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { NAIVE_MAX = 20000 };

struct entry {
	struct prefix p;
	void *owner;
};

/* The oracle: no order, no sharing, nothing to get wrong. */
static struct entry naive[NAIVE_MAX];
static size_t n_naive;
static char owners[64]; /* their addresses are the owners */

static uint64_t seed, state;

static uint32_t rnd(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % below;
}

static void reseed(uint64_t s)
{
	seed = state = s;
	n_naive = 0;
}

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			print_error("seed %llu, %zu prefixes\n", (unsigned long long)seed,         \
				    n_naive);                                                      \
			fail_msg("%s", #cond);                                                     \
		}                                                                                  \
	} while (0)

static struct prefix pfx(const char *s)
{
	struct prefix p;
	if (!prefix_parse(s, &p))
		fail_msg("bad prefix in the test: %s", s);
	return p;
}

static struct addr adr(const char *s)
{
	struct addr a;
	if (!addr_parse(s, &a))
		fail_msg("bad address in the test: %s", s);
	return a;
}

static struct entry *naive_exact(const struct prefix *p)
{
	for (size_t i = 0; i < n_naive; i++)
		if (naive[i].p.bits == p->bits && addr_eq(&naive[i].p.addr, &p->addr))
			return &naive[i];
	return NULL;
}

static void naive_set(const struct prefix *p, void *owner)
{
	struct entry *e = naive_exact(p);
	if (!e) {
		assert_true(n_naive < NAIVE_MAX);
		e = &naive[n_naive++];
	}
	*e = (struct entry){ *p, owner };
}

static void naive_remove(const struct prefix *p, const void *owner)
{
	struct entry *e = naive_exact(p);
	if (e && e->owner == owner)
		*e = naive[--n_naive];
}

static void naive_remove_owner(const void *owner)
{
	for (size_t i = 0; i < n_naive;)
		if (naive[i].owner == owner)
			naive[i] = naive[--n_naive];
		else
			i++;
}

static void *naive_find(const struct addr *a)
{
	const struct entry *best = NULL;
	for (size_t i = 0; i < n_naive; i++)
		if (prefix_contains(&naive[i].p, a) && (!best || naive[i].p.bits > best->p.bits))
			best = &naive[i];
	return best ? best->owner : NULL;
}

/* Addresses that share few or many leading bits: the second is what makes tries wrong. */
static struct addr random_addr(void)
{
	struct addr a = { { 0 } };
	bool v4 = rnd(2);
	for (unsigned i = v4 ? 12 : 0; i < 16; i++)
		a.b[i] = (uint8_t)(rnd(3) ? rnd(4) : rnd(256));
	if (v4)
		a.b[10] = a.b[11] = 0xff;
	return a;
}

static struct prefix random_prefix(void)
{
	struct addr a = random_addr();
	unsigned max = addr_is_v4(&a) ? 32 : 128;
	/* hosts often, each length sometimes */
	return prefix_of(&a, (uint8_t)(rnd(3) ? max : rnd(max + 1)));
}

/* An address of an entry or near one, so that look-ups hit. */
static struct addr random_target(void)
{
	struct addr a = random_addr();
	if (n_naive && rnd(4))
		a = naive[rnd((uint32_t)n_naive)].p.addr;
	if (rnd(2))
		a.b[12 + rnd(4)] ^= (uint8_t)(1u << rnd(8));
	return a;
}

struct collected {
	struct entry e[NAIVE_MAX];
	size_t n;
};

static struct collected got;

static void collect(void *ctx, const struct prefix *p, void *owner)
{
	struct collected *c = ctx;
	assert_true(c->n < NAIVE_MAX);
	c->e[c->n++] = (struct entry){ *p, owner };
}

static bool in_order(const struct prefix *a, const struct prefix *b)
{
	int c = addr_cmp(&a->addr, &b->addr);
	return c ? c < 0 : a->bits < b->bits;
}

static void compare_walk(const struct route_table *t, const void *owner)
{
	size_t expected = 0;
	for (size_t i = 0; i < n_naive; i++)
		expected += !owner || naive[i].owner == owner;
	got.n = 0;
	route_table_each(t, owner, collect, &got);
	CHECK(got.n == expected);
	for (size_t i = 0; i < got.n; i++) {
		struct entry *e = naive_exact(&got.e[i].p);
		CHECK(e && e->owner == got.e[i].owner && (!owner || e->owner == owner));
		CHECK(i == 0 || in_order(&got.e[i - 1].p, &got.e[i].p));
	}
}

/* The same in pages, each begun from the last of the one before. */
static void compare_pages(const struct route_table *t, const void *owner, size_t room)
{
	struct prefix page[8];
	size_t n, at = 0;
	got.n = 0;
	route_table_each(t, owner, collect, &got);
	do {
		n = route_table_list(t, owner, at ? &got.e[at - 1].p : NULL, page, room);
		CHECK(n <= room && at + n <= got.n);
		for (size_t i = 0; i < n; i++, at++)
			CHECK(page[i].bits == got.e[at].p.bits &&
			      addr_eq(&page[i].addr, &got.e[at].p.addr));
	} while (n == room);
	CHECK(at == got.n);
}

static void one_step(struct route_table *t)
{
	struct prefix p =
		n_naive && rnd(3) == 0 ? naive[rnd((uint32_t)n_naive)].p : random_prefix();
	void *owner = &owners[rnd(sizeof(owners))];
	uint32_t dice = rnd(100);
	if (dice < 60) {
		CHECK(route_table_set(t, &p, owner) == 0);
		naive_set(&p, owner);
	} else if (dice < 98) {
		struct entry *e = naive_exact(&p);
		if (e && rnd(4))
			owner = e->owner;
		route_table_remove(t, &p, owner);
		naive_remove(&p, owner);
	} else {
		remove_owner(t, owner);
		naive_remove_owner(owner);
	}
}

static void random_ops_match_the_list(void **ignored)
{
	(void)ignored;
	for (uint64_t s = 1; s <= 40; s++) {
		struct route_table *t = route_table_new();
		reseed(s * 0x9e3779b97f4a7c15u);
		for (unsigned i = 0; i < 1500; i++) {
			one_step(t);
			struct addr a = random_target();
			CHECK(route_table_find(t, &a) == naive_find(&a));
			struct prefix p = random_prefix();
			struct entry *e = naive_exact(&p);
			CHECK(route_table_exact(t, &p) == (e ? e->owner : NULL));
			CHECK(route_table_count(t) == n_naive);
			if (i % 250 == 0)
				compare_walk(t, i % 500 ? &owners[rnd(sizeof(owners))] : NULL);
			if (i % 250 == 1)
				compare_pages(t, &owners[rnd(sizeof(owners))], 1 + rnd(8));
		}
		for (size_t i = 0; i < sizeof(owners); i++)
			remove_owner(t, &owners[i]);
		CHECK(route_table_count(t) == 0);
		route_table_free(t);
	}
}

/* Cases by hand: the prefixes stand in one table, owner i+1 each. */
static void numbered_cases(void **ignored)
{
	(void)ignored;
	static const char *const prefixes[] = {
		/* 1 */ "10.77.0.0/16", /* 2 */ "10.77.3.0/24",	  /* 3 */ "10.77.3.7/32",
		/* 4 */ "10.77.3.6/31", /* 5 */ "0.0.0.0/0",	  /* 6 */ "fd00::/8",
		/* 7 */ "fd00:1::/32",	/* 8 */ "fd00:1::1/128",  /* 9 */ "2001:db8::/127",
		/* 10 */ "128.0.0.0/1", /* 11 */ "fd00:1::2/127",
	};
	static const struct {
		const char *addr;
		size_t owner; /* 0: nobody */
	} cases[] = {
		/* 1 */ { "10.77.3.7", 3 },
		/* 2 */ { "10.77.3.6", 4 },
		/* 3 */ { "10.77.3.5", 2 },
		/* 4 */ { "10.77.2.255", 1 },
		/* 5 */ { "10.78.0.0", 5 },
		/* 6 */ { "10.76.255.255", 5 },
		/* 7 */ { "0.0.0.0", 5 },
		/* 8 */ { "127.255.255.255", 5 },
		/* 9 */ { "128.0.0.0", 10 },
		/* 10 */ { "255.255.255.255", 10 },
		/* 11 */ { "::", 0 },
		/* 12 */ { "::1", 0 },
		/* 13: v4-compatible, not v4-mapped */ { "::10.77.3.7", 0 },
		/* 14: the same address in its other form */ { "::ffff:10.77.3.7", 3 },
		/* 15 */ { "fd00::", 6 },
		/* 16 */ { "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 6 },
		/* 17 */ { "fc00::1", 0 },
		/* 18 */ { "fe00::", 0 },
		/* 19 */ { "fd00:1::1", 8 },
		/* 20 */ { "fd00:1::2", 11 },
		/* 21 */ { "fd00:1::3", 11 },
		/* 22 */ { "fd00:1::4", 7 },
		/* 23 */ { "2001:db8::1", 9 },
		/* 24 */ { "2001:db8::2", 0 },
	};
	struct route_table *t = route_table_new();
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		struct prefix p = pfx(prefixes[i]);
		assert_int_equal(route_table_set(t, &p, &owners[i + 1]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct addr a = adr(cases[i].addr);
		const char *o = route_table_find(t, &a);
		size_t owner = o ? (size_t)(o - owners) : 0;
		if (owner != cases[i].owner)
			fail_msg("case %zu: %s has owner %zu", i + 1, cases[i].addr, owner);
	}
	route_table_free(t);
}

/* ::/0 holds every bit pattern, the v4-mapped ones too; still it is the other family. */
static void v6_default_owns_no_v4(void **ignored)
{
	(void)ignored;
	struct route_table *t = route_table_new();
	struct prefix six = pfx("::/0"), wide = pfx("::/64"), four = pfx("0.0.0.0/0");
	struct addr a4 = adr("192.0.2.1"), a6 = adr("::1");
	assert_int_equal(route_table_set(t, &six, &owners[6]), 0);
	assert_int_equal(route_table_set(t, &wide, &owners[7]), 0);
	assert_null(route_table_find(t, &a4));
	assert_int_equal(route_table_set(t, &four, &owners[4]), 0);
	assert_ptr_equal(route_table_find(t, &a4), &owners[4]);
	assert_ptr_equal(route_table_find(t, &a6), &owners[7]);
	route_table_remove(t, &four, &owners[4]);
	assert_null(route_table_find(t, &a4));
	assert_int_equal(route_table_count(t), 2);
	route_table_free(t);
}

static void a_move_leaves_nothing_behind(void **ignored)
{
	(void)ignored;
	struct route_table *t = route_table_new();
	struct prefix p = pfx("10.77.0.9");
	assert_int_equal(route_table_set(t, &p, &owners[1]), 0);
	assert_int_equal(route_table_set(t, &p, &owners[2]), 0);
	assert_int_equal(route_table_count(t), 1);
	route_table_remove(t, &p, &owners[1]); /* no longer its owner */
	remove_owner(t, &owners[1]);
	assert_ptr_equal(route_table_exact(t, &p), &owners[2]);
	remove_owner(t, &owners[2]);
	assert_null(route_table_find(t, &p.addr));
	assert_int_equal(route_table_count(t), 0);
	route_table_free(t);
}

/* Host bits are dropped, and lengths that no family has are refused. */
static void odd_prefixes(void **ignored)
{
	(void)ignored;
	struct route_table *t = route_table_new();
	struct prefix dirty = { .addr = adr("10.1.2.3"), .bits = 8 }, clean = pfx("10.0.0.0/8");
	struct prefix long4 = { .addr = adr("10.1.2.3"), .bits = 33 };
	struct prefix long6 = { .addr = adr("fd00::1"), .bits = 129 };
	struct addr a = adr("10.200.0.1");
	assert_int_equal(route_table_set(t, &dirty, &owners[1]), 0);
	assert_ptr_equal(route_table_exact(t, &clean), &owners[1]);
	assert_ptr_equal(route_table_find(t, &a), &owners[1]);
	assert_int_equal(route_table_set(t, &long4, &owners[2]), -EINVAL);
	assert_int_equal(route_table_set(t, &long6, &owners[2]), -EINVAL);
	assert_null(route_table_exact(t, &long4));
	route_table_remove(t, &long6, &owners[2]);
	assert_int_equal(route_table_count(t), 1);
	route_table_free(t);
}

/* Every length of one address: the deepest way down there is. */
static void a_nest_of_all_lengths(void **ignored)
{
	(void)ignored;
	struct route_table *t = route_table_new();
	static char nest[129];
	struct addr a = adr("fdaa:aaaa:aaaa:aaaa:5555:5555:5555:5555");
	for (unsigned bits = 0; bits <= 128; bits++) {
		struct prefix p = prefix_of(&a, (uint8_t)bits);
		assert_int_equal(route_table_set(t, &p, &nest[bits]), 0);
	}
	for (unsigned bits = 0; bits < 128; bits++) {
		struct addr b = a;
		b.b[bits / 8] ^= (uint8_t)(0x80u >> bits % 8); /* differs first at this bit */
		assert_ptr_equal(route_table_find(t, &b), &nest[bits]);
	}
	for (unsigned bits = 128; bits > 0; bits--) {
		assert_ptr_equal(route_table_find(t, &a), &nest[bits]);
		remove_owner(t, &nest[bits]);
	}
	assert_int_equal(route_table_count(t), 1);
	route_table_free(t);
}

/* Ten thousand peers come and go one by one: seconds, were either quadratic. */
static void ten_thousand_owners(void **ignored)
{
	(void)ignored;
	enum { N = 10000 };
	static char who[N];
	struct route_table *t = route_table_new();
	for (uint32_t i = 0; i < N; i++) {
		struct addr a = addr_v4_u32(0x0a4d0000u + i * 7);
		struct prefix p = prefix_host(&a);
		assert_int_equal(route_table_set(t, &p, &who[i]), 0);
	}
	assert_int_equal(route_table_count(t), N);
	size_t full = mallinfo2().uordblks;
	for (uint32_t i = 0; i < N; i++) {
		struct addr a = addr_v4_u32(0x0a4d0000u + i * 7);
		assert_ptr_equal(route_table_find(t, &a), &who[i]);
		remove_owner(t, &who[i]);
		assert_null(route_table_find(t, &a));
	}
	assert_int_equal(route_table_count(t), 0);
	/* no branch stays behind; a sanitizer's allocator counts nothing, which passes as well */
	assert_true(mallinfo2().uordblks + (full ? N * sizeof(void *) * 8 : 0) < full + 1);
	route_table_free(t);
	route_table_free(NULL);
}

/* A provider's whole list at one peer, both families: minutes, were a page to cost what all hold. */
static void a_hundred_thousand_of_one(void **ignored)
{
	(void)ignored;
	enum { N = 50000, PAGE = 32 };
	struct route_table *t = route_table_new();
	struct prefix page[PAGE], last = { .bits = 0 };
	size_t n, listed = 0;
	for (uint32_t i = 0; i < N; i++) {
		struct addr four = addr_v4_u32(i << 12), six = adr("2001:db8::");
		store_be32(six.b + 4, i);
		struct prefix p4 = prefix_of(&four, 20), p6 = prefix_of(&six, 64);
		assert_int_equal(route_table_set(t, &p4, &owners[1]), 0);
		assert_int_equal(route_table_set(t, &p6, &owners[1]), 0);
	}
	for (; (n = route_table_list(t, &owners[1], listed ? &last : NULL, page, PAGE));
	     listed += n) {
		assert_true(!listed || in_order(&last, &page[0]));
		last = page[n - 1];
	}
	assert_int_equal(listed, 2 * N);
	remove_owner(t, &owners[1]);
	assert_int_equal(route_table_count(t), 0);
	route_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbered_cases),
		cmocka_unit_test(random_ops_match_the_list),
		cmocka_unit_test(v6_default_owns_no_v4),
		cmocka_unit_test(a_move_leaves_nothing_behind),
		cmocka_unit_test(odd_prefixes),
		cmocka_unit_test(a_nest_of_all_lengths),
		cmocka_unit_test(ten_thousand_owners),
		cmocka_unit_test(a_hundred_thousand_of_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
