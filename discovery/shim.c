/* SPDX-License-Identifier: Apache-2.0 */
/* The listening sockets, the list of clients, and the clock. */
#include "discovery/shim_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BACKLOG = 512,
	ACCEPTS_PER_TURN = 64,
	DESCRIPTORS_OWN = 64, /* what is open besides clients and their ways upstream */
	DESCRIPTORS = 2 * CLIENTS_MAX + DESCRIPTORS_OWN,
	CLIENTS_MIN = 4,
};

nsec shim_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (nsec)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* It opens no file, and listens where it does already. */
const struct syscall_rule shim_syscalls[] = {
	CALL(accept4),
	CALL(recvfrom),
	CALL(sendto),
	CALL_SOCKET(AF_INET, SOCK_STREAM),
	CALL_SOCKET(AF_INET6, SOCK_STREAM),
	CALL(connect),
	CALL(shutdown),
	CALL_IF(getsockopt, ARG_IS(1, SOL_SOCKET), ARG_IS(2, SO_ERROR)),
	CALL_OPTION(IPPROTO_TCP, TCP_NODELAY),
	CALL_OPTION(IPPROTO_TCP, TCP_KEEPIDLE),
	CALL_OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
	CALL_OPTION(IPPROTO_TCP, TCP_KEEPCNT),
	CALL_OPTION(SOL_SOCKET, SO_KEEPALIVE),
	CALL_OPTION(SOL_SOCKET, SO_LINGER),
	CALL_IF(fcntl, ARG_IS(1, F_GETFL)),
	CALL_IF(fcntl, ARG_IS(1, F_SETFL)),
	CALL_IF(fcntl64, ARG_IS(1, F_GETFL)),
	CALL_IF(fcntl64, ARG_IS(1, F_SETFL)),
	CALLS_END,
};

/* A peer behind a dead tunnel is noticed within two minutes. */
bool shim_fd_prepare(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },   { SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 60 }, { IPPROTO_TCP, TCP_KEEPINTVL, 15 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 4 },
	};
	bool ok = true;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		ok = setsockopt(fd, options[i].level, options[i].name, &options[i].value,
				sizeof(int)) == 0 &&
		     ok;
	return ok;
}

void shim_each(struct shim *s, void (*fn)(struct conn *c, void *arg), void *arg)
{
	for (struct conn *c = s->conns, *next; c; c = next) {
		next = c->next; /* fn may free c, and nothing else */
		fn(c, arg);
	}
}

void shim_trino_told(struct shim *s)
{
	shim_each(s, conn_unhold, NULL);
}

static void listen_on(struct shim *s)
{
	s->accepting = true;
	for (size_t i = 0; i < ARRAY_SIZE(s->accept); i++)
		if (s->listen_fd[i] >= 0)
			ev_io_start(s->loop, &s->accept[i]);
}

/* The kernel keeps newcomers in the backlog; nothing is polled meanwhile. */
static void listen_pause(struct shim *s)
{
	s->accepting = false;
	for (size_t i = 0; i < ARRAY_SIZE(s->accept); i++)
		ev_io_stop(s->loop, &s->accept[i]);
}

void shim_client_gone(struct shim *s)
{
	if (!s->accepting && s->clients < s->places)
		listen_on(s);
}

static void accept_again(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)events;
	shim_client_gone(t->data);
}

static void accept_failed(struct shim *s, int error)
{
	if (error == EAGAIN || error == EINTR || error == ECONNABORTED)
		return;
	log_seldom(LOG_LEVEL_WARN, SELDOM, "no more connections for a second: %s", strerror(error));
	listen_pause(s);
	ev_timer_stop(s->loop, &s->accept_again);
	ev_timer_set(&s->accept_again, 1., 0.);
	ev_timer_start(s->loop, &s->accept_again);
}

static void on_accept(struct ev_loop *loop, ev_io *w, int events)
{
	struct shim *s = w->data;
	(void)loop;
	(void)events;
	for (unsigned i = 0; i < ACCEPTS_PER_TURN && s->accepting; i++) {
		int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			accept_failed(s, errno);
			return;
		}
		shim_fd_prepare(fd);
		conn_new(s, fd);
		if (s->clients < s->places)
			continue;
		listen_pause(s);
		log_seldom(LOG_LEVEL_WARN, SELDOM, "%u clients are connected; more must wait",
			   s->clients);
	}
}

/* A listening socket on the loopback address of `family`, or -errno. */
static int listen_at(int family, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
				    .sin6_port = htons(port),
				    .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	const void *sa = family == AF_INET ? (const void *)&in : (const void *)&in6;
	socklen_t len = family == AF_INET ? sizeof(in) : sizeof(in6);
	int one = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, sa, len) < 0 || listen(fd, BACKLOG) < 0) {
		int err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* IPv4 must be there; IPv6 where the kernel has a loopback address of it. */
static int open_listeners(struct shim *s)
{
	static const int families[] = { AF_INET, AF_INET6 };
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		int fd = listen_at(families[i], s->proxy_port);
		if (fd < 0 && (families[i] == AF_INET || fd == -EADDRINUSE))
			return fd;
		s->listen_fd[i] = fd;
		if (fd < 0)
			continue;
		ev_io_init(&s->accept[i], on_accept, fd, EV_READ);
		s->accept[i].data = s;
	}
	return 0;
}

/*
 * So many clients that each may have a way upstream, too: with the last descriptor in a client's hands
 * nobody could be served.
 */
static unsigned places_of(rlim_t descriptors)
{
	if (descriptors >= DESCRIPTORS)
		return CLIENTS_MAX;
	if (descriptors < DESCRIPTORS_OWN + 2 * CLIENTS_MIN)
		return CLIENTS_MIN;
	return (unsigned)(descriptors - DESCRIPTORS_OWN) / 2;
}

static unsigned raise_descriptors(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= DESCRIPTORS)
		return CLIENTS_MAX;
	rlim_t had = r.rlim_cur;
	r.rlim_cur = r.rlim_max < DESCRIPTORS ? r.rlim_max : DESCRIPTORS;
	if (setrlimit(RLIMIT_NOFILE, &r) < 0)
		r.rlim_cur = had;
	unsigned places = places_of(r.rlim_cur);
	if (places < CLIENTS_MAX)
		log_warn("room for %u connections at once and not %u: %llu open files are allowed "
			 "(ulimit -n, or LimitNOFILE=)",
			 places, CLIENTS_MAX, (unsigned long long)r.rlim_cur);
	return places;
}

static struct shim *shim_alloc(struct ev_loop *loop, const struct shim_config *cfg)
{
	struct shim *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->loop = loop;
	s->proxy_port = cfg->proxy_port;
	s->trino_port = cfg->trino_port;
	s->trino_https_port = cfg->trino_https_port;
	s->feed_fd = cfg->feed_fd;
	s->listen_fd[0] = s->listen_fd[1] = -1;
	snprintf(s->worker_id, sizeof(s->worker_id), "%s", cfg->worker_id ? cfg->worker_id : "");
	snprintf(s->coordinator_id, sizeof(s->coordinator_id), "%s",
		 cfg->coordinator_id ? cfg->coordinator_id : "");
	for (size_t i = 0; i < ARRAY_SIZE(s->accept); i++)
		ev_init(&s->accept[i], on_accept);
	ev_timer_init(&s->accept_again, accept_again, 1., 0.);
	s->accept_again.data = s;
	probe_init(s);
	return s;
}

int shim_new(struct shim **out, struct ev_loop *loop, const struct shim_config *cfg)
{
	struct shim *s = shim_alloc(loop, cfg);
	if (!s)
		return -ENOMEM;
	s->places = raise_descriptors();
	int rc = open_listeners(s);
	if (rc == 0 && !feed_open(s))
		rc = -EBADF;
	if (rc < 0) {
		s->feed_fd = -1; /* the caller's still */
		shim_free(s);
		return rc;
	}
	target_update(s);
	listen_on(s);
	log_info("the shim listens on 127.0.0.1:%u%s, Trino is expected on port %u", s->proxy_port,
		 s->listen_fd[1] >= 0 ? " and ::1" : "", s->trino_port);
	*out = s;
	return 0;
}

void shim_free(struct shim *s)
{
	if (!s)
		return;
	listen_pause(s);
	while (s->conns)
		conn_free(s->conns);
	listen_pause(s); /* a client that goes lets others in */
	ev_timer_stop(s->loop, &s->accept_again);
	probe_stop(s);
	feed_close(s);
	for (size_t i = 0; i < ARRAY_SIZE(s->listen_fd); i++)
		if (s->listen_fd[i] >= 0)
			close(s->listen_fd[i]);
	roster_free(&s->roster);
	free(s);
}
