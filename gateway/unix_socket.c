/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int unix_address(const char *path, struct sockaddr_un *un)
{
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	size_t len = strlen(path);
	if (len >= sizeof(un->sun_path))
		return -ENAMETOOLONG;
	memcpy(un->sun_path, path, len + 1);
	return 0;
}

/* Somebody answers there? A socket file that a killed process left does not. */
static bool served(const struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* EAGAIN: so many wait there already that a connect() would wait too */
	bool yes = fd >= 0 &&
		   (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno == EAGAIN);
	if (fd >= 0)
		close(fd);
	return yes;
}

static int bind_private(int fd, const struct sockaddr_un *un)
{
	mode_t old = umask(0177);
	int err = bind(fd, (const struct sockaddr *)un, sizeof(*un)) < 0 ? -errno : 0;
	umask(old);
	return err;
}

int unix_listen(const char *path, int backlog)
{
	struct sockaddr_un un;
	int err = unix_address(path, &un);

	if (err == 0 && served(&un))
		err = -EADDRINUSE;
	if (err < 0)
		return err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	unlink(path);
	err = bind_private(fd, &un);
	if (err == 0 && listen(fd, backlog) < 0)
		err = -errno;
	if (err == 0)
		return fd;
	close(fd);
	return err;
}
