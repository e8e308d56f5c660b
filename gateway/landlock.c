/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The headers we build with may be older than the kernel that we run on. */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#ifndef LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define LANDLOCK_SCOPE_SIGNAL (1ULL << 1)
#endif

/* struct landlock_ruleset_attr as of version 6; a kernel takes the head of it that it knows. */
struct ruleset {
	uint64_t fs, net, scoped;
};

#define FILES_READ LANDLOCK_ACCESS_FS_READ_FILE
#define FILES_WRITE                                                                                \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)
#define DIRS_READ (FILES_READ | LANDLOCK_ACCESS_FS_READ_DIR)
#define DIRS_WRITE                                                                                 \
	(FILES_WRITE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |               \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |                            \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK)

/* All that this version of Landlock can refuse. */
static uint64_t known_rights(long version)
{
	uint64_t rights = LANDLOCK_ACCESS_FS_REFER - 1;
	if (version >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (version >= 5)
		rights |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	return rights;
}

static size_t ruleset_size(long version)
{
	return version < 4   ? offsetof(struct ruleset, net)
	       : version < 6 ? offsetof(struct ruleset, scoped)
			     : sizeof(struct ruleset);
}

static int allow(int set, const char *path, uint64_t dir, uint64_t file, uint64_t known)
{
	struct stat st;
	int fd = open(path, O_PATH | O_CLOEXEC), err = 0;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
	struct landlock_path_beneath_attr a = { .parent_fd = fd };
	if (fstat(fd, &st) < 0)
		err = -errno;
	a.allowed_access = (S_ISDIR(st.st_mode) ? dir : file) & known;
	if (err == 0 && syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &a, 0u) < 0)
		err = -errno;
	close(fd);
	return err;
}

int landlock_enter(const char *const *read, const char *const *write, bool signals)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
			       LANDLOCK_CREATE_RULESET_VERSION);
	if (version < 1)
		return errno == EOPNOTSUPP || version == 0 ? -ENOSYS : -errno;
	struct ruleset r = { .fs = known_rights(version) };
	if (version >= 6)
		r.scoped =
			LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | (signals ? 0 : LANDLOCK_SCOPE_SIGNAL);
	int set = (int)syscall(SYS_landlock_create_ruleset, &r, ruleset_size(version), 0u);
	int err = set < 0 ? -errno : 0;

	for (; err == 0 && read && *read; read++)
		err = allow(set, *read, DIRS_READ, FILES_READ, r.fs);
	for (; err == 0 && write && *write; write++)
		err = allow(set, *write, DIRS_WRITE, FILES_WRITE, r.fs);
	if (err == 0 && syscall(SYS_landlock_restrict_self, set, 0u) < 0)
		err = -errno;
	if (set >= 0)
		close(set);
	return err;
}
