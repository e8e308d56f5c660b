/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/admission.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/blake2s.h"
#include "punch/member.h"

static const char prefix[] = "warren1_";

static struct prefix px(const char *s)
{
	struct prefix p = { 0 };
	assert_true(prefix_parse(s, &p));
	return p;
}

/* The token that tests/fixtures/v1/token.txt holds. */
static struct token sample(void)
{
	struct token t = {
		.network = "prod",
		.nprefixes = 2,
		.nrendezvous = 2,
		.rendezvous = { { "rendezvous.example.org", 7777, 443 },
				{ "2001:db8::1", 7778, 0 } },
		.expires = 1893456000,
		.only_for = "c1",
	};
	t.prefixes[0] = px("10.77.0.0/16");
	t.prefixes[1] = px("fd77:1:2:3::/64");
	for (uint8_t i = 0; i < 32; i++) {
		t.key[i] = (uint8_t)(1 + i);
		t.tls_sha256[i] = (uint8_t)(0x40 + i);
		t.admission[i] = (uint8_t)(0x80 + i);
	}
	return t;
}

static void assert_token_eq(const struct token *a, const struct token *b)
{
	assert_string_equal(a->network, b->network);
	assert_int_equal(a->nprefixes, b->nprefixes);
	for (size_t i = 0; i < a->nprefixes; i++) {
		assert_int_equal(a->prefixes[i].bits, b->prefixes[i].bits);
		assert_true(addr_eq(&a->prefixes[i].addr, &b->prefixes[i].addr));
	}
	assert_int_equal(a->nrendezvous, b->nrendezvous);
	for (size_t i = 0; i < a->nrendezvous; i++) {
		assert_string_equal(a->rendezvous[i].host, b->rendezvous[i].host);
		assert_int_equal(a->rendezvous[i].udp_port, b->rendezvous[i].udp_port);
		assert_int_equal(a->rendezvous[i].tcp_port, b->rendezvous[i].tcp_port);
	}
	assert_memory_equal(a->key, b->key, 32);
	assert_memory_equal(a->tls_sha256, b->tls_sha256, 32);
	assert_memory_equal(a->admission, b->admission, 32);
	assert_int_equal(a->nmore_keys, b->nmore_keys);
	for (unsigned i = 0; i < token_count(a); i++)
		assert_memory_equal(token_key(a, i), token_key(b, i), 32);
	assert_int_equal(a->expires, b->expires);
	assert_string_equal(a->only_for, b->only_for);
}

/* A token of these bytes with a right checksum. */
static enum token_error parse_bytes(const uint8_t *p, size_t len, unsigned *version)
{
	uint8_t bin[2048], h[32];
	char text[TOKEN_TEXT_MAX];
	struct token t;
	memcpy(bin, p, len);
	blake2s_hash(p, len, NULL, 0, h);
	memcpy(bin + len, h, 8);
	strcpy(text, prefix);
	sodium_bin2base64(text + 8, sizeof(text) - 8, bin, len + 8,
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	return token_parse(text, &t, version);
}

/* The sample's bytes without the checksum. */
static size_t sample_bytes(uint8_t *out, size_t cap)
{
	struct token t = sample();
	char text[TOKEN_TEXT_MAX];
	size_t n, len = token_write(&t, text, sizeof(text));
	assert_true(len > 0);
	assert_int_equal(sodium_base642bin(out, cap, text + 8, len - 9, NULL, &n, NULL,
					   sodium_base64_VARIANT_URLSAFE_NO_PADDING),
			 0);
	return n - 8;
}

static void test_fixture(void **state)
{
	char text[TOKEN_TEXT_MAX], mine[TOKEN_TEXT_MAX], print[TOKEN_FINGERPRINT_LEN];
	struct token want = sample(), got;
	FILE *f = fopen(FIXTURES "/token.txt", "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_int_equal(token_parse(text, &got, NULL), TOKEN_OK);
	assert_token_eq(&got, &want);
	/* and we still write it so, up to the newline */
	assert_int_equal(token_write(&want, mine, sizeof(mine)), strlen(text));
	assert_memory_equal(mine, text, strlen(mine));
	token_fingerprint(&got, print);
	assert_string_equal(print, "926db850e11060e7");
	(void)state;
}

/* With a ticket, as another implementation writes it; and what the rendezvous says to that. */
static void test_ticket_fixture(void **state)
{
	char text[TOKEN_TEXT_MAX], mine[TOKEN_TEXT_MAX];
	uint8_t secret[32], psk[32];
	struct admission a = { .epoch = 2 };
	struct token got;
	FILE *f = fopen(FIXTURES "/token-ticket.txt", "re");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_int_equal(token_parse(text, &got, NULL), TOKEN_OK);
	memset(secret, 7, sizeof(secret));
	admission_psk(secret, 2, psk);
	assert_memory_equal(got.admission, psk, 32);
	assert_int_equal(got.ticket.epoch, 2);
	assert_int_equal(got.ticket.expires, 1900000000);
	assert_true(got.ticket.only);
	assert_true(admission_ticket_ours(secret, &got.ticket, "c1"));
	assert_false(admission_ticket_ours(secret, &got.ticket, "w1"));
	struct ticket read = got.ticket;
	admission_token(secret, &a, &got);
	assert_memory_equal(got.ticket.mac, read.mac, TICKET_MAC_LEN);
	assert_int_equal(token_write(&got, mine, sizeof(mine)), strlen(text));
	assert_memory_equal(mine, text, strlen(mine));
	(void)state;
}

static void test_smallest(void **state)
{
	struct token t = sample(), got;
	char text[TOKEN_TEXT_MAX];
	t.nprefixes = t.nrendezvous = 1;
	t.expires = 0;
	t.only_for[0] = 0;
	memset(t.tls_sha256, 0, 32);
	size_t n = token_write(&t, text, sizeof(text));
	assert_int_equal(n, strlen(text) + 1);
	assert_int_equal(token_parse(text, &got, NULL), TOKEN_OK);
	assert_token_eq(&got, &t);
	for (size_t cap = 0; cap < n; cap++)
		assert_int_equal(token_write(&t, text, cap), 0);
	(void)state;
}

static void test_white_space(void **state)
{
	struct token t = sample(), got;
	char text[TOKEN_TEXT_MAX], padded[TOKEN_TEXT_MAX + 16];
	assert_true(token_write(&t, text, sizeof(text)));
	snprintf(padded, sizeof(padded), " \t\r\n%s\r\n\n ", text);
	assert_int_equal(token_parse(padded, &got, NULL), TOKEN_OK);
	assert_int_equal(token_parse("", &got, NULL), TOKEN_NOT_A_TOKEN);
	assert_int_equal(token_parse(" \n", &got, NULL), TOKEN_NOT_A_TOKEN);
	/* inside it is an error */
	padded[40] = ' ';
	assert_int_equal(token_parse(padded, &got, NULL), TOKEN_NOT_A_TOKEN);
	(void)state;
}

static void test_each_truncation(void **state)
{
	struct token t = sample(), got;
	char text[TOKEN_TEXT_MAX], cut[TOKEN_TEXT_MAX];
	size_t n = token_write(&t, text, sizeof(text)) - 1;
	for (size_t len = 0; len < n; len++) {
		memcpy(cut, text, len);
		cut[len] = 0;
		enum token_error e = token_parse(cut, &got, NULL);
		assert_int_equal(e, len < 8 ? TOKEN_NOT_A_TOKEN : TOKEN_TRUNCATED);
	}
	(void)state;
}

static void test_each_bit(void **state)
{
	struct token t = sample(), got;
	char text[TOKEN_TEXT_MAX];
	uint8_t bin[2048];
	size_t n = token_write(&t, text, sizeof(text)) - 1;
	for (size_t i = 0; i < n * 8; i++) {
		text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
		assert_int_not_equal(token_parse(text, &got, NULL), TOKEN_OK);
		text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
	}
	/* with a right checksum nothing may crash, and what is taken can be written */
	size_t len = sample_bytes(bin, sizeof(bin));
	for (size_t i = 8; i < len * 8; i++) {
		bin[i / 8] = (uint8_t)(bin[i / 8] ^ 1 << i % 8);
		(void)parse_bytes(bin, len, NULL);
		bin[i / 8] = (uint8_t)(bin[i / 8] ^ 1 << i % 8);
	}
	/* cut at a field's end, and only optional ones missing: a token like any other */
	unsigned ok = 0;
	for (size_t cut = 0; cut < len; cut++)
		ok += parse_bytes(bin, cut, NULL) == TOKEN_OK;
	assert_int_equal(ok, 2);
	(void)state;
}

static void test_too_long(void **state)
{
	char *text = malloc(TOKEN_TEXT_MAX * 4);
	struct token got;
	assert_non_null(text);
	memset(text, 'A', TOKEN_TEXT_MAX * 4 - 1);
	text[TOKEN_TEXT_MAX * 4 - 1] = 0;
	memcpy(text, prefix, 8);
	assert_int_equal(token_parse(text, &got, NULL), TOKEN_NOT_A_TOKEN);
	text[TOKEN_TEXT_MAX - 1] = 0; /* the longest that is looked at */
	assert_int_equal(token_parse(text, &got, NULL), TOKEN_TRUNCATED);
	free(text);
	(void)state;
}

static void test_unknown_fields(void **state)
{
	uint8_t bin[2048];
	size_t len = sample_bytes(bin, sizeof(bin));
	struct wr w = wr_of(bin + len, sizeof(bin) - len);
	wr_tlv(&w, 77, "later", 5);
	assert_int_equal(parse_bytes(bin, len + w.len, NULL), TOKEN_OK);
	wr_tlv(&w, 78 | TLV_CRITICAL, "must", 4);
	assert_int_equal(parse_bytes(bin, len + w.len, NULL), TOKEN_CRITICAL);
	(void)state;
}

static void test_repeated_fields(void **state)
{
	uint8_t bin[2048];
	size_t len = sample_bytes(bin, sizeof(bin));
	struct wr w = wr_of(bin + len, sizeof(bin) - len);
	wr_tlv(&w, 1, "prod", 4);
	assert_int_equal(parse_bytes(bin, len + w.len, NULL), TOKEN_INVALID);
	/* a third to eighth prefix is fine, a ninth is not */
	w = wr_of(bin + len, sizeof(bin) - len);
	for (unsigned i = 2; i < TOKEN_MAX_PREFIXES + 1; i++) {
		uint8_t p[17] = { 24, [11] = 0xff, [12] = 0xff, [13] = 10, [14] = (uint8_t)i };
		assert_int_equal(parse_bytes(bin, len + w.len, NULL), TOKEN_OK);
		wr_tlv(&w, 2, p, sizeof(p));
	}
	assert_int_equal(parse_bytes(bin, len + w.len, NULL), TOKEN_INVALID);
	(void)state;
}

static void test_versions(void **state)
{
	uint8_t bin[2048];
	struct token got;
	unsigned version = 0;
	size_t len = sample_bytes(bin, sizeof(bin));
	bin[0] = 2;
	assert_int_equal(parse_bytes(bin, len, &version), TOKEN_VERSION);
	assert_int_equal(version, 2);
	assert_int_equal(token_parse("warren3_AAAA", &got, &version), TOKEN_VERSION);
	assert_int_equal(version, 3);
	assert_int_equal(token_parse("warren_AAAA", &got, &version), TOKEN_NOT_A_TOKEN);
	(void)state;
}

static void assert_unwritable(const struct token *t)
{
	char text[TOKEN_TEXT_MAX];
	assert_int_equal(token_write(t, text, sizeof(text)), 0);
}

static void test_impossible_values(void **state)
{
	const char *networks[] = { "", "-a", "a b", "a/b", "\xc3\xa4" };
	const char *hosts[] = { "", "a b", "a;b", "a%b" };
	struct token t;
	for (size_t i = 0; i < ARRAY_SIZE(networks); i++) {
		t = sample();
		strcpy(t.network, networks[i]);
		assert_unwritable(&t);
	}
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		t = sample();
		strcpy(t.rendezvous[1].host, hosts[i]);
		assert_unwritable(&t);
	}
	t = sample(), t.rendezvous[0].udp_port = 0, assert_unwritable(&t);
	t = sample(), t.nprefixes = 0, assert_unwritable(&t);
	t = sample(), t.nrendezvous = 0, assert_unwritable(&t);
	t = sample(), t.prefixes[0].bits = 33, assert_unwritable(&t);
	t = sample(), t.prefixes[0].addr.b[15] = 1, assert_unwritable(&t);
	t = sample(), t.prefixes[1].bits = 129, assert_unwritable(&t);
	t = sample(), t.prefixes[1].bits = 0, assert_unwritable(&t);
	t = sample(), memset(t.key, 0, 32), assert_unwritable(&t);
	t = sample(), memset(t.admission, 0, 32), assert_unwritable(&t);
	t = sample(), t.expires = -1, assert_unwritable(&t);
	t = sample(), strcpy(t.only_for, "not an id"), assert_unwritable(&t);
	(void)state;
}

/* A key for each of several rendezvous. */
static void test_several(void **state)
{
	char text[TOKEN_TEXT_MAX];
	struct token t = sample(), got;
	(void)state;
	assert_int_equal(token_count(&t), 1);
	t.nmore_keys = 1;
	memset(t.more_keys[0], 0x22, 32);
	assert_true(token_write(&t, text, sizeof(text)) > 0);
	assert_int_equal(token_parse(text, &got, NULL), TOKEN_OK);
	assert_token_eq(&got, &t);
	assert_int_equal(token_count(&got), 2);
	t.nrendezvous = 4;
	t.nmore_keys = 3;
	for (unsigned i = 2; i < 4; i++) {
		t.rendezvous[i] = t.rendezvous[0];
		memset(t.more_keys[i - 1], 0x22 + (int)i, 32);
	}
	assert_true(token_write(&t, text, sizeof(text)) > 0);
	assert_int_equal(token_parse(text, &got, NULL), TOKEN_OK);
	assert_token_eq(&got, &t);
	struct token bad = t;
	bad.nrendezvous = 3, assert_unwritable(&bad); /* a key without a host */
	bad = t, bad.nmore_keys = 2, assert_unwritable(&bad);
	bad = t, memcpy(bad.more_keys[2], t.key, 32), assert_unwritable(&bad); /* one twice */
	bad = t, memset(bad.more_keys[1], 0, 32), assert_unwritable(&bad);
}

static void test_keys_cut(void **state)
{
	uint8_t bin[2048], keys[160];
	size_t len = sample_bytes(bin, sizeof(bin));
	(void)state;
	memset(keys, 0x33, sizeof(keys));
	for (size_t n = 0; n <= sizeof(keys); n++) {
		struct wr w = wr_of(bin + len, sizeof(bin) - len);
		wr_tlv(&w, 10, keys, n);
		assert_int_equal(parse_bytes(bin, len + w.len, NULL),
				 n == 32 ? TOKEN_OK : TOKEN_INVALID);
	}
}

static void test_fingerprint(void **state)
{
	struct token t = sample();
	char a[TOKEN_FINGERPRINT_LEN], b[TOKEN_FINGERPRINT_LEN];
	token_fingerprint(&t, a);
	t.admission[31] ^= 1;
	token_fingerprint(&t, b);
	assert_int_equal(strlen(a), TOKEN_FINGERPRINT_LEN - 1);
	assert_string_not_equal(a, b);
	(void)state;
}

static void test_texts(void **state)
{
	for (int e = TOKEN_OK; e <= TOKEN_INVALID; e++)
		assert_true(strlen(token_error_text((enum token_error)e)) > 10);
	(void)state;
}

static void test_worker_ids(void **state)
{
	char id[WORKER_ID_LEN + 2];
	assert_true(worker_id_valid("w1"));
	assert_true(worker_id_valid("0"));
	assert_true(worker_id_valid("a-B_9"));
	assert_false(worker_id_valid(""));
	assert_false(worker_id_valid("_a"));
	assert_false(worker_id_valid("-a"));
	assert_false(worker_id_valid("a.b"));
	assert_false(worker_id_valid("a b"));
	memset(id, 'x', sizeof(id));
	id[WORKER_ID_LEN - 1] = 0;
	assert_true(worker_id_valid(id));
	id[WORKER_ID_LEN - 1] = 'x';
	id[WORKER_ID_LEN] = 0;
	assert_false(worker_id_valid(id));
	(void)state;
}

static void test_numbers(void **state)
{
	static const struct {
		const char *p4, *p6;
		member_number max;
	} rows[] = {
		{ "10.77.0.0/16", "fd00::/64", 65534 }, { "10.77.0.0/30", "fd00::/64", 2 },
		{ "10.77.0.0/31", "fd00::/64", 0 },	{ "10.77.0.0/32", "fd00::/64", 0 },
		{ "10.77.0.0/16", "fd00::/120", 255 },	{ "10.77.0.0/16", NULL, 65534 },
		{ NULL, "fd00::/112", 65535 },		{ NULL, NULL, 0 },
		{ "10.0.0.0/8", "fd00::/128", 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct prefix p4 = { 0 }, p6 = { 0 };
		if (rows[i].p4)
			p4 = px(rows[i].p4);
		if (rows[i].p6)
			p6 = px(rows[i].p6);
		assert_int_equal(member_number_max(&p4, &p6), rows[i].max);
	}
	struct prefix p4 = px("10.77.0.0/16"), p6 = px("fd00:1::/64");
	char s[ADDR_STRLEN];
	struct addr a = member_addr(&p4, 258), b = member_addr(&p6, 258);
	assert_string_equal(addr_str(&a, s), "10.77.1.2");
	assert_string_equal(addr_str(&b, s), "fd00:1::102");
	(void)state;
}

static void test_candidates(void **state)
{
	static const struct {
		const char *s;
		bool ok;
	} rows[] = {
		{ "192.168.1.2:5", true },  { "[2001:db8::1]:5", true },
		{ "192.168.1.2:0", false }, { "0.0.0.0:5", false },
		{ "[::]:5", false },	    { "127.0.0.1:5", false },
		{ "[::1]:5", false },	    { "224.0.0.1:5", false },
		{ "[ff02::1]:5", false },   { "169.254.1.1:5", false },
		{ "[fe80::1]:5", false },   { "255.255.255.255:5", false },
		{ "0.1.2.3:5", false },	    { "10.77.3.4:5", false },
		{ "[fd00:1::9]:5", false }, { "10.78.3.4:5", true },
	};
	struct prefix p4 = px("10.77.0.0/16"), p6 = px("fd00:1::/64");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct endpoint e;
		assert_true(endpoint_parse(rows[i].s, &e));
		if (candidate_valid(&e, &p4, &p6) != rows[i].ok)
			fail_msg("%s", rows[i].s);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixture),
		cmocka_unit_test(test_ticket_fixture),
		cmocka_unit_test(test_smallest),
		cmocka_unit_test(test_white_space),
		cmocka_unit_test(test_each_truncation),
		cmocka_unit_test(test_each_bit),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_unknown_fields),
		cmocka_unit_test(test_repeated_fields),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_keys_cut),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_impossible_values),
		cmocka_unit_test(test_fingerprint),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_worker_ids),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_candidates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
