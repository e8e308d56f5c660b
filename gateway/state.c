/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/state.h"
#include "gateway/file.h"
#include "base/summed.h"
#include "crypto/wg.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/* TLV types */
	STATE_PRIVATE_KEY = 1,
	STATE_PORT = 2,
	STATE_TIMESTAMP = 3,
	STATE_NUMBER = 4,
	STATE_PSK = 5,
};

/*
 * How far the clock may go before the next save, which waits for the disk: a gateway full of packets
 * should do that rarely. For so long after a crash the key is of no use anywhere else.
 */
#define RESERVE (60 * NSEC_PER_SEC)
#define RESERVE_LEFT (20 * NSEC_PER_SEC)
/*
 * And how far the count may, where it is ahead of the clock: counters grow by less than one in this many
 * nanoseconds, so this is enough for 30 s and for 15; and for 900 initiations between two looks, which are 65
 * microseconds apart. Starts take longer than it adds.
 */
#define COUNT_EVERY 256
#define COUNT_RESERVE (120 * NSEC_PER_MSEC)
#define COUNT_LEFT (60 * NSEC_PER_MSEC)
/*
 * Where no reserve can be saved (a full disk) each start finds the same one. What the clock has moved since that
 * was made, by this, keeps them apart: one that lived for a second may have sent 200 initiations.
 */
#define START_EVERY 64

const struct syscall_rule state_syscalls[] = {
	CALL_IF(openat, ARG_IS(0, AT_FDCWD)),
	CALL(fsync),
	CALL(fchown),
	CALL(fchown32),
	CALL(rename),
	CALL_IF(renameat, ARG_IS(0, AT_FDCWD), ARG_IS(2, AT_FDCWD)),
	CALL_IF(renameat2, ARG_IS(0, AT_FDCWD), ARG_IS(2, AT_FDCWD)),
	CALL(unlink),
	CALL(rmdir),
	CALL_IF(unlinkat, ARG_IS(0, AT_FDCWD)),
	CALLS_END,
};

static const struct summed file = { { 'w', 'a', 'r', 'r', 'e', 'n', ' ', 's' }, 1 };

size_t state_encode(const struct state *s, uint8_t *out, size_t cap)
{
	struct wr w = summed_begin(&file, out, cap);
	size_t mark;

	wr_tlv(&w, STATE_PRIVATE_KEY, s->private_key, 32);
	mark = wr_tlv_begin(&w, STATE_PORT);
	wr_be16(&w, s->port);
	wr_tlv_end(&w, mark);
	mark = wr_tlv_begin(&w, STATE_TIMESTAMP);
	wr_be64(&w, (uint64_t)s->timestamp);
	wr_tlv_end(&w, mark);
	mark = wr_tlv_begin(&w, STATE_NUMBER);
	wr_be32(&w, s->number);
	wr_tlv_end(&w, mark);
	if (s->has_psk)
		wr_tlv(&w, STATE_PSK, s->psk, 32);
	return summed_end(&w);
}

static void read_field(struct state *s, struct tlv *t)
{
	switch (t->type) {
	case STATE_PRIVATE_KEY:
		rd_bytes(&t->value, s->private_key, 32);
		break;
	case STATE_PORT:
		s->port = rd_be16(&t->value);
		break;
	case STATE_TIMESTAMP:
		s->timestamp = (int64_t)(rd_be64(&t->value) & INT64_MAX);
		break;
	case STATE_NUMBER:
		s->number = rd_be32(&t->value);
		break;
	case STATE_PSK:
		rd_bytes(&t->value, s->psk, 32);
		s->has_psk = true;
		break;
	default:
		if (t->critical)
			rd_fail(&t->value);
	}
}

int state_decode(struct state *s, const uint8_t *p, size_t len)
{
	struct tlv t;
	struct rd r;

	if (!summed_open(&file, p, len, &r))
		return -EBADMSG;
	while (rd_tlv(&r, &t)) {
		read_field(s, &t);
		if (!rd_ok(&t.value))
			return -EBADMSG;
	}
	return rd_ok(&r) && !sodium_is_zero(s->private_key, 32) ? 0 : -EBADMSG;
}

int make_dir(const char *dir, unsigned mode)
{
	char path[512];
	if ((size_t)snprintf(path, sizeof(path), "%s", dir) >= sizeof(path))
		return -ENAMETOOLONG;
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return -errno;
	return access(path, W_OK | X_OK) < 0 ? -errno : 0;
}

/* All of the bytes into a file that is on the disk when this returns; of the directory's owner, if root writes it. */
static int write_synced(const char *path, const void *bytes, size_t len, const struct stat *dir)
{
	struct stat st;
	unlink(path); /* of a save that a crash ended, or anything else, which would be written into */
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ssize_t n = write(fd, bytes, len);
	int err = n < 0 ? -errno : n != (ssize_t)len ? -ENOSPC : 0;
	if (err == 0 && fstat(fd, &st) < 0)
		err = -errno;
	/* a root that may not do that is one in name alone */
	if (err == 0 && st.st_uid == 0 && dir->st_uid != 0 &&
	    fchown(fd, dir->st_uid, dir->st_gid) < 0 && errno != EPERM)
		err = -errno;
	if (err == 0 && fsync(fd) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int open_dir_of(const char *path)
{
	char dir[512];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) + (slash == path) : 0;
	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	snprintf(dir, sizeof(dir), "%.*s", (int)len, path);
	int fd = open(len ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int file_replace(const char *path, const void *bytes, size_t len)
{
	char fresh[512];
	struct stat st;
	if ((size_t)snprintf(fresh, sizeof(fresh), "%s.new", path) >= sizeof(fresh))
		return -ENAMETOOLONG;
	int dir = open_dir_of(path);
	if (dir < 0)
		return dir;
	int err = fstat(dir, &st) < 0 ? -errno : write_synced(fresh, bytes, len, &st);
	if (err == 0 && rename(fresh, path) < 0)
		err = -errno;
	if (err)
		unlink(fresh);
	/* its name is on the disk as well; there are file systems that know no such thing */
	else if (fsync(dir) < 0 && errno != EINVAL)
		err = -errno;
	close(dir);
	return err;
}

static void state_path(const struct state *s, char out[static 300])
{
	snprintf(out, 300, "%s/" IDENTITY_FILE, s->dir);
}

int state_save(const struct state *s)
{
	uint8_t bytes[STATE_MAX];
	char path[300];
	size_t len = state_encode(s, bytes, sizeof(bytes));
	state_path(s, path);
	int err = file_replace(path, bytes, len);
	sodium_memzero(bytes, sizeof(bytes));
	return err;
}

void state_remove(const struct state *s)
{
	char path[300];
	state_path(s, path);
	unlink(path);
	snprintf(path, sizeof(path), "%s/members", s->dir);
	unlink(path);
	rmdir(s->dir);
}

static int read_identity(struct state *s)
{
	uint8_t bytes[STATE_MAX];
	char path[300];
	state_path(s, path);
	int fd = file_open(path, O_NOFOLLOW);
	if (fd < 0)
		return fd;
	ssize_t n = read(fd, bytes, sizeof(bytes));
	int err = n < 0 ? -errno : state_decode(s, bytes, (size_t)n);
	close(fd);
	sodium_memzero(bytes, sizeof(bytes));
	return err;
}

static int begin(struct state *s, const char *dir)
{
	memset(s, 0, sizeof(*s));
	return (size_t)snprintf(s->dir, sizeof(s->dir), "%s", dir) >= sizeof(s->dir) ? -ENAMETOOLONG
										     : 0;
}

int state_read(struct state *s, const char *dir)
{
	int err = begin(s, dir);
	return err ? err : read_identity(s);
}

int state_load(struct state *s, const char *dir)
{
	int err = begin(s, dir);
	if (err == 0)
		err = make_dir(dir, 0700);
	if (err)
		return err;
	err = read_identity(s);
	if (err != -ENOENT)
		return err;
	wg_key_generate(s->private_key);
	return state_save(s);
}

uint64_t state_begin(struct state *s, nsec now, int64_t wall)
{
	int64_t moved = wall - s->timestamp + RESERVE;
	int64_t next = s->timestamp + 1 + (moved > 0 ? moved / START_EVERY : 0);

	s->boot = wall > next ? wall : next;
	s->began = now;
	return (uint64_t)s->boot;
}

/* What this start has used at most: counters go on while no timestamp is sent. */
static int64_t used(const struct state *s, nsec now, int64_t last)
{
	int64_t counted = s->boot + (now - s->began) / COUNT_EVERY;
	return last > counted ? last : counted;
}

bool state_reserve(struct state *s, nsec now, int64_t wall, int64_t last)
{
	int64_t count = used(s, now, last);

	if (s->timestamp - wall >= RESERVE_LEFT && s->timestamp - count >= COUNT_LEFT)
		return false;
	s->timestamp =
		wall + RESERVE > count + COUNT_RESERVE ? wall + RESERVE : count + COUNT_RESERVE;
	return true;
}

void state_settle(struct state *s, nsec now, int64_t last)
{
	s->timestamp = used(s, now, last);
}

void state_wipe(struct state *s)
{
	sodium_memzero(s, sizeof(*s));
}
