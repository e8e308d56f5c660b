/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator asks of a rendezvous: tokens, a rotation, a member removed, a lease freed. The same
 * code answers over the control socket of one that runs, and in the command itself where none does.
 */
#ifndef WARREN_RDV_ADMIN_H
#define WARREN_RDV_ADMIN_H

#include "punch/registrar.h"

/* The leases: of the registrar, or of the database. */
struct rdv_leases {
	void *ctx;
	/* By id or, where that is NULL, by key. 0; -ENOENT; -EAGAIN: not known yet; -errno. */
	int (*find)(void *ctx, const char *id, const uint8_t *key, struct lease_record *out);
	/* This key is in the admission's list by now. 0 or -errno. */
	int (*remove)(void *ctx, const struct lease_record *rec);
	int (*forget)(void *ctx, const char *id); /* registrar_forget() */
};

struct rdv_admin {
	const char *dir; /* of the state */
	const uint8_t *secret;
	struct admission *admission;
	struct token *token; /* what `warren token` prints: for any id, without an end */
	struct rdv_leases leases;
	int64_t wall; /* seconds since 1970 */
};

/*
 * One line: "token EXPIRES [ID]" (seconds since 1970; 0: never), "rotate SECONDS", "remove ID",
 * "remove KEY" (base64), "forget ID". The answer (malloc; NULL without memory) begins with one of these.
 * Of "forget": PENDING with what to say once it is done; it is when NONE says that there is no lease.
 */
enum { ADMIN_DONE = '+', ADMIN_REFUSED = '-', ADMIN_PENDING = '~', ADMIN_NONE = '0' };
char *rdv_admin(struct rdv_admin *a, const char *line);

/* The secrets of a network follow from the rendezvous' private key: the registrar's, and the plain admission secret. */
void rdv_admin_secrets(const uint8_t private_key[static 32], uint8_t secret[static 32],
		       uint8_t plain[static 32]);
/*
 * DIR/lock, taken for as long as this descriptor is open: before anything in DIR is read, so that nobody else writes it
 * meanwhile. -EBUSY: another rendezvous, or a command, has it; -errno.
 */
int rdv_admin_lock(const char *dir);
/* DIR/admission. 0 where there is none either; -EBADMSG: damaged or of a newer release. */
int rdv_admin_load(struct admission *a, const char *dir);
/* 0 or -errno. */
int rdv_admin_save(const struct admission *a, const char *dir);
/* DIR/token, as it was written last. 0; -errno where it cannot be read; or the enum token_error. */
int rdv_admin_read_token(const char *dir, struct token *t);
/* DIR/token, from the token's base fields and the admission's epoch. 0; -EINVAL: a field is impossible. */
int rdv_admin_write_token(struct rdv_admin *a);

#endif
