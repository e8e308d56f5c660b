/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the shim share. One thread, one loop, no call that waits.
 *
 * A client connection (struct conn) is a state machine; it owns at most one connection upstream.
 * Every event fills a buffer or notes an end, then calls conn_run(), which does all that can be done
 * and, last, sets the watchers to exactly what it waits for: a descriptor that is ready but unwanted
 * never wakes us. Nothing is freed but at the end of conn_run().
 */
#ifndef WARREN_SHIM_IMPL_H
#define WARREN_SHIM_IMPL_H

#include "base/log.h"
#include "discovery/buf.h"
#include "discovery/http_head.h"
#include "discovery/policy.h"
#include "discovery/roster.h"
#include "discovery/shim.h"

#include <ev.h>

enum {
	CLIENTS_MAX = 1024,
	BIG_HEADS_MAX = 32, /* clients whose heads may be larger than a stream buffer at once */
	LINGER_BYTES = 64 * 1024 * 1024,
};

/* Seconds. */
#define HEAD_SECONDS 10.0	   /* for a head to arrive */
#define IDLE_SECONDS 200.0	   /* between two requests: Trino's own limit */
#define UPSTREAM_IDLE_SECONDS 60.0 /* well below that: we close first, no request meets a close */
#define CONNECT_SECONDS 2.5
#define HOLD_SECONDS 1.0    /* for Trino to say its address */
#define STATUS_SECONDS 2.0  /* for the gateway's status */
#define BODY_SECONDS 120.0  /* for a client to send more of its body */
#define QUIET_SECONDS 900.0 /* an exchange without a byte: longer than any long poll */
#define ANSWER_SECONDS 60.0
#define LINGER_SECONDS 2.0

/* Of what every client can bring about, one line in so long. */
#define SELDOM (60 * NSEC_PER_SEC)

/* Bytes that several connections may be sending; made once, freed by the last. */
struct blob {
	unsigned refs;
	size_t len;
	char *p;
};

/* Where a connection may lead. The local Trino has two addresses, tried in this order. */
struct dest {
	enum route route;
	bool local; /* our own Trino, whichever route leads to it */
	struct endpoint ep[2];
	unsigned count;
	char id[NAME_SIZE]; /* of the member */
};

enum up_state { UP_NONE, UP_CONNECTING, UP_READY };

struct upstream {
	enum up_state state;
	int fd;
	ev_io rd, wr;
	struct dest dest;
	unsigned trying; /* dest.ep[trying] */
	int error;	 /* errno of the last try */
	struct buf in;
	size_t ok; /* so many bytes of `in` are body and may leave */
	struct head_scan scan;
	struct http_body body;
	bool head_done; /* the final head; 1xx do not count */
	bool keep, eof, broken;
	bool deaf; /* it takes no more of the request, but may still answer */
};

enum phase {
	PHASE_HEAD,	/* a request head is awaited or arriving; an idle upstream may be kept */
	PHASE_HOLD,	/* an announcement or a splice waits for Trino to say its address */
	PHASE_STATUS,	/* waits for the gateway's status */
	PHASE_CONNECT,	/* the request head is in `to_up`; upstream is connecting */
	PHASE_EXCHANGE, /* request body up, response down, both at once */
	PHASE_SPLICE,	/* bytes both ways, unread */
	PHASE_ANSWER,	/* our own answer is leaving */
	PHASE_LINGER,	/* sent all, write side shut: reads until the client has seen it */
	PHASE_DEAD,
};

enum raw { RAW_NONE, RAW_H2C, RAW_TLS };

struct conn {
	struct shim *s;
	struct conn *prev, *next;
	enum phase phase;
	enum raw raw;
	int fd;
	ev_io rd, wr;
	ev_timer timer;
	struct buf in; /* from the client */
	size_t ok;     /* so many bytes of `in` are request body and may leave */
	struct head_scan scan;
	struct http_body body;
	struct buf to_up;     /* the request head, as upstream gets it */
	struct buf to_client; /* response heads, as the client gets them */
	struct blob *blob;    /* body of our own answer */
	size_t blob_at;
	struct decision d;
	unsigned method;
	unsigned requests;
	bool http10, close, eof, broken, answered, big, hold_over, wake;
	bool eof_passed, up_eof_passed; /* PHASE_SPLICE */
	size_t lingered;
	struct upstream up;
};

enum { WAIT_TRINO_NEVER_UP = 1, WAIT_TRINO = 5 };

/* What is known of the local Trino (probe.c). */
struct trino {
	bool up, ever_up;
	bool has_status; /* the last answer to /v1/status told an address */
	nsec asked_at;	 /* when that answer came */
	char address[NAME_SIZE];
	char environment[NAME_SIZE], version[NAME_SIZE];
	bool coordinator;
	struct endpoint at; /* where it answered */
};

struct probe {
	struct trino trino;
	unsigned misses;
	/* the question on its way, if fd >= 0 */
	int fd;
	unsigned step, trying;
	struct dest dest;
	ev_io io;
	ev_timer timeout, next;
	struct probe_reply *reply; /* while a question is on its way */
};

struct counters {
	uint64_t requests[ROUTE_COUNT][6]; /* by class of status; 0: none was sent */
	uint64_t connections, refused_heads, splices, splices_closed, held_back;
	uint64_t bytes_up, bytes_down;
};

/* The coordinator as last resolved; a change of it closes what leads to the old one. */
struct target {
	bool known, local, offline;
	char id[NAME_SIZE];
	struct addr ip;
	uint16_t http, https;
};

struct feed {
	bool dead, wanted; /* wanted: the gateway was asked for its status */
	ev_io rd, wr;
	struct buf in, out;
	size_t scanned;
	char *told; /* the facts last sent */
};

/* What the gateway said of itself when it was asked last. */
struct gateway_facts {
	bool known;
	double cpu_seconds, cpu_share;
};

struct shim {
	struct ev_loop *loop;
	uint16_t proxy_port, trino_port, trino_https_port;
	char worker_id[NAME_SIZE], coordinator_id[NAME_SIZE];
	int feed_fd;
	struct feed feed;
	struct gateway_facts gateway;
	int listen_fd[2]; /* IPv4, IPv6 */
	ev_io accept[2];
	ev_timer accept_again;
	bool accepting;
	struct conn *conns;
	unsigned clients, big_heads;
	unsigned places; /* for clients, at most CLIENTS_MAX */
	struct roster roster;
	struct target target;
	char target_why[WHY_SIZE];
	struct probe probe;
	struct counters count;
};

/* shim.c */
nsec shim_now(void);
void shim_client_gone(struct shim *s);
void shim_trino_told(struct shim *s); /* Trino said its address, or did not answer */
void shim_each(struct shim *s, void (*fn)(struct conn *c, void *arg), void *arg);
bool shim_fd_prepare(int fd); /* nonblocking, close-on-exec, no delay, keepalive */

/* feed.c */
bool feed_open(struct shim *s);
void feed_close(struct shim *s);
void feed_want_status(struct shim *s);
void feed_tell_trino(struct shim *s);

/* dest.c: the coordinator of the moment, and the ways to it */
void target_update(struct shim *s);
/* False: `why` says what is wrong. */
bool dest_of(const struct shim *s, enum route route, enum raw raw, struct dest *out,
	     char why[static WHY_SIZE]);
void dest_local(const struct shim *s, uint16_t port, struct dest *out);

/* guard.c */
enum verdict { GUARD_PASS, GUARD_ASK, GUARD_WRONG, GUARD_NO_TRINO };
enum verdict guard_verdict(const struct shim *s, bool asked);
void guard_text(const struct shim *s, char out[static WHY_SIZE]);

/* conn.c */
void conn_new(struct shim *s, int fd);
void conn_free(struct conn *c);
void conn_run(struct conn *c);
void conn_deadline(struct conn *c, double seconds);
void conn_kill(struct conn *c);	 /* closed at the end of conn_run() */
void conn_reset(struct conn *c); /* the same with RST: what was sent must not look whole */
void conn_idle(struct conn *c);
void conn_no_longer_big(struct conn *c);
size_t conn_head_limit(struct conn *c, const struct buf *b);
void conn_unhold(struct conn *c, void *arg);
void conn_count(struct conn *c, unsigned status);

/* request.c: PHASE_HEAD and where it leads */
bool request_step(struct conn *c);
bool request_hold_step(struct conn *c);
void request_forward(struct conn *c);
void request_failed(struct conn *c); /* nothing upstream could be reached */

/* upstream.c */
void upstream_init(struct conn *c);
void upstream_open(struct conn *c, const struct dest *d);
void upstream_close(struct conn *c);
void upstream_rest(struct conn *c); /* the exchange is over; ready for the next */
bool upstream_fits(const struct upstream *u, const struct dest *d);
bool upstream_quiet(const struct upstream *u);
/* The coordinator changed: closes what leads to the old one, but for an exchange under way. */
void upstream_target_changed(struct conn *c, void *arg);
/* errno of the last try, in words */
const char *upstream_error(const struct upstream *u);

/* exchange.c, splice.c */
bool exchange_step(struct conn *c);
void exchange_timeout(struct conn *c);
bool splice_step(struct conn *c);

/* answers.c */
void answer_text(struct conn *c, unsigned status, const char *fmt, ...) PRINTF_LIKE(3, 4);
void answer_blob(struct conn *c, unsigned status, const char *type, struct blob *b);
void answer_own(struct conn *c);
void answer_starting(struct conn *c); /* /v1/info while Trino is down */
void answer_status(struct conn *c, void *arg);
void answer_without_status(struct conn *c, const char *why);
bool answer_step(struct conn *c);
bool linger_step(struct conn *c);
struct blob *blob_of(char *p, size_t len); /* takes `p`, of malloc */
void blob_drop(struct blob *b);

/* pages.c: text made from the state; NULL where there is no memory */
struct blob *page_people(const struct shim *s);
struct blob *page_metrics(const struct shim *s);
struct blob *page_listing(const struct shim *s);

/* probe.c */
void probe_init(struct shim *s);
void probe_stop(struct shim *s);
void probe_now(struct shim *s); /* asks at once, unless a question is on its way */

#endif
