/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease database, kept in memory (the linker puts the test's own sqlite3_open_v2 before the library's).
 * Rows of any values, of any type; files that are damaged anywhere; and, to the process that serves
 * the store, requests of any bytes. What is read is a lease that can be, and what was promised as kept is there.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "fuzz_lease_memory.h"
#include "punch/lease_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS_MAX = 16, REQUESTS_MAX = 16, DAMAGE_MAX = 16 };

static sqlite3 *db; /* of the store that is open */
static struct lease_store *store;
static char path[] = "/tmp/warren-fuzz-lease-XXXXXX"; /* an empty file: its mode is looked at */

/* Before the store reads it. */
static void (*prepare)(struct rd *r);
static struct rd *input;

static void must(bool ok)
{
	if (!ok)
		abort();
}

int __real_sqlite3_open_v2(const char *name, sqlite3 **out, int flags, const char *vfs);
int __wrap_sqlite3_open_v2(const char *name, sqlite3 **out, int flags, const char *vfs);

int __wrap_sqlite3_open_v2(const char *name, sqlite3 **out, int flags, const char *vfs)
{
	(void)name;
	int rc = __real_sqlite3_open_v2(":memory:", out, flags, vfs);
	db = *out;
	if (rc == SQLITE_OK && prepare)
		prepare(input);
	return rc;
}

static void remove_file(void)
{
	unlink(path);
}

static void once(void)
{
	int fd = mkstemp(path);
	lease_memory_once();
	must(fd >= 0);
	close(fd);
	atexit(remove_file);
	log_init("fuzz", NULL, (enum log_level)(LOG_LEVEL_ERROR + 1),
		 LOG_FORMAT_TEXT); /* it fails so often */
}

static struct lease_store *open_store(char err[static 300])
{
	return lease_store_open(path, err, 300);
}

/* --- rows --- */

struct found {
	size_t n;
	struct lease_record last;
};

static int see(void *ctx, const struct lease_record *rec)
{
	static const uint8_t zero[32];
	struct found *f = ctx;
	must(rec->number && memchr(rec->id, 0, sizeof(rec->id)) && worker_id_valid(rec->id));
	must(memcmp(rec->key, zero, 32) != 0 && rec->granted >= 0 && rec->seen >= 0);
	must(!f->n || f->last.number < rec->number);
	f->last = *rec;
	f->n++;
	return 0;
}

static void bind_any(sqlite3_stmt *st, int column, struct rd *r)
{
	static const char *const texts[] = { "w1", "", "-", "w 1", "0" };
	uint8_t kind = rd_u8(r);
	size_t len = kind >> 3;
	const uint8_t *p;

	switch (kind & 7) {
	case 0:
		sqlite3_bind_null(st, column);
		return;
	case 1:
		sqlite3_bind_int64(st, column, (int64_t)rd_be64(r));
		return;
	case 2:
		sqlite3_bind_int64(st, column, rd_u8(r));
		return;
	case 3:
		sqlite3_bind_double(st, column, (double)rd_be32(r) / 3);
		return;
	case 4:
		sqlite3_bind_text(st, column, texts[len % ARRAY_SIZE(texts)], -1, SQLITE_STATIC);
		return;
	case 5:
		sqlite3_bind_zeroblob(st, column, (int)len * 2);
		return;
	default:
		break;
	}
	len = size_min(kind & 0x80 ? rd_u8(r) : 32, r->left);
	p = rd_take(r, len);
	if (kind & 1)
		sqlite3_bind_blob(st, column, p, p ? (int)len : 0, SQLITE_TRANSIENT);
	else
		sqlite3_bind_text(st, column, p ? (const char *)p : "", p ? (int)len : 0,
				  SQLITE_TRANSIENT);
}

static void rows(struct rd *r)
{
	sqlite3_stmt *st = NULL;
	struct found f = { 0 };
	char err[300];

	store = open_store(err);
	must(store &&
	     sqlite3_prepare_v2(db, "INSERT OR IGNORE INTO lease VALUES (?1, ?2, ?3, ?4, ?5)", -1,
				&st, NULL) == SQLITE_OK);
	for (unsigned i = 0; i < ROWS_MAX && r->left; i++) {
		for (int column = 1; column <= 5; column++)
			bind_any(st, column, r);
		(void)sqlite3_step(st); /* some the table itself refuses */
		sqlite3_reset(st);
	}
	sqlite3_finalize(st);
	must(lease_store_each(store, see, &f) == 0);
	lease_store_close(store);
}

/* --- requests --- */

struct wire {
	struct lease_record want[REQUESTS_MAX]; /* what was asked for last, by number */
	size_t n;
};

static void want(struct wire *w, const struct store_request *q)
{
	size_t i = 0;
	while (i < w->n && w->want[i].number != q->record.number)
		i++;
	if (i < w->n)
		w->want[i] = w->want[--w->n];
	for (i = 0; q->kind == STORE_PUT && i < w->n;)
		if (strcmp(w->want[i].id, q->record.id) == 0)
			w->want[i] =
				w->want[--w->n]; /* the id is unique: the new one takes its place */
		else
			i++;
	if (q->kind == STORE_PUT)
		w->want[w->n++] = q->record;
}

static bool may_be(const struct store_request *q)
{
	return q->kind == STORE_DELETE ||
	       (q->kind == STORE_PUT && q->record.number &&
		memchr(q->record.id, 0, sizeof(q->record.id)) && worker_id_valid(q->record.id));
}

static struct store_request request(struct rd *r, uint64_t seq)
{
	struct store_request q;
	uint8_t how = rd_u8(r);

	memset(&q, 0, sizeof(q));
	q.kind = how & 1 ? STORE_DELETE : STORE_PUT;
	q.seq = seq;
	q.record.number = how >> 4;
	q.record.key[0] = 1;
	memcpy(q.record.id, how & 2 ? "w1" : "c-1", 3);
	if (how & 4)
		q.record.id[rd_u8(r) % sizeof(q.record.id)] = (char)rd_u8(r);
	if (how & 8) { /* nothing is as it should be */
		rd_bytes(r, &q, size_min(sizeof(q), r->left));
		q.seq = seq;
	}
	return q;
}

static int count_row(void *ctx, const struct lease_record *rec)
{
	const struct wire *w = ctx;
	size_t i = 0;
	while (i < w->n && w->want[i].number != rec->number)
		i++;
	must(i < w->n && strcmp(w->want[i].id, rec->id) == 0);
	return 0;
}

/* Each request has its answer: those that can be kept are, and no other. */
static void check_replies(int fd, const struct store_request *q, size_t n)
{
	struct store_reply a;
	uint64_t done = 0;
	bool failed[REQUESTS_MAX + 1] = { false };

	while (recv(fd, &a, sizeof(a), MSG_DONTWAIT) == (ssize_t)sizeof(a)) {
		must(a.kind == STORE_READY || a.kind == STORE_DONE || a.kind == STORE_FAILED);
		if (a.kind == STORE_READY)
			continue;
		must(a.seq > done && a.seq <= n);
		done = a.seq;
		failed[a.seq] = a.kind == STORE_FAILED;
	}
	must(done == n);
	for (size_t i = 0; i < n; i++)
		must(failed[i + 1] == !may_be(&q[i]));
}

static void requests(struct rd *r)
{
	static struct store_request q[REQUESTS_MAX];
	struct wire w = { .n = 0 };
	size_t n = 0;
	char err[300];
	int fds[2];

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds) == 0);
	for (; n < REQUESTS_MAX && r->left; n++) {
		q[n] = request(r, n + 1);
		must(send(fds[0], &q[n], sizeof(q[n]), MSG_NOSIGNAL) == (ssize_t)sizeof(q[n]));
		if (may_be(&q[n]))
			want(&w, &q[n]);
	}
	must(shutdown(fds[0], SHUT_WR) == 0);
	store = open_store(err);
	must(store && lease_store_serve(store, fds[1]) == 0);
	check_replies(fds[0], q, n);
	must(lease_store_each(store, count_row, &w) == 0);
	lease_store_close(store);
	close(fds[0]);
	close(fds[1]);
}

/* --- files --- */

static unsigned char *whole; /* a database of two leases */
static sqlite3_int64 whole_len;

static void make_whole(void)
{
	struct lease_record rec = {
		.number = 1, .id = "w1", .key = { 1 }, .granted = 5, .seen = 6
	};
	char err[300];

	store = open_store(err);
	must(store && lease_store_put(store, &rec) == 0);
	rec.number = 2;
	memcpy(rec.id, "w2", 3);
	must(lease_store_put(store, &rec) == 0 && lease_store_commit(store) == 0);
	unsigned char *image = sqlite3_serialize(db, "main", &whole_len, 0);
	must(image && (whole = malloc((size_t)whole_len)));
	memcpy(whole, image, (size_t)whole_len);
	sqlite3_free(image);
	lease_store_close(store);
}

static void damage(struct rd *r)
{
	sqlite3_int64 len = rd_u8(r) & 1 ? rd_be16(r) % (whole_len + 1) : whole_len;
	unsigned char *copy = sqlite3_malloc64((sqlite3_uint64)whole_len + 1);
	must(copy != NULL);
	memcpy(copy, whole, (size_t)whole_len);
	for (unsigned i = 0; i < DAMAGE_MAX && r->left; i++) {
		uint16_t at = rd_be16(r);
		copy[at % whole_len] = rd_u8(r);
	}
	must(sqlite3_deserialize(db, "main", copy, len, whole_len,
				 SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE) ==
	     SQLITE_OK);
}

static void file(struct rd *r)
{
	struct lease_record rec = { .number = 3, .id = "w3", .key = { 3 } };
	struct found f = { 0 };
	char err[300] = "";

	if (!whole)
		make_whole();
	prepare = damage;
	input = r;
	store = open_store(err);
	prepare = NULL;
	must(store || (err[0] && memchr(err, 0, sizeof(err))));
	if (!store)
		return;
	int rc = lease_store_each(store, see, &f);
	must(rc == 0 || rc == -EIO);
	rc = lease_store_put(store, &rec);
	must(rc == 0 || rc == -EIO || rc == -ENOSPC);
	if (rc == 0)
		(void)lease_store_commit(store);
	lease_store_close(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(struct rd *) = { rows, requests, file };
	struct rd r = rd_of(data, size_min(size, 4096));
	static bool begun;

	if (!begun)
		once();
	begun = true;
	kinds[rd_u8(&r) % ARRAY_SIZE(kinds)](&r);
	lease_memory_end();
	return 0;
}
