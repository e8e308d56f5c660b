/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration protocol: each line that is refused, and that only what stood before it is done. */
#include "tests/unit/gateway/uapi_wire.h"

#include <errno.h>

#define KEY_A "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
#define KEY_B "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
#define PRIV "3939393939393939393939393939393939393939393939393939393939393939"
#define PSK "7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c"

static const struct dump_peer *get_peer(const char *key)
{
	return dump_find(talk_get(t, now), key);
}

static unsigned peers(void)
{
	return talk_get(t, now)->npeers;
}

static const char *const bad_device[] = {
	"listen_port=65536",
	"listen_port=-1",
	"listen_port=+1",
	"listen_port= 1",
	"listen_port=1 ",
	"listen_port=",
	"listen_port=0x10",
	"listen_port=18446744073709551617",
	"listen_port=99999999999999999999999999",
	"fwmark=4294967296",
	"fwmark=0x100000000",
	"fwmark=0x",
	"fwmark=0xg",
	"fwmark=0x1g",
	"fwmark=-1",
	"fwmark=off",
	"fwmark=",
	"replace_peers=false",
	"replace_peers=1",
	"replace_peers=",
	"replace_peers=true ",
	"private_key=",
	("private_key=" PRIV "0"),
	"private_key=393939393939393939393939393939393939393939393939393939393939393",
	"private_key=g939393939393939393939393939393939393939393939393939393939393939",
	"private_key=39393939 9393939393939393939393939393939393939393939393939393939",
	("public_key=" KEY_A "="),
	"public_key",
	"public_key=",
	("preshared_key=" PSK), /* whose? */
	"endpoint=192.0.2.1:1",
	"allowed_ip=10.0.0.0/8",
	"remove=true",
	"errno=0",
	"get=1",
	"set=1",
	"LISTEN_PORT=1",
	" listen_port=1",
	"listen_port =1",
	"=",
	"=1",
	"listen_port",
	" ",
	"listen_port=1\r",
	"\r",
};

static const char *const bad_peer[] = {
	"listen_port=1", /* the device's lines come first */
	"fwmark=1",
	("private_key=" PRIV),
	"replace_peers=true",
	"set=1",
	"preshared_key=",
	"preshared_key=7c",
	("preshared_key=" PSK "7c"),
	"endpoint=",
	"endpoint=192.0.2.1",
	"endpoint=192.0.2.1:",
	"endpoint=192.0.2.1:65536",
	"endpoint=192.0.2.1:x",
	"endpoint=:9",
	"endpoint=localhost:9",
	"endpoint=::1:9",
	"endpoint=[::1]",
	"endpoint=[::1]:",
	"endpoint=[]:9",
	"endpoint=[::1:9",
	"endpoint=192.0.2.1%1:9",
	"endpoint=[192.0.2.1%1]:9",
	"endpoint=[169.254.0.1%1]:9",
	"endpoint=[::ffff:169.254.0.1%1]:9",
	"endpoint=[2001:db8::1%]:9",
	"endpoint=[fe80::1%]:9",
	"endpoint=[fe80::1%0]:9",
	"endpoint=[fe80::1%4294967296]:9",
	"endpoint=[fe80::1%eth9]:9",
	"endpoint=[fe80::1%1",
	"endpoint=[fe80::1]%1:9",
	"endpoint=%",
	("endpoint=[fe80::1%" KEY_A KEY_B "]:9"), /* longer than any interface's name */
	("endpoint=[" KEY_A KEY_B "fe80::1%1]:9"),
	"persistent_keepalive_interval=65536",
	"persistent_keepalive_interval=-1",
	"persistent_keepalive_interval=off",
	"persistent_keepalive_interval=",
	"replace_allowed_ips=false",
	"replace_allowed_ips=",
	"allowed_ip=",
	"allowed_ip=-",
	"allowed_ip=10.0.0.0",
	"allowed_ip=10.0.0.0/",
	"allowed_ip=10.0.0.0/33",
	"allowed_ip=10.0.0.0/-1",
	"allowed_ip=10.0.0/8",
	"allowed_ip=::/129",
	"allowed_ip=::ffff:10.0.0.0/128", /* of IPv6, not 10.0.0.0/32 */
	"allowed_ip=::ffff:10.0.0.0/8",	  /* of IPv6, not 10.0.0.0/8 */
	"allowed_ip=::ffff:0:0/0",
	"allowed_ip=--10.0.0.0/8",
	"allowed_ip=+-10.0.0.0/8",
	"allowed_ip=x/8",
	"allowed_ip=10.0.0.0/8,10.0.0.0/9",
	"protocol_version=2",
	"protocol_version=",
	"protocol_version=01",
	"remove=false",
	"remove=",
	"update_only=no",
	"last_handshake_time_sec=1",
};

/* As wireguard-go says it. */
static int wanted(const char *bad)
{
	return strchr(bad, '=') ? -EINVAL : -EPROTO;
}

/* What stands before it is done, what comes after is not, and the next request is heard. */
static void refused(const char *first, const char *bad)
{
	assert_int_equal(talk_set(t, now, "replace_peers=true\nfwmark=0\n"), 0);
	int err = talk_set(t, now, "fwmark=7\n%s%s\npublic_key=" KEY_B "\nallowed_ip=10.9.0.0/16\n",
			   first, bad);
	if (err != wanted(bad))
		fail_msg("%d for %s", err, bad);
	assert_int_equal(t->mark, 7);
	assert_null(get_peer(KEY_B));
	assert_int_equal(peers(), *first ? 1 : 0);
	if (*first)
		assert_int_equal(get_peer(KEY_A)->nallowed, 1);
}

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_device); i++)
		refused("", bad_device[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad_peer); i++) {
		refused("public_key=" KEY_A "\nallowed_ip=10.0.0.0/24\n", bad_peer[i]);
		/* in a section that is for nobody, too */
		assert_int_equal(
			talk_set(t, now, "public_key=%s\n%s\n", hex(ends[0].pub), bad_peer[i]),
			wanted(bad_peer[i]));
	}
	assert_int_equal(t->port, 51820);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(test_refusals, talk_begin, talk_end),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
