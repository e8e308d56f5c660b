/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's loop in the helper process. A batch is whatever has arrived, for 10 ms at most; it is
 * one transaction, since what a commit costs is the flush of the disk. When a batch fails, its
 * requests are tried one by one, so that exactly those that cannot be kept are reported.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "base/log.h"
#include "punch/lease_store.h"

enum { BATCH = 256, BATCH_MSEC = 10, LOG_TICK_MSEC = 1000 };

static int send_reply(int fd, const struct store_reply *r)
{
	ssize_t n;
	do
		n = send(fd, r, sizeof(*r), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*r) ? 0 : -EPIPE;
}

static int reply(int fd, enum store_kind kind, uint64_t seq, const struct lease_record *rec)
{
	struct store_reply r;
	memset(&r, 0, sizeof(r)); /* padding too: nothing of this process leaks */
	r.kind = kind;
	r.seq = seq;
	if (rec)
		r.record = *rec;
	return send_reply(fd, &r);
}

static int64_t msec_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* 1: a request; 0: none within the time; -EPIPE: the other end is closed. */
static int next_request(int fd, int timeout, struct store_request *rq)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n;
	int ready;
	do
		ready = poll(&p, 1, timeout);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return ready < 0 ? -EPIPE : 0;
	do
		n = recv(fd, rq, sizeof(*rq), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n != (ssize_t)sizeof(*rq))
		return -EPIPE; /* closed, or not a peer of this release: no way to go on */
	return 1;
}

static int apply(struct lease_store *s, const struct store_request *rq)
{
	switch (rq->kind) {
	case STORE_PUT:
		/* never a row that could not be read back */
		if (!rq->record.number || !memchr(rq->record.id, 0, sizeof(rq->record.id)) ||
		    !worker_id_valid(rq->record.id))
			return -EIO;
		return lease_store_put(s, &rq->record);
	case STORE_DELETE:
		return lease_store_delete(s, rq->record.number);
	default:
		return -EIO;
	}
}

static int apply_all(struct lease_store *s, const struct store_request *rq, size_t n)
{
	int rc = 0;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = apply(s, &rq[i]);
	int committed = lease_store_commit(s);
	return rc ? rc : committed;
}

/* Members ask again every few seconds: while a disk is full, one line of it is enough. */
static void log_failure(const struct store_request *rq, int rc)
{
	log_seldom(LOG_LEVEL_ERROR, LOG_EVERY, "the lease of %s (number %u) cannot be kept: %s",
		   memchr(rq->record.id, 0, sizeof(rq->record.id)) ? rq->record.id : "?",
		   rq->record.number, rc == -ENOSPC ? "the disk is full" : "the database failed");
}

/* 0 or -EPIPE. */
static int apply_singly(struct lease_store *s, int fd, const struct store_request *rq, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int rc = apply_all(s, &rq[i], 1);
		if (rc < 0)
			log_failure(&rq[i], rc);
		if (reply(fd, rc < 0 ? STORE_FAILED : STORE_DONE, rq[i].seq, NULL) < 0)
			return -EPIPE;
	}
	return 0;
}

/* Fills the batch; how many, or -EPIPE once the other end is closed and nothing is left. */
static int collect(int fd, struct store_request *rq)
{
	int wait = log_deadline() == NSEC_NEVER ? -1 : LOG_TICK_MSEC;
	int n = 0, rc = next_request(fd, wait, &rq[0]);
	if (rc < 0)
		return rc;
	int64_t until = msec_now() + BATCH_MSEC;
	for (n = rc; n && n < BATCH && msec_now() < until; n++)
		if (next_request(fd, 0, &rq[n]) <= 0)
			break;
	return n;
}

struct loading {
	int fd, rc;
};

static int send_row(void *ctx, const struct lease_record *rec)
{
	struct loading *l = ctx;
	l->rc = reply(l->fd, STORE_LOADED, 0, rec);
	return l->rc;
}

static int ready(const struct lease_store *s, int fd)
{
	struct store_reply r;
	memset(&r, 0, sizeof(r));
	r.kind = STORE_READY;
	r.begun = lease_store_begun(s);
	r.left_out = lease_store_left_out(s) > 0;
	return send_reply(fd, &r);
}

int lease_store_serve(struct lease_store *s, int fd)
{
	static struct store_request batch[BATCH];
	struct loading l = { .fd = fd };
	int rc = lease_store_each(s, send_row, &l);
	if (rc < 0 || l.rc < 0)
		return rc < 0 ? rc : l.rc;
	if (ready(s, fd) < 0)
		return -EPIPE;
	for (;;) {
		int n = collect(fd, batch);
		log_tick();
		if (n < 0)
			return 0; /* closed */
		if (n == 0)
			continue;
		if (lease_store_moved(s)) {
			log_warn("the database of leases was removed or replaced by another "
				 "program: it is written anew");
			return -ESTALE;
		}
		if (apply_all(s, batch, (size_t)n) == 0)
			rc = reply(fd, STORE_DONE, batch[n - 1].seq, NULL);
		else
			rc = apply_singly(s, fd, batch, (size_t)n);
		if (rc < 0)
			return 0;
	}
}
