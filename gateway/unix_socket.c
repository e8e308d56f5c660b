/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/unix_socket.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

const struct syscall_rule unix_socket_syscalls[] = {
	CALL(accept4),
	CALL(recvfrom),
	CALL(sendto),
	CALL(unlink),
	CALL_IF(unlinkat, ARG_IS(0, AT_FDCWD)),
	CALLS_END,
};

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

/* Whoever comes stands in the kernel's queue. */
static void pause_listening(struct unix_listener *l)
{
	ev_io_stop(l->ev, &l->io);
	ev_timer_stop(l->ev, &l->again);
	ev_timer_set(&l->again, 1., 0.);
	ev_timer_start(l->ev, &l->again);
}

void unix_listener_resume(struct unix_listener *l)
{
	ev_timer_stop(l->ev, &l->again);
	ev_io_start(l->ev, &l->io);
}

void unix_listener_take(struct unix_listener *l, int fd)
{
	ev_io_stop(l->ev, &l->io);
	close(l->fd);
	l->fd = fd;
	ev_io_set(&l->io, fd, EV_READ);
	unix_listener_resume(l);
}

static void on_again(struct ev_loop *ev, ev_timer *w, int revents)
{
	(void)ev;
	(void)revents;
	unix_listener_resume(w->data);
}

static void on_accept(struct ev_loop *ev, ev_io *w, int revents)
{
	struct unix_listener *l = w->data;
	(void)ev;
	(void)revents;
	if (l->has_room && !l->has_room(l->ctx)) {
		pause_listening(l);
		return;
	}
	int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		l->client(l->ctx, fd);
	} else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		log_seldom(LOG_LEVEL_WARN, 60 * NSEC_PER_SEC,
			   "%s takes nobody for a second: %s (more descriptors: ulimit -n, or "
			   "LimitNOFILE=)",
			   l->path, strerror(errno));
		pause_listening(l);
	}
}

int unix_listener_open(struct unix_listener *l, struct ev_loop *ev, const char *path, int backlog,
		       void (*client)(void *ctx, int fd), void *ctx)
{
	*l = (struct unix_listener){ .ev = ev, .client = client, .ctx = ctx };
	l->fd = unix_listen(path, backlog);
	if (l->fd < 0)
		return l->fd;
	snprintf(l->path, sizeof(l->path), "%s", path);
	ev_timer_init(&l->again, on_again, 1., 0.);
	ev_io_init(&l->io, on_accept, l->fd, EV_READ);
	l->io.data = l->again.data = l;
	ev_io_start(ev, &l->io);
	return 0;
}

void unix_listener_close(struct unix_listener *l)
{
	ev_io_stop(l->ev, &l->io);
	ev_timer_stop(l->ev, &l->again);
	close(l->fd);
	unlink(l->path);
}
