/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `warren ping --sweep`: which packet sizes pass to a peer. Each is an echo with DF, which the kernel
 * refuses where it is larger than the route's MTU; then it goes again without, and the kernel cuts it
 * up. What the gateway does with it on the way, in-tunnel fragments among it, is not seen from here:
 * a packet that passes with DF is one piece for whoever sends it. Answers carry no DF, so that they
 * say nothing of the way back.
 */
#include "gateway/cmd_ping.h"
#include "gateway/proc.h"

#include <errno.h>
#include <stdio.h>

enum { TRIES = 3 };

/* Of whole IP packets; those around the route's MTU are put between them. */
static const unsigned usual[] = { 64,	128,  256,  512,  576,	1024,
				  1280, 1420, 1500, 2000, 4000, ECHO_SIZE_MAX };

enum { SIZES_MOST = ARRAY_SIZE(usual) + 3 };

/* In rising order, each once. */
static size_t add_size(unsigned sizes[static SIZES_MOST], size_t n, unsigned size)
{
	size_t i = 0;
	while (i < n && sizes[i] < size)
		i++;
	if (i < n && sizes[i] == size)
		return n;
	memmove(&sizes[i + 1], &sizes[i], (n - i) * sizeof(sizes[0]));
	sizes[i] = size;
	return n + 1;
}

static size_t all_sizes(unsigned mtu, unsigned sizes[static SIZES_MOST])
{
	size_t n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
		n = add_size(sizes, n, usual[i]);
	for (unsigned size = mtu - 1; mtu > usual[0] && mtu < ECHO_SIZE_MAX && size <= mtu + 1;
	     size++)
		n = add_size(sizes, n, size);
	return n;
}

/* Up to TRIES echoes; what is wrong with sending does not mend by itself. */
static nsec tries(struct echo *e, bool df, unsigned size)
{
	nsec rtt = echo_set_df(e, df);
	for (unsigned i = 0; rtt == 0 && i < TRIES; i++) {
		rtt = echo_once(e, size);
		if (rtt == -ETIMEDOUT && i + 1 < TRIES)
			rtt = 0;
	}
	return rtt;
}

static void print_result(nsec rtt, const char *how)
{
	if (rtt >= 0)
		printf("answered %s, %.2f ms\n", how, (double)rtt / (double)NSEC_PER_MSEC);
	else if (rtt == -ETIMEDOUT)
		printf("no answer %s\n", how);
	else
		printf("cannot be sent %s: %s\n", how, strerror((int)-rtt));
}

/* True when it was answered; `whole` when it was with DF. */
static bool try_size(struct echo *e, unsigned size, bool *whole)
{
	printf("%6u bytes  ", size);
	fflush(stdout); /* it may take seconds */
	nsec rtt = tries(e, true, size);
	*whole = rtt >= 0;
	if (rtt == -EMSGSIZE) {
		printf("larger than the route's MTU with DF; ");
		rtt = tries(e, false, size);
		print_result(rtt, "in fragments of the kernel");
	} else {
		print_result(rtt, "with DF");
	}
	fflush(stdout);
	return rtt >= 0;
}

static void print_path(const json_t *path)
{
	const char *kind = json_string_value(json_object_get(path, "kind"));
	const char *at = json_string_value(json_object_get(path, "endpoint"));
	const char *state = json_string_value(json_object_get(path, "mtu_state"));
	const char *reason = json_string_value(json_object_get(path, "mtu_reason"));
	json_int_t mtu = json_integer_value(json_object_get(path, "mtu"));

	printf("path %s via %s%s: ", kind ? kind : "-", at ? at : "-",
	       json_is_true(json_object_get(path, "in_use")) ? " (in use)" : "");
	if (json_is_false(json_object_get(path, "proven"))) {
		printf("nothing has come back over it\n");
		return;
	}
	if (mtu > 0)
		printf("outer packets of %lld bytes pass", (long long)mtu);
	else
		printf("its MTU is not known");
	printf("%s%s%s%s\n", state ? ", " : "", state ? state : "", reason ? ", " : "",
	       reason ? reason : "");
}

/* What the gateway found itself, after the sweep has made it look. */
static void print_paths(const struct config *c, const char *who)
{
	json_t *status = ping_status(c);
	const json_t *paths = json_object_get(ping_peer(status, who), "paths");

	for (size_t i = 0; i < json_array_size(paths); i++)
		print_path(json_array_get(paths, i));
	json_decref(status);
}

/* 0 where the gateway lists no such peer: an address behind one, or a static peer's. */
static unsigned route_mtu(const struct config *c, const char *who)
{
	json_t *status = ping_status(c);
	json_int_t mtu = json_integer_value(json_object_get(ping_peer(status, who), "mtu"));

	json_decref(status);
	return mtu > 0 && mtu <= UINT16_MAX ? (unsigned)mtu : 0;
}

int ping_sweep(const struct config *c, const char *who, const struct addr *to)
{
	unsigned sizes[SIZES_MOST], mtu = route_mtu(c, who), largest = 0;
	char ip[ADDR_STRLEN];
	struct echo e;
	size_t n = all_sizes(mtu, sizes), answered = 0;

	if (echo_open(&e, to) < 0)
		return EXIT_CANNOT;
	printf("%s (%s): ", who, addr_str(to, ip));
	if (mtu)
		printf("the route's MTU is %u\n", mtu);
	else
		printf("no peer that `warren status` lists, its MTU is not known\n");
	for (size_t i = 0; i < n; i++) {
		bool whole;
		answered += try_size(&e, sizes[i], &whole);
		if (whole)
			largest = sizes[i];
	}
	echo_close(&e);
	print_paths(c, who);
	printf("%zu of %zu sizes answered\n", answered, n);
	if (largest)
		printf("largest packet in one piece: %u bytes\n", largest);
	else
		printf("no packet passed in one piece\n");
	return answered == n ? 0 : EXIT_CANNOT;
}
