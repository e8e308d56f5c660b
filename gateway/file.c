/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/file.h"
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_now(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);
	return fd >= 0 ? fd : errno == ENXIO ? -EBADMSG : -errno; /* that one is a socket */
}

int file_open(const char *path, int flags)
{
	struct stat st;
	int fd = open_now(path, flags);
	if (fd < 0)
		return fd;
	int err = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EBADMSG;
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

static bool is_handed_over(const char *path)
{
	static const char *const by_number[] = { "/dev/fd/", "/proc/self/fd/" };

	for (size_t i = 0; i < ARRAY_SIZE(by_number); i++)
		if (strncmp(path, by_number[i], strlen(by_number[i])) == 0)
			return true;
	return strcmp(path, "/dev/stdin") == 0;
}

/* Its end may come late: from here on reading waits. */
static int open_handed_over(const char *path)
{
	int fd = open_now(path, 0);
	if (fd >= 0)
		fcntl(fd, F_SETFL, 0);
	return fd;
}

/* How many bytes there are, up to `cap`; or -errno. */
static ssize_t read_to_end(int fd, void *p, size_t cap)
{
	size_t len = 0;
	for (ssize_t n = 1; n > 0 && len < cap; len += (size_t)n) {
		n = read(fd, (uint8_t *)p + len, cap - len);
		if (n < 0)
			return -errno;
	}
	return (ssize_t)len;
}

int file_load(const char *path, size_t max, uint8_t **out, size_t *len)
{
	struct stat st;
	int fd = file_open(path, O_NOFOLLOW);
	if (fd < 0)
		return fd;
	int err = fstat(fd, &st) < 0 ? -errno : st.st_size > (off_t)max ? -EBADMSG : 0;
	size_t size = err ? 0 : (size_t)st.st_size;
	uint8_t *p = err ? NULL : malloc(size + 1); /* also where it is empty */
	ssize_t n = p ? read_to_end(fd, p, size) : err ? err : -ENOMEM;
	close(fd);
	if (n == (ssize_t)size) {
		*out = p;
		*len = size;
		return 0;
	}
	if (p)
		sodium_memzero(p, size);
	free(p);
	return n < 0 ? (int)n : -EBADMSG;
}

char *file_read(const char *path, size_t max)
{
	int fd = is_handed_over(path) ? open_handed_over(path) : file_open(path, 0);
	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	char *text = calloc(1, max + 2);
	ssize_t n = text ? read_to_end(fd, text, max + 1) : -ENOMEM;
	int err = n < 0 ? (int)-n : (size_t)n > max ? EFBIG : 0;
	if (!err && strlen(text) < (size_t)n)
		err = EILSEQ; /* what stands behind the NUL would be left out without a word */
	close(fd);
	if (err) {
		free(text);
		errno = err;
		return NULL;
	}
	return text;
}

const char *file_error(int err)
{
	switch (err) {
	case EBADMSG:
		return "it is no file, but a directory, a pipe, a socket or a device";
	case EILSEQ:
		return "there is a NUL byte in it";
	default:
		return strerror(err);
	}
}
