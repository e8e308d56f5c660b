/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered of members: records, what contradicts them, their bytes, and bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "gateway/memory.h"

enum { FILE_ROOM = 4096 };

static struct roster_entry entry(member_number number, const char *id, uint8_t key)
{
	struct roster_entry e;
	memset(&e, 0, sizeof(e));
	e.number = number;
	snprintf(e.id, sizeof(e.id), "%s", id);
	memset(e.key, key, 32);
	memset(e.pair_psk, 0x50 + key, 32);
	return e;
}

static struct remembered *put(struct memory *m, member_number number, const char *id, uint8_t key)
{
	struct roster_entry e = entry(number, id, key);
	return memory_put(m, &e, false);
}

static unsigned conflicts(const struct memory *m, member_number number, const char *id, uint8_t key)
{
	struct roster_entry e = entry(number, id, key);
	unsigned n = 0;
	for (size_t i = 0; memory_conflict(m, &e, &i); i++)
		n++;
	return n;
}

static bool knows(const struct memory *m, member_number number, uint8_t key)
{
	uint8_t k[32];
	memset(k, key, 32);
	return memory_find(m, number, k);
}

/* --- records --- */

static void test_what_contradicts(void **state)
{
	struct memory m = { 0 };
	(void)state;
	put(&m, 3, "b", 1);
	put(&m, 7, "c", 2);
	assert_int_equal(conflicts(&m, 3, "b", 1), 0);
	assert_int_equal(conflicts(&m, 9, "d", 9), 0);
	assert_int_equal(conflicts(&m, 3, "b", 9), 1);
	assert_int_equal(conflicts(&m, 9, "b", 9), 1); /* the id elsewhere */
	assert_int_equal(conflicts(&m, 3, "x", 9), 1); /* its address for another id */
	assert_int_equal(conflicts(&m, 7, "b", 9), 2);
	memory_free(&m);
}

/*
 * A rendezvous that first moves the true key out of the way, to another id or another number, gains
 * nothing: what was bound stays so.
 */
static void test_moving_a_key_frees_nothing(void **state)
{
	struct memory m = { 0 };
	(void)state;
	put(&m, 3, "b", 1);
	put(&m, 9, "x", 1);
	put(&m, 11, "b", 1);
	assert_int_equal(m.n, 3);
	assert_int_equal(conflicts(&m, 3, "y", 9), 1);
	assert_int_equal(conflicts(&m, 20, "b", 9), 2);
	/* another key that is taken ends all that it contradicts, and no more */
	put(&m, 3, "b", 9);
	assert_int_equal(m.n, 2);
	assert_true(knows(&m, 3, 9) && knows(&m, 9, 1) && !knows(&m, 3, 1) && !knows(&m, 11, 1));
	memory_free(&m);
}

static void test_accept(void **state)
{
	struct memory m = { 0 };
	struct roster_entry e = entry(3, "b", 9);
	(void)state;
	put(&m, 3, "b", 1);
	assert_true(memory_accept(&m, &e));
	assert_false(memory_accept(&m, &e));
	assert_int_equal(m.n, 0);
	memory_free(&m);
}

static void test_only_news_is_a_change(void **state)
{
	struct memory m = { .start = 1 };
	struct endpoint at = { .addr = addr_v4_u32(0xc6336401), .port = 1 }, other = at;
	(void)state;
	struct remembered *r = put(&m, 3, "b", 1);
	assert_true(m.changed);
	memory_reached(&m, r, &at);
	other.port = 2;
	memory_reached(&m, r, &other);
	m.changed = false;
	put(&m, 3, "b", 1);
	memory_reached(&m, r, &at);
	assert_true(endpoint_eq(&r->at[0], &at) && endpoint_eq(&r->at[1], &other));
	assert_int_equal(r->nat, 2);
	assert_false(m.changed);
	memory_gone(&m, 4);
	assert_false(m.changed);
	memory_gone(&m, 3);
	assert_true(m.changed && !r->listed);
	memory_free(&m);
}

static void test_endpoints_are_the_latest(void **state)
{
	struct memory m = { 0 };
	struct endpoint at = { .addr = addr_v4_u32(0xc6336401) };
	(void)state;
	struct remembered *r = put(&m, 3, "b", 1);
	for (uint16_t port = 1; port <= 10; port++) {
		at.port = port;
		memory_reached(&m, r, &at);
	}
	assert_int_equal(r->nat, MEMORY_ENDPOINTS);
	for (unsigned i = 0; i < MEMORY_ENDPOINTS; i++)
		assert_int_equal(r->at[i].port, 10 - i);
	memory_free(&m);
}

/* Full: the one that was listed longest ago goes; with pinned keys nobody does. */
static void test_full(void **state)
{
	struct memory m = { 0 };
	char id[16];
	(void)state;
	for (unsigned i = 0; i < MEMORY_MAX; i++) {
		m.start = i == 77 ? 1 : 2;
		snprintf(id, sizeof(id), "w%u", i);
		struct remembered *r = put(&m, i + 1, id, (uint8_t)(1 + i % 200));
		assert_non_null(r);
		r->listed = false;
	}
	struct roster_entry e = entry(MEMORY_MAX + 1, "new", 9);
	assert_null(memory_put(&m, &e, true));
	assert_true(knows(&m, 78, 1 + 77));
	assert_non_null(memory_put(&m, &e, false));
	assert_false(knows(&m, 78, 1 + 77));
	assert_int_equal(m.n, MEMORY_MAX);
	/* who is listed now is never pushed out */
	for (size_t i = 0; i < m.n; i++)
		m.v[i].listed = true;
	e = entry(MEMORY_MAX + 2, "newer", 9);
	assert_null(memory_put(&m, &e, false));
	/* and the fullest file can be read */
	size_t room = memory_room(&m);
	uint8_t *bytes = malloc(room);
	struct memory again = { 0 };
	assert_non_null(bytes);
	size_t len = memory_encode(&m, bytes, room);
	assert_in_range(len, 1, MEMORY_FILE_MAX);
	assert_int_equal(memory_decode(&again, bytes, len), 0);
	assert_int_equal(again.n, m.n);
	free(bytes);
	memory_free(&again);
	memory_free(&m);
}

/* --- bytes --- */

static size_t fixture(const char *name, uint8_t out[static FILE_ROOM])
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", FIXTURES, name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(out, 1, FILE_ROOM, f);
	fclose(f);
	return n;
}

static void check_numbered(const uint8_t *p, uint8_t first)
{
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(p[i], (uint8_t)(first + i));
}

static void check_whole(const struct memory *m)
{
	char text[ENDPOINT_STRLEN];
	check_numbered(m->owner.rendezvous, 1);
	check_numbered(m->owner.key, 0x21);
	assert_string_equal(m->owner.id, "w1");
	assert_int_equal(m->lease.number, 4242);
	assert_int_equal(m->lease.granted, 1760000000);
	assert_int_equal(m->lease.mac[15], 15);
	assert_int_equal(m->lease.nroutes, 1);
	assert_int_equal(m->start, 7);
	assert_int_equal(m->n, 2);
	const struct remembered *c = &m->v[0], *w = &m->v[1];
	assert_true(c->listed && c->start == 7 && c->nat == 2 && c->e.number == 1);
	assert_string_equal(c->e.id, "c1");
	assert_string_equal(c->e.release, "0.1.0");
	assert_string_equal(c->e.trino.environment, "prod");
	assert_string_equal(c->e.trino.version, "476");
	assert_true(c->e.trino.coordinator && c->e.trino.https_port == 8443);
	assert_int_equal(c->e.nroutes, 1);
	assert_string_equal(endpoint_str(&c->at[0], text), "198.51.100.7:40000");
	assert_string_equal(endpoint_str(&c->at[1], text), "[2001:db8::7]:40001");
	check_numbered(c->e.key, 0x40);
	check_numbered(c->e.pair_psk, 0x60);
	assert_true(!w->listed && w->start == 6 && w->nat == 0 && w->e.number == 9);
	assert_string_equal(w->e.id, "w9");
}

static void test_fixture(void **state)
{
	uint8_t bytes[FILE_ROOM], out[FILE_ROOM];
	struct memory m = { 0 };
	(void)state;
	size_t len = fixture("members.bin", bytes);
	assert_int_equal(memory_decode(&m, bytes, len), 0);
	check_whole(&m);
	/* and it is what we write */
	assert_int_equal(memory_encode(&m, out, sizeof(out)), len);
	assert_memory_equal(out, bytes, len);
	for (size_t cap = 0; cap < len; cap++)
		assert_int_equal(memory_encode(&m, out, cap), 0);
	memory_free(&m);
	assert_int_equal(memory_decode(&m, bytes, fixture("members-unknown-tlv.bin", bytes)), 0);
	check_whole(&m);
	memory_free(&m);
	assert_int_equal(memory_decode(&m, bytes, fixture("members-smallest.bin", bytes)), 0);
	assert_true(m.start == 7 && m.n == 0 && m.lease.number == 0);
	memory_free(&m);
	assert_int_equal(memory_decode(&m, bytes, fixture("members-critical-tlv.bin", bytes)),
			 -EBADMSG);
	assert_int_equal(memory_decode(&m, bytes, fixture("members-version-2.bin", bytes)),
			 -EBADMSG);
}

static void test_every_cut_and_every_bit(void **state)
{
	uint8_t bytes[FILE_ROOM];
	struct memory m = { 0 };
	(void)state;
	size_t len = fixture("members.bin", bytes);
	for (size_t i = 0; i < len; i++) {
		uint8_t *exact = malloc(i ? i : 1);
		assert_non_null(exact);
		memcpy(exact, bytes, i);
		assert_int_equal(memory_decode(&m, exact, i), -EBADMSG);
		assert_true(!m.v && !m.n);
		free(exact);
	}
	for (size_t bit = 0; bit < len * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(memory_decode(&m, bytes, len), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_true(!m.v && !m.n);
}

static void test_lease_is_its_owners(void **state)
{
	struct memory m = { 0 };
	struct memory_owner me = { .rendezvous = { 1 }, .key = { 2 }, .id = "a" }, other = me;
	struct lease l = { .number = 5 };
	(void)state;
	assert_false(memory_fits(&m, &me));
	memory_lease(&m, &me, &l);
	assert_true(m.changed && memory_fits(&m, &me));
	m.changed = false;
	memory_lease(&m, &me, &l);
	assert_false(m.changed);
	other.rendezvous[0] = 9;
	assert_false(memory_fits(&m, &other));
	other = me;
	other.key[0] = 9;
	assert_false(memory_fits(&m, &other));
	other = me;
	other.id[0] = 'b';
	assert_false(memory_fits(&m, &other));
	memory_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_contradicts),
		cmocka_unit_test(test_moving_a_key_frees_nothing),
		cmocka_unit_test(test_accept),
		cmocka_unit_test(test_only_news_is_a_change),
		cmocka_unit_test(test_endpoints_are_the_latest),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_fixture),
		cmocka_unit_test(test_every_cut_and_every_bit),
		cmocka_unit_test(test_lease_is_its_owners),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
