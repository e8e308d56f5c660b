/* SPDX-License-Identifier: Apache-2.0 */
/* `warren ping`: ICMP echo (RFC 792, RFC 4443) through the tunnel, to a member by id or address. */
#include "gateway/cmd_ping.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "gateway/cmd.h"
#include "gateway/loop.h"
#include "gateway/proc.h"
#include "gateway/status_ask.h"
#include "base/log.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const enum setting ping_settings[] = { SET_COUNT_, SET_SWEEP, SET_INTERFACE, SET_RUN_DIR,
					      SETTING_COUNT };

static const char ping_usage[] = "usage: warren ping [--count N] MEMBER|ADDRESS\n"
				 "       warren ping --sweep MEMBER|ADDRESS\n\n"
				 "Round trips over the tunnel, with the path that each one took. "
				 "Exit status 0 when at least one\n"
				 "answer came. With --sweep: packets of many sizes, to see which "
				 "pass; exit status 0 when each\n"
				 "size was answered.\n";

enum { PAYLOAD = 56, ICMP_HEADER = 8, COUNT_MOST = 1000000 };
#define PING_EVERY (200 * NSEC_PER_MSEC)
#define PING_WAIT (1000 * NSEC_PER_MSEC)

/* --- what the gateway says --- */

json_t *ping_status(const struct config *c)
{
	char *text = status_ask(c, "status");
	json_t *status = text ? json_loads(text, 0, NULL) : NULL;
	if (text && !status)
		log_usage("the answer is not what this release understands");
	free(text);
	return status;
}

const json_t *ping_peer(const json_t *status, const char *who)
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
	json_t *status = ping_status(c);
	const json_t *p = ping_peer(status, who);
	const char *path = json_string_value(json_object_get(p, "path"));
	const char *at = json_string_value(json_object_get(p, "endpoint"));

	snprintf(out, 128, "%s%s%s", path ? path : "unknown path", at ? " via " : "", at ? at : "");
	json_decref(status);
}

/* Also an address of no member that is listed may be meant: one behind a member, or a static peer's. */
static bool find_address(const struct config *c, const char *who, struct addr *out)
{
	json_t *status = ping_status(c);
	const char *ip = json_string_value(json_object_get(ping_peer(status, who), "ip"));
	const char *self = json_string_value(json_object_get(status, "worker_id"));
	bool ok = status && addr_parse(ip ? ip : who, out);

	if (status && !ok && self && strcmp(self, who) == 0)
		log_usage("%s is this node itself", who);
	else if (status && !ok)
		log_usage("there is no member %s (`warren status` lists them)", who);
	json_decref(status);
	return ok;
}

/* --- echoes --- */

int echo_open(struct echo *e, const struct addr *to)
{
	bool v4 = addr_is_v4(to);
	*e = (struct echo){ .to = *to, .id = (uint16_t)getpid() };
	e->fd = socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC,
		       v4 ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6);
	if (e->fd >= 0)
		return 0;
	log_usage("cannot open an ICMP socket: %s (root, or CAP_NET_RAW, is needed)",
		  strerror(errno));
	return -1;
}

void echo_close(struct echo *e)
{
	close(e->fd);
}

int echo_set_df(struct echo *e, bool df)
{
	bool v4 = addr_is_v4(&e->to);
	int how = v4 ? (df ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT)
		     : (df ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT);
	int err = setsockopt(e->fd, v4 ? (int)IPPROTO_IP : (int)IPPROTO_IPV6,
			     v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &how, sizeof(how));
	return err < 0 ? -errno : 0;
}

size_t echo_headers(const struct echo *e)
{
	return ICMP_HEADER + (addr_is_v4(&e->to) ? sizeof(struct iphdr) : sizeof(struct ip6_hdr));
}

/* Does not repeat where a fragment might be put at another one's place. */
static uint8_t payload_byte(size_t i)
{
	return (uint8_t)(i ^ i >> 8);
}

static int send_echo(const struct echo *e, size_t payload)
{
	uint8_t m[ECHO_SIZE_MAX] = { 0 };
	struct endpoint to = { .addr = e->to };
	struct sockaddr_storage ss;
	bool v4 = addr_is_v4(&e->to);
	size_t len = endpoint_to_sockaddr(&to, !v4, &ss);

	m[0] = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	store_be16(m + 4, e->id);
	store_be16(m + 6, e->seq);
	for (size_t i = 0; i < payload; i++)
		m[ICMP_HEADER + i] = payload_byte(i);
	if (v4) { /* the kernel sums ICMPv6 itself */
		uint16_t sum = (uint16_t)~csum_fold(csum_add(0, m, ICMP_HEADER + payload));
		memcpy(m + 2, &sum, sizeof(sum));
	}
	return sendto(e->fd, m, ICMP_HEADER + payload, 0, (struct sockaddr *)&ss, (socklen_t)len) <
			       0
		       ? -errno
		       : 0;
}

/* True when the next datagram is the answer that is waited for, whole. */
static bool is_answer(const struct echo *e, size_t payload)
{
	uint8_t buf[60 + ECHO_SIZE_MAX];
	bool v4 = addr_is_v4(&e->to);
	ssize_t n = recv(e->fd, buf, sizeof(buf), MSG_DONTWAIT);
	size_t head = v4 && n > 0 ? (size_t)(buf[0] & 15) * 4 : 0;

	if (n < 0 || (size_t)n != head + ICMP_HEADER + payload ||
	    buf[head] != (v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) ||
	    load_be16(buf + head + 4) != e->id || load_be16(buf + head + 6) != e->seq)
		return false;
	for (size_t i = 0; i < payload; i++)
		if (buf[head + ICMP_HEADER + i] != payload_byte(i))
			return false;
	return true;
}

nsec echo_once(struct echo *e, size_t size)
{
	size_t headers = echo_headers(e);
	size_t payload = size > headers ? size_min(size, ECHO_SIZE_MAX) - headers : 0;
	nsec start = loop_clock(), now = start;
	struct pollfd p = { .fd = e->fd, .events = POLLIN };
	int err;

	e->seq++;
	err = send_echo(e, payload);
	if (err < 0)
		return err;
	while (now - start < PING_WAIT) {
		poll(&p, 1, (int)((PING_WAIT - (now - start)) / NSEC_PER_MSEC) + 1);
		now = loop_clock();
		if ((p.revents & POLLIN) && is_answer(e, payload))
			return now - start;
	}
	return -ETIMEDOUT;
}

/* --- the command --- */

static int ping(const struct config *c, const char *who, const struct addr *to, unsigned long count)
{
	char ip[ADDR_STRLEN], path[128];
	unsigned long answered = 0;
	struct echo e;

	if (echo_open(&e, to) < 0)
		return EXIT_CANNOT;
	for (unsigned long i = 1; i <= count; i++) {
		nsec rtt = echo_once(&e, echo_headers(&e) + PAYLOAD);
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
	echo_close(&e);
	printf("%lu of %lu answered\n", answered, count);
	return answered ? 0 : EXIT_CANNOT;
}

/* The words behind the options; also `-c N` behind the member, as ping(8) takes it. */
static int read_words(struct config *c, unsigned long *count)
{
	bool dash_c = c->nargs == 3 && strcmp(c->args[1], "-c") == 0;

	if (c->nargs != 1 && !dash_c) {
		log_usage("ping takes one member (try --help)");
		return -1;
	}
	if (dash_c) {
		config_forget(c, SET_COUNT_);
		c->value[SET_COUNT_] = strdup(c->args[2]);
	}
	if (c->value[SET_SWEEP] && c->value[SET_COUNT_]) {
		log_usage("--sweep sends to each size up to three times: it takes no "
			  "--count");
		return -1;
	}
	return config_number(c, SET_COUNT_, 1, COUNT_MOST, 5, count);
}

static int ping_or_sweep(struct config *c)
{
	struct addr to;
	unsigned long count;
	bool sweep;

	if (read_words(c, &count) < 0 || config_bool(c, SET_SWEEP, &sweep) < 0)
		return EXIT_USAGE;
	if (!find_address(c, c->args[0], &to))
		return EXIT_CANNOT;
	return sweep ? ping_sweep(c, c->args[0], &to) : ping(c, c->args[0], &to, count);
}

int cmd_ping(int argc, char **argv)
{
	struct config c;

	if (cmd_help(argc, argv, ping_usage, ping_settings))
		return 0;
	if (config_read(&c, argc, argv, ping_settings) < 0)
		return EXIT_USAGE;
	int status = ping_or_sweep(&c);
	config_free(&c);
	return status;
}
