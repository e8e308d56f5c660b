/* SPDX-License-Identifier: Apache-2.0 */
/* WireGuard's configuration format: each key, each refusal with its line, and what wg-quick adds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/wgconf.h"

#define KEY_0 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define KEY1 "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=" /* 1, 2, … 32 */
#define KEY2 "ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A=" /* 33 … 64 */

/* All lines of `text`; false at the first that is refused, or at the end. */
static bool read_text(struct wgconf *c, const char *text)
{
	char *copy = strdup(text), *rest = copy;
	bool ok = true;
	assert_non_null(copy);
	wgconf_init(c);
	for (char *line; ok && (line = strsep(&rest, "\n"));)
		ok = wgconf_line(c, line);
	free(copy);
	return ok && wgconf_finish(c);
}

static void assert_prefix(const struct prefix *p, const char *want)
{
	char text[PREFIX_STRLEN];
	assert_string_equal(prefix_str(p, text), want);
}

static void assert_address(const struct wgconf_address *a, const char *want, uint8_t bits)
{
	char text[ADDR_STRLEN];
	assert_string_equal(addr_str(&a->addr, text), want);
	assert_int_equal(a->bits, bits);
}

static void test_whole(void **state)
{
	struct wgconf c;
	(void)state;
	bool ok = read_text(&c, "# of the office\n"
				"[Interface]\n"
				"PrivateKey = " KEY1 "\n"
				"ListenPort = 51820 # the usual one\n"
				"Address = 10.9.0.2/24, fd00::2/64\n"
				"Address = 10.9.0.3\n"
				"MTU=1400\r\n"
				"FwMark = 0xca6c\n"
				"\n"
				"[Peer]\n"
				"\tPublicKey=" KEY2 "\n"
				"PresharedKey = " KEY1 "\n"
				"Endpoint = vpn.example.org:51821\n"
				"AllowedIPs = 10.9.0.0/24,fd00::/64\n"
				"AllowedIPs = 192.168.7.9/16\n"
				"PersistentKeepalive = 25\n"
				"[Peer]\n"
				"PublicKey = " KEY1 "\n"
				"Endpoint = [2001:db8::7]:1\n"
				"AllowedIPs = 0.0.0.0/0, ::/0\n"
				"PersistentKeepalive = off\n");
	assert_true(ok);
	assert_int_equal(c.private_key[31], 32);
	assert_int_equal(c.listen_port, 51820);
	assert_int_equal(c.mtu, 1400);
	assert_string_equal(c.skipped, "");
	assert_int_equal(c.fwmark, 0xca6c);
	assert_int_equal(c.naddresses, 3);
	assert_address(&c.addresses[0], "10.9.0.2", 24);
	assert_address(&c.addresses[1], "fd00::2", 64);
	assert_address(&c.addresses[2], "10.9.0.3", 32);
	assert_int_equal(c.npeers, 2);

	const struct wgconf_peer *p = &c.peers[0];
	assert_true(p->has_key && p->has_psk);
	assert_int_equal(p->key[0], 33);
	assert_int_equal(p->psk[0], 1);
	assert_string_equal(p->host, "vpn.example.org");
	assert_int_equal(p->port, 51821);
	assert_int_equal(p->keepalive, 25);
	assert_int_equal(p->nallowed, 3);
	assert_prefix(&p->allowed[0], "10.9.0.0/24");
	assert_prefix(&p->allowed[1], "fd00::/64");
	assert_prefix(&p->allowed[2], "192.168.0.0/16");

	p = &c.peers[1];
	assert_false(p->has_psk);
	assert_string_equal(p->host, "2001:db8::7");
	assert_int_equal(p->port, 1);
	assert_int_equal(p->keepalive, 0);
	assert_prefix(&p->allowed[0], "0.0.0.0/0");
	assert_prefix(&p->allowed[1], "::/0");
	wgconf_free(&c);
	assert_null(c.peers);
}

static void test_any_case(void **state)
{
	struct wgconf c;
	(void)state;
	assert_true(read_text(&c, "[INTERFACE]\nPRIVATEKEY=" KEY1 "\nlistenport=1\n"
				  "[peer]\npublickey=" KEY2 "\nallowedips=10.0.0.1\n"));
	assert_int_equal(c.listen_port, 1);
	assert_int_equal(c.peers[0].nallowed, 1);
	wgconf_free(&c);
}

/* Read, named and never acted on: names, tables and above all commands. */
static void test_wg_quick_extras(void **state)
{
	struct wgconf c;
	(void)state;
	assert_true(read_text(&c, "[Interface]\nDNS = 1.1.1.1, corp.example\nTable = off\n"
				  "PreUp = touch /tmp/pwned\nPostUp = a = b\nPreDown = c\n"
				  "postdown = d\nSaveConfig = true\nPrivateKey=" KEY1));
	assert_string_equal(c.skipped, "DNS, PreUp, PostUp, PreDown, PostDown, SaveConfig");
	assert_int_equal(c.table, WGCONF_NO_ROUTES);
	wgconf_free(&c);
	/* a thousand of them do not overflow what names them */
	wgconf_init(&c);
	assert_true(wgconf_line(&c, "[Interface]"));
	for (unsigned i = 0; i < 1000; i++)
		assert_true(wgconf_line(&c, "PostUp = x"));
	assert_true(strlen(c.skipped) < sizeof(c.skipped));
	wgconf_free(&c);
}

static void test_tables(void **state)
{
	static const struct {
		const char *text;
		uint32_t table;
	} rows[] = { { "auto", 0 },	 { "off", WGCONF_NO_ROUTES },
		     { "main", 254 },	 { "MAIN", 254 },
		     { "254", 254 },	 { "default", 253 },
		     { "local", 255 },	 { "1", 1 },
		     { "0xca6c", 51820 } };
	static const char *const refused[] = { "", "0", "-1", "mains", "4294967295" };
	struct wgconf c;
	char line[64];
	(void)state;
	wgconf_init(&c);
	assert_true(wgconf_line(&c, "[Interface]"));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(line, sizeof(line), "Table = %s", rows[i].text);
		assert_true(wgconf_line(&c, line));
		assert_int_equal(c.table, rows[i].table);
	}
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		snprintf(line, sizeof(line), "Table = %s", refused[i]);
		assert_false(wgconf_line(&c, line));
	}
	wgconf_free(&c);
}

#define I "[Interface]\n"
#define P "[Peer]\n"

static void test_refusals(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "PrivateKey=" KEY1, "line 1: PrivateKey stands before any section" },
		{ "\n#\n[Fish]", "line 3: this is neither KEY = VALUE nor a section: [Fish]" },
		{ I "Private", "line 2: this is neither KEY = VALUE nor a section: Private" },
		{ I "Colour = red", "line 2: there is no such key in [Interface]: Colour" },
		{ I "PublicKey=" KEY1, "line 2: there is no such key in [Interface]: PublicKey" },
		{ P "Colour=red", "line 2: there is no such key in [Peer]: Colour" },
		{ P "ListenPort=1", "line 2: there is no such key in [Peer]: ListenPort" },
		{ I "ListenPort = 65536", "line 2: ListenPort is no port: 65536" },
		{ I "ListenPort = -1", "line 2: ListenPort is no port: -1" },
		{ I "ListenPort =", "line 2: ListenPort is no port: " },
		{ I "ListenPort = 12x", "line 2: ListenPort is no port: 12x" },
		{ I "FwMark = red", "line 2: FwMark is no number: red" },
		/* no key, as wg(8) says it; a gateway has one */
		{ I "PrivateKey = " KEY_0, "line 2: PrivateKey is no key" },
		{ I "MTU = 575", "line 2: MTU is not from 576 to 65535: 575" },
		{ I "MTU = 65536", "line 2: MTU is not from 576 to 65535: 65536" },
		{ I "Address = 10.0.0.300/24",
		  "line 2: Address is no address with a prefix length: 10.0.0.300/24" },
		{ I "Address = 10.0.0.1/33",
		  "line 2: Address is no address with a prefix length: 10.0.0.1/33" },
		{ I "Address = 10.0.0.1 10.0.0.2",
		  "line 2: Address is no address with a prefix length: 10.0.0.1 10.0.0.2" },
		{ P "AllowedIPs = 10.0.0.0/8, fish",
		  "line 2: AllowedIPs has no address with a prefix length: fish" },
		{ P "AllowedIPs = 10.0.0.0/8 11.0.0.0/8",
		  "line 2: AllowedIPs has no address with a prefix length: 10.0.0.0/8 11.0.0.0/8" },
		{ P "AllowedIPs = ::/129",
		  "line 2: AllowedIPs has no address with a prefix length: ::/129" },
		{ I "Address = ::ffff:10.0.0.1/8",
		  "line 2: Address is IPv4 written as IPv6: ::ffff:10.0.0.1/8" },
		{ P "AllowedIPs = ::1, ::ffff:10.0.0.0/8",
		  "line 2: AllowedIPs has IPv4 written as IPv6: ::ffff:10.0.0.0/8" },
		{ P "AllowedIPs = ::ffff:a00:1",
		  "line 2: AllowedIPs has IPv4 written as IPv6: ::ffff:a00:1" },
		{ P "AllowedIPs = ::ffff:0:0/96",
		  "line 2: AllowedIPs has no address with a prefix length: ::ffff:0:0/96" },
		{ P "PublicKey = fish", "line 2: PublicKey is no key: fish" },
		{ P "Endpoint = example.org", "line 2: Endpoint is not HOST:PORT: example.org" },
		{ P "Endpoint = :51820", "line 2: Endpoint is not HOST:PORT: :51820" },
		{ P "Endpoint = a:0", "line 2: Endpoint is not HOST:PORT: a:0" },
		{ P "Endpoint = a:65536", "line 2: Endpoint is not HOST:PORT: a:65536" },
		{ P "Endpoint = a:b", "line 2: Endpoint is not HOST:PORT: a:b" },
		{ P "PersistentKeepalive = 65536",
		  "line 2: PersistentKeepalive is no number of seconds: 65536" },
		{ P "PersistentKeepalive = always",
		  "line 2: PersistentKeepalive is no number of seconds: always" },
		{ P "Endpoint=a:1\n" P, "line 3: the [Peer] before it has no PublicKey" },
		{ I "PrivateKey=" KEY1 "\n" P, "the last [Peer] has no PublicKey" },
		{ P "PublicKey=" KEY1, "there is no PrivateKey in [Interface]" },
		{ "", "there is no PrivateKey in [Interface]" },
	};
	struct wgconf c;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_false(read_text(&c, cases[i].text));
		assert_string_equal(c.error, cases[i].error);
		wgconf_free(&c);
	}
}

/* A line that holds a secret key is named by its number alone. */
static void test_no_key_in_words(void **state)
{
	static const char *const lines[] = { I "PrivateKey = x" KEY1, P "PresharedKey = x" KEY1,
					     I "PrivateKey = " KEY1 " " KEY2 };
	struct wgconf c;
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		assert_false(read_text(&c, lines[i]));
		assert_null(strstr(c.error, "AQIDBA"));
		assert_non_null(strstr(c.error, "line 2: "));
		wgconf_free(&c);
	}
}

static void test_keys(void **state)
{
	uint8_t key[32] = { 0 };
	(void)state;
	assert_true(key_parse(KEY1, key));
	assert_int_equal(key[0], 1);
	assert_false(key_parse("", key));
	assert_false(key_parse(KEY1 "=", key));
	assert_false(key_parse("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA", key));
	/* 33 bytes, characters of base64url, and bits behind the end */
	assert_false(key_parse("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh", key));
	assert_false(key_parse("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHy_=", key));
	assert_false(key_parse("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyB=", key));
	assert_int_equal(key[0], 1);
}

static void test_room(void **state)
{
	struct wgconf c;
	char line[300];
	(void)state;
	wgconf_init(&c);
	assert_true(wgconf_line(&c, "[Interface]"));
	for (unsigned i = 0; i < WGCONF_MAX_ADDRESSES; i++)
		assert_true(wgconf_line(&c, "Address = 10.0.0.1"));
	assert_false(wgconf_line(&c, "Address = 10.0.0.1"));
	assert_non_null(strstr(c.error, "line 18: more addresses"));
	assert_true(wgconf_line(&c, "[Peer]"));
	for (unsigned i = 0; i < 1000; i++)
		assert_true(wgconf_line(&c, "AllowedIPs = 10.0.0.1, 10.0.0.2"));
	assert_int_equal(c.peers[0].nallowed, 2000);
	for (unsigned i = 0; i < 16383; i++) { /* as many as a gateway takes */
		assert_true(wgconf_line(&c, "PublicKey = " KEY1));
		assert_true(wgconf_line(&c, "[Peer]"));
	}
	assert_true(wgconf_line(&c, "PublicKey = " KEY1));
	assert_false(wgconf_line(&c, "[Peer]"));
	assert_non_null(strstr(c.error, "more peers"));
	assert_int_equal(c.npeers, 16384);
	/* a host name of 256 is no host */
	memset(line, 'a', sizeof(line));
	memcpy(line, "Endpoint = ", 11);
	memcpy(line + 11 + 255, ":7", 3);
	assert_true(wgconf_line(&c, line));
	memcpy(line + 11 + 255, "a:7", 4);
	assert_false(wgconf_line(&c, line));
	wgconf_free(&c);
}

/* A phone's list of all the Internet but the LAN is one line; a whole file may be one. */
static void test_long_lines(void **state)
{
	static char line[WGCONF_FILE_MAX + 2];
	struct wgconf c;
	(void)state;
	wgconf_init(&c);
	assert_true(wgconf_line(&c, "[Peer]"));
	size_t len = (size_t)sprintf(line, "AllowedIPs = ");
	for (unsigned i = 0; i < 5000; i++)
		len += (size_t)sprintf(line + len, "10.%u.%u.0/24, ", i >> 8, i & 255);
	assert_true(wgconf_line(&c, line));
	assert_int_equal(c.peers[0].nallowed, 5000);
	assert_prefix(&c.peers[0].allowed[4999], "10.19.135.0/24");
	memset(line, '#', sizeof(line) - 1);
	line[WGCONF_FILE_MAX] = 0;
	assert_true(wgconf_line(&c, line));
	line[WGCONF_FILE_MAX] = '#';
	assert_false(wgconf_line(&c, line));
	assert_string_equal(c.error, "line 4: the line is too long");
	wgconf_free(&c);
}

static void test_file(void **state)
{
	char path[] = "/tmp/warren-wgconf-XXXXXX";
	int fd = mkstemp(path);
	struct wgconf c;
	(void)state;
	assert_true(fd >= 0);
	static const char text[] = "[Interface]\nPrivateKey=" KEY1 "\nMTU=9\n";
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	wgconf_init(&c);
	assert_false(wgconf_read(&c, path));
	assert_string_equal(c.error, "line 3: MTU is not from 576 to 65535: 9");
	wgconf_free(&c);
	assert_int_equal(ftruncate(fd, sizeof(text) - 1 - 6), 0);
	close(fd);
	wgconf_init(&c);
	assert_true(wgconf_read(&c, path));
	assert_true(c.has_private_key);
	wgconf_free(&c);
	/* half of a file is not taken for all of it */
	fd = open(path, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, "\0\n[Peer]\n", 9), 9);
	close(fd);
	wgconf_init(&c);
	assert_false(wgconf_read(&c, path));
	assert_string_equal(c.error, "cannot be read: there is a NUL byte in it");
	wgconf_free(&c);
	unlink(path);
	wgconf_init(&c);
	assert_false(wgconf_read(&c, path));
	assert_string_equal(c.error, "cannot be read: No such file or directory");
	wgconf_free(&c);
	wgconf_init(&c);
	assert_false(wgconf_read(&c, "/"));
	assert_non_null(strstr(c.error, "cannot be read: it is no file, but a directory"));
	wgconf_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_any_case),
		cmocka_unit_test(test_wg_quick_extras),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_no_key_in_words),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
