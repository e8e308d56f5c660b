/* SPDX-License-Identifier: Apache-2.0 */
/* Epochs, tickets, hints, and the file that keeps them. */
#include "punch/admission.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint8_t secret[32] = { 7 }, other[32] = { 8 };

static struct removed_key removed(uint8_t who, member_number number)
{
	struct removed_key k = { .number = number, .since = 1700000000 + who };
	memset(k.key, who, 32);
	snprintf(k.id, sizeof(k.id), "w%u", who);
	return k;
}

static void test_epochs(void **state)
{
	struct admission a = { 0 };
	(void)state;
	assert_true(admission_epoch_good(&a, 0, 100));
	assert_false(admission_epoch_good(&a, 1, 100));
	assert_false(admission_epoch_good(&a, UINT32_MAX, 100));
	admission_rotate(&a, 1000, 60);
	assert_true(admission_epoch_good(&a, 1, 5000));
	assert_true(admission_epoch_good(&a, 0, 1059));
	assert_false(admission_epoch_good(&a, 0, 1060));
	admission_rotate(&a, 1010,
			 0); /* the one before is over at once, and so is the one before that */
	assert_true(admission_epoch_good(&a, 2, 1010));
	assert_false(admission_epoch_good(&a, 1, 1010));
	assert_false(admission_epoch_good(&a, 0, 1010));
}

static void test_reserved(void **state)
{
	struct admission a = { 0 };
	(void)state;
	assert_int_equal(admission_reserve(&a, "c1"), 0);
	assert_int_equal(admission_reserve(&a, "c1"), 0);
	assert_int_equal(admission_reserve(&a, "c2"), 0);
	assert_int_equal(a.nreserved, 2);
	assert_true(admission_reserved(&a, "c1") && admission_reserved(&a, "c2"));
	assert_false(admission_reserved(&a, "c"));
	assert_true(admission_unreserve(&a, "c1"));
	assert_false(admission_unreserve(&a, "c1"));
	assert_false(admission_reserved(&a, "c1"));
	assert_true(admission_reserved(&a, "c2"));
	for (unsigned i = 1; i < ADMISSION_MAX_RESERVED; i++) {
		char id[16];
		snprintf(id, sizeof(id), "w%u", i);
		assert_int_equal(admission_reserve(&a, id), 0);
	}
	assert_int_equal(admission_reserve(&a, "more"), -ENOSPC);
	admission_free(&a);
}

/* Each part of a ticket is under its MAC: nobody makes it longer, or good for another id. */
static void test_tickets(void **state)
{
	struct admission a = { .epoch = 3 };
	struct token any = { .expires = 2000000000 }, one = { .only_for = "c1" };
	(void)state;
	admission_token(secret, &a, &any);
	admission_token(secret, &a, &one);
	assert_memory_equal(any.admission, one.admission, 32);
	assert_true(admission_ticket_ours(secret, &any.ticket, "w1"));
	assert_true(admission_ticket_ours(secret, &any.ticket, "c1"));
	assert_false(admission_ticket_ours(other, &any.ticket, "w1"));
	assert_true(admission_ticket_ours(secret, &one.ticket, "c1"));
	assert_false(admission_ticket_ours(secret, &one.ticket, "w1"));
	assert_false(admission_ticket_ours(secret, &one.ticket, "c11"));
	struct ticket t = any.ticket;
	t.expires = 0;
	assert_false(admission_ticket_ours(secret, &t, "w1"));
	t = any.ticket;
	t.epoch++;
	assert_false(admission_ticket_ours(secret, &t, "w1"));
	t = one.ticket;
	t.only = false;
	assert_false(admission_ticket_ours(secret, &t, "c1"));
	a.epoch++;
	struct token next = any;
	admission_token(secret, &a, &next);
	assert_memory_not_equal(next.admission, any.admission, 32);
}

static void test_hints(void **state)
{
	uint8_t psk[32];
	unsigned same = 0;
	(void)state;
	admission_psk(secret, 0, psk);
	uint16_t first = admission_hint(psk);
	assert_int_equal(admission_hint(psk), first);
	for (uint32_t e = 1; e <= 5000; e++) {
		admission_psk(secret, e, psk);
		uint16_t h = admission_hint(psk);
		assert_true(h > 0 && h <= (999999999 & 0xffff));
		same += h == first;
	}
	assert_true(same < 5);
}

static void assert_round(const struct admission *a)
{
	struct admission b;
	size_t len = 0;
	uint8_t *p = admission_encode(a, &len);
	assert_non_null(p);
	assert_int_equal(admission_decode(&b, p, len), 0);
	assert_int_equal(b.epoch, a->epoch);
	assert_int_equal(b.previous_until, a->previous_until);
	assert_int_equal(b.nreserved, a->nreserved);
	assert_int_equal(b.nremoved, a->nremoved);
	for (size_t i = 0; i < a->nreserved; i++)
		assert_string_equal(b.reserved[i], a->reserved[i]);
	for (size_t i = 0; i < a->nremoved; i++) {
		const struct removed_key *k = admission_removed(&b, a->removed[i].key);
		assert_non_null(k);
		assert_string_equal(k->id, a->removed[i].id);
		assert_int_equal(k->number, a->removed[i].number);
		assert_int_equal(k->since, a->removed[i].since);
	}
	admission_free(&b);
	/* each bit counts, and so does each byte's being there */
	for (size_t i = 0; i < len * 8 && len < 400; i++) {
		p[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(admission_decode(&b, p, len), -EBADMSG);
		p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t i = 0; i < len; i++)
		assert_int_equal(admission_decode(&b, p, i), -EBADMSG);
	free(p);
}

static void test_file(void **state)
{
	struct admission a = { 0 };
	char longest[WORKER_ID_LEN];
	(void)state;
	assert_round(&a);
	admission_rotate(&a, 1700000000, 3600);
	assert_int_equal(admission_reserve(&a, "c1"), 0);
	memset(longest, 'x', sizeof(longest));
	longest[WORKER_ID_LEN - 1] = 0;
	assert_int_equal(admission_reserve(&a, longest), 0);
	struct removed_key k = removed(9, 42);
	assert_int_equal(admission_remove(&a, &k), 0);
	assert_int_equal(admission_remove(&a, &k), 0);
	assert_int_equal(a.nremoved, 1);
	assert_round(&a);
	k.key[2] = 1;
	for (unsigned i = 1; i < ADMISSION_MAX_REMOVED; i++) {
		k.key[0] = (uint8_t)i;
		k.key[1] = (uint8_t)(i >> 8);
		memcpy(k.id, longest, sizeof(k.id));
		assert_int_equal(admission_remove(&a, &k), 0);
	}
	k.key[2] = 2;
	assert_int_equal(admission_remove(&a, &k), -ENOSPC);
	assert_null(admission_removed(&a, k.key));
	admission_free(&a);
}

/* As another implementation of docs/protocol.md writes it, with a field of a later release in it. */
static void test_fixture(void **state)
{
	static const char *const names[] = { "admission.bin", "admission-unknown-tlv.bin" };
	uint8_t p[512];
	struct admission a;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char path[400];
		snprintf(path, sizeof(path), "%s/%s", FIXTURES, names[i]);
		FILE *f = fopen(path, "rbe");
		assert_non_null(f);
		size_t n = fread(p, 1, sizeof(p), f);
		fclose(f);
		assert_int_equal(admission_decode(&a, p, n), 0);
		assert_int_equal(a.epoch, 5);
		assert_int_equal(a.previous_until, 1800000000);
		assert_true(admission_reserved(&a, "c1"));
		assert_int_equal(a.nremoved, 1);
		assert_string_equal(a.removed[0].id, "w9");
		assert_int_equal(a.removed[0].number, 9);
		assert_int_equal(a.removed[0].since, 1700000009);
		admission_free(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_epochs),	cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_tickets), cmocka_unit_test(test_hints),
		cmocka_unit_test(test_file),	cmocka_unit_test(test_fixture),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
