/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases in SQLite (WAL, synchronous=FULL): a crash at any instruction loses none that was granted.
 * Blocks: it lives in the rendezvous' helper process alone.
 */
#ifndef WARREN_LEASE_STORE_H
#define WARREN_LEASE_STORE_H

#include "base/syscalls.h"
#include "punch/registrar.h"

struct lease_store;

/* Opens or makes the database, 0600. NULL with one sentence in `err`. */
struct lease_store *lease_store_open(const char *path, char *err, size_t cap);
void lease_store_close(struct lease_store *s);
/* Each row that is whole and valid; others are logged and left alone. 0 or -EIO. */
int lease_store_each(struct lease_store *s, int (*each)(void *ctx, const struct lease_record *rec),
		     void *ctx);
/* Had it to be made? And how many rows did lease_store_each() leave out? */
bool lease_store_begun(const struct lease_store *s);
size_t lease_store_left_out(const struct lease_store *s);
/* Is another file, or none, where it was opened? What is written now would be found by nobody. */
bool lease_store_moved(struct lease_store *s);
/* Within one transaction that lease_store_commit() ends. 0, or -ENOSPC, -EIO. */
int lease_store_put(struct lease_store *s, const struct lease_record *rec);
int lease_store_delete(struct lease_store *s, member_number number);
int lease_store_commit(struct lease_store *s);

/*
 * The helper's loop: requests from `fd` (SOCK_SEQPACKET, struct store_request), group commit of at
 * most 10 ms, replies (struct store_reply). First it sends every row as a reply of kind LOADED, then
 * READY. Returns 0 when the other end is closed; -ESTALE, with nothing of the batch committed, when the file
 * is not there any more.
 */
enum store_kind { STORE_PUT, STORE_DELETE, STORE_LOADED, STORE_READY, STORE_DONE, STORE_FAILED };

struct store_request {
	enum store_kind kind;
	uint64_t seq;
	struct lease_record record;
};

struct store_reply {
	enum store_kind kind;
	uint64_t seq; /* DONE: all up to it are committed */
	struct lease_record record;
	bool begun, left_out; /* READY: there was no database; there are rows that cannot be read */
};

int lease_store_serve(struct lease_store *s, int fd);

extern const struct syscall_rule lease_store_syscalls[]; /* lease_store_open() too */

#endif
