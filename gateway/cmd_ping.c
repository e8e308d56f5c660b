/* SPDX-License-Identifier: Apache-2.0 */
/* `warren ping`: ICMP echo (RFC 792, RFC 4443) through the tunnel, to a member by id or address. */
#include "gateway/cmd.h"
#include "gateway/loop.h"
#include "gateway/proc.h"
#include "gateway/status_ask.h"

#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/icmp6.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const enum setting ping_settings[] = { SET_COUNT_, SET_INTERFACE, SET_RUN_DIR,
					      SETTING_COUNT };

static const char ping_usage[] = "usage: warren ping [--count N] MEMBER|ADDRESS\n\n"
				 "Round trips over the tunnel, with the path that each one took. "
				 "Exit status 0 when at least one\n"
				 "answer came.\n";

enum { PAYLOAD = 56 };
#define PING_EVERY (200 * NSEC_PER_MSEC)
#define PING_WAIT (1000 * NSEC_PER_MSEC)

static const json_t *find_peer(const json_t *status, const char *who)
{
	const json_t *peers = json_object_get(status, "peers");
	for (size_t i = 0; i < json_array_size(peers); i++) {
		const json_t *p = json_array_get(peers, i);
		const char *id = json_string_value(json_object_get(p, "id"));
		const char *ip = json_string_value(json_object_get(p, "ip"));
		if ((id && strcmp(id, who) == 0) || (ip && strcmp(ip, who) == 0))
			return p;
	}
	return NULL;
}

/* Which way the member is reached now, for the line. */
static void path_text(const struct config *c, const char *who, char out[static 128])
{
	char *text = status_ask(c);
	json_t *status = text ? json_loads(text, 0, NULL) : NULL;
	const json_t *p = find_peer(status, who);
	const char *path = json_string_value(json_object_get(p, "path"));
	const char *at = json_string_value(json_object_get(p, "endpoint"));

	snprintf(out, 128, "%s%s%s", path ? path : "unknown path", at ? " via " : "", at ? at : "");
	json_decref(status);
	free(text);
}

/* Also an address of no member that is listed may be meant: one behind a member, or a static peer's. */
static bool find_address(const struct config *c, const char *who, struct addr *out)
{
	char *text = status_ask(c);
	json_t *status = text ? json_loads(text, 0, NULL) : NULL;
	const char *ip = json_string_value(json_object_get(find_peer(status, who), "ip"));
	const char *self = json_string_value(json_object_get(status, "worker_id"));
	bool ok = text && addr_parse(ip ? ip : who, out);

	if (text && !ok && self && strcmp(self, who) == 0)
		fprintf(stderr, "warren: %s is this node itself\n", who);
	else if (text && !ok)
		fprintf(stderr, "warren: there is no member %s (`warren status` lists them)\n",
			who);
	json_decref(status);
	free(text);
	return ok;
}

static uint16_t sum16(const uint8_t *p, size_t len)
{
	uint32_t s = 0;
	for (size_t i = 0; i + 1 < len; i += 2)
		s += load_be16(p + i);
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

static bool send_echo(int fd, const struct addr *to, uint16_t id, uint16_t seq)
{
	uint8_t m[8 + PAYLOAD] = { 0 };
	struct endpoint e = { .addr = *to };
	struct sockaddr_storage ss;
	bool v4 = addr_is_v4(to);
	size_t len = endpoint_to_sockaddr(&e, !v4, &ss);

	m[0] = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	store_be16(m + 4, id);
	store_be16(m + 6, seq);
	for (unsigned i = 0; i < PAYLOAD; i++)
		m[8 + i] = (uint8_t)i;
	if (v4) /* the kernel sums ICMPv6 itself */
		store_be16(m + 2, sum16(m, sizeof(m)));
	return sendto(fd, m, sizeof(m), 0, (struct sockaddr *)&ss, (socklen_t)len) ==
	       (ssize_t)sizeof(m);
}

/* True when the next datagram is the answer that is waited for. */
static bool is_answer(int fd, bool v4, uint16_t id, uint16_t seq)
{
	uint8_t buf[2048];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	size_t head = v4 && n > 0 ? (size_t)(buf[0] & 15) * 4 : 0;

	if (n < 0 || (size_t)n < head + 8)
		return false;
	return buf[head] == (v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) &&
	       load_be16(buf + head + 4) == id && load_be16(buf + head + 6) == seq;
}

/* The round trip, or -1 after PING_WAIT. */
static nsec one_ping(int fd, const struct addr *to, uint16_t id, uint16_t seq)
{
	nsec start = loop_clock(), now = start;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (!send_echo(fd, to, id, seq))
		return -1;
	while (now - start < PING_WAIT) {
		poll(&p, 1, (int)((PING_WAIT - (now - start)) / NSEC_PER_MSEC) + 1);
		now = loop_clock();
		if ((p.revents & POLLIN) && is_answer(fd, addr_is_v4(to), id, seq))
			return now - start;
	}
	return -1;
}

static int ping(const struct config *c, const char *who, const struct addr *to, unsigned long count)
{
	char ip[ADDR_STRLEN], path[128];
	bool v4 = addr_is_v4(to);
	int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC,
			v4 ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6);
	unsigned long answered = 0;

	if (fd < 0) {
		fprintf(stderr,
			"warren: cannot open an ICMP socket: %s (root, or CAP_NET_RAW, is "
			"needed)\n",
			strerror(errno));
		return EXIT_CANNOT;
	}
	for (unsigned long i = 1; i <= count; i++) {
		nsec rtt = one_ping(fd, to, (uint16_t)getpid(), (uint16_t)i);
		path_text(c, who, path);
		if (rtt >= 0)
			printf("%s (%s): %.2f ms, %s\n", who, addr_str(to, ip),
			       (double)rtt / (double)NSEC_PER_MSEC, path);
		else
			printf("%s (%s): no answer, %s\n", who, addr_str(to, ip), path);
		fflush(stdout);
		answered += rtt >= 0;
		if (i < count)
			usleep((useconds_t)(PING_EVERY / 1000));
	}
	close(fd);
	printf("%lu of %lu answered\n", answered, count);
	return answered ? 0 : EXIT_CANNOT;
}

int cmd_ping(int argc, char **argv)
{
	struct config c;
	struct addr to;
	unsigned long count;
	int status = EXIT_USAGE;

	if (cmd_help(argc, argv, ping_usage, ping_settings))
		return 0;
	if (config_read(&c, argc, argv, ping_settings) < 0 ||
	    config_number(&c, SET_COUNT_, 1, 1000000, 5, &count) < 0)
		return EXIT_USAGE;
	/* as ping(8) takes it */
	if (c.nargs == 3 && strcmp(c.args[1], "-c") == 0)
		count = strtoul(c.args[2], NULL, 10);
	else if (c.nargs != 1) {
		fprintf(stderr, "warren: ping takes one member (try --help)\n");
		config_free(&c);
		return EXIT_USAGE;
	}
	if (find_address(&c, c.args[0], &to))
		status = ping(&c, c.args[0], &to, count);
	else
		status = EXIT_CANNOT;
	config_free(&c);
	return status;
}
