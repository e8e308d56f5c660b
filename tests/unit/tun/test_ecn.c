/* SPDX-License-Identifier: Apache-2.0 */
/* Marks of congestion, in packets whose sums stay as right as they were. */
#include "tests/unit/tun/packets.h"
#include "tun/ecn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static uint8_t ip[PACKET_MAX];

static uint8_t tos_of(void)
{
	return (uint8_t)(load_be32(ip) >> (ip[0] >> 4 == 6 ? 20 : 16));
}

static void test_all(void **state)
{
	static const uint8_t outside[] = { ECN_NONE, ECN_ECT1, ECN_ECT0, ECN_ECT0 };
	static const uint8_t congested[] = { ECN_NONE, ECN_CE, ECN_CE, ECN_CE };
	(void)state;
	for (unsigned i = 0; i < 2 * 256; i++) {
		struct spec sp = { .v6 = i & 1,
				   .tos = (uint8_t)(i / 2),
				   .flow = 0xfffff,
				   .id = (uint16_t)(i * 7919),
				   .payload = 9,
				   .udp = true };
		uint8_t ecn = sp.tos & ECN_MASK;
		uint32_t beside = sp.v6 ? 0xfffff : 0xffff; /* of the first word */
		uint32_t len = packet_build(&sp, ip), rest = load_be32(ip) & beside;
		assert_int_equal(ecn_outside(ip), outside[ecn]);
		ecn_congested(ip);
		assert_int_equal(tos_of(), (sp.tos & ~ECN_MASK) | congested[ecn]);
		assert_int_equal(load_be32(ip) & beside, rest);
		assert_true(packet_sums_ok(ip, len));
	}
}

static void test_wrong_stays_wrong(void **state)
{
	struct spec sp = { .tos = ECN_ECT0, .payload = 9 };
	(void)state;
	uint32_t len = packet_build(&sp, ip);
	ip[10] ^= 1;
	ecn_congested(ip);
	assert_false(packet_sums_ok(ip, len));
	ip[10] ^= 1;
	assert_true(packet_sums_ok(ip, len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_wrong_stays_wrong),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
