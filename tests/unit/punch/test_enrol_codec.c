/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of control messages: fixtures that must parse for ever, and hostile ones. */
#include "punch/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint8_t bytes[CONTROL_MAX + 64];

static size_t load(const char *name)
{
	char path[512];
	snprintf(path, sizeof(path), FIXTURES "/control-%s.bin", name);
	FILE *f = fopen(path, "rb");
	if (!f)
		fail_msg("no fixture %s", path);
	size_t n = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	return n;
}

/* Parses the fixture and writes it again: byte for byte the same. */
static struct ctl_msg both_ways(const char *name, uint8_t type, uint32_t request)
{
	struct ctl_msg m;
	uint8_t again[CONTROL_MAX];
	size_t n = load(name);
	assert_int_equal(ctl_parse(bytes, n, &m), DROP_NONE);
	assert_int_equal(m.type, type);
	assert_int_equal(m.request, request);
	assert_int_equal(ctl_write(&m, again, sizeof(again)), n);
	assert_memory_equal(again, bytes, n);
	for (size_t cap = 0; cap < n; cap++)
		assert_int_equal(ctl_write(&m, again, cap), 0);
	return m;
}

static void test_register(void **state)
{
	struct ctl_msg m = both_ways("register", CTL_REGISTER, 0x01020304);
	char s[ENDPOINT_STRLEN];
	assert_string_equal(m.id, "w1");
	assert_string_equal(m.release, "0.1.0");
	assert_int_equal(m.ncandidates, 2);
	assert_string_equal(endpoint_str(&m.candidates[0], s), "192.168.1.2:41641");
	assert_string_equal(endpoint_str(&m.candidates[1], s), "[2001:db8::7]:41642");
	assert_int_equal(m.trino.http_port, 8081);
	assert_int_equal(m.trino.https_port, 8443);
	assert_string_equal(m.trino.environment, "production");
	assert_string_equal(m.trino.version, "476");
	assert_true(m.trino.coordinator);
	assert_int_equal(m.lease.number, 3);
	assert_int_equal(m.lease.granted, 1700000000);
	assert_int_equal(m.lease.mac[15], 0x7f);
	m = both_ways("register-smallest", CTL_REGISTER, 1);
	assert_int_equal(m.has, CTL_BIT(CTL_WORKER_ID));
	assert_true(both_ways("register-boot", CTL_REGISTER, 1).boot == 0x17979cfe362a0001);
	(void)state;
}

static void test_requests(void **state)
{
	struct ctl_msg m = both_ways("roster-get", CTL_ROSTER_GET, 7);
	assert_int_equal(m.roster.instance, 0xdeadbeef);
	assert_true(m.roster.version == 0x6553f10000000007);
	assert_int_equal(m.after, 5);
	m = both_ways("connect", CTL_CONNECT, 8);
	assert_int_equal(m.number, 2);
	both_ways("release", CTL_RELEASE, 9);
	assert_true(both_ways("release-boot", CTL_RELEASE, 9).boot == 0x17979cfe362a0001);
	both_ways("challenge-ok", CTL_CHALLENGE_OK, 10);
	assert_int_equal(both_ways("vouch", CTL_VOUCH, 0).number, 7);
	(void)state;
}

static void test_answers(void **state)
{
	char s[ENDPOINT_STRLEN];
	struct ctl_msg m = both_ways("grant", CTL_GRANT, 0x01020304);
	assert_int_equal(m.lease.number, 3);
	assert_string_equal(addr_str(&m.lease.ip, s), "10.77.0.3");
	assert_string_equal(addr_str(&m.lease.ip6, s), "fd00:1::3");
	assert_string_equal(endpoint_str(&m.observed, s), "198.51.100.7:4242");
	assert_int_equal(m.psk[31], 63);
	m = both_ways("refuse", CTL_REFUSE, 2);
	assert_int_equal(m.code, CTL_REFUSED_TAKEN);
	assert_true(m.fatal);
	assert_string_equal(m.text, "worker id w1 is taken");
	both_ways("replaced", CTL_REPLACED, 0);
	both_ways("roster-changed", CTL_ROSTER_CHANGED, 0);
	both_ways("challenge", CTL_CHALLENGE, 0);
	both_ways("released", CTL_RELEASED, 9);
	assert_int_equal(both_ways("ask", CTL_ASK, 0).number, 7);
	m = both_ways("introduce", CTL_INTRODUCE, 11);
	assert_int_equal(m.number, 2);
	assert_int_equal(m.ncandidates, 2);
	(void)state;
}

static void test_page(void **state)
{
	struct ctl_msg m;
	struct ctl_change c;
	struct ctl_page pg;
	uint8_t again[CONTROL_MAX];
	char s[PREFIX_STRLEN];
	size_t n = load("roster-page");
	assert_int_equal(ctl_parse(bytes, n, &m), DROP_NONE);
	struct ctl_changes it = { .body = m.body };
	ctl_page_begin(&pg, again, sizeof(again), m.request, &m.roster);

	assert_true(ctl_next_change(&it, &c));
	assert_false(c.gone);
	assert_int_equal(c.entry.number, 2);
	assert_int_equal(c.entry.key[31], 31);
	assert_int_equal(c.entry.pair_psk[0], 32);
	assert_string_equal(c.entry.id, "w2");
	assert_string_equal(c.entry.trino.environment, "production");
	assert_true(c.entry.trino.coordinator && c.entry.online);
	assert_int_equal(c.entry.nroutes, 1);
	assert_string_equal(prefix_str(&c.entry.routes[0], s), "10.99.1.0/24");
	assert_true(ctl_page_entry(&pg, &c.entry));
	for (uint32_t number = 4; number <= 5; number++) {
		assert_true(ctl_next_change(&it, &c));
		assert_true(c.gone);
		assert_int_equal(c.entry.number, number);
		assert_true(ctl_page_gone(&pg, number));
	}
	assert_true(ctl_next_change(&it, &c));
	assert_string_equal(c.entry.id, "w9");
	assert_true(ctl_page_entry(&pg, &c.entry));
	assert_false(ctl_next_change(&it, &c));
	assert_int_equal(ctl_page_end(&pg, m.flags, m.after, m.upto), n);
	assert_memory_equal(again, bytes, n);
	(void)state;
}

static void test_page_bound(void **state)
{
	struct roster_entry e = { .number = 1, .id = "w1" };
	struct ctl_roster at = { 1, 1 };
	struct ctl_page pg;
	struct ctl_msg m;
	struct ctl_change c;
	unsigned wrote = 0, read = 0;
	ctl_page_begin(&pg, bytes, sizeof(bytes), 1, &at);
	for (; ctl_page_entry(&pg, &e); e.number++)
		wrote++;
	while (ctl_page_gone(&pg, 1000 + wrote))
		wrote++;
	size_t n = ctl_page_end(&pg, 0, 0, 5);
	assert_in_range(n, CONTROL_SEND_MAX - 2 * 4 - 8, CONTROL_SEND_MAX - 4);
	assert_int_equal(ctl_pad(bytes, n, sizeof(bytes)), CONTROL_SEND_MAX);
	assert_int_equal(ctl_parse(bytes, n, &m), DROP_NONE);
	for (struct ctl_changes it = { .body = m.body }; ctl_next_change(&it, &c);)
		read++;
	assert_int_equal(read, wrote);
	(void)state;
}

static void test_ticket(void **state)
{
	struct ctl_msg m;
	assert_int_equal(ctl_parse(bytes, load("register-ticket"), &m), DROP_NONE);
	assert_string_equal(m.id, "c1");
	assert_true(m.has & CTL_BIT(CTL_TICKET));
	assert_int_equal(m.ticket.epoch, 2);
	assert_int_equal(m.ticket.expires, 1900000000);
	assert_true(m.ticket.only && ticket_present(&m.ticket));
	(void)state;
}

static void test_removed(void **state)
{
	static const struct {
		uint32_t number;
		bool removed;
	} want[] = { { 3, false }, { 3, true }, { 9, true }, { 70000, true } };
	struct ctl_msg m;
	struct ctl_change c;
	size_t i = 0;
	assert_int_equal(ctl_parse(bytes, load("roster-page-removed"), &m), DROP_NONE);
	struct ctl_changes it = { .body = m.body };
	for (; ctl_next_change(&it, &c); i++) {
		assert_int_equal(c.entry.number, want[i].number);
		assert_int_equal(c.removed, want[i].removed);
		assert_int_equal(c.gone, !want[i].removed);
	}
	assert_int_equal(i, ARRAY_SIZE(want));
	(void)state;
}

/* --- sizes --- */

static struct trino_facts longest_trino(void)
{
	struct trino_facts t = { .http_port = 65535, .https_port = 65535, .coordinator = true };
	memset(t.environment, 'e', sizeof(t.environment) - 1);
	memset(t.version, 'v', sizeof(t.version) - 1);
	return t;
}

/* A message of every field that it may have, each at its longest. */
static struct ctl_msg longest(uint8_t type, uint32_t has)
{
	struct ctl_msg m = { .type = type,
			     .request = UINT32_MAX,
			     .has = has,
			     .trino = longest_trino(),
			     .ncandidates = MAX_CANDIDATES,
			     .lease = { .number = UINT32_MAX,
					.granted = INT64_MAX,
					.nroutes = MAX_MEMBER_ROUTES },
			     .roster = { UINT32_MAX, UINT64_MAX },
			     .number = UINT32_MAX,
			     .after = UINT32_MAX,
			     .upto = UINT32_MAX };
	memset(m.id, 'w', sizeof(m.id) - 1);
	memset(m.release, 'r', sizeof(m.release) - 1);
	memset(m.text, 't', sizeof(m.text) - 1);
	return m;
}

static size_t assert_longest(uint8_t type, uint32_t has)
{
	struct ctl_msg m = longest(type, has), again;
	size_t n = ctl_write(&m, bytes, sizeof(bytes));
	assert_in_range(n, 1, CONTROL_SEND_MAX);
	assert_int_equal(ctl_parse(bytes, n, &again), DROP_NONE);
	assert_int_equal(again.has, has);
	assert_true(ctl_pad(bytes, n, sizeof(bytes)) <= CONTROL_SEND_MAX);
	return n;
}

/* What docs/protocol.md says of the sizes. */
static void test_longest(void **state)
{
	const uint32_t refusal = CTL_BIT(CTL_RELEASE_NAME) | CTL_BIT(CTL_REFUSAL);
	/* without BOOT: with all of it some candidates are left out (test_longest_register of enrol) */
	const uint32_t of_register = CTL_BIT(CTL_WORKER_ID) | CTL_BIT(CTL_RELEASE_NAME) |
				     CTL_BIT(CTL_CANDIDATES) | CTL_BIT(CTL_TRINO_PORTS) |
				     CTL_BIT(CTL_TRINO_ENVIRONMENT) | CTL_BIT(CTL_TRINO_VERSION) |
				     CTL_BIT(CTL_TRINO_COORDINATOR);
	assert_int_equal(assert_longest(CTL_REGISTER, of_register | CTL_BIT(CTL_LEASE)), 509);
	assert_int_equal(assert_longest(CTL_REGISTER, of_register | CTL_BIT(CTL_TICKET)), 510);
	assert_int_equal(
		assert_longest(CTL_GRANT, CTL_BIT(CTL_RELEASE_NAME) | CTL_BIT(CTL_LEASE) |
						  CTL_BIT(CTL_PSK) | CTL_BIT(CTL_ADDRESSES) |
						  CTL_BIT(CTL_OBSERVED) | CTL_BIT(CTL_ROSTER) |
						  CTL_BIT(CTL_ROUTES)),
		249);
	assert_int_equal(assert_longest(CTL_INTRODUCE, CTL_BIT(CTL_NUMBER) |
							       CTL_BIT(CTL_CANDIDATES) |
							       CTL_BIT(CTL_ROSTER)),
			 324);
	assert_int_equal(assert_longest(CTL_REFUSE, refusal), 241);
	assert_int_equal(assert_longest(CTL_REPLACED, refusal | CTL_BIT(CTL_BOOT)), 253);
	(void)state;
}

static void test_longest_entry(void **state)
{
	struct roster_entry e = { .number = UINT32_MAX,
				  .trino = longest_trino(),
				  .nroutes = MAX_MEMBER_ROUTES };
	struct ctl_page pg;
	struct ctl_msg m;
	struct ctl_change c;
	memset(e.id, 'w', sizeof(e.id) - 1);
	memset(e.release, 'r', sizeof(e.release) - 1);
	ctl_page_begin(&pg, bytes, sizeof(bytes), 1, &(struct ctl_roster){ 1, 1 });
	size_t empty = pg.w.len;
	assert_true(ctl_page_entry(&pg, &e));
	assert_int_equal(pg.w.len - empty, 321);
	assert_false(ctl_page_entry(&pg, &e)); /* the next page's */
	size_t n = ctl_page_end(&pg, CTL_PAGE_MORE, 0, 5);
	assert_int_equal(ctl_parse(bytes, n, &m), DROP_NONE);
	struct ctl_changes it = { .body = m.body };
	assert_true(ctl_next_change(&it, &c));
	assert_string_equal(c.entry.id, e.id);
	assert_int_equal(c.entry.nroutes, MAX_MEMBER_ROUTES);
	(void)state;
}

/* Every length: what is padded is a message still, a multiple of 16, and no longer than may be sent. */
static void test_padding(void **state)
{
	for (size_t len = 8; len <= CONTROL_SEND_MAX; len++) {
		struct ctl_msg m;
		struct wr w = wr_of(bytes, len);
		wr_bytes(&w, (uint8_t[]){ CTL_FIRST_BYTE, 1, CTL_RELEASE, 0, 0, 0, 0, 1 }, 8);
		if (len >= 12) {
			size_t mark = wr_tlv_begin(&w, 999);
			wr_zeros(&w, len - 12);
			wr_tlv_end(&w, mark);
		} else if (len > 8) {
			continue;
		}
		memset(bytes + len, 0xff, sizeof(bytes) - len);
		size_t n = ctl_pad(bytes, len, sizeof(bytes));
		assert_int_equal(ctl_parse(bytes, n, &m), DROP_NONE);
		assert_in_range(n, len, CONTROL_SEND_MAX);
		assert_true(n % 16 == 0 || (n == len && n > CONTROL_SEND_MAX - 4));
		assert_true(bytes[n] == 0xff);
		/* no room in the buffer */
		assert_int_equal(ctl_pad(bytes, len, len), len);
	}
	/* of a later release: read, never padded */
	assert_int_equal(ctl_pad(bytes, CONTROL_MAX - 1, sizeof(bytes)), CONTROL_MAX - 1);
	(void)state;
}

static void test_versions(void **state)
{
	struct ctl_msg m;
	assert_int_equal(ctl_parse(bytes, load("register-unknown-tlv"), &m), DROP_NONE);
	assert_int_equal(ctl_parse(bytes, load("register-critical-tlv"), &m), DROP_CONTROL_VERSION);
	assert_int_equal(m.unknown_critical, 77);
	assert_int_equal(m.version, 1);
	assert_int_equal(ctl_parse(bytes, load("register-version-2"), &m), DROP_CONTROL_VERSION);
	assert_int_equal(m.unknown_critical, 0);
	assert_int_equal(m.version, 2);
	/* a refusal can be read whatever its version */
	assert_int_equal(ctl_parse(bytes, load("refuse-version-2"), &m), DROP_NONE);
	assert_string_equal(m.text, "speak version 2");
	(void)state;
}

static const char *const all[] = {
	"register",
	"register-smallest",
	"register-unknown-tlv",
	"roster-get",
	"connect",
	"release",
	"challenge-ok",
	"grant",
	"refuse",
	"replaced",
	"roster-page",
	"roster-changed",
	"introduce",
	"challenge",
	"released",
};

/* Every message cut at every length, in a buffer that ends there. */
static void test_truncation(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		size_t n = load(all[i]);
		for (size_t len = 0; len < n; len++) {
			struct ctl_msg m;
			uint8_t *p = malloc(len ? len : 1);
			memcpy(p, bytes, len);
			enum drop d = ctl_parse(p, len, &m);
			if (d == DROP_NONE) {
				struct ctl_changes it = { .body = m.body };
				struct ctl_change c;
				while (ctl_next_change(&it, &c))
					;
			} else {
				assert_int_equal(d, DROP_CONTROL_MALFORMED);
			}
			free(p);
		}
	}
	(void)state;
}

static void assert_malformed(uint8_t type, uint16_t field, const void *value, size_t n)
{
	struct ctl_msg m;
	struct wr w = wr_of(bytes, sizeof(bytes));
	wr_bytes(&w, (uint8_t[]){ CTL_FIRST_BYTE, 1, type, 0, 0, 0, 0, 1 }, 8);
	if (field != CTL_WORKER_ID)
		wr_tlv(&w, CTL_WORKER_ID, "w1", 2);
	wr_tlv(&w, field, value, n);
	assert_int_equal(ctl_parse(w.base, w.len, &m), DROP_CONTROL_MALFORMED);
}

static void test_malformed(void **state)
{
	const uint8_t z[80] = { 0 };
	struct ctl_msg m;
	assert_malformed(CTL_REGISTER, CTL_WORKER_ID, "not an id", 9);
	assert_malformed(CTL_REGISTER, CTL_WORKER_ID, "", 0);
	assert_malformed(CTL_REGISTER, CTL_WORKER_ID, "w1\0x", 4);
	assert_malformed(CTL_REGISTER, CTL_WORKER_ID, memset((char[64]){ 0 }, 'x', 64), 64);
	assert_malformed(CTL_REGISTER, CTL_CANDIDATES, z, 17);
	assert_malformed(CTL_REGISTER, CTL_TRINO_PORTS, z, 3);
	assert_malformed(CTL_REGISTER, CTL_TRINO_PORTS, z, 5);
	assert_malformed(CTL_REGISTER, CTL_LEASE, z, 28);    /* number 0 */
	assert_malformed(CTL_ROSTER_GET, CTL_ROSTER, z, 12); /* no range */
	assert_malformed(CTL_ROSTER_PAGE, CTL_ENTRY, z, 67);
	assert_malformed(CTL_ROSTER_PAGE, CTL_GONE, z, 3);
	assert_malformed(CTL_CONNECT, CTL_RELEASE_NAME, "x", 1);
	assert_malformed(0x3f, CTL_NUMBER, z, 4); /* no such message */
	/* one field twice */
	size_t n = load("connect");
	memcpy(bytes + n, bytes + 8, n - 8);
	assert_int_equal(ctl_parse(bytes, n + n - 8, &m), DROP_CONTROL_MALFORMED);
	/* too long */
	n = load("release");
	struct wr w = wr_of(bytes + n, sizeof(bytes) - n);
	size_t mark = wr_tlv_begin(&w, 999);
	wr_zeros(&w, CONTROL_MAX + 1 - n - 4);
	wr_tlv_end(&w, mark);
	assert_int_equal(ctl_parse(bytes, n + w.len, &m), DROP_CONTROL_MALFORMED);
	/* another first byte belongs to another frame */
	for (unsigned first = 0; first < 256; first++) {
		n = load("release");
		bytes[0] = (uint8_t)first;
		assert_int_equal(ctl_parse(bytes, n, &m),
				 first == 0xa0 ? DROP_NONE : DROP_CONTROL_MALFORMED);
	}
	(void)state;
}

/* Text that would move a terminal's cursor, or is too long. */
static void test_text(void **state)
{
	struct ctl_msg m;
	char text[300];
	struct wr w = wr_of(bytes, sizeof(bytes));
	memset(text, 'y', sizeof(text));
	memcpy(text, "\x1b[2Jrm\n\xff", 8);
	wr_bytes(&w, (uint8_t[]){ CTL_FIRST_BYTE, 1, CTL_REGISTER, 0, 0, 0, 0, 1 }, 8);
	wr_tlv(&w, CTL_WORKER_ID, "w1", 2);
	wr_tlv(&w, CTL_RELEASE_NAME, text, sizeof(text));
	wr_tlv(&w, CTL_TRINO_ENVIRONMENT, text, sizeof(text));
	assert_int_equal(ctl_parse(w.base, w.len, &m), DROP_NONE);
	assert_memory_equal(m.release, "?[2Jrm??yyy", 11);
	assert_int_equal(strlen(m.release), RELEASE_LEN - 1);
	assert_int_equal(strlen(m.trino.environment), TRINO_TEXT_LEN - 1);
	(void)state;
}

static void test_many_candidates(void **state)
{
	struct ctl_msg m;
	struct wr w = wr_of(bytes, sizeof(bytes));
	struct endpoint e = { .port = 7 };
	wr_bytes(&w, (uint8_t[]){ CTL_FIRST_BYTE, 1, CTL_REGISTER, 0, 0, 0, 0, 1 }, 8);
	wr_tlv(&w, CTL_WORKER_ID, "w1", 2);
	size_t mark = wr_tlv_begin(&w, CTL_CANDIDATES);
	for (unsigned i = 0; i < MAX_CANDIDATES + 20; i++)
		wr_endpoint(&w, &e);
	wr_tlv_end(&w, mark);
	assert_int_equal(ctl_parse(w.base, w.len, &m), DROP_NONE);
	assert_int_equal(m.ncandidates, MAX_CANDIDATES);
	(void)state;
}

/* An entry that demands what we do not know is left out, the others are taken. */
static void test_unusable_entries(void **state)
{
	struct ctl_msg m;
	struct ctl_change c;
	struct ctl_page pg;
	struct roster_entry e = { .number = 7, .id = "w7" };
	ctl_page_begin(&pg, bytes, sizeof(bytes), 1, &(struct ctl_roster){ 1, 1 });
	for (unsigned i = 0; i < 3; i++) {
		size_t mark = wr_tlv_begin(&pg.w, CTL_ENTRY);
		wr_be32(&pg.w, i == 2 ? 0 : 1 + i);
		wr_zeros(&pg.w, 64);
		if (i != 1)
			wr_tlv(&pg.w, CTL_WORKER_ID, "w1", 2);
		if (i == 0)
			wr_tlv(&pg.w, 99 | TLV_CRITICAL, "x", 1);
		wr_tlv_end(&pg.w, mark);
	}
	assert_true(ctl_page_entry(&pg, &e));
	size_t n = ctl_page_end(&pg, 0, 0, 9);
	assert_int_equal(ctl_parse(bytes, n, &m), DROP_NONE);
	struct ctl_changes it = { .body = m.body };
	assert_true(ctl_next_change(&it, &c));
	assert_string_equal(c.entry.id, "w7");
	assert_false(ctl_next_change(&it, &c));
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_register),	cmocka_unit_test(test_requests),
		cmocka_unit_test(test_answers),		cmocka_unit_test(test_page),
		cmocka_unit_test(test_page_bound),	cmocka_unit_test(test_longest),
		cmocka_unit_test(test_longest_entry),	cmocka_unit_test(test_padding),
		cmocka_unit_test(test_versions),	cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_malformed),	cmocka_unit_test(test_text),
		cmocka_unit_test(test_ticket),		cmocka_unit_test(test_removed),
		cmocka_unit_test(test_many_candidates), cmocka_unit_test(test_unusable_entries),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
