/* SPDX-License-Identifier: Apache-2.0 */
/* A TUN of ours and a pair of interfaces of others in a fresh namespace, for each test anew. */
#ifndef WARREN_TEST_ROUTE_BENCH_H
#define WARREN_TEST_ROUTE_BENCH_H

#include "lab.h"
#include "route/kernel.h"

struct bench {
	int tun_fd;
	unsigned tun, eth;
	struct kernel_routes *k;
};

extern struct bench b;

int bench_setup(void **ignored);
int bench_teardown(void **ignored);
/* Runs the tests where there can be a namespace; else fails under CI and skips elsewhere. */
int bench_main(int (*run)(void));

struct prefix pfx(const char *s);
struct addr adr(const char *s);

/* The verbs of b.k, told in text. */
int set(const char *dst, uint32_t mtu, uint32_t advmss);
int unset(const char *dst);
int add_address(const char *addr);
int close_off(const char *dst);

#define IN_LAB(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

#endif
