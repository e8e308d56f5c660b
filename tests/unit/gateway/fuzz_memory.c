/* SPDX-License-Identifier: Apache-2.0 */
/* The members file: any bytes, as they are and under a right sum. What is taken comes back the same. */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "gateway/memory.h"
#include "tests/fuzz/summed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* What is written is what was read, in one form. */
static void come_back(const struct memory *m)
{
	size_t room = memory_room(m);
	uint8_t *first = malloc(room), *second = malloc(room);
	struct memory again = { 0 };

	check(first && second);
	size_t n = memory_encode(m, first, room);
	check(n && memory_decode(&again, first, n) == 0 && again.n == m->n);
	check(memory_encode(&again, second, room) == n && memcmp(first, second, n) == 0);
	memory_free(&again);
	free(first);
	free(second);
}

static void decode(const uint8_t *p, size_t len)
{
	struct memory m = { 0 };
	int err = memory_decode(&m, p, len);

	check(err == 0 || (err == -EBADMSG && !m.v && !m.n));
	if (err)
		return;
	come_back(&m);
	const struct lease l = { .number = 7 };
	const struct endpoint ends[] = { { .port = 1 }, { .port = 2 }, { .port = 1 } };
	struct memory_owner owner = m.owner;
	owner.id[0] = 'w';
	memory_lease(&m, &owner, &l);
	memory_lease(&m, &owner, &l);
	check(memory_fits(&m, &owner));
	for (size_t i = 0; i < m.n; i++) {
		struct remembered *r = memory_find(&m, m.v[i].e.number, m.v[i].e.key);
		check(r && r->e.number == m.v[i].e.number);
		for (size_t k = 0; k < 3; k++)
			memory_reached(&m, r, &ends[k]);
		check(r->nat <= MEMORY_ENDPOINTS && endpoint_eq(&r->at[0], &ends[2]));
	}
	/* and what a roster then says of each of them does no harm */
	for (size_t i = 0; i < m.n && i < 8; i++) {
		struct roster_entry e = m.v[i].e;
		e.key[0] ^= 1;
		check(memory_put(&m, &e, false));
		size_t at = 0;
		check(!memory_conflict(&m, &e, &at));
		memory_gone(&m, e.number);
	}
	memory_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_summed(data, size, decode);
	return 0;
}
