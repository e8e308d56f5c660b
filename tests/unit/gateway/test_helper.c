/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper's look-ups: a name whose servers are silent keeps no other waiting. The linker puts a resolver of this
 * file before the C library's.
 */
#include "gateway/helper.h"
#include "gateway/proc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <resolv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { WAIT_MS = 5000 };

static int fd, theirs; /* two ends: the gateway's and the helper's */
static int chan;       /* the launcher's */
static pid_t helper;

/*
 * slow.example is known to who is patient, silent.example to nobody, gone.example does not exist; of all others
 * there is one address.
 */
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **out)
{
	static struct sockaddr_in at = { .sin_family = AF_INET };
	static struct addrinfo one = { .ai_addr = (struct sockaddr *)&at,
				       .ai_addrlen = sizeof(at) };
	bool quick = _res.retrans == 1 && _res.retry == 1;

	(void)service;
	(void)hints;
	if (strcmp(host, "gone.example") == 0)
		return EAI_NONAME;
	if (strcmp(host, "silent.example") == 0 || (quick && strcmp(host, "slow.example") == 0))
		return EAI_AGAIN;
	at.sin_addr.s_addr = htonl(0xcb007107);
	*out = &one;
	return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list);
void __wrap_freeaddrinfo(struct addrinfo *list)
{
	(void)list;
}

static void ask(uint32_t id, const char *host)
{
	struct resolve_question q = { .id = id, .port = 7777 };
	snprintf(q.host, sizeof(q.host), "%s", host);
	assert_int_equal(send(fd, &q, sizeof(q), 0), sizeof(q));
}

/* The next answer is to this question. */
static void answered(uint32_t id, uint32_t count)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct resolve_answer a;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(recv(fd, &a, sizeof(a), 0), sizeof(a));
	assert_int_equal(a.id, id);
	assert_int_equal(a.count, count);
	if (count)
		assert_int_equal(a.at[0].port, 7777);
}

/* What is asked before it starts waits for it. */
static int set_up(void **state)
{
	int ends[2];
	(void)state;
	helper = 0;
	chan = -1;
	if (chan_pair(ends) < 0)
		return -1;
	fd = ends[0];
	theirs = ends[1];
	return 0;
}

static void helper_starts(void)
{
	const struct chan_msg m = { .kind = CHAN_GATEWAY };
	int ends[2];

	assert_int_equal(chan_pair(ends), 0);
	chan = ends[0];
	assert_int_equal(chan_send(chan, &m, theirs), 0);
	helper = fork();
	assert_true(helper >= 0);
	if (helper == 0) {
		close(chan);
		close(fd);
		helper_serve(ends[1]);
		_exit(0);
	}
	close(ends[1]);
}

static int tear_down(void **state)
{
	(void)state;
	close(chan);
	close(fd);
	close(theirs);
	if (helper > 0) {
		kill(helper, SIGKILL);
		waitpid(helper, NULL, 0);
	}
	return 0;
}

static void the_silent_wait_for_the_others(void **state)
{
	(void)state;
	ask(0, "silent.example");
	ask(1, "slow.example");
	ask(2, "fast.example");
	ask(3, "gone.example");
	helper_starts();
	answered(2, 1);
	answered(3, 0);
	answered(0, 0);
	answered(1, 1); /* with all the patience that it takes */
	ask(4, "fast.example");
	answered(4, 1);
	ask(5, "slow.example");
	answered(5, 1);
}

/* More of them than are kept: each is answered all the same. */
static void many_are_silent(void **state)
{
	struct resolve_answer a;
	uint64_t seen = 0;
	(void)state;
	for (uint32_t i = 0; i < 40; i++)
		ask(i, "slow.example");
	helper_starts();
	for (unsigned i = 0; i < 40; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		assert_int_equal(recv(fd, &a, sizeof(a), 0), sizeof(a));
		assert_true(a.id < 40 && a.count == 1 && !(seen & 1ull << a.id));
		seen |= 1ull << a.id;
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = { T(the_silent_wait_for_the_others), T(many_are_silent) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
