/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hundreds of seeded lives of whole networks of gateways. Each case is one of the kinds below, made
 * from its seed; what must hold at every moment stands in sim.h.
 *
 *     sim_net            SIM_CASES cases (default 300)
 *     SEED=42 sim_net    that one, in detail
 */
#include "sim_cases.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CASES = 300 };

static const struct sim_case cases[] = {
	{ "storm", case_storm },
	{ "weather", case_weather },
	{ "node restarts", case_node_restarts },
	{ "rendezvous restarts", case_rdv_restarts },
	{ "rekeys", case_rekeys },
	{ "path dies", case_path_dies },
	{ "symmetric pair", case_symmetric },
	{ "rebinding", case_rebinding },
	{ "leaves", case_leaves },
	{ "crossing initiations", case_crossing },
	{ "hostile", case_hostile },
	{ "spoofed", case_spoofed },
	{ "another id", case_another_id },
	{ "full disk", case_full_disk },
	{ "frozen", case_frozen },
	{ "everything", case_everything },
	{ "narrow paths", case_narrow },
};

static bool run_case(uint64_t seed, bool verbose)
{
	static struct sim s;
	const struct sim_case *c = &cases[seed % ARRAY_SIZE(cases)];

	sim_init(&s, seed);
	s.verbose = verbose;
	sim_log(&s, "seed %llu: %s", (unsigned long long)seed, c->name);
	c->run(&s);
	if (sim_ok(&s))
		traffic_account(&s);
	if (!sim_ok(&s))
		printf("SEED=%llu (%s) at %.3f s: %s\n", (unsigned long long)seed, c->name,
		       (double)(s.now - 1000 * SEC) / 1e9, s.failure);
	sim_log(&s, "%llu datagrams and %llu bytes of TCP arrived, %llu datagrams on the wire",
		(unsigned long long)s.udp_came, (unsigned long long)s.tcp_came,
		(unsigned long long)s.net.sent);
	bool ok = sim_ok(&s);
	sim_free(&s);
	return ok;
}

int main(void)
{
	const char *seed = getenv("SEED"), *count = getenv("SIM_CASES");
	unsigned long n = count ? strtoul(count, NULL, 10) : CASES, failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (sodium_init() < 0 || !aead_choose("libcrypto"))
		return 2;
	if (seed)
		return run_case(strtoull(seed, NULL, 10), true) ? 0 : 1;
	for (unsigned long i = 1; i <= n; i++)
		failed += !run_case(i, false);
	printf("%lu cases of %zu kinds, %lu failed\n", n, ARRAY_SIZE(cases), failed);
	return failed ? 1 : 0;
}
