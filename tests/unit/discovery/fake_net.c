/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_net.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct fake {
	bool open, eof, reset, deaf, shut;
	int error; /* of a connection on its way */
	uint8_t in[FAKE_ROOM];
	size_t at, len;
	uint8_t sent[FAKE_KEPT];
	size_t n_sent;
} fakes[FAKE_MAX];

static enum fake_mood mood;

static struct fake *of(int fd)
{
	return fd >= FAKE_FIRST && fd < FAKE_FIRST + FAKE_MAX ? &fakes[fd - FAKE_FIRST] : NULL;
}

/* One that is open; what is closed must not be used. */
static struct fake *live(int fd)
{
	struct fake *f = of(fd);
	if (f && !f->open)
		abort();
	return f;
}

void fake_begin(void)
{
	mood = FAKE_AT_ONCE;
}

void fake_end(void)
{
	for (size_t i = 0; i < FAKE_MAX; i++)
		if (fakes[i].open)
			abort();
}

void fake_set_mood(enum fake_mood m)
{
	mood = m;
}

int fake_open(void)
{
	for (int i = 0; i < FAKE_MAX; i++) {
		struct fake *f = &fakes[i];
		if (f->open)
			continue;
		f->open = true;
		f->eof = f->reset = f->deaf = f->shut = false;
		f->error = 0;
		f->at = f->len = f->n_sent = 0;
		return FAKE_FIRST + i;
	}
	return -1;
}

bool fake_is_open(int fd)
{
	const struct fake *f = of(fd);
	return f && f->open;
}

void fake_say(int fd, const void *p, size_t len)
{
	struct fake *f = live(fd);
	if (f->at == f->len)
		f->at = f->len = 0;
	len = size_min(len, FAKE_ROOM - f->len);
	if (f->eof || len == 0)
		return;
	memcpy(f->in + f->len, p, len);
	f->len += len;
}

void fake_hang_up(int fd, bool reset)
{
	struct fake *f = live(fd);
	f->eof = true;
	f->reset |= reset;
}

void fake_deaf(int fd, bool deaf)
{
	live(fd)->deaf = deaf;
}

bool fake_readable(int fd)
{
	const struct fake *f = live(fd);
	return f->eof || f->len > f->at;
}

bool fake_writable(int fd)
{
	const struct fake *f = live(fd);
	return !f->deaf || f->reset;
}

const uint8_t *fake_sent(int fd, size_t *len)
{
	const struct fake *f = of(fd);
	*len = f->n_sent;
	return f->sent;
}

/* --- in the kernel's place --- */

int __real_socket(int family, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *sa, socklen_t len);
int __real_bind(int fd, const struct sockaddr *sa, socklen_t len);
int __real_listen(int fd, int backlog);
int __real_setsockopt(int fd, int level, int name, const void *v, socklen_t len);
int __real_getsockopt(int fd, int level, int name, void *v, socklen_t *len);
ssize_t __real_read(int fd, void *p, size_t n);
ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __real_recv(int fd, void *p, size_t n, int flags);
ssize_t __real_send(int fd, const void *p, size_t n, int flags);
int __real_shutdown(int fd, int how);
int __real_close(int fd);

int __wrap_socket(int family, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *sa, socklen_t len);
int __wrap_listen(int fd, int backlog);
int __wrap_setsockopt(int fd, int level, int name, const void *v, socklen_t len);
int __wrap_getsockopt(int fd, int level, int name, void *v, socklen_t *len);
ssize_t __wrap_read(int fd, void *p, size_t n);
ssize_t __wrap___read_chk(int fd, void *p, size_t n, size_t size);
ssize_t __wrap___recv_chk(int fd, void *p, size_t n, size_t size, int flags);
ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *p, size_t n, int flags);
int __wrap_shutdown(int fd, int how);
int __wrap_close(int fd);
int __wrap_fcntl(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);

static int fail(int error)
{
	errno = error;
	return -1;
}

int __wrap_socket(int family, int type, int protocol)
{
	(void)family;
	(void)type;
	(void)protocol;
	int fd = fake_open();
	return fd < 0 ? fail(EMFILE) : fd;
}

int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct fake *f = live(fd);
	if (!f)
		return __real_connect(fd, sa, len);
	if (mood == FAKE_AT_ONCE)
		return 0;
	if (mood == FAKE_REFUSED)
		return fail(ECONNREFUSED);
	f->error = mood == FAKE_LATER_REFUSED ? ECONNREFUSED : 0;
	return fail(EINPROGRESS);
}

int __wrap_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	return live(fd) ? 0 : __real_bind(fd, sa, len);
}

int __wrap_listen(int fd, int backlog)
{
	return live(fd) ? 0 : __real_listen(fd, backlog);
}

int __wrap_setsockopt(int fd, int level, int name, const void *v, socklen_t len)
{
	return live(fd) ? 0 : __real_setsockopt(fd, level, name, v, len);
}

int __wrap_getsockopt(int fd, int level, int name, void *v, socklen_t *len)
{
	const struct fake *f = live(fd);
	if (!f)
		return __real_getsockopt(fd, level, name, v, len);
	memcpy(v, &f->error, sizeof(f->error)); /* SO_ERROR alone is asked for */
	return 0;
}

static ssize_t take(struct fake *f, void *p, size_t n, bool peek)
{
	n = size_min(n, f->len - f->at);
	if (n == 0)
		return f->reset ? fail(ECONNRESET) : f->eof ? 0 : fail(EAGAIN);
	memcpy(p, f->in + f->at, n);
	f->at += peek ? 0 : n;
	return (ssize_t)n;
}

static ssize_t give(struct fake *f, const void *p, size_t n)
{
	if (f->shut)
		abort(); /* its end was said already */
	if (f->reset)
		return fail(EPIPE);
	if (f->deaf)
		return fail(EAGAIN);
	size_t keep = size_min(n, FAKE_KEPT - f->n_sent);
	memcpy(f->sent + f->n_sent, p, keep);
	f->n_sent += keep;
	return (ssize_t)n;
}

ssize_t __wrap_read(int fd, void *p, size_t n)
{
	struct fake *f = live(fd);
	return f ? take(f, p, n, false) : __real_read(fd, p, n);
}

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags)
{
	struct fake *f = live(fd);
	return f ? take(f, p, n, flags & MSG_PEEK) : __real_recv(fd, p, n, flags);
}

/* What a compiler makes of the two that checks sizes. */
ssize_t __wrap___read_chk(int fd, void *p, size_t n, size_t size)
{
	if (n > size)
		abort();
	return __wrap_read(fd, p, n);
}

ssize_t __wrap___recv_chk(int fd, void *p, size_t n, size_t size, int flags)
{
	if (n > size)
		abort();
	return __wrap_recv(fd, p, n, flags);
}

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
	struct fake *f = live(fd);
	return f ? give(f, p, n) : __real_write(fd, p, n);
}

ssize_t __wrap_send(int fd, const void *p, size_t n, int flags)
{
	struct fake *f = live(fd);
	return f ? give(f, p, n) : __real_send(fd, p, n, flags);
}

int __wrap_shutdown(int fd, int how)
{
	struct fake *f = live(fd);
	if (!f)
		return __real_shutdown(fd, how);
	f->shut |= how != SHUT_RD;
	return 0;
}

int __wrap_close(int fd)
{
	struct fake *f = live(fd);
	if (!f)
		return __real_close(fd);
	f->open = false;
	return 0;
}

/* To make it non-blocking; of no other descriptor. */
int __wrap_fcntl(int fd, int cmd, ...)
{
	(void)cmd;
	return live(fd) ? 0 : fail(EBADF);
}

/* What it is called where file offsets have 64 bits. */
int __wrap_fcntl64(int fd, int cmd, ...)
{
	(void)cmd;
	return live(fd) ? 0 : fail(EBADF);
}
