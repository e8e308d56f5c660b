/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table, one row per lease. The write-ahead log with synchronous=FULL makes each commit durable
 * before it is answered; locking_mode=EXCLUSIVE keeps a second rendezvous off the same file (and its
 * lock dies with the process, so nothing has to be cleaned after a SIGKILL).
 */
#include "punch/lease_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

enum { SCHEMA_VERSION = 1 };

struct lease_store {
	sqlite3 *db;
	sqlite3_stmt *begin, *put, *del, *commit, *rollback;
	bool open;  /* a transaction is */
	bool begun; /* there was none before this start */
	size_t left_out;
};

/* What SQLite's Unix files need, and the channel. Where they may be, the sandbox says. */
const struct syscall_rule lease_store_syscalls[] = {
	CALL_IF(openat, ARG_IS(0, AT_FDCWD)),
	CALL(pread64),
	CALL(pwrite64),
	CALL(lseek),
	CALL(_llseek),
	CALL(fsync),
	CALL(fdatasync),
	CALL(ftruncate),
	CALL(ftruncate64),
	CALL(fallocate),
	CALL_IF(fcntl, ARG_IS(1, F_SETLK)),
	CALL_IF(fcntl, ARG_IS(1, F_GETLK)),
	CALL_IF(fcntl, ARG_IS(1, F_SETFD)),
	CALL_IF(fcntl, ARG_IS(1, F_GETFD)),
	CALL_IF(fcntl64, ARG_IS(1, F_SETLK)),
	CALL_IF(fcntl64, ARG_IS(1, F_GETLK)),
	CALL(stat),
	CALL(lstat),
	CALL(newfstatat),
	CALL(fstatat64),
	CALL(access),
	CALL(faccessat),
	CALL(faccessat2),
	CALL(readlink),
	CALL(readlinkat),
	CALL(getcwd),
	CALL(unlink),
	CALL_IF(unlinkat, ARG_IS(0, AT_FDCWD)),
	CALL(fchmod),
	CALL(fchown),
	CALL(geteuid),
	CALL(recvfrom),
	CALL(sendto),
	CALLS_END,
};

/* --- errors --- */

static int to_errno(struct lease_store *s, int rc)
{
	int primary = rc & 0xff;
	if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW)
		return 0;
	if (primary == SQLITE_FULL ||
	    (primary == SQLITE_IOERR && sqlite3_system_errno(s->db) == ENOSPC))
		return -ENOSPC;
	return -EIO;
}

/* What went wrong with the file, and what to do about it. */
static void explain(sqlite3 *db, int rc, const char *path, char *err, size_t cap)
{
	int sys = db ? sqlite3_system_errno(db) : 0;
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		snprintf(err, cap,
			 "%s is in use by another rendezvous: stop it, or use another "
			 "--state",
			 path);
		break;
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
		snprintf(err, cap,
			 "%s is damaged or no lease database: move it away, and members "
			 "keep their addresses as long as they run",
			 path);
		break;
	case SQLITE_FULL:
		snprintf(err, cap, "%s cannot be written, the disk is full: free some space", path);
		break;
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		snprintf(err, cap, "%s cannot be written: give the rendezvous a writable --state",
			 path);
		break;
	default:
		snprintf(err, cap, "%s: %s%s%s", path, sqlite3_errstr(rc), sys ? ", " : "",
			 sys ? strerror(sys) : "");
	}
}

/* --- opening --- */

/* Made by us before SQLite does, for the mode; its log and index files copy the mode. */
static int make_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
	if (fd < 0)
		return -errno;
	int rc = fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ? -EINVAL : 0;
	if (rc == 0 && (st.st_mode & 077) && fchmod(fd, 0600) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static int query_int(sqlite3 *db, const char *sql, int *out)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		*out = sqlite3_column_int(st, 0);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(st);
	return rc;
}

static const char schema[] = "CREATE TABLE lease ("
			     " number INTEGER PRIMARY KEY,"
			     " id TEXT NOT NULL UNIQUE,"
			     " key BLOB NOT NULL,"
			     " granted INTEGER NOT NULL,"
			     " seen INTEGER NOT NULL);"
			     "PRAGMA user_version = 1;";

/* SQLITE_OK; SQLITE_MISMATCH: made by a newer release, *version says which. */
static int make_schema(sqlite3 *db, int *version)
{
	int rc = exec(db, "BEGIN IMMEDIATE");
	if (rc == SQLITE_OK)
		rc = query_int(db, "PRAGMA user_version", version);
	if (rc == SQLITE_OK && *version == 0)
		rc = exec(db, schema);
	else if (rc == SQLITE_OK && *version != SCHEMA_VERSION)
		rc = SQLITE_MISMATCH;
	if (rc == SQLITE_OK)
		rc = exec(db, "COMMIT");
	return rc;
}

static int check_whole(sqlite3 *db)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		const unsigned char *text = sqlite3_column_text(st, 0);
		rc = text && strcmp((const char *)text, "ok") == 0 ? SQLITE_OK : SQLITE_CORRUPT;
	}
	sqlite3_finalize(st);
	return rc;
}

static int configure(sqlite3 *db, int *version)
{
	int rc = exec(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF;");
	if (rc == SQLITE_OK)
		rc = exec(db, "PRAGMA journal_mode = WAL");
	if (rc == SQLITE_OK)
		rc = exec(db, "PRAGMA synchronous = FULL");
	if (rc == SQLITE_OK)
		rc = make_schema(db, version);
	return rc == SQLITE_OK ? check_whole(db) : rc;
}

static int prepare(struct lease_store *s)
{
	const struct {
		sqlite3_stmt **st;
		const char *sql;
	} all[] = {
		{ &s->begin, "BEGIN IMMEDIATE" },
		{ &s->put, "INSERT OR REPLACE INTO lease (number, id, key, granted, seen)"
			   " VALUES (?1, ?2, ?3, ?4, ?5)" },
		{ &s->del, "DELETE FROM lease WHERE number = ?1" },
		{ &s->commit, "COMMIT" },
		{ &s->rollback, "ROLLBACK" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		int rc = sqlite3_prepare_v3(s->db, all[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
					    all[i].st, NULL);
		if (rc != SQLITE_OK)
			return rc;
	}
	return SQLITE_OK;
}

static int open_database(struct lease_store *s, const char *path, char *err, size_t cap)
{
	int version = 0;
	int rc = make_file(path);
	if (rc < 0) {
		snprintf(err, cap, "%s: %s: give the rendezvous a writable --state", path,
			 strerror(-rc));
		return rc;
	}
	rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK)
		rc = configure(s->db, &version);
	s->begun = rc == SQLITE_OK && version == 0;
	if (rc == SQLITE_OK)
		rc = prepare(s);
	if (rc == SQLITE_MISMATCH)
		snprintf(err, cap,
			 "%s was written by a newer release (schema %d; this one knows %d): update "
			 "warren",
			 path, version, SCHEMA_VERSION);
	else if (rc != SQLITE_OK)
		explain(s->db, rc, path, err, cap);
	return rc == SQLITE_OK ? 0 : -EIO;
}

struct lease_store *lease_store_open(const char *path, char *err, size_t cap)
{
	struct lease_store *s = calloc(1, sizeof(*s));
	if (!s) {
		snprintf(err, cap, "no memory for the lease store");
		return NULL;
	}
	if (open_database(s, path, err, cap) < 0) {
		lease_store_close(s);
		return NULL;
	}
	return s;
}

void lease_store_close(struct lease_store *s)
{
	if (!s)
		return;
	sqlite3_finalize(s->begin);
	sqlite3_finalize(s->put);
	sqlite3_finalize(s->del);
	sqlite3_finalize(s->commit);
	sqlite3_finalize(s->rollback);
	sqlite3_close(s->db);
	free(s);
}

/* --- rows --- */

static bool row_number(sqlite3_stmt *st, struct lease_record *rec)
{
	sqlite3_int64 n = sqlite3_column_int64(st, 0);
	rec->number = n > 0 && n < UINT32_MAX ? (member_number)n : 0;
	return rec->number;
}

/* The type comes first: asking for a column's text turns what it holds into text. */
static bool row_id(sqlite3_stmt *st, struct lease_record *rec)
{
	if (sqlite3_column_type(st, 1) != SQLITE_TEXT)
		return false;
	const unsigned char *text = sqlite3_column_text(st, 1);
	size_t len = (size_t)sqlite3_column_bytes(st, 1);
	if (!text || len >= sizeof(rec->id))
		return false;
	memcpy(rec->id, text, len);
	rec->id[len] = 0;
	return strlen(rec->id) == len && worker_id_valid(rec->id);
}

static bool row_key(sqlite3_stmt *st, struct lease_record *rec)
{
	if (sqlite3_column_type(st, 2) != SQLITE_BLOB)
		return false;
	const void *key = sqlite3_column_blob(st, 2);
	if (!key || sqlite3_column_bytes(st, 2) != 32)
		return false;
	memcpy(rec->key, key, 32);
	return !sodium_is_zero(rec->key, 32);
}

static bool row_times(sqlite3_stmt *st, struct lease_record *rec)
{
	if (sqlite3_column_type(st, 3) != SQLITE_INTEGER ||
	    sqlite3_column_type(st, 4) != SQLITE_INTEGER)
		return false;
	rec->granted = sqlite3_column_int64(st, 3);
	rec->seen = sqlite3_column_int64(st, 4);
	return rec->granted >= 0 && rec->seen >= 0;
}

static bool row_read(sqlite3_stmt *st, struct lease_record *rec)
{
	memset(rec, 0, sizeof(*rec));
	return row_number(st, rec) && row_id(st, rec) && row_key(st, rec) && row_times(st, rec);
}

int lease_store_each(struct lease_store *s, int (*each)(void *ctx, const struct lease_record *rec),
		     void *ctx)
{
	sqlite3_stmt *st = NULL;
	struct lease_record rec;
	int rc = sqlite3_prepare_v2(s->db,
				    "SELECT number, id, key, granted, seen FROM lease"
				    " ORDER BY number",
				    -1, &st, NULL);
	int stop = 0;
	s->left_out = 0;
	while (rc == SQLITE_OK && !stop) {
		int step = sqlite3_step(st);
		if (step != SQLITE_ROW) {
			rc = step;
			break;
		}
		if (row_read(st, &rec)) {
			stop = each(ctx, &rec);
			continue;
		}
		s->left_out++;
		log_warn("the lease of number %lld is damaged and is left out",
			 (long long)sqlite3_column_int64(st, 0));
	}
	sqlite3_finalize(st);
	return stop || rc == SQLITE_DONE ? 0 : -EIO;
}

bool lease_store_begun(const struct lease_store *s)
{
	return s->begun;
}

size_t lease_store_left_out(const struct lease_store *s)
{
	return s->left_out;
}

bool lease_store_moved(struct lease_store *s)
{
	int moved = 0;
	return sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
	       moved;
}

/* --- writing --- */

static int step_once(sqlite3_stmt *st)
{
	sqlite3_step(st);
	return sqlite3_reset(st); /* the same code, with the extended part */
}

/* An error may have rolled all back already; then there is nothing to undo. */
static void undo(struct lease_store *s)
{
	if (!sqlite3_get_autocommit(s->db))
		step_once(s->rollback);
	s->open = false;
}

static int begin(struct lease_store *s)
{
	if (s->open)
		return 0;
	int rc = step_once(s->begin);
	s->open = rc == SQLITE_OK;
	return to_errno(s, rc);
}

int lease_store_put(struct lease_store *s, const struct lease_record *rec)
{
	int rc = begin(s);
	if (rc < 0)
		return rc;
	sqlite3_bind_int64(s->put, 1, rec->number);
	sqlite3_bind_text(s->put, 2, rec->id, -1, SQLITE_STATIC);
	sqlite3_bind_blob(s->put, 3, rec->key, 32, SQLITE_STATIC);
	sqlite3_bind_int64(s->put, 4, rec->granted);
	sqlite3_bind_int64(s->put, 5, rec->seen);
	rc = to_errno(s, step_once(s->put));
	sqlite3_clear_bindings(s->put);
	if (rc < 0)
		undo(s);
	return rc;
}

int lease_store_delete(struct lease_store *s, member_number number)
{
	int rc = begin(s);
	if (rc < 0)
		return rc;
	sqlite3_bind_int64(s->del, 1, number);
	rc = to_errno(s, step_once(s->del));
	if (rc < 0)
		undo(s);
	return rc;
}

int lease_store_commit(struct lease_store *s)
{
	if (!s->open)
		return 0;
	int rc = to_errno(s, step_once(s->commit));
	if (rc < 0)
		undo(s);
	s->open = false;
	return rc;
}
