/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rdv_admin.h"
#include "gateway/file.h"
#include "gateway/state.h"
#include "gateway/wgconf.h"
#include "base/blake2s.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_MAX = TOKEN_TEXT_MAX + 8, FILE_MAX = 1 << 20, LOCK_TRIES = 200 };

/* --- files --- */

void rdv_admin_secrets(const uint8_t private_key[static 32], uint8_t secret[static 32],
		       uint8_t plain[static 32])
{
	const struct bytes_view none = { "", 0 };
	derive_key(private_key, "warren registrar", none, none, secret);
	derive_key(private_key, "warren admission", none, none, plain);
}

/* A rendezvous that was killed holds it until its last process is gone. */
static int await_lock(int fd)
{
	const struct timespec pause = { .tv_nsec = 10 * NSEC_PER_MSEC };

	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return -EBUSY;
}

int rdv_admin_lock(const char *dir)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/lock", dir);
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int err = await_lock(fd);
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

int rdv_admin_load(struct admission *a, const char *dir)
{
	char path[300];
	uint8_t *bytes = NULL;
	size_t len = 0;
	*a = (struct admission){ 0 };
	snprintf(path, sizeof(path), "%s/admission", dir);
	int err = file_load(path, FILE_MAX, &bytes, &len);
	if (err == -ENOENT)
		return 0; /* nothing was ever rotated, reserved or removed */
	if (err == 0)
		err = admission_decode(a, bytes, len);
	free(bytes);
	return err;
}

int rdv_admin_save(const struct admission *a, const char *dir)
{
	char path[300];
	size_t len = 0;
	uint8_t *bytes = admission_encode(a, &len);
	snprintf(path, sizeof(path), "%s/admission", dir);
	int err = bytes ? file_replace(path, bytes, len) : -ENOMEM;
	free(bytes);
	return err;
}

int rdv_admin_read_token(const char *dir, struct token *t)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/token", dir);
	char *text = file_read(path, TOKEN_TEXT_MAX);
	if (!text)
		return -errno;
	int err = (int)token_parse(text, t, NULL);
	sodium_memzero(text, strlen(text));
	free(text);
	return err;
}

int rdv_admin_write_token(struct rdv_admin *a)
{
	char text[TOKEN_TEXT_MAX + 1], path[300];
	admission_token(a->secret, a->admission, a->token);
	size_t n = token_write(a->token, text, TOKEN_TEXT_MAX);
	int err = -EINVAL;
	if (n) {
		size_t len = strlen(text);
		text[len] = '\n';
		snprintf(path, sizeof(path), "%s/token", a->dir);
		err = file_replace(path, text, len + 1);
	}
	sodium_memzero(text, sizeof(text));
	return err;
}

/* --- answers --- */

PRINTF_LIKE(2, 3) static char *answer(char kind, const char *fmt, ...)
{
	char *text = malloc(ANSWER_MAX);
	va_list ap;
	if (!text)
		return NULL;
	text[0] = kind;
	va_start(ap, fmt);
	vsnprintf(text + 1, ANSWER_MAX - 1, fmt, ap);
	va_end(ap);
	return text;
}

static char *cannot_write(const struct rdv_admin *a, int err)
{
	return answer(ADMIN_REFUSED, "%s/admission cannot be written: %s; nothing has changed",
		      a->dir, strerror(-err));
}

static char *bad_id(const char *id)
{
	return answer(ADMIN_REFUSED,
		      "%.64s is no worker id: letters, digits, _ and -, at most 63, beginning with "
		      "a letter or digit",
		      id);
}

/* --- verbs --- */

/* Not before the database is read, which takes a moment after a start. */
static char *cannot_read(int err)
{
	if (err == -EAGAIN)
		return answer(
			ADMIN_REFUSED,
			"the rendezvous is still reading its database: try again in a moment");
	return answer(ADMIN_REFUSED, "the database cannot be read: %s", strerror(-err));
}

static int reserve(struct rdv_admin *a, const char *id)
{
	if (!*id || admission_reserved(a->admission, id))
		return 0;
	int err = admission_reserve(a->admission, id);
	if (err == 0 && (err = rdv_admin_save(a->admission, a->dir)) < 0)
		admission_unreserve(a->admission, id);
	if (err == 0)
		log_info("worker id %s is kept for tokens made for it", id);
	return err;
}

static char *make_token(struct rdv_admin *a, const char *args)
{
	char text[TOKEN_TEXT_MAX], *end;
	struct token t = *a->token;
	long long expires = strtoll(args, &end, 10);
	const char *id = *end == ' ' ? end + 1 : end;

	if (end == args || expires < 0 || (*id && !worker_id_valid(id)))
		return bad_id(id);
	int err = reserve(a, id);
	if (err == -ENOSPC && a->admission->nreserved == ADMISSION_MAX_RESERVED)
		return answer(ADMIN_REFUSED,
			      "%d worker ids are kept for tokens of their own, which is the most: "
			      "`warren "
			      "rendezvous forget ID` ends that for one",
			      ADMISSION_MAX_RESERVED);
	if (err < 0)
		return cannot_write(a, err);
	t.expires = expires;
	snprintf(t.only_for, sizeof(t.only_for), "%s", id);
	admission_token(a->secret, a->admission, &t);
	char *out = token_write(&t, text, sizeof(text))
			    ? answer(ADMIN_DONE, "%s", text)
			    : answer(ADMIN_REFUSED, "this token would be too long");
	sodium_memzero(text, sizeof(text));
	token_wipe(&t);
	return out;
}

static char *rotated(const struct rdv_admin *a, bool broken, int64_t promised)
{
	char until[ADMISSION_DATE_LEN], ended[160] = "", date[ADMISSION_DATE_LEN];
	admission_date(promised, date);
	admission_date(a->admission->previous_until, until);
	if (broken)
		snprintf(ended, sizeof(ended),
			 " The overlap of the rotation before, until %s, is over: tokens from "
			 "before that one admit nobody any more.",
			 date);
	if (a->admission->previous_until)
		return answer(ADMIN_DONE,
			      "the join token is another one now: `warren token` prints it. Those "
			      "of before admit new nodes until %s. Members stay.%s",
			      until, ended);
	return answer(
		ADMIN_DONE,
		"the join token is another one now: `warren token` prints it. Those of before "
		"admit nobody any more (--overlap 7d would have left them a week). Members "
		"stay.%s",
		ended);
}

static char *rotate(struct rdv_admin *a, const char *args)
{
	struct admission before = *a->admission;
	char fp[TOKEN_FINGERPRINT_LEN], *end;
	long long overlap = strtoll(args, &end, 10);

	if (end == args || *end || overlap < 0)
		return answer(ADMIN_REFUSED, "rotate takes seconds");
	admission_rotate(a->admission, a->wall, overlap);
	int err = rdv_admin_save(a->admission, a->dir);
	if (err < 0) {
		*a->admission = before;
		return cannot_write(a, err);
	}
	err = rdv_admin_write_token(a);
	token_fingerprint(a->token, fp);
	log_info("the join token is another one now (%s)", fp);
	if (err < 0)
		return answer(ADMIN_REFUSED,
			      "%s/token cannot be written: %s; a restart of the "
			      "rendezvous makes it anew",
			      a->dir, strerror(-err));
	return rotated(a, before.epoch && before.previous_until > a->wall, before.previous_until);
}

static char *removed(const struct lease_record *rec, int err)
{
	const char *left =
		err < 0 ? " (its lease is still in the database, which cannot be written)" : "";
	log_info("%s was removed: its key is refused from now on",
		 rec->number ? rec->id : "a key without a lease");
	if (!rec->number)
		return answer(ADMIN_DONE, "this key holds no lease, and is refused for good");
	return answer(ADMIN_DONE,
		      "%s is out: its key is refused for good, and each member drops it when it "
		      "hears the rendezvous%s. Its owner may still have the join token: `warren "
		      "rendezvous rotate` keeps him from coming back with another key.",
		      rec->id, left);
}

static char *remove_member(struct rdv_admin *a, const char *who)
{
	struct lease_record rec = { 0 };
	uint8_t key[32];
	bool by_key = key_parse(who, key);
	if (!by_key && !worker_id_valid(who))
		return bad_id(who);
	int err = a->leases.find(a->leases.ctx, by_key ? NULL : who, key, &rec);
	if (err == -ENOENT && by_key)
		memcpy(rec.key, key, 32);
	else if (err == -ENOENT)
		return answer(ADMIN_REFUSED,
			      "there is no member %s (`warren status --state %s` "
			      "lists them)",
			      who, a->dir);
	else if (err < 0)
		return cannot_read(err);
	struct removed_key k = { .number = rec.number, .since = a->wall };
	memcpy(k.key, rec.key, 32);
	memcpy(k.id, rec.id, sizeof(k.id));
	size_t before = a->admission->nremoved;
	err = admission_remove(a->admission, &k);
	if (err == 0 && (err = rdv_admin_save(a->admission, a->dir)) < 0)
		a->admission->nremoved = before;
	if (err == -ENOSPC && before == ADMISSION_MAX_REMOVED)
		return answer(ADMIN_REFUSED,
			      "%d keys were removed already, which is all that is kept: a new "
			      "network (another --state) is due",
			      ADMISSION_MAX_REMOVED);
	if (err < 0)
		return cannot_write(a, err);
	return removed(&rec, a->leases.remove(a->leases.ctx, &rec));
}

/* The id is nobody's in particular any more. */
static int unreserve(struct rdv_admin *a, const char *id, bool *was)
{
	*was = admission_unreserve(a->admission, id);
	int err = *was ? rdv_admin_save(a->admission, a->dir) : 0;
	if (err < 0)
		(void)admission_reserve(a->admission, id);
	return err;
}

static char *freed(const struct lease_record *rec)
{
	char key[sodium_base64_ENCODED_LEN(32, sodium_base64_VARIANT_ORIGINAL)];
	log_info("the lease of %s is freed", rec->id);
	sodium_bin2base64(key, sizeof(key), rec->key, 32, sodium_base64_VARIANT_ORIGINAL);
	return answer(
		ADMIN_PENDING,
		"%s is free: any good token may claim it. So may, without one, the node that had "
		"it, until another has: `warren rendezvous remove %s` keeps that one out.",
		rec->id, key);
}

static char *forget(struct rdv_admin *a, const char *id)
{
	struct lease_record rec = { 0 };
	bool reserved = false;
	int err = a->leases.find(a->leases.ctx, id, NULL, &rec);
	if (err < 0 && err != -ENOENT)
		return cannot_read(err);
	err = a->leases.forget(a->leases.ctx, id);
	int saved = err == 0 || err == -ENOENT ? unreserve(a, id, &reserved) : 0;
	if (saved < 0)
		return answer(ADMIN_REFUSED,
			      "%s/admission cannot be written: %s; %s has no lease any more, and "
			      "is still "
			      "kept for tokens of its own",
			      a->dir, strerror(-saved), id);
	switch (err) {
	case 0:
		return freed(&rec);
	case -ENOENT:
		return reserved ? answer(ADMIN_DONE, "any good token may claim %s now", id)
				: answer(ADMIN_NONE, "%s has no lease", id);
	case -EBUSY:
		return answer(ADMIN_REFUSED,
			      "%s is online: stop it first, or use `warren rendezvous remove %s` "
			      "to keep it out",
			      id, id);
	case -EAGAIN:
		return answer(ADMIN_REFUSED,
			      "%s may be online, or its lease is being written: try again in a "
			      "minute",
			      id);
	default:
		return answer(ADMIN_REFUSED, "the database cannot be written: %s", strerror(-err));
	}
}

char *rdv_admin(struct rdv_admin *a, const char *line)
{
	static const struct {
		const char *verb;
		char *(*run)(struct rdv_admin *a, const char *args);
		bool takes_id;
	} verbs[] = { { "token ", make_token, false },
		      { "rotate ", rotate, false },
		      { "remove ", remove_member, false },
		      { "forget ", forget, true } };

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		size_t len = strlen(verbs[i].verb);
		if (strncmp(line, verbs[i].verb, len) != 0)
			continue;
		if (verbs[i].takes_id && !worker_id_valid(line + len))
			return bad_id(line + len);
		return verbs[i].run(a, line + len);
	}
	return answer(ADMIN_REFUSED, "this release does not know that");
}
